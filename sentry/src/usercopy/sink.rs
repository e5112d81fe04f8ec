//! Guest memory that a read fills.

use usk_abi::Errno;

use crate::task::Current;

use super::cursor::Cursor;
use super::{IoVec, Sink};

/// Where memory is limited, copies have their pages populated before, from the byte on that this many lie before. What
/// is smaller rarely happens to be what the memory runs out in.
const POPULATED_FROM: usize = 32 << 10;
/// So much is populated at a time. As much more than is written a call may cost the guest.
const POPULATED_STEP: usize = 128 << 10;

/// The caller's memory as a [`Sink`]. It is filled by the time that the call returns.
pub struct UserSink<'a> {
    current: &'a mut Current,
    cursor: Cursor,
    populated: Populated,
}

/// How much of the ranges, in bytes from the beginning, need not be populated.
#[derive(Clone, Copy)]
enum Populated {
    /// All: memory is not limited.
    Unlimited,
    /// So much has been written, and so much was populated.
    Limited { written: usize, populated: usize },
}

impl<'a> UserSink<'a> {
    /// The ranges in order, cut off at [`MAX_TRANSFER`](super::MAX_TRANSFER) bytes in all.
    pub(crate) fn new(current: &'a mut Current, ranges: &[IoVec]) -> Self {
        let populated = match current.task.kernel.limits.memory().is_some() {
            true => Populated::Limited { written: 0, populated: POPULATED_FROM },
            false => Populated::Unlimited,
        };
        UserSink { current, cursor: Cursor::new(ranges), populated }
    }

    /// Populates what is about to be written: `want` bytes at `address`, where `length` are left of the range.
    fn populate(&mut self, address: u64, want: usize, length: usize) -> Result<(), Errno> {
        let Populated::Limited { written, populated } = &mut self.populated else { return Ok(()) };
        if *written + want > *populated {
            let length = length.min(want.max(POPULATED_STEP));
            self.current.space().populate(address, length)?;
            *populated = *written + length;
        }
        *written += want;
        Ok(())
    }
}

impl Sink for UserSink<'_> {
    fn remaining(&self) -> usize {
        self.cursor.remaining()
    }

    fn put(&mut self, data: &[u8]) -> Result<usize, Errno> {
        let mut done = 0;
        while done < data.len() {
            let Some((address, length)) = self.cursor.current() else { break };
            let want = length.min(data.len() - done);
            let wrote = match self.populate(address, want, length) {
                Ok(()) => self.current.write_by_return(address, &data[done..done + want]),
                Err(_) => 0,
            };
            self.cursor.advance(wrote);
            done += wrote;
            if wrote < want {
                return if done == 0 { Err(Errno::EFAULT) } else { Ok(done) };
            }
        }
        Ok(done)
    }
}
