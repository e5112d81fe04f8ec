//! A time line of a sandbox's start and end, in the Chrome trace event format: `usk run --trace-start`.
//!
//! Each process records for itself and writes what it has with one call, so that the lines of several processes do not
//! mix: the file is open for appending. While nothing is recorded, a step costs a load and a branch. What is recorded
//! lies in the process, and not in whoever takes part: the start goes through all layers.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::{Clock, clock_ns, current_thread, thread_cpu_time};

/// Most events that one process keeps: a start has some dozens, and after it nothing is recorded.
const MAX_EVENTS: usize = 1024;
const NS_PER_US: u64 = 1000;

static IS_ON: AtomicBool = AtomicBool::new(false);
static TIMELINE: Mutex<Timeline> =
    Mutex::new(Timeline { output: None, track: Track::Monitor, events: Vec::new(), paused_ns: None });

struct Timeline {
    output: Option<Arc<File>>,
    track: Track,
    events: Vec<Event>,
    /// Since when nothing is recorded.
    paused_ns: Option<u64>,
}

/// Whose line an event is on. The host's numbers would say less: each process has its own namespace of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Track {
    /// `usk run` itself.
    Monitor = 1,
    /// The kernel.
    Sentry = 2,
    /// The file server.
    Gofer = 3,
    /// The first process of the platform, which records nothing: the sentry tells what it knows about it.
    Stub = 4,
}

impl Track {
    fn name(self) -> &'static str {
        match self {
            Track::Monitor => "usk",
            Track::Sentry => "usk-sentry",
            Track::Gofer => "usk-gofer",
            Track::Stub => "usk-stub",
        }
    }
}

struct Event {
    track: Track,
    thread: i32,
    thread_name: String,
    name: &'static str,
    begun_ns: u64,
    /// `None`: a moment.
    duration_ns: Option<u64>,
}

/// Begins a time line in this file, which is open for appending. The process has one thread.
pub fn begin(output: File) -> io::Result<()> {
    let output = Arc::new(output);
    let mut timeline = TIMELINE.lock();
    let mut text = "[\n".to_owned();
    for track in [Track::Monitor, Track::Sentry, Track::Gofer, Track::Stub] {
        name_line(&mut text, "process_name", track, 0, track.name());
    }
    (&*output).write_all(text.as_bytes())?;
    timeline.output = Some(output);
    IS_ON.store(true, Ordering::Relaxed);
    // When this program was executed nobody could take the time; what it has cost since is known.
    let now_ns = clock_ns(Clock::Monotonic);
    let cost_ns = u64::try_from(thread_cpu_time(current_thread()).as_nanos()).unwrap_or(0);
    timeline.add(
        Track::Monitor,
        "exec, dynamic linking, arguments (processor time)",
        now_ns - cost_ns,
        Some(cost_ns),
    );
    Ok(())
}

/// In a fork: what is recorded from now on is this process's own.
pub fn become_process(track: Track) {
    if is_on() {
        let mut timeline = TIMELINE.lock();
        timeline.track = track;
        timeline.events.clear();
    }
}

/// Whether steps are recorded.
pub fn is_on() -> bool {
    IS_ON.load(Ordering::Relaxed)
}

/// The file, for a process that closes all descriptors but some.
pub fn output() -> Option<Arc<File>> {
    if is_on() { TIMELINE.lock().output.clone() } else { None }
}

/// The time in nanoseconds, if somebody wants to know.
pub fn now() -> Option<u64> {
    is_on().then(|| clock_ns(Clock::Monotonic))
}

/// Records that something happened on this thread from then until now.
pub fn span(name: &'static str, begun_ns: Option<u64>) {
    if let (Some(begun_ns), Some(now_ns)) = (begun_ns, now()) {
        let mut timeline = TIMELINE.lock();
        let track = timeline.track;
        timeline.add(track, name, begun_ns, Some(now_ns.saturating_sub(begun_ns)));
    }
}

/// As [`span`], of a process that does not record.
pub fn span_of(track: Track, name: &'static str, begun_ns: Option<u64>) {
    if let (Some(begun_ns), Some(now_ns)) = (begun_ns, now()) {
        TIMELINE.lock().add(track, name, begun_ns, Some(now_ns.saturating_sub(begun_ns)));
    }
}

