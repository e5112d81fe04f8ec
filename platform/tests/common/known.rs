//! Patches that are known before the code runs: like those of [`super::patching`] they must not be told from unpatched code,
//! and they must not be where the code is not what they were made for.

use std::sync::Arc;

use usk_abi::Errno;
use usk_platform::trap::{Answers, CodeImage, KnownPatch, Oracle};
use usk_platform::{MemoryOp, PatchRequest, Platform, Protection, Trap};

use super::guest::{CODE, Guest, PAGE, READ_EXECUTE, Rounds, STACK, guest_code, map, under_kicks};

const AREA_SIZE: u64 = CodeImage::AREA_SIZE;
/// Where trampolines go: right before where the file's first byte would be.
const AREA: u64 = CODE - OFFSET - AREA_SIZE;
const ALL: Protection = Protection { read: true, write: true, execute: true };
/// Where in its file the code is.
const OFFSET: u64 = 0x3000;
/// `TF`
const TRAP_FLAG: u64 = 0x100;

guest_code!(known_calls: "nop", "nop", "nop", "2:", "mov eax, 39", "syscall", "jmp 2b");
guest_code!(asks: "nop", "nop", "nop", "2:", "mov eax, 0", "cpuid", "mov esi, eax",
    "mov r8d, ebx", "mov r9d, ecx", "mov r10d, edx", "mov eax, 0xd", "xor ecx, ecx", "cpuid", "push rax",
    "mov eax, 39", "syscall", "jmp 2b");
guest_code!(asks_and_checks:
    "nop", "nop", "nop",
    "2:", "mov rsi, rdi", "cmp rdi, rdi", "mov eax, 0", "cpuid",
    "jne 3f", "cmp eax, r12d", "jne 3f", "cmp ebx, r8d", "jne 3f", "cmp ecx, r9d", "jne 3f", "cmp edx, r10d", "jne 3f",
    "or eax, 1", "mov eax, 7", "xor ecx, ecx", "cpuid",
    "jne 3f", "cmp ebx, r13d", "jne 3f", "cmp edx, r14d", "jne 3f", "cmp rsi, rdi", "jne 3f", "inc rdi", "jmp 2b",
    "3:", "ud2",
);

// What is asked is in r8d and r9d. What follows the first cpuid moves; beside the second is a gap, filled with `nop cs:[rax + rax + 0]`.
guest_code!(looks_up:
    ".fill 32, 1, 0x90",
    "2:", "mov rsi, rdi", "cmp rdi, rdi", "mov eax, r8d", "mov ecx, r9d", "cpuid", "mov r10d, edx",
    "jne 3f", "cmp eax, r12d", "jne 3f", "cmp ebx, r13d", "jne 3f", "cmp ecx, r14d", "jne 3f", "cmp r10d, r15d", "jne 3f",
    "nop", ".byte 0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0",
    "mov eax, r8d", "mov ecx, r9d", "cpuid", "mov edx, edx",
    "jne 3f", "cmp eax, r12d", "jne 3f", "cmp ebx, r13d", "jne 3f", "cmp ecx, r14d", "jne 3f", "cmp edx, r15d", "jne 3f",
    "cmp rsi, rdi", "jne 3f", "inc rdi", "test bpl, bpl", "je 2b",
    "mov eax, 39", "syscall", "jmp 2b",
    "3:", "ud2",
);
// Before the first call is an instruction that can move, beside the second a gap; before and behind each is nothing else.
guest_code!(plain_calls:
    ".fill 60, 1, 0x90",
    "2:", "mov eax, 39", "lea rsi, [rdi + 0x1234]", "syscall", "test eax, eax", "jne 3f", "sub rsi, 0x1234", "cmp rsi, rdi", "jne 3f",
    ".fill 60, 1, 0x90",
    "mov eax, 39", "mov rsi, rdi", "syscall", "test eax, eax", "jne 3f", "cmp rsi, rdi", "jne 3f", "inc rdi", "jmp 2b",
    ".byte 0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0",
    "3:", "ud2",
);
/// Leaves and parts, of which every processor has some and no loader asks about some.
const QUESTIONS: [(u32, u32); 6] = [(0, 0), (0, 77), (7, 0), (0xd, 1), (4, 1), (0x8000_0002, 0)];

