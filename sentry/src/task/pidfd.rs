//! Process file descriptors (`pidfd_open(2)`).

use std::any::Any;
use std::sync::Arc;

use usk_abi::{Errno, PollEvents};

use crate::UserPtr;
use crate::task::{Current, Resource, ThreadGroup};
use crate::vfs::{FileOps, OpenFile};
use crate::wait::WaitQueue;

/// `O_RDWR`: what `F_GETFL` of a pidfd says.
const O_RDWR: u32 = 2;
/// `O_NONBLOCK`, which is `PIDFD_NONBLOCK`.
pub const PIDFD_NONBLOCK: u32 = 0o4000;

/// Refers to a process; readable once it has ended.
pub struct PidFd {
    /// The process.
    pub group: Arc<ThreadGroup>,
}

impl FileOps for PidFd {
    fn poll(&self, _file: &OpenFile) -> PollEvents {
        if self.group.state.lock().threads.is_empty() {
            PollEvents::IN | PollEvents::RDNORM
        } else {
            PollEvents::empty()
        }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.group.exited)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// An open pidfd.
pub fn open(group: Arc<ThreadGroup>, flags: u32) -> Arc<OpenFile> {
    OpenFile::anonymous(Arc::new(PidFd { group }), O_RDWR | flags & PIDFD_NONBLOCK, "anon_inode:[pidfd]")
}

/// Installs a pidfd in the caller's table, with close-on-exec, and writes its number to `address`; on a bad address takes it out again.
pub(crate) fn install(current: &Current, group: Arc<ThreadGroup>, address: u64) -> Result<i32, Errno> {
    let files = current.task.files();
    let limit = current.task.group.limits.lock().soft(Resource::Files);
    let fd = files.install(open(group, 0), true, limit)?;
    if let Err(errno) = UserPtr::<i32>::new(address).write(current.space(), &fd) {
        let _ = files.close(fd);
        return Err(errno);
    }
    Ok(fd)
}
