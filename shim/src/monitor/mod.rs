//! The process behind a container. It is a fork of `create` or `run`, leads a session of its own, and is what engines
//! know as the container's process: it ends when the container does, with the command's exit status.
//!
//! [`begin`] does everything that can fail; [`serve`] lets the command run and stays. It has one thread.

mod backlog;
mod serve;

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};
use serde::{Deserialize, Serialize};
use usk::control::ToMonitor;
use usk::sandbox::{self, MountedView, Sandbox, View};
use usk_abi::Errno;
use usk_platform::host::child::{self, ChildProcess, Exit, Spawned};
use usk_platform::host::namespaces::Namespaces as Isolation;
use usk_platform::host::signals::SignalReceiver;
use usk_platform::host::{descriptors, message_socket_pair, own_memory, receive_packet, send_packet};

use crate::config::{AllHooks, Container, Namespaces, Origin};
use crate::console;
use crate::container::for_hooks;
use crate::hooks;
use crate::log;
use crate::protocol::{Listener, Status, cut};
use crate::signals::FORWARDED;
use crate::state::{Directory, State};

use serve::Keeper;

/// Exit status of a monitor whose container could not be made.
const FAILURE: i32 = 1;
/// Exit status after a signal is this and the signal's number, as with shells.
const SIGNAL_BASE: i32 = 128;
/// Most bytes of what a monitor says about its beginning.
const MAX_BIRTH: usize = 16 << 10;
/// What the verb answers when it has run hooks.
const GO_ON: &[u8] = b"go on";
const VERB_IS_GONE: &str = "the verb that makes the container is gone";

/// How the beginning goes.
#[derive(Serialize, Deserialize)]
enum Birth {
    /// The monitor is in its cgroup and namespaces, and waits for hooks that are run outside of them.
    Placed,
    Created,
    Failed(String),
}

/// What a monitor is made of.
pub(crate) struct Task {
    pub(crate) container: Container,
    pub(crate) state: State,
    /// The sandbox's end of a terminal that was made for it.
    pub(crate) terminal: Option<OwnedFd>,
}

/// A monitor, seen by the verb that makes it.
pub(crate) struct Newborn {
    pub(crate) process: ChildProcess,
    birth: OwnedFd,
    hooks: AllHooks,
}

/// Forks a monitor, which begins at once. The caller must have one thread.
pub(crate) fn spawn(task: Task, directory: &Directory) -> Result<Newborn> {
    let (birth, its_birth) = message_socket_pair().context("cannot make a socket")?;
    let hooks = task.container.hooks.clone();
    match child::spawn(Isolation::NONE, None).context("cannot fork the container's monitor")? {
        Spawned::Parent(process) => Ok(Newborn { process, birth, hooks }),
        Spawned::Child => {
            // Closed with everything that is not the monitor's own; it must not be closed again.
            std::mem::forget(birth);
            child::exit(main(task, directory, &its_birth))
        }
    }
}

impl Newborn {
    /// Waits until everything that can fail has been done, and runs the hooks that are due before that in this process's namespaces and
    /// cgroup, which are the caller's; `state` is what they read, and `bundle` where they begin, as with runc.
    pub(crate) fn wait_until_created(&self, state: &[u8], bundle: &Path) -> Result<()> {
        loop {
            match self.hear()? {
                Birth::Placed => self.run_hooks(state, bundle)?,
                Birth::Created => return Ok(()),
                Birth::Failed(message) => {
                    // It removes nothing and ends.
                    let _ = self.process.wait();
                    return Err(anyhow!(message));
                }
            }
        }
    }

    fn run_hooks(&self, state: &[u8], bundle: &Path) -> Result<()> {
        let AllHooks { prestart, create_runtime, .. } = &self.hooks;
        let done = hooks::run("prestart", prestart, state, bundle)
            .and_then(|()| hooks::run("createRuntime", create_runtime, state, bundle));
        if done.is_err() {
            // There is nothing but itself yet.
            let _ = self.process.send_signal(libc::SIGKILL);
            let _ = self.process.wait();
            return done;
        }
        // If it is gone, that is heard next.
        let _ = send_packet(self.birth.as_fd(), GO_ON, &[]);
        Ok(())
    }

    fn hear(&self) -> Result<Birth> {
        let mut buffer = vec![0; MAX_BIRTH];
        let packet =
            receive_packet(self.birth.as_fd(), &mut buffer).context("cannot hear the container's monitor")?;
        if packet.length == 0 {
            let how = match self.process.wait() {
                Ok(Exit::Signal(signal)) => format!("was ended by signal {signal}"),
                Ok(Exit::Code(code)) => format!("ended with status {code}"),
                Err(error) => format!("is gone ({error})"),
            };
            bail!("the container's monitor {how}");
        }
        let birth = serde_json::from_slice(buffer.get(..packet.length).unwrap_or_default());
        birth.context("cannot understand the container's monitor")
    }
}

