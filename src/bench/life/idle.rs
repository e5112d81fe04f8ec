//! What a sandbox costs that does nothing: memory, processor time, processes.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::processes::{descendants, processor_ns, proportional_set_kib};
use crate::bench::launch::{self, Running};
use crate::bench::results::{Row, Section};
use crate::bench::runtimes::{Job, Runtime};
use crate::bench::session::{Session, Until};

type Measured = (&'static str, &'static str, &'static str);
pub(super) const PROCESSES: Measured = ("processes", "processes of one sandbox", "");
pub(super) const MEMORY_ALONE: Measured = ("memory_alone", "memory of an idle sandbox (PSS), alone", "MiB");
pub(super) const MEMORY_TOGETHER: Measured =
    ("memory_together", "memory of an idle sandbox (PSS), of many", "MiB");
pub(super) const PROCESSOR: Measured = ("idle_cpu", "processor time of an idle sandbox", "ms/s");

const PATIENCE: Duration = Duration::from_secs(30);
/// What a runtime still has to do once its program runs, it has done after this time: usk lets go of memory then.
const SETTLING: Duration = Duration::from_millis(500);
/// How long an idle sandbox is watched.
const WATCH: Duration = Duration::from_secs(10);
const WATCH_QUICK: Duration = Duration::from_secs(1);
/// Sandboxes that are idle together.
const MANY: usize = 50;
const MANY_QUICK: usize = 8;
const KIB_PER_MIB: f64 = 1024.0;

/// One round: these figures do not wobble as times do.
pub(super) fn measure(session: &Session, until: Until) -> Vec<Row> {
    let row = |(id, title, unit): Measured| session.row(Section::Life, id, title, unit);
    let mut alone = [row(PROCESSES), row(MEMORY_ALONE), row(PROCESSOR)];
    let many = if session.quick { MANY_QUICK } else { MANY };
    let mut together = row(MEMORY_TOGETHER);
    together.title = format!("memory of an idle sandbox (PSS), each of {many}");
    let wants = |row: &Row| session.wants(Section::Life, &row.id);
    for (index, runtime) in session.runtimes.iter().enumerate() {
        if alone.iter().any(wants) && !until.is_over() {
            session.progress(&format!("an idle sandbox, {}", runtime.name));
            match one(session, runtime) {
                Ok(figures) => {
                    for (row, figure) in alone.iter_mut().zip(figures) {
                        row.add(index, 0, &[figure]);
                    }
                }
                Err(error) => alone.iter_mut().for_each(|row| row.fail(index, &format!("{error:#}"))),
            }
        }
        if wants(&together) && !until.is_over() {
            session.progress(&format!("{many} idle sandboxes, {}", runtime.name));
            match memory_of_many(session, runtime, many) {
                Ok(mib) => together.add(index, 0, &[mib]),
                Err(error) => together.fail(index, &format!("{error:#}")),
            }
        }
    }
    alone.into_iter().chain([together]).filter(wants).collect()
}

fn start<'a>(session: &'a Session, runtime: &Runtime) -> Result<Running<'a>> {
    let program = session.guest.program.as_os_str();
    let mut running = launch::start(&session.place, runtime, &Job::new([program, "idle".as_ref()]))?;
    match running.wait_for("ready", PATIENCE) {
        Ok(()) => Ok(running),
        Err(error) => {
            running.end();
            Err(error)
        }
    }
}

/// Processes, memory and processor time, in the order of the rows.
fn one(session: &Session, runtime: &Runtime) -> Result<[f64; 3]> {
    let running = start(session, runtime)?;
    let figures = look(session, &running);
    running.end();
    figures
}

fn look(session: &Session, running: &Running<'_>) -> Result<[f64; 3]> {
    let watch = if session.quick { WATCH_QUICK } else { WATCH };
    let processes = of_sandbox(running);
    thread::sleep(SETTLING);
    let used = |processes: &[u32]| processes.iter().map(|&pid| processor_ns(pid)).sum::<u64>();
    let (begun, before) = (Instant::now(), used(&processes));
    // What is measured is that time passes and nothing happens.
    thread::sleep(watch);
    let after = used(&processes);
    let ms_per_s = after.saturating_sub(before) as f64 / 1e6 / begun.elapsed().as_secs_f64();
    let memory = memory_mib(&processes)?;
    Ok([processes.len() as f64, memory, ms_per_s])
}

fn memory_of_many(session: &Session, runtime: &Runtime, many: usize) -> Result<f64> {
    let mut all = Vec::new();
    let mut outcome = Ok(());
    for _ in 0..many {
        match start(session, runtime) {
            Ok(running) => all.push(running),
            Err(error) => {
                outcome = Err(error.context(format!("only {} of {many} started", all.len())));
                break;
            }
        }
    }
    thread::sleep(SETTLING);
    let memory = outcome.and_then(|()| memory_mib(&all.iter().flat_map(of_sandbox).collect::<Vec<_>>()));
    all.into_iter().for_each(Running::end);
    Ok(memory? / many as f64)
}

fn of_sandbox(running: &Running<'_>) -> Vec<u32> {
    let mut processes = descendants(running.pid());
    processes.push(running.pid());
    processes
}

fn memory_mib(processes: &[u32]) -> Result<f64> {
    let sizes: Option<Vec<u64>> = processes.iter().map(|&pid| proportional_set_kib(pid)).collect();
    let sizes = sizes.context("cannot read the memory of its processes: run as root")?;
    Ok(sizes.iter().sum::<u64>() as f64 / KIB_PER_MIB)
}
