//! Guests that turn against the platform: they jump into its code, write its memory, and lie to it. Whatever they do,
//! at most they lose themselves, and in no time at all.

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use usk_platform::arch::Registers;
use usk_platform::region::{CODE as REGION, MAILBOX, ORDERS, SLOT_SIZE, SLOTS};
use usk_platform::{AddressSpace, ExitReason, MapFlags, MemoryOp, Platform, Protection, ThreadState, Trap};

use super::guest::{CODE, DATA, Guest, PAGE, READ_WRITE, STACK, guest_code, map, start};

guest_code!(copy_page: "mov ecx, 4096", "rep movsb", "syscall");
guest_code!(jump: "mov rcx, [rsp]", "mov r11, [rsp + 8]", "jmp r11");
guest_code!(ring: "2:", "mov eax, 400", "mov edi, 31", "jmp r11");
guest_code!(ring_from: "mov rsp, r12", "mov eax, 400", "xor edi, edi", "jmp r11");
guest_code!(scribble: "2:", "mov rdx, rdi", "3:", "mov [rdx], rax", "add rax, 0x1001", "add rdx, 8",
    "cmp rdx, rsi", "jb 3b", "jmp 2b");
guest_code!(deny: "2:", "mov eax, [rsi]", "sub eax, 1", "mov [rdi], eax", "jmp 2b");
guest_code!(fill_and_call: "rep stosq", "mov rdi, r8", "mov rcx, r9", "rep stosq", "mov eax, 39", "syscall",
    "mov eax, 231", "syscall");
guest_code!(honest_calls: "2:", "mov eax, 39", "syscall", "jmp 2b");

/// The longest that anything here may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The platform's code as a guest sees it. `None` if it cannot read it.
fn read_code(guest: &mut Guest) -> Option<Vec<u8>> {
    assert_eq!(guest.space.read(CODE, &mut [0; 2]), 2);
    let registers = guest.thread.registers_mut();
    (registers.rsi, registers.rdi) = (REGION, DATA);
    matches!(guest.thread.run(), Trap::Syscall { .. }).then(|| guest.read::<4096>(DATA).to_vec())
}

/// Runs until something happens; what may happen is anything but a panic or a hang.
fn run_for_a_moment(guest: &mut Guest) -> Trap {
    let is_over = Arc::new(AtomicBool::new(false));
    let kicker = guest.thread.kicker();
    let watchdog = {
        let is_over = Arc::clone(&is_over);
        thread::spawn(move || {
            let begin = Instant::now();
            while !is_over.load(Ordering::SeqCst) {
                if begin.elapsed() > Duration::from_millis(500) {
                    kicker.kill();
                } else if begin.elapsed() > Duration::from_millis(20) {
                    kicker.kick();
                }
                thread::park_timeout(Duration::from_millis(5));
            }
        })
    };
    let trap = guest.thread.run();
    is_over.store(true, Ordering::SeqCst);
    watchdog.thread().unpark();
    watchdog.join().expect("the watchdog ends");
    trap
}

