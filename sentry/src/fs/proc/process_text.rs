//! What the files in `/proc/PID` say (`proc_pid_*(5)`, `fs/proc/array.c`).

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use usk_abi::Errno;
use usk_abi::capability::{CAP_AUDIT_CONTROL, CAP_SYS_RESOURCE};
use usk_abi::sched::SCHED_RESET_ON_FORK;
use usk_abi::signal::SignalSet;

use super::Subject;
use crate::fs::bitmap;
use crate::mm::{ImageRanges, Mm};
use crate::task::{
    Credentials, INIT_PID, NO_LOGIN_UID, RESOURCE_COUNT, Task, ThreadGroup, UNLIMITED, ticks,
    usable_processors,
};

const PAGE: u64 = 4096;
const KIB: u64 = 1024;

/// The letter and the word for a task's state.
fn state(subject: &Subject) -> (char, &'static str) {
    let Some(task) = &subject.task else {
        // Init has no thread, and looks as if it waited.
        return if subject.group.tgid == INIT_PID { ('S', "sleeping") } else { ('Z', "zombie") };
    };
    if task.tracing.is_stopped() {
        return ('t', "tracing stop");
    }
    if task.group.state.lock().stop.is_some() {
        return ('T', "stopped");
    }
    // A task that is in a call and has not come back is asleep in it, unless it is the reader itself.
    if task.is_in_call() && !subject.is_opener { ('S', "sleeping") } else { ('R', "running") }
}

/// Where a process stands in the tree.
struct Place {
    parent: i32,
    process_group: i32,
    session: i32,
    children_user: u64,
    children_system: u64,
}

fn place(subject: &Subject) -> Place {
    let table = subject.kernel.tasks.lock();
    match table.process(subject.group.tgid) {
        Some(process) => Place {
            parent: process.parent,
            process_group: process.process_group,
            session: process.session,
            children_user: ticks(process.children_usage.user),
            children_system: ticks(process.children_usage.system),
        },
        None => Place { parent: 0, process_group: 0, session: 0, children_user: 0, children_system: 0 },
    }
}

fn command_name(subject: &Subject) -> Vec<u8> {
    match (&subject.task, subject.group.tgid) {
        (Some(task), _) => task.command_name(),
        (None, crate::task::INIT_PID) => b"usk-init".to_vec(),
        (None, _) => subject
            .kernel
            .tasks
            .lock()
            .process(subject.group.tgid)
            .map_or_else(Vec::new, |_| b"defunct".to_vec()),
    }
}

fn start_ticks(group: &ThreadGroup) -> u64 {
    group.start_boottime_ns.load(Ordering::Relaxed) / 10_000_000
}

/// `/proc/PID/stat`: 52 numbers on one line.
pub(super) fn stat(subject: &Subject) -> Result<Vec<u8>, Errno> {
    let place = place(subject);
    let usage = match (&subject.task, subject.is_thread) {
        (Some(task), true) => task.usage(),
        _ => subject.group.usage(),
    };
    let (memory, image) = match &subject.task {
        Some(task) if subject.shows_addresses() => (task.mm().memory_use(), task.mm().image()),
        // What `do_task_stat` shows to others.
        Some(task) => {
            (task.mm().memory_use(), ImageRanges { code_start: 1, code_end: 1, ..ImageRanges::default() })
        }
        None => Default::default(),
    };
    let (ignored, caught) = subject.group.actions.load().summary();
    let (pending, blocked) = match &subject.task {
        Some(task) => {
            let signals = task.signals.lock();
            (signals.pending.set(), signals.mask.get())
        }
        None => (SignalSet::EMPTY, SignalSet::EMPTY),
    };
    let (nice, policy) = subject.task.as_ref().map_or((0, 0), |task| {
        (task.nice.load(Ordering::Relaxed), task.scheduling.lock().0 & !SCHED_RESET_ON_FORK)
    });
    let (terminal, foreground) = subject.kernel.terminal_of(&subject.group);
    let threads = subject.group.threads().len().max(1);
    let stack_limit = subject.group.limits.lock().0[crate::task::Resource::Rss as usize].soft;
    let mut text = format!("{} (", subject.id()).into_bytes();
    text.extend(command_name(subject));
    let mut rest = String::new();
    let _ = write!(
        rest,
        ") {} {} {} {} {terminal} {foreground} 4194304 0 0 0 0 {} {} {} {} {} {nice} {threads} 0 {} {} {} {stack_limit}",
        state(subject).0,
        place.parent,
        place.process_group,
        place.session,
        ticks(usage.user),
        ticks(usage.system),
        place.children_user,
        place.children_system,
        20 + nice,
        start_ticks(&subject.group),
        memory.totals.total,
        memory.resident / PAGE,
    );
    let _ = writeln!(
        rest,
        " {} {} {} 0 0 {} {} {} {} 0 0 0 17 0 0 {policy} 0 0 0 {} {} {} {} {} {} {} 0",
        image.code_start,
        image.code_end,
        image.stack_start,
        pending.0 & 0x7fff_ffff,
        blocked.0 & 0x7fff_ffff,
        ignored.0 & 0x7fff_ffff,
        caught.0 & 0x7fff_ffff,
        image.data_start,
        image.data_end,
        image.brk_start,
        image.arguments_start,
        image.arguments_end,
        image.environment_start,
        image.environment_end,
    );
    text.extend(rest.into_bytes());
    Ok(text)
}

