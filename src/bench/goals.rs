//! What usk wants to reach, as data, and whether a run reached it.
//!
//! A goal is about the way usk is meant to be run: the trap platform, everything on. Native is 1.0, of the same run; what
//! is not a ratio holds on a machine like the one that docs/performance.md names.

use serde::Serialize;

use super::results::{Cell, Class, Results, Row, Section};
use super::statistics::geometric_mean;

/// The runtime that goals are about.
pub(crate) const RUNTIME: &str = "usk trap";
/// How the name of the runtime ends that usk is to be ahead of: gVisor's on its newest platform that needs no virtual machine.
const RIVAL: &str = " systrap";

/// Goals that belong together.
#[derive(Clone, Copy, Debug)]
struct Group {
    section: Section,
    /// The rows, each judged by itself; none is the whole section.
    rows: &'static [&'static str],
    of: Figure,
    bound: Bound,
}

/// What of a row is looked at.
#[derive(Clone, Copy, Debug)]
enum Figure {
    /// The ratio to native.
    Ratio,
    /// The ratio to what another row takes natively.
    RatioTo(&'static str),
    /// The median, in the row's unit.
    Median,
    /// What ninety-nine in a hundred are not above.
    P99,
    /// The geometric mean of all the section's ratios.
    MeanRatio,
    /// The largest of the section's ratios.
    WorstRatio,
    /// In how many of the section's rows [`RIVAL`] is ahead.
    RowsBehind,
    /// The geometric mean, over the section's rows, of how many times usk's figure [`RIVAL`]'s is.
    MeanLead,
}

#[derive(Clone, Copy, Debug)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

const fn micro(of: Figure, bound: f64, rows: &'static [&'static str]) -> Group {
    Group { section: Section::Micro, rows, of, bound: Bound::AtMost(bound) }
}

const fn life(row: &'static [&'static str], of: Figure, bound: Bound) -> Group {
    Group { section: Section::Life, rows: row, of, bound }
}

const fn all(section: Section, of: Figure, bound: f64) -> Group {
    Group { section, rows: &[], of, bound: Bound::AtMost(bound) }
}

const fn rival(section: Section, of: Figure, bound: Bound) -> Group {
    Group { section, rows: &[], of, bound }
}

use Bound::{AtLeast, AtMost};
use Figure::{MeanLead, MeanRatio, Median, P99, Ratio, RatioTo, RowsBehind, WorstRatio};

#[rustfmt::skip]
const GOALS: &[Group] = &[
    // Answered without the sentry.
    micro(Ratio, 0.3, &["getppid", "getppid_raw"]),
    // Answered by the sentry from a patched site: little more than a hand-over of this machine costs.
    micro(RatioTo("notification"), 1.2, &["umask"]),
    micro(Ratio, 1.6, &["futex_wake_nobody"]),
    micro(Ratio, 1.2, &["futex_threads"]),
    micro(Ratio, 1.0, &["read_4k", "pread_4k", "fstat", "lseek"]),
    micro(Ratio, 6.0, &["stat_present", "open_close", "stat_missing"]),
    micro(Ratio, 3.0, &["mmap_munmap"]),
    micro(Ratio, 1.05, &["fault_anonymous"]),
    micro(Ratio, 2.5, &["fork_exit"]),
    micro(Ratio, 4.0, &["spawn_tiny"]),
    micro(Ratio, 1.0, &["spawn_true"]),
    micro(Ratio, 2.0, &["thread_join"]),
    micro(Ratio, 5.0, &["signal_self"]),
    micro(Ratio, 1.5, &["pipe_processes", "socketpair_processes", "tcp_processes"]),
    all(Section::Compute, MeanRatio, 1.01),
    all(Section::Io, MeanRatio, 1.10),
    all(Section::Io, WorstRatio, 1.5),
    all(Section::IoAgain, MeanRatio, 1.10),
    all(Section::IoAgain, WorstRatio, 1.5),
    rival(Section::Micro, RowsBehind, AtMost(0.0)),
    rival(Section::Micro, MeanLead, AtLeast(10.0)),
    rival(Section::Io, RowsBehind, AtMost(0.0)),
    rival(Section::Compute, RowsBehind, AtMost(0.0)),
    life(&["start_warm"], Median, AtMost(5.0)),
    life(&["start_warm"], P99, AtMost(10.0)),
    life(&["throughput"], Median, AtLeast(300.0)),
    life(&["memory_alone"], Median, AtMost(5.0)),
    life(&["memory_together"], Median, AtMost(2.5)),
    life(&["idle_cpu"], Median, AtMost(0.0)),
];

/// A goal, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Goal {
    /// What is to be reached, by which row: `micro::getppid`.
    pub(crate) name: String,
    /// For people.
    pub(crate) title: String,
    /// `≤ ×0.3`
    pub(crate) goal: String,
    /// What was measured; none if it was not.
    pub(crate) reached: Option<f64>,
    /// Whether `reached` is a ratio.
    pub(crate) is_ratio: bool,
    /// Whether it was; none without a figure.
    pub(crate) is_met: Option<bool>,
}

