//! Shortcuts. Guest memory that travels with a call: what is handed over is what was there, what is given back is there
//! afterwards, and memory that is not there makes no difference to either. Answers that stand: they are given while they do.

use usk_abi::Errno;
use usk_platform::{HostCallKind, Memory, MemoryOp, Platform, Shortcut, Trap};

use super::guest::{
    CODE, DATA, Guest, PAGE, READ_EXECUTE, READ_WRITE, Rounds, STACK, guest_code, map, under_kicks,
};
use super::patching::patched;

/// What the tests' platforms may make cheaper.
pub(crate) fn shortcut(number: u64) -> Shortcut {
    match number {
        FIRST => Shortcut::HandsOver(Memory::First),
        SECOND | 0 => Shortcut::HandsOver(Memory::Second),
        BUFFER => Shortcut::HandsOver(Memory::Buffer),
        FOURTH => Shortcut::HandsOver(Memory::Fourth),
        STANDING => Shortcut::Stands(3),
        CHANGES_MASK => Shortcut::ChangesMask,
        CHANGES_ACTION => Shortcut::ChangesAction,
        0x107 => Shortcut::BringsState,
        SETS_TID_ADDRESS => Shortcut::SetsTidAddress,
        SETS_ROBUST_LIST => Shortcut::SetsRobustList,
        202 => Shortcut::HostCall(HostCallKind::Futex),
        24 => Shortcut::HostCall(HostCallKind::Yield),
        28 => Shortcut::MapsMemory,
        _ => super::lent::lends(number)
            .or_else(|| super::arrived::receives(number))
            .or_else(|| super::names::knows(number))
            .or_else(|| super::noted::notes(number))
            .or_else(|| super::ledger::notes(number))
            .unwrap_or_default(),
    }
}

/// The direction flag.
const DIRECTION: u64 = 0x400;
const FIRST: u64 = 0x101;
const SECOND: u64 = 0x102;
const BUFFER: u64 = 0x103;
const FOURTH: u64 = 0x104;
const STANDING: u64 = 0x105;
pub(crate) const CHANGES_MASK: u64 = 0x106;
pub(crate) const CHANGES_ACTION: u64 = 0x10a;
pub(crate) const SETS_TID_ADDRESS: u64 = 0x108;
pub(crate) const SETS_ROBUST_LIST: u64 = 0x109;

guest_code!(any_call: "2:", "mov eax, ebx", "syscall", "cmp rax, -4096", "jmp 2b");
guest_code!(counted:
    "2:", "mov [rdi], r12", "mov eax, 0x101", "syscall", "cmp [rsi], r12", "jne 3f", "add r12, 1", "jmp 2b",
    "3:", "ud2",
);

guest_code!(asks_who: "2:", "mov eax, 0x105", "syscall", "mov rbx, rax", "mov eax, 39", "syscall", "jmp 2b");
guest_code!(asks_all_the_time:
    "2:", "movq xmm3, rdi", "cmp rdi, rdi", "mov eax, 0x105", "syscall",
    "jne 3f", "movq rdx, xmm3", "cmp rdx, rdi", "jne 3f", "cmp eax, r12d", "jne 3f", "add rdi, 1", "jmp 2b",
    "3:", "ud2",
);

/// A page that is there, before one that is not.
const PLACE: u64 = 0x70_0000;

/// Makes a call and returns how many bytes of `address` it has brought along; they are what is there.
fn call(guest: &mut Guest, number: u64, arguments: [u64; 4], address: u64) -> usize {
    let before = *guest.thread.registers();
    let registers = guest.thread.registers_mut();
    registers.rbx = number;
    [registers.rdi, registers.rsi, registers.rdx, registers.r10] = arguments;
    assert_eq!(guest.syscall(), number);
    let registers = guest.thread.registers();
    assert_eq!([registers.rdi, registers.rsi, registers.rdx, registers.r10], arguments);
    assert_eq!((registers.rsp, registers.r8), (before.rsp, before.r8));
    assert_eq!(registers.rflags & DIRECTION, before.rflags & DIRECTION);
    let mut there = [0; 2 * PAGE as usize];
    let mut handed = [0; 2 * PAGE as usize];
    let count = guest.thread.handed_over(address, &mut handed);
    assert!(guest.space.read(address, &mut there) >= count);
    assert_eq!(handed[..count], there[..count]);
    count
}

