//! Path arguments: how the calls that take a name find what it names.

use std::sync::Arc;

use usk_abi::Errno;
use usk_abi::fs::{AT_FDCWD, AtFlags, PATH_MAX};
use usk_sentry::UserPtr;
use usk_sentry::task::{Credentials, Current, Resource, Task};
use usk_sentry::vfs::{FsContext, NameContext, Path, WalkOptions, real_credentials};

/// What the calling task knows about names, kept alive for one call.
pub(crate) struct Names {
    task: Arc<Task>,
    credentials: Arc<Credentials>,
    pub(crate) fs: Arc<FsContext>,
}

impl Names {
    pub(crate) fn of(current: &Current) -> Self {
        Names { task: current.task.clone(), credentials: current.task.credentials(), fs: current.task.fs() }
    }

    /// With the credentials that `access(2)` checks.
    pub(crate) fn of_real_user(current: &Current) -> Self {
        let names = Self::of(current);
        Names { credentials: Arc::new(real_credentials(&names.credentials)), ..names }
    }

    /// The operations on names, as this task.
    pub(crate) fn context(&self) -> NameContext<'_> {
        self.fs.names(&self.credentials, Some(&self.task))
    }
}

/// Copies in a path name. `ENAMETOOLONG` if it is longer than `PATH_MAX`, `ENOENT` if it is empty.
pub(crate) fn read_path(current: &Current, pointer: UserPtr<u8>) -> Result<Vec<u8>, Errno> {
    let name = read_path_or_nothing(current, pointer)?;
    if name.is_empty() { Err(Errno::ENOENT) } else { Ok(name) }
}

/// Copies in a path name that may be empty.
pub(crate) fn read_path_or_nothing(current: &Current, pointer: UserPtr<u8>) -> Result<Vec<u8>, Errno> {
    current.copy_in_string(pointer.address(), PATH_MAX, Errno::ENAMETOOLONG)
}

/// Where a relative `name` starts. A descriptor that an absolute name makes irrelevant is not looked at.
pub(crate) fn start(current: &Current, fs: &FsContext, directory: i32, name: &[u8]) -> Result<Path, Errno> {
    if directory == AT_FDCWD || name.first() == Some(&b'/') {
        return Ok(fs.cwd());
    }
    Ok(current.task.files().get(directory)?.path().clone())
}

/// Finds what a directory descriptor and a name mean together. With `AT_EMPTY_PATH` an empty name means the descriptor's own
/// file.
pub(crate) fn locate(
    current: &Current,
    names: &Names,
    directory: i32,
    pointer: UserPtr<u8>,
    flags: AtFlags,
    follow: bool,
) -> Result<Path, Errno> {
    let name = if pointer.is_null() && flags.contains(AtFlags::EMPTY_PATH) {
        Vec::new()
    } else {
        read_path_or_nothing(current, pointer)?
    };
    let start = if name.is_empty() && !flags.contains(AtFlags::EMPTY_PATH) {
        return Err(Errno::ENOENT);
    } else {
        start(current, &names.fs, directory, &name)?
    };
    if name.is_empty() {
        return Ok(start);
    }
    names.context().resolve(&start, &name, WalkOptions::following(follow))
}

/// Decodes `AT_*` flags of which only `allowed` may be set.
pub(crate) fn at_flags(bits: u32, allowed: AtFlags) -> Result<AtFlags, Errno> {
    AtFlags::from_bits(bits).filter(|flags| allowed.contains(*flags)).ok_or(Errno::EINVAL)
}

/// The limit on descriptors in force.
pub(crate) fn descriptor_limit(current: &Current) -> u64 {
    current.task.group.limits.lock().soft(Resource::Files)
}
