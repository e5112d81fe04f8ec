//! A descriptor of the host that was handed to the sandbox: standard input, output and error.
//!
//! The open file description behind it is shared with processes of the host (the shell that started usk, the other
//! end of a pipeline), so its flags are never changed: operations are non-blocking each for itself (`RWF_NOWAIT`), or,
//! where the host has that not, preceded by `poll(2)`. A regular file's position is the description's own, so that
//! `(usk run … ; echo) > file` appends where the guest stopped.

use std::any::Any;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use usk_abi::fcntl::{O_ACCMODE, O_APPEND, O_NONBLOCK, O_WRONLY};
use usk_abi::fs::OpenFlags;
use usk_abi::tty::{FIONREAD, TIOCOUTQ};
use usk_abi::{Errno, PollEvents};
use usk_platform::host::{self, StreamKind, StreamStatus, Waiting};

use crate::file::host_poller::{HostPoller, WatchNumber};
use crate::task::Current;
use crate::vfs::{
    Attributes, Caller, FileOps, FileType, Inode, InodeCommon, InodeRef, Mapping, OWN_POSITION, OpenFile,
    SetAttributes, Timestamp, devices,
};
use crate::wait::{Notify, WaitQueue};
use crate::{Sink, Source, SysResult, UserPtr};

/// Most bytes moved by one operation: the size of the copy between host and guest.
const CHUNK: usize = 64 << 10;
/// Bytes that a pipe which says it is writable takes without waiting (`PIPE_BUF`).
const PIPE_STEP: usize = 4096;
/// Bytes that a terminal which says it is writable takes without waiting for long.
const TERMINAL_STEP: usize = 1024;

/// A file of the host behind a descriptor that the sandbox was given.
pub struct HostFile {
    file: Arc<OwnedFd>,
    status: StreamStatus,
    queue: Arc<WaitQueue>,
    poller: Arc<HostPoller>,
    watch: Mutex<Watch>,
    /// Whether the host knows `RWF_NOWAIT` for this file.
    has_nowait: AtomicBool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watch {
    /// Nobody has had to wait yet.
    NotYet,
    /// The poller knows the file.
    Active(WatchNumber),
    /// The host says that the file is always ready.
    Pointless,
}

impl HostFile {
    /// An open file for a descriptor. `label` is what `/proc/PID/fd/N` shows, `owner` the user of the sandbox whose it is.
    /// `EISDIR` for a directory.
    pub fn open(
        file: OwnedFd,
        poller: &Arc<HostPoller>,
        label: &str,
        owner: u32,
    ) -> Result<Arc<OpenFile>, Errno> {
        let ops = Arc::new(Self::new(file, poller)?);
        let flags = ops.status.flags & (O_ACCMODE | O_APPEND | O_NONBLOCK);
        let inode = ops.inode(owner);
        Ok(OpenFile::unnamed(ops, flags, label, inode))
    }

    /// What `fstat(2)` looks at.
    pub(crate) fn inode(self: &Arc<Self>, owner: u32) -> InodeRef {
        Arc::new(HostInode { file: self.clone(), owner, common: InodeCommon::default() })
    }

    /// The object behind [`HostFile::open`].
    pub(crate) fn new(file: OwnedFd, poller: &Arc<HostPoller>) -> Result<Self, Errno> {
        let status = host::stream_status(&file)?;
        Ok(HostFile {
            file: Arc::new(file),
            status,
            queue: Arc::default(),
            poller: poller.clone(),
            watch: Mutex::new(Watch::NotYet),
            has_nowait: AtomicBool::new(true),
        })
    }

    /// The host file behind an open file, if it is one.
    pub fn of(file: &OpenFile) -> Option<&HostFile> {
        file.ops.as_any().downcast_ref()
    }

    /// What the host says about it now: kind, mode, size.
    pub fn status(&self) -> StreamStatus {
        host::stream_status(&*self.file).unwrap_or(self.status)
    }

    /// The descriptor.
    pub(crate) fn descriptor(&self) -> &OwnedFd {
        &self.file
    }

    /// Tells `target` of these events, and of errors, as long as the file is there.
    pub(crate) fn watch_events(&self, target: Arc<dyn Notify>, events: PollEvents) {
        self.queue.add(target, 0, events);
        self.begin_watch();
    }

    fn is_regular(&self) -> bool {
        self.status.kind == StreamKind::Regular
    }

    /// Has the poller watch the file from now on. True if it did not before, so that the caller looks once more.
    fn begin_watch(&self) -> bool {
        let mut watch = self.watch.lock();
        if *watch != Watch::NotYet {
            return false;
        }
        *watch = match self.poller.watch(&self.file, &self.queue) {
            Ok(number) => Watch::Active(number),
            Err(_) => Watch::Pointless,
        };
        true
    }

    /// Does `operation`, and on `EAGAIN` once more if that was before anybody watched.
    fn retry_once(&self, mut operation: impl FnMut() -> Result<usize, Errno>) -> Result<usize, Errno> {
        match operation() {
            Err(Errno::EAGAIN) if self.begin_watch() => operation(),
            done => done,
        }
    }