/// A guest that asks this, and knows the answer.
fn asking(platform: &dyn Platform, (leaf, part): (u32, u32)) -> Guest {
    assert_eq!(known(looks_up()).iter().filter(|patch| patch.looks_up()).count(), 2);
    let mut guest = patched(platform, looks_up());
    let answer = std::arch::x86_64::__cpuid_count(leaf, part);
    let registers = guest.thread.registers_mut();
    (registers.r8, registers.r9, registers.rdi, registers.rbp) = (leaf.into(), part.into(), 0, 0);
    (registers.r12, registers.r13) = (answer.eax.into(), answer.ebx.into());
    (registers.r14, registers.r15) = (answer.ecx.into(), answer.edx.into());
    guest
}

/// What is known of code: its calls, all with number 39, and its `cpuid`s.
fn known(code: &[u8]) -> Vec<Arc<KnownPatch>> {
    let is_call = |at: &usize| code[*at..*at + 2] == [0x0f, 0x05];
    let call = |at: usize| KnownPatch::call(OFFSET, code, OFFSET + at as u64, 39);
    let calls = (0..code.len() - 1).filter(is_call).filter_map(call);
    KnownPatch::cpuids(OFFSET, code, &mut Answers::default(), &mut { KnownPatch::MAX_CPUIDS })
        .into_iter()
        .chain(calls)
        .map(Arc::new)
        .collect()
}

/// A file whose only code page begins with this.
fn image(code: &[u8]) -> Arc<CodeImage> {
    let mut page = [0; PAGE as usize];
    page[..code.len()].copy_from_slice(code);
    let oracle = Arc::new(Oracle::new(&mut Answers::default()));
    let image = CodeImage::new(&known(code), Some(&oracle), &mut |offset| (offset == OFFSET).then_some(page));
    Arc::new(image.expect("something is known"))
}

fn request() -> PatchRequest {
    PatchRequest { text: CODE..CODE + PAGE, trampolines: AREA..AREA + AREA_SIZE }
}

fn protect(guest: &mut Guest, protection: Protection) {
    guest.apply(&[
        MemoryOp::Protect { address: CODE, length: PAGE, protection },
        MemoryOp::Protect { address: AREA, length: AREA_SIZE, protection },
    ]);
}

/// A guest whose code has been patched, where the platform does, before it runs.
fn patched(platform: &dyn Platform, code: &[u8]) -> Guest {
    let mut guest = Guest::new(platform, code);
    guest.apply(&[map(AREA, AREA_SIZE, READ_EXECUTE)]);
    protect(&mut guest, ALL);
    let expected = if guest.thread.patches_code() { Ok(()) } else { Err(Errno::EOPNOTSUPP) };
    assert_eq!(guest.thread.patch_known(&request(), OFFSET, &image(code)), expected);
    protect(&mut guest, READ_EXECUTE);
    guest
}

fn is_as_it_was(guest: &Guest, code: &[u8]) -> bool {
    let mut found = vec![0; code.len()];
    guest.space.read(CODE, &mut found);
    found == code
}

pub(crate) fn known_code_is_patched_before_it_runs(platform: &dyn Platform) {
    let mut guest = patched(platform, known_calls());
    assert_eq!(is_as_it_was(&guest, known_calls()), !guest.thread.patches_code());
    for _ in 0..3 {
        assert_eq!(guest.syscall(), 39);
        assert_eq!(guest.thread.patchable_site(), None);
    }
    guest.thread.unpatch(CODE..CODE + PAGE).expect("it can be taken back");
    assert!(is_as_it_was(&guest, known_calls()));
    guest.syscall();
    guest.syscall();
}

