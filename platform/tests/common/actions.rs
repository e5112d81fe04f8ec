//! Actions of signals that a thread changes by itself: it does so while nothing is in the way, and calls otherwise; kicks never tear a
//! change; and what the guest can write is believed for what it is.

use std::sync::Arc;

use usk_abi::signal::{ActionFlags, SIG_DFL, SIG_IGN, SignalAction, SignalSet};
use usk_platform::{ActionWords, Platform, SIGNAL_COUNT, Trap, region};

use super::guest::{CODE, DATA, Guest, PAGE, Rounds, STACK, guest_code, rounds, under_kicks};
use super::lent::while_forged;
use super::patching::{calls_for, patched, patched_before_call};
use super::shortcuts::CHANGES_ACTION;

/// Not where [`while_forged`] has its code.
const NEW: u64 = DATA + PAGE;
const OLD: u64 = NEW + 0x40;
const NOWHERE: u64 = DATA + 0x10_0000;
const HANDLER: u64 = 0x40_0000;
const USR1: u64 = 10;

guest_code!(changes_action: "2:", "mov eax, 0x10a", "syscall", "mov rbx, rax", "mov eax, 39", "syscall", "jmp 2b");
// Each new action has a handler that is one greater than the old one's, and all four words of it tell which it is.
guest_code!(changes_action_all_the_time:
    "mov r13, rdi", "2:", "lea rax, [r12 + 0x1000]", "mov [r13], rax", "mov qword ptr [r13 + 8], 4", "mov [r13 + 16], rax",
    "shl rax, 20", "mov [r13 + 24], rax", "mov edi, 10", "mov rsi, r13", "lea rdx, [r13 + 0x40]", "mov r10d, 8", "mov eax, 0x10a", "syscall",
    "mov rax, [r13 + 0x40]", "cmp rax, [r13 + 0x50]", "jne 3f", "shl rax, 20", "cmp rax, [r13 + 0x58]", "jne 3f",
    "mov rax, [r13 + 0x40]", "sub rax, 0x1000", "inc rax", "cmp rax, r12", "jne 3f", "inc r12", "jmp 2b",
    "3:", "ud2",
);

fn action(handler: u64) -> SignalAction {
    SignalAction {
        handler,
        flags: ActionFlags::SIGINFO.bits(),
        restorer: handler,
        mask: SignalSet(handler << 20),
    }
}

fn write(guest: &Guest, address: u64, action: SignalAction) {
    for (offset, word) in (0..).step_by(8).zip(words(action)) {
        guest.write_u64(address + offset, word);
    }
}

fn words(action: SignalAction) -> [u64; 4] {
    [action.handler, action.flags, action.restorer, action.mask.0]
}

fn read(guest: &Guest, address: u64) -> SignalAction {
    let word = |index: u64| guest.read_u64(address + 8 * index);
    SignalAction { handler: word(0), flags: word(1), restorer: word(2), mask: SignalSet(word(3)) }
}

/// Makes the call that changes an action. True if the guest has called the sentry for it.
fn calls(guest: &mut Guest, signal: u64, new: SignalAction, [new_at, old_at]: [u64; 2], size: u64) -> bool {
    write(guest, NEW, new);
    write(guest, OLD, action(4711));
    calls_for(guest, CHANGES_ACTION, [signal, new_at, old_at, size])
}

/// A guest before the call, and its actions, where the platform shares them.
fn guest_with_actions(platform: &dyn Platform, quiet: u64) -> Option<(Guest, Arc<dyn ActionWords>)> {
    let mut guest = patched_before_call(platform, changes_action());
    assert!(calls(&mut guest, USR1, action(HANDLER), [NEW, OLD], 8), "the actions are not the guest's yet");
    guest.thread.share_mask(0, quiet);
    let words = guest.thread.share_actions(&[SignalAction::default(); SIGNAL_COUNT]);
    assert_eq!(words.is_some(), platform.name() == "trap");
    Some((guest, words?))
}

