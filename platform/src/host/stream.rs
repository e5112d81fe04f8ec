//! Descriptors of the host that may be pipes, sockets, terminals or files: what a sandbox gets as standard input and
//! output. Their open file descriptions are shared with other host processes, so nothing here changes their flags.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::unistd::Whence;
use usk_abi::{Errno, PollEvents};

use super::result::{check, from_nix};

/// What is behind a descriptor, as far as blocking goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// A regular file: has a position and never blocks for an event.
    Regular,
    /// A pipe or FIFO.
    Pipe,
    /// A socket.
    Socket,
    /// A terminal.
    Terminal,
    /// Another character or block device.
    Device,
}

/// What `fstat(2)` says about a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamStatus {
    /// What it is.
    pub kind: StreamKind,
    /// `O_*`: access mode and status flags.
    pub flags: u32,
    /// `st_mode`.
    pub mode: u32,
    /// `st_size`, bytes.
    pub size: u64,
    /// `st_dev` and `st_ino`.
    pub identity: (u64, u64),
    /// `st_rdev`.
    pub device: u64,
}

/// Looks at a descriptor. `EISDIR` for a directory: the sandbox must not get a name of the host by accident.
pub fn stream_status(file: impl AsFd) -> Result<StreamStatus, Errno> {
    let file = file.as_fd();
    let stat = nix::sys::stat::fstat(file).map_err(from_nix)?;
    let flags = nix::fcntl::fcntl(file, nix::fcntl::FcntlArg::F_GETFL).map_err(from_nix)?;
    let kind = match stat.st_mode & libc::S_IFMT {
        libc::S_IFREG => StreamKind::Regular,
        libc::S_IFIFO => StreamKind::Pipe,
        libc::S_IFSOCK => StreamKind::Socket,
        libc::S_IFDIR => return Err(Errno::EISDIR),
        libc::S_IFCHR if nix::unistd::isatty(file).unwrap_or(false) => StreamKind::Terminal,
        _ => StreamKind::Device,
    };
    Ok(StreamStatus {
        kind,
        flags: flags as u32,
        mode: stat.st_mode,
        size: stat.st_size as u64,
        identity: (stat.st_dev, stat.st_ino),
        device: stat.st_rdev,
    })
}

/// How an operation behaves that would have to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// It waits.
    Allowed,
    /// It returns `EAGAIN` (`RWF_NOWAIT`). `EOPNOTSUPP` if the kind of file has no such thing.
    Never,
}

impl Waiting {
    fn flag(self) -> i32 {
        match self {
            Waiting::Allowed => 0,
            Waiting::Never => libc::RWF_NOWAIT,
        }
    }
}

/// Reads at the descriptor's own position. `preadv2(2)` with offset -1. `EINTR` is retried.
pub fn read_stream(file: impl AsFd, buffer: &mut [u8], waiting: Waiting) -> Result<usize, Errno> {
    let vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    retry(|| {
        // SAFETY: the vector names `buffer`, which is exclusively borrowed for the duration of the call.
        unsafe { libc::preadv2(file.as_fd().as_raw_fd(), &raw const vector, 1, -1, waiting.flag()) }
    })
}

/// Writes at the descriptor's own position. `pwritev2(2)` with offset -1. `EINTR` is retried. The caller ignores SIGPIPE.
pub fn write_stream(file: impl AsFd, data: &[u8], waiting: Waiting) -> Result<usize, Errno> {
    let vector = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
    retry(|| {
        // SAFETY: the vector names `data`, which the call only reads.
        unsafe { libc::pwritev2(file.as_fd().as_raw_fd(), &raw const vector, 1, -1, waiting.flag()) }
    })
}

fn retry(mut call: impl FnMut() -> isize) -> Result<usize, Errno> {
    loop {
        match check(call() as libc::c_long) {
            Err(Errno::EINTR) => continue,
            result => return result.map(|count| count as usize),
        }
    }
}

