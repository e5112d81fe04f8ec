//! Seccomp filters and user notification (`seccomp(2)`, `seccomp_unotify(2)`).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use usk_abi::Errno;

use super::result::{check, last_error};

/// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP` of `linux/seccomp.h`.
const SYNC_WAKE_UP: u64 = 1;

/// A call that waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Names it in the answer.
    pub id: u64,
    /// The process that made the call.
    pub pid: u32,
    /// The call's number.
    pub number: i32,
    /// Address after its `syscall` instruction.
    pub instruction_pointer: u64,
    /// Its arguments.
    pub arguments: [u64; 6],
}

/// The receiving end of user notification.
#[derive(Debug)]
pub struct Listener(OwnedFd);

impl Listener {
    /// Takes a descriptor for a listener. `None` if it is something else.
    pub fn from_descriptor(descriptor: OwnedFd) -> Option<Listener> {
        let nothing = 0u64;
        // SAFETY: the kernel reads one u64; descriptors that are no listeners refuse the number or, being of another
        // driver, do not know it.
        let result = unsafe {
            libc::ioctl(descriptor.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw const nothing)
        };
        (result == -1 && last_error() == Errno::ENOENT).then_some(Listener(descriptor))
    }

    /// Makes hand-overs in both directions stay on the waker's CPU. `EINVAL` before Linux 6.6.
    pub fn set_synchronous_wake_up(&self) -> Result<(), Errno> {
        // SAFETY: the flags are passed by value.
        check(i64::from(unsafe {
            libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, SYNC_WAKE_UP)
        }))
        .map(drop)
    }

    /// Waits for a call. `ENOENT` once no process uses the filter any more (at once only since Linux 6.11), or if the
    /// caller died between; `EINTR` if a signal came.
    pub fn receive(&self) -> Result<Notification, Errno> {
        // SAFETY: plain data, and the kernel wants it zeroed.
        let mut raw: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: `raw` is the structure that this request fills in.
        check(i64::from(unsafe {
            libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut raw)
        }))?;
        Ok(Notification {
            id: raw.id,
            pid: raw.pid,
            number: raw.data.nr,
            instruction_pointer: raw.data.instruction_pointer,
            arguments: raw.data.args,
        })
    }

    /// Answers a call with a value; it is not made. `ENOENT` if the caller no longer waits.
    pub fn answer(&self, id: u64, value: i64) -> Result<(), Errno> {
        self.send(libc::seccomp_notif_resp { id, val: value, error: 0, flags: 0 })
    }

    /// Lets the call be made.
    pub fn let_pass(&self, id: u64) -> Result<(), Errno> {
        let flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32;
        self.send(libc::seccomp_notif_resp { id, val: 0, error: 0, flags })
    }

    fn send(&self, mut response: libc::seccomp_notif_resp) -> Result<(), Errno> {
        // SAFETY: `response` is the structure that this request reads.
        check(i64::from(unsafe {
            libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut response)
        }))
        .map(drop)
    }

    /// Installs a duplicate of `file` in the waiting process under exactly this number, replacing what is there.
    pub fn install(&self, id: u64, file: BorrowedFd<'_>, number: u32) -> Result<(), Errno> {
        let request = libc::seccomp_notif_addfd {
            id,
            flags: libc::SECCOMP_ADDFD_FLAG_SETFD as u32,
            srcfd: file.as_raw_fd() as u32,
            newfd: number,
            newfd_flags: 0,
        };
        loop {
            // SAFETY: `request` is the structure that this request reads.
            let result = check(i64::from(unsafe {
                libc::ioctl(self.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ADDFD, &raw const request)
            }));
            match result {
                Err(Errno::EINTR) => {}
                other => return other.map(drop),
            }
        }
    }
}

impl AsFd for Listener {
    /// Readable while a call waits; hung up when no process uses the filter.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Forbids this process, and all that it makes, to gain privileges. A filter needs it.
pub fn forbid_new_privileges() -> Result<(), Errno> {
    // SAFETY: numbers only.
    check(i64::from(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })).map(drop)
}

/// Installs a filter on the calling thread. Each `struct sock_filter` in eight bytes, as the kernel has them.
pub fn install_filter(filter: &[u64]) -> Result<(), Errno> {
    let length = u16::try_from(filter.len()).map_err(|_| Errno::EINVAL)?;
    let program = libc::sock_fprog { len: length, filter: filter.as_ptr().cast_mut().cast() };
    // SAFETY: the kernel copies the program, whose layout is u16, u8, u8, u32 in eight bytes, and keeps no pointer.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    check(result).map(drop)
}

/// Whether the kernel knows user notification (Linux 5.0).
pub fn has_user_notification() -> bool {
    let action: u32 = libc::SECCOMP_RET_USER_NOTIF;
    // SAFETY: the kernel reads one u32.
    unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) == 0 }
}

/// Whether a filter's listener can have these flags, and NEW_LISTENER with them: the kernel looks at the flags before
/// it looks at the program, which is missing here.
pub fn has_filter_flags(flags: u32) -> bool {
    let nothing: *const libc::sock_fprog = std::ptr::null();
    // SAFETY: a null program is refused with EFAULT.
    unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, nothing) };
    last_error() == Errno::EFAULT
}
