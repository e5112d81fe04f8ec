//! What has been sent to a socket and not yet been received.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use usk_abi::socket::MessageFlags;
use usk_abi::{Errno, PollEvents};

use crate::Sink;
use crate::net::Incoming;
use crate::net::budget::{Budget, Charge};
use crate::net::message::{MESSAGE_OVERHEAD, Message, STREAM_PART};
use crate::task::Task;
use crate::vfs::{Front, Reader, hurry};
use crate::wait::WaitQueue;

/// How much an inbox takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    /// Until this many bytes are queued.
    Bytes(usize),
    /// As many datagrams as this; each bounded by the sender's buffer.
    Messages(usize),
}

/// A socket's receive queue.
#[derive(Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    messages: VecDeque<Message>,
    /// Bytes that can be received.
    bytes: usize,
    /// Bytes of a stream that are not there any more.
    taken: u64,
    /// Whose guest thread has a copy of the first bytes.
    reader: Reader,
    /// Sum of the messages' costs.
    cost: Charge,
    is_closed: bool,
    /// The queues of senders that found it full, told once there is room again.
    waiting: Vec<Weak<WaitQueue>>,
}

impl State {
    fn is_writable(&self, bound: Bound) -> bool {
        match bound {
            // As on Linux: writable is when three quarters are free.
            Bound::Bytes(limit) => self.cost.bytes() * 4 <= limit && self.cost.room() > MESSAGE_OVERHEAD,
            // A message goes into an empty inbox, whatever others hold.
            Bound::Messages(limit) => {
                self.messages.is_empty() || self.messages.len() < limit && self.cost.room() > MESSAGE_OVERHEAD
            }
        }
    }

    /// How many bytes may be queued.
    fn room(&self, bound: Bound) -> usize {
        match bound {
            Bound::Bytes(limit) => {
                let own = limit.saturating_sub(self.cost.bytes());
                own.min(self.cost.room()).saturating_sub(MESSAGE_OVERHEAD)
            }
            Bound::Messages(_) if self.is_writable(bound) => usize::MAX,
            Bound::Messages(_) => 0,
        }
    }

    /// Has `sender` told once there is room. Returns who may have made some and not told of it: to be [hurried](hurry) when the state
    /// is let go.
    #[must_use]
    fn wait(&mut self, sender: &Arc<WaitQueue>) -> Option<Arc<Task>> {
        self.waiting.retain(|known| known.strong_count() > 0);
        if !self.waiting.iter().any(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(sender))) {
            self.waiting.push(Arc::downgrade(sender));
        }
        self.reader.ask_for_room()
    }

    fn queued(&self) -> Range<u64> {
        self.taken..self.taken + self.bytes as u64
    }

    fn remove_first(&mut self) -> Option<Message> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.rest().len();
        self.cost.remove(message.cost());
        Some(message)
    }

    /// Senders to be told that there is room, if there is.
    fn relieved(&mut self, bound: Bound) -> Vec<Weak<WaitQueue>> {
        if self.is_writable(bound) { std::mem::take(&mut self.waiting) } else { Vec::new() }
    }
}

/// Tells senders that there is room. No lock of a socket or an inbox is held, at most the descriptor table, by
/// `accept`.
fn tell(senders: Vec<Weak<WaitQueue>>) {
    for sender in senders.iter().filter_map(Weak::upgrade) {
        sender.notify(PollEvents::OUT | PollEvents::WRNORM | PollEvents::WRBAND);
    }
}

impl Inbox {
    /// An empty one, of what a budget allows.
    pub(super) fn within(budget: &Arc<Budget>) -> Self {
        Inbox { state: Mutex::new(State { cost: Charge::of(budget), ..State::default() }) }
    }

    /// How many bytes a sender may queue now; `EAGAIN` if none, and then the sender is told later. `ECONNREFUSED` if the
    /// inbox is closed. If it is less than `wanted`, the reader has told of all that it has read. No lock may be held.
    pub(super) fn room(&self, sender: &Arc<WaitQueue>, bound: Bound, wanted: usize) -> Result<usize, Errno> {
        let mut state = self.state.lock();
        if !state.is_closed
            && state.room(bound) < wanted
            && let Some(reader) = state.reader.ask_for_room()
        {
            drop(state);
            reader.bring_in_files();
            state = self.state.lock();
        }
        if state.is_closed {
            return Err(Errno::ECONNREFUSED);
        }
        let room = state.room(bound);
        if room == 0 {
            let reader = state.wait(sender);
            drop(state);
            hurry(reader);
            return Err(Errno::EAGAIN);
        }
        Ok(room)
    }

