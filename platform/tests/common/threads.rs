//! Several threads, interruption, and ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use usk_platform::{AddressSpace, ExitReason, MemoryOp, Platform, ThreadState, Trap};

use super::guest::{CODE, DATA, Guest, PAGE, READ_WRITE, guest_code, map, rounds, start};

guest_code!(spin: "2:", "inc qword ptr [rdi]", "jmp 2b");
guest_code!(flag:
    // Waits for its turn, which is in rsi, counts it up, and makes a call.
    "2:", "mov rax, [rdi]", "cmp rax, rsi", "jne 2b", "inc qword ptr [rdi]", "mov eax, 1", "syscall",
);
guest_code!(calls: "2:", "mov eax, 1", "syscall", "inc qword ptr [rdi]", "jmp 2b");

pub(crate) fn threads_share_memory(platform: &dyn Platform) {
    let guest = Guest::new(platform, flag());
    thread::scope(|scope| {
        for turn in (0..8).rev() {
            let mut state = start();
            state.registers.rsi = turn;
            let mut sibling = guest.sibling(&state);
            scope.spawn(move || assert_eq!(sibling.syscall(), 1));
        }
    });
    assert_eq!(guest.read_u64(DATA), 8);
}

pub(crate) fn a_parked_thread_can_change_hands(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, calls());
    guest.apply(&[map(0x70_0000, PAGE, READ_WRITE)]);
    let mut guest = thread::spawn(move || {
        guest.apply(&[map(0x80_0000, PAGE, READ_WRITE)]);
        guest.thread.registers_mut().rbx = 9;
        guest
    })
    .join()
    .expect("no panic");
    thread::spawn(move || {
        guest.apply(&[map(0x90_0000, PAGE, READ_WRITE)]);
        assert_eq!(guest.syscall(), 1);
        assert_eq!(guest.thread.registers().rbx, 9);
        for address in [0x70_0000, 0x80_0000, 0x90_0000] {
            assert_eq!(guest.read(address), [0; 16]);
        }
    })
    .join()
    .expect("no panic");
}

/// Waits until the word at `address` is not `value`.
fn wait_for_change(space: &dyn usk_platform::AddressSpace, address: u64, value: u64) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut word = [0; 8];
    while space.read(address, &mut word) != 8 || u64::from_le_bytes(word) == value {
        assert!(Instant::now() < deadline, "the guest does not run");
        thread::yield_now();
    }
}

pub(crate) fn a_kick_interrupts_a_spinning_thread(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, spin());
    let (kicker, space) = (guest.thread.kicker(), Arc::clone(&guest.space));
    let helper = thread::spawn(move || {
        wait_for_change(&*space, DATA, 0);
        kicker.kick();
    });
    let mut before = *guest.thread.registers();
    assert_eq!(guest.thread.run(), Trap::Interrupted);
    helper.join().expect("no panic");
    let after = *guest.thread.registers();
    assert!((CODE..CODE + 8).contains(&after.rip));
    (before.rip, before.rflags) = (after.rip, after.rflags);
    assert_eq!(after, before, "nothing else has changed");
    // It goes on from there.
    let (kicker, space, count) = (guest.thread.kicker(), Arc::clone(&guest.space), guest.read_u64(DATA));
    let helper = thread::spawn(move || {
        wait_for_change(&*space, DATA, count);
        kicker.kick();
    });
    assert_eq!(guest.thread.run(), Trap::Interrupted);
    helper.join().expect("no panic");
}

pub(crate) fn a_kick_before_the_run_is_not_lost(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, spin());
    guest.thread.kicker().kick();
    guest.thread.kicker().kick();
    assert_eq!(guest.thread.run(), Trap::Interrupted);
    assert_eq!(guest.thread.registers().rip, CODE);
    let mut guest = Guest::new(platform, calls());
    guest.syscall();
    for _ in 0..3 {
        let before = *guest.thread.registers();
        guest.thread.kicker().kick();
        assert_eq!(guest.thread.run(), Trap::Interrupted);
        assert_eq!(*guest.thread.registers(), before);
        guest.syscall();
    }
}

