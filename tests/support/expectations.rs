//! Expected failures: a list of text lines `RUNTIME… | TEST | REASON`.
//!
//! A test that is not on the list must pass. One that is on the list must fail: an unexpected pass is an error too,
//! so that the list never outlives its reasons. Natively nothing may be expected to fail.

use std::collections::HashMap;
use std::path::Path;

use libtest_mimic::Failed;

use super::runtime::Runtime;

/// The expected failures of one test binary.
pub(crate) struct Expectations {
    reasons: HashMap<(Runtime, String), String>,
}

impl Expectations {
    /// Reads the list in `path`, relative to the package's root.
    ///
    /// # Panics
    ///
    /// When a line is malformed, appears twice, or expects a native failure.
    pub(crate) fn read(path: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let text =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut reasons = HashMap::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let number = index + 1;
            let fields: Vec<&str> = line.splitn(3, '|').map(str::trim).collect();
            let [runtimes, test, reason] = fields[..] else {
                return Err(format!("line {number}: expected `RUNTIME… | TEST | REASON`"));
            };
            if reason.is_empty() {
                return Err(format!("line {number}: a reason is missing"));
            }
            for name in runtimes.split_whitespace() {
                let runtime = match Runtime::from_name(name) {
                    Some(Runtime::Native) => {
                        return Err(format!("line {number}: native is never allowed to fail"));
                    }
                    Some(runtime) => runtime,
                    None => return Err(format!("line {number}: no runtime is called {name:?}")),
                };
                if reasons.insert((runtime, test.to_owned()), reason.to_owned()).is_some() {
                    return Err(format!("line {number}: {test} is listed twice for {name}"));
                }
            }
        }
        Ok(Self { reasons })
    }

    /// The verdict on `test`, whose outcome on `runtime` was `outcome`.
    pub(crate) fn judge(
        &self,
        runtime: Runtime,
        test: &str,
        outcome: Result<(), String>,
    ) -> Result<(), Failed> {
        let reason = self.reasons.get(&(runtime, test.to_owned()));
        match (outcome, reason) {
            (Ok(()), None) | (Err(_), Some(_)) => Ok(()),
            (Ok(()), Some(reason)) => {
                Err(format!("unexpected pass: take it off the list of expected failures ({reason})").into())
            }
            (Err(message), None) => Err(message.into()),
        }
    }

    /// Fails when the list names a test for which `exists` is false.
    pub(crate) fn check_names(&self, exists: impl Fn(&str) -> bool) -> Result<(), Failed> {
        let mut unknown: Vec<&str> =
            self.reasons.keys().map(|(_, test)| test.as_str()).filter(|test| !exists(test)).collect();
        unknown.sort_unstable();
        unknown.dedup();
        if unknown.is_empty() { Ok(()) } else { Err(format!("no such test: {}", unknown.join(", ")).into()) }
    }
}
