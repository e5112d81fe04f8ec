//! `getdents(2)`, `getdents64(2)`.

use usk_abi::Errno;
use usk_abi::inotify::InotifyMask;
use usk_sentry::SysResult;
use usk_sentry::task::{Current, SyscallArguments};
use usk_sentry::vfs::DirectoryEntry;

use crate::descriptor::file_of;
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[
    Row::full(78, "getdents", &[Fd, OutBuffer, Uint], sys_getdents),
    Row::full(217, "getdents64", &[Fd, OutBuffer, Uint], sys_getdents64),
];

/// Bytes that one call returns at most; more is asked for in the next.
const MAX_BYTES: usize = 1 << 20;

fn sys_getdents(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    read_entries(current, arguments, |bytes, entry, next| entry.push_dirent(bytes, next))
}

fn sys_getdents64(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    read_entries(current, arguments, |bytes, entry, next| entry.push_dirent64(bytes, next))
}

fn read_entries(
    current: &mut Current,
    arguments: SyscallArguments,
    push: impl Fn(&mut Vec<u8>, &DirectoryEntry<'_>, u64),
) -> SysResult {
    let file = file_of(current, arguments.i32(0))?;
    let room = usize::try_from(arguments.u32(2)).unwrap_or(MAX_BYTES).min(MAX_BYTES);
    let mut bytes = Vec::new();
    let mut lacks_room = false;
    let mut position = file.position.lock();
    let mut at = *position;
    file.ops.read_directory(&file, &mut at, &mut |entry, next| {
        let before = bytes.len();
        push(&mut bytes, entry, next);
        lacks_room = bytes.len() > room;
        if lacks_room {
            bytes.truncate(before);
        }
        !lacks_room
    })?;
    if bytes.is_empty() && lacks_room {
        return Err(Errno::EINVAL.into());
    }
    current.copy_out_bytes(arguments.u64(1), &bytes)?;
    *position = at;
    drop(position);
    file.happened(InotifyMask::ACCESS);
    current.note_listed(&file, !lacks_room);
    Ok(bytes.len() as u64)
}
