//! Listeners: a filter leaves calls to another process, which answers them (`seccomp_unotify(2)`).
//!
//! A [`Notifier`] belongs to one filter and knows the calls that wait for an answer. The filter's threads hold it by
//! [`Watched`]; the listening process holds it by a [`Listener`], the file. Either side learns when the other is gone.

use std::any::Any;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use usk_abi::fcntl::{O_CLOEXEC, O_RDWR};
use usk_abi::seccomp::*;
use usk_abi::{Errno, PollEvents};
use usk_platform::host;
use zerocopy::FromBytes;

use crate::task::{Current, Resource, Task};
use crate::vfs::{FileOps, OpenFile};
use crate::wait::WaitQueue;
use crate::{SysResult, UserPtr};

/// Most bytes of a `struct seccomp_notif_addfd`, whatever later versions add.
const ADDFD_MAX: usize = 4096;

/// What a filter and its listener have in common.
pub struct Notifier {
    /// The listener's readiness, and whoever waits for a call.
    queue: WaitQueue,
    state: Mutex<State>,
}

struct State {
    next_id: u64,
    /// One for each thread that waits at most, the oldest first.
    calls: Vec<Call>,
    /// The listener is closed.
    is_closed: bool,
    /// No thread has the filter any more.
    is_deserted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nobody has been told of it.
    New,
    /// It has been received.
    Sent,
    /// It has been answered, or is about to be.
    Answering,
}

struct Call {
    id: u64,
    phase: Phase,
    task: Weak<Task>,
    tid: i32,
    data: SeccompData,
    waiting: Arc<Waiting>,
}

/// What the calling thread waits for.
#[derive(Default)]
struct Waiting {
    queue: WaitQueue,
    answer: Mutex<Option<Answer>>,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is carried out after all.
    Continue,
    /// It returns this.
    Return(u64),
}

impl Waiting {
    fn give(&self, answer: Answer) {
        *self.answer.lock() = Some(answer);
        self.queue.notify(PollEvents::IN);
    }
}

/// That threads have the filter.
pub(super) struct Watched(pub(super) Arc<Notifier>);

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.state.lock().is_deserted = true;
        self.0.queue.notify(PollEvents::HUP);
    }
}

impl Notifier {
    /// One for a new filter, and the file to listen to it.
    pub fn open() -> Result<(Arc<Notifier>, Arc<OpenFile>), Errno> {
        // Calls are numbered from somewhere that cannot be guessed.
        let mut first = [0; size_of::<u64>()];
        host::fill_random(&mut first)?;
        let notifier = Arc::new(Notifier {
            queue: WaitQueue::new(),
            state: Mutex::new(State {
                next_id: u64::from_ne_bytes(first),
                calls: Vec::new(),
                is_closed: false,
                is_deserted: false,
            }),
        });
        let listener = Listener { notifier: notifier.clone() };
        Ok((notifier, OpenFile::anonymous(Arc::new(listener), O_RDWR, "anon_inode:seccomp notify")))
    }

    /// Whether somebody listens.
    pub(super) fn is_open(&self) -> bool {
        !self.state.lock().is_closed
    }

    /// Leaves a call to the listener and waits for the answer. `ENOSYS` if nobody listens.
    pub(super) fn ask(self: &Arc<Self>, current: &mut Current, data: SeccompData) -> SysResult<Answer> {
        let waiting = Arc::<Waiting>::default();
        let id = {
            let mut state = self.state.lock();
            if state.is_closed {
                return Err(Errno::ENOSYS.into());
            }
            let id = state.next_id;
            state.next_id = id.wrapping_add(1);
            state.calls.push(Call {
                id,
                phase: Phase::New,
                task: Arc::downgrade(&current.task),
                tid: current.task.tid(),
                data,
                waiting: waiting.clone(),
            });
            id
        };
        self.queue.notify(PollEvents::IN | PollEvents::RDNORM);
        let answered = current.block(&[(&waiting.queue, PollEvents::IN)], None, |_| {
            let answer = waiting.answer.lock().take();
            Ok(answer.ok_or(Errno::EAGAIN)?)
        });
        self.state.lock().calls.retain(|call| call.id != id);
        answered
    }
}

