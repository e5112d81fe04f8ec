//! The contents of a regular file in memory.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use usk_abi::Errno;
use usk_abi::fs::{FallocateMode, Seals};
use usk_platform::host;

use super::{PAGE, Volume};
use crate::host_memory::{self, HostMemory};
use crate::vfs::LateWrite;
use crate::{Sink, Source};

/// Longest file, in bytes, that is kept in the sentry's own memory as long as memfds are plenty.
const SMALL: u64 = 16 << 10;
/// Longest file that is kept there when they are not: a memfd is a descriptor, and the host limits those.
const SMALL_IN_NEED: u64 = 64 << 20;
/// Memfds beyond which they are not plenty.
const PLENTY: usize = 8192;

enum Store {
    /// All bytes.
    Small(Vec<u8>),
    /// A memfd of the file's length.
    Host(HostMemory),
}

/// The bytes of a file, its length, and the space it takes. The owner guards it with a lock; a mapping goes to the memfd, past
/// that lock, as it does on Linux.
pub(super) struct Contents {
    store: Store,
    size: u64,
    /// Pages counted against the volume.
    pages: u64,
    /// The memfd has the pages of the file's length, and no others: until a call tells by its arguments that it may be otherwise. A
    /// private mapping changes nothing of that. One that is shared may free pages, and adds those that were never written.
    is_full: bool,
    pub(super) seals: Seals,
}

impl Contents {
    pub(super) fn new(seals: Seals) -> Self {
        Contents { store: Store::Small(Vec::new()), size: 0, pages: 0, is_full: true, seals }
    }

    /// Length in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Pages in use. The host is asked only where it alone knows.
    pub(super) fn pages(&self) -> u64 {
        match &self.store {
            Store::Host(file) if !self.is_full => {
                host::extent(&*file.0).map_or(self.pages, |extent| extent.blocks * 512 / PAGE)
            }
            Store::Small(_) | Store::Host(_) => self.length_in_pages(),
        }
    }

    /// True if all pages are there, so that reading them through a mapping adds none.
    pub(super) fn has_no_holes(&self) -> bool {
        self.pages() >= self.length_in_pages()
    }

    fn length_in_pages(&self) -> u64 {
        self.size.div_ceil(PAGE)
    }

    /// Whether what is put at `offset` leaves no page before it that is not there, if all are that the length has.
    fn adjoins(&self, offset: u64) -> bool {
        offset / PAGE <= self.length_in_pages()
    }

    /// Pages counted against the volume.
    pub(super) fn counted_pages(&self) -> u64 {
        self.pages
    }

    fn recount(&mut self, volume: &Volume) {
        let pages = self.pages();
        volume.recount(self.pages, pages);
        self.pages = pages;
    }

    /// Reads from `offset` on; 0 at the end.
    pub(super) fn read(&self, destination: &mut dyn Sink, offset: u64) -> Result<usize, Errno> {
        let available = self.size.saturating_sub(offset);
        let wanted = usize::try_from(available).unwrap_or(usize::MAX).min(destination.remaining());
        match &self.store {
            Store::Small(bytes) => {
                // The length of the vector is the file's: an offset below it fits.
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                destination.put(&bytes[start..start + wanted])
            }
            Store::Host(file) => read_host(&file.0, destination, offset, wanted),
        }
    }

    /// Writes at `offset`, extending the file. `ENOSPC` if the volume has no room for the first byte.
    pub(super) fn write(
        &mut self,
        volume: &Volume,
        source: &mut dyn Source,
        offset: u64,
    ) -> Result<usize, Errno> {
        let mut wanted = source.remaining();
        if wanted == 0 {
            return Ok(0);
        }
        let room = u64::try_from(i64::MAX).unwrap_or(u64::MAX).checked_sub(offset).filter(|room| *room > 0);
        wanted = wanted.min(usize::try_from(room.ok_or(Errno::EFBIG)?).unwrap_or(usize::MAX));
        if self.seals.intersects(Seals::WRITE | Seals::FUTURE_WRITE) {
            return Err(Errno::EPERM);
        }
        if self.seals.contains(Seals::GROW) && offset + wanted as u64 > self.size {
            let within = self.size.saturating_sub(offset);
            wanted = usize::try_from(within).unwrap_or(usize::MAX).min(wanted);
            if wanted == 0 {
                return Err(Errno::EPERM);
            }
        }
        wanted = self.fit(volume, offset, wanted)?;
        self.prepare(offset + wanted as u64)?;
        self.is_full &= self.adjoins(offset);
        let written = source.drain(wanted, &mut |bytes, done| self.put(offset + done as u64, bytes));
        self.recount(volume);
        written
    }

