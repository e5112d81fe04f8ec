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
    pub cpuset: Cpuset,
    pub memory: Memory,
    pub pids: Pids,
    pub blkio: Block,
    pub hugetlb: BTreeMap<String, HugePages>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// In nanoseconds.
#[derive(Clone, Debug, Default, Serialize)]
#[allow(missing_docs)]
pub struct CpuUsage {
    pub total: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_kernel: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_user: Vec<u64>,
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

/// Which processors and memory nodes are used, and how: cpuset(7). Told of version 1 only, as by runc.
#[derive(Clone, Debug, Default, Serialize)]
#[allow(missing_docs)]
pub struct Cpuset {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u16>,
    pub cpu_exclusive: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mems: Vec<u16>,
    pub mem_hardwall: u64,
    pub mem_exclusive: u64,
    pub memory_migrate: u64,
    pub memory_spread_page: u64,
    pub memory_spread_slab: u64,
    pub memory_pressure: u64,
    pub sched_load_balance: u64,
    pub sched_relax_domain_level: i64,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
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

/// What was read from and written to devices.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Block {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_bytes_recursive: Vec<Transfer>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_serviced_recursive: Vec<Transfer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// Bytes or operations of one kind on one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Transfer {
    pub major: u64,
    pub minor: u64,
    pub op: String,
    pub value: u64,
}

/// Huge pages of one size, in bytes.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[allow(missing_docs)]
pub struct HugePages {
    pub usage: u64,
    pub max: u64,
    pub failcnt: u64,
}

/// How long tasks waited for something: Documentation/accounting/psi.rst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Pressure {
    pub some: Waiting,
    pub full: Waiting,
}

/// Shares of the last 10, 60 and 300 seconds in percent, and microseconds in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Waiting {
    pub avg10: f64,
    pub avg60: f64,
    pub avg300: f64,
    pub total: u64,
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
            blkio: block_2(directory("io")),
            hugetlb: huge_pages(&page_sizes(), |size| huge_pages_2(directory("hugetlb"), size)),
            ..Usage::default()
        }
    } else {
        Usage {
            cpu: cpu_1(directory("cpuacct"), directory("cpu")),
            cpuset: cpuset_1(directory("cpuset")),
            memory: memory_1(directory("memory")),
            pids,
            blkio: block_1(directory("blkio")),
            hugetlb: huge_pages(&page_sizes(), |size| huge_pages_1(directory("hugetlb"), size)),
            ..Usage::default()
        }
    }
}

fn text(directory: &Path, file: &str) -> String {
    fs::read_to_string(directory.join(file)).unwrap_or_default()
}

/// A number alone in a file; zero for `max`.
fn number(directory: &Path, file: &str) -> u64 {
    text(directory, file).trim().parse().unwrap_or(0)
}

/// The same, where no limit is the highest number.
fn limit(directory: &Path, file: &str) -> u64 {
    if text(directory, file).trim() == "max" { u64::MAX } else { number(directory, file) }
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
    let [percpu_user, percpu_kernel] = times_by_processor(&text(accounting, "cpuacct.usage_all"));
    let throttled = table(limits, "cpu.stat");
    let count = |name: &str| throttled.get(name).copied().unwrap_or(0);
    Cpu {
        usage: CpuUsage {
            total: number(accounting, "cpuacct.usage"),
            percpu: percpu.split_whitespace().filter_map(|time| time.parse().ok()).collect(),
            percpu_kernel,
            percpu_user,
            kernel: ticks("system"),
            user: ticks("user"),
        },
        throttling: Throttling {
            periods: count("nr_periods"),
            throttled_periods: count("nr_throttled"),
            throttled_time_ns: count("throttled_time"),
        },
        psi: None,
    }
}

