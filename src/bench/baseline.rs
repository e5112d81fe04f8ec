//! The committed ratios, and whether a run still has them: `--save-baseline` and `--baseline`.
//!
//! What is compared are ratios to native of the same run, so that the machine's own speed falls out. What is left is noise:
//! a row that seems worse is measured again before it counts, and one that wobbles too much to tell is named and counted.
//! Ratios of one kind of processor are not another's: there what is worse is told, and nothing fails. Kinds may share a name;
//! a row that takes another time natively than it took then tells nothing either.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::goals;
use super::results::{Cell, Results, Row, Section};
use super::session::{TIME_IS_OVER, is_selected};

/// A ratio may be so many times the baseline's.
const WORSE: f64 = 1.5;
/// And so much more of the native time: what costs next to nothing may cost twice that.
const SLACK: f64 = 0.3;
/// How often a row that seems worse is measured again.
const TRIES_AGAIN: usize = 2;
/// A row whose middle half is wider than this, as a share of its median, natively or under usk, tells nothing.
const NOISY: f64 = 0.5;
/// The native time may be so many times the baseline's, or so small a part of it.
const ALIKE: f64 = 1.25;

/// The ratios of an earlier run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Baseline {
    /// Where they come from, for people.
    measured_on: Vec<String>,
    /// The processor's name and count: where they are others, ratios are others.
    processor: String,
    cpus: usize,
    /// `debug` or `release`: one cannot be compared with the other.
    build: String,
    /// `--quick`
    quick: bool,
    /// By `section::id`.
    rows: BTreeMap<String, Kept>,
}

/// What a row was.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Kept {
    /// The native median, in the row's unit.
    native: f64,
    /// usk's ratio to it.
    ratio: f64,
}

/// What became of a row.
#[derive(Clone, Debug, PartialEq)]
enum Verdict {
    Held,
    Worse {
        was: f64,
        is: f64,
    },
    Noisy {
        spread: f64,
    },
    /// There is nothing to compare with, here.
    Left(String),
    /// It worked, and does not any more.
    Broken(String),
}

/// All rows of the baseline that this run was to measure, in the baseline's order.
pub(crate) struct Comparison {
    verdicts: BTreeMap<String, Verdict>,
    /// The processor that the baseline was measured on, if it is not this one.
    elsewhere: Option<String>,
}

const BUILD: &str = if cfg!(debug_assertions) { "debug" } else { "release" };

/// Two that do nothing but wake each other: the host puts them on one CPU or on two, which makes a factor of four or more,
/// natively and under usk, whenever it likes.
const PLACED_BY_LUCK: [&str; 6] = [
    "futex_threads",
    "futex_processes",
    "pipe_threads",
    "pipe_processes",
    "socketpair_threads",
    "socketpair_processes",
];

/// Whether a row is in baselines: of commands, what they take in a running sandbox.
fn is_compared(row: &Row) -> bool {
    match row.section {
        Section::Micro => !PLACED_BY_LUCK.contains(&row.id.as_str()),
        Section::Io | Section::Compute => true,
        Section::IoAgain | Section::IoWithStart | Section::ComputeWithStart => false,
        Section::Life => row.id == "start_warm",
    }
}

fn name(row: &Row) -> String {
    format!("{}::{}", row.section.name(), row.id)
}

impl Baseline {
    /// The ratios of this run.
    pub(crate) fn of(results: &Results) -> Result<Baseline> {
        let runtime = runtime(results)?;
        let compared = results.rows.iter().filter(|row| is_compared(row));
        // Three digits say more than a run is worth.
        let round = |value: f64| (value * 1000.0).round() / 1000.0;
        let kept = |row: &Row| {
            let (native, ratio) = (row.summary(0)?.median, row.ratio(runtime)?);
            Some(Kept { native: round(native), ratio: round(ratio) })
        };
        Ok(Baseline {
            measured_on: results.machine.lines(),
            processor: results.machine.processor.clone(),
            cpus: results.machine.cpus,
            build: BUILD.to_owned(),
            quick: results.settings.quick,
            rows: compared.filter_map(|row| Some((name(row), kept(row)?))).collect(),
        })
    }

    /// Writes the file.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Reads the file, before anything is measured.
    pub(crate) fn read(path: &Path, quick: bool) -> Result<Baseline> {
        let text = fs::read(path).with_context(|| format!("cannot read the baseline {}", path.display()))?;
        let baseline: Baseline = serde_json::from_slice(&text)
            .with_context(|| format!("{} is no baseline: make one with --save-baseline", path.display()))?;
        if (baseline.build.as_str(), baseline.quick) != (BUILD, quick) {
            bail!(
                "{} was measured with a {} build{}: measure in the same way, or make another with --save-baseline",
                path.display(),
                baseline.build,
                if baseline.quick { " and --quick" } else { " without --quick" }
            );
        }
        Ok(baseline)
    }