/// `/proc/PID/statm`: sizes in pages.
pub(super) fn statm(subject: &Subject) -> Result<Vec<u8>, Errno> {
    let memory = subject.task.as_ref().map(|task| task.mm().memory_use()).unwrap_or_default();
    let pages = |bytes: u64| bytes / PAGE;
    let text = format!(
        "{} {} {} {} 0 {} 0\n",
        pages(memory.totals.total),
        pages(memory.resident),
        pages(memory.resident_shared),
        pages(memory.totals.executable),
        pages(memory.totals.data + memory.totals.stack),
    );
    Ok(text.into_bytes())
}

/// `/proc/PID/status`.
pub(super) fn status(subject: &Subject) -> Result<Vec<u8>, Errno> {
    let place = place(subject);
    let (letter, word) = state(subject);
    let credentials = subject.credentials();
    let mut text = b"Name:\t".to_vec();
    text.extend(escape_name(&command_name(subject)));
    let mut rest = String::new();
    let files = subject.task.as_ref().map_or(0, |task| task.borrow_files().size());
    let umask = subject.task.as_ref().map_or(0, |task| task.fs().umask());
    let Credentials { uid, euid, suid, fsuid, gid, egid, sgid, fsgid, .. } = *credentials;
    let _ = write!(
        rest,
        "\nUmask:\t{umask:04o}\nState:\t{letter} ({word})\nTgid:\t{}\nNgid:\t0\nPid:\t{}\nPPid:\t{}\nTracerPid:\t{}\n\
         Uid:\t{uid}\t{euid}\t{suid}\t{fsuid}\nGid:\t{gid}\t{egid}\t{sgid}\t{fsgid}\nFDSize:\t{}\nGroups:\t",
        subject.group.tgid,
        subject.id(),
        place.parent,
        subject.tracer(),
        files.next_power_of_two().max(64),
    );
    for group in credentials.groups.iter() {
        let _ = write!(rest, "{group} ");
    }
    let _ = write!(
        rest,
        "\nNStgid:\t{}\nNSpid:\t{}\nNSpgid:\t{}\nNSsid:\t{}\nKthread:\t0\n",
        subject.group.tgid,
        subject.id(),
        place.process_group,
        place.session
    );
    if let Some(task) = &subject.task {
        let memory = task.mm().memory_use();
        let kib = |bytes: u64| bytes / KIB;
        let anonymous = memory.resident.saturating_sub(memory.resident_shared);
        let _ = write!(
            rest,
            "VmPeak:\t{:8} kB\nVmSize:\t{:8} kB\nVmLck:\t{:8} kB\nVmPin:\t{:8} kB\nVmHWM:\t{:8} kB\nVmRSS:\t{:8} kB\n\
             RssAnon:\t{:8} kB\nRssFile:\t{:8} kB\nRssShmem:\t{:8} kB\nVmData:\t{:8} kB\nVmStk:\t{:8} kB\nVmExe:\t{:8} kB\n\
             VmLib:\t{:8} kB\nVmPTE:\t{:8} kB\nVmSwap:\t{:8} kB\nHugetlbPages:\t{:8} kB\nCoreDumping:\t0\nTHP_enabled:\t1\n",
            kib(memory.peak),
            kib(memory.totals.total),
            kib(memory.totals.locked),
            0,
            kib(memory.resident),
            kib(memory.resident),
            kib(anonymous),
            kib(memory.resident_shared),
            0,
            kib(memory.totals.data),
            kib(memory.totals.stack),
            kib(memory.totals.executable),
            0,
            0,
            0,
            0,
        );
    }
    signals(&mut rest, subject);
    let _ = write!(
        rest,
        "CapInh:\t{:016x}\nCapPrm:\t{:016x}\nCapEff:\t{:016x}\nCapBnd:\t{:016x}\nCapAmb:\t{:016x}\nNoNewPrivs:\t{}\n\
         Seccomp:\t{}\nSeccomp_filters:\t{}\nSpeculation_Store_Bypass:\tvulnerable\n\
         SpeculationIndirectBranch:\tconditional enabled\n",
        credentials.inheritable,
        credentials.permitted,
        credentials.effective,
        credentials.bounding,
        credentials.ambient,
        u8::from(subject.task.as_ref().is_some_and(|task| task.no_new_privs())),
        subject.task.as_ref().map_or(0, |task| task.seccomp.mode()),
        subject.task.as_ref().map_or(0, |task| task.seccomp.filter_count()),
    );
    let allowed = subject.task.as_ref().map_or_else(usable_processors, |task| task.allowed_processors());
    let is_allowed = |processor: usize| processor < 64 && allowed >> processor & 1 == 1;
    let count = super::system_text::processors();
    let (mask, ranges) = (bitmap::mask(count, is_allowed), bitmap::ranges(count, is_allowed));
    let _ = write!(rest, "Cpus_allowed:\t{mask}\nCpus_allowed_list:\t{ranges}\n");
    let switches = subject.task.as_ref().map_or(0, |task| task.usage().voluntary_switches);
    let _ = write!(
        rest,
        "Mems_allowed:\t1\nMems_allowed_list:\t0\nvoluntary_ctxt_switches:\t{switches}\nnonvoluntary_ctxt_switches:\t0\n"
    );
    text.extend(rest.into_bytes());
    Ok(text)
}

