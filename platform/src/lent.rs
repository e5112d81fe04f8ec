//! Descriptors that the sentry lends to a guest thread's platform, which serves calls about them by itself: what the two say to
//! each other of them. The sentry's table stays what counts; see [`GuestThread::lend_descriptors`](crate::GuestThread).

use usk_abi::epoll::EpollEvent;

use crate::ledger::Notes;
use crate::status::FileStatus;

/// A call about a descriptor that the platform may serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum LentCall {
    /// `close(2)`
    Close = 0,
    /// `dup(2)`
    Dup = 1,
    /// `fcntl(2)`: duplicates, and both kinds of flags.
    Fcntl = 2,
    /// `fstat(2)`
    Fstat = 3,
    /// `newfstatat(2)` without a name. One with a name may be answered by [what is known](crate::KnownName) of it, or hands it over,
    /// [`Memory::Second`](crate::Memory::Second).
    Fstatat = 4,
    /// `statx(2)`, in the same way.
    Statx = 5,
    /// `lseek(2)`
    Lseek = 6,
    /// `read(2)`
    Read = 7,
    /// `pread64(2)`
    Pread = 8,
    /// `getdents64(2)` of a directory that has been read to its end, or whose entries are there.
    Getdents = 9,
    /// `fsync(2)`
    Fsync = 10,
    /// `fdatasync(2)`
    Fdatasync = 11,
    /// `recvfrom(2)` without an address, of what has arrived.
    Receive = 0x38,
}

/// Descriptors that can be lent: those below this number.
pub const LENT_DESCRIPTORS: usize = 64;
/// Files of which more can be lent than their descriptors.
pub const LENT_RECORDS: usize = 31;
/// Windows that a thread may have.
pub const LENT_WINDOWS: usize = 8;
/// Most bytes of a file that a window shows.
pub const WINDOW_SIZE: u64 = 16 << 20;
/// Most bytes that can be left with a thread for its records ([`GuestThread::leave_contents`](crate::GuestThread::leave_contents)).
pub const LENT_CONTENTS: usize = 64 << 10;
/// Bytes for which there is room after these once its shelf is there ([`GuestThread::open_shelf`](crate::GuestThread::open_shelf)).
pub const LENT_SHELF: usize = 256 << 10;
/// Most bytes that can be left with a thread of what has arrived in its streams ([`GuestThread::leave_arrived`](crate::GuestThread)).
pub const ARRIVED_ROOM: usize = 8 << 10;

/// What the platform may know of a descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LentDescriptor {
    /// Nothing: it has to ask.
    #[default]
    Withheld,
    /// It is free: calls about it fail, and it may be given out.
    Free,
    /// It is open.
    Open {
        /// Which file it is: the lowest descriptor that the file has when it is lent.
        file: u8,
        /// The file's record.
        record: Option<u8>,
        /// It is closed on exec.
        close_on_exec: bool,
        /// The platform may close it, for nobody can tell.
        closes_silently: bool,
    },
    /// The platform has opened it: the file that was prepared under this record.
    Prepared {
        /// The record.
        record: u8,
        /// It is closed on exec.
        close_on_exec: bool,
    },
}

