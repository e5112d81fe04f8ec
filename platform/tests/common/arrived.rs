//! What has arrived in a stream and is left with a thread: it is read and received as far as it goes, and nothing is said of what
//! comes after it.

use usk_platform::{ARRIVED_ROOM, Arrived, LentCall, LentFile, LentWindow, Platform, Shortcut};

use super::guest::{DATA, Guest};
use super::lent::{LSEEK, PREAD, READ, call, guest, one_call};

const RECEIVE: u64 = 0x11e;
/// How much had been taken out of the stream before.
const TAKEN: u64 = 1000;
const LEFT: u64 = 60;

/// What the tests' platforms receive.
pub(crate) fn receives(number: u64) -> Option<Shortcut> {
    (number == RECEIVE).then_some(Shortcut::Lends(LentCall::Receive))
}

fn receive(guest: &mut Guest, count: u64, flags: i32, address: u64) -> Option<i64> {
    guest.thread.registers_mut().r8 = address;
    call(guest, RECEIVE, [3, DATA, count, flags as u64])
}

/// Leaves as many bytes as that, each its number, of a stream which has `more` besides.
fn leave(guest: &mut Guest, more: u64, is_socket: bool) {
    let bytes: Vec<u8> = (0..LEFT as u8).collect();
    let address = guest.thread.leave_arrived(16, &bytes).expect("there is room");
    let window = LentWindow { start: TAKEN, length: LEFT, address };
    let arrived = Some(Arrived { window, end: TAKEN + LEFT + more, is_socket });
    guest.thread.lend_file(0, &LentFile { flags: Some(0o2), arrived, ..LentFile::default() });
    guest.thread.lend_position(0, TAKEN);
}

pub(crate) fn what_has_arrived_is_read_as_far_as_it_goes(platform: &dyn Platform) {
    let mut guest = guest(platform, one_call());
    if !guest.thread.can_lend() {
        assert_eq!(guest.thread.leave_arrived(0, b"arrived"), None);
        return;
    }
    leave(&mut guest, 0, true);
    assert_eq!(call(&mut guest, READ, [3, DATA, 10, 0]), Some(10));
    assert_eq!(receive(&mut guest, 10, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL, 0), Some(10));
    assert_eq!(guest.read::<10>(DATA), [10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
    for (flags, address) in [(libc::MSG_PEEK, 0), (libc::MSG_WAITALL, 0), (libc::MSG_OOB, 0), (0, DATA)] {
        assert_eq!(receive(&mut guest, 10, flags, address), None);
    }
    for number in [PREAD, LSEEK] {
        assert_eq!(call(&mut guest, number, [3, DATA, 0, 0]), None);
    }
    assert_eq!(receive(&mut guest, 100, 0, 0), Some(40));
    assert_eq!(guest.read::<40>(DATA)[39], 59);
    // What comes next nobody knows here.
    assert_eq!(call(&mut guest, READ, [3, DATA, 10, 0]), None);
    assert_eq!(receive(&mut guest, 10, 0, 0), None);
    let taken = guest.thread.take_back().expect("the position has moved");
    assert_eq!((taken.changed, taken.positions[0]), (0, Some(TAKEN + LEFT)));
}

pub(crate) fn what_has_arrived_in_part_is_not_read_beyond_that(platform: &dyn Platform) {
    let mut guest = guest(platform, one_call());
    if !guest.thread.can_lend() {
        return;
    }
    leave(&mut guest, 1, false);
    // No socket.
    assert_eq!(receive(&mut guest, 10, 0, 0), None);
    assert_eq!(call(&mut guest, READ, [3, DATA, LEFT + 1, 0]), None);
    assert_eq!(call(&mut guest, READ, [3, DATA, LEFT, 0]), Some(LEFT as i64));
    assert_eq!(call(&mut guest, READ, [3, DATA, 1, 0]), None);
    // From a position that cannot be.
    for position in
        [0, TAKEN - 1, TAKEN + LEFT, TAKEN + LEFT + 1, TAKEN + LEFT + 2, i64::MAX as u64, u64::MAX]
    {
        guest.thread.lend_position(0, position);
        assert_eq!(call(&mut guest, READ, [3, DATA, 1, 0]), None, "{position}");
    }
    guest.thread.lend_position(0, TAKEN + LEFT - 1);
    assert_eq!(call(&mut guest, READ, [3, DATA, 1, 0]), Some(1));
    // When it does not stand any more.
    leave(&mut guest, 0, true);
    guest.thread.kicker().withdraw_answers();
    assert_eq!(call(&mut guest, READ, [3, DATA, 1, 0]), None);
    assert_eq!(receive(&mut guest, 1, 0, 0), None);
}

pub(crate) fn what_has_arrived_is_left_within_its_room_and_erased(platform: &dyn Platform) {
    let mut guest = guest(platform, one_call());
    if !guest.thread.can_lend() {
        return;
    }
    let byte = guest.thread.leave_arrived(ARRIVED_ROOM - 8, b"x");
    assert!(byte.is_some());
    for (offset, length) in [(ARRIVED_ROOM, 1), (ARRIVED_ROOM - 8, 9), (4, 4), (usize::MAX - 7, 8)] {
        assert_eq!(guest.thread.leave_arrived(offset, &vec![0; length]), None, "{offset} {length}");
    }
    leave(&mut guest, 0, true);
    guest.thread.forget_names();
    assert_eq!(call(&mut guest, READ, [3, DATA, 16, 0]), Some(16));
    assert_eq!(guest.read::<16>(DATA), [0; 16]);
}
