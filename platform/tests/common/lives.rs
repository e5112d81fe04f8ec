//! Beginnings and ends of threads: the state that a call which makes one brings along, and what a thread leaves to be done at its
//! end.

use usk_platform::{Left, Platform, Trap};

use super::guest::{
    CODE, DATA, Guest, PAGE, READ_EXECUTE, Rounds, STACK, guest_code, rounds, start, under_kicks,
};
use super::patching::patched;
use super::shortcuts::{SETS_ROBUST_LIST, SETS_TID_ADDRESS};

guest_code!(brings_state: "2:", "movq xmm3, rdi", "mov eax, 0x107", "syscall", "add rdi, 1", "jmp 2b");
guest_code!(leaves: "2:", "mov eax, ebx", "syscall", "mov r12, rax", "mov eax, 39", "syscall", "jmp 2b");
guest_code!(leaves_all_the_time: "2:", "mov eax, 0x108", "syscall", "cmp eax, r12d", "jne 3f", "add rdi, 8", "and rdi, r13", "jmp 2b", "3:", "ud2");
guest_code!(forges: "2:", "mov [rdi], rsi", "mov [rdi + 8], rsi", "xor rsi, -1", "jmp 2b");

/// Where `xmm3` is in an image of the extended state.
const XMM3: usize = 160 + 3 * 16;
/// The number under which the tests leave the answer to `gettid`.
const TID: u32 = 77;
/// Bytes of `struct robust_list_head`.
const HEAD_SIZE: u64 = 24;
/// The words in the first guest thread's slot.
const WORDS_OF_THE_FIRST: u64 = 0x7fff_1000_0000 + 2 * 0x4000 - 0x200 - 16;

fn xmm3(guest: &mut Guest) -> u64 {
    let image = guest.thread.extended_state();
    u64::from_le_bytes(image[XMM3..XMM3 + 8].try_into().expect("eight bytes"))
}

pub(crate) fn a_call_that_makes_a_thread_brings_the_extended_state_along(platform: &dyn Platform) {
    let mut guest = patched(platform, brings_state());
    for value in [0, 1, u64::MAX, 0x1234_5678_9abc_def0] {
        let registers = guest.thread.registers_mut();
        (registers.rip, registers.rdi, registers.rdx) = (CODE, value, !value);
        assert_eq!(guest.syscall(), 0x107);
        assert_eq!(xmm3(&mut guest), value);
        let registers = *guest.thread.registers();
        assert_eq!((registers.rdi, registers.rdx, registers.rsp), (value, !value, STACK));
        // Who looks twice finds the same, and what is set counts from then on.
        assert_eq!(xmm3(&mut guest), value);
        guest.thread.set_extended_state(None).expect("the initial state is good");
        assert_eq!(xmm3(&mut guest), 0);
    }
}

pub(crate) fn kicks_do_not_tear_the_state_that_a_call_brings_along(platform: &dyn Platform) {
    let mut guest = patched(platform, brings_state());
    let registers = guest.thread.registers_mut();
    (registers.rip, registers.rdi, registers.rdx) = (CODE, 0, 4711);
    under_kicks(guest.thread.kicker(), || {
        let mut rounds = Rounds::up_to(2000);
        while rounds.go_on(guest.thread.registers().rdi > 10) {
            match guest.thread.run() {
                Trap::Syscall { .. } => assert_eq!(xmm3(&mut guest), guest.thread.registers().rdi),
                Trap::Interrupted => {}
                trap => panic!("{trap:x?} at {:x?}", guest.thread.registers()),
            }
            assert_eq!(guest.thread.registers().rdx, 4711);
        }
    });
}

/// A guest before its first call, with its number where it can answer by itself.
fn guest_that_leaves(platform: &dyn Platform) -> Guest {
    let mut guest = patched(platform, leaves());
    guest.thread.set_answers(&[None, Some(TID)]);
    assert_eq!(guest.syscall(), 39);
    guest
}

/// Makes a call. What it was answered without the sentry; `None` if that was called.
fn call(guest: &mut Guest, number: u64, arguments: [u64; 2]) -> Option<u64> {
    let registers = guest.thread.registers_mut();
    registers.rbx = number;
    [registers.rdi, registers.rsi] = arguments;
    let called = guest.syscall();
    let registers = *guest.thread.registers();
    assert_eq!([registers.rdi, registers.rsi], arguments);
    if called == number {
        assert_eq!(guest.syscall(), 39);
        return None;
    }
    assert_eq!(called, 39);
    Some(registers.r12)
}

