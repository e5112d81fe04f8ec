//! The receipt of a run: `usk run --report`.
//!
//! The sentry counts what comes to it and how long it works on that; the model below turns it into an estimate of what the
//! same would have cost natively, and [`text`] and [`json`] write it down. What never comes to the sentry is not counted, and
//! the receipt says so.
//!
//! # The model
//!
//! A call costs a hand-over, and the sentry's work, sleep excepted; natively it would have cost [`NATIVE_CALL_NS`] and, by
//! assumption, none of that work: the estimate is an upper bound. What a hand-over takes is measured in the run itself: the shortest time that
//! any guest thread stayed away before such a call. Where there were too few calls to tell, the figures are those of the
//! machine that [docs/performance.md](../../docs/performance.md) tells of. A fault that comes to the sentry costs a slow hand-over and its work. Starting
//! and ending costs what is left of the whole time when the command's is taken away.

mod json;
mod text;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use usk_sentry::{CallCost, Totals};
use usk_syscalls::{Family, Table, is_answered_outside, syscall_name};

use crate::command_line::{PlatformChoice, ReportFormat, RunArguments, Tiers};
use crate::status::{Ending, Reason, Unimplemented};

/// What a system call that does nothing takes natively.
const NATIVE_CALL_NS: u64 = 100;
/// What a hand-over by a signal takes, where the run does not tell.
const SIGNAL_NS: u64 = 6_000;
/// What one from a patched call site takes.
const PATCHED_NS: u64 = 3_500;
/// What two stops of a tracee take.
const STOP_NS: u64 = 8_000;
/// How many of the costliest things are named.
const COSTLIEST: usize = 3;
/// More different calls than Linux has are not kept, whatever the sentry says.
const MAX_CALLS: usize = 512;

/// Where the receipt goes, and what is on it that was known before the run.
pub(crate) struct Order {
    format: ReportFormat,
    file: Option<(File, PathBuf)>,
    platform: PlatformChoice,
    answered_outside: Vec<&'static str>,
}

/// What the monitor has heard.
#[derive(Default)]
pub(crate) struct Heard {
    calls: Vec<CallCost>,
    totals: Option<Totals>,
    started: Option<Instant>,
    ended: Option<Instant>,
}

/// What is on the receipt.
struct Receipt<'a> {
    ending: &'a Ending,
    whole: Duration,
    command: Option<Duration>,
    platform: PlatformChoice,
    totals: Totals,
    model: Model,
    families: BTreeMap<Family, Line>,
    costliest: Vec<Costly>,
    answered_outside: &'a [&'static str],
}

/// What hand-overs take.
#[derive(Clone, Copy)]
struct Model {
    slow_ns: u64,
    patched_ns: u64,
    is_slow_measured: bool,
    is_patched_measured: bool,
}

/// Calls that are added up.
#[derive(Clone, Copy, Default)]
struct Line {
    calls: u64,
    slow: u64,
    worked_ns: u64,
    slept_ns: u64,
    over_native_ns: u64,
}

/// One of the things that cost most.
struct Costly {
    what: Cow<'static, str>,
    times: u64,
    over_native_ns: u64,
}

impl Order {
    /// What the arguments ask for. Names a file that cannot be written before anything is started.
    pub(crate) fn new(arguments: &RunArguments) -> Result<Option<Order>> {
        let Some(format) = arguments.report else { return Ok(None) };
        let open = |path: &PathBuf| {
            let file = File::create(path)
                .with_context(|| format!("cannot write {} for --report-file", path.display()));
            file.map(|file| (file, path.clone()))
        };
        let file = arguments.report_file.as_ref().map(open).transpose()?;
        let table = Table::new();
        // As the sentry decides it.
        let all_come = arguments.tiers != Tiers::All
            || arguments.strace.is_some()
            || arguments.platform == PlatformChoice::Ptrace;
        let numbers = 0..if all_come { 0 } else { MAX_CALLS as u64 };
        let outside = numbers.filter(|&number| is_answered_outside(&table, number));
        let answered_outside = outside.filter_map(|number| table.row(number).map(|row| row.name)).collect();
        Ok(Some(Order { format, file, platform: arguments.platform, answered_outside }))
    }

