//! The two filters of the stubs, as data: every host call that a stub may make, with the reason beside it.
//!
//! The **base filter** is inherited by every process of every stub. Outside the stub's code it always traps: that is
//! how guest calls reach the sentry. Inside, each `syscall` instruction has one line in [`base_rules`] that pins the
//! number and every argument; everything else kills.
//!
//! The **thread filter** is installed by each guest thread on top, with a listener of its own. It turns the doorbell
//! and the moving of mappings into notifications and forbids what only spawners and newborn threads need. The kernel
//! takes the stricter verdict of the two.

use std::collections::BTreeSet;

use super::bpf::{Assembler, Field, Test, Verdict};
use crate::stub::addresses::site;
use crate::stub::geometry::*;

/// `AUDIT_ARCH_X86_64` of `linux/audit.h`.
pub(super) const ARCHITECTURE: u32 = 0xc000_003e;

/// One call site of the stub.
pub(super) struct Rule {
    /// Instruction pointer after the `syscall` instruction.
    pub(super) site: u64,
    /// The call's number.
    pub(super) number: u32,
    /// What must hold of its arguments; those not named are ignored by the call or harmless.
    pub(super) conditions: Vec<Condition>,
    /// Whether the host may have it go on by `restart_syscall(2)`, which takes no arguments, after it was stopped or frozen.
    pub(super) restarts: bool,
    /// Why a stub needs it. Tests name rules by it.
    #[cfg_attr(not(test), expect(dead_code, reason = "for who reads the list"))]
    pub(super) reason: &'static str,
}

/// A condition on arguments, all 64 bits of each.
#[derive(Clone, Copy, Debug)]
pub(super) enum Condition {
    /// The argument has this value.
    Is(u32, u64),
    /// The argument has one of these values.
    OneOf(u32, &'static [u32]),
    /// The argument has no bit but these.
    Only(u32, u32),
    /// Without the optional bits (second) the argument has this value (first).
    Flags(u32, u32, u32),
    /// Two arguments, address and length, are a range that ends at [`GUEST_REACH`] at the latest.
    InGuest(u32, u32),
    /// The argument is an address below [`GUEST_REACH`].
    Below(u32),
    /// The argument is an address in the region at all.
    InRegion(u32),
}
use Condition::{Below, Flags, InGuest, InRegion, Is, OneOf, Only};

const PROTECTION: u32 = (libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC) as u32;
const ANONYMOUS: u32 = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED) as u32;
const PRIVATE_FILE: u32 = (libc::MAP_PRIVATE | libc::MAP_FIXED) as u32;
const SHARED: u32 = (libc::MAP_SHARED | libc::MAP_PRIVATE) as u32;
const MAP_OPTIONS: u32 = (libc::MAP_POPULATE | libc::MAP_NORESERVE) as u32;

/// The ways in which `mremap` is used: in place; move; move and leave the old range mapped and empty.
pub(super) const REMAP_FLAGS: [u32; 3] = [
    0,
    (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED) as u32,
    (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED | libc::MREMAP_DONTUNMAP) as u32,
];

/// What `madvise` may be asked for: nothing that changes other processes' pages or outlives the mapping.
pub(super) const ADVICE: [u32; 18] = [
    libc::MADV_NORMAL as u32,
    libc::MADV_RANDOM as u32,
    libc::MADV_SEQUENTIAL as u32,
    libc::MADV_WILLNEED as u32,
    libc::MADV_DONTNEED as u32,
    libc::MADV_FREE as u32,
    libc::MADV_DONTFORK as u32,
    libc::MADV_DOFORK as u32,
    libc::MADV_HUGEPAGE as u32,
    libc::MADV_NOHUGEPAGE as u32,
    libc::MADV_DONTDUMP as u32,
    libc::MADV_DODUMP as u32,
    libc::MADV_WIPEONFORK as u32,
    libc::MADV_KEEPONFORK as u32,
    libc::MADV_COLD as u32,
    libc::MADV_PAGEOUT as u32,
    libc::MADV_POPULATE_READ as u32,
    libc::MADV_POPULATE_WRITE as u32,
];

