//! Ends that come from outside, and rest.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use usk_platform::{AddressSpace, ExitReason, Platform, Trap};

use super::guest::{DATA, Guest, guest_code, start};

guest_code!(idle_spin: "2:", "inc qword ptr [rdi]", "jmp 2b");
guest_code!(idle_calls: "2:", "mov eax, 1", "syscall", "inc qword ptr [rdi]", "jmp 2b");

fn kill(pid: i32) {
    // SAFETY: the callers pass children of this process that it has not reaped.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

/// A guest that has made a call, and the stubs that came with it.
fn guest_and_stubs(platform: &dyn Platform) -> (Guest, Vec<i32>) {
    let before = super::children();
    let mut guest = Guest::new(platform, idle_calls());
    guest.syscall();
    let stubs = super::children().into_iter().filter(|pid| !before.contains(pid)).collect();
    (guest, stubs)
}

pub(crate) fn death_from_outside_is_noticed(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, idle_spin());
    let survivors: Vec<i32> = super::children();
    let mut other = Guest::new(platform, idle_calls());
    other.syscall();
    let victims: Vec<i32> = super::children().into_iter().filter(|pid| !survivors.contains(pid)).collect();
    assert!(!victims.is_empty());
    for victim in victims {
        kill(victim);
    }
    assert_eq!(other.thread.run(), Trap::Exited(ExitReason::Killed));
    let deadline = Instant::now() + Duration::from_secs(10);
    while other.space.is_alive() {
        assert!(Instant::now() < deadline);
        thread::yield_now();
    }
    assert!(other.space.fork().is_err());
    assert_eq!(other.space.read(DATA, &mut [0]), 0);
    assert!(Arc::clone(&other.space).create_thread(&start()).is_err());
    drop(other);
    // The first one is not affected.
    assert!(guest.space.is_alive());
    guest.thread.kicker().kick();
    assert_eq!(guest.thread.run(), Trap::Interrupted);
}

pub(crate) fn a_copy_that_nobody_has_got_disturbs_no_other(platform: &dyn Platform) {
    let witness = Guest::new(platform, idle_calls());
    for round in 0..60 {
        let (guest, stubs) = guest_and_stubs(platform);
        let copied = thread::scope(|scope| {
            // At some time while the copy is made. The oldest is the one that makes it.
            scope.spawn(|| {
                (0..round * 400).for_each(|_| std::hint::spin_loop());
                stubs.iter().min().into_iter().for_each(|&pid| kill(pid));
            });
            guest.space.fork()
        });
        drop((copied, guest));
        // What one of the next copies is made with may have been the lost one's.
        let begin = Instant::now();
        let copies = [(); 6].map(|()| witness.space.fork().expect("a copy"));
        let make = |copy: &Arc<dyn AddressSpace>| {
            [(); 3].map(|()| Arc::clone(copy).create_thread(&start()).expect("a thread"))
        };
        let threads = copies.each_ref().map(make);
        assert!(begin.elapsed() < Duration::from_secs(5), "in round {round}");
        drop(threads);
    }
    drop(witness);
    // Copies that nobody has got end with the sandbox's process.
    for pid in super::children() {
        kill(pid);
        // SAFETY: reaps a child of ours.
        unsafe { libc::waitpid(pid, &mut 0, libc::__WALL) };
    }
}

pub(crate) fn the_death_of_any_one_stub_is_noticed(platform: &dyn Platform) {
    let mut witness = Guest::new(platform, idle_calls());
    // Held: its address space would be used again, and the next guest would have no stubs of its own.
    let (_first, stubs) = guest_and_stubs(platform);
    assert!(!stubs.is_empty());
    for index in 0..stubs.len() {
        let (mut guest, stubs) = guest_and_stubs(platform);
        kill(stubs[index]);
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match guest.thread.run() {
                Trap::Exited(reason) => {
                    assert_eq!(reason, ExitReason::Killed);
                    break;
                }
                Trap::Syscall { .. } if !guest.space.is_alive() => break,
                Trap::Syscall { .. } => {}
                trap => panic!("{trap:x?}"),
            }
            assert!(Instant::now() < deadline, "stub {index} was killed, and nothing happened");
        }
        witness.syscall();
    }
}

