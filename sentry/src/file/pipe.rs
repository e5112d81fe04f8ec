//! Pipes and FIFOs (`pipe(7)`, `fifo(7)`).
//!
//! A [`Pipe`] is the buffer; a [`PipeEnd`] is an open file on it, for reading, writing or (a FIFO opened `O_RDWR`)
//! both. The ends count themselves in and out of the pipe, so that the last writer's going is end of file and the last
//! reader's is `EPIPE`. A FIFO's inode holds a [`Pipe`] for as long as it exists, and every open makes an end.
//!
//! What a writer's guest thread has left in its inlet ([`usk_platform::Inlet`]) counts as queued. Whoever looks at the pipe takes it in
//! first, and if somebody waits for the pipe, closes the inlet before that: then the writer calls again. If it is one who listens for
//! the writer's [bell](usk_platform::Bell) the inlet stays, and the writer rings.

use std::any::Any;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, MutexGuard};
use usk_abi::fcntl::{O_ACCMODE, O_CLOEXEC, O_DIRECT, O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY};
use usk_abi::{Errno, PollEvents};
use usk_platform::Inlet;

use crate::file::ring::ByteRing;
use crate::task::{Current, Task};
use crate::vfs::{AnonymousInode, Arrivals, FileOps, Front, OpenFile, Reader, hurry};
use crate::wait::{Audience, WaitQueue};
use crate::{BytesSink, Sink, Source, SysError, SysResult, UserPtr};

/// Writes of up to this many bytes are atomic (`limits.h`).
pub const PIPE_BUF: usize = 4096;
/// Bytes a new pipe holds.
pub const DEFAULT_CAPACITY: usize = 65536;
/// Bytes a pipe may be made to hold without `CAP_SYS_RESOURCE` (`/proc/sys/fs/pipe-max-size`). It is the most that
/// anyone gets: the memory is the sentry's.
pub const MAX_CAPACITY: usize = 1 << 20;

const FIONREAD: u32 = 0x541b;

const READABLE: PollEvents = PollEvents::IN.union(PollEvents::RDNORM);
const WRITABLE: PollEvents = PollEvents::OUT.union(PollEvents::WRNORM);

/// The buffer between writers and readers.
#[derive(Default)]
pub struct Pipe {
    /// Held by whoever takes bytes out, so that bytes can be looked at, used and only then taken. Outside `state`, and
    /// outside the locks of the file that a splice writes to.
    consumer: Mutex<()>,
    state: Mutex<State>,
    queue: WaitQueue,
    /// What both ends of a pipe without a name are files of, once somebody has asked.
    inode: Mutex<Weak<AnonymousInode>>,
}

struct State {
    ring: ByteRing,
    /// How the bytes in the ring fall into runs: plain bytes, and packets (`O_DIRECT`).
    runs: VecDeque<Run>,
    /// Count of packets among the runs. Each takes a whole page of the capacity, as on Linux.
    packets: usize,
    packet_bytes: usize,
    capacity: usize,
    readers: usize,
    writers: usize,
    /// Bytes that have ever been taken out.
    taken: u64,
    /// Whose guest thread has a copy of the first bytes.
    reader: Reader,
    /// A writer has found no room, and nobody was told of any since.
    is_short: bool,
    /// How many readers and writers there ever were: opening a FIFO waits for a change.
    readers_ever: u64,
    writers_ever: u64,
    inlet: Option<OpenInlet>,
}

/// Where a writer leaves what it writes.
struct OpenInlet {
    memory: Arc<dyn Inlet>,
    room: usize,
    /// How much has been taken in.
    taken: usize,
    leave: Leave,
}

/// What a writer is to do when it has left something in its inlet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leave {
    /// Go on.
    Open,
    /// Ring its bell.
    Ring,
    /// Call. It does so until it is given another inlet.
    Closed,
}

/// What is in an inlet from one byte up to another.
struct InletRest<'a> {
    memory: &'a dyn Inlet,
    start: usize,
    end: usize,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    length: usize,
    is_packet: bool,
}