/// A line of names, then one for each processor: its number, and nanoseconds of users and of the kernel.
fn times_by_processor(text: &str) -> [Vec<u64>; 2] {
    let column = |index: usize| {
        let time = |line: &str| line.split_whitespace().nth(index)?.parse().ok();
        text.lines().skip(1).filter_map(time).collect()
    };
    [column(1), column(2)]
}

fn cpuset_1(directory: &Path) -> Cpuset {
    let figure = |name: &str| number(directory, &format!("cpuset.{name}"));
    let level = text(directory, "cpuset.sched_relax_domain_level");
    Cpuset {
        cpus: members_of_list(&text(directory, "cpuset.cpus")),
        cpu_exclusive: figure("cpu_exclusive"),
        mems: members_of_list(&text(directory, "cpuset.mems")),
        mem_hardwall: figure("mem_hardwall"),
        mem_exclusive: figure("mem_exclusive"),
        memory_migrate: figure("memory_migrate"),
        memory_spread_page: figure("memory_spread_page"),
        memory_spread_slab: figure("memory_spread_slab"),
        memory_pressure: figure("memory_pressure"),
        sched_load_balance: figure("sched_load_balance"),
        sched_relax_domain_level: level.trim().parse().unwrap_or(0),
    }
}

/// `0-2,5` of cpuset(7), "List format".
fn members_of_list(text: &str) -> Vec<u16> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    text.trim().split(',').filter_map(range).flatten().collect()
}

fn cpu_2(directory: &Path) -> Cpu {
    let all = table(directory, "cpu.stat");
    let count = |name: &str| all.get(name).copied().unwrap_or(0);
    let nanoseconds = |name: &str| count(name).saturating_mul(1000);
    Cpu {
        usage: CpuUsage {
            total: nanoseconds("usage_usec"),
            kernel: nanoseconds("system_usec"),
            user: nanoseconds("user_usec"),
            ..CpuUsage::default()
        },
        throttling: Throttling {
            periods: count("nr_periods"),
            throttled_periods: count("nr_throttled"),
            throttled_time_ns: nanoseconds("throttled_usec"),
        },
        psi: pressure(directory, "cpu.pressure"),
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
        psi: None,
    }
}

fn memory_2(directory: &Path) -> Memory {
    let amount = |kind: &str| Amount {
        limit: limit(directory, &format!("memory.{kind}max")),
        usage: number(directory, &format!("memory.{kind}current")),
        max: number(directory, &format!("memory.{kind}peak")),
        failcnt: 0,
    };
    let (usage, mut swap) = (amount(""), amount("swap."));
    // With version 1, whose form this is, it is both together.
    swap.usage = swap.usage.saturating_add(usage.usage);
    swap.limit = swap.limit.saturating_add(usage.limit);
    let raw = table(directory, "memory.stat");
    Memory {
        cache: raw.get("file").copied().unwrap_or(0),
        usage,
        swap,
        raw,
        psi: pressure(directory, "memory.pressure"),
        ..Memory::default()
    }
}

/// `MAJOR:MINOR OPERATION NUMBER` in each line; a total without a device comes last.
fn block_1(directory: &Path) -> Block {
    let transfers = |what: &str| -> Vec<Transfer> {
        // The weights' scheduler counts if it is in use, else the limits do.
        let files = ["bfq", "throttle"].map(|by| format!("blkio.{by}.{what}_recursive"));
        let lists = files.map(|file| text(directory, &file).lines().filter_map(transfer).collect::<Vec<_>>());
        lists.into_iter().find(|list| !list.is_empty()).unwrap_or_default()
    };
    Block {
        io_service_bytes_recursive: transfers("io_service_bytes"),
        io_serviced_recursive: transfers("io_serviced"),
        psi: None,
    }
}

fn transfer(line: &str) -> Option<Transfer> {
    let mut words = line.split(' ');
    let (major, minor) = device(words.next()?)?;
    Some(Transfer { major, minor, op: words.next()?.to_owned(), value: words.next()?.parse().ok()? })
}

