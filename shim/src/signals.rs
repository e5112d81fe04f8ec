//! Signals by the names that people and engines give them.

use anyhow::{Result, bail};
use nix::sys::signal::Signal;

/// Signals that are passed on to a container's process, and to one that joins: what the caller's signals do to the command
/// is the same as without a container.
pub(crate) const FORWARDED: [i32; 10] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGTSTP,
    libc::SIGCONT,
    libc::SIGWINCH,
    libc::SIGALRM,
];

/// `9`, `KILL` or `SIGKILL`, in any case; real-time signals by number or as `SIGRTMIN+n`; 0 only asks whether there is somebody.
pub(crate) fn parse(text: &str) -> Result<i32> {
    const REAL_TIME_FIRST: i32 = 34;
    const LAST: i32 = 64;
    if let Ok(number) = text.parse::<i32>() {
        if (0..=LAST).contains(&number) {
            return Ok(number);
        }
        bail!("unknown signal {text:?}");
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Ok(signal) = format!("SIG{name}").parse::<Signal>() {
        return Ok(signal as i32);
    }
    let number = match name.strip_prefix("RTMIN") {
        Some("") => Some(REAL_TIME_FIRST),
        Some(offset) => {
            offset.strip_prefix('+').and_then(|n| n.parse::<i32>().ok()).map(|n| REAL_TIME_FIRST + n)
        }
        None => match name.strip_prefix("RTMAX") {
            Some("") => Some(LAST),
            Some(offset) => offset.strip_prefix('-').and_then(|n| n.parse::<i32>().ok()).map(|n| LAST - n),
            None => None,
        },
    };
    match number {
        Some(number) if (REAL_TIME_FIRST..=LAST).contains(&number) => Ok(number),
        _ => bail!("unknown signal {text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, number) in [
            ("9", 9),
            ("KILL", 9),
            ("SIGTERM", 15),
            ("sigusr1", 10),
            ("SIGRTMIN+3", 37),
            ("RTMAX", 64),
            ("0", 0),
        ] {
            assert_eq!(parse(text).unwrap(), number, "{text}");
        }
        for wrong in ["", "65", "SIGNONE", "RTMIN+31", "-1", "RTMIN-1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
