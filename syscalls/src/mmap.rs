//! `mmap(2)`, `munmap(2)`.

use usk_abi::Errno;
use usk_abi::mm::{MmapFlags, PAGE_SIZE, Prot};
use usk_sentry::SysResult;
use usk_sentry::mm::{MapRequest, MemoryLimits};
use usk_sentry::task::{Current, SyscallArguments};

use crate::descriptor::file_of;
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(9, "mmap", &[Pointer, Uint, Flags, Flags, Fd, Uint], sys_mmap),
    Row::full(11, "munmap", &[Pointer, Uint], sys_munmap),
];

fn sys_mmap(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let offset = arguments.u64(5);
    if !offset.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL.into());
    }
    let flags = MmapFlags::from_bits_retain(arguments.u64(3));
    let is_anonymous = flags.contains(MmapFlags::ANONYMOUS);
    let file = if is_anonymous { None } else { Some(file_of(current, arguments.i32(4))?) };
    let request = MapRequest {
        address: arguments.u64(0),
        length: arguments.u64(1),
        protection: Prot::from_bits_retain(arguments.u64(2)),
        flags,
        file,
        offset,
    };
    let limits = MemoryLimits::of(&current.task);
    let is_code = request.file.is_some() && request.protection.contains(Prot::EXEC);
    let (length, is_plain) = (request.length, request.is_plain());
    let mm = current.task.mm();
    let address = mm.map(&mut *current.thread, request, &limits)?;
    if is_code {
        mm.patch_known_code(
            &mut *current.thread,
            &current.task.kernel,
            address..address.saturating_add(length),
        );
    }
    if is_plain {
        current.lend_memory();
    }
    Ok(address)
}

fn sys_munmap(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    current.task.mm().unmap(&mut *current.thread, arguments.u64(0), arguments.u64(1))?;
    current.lend_memory();
    Ok(0)
}