    /// Compares what `only` selects. What seems worse is measured again: `again` measures these rows, natively and under
    /// usk, in this order.
    pub(crate) fn compare(
        &self,
        results: &Results,
        mut again: impl FnMut(&[String]) -> Result<Vec<Row>>,
    ) -> Result<Comparison> {
        let mut comparison = self.judge(&results.rows, runtime(results)?, &results.settings.only);
        let machine = &results.machine;
        if (&self.processor, self.cpus) != (&machine.processor, machine.cpus) {
            comparison.elsewhere = Some(format!("{} × {}", self.cpus, self.processor));
        }
        for _ in 0..TRIES_AGAIN {
            let unsure = comparison.unsure();
            if unsure.is_empty() {
                break;
            }
            for (name, verdict) in self.judge(&again(&unsure)?, 1, &unsure).verdicts {
                // A pattern may select more than was asked for.
                if unsure.contains(&name) {
                    comparison.verdicts.insert(name, verdict);
                }
            }
        }
        Ok(comparison)
    }

    fn judge(&self, rows: &[Row], usk: usize, only: &[String]) -> Comparison {
        let is_wanted = |name: &str| {
            Section::ALL.iter().any(|section| {
                let id = name.strip_prefix(section.name()).and_then(|rest| rest.strip_prefix("::"));
                id.is_some_and(|id| is_selected(only, *section, id))
            })
        };
        let wanted = self.rows.iter().filter(|(name, _)| is_wanted(name));
        let verdict = |(wanted, &was): (&String, &Kept)| {
            let row = rows.iter().find(|row| name(row) == *wanted);
            (
                wanted.clone(),
                row.map_or(Verdict::Broken("there is no such row".into()), |row| verdict(row, usk, was)),
            )
        };
        Comparison { verdicts: wanted.map(verdict).collect(), elsewhere: None }
    }
}

fn verdict(row: &Row, usk: usize, kept: Kept) -> Verdict {
    let was = kept.ratio;
    if let Some(is) = row.ratio(usk) {
        if is <= was * WORSE || is <= was + SLACK {
            return Verdict::Held;
        }
        let native = row.summary(0).map_or(0.0, |summary| summary.median) / kept.native;
        if !(1.0 / ALIKE..=ALIKE).contains(&native) {
            return Verdict::Left(format!(
                "×{is:.2}, was ×{was:.2}, but natively ×{native:.2} of what it took"
            ));
        }
        let spreads = [0, usk].map(|runtime| row.summary(runtime).map_or(0.0, |summary| summary.spread));
        let spread = spreads.into_iter().fold(0.0, f64::max);
        return if spread > NOISY { Verdict::Noisy { spread } } else { Verdict::Worse { was, is } };
    }
    match (row.cells.first(), row.cells.get(usk)) {
        (Some(Cell::Missing(_)), _) => Verdict::Left("not measured natively here".into()),
        (_, Some(Cell::Missing(reason))) if reason != TIME_IS_OVER => Verdict::Broken(reason.clone()),
        _ => Verdict::Left("the time was over".into()),
    }
}

fn runtime(results: &Results) -> Result<usize> {
    goals::index(results).with_context(|| {
        format!("a baseline is about {:?}, which was not measured: leave --on out, or add it", goals::RUNTIME)
    })
}

impl Comparison {
    /// Those that are worth another look.
    fn unsure(&self) -> Vec<String> {
        let is_unsure = |verdict: &Verdict| {
            matches!(verdict, Verdict::Worse { .. } | Verdict::Noisy { .. } | Verdict::Broken(_))
        };
        self.verdicts.iter().filter(|(_, verdict)| is_unsure(verdict)).map(|(name, _)| name.clone()).collect()
    }

    fn count(&self, is: impl Fn(&Verdict) -> bool) -> usize {
        self.verdicts.values().filter(|verdict| is(verdict)).count()
    }

