//! Signals that are read. signalfd(2).
//!
//! A signalfd reads the signals of the process that made it, also when another process has inherited it. (On Linux it
//! reads the caller's.)

use std::any::Any;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use usk_abi::fcntl::O_RDWR;
use usk_abi::signal::SignalSet;
use usk_abi::signalfd::SignalfdInfo;
use usk_abi::{Errno, PollEvents};
use zerocopy::IntoBytes;

use crate::Sink;
use crate::task::{Task, ThreadGroup};
use crate::vfs::{FileOps, OpenFile};
use crate::wait::{Notify, WaitQueue, WaitToken};

const READABLE: PollEvents = PollEvents::IN.union(PollEvents::RDNORM);
const RECORD: usize = size_of::<SignalfdInfo>();

/// The object behind `signalfd(2)`.
pub struct SignalFd {
    maker: Weak<Task>,
    group: Weak<ThreadGroup>,
    token: WaitToken,
    shared: Arc<Shared>,
}

struct Shared {
    mask: Mutex<SignalSet>,
    queue: WaitQueue,
}

impl SignalFd {
    /// An open file that reads the signals in `mask` of `task` and its thread group. `flags` may be `O_NONBLOCK`.
    pub fn open(task: &Arc<Task>, mask: SignalSet, flags: u32) -> Arc<OpenFile> {
        let mask = mask.minus(SignalSet::UNBLOCKABLE);
        let shared = Arc::new(Shared { mask: Mutex::new(mask), queue: WaitQueue::new() });
        let token = task.group.signal_arrival.add(shared.clone(), 0, READABLE);
        let group = Arc::downgrade(&task.group);
        let ops = SignalFd { maker: Arc::downgrade(task), group, token, shared };
        OpenFile::anonymous(Arc::new(ops), O_RDWR | flags, "anon_inode:[signalfd]")
    }

    /// The signalfd behind an open file, if it is one.
    pub fn of(file: &OpenFile) -> Option<&SignalFd> {
        file.ops.as_any().downcast_ref()
    }

    /// Changes the set of signals.
    pub fn set_mask(&self, mask: SignalSet) {
        *self.shared.mask.lock() = mask.minus(SignalSet::UNBLOCKABLE);
        self.shared.queue.notify(READABLE);
    }

    /// The set of signals, for `/proc/PID/fdinfo`.
    pub fn mask(&self) -> SignalSet {
        *self.shared.mask.lock()
    }

    /// The task whose signals are read: the maker, or, once that has ended, another thread of its process.
    fn task(&self) -> Option<Arc<Task>> {
        let group = self.group.upgrade()?;
        let is_maker = |thread: &Arc<Task>| std::ptr::eq(&**thread, self.maker.as_ptr());
        group.threads().into_iter().find(is_maker).or_else(|| group.any_thread())
    }
}

impl Notify for Shared {
    fn notify(&self, _key: u64, _events: PollEvents) {
        self.queue.notify(READABLE);
    }
}

impl FileOps for SignalFd {
    fn read(&self, _file: &OpenFile, destination: &mut dyn Sink, _offset: u64) -> Result<usize, Errno> {
        if destination.remaining() < RECORD {
            return Err(Errno::EINVAL);
        }
        let task = self.task().ok_or(Errno::EAGAIN)?;
        let mask = self.mask();
        let mut done = 0;
        while destination.remaining() >= RECORD
            && let Some((signal, info)) = task.take_signal(mask)
        {
            match destination.put(SignalfdInfo::from_signal(signal, &info).as_bytes()) {
                Ok(count) => done += count,
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            }
        }
        if done == 0 { Err(Errno::EAGAIN) } else { Ok(done) }
    }

    fn seek(&self, _file: &OpenFile, _offset: i64, _whence: u32) -> Result<u64, Errno> {
        // Linux's noop_llseek: there is no position, and asking for one is no error.
        Ok(0)
    }

    fn poll(&self, _file: &OpenFile) -> PollEvents {
        let pending = self.task().map(|task| task.pending_signals().and(self.mask()));
        match pending {
            Some(pending) if !pending.is_empty() => READABLE,
            _ => PollEvents::empty(),
        }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.shared.queue)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for SignalFd {
    fn drop(&mut self) {
        if let Some(group) = self.group.upgrade() {
            group.signal_arrival.remove(self.token);
        }
    }
}
