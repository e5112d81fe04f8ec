//! `/proc`: the kernel's view of its processes and of itself (`proc(5)`).
//!
//! [`root`] holds the system's files and a directory for each process; [`process`] is that directory; the contents are made in
//! `system_text` and `process_text`. What Linux shows and the sentry does not know is left out rather than made up.

mod descriptors;
mod process;
mod process_text;
mod root;
mod system_text;
mod sysvipc;

use std::sync::Arc;

use usk_abi::Errno;

use crate::fs::synthetic::{SyntheticFs, SyntheticInode};
use crate::kernel::Kernel;
use crate::mm::{Mm, ProgramMemory};
use crate::task::{AccessAs, Credentials, Task, ThreadGroup, Zombie, may_access};
use crate::vfs::{Caching, Caller, InodeRef};

/// `PROC_SUPER_MAGIC`
const MAGIC: i64 = 0x9fa0;
/// Inode number of the root (`PROC_ROOT_INO`).
const ROOT_INODE: u64 = 1;

/// The file system of `kernel`'s processes.
pub fn new(kernel: &Arc<Kernel>) -> Arc<SyntheticFs> {
    SyntheticFs::new("proc", MAGIC, Caching::Revalidate, |device| {
        SyntheticInode::directory(device, ROOT_INODE, 0o555, root::Root::new(kernel, device)).into_ref()
    })
}

/// Who has opened a file, and as whom.
#[derive(Clone)]
struct Asker {
    group: Arc<ThreadGroup>,
    credentials: Arc<Credentials>,
}

/// The process or thread that a file in `/proc/PID` is about.
#[derive(Clone)]
struct Subject {
    kernel: Arc<Kernel>,
    group: Arc<ThreadGroup>,
    /// The thread: the one that was named, or the leader. `None` for a zombie and for init.
    task: Option<Arc<Task>>,
    /// Whether it was named as a thread (`/proc/PID/task/TID`).
    is_thread: bool,
    /// Whether it is the one who has opened the file.
    is_opener: bool,
    /// Who has opened the file, of one that is bound to that ([`Subject::opened_by`]).
    asker: Option<Asker>,
    /// The memory that it had when the file was opened, of one that is bound to that ([`Subject::bound`]).
    memory: Option<ProgramMemory>,
}

impl Subject {
    /// The process `pid`, or, as Linux has it, the thread of that number. `ENOENT` if there is none.
    fn find(kernel: &Arc<Kernel>, pid: i32) -> Result<Subject, Errno> {
        let table = kernel.tasks.lock();
        let thread = table.thread(pid);
        let group = match (&thread, table.process(pid)) {
            (_, Some(process)) => process.group.clone(),
            (Some(task), None) => task.group.clone(),
            (None, None) => return Err(Errno::ENOENT),
        };
        drop(table);
        let task = thread.or_else(|| group.any_thread());
        Ok(Subject {
            kernel: kernel.clone(),
            group,
            task,
            is_thread: false,
            is_opener: false,
            asker: None,
            memory: None,
        })
    }

    /// The thread `tid` of `group`. `ENOENT` if there is none.
    fn find_thread(kernel: &Arc<Kernel>, group: &Arc<ThreadGroup>, tid: i32) -> Result<Subject, Errno> {
        let task = group.threads().into_iter().find(|task| task.tid() == tid).ok_or(Errno::ENOENT)?;
        let (kernel, group) = (kernel.clone(), group.clone());
        Ok(Subject {
            kernel,
            group,
            task: Some(task),
            is_thread: true,
            is_opener: false,
            asker: None,
            memory: None,
        })
    }

    /// Who traces it; 0 if nobody does.
    fn tracer(&self) -> i32 {
        let table = self.kernel.tasks.lock();
        self.task
            .as_ref()
            .and_then(|task| table.links.tracer_of(task.tid()))
            .map_or(0, |tracer| tracer.tgid())
    }

    /// Its number.
    fn id(&self) -> i32 {
        match &self.task {
            Some(task) if self.is_thread => task.tid(),
            _ => self.group.tgid,
        }
    }

    fn credentials(&self) -> Arc<Credentials> {
        match &self.task {
            Some(task) => task.credentials(),
            None => Arc::new(self.last_credentials()),
        }
    }

