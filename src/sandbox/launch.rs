//! The monitor's part of the set-up: making the two processes.

use std::os::fd::OwnedFd;
use std::panic::AssertUnwindSafe;

use anyhow::{Context, Result, anyhow};
use usk_abi::Errno;
use usk_platform::host::child::{self, ChildProcess};
use usk_platform::host::descriptors;
use usk_platform::host::message_socket::MessageSocket;
use usk_platform::host::namespaces::{IdentityMap, Namespaces, enter_new, write_identity_map};
use usk_platform::host::timeline::{Steps, Track, become_process};

use super::empty::{EMPTY, EmptyNamespaces, Visit};
use super::gofer::{self, GOFER_JOINS, GOFER_NAMESPACES};
use super::identity::Caller;
use super::maker::Maker;
use super::sentry::{self, SENTRY_NAMESPACES};
use crate::cgroup::Cgroup;
use crate::control::{MonitorControl, SandboxControl, ToMonitor, ToSandbox};
use crate::entry::FAILURE;
use crate::plan::Plan;

/// How many requests the gofer can serve at the same time: each lane is a conversation of its own, so that a slow disk
/// under one file does not hold up the rest.
pub(super) const LANES: usize = 4;

/// The namespaces that a process must be born into; it makes its others itself, before anything else. They cost the host
/// most of a millisecond, a network above all, which the monitor and the other process need not wait for.
pub(super) const AT_BIRTH: Namespaces = Namespaces::USER.and(Namespaces::PID);

/// What of its namespaces a process makes itself. Nothing in a cgroup: a host that is busy with networks cannot end a process
/// that waits for one, and whoever removes the cgroup would wait for it.
fn made_later(namespaces: Namespaces, cgroup: Option<&Cgroup>) -> Namespaces {
    if cgroup.is_some() { Namespaces::NONE } else { namespaces.without(AT_BIRTH) }
}

/// A running sandbox, seen by the monitor. Dropping it ends nothing: call [`Sandbox::end`].
pub struct Sandbox {
    /// The kernel.
    pub sentry: ChildProcess,
    /// The file server.
    pub gofer: ChildProcess,
    /// To and from the sentry.
    pub control: MonitorControl,
    /// To and from the gofer, which says only why it failed.
    pub gofer_control: MonitorControl,
}

/// Makes the processes, which set themselves up. The caller must have one thread.
pub fn launch(plan: Plan, cgroup: Option<&Cgroup>) -> Result<Sandbox> {
    let has_users = plan.spec.users.is_some();
    let mut steps = Steps::begin();
    let caller = Caller::current()?;
    let (control, sentry_control) =
        MessageSocket::pair().context("cannot make the sentry's control socket")?;
    let (gofer_control, gofer_end) =
        MessageSocket::pair().context("cannot make the gofer's control socket")?;
    let (control, gofer_control) = (MonitorControl(control), MonitorControl(gofer_control));
    let (sentry_control, gofer_end) = (SandboxControl(sentry_control), SandboxControl(gofer_end));
    let mut sentry_lanes: Vec<OwnedFd> = Vec::with_capacity(LANES);
    let mut gofer_lanes: Vec<OwnedFd> = Vec::with_capacity(LANES);
    for _ in 0..LANES {
        let (sentry_lane, gofer_lane) =
            usk_platform::host::message_socket_pair().context("cannot make a lane to the gofer")?;
        sentry_lanes.push(sentry_lane);
        gofer_lanes.push(gofer_lane);
    }
    let (shared_made, make_shared) = std::io::pipe().context("cannot make a pipe")?;
    let cgroup_descriptor = cgroup.and_then(Cgroup::descriptor);
    steps.done("make sockets");

    let identity = caller.gofer(plan.spec.users.as_ref());
    let has_own_users = identity.is_some();
    let empty = caller.may_move().then(EmptyNamespaces::of_host).flatten();
    steps.done("find empty namespaces");
    let proc =
        descriptors::open_directory(c"/proc").context("cannot open /proc: it must be mounted on the host")?;
    let may_set_groups = caller.may_set_groups();
    let rights = gofer::Rights { privileged: caller.is_privileged(), may_set_groups };
    let (spec, mut exports) = (plan.spec, plan.exports);
    // A view has them, if there is one; what is made here does without.
    exports.iter_mut().for_each(|export| export.twin = None);
    let maker = Maker::start(|register| {
        let visit = empty.as_ref().map(EmptyNamespaces::enter).transpose()?.flatten();
        let is_empty = visit.is_some();
        let sentry_namespaces = if is_empty { SENTRY_NAMESPACES.without(EMPTY) } else { SENTRY_NAMESPACES };
        let sentry_later = made_later(sentry_namespaces, cgroup);
        // The sentry first: it has more to set up, and does so while the gofer is made.
        let Some(sentry) = register.make(sentry_namespaces.without(sentry_later), cgroup_descriptor)? else {
            become_process(Track::Sentry);
            let work = || {
                make_namespaces(sentry_later)?;
                gofer::SentrysNamespaces::announce(make_shared).context("cannot tell the gofer")?;
                let ground = sentry::Ground { proc, is_empty, may_set_groups };
                sentry::main(spec, sentry_lanes, &sentry_control, ground)
            };
            become_child(&sentry_control, work)
        };
        drop(make_shared);
        visit.map_or(Ok(()), Visit::end)?;
        // One that has users of its own may not join what belongs to the sentry's users; what is empty belongs to the caller's.
        let joins = !is_empty && !has_own_users;
        let own_users = if has_own_users { Namespaces::USER } else { Namespaces::NONE };
        let others = if is_empty || joins { GOFER_JOINS } else { Namespaces::NONE };
        let gofer_namespaces = GOFER_NAMESPACES.without(others).and(own_users);
        let gofer_later = made_later(gofer_namespaces, cgroup);
        if register.make(gofer_namespaces.without(gofer_later), cgroup_descriptor)?.is_none() {
            become_process(Track::Gofer);
            let shared = joins.then(|| gofer::SentrysNamespaces::new(&sentry, shared_made));
            let work = || {
                make_namespaces(gofer_later)?;
                gofer::main(exports, gofer_lanes, &gofer_end, rights, shared.transpose()?)
            };
            become_child(&gofer_end, work)
        }
        Ok(())
    })?;
    steps.done("fork the maker");
    let sentry = maker.next()?;
    steps.done("hear of the sentry");
    if let Err(error) = admit(&sentry, &control, Some(caller.sentry()), cgroup) {
        end(&sentry);
        return Err(error);
    }
    steps.done("admit the sentry");
    let gofer = match maker.next() {
        Ok(gofer) => gofer,
        Err(error) => {
            end(&sentry);
            return Err(error);
        }
    };
    steps.done("hear of the gofer");
    let sandbox = Sandbox { sentry, gofer, control, gofer_control };
    let explain = |error: anyhow::Error| {
        if has_users { error.context("linux.uidMappings, linux.gidMappings") } else { error }
    };
    let admitted = admit(&sandbox.gofer, &sandbox.gofer_control, identity, cgroup).map_err(explain);
    if let Err(error) = admitted.and_then(|()| maker.wait()) {
        sandbox.end();
        return Err(error);
    }
    steps.done("admit the gofer");
    Ok(sandbox)
}