/// Every call that a stub may make. The most frequent first: the filter looks in this order.
pub(super) fn base_rules() -> Vec<Rule> {
    let rule = |site, number: i64, conditions: &[Condition], reason| Rule {
        site,
        number: number as u32,
        conditions: conditions.to_vec(),
        restarts: false,
        reason,
    };
    let doorbell = i64::from(DOORBELL);
    let everything = u64::from(u32::MAX);
    let pidfd_number = SLOTS_BASE + PIDFD_NUMBER;
    let clone_arguments =
        |flags: u32| [Is(0, u64::from(flags)), Is(1, 0), Is(2, pidfd_number), Is(3, 0), Is(4, 0)];
    let window = |start, size, protection: i32, descriptor: u32| {
        [
            Is(0, start),
            Is(1, size),
            Is(2, protection as u64),
            Is(3, (libc::MAP_SHARED | libc::MAP_FIXED) as u64),
            Is(4, u64::from(descriptor)),
        ]
    };
    let death_signal =
        [Is(0, libc::PR_SET_PDEATHSIG as u64), Is(1, libc::SIGKILL as u64), Is(2, 0), Is(3, 0), Is(4, 0)];
    let wake = [InRegion(0), Is(1, libc::FUTEX_WAKE as u64), Is(2, 1)];
    let duplicate = [Is(0, u64::from(SLOTS_DESCRIPTOR)), OneOf(1, &CHILD_DESCRIPTORS)];
    vec![
        rule(site::patched(), doorbell, &[], "call the sentry from a patched site"),
        Rule {
            restarts: true,
            ..rule(
                site::futex_one(),
                libc::SYS_futex,
                &[Below(0), OneOf(1, &FUTEX_ONE_WORD)],
                "wait and wake in the guest's own address space: private, so nobody else is meant",
            )
        },
        rule(
            site::futex_two(),
            libc::SYS_futex,
            &[Below(0), OneOf(1, &FUTEX_TWO_WORDS), Below(4)],
            "move waiters, and wake by a second word, in the guest's own address space",
        ),
        rule(site::doorbell(), doorbell, &[], "call the sentry"),
        rule(
            site::memory_map(),
            libc::SYS_mmap,
            &[InGuest(0, 1), Is(2, READ_WRITE as u64), Is(3, PRIVATE_ANONYMOUS_FIXED as u64)],
            "map memory of the guest's own where the sentry has lent room: elsewhere it harms nobody else",
        ),
        rule(
            site::memory_unmap(),
            libc::SYS_munmap,
            &[InGuest(0, 1)],
            "unmap such memory, or, if it insists, any of its own",
        ),
        rule(
            site::memory_advise(),
            libc::SYS_madvise,
            &[InGuest(0, 1), OneOf(2, &MEMORY_ADVICE)],
            "let go of what such memory holds",
        ),
        rule(site::yields(), libc::SYS_sched_yield, &[], "let other threads run"),
        rule(
            site::inlet_bell(),
            libc::SYS_futex,
            &[InRegion(0), Is(1, libc::FUTEX_WAKE as u64), Is(2, u64::from(ALL_WAITERS))],
            "wake the sentry threads that wait for what this one has written to a pipe",
        ),
        rule(
            site::host_called(),
            doorbell,
            &[],
            "tell the sentry what came of a host call that it has ordered",
        ),
        rule(site::sigreturn(), libc::SYS_rt_sigreturn, &[], "go back to the guest with all its registers"),
        rule(
            site::map_anonymous(),
            libc::SYS_mmap,
            &[InGuest(0, 1), Only(2, PROTECTION), Flags(3, ANONYMOUS, MAP_OPTIONS)],
            "give the guest memory",
        ),
        rule(
            site::map_file(),
            libc::SYS_mmap,
            &[InGuest(0, 1), Only(2, PROTECTION), Flags(3, PRIVATE_FILE, MAP_OPTIONS | SHARED)],
            "map a file that the sentry has installed; a guest that comes here has no descriptor to map",
        ),
        rule(site::unmap(), libc::SYS_munmap, &[InGuest(0, 1)], "take memory from the guest"),
        rule(
            site::protect(),
            libc::SYS_mprotect,
            &[InGuest(0, 1), Only(2, PROTECTION)],
            "change the access to guest memory",
        ),
        rule(
            site::remap(),
            libc::SYS_mremap,
            &[InGuest(0, 1), InGuest(4, 2), OneOf(3, &REMAP_FLAGS)],
            "move or resize guest memory; the sentry compares the call with its order (thread filter)",
        ),
        rule(
            site::advise(),
            libc::SYS_madvise,
            &[InGuest(0, 1), OneOf(2, &ADVICE)],
            "pass on the guest's advice",
        ),
        rule(
            site::clock(),
            libc::SYS_clock_gettime,
            &[OneOf(0, &CLOCKS), Below(1)],
            "read a clock that is the guest's too, to where it could write by itself",
        ),
        rule(
            site::time_of_day(),
            libc::SYS_gettimeofday,
            &[Below(0), Is(1, 0)],
            "read the time of day, as above",
        ),
        rule(site::cpu(), libc::SYS_getcpu, &[Below(0), Is(1, 0)], "read the CPU's number, as above"),
        rule(
            site::random(),
            libc::SYS_getrandom,
            &[Below(0), Below(1), OneOf(2, &[0, libc::GRND_NONBLOCK])],
            "get random bytes, as above; a signal interrupts a guest that wants many",
        ),
        rule(site::close(), libc::SYS_close, &[], "close the descriptor of a file that has been mapped"),
        rule(
            site::mask_kicks(),
            libc::SYS_rt_sigprocmask,
            &[
                OneOf(0, &[libc::SIG_BLOCK as u32, libc::SIG_UNBLOCK as u32]),
                Is(1, KICK_MASK),
                Is(2, 0),
                Is(3, SIGNAL_SET_SIZE),
            ],
            "keep kicks away from a list of calls; a guest can do that as well by a frame of its own",
        ),
        rule(site::birth(), doorbell, &[], "a newborn thread reports to the sentry"),
        rule(
            site::close_listener(),
            libc::SYS_close,
            &[Is(0, u64::from(LISTENER_DESCRIPTOR))],
            "once it is taken",
        ),
        rule(site::born_wake(), libc::SYS_futex, &wake, "wake the sentry that waits for a newborn thread"),
        rule(site::wake(), libc::SYS_futex, &wake, "wake the sentry that waits for an order"),
        rule(
            site::sleep(),
            libc::SYS_futex,
            &[Is(0, ORDERS_BASE + ORDER_NUMBER), Is(1, libc::FUTEX_WAIT as u64), Is(3, 0)],
            "the spawner sleeps until there is an order",
        ),
        rule(
            site::clone_thread(),
            libc::SYS_clone,
            &clone_arguments(CLONE_THREAD_FLAGS),
            "the spawner makes a guest thread",
        ),
        rule(
            site::clone_fork(),
            libc::SYS_clone,
            &clone_arguments(CLONE_FORK_FLAGS),
            "the spawner duplicates the address space",
        ),
        rule(
            site::spawner_close(),
            libc::SYS_close,
            &[OneOf(0, &CHILD_DESCRIPTORS)],
            "the spawner closes the descriptor of what it has made before",
        ),
        rule(
            site::close_all(),
            libc::SYS_close_range,
            &[Is(0, 0), Is(1, everything), Is(2, 0)],
            "a newborn thread drops the spawner's descriptors",
        ),
        rule(site::born_deathsig(), libc::SYS_prctl, &death_signal, "a newborn thread dies with the sentry"),
        rule(
            site::forked_deathsig(),
            libc::SYS_prctl,
            &death_signal,
            "a duplicate's spawner dies with the sentry",
        ),
        rule(
            site::listen(),
            libc::SYS_seccomp,
            &[
                Is(0, u64::from(libc::SECCOMP_SET_MODE_FILTER)),
                Is(1, u64::from(LISTENER_FLAGS)),
                Is(2, THREAD_FILTER),
            ],
            "a newborn thread installs the thread filter and makes its listener",
        ),
        rule(
            site::map_slots(),
            libc::SYS_mmap,
            &window(SLOTS_BASE, SLOTS_SIZE, libc::PROT_READ | libc::PROT_WRITE, SLOTS_DESCRIPTOR),
            "a duplicate's spawner maps its own slots over its parent's",
        ),
        rule(
            site::map_orders(),
            libc::SYS_mmap,
            &window(ORDERS_BASE, ORDERS_SIZE, libc::PROT_READ, ORDERS_DESCRIPTOR),
            "a duplicate's spawner maps its own orders over its parent's",
        ),
        rule(site::not_made(), libc::SYS_dup2, &duplicate, "the spawner reports a failed clone, unforgeably"),
        rule(
            site::unblock_faults(),
            libc::SYS_rt_sigprocmask,
            &[Is(0, libc::SIG_SETMASK as u64), Is(1, SPAWNER_MASK), Is(2, 0), Is(3, SIGNAL_SET_SIZE)],
            "the spawner survives a fault when it exchanges a word of guest memory",
        ),
        rule(
            site::populate(),
            libc::SYS_madvise,
            &[InGuest(0, 1), Is(2, libc::MADV_POPULATE_WRITE as u64)],
            "the spawner has memory given to the guest that the sentry is about to write to",
        ),
        rule(
            site::clear(),
            libc::SYS_munmap,
            &[InGuest(0, 1)],
            "the template drops the program it came from",
        ),
        rule(site::exit(), libc::SYS_exit_group, &[], "end when the sentry is gone"),
    ]
}

