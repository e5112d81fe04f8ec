//! Files that stand for something else: devices and FIFOs.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::RwLock;
use usk_abi::Errno;
use usk_abi::fs::{OpenFlags, split_device};

use crate::SysResult;
use crate::file::pipe::Pipe;
use crate::task::Current;
use crate::vfs::{AnonymousInode, FileOps, FileType, InodeRef, Path};

/// A request to open a device.
pub struct DeviceOpening<'a> {
    /// Who opens it; `None` for the kernel itself.
    pub current: Option<&'a mut Current>,
    /// The device file.
    pub path: &'a Path,
    /// Minor number.
    pub minor: u32,
    /// `O_*`.
    pub flags: OpenFlags,
}

/// What stands behind device numbers.
pub trait Device: Send + Sync {
    /// `open(2)`: the object to be opened at the device's path.
    fn open(&self, opening: DeviceOpening<'_>) -> SysResult<Arc<dyn FileOps>>;
}

/// A device's type and major number; its minor number, unless all minor numbers mean one thing.
type DeviceKey = (FileType, u32, Option<u32>);

/// The devices of a namespace.
#[derive(Default)]
pub struct SpecialFiles {
    devices: RwLock<HashMap<DeviceKey, Arc<dyn Device>>>,
}

impl SpecialFiles {
    /// Says what a device number means; without `minor`, all numbers of that `major` for which nothing else is said.
    pub fn register(&self, file_type: FileType, major: u32, minor: Option<u32>, device: Arc<dyn Device>) {
        self.devices.write().insert((file_type, major, minor), device);
    }

    fn find(&self, file_type: FileType, major: u32, minor: u32) -> Option<Arc<dyn Device>> {
        let devices = self.devices.read();
        let exact = devices.get(&(file_type, major, Some(minor)));
        exact.or_else(|| devices.get(&(file_type, major, None))).cloned()
    }

    /// Opens a device file. `ENXIO` if its number means nothing.
    pub(super) fn open_device(
        &self,
        inode: &InodeRef,
        path: &Path,
        flags: OpenFlags,
        current: Option<&mut Current>,
    ) -> SysResult<Arc<dyn FileOps>> {
        let file_type = inode.file_type();
        let (major, minor) = split_device(inode.attributes()?.special_device);
        let device = self.find(file_type, major, minor);
        device.ok_or(Errno::ENXIO)?.open(DeviceOpening { current, path, minor, flags })
    }
}

/// Opens a FIFO: waits for the other side as `fifo(7)` says, unless it is a pipe without a name.
pub(super) fn open_fifo(
    inode: &InodeRef,
    flags: OpenFlags,
    current: Option<&mut Current>,
) -> SysResult<Arc<dyn FileOps>> {
    let pipe = {
        let mut special = inode.common().special.lock();
        let pipe = special.clone().and_then(|object| object.downcast::<Pipe>().ok());
        match pipe {
            Some(pipe) => pipe,
            None => {
                let pipe = Pipe::new();
                *special = Some(pipe.clone());
                pipe
            }
        }
    };
    if inode.as_any().is::<AnonymousInode>() {
        return Ok(pipe.reopen(flags.bits()));
    }
    pipe.open_fifo(current.ok_or(Errno::ENXIO)?, flags.bits())
}