    /// Writes the receipt. A line for the operator if there is none, or it cannot be written.
    pub(crate) fn write(self, heard: &Heard, ending: &Ending, whole: Duration) -> Result<(), String> {
        let Some(totals) = heard.totals else {
            // Why it has ended has been said.
            return match ending.reason {
                Reason::Error | Reason::NotStarted => Ok(()),
                _ => {
                    Err("there is no report: the sandbox ended before it could tell what it had done".into())
                }
            };
        };
        let receipt = Receipt::new(&self, heard, totals, ending, whole);
        let written = match self.format {
            ReportFormat::Text => text::text(&receipt),
            ReportFormat::Json => json::json(&receipt),
        };
        match self.file {
            None => {
                // Nobody would hear that standard error cannot be written to.
                let _ = io::stderr().write_all(written.as_bytes());
                Ok(())
            }
            Some((mut file, path)) => file.write_all(written.as_bytes()).map_err(|error| {
                format!(
                    "cannot write the report to {}: {error}; name a file that can take it",
                    path.display()
                )
            }),
        }
    }
}

impl Heard {
    /// The command runs.
    pub(crate) fn started(&mut self) {
        self.started = Some(Instant::now());
    }

    /// What some calls have cost.
    pub(crate) fn calls(&mut self, calls: Vec<CallCost>) {
        self.calls.extend(calls);
        self.calls.truncate(MAX_CALLS);
    }

    /// What all else has cost, when the command has ended.
    pub(crate) fn totals(&mut self, totals: Totals) {
        self.totals = Some(totals);
        self.ended = Some(Instant::now());
    }
}

impl<'a> Receipt<'a> {
    fn new(
        order: &'a Order,
        heard: &Heard,
        totals: Totals,
        ending: &'a Ending,
        whole: Duration,
    ) -> Receipt<'a> {
        let model = Model::new(order.platform, &totals);
        let command =
            heard.started.zip(heard.ended).map(|(begun, ended)| ended.saturating_duration_since(begun));
        let mut families: BTreeMap<Family, Line> = BTreeMap::new();
        let mut costliest = Vec::new();
        for call in &heard.calls {
            let line = Line::of(call, model);
            families.entry(Family::of(call.number.into())).or_default().add(line);
            let (what, over_native_ns) = (syscall_name(call.number.into()), line.over_native_ns);
            costliest.push(Costly { what, times: call.count, over_native_ns });
        }
        let faults_ns = totals.faults.saturating_mul(model.slow_ns).saturating_add(totals.fault_ns);
        costliest.push(Costly {
            what: "page faults".into(),
            times: totals.faults,
            over_native_ns: faults_ns,
        });
        let around = nanoseconds(whole.saturating_sub(command.unwrap_or(whole)));
        costliest.push(Costly { what: "start and end".into(), times: 1, over_native_ns: around });
        costliest.retain(|costly| costly.over_native_ns > 0);
        costliest.sort_by_key(|costly| std::cmp::Reverse(costly.over_native_ns));
        costliest.truncate(COSTLIEST);
        Receipt {
            ending,
            whole,
            command,
            platform: order.platform,
            totals,
            model,
            families,
            costliest,
            answered_outside: &order.answered_outside,
        }
    }

    /// All calls together.
    fn all(&self) -> Line {
        let mut all = Line::default();
        self.families.values().for_each(|line| all.add(*line));
        all
    }

    fn unimplemented(&self) -> &[Unimplemented] {
        &self.ending.unimplemented
    }
}

impl Model {
    fn new(platform: PlatformChoice, totals: &Totals) -> Model {
        let usual_ns = match platform {
            PlatformChoice::Trap => SIGNAL_NS,
            PlatformChoice::Ptrace => STOP_NS,
        };
        let (is_slow_measured, is_patched_measured) = (totals.slow_ns > 0, totals.patched_ns > 0);
        Model {
            slow_ns: if is_slow_measured { totals.slow_ns } else { usual_ns },
            patched_ns: if is_patched_measured { totals.patched_ns } else { PATCHED_NS },
            is_slow_measured,
            is_patched_measured,
        }
    }
}