    /// Has `sender` told once there is room.
    pub(super) fn wait_for_room(&self, sender: &Arc<WaitQueue>) {
        let reader = self.state.lock().wait(sender);
        hurry(reader);
    }

    /// True if a sender would find room; if not, it is told later.
    pub(super) fn is_writable(&self, sender: &Arc<WaitQueue>, bound: Bound) -> bool {
        let mut state = self.state.lock();
        let writable = state.is_closed || state.is_writable(bound);
        if !writable {
            let reader = state.wait(sender);
            drop(state);
            hurry(reader);
        }
        writable
    }

    /// See [`Arrivals::renew`](crate::vfs::Arrivals::renew).
    pub(super) fn renew(&self, reader: &Arc<Task>) -> Option<Range<u64>> {
        let mut state = self.state.lock();
        if state.reader.rests() || !state.waiting.is_empty() {
            return None;
        }
        state.reader.set(reader);
        Some(state.queued())
    }

    /// See [`Arrivals::leave`](crate::vfs::Arrivals::leave). Up to those bytes that open files come with.
    pub(super) fn leave(&self, reader: &Arc<Task>, most: usize) -> Option<Front> {
        let mut state = self.state.lock();
        if state.reader.rests() || !state.waiting.is_empty() {
            return None;
        }
        let mut bytes = Vec::with_capacity(most.min(state.bytes));
        for message in state.messages.iter().take_while(|message| message.rights.is_empty()) {
            let room = most - bytes.len();
            bytes.extend(message.rest().iter().take(room));
            if room <= message.rest().len() {
                break;
            }
        }
        if bytes.is_empty() {
            return None;
        }
        state.reader.set(reader);
        Some(Front { queued: state.queued(), bytes })
    }

    /// Before a look from outside: what the reader has read is taken out. No lock may be held.
    pub(super) fn settle(&self) {
        let reader = self.state.lock().reader.get();
        if let Some(reader) = reader {
            reader.bring_in_files();
        }
    }

    /// Queues a message, whether or not there is room (that has been asked for). Gives it back if the inbox is closed.
    pub(super) fn push(&self, message: Message) -> Result<(), Message> {
        let mut state = self.state.lock();
        if state.is_closed {
            return Err(message);
        }
        state.bytes += message.rest().len();
        state.cost.add(message.cost());
        state.messages.push_back(message);
        Ok(())
    }

    /// Queues bytes of a stream that has no senders to tell apart, as part of the last message where that is small. Gives
    /// nothing back: false if the inbox is closed.
    pub(super) fn append(&self, bytes: Vec<u8>) -> bool {
        let mut state = self.state.lock();
        if state.is_closed {
            return false;
        }
        let length = bytes.len();
        state.bytes += length;
        state.cost.add(length);
        match state.messages.back_mut() {
            Some(last) if last.bytes.len() + length <= STREAM_PART => last.bytes.extend_from_slice(&bytes),
            _ => {
                state.cost.add(MESSAGE_OVERHEAD);
                state.messages.push_back(Message { bytes, ..Message::default() });
            }
        }
        true
    }

    /// Queues a datagram unless others are queued and that would make it more than `limit`, or all sockets together hold too
    /// much; then, and if the inbox is closed, it is lost.
    pub(super) fn offer(&self, message: Message, limit: usize) {
        let mut state = self.state.lock();
        let cost = message.cost();
        let fits = state.messages.is_empty() || state.cost.bytes() + cost <= limit;
        if !state.is_closed && fits && cost <= state.cost.room() {
            state.bytes += message.bytes.len();
            state.cost.add(cost);
            state.messages.push_back(message);
        }
    }

    /// Bytes that can be received.
    pub(super) fn bytes(&self) -> usize {
        self.state.lock().bytes
    }

    /// Bytes of the first message.
    pub(super) fn first_length(&self) -> usize {
        self.state.lock().messages.front().map_or(0, |message| message.rest().len())
    }

