//! Standard input, output and error, and further descriptors of the host that a process is given.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use usk_abi::fs::OpenFlags;
use usk_sentry::Kernel;
use usk_sentry::file::HostPoller;
use usk_sentry::file::host::HostFile;
use usk_sentry::tty::{HostTerminal, Terminal};
use usk_sentry::vfs::{FdTable, MountNamespace, OpenFile, OpenHow};

/// Standard descriptors are numbered from zero; nothing limits them.
const STANDARD: usize = 3;

/// This process's own standard streams, duplicated.
pub(super) fn own() -> Result<Vec<OwnedFd>> {
    let (input, output, error) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    [input.as_fd(), output.as_fd(), error.as_fd()]
        .into_iter()
        .enumerate()
        .map(|(number, stream)| {
            let copy = stream.try_clone_to_owned();
            copy.with_context(|| format!("cannot take over standard stream {number}"))
        })
        .collect()
}

/// Makes the operator's terminal the sandbox's console. Before `/dev` is made, which has a console only if there is one.
pub(super) fn make_console(
    kernel: &Arc<Kernel>,
    poller: &Arc<HostPoller>,
    streams: &[OwnedFd],
) -> Result<()> {
    let input = streams.first().context("there is no standard input")?;
    let copy = input.try_clone().context("cannot take over the terminal")?;
    let terminal = HostTerminal::new(copy, poller, &kernel.terminals)
        .context("cannot use the terminal: standard input is none; leave -t out")?;
    kernel.terminals.set_console(terminal);
    Ok(())
}

/// A table whose three standard descriptors are the console.
pub(super) fn open_console(
    namespace: &Arc<MountNamespace>,
    streams: Vec<OwnedFd>,
) -> Result<Vec<Arc<OpenFile>>> {
    let flags = OpenFlags::RDWR | OpenFlags::NOCTTY;
    let how = OpenHow::existing(flags);
    let console = namespace
        .with_names(|names| names.open(&names.root, b"/dev/console", how, None))
        .map_err(|error| anyhow!("cannot open the console: {error:?}"))?;
    drop(streams);
    Ok(vec![console; STANDARD])
}

/// The same for a process that joins: a terminal of its own, which is returned as well.
pub(super) fn open_terminal(
    kernel: &Arc<Kernel>,
    poller: &Arc<HostPoller>,
    streams: Vec<OwnedFd>,
) -> Result<(Vec<Arc<OpenFile>>, Arc<dyn Terminal>)> {
    let mut streams = streams.into_iter();
    let input = streams.next().context("there is no standard input")?;
    let terminal = HostTerminal::new(input, poller, &kernel.terminals)
        .context("cannot use the terminal: standard input is none")?;
    let mut files = vec![terminal.open_unnamed("host:[terminal]"); STANDARD];
    // Output and error are the terminal as well.
    files.extend(open(poller, streams.skip(STANDARD - 1).collect())?);
    Ok((files, terminal))
}

/// The streams as they are.
pub(super) fn open(poller: &Arc<HostPoller>, streams: Vec<OwnedFd>) -> Result<Vec<Arc<OpenFile>>> {
    let open = |(number, stream)| {
        HostFile::open(stream, poller, &format!("host:[{number}]"))
            .with_context(|| format!("cannot use standard stream {number}: is it a directory?"))
    };
    streams.into_iter().enumerate().map(open).collect()
}

/// A table of these files, numbered from zero.
pub(super) fn table(files: Vec<Arc<OpenFile>>) -> Result<FdTable> {
    let table = FdTable::new();
    let limit = files.len() as u64;
    for file in files {
        table.install(file, false, limit).context("cannot number the standard streams")?;
    }
    Ok(table)
}
