//! From a process that is set up to a running kernel: the platform ([`create_platform`]), then mounts, standard streams, and the first
//! process ([`boot`]).

mod control;
mod lists;
mod mounts;
mod process;
mod streams;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use anyhow::{Context, Result};
use usk_platform::Platform;
use usk_platform::host::Stay;
use usk_platform::host::descriptors::{read_text_at, write_text_at};
use usk_platform::host::namespaces::IdRange;
use usk_platform::host::timeline::Steps;
use usk_platform::ptrace::PtracePlatform;
use usk_platform::trap::{self, TrapPlatform};
use usk_sentry::file::HostPoller;
use usk_sentry::gofer::GoferClient;
use usk_sentry::host_memory;
use usk_sentry::seccomp::{Filters, Program};
use usk_sentry::settings::Setting;
use usk_sentry::{IdentityMaps, Kernel, SandboxLimits};

pub(crate) use self::control::SETTLED;
use self::lists::Lists;
use crate::command_line::{PlatformChoice, Tiers};
use crate::control::ToMonitor;
use crate::sandbox::Sentry;
use crate::spec::{SandboxSpec, UserMap};

/// Begins to make the platform, while this process has one thread and no filter yet. `proc` is the host's `/proc`, in which
/// `self` is this process; it is closed when this returns.
pub fn create_platform(spec: &SandboxSpec, proc: OwnedFd) -> Result<Arc<dyn Platform>> {
    // When memory runs out, the host shall end a guest's process and not the kernel that serves them all: what the
    // platform forks now keeps a score that is higher by the whole memory, this process takes its own back.
    let score =
        read_text_at(proc.as_fd(), OUT_OF_MEMORY_SCORE).context("cannot read the out-of-memory score")?;
    let own: i32 = score.trim().parse().context("cannot understand the out-of-memory score")?;
    set_score(proc.as_fd(), &own.saturating_add(HIGHEST_SCORE).min(HIGHEST_SCORE).to_string())?;
    let platform = create(spec, proc.as_fd());
    set_score(proc.as_fd(), score.trim())?;
    platform
}

const OUT_OF_MEMORY_SCORE: &std::ffi::CStr = c"self/oom_score_adj";
/// `OOM_SCORE_ADJ_MAX`
const HIGHEST_SCORE: i32 = 1000;

fn set_score(proc: BorrowedFd<'_>, score: &str) -> Result<()> {
    write_text_at(proc, OUT_OF_MEMORY_SCORE, score).context("cannot set the out-of-memory score")
}

fn create(spec: &SandboxSpec, proc: BorrowedFd<'_>) -> Result<Arc<dyn Platform>> {
    match spec.platform {
        PlatformChoice::Trap => {
            let host = trap::probe();
            let patching = host.patching && !spec.no_patch;
            let offer = trap::Offer { patching, spinning: spec.spin, ..host };
            let table = usk_syscalls::Table::new();
            // A list of calls has all of them.
            let all_tiers = spec.tiers == Tiers::All && spec.strace.is_none();
            let shortcut = |number| usk_syscalls::shortcut(&table, number, all_tiers);
            Ok(Arc::new(TrapPlatform::begin(proc, offer, shortcut)?))
        }
        PlatformChoice::Ptrace => Ok(Arc::new(PtracePlatform::with_proc(proc)?)),
    }
}

/// Boots the kernel, runs the command to its end and returns this process's exit status.
pub fn boot(sentry: Sentry<'_>, platform: Arc<dyn Platform>) -> Result<i32> {
    let Sentry { mut spec, lanes, control, descriptor_limit } = sentry;
    host_memory::share_descriptors(descriptor_limit);
    let mut steps = Steps::begin();
    let limits = SandboxLimits {
        tasks: spec.limits.tasks.map(u64::from),
        memory: spec.limits.memory,
        processor: spec.limits.processor,
    };
    let kernel = Kernel::new(platform, limits, spec.hostname.as_bytes(), spec.command_is_init);
    if let Some(name) = &spec.domainname {
        kernel.uts.lock().domain = name.as_bytes().to_vec();
    }
    if let Some(UserMap { users, groups }) = spec.users.take() {
        let of = |ranges: Vec<IdRange>| ranges.iter().map(|r| [r.inner, r.outer, r.count]).collect();
        kernel.set_identity_maps(IdentityMaps { users: of(users), groups: of(groups) });
    }
    for (name, value) in &spec.settings {
        let setting = Setting::named(name).with_context(|| format!("linux.sysctl: usk has no {name}"))?;
        setting
            .write(&kernel, value.as_bytes())
            .with_context(|| format!("linux.sysctl: {name} cannot be set to {value:?}"))?;
    }
    if spec.receipt {
        kernel.begin_metering();
    }
    let lists = Lists::begin(spec.strace.take(), spec.log.take())?;
    kernel.set_dispatcher(lists.dispatcher());
    steps.done("make the kernel");

    let gofer = GoferClient::new(lanes).context("cannot talk to the gofer")?;
    steps.done("greet the gofer");
    control::report_stops(&kernel, control)?;
    let poller = HostPoller::new();
    let streams = streams::own()?;
    // The terminal first: whether there is a console shows in /dev.
    if spec.process.terminal {
        streams::make_console(&kernel, &poller, &streams)?;
    }
    // Until threads are made, which would stay as well: a dozen questions to the gofer follow.
    let stay = Stay::here();
    let namespace = mounts::build(&kernel, &gofer, &spec)?;
    steps.done("mount file systems");
    let owner = spec.process.user.uid;
    let mut files = streams::open(&poller, streams, owner)?;
    if spec.process.terminal {
        streams::use_console(&namespace, &mut files)?;
    }
    let further = std::mem::take(&mut spec.descriptors);
    files.extend(streams::open(&poller, further.into_iter().map(Some).collect(), owner)?);
    steps.done("open the streams");
    let seccomp = spec.seccomp.take().map(Program::new).transpose();
    let seccomp =
        seccomp.context("linux.seccomp: the profile is no filter of system calls")?.map(Filters::of);
    let common = process::Common { seccomp, personality: spec.personality };
    let prepared = process::prepare(&namespace, streams::table(files)?, &spec.process, &common);
    drop(stay);
    let main = match prepared {
        Ok(main) => main,
        Err(refusal) => {
            let message = format!("{:#}", refusal.error);
            control
                .send(&ToMonitor::Failed { status: refusal.status, message })
                .context("the monitor is gone")?;
            return Ok(refusal.status.into());
        }
    };
    steps.done("find the program");
    kernel.platform.await_start().map_err(anyhow::Error::from_boxed)?;
    tracing::info!(platform = ?spec.platform, "the command runs");
    let running = control::Running { kernel, namespace, common, poller, control, gofer, lists };
    control::run(&running, main, spec.gated)
}
