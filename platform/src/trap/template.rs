//! The template: the first spawner, from which all address spaces descend.
//!
//! It is a fork of the sentry that empties itself: it moves the vDSO out of the guest's way, maps the stub region,
//! installs the signal handlers and the base filter, and jumps into the stub, which unmaps all that is left. While
//! that happens it runs on a stack below the region, for its old stack may lie where the region goes.
//!
//! The fork is made by a short-lived helper that shares our memory (`CLONE_VM`), because such a process has no
//! restartable-sequences area (`rseq(2)`), and its children inherit none: the kernel would otherwise go on writing to
//! the address where the C library had it.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use usk_abi::Errno;

use crate::host::Pid;
use crate::host::pidfd::{End, ProcessDescriptor};
use crate::stub::addresses::entry;
use crate::stub::geometry::*;

/// `SA_RESTORER`: the kernel insists on it for 64-bit handlers.
const SA_RESTORER: u64 = 0x0400_0000;
/// `mseal(2)`, Linux 6.10.
const SYS_MSEAL: libc::c_long = 462;
/// Highest signal number.
const LAST_SIGNAL: i32 = 64;
/// Size of the stack on which the template sets itself up.
const STACK_SIZE: usize = 256 << 10;

/// All that the template needs, prepared by the sentry. The slices lie in the heap: the template copies this structure
/// to its new stack and reads them from there while the old stack disappears.
#[derive(Clone, Copy)]
pub(super) struct Plan<'a> {
    pub(super) slots: BorrowedFd<'a>,
    /// Read only.
    pub(super) orders: BorrowedFd<'a>,
    /// The stub's image.
    pub(super) image: &'a [u8],
    pub(super) base_filter: &'a [u64],
    /// The vDSO's and its data's mappings.
    pub(super) moves: &'a [Move],
}

/// A mapping that goes elsewhere: start, length, new start.
pub(super) type Move = (u64, u64, u64);

/// Steps that can fail; the template's exit status is its number, so zero is none.
const STEPS: [&str; 9] = [
    "",
    "moving the vDSO (a host that seals its system mappings forbids it)",
    "emptying the stub region",
    "mapping the stub region",
    "sealing the stub",
    "closing descriptors",
    "installing signal handlers",
    "forbidding privileges and core files",
    "installing the base filter",
];
const MOVING: i32 = 1;
const EMPTYING: i32 = 2;
const MAPPING: i32 = 3;
const SEALING: i32 = 4;
const CLOSING: i32 = 5;
const HANDLERS: i32 = 6;
const PRIVILEGES: i32 = 7;
const FILTER: i32 = 8;

/// What went wrong in a template that has ended.
pub(super) fn describe(end: End) -> String {
    match end {
        End::Exited(step) => STEPS.get(step as usize).copied().unwrap_or("an unknown step").to_owned(),
        End::Killed(signal) => format!("it ended by signal {signal}"),
    }
}

/// Makes the template. Call it while the process has one thread. It has its memory to empty yet when this returns;
/// the first order it carries out shows that it has come through.
pub(super) fn start(plan: &Plan<'_>) -> Result<(ProcessDescriptor, Pid), Errno> {
    struct Errand<'a> {
        plan: &'a Plan<'a>,
        pidfd: RawFd,
        pid: i64,
        error: i32,
    }

    /// The helper: shares our memory and descriptors, and we wait for its end.
    extern "C" fn help(errand: *mut libc::c_void) -> i32 {
        // SAFETY: `start` passes its own live errand, and waits.
        let errand = unsafe { &mut *errand.cast::<Errand<'_>>() };
        let flags = libc::CLONE_PARENT | libc::CLONE_PIDFD;
        // SAFETY: a fork. The process has one thread, so the copy is consistent; its stack is the helper's, copied.
        errand.pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, &raw mut errand.pidfd, 0, 0) };
        if errand.pid == 0 {
            become_template(*errand.plan);
        }
        errand.error = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
        0
    }

    let mut errand = Errand { plan, pidfd: -1, pid: -1, error: 0 };
    let mut stack = vec![0u128; STACK_SIZE / 16];
    // The allocator maps a piece of this size by itself, away from the stack region at the top of the address space.
    let top = stack.as_mut_ptr_range().end;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_FILES;
    // SAFETY: CLONE_VFORK: until the helper has ended, nothing else runs here, and stack and errand stay alive.
    let helper = unsafe { libc::clone(help, top.cast(), flags, (&raw mut errand).cast()) };
    if helper == -1 {
        return Err(crate::host::last_error());
    }
    let mut status = 0;
    // SAFETY: `status` is valid for writing.
    unsafe { libc::waitpid(helper, &raw mut status, libc::__WALL) };
    if errand.pid < 0 {
        return Err(Errno::from_raw(errand.error));
    }
    // SAFETY: the kernel made this descriptor in our table, which the helper shared.
    let pidfd = unsafe { OwnedFd::from_raw_fd(errand.pidfd) };
    let process = ProcessDescriptor::from_descriptor(pidfd).ok_or(Errno::ESRCH)?;
    Ok((process, Pid::from_raw(errand.pid as i32)))
}

