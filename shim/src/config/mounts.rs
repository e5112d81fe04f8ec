//! The root and the mounts of a configuration. mount(8) has the options.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::sys::stat::Mode;
use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, fstatfs};
use oci_spec::runtime::{Mount as Wanted, Spec};
use usk::plan::{
    kernel_device, kernel_mounts, open_export, open_in_root, open_inner, overlay_export, translate_owners,
};
use usk::spec::{
    DevOptions, Devpts, Export, ExportAccess, Mount, MountSource, ProcessSpec, Propagation, Restrictions,
    Tmpfs,
};
use usk_abi::tty::NR_UNIX98_PTY_MAX;
use usk_platform::host::namespaces::IdentityMap;

use super::{overlay, users};

/// What the gofer serves, and what is mounted where.
pub(super) struct Layout {
    pub(super) exports: Vec<Export>,
    pub(super) mounts: Vec<Mount>,
    /// What is mounted inside would have to show on the host.
    pub(super) reaches_host: bool,
}

pub(super) fn layout(spec: &Spec, rootfs: &Path, bundle: &Path, process: &ProcessSpec) -> Result<Layout> {
    let read_only = spec.root().as_ref().is_some_and(|root| root.readonly() == Some(true));
    let wanted = spec.linux().as_ref().and_then(|linux| linux.rootfs_propagation().as_deref());
    let (of_root, of_mounts) = propagations(wanted.unwrap_or_default())?;
    let mut root = open_export(rootfs, !read_only)
        .with_context(|| format!("root.path: cannot use {} as the root", rootfs.display()))?;
    if !root.directory {
        bail!("root.path: {} is not a directory", rootfs.display());
    }
    root.propagation = of_root;
    let access = if read_only { ExportAccess::ReadOnly } else { ExportAccess::ReadWrite };
    let source = MountSource::Export { export: 0, access };
    let restrictions = Restrictions { read_only, no_devices: true, ..Restrictions::default() };
    let mut layout = Layout {
        mounts: vec![Mount { destination: "/".into(), source, restrictions, name: None }],
        exports: vec![root],
        reaches_host: false,
    };
    for (index, wanted) in spec.mounts().iter().flatten().enumerate() {
        let options = || options(wanted, of_mounts);
        options()
            .and_then(|options| add(&mut layout, wanted, options, bundle, process))
            .with_context(|| format!("mounts[{index}]"))?;
    }
    if !layout.mounts.iter().any(|mount| matches!(mount.source, MountSource::Dev(_))) {
        // Every container has device files, also one whose configuration mounts nothing.
        let [_, _, device_files] = kernel_mounts();
        layout.mounts.insert(1, device_files);
    }
    let most = 64;
    if layout.exports.len() > most {
        bail!("mounts: more than {} bind mounts", most - 1);
    }
    if read_only {
        make_places(&layout)?;
    }
    Ok(layout)
}

/// Where later mounts of the host's show by `linux.rootfsPropagation`: in the root, and in bind mounts that say nothing else.
/// Nowhere if nobody says that they shall: what a sandbox has looked at the host cannot unmount, but by `umount -l`.
fn propagations(wanted: &str) -> Result<(Propagation, Propagation)> {
    match wanted {
        "slave" | "rslave" => Ok((Propagation::Slave, Propagation::Slave)),
        // The root itself is cut off by runc, too.
        "shared" | "rshared" => Ok((Propagation::Private, Propagation::Slave)),
        "" | "private" | "rprivate" | "unbindable" | "runbindable" => {
            Ok((Propagation::Private, Propagation::Private))
        }
        _ => bail!("linux.rootfsPropagation: {wanted:?} is none"),
    }
}

/// Which of its mounts have mapped owners, if there is a map.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Mapping {
    /// The one that is named, and nothing is said about it.
    #[default]
    Implied,
    /// The one that is named.
    One,
    /// It and those below it.
    Recursive,
}

/// What the options of a mount say.
#[derive(Default)]
struct Options {
    restrictions: Restrictions,
    is_bind: bool,
    /// A bind mount shows the mounts below its source.
    is_recursive: bool,
    propagation: Propagation,
    /// What is mounted below it would have to show on the host.
    is_shared: bool,
    /// A tmpfs begins with what is below it.
    begins_full: bool,
    mapping: Mapping,
    /// Options of the file system, `K=V` or `K`.
    data: Vec<String>,
}