/// Host calls that would gain a guest something if they happened, in the registers of a call.
fn wishes() -> Vec<[u64; 7]> {
    let call = |number: i64, arguments: [u64; 6]| {
        let [a, b, c, d, e, f] = arguments;
        [number as u64, a, b, c, d, e, f]
    };
    let all = 7;
    let anonymous = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED) as u64;
    let shared = (libc::MAP_SHARED | libc::MAP_FIXED) as u64;
    let thread = (libc::CLONE_VM | libc::CLONE_PARENT | libc::CLONE_PIDFD) as u64;
    let fork = (libc::CLONE_PARENT | libc::CLONE_PIDFD) as u64;
    let moved = (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED) as u64;
    let none = u64::MAX;
    vec![
        call(libc::SYS_munmap, [REGION, PAGE, 0, 0, 0, 0]),
        call(libc::SYS_munmap, [0x7ffd_0000_0000, 0x2_ffff_f000, 0, 0, 0, 0]),
        call(libc::SYS_munmap, [SLOTS, SLOT_SIZE, 0, 0, 0, 0]),
        call(libc::SYS_mprotect, [REGION, PAGE, all, 0, 0, 0]),
        call(libc::SYS_mprotect, [ORDERS, PAGE, all, 0, 0, 0]),
        call(libc::SYS_mmap, [REGION, PAGE, all, anonymous, none, 0]),
        call(libc::SYS_mmap, [SLOTS, PAGE, all, anonymous, none, 0]),
        call(libc::SYS_mmap, [DATA, PAGE, all, shared, 0, 0]),
        call(libc::SYS_mmap, [SLOTS, 0x1000_0000, 3, shared, 0, 0]),
        call(libc::SYS_mmap, [ORDERS, 0x400_0000, 1, shared, 1, 0]),
        call(libc::SYS_mremap, [DATA, PAGE, PAGE, moved, REGION, 0]),
        call(libc::SYS_mremap, [REGION, PAGE, PAGE, moved, DATA, 0]),
        call(libc::SYS_madvise, [SLOTS, PAGE, libc::MADV_REMOVE as u64, 0, 0, 0]),
        call(libc::SYS_clone, [thread, 0, SLOTS + MAILBOX + 8, 0, 0, 0]),
        call(libc::SYS_clone, [fork, 0, SLOTS + MAILBOX + 8, 0, 0, 0]),
        call(libc::SYS_clone, [libc::CLONE_VM as u64 | libc::SIGCHLD as u64, STACK, 0, 0, 0, 0]),
        call(libc::SYS_fork, [0; 6]),
        call(libc::SYS_seccomp, [1, 0x28, REGION + 0x1000, 0, 0, 0]),
        call(libc::SYS_dup2, [0, 2, 0, 0, 0, 0]),
        call(libc::SYS_close_range, [0, u64::from(u32::MAX), 0, 0, 0, 0]),
        call(libc::SYS_prctl, [libc::PR_SET_PDEATHSIG as u64, 9, 0, 0, 0, 0]),
        call(libc::SYS_futex, [ORDERS, 0, 0, 0, 0, 0]),
        call(libc::SYS_rt_sigprocmask, [2, REGION + 0x1010, 0, 8, 0, 0]),
        call(libc::SYS_rt_sigreturn, [0; 6]),
        call(libc::SYS_open, [DATA, 0, 0, 0, 0, 0]),
        call(libc::SYS_write, [1, DATA, 8, 0, 0, 0]),
        call(libc::SYS_ptrace, [libc::PTRACE_TRACEME as u64, 0, 0, 0, 0, 0]),
        call(libc::SYS_getrandom, [REGION, PAGE, 0, 0, 0, 0]),
        call(libc::SYS_getrandom, [ORDERS, PAGE, 0, 0, 0, 0]),
        call(400, [31, SLOTS + SLOT_SIZE, 0, 0, 0, 0]),
        call(400, [31, DATA, 0, 0, 0, 0]),
        call(400, [0x100, SLOTS + SLOT_SIZE, 0, 0, 0, 0]),
        call(400, [0x101, SLOTS + SLOT_SIZE, none, none, 0, 0]),
    ]
}

pub(crate) fn no_system_call_instruction_of_the_platform_serves_a_guest(platform: &dyn Platform) {
    let mut reader = Guest::new(platform, copy_page());
    let Some(code) = read_code(&mut reader) else {
        assert_ne!(platform.name(), "trap", "a guest can read the stub's code");
        return;
    };
    let sites: Vec<u64> = (0..code.len() - 1)
        .filter(|&at| code[at..at + 2] == [0x0f, 0x05])
        .map(|at| REGION + at as u64)
        .collect();
    // The trap platform's stub has a system-call instruction for each thing it does.
    assert!(sites.len() >= if platform.name() == "trap" { 28 } else { 1 }, "{sites:x?}");
    let before = super::children().len();
    for &site in &sites {
        for wish in wishes() {
            let mut guest = Guest::new(platform, jump());
            let stack = STACK - 64;
            guest.write_u64(stack + 8, site);
            let registers = guest.thread.registers_mut();
            registers.rsp = stack;
            let [rax, rdi, rsi, rdx, r10, r8, r9] = wish;
            *registers = Registers { rax, rdi, rsi, rdx, r10, r8, r9, ..*registers };
            let trap = run_for_a_moment(&mut guest);
            // Alive or not, the platform's code is what it was: a fresh thread of the same space sees it.
            if !matches!(trap, Trap::Exited(_)) {
                let kept = guest.space.read(CODE, &mut [0; 2]);
                assert_eq!(kept, 2, "{site:#x} with {wish:x?}: {trap:?}");
            }
        }
    }
    assert_eq!(read_code(&mut Guest::new(platform, copy_page())), Some(code));
    // What the dead have left is reaped when something new is made.
    let deadline = Instant::now() + PATIENCE;
    while super::children().len() > before + 4 {
        assert!(Instant::now() < deadline, "{} stubs are left, of {before}", super::children().len());
        drop(Guest::new(platform, jump()));
    }
}