    /// Those of a zombie, as far as they are known. Init is user 0.
    fn last_credentials(&self) -> Credentials {
        let table = self.kernel.tasks.lock();
        let zombie = table.process(self.group.tgid).and_then(|process| process.zombie);
        zombie.map_or_else(
            || Credentials::user(0, 0),
            |Zombie { uid, suid, gid, .. }| Credentials { suid, ..Credentials::user(uid, gid) },
        )
    }

    /// The live thread. `ESRCH` for a zombie.
    fn task(&self) -> Result<&Arc<Task>, Errno> {
        self.task.as_ref().ok_or(Errno::ESRCH)
    }

    /// `EACCES` unless `caller` may look into the process (`ptrace_may_access`). The kernel itself may.
    fn check_access(&self, caller: Caller<'_>) -> Result<(), Errno> {
        let Some(asking) = caller.task else { return Ok(()) };
        let is_allowed = match &self.task {
            Some(task) => may_access(caller.credentials, &asking.group, task, AccessAs::FileSystem),
            // A zombie or init: nothing is left to look into.
            None => true,
        };
        if is_allowed { Ok(()) } else { Err(Errno::EACCES) }
    }

    /// True if one of its own threads asks.
    fn is_own(&self, caller: Caller<'_>) -> bool {
        caller.task.is_some_and(|asking| Arc::ptr_eq(&asking.group, &self.group))
    }

    /// A file about it, with its owner.
    fn owns(&self, inode: SyntheticInode) -> InodeRef {
        let (subject, is_open_directory) = (self.clone(), inode.is_open_directory());
        inode.owned_by(move || subject.owner(is_open_directory)).into_ref()
    }

    /// Who owns its files, as user and group: who it acts as, or root if it is not dumpable or has ended. Directories that all may list
    /// are its user's in any case (`task_dump_owner`).
    fn owner(&self, is_open_directory: bool) -> (u32, u32) {
        let is_dumpable = |task: &Arc<Task>| task.borrow_mm(|mm| mm.is_dumpable());
        if !is_open_directory && !self.task.as_ref().is_some_and(is_dumpable) {
            return (0, 0);
        }
        let credentials = self.credentials();
        (credentials.euid, credentials.egid)
    }

    /// The same for a file that `caller` opens now, and that tells as much as it may know.
    fn opened_by(&self, caller: Caller<'_>) -> Subject {
        let asker = caller.task.map(|task| Asker {
            group: task.group.clone(),
            credentials: Arc::new(caller.credentials.clone()),
        });
        Subject { asker, ..self.clone() }
    }

    /// Whether it may be told to whoever has opened the file where things lie in memory. The kernel itself may know.
    fn shows_addresses(&self) -> bool {
        let (Some(asker), Some(task)) = (&self.asker, &self.task) else { return true };
        may_access(&asker.credentials, &asker.group, task, AccessAs::FileSystem)
    }

    /// The same for a file that is opened now and bound to the memory of this moment (`proc_mem_open`).
    fn bound(&self) -> Subject {
        let memory = self.task.as_ref().map(|task| task.mm().of_program());
        Subject { memory, ..self.clone() }
    }

    /// What `look` says of the memory that it is bound to. Nothing once the process has executed another program, or ended.
    fn in_memory<R>(&self, look: impl FnOnce(&Task, &Mm) -> R) -> Option<R> {
        let task = self.task.as_ref()?;
        self.memory.as_ref()?.with(|mm| look(task, mm))
    }

    /// True if the process (or thread) of this number is still this one.
    fn is_current(&self) -> bool {
        if self.is_thread {
            return self.task.as_ref().is_some_and(|task| {
                self.group.state.lock().threads.iter().any(|thread| Arc::ptr_eq(thread, task))
            });
        }
        let table = self.kernel.tasks.lock();
        table.process(self.group.tgid).is_some_and(|process| Arc::ptr_eq(&process.group, &self.group))
    }
}

/// The inode number of file `slot` about the process or thread `id`.
fn inode_number(id: i32, slot: u64) -> u64 {
    0x1_0000_0000 | (id as u64) << 8 | slot
}

/// A name that is a number without sign or leading zero.
fn parse_id(name: &[u8]) -> Result<i32, Errno> {
    let text = std::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
    let is_plain = !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_plain { text.parse().map_err(|_| Errno::ENOENT) } else { Err(Errno::ENOENT) }
}
