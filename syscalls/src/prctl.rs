//! `prctl(2)`, `arch_prctl(2)`, `personality(2)`.

use std::sync::atomic::Ordering;

use usk_abi::seccomp::{SECCOMP_MODE_FILTER, SECCOMP_MODE_STRICT};
use usk_abi::{Errno, Signal};
use usk_sentry::seccomp::set_strict;
use usk_sentry::task::{Credentials, Current, SyscallArguments};
use usk_sentry::{SysResult, UserPtr, read_c_string};

use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(135, "personality", &[Flags], sys_personality),
    Row::partial(
        157,
        "prctl",
        &[Int, Uint, Uint, Uint, Uint],
        sys_prctl,
        "options for speculation, memory maps and scheduling cores return EINVAL",
    ),
    Row::full(158, "arch_prctl", &[Int, Pointer], sys_arch_prctl),
];

const PR_SET_PDEATHSIG: i32 = 1;
const PR_GET_PDEATHSIG: i32 = 2;
const PR_GET_DUMPABLE: i32 = 3;
const PR_SET_DUMPABLE: i32 = 4;
const PR_GET_KEEPCAPS: i32 = 7;
const PR_SET_KEEPCAPS: i32 = 8;
const PR_GET_TIMING: i32 = 13;
const PR_SET_NAME: i32 = 15;
const PR_GET_NAME: i32 = 16;
const PR_GET_SECCOMP: i32 = 21;
const PR_SET_SECCOMP: i32 = 22;
const PR_CAPBSET_READ: i32 = 23;
const PR_CAPBSET_DROP: i32 = 24;
const PR_GET_SECUREBITS: i32 = 27;
const PR_SET_SECUREBITS: i32 = 28;
const PR_SET_TIMERSLACK: i32 = 29;
const PR_GET_TIMERSLACK: i32 = 30;
const PR_SET_CHILD_SUBREAPER: i32 = 36;
const PR_GET_CHILD_SUBREAPER: i32 = 37;
const PR_SET_NO_NEW_PRIVS: i32 = 38;
const PR_GET_NO_NEW_PRIVS: i32 = 39;
const PR_GET_TID_ADDRESS: i32 = 40;
const PR_GET_THP_DISABLE: i32 = 42;
const PR_CAP_AMBIENT: i32 = 47;
/// Of the Yama module: whom the caller lets trace it.
const PR_SET_PTRACER: i32 = 0x5961_6d61;

const CAP_SETPCAP: u32 = 8;
const CAP_LAST: u64 = 40;
const SECBIT_KEEP_CAPS: u32 = 1 << 4;
const SECBIT_KEEP_CAPS_LOCKED: u32 = 1 << 5;
const SECBIT_NO_CAP_AMBIENT_RAISE: u32 = 1 << 6;
/// All secure bits and their locks.
const SECUREBITS_ALL: u32 = 0xff;
/// The locks; each is for the bit below it.
const SECUREBITS_LOCKS: u32 = 0xaa;
const DEFAULT_TIMER_SLACK_NS: u64 = 50_000;

