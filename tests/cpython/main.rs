//! CPython's own regression tests, which must end on usk as they do on the host kernel.
//!
//! A trial runs one module of the tests (`python3 -m test MODULE`) on one runtime and compares the outcome of each of its tests with
//! that of a native run on the same machine: what is skipped or fails natively must be skipped or fail under usk. What fails natively and
//! passes under usk is said and not held against it. Differences that are known are in `tests/expectations/cpython.txt`, each with its
//! reason.
//!
//! A few tests bound the time that something takes, and so fail on a machine that is busy with something else. Those alone, listed in
//! `tests/expectations/cpython-timing.txt` with what they bound, are tried again by themselves when they differ, natively as well, and
//! the run says so.
//!
//!     cargo test --test cpython                       everything
//!     cargo test --test cpython trap::test_os         one module on one platform
//!
//! It takes Debian's `python3` and `libpython3.11-testsuite`. A module that the distribution leaves out (`test_sqlite3`) is run by the
//! `python3` on the caller's path if that has it, and is skipped, visibly, if not.

mod module;
#[path = "../support/mod.rs"]
mod support;
mod timing;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};

use crate::module::{Module, NativeRun, Outcomes};
use crate::support::expectations::Expectations;
use crate::support::runtime::Runtime;
use crate::timing::TimingDependent;

/// What is run. The longest come first, so that they do not run alone at the end.
const MODULES: &[Module] = &[
    Module::new("test_multiprocessing_fork"),
    Module::new("test_signal"),
    Module::new("test_io"),
    Module::new("test_subprocess"),
    Module::new("test_selectors"),
    Module::new("test_threading"),
    Module::new("test_os"),
    Module::new("test_pathlib"),
    Module::new("test_fork1"),
    Module::new("test_wait3"),
    Module::new("test_wait4"),
    Module::new("test_posix"),
    Module::new("test_shutil"),
    Module::new("test_time").without(&[
        // Sets the machine's clock back an hour.
        "test_monotonic_settime",
    ]),
    Module::new("test_tempfile"),
    Module::new("test_select"),
    Module::new("test_glob"),
    Module::new("test_thread"),
    Module::new("test_file"),
    Module::new("test_fcntl"),
    Module::new("test_mmap"),
    Module::new("test_pipes"),
    Module::new("test_posixpath"),
    Module::new("test_pty"),
    Module::new("test_resource"),
    Module::new("test_stat"),
    Module::not_from_debian("test_sqlite3"),
];

/// How often a test that depends on timing is tried again.
const RETRIES: usize = 3;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let expectations = Arc::new(Expectations::read("tests/expectations/cpython.txt"));
    let timing = Arc::new(TimingDependent::read("tests/expectations/cpython-timing.txt"));
    let mut trials = Vec::new();
    for module in MODULES {
        let native = Arc::new(NativeRun::new(*module));
        for runtime in Runtime::selected(&Runtime::ALL) {
            let (native, expectations, timing) = (native.clone(), expectations.clone(), timing.clone());
            let name = format!("{}::{}", runtime.name(), module.name);
            let trial = Trial::test(name, move || compare(&native, runtime, &expectations, &timing));
            trials.push(match module.is_skipped() {
                true => trial.with_kind("no python3 of this machine has it").with_ignored_flag(true),
                false => trial,
            });
        }
    }
    trials.push(Trial::test("expectations::name_modules_that_are_run", move || {
        expectations.check_names(|test| {
            let module = test.split('.').next();
            MODULES.iter().any(|known| Some(known.name) == module)
        })
    }));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Runs the module on `runtime` and names every test that ends otherwise than natively.
fn compare(
    native: &NativeRun,
    runtime: Runtime,
    expectations: &Expectations,
    timing: &TimingDependent,
) -> Result<(), Failed> {
    // Before the native outcomes are waited for: another trial may be at that run, and the two go on side by side.
    let found = if runtime == Runtime::Native { None } else { Some(native.module.run(runtime)?) };
    let expected = native.outcomes().as_ref().map_err(|error| format!("natively: {error}"))?;
    if expected.is_empty() {
        return Err("natively it has no tests".into());
    }
    let Some(found) = found else { return Ok(()) };
    let tests: BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
    let mut differences = Vec::new();
    for test in tests {
        let mut same = agree(runtime, test, expected, &found);
        if let (Err(difference), Some(bound)) = (&same, timing.bound(test)) {
            eprintln!("{}::{test}: {difference}; tried again, because it {bound}", runtime.name());
            same = try_again(&native.module, runtime, test);
        }
        if let Err(failed) = expectations.judge(runtime, test, same) {
            differences.push(format!("{test}: {}", failed.message().unwrap_or("differs")));
        }
    }
    if differences.is_empty() { Ok(()) } else { Err(differences.join("\n").into()) }
}

/// Whether a test ended here as it did natively, or better.
fn agree(runtime: Runtime, test: &str, natively: &Outcomes, here: &Outcomes) -> Result<(), String> {
    let outcome = |outcomes: &Outcomes| outcomes.get(test).map_or("not run", String::as_str).to_owned();
    match (outcome(natively).as_str(), outcome(here).as_str()) {
        (natively, here) if natively == here => Ok(()),
        ("fail" | "error", "ok") => {
            eprintln!("{}::{test}: fails natively, passes here", runtime.name());
            Ok(())
        }
        (natively, here) => Err(format!("natively {natively}, here {here}")),
    }
}

/// Runs one test by itself, natively and here, until it ends in the same way.
fn try_again(module: &Module, runtime: Runtime, test: &str) -> Result<(), String> {
    let mut same = Ok(());
    for attempt in 1..=RETRIES {
        let natively = module.run_only(Runtime::Native, test)?;
        let here = module.run_only(runtime, test)?;
        same = agree(runtime, test, &natively, &here);
        eprintln!(
            "{}::{test}: attempt {attempt}: {}",
            runtime.name(),
            same.as_ref().map_or_else(|difference| difference.as_str(), |()| "as natively")
        );
        if same.is_ok() {
            break;
        }
    }
    same
}
