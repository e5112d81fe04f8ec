//! What the monitor and the processes it makes say to each other: small, bounded, typed messages.
//!
//! The monitor assumes that the other side is hostile: a message that does not decode ends the sandbox, and no message
//! makes the monitor do more than print a line or leave.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use usk_abi::Errno;
use usk_platform::host::child::Exit;
use usk_platform::host::message_socket::MessageSocket;
use usk_platform::host::{receive_packet, try_send_packet};
use usk_sentry::{CallCost, Totals};

/// Most bytes of an encoded message.
pub const MAX_MESSAGE: usize = 4096;
/// Most bytes of text in a message; longer text is cut.
pub const MAX_TEXT: usize = 2048;
/// Most entries of a report; the rest is left out.
pub const MAX_REPORT: usize = 256;
/// Most calls in a message about costs.
pub const MAX_COSTS: usize = 100;

/// From the monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToSandbox {
    /// The identity map is written and the cgroup joined: go on with the set-up.
    Go,
    /// Send this signal to the process group of the sandbox's first process.
    Signal(i32),
    /// The host's terminal has this size now.
    Resize {
        /// Lines.
        rows: u16,
        /// Characters in a line.
        columns: u16,
    },
    /// End everything, in order.
    Terminate,
    /// The command may run: the sandbox is [gated](crate::spec::SandboxSpec::gated).
    Start,
    /// Send this signal to one process. 0 is the sandbox's first, others have been named by [`ToMonitor::Joined`].
    SignalProcess {
        /// Which.
        process: u32,
        /// The signal.
        signal: i32,
    },
    /// Send this signal to the process group in the foreground of this process's terminal, or to the process.
    SignalTerminal {
        /// Which, as in `SignalProcess`.
        process: u32,
        /// The signal.
        signal: i32,
    },
    /// Send this signal to every process.
    SignalAll(i32),
    /// Other bounds than those that the sandbox was made with.
    Limit(NewLimits),
    /// Start a process beside the command. The message carries a file with a
    /// [`ProcessSpec`](crate::spec::ProcessSpec) in JSON, and the descriptors that the process begins with. The answer
    /// has the same number.
    Execute(u32),
}

/// Bounds that change. A number of 0 leaves one as it is, the largest lifts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NewLimits {
    /// Bytes of memory.
    pub memory: u64,
    /// Guest processes and threads.
    pub tasks: u64,
    /// Microseconds of processor time in each period.
    pub quota_us: u64,
    /// Microseconds of a period, if there is a new quota.
    pub period_us: u64,
}

/// To the monitor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToMonitor {
    /// The set-up is done, the filter in place. Said by a sandbox without a command.
    Ready,
    /// The command has been loaded and runs.
    Started,
    /// The first process was stopped by this signal, and so shall the monitor be, for its shell to see.
    Stopped(i32),
    /// The first process has ended. Nothing follows.
    Exited(Exit),
    /// The command could not be started, or the set-up failed. `status` is usk's exit status. Nothing follows.
    Failed {
        /// 125, 126 or 127.
        status: u8,
        /// What failed, why, and what to do.
        message: String,
    },
    /// Everything that can fail has been done; [`ToSandbox::Start`] lets the command run.
    Prepared,
    /// A process has been started beside the command.
    Joined {
        /// The number of the request.
        ticket: u32,
        /// Its identifier in the sandbox.
        process: u32,
    },
    /// It could not be started.
    Refused {
        /// The number of the request.
        ticket: u32,
        /// 125, 126 or 127.
        status: u8,
        /// What failed, why, and what to do.
        message: String,
    },
    /// It has ended.
    Left {
        /// The number of the request.
        ticket: u32,
        /// How.
        exit: Exit,
    },
    /// A line for the operator.
    Log(String),
    /// System calls that the kernel does not implement and that were made: number and count.
    Unimplemented(Vec<(u32, u64)>),
    /// What some calls have cost, for the receipt. All are told in several messages.
    Calls(Vec<CallCost>),
    /// What everything else has cost. Comes after the calls.
    Totals(Totals),
}