impl Default for State {
    fn default() -> Self {
        State {
            ring: ByteRing::default(),
            runs: VecDeque::new(),
            packets: 0,
            packet_bytes: 0,
            capacity: DEFAULT_CAPACITY,
            readers: 0,
            writers: 0,
            taken: 0,
            reader: Reader::default(),
            is_short: false,
            readers_ever: 0,
            writers_ever: 0,
            inlet: None,
        }
    }
}

impl State {
    /// Bytes that still fit.
    fn room(&self) -> usize {
        let used = self.ring.len() - self.packet_bytes + self.packets * PIPE_BUF;
        self.capacity.saturating_sub(used)
    }

    /// True if a write of up to [`PIPE_BUF`] bytes would not wait.
    fn is_writable(&self) -> bool {
        self.room() >= PIPE_BUF
    }

    fn queued(&self) -> Range<u64> {
        self.taken..self.taken + self.ring.len() as u64
    }

    /// A writer has found no room. Returns who may have made some and not told of it: to be [hurried](hurry) when the state is let go.
    #[must_use]
    fn fall_short(&mut self) -> Option<Arc<Task>> {
        self.is_short = true;
        self.reader.ask_for_room()
    }

    /// Whether what has arrived may be left with a reader: there is one, who reads bytes, and no writer waits.
    fn may_be_left(&mut self) -> bool {
        !self.reader.rests() && self.readers == 1 && self.packets == 0 && !self.is_short
    }

    fn append(&mut self, length: usize, is_packet: bool) {
        if is_packet {
            self.packets += 1;
            self.packet_bytes += length;
        } else if let Some(last) = self.runs.back_mut().filter(|last| !last.is_packet) {
            last.length += length;
            return;
        }
        self.runs.push_back(Run { length, is_packet });
    }

    /// Moves what one read gets: plain bytes across writes, or one packet, whose rest is lost.
    fn take(&mut self, sink: &mut dyn Sink) -> Result<usize, Errno> {
        let Some(&run) = self.runs.front() else { return Ok(0) };
        let moved = self.ring.drain_to(sink, run.length)?;
        self.taken += moved as u64;
        if run.is_packet {
            self.ring.discard(run.length - moved);
            self.packets -= 1;
            self.packet_bytes -= run.length;
            self.runs.pop_front();
        } else if moved == run.length {
            self.runs.pop_front();
        } else {
            self.runs[0].length -= moved;
        }
        Ok(moved)
    }
}

impl State {
    /// Queues what has been left in the inlet.
    fn take_in(&mut self) {
        let Some(mut rest) = self.inlet.as_mut().and_then(OpenInlet::take_rest) else { return };
        if let Ok(taken @ 1..) = self.ring.fill_from(&mut rest, usize::MAX) {
            self.append(taken, false);
        }
    }

    /// Has the writer call for its next write.
    fn have_writer_call(&mut self) {
        if let Some(inlet) = &mut self.inlet {
            inlet.leave = Leave::Closed;
            inlet.memory.close();
        }
    }

    /// Sees to it that who waits on the queue hears of what the writer leaves from now on.
    fn mind_audience(&mut self, queue: &WaitQueue) {
        let Some(inlet) = self.inlet.as_mut().filter(|inlet| inlet.leave != Leave::Closed) else { return };
        let leave = match queue.audience(inlet.memory.bell()) {
            Audience::Nobody => Leave::Open,
            Audience::Listener => Leave::Ring,
            Audience::Others => return self.have_writer_call(),
        };
        if inlet.leave != leave {
            inlet.leave = leave;
            inlet.memory.set_listener(leave == Leave::Ring);
        }
    }

    /// Drops the first `count` bytes; a packet that is begun is what is left of it.
    fn discard(&mut self, mut count: usize) {
        self.ring.discard(count);
        self.taken += count as u64;
        while let Some(run) = self.runs.front_mut() {
            let part = count.min(run.length);
            run.length -= part;
            count -= part;
            if run.is_packet {
                self.packet_bytes -= part;
            }
            if run.length > 0 {
                break;
            }
            self.packets -= usize::from(run.is_packet);
            self.runs.pop_front();
        }
    }
}

impl OpenInlet {
    /// What has been left and not taken in, if anything. The guest may say that it is less than it was, or more than fits.
    fn take_rest(&mut self) -> Option<InletRest<'_>> {
        let filled = usize::try_from(self.memory.filled()).unwrap_or(usize::MAX).min(self.room);
        let start = self.taken;
        self.taken = filled.max(start);
        (start < filled).then(|| InletRest { memory: &*self.memory, start, end: filled })
    }
}