impl State {
    fn find(&mut self, id: u64) -> Result<&mut Call, Errno> {
        self.calls.iter_mut().find(|call| call.id == id).ok_or(Errno::ENOENT)
    }

    /// The call of this number, which has been received and not been answered.
    fn received(&mut self, id: u64) -> Result<&mut Call, Errno> {
        let call = self.find(id)?;
        if call.phase == Phase::Sent { Ok(call) } else { Err(Errno::EINPROGRESS) }
    }
}

/// The file that `SECCOMP_FILTER_FLAG_NEW_LISTENER` gives.
pub struct Listener {
    notifier: Arc<Notifier>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        let calls = {
            let mut state = self.notifier.state.lock();
            state.is_closed = true;
            std::mem::take(&mut state.calls)
        };
        for call in calls {
            call.waiting.give(Answer::Return(Errno::ENOSYS.as_return_value()));
        }
    }
}

impl Listener {
    fn receive(&self, current: &mut Current, address: u64) -> SysResult {
        let pointer = UserPtr::<SeccompNotif>::new(address);
        if pointer.read(current.space())? != SeccompNotif::default() {
            return Err(Errno::EINVAL.into());
        }
        let queue = &self.notifier.queue;
        let told = current.block(&[(queue, PollEvents::IN)], None, |_| {
            let mut state = self.notifier.state.lock();
            let is_deserted = state.is_deserted;
            match state.calls.iter_mut().find(|call| call.phase == Phase::New) {
                Some(call) => {
                    call.phase = Phase::Sent;
                    let (id, pid, data) = (call.id, call.tid.unsigned_abs(), call.data);
                    Ok(SeccompNotif { id, pid, flags: 0, data })
                }
                None if is_deserted => Err(Errno::ENOENT.into()),
                None => Err(Errno::EAGAIN.into()),
            }
        })?;
        queue.notify(PollEvents::OUT | PollEvents::WRNORM);
        if let Err(error) = pointer.write(current.space(), &told) {
            // Somebody else may still be told of it.
            if let Ok(call) = self.notifier.state.lock().received(told.id) {
                call.phase = Phase::New;
            }
            queue.notify(PollEvents::IN | PollEvents::RDNORM);
            return Err(error.into());
        }
        Ok(0)
    }

    fn send(&self, current: &Current, address: u64) -> SysResult {
        let answer = UserPtr::<SeccompNotifResponse>::new(address).read(current.space())?;
        if answer.flags & !SECCOMP_USER_NOTIF_FLAG_CONTINUE != 0 {
            return Err(Errno::EINVAL.into());
        }
        let continues = answer.flags != 0;
        if continues && (answer.error != 0 || answer.value != 0) {
            return Err(Errno::EINVAL.into());
        }
        let value = match answer.error {
            0 => answer.value.cast_unsigned(),
            error => i64::from(error).cast_unsigned(),
        };
        let given = if continues { Answer::Continue } else { Answer::Return(value) };
        let mut state = self.notifier.state.lock();
        let call = state.received(answer.id)?;
        call.phase = Phase::Answering;
        let waiting = call.waiting.clone();
        drop(state);
        waiting.give(given);
        Ok(0)
    }

    fn is_valid(&self, current: &Current, address: u64) -> SysResult {
        let id = UserPtr::<u64>::new(address).read(current.space())?;
        match self.notifier.state.lock().received(id) {
            Ok(_) => Ok(0),
            Err(_) => Err(Errno::ENOENT.into()),
        }
    }

