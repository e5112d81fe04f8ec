//! How long each step of the start takes, for `--timings`.

use std::fmt::Write;

use usk_platform::host::{Clock, clock_ns};

/// Steps of one process, with the time at which each was done.
#[derive(Clone, Debug)]
pub(super) struct Steps {
    process: &'static str,
    begun_ns: u64,
    done: Vec<(&'static str, u64)>,
}

impl Steps {
    /// Begins now.
    pub(super) fn begin(process: &'static str) -> Steps {
        Steps { process, begun_ns: clock_ns(Clock::Monotonic), done: Vec::with_capacity(16) }
    }

    /// What happened since the last step was this.
    pub(super) fn done(&mut self, step: &'static str) {
        self.done.push((step, clock_ns(Clock::Monotonic)));
    }

    /// Prints the steps in microseconds, in one line.
    pub(super) fn print(&self) {
        let mut line = format!("usk: timings: {}:", self.process);
        let mut previous = self.begun_ns;
        for (step, at) in &self.done {
            let _ = write!(line, " {step} {}", (at - previous) / 1000);
            previous = *at;
        }
        eprintln!("{line}; together {} µs", (previous - self.begun_ns) / 1000);
    }
}
