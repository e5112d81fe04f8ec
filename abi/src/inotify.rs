//! File-system events (`inotify(7)`, `linux/inotify.h`).

#![allow(missing_docs)]

use bitflags::bitflags;

bitflags! {
    /// `IN_*`
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct InotifyMask: u32 {
        const ACCESS = 0x1;
        const MODIFY = 0x2;
        const ATTRIB = 0x4;
        const CLOSE_WRITE = 0x8;
        const CLOSE_NOWRITE = 0x10;
        const OPEN = 0x20;
        const MOVED_FROM = 0x40;
        const MOVED_TO = 0x80;
        const CREATE = 0x100;
        const DELETE = 0x200;
        const DELETE_SELF = 0x400;
        const MOVE_SELF = 0x800;
        const UNMOUNT = 0x2000;
        const Q_OVERFLOW = 0x4000;
        const IGNORED = 0x8000;
        const ONLYDIR = 0x0100_0000;
        const DONT_FOLLOW = 0x0200_0000;
        const EXCL_UNLINK = 0x0400_0000;
        const MASK_CREATE = 0x1000_0000;
        const MASK_ADD = 0x2000_0000;
        const ISDIR = 0x4000_0000;
        const ONESHOT = 0x8000_0000;
    }
}

impl InotifyMask {
    /// `IN_ALL_EVENTS`
    pub const ALL_EVENTS: InotifyMask = InotifyMask::from_bits_truncate(0xfff);
}

/// Bytes of `struct inotify_event` without the name.
pub const INOTIFY_EVENT_SIZE: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_match_the_headers() {
        assert_eq!(InotifyMask::ALL_EVENTS.bits(), libc::IN_ALL_EVENTS);
        assert_eq!(InotifyMask::ONESHOT.bits(), libc::IN_ONESHOT);
        assert_eq!(InotifyMask::MASK_CREATE.bits(), libc::IN_MASK_CREATE);
        assert_eq!(INOTIFY_EVENT_SIZE, size_of::<libc::inotify_event>());
    }
}
