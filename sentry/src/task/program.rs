//! Finding a program: opening it with the caller's rights, reading it, and what executing it does to credentials.

use std::sync::Arc;

use usk_abi::Errno;
use usk_abi::capability::CAP_SETUID;

use crate::SysResult;
use crate::loader::{Arguments, ExecContext, LoadableFile, ProcessIdentity, prepare};
use crate::ptrace;
use crate::task::{Credentials, ExecuteRequest, Task};
use crate::vfs::{Access, FsHold, MountFlags, NameContext, Path, WalkOptions, check_path, file_capabilities};

const S_ISUID: u32 = 0o4000;
const S_ISGID: u32 = 0o2000;
const S_IXGRP: u32 = 0o010;
/// `SECBIT_NOROOT`
const SECBIT_NOROOT: u32 = 1;
/// `SECBIT_KEEP_CAPS`: cleared by an exec.
const SECBIT_KEEP_CAPS: u32 = 1 << 4;
/// `_STK_LIM`: the most of stack, in bytes, that a program can be given by a caller who has less than it.
const SECURE_STACK_LIMIT: u64 = 8 << 20;

/// Which program, and for whom.
pub struct ProgramRequest<'a> {
    /// Where a relative name starts.
    pub start: &'a Path,
    /// The name; empty means `start` itself.
    pub name: &'a [u8],
    /// How the name is walked.
    pub options: WalkOptions,
    /// What the program is told that it is called (`AT_EXECFN`), and its interpreter, if it is a script.
    pub shown_name: Vec<u8>,
    /// The name goes through a descriptor that the exec closes: an interpreter could not open a script by it.
    pub is_unreachable: bool,
    /// Its arguments and environment.
    pub arguments: Arguments,
    /// `RLIMIT_STACK` in bytes.
    pub stack_limit: u64,
    /// Whether addresses are randomised.
    pub randomize: bool,
    /// `PR_SET_NO_NEW_PRIVS`: nothing is gained.
    pub no_new_privs: bool,
}

/// Opens and reads everything that an exec needs, without touching the old program. Errors as in `execve(2)`.
pub fn find_program(names: &NameContext<'_>, request: ProgramRequest<'_>) -> SysResult<ExecuteRequest> {
    let file = names.open_program(request.start, request.name, request.options)?;
    let opened = file.clone();
    let context = ExecContext {
        stack_limit: request.stack_limit,
        randomize: request.randomize,
        identity: ProcessIdentity::default(),
    };
    let mut open = |name: &[u8]| {
        names.open_program(&names.cwd, name, WalkOptions::FOLLOW).map_err(|error| match error {
            crate::SysError::Errno(errno) => errno,
            crate::SysError::Restart(_) => Errno::EINTR,
        })
    };
    let mut image = prepare(file, request.shown_name, request.arguments, context, &mut open)?;
    let program = &image.program.backing.file;
    if request.is_unreachable && !Arc::ptr_eq(program, &opened) {
        return Err(Errno::ENOENT.into());
    }
    let mut fs_hold = None;
    let is_unsafe = || {
        names.caller.task.is_some_and(|task| {
            fs_hold = hold_fs(task);
            fs_hold.is_none() || ptrace::is_watched(task)
        })
    };
    let (old, no_new_privs) = (names.caller.credentials, request.no_new_privs);
    let (credentials, is_secure) = after_exec(old, no_new_privs, program.path(), is_unsafe)?;
    let is_readable =
        |file: &LoadableFile| check_path(file.backing.file.path(), names.caller, Access::READ).is_ok();
    let may_be_read = is_readable(&image.program) && image.interpreter.as_ref().is_none_or(is_readable);
    image.context.identity = identity(&credentials, is_secure);
    if credentials.gains_over(old) {
        image.context.randomize = true;
    }
    if is_secure {
        image.context.stack_limit = image.context.stack_limit.min(SECURE_STACK_LIMIT);
    }
    Ok(ExecuteRequest { image, credentials, no_new_privs, may_be_read, _fs_hold: fs_hold })
}

