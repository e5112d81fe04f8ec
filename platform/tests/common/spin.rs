//! Calls that are handed over in the slot while sentry and guest look for each other. A guest can pretend to have made one, and go on; it
//! can write what it likes where the answer is.
//!
//! Everything else that the platform promises is tested with such hand-overs, too: `trap-that-spins`.

use std::thread;
use std::time::{Duration, Instant};

use usk_platform::arch::Registers;
use usk_platform::{ExitReason, MemoryOp, Platform, ThreadState, Trap, region};

use super::guest::{
    CODE, DATA, Guest, PAGE, READ_EXECUTE, READ_WRITE, Rounds, guest_code, map, rounds, under_kicks,
    under_rare_kicks,
};
use super::patching::patched;

/// Where the first guest thread of an address space hands over.
const FIRST_HAND: u64 = region::SLOTS + region::SLOT_SIZE + region::HAND;
/// So many calls in a row are quick enough for both to look for each other, even if some of the first tries are in vain.
const MANY: u32 = 400;
/// Where another thread's code goes.
const OTHER_CODE: u64 = 0x90_0000;
/// What the hand says when a call is in the slot.
const RUNG: u64 = 2;

// Calls while r13 is zero; then says that it has called, and goes on without.
guest_code!(pretends: "2:", "mov eax, 39", "syscall", "test r13, r13", "jz 2b", "3:", "add qword ptr [rdi], 1", "mov [r12], r13d", "jmp 3b");
// Counts its calls in r12 and in memory. Stops if anything but a call's result has changed, or a call has been made twice.
guest_code!(counts_calls:
    "2:", "lea r13, [r12 + 7]", "movq xmm3, r12", "cmp rdi, rdi", "mov eax, 39", "syscall", "jne 3f", "lea r14, [r12 + 7]", "cmp r13, r14", "jne 3f",
    "movq r14, xmm3", "cmp r14, r12", "jne 3f", "cmp rax, r12", "jne 3f", "add r12, 1", "add qword ptr [rdi], 1", "cmp [rdi], r12", "je 2b", "3:", "ud2");
guest_code!(scribbles_on_the_hand: "2:", "imul rax, rax, 0x5851f42d", "add rax, 0x3039", "mov rdx, rax", "shr rdx, 13", "and edx, r13d", "mov [r12], edx",
    "mov rcx, rax", "shr rcx, 20", "mov [r12 + 4], ecx", "jmp 2b");

/// The next call, which is the one that the code makes, and what it is answered with.
fn answer(guest: &mut Guest, result: u64) {
    guest.thread.registers_mut().set_return_value(result);
    assert_eq!(guest.syscall(), 39);
}

pub(crate) fn calls_in_quick_succession_keep_everything_but_their_result(platform: &dyn Platform) {
    let mut guest = patched(platform, counts_calls());
    let mut count = 0;
    let mut call = |guest: &mut Guest| {
        answer(guest, count);
        count += 1;
        let registers = guest.thread.registers();
        assert_eq!((registers.r12, registers.r13, registers.rdi), (count, count + 7, DATA));
    };
    (0..20 * MANY).for_each(|_| call(&mut guest));
    // Between two of them, whatever takes more than an answer.
    for round in 0..MANY.into() {
        let page = map(0x80_0000 + round * PAGE, PAGE, READ_WRITE);
        guest.apply(&[page]);
        call(&mut guest);
        let state = guest.thread.extended_state();
        guest.thread.set_extended_state(Some(&state)).expect("what has been read");
        (0..10).for_each(|_| call(&mut guest));
    }
}

pub(crate) fn kicks_do_not_tear_calls_in_quick_succession(platform: &dyn Platform) {
    let mut guest = patched(platform, counts_calls());
    guest.thread.registers_mut().set_return_value(0);
    let kicker = guest.thread.kicker();
    under_rare_kicks(&*kicker, Duration::from_micros(200), || {
        let mut rounds = Rounds::up_to(100_000);
        while rounds.go_on(guest.thread.registers().r12 > MANY.into()) {
            match guest.thread.run() {
                Trap::Interrupted => {}
                Trap::Syscall { .. } => {
                    let count = guest.thread.registers().r12;
                    guest.thread.registers_mut().set_return_value(count);
                }
                trap => panic!("{trap:x?} at {:x?}", guest.thread.registers()),
            }
        }
    });
}

pub(crate) fn a_guest_that_pretends_to_have_called_is_found_out(platform: &dyn Platform) {
    let mut guest = patched(platform, pretends());
    (0..MANY).for_each(|_| answer(&mut guest, 0));
    let registers = guest.thread.registers_mut();
    (registers.r12, registers.r13) = (FIRST_HAND, RUNG);
    if platform.name() != "trap" {
        return;
    }
    let begun = Instant::now();
    let mut is_found_out = false;
    under_kicks(guest.thread.kicker(), || {
        for round in rounds(200) {
            // It is believed, or interrupted; it runs all the time.
            match guest.thread.run() {
                Trap::Syscall { .. } | Trap::Interrupted => {}
                Trap::Exited(ExitReason::Violation(libc::SIGSYS)) if is_found_out => break,
                trap => panic!("{trap:x?} at {:x?}", guest.thread.registers()),
            }
            // Refused only where it is not where it says.
            is_found_out =
                guest.thread.apply(&[map(0x80_0000 + u64::from(round) * PAGE, PAGE, READ_WRITE)]).is_err();
        }
    });
    assert!(begun.elapsed() < Duration::from_secs(30));
}

pub(crate) fn who_scribbles_on_the_hand_spoils_its_own_process_alone(platform: &dyn Platform) {
    if platform.name() != "trap" {
        return;
    }
    let mut bystander = patched(platform, counts_calls());
    let mut guest = patched(platform, counts_calls());
    guest.apply(&[map(OTHER_CODE, PAGE, READ_WRITE)]);
    assert_eq!(guest.space.write(OTHER_CODE, scribbles_on_the_hand()), scribbles_on_the_hand().len());
    guest.apply(&[MemoryOp::Protect { address: OTHER_CODE, length: PAGE, protection: READ_EXECUTE }]);
    let honest = *guest.thread.registers();
    let registers = Registers { rip: OTHER_CODE, r12: FIRST_HAND, r13: 3, rax: 5, ..honest };
    let mut scribbler = guest.sibling(&ThreadState { registers, extended: None });
    let kicker = scribbler.thread.kicker();
    thread::scope(|scope| {
        let end = scope.spawn(move || scribbler.thread.run());
        under_kicks(guest.thread.kicker(), || {
            for _ in rounds(3000) {
                match guest.thread.run() {
                    Trap::Exited(_) => break,
                    Trap::Syscall { .. } => {
                        let count = guest.thread.registers().r12;
                        guest.thread.registers_mut().set_return_value(count);
                    }
                    // What it was told is not what was answered.
                    _ => *guest.thread.registers_mut() = Registers { rip: CODE, ..honest },
                }
            }
        });
        kicker.kill();
        assert_eq!(end.join().expect("it ends"), Trap::Exited(ExitReason::Killed));
    });
    (0..MANY).for_each(|count| answer(&mut bystander, count.into()));
}