    /// True if there is nothing to receive.
    pub(super) fn is_empty(&self) -> bool {
        self.state.lock().messages.is_empty()
    }

    /// Takes no more messages and drops those that are queued. True if there were any.
    pub(super) fn close(&self) -> bool {
        self.empty(true)
    }

    /// Drops what is queued. True if there was anything.
    pub(super) fn clear(&self) -> bool {
        self.empty(false)
    }

    fn empty(&self, closes: bool) -> bool {
        let (messages, waiting) = {
            let mut state = self.state.lock();
            state.is_closed |= closes;
            state.taken += std::mem::take(&mut state.bytes) as u64;
            let cost = state.cost.bytes();
            state.cost.remove(cost);
            (std::mem::take(&mut state.messages), std::mem::take(&mut state.waiting))
        };
        tell(waiting);
        // Files in the messages are dropped here, with no lock held.
        !messages.is_empty()
    }

    /// Tells senders that wait: the socket does not receive any more.
    pub(super) fn wake_senders(&self) {
        let waiting = std::mem::take(&mut self.state.lock().waiting);
        tell(waiting);
    }

    /// Receives one message; the rest of one that does not fit is lost. `EAGAIN` if there is none.
    pub(super) fn receive_message(
        &self,
        sink: &mut dyn Sink,
        flags: MessageFlags,
        bound: Bound,
    ) -> Result<Incoming, Errno> {
        let mut state = self.state.lock();
        let first = state.messages.front().ok_or(Errno::EAGAIN)?;
        let mut incoming = Incoming {
            full_length: first.bytes.len(),
            source: first.source.clone(),
            credentials: Some(first.credentials),
            ..Incoming::default()
        };
        let copied = sink.put(&first.bytes);
        if flags.contains(MessageFlags::PEEK) {
            incoming.count = copied?;
            incoming.rights = first.rights.duplicate();
            return Ok(incoming);
        }
        let Some(mut message) = state.remove_first() else { return Err(Errno::EAGAIN) };
        let relieved = state.relieved(bound);
        drop(state);
        tell(relieved);
        // As on Linux, a datagram that cannot be copied out is gone.
        incoming.count = copied?;
        incoming.rights = message.rights.take();
        Ok(incoming)
    }

    /// Receives bytes across messages, as far as one receive of a stream goes: messages of different senders are not
    /// mixed if `separates_senders`, and nothing follows open files. `EAGAIN` if there is nothing.
    pub(super) fn receive_bytes(
        &self,
        sink: &mut dyn Sink,
        flags: MessageFlags,
        separates_senders: bool,
        bound: Bound,
    ) -> Result<Incoming, Errno> {
        let is_peek = flags.contains(MessageFlags::PEEK);
        let mut state = self.state.lock();
        let Some(first) = state.messages.front() else { return Err(Errno::EAGAIN) };
        let sender = first.credentials;
        let mut incoming =
            Incoming { source: first.source.clone(), credentials: Some(sender), ..Incoming::default() };
        let mut finished = Vec::new();
        let mut index = 0;
        // Who has no room for bytes gets the first message's files.
        while let Some(message) = state.messages.get_mut(index) {
            if separates_senders && message.credentials != sender {
                break;
            }
            let rest = message.rest().len();
            let copied = match sink.put(message.rest()) {
                Ok(copied) => copied,
                Err(errno) if incoming.count == 0 => return Err(errno),
                Err(_) => break,
            };
            incoming.count += copied;
            let has_rights = !message.rights.is_empty();
            if has_rights {
                incoming.rights.extend(if is_peek {
                    message.rights.duplicate()
                } else {
                    message.rights.take()
                });
            }
            if is_peek {
                index += 1;
            } else {
                message.consumed += copied;
                state.bytes -= copied;
                state.taken += copied as u64;
                if copied == rest {
                    finished.extend(state.remove_first());
                }
            }
            if copied < rest || has_rights || sink.remaining() == 0 {
                break;
            }
        }
        incoming.full_length = incoming.count;
        if !is_peek {
            state.reader.clear();
        }
        let relieved = state.relieved(bound);
        drop(state);
        tell(relieved);
        Ok(incoming)
    }
}
