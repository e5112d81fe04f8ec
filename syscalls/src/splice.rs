//! `splice(2)`, `tee(2)`, `vmsplice(2)`.

use std::sync::Arc;

use usk_abi::{Errno, PollEvents, Signal};
use usk_sentry::file::pipe::PipeEnd;
use usk_sentry::file::splice::{self, At};
use usk_sentry::task::{Current, SyscallArguments};
use usk_sentry::vfs::{OpenFile, drop_privileges};
use usk_sentry::{IoVec, MAX_TRANSFER, SysError, SysResult, UserPtr};

use crate::descriptor::file_of;
use crate::table::{Argument::*, Row};
use crate::transfer::{Position, drop_privileges_again, raise, read_iovecs, size_limit};

pub(crate) const ROWS: &[Row] = &[
    Row::full(275, "splice", &[Fd, Pointer, Fd, Pointer, Uint, Flags], sys_splice),
    Row::full(276, "tee", &[Fd, Fd, Uint, Flags], sys_tee),
    Row::full(278, "vmsplice", &[Fd, Pointer, Uint, Flags], sys_vmsplice),
];

const SPLICE_F_NONBLOCK: u32 = 2;
/// `SPLICE_F_MOVE`, `SPLICE_F_MORE` and `SPLICE_F_GIFT` are hints.
const KNOWN_FLAGS: u32 = 0xf;

/// Whether neither the call's flags nor the file's keep it from waiting for that file.
fn may_wait_for(file: &OpenFile, flags: u32) -> bool {
    flags & SPLICE_F_NONBLOCK == 0 && !file.is_nonblocking()
}

/// Repeats `step`, which says `EAGAIN` when nothing can be moved now, until something is moved. Waits for the input to
/// have something (`IN`) and for the output to have room (`OUT`), unless `may_wait` says then that it may not. Raises `SIGPIPE`
/// with `EPIPE`.
fn until_moved(
    current: &mut Current,
    input: Option<&OpenFile>,
    output: Option<&OpenFile>,
    may_wait: impl Fn() -> bool,
    mut step: impl FnMut(&mut Current) -> SysResult<usize>,
) -> SysResult {
    let mut queues = Vec::new();
    if let Some(queue) = input.and_then(|file| file.ops.wait_queue()) {
        queues.push((queue, PollEvents::IN | PollEvents::RDNORM));
    }
    if let Some(queue) = output.and_then(|file| file.ops.wait_queue()) {
        queues.push((queue, PollEvents::OUT | PollEvents::WRNORM));
    }
    let result = if queues.is_empty() {
        step(current)
    } else {
        let moved = current.block(&queues, None, |current| match step(current) {
            Err(error) if error.would_block() && !may_wait() => Ok(None),
            result => result.map(Some),
        });
        moved.and_then(|moved| moved.ok_or(Errno::EAGAIN.into()))
    };
    if result == Err(SysError::Errno(Errno::EPIPE)) {
        raise(current, Signal::SIGPIPE);
    }
    result.map(|moved| moved as u64)
}

/// The offset of a file that is not a pipe: copied in, and copied back moved on.
struct Offset {
    pointer: UserPtr<i64>,
    value: Option<u64>,
}

impl Offset {
    /// `ESPIPE` for an offset into a pipe, `EINVAL` into a file that has no position or for a negative one.
    fn read(current: &Current, pointer: UserPtr<i64>, file: &OpenFile) -> Result<Self, Errno> {
        if pointer.is_null() {
            return Ok(Offset { pointer, value: None });
        }
        if PipeEnd::of(file).is_some() {
            return Err(Errno::ESPIPE);
        }
        if !file.ops.is_seekable() {
            return Err(Errno::EINVAL);
        }
        let value = u64::try_from(pointer.read(current.space())?).map_err(|_| Errno::EINVAL)?;
        Ok(Offset { pointer, value: Some(value) })
    }

    fn at(&self) -> At {
        self.value.map_or(At::Position, At::Offset)
    }

    fn write(&self, current: &Current, moved: u64) -> Result<(), Errno> {
        let Some(value) = self.value else { return Ok(()) };
        let value = i64::try_from(value + moved).map_err(|_| Errno::EOVERFLOW)?;
        self.pointer.write(current.space(), &value)
    }
}

