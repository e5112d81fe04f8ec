//! Path arguments: how the calls that take a name find what it names.

use std::sync::Arc;

use usk_abi::Errno;
use usk_abi::fs::{AT_FDCWD, AtFlags, PATH_MAX};
use usk_sentry::UserPtr;
use usk_sentry::task::{Credentials, Current, NameQuestion, Resource, Task};
use usk_sentry::vfs::{FsContext, NameContext, NamesAsOf, Path, WalkOptions, real_credentials};

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
    start_and_number(current, fs, directory, name).map(|(path, _)| path)
}

/// The same, and the number of the open file that it is, or 0.
pub(crate) fn start_and_number(
    current: &Current,
    fs: &FsContext,
    directory: i32,
    name: &[u8],
) -> Result<(Path, u64), Errno> {
    if directory == AT_FDCWD || name.first() == Some(&b'/') {
        return Ok((fs.cwd(), 0));
    }
    let file = current.task.files().get(directory)?;
    Ok((file.path().clone(), file.id()))
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
    let name = read_name(current, pointer, flags)?;
    let start = start(current, &names.fs, directory, &name)?;
    if name.is_empty() {
        return Ok(start);
    }
    names.context().resolve(&start, &name, WalkOptions::following(follow))
}

/// As [`locate`], for calls whose answers may be left with the guest: that there is no such file is left here, and for a file the
/// question is returned, if its answer lasts.
pub(crate) fn locate_and_ask(
    current: &mut Current,
    names: &Names,
    directory: i32,
    pointer: UserPtr<u8>,
    flags: AtFlags,
    follow: bool,
) -> Result<(Path, Option<NameQuestion>), Errno> {
    let name = read_name(current, pointer, flags)?;
    if name.is_empty() {
        return Ok((start(current, &names.fs, directory, &name)?, None));
    }
    match current.names_as_of_now() {
        Some(as_of) => {
            let (found, question) = ask(current, names, as_of, directory, name, follow)?;
            if let (Err(Errno::ENOENT), Some(question)) = (&found, &question) {
                current.leave_missing(question);
            }
            Ok((found?, question))
        }
        None => {
            let start = start(current, &names.fs, directory, &name)?;
            Ok((names.context().resolve(&start, &name, WalkOptions::following(follow))?, None))
        }
    }
}

/// Leaves with the guest that there is no such file, if that is so.
pub(crate) fn leave_if_missing(
    current: &mut Current,
    names: &Names,
    directory: i32,
    name: Vec<u8>,
    follow: bool,
) {
    if let Some(as_of) = current.names_as_of_now()
        && let Ok((Err(Errno::ENOENT), Some(question))) = ask(current, names, as_of, directory, name, follow)
    {
        current.leave_missing(&question);
    }
}

/// The question to which it is the answer that there is this file, if that lasts.
pub(crate) fn ask_for_found(
    current: &Current,
    names: &Names,
    directory: i32,
    name: Vec<u8>,
    follow: bool,
) -> Option<(NameQuestion, Path)> {
    let as_of = current.names_as_of_now()?;
    let (found, question) = ask(current, names, as_of, directory, name, follow).ok()?;
    Some((question?, found.ok()?))
}

/// Walks after `as_of`. See [`locate_and_ask`].
fn ask(
    current: &Current,
    names: &Names,
    as_of: NamesAsOf,
    directory: i32,
    name: Vec<u8>,
    follows: bool,
) -> Result<(Result<Path, Errno>, Option<NameQuestion>), Errno> {
    let (start, number) = start_and_number(current, &names.fs, directory, &name)?;
    let options = WalkOptions::following(follows);
    let (found, looked_up) = names.context().resolve_lastingly(&start, &name, options);
    let question = looked_up.map(|looked_up| NameQuestion { as_of, start: number, follows, name, looked_up });
    Ok((found, question))
}

/// Copies in a name. `ENOENT` if it is empty, unless `AT_EMPTY_PATH` allows that, which allows a null pointer, too.
fn read_name(current: &Current, pointer: UserPtr<u8>, flags: AtFlags) -> Result<Vec<u8>, Errno> {
    match flags.contains(AtFlags::EMPTY_PATH) {
        true if pointer.is_null() => Ok(Vec::new()),
        true => read_path_or_nothing(current, pointer),
        false => read_path(current, pointer),
    }
}

/// Decodes `AT_*` flags of which only `allowed` may be set.
pub(crate) fn at_flags(bits: u32, allowed: AtFlags) -> Result<AtFlags, Errno> {
    AtFlags::from_bits(bits).filter(|flags| allowed.contains(*flags)).ok_or(Errno::EINVAL)
}

/// The limit on descriptors in force.
pub(crate) fn descriptor_limit(current: &Current) -> u64 {
    current.task.group.limits.lock().soft(Resource::Files)
}