fn add(
    layout: &mut Layout,
    wanted: &Wanted,
    options: Options,
    bundle: &Path,
    process: &ProcessSpec,
) -> Result<()> {
    if wanted.destination().as_os_str().is_empty() {
        bail!("destination: it is empty");
    }
    let destination = clean(&Path::new("/").join(wanted.destination()))
        .with_context(|| format!("destination: {:?} is no path", wanted.destination()))?;
    let owners = owners(wanted, options.mapping)?;
    let kind = wanted.typ().as_deref().unwrap_or_default();
    let restrictions = options.restrictions;
    let is_bind = options.is_bind || kind == "bind";
    // Of the host's files nobody inside needs to know where they are.
    let name = wanted.source().as_ref().filter(|_| !is_bind).map(|name| name.to_string_lossy().into_owned());
    let below = if options.begins_full { inner(layout, &destination)? } else { None };
    let Layout { exports, mounts, reaches_host } = layout;
    let is_in_cgroups = mounts
        .iter()
        .any(|mount| mount.source == MountSource::Cgroup && destination.starts_with(&mount.destination));
    let mut mount = |source, restrictions| {
        let (destination, name) = (destination.clone(), name.clone());
        mounts.push(Mount { destination, source, restrictions, name })
    };
    if is_bind {
        let source = wanted.source().as_ref().context("source: it is missing")?;
        if options.is_shared {
            super::process::check_mounting(process).context("options")?;
            *reaches_host = true;
        }
        let source = bundle.join(source);
        if let Some(device) = kernel_device(&source) {
            mount(device, restrictions);
            return Ok(());
        }
        let writable = !restrictions.read_only;
        let describe = || format!("source: cannot show {}", source.display());
        let export = open_export(&source, writable).with_context(describe)?;
        if shows_cgroups(&export).with_context(describe)? {
            // Those of the host that concern the container are its own, which it may have already.
            if !is_in_cgroups {
                mount(MountSource::Cgroup, Restrictions { read_only: true, ..restrictions });
            }
            return Ok(());
        }
        let Options { is_recursive: recursive, propagation, .. } = options;
        let mut export = Export { recursive, propagation, ..export };
        if let Some(owners) = owners {
            translate_owners(&mut export, &owners, options.mapping == Mapping::Recursive)
                .with_context(describe)?;
        }
        let access = if writable { ExportAccess::ReadWrite } else { ExportAccess::ReadOnly };
        // Device files of the host are never opened.
        let restrictions = Restrictions { no_devices: true, ..restrictions };
        mount(MountSource::Export { export: exports.len(), access }, restrictions);
        exports.push(export);
        return Ok(());
    }
    if owners.is_some() {
        bail!("uidMappings: only a bind mount can have mapped owners");
    }
    match kind {
        "proc" => mount(MountSource::Proc, restrictions),
        "sysfs" => mount(MountSource::Sys, restrictions),
        // The kernel's own device files and what is below them.
        "tmpfs" | "devtmpfs" if destination == Path::new("/dev") => {
            let default = DevOptions::default();
            let source = DevOptions { tmpfs: tmpfs(&options.data, default.tmpfs)?, ..default };
            mount(MountSource::Dev(source), Restrictions { no_devices: false, ..options.restrictions });
        }
        "devpts" if destination == Path::new("/dev/pts") => {
            for mount in mounts {
                if let MountSource::Dev(dev) = &mut mount.source {
                    dev.terminals = devpts(&options.data)?;
                }
            }
        }
        "tmpfs" => {
            let tmpfs = tmpfs(&options.data, Tmpfs::of_size(None))?;
            match below {
                Some(export) => {
                    let source = MountSource::Export {
                        export: exports.len(),
                        access: ExportAccess::Overlay { size: tmpfs.size },
                    };
                    mount(source, Restrictions { no_devices: true, ..restrictions });
                    exports.push(export);
                }
                None => mount(MountSource::Tmpfs(tmpfs), restrictions),
            }
        }
        // Of version 2 whatever the host has, and only to look at.
        "cgroup" | "cgroup2" => {
            mount(MountSource::Cgroup, Restrictions { read_only: true, ..restrictions });
        }
        "mqueue" => mount(MountSource::Queues, restrictions),
        "overlay" => {
            // Where runc is when it mounts.
            let root = &exports.first().context("root: it is missing")?.source;
            let overlay = overlay::overlay(&options.data, root)?;
            let export = overlay_export(&overlay, !restrictions.read_only).context("options")?;
            let access = if export.writable { ExportAccess::ReadWrite } else { ExportAccess::ReadOnly };
            let restrictions = Restrictions { read_only: !export.writable, no_devices: true, ..restrictions };
            mount(MountSource::Export { export: exports.len(), access }, restrictions);
            exports.push(export);
        }
        "" => bail!("type: it is missing"),
        other => bail!("type: usk's kernel has no file system {other:?}"),
    }
    Ok(())
}

