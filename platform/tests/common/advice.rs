//! Memory that a thread lets go of by itself while others use it, too: only what it has leave for, in the one way that changes nothing
//! else; and whoever takes the leave away hears whether it may be in use, which the guest can lie about.

use usk_platform::{Platform, Trap, region};

use super::guest::{DATA, Guest, PAGE, guest_code, rounds, start, under_kicks};
use super::patching::{calls_for, patched, patched_before_call};

const MADVISE: u64 = libc::SYS_madvise as u64;
const DONTNEED: u64 = libc::MADV_DONTNEED as u64;
/// Where the first guest thread of an address space says that it is about to advise the host.
const FIRST_ADVISES: u64 = region::SLOTS + region::SLOT_SIZE + region::ADVISES;

guest_code!(advises:
    "2:", "mov eax, 28", "syscall", "mov rbx, rax", "test r13, r13", "jz 3f", "mov [r12], r13d", "3:", "mov eax, 39", "syscall", "jmp 2b",
);
guest_code!(advises_all_the_time:
    "mov edx, 4", "mov esi, 4096", "2:", "mov [rdi], r12", "movq xmm3, r12", "cmp rdi, rdi", "mov eax, 28", "syscall",
    "jne 3f", "movq r13, xmm3", "cmp r13, r12", "jne 3f", "test rax, rax", "jne 3f", "cmp qword ptr [rdi], 0", "jne 3f",
    "add r12, 1", "jmp 2b",
    "3:", "ud2",
);

/// A guest before the call, whose leave is for the second and third page of its data. `None` where the platform gives none.
fn guest_with_leave(platform: &dyn Platform) -> Option<Guest> {
    let mut guest = patched_before_call(platform, advises());
    assert!(calls_for(&mut guest, MADVISE, [DATA + PAGE, PAGE, DONTNEED, 0]), "it has no leave yet");
    let lent = guest.thread.lend_advice(&(DATA + PAGE..DATA + 3 * PAGE));
    assert_eq!(lent, platform.name() == "trap");
    lent.then_some(guest)
}

pub(crate) fn a_thread_lets_go_of_what_it_has_leave_for(platform: &dyn Platform) {
    let Some(mut guest) = guest_with_leave(platform) else { return };
    for (address, length) in [(DATA + PAGE, PAGE), (DATA + 2 * PAGE, 1), (DATA + PAGE, 2 * PAGE)] {
        guest.write_u64(DATA, 1);
        guest.write_u64(address, 1);
        assert!(!calls_for(&mut guest, MADVISE, [address, length, DONTNEED, 0]), "{address:x} {length:x}");
        assert_eq!((guest.read_u64(address), guest.read_u64(DATA)), (0, 1));
    }
    assert!(!guest.thread.kicker().withdraw_advice(), "it is not doing so now");
    assert!(calls_for(&mut guest, MADVISE, [DATA + PAGE, PAGE, DONTNEED, 0]));
}

pub(crate) fn whatever_a_thread_has_no_leave_for_makes_a_call(platform: &dyn Platform) {
    let Some(mut guest) = guest_with_leave(platform) else { return };
    let within = DATA + PAGE;
    for (address, length, advice) in [
        (DATA, PAGE, DONTNEED),
        (DATA, 2 * PAGE, DONTNEED),
        (within, 2 * PAGE + 1, DONTNEED),
        (DATA + 3 * PAGE, PAGE, DONTNEED),
        (within + 1, PAGE, DONTNEED),
        (within, 0, DONTNEED),
        (within, u64::MAX, DONTNEED),
        (within, 0u64.wrapping_sub(within), DONTNEED),
        (within, PAGE, DONTNEED | 1 << 32),
        (within, PAGE, libc::MADV_FREE as u64),
        (within, PAGE, libc::MADV_DONTFORK as u64),
        (0x7fff_1000_0000, PAGE, DONTNEED),
    ] {
        guest.write_u64(within, 1);
        assert!(calls_for(&mut guest, MADVISE, [address, length, advice, 0]), "{address:x} {length:x}");
        assert_eq!(guest.read_u64(within), 1);
    }
}

pub(crate) fn a_word_that_lies_about_advice_is_taken_for_advice(platform: &dyn Platform) {
    let Some(mut guest) = guest_with_leave(platform) else { return };
    let registers = guest.thread.registers_mut();
    (registers.r12, registers.r13) = (FIRST_ADVISES, 1);
    assert!(!calls_for(&mut guest, MADVISE, [DATA + PAGE, PAGE, DONTNEED, 0]));
    assert!(guest.thread.kicker().withdraw_advice());
    // Said once more, it is said of nothing: the next leave begins with the truth.
    assert!(guest.thread.lend_advice(&(DATA + PAGE..DATA + 3 * PAGE)));
    assert!(!guest.thread.kicker().withdraw_advice());
}

pub(crate) fn another_thread_begins_without_the_leave_of_the_one_before(platform: &dyn Platform) {
    let Some(guest) = guest_with_leave(platform) else { return };
    let arguments = [DATA + PAGE, PAGE, DONTNEED, 0];
    for _ in 0..2 {
        // The second has the first one's host process and slot.
        let mut sibling = guest.sibling(&start());
        assert!(calls_for(&mut sibling, MADVISE, arguments));
        assert!(sibling.thread.lend_advice(&(DATA + PAGE..DATA + 3 * PAGE)));
        assert!(!calls_for(&mut sibling, MADVISE, arguments));
    }
}

pub(crate) fn kicks_do_not_tear_advice(platform: &dyn Platform) {
    let mut guest = patched(platform, advises_all_the_time());
    guest.thread.set_answers(&[]);
    guest.thread.registers_mut().rax = 0;
    let kicker = guest.thread.kicker();
    under_kicks(guest.thread.kicker(), || {
        for round in rounds(3000) {
            // Now it has leave, now it has none.
            match round % 3 {
                0 => _ = guest.thread.lend_advice(&(DATA..DATA + PAGE)),
                1 => _ = kicker.withdraw_advice(),
                _ => {}
            }
            match guest.thread.run() {
                Trap::Interrupted => {}
                Trap::Syscall { .. } => {
                    assert_eq!(guest.thread.registers().syscall_number(), MADVISE);
                    guest.write_u64(DATA, 0);
                    guest.thread.registers_mut().set_return_value(0);
                }
                trap => panic!("{trap:x?} at {:x?}", guest.thread.registers()),
            }
        }
    });
}