    /// Why this run does not do; none if it does.
    pub(crate) fn failure(&self) -> Option<String> {
        let is_bad = |verdict: &Verdict| match verdict {
            Verdict::Worse { .. } => self.elsewhere.is_none(),
            Verdict::Broken(_) => true,
            _ => false,
        };
        let bad = self.count(is_bad);
        let all = self.verdicts.len();
        if all == 0 {
            Some("nothing that the baseline has was measured".to_owned())
        } else if bad > 0 {
            Some(format!(
                "{bad} of {all} ratios to native are more than {WORSE} times the baseline's, or are gone"
            ))
        } else {
            None
        }
    }

    /// Everything that did not simply hold, and the counts.
    pub(crate) fn text(&self, baseline: &Path) -> String {
        let mut text = format!("\nCompared with {}:\n", baseline.display());
        if let Some(elsewhere) = &self.elsewhere {
            text += &format!(
                "  It was measured on {elsewhere}; what is worse here is told, and does not count.\n"
            );
        }
        for (name, verdict) in &self.verdicts {
            text += &match verdict {
                Verdict::Held => continue,
                Verdict::Worse { was, is } => format!("  worse      {name}: ×{is:.2}, was ×{was:.2}\n"),
                Verdict::Noisy { spread } => format!("  noisy      {name}: spread {:.0} %\n", spread * 100.0),
                Verdict::Left(reason) => format!("  left out   {name}: {reason}\n"),
                Verdict::Broken(reason) => format!("  gone       {name}: {reason}\n"),
            };
        }
        let held = self.count(|verdict| *verdict == Verdict::Held);
        let worse = self.count(|verdict| matches!(verdict, Verdict::Worse { .. }));
        let noisy = self.count(|verdict| matches!(verdict, Verdict::Noisy { .. }));
        let left = self.count(|verdict| matches!(verdict, Verdict::Left(_)));
        let gone = self.count(|verdict| matches!(verdict, Verdict::Broken(_)));
        text + &format!(
            "  {held} held, {worse} worse, {gone} gone, {noisy} skipped as too noisy, {left} left out\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::results::tests::sample;

    fn baseline(ratios: &[(&str, f64)]) -> Baseline {
        let Results { machine, rows, .. } = sample();
        let native = |wanted: &str| {
            rows.iter()
                .find(|row| name(row) == wanted)
                .and_then(|row| row.summary(0))
                .map_or(1.0, |own| own.median)
        };
        let kept =
            |(name, ratio): &(&str, f64)| ((*name).to_owned(), Kept { native: native(name), ratio: *ratio });
        Baseline {
            measured_on: Vec::new(),
            processor: machine.processor,
            cpus: machine.cpus,
            build: BUILD.into(),
            quick: true,
            rows: ratios.iter().map(kept).collect(),
        }
    }

    fn row(native: f64, usk: f64) -> Row {
        let mut row = Row::new(Section::Io, "find", "find", "ms", 2);
        row.add(0, 0, &[native]);
        row.add(1, 0, &[usk]);
        row
    }

    fn verdict_of(results: &Results, name: &str, was: f64) -> Verdict {
        baseline(&[(name, was)]).judge(&results.rows, 2, &[]).verdicts[name].clone()
    }

    #[test]
    fn a_ratio_holds_up_to_half_more_and_fails_above() {
        // 140 against 70.
        assert_eq!(verdict_of(&sample(), "io::find", 2.0 / 1.5), Verdict::Held);
        assert_eq!(verdict_of(&sample(), "io::find", 1.3), Verdict::Worse { was: 1.3, is: 2.0 });
        let comparison = baseline(&[("io::find", 1.3)]).judge(&sample().rows, 2, &[]);
        assert!(comparison.failure().unwrap().starts_with("1 of 1"));
        assert!(comparison.text(Path::new("b")).contains("io::find: ×2.00, was ×1.30"));
    }

    #[test]
    fn a_row_that_wobbles_is_named_and_does_not_count() {
        let mut results = sample();
        let row = results.rows.iter_mut().find(|row| row.id == "find").unwrap();
        row.add(2, 1, &[10.0, 300.0, 900.0]);
        let comparison = baseline(&[("io::find", 0.1)]).judge(&results.rows, 2, &[]);
        assert!(matches!(comparison.verdicts["io::find"], Verdict::Noisy { .. }));
        assert!(comparison.text(Path::new("b")).contains("1 skipped as too noisy"));
        assert_eq!(comparison.failure(), None);
    }

    #[test]
    fn on_another_kind_of_machine_what_is_worse_is_told_and_does_not_count() {
        let elsewhere = Baseline { cpus: 1000, ..baseline(&[("io::find", 1.3)]) };
        let comparison = elsewhere.compare(&sample(), |_| Ok(vec![row(70.0, 630.0)])).unwrap();
        assert_eq!(comparison.failure(), None);
        assert!(comparison.text(Path::new("b")).contains("1000 × "));
        let gone = Baseline { cpus: 1000, ..baseline(&[("micro::gone", 1.0)]) };
        assert!(gone.compare(&sample(), |_| Ok(Vec::new())).unwrap().failure().is_some());
    }

    #[test]
    fn next_to_nothing_may_become_a_little_more() {
        // 140 against 70.
        assert_eq!(verdict_of(&sample(), "io::find", 1.7), Verdict::Held);
        let worse = |ratio: f64, is: f64| {
            verdict(&row(100.0, 100.0 * is), 1, Kept { native: 100.0, ratio }) != Verdict::Held
        };
        assert!(!worse(0.1, 0.35) && worse(0.1, 0.45) && worse(2.0, 3.1));
    }

    #[test]
    fn a_row_that_takes_another_time_natively_is_named_and_does_not_count() {
        let verdict =
            |native: f64| verdict(&row(native, native * 4.0), 1, Kept { native: 100.0, ratio: 2.0 });
        let worse = Verdict::Worse { was: 2.0, is: 4.0 };
        assert_eq!((verdict(120.0), verdict(85.0)), (worse.clone(), worse));
        for other in [130.0, 75.0] {
            assert!(matches!(verdict(other), Verdict::Left(reason) if reason.contains("×4.00, was ×2.00")));
        }
    }

    #[test]
    fn what_broke_fails_and_what_could_not_be_measured_does_not() {
        let mut results = sample();
        let broken = Verdict::Broken("it refused, with a <tag>".into());
        assert_eq!(verdict_of(&results, "micro::tcp", 2.0), broken);
        results.rows.iter_mut().find(|row| row.id == "tcp").unwrap().fail(0, "no network");
        assert_eq!(
            verdict_of(&results, "micro::tcp", 2.0),
            Verdict::Left("not measured natively here".into())
        );
        results.rows.iter_mut().find(|row| row.id == "find").unwrap().fail(2, TIME_IS_OVER);
        assert_eq!(verdict_of(&results, "io::find", 2.0), Verdict::Left("the time was over".into()));
    }

    #[test]
    fn what_seems_worse_is_measured_again_twice_at_most_and_once_is_enough_to_hold() {
        for (ratios, tries, holds) in
            [(vec![9.0, 9.0, 1.0], 2, false), (vec![9.0, 1.1], 2, true), (vec![1.0], 1, true)]
        {
            let mut tried = 0;
            let again = |names: &[String]| {
                assert_eq!(names, ["io::find"]);
                tried += 1;
                Ok(vec![row(70.0, 70.0 * ratios[tried - 1])])
            };
            let comparison =
                baseline(&[("io::find", 1.0), ("life::start_warm", 7.0)]).compare(&sample(), again).unwrap();
            assert_eq!((tried, comparison.failure().is_none()), (tries, holds), "{ratios:?}");
        }
    }

    #[test]
    fn only_what_was_asked_for_is_compared() {
        let both = baseline(&[("io::find", 2.0), ("micro::gone", 1.0)]);
        let comparison = both.judge(&sample().rows, 2, &["io::".to_owned()]);
        assert_eq!(comparison.verdicts.len(), 1);
        assert_eq!(
            both.judge(&sample().rows, 2, &["life".to_owned()]).failure().as_deref(),
            Some("nothing that the baseline has was measured")
        );
    }

    #[test]
    fn a_baseline_is_the_ratios_of_a_run_and_survives_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("baseline.json");
        Baseline::of(&sample()).unwrap().write(&path).unwrap();
        let read = Baseline::read(&path, true).unwrap();
        assert_eq!(read.rows["io::find"], Kept { native: 70.0, ratio: 2.0 });
        assert_eq!(read.rows["life::start_warm"].ratio, 7.0);
        assert!(!read.rows.contains_key("life::memory_alone") && !read.rows.contains_key("micro::tcp"));
        assert!(Baseline::read(&path, false).unwrap_err().to_string().contains("--quick"));
    }

    #[test]
    fn the_committed_baseline_can_be_read() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/baseline.json");
        let text = fs::read(path).unwrap();
        let baseline: Baseline = serde_json::from_slice(&text).unwrap();
        let is_usable = |kept: &Kept| kept.ratio > 0.0 && kept.native > 0.0;
        assert!(baseline.rows.len() > 20 && baseline.rows.values().all(is_usable));
        assert!(baseline.measured_on.iter().any(|line| line.starts_with("Linux ")));
    }
}
