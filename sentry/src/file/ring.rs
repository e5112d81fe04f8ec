//! A queue of bytes in a ring that grows as far as it has to: what pipes and terminals keep their data in.

use usk_abi::Errno;

use crate::{BytesSource, Sink, Source};

/// Bytes the storage begins with.
const SMALLEST: usize = 4096;

/// Bytes, first in, first out. Knows no limit: its users ask for room before they fill it.
#[derive(Debug, Default)]
pub(crate) struct ByteRing {
    /// Empty, or a power of two long.
    storage: Vec<u8>,
    head: usize,
    length: usize,
}

impl ByteRing {
    /// Bytes queued.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// True if nothing is queued.
    pub(crate) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Takes up to `limit` bytes from `source`; returns how many. `EFAULT` only if there were some to take and none
    /// could be read.
    pub(crate) fn fill_from(&mut self, source: &mut dyn Source, limit: usize) -> Result<usize, Errno> {
        let mut wanted = limit.min(source.remaining());
        self.reserve(wanted);
        let mut done = 0;
        while wanted > 0 {
            let start = (self.head + self.length) & (self.storage.len() - 1);
            let end = self.storage.len().min(start + wanted);
            let taken = match source.take(&mut self.storage[start..end]) {
                Ok(taken) => taken,
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            };
            self.length += taken;
            done += taken;
            wanted -= taken;
            if taken < end - start {
                break;
            }
        }
        Ok(done)
    }

    /// Moves up to `limit` bytes to `sink`; returns how many. `EFAULT` only if there were some to move and none could
    /// be written.
    pub(crate) fn drain_to(&mut self, sink: &mut dyn Sink, limit: usize) -> Result<usize, Errno> {
        let moved = self.copy_to(0, sink, limit)?;
        self.discard(moved);
        Ok(moved)
    }

    /// Like [`ByteRing::drain_to`], from `offset` bytes behind the front, and leaves the bytes where they are.
    pub(crate) fn copy_to(&self, offset: usize, sink: &mut dyn Sink, limit: usize) -> Result<usize, Errno> {
        let mut wanted = limit.min(self.length.saturating_sub(offset)).min(sink.remaining());
        let mut done = 0;
        while wanted > 0 {
            let start = (self.head + offset + done) & (self.storage.len() - 1);
            let end = self.storage.len().min(start + wanted);
            let put = match sink.put(&self.storage[start..end]) {
                Ok(put) => put,
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            };
            done += put;
            wanted -= put;
            if put < end - start {
                break;
            }
        }
        Ok(done)
    }

    /// Queues `bytes` at the end.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let pushed = self.fill_from(&mut BytesSource::new(bytes), bytes.len());
        debug_assert_eq!(pushed, Ok(bytes.len()));
    }

    /// Drops the first `count` bytes, or all if there are fewer.
    pub(crate) fn discard(&mut self, count: usize) {
        let count = count.min(self.length);
        if count > 0 {
            self.head = (self.head + count) & (self.storage.len() - 1);
            self.length -= count;
        }
    }

    /// Drops everything, the storage too.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Makes room for `more` bytes.
    fn reserve(&mut self, more: usize) {
        let needed = self.length + more;
        if needed <= self.storage.len() || more == 0 {
            return;
        }
        let mut storage = vec![0; needed.next_power_of_two().max(SMALLEST)];
        let first = self.length.min(self.storage.len() - self.head);
        storage[..first].copy_from_slice(&self.storage[self.head..self.head + first]);
        storage[first..self.length].copy_from_slice(&self.storage[..self.length - first]);
        self.storage = storage;
        self.head = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::BytesSink;

    proptest! {
        #[test]
        fn behaves_like_a_deque(steps in proptest::collection::vec((0u8..4, 0usize..6000), 1..60)) {
            let mut ring = ByteRing::default();
            let mut oracle = std::collections::VecDeque::<u8>::new();
            let mut next = 0u8;
            for (kind, count) in steps {
                let bytes: Vec<u8> = (0..count).map(|_| { next = next.wrapping_add(1); next }).collect();
                match kind {
                    0 => {
                        let taken = ring.fill_from(&mut BytesSource::new(&bytes), 5000).unwrap();
                        prop_assert_eq!(taken, count.min(5000));
                        oracle.extend(&bytes[..taken]);
                    }
                    1 => {
                        let mut sink = BytesSink::new(count);
                        let moved = ring.drain_to(&mut sink, usize::MAX).unwrap();
                        let expected: Vec<u8> = oracle.drain(..count.min(oracle.len())).collect();
                        prop_assert_eq!(moved, expected.len());
                        prop_assert_eq!(sink.bytes, expected);
                    }
                    2 => {
                        ring.discard(count);
                        oracle.drain(..count.min(oracle.len()));
                    }
                    _ => {
                        ring.push(&bytes);
                        oracle.extend(&bytes);
                    }
                }
                prop_assert_eq!(ring.len(), oracle.len());
            }
        }
    }
}
