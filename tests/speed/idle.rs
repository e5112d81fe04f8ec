//! A sandbox whose guest sleeps uses no processor time: not one of its threads runs.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use libtest_mimic::Failed;

/// How long the sandbox is watched.
const WATCH: Duration = Duration::from_secs(10);
/// What is left to do after the guest has said that it is ready: going to sleep.
const SETTLING: Duration = Duration::from_millis(500);

/// Ends the sandbox.
struct Sandbox(Child);

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sleeps.
pub(crate) const SLEEPER: &[&str] = &["sh", "-c", "echo ready; exec sleep 60"];

/// `options` are for `usk run`; `guest` is a command that says that it is ready, and then sleeps for longer than it is watched.
pub(crate) fn check(options: &[&str], guest: &[&str]) -> Result<(), Failed> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_usk"));
    command.arg("run").args(options).arg("--").args(guest);
    let mut sandbox = Sandbox(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?);
    let stdout = sandbox.0.stdout.take().ok_or("no standard output")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    if line != "ready\n" {
        return Err(format!("the guest said {line:?}").into());
    }
    thread::sleep(SETTLING);
    let before = processor_time(sandbox.0.id())?;
    thread::sleep(WATCH);
    let after = processor_time(sandbox.0.id())?;
    if before.len() < 4 {
        return Err(format!("{} threads are too few for a sandbox", before.len()).into());
    }
    if before == after { Ok(()) } else { Err(format!("{before:?} became {after:?}").into()) }
}

/// The nanoseconds that each thread of a process and of its descendants has run (`/proc/PID/task/TID/schedstat`).
fn processor_time(pid: u32) -> Result<BTreeMap<u32, u64>, Failed> {
    let mut times = BTreeMap::new();
    let mut processes = vec![pid];
    while let Some(process) = processes.pop() {
        for thread in fs::read_dir(format!("/proc/{process}/task"))? {
            let path = thread?.path();
            let tid = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
            let statistics = fs::read_to_string(path.join("schedstat"))?;
            let time = statistics.split(' ').next().and_then(|time| time.parse().ok());
            let (Some(tid), Some(time)) = (tid, time) else { return Err("schedstat makes no sense".into()) };
            times.insert(tid, time);
            let children = fs::read_to_string(path.join("children"))?;
            processes.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    Ok(times)
}