fn signals(text: &mut String, subject: &Subject) {
    let (ignored, caught) = subject.group.actions.load().summary();
    let shared = subject.group.state.lock().pending.set();
    let (own, blocked) = match &subject.task {
        Some(task) => {
            let signals = task.signals.lock();
            (signals.pending.set(), signals.mask.get())
        }
        None => (SignalSet::EMPTY, SignalSet::EMPTY),
    };
    let queue_limit = subject.group.limits.lock().soft(crate::task::Resource::PendingSignals);
    let _ = write!(
        text,
        "Threads:\t{}\nSigQ:\t0/{queue_limit}\nSigPnd:\t{:016x}\nShdPnd:\t{:016x}\nSigBlk:\t{:016x}\nSigIgn:\t{:016x}\nSigCgt:\t{:016x}\n",
        subject.group.threads().len(),
        own.0,
        shared.0,
        blocked.0,
        ignored.0,
        caught.0
    );
}

/// In `status` a newline in the name is shown as `\n` and a backslash doubled.
fn escape_name(name: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(name.len());
    for byte in name {
        match byte {
            b'\n' => escaped.extend(b"\\n"),
            b'\\' => escaped.extend(b"\\\\"),
            other => escaped.push(*other),
        }
    }
    escaped
}

/// `/proc/PID/comm`.
pub(super) fn comm(subject: &Subject) -> Result<Vec<u8>, Errno> {
    let mut name = command_name(subject);
    name.push(b'\n');
    Ok(name)
}

/// Bytes of guest memory between two addresses, as far as they can be read. At most a mebibyte.
fn memory_range(mm: &Mm, start: u64, end: u64) -> Result<Vec<u8>, Errno> {
    const MOST: u64 = 1 << 20;
    let length = usize::try_from(end.saturating_sub(start).min(MOST)).map_err(|_| Errno::EIO)?;
    let mut bytes = vec![0; length];
    let read = mm.space.read(start, &mut bytes);
    bytes.truncate(read);
    Ok(bytes)
}