/// All goals, judged by these results. None if usk does not take part.
pub(crate) fn judge(results: &Results) -> Vec<Goal> {
    let Some(runtime) = index(results) else { return Vec::new() };
    let goals = GOALS.iter().flat_map(|group| match group.rows {
        [] if matches!(group.of, RowsBehind | MeanLead) => vec![against_rival(results, group, runtime)],
        [] => vec![whole(results, group, runtime)],
        rows => rows.iter().map(|id| one(results, group, id, runtime)).collect(),
    });
    goals.filter(|goal| results.settings.only.is_empty() || goal.reached.is_some()).collect()
}

/// Which of the runtimes goals are about.
pub(crate) fn index(results: &Results) -> Option<usize> {
    results.runtimes.iter().position(|runtime| runtime.class == Class::Usk && runtime.name == RUNTIME)
}

fn one(results: &Results, group: &Group, id: &str, runtime: usize) -> Goal {
    let find = |id: &str| results.rows(group.section).find(|row| row.id == id);
    let row = find(id);
    let summary = || row?.summary(runtime);
    let reached = match group.of {
        Figure::RatioTo(other) => {
            let base = find(other).and_then(|row| row.summary(0)).filter(|base| base.median > 0.0);
            summary().zip(base).map(|(ours, base)| ours.median / base.median)
        }
        Figure::Median => summary().map(|summary| summary.median),
        Figure::P99 => summary().map(|summary| summary.p99),
        _ => row.and_then(|row| row.ratio(runtime)),
    };
    let title = row.map_or_else(|| id.to_owned(), |row| row.title.clone());
    let unit = row.map_or("", |row| row.unit);
    let what = match group.of {
        Figure::RatioTo(other) => format!(", against {other} natively"),
        Figure::P99 => ", p99".to_owned(),
        _ => String::new(),
    };
    finish(group, format!("{}::{id}", group.section.name()), format!("{title}{what}"), unit, reached)
}

fn whole(results: &Results, group: &Group, runtime: usize) -> Goal {
    let rows: Vec<&Row> = results.rows(group.section).collect();
    let ratios: Vec<f64> = rows.iter().filter_map(|row| row.ratio(runtime)).collect();
    let (what, reached) = match group.of {
        Figure::WorstRatio => ("worst", ratios.iter().copied().reduce(f64::max)),
        _ => ("geometric mean", geometric_mean(&ratios)),
    };
    // A mean without those that did not run would say too little.
    let reached = reached.filter(|_| ratios.len() == rows.len());
    let title = format!("{}, {what} of {}", group.section.title(), rows.len());
    finish(group, group.section.name().to_owned(), title, "", reached)
}

/// A section beside [`RIVAL`], by the rows that it ran; one that only it ran is one in which it is ahead.
fn against_rival(results: &Results, group: &Group, runtime: usize) -> Goal {
    let rival =
        results.runtimes.iter().position(|other| other.class == Class::Gvisor && other.name.ends_with(RIVAL));
    let rows: Vec<&Row> = results.rows(group.section).collect();
    let leads: Vec<f64> = rival.map_or_else(Vec::new, |rival| {
        let ran = |row: &Row, index| matches!(row.cells.get(index), Some(Cell::Rounds(_)));
        let lead = |row: &&Row| match (ran(row, rival), ran(row, runtime)) {
            (true, true) => row.ratio_between(rival, runtime),
            (true, false) => Some(0.0),
            (false, _) => None,
        };
        rows.iter().filter_map(lead).collect()
    });
    let (what, reached) = match group.of {
        RowsBehind => ("rows in which it is ahead", leads.iter().filter(|&&lead| lead <= 1.0).count() as f64),
        _ => ("geometric mean of usk's lead", geometric_mean(&leads).unwrap_or_default()),
    };
    let reached = Some(reached).filter(|_| !leads.is_empty());
    let title = format!("{}, beside gVisor's{RIVAL}: {what}, of {}", group.section.title(), leads.len());
    finish(group, group.section.name().to_owned(), title, "", reached)
}

