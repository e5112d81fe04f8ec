//! `shmat(2)`, `shmdt(2)`.

use usk_abi::Errno;
use usk_abi::ipc::{SHM_EXEC, SHM_RDONLY, SHM_REMAP, SHM_RND};
use usk_abi::mm::PAGE_SIZE;
use usk_platform::Protection;
use usk_sentry::SysResult;
use usk_sentry::mm::{AttachRequest, MemoryLimits};
use usk_sentry::task::{Current, SyscallArguments};

use crate::copy::realtime_seconds;
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(30, "shmat", &[Int, Pointer, Flags], sys_shmat),
    Row::partial(67, "shmdt", &[Pointer], sys_shmdt, "the end of a process does not set shm_dtime"),
];

fn sys_shmat(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (id, mut address, flags) = (arguments.i32(0), arguments.u64(1), arguments.u32(2));
    let replace = flags & SHM_REMAP != 0;
    if address != 0 && !address.is_multiple_of(PAGE_SIZE) {
        if flags & SHM_RND == 0 {
            return Err(Errno::EINVAL.into());
        }
        address &= !(PAGE_SIZE - 1);
        if address == 0 && replace {
            return Err(Errno::EINVAL.into());
        }
    } else if address == 0 && replace {
        return Err(Errno::EINVAL.into());
    }
    let write = flags & SHM_RDONLY == 0;
    let execute = flags & SHM_EXEC != 0;
    let wanted = 0o444 | if write { 0o222 } else { 0 } | if execute { 0o111 } else { 0 };
    let task = current.task.clone();
    let segments = &task.kernel.ipc.segments;
    let attachment = segments.attach(id, &task.credentials(), wanted)?;
    let memory = attachment.memory;
    let request = AttachRequest {
        memory: memory.clone(),
        length: attachment.length,
        address: (address != 0).then_some(address),
        replace,
        protection: Protection { read: true, write, execute },
    };
    let limits = MemoryLimits::of(&task);
    let mapped = task.mm().attach(&mut *current.thread, request, &limits)?;
    segments.note(&memory, true, task.tgid(), realtime_seconds());
    Ok(mapped)
}

fn sys_shmdt(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let address = arguments.u64(0);
    if !address.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL.into());
    }
    let task = current.task.clone();
    let memory = task.mm().detach(&mut *current.thread, address)?;
    task.kernel.ipc.segments.note(&memory, false, task.tgid(), realtime_seconds());
    Ok(0)
}
