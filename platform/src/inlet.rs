//! Where a guest thread leaves what it writes to a pipe, instead of calling.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// Memory into which a guest thread writes, and out of which the sentry reads at the same time. The guest may forge what is there, and
/// how much there is.
pub trait Inlet: Send + Sync {
    /// How many bytes have been left since it was opened: any number, for the guest can forge it.
    fn filled(&self) -> u64;

    /// Reads what was left, from a place on. Fewer bytes than the buffer takes if there are no more.
    fn read(&self, start: u64, buffer: &mut [u8]) -> usize;

    /// From now on the thread calls. What it has left without knowing can be seen after this, or else its
    /// [`GuestThread::run`](crate::GuestThread::run) returns after one more write.
    fn close(&self);

    /// What the thread rings for a listener, if it can.
    fn bell(&self) -> Option<&Arc<dyn Bell>>;

    /// A listener is there, or is not any more: from now on the thread rings its bell after each write, or does not. What it has left
    /// without knowing can be seen after this. It opens what was closed.
    fn set_listener(&self, listens: bool);
}

/// What a guest thread rings, without its sentry thread, when it has left something in its inlet and a listener is there. It is the
/// thread's, whatever inlet it has. The guest may ring it at any time, and not ring it when it should.
pub trait Bell: Send + Sync {
    /// How often it has been rung: any number, for the guest can forge it.
    fn times_rung(&self) -> u32;

    /// Sleeps while it has been rung so many times and `other` has this value, at most until the time is over. Wakes up without reason now
    /// and then. `other` is woken by [`wake_word`](crate::host::wake_word).
    fn wait(&self, times_rung: u32, other: &AtomicU32, value: u32, timeout: Option<Duration>);
}
