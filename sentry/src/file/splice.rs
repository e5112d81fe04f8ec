//! Moving bytes through pipes without guest memory in between: what splice(2), tee(2) and vmsplice(2) do. (On Linux
//! whole pages change hands; here bytes are copied inside the sentry.)
//!
//! Nothing waits: `EAGAIN` says that the pipe, or the other file, is not ready.

use std::sync::Arc;

use usk_abi::Errno;
use usk_abi::inotify::InotifyMask;

use crate::file::pipe::PipeEnd;
use crate::vfs::{OWN_POSITION, OpenFile};
use crate::{BytesSink, BytesSource, Sink, Source};

/// Most bytes moved in one step.
const STEP: usize = 64 << 10;

/// Where a file is read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// At its position, which moves.
    Position,
    /// At this byte.
    Offset(u64),
}

/// Moves up to `length` bytes from one pipe to another. 0 at the end of the first.
pub fn pipe_to_pipe(from: &PipeEnd, to: &PipeEnd, length: usize) -> Result<usize, Errno> {
    let room = to.room()?;
    if room == 0 {
        return Err(Errno::EAGAIN);
    }
    let mut taken = BytesSink::new(length.min(room).min(STEP));
    from.take(&mut taken)?;
    to.push(&taken.bytes);
    Ok(taken.bytes.len())
}

/// Copies up to `length` bytes from one pipe to another and leaves them in the first.
pub fn tee(from: &PipeEnd, to: &PipeEnd, length: usize) -> Result<usize, Errno> {
    let room = to.room()?;
    if room == 0 {
        return Err(Errno::EAGAIN);
    }
    let limit = length.min(room).min(STEP);
    let mut copied = BytesSink::new(limit);
    from.peek(&mut copied, limit)?;
    to.push(&copied.bytes);
    Ok(copied.bytes.len())
}

/// Moves up to `length` bytes from a file to a pipe.
pub fn file_to_pipe(from: &Arc<OpenFile>, at: At, to: &PipeEnd, length: usize) -> Result<usize, Errno> {
    let room = to.room()?;
    if room == 0 {
        return Err(Errno::EAGAIN);
    }
    let mut read = BytesSink::new(length.min(room).min(STEP));
    read_at(from, at, &mut read)?;
    to.push(&read.bytes);
    Ok(read.bytes.len())
}

/// Moves up to `length` bytes from a pipe to a file. What the file does not take stays in the pipe.
pub fn pipe_to_file(from: &PipeEnd, to: &Arc<OpenFile>, at: At, length: usize) -> Result<usize, Errno> {
    from.consume(length.min(STEP), |bytes| write_at(to, at, &mut BytesSource::new(bytes)))
}

/// Moves up to `length` bytes from `source` (guest memory) to a pipe.
pub fn memory_to_pipe(source: &mut dyn Source, to: &PipeEnd, length: usize) -> Result<usize, Errno> {
    let room = to.room()?;
    if room == 0 {
        return Err(Errno::EAGAIN);
    }
    let mut bytes = vec![0; length.min(room).min(STEP)];
    let taken = source.take(&mut bytes)?;
    to.push(&bytes[..taken]);
    Ok(taken)
}

/// Moves bytes from a pipe to `sink` (guest memory).
pub fn pipe_to_memory(from: &PipeEnd, sink: &mut dyn Sink) -> Result<usize, Errno> {
    from.take(sink)
}

fn read_at(file: &OpenFile, at: At, sink: &mut dyn Sink) -> Result<usize, Errno> {
    let read = match at {
        At::Offset(offset) => file.ops.read(file, sink, offset),
        At::Position if file.ops.keeps_position() => file.ops.read(file, sink, OWN_POSITION),
        At::Position if file.ops.is_seekable() => {
            let mut position = file.position.lock();
            let count = file.ops.read(file, sink, *position)?;
            *position += count as u64;
            Ok(count)
        }
        At::Position => file.ops.read(file, sink, 0),
    };
    told(file, read, InotifyMask::ACCESS)
}

fn write_at(file: &OpenFile, at: At, source: &mut dyn Source) -> Result<usize, Errno> {
    let written = match at {
        At::Offset(offset) => file.ops.write(file, source, offset),
        At::Position if file.ops.keeps_position() => file.ops.write(file, source, OWN_POSITION),
        At::Position if file.ops.is_seekable() => {
            let mut position = file.position.lock();
            let count = file.ops.write(file, source, *position)?;
            *position += count as u64;
            Ok(count)
        }
        At::Position => file.ops.write(file, source, 0),
    };
    told(file, written, InotifyMask::MODIFY)
}

/// Tells those who watch the file, if anything was moved.
fn told(file: &OpenFile, moved: Result<usize, Errno>, mask: InotifyMask) -> Result<usize, Errno> {
    if matches!(moved, Ok(count) if count > 0) {
        file.happened(mask);
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::pipe::Pipe;
    use crate::file::testing::{read, write};
    use crate::net::unix::{UnixKind, UnixNamespace, UnixSocket};

    fn end(file: &Arc<OpenFile>) -> &PipeEnd {
        PipeEnd::of(file).unwrap()
    }

    #[test]
    fn bytes_move_between_pipes_and_tee_copies_them() {
        let (from_reader, from_writer) = Pipe::pair(0);
        let (to_reader, to_writer) = Pipe::pair(0);
        assert_eq!(pipe_to_pipe(end(&from_reader), end(&to_writer), 10), Err(Errno::EAGAIN));
        write(&from_writer, b"hello").unwrap();
        assert_eq!(tee(end(&from_reader), end(&to_writer), 3), Ok(3));
        assert_eq!(pipe_to_pipe(end(&from_reader), end(&to_writer), 100), Ok(5));
        assert_eq!(read(&to_reader, 100).unwrap(), b"helhello");
        drop(from_writer);
        assert_eq!(pipe_to_pipe(end(&from_reader), end(&to_writer), 100), Ok(0));
        drop(to_reader);
        assert_eq!(tee(end(&from_reader), end(&to_writer), 3), Err(Errno::EPIPE));
    }

    #[test]
    fn what_a_file_does_not_take_stays_in_the_pipe() {
        let (reader, writer) = Pipe::pair(0);
        let credentials = Default::default();
        let (socket, other) = UnixSocket::pair(UnixKind::Datagram, &UnixNamespace::new(), 0, credentials);
        for _ in 0..10 {
            write(&socket, b"fill").unwrap();
        }
        write(&writer, b"payload").unwrap();
        assert_eq!(pipe_to_file(end(&reader), &socket, At::Position, 100), Err(Errno::EAGAIN));
        read(&other, 10).unwrap();
        assert_eq!(pipe_to_file(end(&reader), &socket, At::Position, 100), Ok(7));
        assert_eq!(file_to_pipe(&other, At::Position, end(&writer), 100), Ok(4));
        assert_eq!(read(&reader, 100).unwrap(), b"fill");
    }
}