/// `lseek(2)`: moves the position that the descriptor shares with its duplicates. `whence` is `SEEK_*`.
pub fn seek_stream(file: impl AsFd, offset: i64, whence: u32) -> Result<u64, Errno> {
    let whence = match whence as i32 {
        libc::SEEK_SET => Whence::SeekSet,
        libc::SEEK_CUR => Whence::SeekCur,
        libc::SEEK_END => Whence::SeekEnd,
        libc::SEEK_DATA => Whence::SeekData,
        libc::SEEK_HOLE => Whence::SeekHole,
        _ => return Err(Errno::EINVAL),
    };
    nix::unistd::lseek(file, offset, whence).map(|at| at as u64).map_err(from_nix)
}

/// What a descriptor is ready for now. `poll(2)` with a timeout of zero.
pub fn poll_now(file: impl AsFd, events: PollEvents) -> PollEvents {
    let mut request = [PollFd::new(file.as_fd(), poll_flags(events))];
    match nix::poll::poll(&mut request, PollTimeout::ZERO) {
        Ok(_) => poll_events(request[0].revents().unwrap_or(PollFlags::empty())),
        Err(_) => PollEvents::empty(),
    }
}

fn poll_flags(events: PollEvents) -> PollFlags {
    PollFlags::from_bits_truncate(events.bits() as i16)
}

fn poll_events(flags: PollFlags) -> PollEvents {
    PollEvents::from_bits_truncate(u32::from(flags.bits() as u16))
}

/// `FIONREAD`: bytes that can be read without waiting.
pub fn readable_bytes(file: BorrowedFd<'_>) -> Result<i32, Errno> {
    queue_length(file, libc::FIONREAD)
}

/// `TIOCOUTQ`: bytes that are written and not yet sent.
pub fn unsent_bytes(file: BorrowedFd<'_>) -> Result<i32, Errno> {
    queue_length(file, libc::TIOCOUTQ)
}

fn queue_length(file: BorrowedFd<'_>, command: libc::Ioctl) -> Result<i32, Errno> {
    let mut count: libc::c_int = 0;
    // SAFETY: both commands fill an `int`.
    let returned = unsafe { libc::ioctl(file.as_raw_fd(), command, &raw mut count) };
    check(libc::c_long::from(returned))?;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_pipe_is_read_without_waiting_and_without_changing_its_flags() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let status = stream_status(&reader).unwrap();
        assert_eq!(status.kind, StreamKind::Pipe);
        let mut buffer = [0; 8];
        let empty = read_stream(&reader, &mut buffer, Waiting::Never);
        assert!(matches!(empty, Err(Errno::EAGAIN | Errno::EOPNOTSUPP)));
        assert_eq!(poll_now(&reader, PollEvents::IN), PollEvents::empty());
        writer.write_all(b"data").unwrap();
        assert_eq!(poll_now(&reader, PollEvents::IN), PollEvents::IN);
        assert_eq!(readable_bytes(reader.as_fd()), Ok(4));
        assert_eq!(read_stream(&reader, &mut buffer, Waiting::Allowed), Ok(4));
        drop(writer);
        assert!(poll_now(&reader, PollEvents::IN).contains(PollEvents::HUP));
        assert_eq!(stream_status(&reader).unwrap().flags, status.flags);
    }

    #[test]
    fn a_regular_file_shares_its_position() {
        let file = crate::host::create_memfd(c"position", 0).unwrap();
        assert_eq!(write_stream(&file, b"abcdef", Waiting::Allowed), Ok(6));
        assert_eq!(seek_stream(&file, 2, libc::SEEK_SET as u32), Ok(2));
        let mut buffer = [0; 3];
        assert_eq!(read_stream(&file, &mut buffer, Waiting::Allowed), Ok(3));
        assert_eq!(&buffer, b"cde");
        assert_eq!(seek_stream(&file, 0, libc::SEEK_CUR as u32), Ok(5));
        assert_eq!(seek_stream(&file, 0, 99), Err(Errno::EINVAL));
    }
}