pub(crate) fn an_action_is_changed_without_a_call_while_nothing_is_in_the_way(platform: &dyn Platform) {
    let Some((mut guest, words)) = guest_with_actions(platform, !0b10) else { return };
    for signal in (1..=64).filter(|&signal| ![9, 17, 19].contains(&signal)) {
        let index = signal as usize - 1;
        for (handler, at) in [
            (HANDLER + signal, [NEW, OLD]),
            (HANDLER, [0, OLD]),
            (HANDLER, [0, 0]),
            (HANDLER + 1, [NEW, 0]),
            (HANDLER + 2, [NEW, OLD]),
        ] {
            let before = words.action(index);
            assert!(!calls(&mut guest, signal, action(handler), at, 8), "{signal} {at:x?}");
            let after = if at[0] == 0 { before } else { action(handler) };
            assert_eq!(words.action(index), after);
            assert_eq!(read(&guest, OLD), if at[1] == 0 { action(4711) } else { before });
        }
    }
    // Both in the same place, and the upper half of the number says nothing.
    assert!(!calls(&mut guest, USR1 | 1 << 40, action(HANDLER), [OLD, OLD], 8));
    assert_eq!((words.action(9), read(&guest, OLD)), (action(4711), action(HANDLER + 2)));
    for handler in [SIG_IGN, SIG_DFL] {
        assert!(!calls(&mut guest, USR1, action(handler), [NEW, OLD], 8));
        assert_eq!(words.action(9).handler, handler);
    }
    // Those that have none, and the one of which others read more than a word, can be asked for.
    for signal in [9, 17, 19] {
        assert!(!calls(&mut guest, signal, action(HANDLER), [0, OLD], 8));
        assert_eq!(read(&guest, OLD), SignalAction::default());
    }
    // What nobody knows, and what cannot be blocked, is left out.
    let all =
        SignalAction { handler: HANDLER, flags: u64::MAX, restorer: u64::MAX, mask: SignalSet(u64::MAX) };
    assert!(!calls(&mut guest, USR1, all, [NEW, OLD], 8));
    assert_eq!(words.action(9), all.cleaned());
    assert_eq!(all.cleaned().mask, SignalSet(u64::MAX).minus(SignalSet::UNBLOCKABLE));
}

pub(crate) fn whatever_is_in_the_way_of_an_action_makes_a_call(platform: &dyn Platform) {
    let Some((mut guest, words)) = guest_with_actions(platform, !(1 << (USR1 - 1))) else { return };
    words.set_action(9, action(HANDLER));
    let somebody = action(HANDLER + 1);
    for (signal, new, at, size) in [
        // It is pending.
        (USR1, action(SIG_IGN), [NEW, OLD], 8),
        (USR1, action(SIG_DFL), [NEW, OLD], 8),
        // No such signal, or none that has an action of its own; no such size; no such memory.
        (0, somebody, [NEW, OLD], 8),
        (65, somebody, [NEW, OLD], 8),
        (u64::from(u32::MAX), somebody, [0, OLD], 8),
        (9, somebody, [NEW, OLD], 8),
        (19, somebody, [NEW, OLD], 8),
        (17, somebody, [NEW, OLD], 8),
        (USR1, somebody, [NEW, OLD], 16),
        (USR1, somebody, [NOWHERE, OLD], 8),
        (USR1, somebody, [NOWHERE - 16, OLD], 8),
        (USR1, somebody, [NEW, NOWHERE], 8),
        (USR1, somebody, [NEW, CODE], 8),
        (USR1, somebody, [0, NOWHERE], 8),
        (USR1, somebody, [0x8000_0000_0000, OLD], 8),
        (USR1, somebody, [NEW, region::SLOTS], 8),
        (USR1, somebody, [region::ORDERS, OLD], 8),
    ] {
        assert!(calls(&mut guest, signal, new, at, size), "{signal} {at:x?}");
        assert_eq!(words.action(9), action(HANDLER));
    }
    // A handler is no reason to call.
    assert!(!calls(&mut guest, USR1, somebody, [NEW, OLD], 8));
    words.withdraw_actions();
    assert!(calls(&mut guest, USR1, action(HANDLER), [NEW, OLD], 8));
    assert!(calls(&mut guest, USR1, action(HANDLER), [0, OLD], 8));
    assert_eq!(words.action(9), somebody);
}