pub(crate) fn the_platforms_code_cannot_be_changed_by_its_own_guest(platform: &dyn Platform) {
    let mut reader = Guest::new(platform, copy_page());
    let Some(code) = read_code(&mut reader) else { return };
    for (at, _) in code.windows(2).enumerate().filter(|(_, pair)| *pair == [0x0f, 0x05]) {
        for wish in wishes().into_iter().take(14) {
            let mut guest = Guest::new(platform, copy_page());
            // A sibling misbehaves; the first thread then looks at the code.
            let registers = Registers { rip: REGION + at as u64, rsp: STACK - 64, ..start().registers };
            let [rax, rdi, rsi, rdx, r10, r8, r9] = wish;
            let registers = Registers { rax, rdi, rsi, rdx, r10, r8, r9, ..registers };
            run_for_a_moment(&mut guest.sibling(&ThreadState { registers, extended: None }));
            if let Some(now) = read_code(&mut guest) {
                assert!(now == code, "site {at:#x} with {wish:x?}");
            }
        }
    }
}

pub(crate) fn a_flood_of_forged_doorbells_is_only_a_flood_of_calls(platform: &dyn Platform) {
    let mut reader = Guest::new(platform, copy_page());
    let Some(code) = read_code(&mut reader) else { return };
    for (at, _) in code.windows(2).enumerate().filter(|(_, pair)| *pair == [0x0f, 0x05]).take(4) {
        for frame in [SLOTS + SLOT_SIZE, SLOTS + SLOT_SIZE + 64, SLOTS, ORDERS, DATA, 0, u64::MAX - 15] {
            let mut guest = Guest::new(platform, ring());
            let registers = guest.thread.registers_mut();
            (registers.r11, registers.rsi) = (REGION + at as u64, frame);
            for _ in 0..20 {
                if matches!(run_for_a_moment(&mut guest), Trap::Exited(_)) {
                    break;
                }
            }
        }
    }
    let mut honest = Guest::new(platform, honest_calls());
    assert_eq!(honest.syscall(), 39);
}

pub(crate) fn a_list_comes_from_the_threads_own_orders_whatever_its_stack_pointer_says(
    platform: &dyn Platform,
) {
    let mut reader = Guest::new(platform, copy_page());
    let Some(code) = read_code(&mut reader) else { return };
    // Where orders would lie by this stack pointer: in the guest's memory. One call is there, which unmaps what is not there.
    const FORGED: u64 = 0xa0_0000;
    const ORDER_SIZE: u64 = 0x20000;
    const WANTED: u64 = 0xb0_0000;
    let stack_pointer =
        SLOTS.wrapping_add((FORGED.wrapping_sub(ORDERS) / ORDER_SIZE).wrapping_mul(SLOT_SIZE));
    let orders = [(16, 1), (0x40, 2), (0x48, 0xc0_0000), (0x50, PAGE)];
    let mut served = 0;
    for (at, _) in code.windows(2).enumerate().filter(|(_, pair)| *pair == [0x0f, 0x05]) {
        let mut guest = Guest::new(platform, ring_from());
        guest.apply(&[map(FORGED, PAGE, READ_WRITE)]);
        orders.iter().for_each(|&(place, word)| guest.write_u64(FORGED + place, word));
        let registers = guest.thread.registers_mut();
        (registers.r11, registers.r12) = (REGION + at as u64, stack_pointer);
        let has_called = matches!(run_for_a_moment(&mut guest), Trap::Syscall { .. });
        if has_called && guest.thread.apply(&[map(WANTED, PAGE, READ_WRITE)]).is_ok() {
            served += 1;
            assert_eq!(guest.space.read(WANTED, &mut [0; 8]), 8, "{at:#x}: what was reported was not done");
        }
    }
    assert!(served > 0, "one of the doorbells is that of calls from patched sites");
}