fn sys_splice(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (length, flags) = (arguments.usize(4).min(MAX_TRANSFER), arguments.u32(5));
    if length == 0 {
        return Ok(0);
    }
    if flags & !KNOWN_FLAGS != 0 {
        return Err(Errno::EINVAL.into());
    }
    let (input, output) = (file_of(current, arguments.i32(0))?, file_of(current, arguments.i32(2))?);
    input.check_readable()?;
    output.check_writable()?;
    let in_offset = Offset::read(current, arguments.pointer(1), &input)?;
    let out_offset = Offset::read(current, arguments.pointer(3), &output)?;
    let moved = match (PipeEnd::of(&input), PipeEnd::of(&output)) {
        (Some(from), Some(to)) => {
            if from.is_same_pipe(to) {
                return Err(Errno::EINVAL.into());
            }
            let may_wait = || may_wait_for(&input, flags) && may_wait_for(&output, flags);
            until_moved(current, Some(&input), Some(&output), may_wait, |_| {
                Ok(splice::pipe_to_pipe(from, to, length)?)
            })
        }
        (Some(from), None) => {
            if output.open_flags().contains(usk_abi::fs::OpenFlags::APPEND) && output.ops.is_seekable() {
                return Err(Errno::EINVAL.into());
            }
            output.ops.admit(current, &output, true)?;
            let may_wait = || {
                let is_empty = !input.ops.poll(&input).contains(PollEvents::IN);
                may_wait_for(if is_empty { &input } else { &output }, flags)
            };
            until_moved(current, Some(&input), Some(&output), may_wait, |current| {
                let writer = output.ops.is_seekable().then(|| current.task.credentials());
                if let Some(writer) = &writer {
                    drop_privileges(output.inode(), writer)?;
                }
                let moved = pipe_to_file(current, from, &output, &out_offset, length);
                if let Some(writer) = &writer {
                    drop_privileges_again(output.inode(), writer);
                }
                moved
            })
        }
        (None, Some(to)) => {
            input.ops.admit(current, &input, false)?;
            let may_wait = || {
                let is_full = !output.ops.poll(&output).contains(PollEvents::OUT);
                may_wait_for(if is_full { &output } else { &input }, flags)
            };
            until_moved(current, Some(&input), Some(&output), may_wait, |_| {
                Ok(splice::file_to_pipe(&input, in_offset.at(), to, length)?)
            })
        }
        (None, None) => return Err(Errno::EINVAL.into()),
    }?;
    in_offset.write(current, moved)?;
    out_offset.write(current, moved)?;
    Ok(moved)
}

/// Moves bytes from a pipe to a file, as many as `RLIMIT_FSIZE` allows if there are any.
fn pipe_to_file(
    current: &Current,
    from: &PipeEnd,
    output: &Arc<OpenFile>,
    offset: &Offset,
    length: usize,
) -> SysResult<usize> {
    let position = offset.value.map_or(Position::Current, Position::At);
    let allowed =
        if from.is_empty() { length } else { size_limit(current, output, length, position, false)? };
    let moved = splice::pipe_to_file(from, output, offset.at(), allowed)?;
    // Unlike write(2) it has tried what was too much.
    if moved == allowed && allowed < length && !from.is_empty() {
        raise(current, Signal::SIGXFSZ);
    }
    Ok(moved)
}

fn sys_tee(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let (length, flags) = (arguments.usize(2).min(MAX_TRANSFER), arguments.u32(3));
    if flags & !KNOWN_FLAGS != 0 {
        return Err(Errno::EINVAL.into());
    }
    if length == 0 {
        return Ok(0);
    }
    let (input, output) = (file_of(current, arguments.i32(0))?, file_of(current, arguments.i32(1))?);
    input.check_readable()?;
    output.check_writable()?;
    let (Some(from), Some(to)) = (PipeEnd::of(&input), PipeEnd::of(&output)) else {
        return Err(Errno::EINVAL.into());
    };
    if from.is_same_pipe(to) {
        return Err(Errno::EINVAL.into());
    }
    let may_wait = || may_wait_for(&input, flags) && may_wait_for(&output, flags);
    until_moved(current, Some(&input), Some(&output), may_wait, |_| Ok(splice::tee(from, to, length)?))
}

fn sys_vmsplice(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let flags = arguments.u32(3);
    if flags & !KNOWN_FLAGS != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file: Arc<OpenFile> = file_of(current, arguments.i32(0))?;
    let ranges = read_iovecs(current, arguments.pointer(1), arguments.u64(2))?;
    let end = PipeEnd::of(&file).ok_or(Errno::EBADF)?;
    let total = ranges.iter().fold(0usize, |sum, range| sum.saturating_add(range.length)).min(MAX_TRANSFER);
    if total == 0 {
        return Ok(0);
    }
    let may_wait = || flags & SPLICE_F_NONBLOCK == 0;
    if !end.is_writer() {
        return until_moved(current, Some(&file), None, may_wait, |current| {
            Ok(splice::pipe_to_memory(end, &mut current.sink(&ranges))?)
        });
    }
    let mut done = 0;
    while done < total {
        let rest = IoVec::after(&ranges, done);
        let step = until_moved(current, None, Some(&file), may_wait, |current| {
            Ok(splice::memory_to_pipe(&mut current.source(&rest), end, total - done)?)
        });
        match step {
            Ok(0) => break,
            Ok(moved) => done += moved as usize,
            Err(error) if done == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(done as u64)
}