fn device(name: &str) -> Option<(u64, u64)> {
    let (major, minor) = name.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// `MAJOR:MINOR rbytes=N wbytes=N rios=N wios=N …` in each line.
fn block_2(directory: &Path) -> Block {
    let mut block = Block { psi: pressure(directory, "io.pressure"), ..Block::default() };
    for line in text(directory, "io.stat").lines() {
        let Some((name, figures)) = line.split_once(' ') else { continue };
        let Some((major, minor)) = device(name) else { continue };
        for (key, value) in figures.split(' ').filter_map(|figure| figure.split_once('=')) {
            let (list, op) = match key {
                "rbytes" => (&mut block.io_service_bytes_recursive, "Read"),
                "wbytes" => (&mut block.io_service_bytes_recursive, "Write"),
                "rios" => (&mut block.io_serviced_recursive, "Read"),
                "wios" => (&mut block.io_serviced_recursive, "Write"),
                _ => continue,
            };
            let value = value.parse().unwrap_or(0);
            list.push(Transfer { major, minor, op: op.to_owned(), value });
        }
    }
    block
}

/// The sizes of huge pages that the host has, as cgroups name them: `2MB`.
fn page_sizes() -> Vec<String> {
    let entries = fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten();
    entries.filter_map(|entry| page_size(entry.file_name().to_str()?)).collect()
}

/// From `hugepages-2048kB`.
fn page_size(directory: &str) -> Option<String> {
    let kibibytes: u64 = directory.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
    Some(match kibibytes {
        small if small < 1 << 10 => format!("{small}KB"),
        middle if middle < 1 << 20 => format!("{}MB", middle >> 10),
        large => format!("{}GB", large >> 20),
    })
}

fn huge_pages(sizes: &[String], used: impl Fn(&str) -> Option<HugePages>) -> BTreeMap<String, HugePages> {
    sizes.iter().filter_map(|size| Some((size.clone(), used(size)?))).collect()
}

fn huge_pages_1(directory: &Path, size: &str) -> Option<HugePages> {
    let figure = |name: &str| number(directory, &format!("hugetlb.{size}.{name}"));
    directory.join(format!("hugetlb.{size}.usage_in_bytes")).exists().then(|| HugePages {
        usage: figure("usage_in_bytes"),
        max: figure("max_usage_in_bytes"),
        failcnt: figure("failcnt"),
    })
}

fn huge_pages_2(directory: &Path, size: &str) -> Option<HugePages> {
    let current = format!("hugetlb.{size}.current");
    let events = table(directory, &format!("hugetlb.{size}.events"));
    directory.join(&current).exists().then(|| HugePages {
        usage: number(directory, &current),
        max: 0,
        failcnt: events.get("max").copied().unwrap_or(0),
    })
}

/// `some avg10=N avg60=N avg300=N total=N`, and the same for `full`. A host may have been told not to measure.
fn pressure(directory: &Path, file: &str) -> Option<Pressure> {
    let text = text(directory, file);
    let waiting = |kind: &str| {
        let figures = text.lines().find_map(|line| line.strip_prefix(kind))?;
        let figure = |name: &str| figures.split(' ').find_map(|figure| figure.strip_prefix(name));
        let share = |name: &str| figure(name).and_then(|share| share.parse().ok()).unwrap_or(0.0);
        Some(Waiting {
            avg10: share("avg10="),
            avg60: share("avg60="),
            avg300: share("avg300="),
            total: figure("total=").and_then(|total| total.parse().ok()).unwrap_or(0),
        })
    };
    Some(Pressure { some: waiting("some ")?, full: waiting("full ").unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::Place;
    use serde_json::{Value, json};

    /// What is told of a cgroup with these files.
    fn told(controllers: &[&str], files: &[(&str, &str)]) -> Value {
        let directory = tempfile::tempdir().unwrap();
        for (file, content) in files {
            fs::write(directory.path().join(file), content).unwrap();
        }
        let controllers = controllers.iter().map(|&name| name.to_owned()).collect();
        let place = Place { controllers, path: directory.path().to_owned() };
        serde_json::to_value(usage(&Membership { places: vec![place], scope: None })).unwrap()
    }

    #[test]
    fn transfers_are_told_in_one_form_for_both_versions() {
        let bytes = "8:0 Read 10\n8:0 Write 20\n8:0 Total 30\nTotal 30\n";
        let first = told(&["blkio"], &[("blkio.throttle.io_service_bytes_recursive", bytes)]);
        let transfer = |op: &str, value: u64| json!({ "major": 8, "minor": 0, "op": op, "value": value });
        let all = json!([transfer("Read", 10), transfer("Write", 20), transfer("Total", 30)]);
        assert_eq!(first["blkio"], json!({ "ioServiceBytesRecursive": all }));
        let second =
            told(&[], &[("io.stat", "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n9:1 \n")]);
        let bytes = json!([transfer("Read", 10), transfer("Write", 20)]);
        let operations = json!([transfer("Read", 1), transfer("Write", 2)]);
        assert_eq!(
            second["blkio"],
            json!({ "ioServiceBytesRecursive": bytes, "ioServicedRecursive": operations })
        );
    }

    #[test]
    fn processors_are_told_one_by_one_where_the_host_does() {
        let all = [
            ("cpuacct.usage_all", "cpu user system\n0 7 8\n1 9 10\n"),
            ("cpuset.cpus", "0-2,5\n"),
            ("cpuset.mems", "0\n"),
            ("cpuset.sched_relax_domain_level", "-1\n"),
        ];
        let usage = told(&["cpuacct", "cpuset"], &all);
        assert_eq!(usage["cpu"]["usage"]["percpu_kernel"], json!([8, 10]));
        assert_eq!(usage["cpu"]["usage"]["percpu_user"], json!([7, 9]));
        assert_eq!(usage["cpuset"]["cpus"], json!([0, 1, 2, 5]));
        assert_eq!((&usage["cpuset"]["mems"], &usage["cpuset"]["cpu_exclusive"]), (&json!([0]), &json!(0)));
        assert_eq!(usage["cpuset"]["sched_relax_domain_level"], -1);
    }

    #[test]
    fn pressure_is_told_where_the_host_measures_it() {
        let line = "avg10=1.50 avg60=0.25 avg300=0.00 total=77";
        let text = format!("some {line}\nfull {line}\n");
        let usage = told(&[], &[("cpu.pressure", &text), ("io.pressure", ""), ("memory.pressure", &text)]);
        let waiting = json!({ "avg10": 1.5, "avg60": 0.25, "avg300": 0.0, "total": 77 });
        assert_eq!(usage["cpu"]["psi"], json!({ "some": waiting, "full": waiting }));
        assert_eq!(usage["memory"]["psi"], usage["cpu"]["psi"]);
        assert_eq!(usage["blkio"].get("psi"), None);
    }

    #[test]
    fn swap_is_told_together_with_memory_as_version_1_does() {
        let files = [("memory.max", "1000"), ("memory.current", "10"), ("memory.swap.max", "max")];
        let usage = told(&[], &[&files[..], &[("memory.swap.current", "5")]].concat());
        assert_eq!(usage["memory"]["usage"]["limit"], 1000);
        assert_eq!(usage["memory"]["swap"]["limit"], u64::MAX);
        assert_eq!(usage["memory"]["swap"]["usage"], 15);
    }

    #[test]
    fn sizes_of_huge_pages_have_the_names_that_cgroups_give_them() {
        let names = ["hugepages-64kB", "hugepages-2048kB", "hugepages-1048576kB", "other"].map(page_size);
        assert_eq!(names, [Some("64KB".into()), Some("2MB".into()), Some("1GB".into()), None]);
    }
}
