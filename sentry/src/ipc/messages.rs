//! Message queues (`msgget(2)`, `msgop(2)`, `msgctl(2)`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use usk_abi::ipc::{IpcPermissions, MsqidDs};
use usk_abi::{Errno, PollEvents};

use crate::ipc::IpcLimits;
use crate::ipc::identifiers::{GetRequest, Identifiers, IpcObject, IpcObjects, IpcPerm};
use crate::task::Credentials;
use crate::wait::WaitQueue;

const CAP_SYS_RESOURCE: u32 = 24;
/// Most bytes that all messages of a sandbox take, with [`OVERHEAD`] for each: they are the sentry's memory.
const MAX_TOTAL: u64 = 64 << 20;
const OVERHEAD: u64 = 64;

/// The queues of a sandbox.
pub struct MessageQueues {
    table: Identifiers<MessageQueue>,
    /// Bytes that all messages take in the sentry.
    total: Arc<AtomicU64>,
}

/// A queue, to wait on.
pub struct MessageQueue {
    queue: WaitQueue,
    total: Arc<AtomicU64>,
    state: Mutex<State>,
}

struct State {
    perm: IpcPerm,
    messages: VecDeque<Message>,
    bytes: u64,
    max_bytes: u64,
    send_time: i64,
    receive_time: i64,
    change_time: i64,
    last_send_pid: i32,
    last_receive_pid: i32,
    is_removed: bool,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its type, at least 1.
    pub kind: i64,
    /// Its text.
    pub text: Vec<u8>,
}

/// Which message to receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageSelector {
    /// The first.
    Any,
    /// The first of a type.
    Kind(i64),
    /// The first of any other type.
    Except(i64),
    /// The first of the lowest type that is at most this.
    UpTo(i64),
    /// The one at an index, which is copied and stays (`MSG_COPY`).
    CopyAt(usize),
}

impl IpcObject for MessageQueue {
    type Status = MsqidDs;

    fn perm(&self) -> IpcPerm {
        self.state.lock().perm
    }

    fn is_gone(&self) -> bool {
        self.state.lock().is_removed
    }

    fn describe(&self) -> MsqidDs {
        let state = self.state.lock();
        MsqidDs {
            perm: state.perm.to_abi(),
            send_time: state.send_time,
            receive_time: state.receive_time,
            change_time: state.change_time,
            bytes: state.bytes,
            messages: state.messages.len() as u64,
            max_bytes: state.max_bytes,
            last_send_pid: state.last_send_pid,
            last_receive_pid: state.last_receive_pid,
            ..MsqidDs::default()
        }
    }
}

impl MessageQueue {
    /// Notified when a message comes or goes, and when the queue is removed.
    pub fn queue(&self) -> &WaitQueue {
        &self.queue
    }

    /// Adds a message. `EAGAIN` if there is no room now, `EIDRM` if the queue has been removed.
    pub fn send(&self, message: &Message, pid: i32, now: i64) -> Result<(), Errno> {
        let mut state = self.state.lock();
        if state.is_removed {
            return Err(Errno::EIDRM);
        }
        let length = message.text.len() as u64;
        if state.bytes + length > state.max_bytes || state.messages.len() as u64 + 1 > state.max_bytes {
            return Err(Errno::EAGAIN);
        }
        let reserved = self.total.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |total| {
            total.checked_add(length + OVERHEAD).filter(|&total| total <= MAX_TOTAL)
        });
        reserved.map_err(|_| Errno::ENOMEM)?;
        state.bytes += length;
        state.messages.push_back(message.clone());
        state.last_send_pid = pid;
        state.send_time = now;
        drop(state);
        self.queue.notify(PollEvents::IN);
        Ok(())
    }

    /// Takes a message. `EAGAIN` if there is none now, `EIDRM` if the queue has been removed, `E2BIG` if it is longer than
    /// `limit` and `may_cut` is false (it stays then).
    pub fn receive(
        &self,
        selector: MessageSelector,
        limit: usize,
        may_cut: bool,
        pid: i32,
        now: i64,
    ) -> Result<Message, Errno> {
        let mut state = self.state.lock();
        if state.is_removed {
            return Err(Errno::EIDRM);
        }
        let index = find(&state.messages, selector).ok_or(Errno::EAGAIN)?;
        let copies = matches!(selector, MessageSelector::CopyAt(_));
        if state.messages[index].text.len() > limit && !may_cut {
            return Err(Errno::E2BIG);
        }
        let taken = if copies { Some(state.messages[index].clone()) } else { state.messages.remove(index) };
        let mut message = taken.ok_or(Errno::EAGAIN)?;
        if !copies {
            state.bytes -= message.text.len() as u64;
            self.total.fetch_sub(message.text.len() as u64 + OVERHEAD, Ordering::Relaxed);
            state.last_receive_pid = pid;
            state.receive_time = now;
            drop(state);
            self.queue.notify(PollEvents::OUT);
        }
        message.text.truncate(limit);
        Ok(message)
    }
}

