//! What the files of `/proc` say that are about the whole system (`proc_*(5)`).

use std::fmt::Write;
use std::sync::atomic::Ordering;

use usk_abi::Errno;
use usk_platform::arch::processor;
use usk_platform::host::{self, Clock};

use crate::kernel::{Kernel, RELEASE, VERSION};
use crate::task::ticks;

const NANOSECONDS: u64 = 1_000_000_000;

/// Count of processors.
pub(super) fn processors() -> usize {
    host::processor_count()
}

fn processor_ticks(kernel: &Kernel) -> (u64, u64) {
    let table = kernel.tasks.lock();
    table.processes().fold((0, 0), |(user, system), (_, process)| {
        let usage = process.group.usage().plus(process.children_usage);
        (user + ticks(usage.user), system + ticks(usage.system))
    })
}

/// `/proc/uptime`: seconds since the host's boot, and idle seconds of all processors.
pub(super) fn uptime(kernel: &Kernel) -> Result<Vec<u8>, Errno> {
    let uptime = host::clock_ns(Clock::Boottime);
    let (user, system) = processor_ticks(kernel);
    let idle = (uptime / 10_000_000).saturating_mul(processors() as u64).saturating_sub(user + system);
    let hundredths = uptime % NANOSECONDS / 10_000_000;
    Ok(format!("{}.{hundredths:02} {}.{:02}\n", uptime / NANOSECONDS, idle / 100, idle % 100).into_bytes())
}

/// `/proc/loadavg`. The sentry keeps no averages: they are zero.
pub(super) fn loadavg(kernel: &Kernel) -> Result<Vec<u8>, Errno> {
    let table = kernel.tasks.lock();
    let threads = table.thread_count();
    let running = table.threads().filter(|task| task.is_running()).count().max(1);
    let last = table.threads().map(|task| task.tid()).max().unwrap_or(1);
    Ok(format!("0.00 0.00 0.00 {running}/{threads} {last}\n").into_bytes())
}

/// `/proc/meminfo`.
pub(super) fn meminfo(kernel: &Kernel) -> Result<Vec<u8>, Errno> {
    let total = kernel.limits.total_memory() / 1024;
    // The total may be changed between the two.
    let free = (kernel.free_memory() / 1024).min(total);
    let rows: [(&str, u64); 24] = [
        ("MemTotal", total),
        ("MemFree", free),
        ("MemAvailable", free),
        ("Buffers", 0),
        ("Cached", 0),
        ("SwapCached", 0),
        ("Active", total - free),
        ("Inactive", 0),
        ("SwapTotal", 0),
        ("SwapFree", 0),
        ("Dirty", 0),
        ("Writeback", 0),
        ("AnonPages", total - free),
        ("Mapped", 0),
        ("Shmem", 0),
        ("KReclaimable", 0),
        ("Slab", 0),
        ("SReclaimable", 0),
        ("SUnreclaim", 0),
        ("PageTables", 0),
        ("CommitLimit", total),
        ("Committed_AS", total - free),
        ("VmallocTotal", 34_359_738_367),
        ("VmallocUsed", 0),
    ];
    let mut text = String::new();
    for (name, value) in rows {
        let label = format!("{name}:");
        let _ = writeln!(text, "{label:<15}{value:9} kB");
    }
    text.push_str("HugePages_Total:       0\nHugePages_Free:        0\nHugepagesize:       2048 kB\n");
    Ok(text.into_bytes())
}

/// `/proc/vmstat`: those counters that programs expect. Pages come and go by the host, which does not tell: they are zero.
pub(super) fn vmstat(kernel: &Kernel) -> Result<Vec<u8>, Errno> {
    let mut text = format!("nr_free_pages {}\n", kernel.free_memory() / 4096);
    for name in ["pgpgin", "pgpgout", "pswpin", "pswpout", "pgfault", "pgmajfault"] {
        let _ = writeln!(text, "{name} 0");
    }
    Ok(text.into_bytes())
}

/// `/proc/diskstats`, `/proc/partitions`: there are no disks.
pub(super) fn nothing(_kernel: &Kernel) -> Result<Vec<u8>, Errno> {
    Ok(Vec::new())
}

/// `/proc/stat`.
pub(super) fn stat(kernel: &Kernel) -> Result<Vec<u8>, Errno> {
    let (user, system) = processor_ticks(kernel);
    let count = processors() as u64;
    let elapsed = host::clock_ns(Clock::Boottime) / 10_000_000;
    let idle = (elapsed * count).saturating_sub(user + system);
    let mut text = format!("cpu  {user} 0 {system} {idle} 0 0 0 0 0 0\n");
    for index in 0..count {
        let _ =
            writeln!(text, "cpu{index} {} 0 {} {} 0 0 0 0 0 0", user / count, system / count, idle / count);
    }
    let boot = (host::clock_ns(Clock::Realtime) - host::clock_ns(Clock::Boottime)) / NANOSECONDS;
    let table = kernel.tasks.lock();
    let running = table.threads().filter(|task| task.is_running()).count().max(1);
    let forks = kernel.forks.load(Ordering::Relaxed);
    let _ = write!(
        text,
        "intr 0\nctxt 0\nbtime {boot}\nprocesses {forks}\nprocs_running {running}\nprocs_blocked 0\n\
         softirq 0 0 0 0 0 0 0 0 0 0 0\n"
    );
    Ok(text.into_bytes())
}