/// Ends the template unless the step has succeeded.
fn require(result: libc::c_long, step: i32) {
    if result == -1 {
        // SAFETY: ends this process.
        unsafe { libc::_exit(step) };
    }
}

/// `struct sigaction` of the kernel.
#[repr(C)]
struct Action {
    handler: u64,
    flags: u64,
    restorer: u64,
    mask: u64,
}

fn become_template(plan: Plan<'_>) -> ! {
    // SAFETY: for all that follows: this process has one thread, shares no memory with anybody, and will not return
    // to Rust code; the mappings that it replaces are either new places or the old stack, which nobody uses again.
    // No step uses the vDSO, which the first one moves.
    unsafe {
        block_signals();
        require(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL).into(), PRIVILEGES);
        for &(from, length, to) in plan.moves {
            let flags = u64::from((libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED).cast_unsigned());
            require(libc::syscall(libc::SYS_mremap, from, length, length, flags, to), MOVING);
        }
        empty_region(&plan);
        map_region(&plan);
        close_descriptors(&plan);
        install_handlers();
        let mut core = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        require(libc::getrlimit(libc::RLIMIT_CORE, &raw mut core).into(), PRIVILEGES);
        // One byte where that is permitted, not zero: a host that pipes core files to a program ignores zero, and takes
        // one for "none".
        let most = core.rlim_max.min(1);
        let no_core = libc::rlimit { rlim_cur: most, rlim_max: most };
        require(libc::setrlimit(libc::RLIMIT_CORE, &raw const no_core).into(), PRIVILEGES);
        require(libc::prctl(libc::PR_SET_NAME, c"usk-stub".as_ptr()).into(), PRIVILEGES);
        require(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).into(), PRIVILEGES);
        let program = libc::sock_fprog {
            len: plan.base_filter.len() as u16,
            filter: plan.base_filter.as_ptr().cast_mut().cast(),
        };
        let mode = libc::SECCOMP_SET_MODE_FILTER;
        require(libc::syscall(libc::SYS_seccomp, mode, 0, &raw const program), FILTER);
        std::arch::asm!("jmp {}", in(reg) entry::template(), options(noreturn));
    }
}

unsafe fn block_signals() {
    let all = u64::MAX;
    // SAFETY: the kernel reads eight bytes.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const all, 0, SIGNAL_SET_SIZE) };
}

/// Unmaps everything above the guest's range but the vDSO.
unsafe fn empty_region(plan: &Plan<'_>) {
    let kept_start = plan.moves.iter().map(|&(_, _, to)| to).min().unwrap_or(REGION_END);
    let kept_end = plan.moves.iter().map(|&(_, length, to)| to + length).max().unwrap_or(REGION_END);
    for (start, end) in [(GUEST_END, kept_start), (kept_end, REGION_END)] {
        if start < end {
            // SAFETY: see `become_template`.
            require(unsafe { libc::syscall(libc::SYS_munmap, start, end - start) }, EMPTYING);
        }
    }
}

