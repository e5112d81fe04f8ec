//! Single operations: the guest program times them all in one sandbox, once a round.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::Result;

use super::guest::{self, Line};
use super::launch;
use super::results::{Row, Section};
use super::runtimes::Job;
use super::session::{Session, TIME_IS_OVER, Until};

/// Longest time that one operation may take before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(10);
const NS_PER_US: f64 = 1000.0;

/// Measures the operations that are wanted, in rounds.
pub(crate) fn measure(session: &Session, until: Until) -> Result<Vec<Row>> {
    let operations = session.guest.operations()?;
    let wanted = operations.iter().filter(|operation| session.wants(Section::Micro, &operation.id));
    let mut rows: Vec<Row> =
        wanted.map(|operation| session.row(Section::Micro, &operation.id, &operation.title, "µs")).collect();
    if rows.is_empty() {
        return Ok(rows);
    }
    for round in 0..session.rounds {
        for runtime in 0..session.runtimes.len() {
            if !until.is_over() {
                one_turn(session, &mut rows, runtime, round);
            }
        }
    }
    rows.iter_mut().for_each(|row| row.close(TIME_IS_OVER));
    Ok(rows)
}

/// All operations under one runtime. If one takes the guest program down or never returns, it fails, and the rest is done
/// by another sandbox.
fn one_turn(session: &Session, rows: &mut [Row], runtime: usize, round: usize) {
    let Some(driven) = session.runtimes.get(runtime) else { return };
    let mut left: Vec<String> =
        rows.iter().filter(|row| row.is_open(runtime)).map(|row| row.id.clone()).collect();
    while !left.is_empty() {
        session.progress(&format!("round {}: single operations, {}", round + 1, driven.name));
        let job = job(session, runtime, &left);
        let (answer, failure) = match launch::run(&session.place, driven, &job, PATIENCE) {
            Ok(ended) => (ended.output, ended.failure),
            Err(error) => (String::new(), Some(format!("{error:#}"))),
        };
        let answered = take(rows, runtime, round, &answer);
        left.retain(|id| !answered.contains(id));
        // The one that was begun and has no answer; without any, the sandbox itself does not work.
        if !left.is_empty() {
            let reason = failure.unwrap_or_else(|| "the guest program ended without a word".into());
            let begun = guest::lines(&answer).any(|line| matches!(line, Line::Begun { .. }));
            let count = if begun { 1 } else { left.len() };
            for id in left.drain(..count) {
                rows.iter_mut().filter(|row| row.id == id).for_each(|row| row.fail(runtime, &reason));
            }
        }
    }
}

fn job(session: &Session, runtime: usize, ids: &[String]) -> Job {
    let milliseconds = if session.quick { "8" } else { "60" };
    let scratch = session.runtimes.get(runtime).map(|runtime| runtime.scratch(&session.place));
    let mut arguments: Vec<OsString> = vec![
        session.guest.program.clone().into(),
        "micro".into(),
        milliseconds.into(),
        session.place.inputs().into(),
        scratch.unwrap_or(session.place.native_scratch()).into(),
        session.guest.nothing.clone().into(),
    ];
    arguments.extend(ids.iter().map(OsString::from));
    Job::new(arguments)
}

/// Puts an answer into the rows and returns whose answers were in it.
fn take(rows: &mut [Row], runtime: usize, round: usize, answer: &str) -> Vec<String> {
    let mut answered = Vec::new();
    for line in guest::lines(answer) {
        let (id, samples) = match line {
            Line::Samples { id, samples_ns } => (id, Ok(samples_ns)),
            Line::Refused { id, refused } => (id, Err(refused)),
            Line::Begun { .. } | Line::Took { .. } => continue,
        };
        let Some(row) = rows.iter_mut().find(|row| row.id == id) else { continue };
        match samples {
            Ok(samples_ns) => {
                let samples: Vec<f64> = samples_ns.iter().map(|ns| ns / NS_PER_US).collect();
                row.add(runtime, round, &samples);
            }
            Err(reason) => row.fail(runtime, &reason),
        }
        answered.push(id);
    }
    answered
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::results::Cell;

    #[test]
    fn an_answer_fills_rows_and_names_refusals() {
        let mut rows = vec![
            Row::new(Section::Micro, "a", "a", "µs", 1),
            Row::new(Section::Micro, "b", "b", "µs", 1),
            Row::new(Section::Micro, "c", "c", "µs", 1),
        ];
        let answer = "{\"begun\":\"a\"}\n{\"id\":\"a\",\"samples_ns\":[1500.0]}\n{\"begun\":\"b\"}\n\
                      {\"id\":\"b\",\"refused\":\"no TCP here\"}\n{\"begun\":\"c\"}\n{\"id\":\"stranger\",\"samples_ns\":[1.0]}";
        assert_eq!(take(&mut rows, 0, 0, answer), ["a", "b"]);
        assert_eq!(rows[0].cells[0], Cell::Rounds(vec![vec![1.5]]));
        assert_eq!(rows[1].cells[0], Cell::Missing("no TCP here".into()));
        assert!(rows[2].is_open(0));
    }
}
