//! Open regular files of a tmpfs.

use std::any::Any;
use std::sync::Arc;

use parking_lot::RwLock;
use usk_abi::Errno;
use usk_abi::fs::{FallocateMode, OpenFlags, S_ISGID, S_ISUID, Seals};

use super::contents::Contents;
use super::inode::{Body, TmpfsInode};
use crate::vfs::{FileOps, Inode, LateWrite, Mapping, OpenFile, SetAttributes};
use crate::{Sink, Source};

/// An open regular file.
pub(super) struct TmpfsFile {
    inode: Arc<TmpfsInode>,
}

impl TmpfsFile {
    pub(super) fn new(inode: Arc<TmpfsInode>) -> Self {
        TmpfsFile { inode }
    }

    fn contents(&self) -> Result<&RwLock<Contents>, Errno> {
        match &self.inode.body {
            Body::Regular(contents) => Ok(contents),
            _ => Err(Errno::EINVAL),
        }
    }
}

impl FileOps for TmpfsFile {
    fn read(&self, file: &OpenFile, destination: &mut dyn Sink, offset: u64) -> Result<usize, Errno> {
        if destination.remaining() == 0 {
            return Ok(0);
        }
        let read = self.contents()?.read().read(destination, offset)?;
        if !file.open_flags().contains(OpenFlags::NOATIME) {
            self.inode.accessed();
        }
        Ok(read)
    }

    fn write(&self, _: &OpenFile, source: &mut dyn Source, offset: u64) -> Result<usize, Errno> {
        let written = self.contents()?.write().write(&self.inode.volume, source, offset)?;
        if written > 0 {
            self.inode.modified();
        }
        Ok(written)
    }

    fn append(&self, _: &OpenFile, source: &mut dyn Source) -> Result<(usize, u64), Errno> {
        let mut contents = self.contents()?.write();
        let end = contents.size();
        let written = contents.write(&self.inode.volume, source, end)?;
        drop(contents);
        if written > 0 {
            self.inode.modified();
        }
        Ok((written, end + written as u64))
    }

    fn late_writes_end(&self) -> Option<u64> {
        let is_plain = self.inode.state.lock().attributes.mode & (S_ISUID | S_ISGID) == 0;
        let contents = self.contents().ok()?.read();
        contents.late_writes_end(&self.inode.volume).filter(|_| is_plain)
    }

    fn write_late(&self, writes: &[LateWrite<'_>]) -> Result<(), Errno> {
        self.inode.drop_capabilities()?;
        self.contents()?.write().write_late(&self.inode.volume, writes)?;
        if let Some(last) = writes.last() {
            self.inode.modified_at(last.when);
        }
        Ok(())
    }

    fn is_seekable(&self) -> bool {
        true
    }

    fn length(&self, _: &OpenFile) -> Result<u64, Errno> {
        Ok(self.contents()?.read().size())
    }

    fn seek_data(&self, _: &OpenFile, offset: u64, hole: bool) -> Result<u64, Errno> {
        self.contents()?.read().seek_data(offset, hole)
    }

    fn allocate(&self, _: &OpenFile, mode: FallocateMode, offset: u64, length: u64) -> Result<(), Errno> {
        self.contents()?.write().allocate(&self.inode.volume, mode, offset, length)?;
        self.inode.modified();
        Ok(())
    }

    fn set_length(&self, _: &OpenFile, length: u64) -> Result<(), Errno> {
        self.inode.set_attributes(&SetAttributes { size: Some(length), ..SetAttributes::default() })
    }

    fn mapping(&self, _: &OpenFile, shared: bool) -> Result<Mapping, Errno> {
        let (host, has_changed) = self.contents()?.write().host_file(shared)?;
        if has_changed {
            drop(self.inode.recall());
        }
        Ok(Mapping::Host(host))
    }

    fn sync(&self, _: &OpenFile, _: bool) -> Result<(), Errno> {
        Ok(())
    }

    fn is_volatile(&self) -> bool {
        true
    }

    fn seals(&self) -> Result<Seals, Errno> {
        Ok(self.contents()?.read().seals)
    }

    fn add_seals(&self, mut seals: Seals) -> Result<(), Errno> {
        let mut contents = self.contents()?.write();
        if contents.seals.contains(Seals::SEAL) {
            return Err(Errno::EPERM);
        }
        if seals.contains(Seals::EXEC) && self.inode.state.lock().attributes.mode & 0o111 != 0 {
            // What may be executed is not to be written.
            seals |= Seals::SHRINK | Seals::GROW | Seals::WRITE | Seals::FUTURE_WRITE;
        }
        // From here on no mapping can be made that may be written.
        if seals.contains(Seals::WRITE)
            && !contents.seals.contains(Seals::WRITE)
            && !self.inode.common().writable_mappings.deny()
        {
            return Err(Errno::EBUSY);
        }
        contents.seals |= seals;
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