/// `/proc/PID/cmdline`. A program that has overwritten the end of its arguments (`setproctitle(3)`) is shown with what it
/// wrote, up to the first NUL.
pub(super) fn cmdline(subject: &Subject) -> Result<Vec<u8>, Errno> {
    let Some(task) = &subject.task else { return Ok(Vec::new()) };
    let mm = task.mm();
    let image = mm.image();
    let bytes = memory_range(&mm, image.arguments_start, image.arguments_end)?;
    if bytes.last().is_none_or(|last| *last == 0) {
        return Ok(bytes);
    }
    let mut bytes = memory_range(&mm, image.arguments_start, image.environment_end)?;
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end + 1);
    }
    Ok(bytes)
}

/// `/proc/PID/environ`: what the program was started with.
pub(super) fn environ(subject: &Subject) -> Result<Vec<u8>, Errno> {
    let bytes = subject.in_memory(|_, mm| {
        let image = mm.image();
        memory_range(mm, image.environment_start, image.environment_end)
    });
    bytes.unwrap_or_else(|| Ok(Vec::new()))
}

/// `/proc/PID/auxv`: what the kernel has told the program.
pub(super) fn auxv(subject: &Subject) -> Result<Vec<u8>, Errno> {
    Ok(subject.in_memory(|_, mm| mm.auxiliary_vector().to_vec()).unwrap_or_default())
}

/// `/proc/PID/limits`.
pub(super) fn limits(subject: &Subject) -> Result<Vec<u8>, Errno> {
    const ROWS: [(&str, &str); RESOURCE_COUNT] = [
        ("Max cpu time", "seconds"),
        ("Max file size", "bytes"),
        ("Max data size", "bytes"),
        ("Max stack size", "bytes"),
        ("Max core file size", "bytes"),
        ("Max resident set", "bytes"),
        ("Max processes", "processes"),
        ("Max open files", "files"),
        ("Max locked memory", "bytes"),
        ("Max address space", "bytes"),
        ("Max file locks", "locks"),
        ("Max pending signals", "signals"),
        ("Max msgqueue size", "bytes"),
        ("Max nice priority", ""),
        ("Max realtime priority", ""),
        ("Max realtime timeout", "us"),
    ];
    let show = |value: u64| if value == UNLIMITED { "unlimited".to_owned() } else { value.to_string() };
    let mut text = format!("{:<25} {:<20} {:<20} {:<10}\n", "Limit", "Soft Limit", "Hard Limit", "Units");
    let limits = *subject.group.limits.lock();
    for ((name, unit), limit) in ROWS.iter().zip(limits.0) {
        let _ = write!(text, "{name:<25} {:<20} {:<20} ", show(limit.soft), show(limit.hard));
        let _ = if unit.is_empty() { writeln!(text) } else { writeln!(text, "{unit:<10}") };
    }
    Ok(text.into_bytes())
}

/// `/proc/PID/io`: the sentry does not count, so all is zero.
pub(super) fn io(_subject: &Subject) -> Result<Vec<u8>, Errno> {
    const NAMES: [&str; 7] =
        ["rchar", "wchar", "syscr", "syscw", "read_bytes", "write_bytes", "cancelled_write_bytes"];
    Ok(NAMES.iter().map(|name| format!("{name}: 0\n")).collect::<String>().into_bytes())
}

/// `/proc/PID/schedstat`: time on the processor in nanoseconds, time waiting, slices.
pub(super) fn schedstat(subject: &Subject) -> Result<Vec<u8>, Errno> {
    Ok(format!("{} 0 0\n", subject.group.cpu_time().as_nanos()).into_bytes())
}

/// `/proc/PID/syscall`.
pub(super) fn syscall(subject: &Subject) -> Result<Vec<u8>, Errno> {
    let number = subject.task.as_ref().map_or(-1, |task| task.call_number.load(Ordering::Relaxed));
    Ok(if number < 0 { b"running\n".to_vec() } else { format!("{number}\n").into_bytes() })
}

