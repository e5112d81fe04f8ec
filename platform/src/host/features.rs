//! What the host's kernel and processor can do, found out by trying.

use usk_abi::Errno;

use super::last_error;

/// `SECCOMP_IOCTL_NOTIF_SET_FLAGS` (linux/seccomp.h).
const NOTIFICATION_SET_FLAGS: libc::c_ulong = 0x4008_2104;
/// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP` (linux/seccomp.h).
const SYNC_WAKE_UP: libc::c_ulong = 1;
/// `HWCAP2_FSGSBASE` (asm/hwcap2.h).
const HWCAP2_FSGSBASE: libc::c_ulong = 1 << 1;

/// How far seccomp's user notification goes. seccomp_unotify(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserNotification {
    /// Missing, or forbidden by a filter that this process is under already.
    Missing,
    /// There, but a wake-up may land on another processor (before Linux 6.6).
    WithoutSyncWakeUp,
    /// There, and a wake-up can stay on the caller's processor.
    WithSyncWakeUp,
}

/// Tries user notification in a short-lived child process.
pub fn user_notification() -> Result<UserNotification, Errno> {
    // One instruction: allow everything.
    let mut allow = [libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW }];
    let program = libc::sock_fprog { len: 1, filter: allow.as_mut_ptr() };
    // SAFETY: between fork and exit the child makes system calls only: it takes no lock and allocates nothing.
    let pid = unsafe { libc::fork() };
    if pid == -1 {
        return Err(last_error());
    }
    if pid == 0 {
        // SAFETY: the filter lives across the calls; everything else is numbers.
        unsafe {
            if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 {
                libc::_exit(0);
            }
            let listener = libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
                &raw const program,
            );
            if listener == -1 {
                libc::_exit(0);
            }
            let flagged = libc::ioctl(listener as i32, NOTIFICATION_SET_FLAGS, SYNC_WAKE_UP);
            libc::_exit(if flagged == -1 { 1 } else { 2 });
        }
    }
    let mut status = 0;
    // SAFETY: `status` is valid for writing.
    while unsafe { libc::waitpid(pid, &raw mut status, 0) } == -1 {
        match last_error() {
            Errno::EINTR => {}
            error => return Err(error),
        }
    }
    Ok(match (libc::WIFEXITED(status), libc::WEXITSTATUS(status)) {
        (true, 1) => UserNotification::WithoutSyncWakeUp,
        (true, 2) => UserNotification::WithSyncWakeUp,
        _ => UserNotification::Missing,
    })
}

/// Whether memory can be sealed against changes of its mapping (Linux 6.10). mseal(2).
pub fn has_mseal() -> bool {
    // SAFETY: seals no memory: the length is zero.
    unsafe { libc::syscall(libc::SYS_mseal, 0, 0, 0) == 0 }
}

/// Whether programs may set their segment bases by an instruction (Linux 5.9, and the processor).
pub fn has_fsgsbase() -> bool {
    // SAFETY: takes a number only.
    unsafe { libc::getauxval(libc::AT_HWCAP2) & HWCAP2_FSGSBASE != 0 }
}

/// Release of the host's kernel, as `uname -r` says. uname(2).
pub fn kernel_release() -> String {
    // SAFETY: an all-zero `utsname` is valid, and uname fills it with C strings.
    let release = unsafe {
        let mut name: libc::utsname = std::mem::zeroed();
        libc::uname(&raw mut name);
        name.release
    };
    release.iter().take_while(|&&byte| byte != 0).map(|&byte| byte as u8 as char).collect()
}
