//! The mask of blocked signals that a thread changes by itself: it does so while nothing is in the way, and calls otherwise;
//! kicks never tear a change; and the word that the guest can write is believed for what it is.

use std::sync::Arc;
use std::thread;

use usk_platform::{MaskWord, Platform, Trap};

use super::guest::{CODE, DATA, Guest, PAGE, Rounds, STACK, guest_code, under_kicks};
use super::patching::{calls_for, patched, patched_before_call};
use super::shortcuts::CHANGES_MASK;

const BLOCK: u64 = 0;
const UNBLOCK: u64 = 1;
const SET: u64 = 2;
const KILL_AND_STOP: u64 = 1 << 8 | 1 << 18;
const OLD: u64 = DATA + 8;

guest_code!(changes_mask: "2:", "mov eax, 0x106", "syscall", "mov rbx, rax", "mov eax, 39", "syscall", "jmp 2b");
guest_code!(changes_mask_all_the_time:
    "mov r13, rdi", "2:", "mov [r13], r12", "mov edi, 2", "mov rsi, r13", "lea rdx, [r13 + 8]", "mov r10d, 8", "mov eax, 0x106", "syscall",
    "mov rax, [r13 + 8]", "add rax, 0x100000", "cmp rax, r12", "jne 3f", "add r12, 0x100000", "jmp 2b",
    "3:", "ud2",
);

/// Makes the call that changes the mask. True if the guest has called the sentry for it.
fn calls(guest: &mut Guest, how: u64, set: u64, [set_at, old_at]: [u64; 2], size: u64) -> bool {
    guest.write_u64(DATA, set);
    guest.write_u64(OLD, 4711);
    calls_for(guest, CHANGES_MASK, [how, set_at, old_at, size])
}

/// A guest before the call, and its mask, where the platform shares it.
fn guest_with_mask(platform: &dyn Platform, mask: u64, quiet: u64) -> Option<(Guest, Arc<dyn MaskWord>)> {
    let mut guest = patched_before_call(platform, changes_mask());
    assert!(calls(&mut guest, SET, 1, [DATA, OLD], 8), "the mask is not the guest's yet");
    let word = guest.thread.share_mask(mask, quiet);
    assert_eq!(word.is_some(), platform.name() == "trap");
    Some((guest, word?))
}

pub(crate) fn a_mask_is_changed_without_a_call_while_nothing_is_in_the_way(platform: &dyn Platform) {
    let Some((mut guest, word)) = guest_with_mask(platform, 0b1100, !0b0100) else { return };
    for (how, set, at, after) in [
        (BLOCK, 0b0001, [DATA, OLD], 0b1101),
        (BLOCK, u64::MAX, [0, OLD], 0b1101),
        (77, u64::MAX, [0, 0], 0b1101),
        (UNBLOCK, 0b0011, [DATA, OLD], 0b1100),
        (SET, u64::MAX, [DATA, 0], !KILL_AND_STOP),
        (SET, 0b0110, [DATA, OLD], 0b0110),
        // Both in the same place.
        (SET, 0b1110, [OLD, OLD], 4711 & !KILL_AND_STOP),
        (SET, 0b0100, [DATA, OLD], 0b0100),
    ] {
        let before = word.mask();
        assert!(!calls(&mut guest, how, set, at, 8), "{how} {set:#b}");
        assert_eq!((word.mask(), guest.read_u64(OLD)), (after, if at[1] == 0 { 4711 } else { before }));
    }
}

pub(crate) fn whatever_is_in_the_way_of_a_change_makes_a_call(platform: &dyn Platform) {
    let Some((mut guest, word)) = guest_with_mask(platform, 0b1100, !0b0100) else { return };
    let nowhere = DATA + 0x10_0000;
    for (how, set, at, size) in [
        // It is pending.
        (UNBLOCK, 0b0100, [DATA, OLD], 8),
        (SET, 0b1000, [DATA, OLD], 8),
        // No such operation, no such size, no such memory.
        (3, 0b0100, [DATA, OLD], 8),
        (u64::from(u32::MAX), 0b0100, [DATA, OLD], 8),
        (SET, 0b0100, [DATA, OLD], 16),
        (SET, 0b0100, [nowhere, OLD], 8),
        (SET, 0b0100, [DATA, nowhere], 8),
        (SET, 0b0100, [DATA, CODE], 8),
        (SET, 0b0100, [0, nowhere], 8),
        (SET, 0b0100, [0x8000_0000_0000, OLD], 8),
        (SET, 0b0100, [DATA, 0x7fff_2000_0000], 8),
    ] {
        assert!(calls(&mut guest, how, set, at, size), "{how} {set:#b} {at:x?}");
        assert_eq!(word.mask(), 0b1100);
    }
    // What it was called with has come along.
    guest.write_u64(DATA, 0b1111);
    let registers = guest.thread.registers_mut();
    (registers.rdi, registers.rsi, registers.rdx) = (UNBLOCK, DATA, OLD);
    assert_eq!(guest.syscall(), CHANGES_MASK);
    let mut handed = [0; 8];
    assert_eq!((guest.thread.handed_over(DATA, &mut handed), handed), (8, 0b1111u64.to_le_bytes()));
    assert_eq!(guest.syscall(), 39);
    word.set_quiet(u64::MAX);
    assert!(!calls(&mut guest, UNBLOCK, 0b0100, [DATA, OLD], 8));
    word.withdraw();
    assert!(calls(&mut guest, BLOCK, 0b0001, [DATA, OLD], 8));
    assert_eq!(word.mask(), 0b1000);
}

