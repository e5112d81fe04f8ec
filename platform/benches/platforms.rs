//! What the elementary operations of a platform cost, in microseconds: `cargo bench -p usk-platform`.
//!
//! Each line is the median of several batches. A name on the command line selects a platform.

#[path = "../tests/common/mod.rs"]
#[allow(dead_code)]
mod common;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use common::guest::{DATA, Guest, PAGE, READ_WRITE, guest_code, map, start};
use common::memory::{descriptor, file, map_file};
use usk_platform::{Platform, ThreadState, Trap};

guest_code!(forever: "2:", "mov eax, 39", "syscall", "jmp 2b");
guest_code!(touch: "2:", "mov rax, [rsi]", "jmp 2b");
guest_code!(count: "2:", "inc qword ptr [rdi]", "jmp 2b");

fn main() {
    let filters: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    for (name, make) in common::platforms() {
        if filters.is_empty() || filters.iter().any(|filter| filter == name) {
            println!("{name}");
            measure(&*make());
        }
    }
}

fn measure(platform: &dyn Platform) {
    let mut guest = Guest::new(platform, forever());
    report("system call", 10_000, || guest.syscall());
    println!("  system calls a second, two threads over one: {:.2}", scaling(platform));
    report("system call with a memory operation", 3000, || {
        guest.apply(&[map(0x70_0000, PAGE, READ_WRITE)]);
        guest.syscall()
    });
    let file = descriptor(&file(&[1; 4096]));
    report("mapping a file", 3000, || guest.apply(&[map_file(&file, true, 0)]));
    report("reading 64 bytes", 10_000, || guest.read::<64>(DATA));
    report("compare and exchange", 3000, || guest.space.compare_exchange(DATA, 0, 0));
    report("thread: create, one call, drop", 300, || guest.sibling(&start()).syscall());
    report("address space: fork, thread, one call, drop", 200, || {
        let copy = guest.space.fork().expect("a copy");
        let thread = Arc::clone(&copy).create_thread(&start()).expect("a thread");
        Guest { space: copy, thread }.syscall()
    });
    let mut faulting = Guest::new(platform, touch());
    faulting.thread.registers_mut().rsi = 0x10;
    report("fault", 2000, || assert!(matches!(faulting.thread.run(), Trap::Fault { .. })));
    report("extended state, read and written", 3000, || {
        let image = guest.thread.extended_state();
        guest.thread.set_extended_state(Some(&image))
    });
    println!("  work done by two computing threads over one: {:.2}", computing(platform));
}

fn report<R>(what: &str, count: u32, mut operation: impl FnMut() -> R) {
    let mut batches: Vec<f64> = (0..7)
        .map(|_| {
            let begin = Instant::now();
            for _ in 0..count / 7 {
                operation();
            }
            begin.elapsed().as_secs_f64() * 1e6 / f64::from(count / 7)
        })
        .collect();
    batches.sort_by(f64::total_cmp);
    println!("  {what}: {:.1} µs (best {:.1}, worst {:.1})", batches[3], batches[0], batches[6]);
}

/// Calls a second of two guest threads together, over those of one.
fn scaling(platform: &dyn Platform) -> f64 {
    let rate = |threads: usize| {
        let guests: Vec<Guest> = (0..threads).map(|_| Guest::new(platform, forever())).collect();
        let counts: Vec<u64> = thread::scope(|scope| {
            let workers: Vec<_> = guests
                .into_iter()
                .map(|mut guest| {
                    scope.spawn(move || {
                        let (end, mut count) = (Instant::now() + Duration::from_millis(500), 0);
                        while Instant::now() < end {
                            guest.syscall();
                            count += 1;
                        }
                        count
                    })
                })
                .collect();
            workers.into_iter().map(|worker| worker.join().expect("no panic")).collect()
        });
        counts.iter().sum::<u64>() as f64
    };
    let one = rate(1);
    rate(2) / one
}

/// Loop rounds that two computing guest threads get done together, over those of one. All start on one CPU.
fn computing(platform: &dyn Platform) -> f64 {
    let rate = |threads: u64| {
        let parent = Guest::new(platform, count());
        let words: Vec<u64> = (0..threads).map(|index| DATA + index * PAGE).collect();
        let mut guests: Vec<Guest> = words
            .iter()
            .map(|&word| {
                let mut registers = start().registers;
                registers.rdi = word;
                parent.sibling(&ThreadState { registers, extended: None })
            })
            .collect();
        let kickers: Vec<_> = guests.iter().map(|guest| guest.thread.kicker()).collect();
        thread::scope(|scope| {
            for guest in &mut guests {
                scope.spawn(|| guest.thread.run());
            }
            thread::sleep(Duration::from_millis(600));
            kickers.iter().for_each(|kicker| kicker.kick());
        });
        words.iter().map(|&word| parent.read_u64(word)).sum::<u64>() as f64
    };
    let one = rate(1);
    rate(2) / one
}
