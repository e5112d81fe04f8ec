//! The tree of mounts that the first process finds.

use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use usk_sentry::Kernel;
use usk_sentry::fs::gofer::GoferFileSystem;
use usk_sentry::fs::overlay::Overlay;
use usk_sentry::fs::tmpfs::{Tmpfs, TmpfsOptions};
use usk_sentry::fs::{dev, proc, sys};
use usk_sentry::gofer::GoferClient;
use usk_sentry::vfs::{FileSystem, MountFlags, MountNamespace};

use crate::spec::{ExportAccess, Mount, MountSource, SandboxSpec};

/// Mounts everything: what the operator asked for in the order asked, and between the root and the rest the kernel's own file
/// systems, so that an operator can mount over them.
pub(super) fn build(
    kernel: &Arc<Kernel>,
    gofer: &Arc<GoferClient>,
    spec: &SandboxSpec,
) -> Result<Arc<MountNamespace>> {
    let (root, rest) = spec.mounts.split_first().ok_or_else(|| anyhow!("the sandbox has no root"))?;
    let (file_system, flags) = make(gofer, root)?;
    let namespace = MountNamespace::new(file_system, flags, source(root));
    let nothing_special = MountFlags::NO_SUID | MountFlags::NO_DEVICES | MountFlags::NO_EXECUTE;
    namespace.mount_at(b"/proc", proc::new(kernel), nothing_special, "proc").context("cannot mount /proc")?;
    namespace
        .mount_at(b"/sys", sys::new(), nothing_special | MountFlags::READ_ONLY, "sysfs")
        .context("cannot mount /sys")?;
    dev::mount(kernel, &namespace).context("cannot mount /dev")?;
    for mount in rest {
        let (file_system, flags) = make(gofer, mount)?;
        namespace
            .mount_at(mount.destination.as_os_str().as_bytes(), file_system, flags, source(mount))
            .with_context(|| format!("cannot mount {}", mount.destination.display()))?;
    }
    Ok(namespace)
}

/// What `/proc/mounts` shows as the device.
fn source(mount: &Mount) -> &'static str {
    match mount.source {
        MountSource::Export { access: ExportAccess::Overlay, .. } => "overlay",
        MountSource::Export { .. } => "gofer",
        MountSource::Tmpfs { .. } => "tmpfs",
    }
}

fn make(gofer: &Arc<GoferClient>, mount: &Mount) -> Result<(Arc<dyn FileSystem>, MountFlags)> {
    let plain = MountFlags::NO_SUID | MountFlags::NO_DEVICES;
    let export = |number| {
        GoferFileSystem::new(gofer, number)
            .with_context(|| format!("cannot use what the gofer serves for {}", mount.destination.display()))
    };
    Ok(match mount.source {
        MountSource::Export { export: number, access: ExportAccess::ReadOnly } => {
            (export(number)?, plain | MountFlags::READ_ONLY)
        }
        MountSource::Export { export: number, access: ExportAccess::ReadWrite } => (export(number)?, plain),
        // Set-user-ID programs of the root may act: whom they become is inside the sandbox as well.
        MountSource::Export { export: number, access: ExportAccess::Overlay } => {
            let overlay =
                Overlay::new(export(number)?, None, None).context("cannot make the root writable")?;
            (overlay, MountFlags::NO_DEVICES)
        }
        MountSource::Tmpfs { size } => {
            let options = TmpfsOptions { permissions: 0o1777, size, ..TmpfsOptions::default() };
            (Tmpfs::new(options), plain)
        }
    })
}