/// What guest threads may still do inside the stub, and what becomes a notification. Anything else kills.
pub(super) fn thread_rules() -> Vec<(u32, Verdict, &'static str)> {
    let rule = |number: i64, verdict, reason| (number as u32, verdict, reason);
    vec![
        rule(i64::from(DOORBELL), Verdict::Notify, "call the sentry"),
        rule(
            libc::SYS_futex,
            Verdict::Allow,
            "private ones, see below, as the base filter has them; else only waking: at worst a spurious wake-up of the sentry",
        ),
        rule(libc::SYS_sched_yield, Verdict::Allow, "lets others run"),
        rule(libc::SYS_rt_sigreturn, Verdict::Allow, "go back to the guest"),
        rule(libc::SYS_munmap, Verdict::Allow, "guest memory only, by the base filter"),
        rule(libc::SYS_mprotect, Verdict::Allow, "guest memory only, by the base filter"),
        rule(
            libc::SYS_mremap,
            Verdict::Notify,
            "only as ordered: what the sentry has let go of must not stay elsewhere",
        ),
        rule(libc::SYS_madvise, Verdict::Allow, "guest memory only, by the base filter"),
        rule(libc::SYS_close, Verdict::Allow, "there is nothing in its table that it needs"),
        rule(
            libc::SYS_rt_sigprocmask,
            Verdict::Allow,
            "masks that a frame could set as well, by the base filter",
        ),
        rule(
            libc::SYS_restart_syscall,
            Verdict::Allow,
            "go on with a private futex, where the base filter has it",
        ),
        rule(libc::SYS_exit_group, Verdict::Allow, "ends itself"),
        rule(libc::SYS_clock_gettime, Verdict::Allow, "the host's clocks only, by the base filter"),
        rule(libc::SYS_gettimeofday, Verdict::Allow, "the host's clock is the guest's"),
        rule(libc::SYS_getcpu, Verdict::Allow, "as any program can tell by an instruction"),
        rule(libc::SYS_getrandom, Verdict::Allow, "random bytes are anybody's"),
    ]
}