pub(crate) fn kicks_are_never_lost(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, calls());
    let (kicker, kicks, is_over) = (guest.thread.kicker(), AtomicU64::new(0), AtomicBool::new(false));
    let reported = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for count in rounds(2000).map(|round| u64::from(round) + 1) {
                kicks.store(count, Ordering::SeqCst);
                kicker.kick();
                // Wait until it is reported, so that every single one counts.
                let deadline = Instant::now() + Duration::from_secs(30);
                while reported.load(Ordering::SeqCst) < count {
                    assert!(Instant::now() < deadline, "kick {count} was lost");
                    thread::yield_now();
                }
            }
            is_over.store(true, Ordering::SeqCst);
            kicker.kick();
        });
        while !is_over.load(Ordering::SeqCst) {
            let sent = kicks.load(Ordering::SeqCst);
            match guest.thread.run() {
                Trap::Syscall { .. } => {}
                Trap::Interrupted => reported.store(kicks.load(Ordering::SeqCst).max(sent), Ordering::SeqCst),
                trap => panic!("{trap:x?}"),
            }
        }
    });
}

pub(crate) fn a_kick_during_memory_operations_is_not_lost(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, calls());
    guest.syscall();
    let kicker = guest.thread.kicker();
    for _ in 0..50 {
        thread::scope(|scope| {
            scope.spawn(|| kicker.kick());
            for _ in 0..4 {
                guest.apply(&[map(0x70_0000, PAGE, READ_WRITE)]);
            }
        });
        assert_eq!(guest.thread.run(), Trap::Interrupted);
        guest.syscall();
    }
    guest.thread.kicker().kick();
    guest.apply(&[map(0x70_0000, PAGE, READ_WRITE)]);
    assert_eq!(guest.thread.run(), Trap::Interrupted);
}

pub(crate) fn kill_ends_a_spinning_thread(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, spin());
    let other = guest.sibling(&start());
    let (kicker, space) = (guest.thread.kicker(), Arc::clone(&guest.space));
    let helper = thread::spawn(move || {
        wait_for_change(&*space, DATA, 0);
        kicker.kill();
    });
    assert_eq!(guest.thread.run(), Trap::Exited(ExitReason::Killed));
    helper.join().expect("no panic");
    assert_eq!(guest.thread.run(), Trap::Exited(ExitReason::Killed), "it stays dead");
    assert!(guest.space.is_alive(), "only the thread is gone");
    let kicker = guest.thread.kicker();
    drop(guest);
    kicker.kick();
    kicker.kill();
    let mut other = other;
    other.thread.kicker().kick();
    assert_eq!(other.thread.run(), Trap::Interrupted);
}

pub(crate) fn killing_a_parked_thread(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, spin());
    guest.thread.kicker().kill();
    assert_eq!(guest.thread.run(), Trap::Exited(ExitReason::Killed));
    let mut guest = Guest::new(platform, calls());
    guest.syscall();
    guest.thread.kicker().kill();
    assert_eq!(guest.thread.run(), Trap::Exited(ExitReason::Killed));
    assert!(guest.thread.apply(&[MemoryOp::UnmapAll]).is_err());
    let _ = guest.thread.extended_state();
}

pub(crate) fn signals_from_outside_do_not_disturb(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, calls());
    guest.syscall();
    let is_over = AtomicBool::new(false);
    let stubs = super::children();
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..50 {
                for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGSTOP, libc::SIGCONT] {
                    for &stub in &stubs {
                        // SAFETY: these are children of this process.
                        unsafe { libc::kill(stub, signal) };
                    }
                }
            }
            is_over.store(true, Ordering::SeqCst);
        });
        while !is_over.load(Ordering::SeqCst) {
            assert_eq!(guest.syscall(), 1);
            guest.apply(&[map(0x70_0000, PAGE, READ_WRITE)]);
        }
    });
    let copy = guest.space.fork().expect("a copy");
    let thread = Arc::clone(&copy).create_thread(&start()).expect("a thread");
    let mut child = Guest { space: copy, thread };
    assert_eq!(child.syscall(), 1);
}

