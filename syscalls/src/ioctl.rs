//! `ioctl(2)`: the commands that mean the same for every file; the others are the file's.

use usk_abi::Errno;
use usk_abi::fs::OpenFlags;
use usk_abi::tty::{FIONBIO, FIONREAD};
use usk_sentry::file::async_io::set_async;
use usk_sentry::task::{Current, SyscallArguments};
use usk_sentry::vfs::FileType;
use usk_sentry::{SysResult, UserPtr};

use crate::descriptor::file_of;
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] = &[Row::partial(
    16,
    "ioctl",
    &[Fd, Flags, Uint],
    sys_ioctl,
    "commands that a kind of file does not have are ENOTTY",
)];

const FIONCLEX: u32 = 0x5450;
const FIOCLEX: u32 = 0x5451;
const FIOASYNC: u32 = 0x5452;
const FIOQSIZE: u32 = 0x5460;
const FIGETBSZ: u32 = 2;

fn sys_ioctl(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (fd, command) = (arguments.i32(0), arguments.u32(1));
    let files = current.task.files();
    let file = file_of(current, fd)?;
    let file_type = file.inode().file_type();
    match command {
        FIOCLEX => files.set_close_on_exec(fd, true)?,
        FIONCLEX => files.set_close_on_exec(fd, false)?,
        FIONBIO | FIOASYNC => {
            let wanted: i32 = arguments.pointer(2).read(current.space())?;
            let flag = if command == FIONBIO { OpenFlags::NONBLOCK } else { OpenFlags::ASYNC };
            let mut flags = file.open_flags();
            let changes = flags.contains(flag) != (wanted != 0);
            if command == FIOASYNC && changes {
                if !file.ops.raises_signals() {
                    return Err(Errno::ENOTTY.into());
                }
                set_async(&file, fd, wanted != 0);
            }
            flags.set(flag, wanted != 0);
            file.set_flags(flags.bits());
            files.touch();
        }
        FIONREAD if file_type == FileType::Regular => {
            let left = file.ops.length(&file)?.saturating_sub(*file.position.lock());
            let left = i32::try_from(left).unwrap_or(i32::MAX);
            current.copy_out(arguments.pointer(2), &left)?;
        }
        FIOQSIZE if matches!(file_type, FileType::Regular | FileType::Directory | FileType::Symlink) => {
            let size = file.inode().attributes()?.size;
            current.copy_out(arguments.pointer(2), &size)?;
        }
        FIGETBSZ if file_type == FileType::Regular => {
            let pointer: UserPtr<u32> = arguments.pointer(2);
            current.copy_out(pointer, &file.inode().attributes()?.block_size)?;
        }
        _ => {
            return file.ops.ioctl(current, &file, command, arguments.u64(2));
        }
    }
    Ok(0)
}
