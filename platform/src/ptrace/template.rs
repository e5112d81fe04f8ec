//! The template: a stub with nothing of a guest's in it, of which every address space is a copy.
//!
//! It starts as a fork of the sentry that sleeps. The calling thread attaches to it, and from then on the child
//! executes only what is injected: first at the place where the [code] lies in the usk binary, and once
//! everything of the sentry's is unmapped, in its own code page. Last comes the filter, and then it parks.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;

use usk_abi::Errno;

use crate::host::vdso::VdsoMaps;
use crate::host::{self, Pid};

use super::code::{self, Entry};
use super::fault::FAULT_SIGNALS;
use super::filter;
use super::geography::{CODE, GUEST_END, PAGE, SCRATCH, SCRATCH_SLOTS, TASK_SIZE, VDSO_PLACES};
use super::platform::SetupError;
use super::process::HostProcess;
use super::scratch::{ScratchPool, slot_size};
use super::tracee::{STUB_SIGNAL_MASK, Tracee};

/// The template, parked.
pub(super) struct Template {
    pub(super) process: HostProcess,
    pub(super) guest_start: u64,
    /// Start and length.
    pub(super) vdso: (u64, u64),
    /// Start and length.
    pub(super) vvar: (u64, u64),
    /// Bytes of extended state as the host hands it out.
    pub(super) state_size: usize,
}

const PRIVATE: u64 = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED) as u64;
const READ_WRITE: u64 = (libc::PROT_READ | libc::PROT_WRITE) as u64;
const READ_EXECUTE: u64 = (libc::PROT_READ | libc::PROT_EXEC) as u64;

/// More than any processor's extended state, in bytes.
const STATE_LIMIT: usize = 1 << 16;

/// Makes the template. `socket` becomes its only descriptor. Its parent is the calling thread, with which it dies.
pub(super) fn make(socket: BorrowedFd<'_>, proc: BorrowedFd<'_>) -> Result<Template, SetupError> {
    let maps = VdsoMaps::of_this_process(proc).map_err(SetupError::at("read /proc/self/maps"))?;
    let place = VDSO_PLACES
        .into_iter()
        .find(|&place| place >= maps.end || place + maps.length() <= maps.start)
        .ok_or(SetupError::Host { step: "find a place for the vDSO", error: Errno::ENOMEM })?;
    let mut stub = born()?;
    empty(&mut stub, &maps, place).map_err(SetupError::at("empty the stub's address space"))?;
    let guest_start = confine(&mut stub, socket).map_err(SetupError::at("confine the stub"))?;
    let state_size = stub.extended_state(&mut vec![0; STATE_LIMIT]).map_err(SetupError::at("read XSTATE"))?;
    let process = stub.release().map_err(SetupError::at("park the stub"))?;
    let process =
        Arc::into_inner(process).ok_or(SetupError::Host { step: "park the stub", error: Errno::EBUSY })?;
    let vvar = (place, maps.vdso_start - maps.start);
    let vdso = (place + vvar.1, maps.end - maps.vdso_start);
    Ok(Template { process, guest_start, vdso, vvar, state_size })
}

/// A stopped child with a copy of the sentry's memory. It is a clone of the first child, because a clone that shares
/// memory has no restartable-sequence area (`rseq(2)`), which the C library registers and which we are to unmap.
fn born() -> Result<Tracee, SetupError> {
    let attach = SetupError::at("fork a stub and attach to it");
    let first = host::fork_idle_child().map_err(SetupError::at("fork a stub"))?;
    let first = Arc::new(HostProcess::new(first));
    let mut first = Tracee::attach(first, code::address_in_binary()).map_err(|error| match error {
        Errno::EPERM | Errno::EACCES => SetupError::Refused,
        error => attach(error),
    })?;
    first.set_signal_mask(STUB_SIGNAL_MASK).map_err(SetupError::at("set the stub's signal mask"))?;
    // Injected clones report numbers as the stub sees them, so they must be those that the sentry sees.
    let seen = first.call(libc::SYS_getpid, &[]).map_err(SetupError::at("ask the stub for its number"))?;
    if seen != first.process().pid().as_raw() as u64 {
        return Err(SetupError::PidNamespace);
    }
    let flags = (libc::CLONE_PARENT | libc::CLONE_VM | libc::CLONE_PTRACE) as u64;
    let pid = first.call(libc::SYS_clone, &[flags, 0, 0, 0, 0]).map_err(SetupError::at("clone the stub"))?;
    let second = Arc::new(HostProcess::new(Pid::from_raw(pid as i32)));
    Tracee::adopt(second, code::address_in_binary()).map_err(SetupError::at("attach to the stub"))
}

