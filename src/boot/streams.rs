//! Standard input, output and error.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use usk_abi::fs::OpenFlags;
use usk_platform::host::{StreamKind, inheritance};
use usk_sentry::Kernel;
use usk_sentry::file::HostPoller;
use usk_sentry::file::host::HostFile;
use usk_sentry::tty::HostTerminal;
use usk_sentry::vfs::{FdTable, MountNamespace, OpenFile, OpenHow};

use crate::spec::SandboxSpec;

/// Standard descriptors are numbered from zero; nothing limits them.
const NO_LIMIT: u64 = 3;

/// Makes the operator's terminal the sandbox's console, if the command is to have it (`-t`). Before `/dev` is made, which
/// has a console only if there is one. The poller is for [`open`].
pub(super) fn prepare(kernel: &Arc<Kernel>, spec: &SandboxSpec) -> Result<Arc<HostPoller>> {
    let poller = HostPoller::new();
    if spec.terminal {
        let input = std::io::stdin();
        let copy: OwnedFd = input.as_fd().try_clone_to_owned().context("cannot take over the terminal")?;
        HostTerminal::new(copy, &poller, &kernel.terminals)
            .context("cannot use the terminal: standard input is none; leave -t out")?;
    }
    Ok(poller)
}

/// A table with those standard descriptors that the operator has not closed: the console in place of a terminal if the
/// command has one, else the host's.
pub(super) fn open(
    namespace: &Arc<MountNamespace>,
    poller: &Arc<HostPoller>,
    spec: &SandboxSpec,
) -> Result<FdTable> {
    let console = if spec.terminal { Some(open_console(namespace)?) } else { None };
    let files = FdTable::new();
    let (input, output, error) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let streams = [input.as_fd(), output.as_fd(), error.as_fd()];
    for ((number, stream), is_closed) in (0..).zip(streams).zip(inheritance::closed_streams()) {
        if is_closed {
            continue;
        }
        let copy: OwnedFd = stream
            .try_clone_to_owned()
            .with_context(|| format!("cannot take over standard stream {number}"))?;
        let stream: Arc<OpenFile> = HostFile::open(copy, poller, &format!("host:[{number}]"))
            .with_context(|| format!("cannot use standard stream {number}: is it a directory?"))?;
        let is_terminal =
            HostFile::of(&stream).is_some_and(|file| file.status().kind == StreamKind::Terminal);
        let file = match &console {
            Some(console) if is_terminal => console.clone(),
            _ => stream,
        };
        files.install_at(number, file, false, NO_LIMIT).context("cannot number the standard streams")?;
    }
    Ok(files)
}

fn open_console(namespace: &Arc<MountNamespace>) -> Result<Arc<OpenFile>> {
    let how = OpenHow::existing(OpenFlags::RDWR | OpenFlags::NOCTTY);
    namespace
        .with_names(|names| names.open(&names.root, b"/dev/console", how, None))
        .map_err(|error| anyhow!("cannot open the console: {error:?}"))
}
