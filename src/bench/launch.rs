//! Running one thing under one runtime, to its end or to the end of patience.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use usk_platform::host::Pid;
use usk_platform::host::pidfd::ProcessDescriptor;

use super::life;
use super::place::Place;
use super::runtimes::{Invocation, Job, Runtime};

/// How often it is looked whether a silent command has written something.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// Longest part of an error message that is quoted, in characters.
const QUOTED_MAX: usize = 160;

/// How a job ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// From the start of the runtime to its end.
    pub(crate) wall: Duration,
    /// What the job wrote to standard output.
    pub(crate) output: String,
    /// Why it did not succeed.
    pub(crate) failure: Option<String>,
}

/// A job that has been started.
pub(crate) struct Running<'a> {
    child: Child,
    begun: Instant,
    invocation: Invocation,
    output: PathBuf,
    errors: PathBuf,
    place: &'a Place,
}

/// Runs a job to its end. It is killed after it has written nothing to standard output for so long as `patience` says.
pub(crate) fn run(place: &Place, runtime: &Runtime, job: &Job, patience: Duration) -> Result<Ended> {
    let ended = start(place, runtime, job)?.wait(patience);
    if runtime.is_native() {
        place.clean_scratch();
    }
    ended
}

/// Starts a job, with its output in files.
pub(crate) fn start<'a>(place: &'a Place, runtime: &Runtime, job: &Job) -> Result<Running<'a>> {
    let mut invocation = runtime.invocation(place, job)?;
    let file = |kind: &str| place.directory().join(format!("{kind}-{}", place.next_number()));
    let (output, errors) = (file("output"), file("errors"));
    let create =
        |path: &PathBuf| File::create(path).with_context(|| format!("cannot make {}", path.display()));
    invocation
        .command
        .stdin(nothing_to_read().context("cannot make a pipe")?)
        .stdout(Stdio::from(create(&output)?))
        .stderr(Stdio::from(create(&errors)?));
    let begun = Instant::now();
    let child = if invocation.needs_root {
        place.spawn_with_root(&mut invocation.command)
    } else {
        invocation.command.spawn()
    };
    let child = child.with_context(|| format!("cannot run {}", runtime.name))?;
    Ok(Running { child, begun, invocation, output, errors, place })
}

impl Running<'_> {
    /// The runtime's own process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the job has written so far.
    pub(crate) fn output(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// Waits for the end.
    pub(crate) fn wait(mut self, patience: Duration) -> Result<Ended> {
        let status = self.wait_until(patience, |_| false)?;
        let wall = self.begun.elapsed();
        let failure = match status {
            Some(status) if status.success() => None,
            Some(status) => Some(explain(status, &fs::read_to_string(&self.errors).unwrap_or_default())),
            None => {
                self.kill();
                Some(format!("nothing happened for {} s", patience.as_secs()))
            }
        };
        Ok(Ended { wall, output: self.output(), failure })
    }

    /// Waits until the job has written this line. An error if it ends before, or is silent for too long.
    pub(crate) fn wait_for(&mut self, line: &str, patience: Duration) -> Result<()> {
        let status = self.wait_until(patience, |output| output.lines().any(|found| found == line))?;
        if self.output().lines().any(|found| found == line) {
            return Ok(());
        }
        let errors = fs::read_to_string(&self.errors).unwrap_or_default();
        match status {
            Some(status) => anyhow::bail!(explain(status, &errors)),
            None => anyhow::bail!("nothing happened for {} s", patience.as_secs()),
        }
    }

    /// Ends the job and everything that belongs to it, without asking.
    pub(crate) fn end(mut self) {
        self.kill();
    }

    /// Waits for the end, or until the output is what it should be; `None` then, and after too long a silence.
    fn wait_until(
        &mut self,
        patience: Duration,
        is_enough: impl Fn(&str) -> bool,
    ) -> Result<Option<ExitStatus>> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?);
        let process = ProcessDescriptor::open(pid).context("cannot watch a process")?;
        let (mut written, mut last_word) = (0, Instant::now());
        let mut pause = Duration::from_millis(1);
        loop {
            if is_enough(&self.output()) {
                return Ok(None);
            }
            // Waking at the end is immediate; the pause only bounds when a line, or the lack of one, is noticed.
            let mut polled = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
            let timeout = PollTimeout::try_from(pause.as_millis()).unwrap_or(PollTimeout::MAX);
            match poll(&mut polled, timeout) {
                Ok(0) | Err(nix::errno::Errno::EINTR) => {}
                Ok(_) => return Ok(Some(self.child.wait()?)),
                Err(error) => return Err(error).context("cannot wait for a process"),
            }
            pause = (pause * 2).min(LOOK_AGAIN);
            let length = fs::metadata(&self.output).map_or(0, |file| file.len());
            if length != written {
                (written, last_word) = (length, Instant::now());
            } else if last_word.elapsed() > patience {
                return Ok(None);
            }
        }
    }

    fn kill(&mut self) {
        // Children first: they could not be found any more once their parent is gone.
        for pid in life::descendants(self.child.id()).into_iter().rev() {
            if let Ok(pid) = i32::try_from(pid) {
                // Gone already is as good.
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(clean_up) = &mut self.invocation.clean_up {
            let _ = clean_up.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
        self.place.clean_scratch();
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        for file in [&self.output, &self.errors] {
            let _ = fs::remove_file(file);
        }
        if let Some(directory) = &self.invocation.directory {
            let _ = fs::remove_dir_all(directory);
        }
    }
}

/// A standard input that is at its end. It is no file of the host's: runsc makes it its sandbox's user's own by `chown`, even
/// `/dev/null`, the device file that everybody uses.
fn nothing_to_read() -> io::Result<Stdio> {
    let (reader, _) = io::pipe()?;
    Ok(reader.into())
}

/// A failure in one line: the last words that were said, or the status if nothing was.
fn explain(status: ExitStatus, errors: &str) -> String {
    let words = errors.lines().rev().map(str::trim).find(|line| !line.is_empty());
    match words {
        Some(words) => {
            let words: String = words.chars().filter(|c| !c.is_control()).take(QUOTED_MAX).collect();
            format!("{status}: {words}")
        }
        None => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn standard_input_is_at_its_end_and_no_file_of_the_hosts() {
        let place = Place::new().unwrap();
        let job = Job::new(["sh", "-c", "readlink /proc/self/fd/0 && cat && echo end"]);
        let ended = run(&place, &Runtime::native(), &job, Duration::from_secs(20)).unwrap();
        assert_eq!(ended.failure, None);
        assert!(ended.output.starts_with("pipe:[") && ended.output.ends_with("]\nend\n"), "{}", ended.output);
    }

    #[test]
    fn a_failure_is_explained_by_the_last_words() {
        let status = ExitStatus::from_raw(1 << 8);
        assert_eq!(explain(status, "first\n  last one\t\n\n"), "exit status: 1: last one");
        assert_eq!(explain(status, " \n"), "exit status: 1");
        assert!(explain(status, &"x".repeat(1000)).len() < 200);
    }
}
