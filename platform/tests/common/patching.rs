//! Patched call sites: they must not be told from unpatched ones, except by their speed. On a platform that does not
//! patch the same must hold of what is not patched.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use usk_abi::Errno;
use usk_platform::arch::Registers;
use usk_platform::{MemoryOp, PatchRequest, Platform, ThreadState, Trap};

use super::guest::{
    CODE, DATA, DATA_SIZE, Guest, PAGE, READ_EXECUTE, READ_WRITE, STACK, guest_code, map, rounds, start,
    under_kicks,
};
use super::jumps::kick_late;

/// Where trampolines go.
const AREA: u64 = CODE + 0x1_0000;
const AREA_SIZE: u64 = 0x1_0000;
/// Offset of xmm3 in an FXSAVE area.
const XMM3: usize = 160 + 3 * 16;

guest_code!(load_before: "2:", "mov eax, 39", "syscall", "jmp 2b");
guest_code!(compare_after: "2:", "xor eax, eax", "syscall", "cmp rax, -4096", "setae bl", "jmp 2b");
guest_code!(jump_inside: "2:", "xor eax, eax", "syscall", "cmp rax, -4096", "setae bl", "jmp rdx");
guest_code!(checked:
    "2:", "movq xmm3, rdi", "cmp rdi, rdi", "mov eax, 39", "syscall",
    "jne 3f", "movq rax, xmm3", "cmp rax, rdi", "jne 3f", "mov rax, [rsp - 8]", "cmp rax, rdi", "jne 3f",
    "add rdi, 1", "mov [rsp - 8], rdi", "jmp 2b",
    "3:", "ud2",
);
guest_code!(checked_after:
    "2:", "cmp rdi, rdi", "mov r12, rdi", "mov eax, 0", "nop", "syscall",
    "mov r13, r12", "jne 3f", "cmp r13, rdi", "jne 3f", "add rdi, 1", "jmp 2b",
    "3:", "ud2",
);
guest_code!(carries: "2:", "movq xmm3, rdi", "mov eax, 39", "syscall", "add rdx, 1", "movq rbx, xmm3", "jmp 2b");
guest_code!(own_gs: "2:", "wrgsbase rsi", "mov eax, 39", "syscall", "rdgsbase rbx", "jmp 2b");
guest_code!(before_a_branch: "xor eax, eax", "syscall", "jmp usk_guest_before_a_branch");
guest_code!(stepped: "mov eax, 39", "syscall", "jmp usk_guest_stepped");

/// A guest at its first call, whose site has been patched where the platform can.
pub(crate) fn patched(platform: &dyn Platform, code: &[u8]) -> Guest {
    let mut guest = Guest::new(platform, code);
    guest.apply(&[map(AREA, AREA_SIZE, READ_EXECUTE)]);
    guest.syscall();
    patch(&mut guest);
    guest
}

/// A guest of patched code that makes call 39 around another one, before that.
pub(crate) fn patched_before_call(platform: &dyn Platform, code: &[u8]) -> Guest {
    let mut guest = patched(platform, code);
    guest.thread.registers_mut().set_return_value(0);
    assert_eq!(guest.syscall(), 39);
    guest
}

/// Has such a guest make call `number` with these arguments. True if it has called the sentry for it.
pub(crate) fn calls_for(guest: &mut Guest, number: u64, [rdi, rsi, rdx, r10]: [u64; 4]) -> bool {
    let registers = guest.thread.registers_mut();
    (registers.rdi, registers.rsi, registers.rdx, registers.r10) = (rdi, rsi, rdx, r10);
    let called = guest.syscall();
    let registers = *guest.thread.registers();
    assert_eq!([registers.rdi, registers.rsi, registers.rdx, registers.r10], [rdi, rsi, rdx, r10]);
    assert_eq!(registers.rsp, STACK);
    if called != number {
        assert_eq!((called, registers.rbx), (39, 0));
        return false;
    }
    guest.thread.registers_mut().set_return_value(0);
    assert_eq!(guest.syscall(), 39);
    true
}

fn request() -> PatchRequest {
    PatchRequest { text: CODE..CODE + PAGE, trampolines: AREA..AREA + AREA_SIZE }
}