/// A message that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message makes no sense")]
pub struct Malformed;

const GO: u8 = 1;
const SIGNAL: u8 = 2;
const RESIZE: u8 = 3;
const TERMINATE: u8 = 4;
const START: u8 = 5;
const SIGNAL_PROCESS: u8 = 6;
const SIGNAL_TERMINAL: u8 = 7;
const SIGNAL_ALL: u8 = 8;
const EXECUTE: u8 = 9;
const LIMIT: u8 = 10;

const READY: u8 = 16;
const STARTED: u8 = 17;
const STOPPED: u8 = 18;
const EXITED_CODE: u8 = 19;
const EXITED_SIGNAL: u8 = 20;
const FAILED: u8 = 21;
const LOG: u8 = 22;
const UNIMPLEMENTED: u8 = 23;
const PREPARED: u8 = 24;
const JOINED: u8 = 25;
const REFUSED: u8 = 26;
const LEFT_CODE: u8 = 27;
const LEFT_SIGNAL: u8 = 28;
const CALLS: u8 = 29;
const TOTALS: u8 = 30;

/// Bytes of a call's costs.
const COST: usize = 36;

impl ToSandbox {
    /// The message in bytes.
    pub fn encode(self) -> Vec<u8> {
        match self {
            ToSandbox::Go => vec![GO],
            ToSandbox::Signal(signal) => tagged(SIGNAL, &signal.to_le_bytes()),
            ToSandbox::Resize { rows, columns } => {
                tagged(RESIZE, &[rows.to_le_bytes(), columns.to_le_bytes()].concat())
            }
            ToSandbox::Terminate => vec![TERMINATE],
            ToSandbox::Start => vec![START],
            ToSandbox::SignalProcess { process, signal } => {
                tagged(SIGNAL_PROCESS, &[process.to_le_bytes(), signal.to_le_bytes()].concat())
            }
            ToSandbox::SignalTerminal { process, signal } => {
                tagged(SIGNAL_TERMINAL, &[process.to_le_bytes(), signal.to_le_bytes()].concat())
            }
            ToSandbox::SignalAll(signal) => tagged(SIGNAL_ALL, &signal.to_le_bytes()),
            ToSandbox::Limit(NewLimits { memory, tasks, quota_us, period_us }) => {
                tagged(LIMIT, &[memory, tasks, quota_us, period_us].map(u64::to_le_bytes).concat())
            }
            ToSandbox::Execute(ticket) => tagged(EXECUTE, &ticket.to_le_bytes()),
        }
    }

    /// The message that these bytes are.
    pub fn decode(bytes: &[u8]) -> Result<ToSandbox, Malformed> {
        match *bytes {
            [GO] => Ok(ToSandbox::Go),
            [TERMINATE] => Ok(ToSandbox::Terminate),
            [START] => Ok(ToSandbox::Start),
            [SIGNAL, ref rest @ ..] => Ok(ToSandbox::Signal(signal(rest)?)),
            [SIGNAL_ALL, ref rest @ ..] => Ok(ToSandbox::SignalAll(signal(rest)?)),
            [SIGNAL_PROCESS, a, b, c, d, ref rest @ ..] => Ok(ToSandbox::SignalProcess {
                process: u32::from_le_bytes([a, b, c, d]),
                signal: signal(rest)?,
            }),
            [SIGNAL_TERMINAL, a, b, c, d, ref rest @ ..] => Ok(ToSandbox::SignalTerminal {
                process: u32::from_le_bytes([a, b, c, d]),
                signal: signal(rest)?,
            }),
            [LIMIT, ref rest @ ..] => match rest.as_chunks() {
                (&[memory, tasks, quota_us, period_us], []) => {
                    let [memory, tasks, quota_us, period_us] =
                        [memory, tasks, quota_us, period_us].map(u64::from_le_bytes);
                    Ok(ToSandbox::Limit(NewLimits { memory, tasks, quota_us, period_us }))
                }
                _ => Err(Malformed),
            },
            [EXECUTE, a, b, c, d] => Ok(ToSandbox::Execute(u32::from_le_bytes([a, b, c, d]))),
            [RESIZE, a, b, c, d] => Ok(ToSandbox::Resize {
                rows: u16::from_le_bytes([a, b]),
                columns: u16::from_le_bytes([c, d]),
            }),
            _ => Err(Malformed),
        }
    }
}

