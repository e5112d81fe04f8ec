//! Inlets: what a guest writes to a file that has one can be read while it runs, whenever it is interrupted; and who closes an inlet finds
//! all that was left, or is told of one write more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use usk_platform::region::{INLET_BELL, INLET_FILLED, INLET_SIZE, INLETS, SLOT_SIZE, SLOTS};
use usk_platform::{Inlet, LentFile, Platform, Trap};

use super::guest::{CODE, DATA, Guest, STACK, rounds, under_kicks};
use super::ledger::{PWRITE, WRITE, writes_on};
use super::lent::{self, call, while_forged};

const ROOM: u64 = 0x1_0000;

fn file() -> LentFile {
    LentFile { flags: Some(0), has_inlet: true, ..LentFile::default() }
}

/// A guest with an inlet, if its platform has any.
fn guest(platform: &dyn Platform, code: &[u8]) -> Option<(Guest, Arc<dyn Inlet>)> {
    let mut guest = lent::guest(platform, code);
    guest.thread.lend_file(0, &file());
    let inlet = guest.thread.open_inlet(0, ROOM);
    assert_eq!(inlet.is_some(), guest.thread.can_lend());
    Some((guest, inlet?))
}

fn left(inlet: &dyn Inlet) -> Vec<u8> {
    let mut bytes = vec![0; ROOM as usize];
    let count = inlet.filled().min(ROOM) as usize;
    assert!(inlet.read(0, &mut bytes) >= count);
    bytes.truncate(count);
    bytes
}

pub(crate) fn what_is_left_can_be_read(platform: &dyn Platform) {
    let Some((mut guest, inlet)) = guest(platform, lent::one_call()) else { return };
    guest.space.write(DATA, b"hello, world");
    assert_eq!(call(&mut guest, WRITE, [3, DATA, 5, 0]), Some(5));
    assert_eq!(left(&*inlet), b"hello");
    assert_eq!(call(&mut guest, WRITE, [3, DATA + 5, 7, 0]), Some(7));
    assert_eq!(left(&*inlet), b"hello, world");
    assert_eq!(inlet.read(7, &mut [0; 5]), 5);
    assert!(guest.thread.take_back().is_none());
    // Once more from the beginning.
    let inlet = guest.thread.open_inlet(0, 6).expect("another");
    assert_eq!(call(&mut guest, WRITE, [3, DATA, 6, 0]), Some(6));
    assert_eq!(left(&*inlet), b"hello,");
    assert_eq!(call(&mut guest, WRITE, [3, DATA, 1, 0]), None);
}

pub(crate) fn what_cannot_be_left_is_called(platform: &dyn Platform) {
    let Some((mut guest, inlet)) = guest(platform, lent::one_call()) else { return };
    // Nothing, too much, and from memory that is not the guest's or not there.
    for [address, length] in
        [[DATA, 0], [DATA, 0x4001], [DATA, u64::MAX], [1, 10], [STACK, 10], [SLOTS, 10], [u64::MAX - 3, 10]]
    {
        assert_eq!(call(&mut guest, WRITE, [3, address, length, 0]), None, "{address:#x} {length:#x}");
    }
    assert_eq!(call(&mut guest, PWRITE, [3, DATA, 1, 0]), None);
    assert_eq!(call(&mut guest, WRITE, [0, DATA, 1, 0]), None);
    assert_eq!(inlet.filled(), 0);
    // As much as there is room for.
    let count = (0..).find(|_| call(&mut guest, WRITE, [3, DATA, 0xfff, 0]).is_none());
    assert_eq!(count, Some(16));
    assert_eq!(call(&mut guest, WRITE, [3, DATA, 16, 0]), Some(16));
    assert_eq!((inlet.filled(), call(&mut guest, WRITE, [3, DATA, 1, 0])), (ROOM, None));
    // An inlet that is closed, a record that has none, and none that there could be.
    let inlet = guest.thread.open_inlet(0, ROOM).expect("another");
    inlet.close();
    assert_eq!(call(&mut guest, WRITE, [3, DATA, 1, 0]), None);
    assert!(guest.thread.open_inlet(0, ROOM).is_some());
    guest.thread.lend_file(0, &LentFile { has_inlet: false, ..file() });
    assert_eq!(call(&mut guest, WRITE, [3, DATA, 1, 0]), None);
    assert!(guest.thread.open_inlet(0, 0).is_none() && guest.thread.open_inlet(99, ROOM).is_none());
}

pub(crate) fn the_bell_is_rung_for_a_listener_only(platform: &dyn Platform) {
    let Some((mut guest, inlet)) = guest(platform, lent::one_call()) else { return };
    let bell = Arc::clone(inlet.bell().expect("one"));
    guest.space.write(DATA, b"hello");
    let mut rings = |listens: bool| {
        inlet.set_listener(listens);
        let before = bell.times_rung();
        assert_eq!(call(&mut guest, WRITE, [3, DATA, 5, 0]), Some(5));
        bell.times_rung() - before
    };
    assert_eq!([true, false, true].map(&mut rings), [1, 0, 1]);
    assert_eq!(left(&*inlet), b"hellohellohello");
    // There is no more room beside a listener than without one.
    let inlet = guest.thread.open_inlet(0, 6).expect("another");
    inlet.set_listener(true);
    assert_eq!(call(&mut guest, WRITE, [3, DATA, 5, 0]), Some(5));
    assert_eq!(call(&mut guest, WRITE, [3, DATA, 2, 0]), None);
    assert_eq!(inlet.bell().expect("the same").times_rung(), bell.times_rung());
}

