//! `mincore(2)`.

use usk_abi::Errno;
use usk_abi::mm::PAGE_SIZE;
use usk_sentry::SysResult;
use usk_sentry::task::{Current, SyscallArguments};

use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[Row::partial(
    27,
    "mincore",
    &[Pointer, Uint, Pointer],
    sys_mincore,
    "every mapped page is reported as resident, as Linux does for files that the caller cannot write",
)];

/// Pages dealt with at a time, as in Linux.
const CHUNK: u64 = PAGE_SIZE;

fn sys_mincore(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (address, length, vector) = (arguments.u64(0), arguments.u64(1), arguments.pointer::<u8>(2));
    if !address.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL.into());
    }
    let pages = length.div_ceil(PAGE_SIZE);
    let mm = current.task.mm();
    let mut done = 0;
    while done < pages {
        let count = CHUNK.min(pages - done);
        let start = (done * PAGE_SIZE).checked_add(address).ok_or(Errno::ENOMEM)?;
        mm.check_mapped(start, count * PAGE_SIZE)?;
        let resident = [1u8; CHUNK as usize];
        vector.byte_offset(done)?.write_array(current.space(), &resident[..count as usize])?;
        done += count;
    }
    Ok(0)
}