pub(crate) fn known_calls_are_patched_by_what_is_before_them_or_by_a_gap(platform: &dyn Platform) {
    assert_eq!(known(plain_calls()).len(), 2);
    let mut guest = patched(platform, plain_calls());
    assert_eq!(is_as_it_was(&guest, plain_calls()), !guest.thread.patches_code());
    guest.thread.registers_mut().rdi = 0;
    let code = plain_calls().len() as u64;
    under_kicks(guest.thread.kicker(), || {
        let mut rounds = Rounds::up_to(3000);
        while rounds.go_on(guest.thread.registers().rdi > 100) {
            match guest.thread.run() {
                Trap::Syscall { instruction } => {
                    assert!((CODE..CODE + code).contains(&instruction), "{instruction:#x}");
                    guest.thread.registers_mut().set_return_value(0);
                }
                Trap::Interrupted => {
                    let registers = guest.thread.registers();
                    assert!((CODE..CODE + code).contains(&registers.rip), "{registers:x?}");
                    assert_eq!(registers.rsp, STACK);
                }
                trap => panic!("{trap:x?} at {:x?}", guest.thread.registers()),
            }
        }
    });
    for _ in 0..4 {
        assert_eq!(guest.syscall(), 39);
        guest.thread.registers_mut().set_return_value(0);
    }
    guest.thread.unpatch(CODE..CODE + PAGE).expect("it can be taken back");
    assert!(is_as_it_was(&guest, plain_calls()));
    for _ in 0..4 {
        assert_eq!(guest.syscall(), 39);
        guest.thread.registers_mut().set_return_value(0);
    }
}

pub(crate) fn code_that_is_not_what_is_known_stays_as_it_is(platform: &dyn Platform) {
    assert_eq!(known(asks()).len(), 3);
    let image = image(asks());
    let mut guest = Guest::new(platform, asks());
    guest.apply(&[map(AREA, AREA_SIZE, ALL)]);
    protect(&mut guest, ALL);
    // Whatever byte of the page is another.
    for at in (0..PAGE).step_by(97) {
        let [byte] = guest.read(CODE + at);
        guest.space.write(CODE + at, &[byte ^ 1]);
        let mut before = vec![0; PAGE as usize];
        guest.space.read(CODE, &mut before);
        assert!(guest.thread.patch_known(&request(), OFFSET, &image).is_err());
        let mut after = vec![0; PAGE as usize];
        guest.space.read(CODE, &mut after);
        assert_eq!(before, after, "byte {at}");
        guest.space.write(CODE + at, &[byte]);
    }
    // Ranges that do not belong together, or do not lie in the mapping.
    for offset in [0, OFFSET - PAGE, OFFSET + PAGE, u64::MAX - PAGE, u64::MAX] {
        assert!(guest.thread.patch_known(&request(), offset, &image).is_err());
    }
    let elsewhere = PatchRequest { trampolines: AREA + PAGE..AREA + AREA_SIZE, ..request() };
    let short = PatchRequest { text: CODE..CODE + 100, ..request() };
    for request in [elsewhere, short] {
        assert!(guest.thread.patch_known(&request, OFFSET, &image).is_err());
    }
    assert!(is_as_it_was(&guest, asks()));
    assert!(!guest.thread.is_patched(&(AREA..CODE + PAGE)));
    let is_patched = guest.thread.patch_known(&request(), OFFSET, &image).is_ok();
    assert_eq!(is_patched, guest.thread.patches_code());
    assert_eq!(guest.thread.is_patched(&(AREA..CODE + PAGE)), is_patched);
}

pub(crate) fn code_that_cannot_be_written_stays_as_it_is(platform: &dyn Platform) {
    let image = image(asks());
    for (code, area) in [(READ_EXECUTE, ALL), (ALL, READ_EXECUTE), (READ_EXECUTE, READ_EXECUTE)] {
        let mut guest = Guest::new(platform, asks());
        guest.apply(&[
            map(AREA, AREA_SIZE, area),
            MemoryOp::Protect { address: CODE, length: PAGE, protection: code },
        ]);
        assert!(guest.thread.patch_known(&request(), OFFSET, &image).is_err());
        assert!(is_as_it_was(&guest, asks()));
        assert!(!guest.thread.is_patched(&(CODE..CODE + PAGE)));
        assert_eq!(guest.syscall(), 39);
    }
}

pub(crate) fn cpuid_answers_what_the_processor_does(platform: &dyn Platform) {
    let mut plain = Guest::new(platform, asks());
    let mut guest = patched(platform, asks());
    for guest in [&mut plain, &mut guest] {
        guest.syscall();
        guest.syscall();
    }
    let (plain_registers, registers) = (plain.thread.registers(), guest.thread.registers());
    assert_eq!(registers, plain_registers);
    assert_eq!(guest.read_u64(registers.rsp), plain.read_u64(registers.rsp));
    assert_ne!(registers.r8, 0);
}