fn patch(guest: &mut Guest) {
    match guest.thread.patchable_site() {
        Some(_) => patch_as(guest, &request()).expect("the site can be patched"),
        None => assert_eq!(patch_as(guest, &request()), Err(Errno::EOPNOTSUPP)),
    }
}

/// Asks for the site of the last call to be patched.
fn patch_as(guest: &mut Guest, request: &PatchRequest) -> Result<(), Errno> {
    let registers = *guest.thread.registers();
    guest.thread.patch(registers.rip - 2, registers.rax, request)
}

fn fill(registers: &mut Registers) {
    let kept = *registers;
    *registers = Registers {
        rax: 0x1234,
        rbx: 0x1111_1111_1111_1111,
        rcx: 0x2222,
        rdx: 0x3333_3333_3333_3333,
        rsi: u64::MAX,
        rdi: 0x4444,
        rbp: 0x5555_5555_5555_5555,
        rsp: STACK - 24,
        r8: 8,
        r9: 9,
        r10: 10,
        r11: 11,
        r12: 12,
        r13: 13,
        r14: 14,
        r15: 0x8000_0000_0000_0000,
        // Carry, parity, zero, sign, direction, overflow.
        rflags: 0x202 | 0xcc5,
        fs_base: DATA,
        ..kept
    };
}

pub(crate) fn a_patched_call_stops_with_the_registers_of_the_original(platform: &dyn Platform) {
    for code in [load_before(), compare_after()] {
        let mut plain = Guest::new(platform, code);
        plain.syscall();
        let mut guest = patched(platform, code);
        for guest in [&mut plain, &mut guest] {
            fill(guest.thread.registers_mut());
            guest.syscall();
        }
        assert_eq!(plain.thread.registers(), guest.thread.registers());
        if platform.name() == "trap" {
            assert_eq!(guest.thread.patchable_site(), None, "it did not trap");
        }
    }
}

pub(crate) fn a_patched_call_returns_its_result_and_keeps_everything_else(platform: &dyn Platform) {
    let mut guest = patched(platform, load_before());
    fill(guest.thread.registers_mut());
    guest.syscall();
    for value in [4711, Errno::ENOSYS.as_return_value(), Errno::EINTR.as_return_value(), 0] {
        let before = *guest.thread.registers();
        guest.thread.registers_mut().set_return_value(value);
        assert_eq!(guest.syscall(), 39);
        assert_eq!(*guest.thread.registers(), before);
    }
    let mut guest = patched(platform, compare_after());
    guest.syscall();
    for value in [0, 1, Errno::ENOSYS.as_return_value()] {
        guest.thread.registers_mut().set_return_value(value);
        guest.syscall();
        let is_error = value > (-4096i64) as u64;
        assert_eq!(guest.thread.registers().rbx & 0xff, u64::from(is_error), "{value:#x}");
    }
    guest.thread.registers_mut().fs_base = DATA + 8;
    guest.syscall();
    assert_eq!(guest.thread.registers().fs_base, DATA + 8);
}

pub(crate) fn code_after_a_patched_call_can_be_jumped_to(platform: &dyn Platform) {
    let mut guest = patched(platform, jump_inside());
    let site = guest.thread.registers().rip - 2;
    // By the sentry, after the call that was patched and after others.
    for target in [site + 2, CODE, site, site + 2] {
        let registers = guest.thread.registers_mut();
        (registers.rip, registers.rax, registers.rdx) = (site + 2, 5, target);
        guest.thread.registers_mut().rip = site + 2;
        if target == site + 2 {
            // The code jumps to itself, by itself: only a kick ends it.
            let kicker = guest.thread.kicker();
            let trap = thread::scope(|scope| {
                scope.spawn(|| kicker.kick());
                guest.thread.run()
            });
            assert_eq!(trap, Trap::Interrupted);
            let rip = guest.thread.registers().rip;
            assert!((site + 2..site + 13).contains(&rip), "{rip:#x} is in the original code");
        } else {
            guest.syscall();
            assert_eq!(guest.thread.registers().rip, site + 2);
        }
    }
}

