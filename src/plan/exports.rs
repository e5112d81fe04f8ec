//! Which host files the sandbox sees, and where.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use usk_gofer::HiddenNames;
use usk_platform::host::credentials::Identity;
use usk_platform::host::mounts;
use usk_platform::host::namespaces::IdentityMap;
use usk_platform::host::user_namespace::user_namespace;

use super::resolve::{follow, settle};
use super::secrets::secrets;
use crate::command_line::RunArguments;
use crate::image::ImageRoot;
use crate::spec::{
    DevOptions, Export, ExportAccess, Hidden, Mount, MountSource, Propagation, Restrictions, Tmpfs,
};
use crate::values::{normalise, sandbox_path};

/// Most exports of one sandbox: the root and its volumes.
const MAX_EXPORTS: usize = usk_gofer_protocol::limits::MAX_EXPORTS;

/// What the host's own virtual file systems are called. The sandbox has its own; the gofer does not get to see these.
const VIRTUAL: [&str; 3] = ["proc", "sys", "dev"];

/// The sandbox's file systems.
#[derive(Debug)]
pub struct Layout {
    /// What the gofer serves. The first is the root.
    pub exports: Vec<Export>,
    /// What is mounted where.
    pub mounts: Vec<Mount>,
    /// Whether the root is the host's.
    pub host_root: bool,
}

/// Opens the exports and lays out the mounts.
pub(super) fn layout(
    arguments: &RunArguments,
    image: Option<&ImageRoot>,
    caller: &Identity,
) -> Result<Layout> {
    let rootfs = arguments.rootfs.as_ref().or(image.map(|image| &image.root));
    let host_root = rootfs.is_none();
    let rootfs = rootfs.cloned().unwrap_or_else(|| "/".into());
    let mut root = open_export(&rootfs, false)
        .with_context(|| format!("cannot use {} as the root file system", rootfs.display()))?;
    if !root.directory {
        bail!(
            "cannot use {} as the root file system: it is not a directory; unpack it first",
            rootfs.display()
        );
    }
    root.exclusive = true;
    root.owners = image.map(|image| image.owners.clone());
    let host_root = host_root || root.source == Path::new("/");
    let access =
        if arguments.read_only { ExportAccess::ReadOnly } else { ExportAccess::Overlay { size: None } };
    let restrictions = match access {
        // Set-user-ID programs of the root may act: whom they become is inside the sandbox as well.
        ExportAccess::Overlay { .. } => Restrictions { no_suid: false, ..Restrictions::FOREIGN },
        _ => Restrictions { read_only: true, ..Restrictions::FOREIGN },
    };
    let source = MountSource::Export { export: 0, access };
    let mut mounts = vec![Mount { destination: "/".into(), source, restrictions, name: None }];
    let mut exports = vec![root];
    for volume in &arguments.volumes {
        if let Some(source) = kernel_device(&volume.source) {
            let restrictions = Restrictions { no_devices: false, ..Restrictions::FOREIGN };
            mounts.push(Mount { destination: volume.destination.clone(), source, restrictions, name: None });
            continue;
        }
        let export = open_export(&volume.source, volume.writable)
            .with_context(|| format!("cannot show {} as a volume", volume.source.display()))?;
        let access = if volume.writable { ExportAccess::ReadWrite } else { ExportAccess::ReadOnly };
        let source = MountSource::Export { export: exports.len(), access };
        let restrictions = Restrictions { read_only: !volume.writable, ..Restrictions::FOREIGN };
        mounts.push(Mount { destination: volume.destination.clone(), source, restrictions, name: None });
        exports.push(export);
    }
    if exports.len() > MAX_EXPORTS {
        bail!("too many volumes: at most {} fit; show a directory that contains several", MAX_EXPORTS - 1);
    }
    for tmpfs in &arguments.tmpfs {
        let source = MountSource::Tmpfs(Tmpfs::of_size(tmpfs.size));
        let destination = tmpfs.destination.clone();
        mounts.push(Mount { destination, source, restrictions: Restrictions::FOREIGN, name: None });
    }
    for (index, mount) in mounts.iter().enumerate().skip(1) {
        if mount.destination == Path::new("/") {
            bail!("nothing can be mounted on /: use --rootfs to choose the root");
        }
        if mounts[..index].iter().any(|earlier| earlier.destination == mount.destination) {
            bail!("two file systems are mounted on {}: leave one out", mount.destination.display());
        }
    }
    if let Some(image) = image.filter(|_| arguments.read_only) {
        add_volumes(image, &mut mounts, &mut exports)?;
    }
    // A mount on a parent directory must come before the mounts inside it.
    mounts.sort_by_key(|mount| mount.destination.components().count());
    hide_secrets(&mut exports, caller);
    if !arguments.hide.is_empty() {
        let settled = settle(&mounts, &exports)?;
        for path in &arguments.hide {
            hide(path, &settled, &mut exports)?;
        }
    }
    // Between the root and the rest, so that an operator can mount over them.
    mounts.splice(1..1, kernel_mounts());
    Ok(Layout { exports, mounts, host_root })
}