/// A sibling that overwrites a range of memory again and again, with everything.
fn scribbler(guest: &Guest, start_of_range: u64, end: u64) -> Guest {
    let registers = Registers { rip: CODE + 0x800, rdi: start_of_range, rsi: end, ..start().registers };
    guest.sibling(&ThreadState { registers, extended: None })
}

/// Does something while the scribbler scribbles.
fn during(mut scribbler: Guest, work: impl FnOnce()) {
    let kicker = scribbler.thread.kicker();
    thread::scope(|scope| {
        let run = scope.spawn(move || while !matches!(scribbler.thread.run(), Trap::Exited(_)) {});
        work();
        kicker.kill();
        run.join().expect("the scribbler ends");
    });
}

/// A guest whose code has the scribbler's in its second half.
fn guest_with_scribbler(platform: &dyn Platform, code: &[u8]) -> Guest {
    guest_with_second(platform, code, scribble())
}

fn guest_with_second(platform: &dyn Platform, code: &[u8], second: &[u8]) -> Guest {
    let mut both = code.to_vec();
    both.resize(0x800, 0x90);
    both.extend_from_slice(second);
    Guest::new(platform, &both)
}

fn assert_others_are_well(platform: &dyn Platform) {
    let mut honest = Guest::new(platform, honest_calls());
    assert_eq!(honest.syscall(), 39);
    let copy: Arc<dyn AddressSpace> = honest.space.fork().expect("a copy");
    let thread = Arc::clone(&copy).create_thread(&start()).expect("a thread");
    assert_eq!(Guest { space: copy, thread }.syscall(), 39);
}

pub(crate) fn a_forged_slot_hurts_only_its_guest(platform: &dyn Platform) {
    // The signal stack of the first guest thread, while it makes calls.
    let mut guest = guest_with_scribbler(platform, honest_calls());
    let mut victim = guest.sibling(&start());
    during(scribbler(&guest, SLOTS + SLOT_SIZE, SLOTS + 2 * SLOT_SIZE), || {
        for _ in 0..200 {
            let _ = guest.thread.extended_state();
            if matches!(run_for_a_moment(&mut guest), Trap::Exited(_)) {
                break;
            }
        }
    });
    // Its sibling has a slot of its own, and goes on.
    assert_eq!(victim.syscall(), 39);
    assert_others_are_well(platform);
}

/// What a guest leaves where it must not be found again.
const SECRET: u64 = 0x5ec2_e7ed_0001_cafe;

/// A guest that fills two ranges with the secret, makes a call and is about to end.
fn leave_secrets(platform: &dyn Platform, ranges: [(u64, u64); 2]) -> Option<Guest> {
    let mut guest = Guest::new(platform, fill_and_call());
    let [first, second] = ranges;
    let registers = guest.thread.registers_mut();
    registers.rax = SECRET;
    (registers.rdi, registers.rcx) = (first.0, (first.1 - first.0) / 8);
    (registers.r8, registers.r9) = (second.0, (second.1 - second.0) / 8);
    let mut image = guest.thread.extended_state();
    image[160..168].copy_from_slice(&SECRET.to_le_bytes());
    guest.thread.set_extended_state(Some(&image)).expect("a valid image");
    for _ in 0..2 {
        if !matches!(guest.thread.run(), Trap::Syscall { .. }) {
            return None;
        }
    }
    Some(guest)
}