fn sys_prctl(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let task = current.task.clone();
    let value = arguments.u64(1);
    let rest_is_zero = arguments.0[2..5].iter().all(|word| *word == 0);
    match arguments.i32(0) {
        PR_SET_PDEATHSIG => {
            let number = i32::try_from(value).map_err(|_| Errno::EINVAL)?;
            if number != 0 && Signal::from_number(number).is_none() {
                return Err(Errno::EINVAL.into());
            }
            task.parent_death_signal.store(number, Ordering::Relaxed);
            Ok(0)
        }
        PR_GET_PDEATHSIG => put_i32(current, value, task.parent_death_signal.load(Ordering::Relaxed)),
        PR_GET_DUMPABLE => Ok(task.mm().dumpable.load(Ordering::Relaxed).into()),
        PR_SET_DUMPABLE if value <= 1 => {
            task.mm().dumpable.store(value as u32, Ordering::Relaxed);
            Ok(0)
        }
        PR_GET_KEEPCAPS => Ok(u64::from(task.credentials().securebits & SECBIT_KEEP_CAPS != 0)),
        PR_SET_KEEPCAPS if value <= 1 => {
            if task.credentials().securebits & SECBIT_KEEP_CAPS_LOCKED != 0 {
                return Err(Errno::EPERM.into());
            }
            change(current, |new| {
                new.securebits =
                    new.securebits & !SECBIT_KEEP_CAPS | if value == 1 { SECBIT_KEEP_CAPS } else { 0 };
            });
            Ok(0)
        }
        PR_GET_TIMING => Ok(0),
        PR_GET_SECCOMP => Ok(task.seccomp.mode().into()),
        PR_SET_SECCOMP => match u32::try_from(value) {
            Ok(SECCOMP_MODE_STRICT) => {
                set_strict(&task)?;
                Ok(0)
            }
            Ok(SECCOMP_MODE_FILTER) => crate::seccomp::set_filter(current, 0, arguments.u64(2)),
            _ => Err(Errno::EINVAL.into()),
        },
        PR_SET_NAME => {
            let name = match read_c_string(current.space(), value, 16, Errno::E2BIG) {
                Err(Errno::E2BIG) => {
                    let mut bytes = [0; 15];
                    current.space().read(value, &mut bytes);
                    bytes.to_vec()
                }
                other => other?,
            };
            task.set_command_name(&name);
            Ok(0)
        }
        PR_GET_NAME => {
            let mut bytes = [0u8; 16];
            let name = task.command_name();
            bytes[..name.len()].copy_from_slice(&name);
            UserPtr::new(value).write(current.space(), &bytes)?;
            Ok(0)
        }
        PR_CAPBSET_READ if value <= CAP_LAST => Ok(task.credentials().bounding >> value & 1),
        PR_CAPBSET_DROP if value <= CAP_LAST => {
            require(current, CAP_SETPCAP)?;
            change(current, |new| new.bounding &= !(1 << value));
            Ok(0)
        }
        PR_GET_SECUREBITS => Ok(task.credentials().securebits.into()),
        PR_SET_SECUREBITS => {
            require(current, CAP_SETPCAP)?;
            let bits =
                u32::try_from(value).ok().filter(|bits| bits & !SECUREBITS_ALL == 0).ok_or(Errno::EPERM)?;
            let old = task.credentials().securebits;
            let locks = old & SECUREBITS_LOCKS;
            if (locks >> 1) & (old ^ bits) != 0 || locks & !bits != 0 {
                return Err(Errno::EPERM.into());
            }
            change(current, |new| new.securebits = bits);
            Ok(0)
        }
        PR_SET_TIMERSLACK => {
            let slack = if value == 0 { DEFAULT_TIMER_SLACK_NS } else { value };
            task.timer_slack_ns.store(slack, Ordering::Relaxed);
            Ok(0)
        }
        PR_GET_TIMERSLACK => Ok(task.timer_slack_ns.load(Ordering::Relaxed)),
        PR_SET_CHILD_SUBREAPER => {
            if let Some(process) = task.kernel.tasks.lock().process_mut(task.tgid()) {
                process.is_subreaper = value != 0;
            }
            Ok(0)
        }
        PR_GET_CHILD_SUBREAPER => {
            let is_subreaper =
                task.kernel.tasks.lock().process(task.tgid()).is_some_and(|process| process.is_subreaper);
            put_i32(current, value, is_subreaper.into())
        }
        PR_SET_NO_NEW_PRIVS if value == 1 && rest_is_zero => {
            task.set_no_new_privs();
            Ok(0)
        }
        PR_GET_NO_NEW_PRIVS if value == 0 && rest_is_zero => Ok(task.no_new_privs().into()),
        PR_GET_TID_ADDRESS => {
            let address = task.tid_address();
            UserPtr::new(value).write(current.space(), &address)?;
            Ok(0)
        }
        PR_GET_THP_DISABLE => Ok(0),
        // Nothing restricts tracing beyond what credentials do, so there is nothing to permit.
        PR_SET_PTRACER => Ok(0),
        PR_CAP_AMBIENT if arguments.0[3..5] == [0, 0] => ambient(current, value, arguments.u64(2)),
        _ => Err(Errno::EINVAL.into()),
    }
}

