//! `--strace`: a line for each system call, like strace's.

use std::fmt::Write as _;
use std::io::{self, Write};

use parking_lot::Mutex;
use usk_abi::Signal;
use usk_sentry::task::{Current, SyscallArguments};
use usk_sentry::{Restart, SysError, SysResult, read_c_string};

use crate::names::syscall_name;
use crate::table::{Argument, Row};

/// Most bytes of a string or buffer that are shown.
const SHOWN: usize = 48;

/// Writes the trace. A sink that fails ends the trace, not the guest.
pub(crate) struct Trace {
    sink: Mutex<Result<Box<dyn Write + Send>, io::Error>>,
}

/// The beginning of a line, made before the call: the call may change what its arguments point at.
pub(crate) struct Before {
    text: String,
    shown: usize,
}

impl Trace {
    pub(crate) fn new(sink: Box<dyn Write + Send>) -> Self {
        Trace { sink: Mutex::new(Ok(sink)) }
    }

    pub(crate) fn before(
        &self,
        current: &Current,
        row: Option<&Row>,
        number: u64,
        arguments: SyscallArguments,
    ) -> Before {
        let mut text = format!("[{}] {}(", current.task.tid(), syscall_name(number));
        let kinds: &[Argument] = row.map_or(&[Argument::Pointer; 6], |row| row.arguments);
        let mut shown = 0;
        for (index, kind) in kinds.iter().enumerate() {
            if *kind == Argument::OutBuffer {
                break;
            }
            self.show(&mut text, current, arguments, index, *kind);
            shown += 1;
        }
        // A call that does not come back still leaves its line.
        if matches!(number, 15 | 60 | 231) {
            self.line(format!("{text}) = ?"));
        }
        Before { text, shown }
    }

    pub(crate) fn after(
        &self,
        current: &Current,
        before: Before,
        row: Option<&Row>,
        arguments: SyscallArguments,
        result: &SysResult,
    ) {
        if row.is_some_and(|row| matches!(row.number, 15 | 60 | 231)) {
            return;
        }
        let mut text = before.text;
        for (index, kind) in row.map_or(&[][..], |row| row.arguments).iter().enumerate().skip(before.shown) {
            match (kind, result) {
                (Argument::OutBuffer, Ok(length)) => {
                    separate(&mut text);
                    let length = usize::try_from(*length).unwrap_or(0);
                    show_bytes(&mut text, current, arguments.u64(index), length);
                }
                _ => self.show(&mut text, current, arguments, index, *kind),
            }
        }
        let outcome = match result {
            Ok(value) if *value > 0xffff_ffff => format!("{value:#x}"),
            Ok(value) => format!("{value}"),
            Err(SysError::Errno(errno)) => format!("-1 {errno:?} ({errno})"),
            Err(SysError::Restart(restart)) => format!("? {}", restart_name(*restart)),
        };
        let missing = if row.is_none() { " (not implemented)" } else { "" };
        self.line(format!("{text}) = {outcome}{missing}"));
    }

    /// Why the trace has ended early, if it has.
    pub(crate) fn failure(&self) -> Option<String> {
        self.sink.lock().as_ref().err().map(io::Error::to_string)
    }

    /// In one write: what the guest writes to the same file does not come between.
    fn line(&self, mut text: String) {
        text.push('\n');
        let mut sink = self.sink.lock();
        if let Ok(open) = &mut *sink
            && let Err(error) = open.write_all(text.as_bytes())
        {
            *sink = Err(error);
        }
    }

    fn show(
        &self,
        text: &mut String,
        current: &Current,
        arguments: SyscallArguments,
        index: usize,
        kind: Argument,
    ) {
        separate(text);
        let value = arguments.u64(index);
        // Writing to a string does not fail.
        let _ = match kind {
            Argument::Int | Argument::Fd if arguments.i32(index) == -100 => write!(text, "AT_FDCWD"),
            Argument::Int | Argument::Fd => write!(text, "{}", arguments.i32(index)),
            Argument::Uint => write!(text, "{value}"),
            Argument::Flags => write!(text, "{:#x}", arguments.u32(index)),
            Argument::Mode => write!(text, "{:#o}", arguments.u32(index)),
            Argument::Signal => match Signal::from_number(arguments.i32(index)).and_then(Signal::name) {
                Some(name) => write!(text, "{name}"),
                None => write!(text, "{}", arguments.i32(index)),
            },
            Argument::Pointer | Argument::OutBuffer if value == 0 => write!(text, "NULL"),
            Argument::Pointer | Argument::OutBuffer => write!(text, "{value:#x}"),
            Argument::Path => {
                match read_c_string(current.space(), value, 4096, usk_abi::Errno::ENAMETOOLONG) {
                    Ok(path) => write!(text, "\"{}\"", path.escape_ascii()),
                    Err(_) => write!(text, "{value:#x}"),
                }
            }
            Argument::InBuffer => {
                let length = arguments.0.get(index + 1).copied().unwrap_or(0);
                show_bytes(text, current, value, usize::try_from(length).unwrap_or(usize::MAX));
                Ok(())
            }
        };
    }
}

fn separate(text: &mut String) {
    if !text.ends_with('(') {
        text.push_str(", ");
    }
}

fn show_bytes(text: &mut String, current: &Current, address: u64, length: usize) {
    let mut bytes = [0; SHOWN];
    let wanted = length.min(SHOWN);
    let read = current.space().read(address, &mut bytes[..wanted]);
    let more = if length > SHOWN { "..." } else { "" };
    let _ = if read < wanted {
        write!(text, "{address:#x}")
    } else {
        write!(text, "\"{}\"{more}", bytes[..read].escape_ascii())
    };
}

fn restart_name(restart: Restart) -> &'static str {
    match restart {
        Restart::IfHandlerAllows => "ERESTARTSYS",
        Restart::Always => "ERESTARTNOINTR",
        Restart::IfNoHandler => "ERESTARTNOHAND",
        Restart::Block(_) => "ERESTART_RESTARTBLOCK",
    }
}