impl Source for InletRest<'_> {
    fn remaining(&self) -> usize {
        self.end - self.start
    }

    fn take(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
        let count = buffer.len().min(self.remaining());
        let taken = self.memory.read(self.start as u64, &mut buffer[..count]);
        self.start += taken;
        Ok(taken)
    }

    fn give_back(&mut self, count: usize) {
        self.start -= count;
    }
}

impl Pipe {
    /// What is queued, and who is there.
    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        // Who waits looks after it has come to the queue: it finds what the writer leaves before this, and is told of what comes after.
        state.mind_audience(&self.queue);
        state.take_in();
        state
    }

    /// Lets a writer leave what it writes in an inlet that `open` opens for so many bytes, if nobody waits for the pipe but one who
    /// listens, until [`Pipe::close_inlet`]. True if it does.
    pub(crate) fn open_inlet(&self, open: impl FnOnce(u64) -> Option<Arc<dyn Inlet>>) -> bool {
        let mut state = self.state();
        let is_good = state.inlet.is_none() && state.readers > 0 && !self.queue.must_tell();
        let room = if is_good { state.room() } else { 0 };
        let memory = (room >= PIPE_BUF).then(|| open(room as u64)).flatten();
        let Some(memory) = memory else { return false };
        if let Some(bell) = memory.bell() {
            self.queue.set_bell(bell);
        }
        state.inlet = Some(OpenInlet { memory, room, taken: 0, leave: Leave::Open });
        // The listener may listen for another writer's.
        state.mind_audience(&self.queue);
        true
    }

    /// The writer has stopped: what it has left is queued.
    pub(crate) fn close_inlet(&self) {
        let mut state = self.state();
        let Some(inlet) = state.inlet.take() else { return };
        inlet.memory.close();
        // Others may have taken it in without telling those who wait.
        let is_news = inlet.taken > 0 && !state.runs.is_empty();
        drop(state);
        if is_news {
            self.queue.notify(READABLE);
        }
    }

    /// The inode of a pipe that no directory names: one for both ends.
    pub(crate) fn inode(&self, make: impl FnOnce() -> Arc<AnonymousInode>) -> Arc<AnonymousInode> {
        let mut known = self.inode.lock();
        known.upgrade().unwrap_or_else(|| {
            let made = make();
            *known = Arc::downgrade(&made);
            made
        })
    }

    /// An empty pipe without ends: what a FIFO's inode holds.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A pipe and its two open files, the one to read and the one to write. `flags` may hold `O_NONBLOCK`, `O_DIRECT`
    /// and `O_CLOEXEC` (which is the descriptor's and ignored here).
    pub fn pair(flags: u32) -> (Arc<OpenFile>, Arc<OpenFile>) {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let label = format!("pipe:[{number}]");
        let flags = flags & !(O_CLOEXEC | O_ACCMODE);
        let pipe = Pipe::new();
        let reader = OpenFile::anonymous(pipe.end(O_RDONLY), flags | O_RDONLY, label.clone());
        let writer = OpenFile::anonymous(pipe.end(O_WRONLY), flags | O_WRONLY, label);
        (reader, writer)
    }

    /// Opens a FIFO as `open(2)` with `flags` does: waits for the other side, unless `O_NONBLOCK`. `ENXIO` for a
    /// non-blocking writer without a reader.
    pub fn open_fifo(self: &Arc<Self>, current: &mut Current, flags: u32) -> SysResult<Arc<dyn FileOps>> {
        let (end, opening) = self.begin_open(flags)?;
        if let Some(opening) = opening {
            current.block(&[(&self.queue, READABLE | WRITABLE)], None, |_| {
                opening.partner_has_come(self).map_err(SysError::from)
            })?;
        }
        Ok(end)
    }

    /// The state. If there is less room than `wanted`, the reader has told of all that it has read. No lock may be held.
    fn state_for(&self, wanted: usize) -> MutexGuard<'_, State> {
        let mut state = self.state();
        if state.room() >= wanted {
            return state;
        }
        let Some(reader) = state.reader.ask_for_room() else { return state };
        drop(state);
        reader.bring_in_files();
        self.state()
    }

    /// Another end of a pipe without a name, opened by way of `/proc/PID/fd`: that waits for nobody.
    pub fn reopen(self: &Arc<Self>, flags: u32) -> Arc<dyn FileOps> {
        self.end(flags & O_ACCMODE)
    }

    /// The part of opening a FIFO that does not wait: the end, and what it has to wait for.
    fn begin_open(self: &Arc<Self>, flags: u32) -> Result<(Arc<PipeEnd>, Option<Opening>), Errno> {
        let access = flags & O_ACCMODE;
        let nonblocking = flags & O_NONBLOCK != 0;
        let (readers, writers, opening) = {
            let state = self.state();
            let opening =
                Opening { access, readers_ever: state.readers_ever, writers_ever: state.writers_ever };
            (state.readers, state.writers, opening)
        };
        if access == O_WRONLY && nonblocking && readers == 0 {
            return Err(Errno::ENXIO);
        }
        let end = self.end(access);
        let waits = match access {
            O_RDONLY => writers == 0 && !nonblocking,
            O_WRONLY => readers == 0,
            _ => false,
        };
        Ok((end, waits.then_some(opening)))
    }

    /// An end with the given access mode.
    fn end(self: &Arc<Self>, access: u32) -> Arc<PipeEnd> {
        let (reads, writes) = (access != O_WRONLY, access == O_WRONLY || access == O_RDWR);
        let mut state = self.state();
        state.readers += usize::from(reads);
        state.readers_ever += u64::from(reads);
        state.writers += usize::from(writes);
        state.writers_ever += u64::from(writes);
        let writers_before = if state.writers == 0 { state.writers_ever } else { u64::MAX };
        let reader = state.reader.get().filter(|_| reads);
        drop(state);
        // There are two now, and what the first has read by itself the second does not get.
        if let Some(reader) = reader {
            drop(reader.borrow_files());
        }
        self.queue.notify(READABLE | WRITABLE);
        Arc::new(PipeEnd { pipe: self.clone(), reads, writes, writers_before })
    }
}

