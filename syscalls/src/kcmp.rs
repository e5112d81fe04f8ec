//! `kcmp(2)`.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Arc, LazyLock};

use usk_abi::Errno;
use usk_sentry::SysResult;
use usk_sentry::task::{AccessAs, Current, SyscallArguments, Task, may_access};

use crate::table::{Argument::*, Row};

pub(crate) const ROWS: &[Row] =
    &[Row::partial(312, "kcmp", &[Int, Int, Int, Uint, Uint], sys_kcmp, "KCMP_EPOLL_TFD is EINVAL")];

const KCMP_FILE: i32 = 0;
const KCMP_VM: i32 = 1;
const KCMP_FILES: i32 = 2;
const KCMP_FS: i32 = 3;
const KCMP_SIGHAND: i32 = 4;
const KCMP_IO: i32 = 5;
const KCMP_SYSVSEM: i32 = 6;

/// The identity of what a process has only when it needs it.
const NO_LIST: u64 = 0;

/// Objects are compared by their addresses, made unrecognisable.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

fn identity<T: ?Sized>(object: &Arc<T>) -> u64 {
    HASHER.hash_one(Arc::as_ptr(object).cast::<()>())
}

fn sys_kcmp(current: &mut Current, arguments: SyscallArguments) -> SysResult {
    let kernel = &current.task.kernel;
    let one = kernel.find_task(arguments.i32(0))?;
    let other = kernel.find_task(arguments.i32(1))?;
    let credentials = current.task.credentials();
    for task in [&one, &other] {
        if !may_access(&credentials, &current.task.group, task, AccessAs::Real) {
            return Err(Errno::EPERM.into());
        }
    }
    let descriptor = |index| i32::try_from(arguments.u64(index)).map_err(|_| Errno::EBADF);
    let (first, second) = match arguments.i32(2) {
        KCMP_FILE => {
            let first = one.borrow_files().get(descriptor(3)?)?;
            (identity(&first), identity(&other.borrow_files().get(descriptor(4)?)?))
        }
        KCMP_VM => (identity(&one.mm()), identity(&other.mm())),
        KCMP_FILES => (identity(&one.borrow_files()), identity(&other.borrow_files())),
        KCMP_FS => (identity(&one.fs()), identity(&other.fs())),
        KCMP_SIGHAND => {
            (identity(&one.group.actions.load_full()), identity(&other.group.actions.load_full()))
        }
        // Tasks share no state of input and output, and adjustments of semaphores go by process.
        KCMP_IO => (0, 0),
        KCMP_SYSVSEM => {
            let list = |task: &Task| match kernel.ipc.semaphores.would_undo(task.tgid()) {
                true => identity(&task.group),
                false => NO_LIST,
            };
            (list(&one), list(&other))
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    Ok(match first.cmp(&second) {
        std::cmp::Ordering::Equal => 0,
        std::cmp::Ordering::Less => 1,
        std::cmp::Ordering::Greater => 2,
    })
}