unsafe fn map_region(plan: &Plan<'_>) {
    let map = |start: u64, size: u64, protection: i32, flags: i32, file: i32| {
        let (flags, offset) = (flags | libc::MAP_FIXED_NOREPLACE, 0u64);
        // SAFETY: see `become_template`.
        let result = unsafe { libc::syscall(libc::SYS_mmap, start, size, protection, flags, file, offset) };
        require(if result as u64 == start { 0 } else { -1 }, MAPPING);
    };
    let read_write = libc::PROT_READ | libc::PROT_WRITE;
    map(STUB_BASE, IMAGE_SIZE, read_write, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1);
    map(SLOTS_BASE, SLOTS_SIZE, read_write, libc::MAP_SHARED, plan.slots.as_raw_fd());
    map(ORDERS_BASE, ORDERS_SIZE, libc::PROT_READ, libc::MAP_SHARED, plan.orders.as_raw_fd());
    let read_execute = libc::PROT_READ | libc::PROT_EXEC;
    // SAFETY: the new mapping is as large as the image; then see `become_template`.
    unsafe {
        std::ptr::copy_nonoverlapping(plan.image.as_ptr(), STUB_BASE as *mut u8, IMAGE_SIZE as usize);
        require(libc::syscall(libc::SYS_mprotect, STUB_BASE, IMAGE_SIZE, read_execute), MAPPING);
        // The filter protects the stub in any case; this is the second lock on the same door.
        if libc::syscall(SYS_MSEAL, STUB_BASE, IMAGE_SIZE, 0u64) == -1 {
            let is_missing = crate::host::last_error() == Errno::ENOSYS;
            require(if is_missing { 0 } else { -1 }, SEALING);
        }
    }
}

unsafe fn close_descriptors(plan: &Plan<'_>) {
    // Out of each other's way first.
    let first_free = 10;
    // SAFETY: numbers only; nothing in this process uses a descriptor again.
    unsafe {
        let slots = libc::fcntl(plan.slots.as_raw_fd(), libc::F_DUPFD, first_free);
        let orders = libc::fcntl(plan.orders.as_raw_fd(), libc::F_DUPFD, first_free);
        require(slots.min(orders).into(), CLOSING);
        require(libc::dup2(slots, SLOTS_DESCRIPTOR as i32).into(), CLOSING);
        require(libc::dup2(orders, ORDERS_DESCRIPTOR as i32).into(), CLOSING);
        require(libc::syscall(libc::SYS_close_range, ORDERS_DESCRIPTOR + 1, u32::MAX, 0), CLOSING);
    }
}

unsafe fn install_handlers() {
    // The sentry's alternate stack, which the spawner must not fall back on; guest threads get one of their own.
    let none = libc::stack_t { ss_sp: std::ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
    // SAFETY: the kernel reads one structure.
    require(unsafe { libc::sigaltstack(&raw const none, std::ptr::null_mut()) }.into(), HANDLERS);
    for signal in 1..=LAST_SIGNAL {
        let handler = match signal {
            libc::SIGKILL | libc::SIGSTOP => continue,
            libc::SIGSEGV | libc::SIGBUS => entry::memory_fault(),
            _ if TRAP_SIGNALS.contains(&signal) => entry::signal(),
            _ => libc::SIG_IGN as u64,
        };
        // A kick may interrupt the stub between a patched site and the sentry: what it was about goes on afterwards.
        let restart = if signal == KICK_SIGNAL { libc::SA_RESTART } else { 0 };
        let flags = (libc::SA_SIGINFO | libc::SA_ONSTACK | restart) as u64 | SA_RESTORER;
        let action = Action { handler, flags, restorer: entry::die(), mask: u64::MAX };
        let nothing = std::ptr::null::<Action>();
        // SAFETY: the handlers run in the stub, which has been mapped; no signal is let through before.
        let result = unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, &raw const action, nothing, SIGNAL_SET_SIZE)
        };
        require(result, HANDLERS);
    }
}
