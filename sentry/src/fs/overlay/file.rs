//! Open regular files of an overlay.

use std::any::Any;
use std::sync::{Arc, OnceLock};

use usk_abi::Errno;
use usk_abi::fs::{FallocateMode, OpenFlags};

use super::inode::OverlayInode;
use crate::task::Credentials;
use crate::vfs::{Caller, FileOps, Inode, LateWrite, Mapping, OpenFile, SetAttributes};
use crate::{Sink, Source};

/// An open regular file: the lower file's until the contents are copied up, the upper file's from then on.
pub(super) struct OverlayFile {
    inode: Arc<OverlayInode>,
    flags: OpenFlags,
    lower: OnceLock<Arc<dyn FileOps>>,
    upper: OnceLock<Arc<dyn FileOps>>,
}

impl OverlayFile {
    pub(super) fn open(inode: Arc<OverlayInode>, flags: OpenFlags) -> Result<Self, Errno> {
        let flags = flags - OpenFlags::TRUNC;
        let file = OverlayFile { inode, flags, lower: OnceLock::new(), upper: OnceLock::new() };
        file.contents()?;
        Ok(file)
    }

    /// The open file of whichever has the contents.
    fn contents(&self) -> Result<&dyn FileOps, Errno> {
        if let Some(upper) = self.upper.get() {
            return Ok(&**upper);
        }
        let (inode, is_upper) = self.inode.contents()?;
        let slot = if is_upper { &self.upper } else { &self.lower };
        if slot.get().is_none() {
            let credentials = Credentials::user(0, 0);
            let ops = inode.open(&inode, self.flags, Caller { credentials: &credentials, task: None })?;
            let _ = slot.set(ops);
        }
        slot.get().map(|ops| &**ops).ok_or(Errno::EIO)
    }
}

impl FileOps for OverlayFile {
    fn read(&self, file: &OpenFile, destination: &mut dyn Sink, offset: u64) -> Result<usize, Errno> {
        self.contents()?.read(file, destination, offset)
    }

    fn write(&self, file: &OpenFile, source: &mut dyn Source, offset: u64) -> Result<usize, Errno> {
        self.contents()?.write(file, source, offset)
    }

    fn append(&self, file: &OpenFile, source: &mut dyn Source) -> Result<(usize, u64), Errno> {
        self.contents()?.append(file, source)
    }

    fn late_writes_end(&self) -> Option<u64> {
        self.contents().ok()?.late_writes_end()
    }

    fn write_late(&self, writes: &[LateWrite<'_>]) -> Result<(), Errno> {
        self.contents()?.write_late(writes)
    }

    fn is_seekable(&self) -> bool {
        true
    }

    fn length(&self, file: &OpenFile) -> Result<u64, Errno> {
        self.contents()?.length(file)
    }

    fn seek_data(&self, file: &OpenFile, offset: u64, hole: bool) -> Result<u64, Errno> {
        self.contents()?.seek_data(file, offset, hole)
    }

    fn allocate(&self, file: &OpenFile, mode: FallocateMode, offset: u64, length: u64) -> Result<(), Errno> {
        self.contents()?.allocate(file, mode, offset, length)
    }

    fn set_length(&self, _: &OpenFile, length: u64) -> Result<(), Errno> {
        self.inode.set_attributes(&SetAttributes { size: Some(length), ..SetAttributes::default() })
    }

    fn mapping(&self, file: &OpenFile, shared: bool) -> Result<Mapping, Errno> {
        self.contents()?.mapping(file, shared)
    }

    fn sync(&self, file: &OpenFile, data_only: bool) -> Result<(), Errno> {
        self.contents()?.sync(file, data_only)
    }

    fn is_volatile(&self) -> bool {
        self.contents().is_ok_and(|contents| contents.is_volatile())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