fn guest_with_a_page(platform: &dyn Platform) -> Guest {
    let mut guest = patched(platform, any_call());
    guest.apply(&[map(PLACE, PAGE, READ_WRITE)]);
    let pattern: Vec<u8> = (0..PAGE).map(|index| (index * 7 + index / 256) as u8).collect();
    assert_eq!(guest.space.write(PLACE, &pattern), pattern.len());
    // The direction flag must not matter.
    guest.thread.registers_mut().rflags |= DIRECTION;
    guest
}

pub(crate) fn a_call_brings_along_the_memory_that_it_is_about(platform: &dyn Platform) {
    let mut guest = guest_with_a_page(platform);
    let hands_over = platform.name() == "trap";
    let count = |bytes: usize| if hands_over { bytes } else { 0 };
    let at = PLACE + 0x123;
    assert_eq!(call(&mut guest, FIRST, [at, 0, 0, 0], at), count(256));
    assert_eq!(call(&mut guest, FIRST, [at, 0, 0, 0], at + 200), count(56));
    assert_eq!(call(&mut guest, FIRST, [at, 0, 0, 0], at + 256), 0);
    assert_eq!(call(&mut guest, FIRST, [at, 0, 0, 0], at - 1), 0);
    assert_eq!(call(&mut guest, SECOND, [0, at, 0, 0], at), count(256));
    assert_eq!(call(&mut guest, FOURTH, [0, 0, 0, at], at), count(256));
    assert_eq!(call(&mut guest, FIRST, [PLACE + PAGE - 3, 0, 0, 0], PLACE + PAGE - 3), count(3));
    for length in [0, 1, 7, 8, 100, PAGE - 0x123] {
        assert_eq!(call(&mut guest, BUFFER, [0, at, length, 0], at), count(length as usize));
    }
    assert_eq!(call(&mut guest, BUFFER, [0, PLACE, PAGE, 0], PLACE), count(PAGE as usize));
    // Too much, and calls that are about no memory.
    assert_eq!(call(&mut guest, BUFFER, [0, PLACE, PAGE + 1, 0], PLACE), 0);
    assert_eq!(call(&mut guest, 39, [PLACE, PLACE, 8, PLACE], PLACE), 0);
    assert_eq!(call(&mut guest, u64::from(u32::MAX), [PLACE, PLACE, 8, PLACE], PLACE), 0);
}

pub(crate) fn memory_that_is_not_there_does_not_come_along(platform: &dyn Platform) {
    let mut guest = guest_with_a_page(platform);
    for address in [0, 1, PLACE + PAGE, 0x7fff_ffff_f000, 0x8000_0000_0000, u64::MAX - 100, u64::MAX] {
        for number in [FIRST, SECOND, FOURTH, BUFFER] {
            assert_eq!(call(&mut guest, number, [address, address, 100, address], address), 0);
        }
    }
    assert_eq!(call(&mut guest, BUFFER, [0, PLACE + PAGE - 8, 9, 0], PLACE + PAGE - 8), 0);
}

pub(crate) fn copies_are_made_on_the_way_back(platform: &dyn Platform) {
    let mut guest = guest_with_a_page(platform);
    for round in 0..3u8 {
        let data: Vec<u8> = (0..100).map(|index| index ^ round).collect();
        call(&mut guest, FIRST, [PLACE, 0, 0, 0], PLACE);
        let mut left = 0;
        for (index, length) in (0..).zip([1usize, 8, 9, 100]) {
            let address = PLACE + 0x101 + 0x200 * index;
            match guest.thread.copy_on_return(address, &data[..length]) {
                true => left += 1,
                false => assert_eq!(guest.space.write(address, &data[..length]), length),
            }
        }
        assert_eq!(left, if platform.name() == "trap" { 4 } else { 0 });
        if round == 2 {
            assert_eq!(guest.thread.settle_copies(), Ok(()));
        } else {
            call(&mut guest, FIRST, [PLACE, 0, 0, 0], PLACE);
        }
        for (index, length) in (0..).zip([1usize, 8, 9, 100]) {
            let mut found = [0; 100];
            guest.space.read(PLACE + 0x101 + 0x200 * index, &mut found);
            assert_eq!(found[..length], data[..length]);
        }
    }
    // More than there is room for, and what no guest may write to.
    call(&mut guest, FIRST, [PLACE, 0, 0, 0], PLACE);
    assert!(!guest.thread.copy_on_return(DATA, &[1; 0x2000]));
    assert!(!guest.thread.copy_on_return(0x7fff_1000_0000, &[1; 8]));
    assert!(!guest.thread.copy_on_return(u64::MAX - 3, &[1; 8]));
}