impl ToMonitor {
    /// The message in bytes, at most [`MAX_MESSAGE`]: text and lists are cut to fit.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            ToMonitor::Ready => vec![READY],
            ToMonitor::Started => vec![STARTED],
            ToMonitor::Stopped(signal) => tagged(STOPPED, &signal.to_le_bytes()),
            ToMonitor::Exited(Exit::Code(code)) => tagged(EXITED_CODE, &code.to_le_bytes()),
            ToMonitor::Exited(Exit::Signal(signal)) => tagged(EXITED_SIGNAL, &signal.to_le_bytes()),
            ToMonitor::Failed { status, message } => {
                tagged(FAILED, &[&[*status], cut(message).as_bytes()].concat())
            }
            ToMonitor::Prepared => vec![PREPARED],
            ToMonitor::Joined { ticket, process } => {
                tagged(JOINED, &[ticket.to_le_bytes(), process.to_le_bytes()].concat())
            }
            ToMonitor::Refused { ticket, status, message } => {
                tagged(REFUSED, &[&ticket.to_le_bytes(), &[*status][..], cut(message).as_bytes()].concat())
            }
            ToMonitor::Left { ticket, exit } => {
                let (tag, number) = match exit {
                    Exit::Code(code) => (LEFT_CODE, code),
                    Exit::Signal(signal) => (LEFT_SIGNAL, signal),
                };
                tagged(tag, &[ticket.to_le_bytes(), number.to_le_bytes()].concat())
            }
            ToMonitor::Log(text) => tagged(LOG, cut(text).as_bytes()),
            ToMonitor::Unimplemented(calls) => {
                let mut bytes = vec![UNIMPLEMENTED];
                for (number, count) in calls.iter().take(MAX_REPORT) {
                    bytes.extend_from_slice(&number.to_le_bytes());
                    bytes.extend_from_slice(&count.to_le_bytes());
                }
                bytes
            }
            ToMonitor::Calls(calls) => {
                let mut bytes = vec![CALLS];
                for &CallCost { number, count, slow, worked_ns, slept_ns } in calls.iter().take(MAX_COSTS) {
                    bytes.extend_from_slice(&number.to_le_bytes());
                    bytes.extend([count, slow, worked_ns, slept_ns].iter().flat_map(|n| n.to_le_bytes()));
                }
                bytes
            }
            &ToMonitor::Totals(Totals {
                slow_ns,
                patched_ns,
                faults,
                fault_ns,
                questions,
                question_ns,
                tasks,
                programs,
            }) => {
                let numbers =
                    [slow_ns, patched_ns, faults, fault_ns, questions, question_ns, tasks, programs];
                tagged(TOTALS, &numbers.map(u64::to_le_bytes).concat())
            }
        }
    }

    /// The message that these bytes are. Text is made printable: it may come from a sandbox.
    pub fn decode(bytes: &[u8]) -> Result<ToMonitor, Malformed> {
        let (&tag, rest) = bytes.split_first().ok_or(Malformed)?;
        match (tag, rest) {
            (READY, []) => Ok(ToMonitor::Ready),
            (STARTED, []) => Ok(ToMonitor::Started),
            (STOPPED, _) => Ok(ToMonitor::Stopped(signal(rest)?)),
            (EXITED_SIGNAL, _) => Ok(ToMonitor::Exited(Exit::Signal(signal(rest)?))),
            (EXITED_CODE, _) => Ok(ToMonitor::Exited(Exit::Code(code(rest)?))),
            (PREPARED, []) => Ok(ToMonitor::Prepared),
            (JOINED, _) => {
                let (ticket, process) = ticket(rest)?;
                let process = u32::from_le_bytes(process.try_into().map_err(|_| Malformed)?);
                Ok(ToMonitor::Joined { ticket, process })
            }
            (REFUSED, _) => match ticket(rest)? {
                (ticket, [status @ 125..=127, text @ ..]) => {
                    Ok(ToMonitor::Refused { ticket, status: *status, message: printable(text) })
                }
                _ => Err(Malformed),
            },
            (LEFT_CODE, _) => {
                let (ticket, rest) = ticket(rest)?;
                Ok(ToMonitor::Left { ticket, exit: Exit::Code(code(rest)?) })
            }
            (LEFT_SIGNAL, _) => {
                let (ticket, rest) = ticket(rest)?;
                Ok(ToMonitor::Left { ticket, exit: Exit::Signal(signal(rest)?) })
            }
            (FAILED, [status @ 125..=127, text @ ..]) => {
                Ok(ToMonitor::Failed { status: *status, message: printable(text) })
            }
            (LOG, text) => Ok(ToMonitor::Log(printable(text))),
            (UNIMPLEMENTED, list) => {
                let (entries, left) = list.as_chunks::<12>();
                if !left.is_empty() || entries.len() > MAX_REPORT {
                    return Err(Malformed);
                }
                let entry = |&[a, b, c, d, ref count @ ..]: &[u8; 12]| {
                    (u32::from_le_bytes([a, b, c, d]), u64::from_le_bytes(*count))
                };
                Ok(ToMonitor::Unimplemented(entries.iter().map(entry).collect()))
            }
            (CALLS, list) => {
                let (entries, left) = list.as_chunks::<COST>();
                if !left.is_empty() || entries.len() > MAX_COSTS {
                    return Err(Malformed);
                }
                let calls: Option<Vec<CallCost>> = entries.iter().map(cost).collect();
                calls.map(ToMonitor::Calls).ok_or(Malformed)
            }
            (TOTALS, numbers) => match numbers.as_chunks() {
                (&[slow_ns, patched_ns, faults, fault_ns, questions, question_ns, tasks, programs], []) => {
                    let number = u64::from_le_bytes;
                    Ok(ToMonitor::Totals(Totals {
                        slow_ns: number(slow_ns),
                        patched_ns: number(patched_ns),
                        faults: number(faults),
                        fault_ns: number(fault_ns),
                        questions: number(questions),
                        question_ns: number(question_ns),
                        tasks: number(tasks),
                        programs: number(programs),
                    }))
                }
                _ => Err(Malformed),
            },
            _ => Err(Malformed),
        }
    }
}