/// Leaves only the code page, the scratch memory and the vDSO block mapped.
fn empty(stub: &mut Tracee, maps: &VdsoMaps, place: u64) -> Result<(), Errno> {
    let code_page = code::address_in_binary() / PAGE * PAGE;
    let mut kept = [(code_page, code_page + PAGE), (maps.start, maps.end)];
    kept.sort_unstable();
    let mut position = 0;
    for (start, end) in kept.into_iter().chain([(TASK_SIZE, TASK_SIZE)]) {
        if start > position {
            stub.call(libc::SYS_munmap, &[position, start - position])?;
        }
        position = end;
    }
    let move_there = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED) as u64;
    for &(start, end) in &maps.parts {
        let length = end - start;
        stub.call(libc::SYS_mremap, &[start, length, length, move_there, place + (start - maps.start)])?;
    }
    stub.call(libc::SYS_mmap, &[CODE, PAGE, READ_WRITE, PRIVATE, u64::MAX, 0])?;
    if host::write_process(stub.process().pid(), CODE, code::bytes())? != code::bytes().len() {
        return Err(Errno::EFAULT);
    }
    stub.call(libc::SYS_mprotect, &[CODE, PAGE, READ_EXECUTE])?;
    let scratch = SCRATCH_SLOTS * slot_size();
    let flags = PRIVATE | libc::MAP_NORESERVE as u64;
    stub.call(libc::SYS_mmap, &[SCRATCH, scratch, READ_WRITE, flags, u64::MAX, 0])?;
    stub.call(libc::SYS_madvise, &[SCRATCH, scratch, libc::MADV_WIPEONFORK as u64])?;
    stub.use_code_page();
    stub.call(libc::SYS_munmap, &[0, GUEST_END]).map(drop)
}

/// Takes everything away that a stub does not need, and returns the lowest address that it can map.
fn confine(stub: &mut Tracee, socket: BorrowedFd<'_>) -> Result<u64, Errno> {
    let pid = stub.process().pid();
    let pool = ScratchPool::new();
    let scratch = pool.take();
    let buffer = scratch.start();

    stub.call(libc::SYS_dup2, &[socket.as_raw_fd() as u64, filter::SOCKET])?;
    stub.call(libc::SYS_close_range, &[filter::RECEIVED, u64::from(u32::MAX), 0])?;

    // struct sigaction of the kernel: handler, flags, restorer (which x86-64 insists on), mask.
    let handler = Entry::Handler.in_stub();
    let flags = (libc::SA_SIGINFO | libc::SA_NODEFER) as u64 | SA_RESTORER;
    scratch.write(pid, 0, [handler, flags, handler, 0].map(u64::to_le_bytes).as_flattened())?;
    for signal in FAULT_SIGNALS {
        stub.call(libc::SYS_rt_sigaction, &[signal as u64, buffer, 0, 8])?;
    }

    // No core dumps of guest memory; a struct rlimit of two zeroes.
    scratch.write(pid, 0, &[0; 16])?;
    stub.call(libc::SYS_setrlimit, &[libc::RLIMIT_CORE as u64, buffer])?;

    // No capabilities: header with _LINUX_CAPABILITY_VERSION_3 and process 0, then three empty sets in two halves.
    scratch.write(pid, 0, &CAPABILITY_VERSION.to_le_bytes())?;
    scratch.write(pid, 4, &[0; 28])?;
    stub.call(libc::SYS_capset, &[buffer, buffer + 8])?;
    stub.call(libc::SYS_prctl, &[libc::PR_SET_NO_NEW_PRIVS as u64, 1, 0, 0, 0])?;
    stub.call(libc::SYS_prctl, &[libc::PR_SET_PDEATHSIG as u64, libc::SIGKILL as u64])?;

    let guest_start = lowest_address(stub)?;

    // struct sock_fprog: length and pointer, then the program.
    let program = filter::program();
    let words = program.iter().flat_map(|step| {
        let (code, k) = (step.code.to_le_bytes(), step.k.to_le_bytes());
        [code[0], code[1], step.jt, step.jf, k[0], k[1], k[2], k[3]]
    });
    scratch.write(pid, 0, [program.len() as u64, buffer + 16].map(u64::to_le_bytes).as_flattened())?;
    scratch.write(pid, 16, &words.collect::<Vec<u8>>())?;
    stub.call(libc::SYS_seccomp, &[u64::from(libc::SECCOMP_SET_MODE_FILTER), 0, buffer])?;
    Ok(guest_start)
}

/// What `vm.mmap_min_addr` allows, found by trying, because an empty root has no `/proc/sys`.
fn lowest_address(stub: &mut Tracee) -> Result<u64, Errno> {
    let mut address = PAGE;
    loop {
        match stub.call(libc::SYS_mmap, &[address, PAGE, 0, PRIVATE, u64::MAX, 0]) {
            Ok(_) => {
                stub.call(libc::SYS_munmap, &[address, PAGE])?;
                return Ok(address);
            }
            Err(Errno::EPERM | Errno::EACCES) if address < LOWEST_LIMIT => address *= 2,
            Err(error) => return Err(error),
        }
    }
}

/// Where the search for the lowest address gives up.
const LOWEST_LIMIT: u64 = 1 << 30;
/// `_LINUX_CAPABILITY_VERSION_3` of `linux/capability.h`.
const CAPABILITY_VERSION: u32 = 0x2008_0522;
/// `asm/signal.h`; the libc crate lacks it.
const SA_RESTORER: u64 = 0x0400_0000;
