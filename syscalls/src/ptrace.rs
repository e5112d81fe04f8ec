//! `ptrace(2)`.

use usk_abi::Errno;
use usk_abi::ptrace::*;
use usk_abi::signal::{SignalInfo, SignalSet};
use usk_sentry::ptrace::{self, FP_REGISTERS_SIZE, Resumption};
use usk_sentry::task::{Current, SyscallArguments, Task};
use usk_sentry::{SysResult, UserPtr};
use zerocopy::{FromBytes, IntoBytes};

use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[Row::partial(
    101,
    "ptrace",
    &[Int, Int, Pointer, Pointer],
    sys_ptrace,
    "no watchpoints (debug registers), PTRACE_SINGLEBLOCK, PTRACE_O_SUSPEND_SECCOMP, PTRACE_GET_THREAD_AREA, PTRACE_ARCH_PRCTL nor \
     requests about rseq and filters; segment selectors stay those of 64-bit code; init traces nobody by PTRACE_TRACEME",
)];

/// Bytes of the kernel's `sigset_t`.
const SIGNAL_SET_SIZE: u64 = 8;

fn sys_ptrace(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (request, tid) = (arguments.i64(0), arguments.i32(1));
    let (address, data) = (arguments.u64(2), arguments.u64(3));
    match request {
        PTRACE_TRACEME => ptrace::trace_me(current)?,
        PTRACE_ATTACH => ptrace::attach(current, tid)?,
        PTRACE_SEIZE if address != 0 => return Err(Errno::EIO.into()),
        PTRACE_SEIZE => ptrace::seize(current, tid, data)?,
        PTRACE_KILL => ptrace::kill(current, tid)?,
        PTRACE_INTERRUPT => ptrace::interrupt(current, tid)?,
        PTRACE_DETACH => ptrace::detach(current, tid, data)?,
        _ => {
            let task = ptrace::tracee(current, tid)?;
            return of_stopped(current, &task, request, address, data);
        }
    }
    Ok(0)
}

/// Requests about a task that is stopped for the caller.
fn of_stopped(current: &mut Current, task: &Task, request: i64, address: u64, data: u64) -> SysResult {
    match request {
        PTRACE_PEEKTEXT | PTRACE_PEEKDATA => put(current, data, &ptrace::peek(task, address)?)?,
        PTRACE_PEEKUSER => put(current, data, &ptrace::peek_user(task, address)?)?,
        PTRACE_POKETEXT | PTRACE_POKEDATA => ptrace::poke(task, address, data)?,
        PTRACE_POKEUSER => ptrace::poke_user(task, address, data)?,
        PTRACE_GETREGS => put(current, data, &ptrace::registers(task)?)?,
        PTRACE_SETREGS => ptrace::set_registers(task, get(current, data)?)?,
        PTRACE_GETFPREGS => {
            let area = ptrace::fp_registers(task)?;
            UserPtr::<u8>::new(data).write_array(current.space(), &area)?;
        }
        PTRACE_SETFPREGS => {
            let area = UserPtr::<u8>::new(data).read_array(current.space(), FP_REGISTERS_SIZE)?;
            ptrace::set_fp_registers(task, area)?;
        }
        PTRACE_GETREGSET => get_register_set(current, task, address, data)?,
        PTRACE_SETREGSET => set_register_set(current, task, address, data)?,
        PTRACE_GETSIGINFO => put(current, data, &ptrace::signal_info(task)?)?,
        PTRACE_SETSIGINFO => ptrace::set_signal_info(task, get(current, data)?)?,
        PTRACE_PEEKSIGINFO => return peek_signals(current, task, address, data),
        PTRACE_GETSIGMASK | PTRACE_SETSIGMASK if address != SIGNAL_SET_SIZE => {
            return Err(Errno::EINVAL.into());
        }
        PTRACE_GETSIGMASK => put(current, data, &ptrace::signal_mask(task))?,
        PTRACE_SETSIGMASK => ptrace::set_signal_mask(task, get::<SignalSet>(current, data)?)?,
        PTRACE_GETEVENTMSG => put(current, data, &ptrace::event_message(task))?,
        PTRACE_GET_SYSCALL_INFO => return get_syscall_info(current, task, address, data),
        PTRACE_SETOPTIONS => ptrace::set_options(task, data)?,
        PTRACE_LISTEN => ptrace::listen(task)?,
        _ => ptrace::resume(task, resumption(request).ok_or(Errno::EIO)?, data)?,
    }
    Ok(0)
}

