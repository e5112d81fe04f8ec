//! What both platforms promise, tested on both with the same cases.
//!
//! A platform wants to be made while its process has one thread, and a case that hangs must not take the others
//! along; so each case runs in a process of its own, with a time limit. Arguments select cases whose name, such as
//! `ptrace::kick_interrupts_a_spinning_thread`, contains one of them.

mod common;

use std::io::Read;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use usk_platform::Platform;

/// How long a case may take on a loaded machine.
const LIMIT: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, name] = &arguments[..]
        && flag == "--case"
    {
        run_here(name);
        return ExitCode::SUCCESS;
    }
    let filters: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let mut names: Vec<String> = Vec::new();
    for (platform, _) in common::platforms() {
        names.extend(common::CASES.iter().map(|(case, _)| format!("{platform}::{case}")));
    }
    names.retain(|name| filters.is_empty() || filters.iter().any(|filter| name.contains(*filter)));
    if arguments.iter().any(|argument| argument == "--list") {
        names.iter().for_each(|name| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let failures = run_all(&names);
    println!("\n{} cases, {} failed", names.len(), failures.len());
    failures.iter().for_each(|name| println!("failed: {name}"));
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs one case in this process.
fn run_here(name: &str) {
    let (platform, case) = name.split_once("::").expect("platform::case");
    let (_, make) = common::platforms().into_iter().find(|(name, _)| *name == platform).expect("a platform");
    let mut cases = common::CASES.iter().chain(common::HELPERS);
    let (_, case) = cases.find(|(name, _)| *name == case).expect("a case");
    let platform: Box<dyn Platform> = make();
    case(&*platform);
    drop(platform);
    common::assert_no_children();
}

/// Runs cases in processes of their own, two at a time, and returns the names of those that failed.
fn run_all(names: &[String]) -> Vec<String> {
    let rest = Mutex::new(names.iter());
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(name) = rest.lock().unwrap().next() else { return };
                    match run_process(name) {
                        Ok(()) => println!("test {name} ... ok"),
                        Err(output) => {
                            println!("test {name} ... FAILED\n{output}");
                            failures.lock().unwrap().push(name.clone());
                        }
                    }
                }
            });
        }
    });
    failures.into_inner().unwrap()
}

fn run_process(name: &str) -> Result<(), String> {
    let program = std::env::current_exe().expect("a path of this program");
    let mut child = Command::new(program)
        .args(["--case", name])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut output = child.stderr.take().expect("is piped");
    let reader = thread::spawn(move || {
        let mut text = String::new();
        let _ = output.read_to_string(&mut text);
        text
    });
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            break Some(status);
        }
        if start.elapsed() > LIMIT {
            let _ = child.kill();
            let _ = child.wait();
            break None;
        }
        thread::sleep(Duration::from_millis(2));
    };
    let text = reader.join().unwrap_or_default();
    match status {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(format!("{status}\n{text}")),
        None => Err(format!("no end within {LIMIT:?}\n{text}")),
    }
}