/// Whether an export lies in a file system of cgroups, of either version.
fn shows_cgroups(export: &Export) -> Result<bool> {
    let kind = fstatfs(&export.descriptor).context("its file system cannot be told")?.filesystem_type();
    Ok(kind == CGROUP_SUPER_MAGIC || kind == CGROUP2_SUPER_MAGIC)
}

/// What the root has at a place that is covered.
fn inner(layout: &Layout, destination: &Path) -> Result<Option<Export>> {
    let root = &layout.exports.first().context("root: it is missing")?.descriptor;
    open_inner(root, destination).context("options: 'tmpcopyup' cannot begin with what is there")
}

fn options(wanted: &Wanted, propagation: Propagation) -> Result<Options> {
    let mut options = Options { propagation, ..Options::default() };
    let restrictions = &mut options.restrictions;
    for (index, option) in wanted.options().iter().flatten().enumerate() {
        match option.as_str() {
            "ro" | "rro" => restrictions.read_only = true,
            "rw" | "rrw" => restrictions.read_only = false,
            "nosuid" | "rnosuid" => restrictions.no_suid = true,
            "suid" | "rsuid" => restrictions.no_suid = false,
            "nodev" | "rnodev" => restrictions.no_devices = true,
            "dev" | "rdev" => restrictions.no_devices = false,
            "noexec" | "rnoexec" => restrictions.no_execute = true,
            "exec" | "rexec" => restrictions.no_execute = false,
            "defaults" => *restrictions = Restrictions::default(),
            "bind" => options.is_bind = true,
            "rbind" => (options.is_bind, options.is_recursive) = (true, true),
            "private" | "unbindable" if propagation == Propagation::Slave => {
                options.propagation = Propagation::SlaveBelow;
            }
            "private" | "unbindable" | "rprivate" | "runbindable" => {
                options.propagation = Propagation::Private
            }
            "tmpcopyup" => options.begins_full = true,
            "idmap" => options.mapping = Mapping::One,
            "ridmap" => options.mapping = Mapping::Recursive,
            "slave" | "rslave" => options.propagation = Propagation::Slave,
            "shared" | "rshared" => {
                options.propagation = Propagation::Slave;
                options.is_shared = true;
            }
            // Podman's of a volume: it has obeyed them already.
            "copy" | "nocopy" => {}
            // Times of access and how writing is ordered: not of this kernel's.
            "acl" | "noacl" | "async" | "sync" | "dirsync" | "atime" | "noatime" | "ratime" | "rnoatime"
            | "diratime" | "nodiratime" | "rdiratime" | "rnodiratime" | "relatime" | "norelatime"
            | "rrelatime" | "rnorelatime" | "strictatime" | "nostrictatime" | "rstrictatime"
            | "rnostrictatime" | "lazytime" | "nolazytime" | "iversion" | "noiversion" | "mand"
            | "nomand" | "loud" | "silent" | "remount" | "symfollow" | "nosymfollow" | "rsymfollow"
            | "rnosymfollow" => {}
            other if options.is_bind || wanted.typ().as_deref() == Some("bind") => {
                bail!("options[{index}]: a bind mount has no option {other:?}")
            }
            other => options.data.push(other.to_owned()),
        }
    }
    Ok(options)
}

/// Whose the files of a mount are: `containerID` is what the file system says, `hostID` what is seen of it.
fn owners(wanted: &Wanted, mapping: Mapping) -> Result<Option<IdentityMap>> {
    let users = users::ranges(wanted.uid_mappings().as_deref().unwrap_or_default()).context("uidMappings")?;
    let groups =
        users::ranges(wanted.gid_mappings().as_deref().unwrap_or_default()).context("gidMappings")?;
    match (users.is_empty(), groups.is_empty()) {
        (true, true) if mapping == Mapping::Implied => Ok(None),
        (true, true) => bail!("options: an 'idmap' without uidMappings and gidMappings is not there yet"),
        (false, false) => Ok(Some(IdentityMap { users, groups, may_set_groups: true })),
        _ => bail!("uidMappings, gidMappings: one is missing beside the other"),
    }
}

