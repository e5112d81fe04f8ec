//! Running the commands, in rounds.

use std::process::{Command as Process, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::unistd::geteuid;

use super::catalogue::{Command, Scale, all};
use super::inputs;
use crate::bench::guest::{self, Line};
use crate::bench::launch;
use crate::bench::results::{Row, Section};
use crate::bench::runtimes::Job;
use crate::bench::session::{Session, TIME_IS_OVER, Until};

/// Longest time for one command in one sandbox.
const PATIENCE: Duration = Duration::from_secs(180);
const PATIENCE_QUICK: Duration = Duration::from_secs(30);
/// `nobody` on Debian.
const OTHER_USER: u32 = 65534;
const MS_PER_S: f64 = 1000.0;
const NS_PER_MS: f64 = 1e6;

/// Writes the input files, which single operations need as well.
pub(crate) fn write_inputs(session: &Session) -> Result<()> {
    inputs::write(&session.place.inputs(), scale(session)).context("cannot write the input files")
}

/// A command with its two rows: timed inside, and with the start.
struct Pair {
    command: Command,
    inside: Row,
    with_start: Row,
}

/// Measures the commands that are wanted, in rounds.
pub(crate) fn measure(session: &Session, until: Until) -> Result<Vec<Row>> {
    let mut pairs = Vec::new();
    for command in all(scale(session)) {
        let starting = match command.section {
            Section::Compute => Section::ComputeWithStart,
            _ => Section::IoWithStart,
        };
        if session.wants(command.section, command.id) || session.wants(starting, command.id) {
            let mut inside = session.row(command.section, command.id, &command.title, "ms");
            let mut with_start = session.row(starting, command.id, &command.title, "ms");
            if let Err(error) = prepare(session, &command) {
                let reason = format!("{error:#}");
                inside.close(&reason);
                with_start.close(&reason);
            } else if !command.setup.is_empty() {
                with_start.close("not meaningful: preparing would be counted");
            }
            pairs.push(Pair { command, inside, with_start });
        }
    }
    for round in 0..session.rounds {
        for pair in &mut pairs {
            for runtime in 0..session.runtimes.len() {
                if !until.is_over() && pair.inside.is_open(runtime) {
                    one_turn(session, pair, runtime, round);
                }
            }
        }
    }
    let mut rows = Vec::new();
    for mut pair in pairs {
        pair.inside.close(TIME_IS_OVER);
        pair.with_start.close(TIME_IS_OVER);
        rows.extend([pair.inside, pair.with_start]);
    }
    rows.retain(|row| session.wants(row.section, &row.id));
    Ok(rows)
}

fn scale(session: &Session) -> Scale {
    if session.quick { Scale::QUICK } else { Scale::FULL }
}

/// Finds the programs and makes the inputs.
fn prepare(session: &Session, command: &Command) -> Result<()> {
    if let Some(missing) = command.needs.iter().find(|name| session.place.find_program(name).is_none()) {
        anyhow::bail!("{missing} is not installed");
    }
    if command.prepare.is_empty() {
        return Ok(());
    }
    session.progress(&format!("preparing {}", command.id));
    let output = Process::new("bash")
        .args(["-ec", command.prepare])
        .env_clear()
        .envs(session.place.environment(session.place.native_scratch()))
        .stdin(Stdio::null())
        .output()
        .context("cannot run bash")?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        anyhow::bail!("cannot make the inputs: {}", errors.lines().last().unwrap_or_default());
    }
    Ok(())
}

fn one_turn(session: &Session, pair: &mut Pair, runtime: usize, round: usize) {
    let Some(driven) = session.runtimes.get(runtime) else { return };
    let command = &pair.command;
    session.progress(&format!("round {}: {}, {}", round + 1, command.title, driven.name));
    let program = session.guest.program.as_os_str();
    let mut job = Job::new([program, "run".as_ref(), command.setup.as_ref(), command.script.as_ref()]);
    job.arguments.push(command.teardown.into());
    job.user = (command.needs_other_user && geteuid().is_root()).then_some(OTHER_USER);
    let patience = if session.quick { PATIENCE_QUICK } else { PATIENCE };
    let outcome = launch::run(&session.place, driven, &job, patience).and_then(|ended| match ended.failure {
        Some(failure) => anyhow::bail!(failure),
        None => {
            let took = guest::lines(&ended.output).find_map(|line| match line {
                Line::Took { ns } => Some(ns),
                _ => None,
            });
            Ok((ended.wall, took.context("the guest program did not say how long it took")?))
        }
    });
    match outcome {
        Ok((wall, ns)) => {
            pair.inside.add(runtime, round, &[ns as f64 / NS_PER_MS]);
            pair.with_start.add(runtime, round, &[wall.as_secs_f64() * MS_PER_S]);
        }
        Err(error) => {
            let reason = format!("{error:#}");
            pair.inside.fail(runtime, &reason);
            if pair.with_start.is_open(runtime) {
                pair.with_start.fail(runtime, &reason);
            }
        }
    }
}