    /// Up to where writes do not fail, nor are cut short. Where the volume is bounded somebody else may take the room.
    pub(super) fn late_writes_end(&self, volume: &Volume) -> Option<u64> {
        let is_free = self.seals == Seals::SEAL && volume.free_pages().is_none();
        is_free.then_some(match self.store {
            Store::Small(_) => SMALL_IN_NEED,
            Store::Host(_) => i64::MAX as u64,
        })
    }

    /// Does writes below [`Contents::late_writes_end`].
    pub(super) fn write_late(&mut self, volume: &Volume, writes: &[LateWrite<'_>]) -> Result<(), Errno> {
        let mut write = |write: &LateWrite<'_>| {
            let LateWrite { mut offset, mut data, .. } = *write;
            self.prepare(offset.saturating_add(data.len() as u64))?;
            self.is_full &= self.adjoins(offset);
            while !data.is_empty() {
                let put = self.put(offset, data)?;
                data = data.get(put..).filter(|_| put > 0).ok_or(Errno::EIO)?;
                offset += put as u64;
            }
            Ok(())
        };
        let result = writes.iter().try_for_each(&mut write);
        self.recount(volume);
        result
    }

    /// Puts bytes into a store that is prepared for them.
    fn put(&mut self, at: u64, data: &[u8]) -> Result<usize, Errno> {
        let put = match &mut self.store {
            Store::Small(bytes) => {
                let start = usize::try_from(at).map_err(|_| Errno::EFBIG)?;
                let end = start + data.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[start..end].copy_from_slice(data);
                data.len()
            }
            Store::Host(file) => host::write_at(&*file.0, data, at).inspect_err(|_| self.is_full = false)?,
        };
        self.size = self.size.max(at + put as u64);
        Ok(put)
    }

    /// How many of `wanted` bytes at `offset` the volume has room for.
    fn fit(&self, volume: &Volume, offset: u64, wanted: usize) -> Result<usize, Errno> {
        let Some(free) = volume.free_pages() else { return Ok(wanted) };
        let end = offset + wanted as u64;
        let touched = end.div_ceil(PAGE) - offset / PAGE;
        if touched <= free
            || touched <= free + self.pages_within(offset / PAGE * PAGE, end.next_multiple_of(PAGE))
        {
            return Ok(wanted);
        }
        // Room up to the end of the last page that fits, the pages at the beginning being there already or not.
        let first_new = self.allocated_until(offset / PAGE * PAGE);
        let until = (first_new + free * PAGE).min(end);
        match until.saturating_sub(offset) {
            0 => Err(Errno::ENOSPC),
            room => Ok(usize::try_from(room).unwrap_or(usize::MAX).min(wanted)),
        }
    }

    /// Where the allocated pages that begin at `from` (page aligned) end; `from` if it is not allocated.
    fn allocated_until(&self, from: u64) -> u64 {
        match &self.store {
            Store::Small(bytes) => from.max((bytes.len() as u64).next_multiple_of(PAGE)),
            Store::Host(file) => match host::seek_hole(&*file.0, from) {
                Ok(hole) => hole.next_multiple_of(PAGE),
                Err(_) => from,
            },
        }
    }

    /// Pages of a page-aligned range that are in use.
    fn pages_within(&self, from: u64, to: u64) -> u64 {
        let mut pages = 0;
        let mut at = from;
        while at < to {
            let data = match &self.store {
                Store::Small(_) => at,
                Store::Host(file) => match host::seek_data(&*file.0, at) {
                    Ok(data) => data,
                    Err(_) => break,
                },
            };
            let end = self.allocated_until(data).min(to);
            if data >= to || end <= data {
                break;
            }
            pages += (end - data).div_ceil(PAGE);
            at = end;
        }
        pages
    }

    /// Sees to it that the store can take a file of `size` bytes.
    fn prepare(&mut self, size: u64) -> Result<(), Errno> {
        if let Store::Small(_) = self.store
            && size > SMALL
            && (host_memory::in_use() < PLENTY || size > SMALL_IN_NEED)
        {
            match self.promote() {
                Err(Errno::EMFILE | Errno::ENFILE) if size <= SMALL_IN_NEED => {}
                Err(Errno::EMFILE | Errno::ENFILE) => return Err(Errno::ENOSPC),
                result => result?,
            }
        }
        Ok(())
    }

    /// Moves the bytes into a memfd.
    fn promote(&mut self) -> Result<(), Errno> {
        if let Store::Small(bytes) = &self.store {
            // Writing gives it its length.
            let file = HostMemory::new(c"usk-file", 0)?;
            let mut done = 0;
            while done < bytes.len() {
                done += host::write_at(&*file.0, &bytes[done..], done as u64)?;
            }
            self.store = Store::Host(file);
            self.is_full = true;
        }
        Ok(())
    }