pub(crate) fn a_call_can_be_restarted_where_it_was_patched(platform: &dyn Platform) {
    for code in [load_before(), compare_after()] {
        let mut guest = patched(platform, code);
        guest.syscall();
        let Trap::Syscall { instruction } = guest.thread.run() else { panic!("no system call") };
        guest.thread.registers_mut().restart_syscall(instruction, 7);
        assert_eq!(guest.syscall(), 7);
        assert_eq!(guest.thread.registers().rip, instruction + 2);
        guest.syscall();
    }
}

pub(crate) fn kicks_never_tear_a_patched_call(platform: &dyn Platform) {
    for code in [checked(), checked_after()] {
        let mut guest = patched(platform, code);
        guest.thread.registers_mut().rdi = 0;
        guest.thread.registers_mut().rip = CODE;
        guest.write_u64(STACK - 8, 0);
        let (mut calls, mut kicks) = (0, 0);
        under_kicks(guest.thread.kicker(), || {
            // On a busy host the kicks may be late.
            while calls < 20_000 || kicks == 0 && calls < 2_000_000 {
                match guest.thread.run() {
                    Trap::Syscall { .. } => {
                        let registers = *guest.thread.registers();
                        assert_eq!(registers.rdi, calls, "no call is lost or made twice");
                        assert_eq!(registers.rsp, STACK);
                        calls += 1;
                    }
                    Trap::Interrupted => {
                        let registers = guest.thread.registers();
                        assert!((CODE..CODE + code.len() as u64).contains(&registers.rip), "{registers:x?}");
                        assert!(registers.rdi == calls || registers.rdi + 1 == calls, "{registers:x?}");
                        assert_eq!(registers.rsp, STACK);
                        assert_eq!(registers.gs_base, 0);
                        kicks += 1;
                    }
                    trap => panic!("{trap:x?} at {:x?}", guest.thread.registers()),
                }
            }
        });
        assert!(kicks > 0, "nothing was tested");
    }
}