/// Makes an image's volumes writable where its root is not: each begins with what the image has there. Elsewhere they are
/// part of the root's layer, which is as new for each sandbox as a volume without a name.
fn add_volumes(image: &ImageRoot, mounts: &mut Vec<Mount>, exports: &mut Vec<Export>) -> Result<()> {
    for volume in &image.settings.volumes {
        if volume == Path::new("/") || mounts.iter().any(|mount| mount.destination == *volume) {
            continue;
        }
        let describe = || format!("cannot use the image's volume {}", volume.display());
        let inner = match exports.first() {
            Some(root) => open_inner(&root.descriptor, volume).with_context(describe)?,
            None => None,
        };
        let source = match inner {
            Some(export) => {
                let owners = Some(image.owners.clone());
                exports.push(Export { exclusive: true, owners, ..export });
                let access = ExportAccess::Overlay { size: None };
                MountSource::Export { export: exports.len() - 1, access }
            }
            None => MountSource::Tmpfs(Tmpfs { permissions: 0o755, ..Tmpfs::of_size(None) }),
        };
        mounts.push(Mount {
            destination: volume.clone(),
            source,
            restrictions: Restrictions::FOREIGN,
            name: None,
        });
    }
    if exports.len() > MAX_EXPORTS {
        bail!("too many volumes of the image's and others: at most {} fit", MAX_EXPORTS - 1);
    }
    Ok(())
}

/// The kernel's own file systems, where programs expect them.
pub fn kernel_mounts() -> [Mount; 3] {
    let nothing_special = Restrictions { no_execute: true, ..Restrictions::FOREIGN };
    let mount = |destination: &str, source, restrictions| Mount {
        destination: destination.into(),
        source,
        restrictions,
        name: None,
    };
    [
        mount("/proc", MountSource::Proc, nothing_special),
        mount("/sys", MountSource::Sys, Restrictions { read_only: true, ..nothing_special }),
        mount(
            "/dev",
            MountSource::Dev(DevOptions::default()),
            Restrictions { no_suid: true, ..Restrictions::default() },
        ),
    ]
}

/// What shows instead of a host's device file: that of the sandbox's own kernel, if it has this device. `None` for all else.
pub fn kernel_device(path: &Path) -> Option<MountSource> {
    let metadata = std::fs::metadata(path).ok().filter(|metadata| metadata.file_type().is_char_device())?;
    let (major, minor) = (libc::major(metadata.rdev()), libc::minor(metadata.rdev()));
    usk_sentry::fs::dev::has_device(major, minor).then_some(MountSource::Device { major, minor })
}

/// Opens a host directory or regular file for the gofer, as nobody's own and with nothing hidden: with the mounts that are below
/// it now.
pub fn open_export(path: &Path, writable: bool) -> Result<Export> {
    let source = std::fs::canonicalize(path).context("it does not exist, or cannot be reached")?;
    let mut options = File::options();
    options.read(true).custom_flags(OFlag::O_PATH.bits() | OFlag::O_NOFOLLOW.bits());
    let file = options.open(&source).context("it cannot be opened")?;
    let metadata = file.metadata().context("its type cannot be read")?;
    if !metadata.is_dir() && !metadata.is_file() {
        bail!("it is neither a directory nor a regular file: special files of the host cannot be shown");
    }
    Ok(shared(source, file.into(), metadata.is_dir(), writable))
}

