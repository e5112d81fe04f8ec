//! Input and output that announces itself by a signal: `O_ASYNC`, `F_SETOWN`, `F_SETSIG` (`fcntl(2)`; the kernel's
//! `struct fown_struct` and `send_sigio`).
//!
//! A file with `O_ASYNC` has its owner registered on its wait queue. A queue notifies with locks held under which no signal
//! can be sent (see the lock order), so a notification only notes what is due on the notifying thread, and [`send_due`] sends
//! it: at the end of the system call, before the thread sleeps in one, and where threads that serve no task notify queues.

use std::cell::RefCell;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use usk_abi::signal::{SignalInfo, code};
use usk_abi::{Errno, PollEvents, Signal};

use crate::kernel::Kernel;
use crate::task::{Credentials, Current, Task, ThreadGroup};
use crate::vfs::OpenFile;
use crate::wait::{Notify, WaitToken};

thread_local! {
    /// What is due: each file's events once, however often they were notified.
    static DUE: RefCell<Vec<(Arc<FileOwner>, PollEvents)>> = const { RefCell::new(Vec::new()) };
}

/// Who gets the signals.
#[derive(Clone)]
pub enum Owner {
    /// One thread.
    Thread(Weak<Task>),
    /// A process.
    Process(Weak<ThreadGroup>),
    /// All processes of a group.
    ProcessGroup(i32),
}

struct Settings {
    owner: Owner,
    kernel: Arc<Kernel>,
    /// User and effective user of whoever set the owner: they must be allowed to signal it.
    uid: u32,
    euid: u32,
}

#[derive(Default)]
struct State {
    settings: Option<Settings>,
    /// The signal instead of `SIGIO`.
    signal: Option<Signal>,
    /// The descriptor by which `O_ASYNC` was set, and the registration on the file's queue.
    registration: Option<(i32, WaitToken)>,
}

/// The owner of an open file.
pub struct FileOwner {
    this: Weak<FileOwner>,
    state: Mutex<State>,
}

impl FileOwner {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new_cyclic(|this| FileOwner { this: this.clone(), state: Mutex::default() })
    }

    /// Sets who gets the signals, on behalf of `current`; `None` is nobody.
    pub fn set(&self, current: &Current, owner: Option<Owner>) {
        let credentials = current.task.credentials();
        let settings = owner.map(|owner| Settings {
            owner,
            kernel: current.task.kernel.clone(),
            uid: credentials.uid,
            euid: credentials.euid,
        });
        self.state.lock().settings = settings;
    }

    /// Who gets the signals, if it still exists.
    pub fn owner(&self) -> Option<Owner> {
        let state = self.state.lock();
        let settings = state.settings.as_ref()?;
        let (owner, kernel) = (settings.owner.clone(), settings.kernel.clone());
        drop(state);
        let table = kernel.tasks.lock();
        let exists = match &owner {
            Owner::Thread(task) => task.upgrade().is_some_and(|task| table.thread(task.tid()).is_some()),
            Owner::Process(group) => group.upgrade().is_some_and(|group| table.process(group.tgid).is_some()),
            Owner::ProcessGroup(group) => table.process_group(*group).next().is_some(),
        };
        exists.then_some(owner)
    }

    /// Sets the signal; `None` is `SIGIO`, without information about the file.
    pub fn set_signal(&self, signal: Option<Signal>) {
        self.state.lock().signal = signal;
    }

    /// The signal, if one was set.
    pub fn signal(&self) -> Option<Signal> {
        self.state.lock().signal
    }

    /// Sends the signal for `events`.
    fn send(&self, events: PollEvents) {
        let state = self.state.lock();
        let Some((fd, _)) = state.registration else { return };
        let Some(Settings { owner, kernel, uid, euid }) = &state.settings else { return };
        let (owner, kernel, signal) = (owner.clone(), kernel.clone(), state.signal);
        let sender = (*uid, *euid);
        drop(state);
        match owner {
            Owner::Thread(task) => {
                let Some(task) = task.upgrade() else { return };
                if may_signal(sender, &task.credentials()) {
                    send_information(signal, events, fd, |info| kernel.signal_task(&task, info));
                }
            }
            Owner::Process(group) => {
                let Some(group) = group.upgrade() else { return };
                send_to_process(&kernel, &group, sender, signal, events, fd);
            }
            Owner::ProcessGroup(number) => {
                let table = kernel.tasks.lock();
                let members: Vec<_> =
                    table.process_group(number).map(|(_, process)| process.group.clone()).collect();
                drop(table);
                for group in members {
                    send_to_process(&kernel, &group, sender, signal, events, fd);
                }
            }
        }
    }
}

