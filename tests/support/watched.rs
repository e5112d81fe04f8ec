//! Runs a command, collects what it writes, and ends it when it says nothing for too long.

use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// How much of the end of standard error a report shows, in bytes.
const STDERR_TAIL_BYTES: usize = 2000;

/// How a watched command ended.
pub(crate) struct Ending {
    /// The exit status.
    pub(crate) status: ExitStatus,
    /// Whether it was killed because it wrote no line for too long.
    pub(crate) timed_out: bool,
    /// Everything it wrote to standard error.
    pub(crate) stderr: Vec<u8>,
}

impl Ending {
    /// The status and the end of standard error, for a report.
    pub(crate) fn describe(&self) -> String {
        let start = self.stderr.len().saturating_sub(STDERR_TAIL_BYTES);
        let tail = String::from_utf8_lossy(&self.stderr[start..]);
        let silence = if self.timed_out { " (killed: it had stopped writing)" } else { "" };
        format!("{}{silence}; standard error ends with:\n{}", self.status, tail.trim_end())
    }
}

/// The exit status as a shell says it: 128 and the signal's number for a program that a signal killed.
pub(crate) fn shell_status(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// Runs `command`, hands each line of its standard output to `on_line`, and kills it when no line came for `silence`.
pub(crate) fn lines(
    mut command: Command,
    silence: Duration,
    mut on_line: impl FnMut(String),
) -> io::Result<Ending> {
    let mut stderr = tempfile::tempfile()?;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr.try_clone()?);
    let mut child = command.spawn()?;
    let stdout = child.stdout.take().ok_or_else(|| io::Error::other("standard output is not a pipe"))?;
    let (sender, receiver) = mpsc::channel();
    // Not joined: a process that outlives the command could keep the pipe open.
    thread::spawn(move || {
        for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                break;
            }
        }
    });
    let timed_out = loop {
        match receiver.recv_timeout(silence) {
            Ok(line) => on_line(line),
            Err(RecvTimeoutError::Disconnected) => break false,
            Err(RecvTimeoutError::Timeout) => break true,
        }
    };
    if timed_out {
        child.kill()?;
    }
    let (status, ended_by_itself) = wait(&mut child, silence)?;
    let mut bytes = Vec::new();
    stderr.seek(SeekFrom::Start(0))?;
    stderr.read_to_end(&mut bytes)?;
    Ok(Ending { status, timed_out: timed_out || !ended_by_itself, stderr: bytes })
}

/// The complete result of a command.
pub(crate) struct Output {
    /// Everything it wrote to standard output.
    pub(crate) stdout: Vec<u8>,
    /// How it ended.
    pub(crate) ending: Ending,
}

/// Runs `command` to its end and collects everything it writes; kills it after `limit`.
pub(crate) fn output(mut command: Command, limit: Duration) -> io::Result<Output> {
    let mut stdout = tempfile::tempfile()?;
    let mut stderr = tempfile::tempfile()?;
    command.stdin(Stdio::null()).stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
    let mut child = command.spawn()?;
    let (status, in_time) = wait(&mut child, limit)?;
    let mut ending = Ending { status, timed_out: !in_time, stderr: Vec::new() };
    let mut bytes = Vec::new();
    stdout.seek(SeekFrom::Start(0))?;
    stdout.read_to_end(&mut bytes)?;
    stderr.seek(SeekFrom::Start(0))?;
    stderr.read_to_end(&mut ending.stderr)?;
    Ok(Output { stdout: bytes, ending })
}

/// Waits for `child` for at most `limit`, then kills it. Says whether it ended in time.
fn wait(child: &mut std::process::Child, limit: Duration) -> io::Result<(ExitStatus, bool)> {
    let deadline = Instant::now() + limit;
    // The standard library has no wait with a time limit: look again at intervals that grow from 1 to 50 ms.
    let mut interval = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((status, true));
        }
        if Instant::now() >= deadline {
            child.kill()?;
            return Ok((child.wait()?, false));
        }
        thread::sleep(interval);
        interval = (interval * 2).min(Duration::from_millis(50));
    }
}
