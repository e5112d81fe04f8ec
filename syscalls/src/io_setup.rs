//! `io_setup(2)`.

use usk_abi::Errno;
use usk_abi::mm::{MmapFlags, Prot};
use usk_platform::host;
use usk_sentry::aio::NewContext;
use usk_sentry::mm::{MapRequest, MemoryLimits};
use usk_sentry::task::{Current, SyscallArguments};
use usk_sentry::{SysResult, UserPtr};

use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[Row::full(206, "io_setup", &[Uint, Pointer], sys_io_setup)];

/// The context's name is the address of its ring. There a program could find results by itself, if the ring had the number that says so;
/// without it, programs ask.
fn sys_io_setup(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let result: UserPtr<u64> = arguments.pointer(1);
    if current.copy_in(result)? != 0 {
        return Err(Errno::EINVAL.into());
    }
    let kernel = &current.task.kernel;
    let new = NewContext::reserve(&kernel.aio, arguments.u32(0), host::processor_count())?;
    let request = MapRequest {
        address: 0,
        length: new.ring_length,
        protection: Prot::READ | Prot::WRITE,
        flags: MmapFlags::PRIVATE | MmapFlags::ANONYMOUS,
        file: None,
        offset: 0,
    };
    let (mm, length) = (current.task.mm(), new.ring_length);
    let ring = mm.map(&mut *current.thread, request, &MemoryLimits::of(&current.task))?;
    if let Err(error) = current.copy_out(result, &ring) {
        mm.unmap(&mut *current.thread, ring, length)?;
        return Err(error.into());
    }
    mm.aio.insert(new, ring);
    Ok(0)
}
