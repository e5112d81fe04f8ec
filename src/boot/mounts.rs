//! The tree of mounts that the first process finds.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use usk_abi::Errno;
use usk_abi::fs::make_device as make_device_number;
use usk_sentry::Kernel;
use usk_sentry::fs::dev::{self, DevptsOptions};
use usk_sentry::fs::gofer::GoferFileSystem;
use usk_sentry::fs::overlay::Overlay;
use usk_sentry::fs::tmpfs::{self, TmpfsOptions};
use usk_sentry::fs::{cgroup, proc, sys};
use usk_sentry::gofer::GoferClient;
use usk_sentry::vfs::{FileSystem, FileType, MountFlags, MountNamespace, SpecialFile, WalkOptions};

use crate::spec::{
    DeviceFile, DeviceKind, Devpts, ExportAccess, Mount, MountSource, Restrictions, SandboxSpec, Tmpfs,
};

/// Mounts everything in the order of the list, then covers what is to be read-only or masked.
pub(super) fn build(
    kernel: &Arc<Kernel>,
    gofer: &Arc<GoferClient>,
    spec: &SandboxSpec,
) -> Result<Arc<MountNamespace>> {
    let (root, rest) = spec.mounts.split_first().ok_or_else(|| anyhow!("the sandbox has no root"))?;
    let namespace = MountNamespace::new(make(kernel, gofer, root)?, flags(root.restrictions), name(root));
    for mount in rest {
        let describe = || format!("cannot mount {}", mount.destination.display());
        // More than one file system: it mounts itself.
        if let MountSource::Dev(options) = mount.source {
            let (tmpfs, terminals) = (tmpfs_options(options.tmpfs), devpts_options(options.terminals));
            dev::mount(kernel, &namespace, name(mount), tmpfs, terminals).with_context(describe)?;
            if !spec.mounts.iter().any(|mount| mount.destination == Path::new("/dev/shm")) {
                dev::mount_shared_memory(&namespace).context("cannot mount /dev/shm")?;
            }
            // At once, while there are no other files below than the kernel's own.
            for device in &spec.devices {
                make_device(&namespace, device)?;
            }
            continue;
        }
        // There already, and used by the calls whether it is mounted or not.
        if mount.source == MountSource::Queues {
            let (root, flags) = (kernel.ipc.queues.root(), flags(mount.restrictions));
            let place = mount.destination.as_os_str().as_bytes();
            namespace.bind(place, root, flags, name(mount)).with_context(describe)?;
            continue;
        }
        let destination = mount.destination.as_os_str().as_bytes();
        let file_system = make(kernel, gofer, mount)?;
        namespace
            .mount_at(destination, file_system, flags(mount.restrictions), name(mount))
            .with_context(describe)?;
    }
    for path in &spec.read_only {
        make_read_only(&namespace, path.as_os_str().as_bytes())
            .with_context(|| format!("cannot make {} read-only", path.display()))?;
    }
    // Last: what is masked stays so, wherever it lies.
    for path in &spec.masked {
        namespace
            .hide(path.as_os_str().as_bytes())
            .with_context(|| format!("cannot mask {}", path.display()))?;
    }
    Ok(namespace)
}

/// The node of a device is there whatever it stands for. One that this kernel has not cannot be opened, as on Linux without a
/// driver: nothing leads to the host's.
fn make_device(namespace: &Arc<MountNamespace>, device: &DeviceFile) -> Result<()> {
    let &DeviceFile { ref path, kind, permissions, uid, gid } = device;
    let (file_type, number) = match kind {
        DeviceKind::Fifo => (FileType::Fifo, 0),
        DeviceKind::Character { major, minor } => {
            (FileType::CharacterDevice, make_device_number(major, minor))
        }
        DeviceKind::Block { major, minor } => (FileType::BlockDevice, make_device_number(major, minor)),
    };
    namespace
        .make_special(path.as_os_str().as_bytes(), SpecialFile { file_type, number, permissions, uid, gid })
        .with_context(|| format!("linux.devices: cannot make {}", path.display()))
}

/// Mounts a place over itself, read-only; what is mounted below it stays as it is.
fn make_read_only(namespace: &Arc<MountNamespace>, path: &[u8]) -> Result<(), Errno> {
    let found = namespace.with_names(|names| names.resolve(&names.root, path, WalkOptions::FOLLOW));
    let place = match found {
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
        found => found?,
    };
    let flags = place.mount.flags | MountFlags::READ_ONLY;
    let source = place.mount.source.clone();
    namespace.bind_tree(path, &place, flags, &source).map(drop)
}

/// What `/proc/mounts` shows as the device.
fn name(mount: &Mount) -> &str {
    if let Some(name) = &mount.name {
        return name;
    }
    match mount.source {
        MountSource::Export { access: ExportAccess::Overlay { .. }, .. } => "overlay",
        MountSource::Export { .. } => "gofer",
        MountSource::Tmpfs(_) => "tmpfs",
        MountSource::Proc => "proc",
        MountSource::Sys => "sysfs",
        MountSource::Cgroup => "cgroup2",
        MountSource::Queues => "mqueue",
        MountSource::Dev(_) | MountSource::Device { .. } => "devtmpfs",
    }
}

fn flags(restrictions: Restrictions) -> MountFlags {
    let Restrictions { read_only, no_suid, no_devices, no_execute } = restrictions;
    let mut flags = MountFlags::empty();
    flags.set(MountFlags::READ_ONLY, read_only);
    flags.set(MountFlags::NO_SUID, no_suid);
    flags.set(MountFlags::NO_DEVICES, no_devices);
    flags.set(MountFlags::NO_EXECUTE, no_execute);
    flags
}

fn tmpfs_options(tmpfs: Tmpfs) -> TmpfsOptions {
    let Tmpfs { size, permissions, uid, gid } = tmpfs;
    TmpfsOptions { size, permissions, uid, gid, ..TmpfsOptions::default() }
}

fn devpts_options(terminals: Devpts) -> DevptsOptions {
    let Devpts { user, group, permissions, master_permissions, most } = terminals;
    DevptsOptions { user, group, permissions, master_permissions, most }
}

fn make(kernel: &Arc<Kernel>, gofer: &Arc<GoferClient>, mount: &Mount) -> Result<Arc<dyn FileSystem>> {
    Ok(match mount.source {
        MountSource::Export { export: number, access } => {
            let export = GoferFileSystem::new(gofer, number).with_context(|| {
                format!("cannot use what the gofer serves for {}", mount.destination.display())
            })?;
            match access {
                ExportAccess::ReadOnly | ExportAccess::ReadWrite => export,
                ExportAccess::Overlay { size } => {
                    Overlay::new(export, size, None).context("cannot make it writable")?
                }
            }
        }
        MountSource::Tmpfs(tmpfs) => tmpfs::Tmpfs::new(tmpfs_options(tmpfs)),
        MountSource::Proc => proc::new(kernel),
        MountSource::Sys => sys::new(),
        MountSource::Cgroup => cgroup::new(kernel),
        MountSource::Device { major, minor } => dev::device_file(major, minor),
        MountSource::Queues | MountSource::Dev(_) => {
            return Err(anyhow!("message queues and device files cannot be the root"));
        }
    })
}
