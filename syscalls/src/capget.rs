//! `capget(2)`, `capset(2)`.

use std::sync::Arc;

use usk_abi::Errno;
use usk_sentry::task::{ALL_CAPABILITIES, Credentials, Current, INIT_PID, SyscallArguments};
use usk_sentry::{SysResult, UserPtr};

use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(125, "capget", &[Pointer, Pointer], sys_capget),
    Row::full(126, "capset", &[Pointer, Pointer], sys_capset),
];

const VERSION_1: u32 = 0x1998_0330;
const VERSION_2: u32 = 0x2007_1026;
const VERSION_3: u32 = 0x2008_0522;
const CAP_SETPCAP: u32 = 8;

/// Reads the header: how many 32-bit halves the data has, and whose capabilities are meant. An unknown version is answered with the
/// preferred one.
fn header(current: &Current, address: u64) -> Result<(usize, i32), Errno> {
    let [version, pid]: [u32; 2] = UserPtr::new(address).read(current.space())?;
    let halves = match version {
        VERSION_1 => 1,
        VERSION_2 | VERSION_3 => 2,
        _ => {
            UserPtr::<u32>::new(address).write(current.space(), &VERSION_3)?;
            return Err(Errno::EINVAL);
        }
    };
    Ok((halves, pid as i32))
}

fn half(set: u64, index: usize) -> u32 {
    (set >> (32 * index)) as u32
}

/// Whose capabilities are asked for; 0 is the caller. `ESRCH` if there is nobody.
fn credentials_of(current: &Current, pid: i32) -> Result<Arc<Credentials>, Errno> {
    let kernel = &current.task.kernel;
    match pid {
        0 => Ok(current.task.credentials()),
        // It may be the sandbox's own, which has no thread.
        INIT_PID => match kernel.find_task(INIT_PID) {
            Ok(init) => Ok(init.credentials()),
            Err(_) => kernel.find_group(INIT_PID).map(|_| Arc::new(Credentials::user(0, 0))),
        },
        pid => Ok(kernel.find_task(pid)?.credentials()),
    }
}

fn sys_capget(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let data = arguments.pointer::<[u32; 3]>(1);
    let (halves, pid) = match header(current, arguments.u64(0)) {
        // A caller without a buffer asks for the version only.
        Err(Errno::EINVAL) if data.is_null() => return Ok(0),
        other => other?,
    };
    if pid < 0 {
        return Err(Errno::EINVAL.into());
    }
    let credentials = credentials_of(current, pid)?;
    if data.is_null() {
        return Ok(0);
    }
    let values: Vec<[u32; 3]> = (0..halves)
        .map(|index| {
            [credentials.effective, credentials.permitted, credentials.inheritable]
                .map(|set| half(set, index))
        })
        .collect();
    data.write_array(current.space(), &values)?;
    Ok(0)
}

fn sys_capset(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (halves, pid) = header(current, arguments.u64(0))?;
    if pid != 0 && pid != current.task.tid() {
        return Err(Errno::EPERM.into());
    }
    let values = arguments.pointer::<[u32; 3]>(1).read_array(current.space(), halves)?;
    let set = |which: usize| {
        values.iter().rev().fold(0u64, |set, half| set << 32 | u64::from(half[which])) & ALL_CAPABILITIES
    };
    let (effective, permitted, inheritable) = (set(0), set(1), set(2));
    let old = current.task.credentials();
    let mut inheritable_limit = old.inheritable | old.bounding;
    if !old.has_capability(CAP_SETPCAP) {
        inheritable_limit &= old.inheritable | old.permitted;
    }
    if permitted & !old.permitted != 0 || effective & !permitted != 0 || inheritable & !inheritable_limit != 0
    {
        return Err(Errno::EPERM.into());
    }
    let ambient = old.ambient & permitted & inheritable;
    current.task.set_credentials(Credentials {
        effective,
        permitted,
        inheritable,
        ambient,
        ..(*old).clone()
    });
    Ok(0)
}
