//! Program tests: real programs, run natively and under usk, which must write the same and end the same.
//!
//! A test is one file of this directory; its extension says what runs it. It runs in an empty directory, which is
//! `/tmp` under usk, with an environment of a few fixed variables and no input. Standard output, standard error and the
//! exit status are compared; the status of a program that a signal killed counts as 128 and the signal's number, as
//! shells and usk say it. The tests are called `RUNTIME::NAME`; the native run alone must end with the expected status.
//!
//! A line `usk-test:` in a comment at the top changes this, with words `KEY=VALUE`:
//!
//! - `status=N`: the exit status; 0 if not given
//! - `limit=S`: a time limit in seconds; 60 if not given
//! - `stderr=any`: standard error differs from run to run
//! - `options=A,B`: more options for `usk run`, separated by commas
//! - `native=no`: there is nothing to compare with natively; standard output must be what `NAME.expected` holds
//!
//! The expected failures are in `tests/expectations/programs.txt`, the packages needed in `tests/install-packages`.

mod program;
#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};

use crate::support::expectations::Expectations;
use crate::support::runtime::Runtime;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let programs = match program::find_all() {
        Ok(programs) => programs,
        Err(error) => {
            eprintln!("programs: {error}");
            return ExitCode::FAILURE;
        }
    };
    let expectations = Arc::new(Expectations::read("tests/expectations/programs.txt"));
    let mut trials = Vec::new();
    for runtime in Runtime::selected(&Runtime::ALL) {
        for program in &programs {
            if runtime == Runtime::Native && !program.runs_natively() {
                continue;
            }
            let (program, expectations) = (Arc::clone(program), Arc::clone(&expectations));
            trials.push(Trial::test(format!("{}::{}", runtime.name(), program.name()), move || {
                expectations.judge(runtime, program.name(), program.check(runtime))
            }));
        }
    }
    trials.push(Trial::test("expectations::name_existing_programs", move || {
        expectations.check_names(|test| programs.iter().any(|program| program.name() == test))
    }));
    libtest_mimic::run(&arguments, trials).exit_code()
}