/// An export that is nobody's own, with nothing hidden, and with the mounts that are below it.
pub(super) fn shared(source: PathBuf, descriptor: OwnedFd, directory: bool, writable: bool) -> Export {
    Export {
        source,
        descriptor,
        detached: false,
        twin: None,
        directory,
        recursive: true,
        propagation: Propagation::Private,
        writable,
        exclusive: false,
        hidden: Vec::new(),
        hidden_names: HiddenNames::default(),
        owners: None,
    }
}

/// Opens the directory of a root at an absolute path as an export of its own; `None` if there is no directory.
pub fn open_inner(root: &OwnedFd, path: &Path) -> Result<Option<Export>> {
    let Ok(place) = open_in_root(root, path.strip_prefix("/").unwrap_or(path), true) else { return Ok(None) };
    if !place.metadata().context("its type cannot be read")?.is_dir() {
        return Ok(None);
    }
    // Where links in the root led, they were followed inside of it; this path has none, unless somebody is at work there.
    let path = std::fs::read_link(format!("/proc/self/fd/{}", place.as_raw_fd()));
    let export = open_export(&path.context("its path cannot be read")?, false)?;
    if file_identity(&export.descriptor)? != file_identity(&place.into())? {
        bail!("it was replaced meanwhile: try again");
    }
    Ok(Some(export))
}

/// Has the host's kernel show an export's files with other owners: `map` leads from those that the file system has to those
/// that are seen. With `recursive`, also those of mounts below it. The caller must have one thread.
pub fn translate_owners(export: &mut Export, map: &IdentityMap, recursive: bool) -> Result<()> {
    let namespace = user_namespace(map).context("cannot make a user namespace of its owners")?;
    let clone = if export.recursive { mounts::clone_tree_at } else { mounts::clone_mount };
    let source = export.descriptor.as_fd();
    let translated = || -> Result<OwnedFd> {
        let tree = clone(source).context("its mounts cannot be copied: only root can have owners mapped")?;
        mounts::translate_owners(tree.as_fd(), namespace.as_fd(), recursive)
            .context("its file system cannot show mapped owners")?;
        Ok(tree)
    };
    let (tree, twin) = (translated()?, translated()?);
    (export.descriptor, export.twin, export.detached) = (tree, Some(twin), true);
    Ok(())
}

/// Hides what holds credentials, and the host's own virtual file systems, in every export that shows them, by whichever mount of the
/// host's. An export that lies within a secret was asked for by name.
fn hide_secrets(exports: &mut [Export], caller: &Identity) {
    let mut places = secrets(caller);
    for place in &places {
        let directory = place.parent().and_then(|parent| std::fs::metadata(parent).ok());
        if let (Some(directory), Some(name)) = (directory, place.file_name()) {
            for export in &mut *exports {
                export.hidden_names.hide((directory.dev(), directory.ino()), name.as_bytes());
            }
        }
    }
    places.extend(VIRTUAL.iter().map(|name| Path::new("/").join(name)));
    // Where a link leads is a place of its own.
    places.retain(|place| std::fs::symlink_metadata(place).is_ok_and(|found| !found.is_symlink()));
    for export in exports {
        for place in &places {
            if let Ok(path) = place.strip_prefix(&export.source)
                && path != Path::new("")
            {
                export.hidden.push(Hidden { path: path.into(), required: false });
            }
        }
    }
}

