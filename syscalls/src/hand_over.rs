//! What guest memory a call brings along: that which its handler reads anyway ([`usk_platform::GuestThread::handed_over`]).

use usk_platform::HandsOver;

use crate::table::{Argument, Table};

/// Calls that read a small structure, by name and by the argument that points to it: the table calls that just a pointer.
const STRUCTURES: [(&str, HandsOver); 6] = [
    ("rt_sigaction", HandsOver::Second),
    ("rt_sigprocmask", HandsOver::Second),
    ("poll", HandsOver::First),
    ("ppoll", HandsOver::First),
    ("sigaltstack", HandsOver::First),
    ("epoll_ctl", HandsOver::Fourth),
];

/// What call `number` had better bring along.
pub fn hands_over(table: &Table, number: u64) -> HandsOver {
    let Some(row) = table.row(number) else { return HandsOver::Nothing };
    if let Some((_, known)) = STRUCTURES.iter().find(|(name, _)| *name == row.name) {
        return *known;
    }
    match row.arguments {
        [Argument::Path, ..] => HandsOver::First,
        [_, Argument::Path, ..] => HandsOver::Second,
        [_, Argument::InBuffer, ..] => HandsOver::Buffer,
        _ => HandsOver::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_small_buffers_come_along() {
        let table = Table::new();
        let of = |name: &str| {
            let number = (0..512).find(|&number| table.row(number).is_some_and(|row| row.name == name));
            hands_over(&table, number.unwrap())
        };
        assert_eq!(of("open"), HandsOver::First);
        assert_eq!(of("openat"), HandsOver::Second);
        assert_eq!(of("write"), HandsOver::Buffer);
        assert_eq!(of("read"), HandsOver::Nothing);
        for (name, known) in STRUCTURES {
            assert_eq!(of(name), known, "{name}");
        }
    }
}