/// Numbers of the host calls that a spawner may make, and those that a guest thread may still make inside the stub.
pub fn stub_calls() -> (BTreeSet<u32>, BTreeSet<u32>) {
    let restart = |rule: &Rule| rule.restarts.then_some(libc::SYS_restart_syscall as u32);
    let spawner =
        base_rules().iter().flat_map(|rule| restart(rule).into_iter().chain([rule.number])).collect();
    let thread = thread_rules().iter().map(|&(number, ..)| number).collect();
    (spawner, thread)
}

/// Assembles the base filter.
pub(super) fn base_filter() -> Vec<u64> {
    let mut assembler = Assembler::default();
    let inside = assembler.label();
    assembler.load(Field::PointerHigh);
    assembler.jump_if(Test::Equal(STUB_BASE_HIGH), inside);
    // Whatever it is, 32-bit entry points included: the sentry sees which.
    assembler.verdict(Verdict::Trap);
    assembler.place(inside);
    let native = assembler.label();
    assembler.load(Field::Architecture);
    assembler.jump_if(Test::Equal(ARCHITECTURE), native);
    assembler.verdict(Verdict::Kill);
    assembler.place(native);
    assembler.load(Field::PointerLow);
    for rule in base_rules() {
        let next = assembler.label();
        assembler.jump_unless(Test::Equal(rule.site as u32), next);
        let kill = assembler.label();
        assembler.load(Field::Number);
        if rule.restarts {
            let other = assembler.label();
            assembler.jump_if(Test::Equal(rule.number), other);
            assembler.jump_unless(Test::Equal(libc::SYS_restart_syscall as u32), kill);
            assembler.verdict(Verdict::Allow);
            assembler.place(other);
        } else {
            assembler.jump_unless(Test::Equal(rule.number), kill);
        }
        for &condition in &rule.conditions {
            require(&mut assembler, condition, kill);
        }
        assembler.verdict(Verdict::Allow);
        assembler.place(kill);
        assembler.verdict(Verdict::Kill);
        assembler.place(next);
    }
    assembler.verdict(Verdict::Kill);
    assembler.finish()
}

