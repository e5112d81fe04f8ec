//! `semctl(2)`.

use usk_abi::Errno;
use usk_abi::ipc::{SEMVMX, SemInfo, SemidDs, command};
use usk_sentry::SysResult;
use usk_sentry::ipc::IpcObjects;
use usk_sentry::task::{Current, SyscallArguments};

use crate::copy::{realtime_seconds, returned_id};
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[Row::full(66, "semctl", &[Int, Int, Int, Pointer], sys_semctl)];

fn sys_semctl(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (id, number, command) = (arguments.i32(0), arguments.i32(1), arguments.i32(2));
    if id < 0 {
        return Err(Errno::EINVAL.into());
    }
    let (status, values) = (arguments.pointer::<SemidDs>(3), arguments.pointer::<u16>(3));
    let task = current.task.clone();
    let credentials = task.credentials();
    let (sets, now) = (&task.kernel.ipc.semaphores, realtime_seconds());
    let one = |which: usize| sets.read_one(id, number, &credentials).map(|values| values[which]);
    let result = match command {
        command::IPC_STAT => {
            status.write(current.space(), &sets.status(id, &credentials)?)?;
            0
        }
        command::SEM_STAT | command::SEM_STAT_ANY => {
            let (found, shown) = sets.status_at(id, &credentials, command == command::SEM_STAT_ANY)?;
            status.write(current.space(), &shown)?;
            found
        }
        command::IPC_SET => {
            let new = status.read(current.space())?;
            sets.set(id, &credentials, &new.perm, now)?;
            0
        }
        command::IPC_RMID => {
            sets.remove(id, &credentials)?;
            0
        }
        command::IPC_INFO | command::SEM_INFO => {
            let (used, semaphores, highest) = sets.usage();
            let wants_usage = command == command::SEM_INFO;
            let limits = &current.task.kernel.ipc.limits;
            let info = SemInfo {
                semmap: limits.semmns.as_shown(),
                semmni: limits.semmni.as_shown(),
                semmns: limits.semmns.as_shown(),
                semmnu: limits.semmns.as_shown(),
                semmsl: limits.semmsl.as_shown(),
                semopm: limits.semopm.as_shown(),
                semume: limits.semopm.as_shown(),
                semusz: if wants_usage { used } else { 20 },
                semvmx: SEMVMX,
                semaem: if wants_usage { semaphores } else { SEMVMX },
            };
            arguments.pointer(3).write(current.space(), &info)?;
            highest
        }
        command::GETVAL => one(0)?,
        command::GETPID => one(1)?,
        command::GETNCNT => one(2)?,
        command::GETZCNT => one(3)?,
        command::GETALL => {
            values.write_array(current.space(), &sets.values(id, &credentials)?)?;
            0
        }
        command::SETVAL => {
            let value = arguments.i32(3);
            sets.set_values(id, Some(number), &[value], &credentials, task.tgid(), now)?;
            0
        }
        command::SETALL => {
            let count = sets.count(id, &credentials)?;
            let new = values.read_array(current.space(), count)?;
            let new: Vec<i32> = new.into_iter().map(i32::from).collect();
            sets.set_values(id, None, &new, &credentials, task.tgid(), now)?;
            0
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    Ok(returned_id(result))
}
