//! How calls are made cheaper: what their handlers read anyway comes along ([`usk_platform::GuestThread::handed_over`]), and who
//! somebody is, is answered without the sentry ([`usk_sentry::task::Standing`]), and what is the host's to do is left to it.

use usk_platform::{HostCallKind, Memory, Shortcut};
use usk_sentry::task::Standing;

use crate::table::{Argument, Table};

/// Calls that read a small structure, by name and by the argument that points to it: the table calls that just a pointer.
const STRUCTURES: [(&str, Memory); 6] = [
    ("rt_sigaction", Memory::Second),
    ("rt_sigprocmask", Memory::Second),
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

/// Calls that the host may carry out.
const HOST_CALLS: [(&str, HostCallKind); 2] =
    [("futex", HostCallKind::Futex), ("sched_yield", HostCallKind::Yield)];

/// How to make call `number` cheaper.
pub fn shortcut(table: &Table, number: u64) -> Shortcut {
    let Some(row) = table.row(number) else { return Shortcut::None };
    if let Some((_, answer)) = STANDING.iter().find(|(name, _)| *name == row.name) {
        return Shortcut::Stands(answer.number());
    }
    if let Some((_, call)) = HOST_CALLS.iter().find(|(name, _)| *name == row.name) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_made_cheaper_by_what_they_are_about() {
        let table = Table::new();
        let of = |name: &str| {
            let number = (0..512).find(|&number| table.row(number).is_some_and(|row| row.name == name));
            shortcut(&table, number.unwrap())
        };
        assert_eq!(of("open"), Shortcut::HandsOver(Memory::First));
        assert_eq!(of("openat"), Shortcut::HandsOver(Memory::Second));
        assert_eq!(of("write"), Shortcut::HandsOver(Memory::Buffer));
        assert_eq!(of("read"), Shortcut::None);
        for (name, memory) in STRUCTURES {
            assert_eq!(of(name), Shortcut::HandsOver(memory), "{name}");
        }
        for (name, call) in HOST_CALLS {
            assert_eq!(of(name), Shortcut::HostCall(call), "{name}");
        }
        for (name, answer) in STANDING {
            assert_eq!(of(name), Shortcut::Stands(answer.number()), "{name}");
        }
    }
}