/// Assembles the thread filter. The architecture is the base filter's to check: it kills what is not native.
///
/// It is short, with one instruction for a call and one for a verdict: each guest thread has the host compile it, which takes 0.1 us for
/// each, of some 15.
pub(super) fn thread_filter() -> Vec<u64> {
    let mut assembler = Assembler::default();
    let [inside, allow, notify, kill, futex] = [(); 5].map(|()| assembler.label());
    assembler.load(Field::PointerHigh);
    assembler.jump_if(Test::Equal(STUB_BASE_HIGH), inside);
    // The base filter traps.
    assembler.verdict(Verdict::Allow);
    assembler.place(inside);
    assembler.load(Field::Number);
    for (number, verdict, _) in thread_rules() {
        let target = match verdict {
            _ if number == libc::SYS_futex as u32 => futex,
            Verdict::Allow => allow,
            Verdict::Notify => notify,
            Verdict::Kill | Verdict::Trap => kill,
        };
        assembler.jump_if(Test::Equal(number), target);
    }
    assembler.jump_unless(Test::Equal(libc::SYS_mmap as u32), kill);
    assembler.load(Field::Low(3));
    // Guest memory only, by the base filter.
    assembler.jump_if(Test::AnyBit(libc::MAP_ANONYMOUS as u32), allow);
    assembler.load(Field::PointerLow);
    // As ordered: registers come from the orders, and nothing changes them before the call. Outside of lists a guest thread
    // has no descriptors.
    assembler.jump_if(Test::Equal(site::map_file() as u32), allow);
    assembler.verdict(Verdict::Kill);
    assembler.place(notify);
    assembler.verdict(Verdict::Notify);
    assembler.place(futex);
    assembler.load(Field::Low(1));
    assembler.jump_if(Test::AnyBit(libc::FUTEX_PRIVATE_FLAG as u32), allow);
    assembler.jump_unless(Test::Equal(libc::FUTEX_WAKE as u32), kill);
    assembler.place(allow);
    assembler.verdict(Verdict::Allow);
    assembler.place(kill);
    assembler.verdict(Verdict::Kill);
    assembler.finish()
}

/// Goes to `kill` unless the condition holds.
fn require(assembler: &mut Assembler, condition: Condition, kill: super::bpf::Label) {
    let high_is = |assembler: &mut Assembler, argument, value| {
        assembler.load(Field::High(argument));
        assembler.jump_unless(Test::Equal(value), kill);
    };
    match condition {
        Is(argument, value) => {
            high_is(assembler, argument, (value >> 32) as u32);
            assembler.load(Field::Low(argument));
            assembler.jump_unless(Test::Equal(value as u32), kill);
        }
        OneOf(argument, values) => {
            high_is(assembler, argument, 0);
            assembler.load(Field::Low(argument));
            let good = assembler.label();
            let (last, others) = values.split_last().expect("a list of values is not empty");
            for &value in others {
                assembler.jump_if(Test::Equal(value), good);
            }
            assembler.jump_unless(Test::Equal(*last), kill);
            assembler.place(good);
        }
        Only(argument, bits) => {
            high_is(assembler, argument, 0);
            assembler.load(Field::Low(argument));
            assembler.jump_if(Test::AnyBit(!bits), kill);
        }
        Flags(argument, required, optional) => {
            // Unknown bits first, then the required ones that are not optional, each by itself.
            high_is(assembler, argument, 0);
            assembler.load(Field::Low(argument));
            assembler.jump_if(Test::AnyBit(!(required | optional)), kill);
            let pinned = required & !optional;
            for bit in (0..32).map(|shift| 1 << shift).filter(|bit| pinned & bit != 0) {
                assembler.jump_unless(Test::AnyBit(bit), kill);
            }
        }
        InGuest(address, length) => {
            assembler.load(Field::High(address));
            assembler.jump_if(Test::Greater(GUEST_END_HIGH), kill);
            assembler.keep();
            assembler.load(Field::High(length));
            assembler.jump_if(Test::Greater(GUEST_END_HIGH), kill);
            assembler.add_kept();
            assembler.jump_if(Test::Greater(GUEST_END_HIGH), kill);
            let good = assembler.label();
            assembler.jump_unless(Test::Equal(GUEST_END_HIGH), good);
            // The sum of the lower halves must not carry.
            assembler.load(Field::Low(address));
            assembler.keep();
            assembler.load(Field::Low(length));
            assembler.add_kept();
            assembler.jump_unless(Test::KeptOrMore, kill);
            assembler.place(good);
        }
        Below(argument) => {
            assembler.load(Field::High(argument));
            assembler.jump_if(Test::Greater(GUEST_END_HIGH), kill);
        }
        InRegion(argument) => high_is(assembler, argument, STUB_BASE_HIGH),
    }
}

