//! `lseek(2)`.

use usk_abi::Errno;
use usk_abi::fs::seek::{SEEK_CUR, SEEK_DATA, SEEK_END, SEEK_HOLE, SEEK_SET};
use usk_sentry::SysResult;
use usk_sentry::task::{Current, SyscallArguments};

use crate::descriptor::file_of;
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[Row::full(8, "lseek", &[Fd, Int, Uint], sys_lseek)];

fn sys_lseek(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let file = file_of(current, arguments.i32(0))?;
    let (offset, whence) = (arguments.i64(1), arguments.u32(2));
    if whence > SEEK_HOLE {
        return Err(Errno::EINVAL.into());
    }
    if file.ops.keeps_position() || !file.ops.is_seekable() {
        return Ok(file.ops.seek(&file, offset, whence)?);
    }
    let mut position = file.position.lock();
    let from = |base: u64| base.checked_add_signed(offset).ok_or(Errno::EINVAL);
    let forward = || u64::try_from(offset).map_err(|_| Errno::ENXIO);
    let target = match whence {
        SEEK_SET => u64::try_from(offset).map_err(|_| Errno::EINVAL)?,
        SEEK_CUR => from(*position)?,
        SEEK_END => from(file.ops.length(&file)?)?,
        SEEK_DATA => file.ops.seek_data(&file, forward()?, false)?,
        _ => file.ops.seek_data(&file, forward()?, true)?,
    };
    if i64::try_from(target).is_err() {
        return Err(Errno::EINVAL.into());
    }
    *position = target;
    drop(position);
    current.note_listed(&file, false);
    Ok(target)
}
