//! Calls that the host carries out for the guest: only in the forms that are the guest's own affair, while they stand, and
//! without a trace of the kicks that come meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use usk_abi::Errno;
use usk_platform::{FutexCall, HOST_CALLS_STAND, HostCalled, Platform, Trap, host};

use super::guest::{CODE, DATA, Guest, Rounds, STACK, guest_code, kick_until, under_kicks};
use super::patching::patched;

const FUTEX: u64 = 202;
const WAIT: u64 = 128;
const WAKE: u64 = 129;
const WAKE_BITSET: u32 = 10;
const WAIT_BITSET: u32 = 9;
const REGION: u64 = 0x7fff_1000_0000;

guest_code!(calls_futex: "2:", "mov eax, 202", "syscall", "mov rbx, rax", "mov eax, 39", "syscall", "jmp 2b");
guest_code!(calls_yield: "2:", "mov eax, 24", "syscall", "mov rbx, rax", "mov eax, 39", "syscall", "jmp 2b");
guest_code!(calls_futex_all_the_time:
    "2:", "movq xmm3, r12", "cmp rdi, rdi", "mov eax, 202", "syscall",
    "jne 3f", "movq r13, xmm3", "cmp r13, r12", "jne 3f", "test rax, rax", "jne 3f", "add r12, 1", "jmp 2b",
    "3:", "ud2",
);

fn let_the_host(guest: &mut Guest) {
    let mut answers = [None; 9];
    answers[usize::from(HOST_CALLS_STAND)] = Some(0);
    guest.thread.set_answers(&answers);
}

/// A guest that has just been answered its call 39, and calls `code`'s first call next, which stands.
fn guest(platform: &dyn Platform, code: &[u8]) -> Guest {
    let mut guest = patched(platform, code);
    while guest.syscall() != 39 {}
    let_the_host(&mut guest);
    guest
}

/// Makes the call. `None` if it did not reach the sentry, else its arguments.
fn reaches_the_sentry(guest: &mut Guest, arguments: [u64; 6]) -> Option<[u64; 6]> {
    let registers = guest.thread.registers_mut();
    [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9] = arguments;
    match guest.syscall() {
        39 => None,
        number => {
            assert_eq!(number, FUTEX);
            let seen = guest.thread.registers().syscall_arguments();
            guest.thread.registers_mut().set_return_value(7);
            assert_eq!(guest.syscall(), 39);
            assert_eq!(guest.thread.registers().rbx, 7);
            Some(seen)
        }
    }
}

pub(crate) fn the_host_carries_out_private_futexes_while_they_stand(platform: &dyn Platform) {
    let mut guest = guest(platform, calls_futex());
    let stands = guest.thread.has_host_futexes();
    assert_eq!(stands, platform.name() == "trap");
    guest.write_u64(DATA, 5);
    // Waking nobody, moving nobody, and a value that is another: the result, and that it is the host's.
    let cases = [
        ([DATA, WAKE, 1, 99, 99, 99], 0),
        ([DATA, 128 | 10, 1, 99, 99, 1], 0),
        ([DATA, 128 | 10, 1, 99, 99, 0], -libc::EINVAL),
        ([DATA, WAIT, 4, 0, 99, 99], -libc::EAGAIN),
        ([DATA, 128 | 9, 4, 0, 99, 1], -libc::EAGAIN),
        ([DATA, 128 | 256 | 9, 4, 0, 99, 1], -libc::EAGAIN),
        ([DATA, 128 | 3, 1, 1, DATA + 8, 99], 0),
        ([DATA, 128 | 4, 1, 1, DATA + 8, 4], -libc::EAGAIN),
        ([DATA + 1, WAKE, 1, 0, 0, 0], -libc::EINVAL),
        ([0x1000, WAIT, 0, 0, 0, 0], -libc::EFAULT),
    ];
    for (arguments, result) in cases {
        let seen = reaches_the_sentry(&mut guest, arguments);
        assert_eq!(seen, (!stands).then_some(arguments));
        if stands {
            assert_eq!(guest.thread.registers().rbx as i64, i64::from(result), "{arguments:x?}");
        }
        guest.thread.kicker().withdraw_answers();
        assert_eq!(reaches_the_sentry(&mut guest, arguments), Some(arguments));
        let_the_host(&mut guest);
    }
    // FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_EQ, 5)
    let arguments = [DATA, 128 | 5, 1, 1, DATA, 1 << 28 | 1 << 12 | 5];
    if reaches_the_sentry(&mut guest, arguments).is_none() {
        assert_eq!((guest.thread.registers().rbx, guest.read_u64(DATA)), (0, 6));
    }
}