    /// Gives the calling thread a descriptor, and it alone as the answer if that is wanted.
    fn add_descriptor(&self, current: &Current, address: u64, size: usize) -> SysResult {
        let known = size_of::<SeccompNotifAddFd>();
        if size < known || size >= ADDFD_MAX {
            return Err(Errno::EINVAL.into());
        }
        let bytes = UserPtr::<u8>::new(address).read_array(current.space(), size)?;
        let (wanted, rest) = SeccompNotifAddFd::read_from_prefix(&bytes).map_err(|_| Errno::EINVAL)?;
        if rest.iter().any(|&byte| byte != 0) {
            return Err(Errno::E2BIG.into());
        }
        let (sets, sends) =
            (wanted.flags & SECCOMP_ADDFD_FLAG_SETFD != 0, wanted.flags & SECCOMP_ADDFD_FLAG_SEND != 0);
        if wanted.new_flags & !O_CLOEXEC != 0
            || wanted.flags & !(SECCOMP_ADDFD_FLAG_SETFD | SECCOMP_ADDFD_FLAG_SEND) != 0
            || (wanted.new_fd != 0 && !sets)
        {
            return Err(Errno::EINVAL.into());
        }
        let source = i32::try_from(wanted.source_fd).map_err(|_| Errno::EBADF)?;
        let file = current.task.files().get(source)?;
        let task = {
            let mut state = self.notifier.state.lock();
            let call = state.received(wanted.id)?;
            if sends {
                call.phase = Phase::Answering;
            }
            call.task.clone()
        };
        // With no lock held: what is replaced may be closed.
        let installed = task.upgrade().ok_or(Errno::ENOENT).and_then(|task| {
            let limit = task.group.limits.lock().soft(Resource::Files);
            let close_on_exec = wanted.new_flags != 0;
            if sets {
                let at = i32::try_from(wanted.new_fd).map_err(|_| Errno::EBADF)?;
                task.borrow_files().install_at(at, file, close_on_exec, limit).map(|_| at)
            } else {
                task.borrow_files().install(file, close_on_exec, limit)
            }
        });
        if sends && let Ok(call) = self.notifier.state.lock().find(wanted.id) {
            match installed {
                Ok(fd) => call.waiting.give(Answer::Return(u64::from(fd.unsigned_abs()))),
                Err(_) => call.phase = Phase::Sent,
            }
        }
        Ok(u64::from(installed?.unsigned_abs()))
    }
}

impl FileOps for Listener {
    fn poll(&self, _file: &OpenFile) -> PollEvents {
        let state = self.notifier.state.lock();
        let has = |phase| state.calls.iter().any(|call| call.phase == phase);
        let mut events = PollEvents::empty();
        events.set(PollEvents::IN | PollEvents::RDNORM, has(Phase::New));
        events.set(PollEvents::OUT | PollEvents::WRNORM, has(Phase::Sent));
        events.set(PollEvents::HUP, state.is_deserted);
        events
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.notifier.queue)
    }

    fn ioctl(&self, current: &mut Current, _file: &OpenFile, command: u32, argument: u64) -> SysResult {
        match command {
            SECCOMP_IOCTL_NOTIF_RECV => self.receive(current, argument),
            SECCOMP_IOCTL_NOTIF_SEND => self.send(current, argument),
            SECCOMP_IOCTL_NOTIF_ID_VALID | SECCOMP_IOCTL_NOTIF_ID_VALID_WRONG_DIR => {
                self.is_valid(current, argument)
            }
            // It says on which processor a waiter wakes, which is the host's business.
            SECCOMP_IOCTL_NOTIF_SET_FLAGS if argument & !SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP == 0 => Ok(0),
            // It grows with the kernel's versions: the command says how long it is.
            _ if command & !IOCTL_SIZE_MASK == SECCOMP_IOCTL_NOTIF_ADDFD & !IOCTL_SIZE_MASK => {
                let size = (command & IOCTL_SIZE_MASK) >> IOCTL_SIZE_SHIFT;
                self.add_descriptor(current, argument, size as usize)
            }
            _ => Err(Errno::EINVAL.into()),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
