//! A process that has one directory to write to, one to read, and nothing else: for work on what may be hostile before
//! there is a sandbox.
//!
//! It is set up as the gofer is, and gives up more: it keeps no capability whoever the caller is.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use usk_platform::host::child::{self, Exit, Spawned};
use usk_platform::host::credentials::{Capabilities, become_user, keep_capabilities};
use usk_platform::host::message_socket::MessageSocket;
use usk_platform::host::mounts::{self, MountAttributes};
use usk_platform::host::namespaces::Namespaces;
use usk_platform::host::{descriptors, rlimit, signals};

use super::gofer::GOFER_NAMESPACES;
use super::identity::Caller;
use super::launch::{admit, become_child, end, explain_spawn};
use super::sentry::{CANNOT_PIVOT, die_with_monitor, wait_for_go};
use crate::control::{MonitorControl, SandboxControl, ToMonitor};
use crate::filters;

/// Bytes of the process's address space: far above what the bounds on images allow it to keep.
const MAX_MEMORY: u64 = 4 << 30;

/// Does `work` in a process whose root directory is `writable`. It gets a descriptor of `readable`, which nothing can be
/// written by and which does not lead out, and keeps the descriptors `kept`. The caller must have one thread.
pub(crate) fn confined(
    writable: &Path,
    readable: Option<&Path>,
    kept: &[BorrowedFd<'_>],
    work: impl FnOnce(Option<OwnedFd>) -> Result<()>,
) -> Result<()> {
    let caller = Caller::current()?;
    let (control, process_control) = MessageSocket::pair().context("cannot make a control socket")?;
    let (control, process_control) = (MonitorControl(control), SandboxControl(process_control));
    let namespaces =
        if caller.is_privileged() { GOFER_NAMESPACES } else { GOFER_NAMESPACES.and(Namespaces::USER) };
    let process = match child::spawn(namespaces, None).map_err(explain_spawn)? {
        Spawned::Parent(process) => process,
        Spawned::Child => become_child(&process_control, || {
            let readable = set_up(&caller, &process_control, writable, readable, kept)?;
            work(readable)?;
            Ok(0)
        }),
    };
    drop(process_control);
    if let Err(error) = admit(&process, &control, caller.gofer(None), None) {
        end(&process);
        return Err(error);
    }
    let exit = process.wait().context("cannot wait for the process that unpacks")?;
    match control.try_receive() {
        Ok(Some(ToMonitor::Failed { message, .. })) => bail!("{message}"),
        _ if exit == Exit::Code(0) => Ok(()),
        _ => bail!("the process that unpacks ended too early ({exit:?}); is memory short?"),
    }
}

fn set_up(
    caller: &Caller,
    control: &SandboxControl,
    writable: &Path,
    readable: Option<&Path>,
    kept: &[BorrowedFd<'_>],
) -> Result<Option<OwnedFd>> {
    child::set_name(c"usk-unpack").context("cannot name the process")?;
    let error = std::io::stderr();
    let mut all = vec![error.as_fd(), control.0.as_fd()];
    all.extend(kept);
    descriptors::close_all_except(&all)
        .context("cannot close the monitor's descriptors: usk needs Linux 5.9")?;
    wait_for_go(control)?;
    if caller.is_privileged() {
        become_user(0, 0, caller.may_set_groups()).context("cannot give up the caller's groups")?;
    }
    die_with_monitor(control)?;
    child::new_session().context("cannot leave the caller's session")?;
    signals::unblock_all().context("cannot unblock signals")?;
    mounts::make_all_private().context("cannot separate mounts from the host's")?;
    let readable = readable.map(|path| copy(path, true)).transpose()?;
    let root = copy(writable, false)?;
    mounts::cover_root(root.as_fd()).context("cannot mount the only directory")?;
    mounts::enter_root(root.as_fd()).context(CANNOT_PIVOT)?;
    keep_capabilities(Capabilities::NONE).context("cannot give up capabilities")?;
    child::set_no_new_privs().context("cannot give up gaining privileges")?;
    rlimit::forbid_core_files().context("cannot forbid core files")?;
    rlimit::limit_address_space(MAX_MEMORY).context("cannot bound the memory of the process that unpacks")?;
    filters::install_unpacker().context("cannot install the filter of the process that unpacks")?;
    Ok(readable)
}

/// A copy of the mount at a path, which nothing leads out of.
fn copy(path: &Path, read_only: bool) -> Result<OwnedFd> {
    let describe = || format!("cannot separate {} from the rest", path.display());
    let name = CString::new(path.as_os_str().as_bytes()).with_context(describe)?;
    let tree = mounts::clone_tree(&name).with_context(describe)?;
    mounts::restrict(tree.as_fd(), MountAttributes { read_only, no_execute: true }, true)
        .with_context(describe)?;
    Ok(tree)
}
