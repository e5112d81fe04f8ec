//! Conformance tests: small guest programs in C, one for each manual page, that must behave on usk as they do on the
//! host kernel.
//!
//! A program `FAMILY.c` holds cases (see `case.h`) and is compiled here, statically, so that it needs nothing from the
//! root file system it runs in. Each case is one test per runtime, called `RUNTIME::FAMILY::CASE`; a family runs once
//! per runtime and serves all its cases. The expected failures are in `tests/expectations/conformance.txt`.
//!
//!     cargo test --test conformance                            everything
//!     cargo test --test conformance native::                   on the host kernel only
//!     cargo test --test conformance trap::eventfd              one family on one platform
//!     USK_TEST_RUNTIMES=native,ptrace cargo test …             some runtimes

mod family;
mod run;
#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};

use crate::run::FamilyRun;
use crate::support::expectations::Expectations;
use crate::support::runtime::Runtime;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let families = match family::build_all() {
        Ok(families) => families,
        Err(error) => {
            eprintln!("conformance: {error}");
            return ExitCode::FAILURE;
        }
    };
    let expectations = Arc::new(Expectations::read("tests/expectations/conformance.txt"));
    let mut trials = Vec::new();
    for runtime in Runtime::selected(&Runtime::EVERY) {
        for family in &families {
            let run = Arc::new(FamilyRun::new(runtime, Arc::clone(family), only_case(&arguments)));
            for case in &family.cases {
                let (run, expectations) = (Arc::clone(&run), Arc::clone(&expectations));
                let (test, case) = (format!("{}::{case}", family.name), case.clone());
                trials.push(Trial::test(format!("{}::{test}", runtime.name()), move || {
                    expectations.judge(runtime, &test, run.outcome(&case))
                }));
            }
        }
    }
    trials.push(Trial::test("expectations::name_existing_cases", move || {
        expectations.check_names(|test| {
            families.iter().any(|family| {
                test.strip_prefix(family.name.as_str())
                    .and_then(|rest| rest.strip_prefix("::"))
                    .is_some_and(|case| family.cases.iter().any(|known| known == case))
            })
        })
    }));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The case to run alone, when exactly one test was asked for: nextest starts one process for each test.
fn only_case(arguments: &Arguments) -> Option<String> {
    let filter = arguments.filter.as_ref().filter(|_| arguments.exact)?;
    filter.rsplit("::").next().map(str::to_owned)
}
