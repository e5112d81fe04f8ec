//! `shmctl(2)`.

use usk_abi::Errno;
use usk_abi::ipc::{ShmInfo, ShmInfo64, ShmidDs, command};
use usk_sentry::SysResult;
use usk_sentry::ipc::IpcObjects;
use usk_sentry::task::{Current, SyscallArguments};

use crate::copy::{realtime_seconds, returned_id};
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[Row::partial(
    31,
    "shmctl",
    &[Int, Int, Pointer],
    sys_shmctl,
    "SHM_LOCK is shown but locks nothing; SHM_INFO reports no resident pages",
)];

fn sys_shmctl(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (id, command, buffer) = (arguments.i32(0), arguments.i32(1), arguments.pointer::<ShmidDs>(2));
    if id < 0 || command < 0 {
        return Err(Errno::EINVAL.into());
    }
    let credentials = current.task.credentials();
    let segments = &current.task.kernel.ipc.segments;
    match command {
        command::IPC_STAT => buffer.write(current.space(), &segments.status(id, &credentials)?)?,
        command::SHM_STAT | command::SHM_STAT_ANY => {
            let any = command == command::SHM_STAT_ANY;
            let (found, status) = segments.status_at(id, &credentials, any)?;
            buffer.write(current.space(), &status)?;
            return Ok(returned_id(found));
        }
        command::IPC_SET => {
            let new = buffer.read(current.space())?;
            segments.set(id, &credentials, &new.perm, realtime_seconds())?;
        }
        command::IPC_RMID => segments.remove(id, &credentials)?,
        command::SHM_LOCK | command::SHM_UNLOCK => {
            segments.set_locked(id, &credentials, command == command::SHM_LOCK)?;
        }
        command::IPC_INFO => {
            let limits = &current.task.kernel.ipc.limits;
            let shmmni = limits.shmmni.get();
            let info = ShmInfo64 {
                shmmax: limits.shmmax.get(),
                shmmin: 1,
                shmmni,
                shmseg: shmmni,
                shmall: limits.shmall.get(),
                ..ShmInfo64::default()
            };
            arguments.pointer(2).write(current.space(), &info)?;
            return Ok(returned_id(segments.usage().2));
        }
        command::SHM_INFO => {
            let (used_ids, total, highest) = segments.usage();
            let info = ShmInfo { used_ids, total, ..ShmInfo::default() };
            arguments.pointer(2).write(current.space(), &info)?;
            return Ok(returned_id(highest));
        }
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}
