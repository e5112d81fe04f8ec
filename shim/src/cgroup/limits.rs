//! `linux.resources` as files of cgroups.
//!
//! A sandbox has more processes and threads on the host than its guests have: the limit on tasks is kept exactly by the
//! sandbox's kernel, and the host's is set so far above it that it is never met first.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxResources, LinuxThrottleDevice,
};

use super::Membership;

/// Host tasks for each guest task, at most: a guest thread has a stub process, perhaps a spawner, and a sentry thread.
const HOST_TASKS_FOR_EACH: u64 = 3;
/// Host tasks of a sandbox besides: monitor, gofer, timers.
const HOST_TASKS_BESIDES: u64 = 64;

/// The host would take less for this.
const MIN_SHARES: u64 = 2;

/// Whether nothing is limited.
pub(super) fn is_nothing(resources: &LinuxResources) -> bool {
    resources.memory().is_none()
        && resources.cpu().is_none()
        && resources.pids().is_none()
        && resources.block_io().is_none()
        && resources.hugepage_limits().as_ref().is_none_or(Vec::is_empty)
        && resources.unified().as_ref().is_none_or(std::collections::HashMap::is_empty)
}

/// Writes what is asked for; what is not is left as it is.
pub(super) fn set(cgroups: &Membership, resources: &LinuxResources) -> Result<()> {
    let writer = |controller: &'static str| Writer { cgroups, controller };
    let unified = cgroups.is_unified();
    if let Some(memory) = resources.memory() {
        if unified { memory_2(&writer("memory"), memory)? } else { memory_1(&writer("memory"), memory)? }
    }
    if let Some(cpu) = resources.cpu() {
        if meant(cpu.shares()).is_some_and(|shares| shares < MIN_SHARES) {
            anyhow::bail!("linux.resources.cpu.shares: the least is {MIN_SHARES}");
        }
        if unified {
            cpu_2(&writer("cpu"), cpu)?
        } else {
            cpu_1(&writer("cpu"), cpu)?
        }
        let set = writer("cpuset");
        set.text("linux.resources.cpu.cpus", "cpuset.cpus", cpu.cpus().as_deref())?;
        set.text("linux.resources.cpu.mems", "cpuset.mems", cpu.mems().as_deref())?;
    }
    if let Some(pids) = resources.pids() {
        self::pids(&writer("pids"), pids)?;
    }
    if let Some(block_io) = resources.block_io() {
        if unified { block_io_2(&writer("io"), block_io)? } else { block_io_1(&writer("blkio"), block_io)? }
    }
    for limit in resources.hugepage_limits().iter().flatten() {
        let file =
            format!("hugetlb.{}.{}", limit.page_size(), if unified { "max" } else { "limit_in_bytes" });
        writer("hugetlb").write("linux.resources.hugepageLimits", &file, &limit.limit().to_string())?;
    }
    for (file, value) in resources.unified().iter().flatten() {
        let field = format!("linux.resources.unified[{file}]");
        anyhow::ensure!(unified, "{field}: the host has no cgroup of version 2 for the container");
        anyhow::ensure!(!file.contains('/'), "{field}: it is no file of a cgroup");
        writer("unified").write(&field, file, value)?;
    }
    Ok(())
}

/// Writes to the files of one controller.
struct Writer<'a> {
    cgroups: &'a Membership,
    controller: &'static str,
}

impl Writer<'_> {
    fn directory(&self, field: &str) -> Result<&Path> {
        self.cgroups.with_controller(self.controller).with_context(|| {
            format!("{field}: the host has no cgroup controller {} for the container", self.controller)
        })
    }

    fn has(&self, file: &str) -> bool {
        self.cgroups.with_controller(self.controller).is_some_and(|directory| directory.join(file).exists())
    }

    fn write(&self, field: &str, file: &str, value: &str) -> Result<()> {
        let path = self.directory(field)?.join(file);
        fs::write(&path, value)
            .with_context(|| format!("{field}: cannot write {value:?} to {}", path.display()))
    }

    fn number(&self, field: &str, file: &str, value: Option<impl ToString>) -> Result<()> {
        value.map_or(Ok(()), |value| self.write(field, file, &value.to_string()))
    }

    fn text(&self, field: &str, file: &str, value: Option<&str>) -> Result<()> {
        value.filter(|text| !text.is_empty()).map_or(Ok(()), |text| self.write(field, file, text))
    }
}

