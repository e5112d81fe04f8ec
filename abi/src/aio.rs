//! `io_setup(2)` and its kin (`linux/aio_abi.h`).

#![allow(missing_docs)]

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub const IOCB_CMD_PREAD: u16 = 0;
pub const IOCB_CMD_PWRITE: u16 = 1;
pub const IOCB_CMD_FSYNC: u16 = 2;
pub const IOCB_CMD_FDSYNC: u16 = 3;
pub const IOCB_CMD_PREADV: u16 = 7;
pub const IOCB_CMD_PWRITEV: u16 = 8;

/// `resfd` is an eventfd that counts what has been completed.
pub const IOCB_FLAG_RESFD: u32 = 1;

/// Operations of all contexts together, unless somebody changes it (`/proc/sys/fs/aio-max-nr`).
pub const AIO_MAX_NR: u64 = 65536;

/// `struct iocb`: one operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Iocb {
    /// The caller's own; comes back with the result.
    pub data: u64,
    /// The kernel's mark on what has been submitted: zero.
    pub key: u32,
    /// `RWF_*`
    pub rw_flags: u32,
    /// `IOCB_CMD_*`
    pub opcode: u16,
    pub priority: i16,
    pub fd: i32,
    /// The address of the bytes, or of an array of `struct iovec`.
    pub buffer: u64,
    /// Bytes, or elements of the array.
    pub length: u64,
    pub offset: i64,
    pub reserved: u64,
    /// `IOCB_FLAG_*`
    pub flags: u32,
    pub resfd: i32,
}

/// `struct io_event`: how an operation has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IoEvent {
    /// The operation's.
    pub data: u64,
    /// The address of its `struct iocb`.
    pub iocb: u64,
    /// What the call of the same name would return; negative is an error.
    pub result: i64,
    pub result2: i64,
}

/// The last argument of `io_pgetevents(2)` (`struct __aio_sigset`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AioSigset {
    /// The address of the signal mask, or null.
    pub mask: u64,
    /// Its size in bytes.
    pub size: u64,
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    /// libc has no such structures for this target.
    #[test]
    fn layout_is_that_of_the_header() {
        assert_eq!([size_of::<Iocb>(), size_of::<IoEvent>(), size_of::<AioSigset>()], [64, 32, 16]);
        assert_eq!([offset_of!(Iocb, key), offset_of!(Iocb, opcode), offset_of!(Iocb, fd)], [8, 16, 20]);
        assert_eq!(
            [offset_of!(Iocb, offset), offset_of!(Iocb, flags), offset_of!(Iocb, resfd)],
            [40, 56, 60]
        );
    }
}
