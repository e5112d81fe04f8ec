//! Copies between the sentry and guest memory.
//!
//! A [`UserPtr`] is a number with a type; it cannot be dereferenced. Data moves only through an address space's copy
//! functions, each byte once, and the copy in the sentry is what is checked and used. File objects see guest buffers
//! as a [`Sink`] or a [`Source`] and need not know where the bytes go.

mod cursor;
mod sink;
mod source;
mod transit;

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use smallvec::SmallVec;
use usk_abi::Errno;
use usk_platform::AddressSpace;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub use sink::UserSink;
pub use source::UserSource;
pub use transit::TransitSink;

/// `MAX_RW_COUNT`: most bytes that one read or write moves, as on Linux (`INT_MAX` rounded down to a page).
pub const MAX_TRANSFER: usize = 0x7fff_f000;

/// The address of a `T` in guest memory. Zero is null.
pub struct UserPtr<T> {
    address: u64,
    kind: PhantomData<fn() -> T>,
}

impl<T> Clone for UserPtr<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for UserPtr<T> {}

impl<T> From<u64> for UserPtr<T> {
    fn from(address: u64) -> Self {
        UserPtr::new(address)
    }
}

impl<T> fmt::Debug for UserPtr<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.address)
    }
}

impl<T> UserPtr<T> {
    /// The pointer with this address.
    pub const fn new(address: u64) -> Self {
        UserPtr { address, kind: PhantomData }
    }

    /// The address.
    pub const fn address(self) -> u64 {
        self.address
    }

    /// True for address zero.
    pub const fn is_null(self) -> bool {
        self.address == 0
    }

    /// The same address as another type.
    pub const fn cast<U>(self) -> UserPtr<U> {
        UserPtr::new(self.address)
    }

    /// The address of element `index` of an array that starts here; `EFAULT` if that overflows.
    pub fn element(self, index: usize) -> Result<Self, Errno> {
        let offset = (size_of::<T>() as u64).checked_mul(index as u64).ok_or(Errno::EFAULT)?;
        self.address.checked_add(offset).map(UserPtr::new).ok_or(Errno::EFAULT)
    }

    /// The address `bytes` further on; `EFAULT` if that overflows.
    pub fn byte_offset(self, bytes: u64) -> Result<Self, Errno> {
        self.address.checked_add(bytes).map(UserPtr::new).ok_or(Errno::EFAULT)
    }
}

impl<T: FromBytes> UserPtr<T> {
    /// Copies the value in; `EFAULT` if any of its bytes is not readable.
    pub fn read(self, space: &dyn AddressSpace) -> Result<T, Errno>
    where
        T: IntoBytes + KnownLayout,
    {
        let mut value = T::new_zeroed();
        if space.read(self.address, value.as_mut_bytes()) == size_of::<T>() {
            Ok(value)
        } else {
            Err(Errno::EFAULT)
        }
    }

    /// Copies `count` consecutive values in. The caller has bounded `count`.
    pub fn read_array(self, space: &dyn AddressSpace, count: usize) -> Result<Vec<T>, Errno>
    where
        T: IntoBytes + KnownLayout + Clone,
    {
        let mut values = vec![T::new_zeroed(); count];
        let bytes = values.as_mut_slice().as_mut_bytes();
        if space.read(self.address, bytes) == bytes.len() { Ok(values) } else { Err(Errno::EFAULT) }
    }
}

impl<T: IntoBytes + Immutable> UserPtr<T> {
    /// Copies the value out; `EFAULT` if any of its bytes is not writable (some may have been written).
    pub fn write(self, space: &dyn AddressSpace, value: &T) -> Result<(), Errno> {
        write_all(space, self.address, value.as_bytes())
    }

    /// Copies consecutive values out.
    pub fn write_array(self, space: &dyn AddressSpace, values: &[T]) -> Result<(), Errno> {
        write_all(space, self.address, values.as_bytes())
    }
}

fn write_all(space: &dyn AddressSpace, address: u64, bytes: &[u8]) -> Result<(), Errno> {
    if space.write(address, bytes) == bytes.len() { Ok(()) } else { Err(Errno::EFAULT) }
}

/// Copies in a string that ends with a NUL, of at most `limit` bytes with it, and returns it without. `EFAULT` if it
/// runs into inaccessible memory, `too_long` if no NUL was found within the limit.
pub fn read_c_string(
    space: &dyn AddressSpace,
    address: u64,
    limit: usize,
    too_long: Errno,
) -> Result<Vec<u8>, Errno> {
    // Most strings are short; a long one is copied by whole pages.
    const FIRST_STEP: usize = 256;
    const PAGE: usize = 4096;
    let mut string = Vec::new();
    let mut at = address;
    while string.len() < limit {
        // Stay within one page per copy, so that a string that ends just before an unmapped page is read whole.
        let to_page_end = PAGE - (at % PAGE as u64) as usize;
        let step = if string.is_empty() { FIRST_STEP } else { PAGE };
        let want = step.min(to_page_end).min(limit - string.len());
        let mut chunk = [0u8; PAGE];
        let got = space.read(at, &mut chunk[..want]);
        if let Some(end) = chunk[..got].iter().position(|&byte| byte == 0) {
            string.extend_from_slice(&chunk[..end]);
            return Ok(string);
        }
        if got < want {
            return Err(Errno::EFAULT);
        }
        string.extend_from_slice(&chunk[..got]);
        at = at.checked_add(got as u64).ok_or(Errno::EFAULT)?;
    }
    Err(too_long)
}