/// Records a moment. It is the last one that this process records until [`resume`].
pub fn pause_at(name: &'static str) {
    if let Some(now_ns) = now() {
        let mut timeline = TIMELINE.lock();
        let track = timeline.track;
        timeline.add(track, name, now_ns, None);
        timeline.paused_ns = Some(now_ns);
        IS_ON.store(false, Ordering::Relaxed);
    }
}

/// Goes on recording after [`pause_at`], first what this process was occupied with meanwhile.
pub fn resume(name: &'static str) {
    let mut timeline = TIMELINE.lock();
    if let Some(paused_ns) = timeline.paused_ns.take() {
        let track = timeline.track;
        let now_ns = clock_ns(Clock::Monotonic);
        timeline.add(track, name, paused_ns, Some(now_ns.saturating_sub(paused_ns)));
        IS_ON.store(true, Ordering::Relaxed);
    }
}

/// Writes what has been recorded. Nobody is told of an error: the monitor, which writes last, meets it as well.
pub fn flush() {
    let _ = TIMELINE.lock().write("");
}

/// As [`flush`], and lets go of the file.
pub fn leave() {
    let mut timeline = TIMELINE.lock();
    let _ = timeline.write("");
    timeline.output = None;
    IS_ON.store(false, Ordering::Relaxed);
}

/// Writes what has been recorded, and the end: no process writes after it.
pub fn finish() -> io::Result<()> {
    let mut timeline = TIMELINE.lock();
    IS_ON.store(false, Ordering::Relaxed);
    let mut end = String::new();
    // It has no comma behind it, as JSON wants it.
    name_line(&mut end, "thread_name", Track::Stub, 0, Track::Stub.name());
    end.truncate(end.trim_end_matches([',', '\n']).len());
    end.push_str("\n]\n");
    let written = timeline.write(&end);
    timeline.output = None;
    written
}

impl Timeline {
    fn add(&mut self, track: Track, name: &'static str, begun_ns: u64, duration_ns: Option<u64>) {
        if self.events.len() < MAX_EVENTS {
            let (thread, thread_name) = match track {
                Track::Stub => (0, String::new()),
                _ => (
                    nix::unistd::gettid().as_raw(),
                    std::thread::current().name().unwrap_or_default().to_owned(),
                ),
            };
            self.events.push(Event { track, thread, thread_name, name, begun_ns, duration_ns });
        }
    }

    fn write(&mut self, end: &str) -> io::Result<()> {
        let Some(mut output) = self.output.as_deref() else { return Ok(()) };
        let mut text = String::new();
        let mut named: Vec<i32> = Vec::new();
        for event in self.events.drain(..) {
            if event.track != Track::Stub && !named.contains(&event.thread) {
                named.push(event.thread);
                name_line(&mut text, "thread_name", event.track, event.thread, &event.thread_name);
            }
            event_line(&mut text, &event);
        }
        text.push_str(end);
        if text.is_empty() { Ok(()) } else { output.write_all(text.as_bytes()) }
    }
}

/// One event. Names are this project's own and hold nothing that JSON would want escaped.
fn event_line(text: &mut String, event: &Event) {
    let Event { track, thread, name, begun_ns, duration_ns, .. } = event;
    let (track, at) = (*track as i32, micros(*begun_ns));
    let _ = match duration_ns {
        Some(length) => writeln!(
            text,
            r#"{{"name":"{name}","ph":"X","pid":{track},"tid":{thread},"ts":{at},"dur":{}}},"#,
            micros(*length)
        ),
        None => {
            writeln!(text, r#"{{"name":"{name}","ph":"i","s":"g","pid":{track},"tid":{thread},"ts":{at}}},"#)
        }
    };
}

fn name_line(text: &mut String, kind: &str, track: Track, thread: i32, name: &str) {
    let track = track as i32;
    let _ = writeln!(
        text,
        r#"{{"name":"{kind}","ph":"M","pid":{track},"tid":{thread},"args":{{"name":"{name}"}}}},"#
    );
}

/// Microseconds, which the format counts in, with all digits.
fn micros(ns: u64) -> String {
    format!("{}.{:03}", ns / NS_PER_US, ns % NS_PER_US)
}

/// Steps that follow one another without a gap.
#[derive(Debug)]
pub struct Steps(Option<u64>);

impl Steps {
    /// Begins now.
    pub fn begin() -> Steps {
        Steps(now())
    }

    /// What happened since the last step was this.
    pub fn done(&mut self, name: &'static str) {
        if let Some(begun_ns) = self.0 {
            span(name, Some(begun_ns));
            self.0 = now();
        }
    }
}