/// The costs of a call. One that came slowly more often than it came makes no sense.
fn cost(bytes: &[u8; COST]) -> Option<CallCost> {
    let (number, rest) = bytes.split_first_chunk()?;
    let (&[count, slow, worked_ns, slept_ns], []) = rest.as_chunks() else { return None };
    let [count, slow, worked_ns, slept_ns] = [count, slow, worked_ns, slept_ns].map(u64::from_le_bytes);
    let number = u32::from_le_bytes(*number);
    (slow <= count).then_some(CallCost { number, count, slow, worked_ns, slept_ns })
}

fn tagged(tag: u8, rest: &[u8]) -> Vec<u8> {
    [&[tag], rest].concat()
}

fn signal(bytes: &[u8]) -> Result<i32, Malformed> {
    let signal = i32::from_le_bytes(bytes.try_into().map_err(|_| Malformed)?);
    if (1..=64).contains(&signal) { Ok(signal) } else { Err(Malformed) }
}

fn code(bytes: &[u8]) -> Result<i32, Malformed> {
    let code = i32::from_le_bytes(bytes.try_into().map_err(|_| Malformed)?);
    if (0..=255).contains(&code) { Ok(code) } else { Err(Malformed) }
}

/// The number of a request, and what follows.
fn ticket(bytes: &[u8]) -> Result<(u32, &[u8]), Malformed> {
    let (ticket, rest) = bytes.split_first_chunk().ok_or(Malformed)?;
    Ok((u32::from_le_bytes(*ticket), rest))
}

