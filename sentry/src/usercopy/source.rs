//! Guest memory that a write empties.

use usk_abi::Errno;
use usk_platform::AddressSpace;

use super::cursor::Cursor;
use super::transit::drain_through_buffer;
use super::{BytesSource, IoVec, Source, Taker};

/// Guest memory as a [`Source`].
pub struct UserSource<'a>(Place<'a>);

enum Place<'a> {
    /// Of which the call has brought a copy along.
    HandedOver(BytesSource<'a>),
    /// In its address space.
    Memory(Memory<'a>),
}

/// Ranges of an address space.
struct Memory<'a> {
    space: &'a dyn AddressSpace,
    cursor: Cursor,
}

impl<'a> UserSource<'a> {
    /// The ranges in order, cut off at [`MAX_TRANSFER`](super::MAX_TRANSFER) bytes in all.
    pub fn new(space: &'a dyn AddressSpace, ranges: &[IoVec]) -> Self {
        UserSource(Place::Memory(Memory { space, cursor: Cursor::new(ranges) }))
    }

    /// Bytes that the call has brought along.
    pub(crate) fn handed_over(bytes: Vec<u8>) -> Self {
        UserSource(Place::HandedOver(bytes.into()))
    }
}

impl Source for UserSource<'_> {
    fn remaining(&self) -> usize {
        match &self.0 {
            Place::HandedOver(bytes) => bytes.remaining(),
            Place::Memory(memory) => memory.cursor.remaining(),
        }
    }

    fn take(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
        match &mut self.0 {
            Place::HandedOver(bytes) => bytes.take(buffer),
            Place::Memory(memory) => memory.take(buffer),
        }
    }

    fn drain(&mut self, limit: usize, taker: Taker<'_>) -> Result<usize, Errno> {
        match &mut self.0 {
            Place::HandedOver(bytes) => bytes.drain(limit, taker),
            Place::Memory(_) => drain_through_buffer(self, limit, taker),
        }
    }

    fn give_back(&mut self, count: usize) {
        match &mut self.0 {
            Place::HandedOver(bytes) => bytes.give_back(count),
            Place::Memory(memory) => memory.cursor.retreat(count),
        }
    }
}

impl Memory<'_> {
    fn take(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
        let mut done = 0;
        while done < buffer.len() {
            let Some((address, length)) = self.cursor.current() else { break };
            let want = length.min(buffer.len() - done);
            let read = self.space.read(address, &mut buffer[done..done + want]);
            self.cursor.advance(read);
            done += read;
            if read < want {
                return if done == 0 { Err(Errno::EFAULT) } else { Ok(done) };
            }
        }
        Ok(done)
    }
}