pub(crate) fn an_address_space_holds_nothing_of_the_one_before(platform: &dyn Platform) {
    // Its own slot and the spawner's, but for the word by which that one says what it has done.
    let done = SLOTS + MAILBOX + 8;
    let slots = [(SLOTS + SLOT_SIZE, SLOTS + 2 * SLOT_SIZE), (SLOTS, done)];
    let ranges = if platform.name() == "trap" { slots } else { [(DATA, DATA + 64), (DATA + 64, DATA + 128)] };
    for _ in 0..4 {
        let guest = leave_secrets(platform, ranges).expect("a guest may write there");
        let before = super::children();
        drop(guest);
        let space = platform.create_space().expect("an address space");
        let thread = Arc::clone(&space).create_thread(&start()).expect("a thread");
        let mut next = Guest { space, thread };
        if platform.name() == "trap" {
            let made: Vec<i32> = super::children().into_iter().filter(|pid| !before.contains(pid)).collect();
            assert_eq!(made, [], "an address space is used again");
        }
        for address in [CODE, DATA, STACK - 8] {
            assert_eq!(next.space.read(address, &mut [0]), 0);
        }
        assert!(!next.thread.extended_state().windows(8).any(|bytes| bytes == SECRET.to_le_bytes()));
        next.load(copy_page());
        if platform.name() != "trap" {
            continue;
        }
        for page in (SLOTS..SLOTS + 2 * SLOT_SIZE).chain(ORDERS..ORDERS + 2 * PAGE).step_by(PAGE as usize) {
            let registers = next.thread.registers_mut();
            (registers.rip, registers.rsi, registers.rdi) = (CODE, page, DATA);
            let Trap::Syscall { .. } = next.thread.run() else { panic!("a guest can read its slots") };
            let bytes = next.read::<4096>(DATA);
            assert!(!bytes.windows(8).any(|bytes| bytes == SECRET.to_le_bytes()), "{page:x}");
        }
    }
}

pub(crate) fn what_a_guest_forges_does_not_hurt_the_next_in_its_address_space(platform: &dyn Platform) {
    let everything = [(SLOTS + SLOT_SIZE, SLOTS + 2 * SLOT_SIZE), (SLOTS, SLOTS + SLOT_SIZE)];
    let frame_only = [(SLOTS + SLOT_SIZE, SLOTS + 2 * SLOT_SIZE), (DATA, DATA)];
    for ranges in [everything, frame_only, everything] {
        drop(leave_secrets(platform, ranges));
        let begin = Instant::now();
        for _ in 0..6 {
            let mut next = Guest::new(platform, honest_calls());
            assert_eq!(next.syscall(), 39);
            assert_eq!(next.space.compare_exchange(DATA, 0, 1), Ok(0));
            assert_eq!(next.sibling(&start()).syscall(), 39);
            let copy = next.space.fork().expect("a copy");
            let thread = Arc::clone(&copy).create_thread(&start()).expect("a thread");
            assert_eq!(Guest { space: copy, thread }.syscall(), 39);
        }
        assert!(begin.elapsed() < PATIENCE / 10);
    }
}

pub(crate) fn a_file_that_is_mapped_for_a_guest_is_mapped_as_it_was_ordered(platform: &dyn Platform) {
    // Private mappings of a file that the platform's descriptor could write, while another thread forges all that the stub
    // could go by; and kicks on top.
    let content = [0x11; 8192];
    let file = super::memory::file(&content);
    let descriptor = super::memory::descriptor(&file);
    let mut guest = guest_with_scribbler(platform, honest_calls());
    guest.syscall();
    let kicker = guest.thread.kicker();
    let place = DATA + 8 * PAGE;
    during(scribbler(&guest, SLOTS + SLOT_SIZE, SLOTS + SLOT_SIZE + MAILBOX), || {
        for _ in 0..300 {
            kicker.kick();
            let operation = MemoryOp::MapFile {
                address: place,
                length: PAGE,
                protection: Protection { read: true, write: true, execute: false },
                shared: false,
                flags: MapFlags::default(),
                file: &descriptor,
                offset: 0,
            };
            if guest.thread.apply(&[operation, operation]).is_err() {
                break;
            }
            guest.space.write(place, &[0x22; 64]);
        }
    });
    let mut found = vec![0; content.len()];
    file.read_exact_at(&mut found, 0).expect("the file");
    assert_eq!(found, content);
    assert_others_are_well(platform);
}

