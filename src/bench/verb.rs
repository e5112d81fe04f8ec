//! From options to results.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::baseline::Baseline;
use super::guest::Guest;
use super::machine::Machine;
use super::place::Place;
use super::results::{Absence, Results, RuntimeLine, Section, Settings};
use super::runtimes::{Runtime, discover};
use super::session::{Session, Until, is_runtime_selected};
use super::{commands, goals, life, micro, report};
use crate::command_line::BenchArguments;
use crate::entry::FAILURE;

/// Exit status when the baseline is not kept.
const WORSE: i32 = 1;
/// Rounds without `--runs`.
const ROUNDS: usize = 5;
const ROUNDS_QUICK: usize = 2;
/// Rounds at least for what is measured again because it seems worse: with one sample, noise cannot be told.
const ROUNDS_AGAIN: usize = 5;
/// After so long `--quick` begins nothing new in each part: single operations, the life cycle, commands. What is under way
/// still ends within its own patience.
const QUICK_MICRO: Duration = Duration::from_secs(25);
const QUICK_LIFE: Duration = Duration::from_secs(35);
const QUICK_COMMANDS: Duration = Duration::from_secs(45);

/// Measures, prints the tables, writes the files, and returns the exit status.
pub(crate) fn bench(arguments: &BenchArguments) -> i32 {
    let outcome = if arguments.list { list().map(|()| None) } else { measure(arguments) };
    match outcome {
        Ok(None) => 0,
        Ok(Some(failure)) => {
            eprintln!("usk: {failure}");
            WORSE
        }
        Err(error) => {
            eprintln!("usk: {error:#}");
            FAILURE
        }
    }
}

/// Prints the names that `--only` is compared with.
fn list() -> Result<()> {
    let place = Place::new()?;
    let guest = Guest::build(place.directory())?;
    let micro =
        guest.operations()?.into_iter().map(|operation| (Section::Micro, operation.id, operation.title));
    let commands = commands::all(commands::Scale::FULL).into_iter();
    let commands = commands.map(|command| (command.section, command.id.to_owned(), command.title));
    let life = life::MEASURED.iter().map(|(id, title, _)| (Section::Life, (*id).into(), (*title).into()));
    let mut text = String::new();
    for (section, id, title) in micro.chain(commands).chain(life) {
        text += &format!("{:<32} {title}\n", format!("{}::{id}", section.name()));
    }
    print(&text);
    Ok(())
}

/// Returns why the baseline is not kept, if it is not.
fn measure(arguments: &BenchArguments) -> Result<Option<String>> {
    let baseline = arguments.baseline.as_deref();
    let baseline =
        baseline.map(|path| Ok::<_, anyhow::Error>((path, Baseline::read(path, arguments.quick)?)));
    let baseline = baseline.transpose()?;
    let until = |quick: Duration| Until(arguments.quick.then(|| Instant::now() + quick));
    let machine = Machine::here();
    let (mut session, absent) = prepare(arguments)?;
    let mut rows = micro::measure(&session, until(QUICK_MICRO))?;
    rows.extend(life::measure(&session, until(QUICK_LIFE)));
    rows.extend(commands::measure(&session, until(QUICK_COMMANDS))?);
    session.progress("");
    if rows.is_empty() {
        bail!("--only {} selects nothing; see usk bench --list", arguments.only.join(" --only "));
    }
    let results = Results {
        machine,
        settings: Settings { quick: arguments.quick, rounds: session.rounds, only: session.only.clone() },
        runtimes: session.runtimes.iter().map(describe).collect(),
        absent,
        rows,
    };
    print(&report::text(&results));
    let files = report::write(&results, &arguments.output)?;
    let names: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    print(&format!("\nWritten: {}\n", names.join(" ")));
    if let Some(path) = &arguments.save_baseline {
        Baseline::of(&results)?.write(path)?;
    }
    let Some((path, baseline)) = baseline else { return Ok(None) };
    let usk = goals::index(&results);
    let mut number = 0..;
    session.runtimes.retain(|_| number.next().is_some_and(|number| number == 0 || Some(number) == usk));
    let again = |names: &[String]| {
        session.only = names.to_vec();
        session.rounds = session.rounds.max(ROUNDS_AGAIN);
        let mut rows = micro::measure(&session, Until(None))?;
        rows.extend(life::measure(&session, Until(None)));
        rows.extend(commands::measure(&session, Until(None))?);
        session.progress("");
        Ok(rows)
    };
    let comparison = baseline.compare(&results, again)?;
    print(&comparison.text(path));
    Ok(comparison.failure())
}

/// Everything that is not measured itself: directories, the guest program, inputs, runtimes that are tried.
fn prepare(arguments: &BenchArguments) -> Result<(Session, Vec<Absence>)> {
    let mut place = Place::new()?;
    let guest = Guest::build(place.directory())?;
    let root = place.make_root();
    let wanted = |name: &str| is_runtime_selected(&arguments.on, &arguments.not_on, name);
    let (runtimes, mut absent) = discover(&place, &guest, &arguments.runtimes, arguments.quick, wanted)
        .context("cannot find out which runtimes work here")?;
    if let Err(error) = root {
        let reason = format!("{error:#}; container runtimes need root");
        absent.push(Absence { name: "a root directory for containers".into(), reason });
    }
    let rounds = arguments.runs.unwrap_or(if arguments.quick { ROUNDS_QUICK } else { ROUNDS });
    let (quick, only) = (arguments.quick, arguments.only.clone());
    let session = Session { place, guest, runtimes, rounds, quick, only };
    commands::write_inputs(&session)?;
    Ok((session, absent))
}

fn describe(runtime: &Runtime) -> RuntimeLine {
    RuntimeLine {
        name: runtime.name.clone(),
        class: runtime.class(),
        version: runtime.version.clone(),
        command: runtime.shown_command(),
    }
}

fn print(text: &str) {
    // A reader that has gone away is no reason to fail: the files are still to be written.
    let _ = std::io::stdout().write_all(text.as_bytes());
}
