//! `usk-oci exec`: another process in a container.
//!
//! The process that the caller sees stands for the one in the container: it ends when that does, with its status, and
//! its own end ends the other. With `--detach` it is a fork that outlives the verb.

use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use oci_spec::runtime::Process;
use usk::spec::ProcessSpec;
use usk_platform::host::child::{self, Spawned};
use usk_platform::host::namespaces::Namespaces;
use usk_platform::host::signals::SignalReceiver;
use usk_platform::host::{
    MAX_PACKET_DESCRIPTORS, descriptors, message_socket_pair, receive_packet, send_packet,
};

use super::create::{passed_on, write_pid};
use super::run::forward;
use crate::command_line::ExecArguments;
use crate::config;
use crate::console;
use crate::container::Container;
use crate::entry::{EXEC_FAILURE, Settings};
use crate::log;
use crate::monitor::refusal;
use crate::protocol::{Connection, NOT_RUNNING, Reply, Request, Status, cut};
use crate::signals::FORWARDED;

/// Exit status of a process whose container ended under it: as if by SIGKILL.
const LOST: i32 = 128 + libc::SIGKILL;
/// Most descriptors beside the standard ones: what fits into a packet with those and a description.
const MAX_PASSED: usize = MAX_PACKET_DESCRIPTORS - 4;
/// Most bytes of what a fork says about its beginning.
const MAX_WORD: usize = 8 << 10;

pub(crate) fn exec(settings: &Settings, arguments: ExecArguments) -> Result<i32> {
    run(settings, &arguments).context("exec failed")
}

fn run(settings: &Settings, arguments: &ExecArguments) -> Result<i32> {
    let container = &Container::open(&settings.root, &arguments.id)?;
    match container.status()? {
        Status::Stopped => bail!("cannot exec in a stopped container"),
        Status::Paused if !arguments.ignore_paused => {
            bail!("cannot exec in a paused container (use --ignore-paused to override)")
        }
        _ => {}
    }
    check_cgroups(&arguments.cgroup)?;
    let spec = process(container, arguments)?;
    if container.state.reaches_host {
        config::check_mounting(&spec)?;
    }
    let passed = passed_on(arguments.preserve_fds)?;
    if passed.len() > MAX_PASSED {
        bail!("--preserve-fds: at most {MAX_PASSED} descriptors can be passed on to a process that joins");
    }
    if spec.terminal && arguments.detach && arguments.console_socket.is_none() {
        bail!("cannot allocate tty if usk-oci will detach without setting console socket");
    }
    if !spec.terminal && arguments.console_socket.is_some() {
        bail!("cannot use console socket if usk-oci will not detach or allocate tty");
    }
    let connection = container.connect()?.context(NOT_RUNNING)?;
    if arguments.detach {
        detach(&connection, &spec, &passed, arguments)
    } else {
        stay(&connection, &spec, &passed, arguments)
    }
}

/// What joins a sandbox is in its cgroup, below which there is none.
fn check_cgroups(wanted: &[String]) -> Result<()> {
    for cgroup in wanted {
        let path = cgroup.split_once(':').map_or(cgroup.as_str(), |(_, path)| path);
        if path.split('/').any(|name| !matches!(name, "" | ".")) {
            bail!(
                "--cgroup: the container has no cgroup {path:?} below its own: leave the option out, or say /"
            );
        }
    }
    Ok(())
}

/// What to run: that of the file, or the container's own with the options' changes.
fn process(container: &Container, arguments: &ExecArguments) -> Result<ProcessSpec> {
    let wanted = match &arguments.process {
        Some(path) => config::read_process(path)?,
        None => changed(container, arguments)?,
    };
    let mut spec = config::process(&wanted)?;
    if arguments.tty {
        spec.terminal = true;
    }
    let rootfs: OwnedFd = File::open(&container.state.rootfs)
        .with_context(|| format!("cannot open {}", container.state.rootfs.display()))?
        .into();
    config::set_home(&mut spec, &rootfs);
    Ok(spec)
}

