//! Faults, as the processor and the host report them.

use usk_platform::{ExitReason, MapFlags, MemoryOp, Platform, Trap};

use super::guest::{CODE, DATA, Guest, PAGE, READ, READ_WRITE, guest_code, map};
use super::memory::{descriptor, file};

guest_code!(read_rsi: "mov rax, [rsi]", "mov ebx, 5", "syscall");
guest_code!(write_rsi: "mov qword ptr [rsi], 1", "mov ebx, 5", "syscall");
guest_code!(jump_rsi: "jmp rsi");
guest_code!(divide: "xor ecx, ecx", "div ecx");
guest_code!(invalid: "ud2");
guest_code!(breakpoint: "int3", "nop");
guest_code!(privileged: "hlt");
guest_code!(step: "pushfq", "or qword ptr [rsp], 0x100", "popfq", "nop", "nop");
guest_code!(load_and_fault: "movups xmm9, [rdi]", "mov rax, [rsi]", "movups [rdi + 16], xmm9", "syscall");

/// Si codes and trap numbers: `asm-generic/siginfo.h`, Intel SDM volume 3.
const SI_KERNEL: i32 = 0x80;
const NOWHERE: u64 = 0x1234_5678_9000;

struct Expected {
    signal: i32,
    code: i32,
    address: u64,
    trap_number: u64,
    error_code: u64,
    rip: u64,
}

fn assert_fault(guest: &mut Guest, expected: Expected) {
    let Expected { signal, code, address, trap_number, error_code, rip } = expected;
    let trap = guest.thread.run();
    assert_eq!(trap, Trap::Fault { signal, code, address, trap_number, error_code }, "{trap:x?}");
    assert_eq!(guest.thread.registers().rip, rip);
}

fn page_fault(code: i32, address: u64, error_code: u64) -> Expected {
    Expected { signal: libc::SIGSEGV, code, address, trap_number: 14, error_code, rip: CODE }
}

const SEGV_MAPERR: i32 = 1;
const SEGV_ACCERR: i32 = 2;

pub(crate) fn reading_unmapped_memory(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, read_rsi());
    guest.thread.registers_mut().rsi = NOWHERE;
    assert_fault(&mut guest, page_fault(SEGV_MAPERR, NOWHERE, 4));
    // It stays there.
    assert_fault(&mut guest, page_fault(SEGV_MAPERR, NOWHERE, 4));
}

pub(crate) fn writing_read_only_memory(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, write_rsi());
    guest.apply(&[MemoryOp::Protect { address: DATA, length: PAGE, protection: READ }]);
    guest.space.read(DATA, &mut [0]);
    guest.thread.registers_mut().rsi = DATA;
    let trap = guest.thread.run();
    let Trap::Fault { signal: libc::SIGSEGV, code: SEGV_ACCERR, address: DATA, trap_number: 14, error_code } =
        trap
    else {
        panic!("{trap:x?}");
    };
    // Whether the page was present is the host's business; it was a write in user mode.
    assert_eq!(error_code & 6, 6);
}

pub(crate) fn executing_data(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, jump_rsi());
    guest.space.write(DATA, &[0x90]);
    guest.thread.registers_mut().rsi = DATA;
    let expected = Expected { rip: DATA, ..page_fault(SEGV_ACCERR, DATA, 0x15) };
    assert_fault(&mut guest, expected);
}

pub(crate) fn reading_past_the_end_of_a_file(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, read_rsi());
    let file = file(&[1; 100]);
    guest.apply(&[MemoryOp::MapFile {
        address: 0x70_0000,
        length: 2 * PAGE,
        protection: READ_WRITE,
        shared: true,
        flags: MapFlags::default(),
        file: &descriptor(&file),
        offset: 0,
    }]);
    guest.thread.registers_mut().rsi = 0x70_0000 + PAGE;
    let trap = guest.thread.run();
    const BUS_ADRERR: i32 = 2;
    const ADDRESS: u64 = 0x70_0000 + PAGE;
    assert!(
        matches!(
            trap,
            Trap::Fault { signal: libc::SIGBUS, code: BUS_ADRERR, address: ADDRESS, trap_number: 14, .. }
        ),
        "{trap:x?}"
    );
}

pub(crate) fn dividing_by_zero(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, divide());
    let (signal, code, address) = (libc::SIGFPE, 1, CODE + 2);
    assert_fault(
        &mut guest,
        Expected { signal, code, address, trap_number: 0, error_code: 0, rip: CODE + 2 },
    );
}