/// What the platform may do with a lent file by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LentFile {
    /// A number that no other open file has, by which a [`KnownName`](crate::KnownName) starts there; 0 for none.
    pub identity: u64,
    /// `F_GETFL`: the flags.
    pub flags: Option<u32>,
    /// `fstat(2)`, `statx(2)`: what is shown of it.
    pub attributes: Option<FileStatus>,
    /// They hold until the platform notes a write to the file. Then they are what a [`NameMeaning::Held`](crate::NameMeaning::Held) shows.
    pub until_written: bool,
    /// `pread64(2)`, as far as there is nothing, or the window has it: the length.
    pub length: Option<u64>,
    /// `lseek(2)`: its position may be moved. Only with a length.
    pub seeks: bool,
    /// `read(2)`, which moves the position. Only with a length.
    pub reads_on: bool,
    /// `getdents64(2)`: there are no more entries, as long as the position is not moved.
    pub is_listed: bool,
    /// `getdents64(2)`, at the beginning and at the end: the position after the last entry. The window has what the call returns,
    /// from the beginning. Not with a length.
    pub entries_end: Option<u64>,
    /// `fsync(2)` has nothing to do.
    pub is_volatile: bool,
    /// Where part of its contents is.
    pub window: Option<LentWindow>,
    /// `read(2)` of a stream, as far as it has arrived. Its position is how much has ever been taken out. Not with a length.
    pub arrived: Option<Arrived>,
    /// `epoll_ctl(2)` of this instance: a bit for each descriptor of which plain changes may be noted. One file at most has any.
    pub watchable: u64,
    /// `write(2)` and `pwrite64(2)` succeed, and leave nothing behind.
    pub swallows: bool,
    /// `write(2)` may leave what it writes in the inlet, as far as that [is open](crate::GuestThread::open_inlet) for this record. Not with
    /// `writes_end`.
    pub has_inlet: bool,
    /// `write(2)` and `pwrite64(2)` may be noted as far as this byte of the file: with a ledger, and if its position may be moved.
    pub writes_end: Option<u64>,
    /// `fcntl(F_SETLK)` may be noted: with a ledger.
    pub locks: bool,
    /// It has no descriptor yet: who opens a [`NameMeaning::Prepared`](crate::NameMeaning) with these flags gets it, and may close it. Its
    /// position is 0 then.
    pub is_prepared: bool,
}

/// A change of an epoll instance that the platform has noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotedChange {
    /// Of which descriptor.
    pub descriptor: u8,
    /// `EPOLL_CTL_*`.
    pub operation: i32,
    /// What for, and the caller's own: nothing for a removal.
    pub event: EpollEvent,
}

/// A part of a file that is where the guest can read it: mapped, or left there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LentWindow {
    /// From which byte of the file on.
    pub start: u64,
    /// Bytes of the file that are there.
    pub length: u64,
    /// Guest address.
    pub address: u64,
}

/// What has arrived in a stream and has not been taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// The beginning of it, where the guest can read it.
    pub window: LentWindow,
    /// The stream's byte after all of it. A call that wants more than the window has, while there is more, is not served.
    pub end: u64,
    /// The stream is a socket's: `recvfrom(2)` as well.
    pub is_socket: bool,
}

/// A range of addresses that a guest thread maps and unmaps by itself: from the bottom of what is mapped down, and from there up.
/// What is mapped is private, anonymous, readable and writable. Page aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LentMemory {
    /// First address.
    pub low: u64,
    /// Where what is mapped begins.
    pub bottom: u64,
    /// First address after it: what is mapped ends here.
    pub top: u64,
    /// Bytes of the shortest mapping that belongs there.
    pub shortest: u64,
    /// Bytes of the longest.
    pub longest: u64,
}

/// Where what is mapped of lent memory begins, as the guest may change it at any time: to whatever it likes, and without
/// asking.
pub trait MemoryWord: Send + Sync {
    /// Where it begins at the moment.
    fn bottom(&self) -> u64;

    /// The lowest place where it has begun since it was lent.
    fn lowest(&self) -> u64;

    /// From now on the thread calls. One that is being served may still change the bottom.
    fn withdraw_memory(&self);
}

/// What a guest has done with what it was lent.
#[derive(Clone, Debug)]
pub struct TakenBack {
    /// The descriptors: those that have been changed, which a bit each says, as they are now.
    pub changed: u64,
    /// See [`TakenBack::changed`]. What cannot be is [`LentDescriptor::Withheld`].
    pub descriptors: [LentDescriptor; LENT_DESCRIPTORS],
    /// The new positions of records that have moved.
    pub positions: [Option<u64>; LENT_RECORDS],
    /// What it has noted, before anything of the above.
    pub notes: Notes,
}