/// Makes those that the process was not born into, in the process itself.
fn make_namespaces(namespaces: Namespaces) -> Result<()> {
    let mut steps = Steps::begin();
    if namespaces != Namespaces::NONE {
        enter_new(namespaces).map_err(explain_spawn)?;
    }
    steps.done("make namespaces");
    Ok(())
}

/// Gives a process its identity and its cgroup, and lets it go on.
pub(super) fn admit(
    process: &ChildProcess,
    control: &MonitorControl,
    identity: Option<IdentityMap>,
    cgroup: Option<&Cgroup>,
) -> Result<()> {
    if let Some(map) = identity {
        write_identity_map(process.pid(), &map).context(
            "cannot map the sandbox's user: the host forbids it; run as root, or as a user without restrictions by a \
             security module",
        )?;
    }
    if let Some(cgroup) = cgroup {
        cgroup.admit(process.pid())?;
    }
    match control.send(ToSandbox::Go) {
        // A process that has failed already has left its reason in the socket, which the monitor reads.
        Ok(()) | Err(Errno::EPIPE) => Ok(()),
        Err(error) => Err(error).context("the sandbox ended during its set-up"),
    }
}

impl Sandbox {
    /// Ends both processes and waits until nothing of the sandbox is left.
    pub fn end(&self) {
        // Both first, then wait: they end side by side.
        let _ = self.sentry.send_signal(libc_sigkill());
        let _ = self.gofer.send_signal(libc_sigkill());
        let _ = self.sentry.wait();
        let _ = self.gofer.wait();
    }
}

pub(super) fn end(process: &ChildProcess) {
    let _ = process.send_signal(libc_sigkill());
    let _ = process.wait();
}

fn libc_sigkill() -> i32 {
    nix::sys::signal::Signal::SIGKILL as i32
}

/// Runs the child's part and ends the process: nothing of the monitor's may run in it, not even destructors.
pub(super) fn become_child(control: &SandboxControl, work: impl FnOnce() -> Result<i32>) -> ! {
    let message = match std::panic::catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(status)) => child::exit(status),
        Ok(Err(error)) => format!("{error:#}"),
        Err(_) => "a process of the sandbox panicked; this is a bug in usk: please report it".into(),
    };
    // If the monitor is gone, nobody is left to be told.
    let _ = control.send(&ToMonitor::Failed { status: FAILURE as u8, message });
    child::exit(FAILURE)
}

/// What to do about a host that refuses to make the namespaces.
pub(super) fn explain_spawn(error: Errno) -> anyhow::Error {
    let cure = match error {
        Errno::EPERM => {
            "the host allows no user namespaces here: run as root, or allow them \
             (sysctl kernel.unprivileged_userns_clone=1, sysctl kernel.apparmor_restrict_unprivileged_userns=0; \
             in a container: another seccomp profile, or --privileged)"
        }
        Errno::ENOSPC | Errno::EUSERS => {
            "a limit on namespaces is reached: raise sysctl user.max_user_namespaces, user.max_net_namespaces and \
             their kin"
        }
        Errno::EINVAL => {
            "the host's kernel lacks a namespace: it needs CONFIG_USER_NS, PID_NS, NET_NS, IPC_NS, UTS_NS"
        }
        Errno::EAGAIN => "a limit on processes is reached: raise ulimit -u or the cgroup's pids.max",
        Errno::ENOSYS => "the host's kernel is older than 5.3, or a filter forbids clone3: use a newer one",
        _ => "see 'usk doctor'",
    };
    anyhow!("cannot make the sandbox's namespaces: {error} ({error:?}): {cure}")
}