/// Zero is as if nothing was said.
pub(super) fn meant<T: PartialEq + Default + Copy>(value: Option<T>) -> Option<T> {
    value.filter(|value| *value != T::default())
}

fn memory_1(writer: &Writer<'_>, memory: &LinuxMemory) -> Result<()> {
    let (limit, swap) = (meant(memory.limit()), meant(memory.swap()));
    let set_limit = || writer.number("linux.resources.memory.limit", "memory.limit_in_bytes", limit);
    let set_swap = || -> Result<()> {
        // A host that does not account for swap has no such file, and no swap to limit.
        if !writer.has("memory.memsw.limit_in_bytes") {
            return Ok(());
        }
        writer.number("linux.resources.memory.swap", "memory.memsw.limit_in_bytes", swap)
    };
    // The limit on both together is never below the other: which is first depends on which way they go.
    if set_limit().is_err() || set_swap().is_err() {
        set_swap()?;
        set_limit()?;
    }
    writer.number(
        "linux.resources.memory.reservation",
        "memory.soft_limit_in_bytes",
        meant(memory.reservation()),
    )?;
    writer.number("linux.resources.memory.swappiness", "memory.swappiness", memory.swappiness())?;
    if memory.disable_oom_killer() == Some(true) {
        writer.write("linux.resources.memory.disableOOMKiller", "memory.oom_control", "1")?;
    }
    Ok(())
}

fn memory_2(writer: &Writer<'_>, memory: &LinuxMemory) -> Result<()> {
    let amount = |bytes: i64| if bytes < 0 { "max".to_owned() } else { bytes.to_string() };
    writer.number("linux.resources.memory.limit", "memory.max", meant(memory.limit()).map(amount))?;
    if let Some(swap) = swap_alone(memory)
        && writer.has("memory.swap.max")
    {
        writer.write("linux.resources.memory.swap", "memory.swap.max", &amount(swap))?;
    }
    let reservation = meant(memory.reservation()).map(amount);
    writer.number("linux.resources.memory.reservation", "memory.low", reservation)
}

/// What version 2 calls swap: the configuration means memory and swap together. Negative is no limit.
pub(super) fn swap_alone(memory: &LinuxMemory) -> Option<i64> {
    let swap = meant(memory.swap())?;
    let limit = meant(memory.limit()).unwrap_or(0);
    Some(if swap < 0 { -1 } else { swap.saturating_sub(limit).max(0) })
}

/// The period of a quota that comes without one, in microseconds.
pub(crate) const DEFAULT_PERIOD_US: u64 = 100_000;

fn cpu_1(writer: &Writer<'_>, cpu: &LinuxCpu) -> Result<()> {
    writer.number("linux.resources.cpu.shares", "cpu.shares", meant(cpu.shares()))?;
    writer.number("linux.resources.cpu.period", "cpu.cfs_period_us", meant(cpu.period()))?;
    writer.number("linux.resources.cpu.quota", "cpu.cfs_quota_us", meant(cpu.quota()))?;
    writer.number("linux.resources.cpu.realtimePeriod", "cpu.rt_period_us", meant(cpu.realtime_period()))?;
    writer.number("linux.resources.cpu.realtimeRuntime", "cpu.rt_runtime_us", meant(cpu.realtime_runtime()))
}