    /// The memfd, for a mapping, which may be shared, and whether another number of pages in use is shown from now on.
    pub(super) fn host_file(&mut self, shared: bool) -> Result<(Arc<OwnedFd>, bool), Errno> {
        self.promote()?;
        let was_full = self.is_full;
        self.is_full &= !shared;
        let has_changed = was_full && self.pages() != self.length_in_pages();
        match &self.store {
            Store::Host(file) => Ok((file.0.clone(), has_changed)),
            Store::Small(_) => Err(Errno::ENOMEM),
        }
    }

    /// Sets the length. Bytes beyond the old one are zero.
    pub(super) fn set_size(&mut self, volume: &Volume, size: u64) -> Result<(), Errno> {
        if (self.seals.contains(Seals::SHRINK) && size < self.size)
            || (self.seals.contains(Seals::GROW) && size > self.size)
        {
            return Err(Errno::EPERM);
        }
        if i64::try_from(size).is_err() {
            return Err(Errno::EFBIG);
        }
        self.prepare(size)?;
        let is_unmapped = matches!(&self.store, Store::Host(file) if Arc::strong_count(&file.0) == 1);
        if size == 0 && is_unmapped {
            self.store = Store::Small(Vec::new());
        }
        match &mut self.store {
            Store::Small(bytes) => {
                bytes.resize(usize::try_from(size).map_err(|_| Errno::EFBIG)?, 0);
                bytes.shrink_to(2 * bytes.len());
            }
            Store::Host(file) => {
                host::set_length(&*file.0, size)?;
                self.is_full &= size.div_ceil(PAGE) <= self.size.div_ceil(PAGE);
            }
        }
        self.size = size;
        self.recount(volume);
        Ok(())
    }

    /// `fallocate(2)`: what Linux's tmpfs has of it.
    pub(super) fn allocate(
        &mut self,
        volume: &Volume,
        mode: FallocateMode,
        offset: u64,
        length: u64,
    ) -> Result<(), Errno> {
        let punches = mode == FallocateMode::PUNCH_HOLE | FallocateMode::KEEP_SIZE;
        if !punches && !(mode - FallocateMode::KEEP_SIZE).is_empty() {
            return Err(Errno::EOPNOTSUPP);
        }
        let end = offset.checked_add(length).filter(|end| i64::try_from(*end).is_ok()).ok_or(Errno::EFBIG)?;
        let grows = !mode.contains(FallocateMode::KEEP_SIZE) && end > self.size;
        if (punches && self.seals.intersects(Seals::WRITE | Seals::FUTURE_WRITE))
            || (grows && self.seals.contains(Seals::GROW))
        {
            return Err(Errno::EPERM);
        }
        if !punches {
            let (from, to) = (offset / PAGE * PAGE, end.next_multiple_of(PAGE));
            let needed =
                ((to - from) / PAGE).saturating_sub(self.pages_within(from, to.min(from + (1 << 40))));
            if volume.free_pages().is_some_and(|free| needed > free) {
                return Err(Errno::ENOSPC);
            }
        }
        self.promote()?;
        // Pages beyond the length are counted as well.
        let fills = !punches && self.adjoins(offset) && (grows || end <= self.size.next_multiple_of(PAGE));
        self.is_full &= fills;
        if let Store::Host(file) = &self.store {
            host::allocate(&*file.0, mode.bits(), offset, length).inspect_err(|_| self.is_full = false)?;
        }
        if grows {
            self.size = end;
        }
        self.recount(volume);
        Ok(())
    }

    /// `lseek(2)` with `SEEK_DATA` or `SEEK_HOLE`.
    pub(super) fn seek_data(&self, offset: u64, hole: bool) -> Result<u64, Errno> {
        if offset >= self.size {
            return Err(Errno::ENXIO);
        }
        match &self.store {
            Store::Small(_) => Ok(if hole { self.size } else { offset }),
            Store::Host(file) if hole => host::seek_hole(&*file.0, offset),
            Store::Host(file) => host::seek_data(&*file.0, offset),
        }
    }
}

/// Moves `wanted` bytes at `offset` from a file of the host to `destination`.
pub(crate) fn read_host(
    file: &OwnedFd,
    destination: &mut dyn Sink,
    offset: u64,
    wanted: usize,
) -> Result<usize, Errno> {
    destination.fill(wanted, &mut |buffer, done| host::read_at(file, buffer, offset + done as u64))
}

#[cfg(test)]
#[path = "contents_tests.rs"]
mod tests;
