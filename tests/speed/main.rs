//! Promises about speed that can be kept on any machine, because each compares two sides in one run: the bare mechanism
//! and usk, one thread and two, bubblewrap and usk.
//!
//! Noise only ever adds time, and these machines are shared: a comparison is repeated, and holds if one of its rounds
//! holds. What was measured is printed either way. Built for release:
//!
//!     cargo test --release --test speed

mod idle;
#[path = "../support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};

/// How often a comparison is tried.
const ROUNDS: usize = 8;
/// Calls in a measurement.
const CALLS: u32 = 100_000;
/// Starts in a measurement.
const STARTS: usize = 25;

/// Two threads over one: calls a second.
const LEAST_SCALING: f64 = 1.7;
/// A call that traps over a bare trap, notification and return.
const MOST_TRAP_COST: f64 = 1.3;
/// A call that the sentry answers, with `--spin` over without.
const MOST_SPINNING_COST: f64 = 0.7;
/// Start to end of `true`, over bubblewrap's.
const MOST_START_COST: f64 = 3.0;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // One measurement at a time.
    arguments.test_threads = Some(1);
    let trials = vec![
        Trial::test("two_threads_make_more_calls_than_one", two_threads),
        Trial::test("a_call_that_traps_costs_little_more_than_the_trap", trap_cost),
        Trial::test("a_sandbox_starts_and_ends_about_as_fast_as_bubblewrap", start_cost),
        Trial::test("a_call_whose_sides_look_for_each_other_costs_less", spinning_cost),
        idle("an_idle_sandbox_uses_no_processor_time_on_trap", &[]),
        idle("an_idle_sandbox_uses_no_processor_time_on_ptrace", &["--platform=ptrace"]),
        idle("an_idle_sandbox_uses_no_processor_time_where_it_may_spin", &["--spin"]),
        Trial::test("a_timer_whose_signal_is_blocked_uses_no_processor_time", blocked_timer),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn two_threads() -> Result<(), Failed> {
    let program = compile("calls")?;
    let run = |threads: u32| {
        let (threads, calls) = (threads.to_string(), CALLS.to_string());
        number(usk(&[]).arg(&program).args([&threads, &calls]))
    };
    compare(
        "calls a second of two threads over one",
        |ratio| ratio >= LEAST_SCALING,
        || {
            let (one, two) = (run(1)?, run(2)?);
            Ok(2.0 * one / two)
        },
    )
}

fn trap_cost() -> Result<(), Failed> {
    let (bare, program) = (compile("bare_trap")?, compile("calls")?);
    let calls = CALLS.to_string();
    compare(
        "a call that traps over the bare trap",
        |ratio| ratio <= MOST_TRAP_COST,
        || {
            let bare = number(Command::new(&bare).arg(&calls))?;
            let usk = number(usk(&["--no-patch"]).arg(&program).args(["1", &calls]))?;
            Ok(usk / bare)
        },
    )
}

fn spinning_cost() -> Result<(), Failed> {
    let program = compile("calls")?;
    let calls = CALLS.to_string();
    let run = |options: &[&str]| number(usk(options).arg(&program).args(["1", &calls]));
    compare(
        "a call with --spin over one without",
        |ratio| ratio <= MOST_SPINNING_COST,
        || Ok(run(&["--spin"])? / run(&[])?),
    )
}

/// A sandbox that sleeps.
fn idle(name: &str, options: &'static [&'static str]) -> Trial {
    Trial::test(name, || idle::check(options, idle::SLEEPER))
}

fn start_cost() -> Result<(), Failed> {
    const BUBBLEWRAP: [&str; 9] =
        ["--unshare-all", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "/bin/true"];
    compare(
        "start to end of true over bubblewrap's",
        |ratio| ratio <= MOST_START_COST,
        || {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..STARTS {
                theirs.push(time(Command::new("bwrap").args(BUBBLEWRAP))?);
                ours.push(time(usk(&[]).arg("/bin/true"))?);
            }
            Ok(median(ours) / median(theirs))
        },
    )
}

fn blocked_timer() -> Result<(), Failed> {
    let program = compile("blocked_timer")?;
    idle::check(&[], &[&program.to_string_lossy()])
}

/// Measures until a ratio is good.
fn compare(
    what: &str,
    is_good: impl Fn(f64) -> bool,
    measure: impl Fn() -> Result<f64, Failed>,
) -> Result<(), Failed> {
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let ratio = measure()?;
        ratios.push(format!("{ratio:.2}"));
        if is_good(ratio) {
            println!("{what}: {}", ratios.join(", "));
            return Ok(());
        }
    }
    Err(format!("{what}: {}", ratios.join(", ")).into())
}

/// `usk run` with options, to be followed by a command.
fn usk(options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_usk"));
    command.arg("run").args(options).arg("--");
    command
}

/// The number that a command prints.
fn number(command: &mut Command) -> Result<f64, Failed> {
    let output = command.stdin(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().map_err(|_| {
        let stderr = String::from_utf8_lossy(&output.stderr);
        format!("{command:?} printed {text:?}, {}, and on standard error: {stderr}", output.status).into()
    })
}

/// How long a command takes.
fn time(command: &mut Command) -> Result<Duration, Failed> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let start = Instant::now();
    let status = command.status().map_err(|error| format!("{command:?}: {error}"))?;
    if status.success() { Ok(start.elapsed()) } else { Err(format!("{command:?}: {status}").into()) }
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}

/// Compiles a program of this directory.
fn compile(name: &str) -> Result<PathBuf, Failed> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/speed").join(name).with_extension("c");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut compiler = Command::new("gcc");
    compiler.args(["-std=gnu17", "-O2", "-Wall", "-static", "-pthread", "-o"]).arg(&program).arg(&source);
    let output = compiler.output()?;
    if output.status.success() { Ok(program) } else { Err(String::from_utf8_lossy(&output.stderr).into()) }
}