fn find(messages: &VecDeque<Message>, selector: MessageSelector) -> Option<usize> {
    match selector {
        MessageSelector::Any => (!messages.is_empty()).then_some(0),
        MessageSelector::Kind(kind) => messages.iter().position(|message| message.kind == kind),
        MessageSelector::Except(kind) => messages.iter().position(|message| message.kind != kind),
        MessageSelector::UpTo(most) => {
            let candidates = messages.iter().enumerate().filter(|(_, message)| message.kind <= most);
            candidates.min_by_key(|(_, message)| message.kind).map(|(index, _)| index)
        }
        MessageSelector::CopyAt(index) => (index < messages.len()).then_some(index),
    }
}

impl IpcObjects for MessageQueues {
    type Object = MessageQueue;

    fn table(&self) -> &Identifiers<MessageQueue> {
        &self.table
    }
}

impl MessageQueues {
    /// None yet.
    pub(super) fn new(limits: Arc<IpcLimits>) -> Self {
        MessageQueues { table: Identifiers::new(limits, |limits| &limits.msgmni), total: Arc::default() }
    }

    /// The identifier of the queue of a key, which is made if need be. Errors as in `msgget(2)`.
    pub fn get(&self, request: GetRequest<'_>, now: i64) -> Result<i32, Errno> {
        self.table.get(
            request,
            |_| Ok(()),
            |perm| {
                Ok(MessageQueue {
                    queue: WaitQueue::new(),
                    total: self.total.clone(),
                    state: Mutex::new(State {
                        perm,
                        messages: VecDeque::new(),
                        bytes: 0,
                        max_bytes: self.table.limits().msgmnb.get(),
                        send_time: 0,
                        receive_time: 0,
                        change_time: now,
                        last_send_pid: 0,
                        last_receive_pid: 0,
                        is_removed: false,
                    }),
                })
            },
        )
    }

    /// The queue to send to or to receive from; `wanted` is the access, as mode bits.
    pub fn open(&self, id: i32, credentials: &Credentials, wanted: u32) -> Result<Arc<MessageQueue>, Errno> {
        let queue = self.table.find(id)?;
        queue.perm().check(credentials, wanted)?;
        Ok(queue)
    }

    /// `IPC_SET`: owner, mode and the most bytes, which only `CAP_SYS_RESOURCE` may raise above the default.
    pub fn set(
        &self,
        id: i32,
        credentials: &Credentials,
        new: &IpcPermissions,
        max_bytes: u64,
        now: i64,
    ) -> Result<(), Errno> {
        let queue = self.table.find(id)?;
        {
            let mut state = queue.state.lock();
            state.perm.check_owner(credentials)?;
            if max_bytes > self.table.limits().msgmnb.get() && !credentials.has_capability(CAP_SYS_RESOURCE) {
                return Err(Errno::EPERM);
            }
            state.perm.set(new);
            state.max_bytes = max_bytes;
            state.change_time = now;
        }
        queue.queue.notify(PollEvents::OUT);
        Ok(())
    }

    /// `IPC_RMID`: who waits gets `EIDRM`.
    pub fn remove(&self, id: i32, credentials: &Credentials) -> Result<(), Errno> {
        let queue = self.table.find(id)?;
        {
            let mut state = queue.state.lock();
            state.perm.check_owner(credentials)?;
            state.is_removed = true;
            let freed = state.bytes + state.messages.len() as u64 * OVERHEAD;
            queue.total.fetch_sub(freed, Ordering::Relaxed);
            state.messages.clear();
            state.bytes = 0;
        }
        queue.queue.notify(PollEvents::IN | PollEvents::OUT);
        self.table.sweep();
        Ok(())
    }

    /// Count of queues, messages and bytes in all, and the highest index in use.
    pub fn usage(&self) -> (i32, i32, u64, i32) {
        let all: Vec<_> = self.table.all().iter().map(|(_, queue)| queue.describe()).collect();
        let messages = all.iter().map(|queue| queue.messages).sum::<u64>();
        let bytes = all.iter().map(|queue| queue.bytes).sum();
        (all.len() as i32, messages as i32, bytes, self.table.highest_index())
    }
}