pub(crate) fn forged_mailboxes_delay_but_do_not_deceive(platform: &dyn Platform) {
    for slot in [0, 3] {
        // The last one may be lost.
        let guest = guest_with_scribbler(platform, honest_calls());
        let mailbox = SLOTS + slot * SLOT_SIZE + MAILBOX;
        let begin = Instant::now();
        during(scribbler(&guest, mailbox, mailbox + 24), || {
            // Each may fail, as long as it ends; what it makes is what was asked for.
            for _ in 0..3 {
                let _ = guest.space.compare_exchange(DATA, 0, 1);
                if let Ok(thread) = Arc::clone(&guest.space).create_thread(&start()) {
                    let mut thread = Guest { space: Arc::clone(&guest.space), thread };
                    let trap = run_for_a_moment(&mut thread);
                    assert!(matches!(trap, Trap::Syscall { .. } | Trap::Exited(_)), "{trap:?}");
                }
                if let Ok(copy) = guest.space.fork()
                    && let Ok(mut thread) = Arc::clone(&copy).create_thread(&start())
                {
                    let trap = thread.run();
                    assert!(matches!(trap, Trap::Syscall { .. }), "{trap:?}");
                }
            }
        });
        assert!(begin.elapsed() < PATIENCE);
    }
    assert_others_are_well(platform);
}

pub(crate) fn a_guest_that_denies_that_exchanges_are_done_does_not_hold_them_up(platform: &dyn Platform) {
    let guest = guest_with_second(platform, honest_calls(), deny());
    // The number of the last order that is done is always one less than that of the last order.
    let denier = scribbler(&guest, SLOTS + MAILBOX + 12, ORDERS);
    during(denier, || {
        let begin = Instant::now();
        while guest.space.is_alive() && begin.elapsed() < Duration::from_secs(2) {
            let one = Instant::now();
            let _ = guest.space.compare_exchange(DATA, 0, 1);
            assert!(one.elapsed() < Duration::from_secs(5), "others may wait as long");
        }
    });
    assert_others_are_well(platform);
}

pub(crate) fn forged_mailboxes_leave_no_processes_behind(platform: &dyn Platform) {
    // What is left is found when the platform has ended.
    for _ in 0..200 {
        let guest = guest_with_scribbler(platform, honest_calls());
        let mailbox = SLOTS + MAILBOX;
        during(scribbler(&guest, mailbox, mailbox + 24), || _ = guest.space.fork());
    }
    assert_others_are_well(platform);
}

pub(crate) fn a_forged_signal_frame_is_only_a_jump(platform: &dyn Platform) {
    let mut reader = Guest::new(platform, copy_page());
    let Some(code) = read_code(&mut reader) else { return };
    // Frames at the top of the stack: all words the same, or with the selectors of 32-bit code.
    let frames: [(u64, u64); 5] =
        [(0, 0), (u64::MAX, u64::MAX), (CODE, 0x23), (CODE, 0x2b_0000_0000_0033), (REGION, 0x33)];
    for (at, _) in code.windows(2).enumerate().filter(|(_, pair)| *pair == [0x0f, 0x05]) {
        for (fill, selectors) in frames {
            let mut guest = Guest::new(platform, jump());
            let stack = STACK - 0x800;
            (0..0x100).for_each(|index| guest.write_u64(stack + 8 * index, fill));
            guest.write_u64(stack + 40 + 144, selectors);
            let registers = guest.thread.registers_mut();
            (registers.rip, registers.rax, registers.rsp) =
                (REGION + at as u64, libc::SYS_rt_sigreturn as u64, stack);
            let trap = run_for_a_moment(&mut guest);
            assert!(
                matches!(
                    trap,
                    Trap::Syscall { .. }
                        | Trap::Fault { .. }
                        | Trap::Interrupted
                        | Trap::Exited(ExitReason::Violation(_) | ExitReason::Killed)
                ),
                "{trap:?}"
            );
        }
    }
    assert_others_are_well(platform);
}
