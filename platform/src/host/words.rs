//! Words on which threads sleep: `futex(2)`, `futex_waitv(2)`.

use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use usk_abi::Errno;

use super::clock::{Clock, clock_ns};
use super::result::last_error;

/// `FUTEX2_SIZE_U32` of `linux/futex.h`.
const SIZE_U32: u32 = 2;
/// `FUTEX2_PRIVATE` of `linux/futex.h`.
const PRIVATE: u32 = libc::FUTEX_PRIVATE_FLAG as u32;

/// `struct futex_waitv`.
#[repr(C)]
struct Waiter {
    value: u64,
    address: u64,
    flags: u32,
    reserved: u32,
}

/// Whether the host knows how to sleep on several words, and lets this process do so (`futex_waitv(2)`, Linux 5.16).
pub fn can_wait_for_two() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        let nothing: *const Waiter = std::ptr::null();
        // SAFETY: the kernel refuses to wait for no words.
        let result = unsafe {
            libc::syscall(libc::SYS_futex_waitv, nothing, 0, 0, std::ptr::null::<libc::timespec>(), 0)
        };
        result == -1 && last_error() == Errno::EINVAL
    })
}

/// Sleeps while both words have their values, at most until the time is over. The first may be in memory that other processes share, the
/// second is woken by [`wake_word`]. Wakes up without reason now and then.
pub fn wait_for_two(shared: (&AtomicU32, u32), private: (&AtomicU32, u32), timeout: Option<Duration>) {
    let waiter = |(word, value): (&AtomicU32, u32), flags| Waiter {
        value: value.into(),
        address: word.as_ptr().addr() as u64,
        flags,
        reserved: 0,
    };
    let waiters = [waiter(shared, SIZE_U32), waiter(private, SIZE_U32 | PRIVATE)];
    let deadline = timeout.map(deadline);
    let deadline = deadline.as_ref().map_or(std::ptr::null(), |deadline| &raw const *deadline);
    // SAFETY: the kernel reads two waiters, the words that they name, which are borrowed, and the time.
    unsafe {
        libc::syscall(
            libc::SYS_futex_waitv,
            waiters.as_ptr(),
            waiters.len(),
            0,
            deadline,
            libc::CLOCK_MONOTONIC,
        )
    };
}

/// The moment so long from now, by `CLOCK_MONOTONIC`.
fn deadline(timeout: Duration) -> libc::timespec {
    let at = Duration::from_nanos(clock_ns(Clock::Monotonic)).saturating_add(timeout);
    libc::timespec {
        tv_sec: libc::time_t::try_from(at.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: at.subsec_nanos().into(),
    }
}

/// Wakes one thread of this process that sleeps on a word of its own.
pub fn wake_word(word: &AtomicU32) {
    let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the word is borrowed; the kernel does not touch it.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, 1) };
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn either_word_ends_the_sleep_and_so_does_the_time() {
        if !can_wait_for_two() {
            // A host older than Linux 5.16, or a container whose profile refuses it: nobody listens there.
            return;
        }
        let (first, second) = (AtomicU32::new(1), AtomicU32::new(2));
        // Neither has the value.
        wait_for_two((&first, 0), (&second, 2), None);
        wait_for_two((&first, 1), (&second, 0), None);
        wait_for_two((&first, 1), (&second, 2), Some(Duration::from_millis(1)));
        std::thread::scope(|scope| {
            let sleeper = scope.spawn(|| {
                while second.load(Ordering::SeqCst) == 2 {
                    wait_for_two((&first, 1), (&second, 2), None);
                }
            });
            second.store(3, Ordering::SeqCst);
            wake_word(&second);
            sleeper.join().unwrap();
        });
    }
}
