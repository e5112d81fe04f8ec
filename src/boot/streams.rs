//! Standard input, output and error.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use usk_abi::fs::OpenFlags;
use usk_platform::host::inheritance;
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

/// A table with the three standard descriptors: the console three times, or those of the host that the operator has not
/// closed.
pub(super) fn open(
    namespace: &Arc<MountNamespace>,
    poller: &Arc<HostPoller>,
    spec: &SandboxSpec,
) -> Result<FdTable> {
    let files = FdTable::new();
    if spec.terminal {
        let flags = OpenFlags::RDWR | OpenFlags::NOCTTY;
        let how = OpenHow::existing(flags);
        let console = namespace
            .with_names(|names| names.open(&names.root, b"/dev/console", how, None))
            .map_err(|error| anyhow!("cannot open the console: {error:?}"))?;
        for _ in 0..NO_LIMIT {
            files.install(console.clone(), false, NO_LIMIT).context("cannot number the standard streams")?;
        }
        return Ok(files);
    }
    let (input, output, error) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let streams = [input.as_fd(), output.as_fd(), error.as_fd()];
    for ((number, stream), is_closed) in (0..).zip(streams).zip(inheritance::closed_streams()) {
        if is_closed {
            continue;
        }
        let copy: OwnedFd = stream
            .try_clone_to_owned()
            .with_context(|| format!("cannot take over standard stream {number}"))?;
        let file: Arc<OpenFile> = HostFile::open(copy, poller, &format!("host:[{number}]"))
            .with_context(|| format!("cannot use standard stream {number}: is it a directory?"))?;
        files.install_at(number, file, false, NO_LIMIT).context("cannot number the standard streams")?;
    }
    Ok(files)
}