impl Notify for FileOwner {
    fn notify(&self, _key: u64, events: PollEvents) {
        let Some(this) = self.this.upgrade() else { return };
        DUE.with_borrow_mut(|due| {
            if !due.iter().any(|(owner, noted)| Arc::ptr_eq(owner, &this) && *noted == events) {
                due.push((this, events));
            }
        });
    }
}

/// Sends the signals that this thread's notifications have made due. The caller holds no lock.
pub(crate) fn send_due() {
    let due = DUE.with_borrow_mut(std::mem::take);
    for (owner, events) in due {
        owner.send(events);
    }
}

/// Sets or clears `O_ASYNC`'s effect on a file that can raise signals; `fd` is what the signal will name.
pub fn set_async(file: &OpenFile, fd: i32, on: bool) {
    let Some(queue) = file.ops.wait_queue() else { return };
    let owner = file.owner();
    let mut state = owner.state.lock();
    if let Some((_, token)) = state.registration.take() {
        // The queue's lock is never held by who wants this one.
        queue.remove(token);
    }
    if on {
        let flags = file.open_flags();
        let mut interest = PollEvents::PRI;
        interest.set(PollEvents::IN, flags.is_readable());
        interest.set(PollEvents::OUT, flags.is_writable());
        state.registration = Some((fd, queue.add(owner.clone(), 0, interest)));
    }
}

/// The kernel's `sigio_perm`.
fn may_signal((uid, euid): (u32, u32), target: &Credentials) -> bool {
    euid == 0 || [uid, euid].iter().any(|own| *own == target.uid || *own == target.suid)
}

fn send_to_process(
    kernel: &Kernel,
    group: &Arc<ThreadGroup>,
    sender: (u32, u32),
    signal: Option<Signal>,
    events: PollEvents,
    fd: i32,
) {
    if group.any_thread().is_some_and(|task| may_signal(sender, &task.credentials())) {
        send_information(signal, events, fd, |info| kernel.signal_group(group, info));
    }
}

/// A signal that was chosen says what happened on which descriptor; where its queue is full, and by default, it is `SIGIO`.
fn send_information(
    signal: Option<Signal>,
    events: PollEvents,
    fd: i32,
    send: impl Fn(SignalInfo) -> Result<(), Errno>,
) {
    if let Some(signal) = signal {
        let (reason, band) = reason(events);
        let reason = if has_own_codes(signal) { code::SI_SIGIO } else { reason };
        if send(SignalInfo::io(signal, reason, band.bits().into(), fd)).is_ok() {
            return;
        }
    }
    // It fails only for a task that is ending.
    let _ = send(SignalInfo::kernel(Signal::SIGIO));
}

/// Signals whose positive codes mean something else (`sig_specific_sicodes`).
fn has_own_codes(signal: Signal) -> bool {
    matches!(
        signal,
        Signal::SIGILL
            | Signal::SIGFPE
            | Signal::SIGSEGV
            | Signal::SIGBUS
            | Signal::SIGTRAP
            | Signal::SIGCHLD
            | Signal::SIGSYS
    )
}

/// `POLL_*` and the band that goes with it (`band_table`).
fn reason(events: PollEvents) -> (i32, PollEvents) {
    if events.contains(PollEvents::IN) {
        (code::POLL_IN, PollEvents::IN | PollEvents::RDNORM)
    } else if events.contains(PollEvents::OUT) {
        (code::POLL_OUT, PollEvents::OUT | PollEvents::WRNORM | PollEvents::WRBAND)
    } else if events.contains(PollEvents::PRI) {
        (code::POLL_PRI, PollEvents::PRI | PollEvents::RDBAND)
    } else if events.contains(PollEvents::ERR) {
        (code::POLL_ERR, PollEvents::ERR)
    } else {
        (code::POLL_HUP, PollEvents::HUP | PollEvents::ERR)
    }
}