#[cfg(test)]
mod tests {
    use super::super::bpf::interpreter::{Call, run};
    use super::*;

    fn verdict(pointer: u64, number: u32, arguments: [u64; 6]) -> Verdict {
        run(&base_filter(), &Call { architecture: ARCHITECTURE, number, pointer, arguments })
    }

    /// Arguments that meet the conditions.
    fn good(rule: &Rule) -> [u64; 6] {
        let mut arguments = [0; 6];
        for condition in &rule.conditions {
            match *condition {
                Is(index, value) => arguments[index as usize] = value,
                OneOf(index, values) => arguments[index as usize] = u64::from(values[values.len() - 1]),
                Only(index, bits) => arguments[index as usize] = u64::from(bits),
                Flags(index, required, _) => arguments[index as usize] = u64::from(required),
                InGuest(address, length) => {
                    arguments[address as usize] = GUEST_END - 0x1000;
                    arguments[length as usize] = 0x1000;
                }
                Below(index) => arguments[index as usize] = GUEST_END - 4,
                InRegion(index) => arguments[index as usize] = SLOTS_BASE,
            }
        }
        arguments
    }

    /// Arguments that break one condition each.
    fn bad(rule: &Rule) -> Vec<[u64; 6]> {
        let mut all = Vec::new();
        for condition in &rule.conditions {
            let mut with = |index: u32, value: u64| {
                let mut arguments = good(rule);
                arguments[index as usize] = value;
                all.push(arguments);
            };
            match *condition {
                Is(index, value) => {
                    with(index, value ^ 1);
                    with(index, value ^ 1 << 32);
                    with(index, value ^ 1 << 63);
                }
                OneOf(index, values) => {
                    with(index, 0x7fff_ffff);
                    with(index, u64::from(values[0]) | 1 << 32);
                }
                Only(index, bits) => {
                    with(index, u64::from(bits) + 1);
                    with(index, 1 << 40);
                }
                Flags(index, required, optional) => {
                    with(index, u64::from(required | optional) | 1 << 32);
                    with(index, 0);
                    with(index, u64::from(required) | libc::MAP_HUGETLB as u64);
                }
                InGuest(address, length) => {
                    for value in [STUB_BASE, SLOTS_BASE, u64::MAX, 1 << 63, 0x7ffe_0000_0000] {
                        with(address, value);
                    }
                    for value in [u64::MAX, 1 << 47, 0x8000_0000_0000_0000, STUB_BASE, 0x1_0000_0000] {
                        with(length, value);
                    }
                }
                Below(index) => {
                    for value in [VDSO_PLACES[1], STUB_BASE, SLOTS_BASE, ORDERS_BASE, 1 << 63, u64::MAX] {
                        with(index, value);
                    }
                }
                InRegion(index) => {
                    with(index, 0x40_0000);
                    with(index, SLOTS_BASE | 1 << 63);
                }
            }
        }
        all
    }