/// The monitor's whole life. Returns its exit status.
fn main(task: Task, directory: &Directory, birth: &OwnedFd) -> i32 {
    let keeper = match begin(task, directory, birth) {
        Ok(keeper) => keeper,
        Err(error) => {
            // If nobody is left to be told, the failure is seen all the same: the container has no monitor.
            let _ = tell(birth, &Birth::Failed(cut(format!("{error:#}"))));
            return FAILURE;
        }
    };
    if tell(birth, &Birth::Created).is_err() {
        // The verb is gone: nobody knows of this container.
        keeper.end();
        return FAILURE;
    }
    own_memory::let_go_of_code();
    keeper.serve()
}

fn tell(birth: &OwnedFd, word: &Birth) -> Result<(), Errno> {
    let bytes = serde_json::to_vec(word).unwrap_or_default();
    send_packet(birth.as_fd(), &bytes, &[])
}

/// Waits until the verb, which is where the caller is, has run the hooks that belong there.
fn wait_for_hooks(birth: &OwnedFd) -> Result<()> {
    tell(birth, &Birth::Placed).context(VERB_IS_GONE)?;
    let answer = receive_packet(birth.as_fd(), &mut [0; GO_ON.len()]).context(VERB_IS_GONE)?;
    if answer.length == 0 {
        bail!(VERB_IS_GONE);
    }
    Ok(())
}

/// Does everything that can fail, up to the command itself.
fn begin(task: Task, directory: &Directory, birth: &OwnedFd) -> Result<Keeper> {
    let Task { mut container, mut state, terminal } = task;
    child::set_name(c"usk-oci").context("cannot name the monitor")?;
    close_strangers(&container, directory, birth, terminal.as_ref())?;
    child::new_session().context("cannot leave the caller's session")?;
    // Before the first process exists, so that no signal ends the monitor between.
    let signals = SignalReceiver::new(&FORWARDED).context("cannot receive signals")?;
    let has_terminal = container.plan.spec.process.terminal;
    if let Some(slave) = &terminal {
        console::enter(slave)?;
    }
    state.pid = i32::try_from(std::process::id()).context("a process id is too large")?;
    settle_score(container.plan.spec.process.oom_score_adj)?;
    state.cgroups.enter(container.resources.as_ref())?;
    let sandbox_cgroup = state.cgroups.sandbox()?;
    let thaw = state.cgroups.thaw();
    let Namespaces { network, names, ipc, cgroup, clocks, mounts, users: _ } = &container.namespaces;
    enter(network, CloneFlags::CLONE_NEWNET)?;
    enter(names, CloneFlags::CLONE_NEWUTS)?;
    enter(ipc, CloneFlags::CLONE_NEWIPC)?;
    enter(cgroup, CloneFlags::CLONE_NEWCGROUP)?;
    enter_clocks(clocks, &container.clock_offsets)?;
    settle_hostname(names, &mut container.plan.spec.hostname)?;
    let AllHooks { prestart, create_runtime, .. } = &container.hooks;
    if !(prestart.is_empty() && create_runtime.is_empty()) {
        wait_for_hooks(birth)?;
    }
    let command = container.plan.spec.process.arguments.first().cloned().unwrap_or_default();
    let view = (*mounts == Origin::New).then(|| View::of(&container.plan)).transpose()?;
    let sandbox = sandbox::launch(container.plan, sandbox_cgroup.as_ref())?;
    let finish = || -> Result<Listener> {
        // While the sandbox sets itself up.
        let mut view = view.map_or(Ok(None), |view| view.mount_root(&state.rootfs))?;
        wait_until_prepared(&sandbox, &command.to_string_lossy())?;
        view.as_mut().map_or(Ok(()), MountedView::mount_others)?;
        let shown = for_hooks(&state, Status::Creating);
        hooks::run("createContainer", &container.hooks.create_container, &shown, &state.rootfs)?;
        let listener = Listener::at(&directory.socket())?;
        view.map_or(Ok(()), MountedView::enter)?;
        Ok(listener)
    };
    match finish() {
        Ok(listener) => Ok(Keeper::new(sandbox, thaw, signals, listener, has_terminal)),
        Err(error) => {
            sandbox.end();
            Err(error)
        }
    }
}

/// Closes what the caller had open and did not mean for this process, which outlives it.
fn close_strangers(
    container: &Container,
    directory: &Directory,
    birth: &OwnedFd,
    terminal: Option<&OwnedFd>,
) -> Result<()> {
    let (input, output, error) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let mut kept = vec![input.as_fd(), output.as_fd(), error.as_fd(), birth.as_fd(), directory.as_fd()];
    let exports = &container.plan.exports;
    kept.extend(exports.iter().map(|export| export.descriptor.as_fd()));
    kept.extend(exports.iter().filter_map(|export| export.twin.as_ref()).map(AsFd::as_fd));
    kept.extend(container.plan.spec.descriptors.iter().map(AsFd::as_fd));
    kept.extend(terminal.map(AsFd::as_fd));
    kept.extend(log::descriptor());
    descriptors::close_all_except(&kept).context("cannot close the caller's descriptors")
}

