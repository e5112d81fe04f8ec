//! What a container uses, in the form of runc's `events --stats`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Serialize;

use super::Membership;

/// What runc calls `data`.
#[derive(Clone, Debug, Default, Serialize)]
#[allow(missing_docs)]
pub struct Usage {
    pub cpu: Cpu,
    pub cpuset: Empty,
    pub memory: Memory,
    pub pids: Pids,
    pub blkio: Empty,
    pub hugetlb: Empty,
    pub intel_rdt: Empty,
    pub network_interfaces: Option<Empty>,
}

/// An object without members.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Empty {}

/// Processor time.
#[derive(Clone, Debug, Default, Serialize)]
#[allow(missing_docs)]
pub struct Cpu {
    pub usage: CpuUsage,
    pub throttling: Throttling,
}

/// In nanoseconds.
#[derive(Clone, Debug, Default, Serialize)]
#[allow(missing_docs)]
pub struct CpuUsage {
    pub total: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    pub kernel: u64,
    pub user: u64,
}

/// How often the quota was used up.
#[derive(Clone, Debug, Default, Serialize)]
#[allow(missing_docs)]
pub struct Throttling {
    pub periods: u64,
    #[serde(rename = "throttledPeriods")]
    pub throttled_periods: u64,
    #[serde(rename = "throttledTime")]
    pub throttled_time_ns: u64,
}

/// In bytes.
#[derive(Clone, Debug, Default, Serialize)]
#[allow(missing_docs)]
pub struct Memory {
    pub cache: u64,
    pub usage: Amount,
    pub swap: Amount,
    pub kernel: Amount,
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: Amount,
    pub raw: BTreeMap<String, u64>,
}

/// Of one kind of memory.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[allow(missing_docs)]
pub struct Amount {
    pub limit: u64,
    pub usage: u64,
    pub max: u64,
    pub failcnt: u64,
}

/// Processes and threads on the host.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[allow(missing_docs)]
pub struct Pids {
    pub current: u64,
    pub limit: u64,
}

/// Reads what is used now; what the host does not tell is zero.
pub fn usage(cgroups: &Membership) -> Usage {
    let directory =
        |controller: &str| cgroups.with_controller(controller).unwrap_or(Path::new("/nonexistent"));
    let pids = Pids {
        current: number(directory("pids"), "pids.current"),
        limit: number(directory("pids"), "pids.max"),
    };
    if cgroups.is_unified() {
        Usage {
            cpu: cpu_2(directory("cpu")),
            memory: memory_2(directory("memory")),
            pids,
            ..Usage::default()
        }
    } else {
        let cpu = cpu_1(directory("cpuacct"), directory("cpu"));
        Usage { cpu, memory: memory_1(directory("memory")), pids, ..Usage::default() }
    }
}

fn text(directory: &Path, file: &str) -> String {
    fs::read_to_string(directory.join(file)).unwrap_or_default()
}

/// A number alone in a file; zero for `max`.
fn number(directory: &Path, file: &str) -> u64 {
    text(directory, file).trim().parse().unwrap_or(0)
}

/// Lines of a name and a number.
fn table(directory: &Path, file: &str) -> BTreeMap<String, u64> {
    let entry = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.trim().parse().ok()?))
    };
    text(directory, file).lines().filter_map(entry).collect()
}

fn cpu_1(accounting: &Path, limits: &Path) -> Cpu {
    /// `USER_HZ` is 100.
    const TICK_NS: u64 = 10_000_000;
    let split = table(accounting, "cpuacct.stat");
    let ticks = |name: &str| split.get(name).copied().unwrap_or(0).saturating_mul(TICK_NS);
    let percpu = text(accounting, "cpuacct.usage_percpu");
    let throttled = table(limits, "cpu.stat");
    let count = |name: &str| throttled.get(name).copied().unwrap_or(0);
    Cpu {
        usage: CpuUsage {
            total: number(accounting, "cpuacct.usage"),
            percpu: percpu.split_whitespace().filter_map(|time| time.parse().ok()).collect(),
            kernel: ticks("system"),
            user: ticks("user"),
        },
        throttling: Throttling {
            periods: count("nr_periods"),
            throttled_periods: count("nr_throttled"),
            throttled_time_ns: count("throttled_time"),
        },
    }
}

fn cpu_2(directory: &Path) -> Cpu {
    let all = table(directory, "cpu.stat");
    let count = |name: &str| all.get(name).copied().unwrap_or(0);
    let nanoseconds = |name: &str| count(name).saturating_mul(1000);
    Cpu {
        usage: CpuUsage {
            total: nanoseconds("usage_usec"),
            percpu: Vec::new(),
            kernel: nanoseconds("system_usec"),
            user: nanoseconds("user_usec"),
        },
        throttling: Throttling {
            periods: count("nr_periods"),
            throttled_periods: count("nr_throttled"),
            throttled_time_ns: nanoseconds("throttled_usec"),
        },
    }
}

fn memory_1(directory: &Path) -> Memory {
    let amount = |kind: &str| Amount {
        limit: number(directory, &format!("memory.{kind}limit_in_bytes")),
        usage: number(directory, &format!("memory.{kind}usage_in_bytes")),
        max: number(directory, &format!("memory.{kind}max_usage_in_bytes")),
        failcnt: number(directory, &format!("memory.{kind}failcnt")),
    };
    let raw = table(directory, "memory.stat");
    Memory {
        cache: raw.get("cache").copied().unwrap_or(0),
        usage: amount(""),
        swap: amount("memsw."),
        kernel: amount("kmem."),
        kernel_tcp: amount("kmem.tcp."),
        raw,
    }
}

fn memory_2(directory: &Path) -> Memory {
    let amount = |kind: &str| Amount {
        limit: number(directory, &format!("memory.{kind}max")),
        usage: number(directory, &format!("memory.{kind}current")),
        max: number(directory, &format!("memory.{kind}peak")),
        failcnt: 0,
    };
    let raw = table(directory, "memory.stat");
    Memory {
        cache: raw.get("file").copied().unwrap_or(0),
        usage: amount(""),
        swap: amount("swap."),
        raw,
        ..Memory::default()
    }
}