pub(crate) fn memory_operations_work_in_a_patched_call(platform: &dyn Platform) {
    let mut guest = patched(platform, checked());
    guest.thread.registers_mut().rdi = 0;
    guest.thread.registers_mut().rip = CODE;
    guest.write_u64(STACK - 8, 0);
    let descriptor = super::memory::descriptor(&super::memory::file(&[7; 4096]));
    let (kicker, done) = (guest.thread.kicker(), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                kicker.kick();
                thread::yield_now();
            }
        });
        let mut calls = 0;
        while calls < 2000 {
            match guest.thread.run() {
                Trap::Syscall { .. } => {
                    assert_eq!(guest.thread.registers().rdi, calls);
                    guest.apply(&[
                        map(0x70_0000, 2 * PAGE, READ_WRITE),
                        super::memory::map_file(&descriptor, false, 0),
                        MemoryOp::Unmap { address: 0x70_1000, length: PAGE },
                    ]);
                    calls += 1;
                }
                Trap::Interrupted => {}
                trap => panic!("{trap:x?} at {:x?}", guest.thread.registers()),
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}

pub(crate) fn changes_left_for_the_way_back_are_made_or_refused(platform: &dyn Platform) {
    const PLACE: u64 = 0x70_0000;
    let mut plain = Guest::new(platform, load_before());
    plain.syscall();
    for mut guest in [plain, patched(platform, load_before())] {
        // The first call of a patched site is still the one that trapped.
        for _ in 0..3 {
            let unmap = MemoryOp::Unmap { address: PLACE, length: PAGE };
            let protect = MemoryOp::Protect { address: PLACE, length: PAGE, protection: READ_EXECUTE };
            let before = guest.thread.registers().rsp;
            guest.thread.apply_on_return(&[map(PLACE, PAGE, READ_WRITE)]).expect("it is mapped or will be");
            guest.syscall();
            assert_eq!(guest.read(PLACE), [0; 16]);
            guest.thread.apply_on_return(&[unmap]).expect("it is unmapped or will be");
            assert_eq!(guest.thread.settle(), Ok(()));
            assert_eq!(guest.space.read(PLACE, &mut [0]), 0);
            // There is nothing whose access could be changed.
            let refused = match guest.thread.apply_on_return(&[protect]) {
                Ok(()) => match guest.thread.run() {
                    Trap::Refused(error) => error,
                    trap => panic!("{trap:x?}"),
                },
                Err((index, error)) => {
                    assert_eq!(index, 0);
                    error
                }
            };
            assert_eq!(refused, Errno::ENOMEM);
            guest.thread.registers_mut().set_return_value(refused.as_return_value());
            let refused = guest.thread.apply_on_return(&[protect]).map_err(|(_, error)| error);
            assert_eq!(refused.and_then(|()| guest.thread.settle()), Err(Errno::ENOMEM));
            // What comes after a change that was left is made after it.
            guest.thread.apply_on_return(&[map(PLACE, PAGE, READ_WRITE)]).expect("it is mapped or will be");
            guest.apply(&[protect, unmap]);
            assert_eq!(guest.syscall(), 39);
            assert_eq!(guest.thread.registers().rsp, before);
        }
    }
}

pub(crate) fn changes_left_for_the_way_back_are_made_whatever_kicks_the_thread(platform: &dyn Platform) {
    const PLACE: u64 = 0x70_0000;
    let mut guest = patched(platform, load_before());
    under_kicks(guest.thread.kicker(), || {
        for round in rounds(10_000) {
            let is_mapped = round.is_multiple_of(2);
            let change = match is_mapped {
                true => map(PLACE, PAGE, READ_WRITE),
                false => MemoryOp::Unmap { address: PLACE, length: PAGE },
            };
            guest.thread.apply_on_return(&[change]).expect("it is made or will be");
            loop {
                match guest.thread.run() {
                    Trap::Syscall { .. } => break,
                    Trap::Interrupted => {}
                    trap => panic!("{trap:x?} at {:x?}", guest.thread.registers()),
                }
            }
            assert_eq!(guest.space.read(PLACE, &mut [0]), usize::from(is_mapped));
        }
    });
}

/// A guest in a call from a patched site, with a change left for its way back, in an address space that has had two threads. A kick comes
/// as soon as it does anything.
fn about_to_be_kicked(platform: &dyn Platform) -> Guest {
    let mut guest = patched(platform, carries());
    drop(guest.sibling(&start()));
    assert_eq!(guest.syscall(), 39);
    guest.thread.apply_on_return(&[map(DATA + DATA_SIZE, PAGE, READ_WRITE)]).expect("it is left");
    kick_late();
    guest
}

pub(crate) fn a_late_kick_does_not_end_a_thread_that_is_to_have_a_frame(platform: &dyn Platform) {
    let mut guest = about_to_be_kicked(platform);
    // A new program: it needs one.
    guest.apply(&[MemoryOp::UnmapAll]);
    guest.load(carries());
    *guest.thread.registers_mut() = start().registers;
    assert_eq!(guest.syscall(), 39);
    assert_eq!(guest.syscall(), 39);
    assert_eq!(guest.thread.registers().rbx, DATA);
}

pub(crate) fn a_late_kick_leaves_the_extended_state_that_is_read_as_it_is(platform: &dyn Platform) {
    let mut guest = about_to_be_kicked(platform);
    let image = guest.thread.extended_state();
    assert_eq!(image[XMM3..XMM3 + 8], DATA.to_le_bytes());
    assert_eq!(guest.thread.extended_state(), image);
    assert_eq!(guest.syscall(), 39);
    assert_eq!(guest.thread.registers().rbx, DATA);
    guest.write_u64(DATA + DATA_SIZE, 1);
}

pub(crate) fn extended_state_can_be_read_and_written_in_a_patched_call(platform: &dyn Platform) {
    let mut guest = patched(platform, checked());
    guest.thread.registers_mut().rip = CODE;
    guest.thread.registers_mut().rdi = 5;
    guest.write_u64(STACK - 8, 5);
    for round in 5..9u64 {
        guest.syscall();
        let mut image = guest.thread.extended_state();
        assert_eq!(image[XMM3..XMM3 + 8], round.to_le_bytes());
        // Both the vector register and the general one become another number.
        image[XMM3..XMM3 + 8].copy_from_slice(&round.to_le_bytes());
        guest.thread.set_extended_state(Some(&image)).expect("a good image");
    }
    // A wrong one is noticed, so it did reach the register.
    guest.syscall();
    let mut image = guest.thread.extended_state();
    image[XMM3] ^= 1;
    guest.thread.set_extended_state(Some(&image)).expect("a good image");
    assert!(matches!(guest.thread.run(), Trap::Fault { signal: libc::SIGILL, .. }));
}

/// As a signal's delivery and the return from its handler do it: saved to memory, and restored from there.
pub(crate) fn extended_state_follows_the_registers_of_a_patched_call_whatever_kicks_it(
    platform: &dyn Platform,
) {
    const SAVED: u64 = DATA + 0x1000;
    let mut guest = patched(platform, checked());
    let size = platform.layout().extended_state_size;
    let (mut images, mut kicks) = (0, 0);
    under_kicks(guest.thread.kicker(), || {
        let mut next = |guest: &mut Guest| {
            loop {
                match guest.thread.run() {
                    Trap::Syscall { .. } => return,
                    Trap::Interrupted => kicks += 1,
                    trap => panic!("{trap:x?} at {:x?}", guest.thread.registers()),
                }
            }
        };
        let mut expected = None::<Registers>;
        while images < 5_000u64 {
            // At the call, with this number in the vector register and in memory.
            let number = images * 0x1_0001;
            guest.thread.registers_mut().rip = CODE;
            guest.thread.registers_mut().rdi = number;
            guest.write_u64(STACK - 8, number);
            next(&mut guest);
            assert_eq!(guest.thread.registers().rdi, number);
            // It goes on somewhere else: back to where it loads the register. What it had is in memory by then.
            let registers = *guest.thread.registers();
            guest.thread.save_extended_state(SAVED, images % 2 == 0).expect("it can be written");
            guest.thread.registers_mut().rip = CODE;
            guest.thread.registers_mut().rdi = !number;
            guest.write_u64(STACK - 8, !number);
            next(&mut guest);
            let mut image = vec![0; size];
            assert_eq!(guest.space.read(SAVED, &mut image), size);
            assert_eq!(image[XMM3..XMM3 + 8], number.to_le_bytes());
            // And back: with the old registers, the old state is there, or the guest finds that it is not.
            guest.thread.set_extended_state(Some(&image)).expect("what was saved is good");
            *guest.thread.registers_mut() = registers;
            guest.write_u64(STACK - 8, number);
            next(&mut guest);
            let expected = expected.get_or_insert(registers);
            assert_eq!(guest.thread.registers().rdi, number + 1);
            assert_eq!(guest.thread.registers().r15, expected.r15);
            images += 1;
        }
    });
    assert!(kicks > 0, "nothing was tested");
    assert_eq!(guest.thread.save_extended_state(STACK + 0x100_0000, false), Err(Errno::EFAULT));
}

pub(crate) fn registers_can_be_replaced_in_a_patched_call(platform: &dyn Platform) {
    let mut guest = patched(platform, load_before());
    guest.syscall();
    let mut registers = start().registers;
    fill(&mut registers);
    registers.rip = CODE;
    *guest.thread.registers_mut() = registers;
    guest.syscall();
    let site = guest.thread.registers().rip - 2;
    let rflags = guest.thread.registers().rflags;
    let expected = Registers { rax: 39, rip: site + 2, rcx: site + 2, r11: rflags, rflags, ..registers };
    assert_eq!(*guest.thread.registers(), expected);
    assert_eq!(rflags & 0xcd5, registers.rflags & 0xcd5);
}

pub(crate) fn a_guest_with_a_gs_base_of_its_own_traps(platform: &dyn Platform) {
    let mut guest = patched(platform, own_gs());
    for base in [DATA, DATA + 0x1000, 0, DATA] {
        guest.thread.registers_mut().rsi = base;
        guest.syscall();
        assert_eq!(guest.thread.registers().gs_base, base);
        guest.syscall();
        if base != 0 {
            assert_eq!(guest.thread.registers().rbx, base);
        }
    }
    // Set by the sentry, in a patched call: `arch_prctl(2)`.
    let mut guest = patched(platform, load_before());
    guest.syscall();
    guest.thread.registers_mut().gs_base = DATA;
    guest.syscall();
    assert_eq!(guest.thread.registers().gs_base, DATA);
    guest.thread.registers_mut().gs_base = 0;
    guest.syscall();
    assert_eq!(guest.thread.registers().gs_base, 0);
}

pub(crate) fn a_fork_inherits_patches(platform: &dyn Platform) {
    for code in [load_before(), compare_after()] {
        let mut guest = patched(platform, code);
        guest.syscall();
        let extended = guest.thread.extended_state();
        let state = ThreadState { registers: *guest.thread.registers(), extended: Some(extended.into()) };
        let space = guest.space.fork().expect("a copy");
        let thread = std::sync::Arc::clone(&space).create_thread(&state).expect("a thread");
        let mut child = Guest { space, thread };
        for guest in [&mut child, &mut guest] {
            guest.syscall();
            assert_eq!(guest.thread.patchable_site(), None);
        }
        // Taking back in one leaves the other as it is.
        child.thread.unpatch(CODE..CODE + PAGE).expect("it can be taken back");
        guest.syscall();
        assert_eq!(guest.thread.patchable_site(), None);
        child.syscall();
        child.syscall();
    }
}

pub(crate) fn patches_can_be_taken_back(platform: &dyn Platform) {
    for code in [load_before(), compare_after()] {
        for range in [CODE..CODE + PAGE, AREA..AREA + AREA_SIZE] {
            let mut guest = patched(platform, code);
            guest.syscall();
            guest.thread.unpatch(range).expect("it can be taken back");
            let mut found = vec![0; code.len()];
            guest.space.read(CODE, &mut found);
            assert_eq!(found, code);
            guest.syscall();
            guest.syscall();
            // And made again.
            patch(&mut guest);
            guest.syscall();
            guest.syscall();
        }
    }
}

pub(crate) fn patches_taken_back_during_a_call_do_not_matter_to_it(platform: &dyn Platform) {
    let mut guest = patched(platform, compare_after());
    let mut sibling = guest.sibling(&start());
    sibling.syscall();
    sibling.syscall();
    // The sibling is in a call that it has begun in a trampoline.
    guest.thread.unpatch(CODE..CODE + PAGE).expect("it can be taken back");
    guest.apply(&[MemoryOp::Unmap { address: AREA, length: AREA_SIZE }]);
    sibling.thread.registers_mut().set_return_value(3);
    sibling.syscall();
    assert_eq!(sibling.thread.registers().rbx & 0xff, 0);
}

pub(crate) fn what_cannot_be_patched_is_refused(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, before_a_branch());
    guest.apply(&[map(AREA, AREA_SIZE, READ_EXECUTE)]);
    guest.syscall();
    assert_eq!(patch_as(&mut guest, &request()), Err(Errno::EOPNOTSUPP));
    let mut guest = Guest::new(platform, load_before());
    guest.syscall();
    let far = PatchRequest { trampolines: 0x7000_0000_0000..0x7000_0001_0000, ..request() };
    assert_eq!(patch_as(&mut guest, &far), Err(Errno::EOPNOTSUPP));
    let elsewhere = PatchRequest { text: DATA..DATA + PAGE, ..request() };
    assert_eq!(patch_as(&mut guest, &elsewhere), Err(Errno::EOPNOTSUPP));
    guest.syscall();
}

pub(crate) fn a_step_over_a_patched_call_is_a_call(platform: &dyn Platform) {
    const TRAP_FLAG: u64 = 0x100;
    let mut guest = patched(platform, stepped());
    guest.thread.registers_mut().rflags |= TRAP_FLAG;
    guest.thread.registers_mut().rip = CODE;
    let mut calls = 0;
    for _ in 0..20 {
        match guest.thread.run() {
            Trap::Syscall { .. } => calls += 1,
            Trap::Fault { signal: libc::SIGTRAP, .. } => {}
            trap => panic!("{trap:x?} at {:x?}", guest.thread.registers()),
        }
        let rip = guest.thread.registers().rip;
        assert!((CODE..CODE + 16).contains(&rip), "{rip:#x} is in the original code");
    }
    assert!(calls >= 2, "{calls} calls");
}
