//! `membarrier(2)`.

use usk_abi::Errno;
use usk_platform::host;
use usk_sentry::SysResult;
use usk_sentry::mm::BarrierKinds;
use usk_sentry::task::{Current, SyscallArguments};

use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[Row::partial(
    324,
    "membarrier",
    &[Int, Flags, Int],
    sys_membarrier,
    "no SYNC_CORE and RSEQ commands (the query says so); expedited commands take milliseconds",
)];

const QUERY: i32 = 0;
const GLOBAL: i32 = 1 << 0;
const GLOBAL_EXPEDITED: i32 = 1 << 1;
const REGISTER_GLOBAL_EXPEDITED: i32 = 1 << 2;
const PRIVATE_EXPEDITED: i32 = 1 << 3;
const REGISTER_PRIVATE_EXPEDITED: i32 = 1 << 4;
const GET_REGISTRATIONS: i32 = 1 << 9;

const SUPPORTED: i32 = GLOBAL
    | GLOBAL_EXPEDITED
    | REGISTER_GLOBAL_EXPEDITED
    | PRIVATE_EXPEDITED
    | REGISTER_PRIVATE_EXPEDITED
    | GET_REGISTRATIONS;

fn sys_membarrier(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    if arguments.u32(1) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let mm = current.task.mm();
    match arguments.i32(0) {
        QUERY => return Ok(SUPPORTED as u64),
        GLOBAL | GLOBAL_EXPEDITED => host::memory_barrier_everywhere()?,
        REGISTER_GLOBAL_EXPEDITED => mm.register_barrier(BarrierKinds::GLOBAL),
        PRIVATE_EXPEDITED => mm.private_barrier()?,
        REGISTER_PRIVATE_EXPEDITED => mm.register_barrier(BarrierKinds::PRIVATE),
        GET_REGISTRATIONS => {
            let registered = mm.registered_barriers();
            let mut commands = 0;
            if registered.contains(BarrierKinds::PRIVATE) {
                commands |= REGISTER_PRIVATE_EXPEDITED;
            }
            if registered.contains(BarrierKinds::GLOBAL) {
                commands |= REGISTER_GLOBAL_EXPEDITED;
            }
            return Ok(commands as u64);
        }
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}