pub(crate) fn other_futexes_reach_the_sentry_as_they_are(platform: &dyn Platform) {
    let mut guest = guest(platform, calls_futex());
    let cases = [
        [DATA, 0, 0, 0, 0, 0],
        [DATA, 1, 1, 0, 0, 0],
        [DATA, WAIT, 0, DATA, 0, 0],
        [DATA, WAIT | 256, 0, 0, 0, 0],
        [DATA, WAKE | 256, 1, 0, 0, 0],
        [DATA, WAKE | 1 << 32, 1, 0, 0, 0],
        [DATA, WAKE | 1 << 63, 1, 0, 0, 0],
        [DATA, WAKE | 1 << 12, 1, 0, 0, 0],
        [DATA, 128 | 2, 0, 0, 0, 0],
        [DATA, 128 | 6, 0, 0, 0, 0],
        [DATA, 128 | 7, 0, 0, 0, 0],
        [DATA, 128 | 8, 0, 0, 0, 0],
        [DATA, 128 | 11, 0, 0, DATA + 8, 0],
        [DATA, 128 | 12, 1, 1, DATA + 8, 0],
        [DATA, 128 | 13, 0, 0, 0, 0],
        [DATA, 128 | 32, 0, 0, 0, 0],
        [DATA, 127, 0, 0, 0, 0],
        [REGION, WAKE, 1, 0, 0, 0],
        [REGION, WAIT, 0, 0, 0, 0],
        [1 << 63, WAKE, 1, 0, 0, 0],
        [DATA, 128 | 3, 1, 1, REGION, 0],
        [REGION, 128 | 4, 1, 1, DATA, 0],
        [DATA, 128 | 5, 1, 1, REGION, 0],
        [DATA, 128 | 5, 1, 1, u64::MAX, 0],
    ];
    for arguments in cases {
        assert_eq!(reaches_the_sentry(&mut guest, arguments), Some(arguments));
    }
}

pub(crate) fn a_kick_makes_a_call_of_a_wait(platform: &dyn Platform) {
    let mut guest = guest(platform, calls_futex());
    for round in 0..200 {
        let timeout = if round % 2 == 0 { 0 } else { DATA + 64 };
        guest.write_u64(DATA + 64, 1 << 40);
        let arguments = [DATA, if timeout == 0 { WAIT } else { 128 | 9 }, 0, timeout, 98, 99];
        let registers = guest.thread.registers_mut();
        [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9] = arguments;
        let before = *guest.thread.registers();
        under_kicks(guest.thread.kicker(), || {
            loop {
                match guest.thread.run() {
                    Trap::Interrupted => {}
                    Trap::Syscall { instruction } => {
                        let registers = guest.thread.registers();
                        assert_eq!((registers.rax, instruction + 2), (FUTEX, registers.rip));
                        break;
                    }
                    trap => panic!("{trap:x?}"),
                }
            }
        });
        let registers = guest.thread.registers();
        assert_eq!(registers.syscall_arguments(), arguments);
        assert_eq!((registers.rsp, registers.gs_base, registers.fs_base), (STACK, 0, before.fs_base));
        assert_eq!((registers.r12, registers.r15, registers.rbp), (before.r12, before.r15, before.rbp));
        guest.thread.registers_mut().set_return_value(round);
        while guest.thread.run() == Trap::Interrupted {}
        assert_eq!(guest.thread.registers().rbx, round);
    }
}