/// A range of guest memory, as in `struct iovec`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoVec {
    /// Guest address.
    pub address: u64,
    /// Bytes.
    pub length: usize,
}

impl IoVec {
    /// What is left of `ranges` after their first `bytes`.
    pub fn after(ranges: &[IoVec], mut bytes: usize) -> SmallVec<[IoVec; 4]> {
        let mut rest = SmallVec::new();
        for range in ranges {
            let skipped = bytes.min(range.length);
            bytes -= skipped;
            if range.length > skipped {
                let address = range.address.wrapping_add(skipped as u64);
                rest.push(IoVec { address, length: range.length - skipped });
            }
        }
        rest
    }
}

/// Reads into a buffer, having read so many bytes into others before; returns how many. Fewer than fit ends it.
pub type Filler<'a> = &'a mut dyn FnMut(&mut [u8], usize) -> Result<usize, Errno>;

/// Writes bytes, having written so many before; returns how many. Fewer than there are ends it.
pub type Taker<'a> = &'a mut dyn FnMut(&[u8], usize) -> Result<usize, Errno>;

/// Where a read puts its bytes.
pub trait Sink {
    /// Bytes that still fit.
    fn remaining(&self) -> usize;

    /// Takes as many bytes of `data` as fit and are writable; returns how many. `EFAULT` only if `data` is not empty,
    /// there was room, and not one byte could be written.
    fn put(&mut self, data: &[u8]) -> Result<usize, Errno>;

    /// Takes up to `limit` bytes as `filler` reads them; returns how many. An error only if there are none.
    fn fill(&mut self, limit: usize, filler: Filler<'_>) -> Result<usize, Errno> {
        transit::fill_through_buffer(self, limit, filler)
    }
}

/// Where a write takes its bytes from.
pub trait Source {
    /// Bytes still to be taken.
    fn remaining(&self) -> usize;

    /// Fills `buffer` as far as there is data and it is readable; returns how many bytes. `EFAULT` only if both were
    /// not empty and not one byte could be read.
    fn take(&mut self, buffer: &mut [u8]) -> Result<usize, Errno>;

    /// Has `taker` write up to `limit` bytes, which are taken as far as it does; returns how many. An error only if there are
    /// none.
    fn drain(&mut self, limit: usize, taker: Taker<'_>) -> Result<usize, Errno> {
        transit::drain_through_buffer(self, limit, taker)
    }

    /// Gives back the last `count` bytes taken: they were not written after all.
    fn give_back(&mut self, count: usize);
}

/// A growing byte vector with a limit, as a [`Sink`]: for reads that the sentry makes for itself.
#[derive(Debug, Default)]
pub struct BytesSink {
    /// What has been read.
    pub bytes: Vec<u8>,
    limit: usize,
}

impl BytesSink {
    /// An empty sink that takes `limit` bytes.
    pub fn new(limit: usize) -> Self {
        BytesSink { bytes: Vec::new(), limit }
    }
}

impl Sink for BytesSink {
    fn remaining(&self) -> usize {
        self.limit - self.bytes.len()
    }

    fn put(&mut self, data: &[u8]) -> Result<usize, Errno> {
        let count = data.len().min(self.remaining());
        self.bytes.extend_from_slice(&data[..count]);
        Ok(count)
    }
}

/// A [`Sink`] for bytes that are thrown away.
#[derive(Debug)]
pub struct Discard {
    remaining: usize,
}

impl Discard {
    /// One that takes `count` bytes.
    pub fn new(count: usize) -> Self {
        Discard { remaining: count }
    }
}

impl Sink for Discard {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn put(&mut self, data: &[u8]) -> Result<usize, Errno> {
        let count = data.len().min(self.remaining);
        self.remaining -= count;
        Ok(count)
    }
}

/// Bytes as a [`Source`].
#[derive(Debug)]
pub struct BytesSource<'a> {
    bytes: Cow<'a, [u8]>,
    at: usize,
}

impl From<Vec<u8>> for BytesSource<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        BytesSource { bytes: Cow::Owned(bytes), at: 0 }
    }
}

impl<'a> BytesSource<'a> {
    /// All of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        BytesSource { bytes: Cow::Borrowed(bytes), at: 0 }
    }
}

impl Source for BytesSource<'_> {
    fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn take(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
        let count = buffer.len().min(self.remaining());
        buffer[..count].copy_from_slice(&self.bytes[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }

    fn drain(&mut self, limit: usize, taker: Taker<'_>) -> Result<usize, Errno> {
        let end = self.at + limit.min(self.remaining());
        let taken = taker(&self.bytes[self.at..end], 0)?;
        self.at += taken;
        Ok(taken)
    }

    fn give_back(&mut self, count: usize) {
        self.at -= count;
    }
}
