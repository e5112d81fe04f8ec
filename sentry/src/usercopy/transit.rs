//! Buffers for what passes through the sentry on its way between guest memory and files, or between two files.

use std::mem;

use parking_lot::Mutex;
use usk_abi::Errno;

use super::{Filler, Sink, Source, Taker};

/// Length of a buffer in bytes. Both copies of a step find it in the processor's cache.
const LENGTH: usize = 64 << 10;
/// Most buffers that are kept while nobody uses them.
const SPARES: usize = 4;

/// Buffers that nobody uses at the moment.
static SPARE: Mutex<Vec<Box<[u8]>>> = Mutex::new(Vec::new());

/// A buffer of 64 KiB that holds what its last user left there: it is not zeroed, and not allocated each time.
struct TransitBuffer(Box<[u8]>);

impl TransitBuffer {
    /// One that nobody else uses.
    fn take() -> Self {
        let spare = SPARE.lock().pop();
        TransitBuffer(spare.unwrap_or_else(|| vec![0; LENGTH].into_boxed_slice()))
    }

    /// Its beginning: `length` bytes, or all if there are fewer.
    fn up_to(&mut self, length: usize) -> &mut [u8] {
        &mut self.0[..length.min(LENGTH)]
    }
}

impl Drop for TransitBuffer {
    fn drop(&mut self) {
        let mut spare = SPARE.lock();
        if spare.len() < SPARES {
            spare.push(mem::take(&mut self.0));
        }
    }
}

/// [`Sink::fill`] through a buffer.
pub(super) fn fill_through_buffer<S: Sink + ?Sized>(
    sink: &mut S,
    limit: usize,
    filler: Filler<'_>,
) -> Result<usize, Errno> {
    let mut done = 0;
    let mut transit = TransitBuffer::take();
    while done < limit {
        let buffer = transit.up_to(limit - done);
        let got = match filler(buffer, done) {
            Ok(0) => break,
            Ok(got) => got,
            Err(_) if done > 0 => break,
            Err(error) => return Err(error),
        };
        let put = match sink.put(&buffer[..got]) {
            Ok(put) => put,
            Err(_) if done > 0 => break,
            Err(error) => return Err(error),
        };
        done += put;
        if put < got || got < buffer.len() {
            break;
        }
    }
    Ok(done)
}

/// [`Source::drain`] through a buffer.
pub(super) fn drain_through_buffer<S: Source + ?Sized>(
    source: &mut S,
    limit: usize,
    taker: Taker<'_>,
) -> Result<usize, Errno> {
    let mut done = 0;
    let mut transit = TransitBuffer::take();
    while done < limit {
        let buffer = transit.up_to(limit - done);
        let taken = match source.take(buffer) {
            Ok(0) => break,
            Ok(taken) => taken,
            Err(_) if done > 0 => break,
            Err(error) => return Err(error),
        };
        let kept = taker(&buffer[..taken], done);
        source.give_back(taken - kept.unwrap_or(0));
        match kept {
            Ok(kept) => done += kept,
            Err(_) if done > 0 => break,
            Err(error) => return Err(error),
        }
        if kept != Ok(taken) {
            break;
        }
    }
    Ok(done)
}

/// A [`Sink`] for one step of a move from a file to another: what a file reads into it is copied no further.
pub struct TransitSink {
    buffer: TransitBuffer,
    filled: usize,
    limit: usize,
}

impl TransitSink {
    /// An empty one that takes `limit` bytes, or 64 KiB if that is less.
    pub fn new(limit: usize) -> Self {
        TransitSink { buffer: TransitBuffer::take(), filled: 0, limit: limit.min(LENGTH) }
    }

    /// What has been read.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer.0[..self.filled]
    }
}

impl Sink for TransitSink {
    fn remaining(&self) -> usize {
        self.limit - self.filled
    }

    fn put(&mut self, data: &[u8]) -> Result<usize, Errno> {
        let count = data.len().min(self.remaining());
        self.buffer.0[self.filled..self.filled + count].copy_from_slice(&data[..count]);
        self.filled += count;
        Ok(count)
    }

    fn fill(&mut self, limit: usize, filler: Filler<'_>) -> Result<usize, Errno> {
        let end = self.filled + limit.min(self.remaining());
        let got = filler(&mut self.buffer.0[self.filled..end], 0)?;
        self.filled += got;
        Ok(got)
    }
}