fn finish(group: &Group, name: String, title: String, unit: &str, reached: Option<f64>) -> Goal {
    let is_ratio = !matches!(group.of, Median | P99 | RowsBehind);
    let (sign, bound, is_met) = match group.bound {
        Bound::AtMost(bound) => ("≤", bound, reached.map(|reached| reached <= bound)),
        Bound::AtLeast(bound) => ("≥", bound, reached.map(|reached| reached >= bound)),
    };
    let goal = if is_ratio {
        format!("{sign} ×{bound}")
    } else {
        format!("{sign} {bound} {unit}").trim_end().to_owned()
    };
    Goal { name, title, goal, reached, is_ratio, is_met }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::results::Cell;
    use crate::bench::results::tests::sample;

    fn goal(goals: &[Goal], name: &str) -> Goal {
        goals.iter().find(|goal| goal.name == name).unwrap_or_else(|| panic!("{name}: {goals:?}")).clone()
    }

    #[test]
    fn a_goal_is_met_missed_or_not_measured() {
        let goals = judge(&sample());
        let getppid = goal(&goals, "micro::getppid");
        assert_eq!((getppid.goal.as_str(), getppid.is_met), ("≤ ×0.3", Some(false)));
        assert!((getppid.reached.unwrap() - 30.5).abs() < 1e-9);
        assert_eq!(goal(&goals, "io").is_met, Some(false));
        assert_eq!(goal(&goals, "compute").is_met, Some(false));
        assert_eq!(goal(&goals, "micro::umask").is_met, None);
        let start = goal(&goals, "life::start_warm");
        assert_eq!((start.goal.as_str(), start.reached, start.is_met), ("≤ 5 ms", Some(7.0), Some(false)));
        let p99 = goals.iter().find(|goal| goal.title.ends_with("p99")).unwrap();
        assert_eq!(p99.is_met, Some(true));
    }

    #[test]
    fn a_mean_over_less_than_all_is_none() {
        let mut results = sample();
        let row = results.rows.iter_mut().find(|row| row.section == Section::Io).unwrap();
        row.cells[2] = Cell::Missing("it broke".into());
        let goal = goal(&judge(&results), "io");
        assert_eq!((goal.reached, goal.is_met), (None, None));
    }

    /// The sample, with what gVisor took for each of its rows; none is a row that it did not run.
    fn beside_gvisor(figures: [Option<f64>; 6]) -> Results {
        let mut results = sample();
        let mut gvisor = results.runtimes[1].clone();
        (gvisor.name, gvisor.class) = ("runsc-new systrap".into(), Class::Gvisor);
        results.runtimes.push(gvisor);
        for (row, figure) in results.rows.iter_mut().zip(figures) {
            row.cells
                .push(figure.map_or(Cell::Missing("no".into()), |figure| Cell::Rounds(vec![vec![figure]])));
        }
        results
    }

    fn beside_rival(results: &Results, title: &str) -> (Option<f64>, Option<bool>) {
        let goals = judge(results);
        let found = goals.iter().find(|goal| goal.title.contains("beside") && goal.title.contains(title));
        found.map(|goal| (goal.reached, goal.is_met)).unwrap_or_else(|| panic!("{title}: {goals:?}"))
    }

    #[test]
    fn gvisor_is_behind_where_usk_takes_less() {
        let results = beside_gvisor([Some(61.0), None, Some(150.0), Some(101.5), None, None]);
        let (lead, is_met) = beside_rival(&results, "usk's lead, of 1");
        assert!((lead.unwrap() - 20.0).abs() < 1e-9 && is_met == Some(true), "{lead:?}");
        assert_eq!(
            beside_rival(&results, "operations, beside gVisor's systrap: rows"),
            (Some(0.0), Some(true))
        );
        assert_eq!(beside_rival(&results, "I/O"), (Some(0.0), Some(true)));
        assert_eq!(beside_rival(&results, "Compute"), (Some(1.0), Some(false)));
    }

    #[test]
    fn what_only_gvisor_ran_is_no_lead() {
        let results = beside_gvisor([Some(61.0), Some(1.0), None, None, None, None]);
        assert_eq!(beside_rival(&results, "rows in which it is ahead, of 2"), (Some(1.0), Some(false)));
        assert_eq!(beside_rival(&results, "usk's lead"), (Some(0.0), Some(false)));
        assert_eq!(beside_rival(&results, "I/O"), (None, None));
    }

    #[test]
    fn without_gvisor_nothing_is_said_of_it() {
        assert_eq!(beside_rival(&sample(), "usk's lead"), (None, None));
    }

    #[test]
    fn without_usk_there_are_no_goals() {
        let mut results = sample();
        results.runtimes[2].name = "usk ptrace".into();
        assert!(judge(&results).is_empty());
    }

    #[test]
    fn every_goal_names_a_measurement_that_exists() {
        let sources = [
            include_str!("../../benches/guest/calls.c"),
            include_str!("../../benches/guest/files.c"),
            include_str!("../../benches/guest/wakeups.c"),
            include_str!("../../benches/guest/memory.c"),
            include_str!("../../benches/guest/processes.c"),
        ]
        .concat();
        let is_measured = |section, id: &str| match section {
            Section::Micro => sources.contains(&format!("{{\"{id}\", ")),
            _ => crate::bench::life::MEASURED.iter().any(|(measured, ..)| *measured == id),
        };
        for group in GOALS {
            let other = if let RatioTo(other) = group.of { Some(other) } else { None };
            for id in group.rows.iter().copied().chain(other) {
                assert!(is_measured(group.section, id), "{id}");
            }
        }
    }
}
