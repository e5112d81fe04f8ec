//! What the process that unpacks images may ask of the host. It names files, beneath the one directory that it has, and
//! makes no process, no thread and no socket.

use super::Form::{self, Any, Bits, OneOf};
use super::HostCall;
use super::Needed::Always;

const fn call(name: &'static str, number: i64, form: Form, reason: &'static str) -> HostCall {
    HostCall { name, number, platform: Always, form, reason }
}

const NOT_EXECUTABLE: Form = Bits { index: 2, set: 0, clear: libc::PROT_EXEC as u64 };

/// File types that mknod(2) makes without a privilege and a layer may have.
const FIFO: Form =
    Bits { index: 2, set: libc::S_IFIFO as u64, clear: (libc::S_IFMT & !libc::S_IFIFO) as u64 };

/// The list.
#[rustfmt::skip]
pub const UNPACKER: &[HostCall] = &[
    call("read", libc::SYS_read, Any, "reads a blob of a layout, and what the cache has"),
    call("pread64", libc::SYS_pread64, Any, "reads a member of an archive"),
    call("write", libc::SYS_write, Any, "writes a layer's files; a last message"),
    call("openat", libc::SYS_openat, Any, "makes a file, or opens one of the cache's own"),
    call("openat2", libc::SYS_openat2, Any, "opens a blob, or a directory beneath a tree's root, over no link"),
    call("close", libc::SYS_close, Any, "closes descriptors"),
    call("mkdir", libc::SYS_mkdir, Any, "makes the directory that something is made in"),
    call("mkdirat", libc::SYS_mkdirat, Any, "makes a directory"),
    call("mknodat", libc::SYS_mknodat, FIFO, "makes a fifo"),
    call("symlinkat", libc::SYS_symlinkat, Any, "makes a symbolic link"),
    call("linkat", libc::SYS_linkat, Any, "makes a hard link, of layers or to them"),
    call("unlinkat", libc::SYS_unlinkat, Any, "removes what a later entry of the same layer replaces"),
    call("rename", libc::SYS_rename, Any, "gives what is finished its place"),
    call("fchmod", libc::SYS_fchmod, Any, "permissions"),
    call("utimensat", libc::SYS_utimensat, Any, "times"),
    call("syncfs", libc::SYS_syncfs, Any, "sees to it that what gets its place is on the disk"),
    call("statx", libc::SYS_statx, Any, "size and type of a file"),
    call("newfstatat", libc::SYS_newfstatat, Any, "inode number and size of a file of a root"),
    call("fcntl", libc::SYS_fcntl, OneOf { index: 1, values: &[libc::F_GETFD as u64, libc::F_DUPFD_CLOEXEC as u64] }, "keeps a directory open while it is used twice; debug builds check a descriptor that they close"),
    call("sendto", libc::SYS_sendto, Any, "tells the monitor why it failed"),
    call("getrandom", libc::SYS_getrandom, Any, "random numbers for hash tables"),
    call("mmap", libc::SYS_mmap, NOT_EXECUTABLE, "memory; never executable"),
    call("munmap", libc::SYS_munmap, Any, "gives memory back"),
    call("mremap", libc::SYS_mremap, Any, "grows large allocations"),
    call("brk", libc::SYS_brk, Any, "the allocator's heap"),
    call("futex", libc::SYS_futex, OneOf { index: 1, values: &[(libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG) as u64] }, "the unwinder's set-up, where errors carry backtraces; nobody waits"),
    call("exit_group", libc::SYS_exit_group, Any, "ends the process"),
];
