//! The differential fuzzer: random sequences of system calls come to the same in every kind of sandbox, whoever answers the
//! calls, the sentry or the stub, for patched sites or trapped ones; and natively.
//!
//! A sequence (`sequence.rs`) is made of calls (`language.rs`) whose arguments come from short lists (`values.rs`). One
//! sandbox for each runtime plays all of them, each in a process and with files of its own (`guest.c`), and reports what
//! each call came to and what is left at the end; the reports are compared as texts. What differs is shrunk, and printed as
//! a listing that can be read, and played again:
//!
//!     cargo test --test differential                                   for a while, the same sequences each time
//!     USK_DIFFERENTIAL_SECONDS=3600 USK_DIFFERENTIAL_SEED=7 cargo test --test differential random
//!     USK_DIFFERENTIAL_PLAY=FILE cargo test --test differential play   one listing, with the reports
//!
//! Sequences that were found in this way and mended are in `sequences/`, and are played natively too. `USK_TEST_RUNTIMES` selects
//! what is compared. Without it random sequences are compared between sandboxes: these must agree in all things, while the host's
//! kernel may be another one than usk follows, and looks for several mistakes of one call in an order of its own.

mod language;
mod player;
mod sequence;
mod strategy;
#[path = "../support/mod.rs"]
mod support;
mod values;

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use crate::player::Player;
use crate::sequence::Sequence;
use crate::support::runtime::Runtime;

/// How long to look, in seconds, instead of [`USUAL_SECONDS`].
const SECONDS_VARIABLE: &str = "USK_DIFFERENTIAL_SECONDS";
/// Enough for some hundreds of sequences on a busy machine.
const USUAL_SECONDS: u64 = 40;
/// Where the random numbers begin, instead of 1.
const SEED_VARIABLE: &str = "USK_DIFFERENTIAL_SEED";
/// A listing to play.
const PLAY_VARIABLE: &str = "USK_DIFFERENTIAL_PLAY";

/// What random sequences are compared between.
const SANDBOXES: [Runtime; 4] = [Runtime::Trap, Runtime::Ptrace, Runtime::Unpatched, Runtime::SecondTier];

/// Sequences between two looks at the clock, each time from a seed of its own.
const ROUND: u32 = 20;
/// How long a failing sequence is made shorter.
const SHRINKING: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = vec![
        Trial::test("random_sequences_of_calls_come_to_the_same_in_every_sandbox", play_random_sequences),
        Trial::test("listings_say_what_sequences_are", read_own_listings),
    ];
    let sequences = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential/sequences");
    for entry in fs::read_dir(sequences).expect("the known sequences") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        trials.push(Trial::test(format!("sequences::{name}"), move || play_listing(&path, false)));
    }
    if let Ok(path) = std::env::var(PLAY_VARIABLE) {
        trials.push(Trial::test("play", move || play_listing(Path::new(&path), true)));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn number(variable: &str, usual: u64) -> Result<u64, String> {
    let Ok(text) = std::env::var(variable) else { return Ok(usual) };
    text.parse().map_err(|error| format!("{variable}: {error}"))
}

/// One player for each runtime.
struct Players(Vec<Player>);

impl Players {
    fn new(usual: &[Runtime]) -> Players {
        Players(Runtime::selected(usual).into_iter().map(Player::new).collect())
    }

    /// What a sequence came to, on each runtime.
    fn play(&mut self, sequence: &Sequence) -> Vec<(Runtime, String)> {
        let begun: Vec<_> = self.0.iter_mut().map(|player| player.begin(sequence)).collect();
        let reports = self.0.iter_mut().zip(begun).map(|(player, begun)| {
            let report = player.report();
            let report = match begun {
                Ok(()) => report,
                Err(error) => format!("it did not begin: {error}\n{report}"),
            };
            (player.runtime(), report)
        });
        reports.collect()
    }

    /// Fails if the reports on a sequence are not the same everywhere.
    fn compare(&mut self, sequence: &Sequence) -> Result<(), String> {
        let reports = self.play(sequence);
        let Some(((reference, expected), others)) = reports.split_first() else { return Ok(()) };
        let mut message = String::new();
        let differing = others.iter().filter(|(_, report)| report != expected);
        for group in differing.collect::<Vec<_>>().chunk_by(|one, other| one.1 == other.1) {
            let names: Vec<&str> = group.iter().map(|(runtime, _)| runtime.name()).collect();
            let mut pairs = lines_of(expected).zip(lines_of(&group[0].1));
            if let Some((expected, found)) = pairs.find(|(expected, found)| expected != found) {
                let names = names.join(", ");
                let _ = writeln!(message, "{}: {expected}\n{names}: {found}", reference.name());
            }
        }
        if message.is_empty() { Ok(()) } else { Err(message) }
    }
}

/// The lines of a report, without an end.
fn lines_of(report: &str) -> impl Iterator<Item = &str> {
    report.lines().chain(std::iter::repeat("(the end)")).take(report.len() + 100_000)
}

fn play_random_sequences() -> Result<(), Failed> {
    let (seed, seconds) = (number(SEED_VARIABLE, 1)?, number(SECONDS_VARIABLE, USUAL_SECONDS)?);
    let players = Mutex::new(Players::new(&SANDBOXES));
    let compare = |sequence: &Sequence| players.lock().map_err(|error| error.to_string())?.compare(sequence);
    let config = Config {
        cases: ROUND,
        failure_persistence: None,
        max_shrink_time: SHRINKING.as_millis() as u32,
        // Time is what bounds it.
        max_shrink_iters: u32::MAX - 1,
        ..Config::default()
    };
    let begun = Instant::now();
    let mut round = seed;
    let mut count = 0;
    while begun.elapsed() < Duration::from_secs(seconds) {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&round.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let outcome = TestRunner::new_with_rng(config.clone(), rng)
            .run(&strategy::sequence(), |sequence| compare(&sequence).map_err(TestCaseError::fail));
        if let Err(TestError::Fail(reason, sequence)) = outcome {
            let again = compare(&sequence).err().unwrap_or_else(|| "not when it is played again".to_owned());
            return Err(format!("{SEED_VARIABLE}={round}\n{sequence}\n{reason}\nonce more:\n{again}").into());
        }
        outcome.map_err(|error| error.to_string())?;
        round += 1;
        count += ROUND;
    }
    println!("{count} sequences from {SEED_VARIABLE}={seed}");
    if count < ROUND { Err("no sequence was played".into()) } else { Ok(()) }
}

fn play_listing(path: &Path, is_told: bool) -> Result<(), Failed> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let sequence = Sequence::parse(&text)?;
    if is_told {
        for (runtime, report) in Players::new(&Runtime::EVERY).play(&sequence) {
            println!("--- {}\n{report}", runtime.name());
        }
    }
    Ok(Players::new(&Runtime::EVERY).compare(&sequence)?)
}

fn read_own_listings() -> Result<(), Failed> {
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&strategy::sequence(), |sequence| {
        let read = Sequence::parse(&sequence.to_string()).map_err(TestCaseError::fail)?;
        if read == sequence { Ok(()) } else { Err(TestCaseError::fail("it is read as another")) }
    });
    outcome.map_err(|error| error.to_string().into())
}