pub(crate) fn an_invalid_opcode(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, invalid());
    let (signal, code) = (libc::SIGILL, 2);
    assert_fault(
        &mut guest,
        Expected { signal, code, address: CODE, trap_number: 6, error_code: 0, rip: CODE },
    );
}

pub(crate) fn a_breakpoint(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, breakpoint());
    let (signal, code) = (libc::SIGTRAP, SI_KERNEL);
    assert_fault(
        &mut guest,
        Expected { signal, code, address: 0, trap_number: 3, error_code: 0, rip: CODE + 1 },
    );
}

pub(crate) fn a_privileged_instruction(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, privileged());
    let (signal, code) = (libc::SIGSEGV, SI_KERNEL);
    assert_fault(
        &mut guest,
        Expected { signal, code, address: 0, trap_number: 13, error_code: 0, rip: CODE },
    );
}

pub(crate) fn single_stepping(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, step());
    for _ in 0..2 {
        let trap = guest.thread.run();
        assert!(
            matches!(trap, Trap::Fault { signal: libc::SIGTRAP, code: 2, trap_number: 1, .. }),
            "{trap:x?}"
        );
    }
    assert_ne!(guest.thread.registers().rflags & 0x100, 0);
}

pub(crate) fn a_jump_to_a_non_canonical_address(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, jump_rsi());
    guest.thread.registers_mut().rsi = 0x8000_0000_0000_0000;
    let trap = guest.thread.run();
    assert!(matches!(trap, Trap::Fault { signal: libc::SIGSEGV, trap_number: 13, .. }), "{trap:x?}");
    // The sentry may set one too.
    guest.thread.registers_mut().rip = 0x8000_0000_0000_0000;
    let trap = guest.thread.run();
    assert!(matches!(trap, Trap::Fault { signal: libc::SIGSEGV, .. }), "{trap:x?}");
    guest.thread.registers_mut().rip = CODE;
    guest.thread.registers_mut().rsi = DATA;
    let trap = guest.thread.run();
    assert!(matches!(trap, Trap::Fault { signal: libc::SIGSEGV, address: DATA, .. }), "{trap:x?}");
}

pub(crate) fn a_fault_can_be_repaired_and_retried(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, load_and_fault());
    guest.space.write(DATA, &[0x3c; 16]);
    guest.thread.registers_mut().rsi = NOWHERE;
    guest.thread.registers_mut().r15 = 15;
    let before = *guest.thread.registers();
    assert!(matches!(guest.thread.run(), Trap::Fault { signal: libc::SIGSEGV, .. }));
    let after = *guest.thread.registers();
    assert_eq!((after.rsp, after.rdi, after.rsi, after.r15), (before.rsp, before.rdi, before.rsi, 15));
    guest.apply(&[map(NOWHERE, PAGE, READ_WRITE)]);
    guest.write_u64(NOWHERE, 99);
    assert_eq!(guest.syscall(), 99);
    assert_eq!(guest.read(DATA + 16), [0x3c; 16]);
}

pub(crate) fn jumping_into_the_platforms_region_gains_nothing(platform: &dyn Platform) {
    // Every fourth address of the first pages above the guest's range and of the customary place of stub code.
    let places = [platform.layout().guest_end, 0x7fff_0000_0000];
    let targets = places.into_iter().flat_map(|start| (start..start + 256).step_by(4));
    for target in targets {
        let mut guest = Guest::new(platform, jump_rsi());
        let registers = guest.thread.registers_mut();
        // munmap of the code page, if a host call with these registers ever happened.
        (registers.rax, registers.rdi, registers.rsi) = (libc::SYS_munmap as u64, CODE, target);
        registers.rdx = 0;
        let kicker = guest.thread.kicker();
        let space = std::sync::Arc::clone(&guest.space);
        let watchdog = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(20));
            kicker.kick();
        });
        let trap = guest.thread.run();
        assert!(
            matches!(
                trap,
                Trap::Fault { .. }
                    | Trap::Syscall { .. }
                    | Trap::Interrupted
                    | Trap::Exited(ExitReason::Violation(_) | ExitReason::Killed)
            ),
            "{trap:x?}"
        );
        if !matches!(trap, Trap::Exited(_)) {
            assert_eq!(space.read(CODE, &mut [0; 2]), 2, "the code page is still there after {target:#x}");
        }
        watchdog.join().expect("the watchdog ends");
    }
}