fn cpu_2(writer: &Writer<'_>, cpu: &LinuxCpu) -> Result<()> {
    writer.number("linux.resources.cpu.shares", "cpu.weight", meant(cpu.shares()).map(weight_of_shares))?;
    let (quota, period) = (meant(cpu.quota()), meant(cpu.period()));
    if quota.is_some() || period.is_some() {
        let quota = quota.filter(|&quota| quota > 0).map_or("max".to_owned(), |quota| quota.to_string());
        let value = format!("{quota} {}", period.unwrap_or(DEFAULT_PERIOD_US));
        writer.write("linux.resources.cpu.quota", "cpu.max", &value)?;
    }
    Ok(())
}

/// From 2..=262144 to 1..=10000, as everybody does it.
pub(super) fn weight_of_shares(shares: u64) -> u64 {
    1 + (shares.clamp(MIN_SHARES, 262_144) - MIN_SHARES) * 9999 / 262_142
}

fn pids(writer: &Writer<'_>, pids: &LinuxPids) -> Result<()> {
    let value = host_tasks(pids.limit())
        .map(|tasks| if tasks == u64::MAX { "max".to_owned() } else { tasks.to_string() });
    writer.number("linux.resources.pids.limit", "pids.max", value)
}

/// The host's limit on tasks for one on the guests': `None` where nothing is said, the highest number for none.
pub(super) fn host_tasks(limit: i64) -> Option<u64> {
    let limit = meant(Some(limit))?;
    let tasks = |limit: u64| limit.saturating_mul(HOST_TASKS_FOR_EACH).saturating_add(HOST_TASKS_BESIDES);
    Some(u64::try_from(limit).map_or(u64::MAX, tasks))
}

/// How a limit on one device looks in a file.
fn throttle(device: &LinuxThrottleDevice) -> (String, u64) {
    (format!("{}:{}", device.major(), device.minor()), device.rate())
}

fn block_io_1(writer: &Writer<'_>, block_io: &LinuxBlockIo) -> Result<()> {
    if let Some(weight) = meant(block_io.weight()) {
        let file = if writer.has("blkio.bfq.weight") { "blkio.bfq.weight" } else { "blkio.weight" };
        writer.write("linux.resources.blockIO.weight", file, &weight.to_string())?;
    }
    for (field, file, devices) in [
        (
            "linux.resources.blockIO.throttleReadBpsDevice",
            "blkio.throttle.read_bps_device",
            block_io.throttle_read_bps_device(),
        ),
        (
            "linux.resources.blockIO.throttleWriteBpsDevice",
            "blkio.throttle.write_bps_device",
            block_io.throttle_write_bps_device(),
        ),
        (
            "linux.resources.blockIO.throttleReadIOPSDevice",
            "blkio.throttle.read_iops_device",
            block_io.throttle_read_iops_device(),
        ),
        (
            "linux.resources.blockIO.throttleWriteIOPSDevice",
            "blkio.throttle.write_iops_device",
            block_io.throttle_write_iops_device(),
        ),
    ] {
        for device in devices.iter().flatten() {
            let (device, rate) = throttle(device);
            writer.write(field, file, &format!("{device} {rate}"))?;
        }
    }
    Ok(())
}