/// What a FIFO's opener saw when it came.
struct Opening {
    access: u32,
    readers_ever: u64,
    writers_ever: u64,
}

impl Opening {
    fn partner_has_come(&self, pipe: &Pipe) -> Result<(), Errno> {
        let state = pipe.state();
        let come = match self.access {
            O_RDONLY => state.writers_ever != self.writers_ever,
            _ => state.readers_ever != self.readers_ever,
        };
        if come { Ok(()) } else { Err(Errno::EAGAIN) }
    }
}

/// An open end of a pipe.
pub struct PipeEnd {
    pipe: Arc<Pipe>,
    reads: bool,
    writes: bool,
    /// If there was no writer when this end was opened, how many there had been: a FIFO that nobody has opened for
    /// writing since does not report a hang-up.
    writers_before: u64,
}

impl PipeEnd {
    /// The pipe end behind an open file, if it is one.
    pub fn of(file: &OpenFile) -> Option<&PipeEnd> {
        file.ops.as_any().downcast_ref()
    }

    /// The pipe that this is an end of.
    pub(crate) fn pipe(&self) -> &Arc<Pipe> {
        &self.pipe
    }

    /// True if both are ends of one pipe.
    pub fn is_same_pipe(&self, other: &PipeEnd) -> bool {
        Arc::ptr_eq(&self.pipe, &other.pipe)
    }

    /// True if this end may be read.
    pub fn is_reader(&self) -> bool {
        self.reads
    }

    /// True if this end may be written.
    pub fn is_writer(&self) -> bool {
        self.writes
    }

    /// Bytes that the pipe holds at most (`F_GETPIPE_SZ`).
    pub fn capacity(&self) -> usize {
        self.pipe.state().capacity
    }

