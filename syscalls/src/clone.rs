//! `clone(2)`, `clone3(2)`, `fork(2)`, `vfork(2)`.

use usk_abi::{Errno, Signal};
use usk_sentry::SysResult;
use usk_sentry::task::{CloneArguments, CloneFlags, Current, SyscallArguments, clone};

use crate::copy::read_versioned;
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(56, "clone", &[Flags, Pointer, Pointer, Pointer, Pointer], sys_clone),
    Row::full(57, "fork", &[], sys_fork),
    Row::full(58, "vfork", &[], sys_vfork),
    Row::partial(435, "clone3", &[Pointer, Uint], sys_clone3, "set_tid and CLONE_INTO_CGROUP are refused"),
];

/// The part of `clone`'s flags that is the exit signal (`CSIGNAL`).
const EXIT_SIGNAL_MASK: u64 = 0xff;
/// Bytes of `struct clone_args` as first published, and as of Linux 6.12.
const CLONE_ARGS_SIZES: (usize, usize) = (64, 88);

fn exit_signal(number: u64) -> Result<Option<Signal>, Errno> {
    match i32::try_from(number) {
        Ok(0) => Ok(None),
        Ok(number) => Signal::from_number(number).map(Some).ok_or(Errno::EINVAL),
        Err(_) => Err(Errno::EINVAL),
    }
}

fn sys_clone(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    // Only the lower half counts, and unknown bits are ignored: that is how old callers of clone(2) work.
    let word = u64::from(arguments.u32(0));
    let flags = CloneFlags::from_bits_truncate(word & !EXIT_SIGNAL_MASK);
    let parent_tid = arguments.u64(2);
    if flags.contains(CloneFlags::PIDFD | CloneFlags::PARENT_SETTID) {
        return Err(Errno::EINVAL.into());
    }
    clone(
        current,
        CloneArguments {
            flags,
            exit_signal: exit_signal(word & EXIT_SIGNAL_MASK).unwrap_or(None),
            stack_pointer: arguments.u64(1),
            tls: arguments.u64(4),
            parent_tid,
            child_tid: arguments.u64(3),
            pidfd: parent_tid,
        },
    )
}

fn sys_fork(current: &mut Current, _arguments: SyscallArguments) -> SysResult {
    clone(current, plain(CloneFlags::empty()))
}

fn sys_vfork(current: &mut Current, _arguments: SyscallArguments) -> SysResult {
    clone(current, plain(CloneFlags::VM | CloneFlags::VFORK))
}

fn plain(flags: CloneFlags) -> CloneArguments {
    let exit_signal = Some(Signal::SIGCHLD);
    CloneArguments { flags, exit_signal, stack_pointer: 0, tls: 0, parent_tid: 0, child_tid: 0, pidfd: 0 }
}

fn sys_clone3(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let bytes = read_versioned(current, arguments.u64(0), arguments.usize(1), CLONE_ARGS_SIZES)?;
    let word = |index: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[index * 8..index * 8 + 8]);
        u64::from_le_bytes(word)
    };
    let flags = CloneFlags::from_bits(word(0)).ok_or(Errno::EINVAL)?;
    if flags.contains(CloneFlags::DETACHED) {
        return Err(Errno::EINVAL.into());
    }
    let exit_signal = exit_signal(word(4))?;
    // Both would be written to the same word.
    if flags.contains(CloneFlags::PIDFD | CloneFlags::PARENT_SETTID) && word(1) == word(3) {
        return Err(Errno::EINVAL.into());
    }
    if flags.intersects(CloneFlags::THREAD | CloneFlags::PARENT) && exit_signal.is_some() {
        return Err(Errno::EINVAL.into());
    }
    let (stack, stack_size) = (word(5), word(6));
    if (stack == 0) != (stack_size == 0) {
        return Err(Errno::EINVAL.into());
    }
    let (set_tid, set_tid_size) = (word(8), word(9));
    if (set_tid == 0) != (set_tid_size == 0) {
        return Err(Errno::EINVAL.into());
    }
    if set_tid != 0 {
        return Err(Errno::EPERM.into());
    }
    clone(
        current,
        CloneArguments {
            flags,
            exit_signal,
            stack_pointer: stack.checked_add(stack_size).ok_or(Errno::EINVAL)?,
            tls: word(7),
            parent_tid: word(3),
            child_tid: word(2),
            pidfd: word(1),
        },
    )
}