    #[test]
    fn each_rule_allows_its_call_and_kills_every_variation() {
        for rule in base_rules() {
            let about = rule.reason;
            let arguments = good(&rule);
            assert_eq!(verdict(rule.site, rule.number, arguments), Verdict::Allow, "{about}");
            assert_eq!(verdict(rule.site, rule.number ^ 1, arguments), Verdict::Kill, "{about}");
            assert_eq!(
                verdict(rule.site, rule.number | 0x4000_0000, arguments),
                Verdict::Kill,
                "{about}: x32"
            );
            assert_eq!(verdict(rule.site + 1, rule.number, arguments), Verdict::Kill, "{about}");
            let restarted = verdict(rule.site, libc::SYS_restart_syscall as u32, [u64::MAX; 6]);
            assert_eq!(restarted == Verdict::Allow, rule.restarts, "{about}: {restarted:?}");
            for arguments in bad(&rule) {
                assert_eq!(
                    verdict(rule.site, rule.number, arguments),
                    Verdict::Kill,
                    "{about}: {arguments:x?}"
                );
            }
            // The same lower half of the address, outside the stub.
            let outside = rule.site & 0xffff_ffff;
            assert_eq!(verdict(outside, rule.number, arguments), Verdict::Trap, "{about}");
            let call = Call { architecture: 0x4000_0003, number: rule.number, pointer: rule.site, arguments };
            assert_eq!(run(&base_filter(), &call), Verdict::Kill, "{about}: 32-bit entry");
        }
    }

    #[test]
    fn allowed_ranges_end_where_guests_may_reach_and_no_later() {
        let map = base_rules().into_iter().find(|rule| rule.site == site::unmap()).unwrap();
        let is_allowed = |start: u64, length: u64| {
            verdict(map.site, map.number, [start, length, 0, 0, 0, 0]) == Verdict::Allow
        };
        for start in [0, 0x1_0000, 0xffff_f000, 0x7f00_1234_5000, 0x7ffc_ffff_f000, GUEST_END, WINDOWS_END] {
            // The host makes whole pages of a length.
            let longest = GUEST_REACH - 1 - start;
            assert!(is_allowed(start, longest), "{start:#x}");
            for longer in [1, 0x1000, 0xf000_0000, 0x1_0000_0000, STUB_BASE] {
                assert!(!is_allowed(start, longest + longer), "{start:#x} + {longer:#x}");
            }
        }
        for start in [GUEST_REACH, VDSO_PLACES[0], VDSO_PLACES[1], STUB_BASE, 1 << 63] {
            assert!(!is_allowed(start, 0) && !is_allowed(start, 0x1000), "{start:#x}");
        }
        assert!(VDSO_PLACES.into_iter().all(|place| place >= GUEST_REACH) && STUB_BASE >= GUEST_REACH);
    }

    #[test]
    fn guest_calls_trap_wherever_they_come_from() {
        for pointer in [0x40_0002, GUEST_END, VDSO_PLACES[0] + 0x7000, 0xffff_ffff_ff60_0400] {
            for number in [0, 1, 59, DOORBELL, 0xffff_ffff] {
                for architecture in [ARCHITECTURE, 0x4000_0003] {
                    let call = Call { architecture, number, pointer, arguments: [0; 6] };
                    assert_eq!(run(&base_filter(), &call), Verdict::Trap);
                    assert_eq!(run(&thread_filter(), &call), Verdict::Allow);
                }
            }
        }
    }

    #[test]
    fn guest_threads_may_do_less_than_spawners() {
        let filter = thread_filter();
        let mut killed = 0;
        for rule in base_rules() {
            let (arguments, number, pointer) = (good(&rule), rule.number, rule.site);
            let verdict = run(&filter, &Call { architecture: ARCHITECTURE, number, pointer, arguments });
            let expected = match i64::from(number) {
                _ if number == DOORBELL => Verdict::Notify,
                libc::SYS_mremap => Verdict::Notify,
                // Outside of the lists that the sentry gives there is no descriptor for it.
                _ if pointer == site::map_file() => Verdict::Allow,
                libc::SYS_mmap if arguments[3] & libc::MAP_ANONYMOUS as u64 == 0 => Verdict::Kill,
                libc::SYS_futex if arguments[1] == libc::FUTEX_WAIT as u64 => Verdict::Kill,
                libc::SYS_clone
                | libc::SYS_seccomp
                | libc::SYS_prctl
                | libc::SYS_dup2
                | libc::SYS_close_range => Verdict::Kill,
                _ => Verdict::Allow,
            };
            assert_eq!(verdict, expected, "{}", rule.reason);
            killed += usize::from(verdict == Verdict::Kill);
        }
        assert!(killed >= 9);
    }

    #[test]
    fn about_a_dozen_kinds_of_calls_suffice() {
        let (spawner, thread) = stub_calls();
        assert!(spawner.len() <= 22 && thread.len() <= 16, "{spawner:?} {thread:?}");
    }
}