/// Hides a path of the sandbox in the export that shows it: what it leads to, and its last component's own name where that is a
/// link.
fn hide(path: &Path, mounts: &[Mount], exports: &mut [Export]) -> Result<()> {
    let text = path.to_str().with_context(|| format!("cannot hide {}: it is not text", path.display()))?;
    let path = sandbox_path(text).map_err(|problem| anyhow::anyhow!("cannot hide: {problem}"))?;
    let missing =
        || format!("cannot hide {}: it does not exist in the sandbox; check the path", path.display());
    let places = follow(&path, mounts, exports).with_context(missing)?;
    for place in &places {
        let mount = covering(place, mounts);
        // In the others: it begins empty, and what it holds later is the sandbox's own.
        let MountSource::Export { export, .. } = mount.source else { continue };
        let export = &mut exports[export];
        let inner = place.strip_prefix(&mount.destination).unwrap_or(place);
        let (Some(parent), Some(name)) = (inner.parent(), inner.file_name()) else {
            bail!("cannot hide {}: it is a mount; leave the mount out", path.display())
        };
        let directory = open_in_root(&export.descriptor, parent, true).ok().with_context(missing)?;
        export.hidden_names.hide(file_identity(&directory.into()).with_context(missing)?, name.as_bytes());
        if Some(place) == places.last() {
            open_in_root(&export.descriptor, inner, true).ok().with_context(missing)?;
            export.hidden.push(Hidden { path: inner.into(), required: true });
        }
    }
    Ok(())
}

/// The mount that shows a path: the one with the longest destination that is a prefix.
pub(super) fn covering<'a>(path: &Path, mounts: &'a [Mount]) -> &'a Mount {
    let matching = mounts.iter().filter(|mount| path.starts_with(&mount.destination));
    matching.max_by_key(|mount| mount.destination.components().count()).unwrap_or(&mounts[0])
}

/// Where the first process starts: where `-w` says, else where the caller is, if that exists in the sandbox, else `/`.
pub(super) fn workdir(wanted: Option<&Path>, layout: &Layout) -> Result<PathBuf> {
    if let Some(wanted) = wanted {
        return normalise(wanted).with_context(|| {
            format!("cannot start in {}: write an absolute path without '..'", wanted.display())
        });
    }
    let Some(current) = std::env::current_dir().ok().and_then(|current| normalise(&current)) else {
        return Ok("/".into());
    };
    let mount = covering(&current, &layout.mounts);
    let inner = current.strip_prefix(&mount.destination).unwrap_or(&current);
    let exists = match mount.source {
        MountSource::Tmpfs(_)
        | MountSource::Proc
        | MountSource::Sys
        | MountSource::Cgroup
        | MountSource::Queues
        | MountSource::Dev(_) => inner == Path::new(""),
        MountSource::Device { .. } => false,
        MountSource::Export { export, .. } => {
            let export = &layout.exports[export];
            let hidden = export.hidden.iter().any(|hidden| inner.starts_with(&hidden.path));
            let directory = || open_in_root(&export.descriptor, inner, true).and_then(|file| file.metadata());
            !hidden && directory().is_ok_and(|metadata| metadata.is_dir())
        }
    };
    Ok(if exists { current } else { "/".into() })
}

/// How often `openat2(2)` is asked again on a busy host.
const MAX_REPEATS: u32 = 100;

/// Opens a path below a directory as if the directory were the root: links and `..` cannot leave it. With `reference`
/// the file is only referred to (`O_PATH`), else opened for reading without waiting for anybody.
pub fn open_in_root(root: &OwnedFd, path: &Path, reference: bool) -> std::io::Result<File> {
    let flags = if reference { OFlag::O_PATH } else { OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY };
    let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(resolve);
    let path = if path == Path::new("") { Path::new(".") } else { path };
    let mut repeats = 0;
    loop {
        match openat2(root.as_fd(), path, how) {
            // A rename or a mount anywhere on the host kept it from being sure where a `..` leads: openat2(2).
            Err(nix::errno::Errno::EAGAIN) if repeats < MAX_REPEATS => repeats += 1,
            result => return Ok(result?.into()),
        }
    }
}

/// Device and inode, to tell whether two descriptors mean the same file.
pub(crate) fn file_identity(descriptor: &OwnedFd) -> std::io::Result<(u64, u64)> {
    let metadata = File::from(descriptor.try_clone()?).metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}