pub(crate) fn processor_time_is_counted(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, spin());
    let kicker = guest.thread.kicker();
    assert!(kicker.cpu_time() < Duration::from_millis(50));
    let helper = thread::spawn(move || {
        let deadline = Instant::now() + Duration::from_secs(30);
        while kicker.cpu_time() < Duration::from_millis(60) {
            assert!(Instant::now() < deadline);
            thread::sleep(Duration::from_millis(5));
        }
        kicker.kick();
    });
    assert_eq!(guest.thread.run(), Trap::Interrupted);
    helper.join().expect("no panic");
}

pub(crate) fn two_threads_run_at_the_same_time(platform: &dyn Platform) {
    // Each waits for the other in turn, which on one CPU would take a time slice each.
    let guest = Guest::new(platform, spin());
    let second = ThreadState {
        registers: usk_platform::arch::Registers { rdi: DATA + PAGE, ..start().registers },
        extended: None,
    };
    let mut guests = [guest.sibling(&start()), guest.sibling(&second)];
    let kickers = [guests[0].thread.kicker(), guests[1].thread.kicker()];
    thread::scope(|scope| {
        for guest in &mut guests {
            scope.spawn(|| assert_eq!(guest.thread.run(), Trap::Interrupted));
        }
        wait_for_change(&*guest.space, DATA, 0);
        wait_for_change(&*guest.space, DATA + PAGE, 0);
        kickers.iter().for_each(|kicker| kicker.kick());
    });
}

pub(crate) fn many_threads_and_forks_come_and_go(platform: &dyn Platform) {
    thread::scope(|scope| {
        for worker in 0..4 {
            scope.spawn(move || {
                let mut guest = Guest::new(platform, calls());
                for round in 0..25 {
                    let mut siblings: Vec<Guest> = (0..3).map(|_| guest.sibling(&start())).collect();
                    let copy = guest.space.fork().expect("a copy");
                    let thread = Arc::clone(&copy).create_thread(&start()).expect("a thread");
                    let mut child = Guest { space: copy, thread };
                    for guest in siblings.iter_mut().chain([&mut child, &mut guest]) {
                        for _ in 0..3 {
                            assert_eq!(guest.syscall(), 1);
                        }
                    }
                    if (round + worker) % 2 == 0 {
                        child.apply(&[MemoryOp::UnmapAll]);
                        guest = child;
                        guest.load(calls());
                        *guest.thread.registers_mut() = start().registers;
                    }
                }
            });
        }
    });
}

pub(crate) fn a_thousand_threads_in_one_address_space(platform: &dyn Platform) {
    const THREADS: usize = 1000;
    let guest = Guest::new(platform, calls());
    let are_done = std::sync::Barrier::new(THREADS);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            let mut sibling = guest.sibling(&start());
            let are_done = &are_done;
            let builder = thread::Builder::new().stack_size(64 << 10);
            let run = move || {
                assert_eq!(sibling.syscall(), 1);
                are_done.wait();
                assert_eq!(sibling.syscall(), 1);
            };
            builder.spawn_scoped(scope, run).expect("a sentry thread");
        }
    });
    assert_ne!(guest.read_u64(DATA), 0);
}

pub(crate) fn a_copy_is_whole_before_it_has_a_thread(platform: &dyn Platform) {
    let guest = Guest::new(platform, spin());
    guest.write_u64(DATA, 7);
    // Its first thread may be on its way already, and something else comes first; or nothing at all.
    drop(guest.space.fork().expect("a copy"));
    let firsts: [fn(&Arc<dyn AddressSpace>); 4] = [
        |copy| assert_eq!(copy.compare_exchange(DATA, 7, 8), Ok(7)),
        |copy| drop(copy.fork().expect("a copy of the copy")),
        |copy| assert_eq!(copy.read(DATA, &mut [0; 8]), 8),
        |copy| assert_eq!(copy.write(DATA, &[7]), 1),
    ];
    for first in firsts {
        let copy = guest.space.fork().expect("a copy");
        first(&copy);
        let copy_of_copy = copy.fork().expect("a copy of the copy");
        for space in [copy, copy_of_copy] {
            let threads: Vec<_> =
                (0..3).map(|_| Arc::clone(&space).create_thread(&start()).expect("a thread")).collect();
            for thread in threads {
                let mut thread = Guest { space: Arc::clone(&space), thread };
                thread.thread.kicker().kick();
                assert_eq!(thread.thread.run(), Trap::Interrupted);
            }
        }
    }
}
