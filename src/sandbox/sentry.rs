//! The sentry's part of the set-up: from a fork of the monitor to a process that can reach nothing by name.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, bail};
use usk_platform::host::credentials::{Capabilities, become_user, keep_capabilities};
use usk_platform::host::mounts::{self, MountAttributes};
use usk_platform::host::namespaces::Namespaces;
use usk_platform::host::timeline::{self, Steps};
use usk_platform::host::{child, descriptors, rlimit, signals};

use crate::boot;
use crate::control::{SandboxControl, ToMonitor, ToSandbox};
use crate::filters;
use crate::spec::{SandboxSpec, Workload};

/// The sentry has everything of its own.
pub const SENTRY_NAMESPACES: Namespaces = Namespaces::USER
    .and(Namespaces::PID)
    .and(Namespaces::MOUNT)
    .and(Namespaces::IPC)
    .and(Namespaces::UTS)
    .and(Namespaces::NETWORK);

/// Descriptors that there is room for from the start: as many files in memory are the host's as it likes to have. 64 KiB of the host's memory.
const DESCRIPTORS_AT_ONCE: u64 = 8192;

/// What the kernel boots with: the process is set up, the filter in place.
pub struct Sentry<'a> {
    /// What the sandbox shall be.
    pub spec: SandboxSpec,
    /// To the gofer.
    pub lanes: Vec<OwnedFd>,
    /// To the monitor.
    pub control: &'a SandboxControl,
    /// How many descriptors this process may have open.
    pub descriptor_limit: u64,
}

/// What the process begins with.
pub(super) struct Ground {
    /// The host's `/proc`, for the platform's own set-up; it is closed before the filter.
    pub(super) proc: OwnedFd,
    /// Whether the root is an empty one already.
    pub(super) is_empty: bool,
    /// Whether the caller can give up supplementary groups.
    pub(super) may_set_groups: bool,
}

/// Sets this process up and runs the workload. Returns the process's exit status.
pub(super) fn main(
    spec: SandboxSpec,
    lanes: Vec<OwnedFd>,
    control: &SandboxControl,
    ground: Ground,
) -> Result<i32> {
    let mut steps = Steps::begin();
    let Ground { proc, is_empty, may_set_groups } = ground;
    child::set_name(c"usk-sentry").context("cannot name the sentry")?;
    keep_descriptors(&spec, &lanes, control, proc.as_fd())?;
    steps.done("close descriptors");
    wait_for_go(control)?;
    steps.done("wait for the monitor");
    become_user(0, 0, may_set_groups).context("cannot become the sandbox's user")?;
    die_with_monitor(control)?;
    child::new_process_group().context("cannot leave the process group")?;
    signals::unblock_all().context("cannot unblock signals")?;
    steps.done("take the identity");
    if !is_empty {
        enter_empty_root()?;
    }
    steps.done("enter an empty root");
    keep_capabilities(Capabilities::NONE).context("cannot give up capabilities")?;
    child::set_no_new_privs().context("cannot give up gaining privileges")?;
    let descriptor_limit =
        rlimit::raise_descriptor_limit().context("cannot raise the limit on descriptors")?;
    descriptors::make_room(DESCRIPTORS_AT_ONCE, descriptor_limit, control.0.as_fd())
        .context("cannot make room for descriptors")?;
    rlimit::forbid_core_files().context("cannot forbid core files")?;
    // The sentry reads its stubs' memory and takes their listeners: the host lets it if they are dumpable, as the
    // change of user above made this process not be.
    child::set_dumpable(true).context("cannot allow access to guest memory")?;
    steps.done("give up privileges");
    let platform = boot::create_platform(&spec, proc)?;
    steps.done("start the platform");
    filters::install_sentry(spec.platform, spec.filter_log).context("cannot install the sentry's filter")?;
    steps.done("install the filter");
    match spec.workload {
        // It waits for the platform when it needs it.
        Workload::Kernel => boot::boot(Sentry { spec, lanes, control, descriptor_limit }, platform),
        Workload::Hold => {
            platform.await_start().map_err(anyhow::Error::from_boxed)?;
            control.send(&ToMonitor::Ready).context("the monitor is gone")?;
            hold(control)
        }
    }
}

/// Closes everything that the sentry was not meant to have.
fn keep_descriptors(
    spec: &SandboxSpec,
    lanes: &[OwnedFd],
    control: &SandboxControl,
    proc: BorrowedFd<'_>,
) -> Result<()> {
    let (input, output, error) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let mut kept = vec![input.as_fd(), output.as_fd(), error.as_fd(), control.0.as_fd(), proc];
    kept.extend(lanes.iter().map(AsFd::as_fd));
    kept.extend(spec.descriptors.iter().map(AsFd::as_fd));
    kept.extend([&spec.strace, &spec.log].into_iter().flatten().map(AsFd::as_fd));
    let timeline = timeline::output();
    kept.extend(timeline.iter().map(AsFd::as_fd));
    descriptors::close_all_except(&kept)
        .context("cannot close the monitor's descriptors: usk needs Linux 5.9 or newer")
}

/// Waits until the monitor has written the identity map.
pub(super) fn wait_for_go(control: &SandboxControl) -> Result<()> {
    match control.receive().context("cannot hear the monitor")? {
        Some(ToSandbox::Go) => Ok(()),
        Some(other) => {
            bail!("the monitor said {other:?} instead of Go; this is a bug in usk: please report it")
        }
        None => child::exit(1),
    }
}

/// Dies when the monitor does, also if it did a moment ago.
pub(super) fn die_with_monitor(control: &SandboxControl) -> Result<()> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    child::set_parent_death_signal(nix::sys::signal::Signal::SIGKILL as i32)
        .context("cannot tie to the monitor")?;
    let mut polled = [PollFd::new(control.0.as_fd(), PollFlags::empty())];
    poll(&mut polled, PollTimeout::ZERO).context("cannot look for the monitor")?;
    // Nobody but the monitor holds the other end.
    if polled[0].revents().is_some_and(|events| events.contains(PollFlags::POLLHUP)) {
        child::exit(1);
    }
    Ok(())
}

/// Makes an empty, read-only directory the root, and lets go of the host's.
pub(super) fn enter_empty_root() -> Result<()> {
    let options = [(c"mode", c"0555"), (c"size", c"4k"), (c"nr_inodes", c"2")];
    let attributes = MountAttributes { read_only: true, no_execute: true };
    let root = mounts::new_tmpfs(&options, attributes).context("cannot make an empty root")?;
    mounts::cover_root(root.as_fd()).context("cannot mount an empty root")?;
    mounts::enter_root(root.as_fd()).context(CANNOT_PIVOT)
}

/// pivot_root(2) fails with EINVAL where the root is the initial RAM file system.
pub(super) const CANNOT_PIVOT: &str = "cannot leave the host's root: if it is an initial RAM file system, start usk in a container or after switch_root";

/// Stays until the monitor says otherwise.
fn hold(control: &SandboxControl) -> Result<i32> {
    control.send(&ToMonitor::Started).context("the monitor is gone")?;
    loop {
        match control.receive().context("cannot hear the monitor")? {
            None | Some(ToSandbox::Terminate) => return Ok(0),
            Some(ToSandbox::Signal(signal)) => {
                let exit = usk_platform::host::child::Exit::Signal(signal);
                control.send(&ToMonitor::Exited(exit)).context("the monitor is gone")?;
                return Ok(0);
            }
            Some(_) => {}
        }
    }
}