    /// Changes the capacity (`F_SETPIPE_SZ`), rounded up to a power of two of at least a page, and returns it. `EPERM`
    /// above [`MAX_CAPACITY`], `EBUSY` if more is queued.
    pub fn set_capacity(&self, bytes: usize) -> Result<usize, Errno> {
        if bytes > 1 << 31 {
            return Err(Errno::EINVAL);
        }
        let bytes = bytes.max(PIPE_BUF).next_power_of_two();
        if bytes > MAX_CAPACITY {
            return Err(Errno::EPERM);
        }
        let mut state = self.pipe.state_for(usize::MAX);
        let used = state.capacity - state.room();
        if used > bytes {
            return Err(Errno::EBUSY);
        }
        state.capacity = bytes;
        state.is_short &= !state.is_writable();
        drop(state);
        self.pipe.queue.notify(WRITABLE);
        Ok(bytes)
    }

    /// Bytes that can be written now without waiting (0 if fewer than a page), for splicing into the pipe. `EPIPE`
    /// without a reader.
    pub(crate) fn room(&self) -> Result<usize, Errno> {
        let mut state = self.pipe.state_for(PIPE_BUF);
        if state.readers == 0 {
            return Err(Errno::EPIPE);
        }
        if state.is_writable() {
            return Ok(state.room());
        }
        let reader = state.fall_short();
        drop(state);
        hurry(reader);
        Ok(0)
    }

    /// Queues bytes that have been taken from elsewhere, whether or not they fit (room has been asked for before).
    pub(crate) fn push(&self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let mut state = self.pipe.state();
        state.ring.push(bytes);
        state.append(bytes.len(), false);
        drop(state);
        self.pipe.queue.notify(READABLE);
    }

    /// Hands up to `limit` queued bytes to `use_bytes`, and takes out as many as it used. `EAGAIN` if there are none and
    /// writers are left, 0 if none are.
    pub(crate) fn consume(
        &self,
        limit: usize,
        use_bytes: impl FnOnce(&[u8]) -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        let _consumer = self.pipe.consumer.lock();
        let mut bytes = BytesSink::new(limit);
        if self.peek(&mut bytes, limit)? == 0 {
            return Ok(0);
        }
        let used = use_bytes(&bytes.bytes)?;
        let mut state = self.pipe.state();
        let was_writable = state.is_writable();
        state.discard(used);
        self.notify_room(state, was_writable);
        Ok(used)
    }

    /// True if there is nothing to read.
    pub fn is_empty(&self) -> bool {
        let state = self.pipe.state();
        state.ring.is_empty() && state.runs.is_empty()
    }

    /// Reads without a file position or flags. See [`FileOps::read`].
    pub(crate) fn take(&self, destination: &mut dyn Sink) -> Result<usize, Errno> {
        if destination.remaining() == 0 {
            return Ok(0);
        }
        let _consumer = self.pipe.consumer.lock();
        let mut state = self.pipe.state();
        if state.ring.is_empty() && state.runs.is_empty() {
            return if state.writers == 0 { Ok(0) } else { Err(Errno::EAGAIN) };
        }
        let was_writable = state.is_writable();
        let mut done = 0;
        loop {
            let is_packet = state.runs.front().is_none_or(|run| run.is_packet);
            if done > 0 && is_packet {
                break;
            }
            match state.take(destination) {
                Ok(0) => break,
                Ok(moved) => done += moved,
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            }
            if is_packet {
                break;
            }
        }
        self.notify_room(state, was_writable);
        Ok(done)
    }

    /// Copies up to `limit` queued bytes without taking them, as `tee(2)` does. `EAGAIN` if there are none and
    /// writers are left.
    pub(crate) fn peek(&self, sink: &mut dyn Sink, limit: usize) -> Result<usize, Errno> {
        let state = self.pipe.state();
        if state.ring.is_empty() {
            return if state.writers == 0 { Ok(0) } else { Err(Errno::EAGAIN) };
        }
        state.ring.copy_to(0, sink, limit)
    }

    fn notify_room(&self, mut state: MutexGuard<'_, State>, was_writable: bool) {
        let is_writable = state.is_writable();
        state.is_short &= !is_writable;
        state.reader.clear();
        drop(state);
        if is_writable && !was_writable {
            self.pipe.queue.notify(WRITABLE);
        }
    }

    fn write_packets(&self, state: &mut State, source: &mut dyn Source) -> Result<usize, Errno> {
        let mut done = 0;
        while source.remaining() > 0 && state.is_writable() {
            match state.ring.fill_from(source, PIPE_BUF) {
                Ok(0) => break,
                Ok(taken) => {
                    state.append(taken, true);
                    done += taken;
                }
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            }
        }
        if done == 0 { Err(Errno::EAGAIN) } else { Ok(done) }
    }
}

