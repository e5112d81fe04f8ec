//! The table of system calls.

use usk_sentry::SysResult;
use usk_sentry::task::{Current, SyscallArguments};

/// Carries out one system call.
pub type Handler = fn(&mut Current, SyscallArguments) -> SysResult;

/// How complete a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// Everything that Linux 6.12 does.
    Full,
    /// What is missing.
    Partial(&'static str),
}

/// What an argument is, for `--strace`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// A signed number.
    Int,
    /// An unsigned number.
    Uint,
    /// Flags, shown in hexadecimal.
    Flags,
    /// A file mode, shown in octal.
    Mode,
    /// A file descriptor.
    Fd,
    /// A guest pointer.
    Pointer,
    /// A path name in guest memory.
    Path,
    /// A buffer that the guest hands over; the argument after it is its length.
    InBuffer,
    /// A buffer that the call fills; its return value is the length filled.
    OutBuffer,
    /// A signal number.
    Signal,
}

/// One system call.
#[derive(Clone, Copy)]
pub struct Row {
    /// Its number on x86-64.
    pub number: usize,
    /// Its name, as in `syscalls(2)`.
    pub name: &'static str,
    /// How complete it is.
    pub support: Support,
    /// What its arguments are.
    pub arguments: &'static [Argument],
    /// What carries it out.
    pub handler: Handler,
}

impl Row {
    /// A call that does everything Linux does.
    pub const fn full(
        number: usize,
        name: &'static str,
        arguments: &'static [Argument],
        handler: Handler,
    ) -> Self {
        Row { number, name, support: Support::Full, arguments, handler }
    }

    /// A call that lacks something.
    pub const fn partial(
        number: usize,
        name: &'static str,
        arguments: &'static [Argument],
        handler: Handler,
        missing: &'static str,
    ) -> Self {
        Row { number, name, support: Support::Partial(missing), arguments, handler }
    }
}

/// Every file's rows, in alphabetical order of the files.
const FILES: &[&[Row]] = &[
    crate::accept::ROWS,
    crate::access::ROWS,
    crate::adjtimex::ROWS,
    crate::bind::ROWS,
    crate::brk::ROWS,
    crate::capget::ROWS,
    crate::chdir::ROWS,
    crate::chmod::ROWS,
    crate::chown::ROWS,
    crate::clock_gettime::ROWS,
    crate::clone::ROWS,
    crate::close::ROWS,
    crate::connect::ROWS,
    crate::dup::ROWS,
    crate::epoll_create::ROWS,
    crate::epoll_ctl::ROWS,
    crate::epoll_wait::ROWS,
    crate::eventfd::ROWS,
    crate::execve::ROWS,
    crate::exit::ROWS,
    crate::fcntl::ROWS,
    crate::flock::ROWS,
    crate::fsync::ROWS,
    crate::futex::ROWS,
    crate::futex_waitv::ROWS,
    crate::getdents::ROWS,
    crate::getitimer::ROWS,
    crate::getpeername::ROWS,
    crate::getpid::ROWS,
    crate::getrlimit::ROWS,
    crate::getrusage::ROWS,
    crate::getsockname::ROWS,
    crate::getsockopt::ROWS,
    crate::getuid::ROWS,
    crate::getxattr::ROWS,
    crate::inotify_add_watch::ROWS,
    crate::inotify_init::ROWS,
    crate::ioctl::ROWS,
    crate::io_cancel::ROWS,
    crate::io_destroy::ROWS,
    crate::io_getevents::ROWS,
    crate::io_setup::ROWS,
    crate::io_submit::ROWS,
    crate::ioprio_set::ROWS,
    crate::kcmp::ROWS,
    crate::kill::ROWS,
    crate::link::ROWS,
    crate::listen::ROWS,
    crate::lseek::ROWS,
    crate::madvise::ROWS,
    crate::membarrier::ROWS,
    crate::memfd_create::ROWS,
    crate::mincore::ROWS,
    crate::mkdir::ROWS,
    crate::mlock::ROWS,
    crate::mmap::ROWS,
    crate::mprotect::ROWS,
    crate::mq_getsetattr::ROWS,
    crate::mq_notify::ROWS,
    crate::mq_open::ROWS,
    crate::mq_receive::ROWS,
    crate::mq_send::ROWS,
    crate::mq_unlink::ROWS,
    crate::mremap::ROWS,
    crate::mseal::ROWS,
    crate::msgctl::ROWS,
    crate::msgget::ROWS,
    crate::msgop::ROWS,
    crate::msync::ROWS,
    crate::name_to_handle_at::ROWS,
    crate::nanosleep::ROWS,
    crate::open::ROWS,
    crate::pidfd_getfd::ROWS,
    crate::pipe::ROWS,
    crate::pkey_alloc::ROWS,
    crate::poll::ROWS,
    crate::prctl::ROWS,
    crate::process_vm_readv::ROWS,
    crate::ptrace::ROWS,
    crate::read::ROWS,
    crate::recv::ROWS,
    crate::rename::ROWS,
    crate::sched::ROWS,
    crate::sched_setattr::ROWS,
    crate::seccomp::ROWS,
    crate::select::ROWS,
    crate::semctl::ROWS,
    crate::semget::ROWS,
    crate::semop::ROWS,
    crate::send::ROWS,
    crate::sendfile::ROWS,
    crate::set_mempolicy::ROWS,
    crate::setpgid::ROWS,
    crate::shmctl::ROWS,
    crate::shmget::ROWS,
    crate::shmop::ROWS,
    crate::shutdown::ROWS,
    crate::sigaction::ROWS,
    crate::signalfd::ROWS,
    crate::sigprocmask::ROWS,
    crate::socket::ROWS,
    crate::socketpair::ROWS,
    crate::splice::ROWS,
    crate::stat::ROWS,
    crate::statfs::ROWS,
    crate::sysinfo::ROWS,
    crate::timer_create::ROWS,
    crate::timerfd_create::ROWS,
    crate::truncate::ROWS,
    crate::uname::ROWS,
    crate::unshare::ROWS,
    crate::utimensat::ROWS,
    crate::wait4::ROWS,
    crate::write::ROWS,
];

/// One past the highest system-call number that Linux 6.12 defines.
pub(crate) const TABLE_LENGTH: usize = 467;

/// The rows by number.
pub struct Table {
    rows: Vec<Option<&'static Row>>,
}

impl Table {
    /// The table of all rows. Two rows with one number are a mistake that a test finds.
    pub fn new() -> Self {
        let mut rows = vec![None; TABLE_LENGTH];
        for row in FILES.iter().copied().flatten() {
            rows[row.number] = Some(row);
        }
        Table { rows }
    }

    /// The row of a call, if it is implemented.
    pub fn row(&self, number: u64) -> Option<&'static Row> {
        *self.rows.get(usize::try_from(number).ok()?)?
    }
}

impl Default for Table {
    fn default() -> Self {
        Self::new()
    }
}