fn resumption(request: i64) -> Option<Resumption> {
    Some(match request {
        PTRACE_CONT => Resumption::Continue,
        PTRACE_SYSCALL => Resumption::Syscall,
        PTRACE_SINGLESTEP => Resumption::Step,
        PTRACE_SYSEMU => Resumption::Emulated,
        PTRACE_SYSEMU_SINGLESTEP => Resumption::EmulatedStep,
        _ => return None,
    })
}

fn put<T: IntoBytes + zerocopy::Immutable>(current: &Current, address: u64, value: &T) -> Result<(), Errno> {
    UserPtr::new(address).write(current.space(), value)
}

fn get<T>(current: &Current, address: u64) -> Result<T, Errno>
where
    T: FromBytes + IntoBytes + zerocopy::KnownLayout,
{
    UserPtr::new(address).read(current.space())
}

/// What a register set holds.
fn register_set(task: &Task, kind: u64) -> Result<Vec<u8>, Errno> {
    match kind {
        NT_PRSTATUS => Ok(ptrace::registers(task)?.as_bytes().to_vec()),
        NT_PRFPREG => ptrace::fp_registers(task),
        NT_X86_XSTATE => ptrace::xstate(task),
        _ => Err(Errno::EINVAL),
    }
}

/// The buffer that an `iovec` at `address` names. `EINVAL` if it does not hold whole words.
fn register_buffer(current: &Current, address: u64) -> Result<[u64; 2], Errno> {
    let [base, length] = get(current, address)?;
    if length % 8 == 0 { Ok([base, length]) } else { Err(Errno::EINVAL) }
}

fn get_register_set(current: &mut Current, task: &Task, kind: u64, address: u64) -> Result<(), Errno> {
    let [base, room] = register_buffer(current, address)?;
    let mut contents = register_set(task, kind)?;
    contents.truncate(usize::try_from(room).unwrap_or(usize::MAX));
    UserPtr::<u8>::new(base).write_array(current.space(), &contents)?;
    put(current, address, &[base, contents.len() as u64])
}

fn set_register_set(current: &mut Current, task: &Task, kind: u64, address: u64) -> Result<(), Errno> {
    let [base, length] = register_buffer(current, address)?;
    let size = match kind {
        NT_PRSTATUS => size_of::<UserRegisters>(),
        NT_PRFPREG => FP_REGISTERS_SIZE,
        NT_X86_XSTATE => ptrace::xstate(task)?.len(),
        _ => return Err(Errno::EINVAL),
    };
    let length = usize::try_from(length).unwrap_or(usize::MAX).min(size);
    let contents = UserPtr::<u8>::new(base).read_array(current.space(), length)?;
    match kind {
        NT_PRSTATUS => {
            let mut registers = ptrace::registers(task)?;
            registers.as_mut_bytes()[..length].copy_from_slice(&contents);
            ptrace::set_registers(task, registers)?;
        }
        NT_PRFPREG => ptrace::set_fp_registers(task, contents)?,
        _ => ptrace::set_xstate(task, contents)?,
    }
    put(current, address, &[base, length as u64])
}

fn peek_signals(current: &mut Current, task: &Task, address: u64, data: u64) -> SysResult {
    let PeekSignalInfo { offset, flags, count } = get(current, address)?;
    if flags & !PTRACE_PEEKSIGINFO_SHARED != 0 {
        return Err(Errno::EINVAL.into());
    }
    let count = usize::try_from(count).map_err(|_| Errno::EINVAL)?;
    let infos = ptrace::peek_signals(task, flags & PTRACE_PEEKSIGINFO_SHARED != 0, offset, count);
    UserPtr::<SignalInfo>::new(data).write_array(current.space(), &infos)?;
    Ok(infos.len() as u64)
}

fn get_syscall_info(current: &mut Current, task: &Task, room: u64, address: u64) -> SysResult {
    let info = ptrace::syscall_info(task)?;
    let length = SyscallInfo::LENGTHS[usize::from(info.op)];
    let copied = usize::try_from(room).unwrap_or(usize::MAX).min(length);
    UserPtr::<u8>::new(address).write_array(current.space(), &info.as_bytes()[..copied])?;
    Ok(length as u64)
}
