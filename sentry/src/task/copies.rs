//! What a call copies from and to guest memory, as far as that can travel with the call itself.
//!
//! What is used here is as good as a copy through the address space, at a fraction of the cost: [`handed_over`] has the bytes
//! as they were when the call began, and [`copy_on_return`] writes them before the caller goes on. So results may be left for
//! then that nobody but the caller can look for before the call is over. What other threads are told of by something else, a
//! futex or a signal, has to be written at once: [`UserPtr::write`].
//!
//! [`handed_over`]: usk_platform::GuestThread::handed_over
//! [`copy_on_return`]: usk_platform::GuestThread::copy_on_return

use usk_abi::Errno;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::usercopy::{UserPtr, read_c_string};

use super::Current;

/// Names up to this length are taken from what a call brings along.
const SHORT_NAME: usize = 256;
/// Results above this are copied at once: the platform has no room for them.
const SMALL: usize = 4096;

impl Current {
    /// What the call has brought along of the memory at `address`: how many bytes.
    fn handed_over(&self, address: u64, buffer: &mut [u8]) -> usize {
        if self.has_stale_copies { 0 } else { self.thread.handed_over(address, buffer) }
    }

    /// Copies a value in; `EFAULT` if any of its bytes is not readable.
    pub fn copy_in<T>(&self, from: UserPtr<T>) -> Result<T, Errno>
    where
        T: FromBytes + IntoBytes + KnownLayout,
    {
        let mut value = T::new_zeroed();
        let bytes = value.as_mut_bytes();
        if self.handed_over(from.address(), bytes) == bytes.len() {
            return Ok(value);
        }
        from.read(self.space())
    }

    /// Copies `count` consecutive values in. The caller has bounded `count`.
    pub fn copy_in_array<T>(&self, from: UserPtr<T>, count: usize) -> Result<Vec<T>, Errno>
    where
        T: FromBytes + IntoBytes + KnownLayout + Clone,
    {
        let mut values = vec![T::new_zeroed(); count];
        let bytes = values.as_mut_slice().as_mut_bytes();
        if self.handed_over(from.address(), bytes) == bytes.len() {
            return Ok(values);
        }
        from.read_array(self.space(), count)
    }

    /// Copies in a string, as [`read_c_string`] does.
    pub fn copy_in_string(&self, address: u64, limit: usize, too_long: Errno) -> Result<Vec<u8>, Errno> {
        let mut start = [0; SHORT_NAME];
        let count = self.handed_over(address, &mut start);
        match start[..count.min(limit)].iter().position(|&byte| byte == 0) {
            Some(end) => Ok(start[..end].to_vec()),
            None => read_c_string(self.space(), address, limit, too_long),
        }
    }

    /// Copies bytes in that a call has brought along. `None` if it has not brought all of them.
    pub(crate) fn bytes_handed_over(&self, address: u64, length: usize) -> Option<Vec<u8>> {
        if length == 0 || length > SMALL {
            return None;
        }
        let mut bytes = vec![0; length];
        (self.handed_over(address, &mut bytes) == length).then_some(bytes)
    }

    /// Copies a value out by the time that the call returns; `EFAULT` if any of its bytes is not writable (some may have
    /// been written).
    pub fn copy_out<T: IntoBytes + Immutable>(&mut self, to: UserPtr<T>, value: &T) -> Result<(), Errno> {
        self.copy_out_bytes(to.address(), value.as_bytes())
    }

    /// Copies consecutive values out.
    pub fn copy_out_array<T: IntoBytes + Immutable>(
        &mut self,
        to: UserPtr<T>,
        values: &[T],
    ) -> Result<(), Errno> {
        self.copy_out_bytes(to.address(), values.as_bytes())
    }

    /// Copies as many whole values out as fit before memory that cannot be written. Returns how many.
    pub fn copy_out_some<T: IntoBytes + Immutable>(&mut self, to: UserPtr<T>, values: &[T]) -> usize {
        self.write_by_return(to.address(), values.as_bytes()) / size_of::<T>().max(1)
    }

    /// Copies bytes out.
    pub fn copy_out_bytes(&mut self, address: u64, bytes: &[u8]) -> Result<(), Errno> {
        if self.write_by_return(address, bytes) == bytes.len() { Ok(()) } else { Err(Errno::EFAULT) }
    }

    /// Whether these bytes can be written by all that is known; false says nothing.
    pub fn is_writable(&self, address: u64, length: u64) -> bool {
        self.task.borrow_mm(|mm| mm.is_writable(address, length))
    }

    /// Writes to guest memory by the time that the call returns. Returns how many bytes could be, or will be, written.
    pub(crate) fn write_by_return(&mut self, address: u64, bytes: &[u8]) -> usize {
        let length = bytes.len();
        // Only what can be written by all that is known: a failure at the end could not undo what the call has done.
        let is_small = (1..=SMALL).contains(&length);
        if is_small && self.is_writable(address, length as u64) && self.thread.copy_on_return(address, bytes)
        {
            return length;
        }
        // In order.
        if self.settle_copies().is_err() { 0 } else { self.space().write(address, bytes) }
    }

    /// Writes what was left for the end of the call. `EFAULT` if something cannot be.
    pub fn settle_copies(&mut self) -> Result<(), Errno> {
        self.thread.settle_copies()
    }
}
