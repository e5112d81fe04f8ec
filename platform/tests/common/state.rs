//! Processor state: what a system call stops with, and what survives it.

use std::arch::is_x86_feature_detected;
use std::sync::Arc;

use usk_abi::Errno;
use usk_platform::arch::Registers;
use usk_platform::{Platform, ThreadState, Trap};

use super::guest::{CODE, DATA, Guest, STACK, guest_code, start};

guest_code!(one_syscall: "syscall", "ud2");
guest_code!(two_syscalls: "syscall", "mov rdi, rax", "mov eax, 60", "syscall");
guest_code!(vectors:
    "movups xmm0, [rdi]", "movups xmm7, [rdi + 16]", "movups xmm15, [rdi + 32]",
    "fld qword ptr [rdi]",
    "mov eax, 1", "syscall",
    "movups [rdi + 64], xmm0", "movups [rdi + 80], xmm7", "movups [rdi + 96], xmm15",
    "fstp qword ptr [rdi + 112]",
    "mov eax, 2", "syscall",
);
guest_code!(wide_vectors:
    "vmovups ymm3, [rdi]", "vmovups ymm15, [rdi + 32]", "mov eax, 1", "syscall",
    "vmovups [rdi + 64], ymm3", "vmovups [rdi + 96], ymm15", "mov eax, 2", "syscall",
);
guest_code!(widest_vectors:
    "vmovups zmm3, [rdi]", "vmovups zmm31, [rdi + 64]", "kmovw k1, [rdi]", "mov eax, 1", "syscall",
    "vmovups [rdi + 128], zmm3", "vmovups [rdi + 192], zmm31", "kmovw [rdi + 256], k1", "mov eax, 2", "syscall",
);
guest_code!(show_vectors:
    "movups [rdi], xmm0", "movups [rdi + 16], xmm15", "stmxcsr [rdi + 32]", "fnstcw [rdi + 36]",
    "mov eax, 1", "syscall", "jmp usk_guest_show_vectors",
);
guest_code!(bases:
    "mov rax, fs:[0]", "mov rbx, gs:[8]", "syscall",
    "mov rcx, 0x510000", "wrfsbase rcx", "mov eax, 2", "syscall", "rdfsbase rbx", "mov eax, 3", "syscall",
);
guest_code!(old_gate: "mov eax, 20", "int 0x80", "ud2");
guest_code!(call_rax: "mov rdi, 1", "mov rsi, 0x500000", "call rax", "mov rbx, rax", "mov eax, 77", "syscall");
guest_code!(call_time: "mov edi, 0", "call rax", "mov rbx, rax", "mov eax, 77", "syscall");

pub(crate) fn a_system_call_stops_with_all_registers(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, one_syscall());
    let before = Registers {
        rax: 0x1234,
        rbx: 0x1111_1111_1111_1111,
        rcx: 0x2222,
        rdx: 0x3333_3333_3333_3333,
        rsi: u64::MAX,
        rdi: 0x4444,
        rbp: 0x5555_5555_5555_5555,
        rsp: STACK - 8,
        r8: 8,
        r9: 9,
        r10: 10,
        r11: 11,
        r12: 12,
        r13: 13,
        r14: 14,
        r15: 0x8000_0000_0000_0000,
        rip: CODE,
        rflags: 0x202,
        fs_base: DATA,
        gs_base: DATA + 64,
    };
    *guest.thread.registers_mut() = before;
    assert_eq!(guest.syscall(), 0x1234);
    let after = *guest.thread.registers();
    assert_eq!(after, Registers { rip: CODE + 2, rcx: CODE + 2, r11: after.rflags, ..before });
    assert_eq!(after.rflags & 0xcd5, before.rflags & 0xcd5, "condition codes and direction");
    assert_eq!(after.syscall_arguments(), [0x4444, u64::MAX, before.rdx, 10, 8, 9]);
}

pub(crate) fn the_return_value_reaches_the_guest(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, two_syscalls());
    guest.thread.registers_mut().rax = 39;
    for value in [4711, Errno::ENOSYS.as_return_value(), Errno::EINTR.as_return_value(), -512i64 as u64, 0] {
        guest.thread.registers_mut().rip = CODE;
        guest.syscall();
        guest.thread.registers_mut().set_return_value(value);
        assert_eq!(guest.syscall(), 60);
        assert_eq!(guest.thread.registers().rdi, value);
    }
}

pub(crate) fn a_system_call_can_be_restarted(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, two_syscalls());
    guest.thread.registers_mut().rax = 7;
    let Trap::Syscall { instruction } = guest.thread.run() else { panic!("no system call") };
    guest.thread.registers_mut().restart_syscall(instruction, 7);
    assert_eq!(guest.syscall(), 7);
    assert_eq!(guest.thread.registers().rip, CODE + 2);
}

