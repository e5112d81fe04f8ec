//! How calls are made cheaper: what their handlers read anyway comes along ([`usk_platform::GuestThread::handed_over`]), who
//! somebody is, or what a name means, is answered without the sentry ([`usk_sentry::task::Standing`], [`NameCall`]), and what is the
//! host's to do is left to it.

use usk_platform::{HostCallKind, LentCall, Memory, NameCall, NotedCall, Shortcut};
use usk_sentry::task::Standing;

use crate::table::{Argument, Table};

/// Calls that read a small structure, by name and by the argument that points to it: the table calls that just a pointer.
const STRUCTURES: [(&str, Memory); 5] = [
    ("rt_sigaction", Memory::Second),
    ("poll", Memory::First),
    ("ppoll", Memory::First),
    ("sigaltstack", Memory::First),
    ("epoll_ctl", Memory::Fourth),
];

/// Calls whose answers stand.
const STANDING: [(&str, Standing); 7] = [
    ("getpid", Standing::Process),
    ("gettid", Standing::Thread),
    ("getppid", Standing::Parent),
    ("getuid", Standing::User),
    ("geteuid", Standing::EffectiveUser),
    ("getgid", Standing::Group),
    ("getegid", Standing::EffectiveGroup),
];

/// Calls that may be served by what is lent of a descriptor table.
const LENT: [(&str, LentCall); 13] = [
    ("close", LentCall::Close),
    ("dup", LentCall::Dup),
    ("fcntl", LentCall::Fcntl),
    ("fstat", LentCall::Fstat),
    ("newfstatat", LentCall::Fstatat),
    ("statx", LentCall::Statx),
    ("lseek", LentCall::Lseek),
    ("read", LentCall::Read),
    ("pread64", LentCall::Pread),
    ("getdents64", LentCall::Getdents),
    ("fsync", LentCall::Fsync),
    ("fdatasync", LentCall::Fdatasync),
    ("recvfrom", LentCall::Receive),
];

/// Calls that may be noted about files that only their caller can reach.
const NOTED: [(&str, NotedCall); 2] = [("write", NotedCall::Write), ("pwrite64", NotedCall::Pwrite)];

/// Calls that may be answered by what is known of names; `newfstatat` and `statx` are among the above.
const KNOWN: [(&str, NameCall); 8] = [
    ("stat", NameCall::Stat),
    ("lstat", NameCall::Lstat),
    ("access", NameCall::Access),
    ("open", NameCall::Open),
    ("faccessat", NameCall::AccessAt),
    ("openat", NameCall::OpenAt),
    ("readlink", NameCall::ReadLink),
    ("readlinkat", NameCall::ReadLinkAt),
];

/// Calls that the host answers for a guest as for anybody.
const ASKING_HOST: [&str; 4] = ["clock_gettime", "gettimeofday", "getcpu", "getrandom"];

/// Calls that may be served by what is lent of an address space.
const MAPPING: [&str; 3] = ["mmap", "munmap", "madvise"];

/// Calls that the host may carry out.
const HOST_CALLS: [(&str, HostCallKind); 2] =
    [("futex", HostCallKind::Futex), ("sched_yield", HostCallKind::Yield)];

/// Calls that make a thread or a process.
const MAKING: [&str; 4] = ["clone", "fork", "vfork", "clone3"];

/// How to make call `number` cheaper. `all_tiers` says that the sentry need not see each call.
pub fn shortcut(table: &Table, number: u64, all_tiers: bool) -> Shortcut {
    let Some(row) = table.row(number) else { return Shortcut::None };
    if let Some((_, call)) = LENT.iter().find(|(name, _)| all_tiers && *name == row.name) {
        return Shortcut::Lends(*call);
    }
    if let Some((_, call)) = NOTED.iter().find(|(name, _)| all_tiers && *name == row.name) {
        return Shortcut::Notes(*call);
    }
    if let Some((_, call)) = KNOWN.iter().find(|(name, _)| all_tiers && *name == row.name) {
        return Shortcut::Knows(*call);
    }
    if row.name == "rt_sigprocmask" {
        return if all_tiers { Shortcut::ChangesMask } else { Shortcut::HandsOver(Memory::Second) };
    }
    if row.name == "rt_sigaction" && all_tiers {
        return Shortcut::ChangesAction;
    }
    if MAKING.contains(&row.name) && all_tiers {
        return Shortcut::BringsState;
    }
    match row.name {
        "set_robust_list" if all_tiers => return Shortcut::SetsRobustList,
        "set_tid_address" if all_tiers => return Shortcut::SetsTidAddress,
        "epoll_ctl" if all_tiers => return Shortcut::NotesChange,
        _ => {}
    }
    if row.name == "rt_sigreturn" && all_tiers {
        return Shortcut::ReturnsFromHandler;
    }
    if ASKING_HOST.contains(&row.name) && all_tiers {
        return Shortcut::AsksHost;
    }
    if MAPPING.contains(&row.name) && all_tiers {
        return Shortcut::MapsMemory;
    }
    if let Some((_, answer)) = STANDING.iter().find(|(name, _)| all_tiers && *name == row.name) {
        return Shortcut::Stands(answer.number());
    }
    if let Some((_, call)) = HOST_CALLS.iter().find(|(name, _)| all_tiers && *name == row.name) {
        return Shortcut::HostCall(*call);
    }
    if let Some((_, memory)) = STRUCTURES.iter().find(|(name, _)| *name == row.name) {
        return Shortcut::HandsOver(*memory);
    }
    match row.arguments {
        [Argument::Path, ..] => Shortcut::HandsOver(Memory::First),
        [_, Argument::Path, ..] => Shortcut::HandsOver(Memory::Second),
        [_, Argument::InBuffer, ..] => Shortcut::HandsOver(Memory::Buffer),
        _ => Shortcut::None,
    }
}

