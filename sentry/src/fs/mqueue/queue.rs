//! A queue: its messages, by priority and then by age, and who is told of them.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use usk_abi::{Errno, PollEvents};

use super::notice::Registration;
use super::{Shape, Space};
use crate::task::ThreadGroup;
use crate::vfs::{Attributes, FileOps, OpenFile, Timestamp, devices};
use crate::wait::WaitQueue;
use crate::{Sink, SysResult};

/// What opening a queue gives.
pub struct Queue {
    space: Arc<Space>,
    /// Whose `RLIMIT_MSGQUEUE` it counts against, and how much.
    uid: u32,
    charge: u64,
    max_messages: usize,
    message_size: usize,
    pub(super) attributes: Mutex<Attributes>,
    queue: WaitQueue,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    messages: BTreeMap<u32, VecDeque<Vec<u8>>>,
    count: usize,
    bytes: usize,
    /// Calls that wait for a message. What comes to them is nobody else's to be told of.
    receivers: usize,
    registration: Option<Registration>,
}

impl State {
    /// Takes the registration out; one whose process is gone is none.
    fn registered(&mut self) -> Option<&Registration> {
        if self.registration.as_ref().is_some_and(|known| known.group.strong_count() == 0) {
            self.registration = None;
        }
        self.registration.as_ref()
    }
}

/// That a call waits for a message.
pub struct Receiving<'a>(&'a Queue);

impl Drop for Receiving<'_> {
    fn drop(&mut self) {
        self.0.state.lock().receivers -= 1;
    }
}

impl Queue {
    pub(super) fn new(space: &Arc<Space>, uid: u32, shape: Shape) -> Result<Arc<Queue>, Errno> {
        let (max_messages, message_size, charge) = space.admit(uid, shape)?;
        Ok(Arc::new(Queue {
            space: space.clone(),
            uid,
            charge,
            // Both are bounded far below what a word holds.
            max_messages: max_messages as usize,
            message_size: message_size as usize,
            attributes: Mutex::new(Attributes::new(devices::ANONYMOUS, 0, 0, Timestamp::now())),
            queue: WaitQueue::new(),
            state: Mutex::default(),
        }))
    }

    /// The queue behind an open file. `EBADF` if it is something else.
    pub fn of(file: &OpenFile) -> Result<&Queue, Errno> {
        file.ops.as_any().downcast_ref().ok_or(Errno::EBADF)
    }

    /// Notified when a message comes or goes.
    pub fn queue(&self) -> &WaitQueue {
        &self.queue
    }

    /// Most messages, most bytes of a message, and messages now.
    pub fn measures(&self) -> (usize, usize, usize) {
        (self.max_messages, self.message_size, self.state.lock().count)
    }

    /// Most bytes of a message.
    pub fn message_size(&self) -> usize {
        self.message_size
    }

    /// Adds a message, whose text it takes. `EAGAIN` if the queue is full. Who is to be told is returned.
    pub fn send(&self, text: &mut Vec<u8>, priority: u32) -> Result<Option<Registration>, Errno> {
        let mut state = self.state.lock();
        if state.count >= self.max_messages {
            return Err(Errno::EAGAIN);
        }
        self.space.reserve(text.len())?;
        state.count += 1;
        state.bytes += text.len();
        state.messages.entry(priority).or_default().push_back(std::mem::take(text));
        // The first that is left when all who wait have got theirs.
        let is_first = state.count == state.receivers + 1;
        let told = if is_first && state.registered().is_some() { state.registration.take() } else { None };
        drop(state);
        let now = Timestamp::now();
        let mut attributes = self.attributes.lock();
        attributes.modified = now;
        attributes.changed = now;
        drop(attributes);
        self.queue.notify(PollEvents::IN | PollEvents::RDNORM);
        Ok(told)
    }

    /// Takes the oldest message of the highest priority, and says that. `EAGAIN` if there is none.
    pub fn receive(&self) -> Result<(Vec<u8>, u32), Errno> {
        let mut state = self.state.lock();
        let mut highest = state.messages.last_entry().ok_or(Errno::EAGAIN)?;
        let priority = *highest.key();
        let text = highest.get_mut().pop_front();
        if highest.get().is_empty() {
            highest.remove();
        }
        let text = text.ok_or(Errno::EAGAIN)?;
        state.count -= 1;
        state.bytes -= text.len();
        drop(state);
        self.space.release(text.len());
        let now = Timestamp::now();
        let mut attributes = self.attributes.lock();
        attributes.accessed = now;
        attributes.changed = now;
        drop(attributes);
        self.queue.notify(PollEvents::OUT | PollEvents::WRNORM);
        Ok((text, priority))
    }

    /// A call begins to wait for a message.
    pub fn receiving(&self) -> Receiving<'_> {
        self.state.lock().receivers += 1;
        Receiving(self)
    }

    /// `mq_notify(2)`. `EBUSY` if somebody has asked.
    pub fn register(&self, registration: Registration) -> SysResult<()> {
        let mut state = self.state.lock();
        if state.registered().is_some() {
            return Err(Errno::EBUSY.into());
        }
        state.registration = Some(registration);
        Ok(())
    }

    /// `mq_notify(2)` without a notice: what `group` has asked for is taken back.
    pub fn unregister(&self, group: &Arc<ThreadGroup>) {
        self.withdraw(|known| std::ptr::eq(known.group.as_ptr(), Arc::as_ptr(group)));
    }

    fn withdraw(&self, is_meant: impl FnOnce(&Registration) -> bool) {
        let mut state = self.state.lock();
        let withdrawn =
            if state.registration.as_ref().is_some_and(is_meant) { state.registration.take() } else { None };
        drop(state);
        if let Some(withdrawn) = withdrawn {
            withdrawn.withdraw();
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        for text in self.state.get_mut().messages.values().flatten() {
            self.space.release(text.len());
        }
        self.space.discharge(self.uid, self.charge);
    }
}

impl FileOps for Queue {
    /// What `cat(1)` shows of a queue.
    fn read(&self, _file: &OpenFile, destination: &mut dyn Sink, offset: u64) -> Result<usize, Errno> {
        let mut state = self.state.lock();
        let bytes = state.bytes;
        let (notify, signal, pid) = match state.registered() {
            Some(known) => {
                let (notify, signal) = known.shown();
                (notify, signal, known.group.upgrade().map_or(0, |group| group.tgid))
            }
            None => (0, 0, 0),
        };
        drop(state);
        let text = format!("QSIZE:{bytes:<10} NOTIFY:{notify:<5} SIGNO:{signal:<5} NOTIFY_PID:{pid:<6}\n");
        let rest = usize::try_from(offset).ok().and_then(|start| text.as_bytes().get(start..)).unwrap_or(&[]);
        let rest = rest.get(..destination.remaining()).unwrap_or(rest);
        if rest.is_empty() { Ok(0) } else { destination.put(rest) }
    }

    fn is_seekable(&self) -> bool {
        true
    }

    fn poll(&self, _file: &OpenFile) -> PollEvents {
        let count = self.state.lock().count;
        let mut events = PollEvents::empty();
        events.set(PollEvents::IN | PollEvents::RDNORM, count > 0);
        events.set(PollEvents::OUT | PollEvents::WRNORM, count < self.max_messages);
        events
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }

    fn flush(&self, _file: &OpenFile, table: u64) -> Result<(), Errno> {
        self.withdraw(|known| known.table == table);
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
