//! Memory shared with processes that are not trusted: a file mapped whole, and accessed by copies only.

use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use usk_abi::Errno;

use super::result::{check, last_error};

/// A shared mapping, readable and writable here, of a file that others map and write at the same time. Each access
/// is a copy, each byte touched once; nobody gets a reference into it. Offsets are bytes from the start, checked.
#[derive(Debug)]
pub struct SharedMapping {
    base: NonNull<u8>,
    length: usize,
}

// SAFETY: all access is by volatile or atomic operations on memory that is expected to change at any time.
unsafe impl Send for SharedMapping {}
// SAFETY: as above.
unsafe impl Sync for SharedMapping {}

impl SharedMapping {
    /// Maps the first `length` bytes of the file.
    pub fn new(file: impl AsFd, length: usize) -> Result<SharedMapping, Errno> {
        // SAFETY: a new mapping at an address of the kernel's choice.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_NORESERVE,
                file.as_fd().as_raw_fd(),
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(last_error());
        }
        let base = NonNull::new(address.cast()).ok_or(Errno::ENOMEM)?;
        Ok(SharedMapping { base, length })
    }

    fn at<T>(&self, offset: usize) -> *mut T {
        assert!(
            offset.is_multiple_of(align_of::<T>())
                && offset <= self.length
                && self.length - offset >= size_of::<T>(),
            "access outside shared memory"
        );
        // SAFETY: inside the mapping, checked above.
        unsafe { self.base.as_ptr().add(offset).cast() }
    }

    /// Reads a word.
    pub fn read_u64(&self, offset: usize) -> u64 {
        let word = self.at::<u64>(offset);
        // SAFETY: `at` returns an aligned address inside the mapping; any bit pattern is a u64.
        unsafe { word.read_volatile() }
    }

    /// Writes a word.
    pub fn write_u64(&self, offset: usize, value: u64) {
        let word = self.at::<u64>(offset);
        // SAFETY: as in `read_u64`.
        unsafe { word.write_volatile(value) }
    }

    /// Reads a word that others wait on or signal with.
    pub fn load_u32(&self, offset: usize) -> u32 {
        self.word(offset).load(Ordering::Acquire)
    }

    /// Writes a word that others wait on or signal with; what was written before is visible with it.
    pub fn store_u32(&self, offset: usize, value: u32) {
        self.word(offset).store(value, Ordering::Release);
    }

    /// A word that others exchange.
    pub fn word(&self, offset: usize) -> &AtomicU32 {
        let word = self.at::<u32>(offset);
        // SAFETY: inside the mapping, which lives as long as `self`; an atomic may change under a reference.
        unsafe { AtomicU32::from_ptr(word) }
    }

    /// Copies out. `offset` and the length are multiples of eight.
    pub fn read(&self, offset: usize, buffer: &mut [u8]) {
        let words = self.words(offset, buffer.len());
        for (index, bytes) in buffer.chunks_exact_mut(8).enumerate() {
            // SAFETY: `words` has checked that the whole range is inside the mapping and aligned; any bit pattern is a u64.
            let word = unsafe { words.add(index).read_volatile() };
            bytes.copy_from_slice(&word.to_le_bytes());
        }
    }

    /// Copies in. `offset` and the length are multiples of eight.
    pub fn write(&self, offset: usize, data: &[u8]) {
        let words = self.words(offset, data.len());
        for (index, bytes) in data.chunks_exact(8).enumerate() {
            let mut word = [0; 8];
            word.copy_from_slice(bytes);
            // SAFETY: as in `read`.
            unsafe { words.add(index).write_volatile(u64::from_le_bytes(word)) };
        }
    }

    /// The words of a range. Panics if it is not inside.
    fn words(&self, offset: usize, length: usize) -> *mut u64 {
        assert!(
            offset.is_multiple_of(8) && offset <= self.length && length <= self.length - offset,
            "range outside shared memory"
        );
        // SAFETY: inside the mapping, or just after it; checked above.
        unsafe { self.base.as_ptr().add(offset).cast() }
    }

    /// Gives the pages of a range back to the host; they read as zero afterwards, here and everywhere.
    pub fn discard(&self, offset: usize, length: usize) -> Result<(), Errno> {
        assert!(offset <= self.length && length <= self.length - offset, "range outside shared memory");
        // SAFETY: the range is inside the mapping, and holds no Rust object.
        check(i64::from(unsafe {
            libc::madvise(self.base.as_ptr().add(offset).cast(), length, libc::MADV_REMOVE)
        }))
        .map(drop)
    }

    /// Sleeps while the word has this value, at most until the time is over (`futex(2)`, across processes). Wakes up
    /// without reason now and then.
    pub fn wait(&self, offset: usize, value: u32, timeout: Duration) {
        let time = libc::timespec {
            tv_sec: timeout.as_secs() as libc::time_t,
            tv_nsec: libc::c_long::from(timeout.subsec_nanos()),
        };
        // SAFETY: the word lies in the mapping, and the kernel only reads it and the time.
        unsafe {
            libc::syscall(libc::SYS_futex, self.at::<u32>(offset), libc::FUTEX_WAIT, value, &raw const time)
        };
    }

    /// Wakes one process or thread that sleeps on the word.
    pub fn wake(&self, offset: usize) {
        // SAFETY: the word lies in the mapping; the kernel does not touch it.
        unsafe { libc::syscall(libc::SYS_futex, self.at::<u32>(offset), libc::FUTEX_WAKE, 1) };
    }
}

impl Drop for SharedMapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nobody has references into it.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.length) };
    }
}
