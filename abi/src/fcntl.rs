//! Open flags and the commands of `fcntl(2)` (`asm-generic/fcntl.h`, `linux/fcntl.h`).

#![allow(missing_docs)]

pub const O_RDONLY: u32 = 0;
pub const O_WRONLY: u32 = 1;
pub const O_RDWR: u32 = 2;
/// The bits of the access mode.
pub const O_ACCMODE: u32 = 3;
pub const O_CREAT: u32 = 0o100;
pub const O_EXCL: u32 = 0o200;
pub const O_NOCTTY: u32 = 0o400;
pub const O_TRUNC: u32 = 0o1000;
pub const O_APPEND: u32 = 0o2000;
pub const O_NONBLOCK: u32 = 0o4000;
pub const O_DSYNC: u32 = 0o10000;
pub const O_ASYNC: u32 = 0o20000;
pub const O_DIRECT: u32 = 0o40000;
/// Set by the kernel on every file that a 64-bit program opens.
pub const O_LARGEFILE: u32 = 0o100000;
pub const O_DIRECTORY: u32 = 0o200000;
pub const O_NOFOLLOW: u32 = 0o400000;
pub const O_NOATIME: u32 = 0o1000000;
pub const O_CLOEXEC: u32 = 0o2000000;
pub const O_SYNC: u32 = 0o4010000;
pub const O_PATH: u32 = 0o10000000;
pub const O_TMPFILE: u32 = 0o20200000;

pub const F_DUPFD: i32 = 0;
pub const F_GETFD: i32 = 1;
pub const F_SETFD: i32 = 2;
pub const F_GETFL: i32 = 3;
pub const F_SETFL: i32 = 4;
pub const F_GETLK: i32 = 5;
pub const F_SETLK: i32 = 6;
pub const F_SETLKW: i32 = 7;
pub const F_SETOWN: i32 = 8;
pub const F_GETOWN: i32 = 9;
pub const F_SETSIG: i32 = 10;
pub const F_GETSIG: i32 = 11;
pub const F_SETOWN_EX: i32 = 15;
pub const F_GETOWN_EX: i32 = 16;
pub const F_OFD_GETLK: i32 = 36;
pub const F_OFD_SETLK: i32 = 37;
pub const F_OFD_SETLKW: i32 = 38;
pub const F_SETLEASE: i32 = 1024;
pub const F_GETLEASE: i32 = 1025;
pub const F_NOTIFY: i32 = 1026;
pub const F_DUPFD_QUERY: i32 = 1027;
pub const F_DUPFD_CLOEXEC: i32 = 1030;
pub const F_SETPIPE_SZ: i32 = 1031;
pub const F_GETPIPE_SZ: i32 = 1032;
pub const F_ADD_SEALS: i32 = 1033;
pub const F_GET_SEALS: i32 = 1034;

pub const FD_CLOEXEC: i32 = 1;

/// Kinds of owners in `struct f_owner_ex`.
pub const F_OWNER_TID: i32 = 0;
pub const F_OWNER_PID: i32 = 1;
pub const F_OWNER_PGRP: i32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_match_the_headers() {
        let ours = [O_CREAT, O_EXCL, O_NOCTTY, O_TRUNC, O_APPEND, O_NONBLOCK, O_DSYNC, O_ASYNC, O_DIRECT];
        let theirs = [
            libc::O_CREAT,
            libc::O_EXCL,
            libc::O_NOCTTY,
            libc::O_TRUNC,
            libc::O_APPEND,
            libc::O_NONBLOCK,
            libc::O_DSYNC,
            libc::O_ASYNC,
            libc::O_DIRECT,
        ];
        assert_eq!(ours.map(|flag| flag as i32), theirs);
        let ours = [O_DIRECTORY, O_NOFOLLOW, O_NOATIME, O_CLOEXEC, O_SYNC, O_PATH, O_TMPFILE];
        let theirs = [
            libc::O_DIRECTORY,
            libc::O_NOFOLLOW,
            libc::O_NOATIME,
            libc::O_CLOEXEC,
            libc::O_SYNC,
            libc::O_PATH,
            libc::O_TMPFILE,
        ];
        assert_eq!(ours.map(|flag| flag as i32), theirs);
    }

    #[test]
    fn commands_match_the_headers() {
        assert_eq!([F_SETLK, F_SETOWN, F_SETSIG], [libc::F_SETLK, libc::F_SETOWN, 10]);
        assert_eq!([F_OFD_GETLK, F_OFD_SETLKW], [libc::F_OFD_GETLK, libc::F_OFD_SETLKW]);
        assert_eq!([F_DUPFD_CLOEXEC, F_SETPIPE_SZ], [libc::F_DUPFD_CLOEXEC, libc::F_SETPIPE_SZ]);
        assert_eq!([F_ADD_SEALS, F_SETLEASE], [libc::F_ADD_SEALS, libc::F_SETLEASE]);
    }
}