pub(crate) fn all_who_listen_find_all_or_are_woken(platform: &dyn Platform) {
    const LONG: Duration = Duration::from_secs(20);
    let Some((mut guest, _)) = guest(platform, writes_on()) else { return };
    let registers = guest.thread.registers_mut();
    (registers.rip, registers.rsp, registers.rsi, registers.r8, registers.r12) = (CODE, STACK, DATA, 99, 0);
    for _ in rounds(40) {
        let inlet = guest.thread.open_inlet(0, ROOM).expect("another");
        let bell = inlet.bell().expect("one");
        let (is_lost, word) = (AtomicBool::new(false), AtomicU32::new(0));
        let listen = || {
            let mut seen = 0;
            while seen < ROOM {
                let times_rung = bell.times_rung();
                inlet.set_listener(true);
                if inlet.filled() == seen {
                    let begun = Instant::now();
                    bell.wait(times_rung, &word, 0, Some(LONG));
                    is_lost.fetch_or(begun.elapsed() >= LONG, Ordering::SeqCst);
                }
                seen = inlet.filled();
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(listen);
            scope.spawn(listen);
            assert!(matches!(guest.thread.run(), Trap::Syscall { .. }));
        });
        assert!(!is_lost.load(Ordering::SeqCst), "a ring was lost");
        guest.thread.registers_mut().set_return_value(1);
    }
}

pub(crate) fn kicks_do_not_tear_what_is_left(platform: &dyn Platform) {
    write_under_kicks(platform, false);
}

pub(crate) fn kicks_do_not_tear_what_the_bell_is_rung_for(platform: &dyn Platform) {
    write_under_kicks(platform, true);
}

fn write_under_kicks(platform: &dyn Platform, listens: bool) {
    let Some((mut guest, mut inlet)) = guest(platform, writes_on()) else { return };
    inlet.set_listener(listens);
    let registers = guest.thread.registers_mut();
    (registers.rip, registers.rsp, registers.rsi, registers.r8, registers.r12) = (CODE, STACK, DATA, 99, 0);
    let (mut written, mut called) = (0u64, 0);
    under_kicks(guest.thread.kicker(), || {
        while called < 500 {
            let trap = guest.thread.run();
            for byte in left(&*inlet) {
                assert_eq!(byte, written as u8);
                written += 1;
            }
            assert_eq!(guest.thread.registers().rsi, DATA);
            inlet = guest.thread.open_inlet(0, ROOM / 64).expect("another");
            inlet.set_listener(listens);
            match trap {
                Trap::Interrupted => {
                    // The guest counts a little later.
                    let counted = guest.thread.registers().r12;
                    assert!(written == counted || written == counted + 1, "{written} {counted}");
                }
                Trap::Syscall { .. } => {
                    (written, called) = (written + 1, called + 1);
                    guest.thread.registers_mut().set_return_value(1);
                }
                trap => panic!("{trap:x?} at {:x?}", guest.thread.registers()),
            }
        }
    });
}

pub(crate) fn who_closes_an_inlet_finds_all_or_is_told(platform: &dyn Platform) {
    let Some((mut guest, _)) = guest(platform, writes_on()) else { return };
    let registers = guest.thread.registers_mut();
    (registers.rip, registers.rsp, registers.rsi, registers.r8, registers.r12) = (CODE, STACK, DATA, 99, 0);
    for round in rounds(2000) {
        let inlet = guest.thread.open_inlet(0, ROOM).expect("another");
        let (trap, found) = std::thread::scope(|scope| {
            let closer = scope.spawn(|| {
                (0..round * 7 % 400).for_each(|_| std::hint::spin_loop());
                inlet.close();
                inlet.filled()
            });
            (guest.thread.run(), closer.join().expect("it closes"))
        });
        match trap {
            Trap::Syscall { .. } => assert!(found == inlet.filled() || inlet.filled() == ROOM),
            Trap::Interrupted => assert!(inlet.filled() <= found + 1),
            trap => panic!("{trap:x?} at {:x?}", guest.thread.registers()),
        }
        if matches!(trap, Trap::Syscall { .. }) {
            guest.thread.registers_mut().set_return_value(1);
        }
    }
}

pub(crate) fn forged_inlets_hold_what_fits_or_nothing(platform: &dyn Platform) {
    let Some((mut guest, mut inlet)) = guest(platform, lent::any_calls()) else { return };
    let filled = SLOTS + SLOT_SIZE + INLET_FILLED;
    let bell = SLOTS + SLOT_SIZE + INLET_BELL;
    let places = [filled..filled + 8, bell..bell + 8, INLETS + INLET_SIZE..INLETS + INLET_SIZE + 0x1000];
    while_forged(&mut guest, places, |guest| {
        let mut count = 0;
        under_kicks(guest.thread.kicker(), || {
            for round in rounds(600).map(u64::from) {
                let registers = guest.thread.registers_mut();
                registers.rbx = WRITE;
                (registers.rdi, registers.rsi, registers.rdx) = (3, DATA, round % 0x100);
                if matches!(guest.thread.run(), Trap::Exited(_)) {
                    break;
                }
                count += left(&*inlet).len();
                lent::lend(guest);
                guest.thread.lend_file(0, &file());
                inlet = guest.thread.open_inlet(0, ROOM).expect("another");
                inlet.set_listener(round % 2 == 0);
            }
        });
        assert!(count > 0, "there is something to forge");
    });
    assert_eq!(Guest::new(platform, lent::any_calls()).syscall(), 0);
}
