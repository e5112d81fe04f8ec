//! `/dev/null`, `/dev/zero`, `/dev/full`, `/dev/random`, `/dev/urandom`.

use std::any::Any;
use std::sync::Arc;

use usk_abi::Errno;
use usk_platform::host;

use crate::vfs::{Device, DeviceOpening, FileOps, Mapping, OpenFile};
use crate::{Sink, Source, SysResult};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Null,
    Zero,
    Full,
    Random,
}

/// A device that needs no state.
#[derive(Clone, Copy)]
pub(super) struct MemoryDevice(Kind);

impl MemoryDevice {
    /// The device with this minor number, of major number 1.
    pub(super) fn of(minor: u32) -> Option<Self> {
        let kind = match minor {
            3 => Kind::Null,
            5 => Kind::Zero,
            7 => Kind::Full,
            8 | 9 => Kind::Random,
            _ => return None,
        };
        Some(MemoryDevice(kind))
    }
}

impl Device for MemoryDevice {
    fn open(&self, _opening: DeviceOpening<'_>) -> SysResult<Arc<dyn FileOps>> {
        Ok(Arc::new(*self))
    }
}

/// Fills the sink by steps that `make` makes.
fn fill(destination: &mut dyn Sink, make: impl Fn(&mut [u8]) -> Result<(), Errno>) -> Result<usize, Errno> {
    let mut step = |bytes: &mut [u8], _done| make(bytes).map(|()| bytes.len());
    destination.fill(destination.remaining(), &mut step)
}

impl FileOps for MemoryDevice {
    fn read(&self, _file: &OpenFile, destination: &mut dyn Sink, _offset: u64) -> Result<usize, Errno> {
        match self.0 {
            Kind::Null => Ok(0),
            Kind::Zero | Kind::Full => fill(destination, |bytes| {
                bytes.fill(0);
                Ok(())
            }),
            Kind::Random => fill(destination, host::fill_random),
        }
    }

    fn write(&self, _file: &OpenFile, source: &mut dyn Source, _offset: u64) -> Result<usize, Errno> {
        // Nothing looks at the bytes, so they are not copied: a bad buffer goes unnoticed, as on Linux.
        match self.0 {
            Kind::Full => Err(Errno::ENOSPC),
            _ => Ok(source.remaining()),
        }
    }

    fn is_void(&self) -> bool {
        self.0 == Kind::Null
    }

    fn is_seekable(&self) -> bool {
        true
    }

    fn keeps_position(&self) -> bool {
        true
    }

    fn seek(&self, _file: &OpenFile, _offset: i64, _whence: u32) -> Result<u64, Errno> {
        Ok(0)
    }

    fn mapping(&self, _file: &OpenFile, _shared: bool) -> Result<Mapping, Errno> {
        if self.0 == Kind::Zero { Ok(Mapping::Anonymous) } else { Err(Errno::ENODEV) }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
