//! `/dev`: a tmpfs with the device files, links and directories that programs count on (`null(4)`, `random(4)`, `tty(4)`, `pts(4)`).

mod memory_devices;
mod pts;

use std::sync::Arc;

use usk_abi::Errno;
use usk_abi::fs::make_device;

use crate::Kernel;
use crate::fs::tmpfs::{Tmpfs, TmpfsOptions};
use crate::vfs::{FileType, MountFlags, MountNamespace};

use memory_devices::MemoryDevice;

pub use pts::DevptsOptions;

/// Major number of memory devices.
const MEMORY: u32 = 1;

/// Major number of `/dev/tty`, `/dev/console` and `/dev/ptmx`.
const TERMINAL: u32 = 5;
/// Minor number of `/dev/console`.
const CONSOLE_MINOR: u32 = 1;

const DEVICES: &[(&str, u32, u32)] = &[
    ("null", MEMORY, 3),
    ("zero", MEMORY, 5),
    ("full", MEMORY, 7),
    ("random", MEMORY, 8),
    ("urandom", MEMORY, 9),
    ("tty", TERMINAL, 0),
];

const LINKS: &[(&str, &str)] = &[
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// Permissions of the devices' files.
const PERMISSIONS: u32 = 0o666;

/// Whether this is the number of a character device that every `/dev` has.
pub fn has_device(major: u32, minor: u32) -> bool {
    DEVICES.iter().any(|&(_, its_major, its_minor)| (its_major, its_minor) == (major, minor))
}

/// The file of a character device, to be mounted on another file.
pub fn device_file(major: u32, minor: u32) -> Arc<Tmpfs> {
    Tmpfs::single_device(PERMISSIONS, make_device(major, minor))
}

/// Mounts `/dev` and `/dev/pts` in `namespace` and says what the device numbers mean. `/dev` is mounted from `source`.
pub fn mount(
    kernel: &Arc<Kernel>,
    namespace: &Arc<MountNamespace>,
    source: &str,
    options: TmpfsOptions,
    terminals: DevptsOptions,
) -> Result<(), Errno> {
    namespace.mount_at(b"/dev", Tmpfs::new(options), MountFlags::NO_SUID, source)?;
    namespace.with_names(|names| {
        for (name, major, minor) in DEVICES {
            let path = format!("/dev/{name}");
            let number = make_device(*major, *minor);
            names.make_node(&names.root, path.as_bytes(), FileType::CharacterDevice, PERMISSIONS, number)?;
        }
        if kernel.terminals.console().is_some() {
            let number = make_device(TERMINAL, CONSOLE_MINOR);
            names.make_node(&names.root, b"/dev/console", FileType::CharacterDevice, 0o620, number)?;
        }
        for (name, target) in LINKS {
            names.make_symlink(&names.root, format!("/dev/{name}").as_bytes(), target.as_bytes())?;
        }
        Ok::<(), Errno>(())
    })?;
    for (_, major, minor) in DEVICES {
        if let Some(device) = MemoryDevice::of(*minor) {
            namespace.special.register(FileType::CharacterDevice, *major, Some(*minor), Arc::new(device));
        }
    }
    crate::tty::devices::register(&namespace.special, &kernel.terminals);
    let flags = MountFlags::NO_SUID | MountFlags::NO_EXECUTE;
    namespace.mount_at(b"/dev/pts", pts::new(&kernel.terminals, terminals), flags, "devpts")?;
    Ok(())
}

/// Mounts `/dev/shm` (`shm_overview(7)`) below the `/dev` of `namespace`.
pub fn mount_shared_memory(namespace: &Arc<MountNamespace>) -> Result<(), Errno> {
    let shared = TmpfsOptions { permissions: 0o1777, ..TmpfsOptions::default() };
    let flags = MountFlags::NO_SUID | MountFlags::NO_DEVICES;
    namespace.mount_at(b"/dev/shm", Tmpfs::new(shared), flags, "tmpfs")?;
    Ok(())
}
