//! What has arrived in a thread's streams: read and received like a lent file that is as long as what is there (`stub/lent.S`,
//! `stub/arrived.S`). The bytes lie in the orders, which the guest can only read; what it says of the position is judged by the sentry.

use crate::lent::Arrived;
use crate::stub::geometry::*;

use super::thread::Thread;

/// What the stub may do with a stream.
pub(super) fn mode_of_arrived(arrived: Option<&Arrived>) -> u64 {
    arrived.map_or(0, |arrived| {
        let receives = if arrived.is_socket { RECORD_RECEIVES } else { 0 };
        RECORD_READS_ON | RECORD_ARRIVED | receives
    })
}

impl Thread {
    /// See [`GuestThread::leave_arrived`](crate::GuestThread::leave_arrived).
    pub(super) fn write_arrived(&self, offset: usize, bytes: &[u8]) -> Option<u64> {
        let end = offset.checked_add(bytes.len())?;
        let fits = offset.is_multiple_of(8) && end <= ARRIVED_SIZE as usize;
        fits.then(|| self.write_bytes(ARRIVED + offset as u64, bytes))
    }
}
