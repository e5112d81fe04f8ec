//! The root of `/proc`.

use std::sync::Arc;

use usk_abi::Errno;

use super::process::process_directory;
use super::{Subject, parse_id, system_text, sysvipc};
use crate::fs::synthetic::{Directory, Entry, FixedLink, LinkSource, Names, SyntheticInode, Text};
use crate::kernel::{Kernel, RELEASE, VERSION};
use crate::settings;
use crate::task::Task;
use crate::vfs::{Caller, FileType, InodeRef, Link};

/// Inode numbers of the system's files start here.
const FIRST_INODE: u64 = 0x100;

type Make = fn(&Kernel) -> Result<Vec<u8>, Errno>;

const FILES: &[(&str, Make)] = &[
    ("cmdline", system_text::cmdline),
    ("cpuinfo", system_text::cpuinfo),
    ("devices", system_text::devices),
    ("diskstats", system_text::nothing),
    ("filesystems", system_text::filesystems),
    ("loadavg", system_text::loadavg),
    ("meminfo", system_text::meminfo),
    ("partitions", system_text::nothing),
    ("stat", system_text::stat),
    ("swaps", system_text::swaps),
    ("uptime", system_text::uptime),
    ("version", system_text::version),
    ("vmstat", system_text::vmstat),
];

/// Those of `sysvipc`.
const SYSVIPC: &[(&str, Make)] =
    &[("msg", sysvipc::messages), ("sem", sysvipc::semaphores), ("shm", sysvipc::segments)];

/// Symbolic links of the root.
const LINKS: &[(&str, &str)] = &[("mounts", "self/mounts"), ("net", "self/net")];

pub(super) struct Root {
    kernel: Arc<Kernel>,
    device: u64,
    fixed: Names,
}

impl Root {
    pub(super) fn new(kernel: &Arc<Kernel>, device: u64) -> Self {
        let mut numbers = FIRST_INODE..;
        let mut number = || numbers.next().unwrap_or(FIRST_INODE);
        let mut texts = |files: &[(&str, Make)]| {
            let add = |all: Names, (name, make): &(&str, Make)| {
                all.with(name, text(device, number(), kernel, *make))
            };
            files.iter().fold(Names::default(), add)
        };
        let (mut fixed, sysvipc) = (texts(FILES), texts(SYSVIPC));
        fixed = fixed.with("sysvipc", directory(device, number(), sysvipc));
        for (name, target) in LINKS {
            fixed = fixed.with(name, SyntheticInode::link(device, number(), FixedLink(target)).into_ref());
        }
        let is_thread = [("self", false), ("thread-self", true)];
        for (name, thread) in is_thread {
            fixed = fixed.with(name, SyntheticInode::link(device, number(), OwnLink { thread }).into_ref());
        }
        fixed = fixed.with("sys", sys(kernel, device, &mut number));
        Root { kernel: kernel.clone(), device, fixed }
    }
}

impl Directory for Root {
    fn lookup(&self, name: &[u8]) -> Result<InodeRef, Errno> {
        match parse_id(name) {
            Ok(pid) => Ok(process_directory(self.device, Subject::find(&self.kernel, pid)?)),
            Err(_) => self.fixed.lookup(name),
        }
    }

    fn entries(&self) -> Result<Vec<Entry>, Errno> {
        let mut entries = self.fixed.entries()?;
        let table = self.kernel.tasks.lock();
        entries.extend(table.processes().filter(|(pid, _)| *pid > 0).map(|(pid, _)| Entry {
            name: pid.to_string().into_bytes(),
            inode: super::inode_number(pid, 0),
            file_type: FileType::Directory,
        }));
        Ok(entries)
    }

    fn is_current(&self, name: &[u8], child: &InodeRef) -> bool {
        parse_id(name).is_err() || super::process::is_current(child)
    }

    fn subdirectories(&self) -> u32 {
        let count = self.kernel.tasks.lock().processes().filter(|(pid, _)| *pid > 0).count();
        self.fixed.subdirectories() + u32::try_from(count).unwrap_or(0)
    }
}

fn text(device: u64, number: u64, kernel: &Arc<Kernel>, make: Make) -> InodeRef {
    let kernel = kernel.clone();
    SyntheticInode::text(device, number, 0o444, move || make(&kernel)).into_ref()
}

/// `/proc/self` and `/proc/thread-self`.
struct OwnLink {
    thread: bool,
}

impl LinkSource for OwnLink {
    fn target(&self, caller: Caller<'_>) -> Result<Link, Errno> {
        let task = caller.task.ok_or(Errno::ENOENT)?;
        let target = if self.thread {
            format!("{}/task/{}", task.tgid(), task.tid())
        } else {
            task.tgid().to_string()
        };
        Ok(Link::Target(target.into_bytes()))
    }
}