/// Runs code that loads registers, makes a call, and stores them behind the `size` bytes it loaded.
fn assert_survival(platform: &dyn Platform, code: &[u8], size: usize) {
    let mut guest = Guest::new(platform, code);
    let pattern: Vec<u8> = (0..size).map(|index| (index * 7 + 3) as u8).collect();
    guest.space.write(DATA, &pattern);
    assert_eq!(guest.syscall(), 1);
    guest.apply(&[super::guest::map(0x70_0000, 0x1000, super::guest::READ_WRITE)]);
    assert_eq!(guest.syscall(), 2);
    let mut stored = vec![0; size];
    guest.space.read(DATA + size.next_multiple_of(64) as u64, &mut stored);
    assert_eq!(stored, pattern);
}

pub(crate) fn vector_registers_survive_system_calls_and_memory_operations(platform: &dyn Platform) {
    assert_survival(platform, vectors(), 48);
    if is_x86_feature_detected!("avx") {
        assert_survival(platform, wide_vectors(), 64);
    }
    if is_x86_feature_detected!("avx512f") {
        assert_survival(platform, widest_vectors(), 128);
    }
}

/// Offset of xmm0 in an FXSAVE area.
const XMM: usize = 160;

pub(crate) fn extended_state_can_be_read_and_written(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, vectors());
    guest.space.write(DATA, &[0xab; 48]);
    assert_eq!(guest.syscall(), 1);
    let mut image = guest.thread.extended_state();
    assert_eq!(image.len(), platform.layout().extended_state_size);
    assert_eq!(image[XMM..XMM + 16], [0xab; 16]);
    image[XMM..XMM + 16].fill(0x11);
    guest.thread.set_extended_state(Some(&image)).expect("a valid image");
    assert_eq!(guest.thread.extended_state()[XMM..XMM + 16], [0x11; 16]);
    assert_eq!(guest.syscall(), 2);
    assert_eq!(guest.read(DATA + 64), [0x11; 16]);
    assert_eq!(guest.read(DATA + 80), [0xab; 32]);
}

pub(crate) fn malformed_extended_state_is_refused(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, show_vectors());
    guest.syscall();
    let good = guest.thread.extended_state();
    let mut bad_mxcsr = good.clone();
    bad_mxcsr[24..28].fill(0xff);
    let mut bad_header = good.clone();
    bad_header[520..576].fill(0xff);
    let mut bad_features = good.clone();
    bad_features[519] = 0xff;
    let mut bad_end = good.clone();
    bad_end.truncate(good.len() - 4);
    for mut image in [bad_mxcsr, bad_header, bad_features, bad_end, vec![], vec![0; 100]] {
        if image.len() > XMM + 16 {
            image[XMM..XMM + 16].fill(0x77);
        }
        assert_eq!(guest.thread.set_extended_state(Some(&image)), Err(Errno::EINVAL));
    }
    assert_eq!(guest.thread.extended_state(), good);
    guest.syscall();
    assert_eq!(guest.read(DATA), [0; 16]);
}

pub(crate) fn a_thread_finds_nothing_of_one_that_has_ended(platform: &dyn Platform) {
    let guest = Guest::new(platform, vectors());
    guest.space.write(DATA, &[0xab; 48]);
    let mut with_bases = start();
    (with_bases.registers.fs_base, with_bases.registers.gs_base) = (DATA + 64, DATA + 128);
    for state in [start(), with_bases.clone(), with_bases] {
        let mut first = guest.sibling(&state);
        assert_eq!(first.syscall(), 1);
        let kicker = first.thread.kicker();
        drop(first);
        let mut next = guest.sibling(&start());
        // Whoever still has the handle of the first does not reach the next.
        kicker.kick();
        assert_eq!(next.thread.extended_state()[XMM..XMM + 256], [0; 256]);
        assert_eq!(next.syscall(), 1);
        let registers = next.thread.registers();
        assert_eq!((registers.fs_base, registers.gs_base), (0, 0));
        // More than are kept, at the same time.
        let crowd: Vec<Guest> = (0..20).map(|_| guest.sibling(&state)).collect();
        for mut guest in crowd {
            assert_eq!(guest.syscall(), 1);
            assert_eq!(guest.thread.registers().gs_base, state.registers.gs_base);
        }
    }
}

pub(crate) fn a_new_thread_has_initial_extended_state(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, show_vectors());
    guest.space.write(DATA, &[0xff; 64]);
    guest.syscall();
    assert_eq!(guest.read(DATA), [0; 32]);
    assert_eq!(u32::from_le_bytes(guest.read(DATA + 32)), 0x1f80);
    assert_eq!(u16::from_le_bytes(guest.read(DATA + 36)), 0x37f);
    // And so has one that is reset.
    let mut image = guest.thread.extended_state();
    image[XMM..XMM + 256].fill(5);
    image[512] |= 2;
    guest.thread.set_extended_state(Some(&image)).expect("a valid image");
    guest.syscall();
    assert_eq!(guest.read(DATA), [5; 32]);
    guest.thread.set_extended_state(None).expect("the initial state");
    guest.syscall();
    assert_eq!(guest.read(DATA), [0; 32]);
}

