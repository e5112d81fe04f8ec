//! Open regular files of the host.

use std::any::Any;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use usk_abi::Errno;
use usk_abi::fs::FallocateMode;
use usk_platform::host;

use super::inode::GoferInode;
use crate::fs::tmpfs::read_host;
use crate::vfs::{FileOps, Inode, Mapping, OpenFile, SetAttributes};
use crate::{Sink, Source};

/// An open regular file: a descriptor that the gofer donated.
pub(super) struct GoferFile {
    inode: Arc<GoferInode>,
    file: Arc<OwnedFd>,
}

impl GoferFile {
    pub(super) fn new(inode: Arc<GoferInode>, file: Arc<OwnedFd>) -> Self {
        GoferFile { inode, file }
    }

    fn write_from(&self, source: &mut dyn Source, offset: u64) -> Result<usize, Errno> {
        let mut write = |bytes: &[u8], done: usize| host::write_at(&*self.file, bytes, offset + done as u64);
        let written = source.drain(source.remaining(), &mut write);
        self.inode.contents_changed();
        written
    }
}

impl FileOps for GoferFile {
    fn read(&self, _: &OpenFile, destination: &mut dyn Sink, offset: u64) -> Result<usize, Errno> {
        let wanted = match self.inode.fixed_size() {
            Some(size) => usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX),
            None => usize::MAX,
        };
        let wanted = wanted.min(destination.remaining());
        read_host(&self.file, destination, offset, wanted)
    }

    fn write(&self, _: &OpenFile, source: &mut dyn Source, offset: u64) -> Result<usize, Errno> {
        let _writers = self.inode.writers.lock();
        self.write_from(source, offset)
    }

    fn append(&self, _: &OpenFile, source: &mut dyn Source) -> Result<(usize, u64), Errno> {
        let _writers = self.inode.writers.lock();
        let end = host::extent(&*self.file)?.size;
        let written = self.write_from(source, end)?;
        Ok((written, end + written as u64))
    }

    fn is_seekable(&self) -> bool {
        true
    }

    fn length(&self, _: &OpenFile) -> Result<u64, Errno> {
        match self.inode.fixed_size() {
            Some(size) => Ok(size),
            None => Ok(host::extent(&*self.file)?.size),
        }
    }

    fn seek_data(&self, _: &OpenFile, offset: u64, hole: bool) -> Result<u64, Errno> {
        if hole { host::seek_hole(&*self.file, offset) } else { host::seek_data(&*self.file, offset) }
    }

    fn allocate(&self, _: &OpenFile, mode: FallocateMode, offset: u64, length: u64) -> Result<(), Errno> {
        let _writers = self.inode.writers.lock();
        host::allocate(&*self.file, mode.bits(), offset, length)?;
        self.inode.contents_changed();
        Ok(())
    }

    fn set_length(&self, _: &OpenFile, length: u64) -> Result<(), Errno> {
        self.inode.set_attributes(&SetAttributes { size: Some(length), ..SetAttributes::default() })
    }

    fn mapping(&self, file: &OpenFile, shared: bool) -> Result<Mapping, Errno> {
        if shared && file.open_flags().is_writable() {
            self.inode.mapped_for_writing();
        }
        Ok(Mapping::Host(self.file.clone()))
    }

    fn sync(&self, file: &OpenFile, data_only: bool) -> Result<(), Errno> {
        if file.open_flags().is_writable() { host::sync(&*self.file, data_only) } else { Ok(()) }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
