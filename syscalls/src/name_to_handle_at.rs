//! `name_to_handle_at(2)`: no file system here has handles, as overlayfs has none by default. Programs that ask whether something is a
//! mount go on by other ways then.

use usk_abi::Errno;
use usk_abi::fs::AtFlags;
use usk_sentry::SysResult;
use usk_sentry::task::{Current, SyscallArguments};

use crate::place::{Names, locate};
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[Row::partial(
    303,
    "name_to_handle_at",
    &[Fd, Path, Pointer, Pointer, Flags],
    sys_name_to_handle_at,
    "no file system has handles: EOPNOTSUPP",
)];

/// `AT_HANDLE_FID`
const HANDLE_FID: u32 = 0x200;

fn sys_name_to_handle_at(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let bits = arguments.u32(4);
    let flags = AtFlags::from_bits(bits & !HANDLE_FID).ok_or(Errno::EINVAL)?;
    if !(AtFlags::SYMLINK_FOLLOW | AtFlags::EMPTY_PATH).contains(flags) {
        return Err(Errno::EINVAL.into());
    }
    let follow = flags.contains(AtFlags::SYMLINK_FOLLOW);
    let names = Names::of(current);
    locate(current, &names, arguments.i32(0), arguments.pointer(1), flags, follow)?;
    Err(Errno::EOPNOTSUPP.into())
}