pub(crate) fn a_new_thread_takes_over_extended_state(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, vectors());
    guest.space.write(DATA, &[0xcd; 48]);
    assert_eq!(guest.syscall(), 1);
    let image: Arc<[u8]> = guest.thread.extended_state().into();
    let state = ThreadState { registers: *guest.thread.registers(), extended: Some(image) };
    let mut sibling = guest.sibling(&state);
    assert_eq!(sibling.syscall(), 2);
    assert_eq!(sibling.read(DATA + 64), [0xcd; 48]);
}

pub(crate) fn segment_bases_are_the_guests_own(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, bases());
    guest.write_u64(DATA, 39);
    guest.write_u64(DATA + 0x108, 0xfeed);
    guest.thread.registers_mut().fs_base = DATA;
    guest.thread.registers_mut().gs_base = DATA + 0x100;
    assert_eq!(guest.syscall(), 39);
    assert_eq!(guest.thread.registers().rbx, 0xfeed);
    if !has_fsgsbase() {
        return;
    }
    assert_eq!(guest.syscall(), 2);
    assert_eq!(guest.thread.registers().fs_base, 0x51_0000);
    guest.thread.registers_mut().fs_base = 0x52_0000;
    assert_eq!(guest.syscall(), 3);
    assert_eq!(guest.thread.registers().rbx, 0x52_0000);
}

/// Whether the host lets programs use `wrfsbase` (`HWCAP2_FSGSBASE`).
fn has_fsgsbase() -> bool {
    // SAFETY: getauxval has no preconditions.
    unsafe { libc::getauxval(libc::AT_HWCAP2) & 2 != 0 }
}

pub(crate) fn the_vdso_tells_the_time(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, call_rax());
    let (vdso, length) = platform.layout().vdso;
    let mut image = vec![0; length as usize];
    assert_eq!(guest.space.read(vdso, &mut image), image.len());
    guest.thread.registers_mut().rax = vdso + symbol(&image, b"__vdso_clock_gettime");
    assert_eq!(guest.syscall(), 77, "the clock is read without a system call");
    assert_eq!(guest.thread.registers().rbx, 0);
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a timespec to fill in.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    let seconds = now.tv_sec as u64 - guest.read_u64(DATA);
    assert!(seconds <= 30, "{seconds}");
}

/// Value of a dynamic symbol in an ELF image that is mapped as it lies in the file.
fn symbol(image: &[u8], wanted: &[u8]) -> u64 {
    let word = |at: usize| u64::from_le_bytes(image[at..at + 8].try_into().unwrap()) as usize;
    let half = |at: usize| u16::from_le_bytes(image[at..at + 2].try_into().unwrap()) as usize;
    let (sections, size, count) = (word(40), half(58), half(60));
    for section in (0..count).map(|index| sections + index * size) {
        let kind = u32::from_le_bytes(image[section + 4..section + 8].try_into().unwrap());
        if kind != 11 {
            continue;
        }
        let (offset, length) = (word(section + 24), word(section + 32));
        let link = u32::from_le_bytes(image[section + 40..section + 44].try_into().unwrap()) as usize;
        let strings = word(sections + link * size + 24);
        for entry in (offset..offset + length).step_by(24) {
            let name = strings + u32::from_le_bytes(image[entry..entry + 4].try_into().unwrap()) as usize;
            if image[name..].starts_with(wanted) && image[name + wanted.len()] == 0 {
                return word(entry + 8) as u64;
            }
        }
    }
    panic!("no such symbol");
}

pub(crate) fn int_0x80_is_a_general_protection_fault(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, old_gate());
    let trap = guest.thread.run();
    assert!(matches!(trap, Trap::Fault { signal: libc::SIGSEGV, trap_number: 13, .. }), "{trap:x?}");
    assert_eq!(guest.thread.registers().rip, CODE + 5);
    assert_eq!(guest.thread.registers().rax, 20);
}

/// `time(2)` of the legacy vsyscall page.
const VSYSCALL_TIME: u64 = 0xffff_ffff_ff60_0400;

pub(crate) fn a_legacy_vsyscall_is_a_system_call_or_a_fault(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, call_time());
    guest.thread.registers_mut().rax = VSYSCALL_TIME;
    match guest.thread.run() {
        Trap::Syscall { .. } => {
            assert_eq!(guest.thread.registers().syscall_number(), libc::SYS_time as u64);
            guest.thread.registers_mut().set_return_value(123);
            assert_eq!(guest.syscall(), 77);
            assert_eq!(guest.thread.registers().rbx, 123);
        }
        Trap::Fault { signal: libc::SIGSEGV, .. } => assert_eq!(guest.thread.registers().rip, VSYSCALL_TIME),
        trap => panic!("{trap:x?}"),
    }
}
