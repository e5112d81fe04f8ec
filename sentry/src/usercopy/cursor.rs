//! A place in a list of ranges of guest memory.

use smallvec::SmallVec;

use super::{IoVec, MAX_TRANSFER};

/// Goes through ranges byte by byte, in both directions.
pub(super) struct Cursor {
    ranges: SmallVec<[IoVec; 4]>,
    index: usize,
    within: usize,
    remaining: usize,
}

impl Cursor {
    /// At the beginning of the ranges, in order, cut off at [`MAX_TRANSFER`] bytes in all.
    pub(super) fn new(ranges: &[IoVec]) -> Self {
        let mut total = 0usize;
        let mut kept = SmallVec::new();
        for range in ranges {
            let length = range.length.min(MAX_TRANSFER - total);
            if length > 0 {
                kept.push(IoVec { address: range.address, length });
                total += length;
            }
        }
        Cursor { ranges: kept, index: 0, within: 0, remaining: total }
    }

    /// Bytes from here to the end.
    pub(super) fn remaining(&self) -> usize {
        self.remaining
    }

    /// The part of the current range that is left: its address and length. `None` at the end.
    pub(super) fn current(&self) -> Option<(u64, usize)> {
        let range = self.ranges.get(self.index)?;
        Some((range.address.wrapping_add(self.within as u64), range.length - self.within))
    }

    /// Goes on by `count` bytes, which must not reach beyond the current range.
    pub(super) fn advance(&mut self, count: usize) {
        if count == 0 {
            return;
        }
        self.remaining -= count;
        self.within += count;
        if self.within == self.ranges[self.index].length {
            self.index += 1;
            self.within = 0;
        }
    }

    /// Goes back by `count` bytes.
    pub(super) fn retreat(&mut self, mut count: usize) {
        self.remaining += count;
        while count > self.within {
            count -= self.within;
            self.index -= 1;
            self.within = self.ranges[self.index].length;
        }
        self.within -= count;
    }
}