    fn read_without_waiting(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        if self.is_regular() {
            return host::read_stream(&*self.file, buffer, Waiting::Allowed);
        }
        if self.has_nowait.load(Ordering::Relaxed) {
            match host::read_stream(&*self.file, buffer, Waiting::Never) {
                Err(Errno::EOPNOTSUPP) => self.has_nowait.store(false, Ordering::Relaxed),
                done => return done,
            }
        }
        // If another process of the host takes the data between these two calls, the second one waits for more.
        let ready = PollEvents::IN | PollEvents::HUP | PollEvents::ERR;
        if !host::poll_now(&*self.file, PollEvents::IN).intersects(ready) {
            return Err(Errno::EAGAIN);
        }
        host::read_stream(&*self.file, buffer, Waiting::Allowed)
    }

    fn write_without_waiting(&self, data: &[u8]) -> Result<usize, Errno> {
        if self.is_regular() {
            return host::write_stream(&*self.file, data, Waiting::Allowed);
        }
        if self.has_nowait.load(Ordering::Relaxed) {
            match host::write_stream(&*self.file, data, Waiting::Never) {
                Err(Errno::EOPNOTSUPP) => self.has_nowait.store(false, Ordering::Relaxed),
                done => return done,
            }
        }
        let ready = PollEvents::OUT | PollEvents::HUP | PollEvents::ERR;
        if !host::poll_now(&*self.file, PollEvents::OUT).intersects(ready) {
            return Err(Errno::EAGAIN);
        }
        let step = if self.status.kind == StreamKind::Terminal { TERMINAL_STEP } else { PIPE_STEP };
        host::write_stream(&*self.file, &data[..data.len().min(step)], Waiting::Allowed)
    }
}

impl FileOps for HostFile {
    fn read(&self, file: &OpenFile, destination: &mut dyn Sink, offset: u64) -> Result<usize, Errno> {
        if file.flags() & O_ACCMODE == O_WRONLY {
            return Err(Errno::EBADF);
        }
        let mut buffer = vec![0; destination.remaining().min(CHUNK)];
        let count = if self.is_regular() && offset != OWN_POSITION {
            host::read_at(&*self.file, &mut buffer, offset)?
        } else {
            self.retry_once(|| self.read_without_waiting(&mut buffer))?
        };
        destination.put(&buffer[..count])
    }