impl ExecuteRequest {
    /// Once no other thread is left: one of them may have seen to it meanwhile that nothing is gained (`SECCOMP_FILTER_FLAG_TSYNC`).
    pub(super) fn look_again(&mut self, task: &Task) -> Result<(), Errno> {
        if self.no_new_privs || !task.no_new_privs() {
            return Ok(());
        }
        let program = self.image.program.backing.file.path();
        let (credentials, is_secure) = after_exec(&task.credentials(), true, program, || true)?;
        self.image.context.identity = identity(&credentials, is_secure);
        (self.credentials, self.no_new_privs) = (credentials, true);
        Ok(())
    }
}

fn identity(credentials: &Credentials, is_secure: bool) -> ProcessIdentity {
    let &Credentials { uid, euid, gid, egid, .. } = credentials;
    ProcessIdentity { uid, euid, gid, egid, is_secure }
}

/// Sees to it that the task's root, working directory and umask stay its own thread group's; `None` if they are also another's
/// (`check_unsafe_exec`).
fn hold_fs(task: &Task) -> Option<FsHold> {
    let table = task.kernel.tasks.lock();
    let fs = task.fs();
    let is_shared = table.sharers_of_fs(&fs).any(|other| !Arc::ptr_eq(&other.group, &task.group));
    (!is_shared).then(|| FsHold::new(fs))
}

/// The credentials of the new program (`capabilities(7)`, "Transformation of capabilities during execve()"), and whether it has gained
/// by being executed. `EPERM` if its file demands what is not in the bounding set. If it would gain but that `is_unsafe`, because the
/// caller is watched by a tracer that may not trace just anybody or others can move its root, it gains nothing.
fn after_exec(
    old: &Credentials,
    no_new_privs: bool,
    program: &Path,
    is_unsafe: impl FnOnce() -> bool,
) -> Result<(Credentials, bool), Errno> {
    let mut new = old.clone();
    let inode = program.inode()?;
    let attributes = inode.attributes()?;
    let is_believed = !program.mount.flags.contains(MountFlags::NO_SUID);
    let may_gain = is_believed && !no_new_privs;
    if may_gain && attributes.mode & S_ISUID != 0 {
        new.euid = attributes.uid;
    }
    if may_gain && attributes.mode & (S_ISGID | S_IXGRP) == S_ISGID | S_IXGRP {
        new.egid = attributes.gid;
    }
    new.securebits &= !SECBIT_KEEP_CAPS;
    let file = if is_believed { file_capabilities(inode)? } else { None };
    if new.euid != old.euid || new.egid != old.egid || file.is_some() {
        new.ambient = 0;
    }
    let mut is_effective = false;
    new.permitted = 0;
    if let Some(file) = file {
        new.permitted = (old.bounding & file.permitted) | (old.inheritable & file.inheritable);
        is_effective = file.effective;
        // A program that is given them so does not look whether it has them.
        if is_effective && file.permitted & !new.permitted != 0 {
            return Err(Errno::EPERM);
        }
    }
    let is_root = old.securebits & SECBIT_NOROOT == 0 && (new.uid == 0 || new.euid == 0);
    // A program that makes another user root by its owner gives what its file says, if that says something.
    let is_decided_by_file = file.is_some() && new.uid != 0;
    if is_root && !is_decided_by_file {
        new.permitted = old.bounding | old.inheritable;
        is_effective |= new.euid == 0;
    }
    // What root has given up it does not get back either.
    if no_new_privs && new.permitted & !old.permitted != 0 {
        (new.euid, new.egid) = (new.uid, new.gid);
        new.permitted &= old.permitted;
    }
    if new.gains_over(old) && is_unsafe() {
        if !old.has_capability(CAP_SETUID) {
            (new.euid, new.egid) = (new.uid, new.gid);
        }
        new.permitted &= old.permitted;
    }
    new.permitted |= new.ambient;
    new.effective = if is_effective { new.permitted } else { new.ambient };
    (new.suid, new.fsuid) = (new.euid, new.euid);
    (new.sgid, new.fsgid) = (new.egid, new.egid);
    let gains = new.uid != 0 && (is_effective || new.permitted & !new.ambient != 0);
    let is_secure = new.uid != new.euid || new.gid != new.egid || gains;
    Ok((new, is_secure))
}
