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

/// A command with its rows: timed inside, and with the start, unless something untimed comes before the command.
struct Measured {
    command: Command,
    inside: Row,
    with_start: Option<Row>,
}

impl Measured {
    fn rows(&mut self) -> impl Iterator<Item = &mut Row> {
        std::iter::once(&mut self.inside).chain(&mut self.with_start)
    }
}

/// Measures the commands that are wanted, in rounds.
pub(crate) fn measure(session: &Session, until: Until) -> Result<Vec<Row>> {
    let mut all_measured = Vec::new();
    for command in all(scale(session)) {
        let starting = match command.section {
            Section::Compute => Section::ComputeWithStart,
            _ => Section::IoWithStart,
        };
        if session.wants(command.section, command.id) || session.wants(starting, command.id) {
            let inside = session.row(command.section, command.id, &command.title, "ms");
            let with_start = session.row(starting, command.id, &command.title, "ms");
            let with_start = command.setup.is_empty().then_some(with_start);
            let prepared = prepare(session, &command);
            let mut measured = Measured { command, inside, with_start };
            if let Err(error) = prepared {
                measured.rows().for_each(|row| row.close(&format!("{error:#}")));
            }
            all_measured.push(measured);
        }
    }
    for round in 0..session.rounds {
        for measured in &mut all_measured {
            if round == 0 && !until.is_over() && measured.inside.is_open(0) {
                // Does not count: it brings into the page cache what all others then find there.
                let _ = run(session, &measured.command, 0);
            }
            for runtime in 0..session.runtimes.len() {
                if !until.is_over() && measured.inside.is_open(runtime) {
                    one_turn(session, measured, runtime, round);
                }
            }
        }
    }
    let mut rows = Vec::new();
    for mut measured in all_measured {
        measured.rows().for_each(|row| row.close(TIME_IS_OVER));
        rows.push(measured.inside);
        rows.extend(measured.with_start);
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

fn one_turn(session: &Session, measured: &mut Measured, runtime: usize, round: usize) {
    let name = session.runtimes.get(runtime).map_or("", |driven| &driven.name);
    session.progress(&format!("round {}: {}, {name}", round + 1, measured.command.title));
    match run(session, &measured.command, runtime) {
        Ok((inside_ms, with_start_ms)) => {
            measured.inside.add(runtime, round, &[inside_ms]);
            measured.with_start.iter_mut().for_each(|row| row.add(runtime, round, &[with_start_ms]));
        }
        Err(error) => measured.rows().for_each(|row| row.fail(runtime, &format!("{error:#}"))),
    }
}

/// Runs a command once and returns how long it took in milliseconds: as measured inside, and with the start.
fn run(session: &Session, command: &Command, runtime: usize) -> Result<(f64, f64)> {
    let driven = session.runtimes.get(runtime).context("there is no such runtime")?;
    let program = session.guest.program.as_os_str();
    let mut job = Job::new([program, "run".as_ref(), command.setup.as_ref(), command.script.as_ref()]);
    job.arguments.push(command.teardown.into());
    job.user = (command.needs_other_user && geteuid().is_root()).then_some(OTHER_USER);
    let patience = if session.quick { PATIENCE_QUICK } else { PATIENCE };
    let ended = launch::run(&session.place, driven, &job, patience)?;
    if let Some(failure) = ended.failure {
        anyhow::bail!(failure);
    }
    let took = guest::lines(&ended.output).find_map(|line| match line {
        Line::Took { ns } => Some(ns),
        _ => None,
    });
    let ns = took.context("the guest program did not say how long it took")?;
    Ok((ns as f64 / NS_PER_MS, ended.wall.as_secs_f64() * MS_PER_S))
}
