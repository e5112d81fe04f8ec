//! `/proc/sysvipc`: the System V objects there are, whoever may use them (`sysvipc(7)`; `ipc/{msg,sem,shm}.c`).

use std::fmt::Write;

use usk_abi::Errno;
use usk_abi::ipc::IpcPermissions;

use crate::ipc::IpcObjects;
use crate::kernel::Kernel;

/// `/proc/sysvipc/msg`.
pub(super) fn messages(kernel: &Kernel) -> Result<Vec<u8>, Errno> {
    let mut text = String::from(
        "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      stime      rtime      ctime\n",
    );
    for (id, queue) in kernel.ipc.messages.list() {
        let _ = writeln!(
            text,
            "{}  {:>10} {:>10} {:>5} {:>5} {} {:>10} {:>10} {:>10}",
            name(id, &queue.perm),
            queue.bytes,
            queue.messages,
            queue.last_send_pid,
            queue.last_receive_pid,
            owners(&queue.perm),
            queue.send_time,
            queue.receive_time,
            queue.change_time,
        );
    }
    Ok(text.into_bytes())
}

/// `/proc/sysvipc/sem`.
pub(super) fn semaphores(kernel: &Kernel) -> Result<Vec<u8>, Errno> {
    let mut text = String::from(
        "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n",
    );
    for (id, set) in kernel.ipc.semaphores.list() {
        let _ = writeln!(
            text,
            "{} {:>10} {} {:>10} {:>10}",
            name(id, &set.perm),
            set.count,
            owners(&set.perm),
            set.operation_time,
            set.change_time,
        );
    }
    Ok(text.into_bytes())
}

/// `/proc/sysvipc/shm`.
pub(super) fn segments(kernel: &Kernel) -> Result<Vec<u8>, Errno> {
    let segments = &kernel.ipc.segments;
    let mut text = String::from(
        "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime      dtime      ctime                   rss                  swap\n",
    );
    for (id, segment) in segments.list() {
        let _ = writeln!(
            text,
            "{} {:>21} {:>5} {:>5}  {:>5} {} {:>10} {:>10} {:>10} {:>21} {:>21}",
            name(id, &segment.perm),
            segment.size,
            segment.creator_pid,
            segment.last_pid,
            segment.attached,
            owners(&segment.perm),
            segment.attach_time,
            segment.detach_time,
            segment.change_time,
            segments.resident(id),
            // The host's business.
            0,
        );
    }
    Ok(text.into_bytes())
}

/// Key, identifier and mode, with which each line begins.
fn name(id: i32, perm: &IpcPermissions) -> String {
    format!("{:>10} {id:>10}  {:>4o}", perm.key, perm.mode)
}

/// Owner and creator.
fn owners(perm: &IpcPermissions) -> String {
    format!("{:>5} {:>5} {:>5} {:>5}", perm.uid, perm.gid, perm.cuid, perm.cgid)
}
