//! Where a guest thread leaves what it writes to a pipe, instead of calling.

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
}