/// Whether the sentry may not hear of call `number`, because it is answered where the program runs.
pub fn is_answered_outside(table: &Table, number: u64) -> bool {
    !matches!(shortcut(table, number, true), Shortcut::None | Shortcut::HandsOver(_) | Shortcut::BringsState)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_made_cheaper_by_what_they_are_about() {
        let table = Table::new();
        let of = |name: &str| {
            let number = (0..512).find(|&number| table.row(number).is_some_and(|row| row.name == name));
            [true, false].map(|all_tiers| shortcut(&table, number.unwrap(), all_tiers))
        };
        let both = |shortcut| [shortcut, shortcut];
        assert_eq!(of("unlink"), both(Shortcut::HandsOver(Memory::First)));
        assert_eq!(of("unlinkat"), both(Shortcut::HandsOver(Memory::Second)));
        for (name, call) in KNOWN {
            let is_at = matches!(call, NameCall::AccessAt | NameCall::OpenAt | NameCall::ReadLinkAt);
            let memory = if is_at { Memory::Second } else { Memory::First };
            assert_eq!(of(name), [Shortcut::Knows(call), Shortcut::HandsOver(memory)], "{name}");
        }
        for (name, call) in NOTED {
            assert_eq!(of(name), [Shortcut::Notes(call), Shortcut::HandsOver(Memory::Buffer)], "{name}");
        }
        assert_eq!(of("sendto"), both(Shortcut::HandsOver(Memory::Buffer)));
        assert_eq!(of("getdents"), both(Shortcut::None));
        assert_eq!(of("rt_sigprocmask"), [Shortcut::ChangesMask, Shortcut::HandsOver(Memory::Second)]);
        assert_eq!(of("rt_sigreturn"), [Shortcut::ReturnsFromHandler, Shortcut::None]);
        for name in MAKING {
            assert_eq!(of(name), [Shortcut::BringsState, Shortcut::None], "{name}");
        }
        assert_eq!(of("set_robust_list"), [Shortcut::SetsRobustList, Shortcut::None]);
        assert_eq!(of("set_tid_address"), [Shortcut::SetsTidAddress, Shortcut::None]);
        for name in ASKING_HOST {
            assert_eq!(of(name), [Shortcut::AsksHost, Shortcut::None], "{name}");
        }
        for name in MAPPING {
            assert_eq!(of(name), [Shortcut::MapsMemory, Shortcut::None], "{name}");
        }
        assert_eq!(of("epoll_ctl"), [Shortcut::NotesChange, Shortcut::HandsOver(Memory::Fourth)]);
        assert_eq!(of("rt_sigaction"), [Shortcut::ChangesAction, Shortcut::HandsOver(Memory::Second)]);
        let has_others = ["epoll_ctl", "rt_sigaction"];
        for (name, memory) in STRUCTURES.into_iter().filter(|(name, _)| !has_others.contains(name)) {
            assert_eq!(of(name), both(Shortcut::HandsOver(memory)), "{name}");
        }
        for (name, call) in HOST_CALLS {
            assert_eq!(of(name), [Shortcut::HostCall(call), Shortcut::None], "{name}");
        }
        for (name, answer) in STANDING {
            assert_eq!(of(name), [Shortcut::Stands(answer.number()), Shortcut::None], "{name}");
        }
        for (name, call) in LENT {
            let otherwise = match call {
                LentCall::Fstatat | LentCall::Statx => Shortcut::HandsOver(Memory::Second),
                _ => Shortcut::None,
            };
            assert_eq!(of(name), [Shortcut::Lends(call), otherwise], "{name}");
        }
    }
}
