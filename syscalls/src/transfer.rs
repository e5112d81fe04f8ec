//! Moving bytes between files and guest memory: what `read(2)`, `write(2)` and their kin have in common.

use std::sync::Arc;

use usk_abi::fs::{IOV_MAX, OpenFlags, RawIoVec, RwFlags};
use usk_abi::inotify::InotifyMask;
use usk_abi::mm::TASK_SIZE_MAX;
use usk_abi::signal::SignalInfo;
use usk_abi::socket::MessageFlags;
use usk_abi::{Errno, PollEvents, Signal};
use usk_sentry::net::{socket, socket_of};
use usk_sentry::task::{Credentials, Current, Resource, UNLIMITED};
use usk_sentry::vfs::{FileType, InodeRef, OWN_POSITION, OpenFile, drop_privileges};
use usk_sentry::{BytesSource, IoVec, MAX_TRANSFER, Source, SysError, SysResult, UserPtr};

/// Where in a file a transfer happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    /// At the file's position, which moves.
    Current,
    /// At this byte; the position stays.
    At(u64),
}

impl Position {
    /// From the `off_t` of `pread(2)` and its kin. `EINVAL` if it is negative.
    pub(crate) fn at(offset: i64) -> Result<Self, Errno> {
        u64::try_from(offset).map(Position::At).map_err(|_| Errno::EINVAL)
    }
}

/// Copies in an array of `struct iovec`. `EINVAL` if it has too many elements or one with a negative length.
pub(crate) fn read_iovecs(
    current: &Current,
    pointer: UserPtr<RawIoVec>,
    count: u64,
) -> Result<Vec<IoVec>, Errno> {
    let count = usize::try_from(count).ok().filter(|count| *count <= IOV_MAX).ok_or(Errno::EINVAL)?;
    let raw = pointer.read_array(current.space(), count)?;
    let range = |raw: &RawIoVec| {
        let length = isize::try_from(raw.iov_len).map_err(|_| Errno::EINVAL)?;
        Ok(IoVec { address: raw.iov_base, length: length.unsigned_abs() })
    };
    raw.iter().map(range).collect()
}

/// The one range of `recvfrom(2)` or `sendto(2)`, cut to what one call transfers.
pub(crate) fn single(address: u64, length: usize) -> [IoVec; 1] {
    [IoVec { address, length: length.min(MAX_TRANSFER) }]
}

/// The one range of `read(2)` or `write(2)`. Unlike that of [`single`] it keeps what cannot be a range, which the transfer
/// refuses once it knows that the file allows it.
pub(crate) fn whole(address: u64, length: usize) -> [IoVec; 1] {
    let range = IoVec { address, length };
    let length = if can_be_users(&range) { length.min(MAX_TRANSFER) } else { length };
    [IoVec { address, length }]
}

/// Whether a range lies in the half of the addresses that is not the kernel's.
fn can_be_users(range: &IoVec) -> bool {
    let end = range.address.checked_add(range.length as u64);
    !is_negative(range.length) && end.is_some_and(|end| end <= TASK_SIZE_MAX)
}

fn is_negative(length: usize) -> bool {
    isize::try_from(length).is_err()
}

/// `EFAULT` for a range that cannot lie in the guest's half of the addresses.
pub(crate) fn check_ranges(ranges: &[IoVec]) -> Result<(), Errno> {
    if ranges.iter().all(can_be_users) { Ok(()) } else { Err(Errno::EFAULT) }
}

/// `EINVAL` for a transfer that would end beyond the largest offset (the kernel's `rw_verify_area`).
fn check_end(file: &OpenFile, ranges: &[IoVec], position: Position) -> Result<(), Errno> {
    let start = match position {
        Position::At(offset) => offset,
        Position::Current if file.ops.is_seekable() && !file.ops.keeps_position() => *file.position.lock(),
        Position::Current => return Ok(()),
    };
    let sum = ranges.iter().fold(start, |sum, range| sum.saturating_add(range.length as u64));
    if i64::try_from(sum).is_ok() { Ok(()) } else { Err(Errno::EINVAL) }
}

fn total(ranges: &[IoVec]) -> usize {
    ranges.iter().fold(0usize, |sum, range| sum.saturating_add(range.length)).min(MAX_TRANSFER)
}

fn message_flags(flags: RwFlags) -> MessageFlags {
    if flags.contains(RwFlags::NOWAIT) { MessageFlags::DONTWAIT } else { MessageFlags::empty() }
}

/// Runs `operation`, waiting while it says `EAGAIN`, unless it must not wait.
fn wait_unless<T>(
    current: &mut Current,
    file: &OpenFile,
    nonblocking: bool,
    events: PollEvents,
    mut operation: impl FnMut(&mut Current) -> SysResult<T>,
) -> SysResult<T> {
    match file.ops.wait_queue() {
        Some(queue) if !nonblocking => current.block(&[(queue, events)], None, operation),
        _ => operation(current),
    }
}