fn changed(container: &Container, arguments: &ExecArguments) -> Result<Process> {
    if arguments.command.is_empty() {
        bail!("process args cannot be empty");
    }
    let mut process = container.state.process.clone();
    let fields = process.as_object_mut().context("the container's process is not known")?;
    fields.insert("args".into(), arguments.command.clone().into());
    fields.insert("terminal".into(), arguments.tty.into());
    fields.remove("consoleSize");
    if let Some(cwd) = &arguments.cwd {
        fields.insert("cwd".into(), cwd.clone().into());
    }
    if arguments.no_new_privs {
        fields.insert("noNewPrivileges".into(), true.into());
    }
    if !arguments.env.is_empty() {
        let mut variables = fields.get("env").and_then(|env| env.as_array().cloned()).unwrap_or_default();
        variables.extend(arguments.env.iter().cloned().map(Into::into));
        fields.insert("env".into(), variables.into());
    }
    if let Some(user) = &arguments.user {
        let number = |text: &str, what: &str| {
            text.parse::<u32>().map_err(|_| anyhow!("parsing {text} as int for {what} failed"))
        };
        let (uid, gid) = user.split_once(':').map_or((user.as_str(), None), |(uid, gid)| (uid, Some(gid)));
        let own = fields.entry("user").or_insert_with(|| serde_json::json!({ "uid": 0, "gid": 0 }));
        let own = own.as_object_mut().context("the container's user is not known")?;
        own.insert("uid".into(), number(uid, "uid")?.into());
        if let Some(gid) = gid {
            own.insert("gid".into(), number(gid, "gid")?.into());
        }
        own.remove("additionalGids");
    }
    if !arguments.additional_gids.is_empty()
        && let Some(own) = fields.get_mut("user").and_then(|user| user.as_object_mut())
    {
        own.insert("additionalGids".into(), arguments.additional_gids.clone().into());
    }
    for name in arguments.cap.iter().filter(|name| config::is_capability(name)) {
        let sets = fields.entry("capabilities").or_insert_with(|| serde_json::json!({}));
        let sets = sets.as_object_mut().context("the container's capabilities are not known")?;
        for set in ["bounding", "effective", "permitted"] {
            if let Some(names) = sets.entry(set).or_insert_with(|| serde_json::json!([])).as_array_mut() {
                names.push(name.clone().into());
            }
        }
    }
    serde_json::from_value(process).context("the container's process is not known")
}

/// Stays with the process. Returns its exit status.
fn stay(
    connection: &Connection,
    spec: &ProcessSpec,
    passed: &[OwnedFd],
    arguments: &ExecArguments,
) -> Result<i32> {
    let signals = SignalReceiver::new(&FORWARDED).context("cannot receive signals")?;
    let terminal =
        arguments.console_socket.as_deref().map(|socket| console::make(socket, None)).transpose()?;
    let guard = if spec.terminal && terminal.is_none() { Some(console::Guard::new()?) } else { None };
    let terminal = terminal.as_ref();
    join(connection, spec, &streams_of(terminal, passed))?;
    if let Some(path) = &arguments.pid_file {
        write_pid(path, own_pid()?)?;
    }
    let status = attend(connection, &signals, spec.terminal)?;
    drop(guard);
    Ok(status)
}

/// Has a fork stay with the process, and returns when it runs.
fn detach(
    connection: &Connection,
    spec: &ProcessSpec,
    passed: &[OwnedFd],
    arguments: &ExecArguments,
) -> Result<i32> {
    let (word, its_word) = message_socket_pair().context("cannot make a socket")?;
    let process = match child::spawn(Namespaces::NONE, None).context("cannot fork")? {
        Spawned::Parent(process) => process,
        Spawned::Child => {
            std::mem::forget(word);
            let socket = arguments.console_socket.as_deref();
            child::exit(stand_for(connection, spec, passed, socket, &its_word))
        }
    };
    drop(its_word);
    let mut buffer = vec![0; MAX_WORD];
    let packet = receive_packet(word.as_fd(), &mut buffer).context("cannot hear the fork")?;
    match buffer.get(..packet.length).unwrap_or_default() {
        [b'+'] => {}
        [b'-', message @ ..] => {
            let _ = process.wait();
            bail!("{}", String::from_utf8_lossy(message));
        }
        _ => bail!("the process that stands for it is gone"),
    }
    if let Some(path) = &arguments.pid_file
        && let Err(error) = write_pid(path, process.pid())
    {
        let _ = process.send_signal(libc::SIGKILL);
        let _ = process.wait();
        return Err(error);
    }
    Ok(0)
}

