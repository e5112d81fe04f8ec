//! System V interprocess communication: `shmctl(2)`, `semctl(2)`, `msgctl(2)` (`linux/ipc.h`, `linux/shm.h`, `linux/sem.h`,
//! `linux/msg.h`, and the 64-bit structures of `asm-generic/{ipc,shm,sem,msg}buf.h`).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Key of an object that no key finds.
pub const IPC_PRIVATE: i32 = 0;
/// Create if there is none.
pub const IPC_CREAT: u32 = 0o1000;
/// Fail if there is one.
pub const IPC_EXCL: u32 = 0o2000;
/// Do not wait.
pub const IPC_NOWAIT: u32 = 0o4000;

/// Commands that all three kinds have.
#[allow(missing_docs)]
pub mod command {
    pub const IPC_RMID: i32 = 0;
    pub const IPC_SET: i32 = 1;
    pub const IPC_STAT: i32 = 2;
    pub const IPC_INFO: i32 = 3;
    pub const MSG_STAT: i32 = 11;
    pub const MSG_INFO: i32 = 12;
    pub const MSG_STAT_ANY: i32 = 13;
    pub const SHM_LOCK: i32 = 11;
    pub const SHM_UNLOCK: i32 = 12;
    pub const SHM_STAT: i32 = 13;
    pub const SHM_INFO: i32 = 14;
    pub const SHM_STAT_ANY: i32 = 15;
    pub const GETPID: i32 = 11;
    pub const GETVAL: i32 = 12;
    pub const GETALL: i32 = 13;
    pub const GETNCNT: i32 = 14;
    pub const GETZCNT: i32 = 15;
    pub const SETVAL: i32 = 16;
    pub const SETALL: i32 = 17;
    pub const SEM_STAT: i32 = 18;
    pub const SEM_INFO: i32 = 19;
    pub const SEM_STAT_ANY: i32 = 20;
}

/// `SHM_RDONLY`
pub const SHM_RDONLY: u32 = 0o10000;
/// `SHM_RND`: round the address down.
pub const SHM_RND: u32 = 0o20000;
/// `SHM_REMAP`: replace what is there.
pub const SHM_REMAP: u32 = 0o40000;
/// `SHM_EXEC`
pub const SHM_EXEC: u32 = 0o100000;
/// `SHM_HUGETLB`
pub const SHM_HUGETLB: u32 = 0o4000;
/// Mode bit: to be destroyed when nobody is attached any more.
pub const SHM_DEST: u32 = 0o1000;
/// Mode bit: locked.
pub const SHM_LOCKED: u32 = 0o2000;
/// `kernel.shmmax`
pub const SHMMAX: u64 = u64::MAX - (1 << 24);
/// `kernel.shmall`, pages.
pub const SHMALL: u64 = u64::MAX - (1 << 24);
/// `kernel.shmmni`
pub const SHMMNI: usize = 4096;

/// Undo at exit.
pub const SEM_UNDO: u16 = 0x1000;
/// Most semaphores in a set.
pub const SEMMSL: usize = 32000;
/// Most semaphores in all.
pub const SEMMNS: usize = 1_024_000_000;
/// Most operations in one call.
pub const SEMOPM: usize = 500;
/// Most sets.
pub const SEMMNI: usize = 32000;
/// Largest value.
pub const SEMVMX: i32 = 32767;

/// Cut off what does not fit.
pub const MSG_NOERROR: u32 = 0o10000;
/// Any type but this.
pub const MSG_EXCEPT: u32 = 0o20000;
/// Copy, do not take.
pub const MSG_COPY: u32 = 0o40000;
/// Most bytes in a message.
pub const MSGMAX: usize = 8192;
/// Most bytes in a queue.
pub const MSGMNB: u64 = 16384;
/// Most queues.
pub const MSGMNI: usize = 32000;

/// `struct ipc64_perm`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs)]
pub struct IpcPermissions {
    pub key: i32,
    pub uid: u32,
    pub gid: u32,
    pub cuid: u32,
    pub cgid: u32,
    pub mode: u32,
    pub sequence: u16,
    pub padding: [u16; 3],
    pub unused: [u64; 2],
}

/// `struct shmid64_ds`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs)]
pub struct ShmidDs {
    pub perm: IpcPermissions,
    pub size: u64,
    pub attach_time: i64,
    pub detach_time: i64,
    pub change_time: i64,
    pub creator_pid: i32,
    pub last_pid: i32,
    pub attached: u64,
    pub unused: [u64; 2],
}

/// `struct shminfo64`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs)]
pub struct ShmInfo64 {
    pub shmmax: u64,
    pub shmmin: u64,
    pub shmmni: u64,
    pub shmseg: u64,
    pub shmall: u64,
    pub unused: [u64; 4],
}

/// `struct shm_info`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs)]
pub struct ShmInfo {
    pub used_ids: i32,
    pub padding: i32,
    pub total: u64,
    pub resident: u64,
    pub swapped: u64,
    pub swap_attempts: u64,
    pub swap_successes: u64,
}

/// `struct semid64_ds`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs)]
pub struct SemidDs {
    pub perm: IpcPermissions,
    pub operation_time: i64,
    pub unused1: u64,
    pub change_time: i64,
    pub unused2: u64,
    pub count: u64,
    pub unused: [u64; 2],
}

/// `struct sembuf`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs)]
pub struct SemaphoreOperation {
    pub number: u16,
    pub operation: i16,
    pub flags: u16,
}

/// `struct seminfo`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs)]
pub struct SemInfo {
    pub semmap: i32,
    pub semmni: i32,
    pub semmns: i32,
    pub semmnu: i32,
    pub semmsl: i32,
    pub semopm: i32,
    pub semume: i32,
    pub semusz: i32,
    pub semvmx: i32,
    pub semaem: i32,
}

/// `struct msqid64_ds`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs)]
pub struct MsqidDs {
    pub perm: IpcPermissions,
    pub send_time: i64,
    pub receive_time: i64,
    pub change_time: i64,
    pub bytes: u64,
    pub messages: u64,
    pub max_bytes: u64,
    pub last_send_pid: i32,
    pub last_receive_pid: i32,
    pub unused: [u64; 2],
}

/// `struct msginfo`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs)]
pub struct MsgInfo {
    pub msgpool: i32,
    pub msgmap: i32,
    pub msgmax: i32,
    pub msgmnb: i32,
    pub msgmni: i32,
    pub msgssz: i32,
    pub msgtql: i32,
    pub msgseg: u16,
    pub padding: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_size_of_libc() {
        assert_eq!(size_of::<IpcPermissions>(), size_of::<libc::ipc_perm>());
        assert_eq!(size_of::<ShmidDs>(), size_of::<libc::shmid_ds>());
        assert_eq!(size_of::<SemidDs>(), size_of::<libc::semid_ds>());
        assert_eq!(size_of::<MsqidDs>(), size_of::<libc::msqid_ds>());
        assert_eq!(size_of::<SemaphoreOperation>(), size_of::<libc::sembuf>());
        assert_eq!(size_of::<SemInfo>(), size_of::<libc::seminfo>());
        assert_eq!(size_of::<MsgInfo>(), size_of::<libc::msginfo>());
        assert_eq!(
            std::mem::offset_of!(MsqidDs, max_bytes),
            std::mem::offset_of!(libc::msqid_ds, msg_qbytes)
        );
        assert_eq!(std::mem::offset_of!(ShmidDs, attached), std::mem::offset_of!(libc::shmid_ds, shm_nattch));
        assert_eq!(std::mem::offset_of!(SemidDs, count), std::mem::offset_of!(libc::semid_ds, sem_nsems));
    }
}