pub(crate) fn another_thread_begins_without_the_actions_of_the_one_before(platform: &dyn Platform) {
    let Some((guest, words)) = guest_with_actions(platform, u64::MAX) else { return };
    let mut sibling = guest.sibling(&super::guest::start());
    assert!(calls(&mut sibling, USR1, action(HANDLER), [NEW, OLD], 8));
    sibling.thread.share_mask(0, u64::MAX);
    assert!(sibling.thread.share_actions(&[SignalAction::default(); SIGNAL_COUNT]).is_some());
    assert!(!calls(&mut sibling, USR1, action(HANDLER), [NEW, OLD], 8));
    // Its host process and its slot are used again.
    drop(sibling);
    let mut next = guest.sibling(&super::guest::start());
    assert!(calls(&mut next, USR1, action(HANDLER), [NEW, OLD], 8));
    assert_eq!(words.action(9), SignalAction::default());
}

pub(crate) fn kicks_do_not_tear_a_change_of_an_action(platform: &dyn Platform) {
    let mut guest = patched(platform, changes_action_all_the_time());
    let registers = guest.thread.registers_mut();
    (registers.rip, registers.r12, registers.rdi) = (CODE, 1, NEW);
    let code = changes_action_all_the_time().len() as u64;
    guest.thread.share_mask(0, u64::MAX);
    let mut actions = [SignalAction::default(); SIGNAL_COUNT];
    actions[9] = action(0x1000);
    let words = guest.thread.share_actions(&actions);
    let mut own = actions[9];
    under_kicks(guest.thread.kicker(), || {
        let mut rounds = Rounds::up_to(3000);
        while rounds.go_on(guest.thread.registers().r12 > 100) {
            match guest.thread.run() {
                Trap::Syscall { .. } => {
                    // One that began again, or on a platform that shares no actions.
                    let new = read(&guest, NEW);
                    write(&guest, OLD, words.as_ref().map_or(own, |words| words.action(9)));
                    own = new;
                    words.iter().for_each(|words| words.set_action(9, new));
                    guest.thread.registers_mut().set_return_value(0);
                }
                Trap::Interrupted => {
                    let registers = guest.thread.registers();
                    assert!((CODE..CODE + code).contains(&registers.rip), "{registers:x?}");
                    assert_eq!((registers.rsp, registers.gs_base), (STACK, 0));
                }
                trap => panic!("{trap:x?} at {:x?}", guest.thread.registers()),
            }
            if let Some(words) = &words {
                let action = words.action(9);
                assert_eq!((action.restorer, action.mask.0), (action.handler, action.handler << 20));
            }
        }
    });
}

pub(crate) fn forged_actions_are_only_actions(platform: &dyn Platform) {
    let Some((mut guest, words)) = guest_with_actions(platform, u64::MAX) else { return };
    // All that the stub goes by.
    let mailbox = region::SLOTS + region::SLOT_SIZE + region::MAILBOX;
    let actions = mailbox - 0x840..mailbox;
    while_forged(&mut guest, [actions], |guest| {
        under_kicks(guest.thread.kicker(), || {
            for round in rounds(1000).map(u64::from) {
                write(guest, NEW, action(HANDLER));
                let registers = guest.thread.registers_mut();
                (registers.rdi, registers.rsi, registers.rdx, registers.r10) = (1 + round % 64, NEW, OLD, 8);
                assert!(!matches!(guest.thread.run(), Trap::Exited(_)));
                (0..SIGNAL_COUNT).for_each(|index| _ = words.action(index));
            }
        });
    });
    // A kick may be left.
    let trap = guest.thread.run();
    assert!(matches!(trap, Trap::Interrupted | Trap::Syscall { .. }), "{trap:x?}");
    while guest.syscall() != 39 {}
    words.set_action(9, action(HANDLER));
    assert!(!calls(&mut guest, USR1, action(HANDLER + 1), [NEW, OLD], 8));
    assert_eq!((read(&guest, OLD), words.action(9)), (action(HANDLER), action(HANDLER + 1)));
}