pub(crate) fn the_sentry_has_futex_calls_made(platform: &dyn Platform) {
    let mut guest = patched(platform, calls_futex());
    let wait = FutexCall::new(WAIT_BITSET, DATA, 0, u32::MAX);
    if platform.name() != "trap" {
        assert_eq!(guest.thread.futex(&wait), HostCalled::Failed(Errno::ENOSYS));
        return;
    }
    for round in 0..4u32 {
        // From a call that has trapped, and from one that came by a patch; with a GS base of its own and without.
        guest.thread.registers_mut().gs_base = if round % 2 == 0 { 0 } else { DATA + 0x100 };
        if round >= 2 {
            assert!([39, FUTEX].contains(&guest.syscall()));
        }
        guest.write_u64(DATA, 0);
        let before = *guest.thread.registers();
        let futex = |guest: &mut Guest, call: FutexCall| guest.thread.futex(&call);
        assert_eq!(futex(&mut guest, FutexCall::new(WAKE_BITSET, DATA, 1, 1)), HostCalled::Returned(0));
        assert_eq!(futex(&mut guest, FutexCall { value: 1, ..wait }), HostCalled::Failed(Errno::EAGAIN));
        let deadline_ns = Some(host::clock_ns(host::Clock::Monotonic) + 1_000_000);
        assert_eq!(
            futex(&mut guest, FutexCall { deadline_ns, ..wait }),
            HostCalled::Failed(Errno::ETIMEDOUT)
        );
        assert!(Some(host::clock_ns(host::Clock::Monotonic)) >= deadline_ns);
        let two = FutexCall { second: DATA + 8, second_count: 1, ..FutexCall::new(4, DATA, 1, 0) };
        assert_eq!(futex(&mut guest, two), HostCalled::Returned(0));
        assert_eq!(futex(&mut guest, FutexCall { second: REGION, ..two }), HostCalled::Failed(Errno::EFAULT));
        assert_eq!(
            futex(&mut guest, FutexCall { address: REGION, ..two }),
            HostCalled::Failed(Errno::EFAULT)
        );
        assert_eq!(futex(&mut guest, FutexCall::new(6, DATA, 0, 0)), HostCalled::Failed(Errno::ENOSYS));
        // A kick that has come, and one that comes.
        guest.thread.kicker().kick();
        assert_eq!(futex(&mut guest, wait), HostCalled::Interrupted);
        under_kicks(guest.thread.kicker(), || {
            for _ in 0..20 {
                assert_eq!(futex(&mut guest, wait), HostCalled::Interrupted);
            }
        });
        // One that is woken.
        let mut sibling = guest.sibling(&super::guest::start());
        thread::scope(|scope| {
            scope.spawn(|| {
                while sibling.thread.futex(&FutexCall::new(WAKE_BITSET, DATA, 1, 1))
                    != HostCalled::Returned(1)
                {
                    thread::yield_now();
                }
            });
            let woken = loop {
                // A kick may still be on its way.
                match futex(&mut guest, wait) {
                    HostCalled::Interrupted => {}
                    other => break other,
                }
            };
            assert_eq!(woken, HostCalled::Returned(0));
        });
        assert_eq!(*guest.thread.registers(), before);
        guest.thread.registers_mut().gs_base = 0;
    }
    assert!([39, FUTEX].contains(&guest.syscall()));
}

pub(crate) fn kicks_do_not_tear_host_calls(platform: &dyn Platform) {
    let mut guest = patched(platform, calls_futex_all_the_time());
    let registers = guest.thread.registers_mut();
    (registers.rip, registers.r12) = (CODE, 0);
    let arguments = [DATA, WAKE, 1, 3, 4, 5];
    [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9] = arguments;
    let_the_host(&mut guest);
    under_kicks(guest.thread.kicker(), || {
        let mut rounds = Rounds::up_to(1000);
        while rounds.go_on(guest.thread.registers().r12 > 100) {
            match guest.thread.run() {
                Trap::Syscall { .. } => {
                    assert_eq!(guest.thread.registers().rax, FUTEX);
                    guest.thread.registers_mut().set_return_value(0);
                }
                Trap::Interrupted => {}
                trap => panic!("{trap:x?} at {:x?}", guest.thread.registers()),
            }
            let registers = guest.thread.registers();
            assert_eq!((registers.rsp, registers.gs_base), (STACK, 0));
            assert_eq!(registers.syscall_arguments(), arguments);
        }
    });
}

