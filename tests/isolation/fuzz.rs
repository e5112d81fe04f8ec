//! Random system calls, and tracers that write rubbish, do not bring the sentry down.

use crate::guest;
use crate::support::caller::is_root;
use crate::support::runtime::Runtime;

/// What the guest ends with, as in `fuzz.c`.
const STATUS: i32 = 42;

/// How long it runs, in seconds.
const SECONDS: &str = "3";

/// Another seed for one run, to look further or to repeat what was found.
const SEED_VARIABLE: &str = "USK_FUZZ_SEED";

pub(crate) fn the_sentry_survives_random_system_calls(runtime: Runtime) {
    let seed = std::env::var(SEED_VARIABLE).unwrap_or_else(|_| "1".to_owned());
    println!("{SEED_VARIABLE}={seed}");
    let limits: &[&str] =
        if is_root() { &["--pids-limit", "200", "-m", "1G"] } else { &["--pids-limit", "200"] };
    let options = [&["--tmpfs", "/tmp:size=64M"], limits].concat();
    let mut command = guest::command(runtime, &guest::program("fuzz"), &options);
    command.args([&seed, SECONDS]);
    let outcome = guest::run(command);
    let report = format!("{SEED_VARIABLE}={seed}\n{}\n{}", outcome.stdout, outcome.stderr);
    assert_eq!(outcome.status, STATUS, "{report}");
    assert!(outcome.stderr.is_empty(), "{report}");
    let count = |name: &str| outcome.attacks()[name].parse::<u64>().expect("a number");
    assert!(count("calls") > 5_000 && count("successes") > 500, "{report}");
}

pub(crate) fn the_sentry_survives_a_tracer_that_writes_rubbish(runtime: Runtime) {
    let seed = std::env::var(SEED_VARIABLE).unwrap_or_else(|_| "1".to_owned());
    let mut command = guest::command(runtime, &guest::program("tracer"), &["--pids-limit", "200"]);
    command.args([&seed, SECONDS]);
    let outcome = guest::run(command);
    let report = format!("{SEED_VARIABLE}={seed}\n{}\n{}", outcome.stdout, outcome.stderr);
    assert_eq!(outcome.status, STATUS, "{report}");
    let count = |name: &str| outcome.attacks()[name].parse::<u64>().expect("a number");
    assert!(count("requests") > 500 && count("successes") > 50, "{report}");
}
