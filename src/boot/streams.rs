//! Standard input, output and error, and further descriptors of the host that a process is given.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use usk_abi::fs::OpenFlags;
use usk_platform::host::{StreamKind, inheritance};
use usk_sentry::file::HostPoller;
use usk_sentry::file::host::HostFile;
use usk_sentry::tty::{HostTerminal, Terminal};
use usk_sentry::vfs::{FdTable, MountNamespace, OpenFile, OpenHow};
use usk_sentry::{Kernel, SysResult};

/// Standard descriptors are numbered from zero; nothing limits them.
const STANDARD: usize = 3;

/// This process's own standard streams, duplicated; `None` for each that the operator has closed.
pub(super) fn own() -> Result<Vec<Option<OwnedFd>>> {
    let (input, output, error) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let streams = [input.as_fd(), output.as_fd(), error.as_fd()];
    let copies = streams.into_iter().zip(inheritance::closed_streams()).enumerate();
    copies
        .map(|(number, (stream, is_closed))| {
            let copy = (!is_closed).then(|| stream.try_clone_to_owned()).transpose();
            copy.with_context(|| format!("cannot take over standard stream {number}"))
        })
        .collect()
}

/// Makes the operator's terminal the sandbox's console. Before `/dev` is made, which has a console only if there is one.
pub(super) fn make_console(
    kernel: &Arc<Kernel>,
    poller: &Arc<HostPoller>,
    streams: &[Option<OwnedFd>],
) -> Result<()> {
    let input =
        streams.first().and_then(Option::as_ref).context("there is no standard input: leave -t out")?;
    let copy = input.try_clone().context("cannot take over the terminal")?;
    let terminal = HostTerminal::new(copy, poller, &kernel.terminals)
        .context("cannot use the terminal: standard input is none; leave -t out")?;
    kernel.terminals.set_console(terminal);
    Ok(())
}

/// Puts the console in place of the streams that are a terminal.
pub(super) fn use_console(
    namespace: &Arc<MountNamespace>,
    files: &mut [Option<Arc<OpenFile>>],
) -> Result<()> {
    let console = open_named(namespace, b"/dev/console")
        .map_err(|error| anyhow!("cannot open the console: {error:?}"))?;
    let is_terminal = |file: &&mut Arc<OpenFile>| {
        HostFile::of(file).is_some_and(|file| file.status().kind == StreamKind::Terminal)
    };
    for file in files.iter_mut().flatten().filter(is_terminal) {
        *file = console.clone();
    }
    Ok(())
}

fn open_named(namespace: &Arc<MountNamespace>, name: &[u8]) -> SysResult<Arc<OpenFile>> {
    let how = OpenHow::existing(OpenFlags::RDWR | OpenFlags::NOCTTY);
    namespace.with_names(|names| names.open(&names.root, name, how, None))
}

/// The streams of a process that joins: a terminal of its own, which is returned as well.
pub(super) fn open_terminal(
    (kernel, namespace): (&Arc<Kernel>, &Arc<MountNamespace>),
    poller: &Arc<HostPoller>,
    streams: Vec<OwnedFd>,
    owner: (u32, u32),
) -> Result<(Vec<Option<Arc<OpenFile>>>, Arc<dyn Terminal>)> {
    let mut streams = streams.into_iter();
    let input = streams.next().context("there is no standard input")?;
    let terminal = HostTerminal::new(input, poller, &kernel.terminals)
        .context("cannot use the terminal: standard input is none")?;
    let number = terminal.name(owner).context("cannot name the terminal")?;
    let file = open_named(namespace, format!("/dev/pts/{number}").as_bytes());
    // Where something else is mounted over it, it has no name.
    let file = file.unwrap_or_else(|_| terminal.open_unnamed("host:[terminal]"));
    let mut files = vec![Some(file); STANDARD];
    // Output and error are the terminal as well.
    files.extend(open(poller, streams.skip(STANDARD - 1).map(Some).collect(), owner.0)?);
    Ok((files, terminal))
}

/// The streams as they are; of this user, inside.
pub(super) fn open(
    poller: &Arc<HostPoller>,
    streams: Vec<Option<OwnedFd>>,
    owner: u32,
) -> Result<Vec<Option<Arc<OpenFile>>>> {
    let open = |(number, stream): (usize, Option<OwnedFd>)| {
        let file = stream.map(|stream| HostFile::open(stream, poller, &format!("host:[{number}]"), owner));
        let file = file.transpose();
        file.with_context(|| format!("cannot use standard stream {number}: is it a directory?"))
    };
    streams.into_iter().enumerate().map(open).collect()
}

/// A table of these files, numbered from zero.
pub(super) fn table(files: Vec<Option<Arc<OpenFile>>>) -> Result<FdTable> {
    let table = FdTable::new();
    let limit = files.len() as u64;
    for (number, file) in (0..).zip(files) {
        if let Some(file) = file {
            table.install_at(number, file, false, limit).context("cannot number the standard streams")?;
        }
    }
    Ok(table)
}