pub(crate) fn the_host_yields_for_the_guest(platform: &dyn Platform) {
    let mut guest = guest(platform, calls_yield());
    for round in 0..10 {
        let number = guest.syscall();
        assert_eq!(number == 39, round % 2 == 1 || platform.name() == "trap");
        guest.thread.registers_mut().set_return_value(1);
    }
}

pub(crate) fn a_host_call_that_returns_when_none_is_allowed_any_more_is_told_of(platform: &dyn Platform) {
    if platform.name() != "trap" {
        return;
    }
    let mut guest = guest(platform, calls_futex());
    let mut sibling = guest.sibling(&super::guest::start());
    for round in 0..200 {
        let arguments = [DATA, WAIT, 0, 0, 98, 99];
        let registers = guest.thread.registers_mut();
        [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9] = arguments;
        let before = *guest.thread.registers();
        let (kicker, done) = (guest.thread.kicker(), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !kicker.is_in_host_call() {
                    thread::yield_now();
                }
                kicker.withdraw_answers();
                if !kicker.is_in_host_call() {
                    return;
                }
                let wake = FutexCall::new(WAKE_BITSET, DATA, 1, 1);
                while sibling.thread.futex(&wake) == HostCalled::Returned(0) && kicker.is_in_host_call() {}
                if round % 2 == 0 {
                    kick_until(&done, &*kicker);
                }
            });
            loop {
                let (trap, number) = (guest.thread.run(), guest.thread.registers().rax);
                match trap {
                    // It was met before it slept, or was about to call.
                    Trap::Syscall { .. } => assert_eq!(number, FUTEX),
                    Trap::Interrupted if number == FUTEX => continue,
                    Trap::Interrupted => assert_eq!(number, 0),
                    trap => panic!("{trap:x?}"),
                }
                break;
            }
            done.store(true, Ordering::Relaxed);
        });
        let registers = guest.thread.registers();
        assert_eq!(registers.syscall_arguments(), arguments);
        assert_eq!((registers.rsp, registers.r12, registers.rbp), (STACK, before.r12, before.rbp));
        guest.thread.registers_mut().set_return_value(round);
        while guest.thread.run() == Trap::Interrupted {}
        assert_eq!((guest.thread.registers().syscall_number(), guest.thread.registers().rbx), (39, round));
        let_the_host(&mut guest);
    }
}

pub(crate) fn stops_from_outside_do_not_end_a_host_call(platform: &dyn Platform) {
    let mut guest = guest(platform, calls_futex());
    let stubs = super::children();
    let until = host::clock_ns(host::Clock::Monotonic) + 100_000_000;
    guest.write_u64(DATA, 0);
    guest.write_u64(DATA + 64, until / 1_000_000_000);
    guest.write_u64(DATA + 72, until % 1_000_000_000);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                for signal in [libc::SIGSTOP, libc::SIGCONT] {
                    for &stub in &stubs {
                        // SAFETY: these are children of this process.
                        unsafe { libc::kill(stub, signal) };
                    }
                }
            }
        });
        let seen = reaches_the_sentry(&mut guest, [DATA, 128 | 9, 0, DATA + 64, 0, 1]);
        is_over.store(true, Ordering::SeqCst);
        assert_eq!(seen.is_none(), platform.name() == "trap");
    });
    if platform.name() == "trap" {
        assert_eq!(guest.thread.registers().rbx as i64, -i64::from(libc::ETIMEDOUT));
        assert!(host::clock_ns(host::Clock::Monotonic) >= until);
    }
}