impl Line {
    fn of(call: &CallCost, model: Model) -> Line {
        let &CallCost { count, slow, worked_ns, slept_ns, .. } = call;
        let slowly_ns = slow.saturating_mul(model.slow_ns);
        let patched_ns = count.saturating_sub(slow).saturating_mul(model.patched_ns);
        let over_native_ns = slowly_ns
            .saturating_add(patched_ns)
            .saturating_add(worked_ns)
            .saturating_sub(count.saturating_mul(NATIVE_CALL_NS));
        Line { calls: count, slow, worked_ns, slept_ns, over_native_ns }
    }

    fn add(&mut self, other: Line) {
        let Line { calls, slow, worked_ns, slept_ns, over_native_ns } = other;
        self.calls = self.calls.saturating_add(calls);
        self.slow = self.slow.saturating_add(slow);
        self.worked_ns = self.worked_ns.saturating_add(worked_ns);
        self.slept_ns = self.slept_ns.saturating_add(slept_ns);
        self.over_native_ns = self.over_native_ns.saturating_add(over_native_ns);
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(format: ReportFormat) -> Order {
        Order { format, file: None, platform: PlatformChoice::Trap, answered_outside: vec!["getpid"] }
    }

    fn ending() -> Ending {
        Ending {
            status: 0,
            code: Some(0),
            signal: None,
            reason: Reason::Exit,
            limit: None,
            message: None,
            unimplemented: vec![Unimplemented::new(134, 2)],
        }
    }

    fn heard() -> Heard {
        let call = |number, count, slow, worked_ns| CallCost { number, count, slow, worked_ns, slept_ns: 7 };
        let mut heard = Heard::default();
        heard.started();
        // read, openat, getppid, uselib.
        heard.calls(vec![call(0, 10, 10, 1_000), call(257, 100, 0, 50_000), call(110, 1, 1, 1)]);
        heard.calls(vec![call(134, 2, 2, 1)]);
        heard.totals(Totals { slow_ns: 5_100, questions: 3, question_ns: 60_000, ..Totals::default() });
        heard
    }

    #[test]
    fn a_call_costs_its_hand_over_and_the_work_on_it() {
        let (order, ending, heard) = (order(ReportFormat::Text), ending(), heard());
        let receipt = Receipt::new(&order, &heard, heard.totals.unwrap(), &ending, Duration::ZERO);
        let over = |family| receipt.families[&family].over_native_ns;
        assert_eq!(over(Family::Data), 10 * 5_000 + 1_000);
        assert_eq!(over(Family::Names), 100 * (PATCHED_NS - NATIVE_CALL_NS) + 50_000);
        assert_eq!(over(Family::Unimplemented), 2 * 5_000 + 1);
        assert!(receipt.model.is_slow_measured && !receipt.model.is_patched_measured);
        assert_eq!(receipt.all().calls, 113);
        let costliest: Vec<_> = receipt.costliest.iter().map(|costly| &*costly.what).collect();
        assert_eq!(costliest, ["openat", "read", "uselib"]);
    }

    #[test]
    fn numbers_that_a_sentry_makes_up_do_no_harm() {
        let call =
            CallCost { number: u32::MAX, count: u64::MAX, slow: 0, worked_ns: u64::MAX, slept_ns: u64::MAX };
        let largest = u64::MAX;
        let mut heard = Heard::default();
        for _ in 0..100 {
            heard.calls(vec![call; 100]);
        }
        heard.totals(Totals {
            slow_ns: largest,
            patched_ns: largest,
            faults: largest,
            fault_ns: largest,
            questions: largest,
            question_ns: largest,
            tasks: largest,
            programs: largest,
        });
        let (order, ending) = (order(ReportFormat::Json), ending());
        let receipt = Receipt::new(&order, &heard, heard.totals.unwrap(), &ending, Duration::MAX);
        assert!(!text::text(&receipt).is_empty() && !json::json(&receipt).is_empty());
        assert!(heard.calls.len() <= MAX_CALLS);
    }
}