    fn write(&self, file: &OpenFile, source: &mut dyn Source, offset: u64) -> Result<usize, Errno> {
        if file.flags() & O_ACCMODE == 0 {
            return Err(Errno::EBADF);
        }
        let mut done = 0;
        while source.remaining() > 0 {
            let mut buffer = vec![0; source.remaining().min(CHUNK)];
            let taken = match source.take(&mut buffer) {
                Err(errno) if done == 0 => return Err(errno),
                taken => taken.unwrap_or(0),
            };
            if taken == 0 {
                break;
            }
            let result = if self.is_regular() && offset != OWN_POSITION {
                host::write_at(&*self.file, &buffer[..taken], offset.saturating_add(done as u64))
            } else {
                self.retry_once(|| self.write_without_waiting(&buffer[..taken]))
            };
            source.give_back(taken - result.unwrap_or(0).min(taken));
            match result {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    fn write_is_all_or_wait(&self) -> bool {
        true
    }

    fn is_seekable(&self) -> bool {
        self.is_regular()
    }

    fn keeps_position(&self) -> bool {
        self.is_regular()
    }

    fn length(&self, _file: &OpenFile) -> Result<u64, Errno> {
        Ok(self.status().size)
    }

    fn set_length(&self, _file: &OpenFile, length: u64) -> Result<(), Errno> {
        if self.is_regular() { host::set_length(&*self.file, length) } else { Err(Errno::EINVAL) }
    }

    fn can_be_reopened(&self) -> bool {
        true
    }

    fn seek(&self, _file: &OpenFile, offset: i64, whence: u32) -> Result<u64, Errno> {
        host::seek_stream(&*self.file, offset, whence)
    }

    fn poll(&self, _file: &OpenFile) -> PollEvents {
        const ALL: PollEvents = PollEvents::IN
            .union(PollEvents::OUT)
            .union(PollEvents::PRI)
            .union(PollEvents::RDNORM)
            .union(PollEvents::WRNORM)
            .union(PollEvents::RDHUP);
        if !self.is_regular() {
            // Whoever polls is about to wait, or (edge triggered) relies on being told of what comes next.
            self.begin_watch();
        }
        host::poll_now(&*self.file, ALL)
    }

    fn raises_signals(&self) -> bool {
        self.wait_queue().is_some()
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        let can_wait = !self.is_regular() && *self.watch.lock() != Watch::Pointless;
        can_wait.then_some(&*self.queue)
    }

    fn ioctl(&self, current: &mut Current, _file: &OpenFile, command: u32, argument: u64) -> SysResult {
        use std::os::fd::AsFd;
        let count = match command {
            FIONREAD => host::readable_bytes(self.file.as_fd())?,
            TIOCOUTQ => host::unsent_bytes(self.file.as_fd())?,
            _ => return Err(Errno::ENOTTY.into()),
        };
        UserPtr::<i32>::new(argument).write(current.space(), &count)?;
        Ok(0)
    }

    fn mapping(&self, _file: &OpenFile, _shared: bool) -> Result<Mapping, Errno> {
        if self.is_regular() { Ok(Mapping::Host(self.file.clone())) } else { Err(Errno::ENODEV) }
    }

    fn sync(&self, _file: &OpenFile, data_only: bool) -> Result<(), Errno> {
        if self.is_regular() { host::sync(&*self.file, data_only) } else { Err(Errno::EINVAL) }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for HostFile {
    fn drop(&mut self) {
        if let Watch::Active(number) = *self.watch.get_mut() {
            self.poller.unwatch(&self.file, number);
        }
    }
}

/// What `fstat(2)` of a host file shows: the host's kind and size; owner, device and times are the sandbox's own.
struct HostInode {
    file: Arc<HostFile>,
    /// The user who was given it, who may open it anew by `/dev/stdout` and its kin.
    owner: u32,
    common: InodeCommon,
}

impl Inode for HostInode {
    fn common(&self) -> &InodeCommon {
        &self.common
    }

    fn file_type(&self) -> FileType {
        FileType::from_mode(self.file.status.mode).unwrap_or(FileType::Anonymous)
    }

    fn attributes(&self) -> Result<Attributes, Errno> {
        let status = self.file.status();
        let (_, inode) = status.identity;
        let mut attributes = Attributes::new(devices::ANONYMOUS, inode, status.mode, Timestamp::now());
        attributes.uid = self.owner;
        attributes.special_device = status.device;
        attributes.size = status.size;
        attributes.blocks = status.size.div_ceil(512);
        Ok(attributes)
    }

    fn set_attributes(&self, change: &SetAttributes) -> Result<(), Errno> {
        match change.size {
            // As with ftruncate(2), which is a way of writing.
            Some(size) if *change == (SetAttributes { size: Some(size), ..SetAttributes::default() }) => {
                host::set_length(&*self.file.file, size)
            }
            // The file is the host's: what it may be besides read and written is not the guest's to say.
            _ => Err(Errno::EPERM),
        }
    }

    fn open(
        &self,
        _this: &InodeRef,
        _flags: OpenFlags,
        _caller: Caller<'_>,
    ) -> Result<Arc<dyn FileOps>, Errno> {
        Ok(self.file.clone())
    }

    fn opens_itself(&self) -> bool {
        true
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::thread;

    use super::*;
    use crate::file::testing::{block, read, read_blocking, write, write_blocking};

    fn open(file: impl Into<OwnedFd>) -> Arc<OpenFile> {
        HostFile::open(file.into(), &HostPoller::new(), "host", 0).unwrap()
    }

    #[test]
    fn a_host_pipe_is_read_to_its_end() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let file = open(reader);
        assert_eq!(read(&file, 10), Err(Errno::EAGAIN));
        let feeder = thread::spawn(move || {
            for _ in 0..1000 {
                writer.write_all(b"some bytes").unwrap();
            }
        });
        let mut total = 0;
        loop {
            match read_blocking(&file, 333).unwrap().len() {
                0 => break,
                count => total += count,
            }
        }
        assert_eq!(total, 10_000);
        feeder.join().unwrap();
    }

    #[test]
    fn a_full_host_pipe_makes_the_writer_wait_and_a_broken_one_fails() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let file = open(writer);
        let payload = vec![7u8; 1 << 20];
        let drain = thread::spawn(move || {
            let mut all = vec![0; 1 << 20];
            reader.read_exact(&mut all).unwrap();
            assert!(all.iter().all(|byte| *byte == 7));
        });
        write_blocking(&file, &payload).unwrap();
        drain.join().unwrap();
        let broken = block(&file, PollEvents::OUT, || write(&file, &payload));
        assert_eq!(broken, Err(Errno::EPIPE));
    }

    #[test]
    fn a_regular_file_keeps_the_position_of_its_description() {
        let memory = host::create_memfd(c"stdout", 0).unwrap();
        let other = memory.try_clone().unwrap();
        let file = open(memory);
        assert!(file.ops.keeps_position() && file.ops.wait_queue().is_none());
        let own = OWN_POSITION;
        assert_eq!(file.ops.write(&file, &mut crate::BytesSource::new(b"guest "), own), Ok(6));
        host::write_stream(&other, b"host", Waiting::Allowed).unwrap();
        assert_eq!(file.ops.seek(&file, 0, 0), Ok(0));
        let mut sink = crate::BytesSink::new(100);
        assert_eq!(file.ops.read(&file, &mut sink, own), Ok(10));
        assert_eq!(sink.bytes, b"guest host");
        assert_eq!(read(&file, 5).unwrap(), b"guest");
    }

    #[test]
    fn devices_that_are_always_ready_do_not_wait() {
        let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").unwrap();
        let file = open(null);
        assert_eq!(read(&file, 10).unwrap(), b"");
        assert_eq!(write(&file, b"x"), Ok(1));
    }
}
