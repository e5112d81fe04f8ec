//! The guest program: built here from C, asked for what it can do, and its answers understood.
//!
//! It is C because a guest is no place for usk's rules: it makes raw system calls in every way a program may, which in Rust
//! would be unsafe code outside the platform. Its source is part of this binary and the machine's compiler builds it,
//! statically, as the first step of every run: `cargo build` knows nothing of it, and what runs in the sandboxes needs no
//! library from them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

const SOURCES: &[(&str, &str)] = &[
    ("guest.h", include_str!("../../benches/guest/guest.h")),
    ("main.c", include_str!("../../benches/guest/main.c")),
    ("calls.c", include_str!("../../benches/guest/calls.c")),
    ("files.c", include_str!("../../benches/guest/files.c")),
    ("wakeups.c", include_str!("../../benches/guest/wakeups.c")),
    ("memory.c", include_str!("../../benches/guest/memory.c")),
    ("processes.c", include_str!("../../benches/guest/processes.c")),
    ("compute.c", include_str!("../../benches/guest/compute.c")),
    ("run.c", include_str!("../../benches/guest/run.c")),
];
const NOTHING: (&str, &str) = ("nothing.c", include_str!("../../benches/guest/nothing.c"));

/// The two programs, built.
#[derive(Clone, Debug)]
pub(crate) struct Guest {
    /// The program that measures.
    pub(crate) program: PathBuf,
    /// The program that does nothing.
    pub(crate) nothing: PathBuf,
}

/// An operation that the guest program knows.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Operation {
    /// Its name for machines.
    pub(crate) id: String,
    /// Its name for people.
    pub(crate) title: String,
}

/// A line of the guest's answer.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Line {
    /// Samples of an operation, in nanoseconds.
    Samples {
        /// Which.
        id: String,
        /// One for each batch: nanoseconds an operation.
        samples_ns: Vec<f64>,
    },
    /// An operation did not work, and why.
    Refused {
        /// Which.
        id: String,
        /// The failed call and its error.
        refused: String,
    },
    /// An operation begins.
    Begun {
        /// Which.
        begun: String,
    },
    /// A script took this long.
    Took {
        /// Nanoseconds.
        ns: u64,
    },
}

impl Guest {
    /// Builds both programs in this directory.
    pub(crate) fn build(directory: &Path) -> Result<Guest> {
        let source = directory.join("source");
        fs::create_dir_all(&source).with_context(|| format!("cannot make {}", source.display()))?;
        for (name, text) in SOURCES.iter().chain([&NOTHING]) {
            fs::write(source.join(name), text).with_context(|| format!("cannot write {name}"))?;
        }
        let guest = Guest { program: directory.join("guest"), nothing: directory.join("nothing") };
        let parts = SOURCES.iter().map(|(name, _)| *name).filter(|name| name.ends_with(".c"));
        compile(&source, &guest.program, &["-pthread"], parts)?;
        compile(&source, &guest.nothing, &["-nostdlib", "-nostartfiles"], [NOTHING.0])?;
        Ok(guest)
    }

    /// The operations that the program knows, in its order.
    pub(crate) fn operations(&self) -> Result<Vec<Operation>> {
        let output =
            Command::new(&self.program).arg("list").output().context("cannot run the guest program")?;
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines()
            .map(|line| {
                serde_json::from_str(line).with_context(|| format!("the guest program says {line:?}"))
            })
            .collect()
    }
}

fn compile<'a>(
    source: &Path,
    program: &Path,
    options: &[&str],
    parts: impl IntoIterator<Item = &'a str>,
) -> Result<()> {
    let mut command = Command::new("cc");
    command.current_dir(source).args(["-O2", "-static"]).args(options).arg("-o").arg(program).args(parts);
    let output = command
        .output()
        .context("cannot run cc, which builds the guest program: install gcc and libc6-dev")?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        bail!(
            "cannot build the guest program: {}; install gcc and libc6-dev",
            error.lines().next().unwrap_or_default()
        );
    }
    Ok(())
}

/// The lines of an answer. A last line that was cut off is not one.
pub(crate) fn lines(answer: &str) -> impl Iterator<Item = Line> {
    answer.lines().filter_map(|line| serde_json::from_str(line).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::statistics::median;

    /// A clock that takes as long as 200 calls, as where no vDSO answers.
    const SLOW_CLOCK: &str = "
        #define _GNU_SOURCE
        #include <sys/syscall.h>
        #include <unistd.h>
        int slow_clock(int clock, void *now) {
            for (int i = 0; i < 200; i++) syscall(SYS_clock_gettime, clock, now);
            return 0;
        }";

    fn median_of_a_call(program: &Path) -> f64 {
        let arguments = ["micro", "20", "/", "/", "/", "getppid_raw"];
        let output = Command::new(program).args(arguments).output().unwrap();
        let answer = String::from_utf8(output.stdout).unwrap();
        let samples = lines(&answer).find_map(|line| match line {
            Line::Samples { samples_ns, .. } => median(&samples_ns),
            _ => None,
        });
        samples.unwrap_or_else(|| panic!("no samples: {answer}"))
    }

    #[test]
    fn a_slow_clock_does_not_count() {
        let directory = tempfile::tempdir().unwrap();
        let guest = Guest::build(directory.path()).unwrap();
        let source = directory.path().join("source");
        fs::write(source.join("slow_clock.c"), SLOW_CLOCK).unwrap();
        let slow = directory.path().join("slow");
        let parts = SOURCES.iter().map(|(name, _)| *name).filter(|name| name.ends_with(".c"));
        let options = ["-pthread", "-Dclock_gettime=slow_clock"];
        compile(&source, &slow, &options, parts.chain(["slow_clock.c"])).unwrap();
        let (with_slow_clock, usual) = (median_of_a_call(&slow), median_of_a_call(&guest.program));
        assert!(with_slow_clock < 3.0 * usual, "{with_slow_clock} ns, {usual} ns by the vDSO's clock");
    }

    #[test]
    fn answers_are_understood_and_a_cut_line_is_left_out() {
        let answer = "{\"begun\":\"a\"}\n{\"id\":\"a\",\"samples_ns\":[1.5,2.0]}\n{\"id\":\"b\",\"refused\":\"mmap: no\"}\n\
                      {\"ns\":7}\n{\"id\":\"c\",\"samp";
        let expected = [
            Line::Begun { begun: "a".into() },
            Line::Samples { id: "a".into(), samples_ns: vec![1.5, 2.0] },
            Line::Refused { id: "b".into(), refused: "mmap: no".into() },
            Line::Took { ns: 7 },
        ];
        assert_eq!(lines(answer).collect::<Vec<_>>(), expected);
    }
}
