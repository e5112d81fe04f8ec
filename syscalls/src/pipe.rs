//! `pipe(2)`, `pipe2(2)`.

use usk_abi::Errno;
use usk_abi::fcntl::{O_CLOEXEC, O_DIRECT, O_NONBLOCK};
use usk_sentry::SysResult;
use usk_sentry::file::pipe::Pipe;
use usk_sentry::task::{Current, SyscallArguments};

use crate::descriptor::install_pair;
use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] =
    &[Row::full(22, "pipe", &[Pointer], sys_pipe), Row::full(293, "pipe2", &[Pointer, Flags], sys_pipe2)];

fn sys_pipe(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    pipe(current, arguments.u64(0), 0)
}

fn sys_pipe2(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    pipe(current, arguments.u64(0), arguments.u32(1))
}

fn pipe(current: &mut Current, address: u64, flags: u32) -> SysResult {
    if flags & !(O_CLOEXEC | O_DIRECT | O_NONBLOCK) != 0 {
        return Err(Errno::EINVAL.into());
    }
    install_pair(current, Pipe::pair(flags), flags & O_CLOEXEC != 0, address)
}
