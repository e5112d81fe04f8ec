//! The machine that figures belong to.

use std::fs;
use std::process::Command;

use serde::Serialize;

/// What figures depend on.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    /// The processor's name.
    pub(crate) processor: String,
    /// How many CPUs there are.
    pub(crate) cpus: usize,
    /// Whether a hypervisor lies below.
    pub(crate) is_virtual: bool,
    /// Memory in MiB.
    pub(crate) memory_mib: u64,
    /// The kernel's release.
    pub(crate) kernel: String,
    /// The distribution.
    pub(crate) distribution: String,
    /// Processes that were running or ready when the measurements began, averaged over a minute: others compete.
    pub(crate) load: String,
    /// When the measurements began.
    pub(crate) date: String,
    /// usk's own version.
    pub(crate) usk: &'static str,
    /// The user id that everything ran as.
    pub(crate) uid: u32,
}

const UNKNOWN: &str = "unknown";

impl Machine {
    /// This one.
    pub(crate) fn here() -> Machine {
        let cpuinfo = read("/proc/cpuinfo");
        let memory = field(&read("/proc/meminfo"), "MemTotal", ':');
        let memory_kib = memory.split_whitespace().next().and_then(|number| number.parse::<u64>().ok());
        let load = read("/proc/loadavg");
        Machine {
            processor: field(&cpuinfo, "model name", ':'),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            is_virtual: field(&cpuinfo, "flags", ':').split(' ').any(|flag| flag == "hypervisor"),
            memory_mib: memory_kib.unwrap_or(0) / 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            distribution: field(&read("/etc/os-release"), "PRETTY_NAME", '=').replace('"', ""),
            load: load.split(' ').next().unwrap_or(UNKNOWN).to_owned(),
            date: date(),
            uid: nix::unistd::Uid::effective().as_raw(),
            ..Machine::unknown()
        }
    }

    /// One of which nothing is known.
    pub(crate) fn unknown() -> Machine {
        Machine {
            processor: UNKNOWN.into(),
            cpus: 1,
            is_virtual: false,
            memory_mib: 0,
            kernel: UNKNOWN.into(),
            distribution: UNKNOWN.into(),
            load: UNKNOWN.into(),
            date: UNKNOWN.into(),
            usk: env!("CARGO_PKG_VERSION"),
            uid: 0,
        }
    }

    /// In a few lines for people.
    pub(crate) fn lines(&self) -> Vec<String> {
        let kind = if self.is_virtual { "virtual machine" } else { "bare metal" };
        vec![
            format!("{} × {}, {} MiB, {kind}", self.cpus, self.processor, self.memory_mib),
            format!("Linux {}, {}", self.kernel, self.distribution),
            format!("usk {}, as user {}, load {} at {}", self.usk, self.uid, self.load, self.date),
        ]
    }
}

fn read(file: &str) -> String {
    fs::read_to_string(file).unwrap_or_default()
}

/// The value of the first line of this name.
fn field(text: &str, name: &str, separator: char) -> String {
    let mut pairs = text.lines().filter_map(|line| line.split_once(separator));
    pairs.find(|(key, _)| key.trim() == name).map_or(UNKNOWN.into(), |(_, value)| value.trim().to_owned())
}

/// The time in UTC, to the minute: from date(1), since the standard library has no calendar.
fn date() -> String {
    let output = Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"]).output();
    output.map_or(UNKNOWN.into(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