/// A file system of terminals with the options of Linux' devpts. Each instance is a new one.
fn devpts(data: &[String]) -> Result<Devpts> {
    let mut devpts = Devpts::default();
    for option in data {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let wrong = || wrong(option);
        match name {
            "uid" => devpts.user = Some(value.parse().ok().with_context(wrong)?),
            "gid" => devpts.group = Some(value.parse().ok().with_context(wrong)?),
            "mode" => devpts.permissions = mode(value).with_context(wrong)?,
            "ptmxmode" => devpts.master_permissions = mode(value).with_context(wrong)?,
            "max" => devpts.most = most_terminals(value).with_context(wrong)?,
            "newinstance" => {}
            _ => bail!("options: devpts has no option {option:?}"),
        }
    }
    Ok(devpts)
}

/// What `max` says: as many as there can be is no limit that is shown, and more are refused.
fn most_terminals(value: &str) -> Option<Option<u32>> {
    let most = value.parse().ok().filter(|&most| most <= NR_UNIX98_PTY_MAX)?;
    Some(Some(most).filter(|&most| most < NR_UNIX98_PTY_MAX))
}

fn wrong(option: &str) -> String {
    format!("options: {option:?} makes no sense")
}

/// Permissions in octal.
fn mode(value: &str) -> Option<u32> {
    u32::from_str_radix(value, 8).ok().filter(|&mode| mode <= 0o7777)
}

/// A tmpfs with the options of tmpfs(5) that say something here; what they do not name is as in `tmpfs`.
fn tmpfs(data: &[String], mut tmpfs: Tmpfs) -> Result<Tmpfs> {
    for option in data {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let wrong = || wrong(option);
        match name {
            "size" if value.ends_with('%') => {}
            "size" => {
                let size =
                    usk::values::parse_size(value).map_err(|problem| anyhow::anyhow!("options: {problem}"));
                // Zero is no limit.
                tmpfs.size = if value == "0" { None } else { Some(size?) };
            }
            "mode" => tmpfs.permissions = mode(value).with_context(wrong)?,
            "uid" => tmpfs.uid = value.parse().ok().with_context(wrong)?,
            "gid" => tmpfs.gid = value.parse().ok().with_context(wrong)?,
            "nr_inodes" | "nr_blocks" | "huge" | "mpol" | "inode32" | "inode64" | "noswap" => {}
            _ => bail!("options: a tmpfs has no option {option:?}"),
        }
    }
    Ok(tmpfs)
}

/// The path without `.`, `..` and doubled slashes; `None` if it is not absolute or contains a zero byte.
pub(super) fn clean(path: &Path) -> Option<PathBuf> {
    if !path.is_absolute() || path.as_os_str().as_bytes().contains(&0) {
        return None;
    }
    let mut result = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => result.push(name),
            Component::ParentDir => drop(result.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Some(result)
}

/// Makes the places that are missing in a root which the sandbox itself cannot write to.
fn make_places(layout: &Layout) -> Result<()> {
    let root = &layout.exports.first().context("root: it is missing")?.descriptor;
    for (index, mount) in layout.mounts.iter().enumerate().skip(1) {
        let inside_another = layout
            .mounts
            .iter()
            .take(index)
            .skip(1)
            .any(|other| mount.destination.starts_with(&other.destination));
        if inside_another {
            continue;
        }
        let directory = match mount.source {
            MountSource::Export { export, .. } => {
                layout.exports.get(export).is_none_or(|export| export.directory)
            }
            MountSource::Device { .. } => false,
            _ => true,
        };
        make_place(root, &mount.destination, directory)
            .with_context(|| format!("cannot make {} in the root", mount.destination.display()))?;
    }
    Ok(())
}

/// Makes a directory or an empty file, and its parents, below a directory that nothing can lead out of.
fn make_place(root: &OwnedFd, path: &Path, directory: bool) -> Result<()> {
    if open_in_root(root, path, true).is_ok() {
        return Ok(());
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    make_place(root, parent, true)?;
    let parent: File = open_in_root(root, parent, true)?;
    let name = CString::new(name.as_bytes()).context("its name has a zero byte")?;
    let made = if directory {
        nix::sys::stat::mkdirat(parent.as_fd(), name.as_c_str(), Mode::from_bits_truncate(0o755))
    } else {
        use nix::fcntl::{OFlag, openat};
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        openat(parent.as_fd(), name.as_c_str(), flags, Mode::from_bits_truncate(0o644)).map(drop)
    };
    match made {
        Err(nix::errno::Errno::EEXIST) => Ok(()),
        made => Ok(made?),
    }
}
