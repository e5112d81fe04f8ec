//! Helpers for tests of file objects: blocking without a task.

use std::time::Duration;

use usk_abi::{Errno, PollEvents};

use crate::time::Deadline;
use crate::vfs::OpenFile;
use crate::wait::{Waiter, Wake, wait_for};
use crate::{BytesSink, BytesSource};

/// Does what `Current::block` does. Panics after 20 seconds: then a wake-up was lost.
pub(crate) fn block<T>(
    file: &OpenFile,
    events: PollEvents,
    mut operation: impl FnMut() -> Result<T, Errno>,
) -> Result<T, Errno> {
    let waiter = Waiter::new();
    let queue = file.ops.wait_queue().expect("a file that can wait");
    let attempt = |_: &mut ()| match operation() {
        Err(Errno::EAGAIN) => None,
        done => Some(done),
    };
    let sleep = |_: &mut ()| {
        let wake = waiter.wait(Some(Deadline::after(Duration::from_secs(20))), true);
        assert_eq!(wake, Wake::Notified, "a wake-up was lost");
        None
    };
    wait_for(&mut (), &waiter, &[(queue, events)], attempt, sleep)
}

/// Reads up to `limit` bytes without waiting.
pub(crate) fn read(file: &OpenFile, limit: usize) -> Result<Vec<u8>, Errno> {
    let mut sink = BytesSink::new(limit);
    let count = file.ops.read(file, &mut sink, 0)?;
    assert_eq!(count, sink.bytes.len());
    Ok(sink.bytes)
}

/// Writes without waiting.
pub(crate) fn write(file: &OpenFile, bytes: &[u8]) -> Result<usize, Errno> {
    file.ops.write(file, &mut BytesSource::new(bytes), 0)
}

/// Waits until something can be read.
pub(crate) fn read_blocking(file: &OpenFile, limit: usize) -> Result<Vec<u8>, Errno> {
    block(file, PollEvents::IN, || read(file, limit))
}

/// Writes everything, waiting for room.
pub(crate) fn write_blocking(file: &OpenFile, bytes: &[u8]) -> Result<(), Errno> {
    let mut done = 0;
    while done < bytes.len() {
        done += block(file, PollEvents::OUT, || write(file, &bytes[done..]))?;
    }
    Ok(())
}