/// At most [`MAX_TEXT`] bytes of a text, at a character's boundary.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}

/// Text that cannot steer a terminal.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_TEXT)]);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The sandbox's end of the control socket.
pub struct SandboxControl(pub MessageSocket);

impl SandboxControl {
    /// Another handle of the same socket.
    pub fn try_clone(&self) -> Result<SandboxControl, Errno> {
        self.0.try_clone().map(SandboxControl)
    }

    /// Sends a message, waiting for room. `EPIPE` once the monitor is gone.
    pub fn send(&self, message: &ToMonitor) -> Result<(), Errno> {
        self.0.send(&message.encode())
    }

    /// Waits for a message. `Ok(None)` once the monitor is gone.
    pub fn receive(&self) -> Result<Option<ToSandbox>, Errno> {
        let mut buffer = [0; MAX_MESSAGE];
        match self.0.receive(&mut buffer)? {
            None => Ok(None),
            Some(length) => ToSandbox::decode(&buffer[..length]).map(Some).map_err(|_| Errno::EPROTO),
        }
    }

    /// As [`SandboxControl::receive`], with the descriptors that came along.
    pub fn receive_with_descriptors(&self) -> Result<Option<(ToSandbox, Vec<OwnedFd>)>, Errno> {
        let mut buffer = [0; MAX_MESSAGE];
        let packet = receive_packet(self.0.as_fd(), &mut buffer)?;
        if packet.length == 0 {
            return Ok(None);
        }
        let message = ToSandbox::decode(buffer.get(..packet.length).ok_or(Errno::EPROTO)?);
        match message {
            Ok(message) if !packet.truncated && !packet.lacks_descriptors => {
                Ok(Some((message, packet.descriptors)))
            }
            _ => Err(Errno::EPROTO),
        }
    }
}

/// What a monitor reads of its sandbox before it looks at everything else again: more than a socket holds of one that has ended, and no
/// more, for one that has been taken over may never stop.
pub const MOST_MESSAGES: usize = 1024;

/// The monitor's end of the control socket.
pub struct MonitorControl(pub MessageSocket);

impl MonitorControl {
    /// Sends a message if there is room: a sandbox that does not read cannot hold the monitor up.
    pub fn send(&self, message: ToSandbox) -> Result<(), Errno> {
        self.send_with_descriptors(message, &[])
    }

    /// The same with descriptors beside it.
    pub fn send_with_descriptors(
        &self,
        message: ToSandbox,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), Errno> {
        try_send_packet(self.0.as_fd(), &message.encode(), descriptors)
    }