pub(crate) fn another_thread_begins_without_the_mask_of_the_one_before(platform: &dyn Platform) {
    let Some((guest, word)) = guest_with_mask(platform, 0, u64::MAX) else { return };
    let mut sibling = guest.sibling(&super::guest::start());
    assert!(calls(&mut sibling, SET, 1, [DATA, OLD], 8));
    assert!(sibling.thread.share_mask(0, u64::MAX).is_some());
    assert!(!calls(&mut sibling, SET, 1, [DATA, OLD], 8));
    // Its host process and its slot are used again.
    drop(sibling);
    let mut next = guest.sibling(&super::guest::start());
    assert!(calls(&mut next, SET, 1, [DATA, OLD], 8));
    assert_eq!(word.mask(), 0);
}

pub(crate) fn kicks_do_not_tear_a_change_of_the_mask(platform: &dyn Platform) {
    let mut guest = patched(platform, changes_mask_all_the_time());
    let registers = guest.thread.registers_mut();
    (registers.rip, registers.r12, registers.rdi) = (CODE, 0x10_0000, DATA);
    let code = changes_mask_all_the_time().len() as u64;
    let word = guest.thread.share_mask(0, u64::MAX);
    let mut mask = 0;
    under_kicks(guest.thread.kicker(), || {
        let mut rounds = Rounds::up_to(3000);
        while rounds.go_on(guest.thread.registers().r12 >> 20 > 100) {
            match guest.thread.run() {
                Trap::Syscall { .. } => {
                    // One that began again, or on a platform that shares no mask.
                    let set = guest.read_u64(DATA);
                    let old = match &word {
                        Some(word) => word.mask(),
                        None => mask,
                    };
                    guest.write_u64(OLD, old);
                    match &word {
                        Some(word) => word.set_mask(set),
                        None => mask = set,
                    }
                    guest.thread.registers_mut().set_return_value(0);
                }
                Trap::Interrupted => {
                    let registers = guest.thread.registers();
                    assert!((CODE..CODE + code).contains(&registers.rip), "{registers:x?}");
                    assert_eq!((registers.rsp, registers.gs_base), (STACK, 0));
                }
                trap => panic!("{trap:x?} at {:x?}", guest.thread.registers()),
            }
        }
    });
}

guest_code!(scribbles: "2:", "mov [rdi], rsi", "xor rsi, -1", "jmp 2b");

/// The last word of the first guest thread's slot.
const MASK_OF_THE_FIRST: u64 = 0x7fff_1000_0000 + 2 * 0x4000 - 8;

pub(crate) fn a_forged_mask_is_only_a_mask(platform: &dyn Platform) {
    let Some((mut guest, word)) = guest_with_mask(platform, 0, u64::MAX) else { return };
    let mut state = super::guest::start();
    let code = DATA + 2 * PAGE;
    let copy = usk_platform::MemoryOp::Protect {
        address: code,
        length: PAGE,
        protection: super::guest::READ_EXECUTE,
    };
    assert_eq!(guest.space.write(code, scribbles()), scribbles().len());
    guest.apply(&[copy]);
    (state.registers.rip, state.registers.rdi, state.registers.rsi) = (code, MASK_OF_THE_FIRST, u64::MAX);
    let mut scribbler = guest.sibling(&state);
    let kicker = scribbler.thread.kicker();
    thread::scope(|scope| {
        scope.spawn(|| assert_eq!(scribbler.thread.run(), Trap::Interrupted));
        while word.mask() == 0 {
            std::hint::spin_loop();
        }
        for _ in 0..1000 {
            calls(&mut guest, SET, 0b0100, [DATA, OLD], 8);
            assert!([0, 0b0100, u64::MAX].contains(&word.mask()), "{:#x}", word.mask());
        }
        kicker.kick();
    });
    word.set_mask(1);
    assert!(!calls(&mut guest, BLOCK, 0b0100, [DATA, OLD], 8));
    assert_eq!(word.mask(), 0b0101);
}