/// `ESPIPE` if there is a position and the file has none, however it is open.
pub(crate) fn check_position(file: &OpenFile, position: Position) -> Result<(), Errno> {
    let is_path = file.open_flags().contains(OpenFlags::PATH);
    let is_wrong = position != Position::Current && !file.ops.is_seekable() && !is_path;
    if is_wrong { Err(Errno::ESPIPE) } else { Ok(()) }
}

/// Reads into guest memory. Returns the bytes read.
pub(crate) fn read_file(
    current: &mut Current,
    file: &Arc<OpenFile>,
    ranges: &[IoVec],
    position: Position,
    flags: RwFlags,
) -> SysResult {
    check_position(file, position)?;
    file.check_readable()?;
    check_ranges(ranges)?;
    check_end(file, ranges, position)?;
    file.ops.admit(current, file, false)?;
    if socket_of(file).is_ok() {
        if total(ranges) == 0 {
            return Ok(0);
        }
        // Sockets have timeouts of their own.
        let received = socket::receive(current, file, ranges, message_flags(flags))?;
        return Ok(received.count as u64);
    }
    let nonblocking = file.is_nonblocking() || flags.contains(RwFlags::NOWAIT) || total(ranges) == 0;
    let read = wait_unless(current, file, nonblocking, PollEvents::IN, |current| {
        let mut sink = current.sink(ranges);
        let read = match position {
            Position::At(offset) => file.ops.read(file, &mut sink, offset)?,
            Position::Current if file.ops.keeps_position() => file.ops.read(file, &mut sink, OWN_POSITION)?,
            Position::Current if file.ops.is_seekable() => {
                let mut at = file.position.lock();
                let read = file.ops.read(file, &mut sink, *at)?;
                *at += read as u64;
                read
            }
            Position::Current => file.ops.read(file, &mut sink, 0)?,
        };
        Ok(read as u64)
    });
    if let Ok(count) = read
        && count > 0
    {
        file.happened(InotifyMask::ACCESS);
        let start = match position {
            Position::At(offset) => offset,
            Position::Current => file.position.lock().saturating_sub(count),
        };
        current.note_read(file, start, start.saturating_add(count));
    }
    match read {
        Err(SysError::Errno(Errno::EAGAIN)) if total(ranges) == 0 => Ok(0),
        read => read,
    }
}

/// Writes from guest memory. Returns the bytes written. Raises `SIGPIPE` and `SIGXFSZ` as `write(2)` does.
pub(crate) fn write_file(
    current: &mut Current,
    file: &Arc<OpenFile>,
    ranges: &[IoVec],
    position: Position,
    flags: RwFlags,
) -> SysResult {
    check_position(file, position)?;
    file.check_writable()?;
    check_ranges(ranges)?;
    check_end(file, ranges, position)?;
    if socket_of(file).is_ok() {
        return crate::send::send(current, file, ranges, message_flags(flags));
    }
    let total = total(ranges);
    write_with(current, file, total, position, flags, |current, done, limit, act| {
        let rest = skip(ranges, done, limit);
        act(&mut current.source(&rest))
    })
}

/// Writes bytes of the sentry's. Otherwise as [`write_file`].
pub(crate) fn write_bytes(
    current: &mut Current,
    file: &Arc<OpenFile>,
    data: &[u8],
    position: Position,
) -> SysResult {
    write_with(current, file, data.len(), position, RwFlags::empty(), |_, done, limit, act| {
        act(&mut BytesSource::new(&data[done..limit]))
    })
}

type Act<'a> = &'a mut dyn FnMut(&mut dyn Source) -> Result<usize, Errno>;