    /// The next message, if there is one. `Ok(None)` once the other side is gone, `EAGAIN` while there is none.
    pub fn try_receive(&self) -> Result<Option<ToMonitor>, Errno> {
        let mut buffer = [0; MAX_MESSAGE];
        match self.0.try_receive(&mut buffer)? {
            None => Ok(None),
            Some(length) => ToMonitor::decode(&buffer[..length]).map(Some).map_err(|_| Errno::EPROTO),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_survives_the_wire() {
        for message in [
            ToSandbox::Go,
            ToSandbox::Signal(15),
            ToSandbox::Resize { rows: 24, columns: 300 },
            ToSandbox::Terminate,
            ToSandbox::Start,
            ToSandbox::SignalProcess { process: 7, signal: 9 },
            ToSandbox::SignalTerminal { process: 7, signal: 2 },
            ToSandbox::SignalAll(15),
            ToSandbox::Limit(NewLimits { memory: 1, tasks: 2, quota_us: 3, period_us: u64::MAX }),
            ToSandbox::Execute(u32::MAX),
        ] {
            assert_eq!(ToSandbox::decode(&message.encode()), Ok(message));
        }
        for message in [
            ToMonitor::Ready,
            ToMonitor::Started,
            ToMonitor::Stopped(19),
            ToMonitor::Exited(Exit::Code(255)),
            ToMonitor::Exited(Exit::Signal(9)),
            ToMonitor::Failed { status: 127, message: "x: not found".into() },
            ToMonitor::Prepared,
            ToMonitor::Joined { ticket: 5, process: 12 },
            ToMonitor::Refused { ticket: 5, status: 126, message: "x: permission denied".into() },
            ToMonitor::Left { ticket: 5, exit: Exit::Code(3) },
            ToMonitor::Left { ticket: 5, exit: Exit::Signal(15) },
            ToMonitor::Log("a line".into()),
            ToMonitor::Unimplemented(vec![(400, 3), (1, u64::MAX)]),
            ToMonitor::Calls(vec![CallCost {
                number: 262,
                count: u64::MAX,
                slow: 4,
                worked_ns: 5,
                slept_ns: 6,
            }]),
            ToMonitor::Totals(Totals {
                slow_ns: 1,
                patched_ns: 2,
                faults: 3,
                fault_ns: 4,
                questions: 5,
                question_ns: 6,
                tasks: 7,
                programs: u64::MAX,
            }),
        ] {
            assert_eq!(ToMonitor::decode(&message.encode()), Ok(message));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for bytes in [
            &[][..],
            &[0],
            &[GO, 0],
            &[SIGNAL, 0, 0, 0, 0],
            &[SIGNAL, 65, 0, 0, 0],
            &[RESIZE, 1],
            &[SIGNAL_PROCESS, 1, 0, 0, 0, 0, 0, 0, 0],
            &[EXECUTE, 1],
            &[LIMIT; 32],
        ] {
            assert_eq!(ToSandbox::decode(bytes), Err(Malformed), "{bytes:?}");
        }
        for bytes in [
            &[][..],
            &[255],
            &[READY, 1],
            &[EXITED_CODE, 0, 1, 0, 0],
            &[EXITED_SIGNAL, 0, 0, 0, 0],
            &[FAILED],
            &[FAILED, 0, 65],
            &[UNIMPLEMENTED, 1],
            &[JOINED, 1, 0, 0, 0],
            &[REFUSED, 1, 0, 0, 0, 1],
            &[LEFT_CODE, 1, 0, 0, 0, 0, 1, 0, 0],
            &[CALLS, 1],
            // More that came slowly than came.
            &[&[CALLS, 1, 0, 0, 0][..], &[0; 8], &[1; 8], &[0; 16]].concat(),
            &[TOTALS, 1, 0, 0, 0],
            &[TOTALS; 66],
        ] {
            assert_eq!(ToMonitor::decode(bytes), Err(Malformed), "{bytes:?}");
        }
    }

    #[test]
    fn text_is_cut_and_made_harmless() {
        let long = "é".repeat(MAX_TEXT);
        assert!(ToMonitor::Log(long).encode().len() <= MAX_TEXT + 1);
        let decoded = ToMonitor::decode(&[&[LOG][..], b"\x1b[31mred\n"].concat());
        assert_eq!(decoded, Ok(ToMonitor::Log(" [31mred ".into())));
        let many = ToMonitor::Unimplemented(vec![(1, 1); MAX_REPORT + 5]);
        assert!(many.encode().len() <= MAX_MESSAGE);
        let many = ToMonitor::Calls(vec![CallCost::default(); MAX_COSTS + 5]);
        assert!(many.encode().len() <= MAX_MESSAGE);
    }
}
