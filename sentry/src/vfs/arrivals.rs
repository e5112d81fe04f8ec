//! What has arrived in a stream, a copy of which may be left with the guest thread of the task that alone reads there.
//!
//! The bytes stay in the stream's queue until the task is taken back what it was lent; what it has read of them is taken out then, as if
//! it had called. Until that happens senders find less room than there is. So nothing is left while one waits for room, and
//! who comes to wait has the reader taken back.

use std::ops::Range;
use std::sync::{Arc, Weak};

use crate::countdown::Countdown;
use crate::task::Task;

/// A stream that can be read ahead. Taking out is [`FileOps::read`](crate::vfs::FileOps::read).
pub trait Arrivals {
    /// `reader` keeps what it was left. Which bytes are queued, counted from the stream's first one ever; `None` if nothing may be left
    /// any more.
    fn renew(&self, reader: &Arc<Task>) -> Option<Range<u64>>;

    /// The first bytes, at most `most` of them, for `reader`; `None` if nothing is there, or may be left with it.
    fn leave(&self, reader: &Arc<Task>, most: usize) -> Option<Front>;

    /// It is a socket.
    fn is_socket(&self) -> bool;
}

/// What a stream begins with.
#[derive(Debug)]
pub struct Front {
    /// Which bytes are queued in all.
    pub queued: Range<u64>,
    /// The first of them, such as a read returns without anything else.
    pub bytes: Vec<u8>,
}

/// Times that nothing is left after a sender has had to ask for room. To take a reader back costs as much as four of its calls, and a stream
/// that was full will be again.
const RESTS: u32 = 64;

/// The task that was left what has arrived, if one was, and nothing has been taken out since.
#[derive(Debug, Default)]
pub struct Reader {
    task: Weak<Task>,
    rests: Countdown,
}

impl Reader {
    /// `task` is left something.
    pub(crate) fn set(&mut self, task: &Arc<Task>) {
        self.task = Arc::downgrade(task);
    }

    /// Nothing is left with anybody.
    pub(crate) fn clear(&mut self) {
        self.task = Weak::new();
    }

    /// The task. To be let go without locks, as is what is done with it.
    pub(crate) fn get(&self) -> Option<Arc<Task>> {
        self.task.upgrade()
    }

    /// The task, which may have made the room that a sender has not found, and not told of it. It is left nothing for a while.
    pub(crate) fn ask_for_room(&mut self) -> Option<Arc<Task>> {
        let task = self.get();
        if task.is_some() {
            self.rests = Countdown::of(RESTS);
        }
        task
    }

    /// Whether nothing is to be left this time.
    pub(crate) fn rests(&mut self) -> bool {
        self.rests.step()
    }
}

/// A sender has come to wait for room, which `reader` may have made and not told of: it is taken back soon, and left nothing anew. Waits
/// for nothing.
pub(crate) fn hurry(reader: Option<Arc<Task>>) {
    if let Some(reader) = reader {
        reader.call_in_files();
    }
}