/// `/proc/PID/task/TID/children`.
pub(super) fn children(subject: &Subject) -> Result<Vec<u8>, Errno> {
    let table = subject.kernel.tasks.lock();
    let children =
        table.process(subject.group.tgid).map(|process| process.children.clone()).unwrap_or_default();
    Ok(children.iter().map(|pid| format!("{pid} ")).collect::<String>().into_bytes())
}

/// `/proc/PID/oom_score_adj`.
pub(super) fn oom_score_adj(subject: &Subject) -> Result<Vec<u8>, Errno> {
    let value = subject.group.oom_score_adj.load(Ordering::Relaxed) as i32;
    Ok(format!("{value}\n").into_bytes())
}

/// Writes `/proc/PID/comm`: renames the thread. `EINVAL` for one of another process.
pub(super) fn write_comm(subject: &Subject, text: &[u8], opener: Option<&Arc<Task>>) -> Result<(), Errno> {
    let Some(task) = &subject.task else { return Err(Errno::ESRCH) };
    if !opener.is_some_and(|opener| Arc::ptr_eq(&opener.group, &task.group)) {
        return Err(Errno::EINVAL);
    }
    let name = text.split(|byte| *byte == b'\n' || *byte == 0).next().unwrap_or_default();
    task.set_command_name(name);
    Ok(())
}

/// `/proc/PID/loginuid`.
pub(super) fn login_uid(subject: &Subject) -> Result<Vec<u8>, Errno> {
    let user = subject.task.as_ref().map_or(NO_LOGIN_UID, |task| task.login_uid.load(Ordering::Relaxed));
    Ok(user.to_string().into_bytes())
}

/// Writes `/proc/PID/loginuid`: who has logged in (`pam_loginuid(8)`). A thread says it of itself, in a file that it
/// has opened, and once unless it has `CAP_AUDIT_CONTROL`.
pub(super) fn write_login_uid(
    subject: &Subject,
    text: &[u8],
    _opener: Option<&Arc<Task>>,
) -> Result<(), Errno> {
    let Some(task) = subject.task.as_ref().filter(|_| subject.is_opener) else { return Err(Errno::EPERM) };
    let text = std::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
    let user = text.strip_suffix('\n').unwrap_or(text).parse().map_err(|_| Errno::EINVAL)?;
    let is_known = task.login_uid.load(Ordering::Relaxed) != NO_LOGIN_UID;
    if is_known && !task.credentials().has_capability(CAP_AUDIT_CONTROL) {
        return Err(Errno::EPERM);
    }
    task.login_uid.store(user, Ordering::Relaxed);
    Ok(())
}

/// Writes `/proc/PID/oom_score_adj`. `EACCES` for less than the last value that was set with `CAP_SYS_RESOURCE`, without that
/// (`__set_oom_adj`).
pub(super) fn write_oom_score_adj(
    subject: &Subject,
    text: &[u8],
    opener: Option<&Arc<Task>>,
) -> Result<(), Errno> {
    let value = parse_integer(text).ok_or(Errno::EINVAL)?;
    if !(-1000..=1000).contains(&value) {
        return Err(Errno::EINVAL);
    }
    let is_privileged = opener.is_none_or(|task| task.credentials().has_capability(CAP_SYS_RESOURCE));
    let group = &subject.group;
    if is_privileged {
        group.oom_score_adj_min.store(value, Ordering::Relaxed);
    } else if value < group.oom_score_adj_min.load(Ordering::Relaxed) {
        return Err(Errno::EACCES);
    }
    group.oom_score_adj.store(value as u32, Ordering::Relaxed);
    Ok(())
}

/// A number as C writes it: decimal, hexadecimal after `0x`, octal after `0` (`kstrtoint` with base 0).
fn parse_integer(text: &[u8]) -> Option<i32> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let hexadecimal = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let (base, digits) = match (hexadecimal, digits.strip_prefix('0')) {
        (Some(digits), _) => (16, digits),
        (None, Some(digits)) if !digits.is_empty() => (8, digits),
        _ => (10, digits),
    };
    // Another sign is none of the digits.
    let magnitude = digits.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let magnitude = magnitude.then(|| i64::from_str_radix(digits, base).ok()).flatten()?;
    i32::try_from(sign * magnitude).ok()
}
