//! A sandbox that is kept for looking at.

use std::collections::{HashSet, VecDeque};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use procfs::process::{Process, all_processes};
use serde_json::Value;

use super::caller::Caller;

/// The platforms that a sandbox can have.
pub(crate) const PLATFORMS: [&str; 2] = ["trap", "ptrace"];

/// Every caller on every platform.
pub(crate) fn everybody() -> Vec<(Caller, &'static str)> {
    Caller::all().into_iter().flat_map(|caller| PLATFORMS.map(|platform| (caller, platform))).collect()
}

/// Longer than anything here takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// How soon all of a sandbox is gone after a part of it, as promised, where the machine has nothing else to do.
const PROMPTLY: Duration = Duration::from_secs(1);

/// So many ends can wait for each other: the part's, the monitor's, the other part's, and those of the stubs.
const ENDS: u32 = 4;

/// A running sandbox. Dropping it ends it.
pub(crate) struct Held {
    monitor: Child,
    events: BufReader<ChildStdout>,
    /// Lines of the guest's that came before the first event.
    said: VecDeque<String>,
    /// Process id of the sentry.
    pub(crate) sentry: i32,
    /// Process id of the gofer.
    pub(crate) gofer: i32,
}

impl Held {
    /// Starts a sandbox with these options and waits until it is set up.
    pub(crate) fn start(caller: Caller, platform: &str, options: &[&str]) -> Held {
        Held::start_command(Held::command(caller, platform, options))
    }

    /// The command of [`Held::start`].
    pub(crate) fn command(caller: Caller, platform: &str, options: &[&str]) -> Command {
        let mut command = caller.usk();
        command.args(["hold", "--status-fd", "1", "--platform", platform]).args(options).arg("nothing");
        command
    }

    /// As [`Held::start`], with a command that the caller has put together. It must have `--status-fd 1`.
    pub(crate) fn start_command(mut command: Command) -> Held {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut monitor = command.spawn().expect("usk can be started");
        let mut events = BufReader::new(monitor.stdout.take().expect("a pipe"));
        let mut said = VecDeque::new();
        let event = loop {
            let mut line = String::new();
            let length = events.read_line(&mut line).expect("an event");
            match serde_json::from_str::<Value>(&line) {
                Ok(event) if event["event"] == "started" => break event,
                // The guest may be quicker than the monitor.
                Err(_) if length > 0 => said.push_back(line),
                _ => {
                    let mut errors = String::new();
                    let _ = monitor.stderr.take().expect("a pipe").read_to_string(&mut errors);
                    panic!("no sandbox: {line} {errors}");
                }
            }
        };
        let pid = |name: &str| event[name].as_i64().expect("a process id") as i32;
        let held = Held { sentry: pid("sentry"), gofer: pid("gofer"), monitor, events, said };
        held.wait_for_gofer();
        held
    }

    /// The sentry does not wait for the gofer's set-up, which ends with its filter.
    fn wait_for_gofer(&self) {
        let begun = Instant::now();
        let is_ready = || Process::new(self.gofer)?.status().map(|status| status.seccomp == Some(2));
        while !is_ready().expect("the gofer's status") {
            assert!(begun.elapsed() < PATIENCE, "the gofer is not ready");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Process id of the monitor.
    pub(crate) fn monitor(&self) -> i32 {
        self.monitor.id() as i32
    }

    /// The next line on standard output, where a guest's own lines are among the events.
    pub(crate) fn read_line(&mut self) -> String {
        let mut line = self.said.pop_front().unwrap_or_default();
        if line.is_empty() {
            self.events.read_line(&mut line).expect("a line");
        }
        line.trim_end().to_owned()
    }

    /// The sentry's children.
    pub(crate) fn stubs(&self) -> Vec<Process> {
        let is_child = |process: &Process| process.stat().is_ok_and(|stat| stat.ppid == self.sentry);
        all_processes().expect("processes").flatten().filter(is_child).collect()
    }

    /// Every process of the sandbox, the monitor included.
    pub(crate) fn processes(&self) -> Vec<i32> {
        let mut all = vec![self.monitor(), self.sentry, self.gofer];
        all.extend(self.stubs().iter().map(|stub| stub.pid));
        all
    }

    /// Sends a signal to one of its processes.
    pub(crate) fn signal(&self, pid: i32, signal: &str) {
        let status =
            Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).status().expect("kill");
        assert!(status.success());
    }

    /// Waits for its end: the exit status, the last event, and what was printed on standard error.
    pub(crate) fn wait(&mut self) -> (ExitStatus, Value, String) {
        let mut rest = String::new();
        self.events.read_to_string(&mut rest).expect("events");
        let mut errors = String::new();
        if let Some(mut pipe) = self.monitor.stderr.take() {
            let _ = pipe.read_to_string(&mut errors);
        }
        let status = self.monitor.wait().expect("a status");
        let last =
            rest.lines().last().map(|line| serde_json::from_str(line).expect("JSON")).unwrap_or_default();
        (status, last, errors)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.monitor.kill();
        let _ = self.monitor.wait();
    }
}

/// Waits until none of these processes is left and returns how long that took. Zombies are not left: somebody else has
/// to reap them.
pub(crate) fn wait_until_gone(processes: &[i32]) -> Duration {
    let begun = Instant::now();
    let mut left: HashSet<i32> = processes.iter().copied().collect();
    loop {
        left.retain(|&pid| {
            Process::new(pid).and_then(|process| process.stat()).is_ok_and(|stat| stat.state != 'Z')
        });
        if left.is_empty() {
            return begun.elapsed();
        }
        assert!(begun.elapsed() < PATIENCE, "processes are left: {left:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Fails unless so many processes, which took so long to be gone, went promptly. On a busy machine a process that has been killed waits
/// for a processor before it can end: what took longer is held to what as many processes of the host's own take there.
pub(crate) fn assert_prompt(took: Duration, processes: usize) {
    if took >= PROMPTLY {
        let usual = end_of_plain_processes(processes);
        assert!(took < PROMPTLY + usual * ENDS, "{took:?}; plain processes take {usual:?}");
    }
}

/// How long so many busy processes of the host's own take to be gone when all are killed.
fn end_of_plain_processes(count: usize) -> Duration {
    let start =
        |_| Command::new("sh").args(["-c", "while :; do :; done"]).spawn().expect("a shell can be started");
    let mut children: Vec<Child> = (0..count).map(start).collect();
    let begun = Instant::now();
    children.iter_mut().for_each(|child| child.kill().expect("it runs"));
    for child in &mut children {
        child.wait().expect("it ends");
    }
    begun.elapsed()
}