pub(crate) fn a_thread_leaves_what_is_to_be_done_at_its_end(platform: &dyn Platform) {
    let mut guest = guest_that_leaves(platform);
    let answers = platform.name() == "trap" && call(&mut guest, SETS_TID_ADDRESS, [DATA, 0]).is_some();
    if !answers {
        return assert_eq!(guest.thread.left(), Left::default());
    }
    assert_eq!(guest.thread.left(), Left { tid_address: Some(DATA), robust_list: None });
    assert_eq!(call(&mut guest, SETS_ROBUST_LIST, [DATA + 8, HEAD_SIZE]), Some(0));
    assert_eq!(call(&mut guest, SETS_TID_ADDRESS, [0, 0]), Some(u64::from(TID)));
    let left = Left { tid_address: Some(0), robust_list: Some(DATA + 8) };
    assert_eq!((guest.thread.left(), guest.thread.kicker().left()), (left, left));
    // Another size, and addresses that are not the guest's.
    for (number, arguments) in [
        (SETS_ROBUST_LIST, [DATA, HEAD_SIZE - 1]),
        (SETS_ROBUST_LIST, [DATA, HEAD_SIZE | 1 << 32]),
        (SETS_ROBUST_LIST, [0x7fff_1000_0000, HEAD_SIZE]),
        (SETS_ROBUST_LIST, [u64::MAX, HEAD_SIZE]),
        (SETS_TID_ADDRESS, [0x8000_0000_0000, 0]),
        (SETS_TID_ADDRESS, [u64::MAX, 0]),
    ] {
        assert_eq!(call(&mut guest, number, arguments), None, "{number:#x} {arguments:#x?}");
        assert_eq!(guest.thread.left(), left);
    }
    guest.thread.kicker().withdraw_answers();
    assert_eq!(call(&mut guest, SETS_TID_ADDRESS, [DATA, 0]), None);
    guest.thread.forget_left();
    assert_eq!(guest.thread.left(), Left::default());
}

pub(crate) fn another_thread_begins_with_nothing_left(platform: &dyn Platform) {
    let guest = guest_that_leaves(platform);
    for _ in 0..3 {
        // Its host process and its slot are used again.
        let mut sibling = guest.sibling(&start());
        assert_eq!(sibling.thread.left(), Left::default());
        sibling.thread.set_answers(&[None, Some(TID)]);
        sibling.syscall();
        call(&mut sibling, SETS_ROBUST_LIST, [DATA, HEAD_SIZE]);
        call(&mut sibling, SETS_TID_ADDRESS, [DATA, 0]);
    }
    let copy = guest.space.fork().expect("a copy");
    assert_eq!(copy.create_thread(&start()).expect("a thread").left(), Left::default());
}

pub(crate) fn kicks_do_not_tear_what_a_thread_leaves(platform: &dyn Platform) {
    let mut guest = patched(platform, leaves_all_the_time());
    let code = leaves_all_the_time().len() as u64;
    let registers = guest.thread.registers_mut();
    (registers.rip, registers.rdi, registers.r12, registers.r13) = (CODE, DATA, TID.into(), DATA | 0xff8);
    guest.thread.set_answers(&[None, Some(TID)]);
    under_kicks(guest.thread.kicker(), || {
        for _ in rounds(2000) {
            match guest.thread.run() {
                Trap::Syscall { .. } => guest.thread.registers_mut().set_return_value(TID.into()),
                Trap::Interrupted => {
                    let registers = guest.thread.registers();
                    assert!((CODE..CODE + code).contains(&registers.rip), "{registers:x?}");
                    assert_eq!((registers.rsp, registers.gs_base), (STACK, 0));
                }
                trap => panic!("{trap:x?} at {:x?}", guest.thread.registers()),
            }
            let left = guest.thread.left().tid_address.unwrap_or(DATA);
            assert!(left.is_multiple_of(8) && (DATA..DATA + PAGE).contains(&left), "{left:#x}");
        }
    });
}

pub(crate) fn forged_last_words_are_only_addresses(platform: &dyn Platform) {
    let mut guest = guest_that_leaves(platform);
    if call(&mut guest, SETS_TID_ADDRESS, [DATA, 0]).is_none() {
        return;
    }
    let code = DATA + 2 * PAGE;
    assert_eq!(guest.space.write(code, forges()), forges().len());
    let protection = READ_EXECUTE;
    guest.apply(&[usk_platform::MemoryOp::Protect { address: code, length: PAGE, protection }]);
    let mut state = start();
    (state.registers.rip, state.registers.rdi, state.registers.rsi) = (code, WORDS_OF_THE_FIRST, 4711);
    let mut forger = guest.sibling(&state);
    let kicker = forger.thread.kicker();
    std::thread::scope(|scope| {
        scope.spawn(|| assert_eq!(forger.thread.run(), Trap::Interrupted));
        let forged = [Some(4711), Some(!4711)];
        while !forged.contains(&guest.thread.left().robust_list) {
            std::hint::spin_loop();
        }
        for _ in 0..1000 {
            call(&mut guest, SETS_TID_ADDRESS, [DATA, 0]);
            let Left { tid_address, robust_list } = guest.thread.left();
            assert!(forged.contains(&tid_address) || tid_address == Some(DATA), "{tid_address:x?}");
            assert!(forged.contains(&robust_list), "{robust_list:x?}");
        }
        kicker.kick();
    });
}
