//! From descriptors to open files and back: what the handlers of files without a name have in common.

use std::sync::Arc;

use usk_abi::Errno;
use usk_abi::fcntl::O_PATH;
use usk_sentry::task::{Current, Resource};
use usk_sentry::vfs::OpenFile;
use usk_sentry::{SysResult, UserPtr};

/// The open file of a descriptor. `EBADF` if there is none, or if it is only a place (`O_PATH`).
pub(crate) fn file_of(current: &Current, fd: i32) -> Result<Arc<OpenFile>, Errno> {
    let file = current.task.files().get(fd)?;
    if file.flags() & O_PATH != 0 { Err(Errno::EBADF) } else { Ok(file) }
}

/// Gives a file the lowest free descriptor. `EMFILE` if there is none below `RLIMIT_NOFILE`.
pub(crate) fn install(current: &Current, file: Arc<OpenFile>, close_on_exec: bool) -> Result<i32, Errno> {
    let limit = current.task.group.limits.lock().soft(Resource::Files);
    current.task.files().install(file, close_on_exec, limit)
}

/// A descriptor as a call's result.
pub(crate) fn fd_result(fd: i32) -> SysResult {
    Ok(u64::from(fd.unsigned_abs()))
}

/// Gives two files descriptors and writes their numbers to `address`. If that faults, both are taken back.
pub(crate) fn install_pair(
    current: &mut Current,
    files: (Arc<OpenFile>, Arc<OpenFile>),
    close_on_exec: bool,
    address: u64,
) -> SysResult {
    let first = install(current, files.0, close_on_exec)?;
    let table = current.task.files();
    let second = install(current, files.1, close_on_exec).inspect_err(|_| {
        let _ = table.close(first);
    })?;
    current.copy_out(UserPtr::<[i32; 2]>::new(address), &[first, second]).inspect_err(|_| {
        let _ = table.close(first);
        let _ = table.close(second);
    })?;
    Ok(0)
}
