//! What has arrived in streams that a task alone reads: a copy of the first bytes is left with its guest thread, whose platform then
//! serves `read(2)` and `recvfrom(2)`. They are taken out of the stream's queue when the guest stops, by a read to nowhere.
//!
//! That is done when something will probably be read: after a wait has told that files are ready, and after a read that had to be
//! asked for. See [`Arrivals`] for when it must not be.

use std::sync::Arc;

use usk_platform::{ARRIVED_ROOM, Arrived, GuestThread, LentWindow};

use super::{Lending, Record};
use crate::Discard;
use crate::task::{Current, Task};
use crate::vfs::{Arrivals, OpenFile};

/// Bytes left of one stream at most: a larger read is worth a call.
const MOST_LEFT: usize = 4096;
/// What was left of a stream and not read that way, in a row, after which little is left any more.
const PATIENCE: u8 = 4;
/// Then it is tried again once in so many times: the program may do something else, or the place where it calls have been patched.
const PAUSE: u8 = 32;

/// What is known of a stream.
#[derive(Clone, Copy, Default)]
pub(super) struct Stream {
    /// How often in a row what was left was taken out by a call.
    missed: u8,
    /// How often it was left nothing since.
    paused: u8,
}

impl Stream {
    /// Whether to leave something now that reads are expected.
    fn is_promising(&mut self) -> bool {
        if self.missed >= PATIENCE {
            self.paused = (self.paused + 1) % PAUSE;
            self.missed -= u8::from(self.paused == 0);
        }
        self.missed < PATIENCE
    }
}

/// What is left of streams.
#[derive(Default)]
pub(super) struct Streams {
    /// What has arrived will probably be read next.
    is_expected: bool,
    /// Something was taken out of what was left.
    pub(super) has_taken: bool,
    /// Bytes of the room that are used.
    used: usize,
}

impl Streams {
    /// True if there is something to be left, or to be renewed.
    pub(super) fn have_changed(&self) -> bool {
        self.is_expected || self.has_taken
    }

    /// Leaves what a stream begins with, as far as there is room.
    fn leave(
        &mut self,
        stream: &dyn Arrivals,
        reader: &Arc<Task>,
        thread: &mut dyn GuestThread,
    ) -> Option<Arrived> {
        let most = MOST_LEFT.min(ARRIVED_ROOM.checked_sub(self.used).filter(|&room| room > 0)?);
        let front = stream.leave(reader, most)?;
        let address = thread.leave_arrived(self.used, &front.bytes)?;
        self.used += front.bytes.len().next_multiple_of(size_of::<u64>());
        let window = LentWindow { start: front.queued.start, length: front.bytes.len() as u64, address };
        Some(Arrived { window, end: front.queued.end, is_socket: stream.is_socket() })
    }
}

impl Current {
    /// A wait has told that files are ready.
    pub fn expect_reads(&mut self) {
        self.lending.streams.is_expected = true;
    }

    /// A message has been received by a call.
    pub fn note_received(&mut self, file: &OpenFile) {
        self.lending.has_read_stream(file);
    }
}

impl Record {
    /// The guest says that it has read up to this byte.
    pub(super) fn take_arrived(&mut self, position: u64) {
        let (Some(arrived), Some(file)) = (self.lent.arrived, self.file.upgrade()) else { return };
        let end = arrived.window.start.saturating_add(arrived.window.length);
        let Some(count) = position.checked_sub(self.position).filter(|_| position <= end) else { return };
        self.position = position;
        self.stream = Some(Stream::default());
        if count > 0 {
            read_to_nowhere(&file, count);
        }
    }
}

/// Takes out what has been read already.
fn read_to_nowhere(file: &OpenFile, count: u64) {
    let mut nowhere = Discard::new(usize::try_from(count).unwrap_or(usize::MAX));
    let read = file.ops.read(file, &mut nowhere, 0);
    if read.is_ok_and(|read| read as u64 == count) {
        return;
    }
    tracing::warn!(?read, count, "a stream does not have what was left of it");
}

impl Lending {
    /// Something has been read of a file by a call. True if it is a stream, of which there may be more.
    pub(super) fn has_read_stream(&mut self, file: &OpenFile) -> bool {
        let mut records = self.records.iter().flatten();
        let is_stream = records.any(|record| record.id == file.id() && record.stream.is_some());
        if is_stream {
            self.streams.is_expected = true;
        }
        is_stream
    }

    /// Sees to it that what is left of streams is true, and leaves what has come since if it will be read.
    pub(super) fn leave_arrived(&mut self, task: &Arc<Task>, thread: &mut dyn GuestThread) {
        let is_expected = std::mem::take(&mut self.streams.is_expected);
        self.streams.has_taken = false;
        if is_expected {
            // All of it is left anew.
            self.streams.used = 0;
        }
        for (number, record) in self.records.iter_mut().enumerate() {
            let Some(record) = record else { continue };
            let (Some(stream), before) = (&mut record.stream, record.lent.arrived) else { continue };
            let is_wanted = is_expected && stream.is_promising();
            if !is_wanted && before.is_none() {
                continue;
            }
            let Some(file) = record.file.upgrade() else { continue };
            let Some(arrivals) = file.ops.arrivals() else { continue };
            if let Some(arrived) = before {
                let queued = arrivals.renew(task);
                stream.missed +=
                    u8::from(queued.as_ref().is_some_and(|queued| queued.start != record.position));
                // Others are about to be left where it is.
                let queued = queued.filter(|queued| !is_expected && queued.start == record.position);
                record.lent.arrived = queued.map(|queued| Arrived { end: queued.end, ..arrived });
            }
            if is_wanted {
                record.lent.arrived = self.streams.leave(arrivals, task, thread);
                if let Some(arrived) = record.lent.arrived {
                    record.position = arrived.window.start;
                    thread.lend_position(number, record.position);
                }
            }
            if record.lent.arrived != before {
                thread.lend_file(number, &record.lent);
            }
        }
    }
}