pub(crate) fn a_copy_to_memory_that_is_gone_is_refused(platform: &dyn Platform) {
    let mut guest = guest_with_a_page(platform);
    call(&mut guest, FIRST, [PLACE, 0, 0, 0], PLACE);
    let before = *guest.thread.registers();
    if guest.thread.copy_on_return(PLACE + PAGE - 8, &[1; 16]) {
        match guest.thread.run() {
            Trap::Unwritable => {}
            trap => panic!("{trap:x?}"),
        }
        assert_eq!(*guest.thread.registers(), before);
    }
    call(&mut guest, FIRST, [PLACE, 0, 0, 0], PLACE);
    if guest.thread.copy_on_return(CODE, &[1; 16]) {
        assert_eq!(guest.thread.settle_copies(), Err(Errno::EFAULT));
    }
    // Nothing of it is left.
    let protect = MemoryOp::Protect { address: PLACE, length: PAGE, protection: READ_EXECUTE };
    guest.apply(&[protect]);
    call(&mut guest, FIRST, [PLACE, 0, 0, 0], PLACE);
}

pub(crate) fn what_travels_with_a_call_survives_kicks(platform: &dyn Platform) {
    let mut guest = patched(platform, counted());
    let registers = guest.thread.registers_mut();
    (registers.rip, registers.rdi, registers.rsi, registers.r12) = (CODE, DATA, DATA + 64, 0);
    under_kicks(guest.thread.kicker(), || {
        let mut calls = 0u64;
        while calls < 10_000 {
            match guest.thread.run() {
                Trap::Syscall { .. } => {
                    let registers = *guest.thread.registers();
                    assert_eq!((registers.r12, registers.rdi, registers.rsi), (calls, DATA, DATA + 64));
                    assert_eq!(registers.rsp, STACK);
                    let mut word = [0; 8];
                    let count = guest.thread.handed_over(DATA, &mut word);
                    assert!(count == 0 || word == calls.to_le_bytes(), "{word:?} in call {calls}");
                    if !guest.thread.copy_on_return(DATA + 64, &calls.to_le_bytes()) {
                        guest.write_u64(DATA + 64, calls);
                    }
                    calls += 1;
                }
                Trap::Interrupted => assert_eq!(guest.thread.registers().rsp, STACK),
                trap => panic!("{trap:x?} at {:x?}", guest.thread.registers()),
            }
        }
    });
}

pub(crate) fn an_answer_is_given_while_it_stands(platform: &dyn Platform) {
    let mut guest = patched(platform, asks_who());
    let asked = |guest: &mut Guest| match guest.syscall() {
        STANDING => {
            guest.thread.registers_mut().set_return_value(1);
            assert_eq!(guest.syscall(), 39);
            true
        }
        _ => false,
    };
    let stands = platform.name() == "trap";
    assert_eq!(guest.syscall(), 39);
    assert!(asked(&mut guest), "no answer stands yet");
    for answer in [0, 4711, u32::MAX] {
        guest.thread.set_answers(&[Some(5), Some(6), Some(7), Some(answer)]);
        for _ in 0..3 {
            assert_eq!(asked(&mut guest), !stands);
            assert!(!stands || guest.thread.registers().rbx == u64::from(answer));
        }
    }
    guest.thread.kicker().withdraw_answers();
    assert!(asked(&mut guest));
    guest.thread.set_answers(&[Some(5), Some(6), Some(7), None]);
    assert!(asked(&mut guest), "the fourth was left out");
    // A copy of the address space, and another thread, have none.
    guest.thread.set_answers(&[Some(5), Some(6), Some(7), Some(8)]);
    let mut sibling = guest.sibling(&super::guest::start());
    assert_eq!(sibling.syscall(), STANDING);
}

pub(crate) fn kicks_do_not_tear_what_is_answered_without_the_sentry(platform: &dyn Platform) {
    let mut guest = patched(platform, asks_all_the_time());
    let registers = guest.thread.registers_mut();
    (registers.rip, registers.rdi, registers.r12) = (CODE, 0, 4711);
    let code = asks_all_the_time().len() as u64;
    guest.thread.set_answers(&[None, None, None, Some(4711)]);
    under_kicks(guest.thread.kicker(), || {
        let mut rounds = Rounds::up_to(2000);
        while rounds.go_on(guest.thread.registers().rdi > 100) {
            match guest.thread.run() {
                Trap::Syscall { .. } => guest.thread.registers_mut().set_return_value(4711),
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
