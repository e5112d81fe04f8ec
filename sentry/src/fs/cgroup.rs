//! `/sys/fs/cgroup`: the sandbox's own cgroup of version 2, to look at (`Documentation/admin-guide/cgroup-v2.rst`). The
//! host's cgroup keeps the limits; nothing can be changed here, and no cgroups can be made below.

use std::fmt::Write;
use std::sync::Arc;

use usk_abi::Errno;

use crate::fs::synthetic::{Names, SyntheticFs, SyntheticInode};
use crate::kernel::Kernel;
use crate::task::Usage;
use crate::vfs::Caching;

/// `CGROUP2_SUPER_MAGIC`
const MAGIC: i64 = 0x6367_7270;
const ROOT_INODE: u64 = 1;
/// Period of `cpu.max` where nothing is limited, in microseconds.
const DEFAULT_PERIOD_US: u64 = 100_000;

type Make = fn(&Kernel) -> String;

/// What the host counts and the sandbox's kernel does not know is left out rather than made up.
const FILES: &[(&str, Make)] = &[
    ("cgroup.controllers", |_| "cpu memory pids\n".into()),
    ("cgroup.events", |_| "populated 1\nfrozen 0\n".into()),
    ("cgroup.procs", processes),
    ("cgroup.subtree_control", |_| "\n".into()),
    ("cgroup.threads", threads),
    ("cgroup.type", |_| "domain\n".into()),
    ("cpu.max", processor_limit),
    ("cpu.stat", processor_use),
    ("memory.current", |kernel| {
        format!("{}\n", kernel.limits.total_memory().saturating_sub(kernel.free_memory()))
    }),
    ("memory.max", |kernel| limit(kernel.limits.memory())),
    ("pids.current", |kernel| format!("{}\n", kernel.tasks.lock().charged_count())),
    ("pids.max", |kernel| limit(kernel.limits.tasks())),
];

/// The file system.
pub fn new(kernel: &Arc<Kernel>) -> Arc<SyntheticFs> {
    SyntheticFs::new("cgroup2", MAGIC, Caching::Forever, |device| {
        let files =
            FILES.iter().zip(ROOT_INODE + 1..).fold(Names::default(), |all, ((name, make), number)| {
                let kernel = kernel.clone();
                let text = move || Ok::<_, Errno>(make(&kernel).into_bytes());
                all.with(name, SyntheticInode::text(device, number, 0o444, text).into_ref())
            });
        SyntheticInode::directory(device, ROOT_INODE, 0o555, files).into_ref()
    })
}

fn limit(value: Option<u64>) -> String {
    value.map_or_else(|| "max\n".into(), |value| format!("{value}\n"))
}

fn lines(numbers: impl Iterator<Item = i32>) -> String {
    numbers.fold(String::new(), |mut text, number| {
        let _ = writeln!(text, "{number}");
        text
    })
}

fn processes(kernel: &Kernel) -> String {
    let table = kernel.tasks.lock();
    lines(table.processes().filter(|(pid, process)| *pid > 0 && process.zombie.is_none()).map(|(pid, _)| pid))
}

fn threads(kernel: &Kernel) -> String {
    lines(kernel.tasks.lock().threads().map(|task| task.tid()))
}

fn processor_limit(kernel: &Kernel) -> String {
    match kernel.limits.processor() {
        Some((quota, period)) => format!("{quota} {period}\n"),
        None => format!("max {DEFAULT_PERIOD_US}\n"),
    }
}

fn processor_use(kernel: &Kernel) -> String {
    let table = kernel.tasks.lock();
    let usage = table.processes().fold(Usage::default(), |all, (_, process)| {
        all.plus(process.group.usage()).plus(process.children_usage)
    });
    let (user, system) = (usage.user.as_micros(), usage.system.as_micros());
    format!("usage_usec {}\nuser_usec {user}\nsystem_usec {system}\n", user + system)
}