/// The life of the fork.
fn stand_for(
    connection: &Connection,
    spec: &ProcessSpec,
    passed: &[OwnedFd],
    socket: Option<&Path>,
    word: &OwnedFd,
) -> i32 {
    let begin = || -> Result<SignalReceiver> {
        let (input, output, error) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
        let mut kept = vec![input.as_fd(), output.as_fd(), error.as_fd(), connection.as_fd(), word.as_fd()];
        kept.extend(passed.iter().map(AsFd::as_fd));
        kept.extend(log::descriptor());
        descriptors::close_all_except(&kept).context("cannot close the caller's descriptors")?;
        child::new_session().context("cannot leave the caller's session")?;
        let signals = SignalReceiver::new(&FORWARDED).context("cannot receive signals")?;
        let terminal = socket.map(|socket| console::make(socket, None)).transpose()?;
        if let Some(slave) = &terminal {
            console::enter(slave)?;
        }
        join(connection, spec, &streams_of(None, passed))?;
        Ok(signals)
    };
    match begin() {
        Ok(signals) => {
            // The verb may be gone: then nobody watches, and the process runs all the same.
            let _ = send_packet(word.as_fd(), b"+", &[]);
            attend(connection, &signals, spec.terminal).unwrap_or(LOST)
        }
        Err(error) => {
            let message = cut(format!("-{error:#}"));
            let _ = send_packet(word.as_fd(), message.as_bytes(), &[]);
            EXEC_FAILURE
        }
    }
}

/// What the process begins with: a terminal three times, or this process's own streams; and what is passed on.
fn streams_of<'a>(terminal: Option<&'a OwnedFd>, passed: &'a [OwnedFd]) -> Vec<BorrowedFd<'a>> {
    let mut streams = match terminal {
        Some(slave) => vec![slave.as_fd(); 3],
        None => vec![rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()],
    };
    streams.extend(passed.iter().map(AsFd::as_fd));
    streams
}

/// Asks the monitor for a process with these streams, and waits until it runs. The connection is the process's from then on.
pub(super) fn join(connection: &Connection, spec: &ProcessSpec, streams: &[BorrowedFd<'_>]) -> Result<()> {
    let describe = || -> std::io::Result<File> {
        let mut file = File::from(memfd_create(c"process", MFdFlags::MFD_CLOEXEC)?);
        file.write_all(&serde_json::to_vec(spec)?)?;
        file.rewind()?;
        Ok(file)
    };
    let description = describe().context("cannot describe the process")?;
    let descriptors = [&[description.as_fd()], streams].concat();
    connection.send(&Request::Execute, &descriptors)?;
    match connection.receive::<Reply>()? {
        Some((Reply::Joined, _)) => Ok(()),
        Some((Reply::Refused { status, message }, _)) => {
            let command = spec.arguments.first().map(|name| name.to_string_lossy()).unwrap_or_default();
            bail!("unable to start container process: {}", refusal(status, &command, &message))
        }
        Some((Reply::Failed(message), _)) => bail!(message),
        Some((other, _)) => bail!("the container's monitor answers {other:?}"),
        None => bail!(NOT_RUNNING),
    }
}

/// Passes signals on until the process has ended. Returns its exit status.
fn attend(connection: &Connection, signals: &SignalReceiver, has_terminal: bool) -> Result<i32> {
    loop {
        let wait = |descriptor| PollFd::new(descriptor, PollFlags::POLLIN);
        let mut polled = [wait(signals.as_fd()), wait(connection.as_fd())];
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot wait for the process"),
        }
        if polled[0].any().unwrap_or(true) {
            forward(signals, connection, has_terminal)?;
        }
        if polled[1].any().unwrap_or(true) {
            match connection.receive::<Reply>()? {
                Some((Reply::Left { status }, _)) => return Ok(status),
                Some(_) => {}
                None => return Ok(LOST),
            }
        }
    }
}

fn own_pid() -> Result<i32> {
    i32::try_from(std::process::id()).context("a process id is too large")
}
