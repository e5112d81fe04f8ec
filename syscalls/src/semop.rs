//! `semop(2)`, `semtimedop(2)`.

use std::time::Duration;

use usk_abi::ipc::SemaphoreOperation;
use usk_abi::time::Timespec;
use usk_abi::{Errno, PollEvents};
use usk_sentry::ipc::SemaphoreWait;
use usk_sentry::task::{Current, SyscallArguments};
use usk_sentry::time::Deadline;
use usk_sentry::{SysError, SysResult};

use crate::copy::{read_timespec, realtime_seconds};
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(65, "semop", &[Int, Pointer, Uint], sys_semop),
    Row::full(220, "semtimedop", &[Int, Pointer, Uint, Pointer], sys_semtimedop),
];

fn sys_semop(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    operate(current, arguments, None)
}

fn sys_semtimedop(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let timeout = arguments.pointer::<Timespec>(3);
    let timeout =
        if timeout.is_null() { None } else { Some(Duration::from_nanos(read_timespec(current, timeout)?)) };
    operate(current, arguments, timeout)
}

fn operate(current: &mut Current, arguments: SyscallArguments, timeout: Option<Duration>) -> SysResult {
    let (id, count) = (arguments.i32(0), arguments.u32(2) as usize);
    if id < 0 || count == 0 {
        return Err(Errno::EINVAL.into());
    }
    if count > current.task.kernel.ipc.limits.semopm.count() {
        return Err(Errno::E2BIG.into());
    }
    let operations = arguments.pointer::<SemaphoreOperation>(1).read_array(current.space(), count)?;
    let task = current.task.clone();
    let set = task.kernel.ipc.semaphores.for_operations(id, &operations, &task.credentials())?;
    let deadline = timeout.map(Deadline::after);

    let mut counted: Option<SemaphoreWait> = None;
    let outcome = current.block(&[(set.queue(), PollEvents::IN)], deadline, |_| {
        if let Some(wait) = counted.take() {
            set.count_waiter(wait, false);
        }
        match set.perform(&operations, task.tgid(), realtime_seconds())? {
            Ok(()) => Ok(Ok(())),
            Err(wait) if wait.no_wait => Ok(Err(Errno::EAGAIN)),
            Err(wait) => {
                set.count_waiter(wait, true);
                counted = Some(wait);
                Err(Errno::EAGAIN.into())
            }
        }
    });
    if let Some(wait) = counted {
        set.count_waiter(wait, false);
    }
    match outcome {
        Ok(done) => done?,
        Err(SysError::Errno(Errno::ETIMEDOUT)) => return Err(Errno::EAGAIN.into()),
        // Never restarted, whatever the handler says (`signal(7)`).
        Err(SysError::Restart(_)) => return Err(Errno::EINTR.into()),
        Err(error) => return Err(error),
    }
    Ok(0)
}