/// The score by which the host chooses whom to end when memory runs out: of this process, and with it of all that it makes.
fn settle_score(score: i32) -> Result<()> {
    if score == 0 {
        return Ok(());
    }
    match std::fs::write("/proc/self/oom_score_adj", score.to_string()) {
        // Lower than the caller's it becomes only with CAP_SYS_RESOURCE.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied && score < 0 => {
            log::warn(&format!("process.oomScoreAdj: {score} is shown inside only: the host refuses it"));
            Ok(())
        }
        written => written.context("process.oomScoreAdj: cannot set it"),
    }
}

/// Makes or joins a namespace of this process's.
fn enter(origin: &Origin, kind: CloneFlags) -> Result<()> {
    match origin {
        Origin::Callers => Ok(()),
        Origin::New => match unshare(kind) {
            // An ordinary user's process stays where it is: nobody can set a namespace up for it, and the sandbox has its
            // own anyway.
            Err(nix::errno::Errno::EPERM) if !nix::unistd::geteuid().is_root() => Ok(()),
            made => made.context("linux.namespaces: cannot make a namespace"),
        },
        Origin::Joined(path) => {
            let file = std::fs::File::open(path);
            let file = file.with_context(|| format!("linux.namespaces: cannot open {}", path.display()))?;
            setns(file, kind).with_context(|| format!("linux.namespaces: cannot join {}", path.display()))
        }
    }
}

/// Makes or joins a time namespace. The clocks of this process are those of all that it makes: of the sandbox's kernel and, by the
/// vDSO, of guests.
fn enter_clocks(origin: &Origin, offsets: &str) -> Result<()> {
    const TIME: CloneFlags = CloneFlags::from_bits_retain(libc::CLONE_NEWTIME);
    let is_ordinary = !nix::unistd::geteuid().is_root();
    match origin {
        // Whose sandbox would have the same clocks in a new one.
        Origin::New if is_ordinary && offsets.is_empty() => Ok(()),
        Origin::New => {
            unshare(TIME).context("linux.namespaces: cannot make a time namespace")?;
            if !offsets.is_empty() {
                std::fs::write("/proc/self/timens_offsets", offsets)
                    .context("linux.timeOffsets: the host does not shift its clocks by that")?;
            }
            // It was made for children.
            enter(&Origin::Joined("/proc/self/ns/time_for_children".into()), TIME)
        }
        Origin::Callers | Origin::Joined(_) => enter(origin, TIME),
    }
}

/// The container's process has the name that the container shall have; without one, the container has the process's.
fn settle_hostname(names: &Origin, wanted: &mut String) -> Result<()> {
    if wanted.is_empty() {
        let own = nix::unistd::gethostname().context("cannot read the host's name")?;
        *wanted = own.to_string_lossy().into_owned();
    } else if *names != Origin::Callers && nix::unistd::geteuid().is_root() {
        nix::unistd::sethostname(wanted.as_str()).context("hostname: cannot set it")?;
    }
    Ok(())
}

/// Waits until the sandbox has only to be told to start.
fn wait_until_prepared(sandbox: &Sandbox, command: &str) -> Result<()> {
    loop {
        let wait = |descriptor| PollFd::new(descriptor, PollFlags::POLLIN);
        let mut polled = [
            wait(sandbox.gofer_control.0.as_fd()),
            wait(sandbox.control.0.as_fd()),
            wait(sandbox.sentry.as_fd()),
            wait(sandbox.gofer.as_fd()),
        ];
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot wait for the sandbox"),
        }
        let happened = polled.each_ref().map(|one| one.any().unwrap_or(true));
        // What a process said comes before the fact that it is gone; the gofer's failure is the cause of the sentry's.
        for (is_ready, control) in [(happened[0], &sandbox.gofer_control), (happened[1], &sandbox.control)] {
            if !is_ready {
                continue;
            }
            loop {
                match control.try_receive() {
                    Ok(Some(ToMonitor::Prepared)) => return Ok(()),
                    Ok(Some(ToMonitor::Failed { status, message })) => {
                        return Err(anyhow!(
                            "unable to start container process: {}",
                            refusal(status, command, &message)
                        ));
                    }
                    Ok(Some(ToMonitor::Log(line))) => log::warn(&line),
                    Ok(Some(_)) => {}
                    Ok(None) | Err(usk_abi::Errno::EAGAIN) => break,
                    Err(error) => return Err(error).context("cannot understand the sandbox"),
                }
            }
        }
        if happened[2] || happened[3] {
            bail!("the sandbox ended during its set-up");
        }
    }
}

/// Why a command does not run, in the words that engines look for: the exit status that they report follows from it.
pub(crate) fn refusal(status: u8, command: &str, message: &str) -> String {
    const NOT_EXECUTABLE: u8 = 126;
    const NOT_FOUND: u8 = 127;
    match status {
        NOT_FOUND if command.contains('/') => {
            format!("exec: {command:?}: stat {command}: no such file or directory")
        }
        NOT_FOUND => format!("exec: {command:?}: executable file not found in $PATH"),
        NOT_EXECUTABLE if message.contains("permission denied") => {
            format!("exec: {command:?}: permission denied")
        }
        NOT_EXECUTABLE if message.contains("not a 64-bit x86 program") => {
            format!("exec {command}: exec format error")
        }
        _ => message.to_owned(),
    }
}
