//! CPython's own regression tests, which must end on usk as they do on the host kernel.
//!
//! A trial runs one module of the tests (`python3 -m test MODULE`) on one runtime and compares the outcome of each of its tests with
//! that of a native run on the same machine: what is skipped or fails natively must be skipped or fail under usk. Differences that are
//! known are in `tests/expectations/cpython.txt`, each with its reason.
//!
//!     cargo test --test cpython                       everything
//!     cargo test --test cpython trap::test_os         one module on one platform
//!
//! It takes Debian's `python3` and `libpython3.11-testsuite`; where the tests are not installed, the trials are ignored.

mod module;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};

use crate::module::{Module, NativeRun, PYTHON};
use crate::support::expectations::Expectations;
use crate::support::runtime::Runtime;

/// What is run. The longest come first, so that they do not run alone at the end.
const MODULES: &[Module] = &[
    // Its stress tests race with their own timers for half a minute each.
    Module::default_only("test_signal").without(&["StressTest"]),
    Module::default_only("test_io"),
    Module::default_only("test_subprocess").without(&[
        // Skipped or not by the limit of descriptors that the machine happens to have.
        "test_no_leaking",
    ]),
    Module::default_only("test_selectors").without(&[
        // Makes as many descriptors as the machine happens to allow, and natively that may take a minute.
        "test_above_fd_setsize",
    ]),
    Module::default_only("test_threading"),
    Module::default_only("test_os"),
    Module::default_only("test_pathlib"),
    Module::everywhere("test_fork1"),
    Module::everywhere("test_wait3"),
    Module::everywhere("test_wait4"),
    Module::everywhere("test_posix"),
    Module::everywhere("test_shutil"),
    Module::everywhere("test_time").without(&[
        // Sets the machine's clock back an hour.
        "test_monotonic_settime",
    ]),
    Module::everywhere("test_tempfile"),
    Module::everywhere("test_select"),
    Module::everywhere("test_glob"),
    Module::everywhere("test_thread"),
    Module::everywhere("test_file"),
    Module::everywhere("test_fcntl"),
    Module::everywhere("test_mmap"),
    Module::everywhere("test_pipes"),
    Module::everywhere("test_posixpath"),
    Module::everywhere("test_pty"),
    Module::everywhere("test_resource"),
    Module::everywhere("test_stat"),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let expectations = Arc::new(Expectations::read("tests/expectations/cpython.txt"));
    let missing = !tests_are_installed();
    let mut trials = Vec::new();
    for module in MODULES {
        let native = Arc::new(NativeRun::new(*module));
        for runtime in Runtime::selected().into_iter().filter(|runtime| module.runs_on(*runtime)) {
            let (native, expectations) = (native.clone(), expectations.clone());
            let name = format!("{}::{}", runtime.name(), module.name);
            let trial = Trial::test(name, move || compare(&native, runtime, &expectations));
            trials.push(trial.with_ignored_flag(missing));
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

fn tests_are_installed() -> bool {
    let mut command = Command::new(PYTHON);
    command.args(["-c", "import test.test_os"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Runs the module on `runtime` and names every test that ends otherwise than natively.
fn compare(native: &NativeRun, runtime: Runtime, expectations: &Expectations) -> Result<(), Failed> {
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
        let outcome =
            |outcomes: &module::Outcomes| outcomes.get(test).map_or("not run", String::as_str).to_owned();
        let (natively, here) = (outcome(expected), outcome(&found));
        let same = if natively == here { Ok(()) } else { Err(format!("natively {natively}, here {here}")) };
        if let Err(failed) = expectations.judge(runtime, test, same) {
            differences.push(format!("{test}: {}", failed.message().unwrap_or("differs")));
        }
    }
    if differences.is_empty() { Ok(()) } else { Err(differences.join("\n").into()) }
}
