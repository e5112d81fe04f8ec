//! Limits as systemd's properties: systemd.resource-control(5). systemd writes them to the cgroup, again whenever it thinks
//! fit: what it does not know of it would undo.

use anyhow::{Context, Result, bail};
use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};
use zbus::Variant;

use crate::cgroup::limits::{DEFAULT_PERIOD_US, host_tasks, meant, swap_alone, weight_of_shares};

/// Name and value.
pub(super) type Property = (String, Variant<'static>);

/// What is without a bound.
const INFINITY: u64 = u64::MAX;
/// Most CPUs and memory nodes of a host.
const MAX_SET: usize = 8192;

fn property(name: &str, value: impl Into<Variant<'static>>) -> Property {
    (name.into(), value.into())
}

/// What every container's unit has.
pub(super) fn of_scope(name: &str, slice: &str, pid: u32) -> Vec<Property> {
    vec![
        property("Description", format!("usk container {}", name.trim_end_matches(".scope"))),
        property("Slice", slice.to_owned()),
        property("PIDs", vec![pid]),
        // What is below is usk's.
        property("Delegate", true),
        property("DefaultDependencies", false),
        property("MemoryAccounting", true),
        property("CPUAccounting", true),
        property("IOAccounting", true),
        property("TasksAccounting", true),
    ]
}

/// Limits. Those that systemd has no property for are the cgroup's files' alone; what makes no sense is the files' to refuse.
pub(super) fn of_limits(resources: &LinuxResources, unified: bool) -> Vec<Property> {
    let mut properties = Vec::new();
    let mut add =
        |name: &str, value: Option<u64>| properties.extend(value.map(|value| property(name, value)));
    if let Some(memory) = resources.memory() {
        let (limit, low, swap) = memory_bounds(memory);
        add(if unified { "MemoryMax" } else { "MemoryLimit" }, limit);
        if unified {
            add("MemoryLow", low);
            add("MemorySwapMax", swap);
        }
    }
    if let Some(cpu) = resources.cpu() {
        let shares = meant(cpu.shares());
        match unified {
            true => add("CPUWeight", shares.map(weight_of_shares)),
            false => add("CPUShares", shares),
        }
        let (quota, period) = quota(cpu);
        add("CPUQuotaPerSecUSec", quota);
        add("CPUQuotaPeriodUSec", period);
    }
    add("TasksMax", resources.pids().as_ref().and_then(|pids| host_tasks(pids.limit())));
    if unified {
        for (file, name) in FILES {
            let text = resources.unified().as_ref().and_then(|files| files.get(file));
            add(name, text.and_then(|text| bound(text)));
        }
        if let Some(cpu) = resources.cpu() {
            for (name, list) in [("AllowedCPUs", cpu.cpus()), ("AllowedMemoryNodes", cpu.mems())] {
                let set = list.as_deref().and_then(bits).filter(|set| !set.is_empty());
                properties.extend(set.map(|set| property(name, set)));
            }
        }
    }
    properties
}

/// Files of a cgroup of version 2 that hold a bound.
const FILES: [(&str, &str); 7] = [
    ("memory.max", "MemoryMax"),
    ("memory.high", "MemoryHigh"),
    ("memory.low", "MemoryLow"),
    ("memory.min", "MemoryMin"),
    ("memory.swap.max", "MemorySwapMax"),
    ("pids.max", "TasksMax"),
    ("cpu.weight", "CPUWeight"),
];

fn bound(text: &str) -> Option<u64> {
    if text.trim() == "max" { Some(INFINITY) } else { text.trim().parse().ok() }
}

/// Of memory, of what is protected of it, and of swap.
fn memory_bounds(memory: &LinuxMemory) -> (Option<u64>, Option<u64>, Option<u64>) {
    let amount = |bytes: i64| u64::try_from(bytes).unwrap_or(INFINITY);
    (
        meant(memory.limit()).map(amount),
        meant(memory.reservation()).map(amount),
        swap_alone(memory).map(amount),
    )
}

/// Microseconds in each second, in steps of 10 ms, which is what systemd's own percents come to; and the period.
fn quota(cpu: &LinuxCpu) -> (Option<u64>, Option<u64>) {
    const SECOND_US: u64 = 1_000_000;
    const STEP_US: u64 = 10_000;
    let (quota, period) = (meant(cpu.quota()), meant(cpu.period()));
    let each_second = quota.map(|quota| match u64::try_from(quota) {
        Ok(quota) => {
            let each = quota.saturating_mul(SECOND_US) / period.unwrap_or(DEFAULT_PERIOD_US);
            each.checked_next_multiple_of(STEP_US).unwrap_or(INFINITY)
        }
        Err(_) => INFINITY,
    });
    (each_second, period)
}

/// A list such as `0-2,5` as a set of bits, the lowest first: cpuset(7).
fn bits(list: &str) -> Option<Vec<u8>> {
    let mut set = Vec::new();
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
        if last >= MAX_SET {
            return None;
        }
        for number in first..=last {
            if set.len() <= number / 8 {
                set.resize(number / 8 + 1, 0);
            }
            *set.get_mut(number / 8)? |= 1u8 << (number % 8);
        }
    }
    Some(set)
}

/// What begins the names of annotations that are properties.
const ANNOTATION: &str = "org.systemd.property.";