pub(crate) fn kicks_never_tear_a_cpuid(platform: &dyn Platform) {
    let ask = std::arch::x86_64::__cpuid_count;
    assert_eq!(known(asks_and_checks()).len(), 2);
    let mut guest = patched(platform, asks_and_checks());
    let (vendor, features) = (ask(0, 0), ask(7, 0));
    let registers = guest.thread.registers_mut();
    (registers.rdi, registers.r12) = (0, vendor.eax.into());
    (registers.r8, registers.r9, registers.r10) = (vendor.ebx.into(), vendor.ecx.into(), vendor.edx.into());
    (registers.r13, registers.r14) = (features.ebx.into(), features.edx.into());
    loop_under_kicks(&mut guest, asks_and_checks(), 3000);
}

/// Runs a guest that only computes, and counts in rdi, while it is kicked all the time: it is always in its own code.
fn loop_under_kicks(guest: &mut Guest, code: &[u8], times: u32) {
    under_kicks(guest.thread.kicker(), || {
        let mut rounds = Rounds::up_to(times);
        while rounds.go_on(guest.thread.registers().rdi > 0) {
            assert_eq!(guest.thread.run(), Trap::Interrupted, "{:x?}", guest.thread.registers());
            let rip = guest.thread.registers().rip;
            assert!((CODE..CODE + code.len() as u64).contains(&rip), "{rip:x}");
        }
    });
}

pub(crate) fn a_cpuid_that_looks_it_up_answers_what_the_processor_does(platform: &dyn Platform) {
    for question in QUESTIONS {
        let mut guest = asking(platform, question);
        guest.thread.registers_mut().rbp = 1;
        for turns in 1..4 {
            assert_eq!(guest.syscall(), 39, "{question:x?}");
            assert_eq!(guest.thread.registers().rdi, turns);
        }
        guest.thread.unpatch(CODE..CODE + PAGE).expect("it can be taken back");
        assert!(is_as_it_was(&guest, looks_up()));
        assert_eq!(guest.syscall(), 39);
    }
}

pub(crate) fn kicks_never_tear_a_cpuid_that_looks_it_up(platform: &dyn Platform) {
    for question in QUESTIONS {
        loop_under_kicks(&mut asking(platform, question), looks_up(), 200);
    }
}

pub(crate) fn steps_come_forward_past_a_cpuid_that_looks_it_up(platform: &dyn Platform) {
    for question in QUESTIONS {
        let mut guest = asking(platform, question);
        let registers = guest.thread.registers_mut();
        (registers.rflags, registers.rbp) = (registers.rflags | TRAP_FLAG, 1);
        let mut steps = 0;
        while let Trap::Fault { signal: libc::SIGTRAP, .. } = guest.thread.run() {
            steps += 1;
            let rip = guest.thread.registers().rip;
            assert!((CODE..CODE + looks_up().len() as u64).contains(&rip), "{rip:x}");
            assert!(steps < 100, "it does not come forward");
        }
        assert_eq!((guest.thread.registers().rdi, guest.thread.registers().rax), (1, 39), "{question:x?}");
    }
}

pub(crate) fn a_step_over_a_patched_cpuid_is_a_cpuid(platform: &dyn Platform) {
    let mut guest = patched(platform, asks());
    let mut plain = Guest::new(platform, asks());
    plain.syscall();
    guest.thread.registers_mut().rflags |= TRAP_FLAG;
    for _ in 0..100 {
        match guest.thread.run() {
            Trap::Syscall { .. } => break,
            Trap::Fault { signal: libc::SIGTRAP, .. } => {}
            trap => panic!("{trap:x?} at {:x?}", guest.thread.registers()),
        }
        let rip = guest.thread.registers().rip;
        assert!((CODE..CODE + asks().len() as u64).contains(&rip), "{rip:#x} is in the original code");
    }
    let (registers, expected) = (guest.thread.registers(), plain.thread.registers());
    assert_eq!((registers.rsi, registers.r8, registers.r9), (expected.rsi, expected.r8, expected.r9));
    assert_eq!((registers.rbx, registers.rsp), (expected.rbx, expected.rsp));
}