fn block_io_2(writer: &Writer<'_>, block_io: &LinuxBlockIo) -> Result<()> {
    if let Some(weight) = meant(block_io.weight()) {
        // From 10..=1000 to 1..=10000.
        let weight = 1 + (u64::from(weight.clamp(10, 1000)) - 10) * 9999 / 990;
        writer.write("linux.resources.blockIO.weight", "io.weight", &weight.to_string())?;
    }
    for (field, key, devices) in [
        ("linux.resources.blockIO.throttleReadBpsDevice", "rbps", block_io.throttle_read_bps_device()),
        ("linux.resources.blockIO.throttleWriteBpsDevice", "wbps", block_io.throttle_write_bps_device()),
        ("linux.resources.blockIO.throttleReadIOPSDevice", "riops", block_io.throttle_read_iops_device()),
        ("linux.resources.blockIO.throttleWriteIOPSDevice", "wiops", block_io.throttle_write_iops_device()),
    ] {
        for device in devices.iter().flatten() {
            let (device, rate) = throttle(device);
            writer.write(field, "io.max", &format!("{device} {key}={rate}"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::Place;

    fn read(directory: &Path, file: &str) -> String {
        fs::read_to_string(directory.join(file)).unwrap_or_default()
    }

    #[test]
    fn shares_become_weights_at_both_ends() {
        assert_eq!((weight_of_shares(2), weight_of_shares(1024), weight_of_shares(262_144)), (1, 39, 10_000));
    }

    #[test]
    fn limits_are_written_in_the_form_of_each_version() {
        let resources: LinuxResources = serde_json::from_str(
            r#"{"memory":{"limit":1000,"swap":1500},"cpu":{"quota":50000,"shares":1024},"pids":{"limit":10}}"#,
        )
        .unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        fs::write(path.join("memory.swap.max"), "").unwrap();
        let unified =
            Membership { places: vec![Place { controllers: Vec::new(), path: path.clone() }], scope: None };
        set(&unified, &resources).unwrap();
        assert_eq!(
            (read(&path, "memory.max"), read(&path, "memory.swap.max")),
            ("1000".into(), "500".into())
        );
        assert_eq!((read(&path, "cpu.max"), read(&path, "pids.max")), ("50000 100000".into(), "94".into()));
        let controllers = ["memory", "cpu", "pids"].map(String::from).to_vec();
        let split = Membership { places: vec![Place { controllers, path: path.clone() }], scope: None };
        set(&split, &resources).unwrap();
        assert_eq!(
            (read(&path, "memory.limit_in_bytes"), read(&path, "cpu.shares")),
            ("1000".into(), "1024".into())
        );
    }

    #[test]
    fn devices_huge_pages_and_cpus_have_their_files_in_each_version() {
        let resources: LinuxResources = serde_json::from_str(
            r#"{"cpu":{"cpus":"0-1","mems":"0"},"hugepageLimits":[{"pageSize":"2MB","limit":4194304}],
                "blockIO":{"weight":10,
                    "throttleReadBpsDevice":[{"major":8,"minor":0,"rate":600}],
                    "throttleWriteIOPSDevice":[{"major":8,"minor":16,"rate":7}]}}"#,
        )
        .unwrap();
        let written = |controllers: &[&str], files: &[&str]| -> Vec<String> {
            let directory = tempfile::tempdir().unwrap();
            let controllers = controllers.iter().map(|&name| name.into()).collect();
            let place = Place { controllers, path: directory.path().to_owned() };
            set(&Membership { places: vec![place], scope: None }, &resources).unwrap();
            files.iter().map(|file| read(directory.path(), file)).collect()
        };
        let first = [
            "cpuset.cpus",
            "cpuset.mems",
            "hugetlb.2MB.limit_in_bytes",
            "blkio.weight",
            "blkio.throttle.read_bps_device",
            "blkio.throttle.write_iops_device",
        ];
        let second = ["cpuset.cpus", "cpuset.mems", "hugetlb.2MB.max", "io.weight"];
        assert_eq!(
            written(&["cpu", "cpuset", "hugetlb", "blkio"], &first),
            ["0-1", "0", "4194304", "10", "8:0 600", "8:16 7"]
        );
        assert_eq!(written(&[], &second), ["0-1", "0", "4194304", "1"]);
        // One file has all limits of devices, a line for each.
        assert_eq!(written(&[], &["io.max"]), ["8:16 wiops=7"]);
    }

    #[test]
    fn a_controller_that_is_missing_is_named_with_the_field() {
        let resources: LinuxResources = serde_json::from_str(r#"{"pids":{"limit":10}}"#).unwrap();
        let error = set(&Membership::default(), &resources).unwrap_err().to_string();
        assert!(
            error.starts_with("linux.resources.pids.limit: the host has no cgroup controller pids"),
            "{error}"
        );
    }
}