fn put_i32(current: &Current, address: u64, value: i32) -> SysResult {
    UserPtr::new(address).write(current.space(), &value)?;
    Ok(0)
}

fn require(current: &Current, capability: u32) -> Result<(), Errno> {
    if current.task.credentials().has_capability(capability) { Ok(()) } else { Err(Errno::EPERM) }
}

fn change(current: &Current, edit: impl FnOnce(&mut Credentials)) {
    let mut credentials = (*current.task.credentials()).clone();
    edit(&mut credentials);
    current.task.set_credentials(credentials);
}

const PR_CAP_AMBIENT_IS_SET: u64 = 1;
const PR_CAP_AMBIENT_RAISE: u64 = 2;
const PR_CAP_AMBIENT_LOWER: u64 = 3;
const PR_CAP_AMBIENT_CLEAR_ALL: u64 = 4;

fn ambient(current: &Current, operation: u64, capability: u64) -> SysResult {
    let own = current.task.credentials();
    if operation == PR_CAP_AMBIENT_CLEAR_ALL && capability == 0 {
        change(current, |new| new.ambient = 0);
        return Ok(0);
    }
    if capability > CAP_LAST {
        return Err(Errno::EINVAL.into());
    }
    let bit = 1 << capability;
    match operation {
        PR_CAP_AMBIENT_IS_SET => Ok(u64::from(own.ambient & bit != 0)),
        PR_CAP_AMBIENT_RAISE if own.securebits & SECBIT_NO_CAP_AMBIENT_RAISE != 0 => Err(Errno::EPERM.into()),
        PR_CAP_AMBIENT_RAISE if own.permitted & own.inheritable & bit == 0 => Err(Errno::EPERM.into()),
        PR_CAP_AMBIENT_RAISE => {
            change(current, |new| new.ambient |= bit);
            Ok(0)
        }
        PR_CAP_AMBIENT_LOWER => {
            change(current, |new| new.ambient &= !bit);
            Ok(0)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

const ARCH_SET_GS: i32 = 0x1001;
const ARCH_SET_FS: i32 = 0x1002;
const ARCH_GET_FS: i32 = 0x1003;
const ARCH_GET_GS: i32 = 0x1004;
/// First address that is not user space on x86-64 with four-level page tables.
const USER_END: u64 = 0x7fff_ffff_f000;

fn sys_arch_prctl(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let value = arguments.u64(1);
    match arguments.i32(0) {
        ARCH_SET_FS | ARCH_SET_GS if value >= USER_END => Err(Errno::EPERM.into()),
        ARCH_SET_FS => {
            current.thread.registers_mut().fs_base = value;
            Ok(0)
        }
        ARCH_SET_GS => {
            current.thread.registers_mut().gs_base = value;
            Ok(0)
        }
        ARCH_GET_FS => {
            let base = current.thread.registers().fs_base;
            UserPtr::new(value).write(current.space(), &base)?;
            Ok(0)
        }
        ARCH_GET_GS => {
            let base = current.thread.registers().gs_base;
            UserPtr::new(value).write(current.space(), &base)?;
            Ok(0)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}

fn sys_personality(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    const QUERY: u32 = 0xffff_ffff;
    let wanted = arguments.u32(0);
    let old = current.task.personality.load(Ordering::Relaxed);
    if wanted != QUERY {
        current.task.personality.store(wanted, Ordering::Relaxed);
    }
    Ok(old.into())
}