/// The properties among a container's annotations, each of which must be understood.
pub(super) fn of_annotations<'a>(
    annotations: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> Result<Vec<(String, String)>> {
    let of_annotation = |(key, text): (&'a String, &'a String)| {
        let name = key.strip_prefix(ANNOTATION)?;
        let is_name = name.len() >= 3 && name.chars().all(|c| c.is_ascii_alphabetic());
        let checked = if is_name { parse(name, text).map(drop) } else { Err(anyhow::anyhow!("no property")) };
        let checked = checked.with_context(|| format!("annotations[{key}]: {text:?}"));
        Some(checked.map(|()| (name.to_owned(), text.clone())))
    };
    annotations.into_iter().filter_map(of_annotation).collect()
}

/// A property in the form that `busctl` and runc read: GVariant's text, of which truth values, numbers, texts and lists of texts.
/// Of a time the annotation may give seconds.
pub(super) fn parse(name: &str, text: &str) -> Result<Property> {
    const MICROSECONDS: u64 = 1_000_000;
    let text = text.trim();
    if let Some(name) = name.strip_suffix("Sec").filter(|name| !name.ends_with('U')) {
        let number = text.rsplit(' ').next().unwrap_or_default();
        let seconds: u64 = number.parse().context("it is no number of seconds")?;
        return Ok(property(&format!("{name}USec"), seconds.saturating_mul(MICROSECONDS)));
    }
    let value = match text.split_once(' ').unwrap_or(("int32", text)) {
        (_, "true") => true.into(),
        (_, "false") => false.into(),
        _ if text.starts_with(['\'', '"']) => quoted(text)?.into(),
        _ if text.starts_with('[') => {
            let inner =
                text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).context("a ']' is missing")?;
            inner.split(',').map(quoted).collect::<Result<Vec<String>>>()?.into()
        }
        ("int32", number) => number.parse::<i32>()?.into(),
        ("uint32", number) => number.parse::<u32>()?.into(),
        ("int64", number) => number.parse::<i64>()?.into(),
        ("uint64", number) => number.parse::<u64>()?.into(),
        _ => bail!("neither a number, a text, a list of texts, true nor false"),
    };
    Ok((name.into(), value))
}

fn quoted(text: &str) -> Result<String> {
    let text = text.trim();
    let inner = ['\'', '"'].iter().find_map(|&mark| text.strip_prefix(mark)?.strip_suffix(mark));
    let inner = inner.context("a quotation mark is missing")?;
    anyhow::ensure!(!inner.contains(['\\', '\'', '"']), "texts with escapes are not read");
    Ok(inner.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(json: &str, unified: bool) -> Vec<Property> {
        of_limits(&serde_json::from_str(json).unwrap(), unified)
    }

    #[test]
    fn limits_have_the_names_of_each_version() {
        let json = r#"{"memory":{"limit":1000,"swap":1500},"cpu":{"quota":50500,"shares":1024,"cpus":"0-1,9"},"pids":{"limit":10}}"#;
        let both = [("CPUQuotaPerSecUSec", 510_000u64), ("TasksMax", 94)];
        let wanted = |first: &[(&str, u64)]| {
            let mut wanted: Vec<Property> =
                first.iter().chain(&both).map(|&(name, value)| property(name, value)).collect();
            wanted.sort_by(|one, other| one.0.cmp(&other.0));
            wanted
        };
        let sorted = |mut found: Vec<Property>| {
            found.sort_by(|one, other| one.0.cmp(&other.0));
            found
        };
        assert_eq!(sorted(limits(json, false)), wanted(&[("MemoryLimit", 1000), ("CPUShares", 1024)]));
        let mut second = limits(json, true);
        let set = second.iter().position(|(name, _)| name == "AllowedCPUs").unwrap();
        assert_eq!(second.remove(set).1, Variant::from(vec![0b11u8, 0b10]));
        let second = sorted(second);
        assert_eq!(second, wanted(&[("MemoryMax", 1000), ("MemorySwapMax", 500), ("CPUWeight", 39)]));
    }

    #[test]
    fn what_is_not_said_is_not_sent_and_less_than_zero_is_no_bound() {
        assert_eq!(limits(r#"{"memory":{"limit":0},"cpu":{"quota":0},"pids":{"limit":0}}"#, true), []);
        assert_eq!(
            limits(r#"{"memory":{"limit":-1},"cpu":{"quota":-1},"pids":{"limit":-1}}"#, true),
            ["MemoryMax", "CPUQuotaPerSecUSec", "TasksMax"].map(|name| property(name, INFINITY))
        );
    }

    #[test]
    fn annotations_are_read_as_runc_reads_them() {
        let parse = |name: &str, text: &str| parse(name, text).unwrap();
        assert_eq!(parse("KillSignal", "9"), property("KillSignal", 9i32));
        assert_eq!(parse("TimeoutStopUSec", "uint64 5"), property("TimeoutStopUSec", 5u64));
        assert_eq!(parse("TimeoutStopSec", "7"), property("TimeoutStopUSec", 7_000_000u64));
        assert_eq!(parse("CollectMode", "'inactive'"), property("CollectMode", "inactive"));
        assert_eq!(parse("SendSIGHUP", "true"), property("SendSIGHUP", true));
        let after = property("After", vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(parse("After", r#"['a', "b"]"#), after);
        for wrong in ["", "x", "'a", "[", "['a'", "uint64 -1", "double 1", "('a', 1)"] {
            assert!(super::parse("After", wrong).is_err(), "{wrong}");
        }
    }
}
