//! Buffers for what passes through the sentry on its way between guest memory and files of the host.

use std::mem;

use parking_lot::Mutex;

/// Length of a buffer in bytes. Both copies of a step find it in the processor's cache.
const LENGTH: usize = 64 << 10;
/// Most buffers that are kept while nobody uses them.
const SPARES: usize = 4;

/// Buffers that nobody uses at the moment.
static SPARE: Mutex<Vec<Box<[u8]>>> = Mutex::new(Vec::new());

/// A buffer of 64 KiB that holds what its last user left there: it is not zeroed, and not allocated each time.
pub(crate) struct TransitBuffer(Box<[u8]>);

impl TransitBuffer {
    /// One that nobody else uses.
    pub(crate) fn take() -> Self {
        let spare = SPARE.lock().pop();
        TransitBuffer(spare.unwrap_or_else(|| vec![0; LENGTH].into_boxed_slice()))
    }

    /// Its beginning: `length` bytes, or all if there are fewer.
    pub(crate) fn up_to(&mut self, length: usize) -> &mut [u8] {
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