impl FileOps for PipeEnd {
    fn read(&self, _file: &OpenFile, destination: &mut dyn Sink, _offset: u64) -> Result<usize, Errno> {
        if !self.reads {
            return Err(Errno::EBADF);
        }
        self.take(destination)
    }

    fn write(&self, file: &OpenFile, source: &mut dyn Source, _offset: u64) -> Result<usize, Errno> {
        if !self.writes {
            return Err(Errno::EBADF);
        }
        let wanted = source.remaining();
        if wanted == 0 {
            return Ok(0);
        }
        let mut state = self.pipe.state_for(wanted);
        if state.readers == 0 {
            return Err(Errno::EPIPE);
        }
        let is_packet = file.flags() & O_DIRECT != 0;
        let room = state.room();
        let enough = if wanted <= PIPE_BUF && !is_packet { room >= wanted } else { room >= PIPE_BUF };
        if !enough {
            let reader = state.fall_short();
            drop(state);
            hurry(reader);
            return Err(Errno::EAGAIN);
        }
        let done = if is_packet {
            self.write_packets(&mut state, source)?
        } else {
            let taken = state.ring.fill_from(source, room)?;
            if taken > 0 {
                state.append(taken, false);
            }
            taken
        };
        drop(state);
        self.pipe.queue.notify(READABLE);
        Ok(done)
    }

    fn write_is_all_or_wait(&self) -> bool {
        true
    }

    fn poll(&self, _file: &OpenFile) -> PollEvents {
        let mut state = self.pipe.state();
        let mut events = PollEvents::empty();
        if self.reads {
            events.set(READABLE, !state.runs.is_empty());
            events.set(PollEvents::HUP, state.writers == 0 && state.writers_ever != self.writers_before);
        }
        if self.writes {
            events.set(WRITABLE, state.is_writable());
            events.set(PollEvents::ERR, state.readers == 0);
        }
        let is_short = self.writes && !state.is_writable();
        let reader = if is_short { state.fall_short() } else { None };
        drop(state);
        hurry(reader);
        events
    }

    fn raises_signals(&self) -> bool {
        true
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.pipe.queue)
    }

    fn ioctl(&self, current: &mut Current, _file: &OpenFile, command: u32, argument: u64) -> SysResult {
        if command != FIONREAD {
            return Err(Errno::ENOTTY.into());
        }
        let queued = self.pipe.state_for(usize::MAX).ring.len();
        let queued = i32::try_from(queued).unwrap_or(i32::MAX);
        UserPtr::<i32>::new(argument).write(current.space(), &queued)?;
        Ok(0)
    }

    fn arrivals(&self) -> Option<&dyn Arrivals> {
        (self.reads && !self.writes).then_some(self)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Arrivals for PipeEnd {
    fn renew(&self, reader: &Arc<Task>) -> Option<Range<u64>> {
        let mut state = self.pipe.state();
        if !state.may_be_left() {
            return None;
        }
        state.reader.set(reader);
        Some(state.queued())
    }

    fn leave(&self, reader: &Arc<Task>, most: usize) -> Option<Front> {
        let mut state = self.pipe.state();
        let mut front = BytesSink::new(most);
        if !state.may_be_left() || state.ring.copy_to(0, &mut front, most).ok()? == 0 {
            return None;
        }
        state.reader.set(reader);
        Some(Front { queued: state.queued(), bytes: front.bytes })
    }

    fn is_socket(&self) -> bool {
        false
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        let mut state = self.pipe.state();
        state.readers -= usize::from(self.reads);
        state.writers -= usize::from(self.writes);
        if state.readers == 0 {
            state.have_writer_call();
        }
        if state.readers == 0 && state.writers == 0 {
            // A FIFO forgets what nobody has read when its last end closes.
            let (readers_ever, writers_ever) = (state.readers_ever, state.writers_ever);
            *state = State { readers_ever, writers_ever, ..State::default() };
        }
        drop(state);
        self.pipe.queue.notify(READABLE | WRITABLE | PollEvents::HUP | PollEvents::ERR);
    }
}

#[cfg(test)]
mod tests;