/// `/proc/version`.
pub(super) fn version(_kernel: &Kernel) -> Result<Vec<u8>, Errno> {
    Ok(format!("Linux version {RELEASE} (usk) {VERSION}\n").into_bytes())
}

/// `/proc/cpuinfo`: what the processor says of itself.
pub(super) fn cpuinfo(_kernel: &Kernel) -> Result<Vec<u8>, Errno> {
    let identity = processor();
    let mut text = String::new();
    let count = processors();
    for index in 0..count {
        let _ = write!(
            text,
            "processor\t: {index}\nvendor_id\t: {}\ncpu family\t: {}\nmodel\t\t: {}\nmodel name\t: {}\nstepping\t: {}\n\
             cpu MHz\t\t: {}.000\ncache size\t: 512 KB\nphysical id\t: 0\nsiblings\t: {count}\ncore id\t\t: {index}\n\
             cpu cores\t: {count}\napicid\t\t: {index}\ninitial apicid\t: {index}\nfpu\t\t: yes\nfpu_exception\t: yes\n\
             cpuid level\t: {}\nwp\t\t: yes\nflags\t\t: {}\nbugs\t\t:\nbogomips\t: {}.00\nclflush size\t: 64\n\
             cache_alignment\t: 64\naddress sizes\t: 48 bits physical, 48 bits virtual\npower management:\n\n",
            identity.vendor,
            identity.family,
            identity.model,
            identity.name,
            identity.stepping,
            identity.megahertz,
            identity.highest_leaf,
            identity.flags.join(" "),
            identity.megahertz * 2,
        );
    }
    Ok(text.into_bytes())
}

/// `/proc/filesystems`.
pub(super) fn filesystems(_kernel: &Kernel) -> Result<Vec<u8>, Errno> {
    Ok(b"nodev\tsysfs\nnodev\ttmpfs\nnodev\tproc\nnodev\tdevtmpfs\nnodev\tpipefs\nnodev\tsockfs\nnodev\tdevpts\nnodev\toverlay\nnodev\tcgroup2\n"
        .to_vec())
}

/// `/proc/cmdline`.
pub(super) fn cmdline(_kernel: &Kernel) -> Result<Vec<u8>, Errno> {
    Ok(b"\n".to_vec())
}

/// `/proc/devices`.
pub(super) fn devices(_kernel: &Kernel) -> Result<Vec<u8>, Errno> {
    Ok(b"Character devices:\n  1 mem\n  5 /dev/tty\n  5 /dev/console\n  5 /dev/ptmx\n136 pts\n\nBlock devices:\n".to_vec())
}

/// `/proc/swaps`.
pub(super) fn swaps(_kernel: &Kernel) -> Result<Vec<u8>, Errno> {
    Ok(b"Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n".to_vec())
}

/// `/proc/sys/kernel/random/uuid`: a new random one each time it is read.
pub(super) fn random_uuid(_kernel: &Kernel) -> Result<Vec<u8>, Errno> {
    let mut bytes = [0u8; 16];
    host::fill_random(&mut bytes)?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Ok(format_uuid(bytes).into_bytes())
}

/// `/proc/sys/kernel/random/boot_id`: one for the sandbox.
pub(super) fn boot_id(kernel: &Kernel) -> Result<Vec<u8>, Errno> {
    Ok(format_uuid(kernel.boot_id).into_bytes())
}

fn format_uuid(bytes: [u8; 16]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}\n", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// `/proc/sys/kernel/hostname`.
pub(super) fn hostname(kernel: &Kernel) -> Result<Vec<u8>, Errno> {
    let mut name = kernel.uts.lock().host.clone();
    name.push(b'\n');
    Ok(name)
}

/// `/proc/sys/kernel/domainname`.
pub(super) fn domainname(kernel: &Kernel) -> Result<Vec<u8>, Errno> {
    let mut name = kernel.uts.lock().domain.clone();
    name.push(b'\n');
    Ok(name)
}

/// `/proc/sys/kernel/threads-max`.
pub(super) fn threads_max(kernel: &Kernel) -> Result<Vec<u8>, Errno> {
    Ok(format!("{}\n", kernel.limits.most_tasks()).into_bytes())
}

/// `/proc/sys/fs/aio-nr`.
pub(super) fn aio_nr(kernel: &Kernel) -> Result<Vec<u8>, Errno> {
    Ok(format!("{}\n", kernel.aio.used()).into_bytes())
}