fn write_with(
    current: &mut Current,
    file: &Arc<OpenFile>,
    total: usize,
    position: Position,
    flags: RwFlags,
    mut with_source: impl FnMut(&mut Current, usize, usize, Act<'_>) -> Result<usize, Errno>,
) -> SysResult {
    check_position(file, position)?;
    file.check_writable()?;
    file.ops.admit(current, file, true)?;
    let writer = (total > 0 && file.ops.is_seekable()).then(|| current.task.credentials());
    if let Some(writer) = &writer {
        drop_privileges(file.inode(), writer)?;
    }
    let appends = (file.open_flags().contains(OpenFlags::APPEND) || flags.contains(RwFlags::APPEND))
        && !flags.contains(RwFlags::NOAPPEND)
        && file.ops.is_seekable()
        && !file.ops.keeps_position();
    let nonblocking = file.is_nonblocking() || flags.contains(RwFlags::NOWAIT);
    let mut done = 0;
    let result = loop {
        let step = wait_unless(current, file, nonblocking, PollEvents::OUT, |current| {
            let limit = size_limit(current, file, total - done, position, appends)?;
            let mut act = |source: &mut dyn Source| write_once(file, source, position, appends);
            Ok(with_source(current, done, done + limit, &mut act)?)
        });
        match step {
            Ok(written) => done += written,
            Err(error) => break Err(error),
        }
        if done >= total || nonblocking || !file.ops.write_is_all_or_wait() {
            break Ok(());
        }
    };
    if done > 0 {
        if let Some(writer) = &writer {
            drop_privileges_again(file.inode(), writer);
        }
        file.happened(InotifyMask::MODIFY);
        current.note_missed(file);
    }
    match result {
        Err(SysError::Errno(Errno::EPIPE)) if done == 0 => {
            raise(current, Signal::SIGPIPE);
            Err(Errno::EPIPE.into())
        }
        Err(error) if done == 0 => Err(error),
        _ => Ok(done as u64),
    }
}

/// Takes away what `chmod(2)` or `setxattr(2)` has given to a file while it was written: it must not stay beside the writer's bytes. (The
/// kernel lets these wait for a write; here one that comes just behind the bytes can lose what it gives.)
pub(crate) fn drop_privileges_again(inode: &InodeRef, writer: &Credentials) {
    // The bytes are written, whatever becomes of this.
    let _ = drop_privileges(inode, writer);
}

fn write_once(
    file: &OpenFile,
    source: &mut dyn Source,
    position: Position,
    appends: bool,
) -> Result<usize, Errno> {
    match position {
        // pwrite(2), BUGS: with O_APPEND the data goes to the end all the same.
        Position::At(_) if appends => file.ops.append(file, source).map(|(written, _)| written),
        Position::At(offset) => file.ops.write(file, source, offset),
        Position::Current if file.ops.keeps_position() => file.ops.write(file, source, OWN_POSITION),
        Position::Current if file.ops.is_seekable() => {
            let mut at = file.position.lock();
            let written = if appends {
                let (written, end) = file.ops.append(file, source)?;
                if written > 0 {
                    *at = end;
                }
                written
            } else {
                let written = file.ops.write(file, source, *at)?;
                *at += written as u64;
                written
            };
            Ok(written)
        }
        Position::Current => file.ops.write(file, source, 0),
    }
}

/// How many of `wanted` bytes `RLIMIT_FSIZE` allows to be written. `EFBIG`, and a signal, if none.
pub(crate) fn size_limit(
    current: &Current,
    file: &OpenFile,
    wanted: usize,
    position: Position,
    appends: bool,
) -> Result<usize, Errno> {
    if !file.ops.is_seekable() || wanted == 0 {
        return Ok(wanted);
    }
    let limit = current.task.group.limits.lock().soft(Resource::FileSize);
    if limit == UNLIMITED || file.inode().file_type() != FileType::Regular {
        return Ok(wanted);
    }
    let offset = match position {
        _ if appends => file.ops.length(file)?,
        Position::At(offset) => offset,
        Position::Current => *file.position.lock(),
    };
    if offset >= limit {
        raise(current, Signal::SIGXFSZ);
        return Err(Errno::EFBIG);
    }
    Ok(usize::try_from(limit - offset).unwrap_or(usize::MAX).min(wanted))
}

/// `EFBIG`, and a signal, if a file may not grow as long as `length` (`RLIMIT_FSIZE`; the kernel's `inode_newsize_ok`).
pub(crate) fn check_size_limit(current: &Current, inode: &InodeRef, length: u64) -> Result<(), Errno> {
    let limit = current.task.group.limits.lock().soft(Resource::FileSize);
    if length > limit && length > inode.attributes()?.size {
        raise(current, Signal::SIGXFSZ);
        return Err(Errno::EFBIG);
    }
    Ok(())
}

/// Sends the calling task a signal of its own doing.
pub(crate) fn raise(current: &Current, signal: Signal) {
    let task = current.task.clone();
    // It fails only for a task that is ending, which needs no signal.
    let _ = task.kernel.signal_task(&task, SignalInfo::kernel(signal));
}

/// The ranges without their first `done` bytes and without what lies at or beyond byte `limit`.
fn skip(ranges: &[IoVec], mut done: usize, limit: usize) -> Vec<IoVec> {
    let mut left = limit - done;
    let mut rest = Vec::with_capacity(ranges.len());
    for range in ranges {
        let skipped = done.min(range.length);
        done -= skipped;
        let length = (range.length - skipped).min(left);
        left -= length;
        if length > 0 {
            rest.push(IoVec { address: range.address.wrapping_add(skipped as u64), length });
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipping_cuts_both_ends() {
        let ranges = [IoVec { address: 100, length: 10 }, IoVec { address: 200, length: 10 }];
        assert_eq!(skip(&ranges, 0, 20), ranges);
        assert_eq!(skip(&ranges, 12, 15), [IoVec { address: 202, length: 3 }]);
        let both = [IoVec { address: 105, length: 5 }, IoVec { address: 200, length: 1 }];
        assert_eq!(skip(&ranges, 5, 11), both);
    }
}
