//! Running the commands, in rounds.

use std::ffi::OsStr;
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

/// A command with its rows: timed inside; unless something untimed comes before the command, with the start; and when it is run again.
struct Measured {
    command: Command,
    inside: Row,
    with_start: Option<Row>,
    again: Option<Row>,
}

impl Measured {
    /// The command with those of its rows that this session wants. None if it wants none.
    fn new(session: &Session, command: Command) -> Option<Measured> {
        let row = |section| session.row(section, command.id, &command.title, "ms");
        let wants = |section| session.wants(section, command.id);
        let is_bare = command.setup.is_empty();
        let (with_start, again) = match command.section {
            Section::Compute => (Section::ComputeWithStart, None),
            _ => (Section::IoWithStart, Some(Section::IoAgain)),
        };
        // Each takes as long as all other rows of its command: `--quick` has that time only for who asks for it.
        let has_time = !(session.quick && session.only.is_empty());
        let again = again.filter(|&again| is_bare && has_time && wants(again)).map(row);
        let is_wanted = wants(command.section) || wants(with_start) || again.is_some();
        let (inside, with_start) = (row(command.section), is_bare.then(|| row(with_start)));
        is_wanted.then_some(Measured { command, inside, with_start, again })
    }

    fn rows(&mut self) -> impl Iterator<Item = &mut Row> {
        std::iter::once(&mut self.inside).chain(&mut self.with_start).chain(&mut self.again)
    }
}

/// Measures the commands that are wanted, in rounds.
pub(crate) fn measure(session: &Session, until: Until) -> Result<Vec<Row>> {
    let mut all_measured = Vec::new();
    for mut measured in all(scale(session)).into_iter().filter_map(|command| Measured::new(session, command))
    {
        if let Err(error) = prepare(session, &measured.command) {
            measured.rows().for_each(|row| row.close(&format!("{error:#}")));
        }
        all_measured.push(measured);
    }
    for round in 0..session.rounds {
        for measured in &mut all_measured {
            if round == 0 && !until.is_over() && measured.inside.is_open(0) {
                // Does not count: it brings into the page cache what all others then find there.
                let _ = run(session, &measured.command, 0, first(&measured.command));
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
        rows.extend(measured.again);
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
    match run(session, &measured.command, runtime, first(&measured.command)) {
        Ok((inside_ms, with_start_ms)) => {
            measured.inside.add(runtime, round, &[inside_ms]);
            measured.with_start.iter_mut().for_each(|row| row.add(runtime, round, &[with_start_ms]));
        }
        Err(error) => measured.rows().for_each(|row| row.fail(runtime, &format!("{error:#}"))),
    }
    let Some(row) = measured.again.as_mut().filter(|row| row.is_open(runtime)) else { return };
    match run(session, &measured.command, runtime, vec!["again", &measured.command.script]) {
        Ok((inside_ms, _)) => row.add(runtime, round, &[inside_ms]),
        Err(error) => row.fail(runtime, &format!("{error:#}")),
    }
}

/// What the guest program is told to run the command once.
fn first(command: &Command) -> Vec<&str> {
    vec!["run", command.setup, &command.script, command.teardown]
}

/// Runs a command as the guest program is told and returns how long it took in milliseconds: as measured inside, and with the start.
fn run(session: &Session, command: &Command, runtime: usize, told: Vec<&str>) -> Result<(f64, f64)> {
    let driven = session.runtimes.get(runtime).context("there is no such runtime")?;
    let program = session.guest.program.as_os_str();
    let mut job = Job::new([program].into_iter().chain(told.into_iter().map(OsStr::new)));
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