/// `EACCES` unless `caller` acts as user 0, whatever capabilities it has (`proc_sys_permission`).
fn check_administrator(caller: Caller<'_>) -> Result<(), Errno> {
    if caller.credentials.euid == 0 { Ok(()) } else { Err(Errno::EACCES) }
}

/// A setting that can be read, and written in form only where a change would have to mean something: `EPERM`.
struct Setting(&'static str);

impl Text for Setting {
    fn admit_writer(&self, caller: Caller<'_>) -> Result<(), Errno> {
        check_administrator(caller)
    }

    fn read(&self, _reader: Option<&Arc<Task>>) -> Result<Vec<u8>, Errno> {
        Ok(format!("{}\n", self.0).into_bytes())
    }

    fn write(&self, _bytes: &[u8], _opener: Option<&Arc<Task>>) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }
}

/// One that can be changed, by whoever the permission bits let write.
struct Changeable {
    kernel: Arc<Kernel>,
    setting: &'static settings::Setting,
}

impl Text for Changeable {
    fn admit_writer(&self, caller: Caller<'_>) -> Result<(), Errno> {
        check_administrator(caller)
    }

    fn read(&self, _reader: Option<&Arc<Task>>) -> Result<Vec<u8>, Errno> {
        Ok(self.setting.read(&self.kernel))
    }

    fn write(&self, bytes: &[u8], _opener: Option<&Arc<Task>>) -> Result<(), Errno> {
        self.setting.write(&self.kernel, bytes)
    }
}

/// `/proc/sys`: the settings that programs read.
fn sys(kernel: &Arc<Kernel>, device: u64, number: &mut impl FnMut() -> u64) -> InodeRef {
    const KERNEL: &[(&str, &str)] = &[
        ("cap_last_cap", "40"),
        ("core_pattern", "core"),
        ("ngroups_max", "65536"),
        ("ostype", "Linux"),
        ("osrelease", RELEASE),
        ("overflowgid", "65534"),
        ("overflowuid", "65534"),
        ("pid_max", "4194304"),
        ("randomize_va_space", "2"),
        ("version", VERSION),
    ];
    const VM: &[(&str, &str)] = &[
        ("max_map_count", "65530"),
        ("mmap_min_addr", "65536"),
        ("overcommit_memory", "0"),
        ("overcommit_ratio", "50"),
        ("swappiness", "60"),
    ];
    const FS: &[(&str, &str)] = &[
        ("file-max", "9223372036854775807"),
        ("nr_open", "1048576"),
        ("pipe-max-size", "1048576"),
        ("protected_hardlinks", "1"),
        ("suid_dumpable", "0"),
    ];
    let mut fill = |names: &[(&str, &'static str)]| {
        names.iter().fold(Names::default(), |all, (name, value)| {
            all.with(name, SyntheticInode::text(device, number(), 0o644, Setting(value)).into_ref())
        })
    };
    let (kernel_names, vm, fs) = (fill(KERNEL), fill(VM), fill(FS));
    let inotify = fill(crate::file::inotify::LIMITS);
    let fs = fs.with("inotify", directory(device, number(), inotify));
    let random = Names::default()
        .with("boot_id", text(device, number(), kernel, system_text::boot_id))
        .with("entropy_avail", SyntheticInode::text(device, number(), 0o444, Setting("256")).into_ref())
        .with("poolsize", SyntheticInode::text(device, number(), 0o444, Setting("256")).into_ref())
        .with("uuid", text(device, number(), kernel, system_text::random_uuid));
    let kernel_names = kernel_names
        .with("domainname", text(device, number(), kernel, system_text::domainname))
        .with("hostname", text(device, number(), kernel, system_text::hostname))
        .with("threads-max", text(device, number(), kernel, system_text::threads_max))
        .with("random", directory(device, number(), random));
    let mut changeable = |names: Names, prefix: &str| {
        settings::SETTINGS.iter().fold(names, |all, setting| match setting.name.strip_prefix(prefix) {
            Some(name) if !name.contains('.') => {
                let text = Changeable { kernel: kernel.clone(), setting };
                all.with(name, SyntheticInode::text(device, number(), 0o644, text).into_ref())
            }
            _ => all,
        })
    };
    let kernel_names = changeable(kernel_names, "kernel.");
    let queues = changeable(Names::default(), "fs.mqueue.");
    let fs = changeable(fs, "fs.");
    let core = changeable(Names::default(), "net.core.");
    let fs = fs
        .with("aio-nr", text(device, number(), kernel, system_text::aio_nr))
        .with("mqueue", directory(device, number(), queues));
    let net = Names::default().with("core", directory(device, number(), core));
    let all = Names::default()
        .with("fs", directory(device, number(), fs))
        .with("kernel", directory(device, number(), kernel_names))
        .with("net", directory(device, number(), net))
        .with("vm", directory(device, number(), vm));
    directory(device, number(), all)
}

fn directory(device: u64, number: u64, names: Names) -> InodeRef {
    SyntheticInode::directory(device, number, 0o555, names).into_ref()
}
