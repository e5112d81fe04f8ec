//! Hooks: programs of the host that are run at points of a container's life, with its state on their standard input.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use usk_platform::host::Pid;
use usk_platform::host::descriptors;
use usk_platform::host::pidfd::ProcessDescriptor;

use crate::log;

/// The first descriptor that is no standard stream.
const FIRST_OF_OTHERS: u32 = 3;
/// Most bytes of a hook's output that an error repeats.
const MAX_OUTPUT: u64 = 4096;

/// A program to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Absolute path.
    pub path: PathBuf,
    /// With the program's own name first; empty is the path.
    #[serde(default)]
    pub args: Vec<String>,
    /// Its whole environment.
    #[serde(default)]
    pub env: Vec<String>,
    /// How long it may take.
    pub timeout_s: Option<u64>,
}

/// Runs hooks in order; the first that fails ends it. `state` is what they read, `directory` where they begin.
pub fn run(kind: &str, hooks: &[Hook], state: &[u8], directory: &Path) -> Result<()> {
    each(kind, hooks, state, directory).collect()
}

/// Runs hooks in order, where the caller is. One that fails is noted, and the container's life goes on as if it had not: the
/// specification wants it so of those that are run after the command's start, and after its end.
pub fn run_all(kind: &str, hooks: &[Hook], state: &[u8]) {
    for error in each(kind, hooks, state, Path::new(".")).filter_map(Result::err) {
        log::warn(&format!("{error:#}"));
    }
}

fn each(kind: &str, hooks: &[Hook], state: &[u8], directory: &Path) -> impl Iterator<Item = Result<()>> {
    let run = move |(index, hook)| {
        run_one(hook, state, directory).with_context(|| format!("error running {kind} hook #{index}"))
    };
    hooks.iter().enumerate().map(run)
}

fn run_one(hook: &Hook, state: &[u8], directory: &Path) -> Result<()> {
    let mut command = Command::new(&hook.path);
    command.current_dir(directory);
    if let Some((name, rest)) = hook.args.split_first() {
        command.arg0(name).args(rest);
    }
    command.env_clear();
    command.envs(hook.env.iter().filter_map(|variable| variable.split_once('=')));
    // The state comes from a file and output goes to one: neither side waits for the other to read.
    let output = memory_file(c"hook").context("cannot keep a hook's output")?;
    let describe = || format!("cannot run {}", hook.path.display());
    command.stdin(state_file(state)?);
    command.stdout(output.try_clone().with_context(describe)?);
    command.stderr(output.try_clone().with_context(describe)?);
    // Nothing that the caller had open is the hook's.
    descriptors::close_on_exec_from(FIRST_OF_OTHERS).with_context(describe)?;
    let mut child = command.spawn().with_context(describe)?;
    if let Some(timeout_s) = hook.timeout_s
        && !ends_within(child.id(), Duration::from_secs(timeout_s))?
    {
        let _ = child.kill();
        let _ = child.wait();
        bail!("hook ran past specified timeout of {timeout_s}s");
    }
    let status = child.wait().with_context(describe)?;
    if !status.success() {
        let mut text = String::new();
        let mut output = output;
        let _ = output.rewind();
        let _ = output.take(MAX_OUTPUT).read_to_string(&mut text);
        let how = match status.signal() {
            Some(signal) => match Signal::try_from(signal) {
                Ok(name) => format!("signal: {name}"),
                Err(_) => format!("signal: {signal}"),
            },
            None => format!("exit status {}", status.code().unwrap_or_default()),
        };
        bail!("error running hook: {how}, output: {}", text.trim());
    }
    Ok(())
}

/// A state in a file, for a hook to read: it may have more bytes than a pipe has room for.
pub fn state_file(state: &[u8]) -> Result<File> {
    let write = || -> io::Result<File> {
        let mut file = memory_file(c"state")?;
        file.write_all(state)?;
        file.rewind()?;
        Ok(file)
    };
    write().context("cannot keep the state")
}

fn memory_file(name: &CStr) -> io::Result<File> {
    Ok(memfd_create(name, MFdFlags::MFD_CLOEXEC)?.into())
}

/// Whether a child ends in time.
fn ends_within(pid: u32, timeout: Duration) -> Result<bool> {
    let pid = i32::try_from(pid).context("a process id is too large")?;
    let process = ProcessDescriptor::open(Pid::from_raw(pid)).context("cannot watch the hook")?;
    let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
    let mut polled = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    Ok(poll(&mut polled, timeout).context("cannot wait for the hook")? > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, timeout_s: Option<u64>) -> Hook {
        let args = ["sh", "-c", script].map(String::from).to_vec();
        Hook { path: "/bin/sh".into(), args, env: vec!["A=1".into()], timeout_s }
    }

    #[test]
    fn a_hook_reads_the_state_and_has_only_its_own_environment() {
        let hook = shell("read line; [ \"$line\" = state ] && [ $A = 1 ] && [ -z \"$HOME\" ]", None);
        run("prestart", &[hook], b"state\n", Path::new("/")).unwrap();
    }

    #[test]
    fn a_hook_that_fails_is_named_with_its_output() {
        let error =
            run("prestart", &[shell("exit 0", None), shell("echo no; exit 3", None)], b"", Path::new("/"));
        let text = format!("{:#}", error.unwrap_err());
        assert_eq!(text, "error running prestart hook #1: error running hook: exit status 3, output: no");
    }

    #[test]
    fn a_hook_that_takes_too_long_is_ended() {
        let error = run("poststop", &[shell("exec sleep 1000", Some(1))], b"", Path::new("/")).unwrap_err();
        assert!(format!("{error:#}").contains("timeout of 1s"), "{error:#}");
    }

    #[test]
    fn a_hook_that_does_not_read_a_long_state_is_ended_in_time() {
        let begun = std::time::Instant::now();
        let hook = shell("exec sleep 10", Some(1));
        let error = run("prestart", &[hook], &vec![b' '; 1 << 20], Path::new("/")).unwrap_err();
        assert!(format!("{error:#}").contains("timeout of 1s"), "{error:#}");
        assert!(begun.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_hook_reads_a_long_state_to_its_end() {
        let hook = shell("[ $(wc -c) = 1048576 ]", None);
        run("prestart", &[hook], &vec![b' '; 1 << 20], Path::new("/")).unwrap();
    }
}