pub(crate) fn a_death_is_heard_of_that_no_run_waits_for(platform: &dyn Platform) {
    let (witness, stubs) = guest_and_stubs(platform);
    for index in 0..stubs.len() {
        // All of it is in a system call, as far as the platform knows.
        let (guest, stubs) = guest_and_stubs(platform);
        kill(stubs[index]);
        platform.wait_for_death().expect("a death");
        assert!(!guest.thread.kicker().is_alive() || !guest.space.is_alive(), "stub {index}");
        // That of the rest is the platform's own doing, and no news: the next round would fail.
        drop(guest);
    }
    assert!(witness.thread.kicker().is_alive() && witness.space.is_alive());
}

/// Makes stubs of every kind, says so, and waits for the end.
pub(crate) fn wait_to_be_killed(platform: &dyn Platform) {
    let guest = Guest::new(platform, idle_spin());
    let parked = guest.sibling(&start());
    let _copy = guest.space.fork().expect("a copy");
    let mut trapped = Guest::new(platform, idle_calls());
    trapped.syscall();
    let mut running = guest;
    thread::scope(|scope| {
        scope.spawn(|| running.thread.run());
        while parked.read_u64(DATA) == 0 {
            thread::yield_now();
        }
        println!("{}", super::children().len());
        loop {
            thread::park();
        }
    });
}

pub(crate) fn the_stubs_die_with_the_sentry(platform: &dyn Platform) {
    // SAFETY: takes numbers. Orphans of the process that we start become ours, so that we can see their end.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) }, 0);
    // The first stubs of this platform come by themselves, and are not meant.
    let _first = Guest::new(platform, idle_calls());
    let others = super::children();
    let program = std::env::current_exe().expect("a path of this program");
    let mut sentry = Command::new(program)
        .args(["--case", &format!("{}::wait_to_be_killed", platform.name())])
        .stdout(Stdio::piped())
        .spawn()
        .expect("a process");
    let mut line = String::new();
    BufReader::new(sentry.stdout.take().expect("is piped")).read_line(&mut line).expect("a line");
    assert!(line.trim().parse::<usize>().expect("a number") >= 5, "{line}");
    sentry.kill().expect("it can be killed");
    sentry.wait().expect("it has ended");
    let deadline = Instant::now() + Duration::from_secs(1);
    loop {
        let orphans: Vec<i32> = super::children().into_iter().filter(|pid| !others.contains(pid)).collect();
        if orphans.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{orphans:?} live on");
        for orphan in orphans {
            // SAFETY: reaps a child of ours, if it has ended.
            unsafe { libc::waitpid(orphan, &mut 0, libc::WNOHANG | libc::__WALL) };
        }
        thread::yield_now();
    }
}

/// Processor time of this process and of all its children.
fn processor_time() -> Duration {
    let time_of = |task: &str| {
        let stat = std::fs::read_to_string(format!("/proc/{task}/schedstat")).unwrap_or_default();
        stat.split_ascii_whitespace().next().and_then(|first| first.parse::<u64>().ok()).unwrap_or(0)
    };
    let own: u64 = std::fs::read_dir("/proc/self/task")
        .expect("/proc")
        .map(|task| time_of(&format!("self/task/{}", task.expect("an entry").file_name().to_string_lossy())))
        .sum();
    let stubs: u64 = super::children().iter().map(|pid| time_of(&pid.to_string())).sum();
    Duration::from_nanos(own + stubs)
}

pub(crate) fn an_idle_platform_uses_no_processor_time(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, idle_calls());
    let _parked = guest.sibling(&start());
    let _copy = guest.space.fork().expect("a copy");
    for _ in 0..100 {
        guest.syscall();
    }
    thread::sleep(Duration::from_millis(300));
    let before = processor_time();
    assert_ne!(before, Duration::ZERO);
    thread::sleep(Duration::from_secs(1));
    let used = processor_time() - before;
    // What reading /proc costs, and nothing else.
    assert!(used < Duration::from_millis(10), "{used:?}");
}
