//! `rt_sigaction(2)`, `sigaltstack(2)`, `rt_sigreturn(2)`.

use usk_abi::Errno;
use usk_abi::signal::{AlternateStack, SignalAction, SignalSet};
use usk_sentry::SysResult;
use usk_sentry::signal::{alternate_stack, set_alternate_stack, signal_return};
use usk_sentry::task::{Current, SyscallArguments};

use crate::copy::{SIGNAL_SET_SIZE, signal};
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(13, "rt_sigaction", &[Signal, Pointer, Pointer, Uint], sys_rt_sigaction),
    Row::full(15, "rt_sigreturn", &[], sys_rt_sigreturn),
    Row::full(131, "sigaltstack", &[Pointer, Pointer], sys_sigaltstack),
];

fn sys_rt_sigaction(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (new, old) = (arguments.pointer::<SignalAction>(1), arguments.pointer::<SignalAction>(2));
    if arguments.usize(3) != SIGNAL_SET_SIZE {
        return Err(Errno::EINVAL.into());
    }
    let action = if new.is_null() { None } else { Some(current.copy_in(new)?) };
    let signal = signal(arguments.i32(0))?;
    if action.is_some() && SignalSet::UNBLOCKABLE.contains(signal) {
        return Err(Errno::EINVAL.into());
    }
    let group = current.task.group.clone();
    let previous = match action {
        Some(action) => group.set_action(signal, action.cleaned()),
        None => group.actions.load().get(signal),
    };
    if !old.is_null() {
        current.copy_out(old, &previous)?;
    }
    Ok(0)
}

fn sys_rt_sigreturn(current: &mut Current, _arguments: SyscallArguments) -> SysResult {
    current.keep_registers = true;
    signal_return(current)
}

fn sys_sigaltstack(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (new, old) = (arguments.pointer::<AlternateStack>(0), arguments.pointer::<AlternateStack>(1));
    let wanted = if new.is_null() { None } else { Some(current.copy_in(new)?) };
    let previous = alternate_stack(current);
    if let Some(wanted) = wanted {
        set_alternate_stack(current, wanted)?;
    }
    if !old.is_null() {
        current.copy_out(old, &previous)?;
    }
    Ok(0)
}
