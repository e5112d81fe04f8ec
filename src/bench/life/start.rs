//! How long it takes to start a sandbox, run `true` and be gone; and how many a second that makes.

use std::fs::File;
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use crate::bench::launch::{self, Ended};
use crate::bench::results::{Row, Section};
use crate::bench::runtimes::{Job, Runtime};
use crate::bench::session::{Session, Until};

type Measured = (&'static str, &'static str, &'static str);
pub(super) const WARM: Measured = ("start_warm", "start, true, end", "ms");
pub(super) const COLD: Measured = ("start_cold", "the same, runtime and true not in the page cache", "ms");
pub(super) const THROUGHPUT: Measured =
    ("throughput", "sandboxes a second, one at a time on each CPU", "1/s");

const PROGRAM: &str = "/bin/true";
/// No sandbox takes so long to do nothing.
const PATIENCE: Duration = Duration::from_secs(20);
const MS_PER_S: f64 = 1000.0;

/// Starts in one turn of a runtime.
const STARTS: usize = 10;
const STARTS_QUICK: usize = 5;
/// How long sandboxes are started in parallel in one turn.
const FLOOD: Duration = Duration::from_secs(3);
const FLOOD_QUICK: Duration = Duration::from_millis(700);

type Act = fn(&Session, &Runtime) -> anyhow::Result<Vec<f64>>;

/// The start that everybody asks for.
pub(super) fn measure_warm(session: &Session, until: Until) -> Vec<Row> {
    measure(session, until, WARM, warm).into_iter().collect()
}

/// The others.
pub(super) fn measure_others(session: &Session, until: Until) -> Vec<Row> {
    let mut rows: Vec<Row> = measure(session, until, COLD, cold).into_iter().collect();
    rows.extend(
        measure(session, until, THROUGHPUT, throughput).map(|row| Row { more_is_better: true, ..row }),
    );
    rows
}

fn measure(session: &Session, until: Until, (id, title, unit): Measured, act: Act) -> Option<Row> {
    let mut row = session.wants(Section::Life, id).then(|| session.row(Section::Life, id, title, unit))?;
    for round in 0..session.rounds {
        for (index, runtime) in session.runtimes.iter().enumerate() {
            if until.is_over() || !row.is_open(index) {
                continue;
            }
            session.progress(&format!("round {}: {title}, {}", round + 1, runtime.name));
            match act(session, runtime) {
                Ok(samples) => row.add(index, round, &samples),
                Err(error) => row.fail(index, &format!("{error:#}")),
            }
        }
    }
    Some(row)
}

fn once(session: &Session, runtime: &Runtime) -> anyhow::Result<Duration> {
    let Ended { wall, failure, .. } = launch::run(&session.place, runtime, &Job::new([PROGRAM]), PATIENCE)?;
    match failure {
        Some(failure) => anyhow::bail!(failure),
        None => Ok(wall),
    }
}

fn warm(session: &Session, runtime: &Runtime) -> anyhow::Result<Vec<f64>> {
    let starts = if session.quick { STARTS_QUICK } else { STARTS };
    // One that does not count: the runtime before this one has had the caches.
    once(session, runtime)?;
    (0..starts).map(|_| Ok(once(session, runtime)?.as_secs_f64() * MS_PER_S)).collect()
}

/// Not the whole page cache is dropped, which would hit everybody on the machine, but the pages of the programs, as far as
/// nobody else has them mapped.
fn cold(session: &Session, runtime: &Runtime) -> anyhow::Result<Vec<f64>> {
    let starts = if session.quick { 1 } else { STARTS };
    let mut programs = runtime.programs();
    programs.push(PROGRAM.into());
    let one = || {
        for program in &programs {
            if let Ok(file) = File::open(program) {
                posix_fadvise(file.as_fd(), 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
            }
        }
        Ok(once(session, runtime)?.as_secs_f64() * MS_PER_S)
    };
    (0..starts).map(|_| one()).collect()
}

fn throughput(session: &Session, runtime: &Runtime) -> anyhow::Result<Vec<f64>> {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let flood = if session.quick { FLOOD_QUICK } else { FLOOD };
    let begun = Instant::now();
    let counts: Vec<anyhow::Result<usize>> = thread::scope(|scope| {
        let work = || {
            let mut count = 0;
            while begun.elapsed() < flood {
                once(session, runtime)?;
                count += 1;
            }
            Ok(count)
        };
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let joined = workers.into_iter().map(|worker| worker.join());
        joined.map(|count| count.unwrap_or_else(|_| anyhow::bail!("a thread of usk bench failed"))).collect()
    });
    // To the end of the last one, which was begun in time.
    let elapsed = begun.elapsed().as_secs_f64();
    let mut total = 0;
    for count in counts {
        total += count?;
    }
    Ok(vec![total as f64 / elapsed])
}
