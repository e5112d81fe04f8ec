//! The gofer's part of the set-up: from a fork of the monitor to a process whose whole world is its exports.
//!
//! Each export is a copy of the host's mounts below its source, read-only unless it was asked for as writable, without
//! devices and set-user-id bits, and with empty directories and files mounted over what must not be seen. Such a mount goes
//! when the host removes or replaces what it lies on; the server refuses the names themselves. The gofer's
//! root holds these copies and nothing else, so what the server's own checks refuse, the host's kernel would refuse
//! again. A mount namespace begins as a copy of all the host's mounts; if the whole host is exported, that is the copy.

use std::ffi::{CStr, CString};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use usk_abi::Errno;
use usk_gofer::{ExportMode, MountCrossing, SelfDescriptors, Sharing};
use usk_platform::host::child::ChildProcess;
use usk_platform::host::credentials::{Capabilities, become_user, has_capability, keep_capabilities};
use usk_platform::host::mounts::{self, MountAttributes};
use usk_platform::host::namespaces::{self, Namespaces};
use usk_platform::host::timeline::{self, Steps};
use usk_platform::host::{child, descriptors, own_memory, rlimit, signals};

use super::sentry::{CANNOT_PIVOT, die_with_monitor, wait_for_go};
use crate::control::SandboxControl;
use crate::plan::{file_identity, open_in_root};
use crate::spec::{Export, Hidden, Propagation};

/// What the gofer has of its own. An ordinary caller's gofer has users of its own as well: without them it could not
/// have the others. A privileged caller's has not: it must see and keep files' owners; and some it has together with the
/// sentry (`GOFER_JOINS`).
pub const GOFER_NAMESPACES: Namespaces =
    Namespaces::PID.and(Namespaces::MOUNT).and(Namespaces::IPC).and(Namespaces::UTS).and(Namespaces::NETWORK);

/// What a privileged caller's gofer has of the sentry's: a network, and System V and POSIX queues, in which there is nothing
/// and which lead nowhere, and a host name. They are as good for the gofer as empty ones of its own: the two have lanes to each
/// other, and the filter of neither lets it make a socket or a queue. They take the host half a millisecond to make, and as long to
/// unmake.
pub(super) const GOFER_JOINS: Namespaces = Namespaces::NETWORK.and(Namespaces::IPC).and(Namespaces::UTS);

/// What a privileged caller's gofer keeps at most (the server gives up more where nothing is writable), to read and to make files as the sandbox's users: CAP_CHOWN,
/// CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID. An ordinary caller's keeps none.
pub const GOFER_CAPABILITIES: Capabilities = Capabilities::of(&[0, 1, 2, 3, 4]);

/// What the caller may, as far as it matters here.
#[derive(Clone, Copy)]
pub(super) struct Rights {
    /// Act as any user of files.
    pub(super) privileged: bool,
    /// Give up supplementary groups.
    pub(super) may_set_groups: bool,
}

/// The sentry, to join its namespaces (`GOFER_JOINS`) once they are there.
pub(super) struct SentrysNamespaces {
    sentry: OwnedFd,
    made: PipeReader,
}

impl SentrysNamespaces {
    /// A byte of `made` says that they are there.
    pub(super) fn new(sentry: &ChildProcess, made: PipeReader) -> Result<SentrysNamespaces> {
        let sentry = sentry.as_fd().try_clone_to_owned().context("cannot refer to the sentry")?;
        Ok(SentrysNamespaces { sentry, made })
    }

    /// Says that they are there.
    pub(super) fn announce(mut make: PipeWriter) -> io::Result<()> {
        make.write_all(&[1])
    }

    fn join(mut self) -> Result<()> {
        self.made.read_exact(&mut [0]).context("the sentry ended during its set-up")?;
        namespaces::join(self.sentry.as_fd(), GOFER_JOINS).context("cannot join the sentry's namespaces")
    }
}

/// Sets this process up and serves. Returns the process's exit status.
pub(super) fn main(
    exports: Vec<Export>,
    lanes: Vec<OwnedFd>,
    control: &SandboxControl,
    rights: Rights,
    shared: Option<SentrysNamespaces>,
) -> Result<i32> {
    let mut steps = Steps::begin();
    child::set_name(c"usk-gofer").context("cannot name the gofer")?;
    own_memory::use_one_arena();
    let error = std::io::stderr();
    let mut kept = vec![error.as_fd(), control.0.as_fd()];
    kept.extend(lanes.iter().map(AsFd::as_fd));
    kept.extend(exports.iter().map(|export| export.descriptor.as_fd()));
    kept.extend(shared.iter().flat_map(|shared| [shared.sentry.as_fd(), shared.made.as_fd()]));
    let timeline = timeline::output();
    kept.extend(timeline.iter().map(AsFd::as_fd));
    descriptors::close_all_except(&kept)
        .context("cannot close the monitor's descriptors: usk needs Linux 5.9")?;
    drop(timeline);
    steps.done("close descriptors");
    wait_for_go(control)?;
    steps.done("wait for the monitor");
    let Rights { privileged, may_set_groups } = rights;
    // Those of exports that do not follow the host are cut off one by one.
    let separate = if follows(&exports) { mounts::make_all_slaves } else { mounts::make_all_private };
    separate().context("cannot separate the gofer's mounts from the host's")?;
    // Still as the caller, who could reach the sources: a user of the sandbox's may not be let that far.
    let trees = take_trees(&exports)?;
    steps.done("trees");
    if privileged {
        become_user(0, 0, may_set_groups).context("cannot give up the caller's groups")?;
    }
    die_with_monitor(control)?;
    child::new_process_group().context("cannot leave the process group")?;
    signals::unblock_all().context("cannot unblock signals")?;
    steps.done("take the identity");
    let own_descriptors = own_descriptors()?;
    let exports = enter_exports(exports, trees)?;
    steps.done("enter a root of the exports");
    // As late as it can be: the sentry may be making them yet.
    if let Some(shared) = shared {
        shared.join()?;
    }
    steps.done("join the sentry's namespaces");
    let kept = if privileged { own_capabilities()? } else { Capabilities::NONE };
    keep_capabilities(kept).context("cannot give up capabilities")?;
    rlimit::forbid_core_files().context("cannot forbid core files")?;
    steps.done("give up privileges");
    timeline::leave();
    own_memory::let_go_of_code();
    usk_gofer::serve(lanes, exports, own_descriptors).context("the gofer failed")?;
    Ok(0)
}

/// Those of [`GOFER_CAPABILITIES`] that the caller has: in a container root may lack some.
fn own_capabilities() -> Result<Capabilities> {
    let mut numbers = Vec::new();
    for number in (0..u64::BITS).filter(|&number| GOFER_CAPABILITIES.contains(number)) {
        if has_capability(number).context("cannot read the caller's capabilities")? {
            numbers.push(number);
        }
    }
    Ok(Capabilities::of(&numbers))
}

/// `/proc/self/fd`, as a mount of its own: no `..` leads from it to the host's `/proc`.
fn own_descriptors() -> Result<SelfDescriptors> {
    let directory = descriptors::open_directory(c"/proc/self/fd")
        .context("cannot open /proc/self/fd: /proc must be mounted on the host")?;
    let alone = mounts::clone_mount(directory.as_fd()).context("cannot separate /proc/self/fd from /proc")?;
    Ok(SelfDescriptors::from_directory(alone))
}

/// Which export is the whole host, with its own owners: the namespace's own root becomes it, instead of being copied once more and
/// let go of.
fn whole_host(exports: &[Export]) -> Option<usize> {
    exports.iter().position(|export| export.source == Path::new("/") && export.recursive && !export.detached)
}

/// Whether what the host mounts later shows in any of them.
fn follows(exports: &[Export]) -> bool {
    exports.iter().any(|export| export.propagation != Propagation::Private)
}

/// The mounts of each export, copied, and restricted to what the export may do; the whole host's as they are.
fn take_trees(exports: &[Export]) -> Result<Vec<OwnedFd>> {
    let whole_host = whole_host(exports);
    let take = |(index, export): (usize, &Export)| {
        let take = || {
            if Some(index) == whole_host {
                return own_root(export);
            }
            let tree = copy_tree(export)?;
            settle_propagation(export, &tree, follows(exports)).context(CANNOT_SETTLE)?;
            Ok(tree)
        };
        take().with_context(|| format!("cannot export {}", export.source.display()))
    };
    exports.iter().enumerate().map(take).collect()
}

/// Builds the gofer's root out of the exports and enters it. Returns what the server needs to know about each. The
/// monitor's own descriptors of the sources are closed: from them `..` would lead to the rest of the host.
fn enter_exports(exports: Vec<Export>, trees: Vec<OwnedFd>) -> Result<Vec<usk_gofer::Export>> {
    let options = [(c"mode", c"0555"), (c"size", c"64k"), (c"nr_inodes", c"256")];
    let attributes = MountAttributes { read_only: false, no_execute: true };
    let root = mounts::new_tmpfs(&options, attributes).context("cannot make the gofer's root")?;
    mounts::cover_root(root.as_fd()).context("cannot mount the gofer's root")?;
    let covers = Covers::make(root.as_fd()).context("cannot make what hides files")?;
    let whole_host = whole_host(&exports);
    for (index, (export, tree)) in exports.iter().zip(&trees).enumerate() {
        let place = make_place(root.as_fd(), &place_name(index)?, export.directory)
            .context("cannot make a place for an export")?;
        if Some(index) != whole_host {
            mounts::attach(tree.as_fd(), place.as_fd())
                .with_context(|| format!("cannot attach {}", export.source.display()))?;
        }
    }
    let attributes = MountAttributes { read_only: true, no_execute: true };
    mounts::restrict(root.as_fd(), attributes, false).context("cannot make the gofer's root read-only")?;
    match whole_host {
        None => mounts::enter_root(root.as_fd()).context(CANNOT_PIVOT)?,
        Some(index) => {
            mounts::exchange_root(root.as_fd(), &place_name(index)?).context(CANNOT_PIVOT)?;
            // Not before: what it restricts is what lies below, and until now that was the gofer's root as well.
            exports.iter().zip(&trees).nth(index).map_or(Ok(()), |(export, tree)| {
                restrict(export, tree)?;
                settle_propagation(export, tree, follows(&exports)).context(CANNOT_SETTLE)
            })?;
        }
    }
    // Not before: while something lies on a tree's root, a link that climbs above the root ends there.
    for (export, tree) in exports.iter().zip(&trees) {
        for hidden in &export.hidden {
            covers.hide(tree, hidden).with_context(|| format!("cannot hide {}", hidden.path.display()))?;
        }
    }
    let cover = covers.device()?;
    Ok(exports.iter().zip(trees).map(|(export, root)| describe(export, root, cover)).collect())
}

/// Where in the gofer's root an export lies.
fn place_name(index: usize) -> Result<CString> {
    CString::new(index.to_string()).context("a number has no zero byte")
}

/// The root of this namespace, which has all the host's mounts.
fn own_root(export: &Export) -> Result<OwnedFd> {
    let root = descriptors::open_directory(c"/").context("it cannot be opened")?;
    check_identity(export, &root)?;
    Ok(root)
}

/// A copy of the mounts below an export's source, with what it may not do taken away.
pub(super) fn copy_tree(export: &Export) -> Result<OwnedFd> {
    let tree = if export.detached { export.descriptor.try_clone()? } else { clone_source(export)? };
    restrict(export, &tree)?;
    Ok(tree)
}

fn clone_source(export: &Export) -> Result<OwnedFd> {
    let path = CString::new(export.source.as_os_str().as_bytes()).context("its path has a zero byte")?;
    let copied = if export.recursive { mounts::clone_tree(&path) } else { mounts::clone_mount_of(&path) };
    let tree = match copied {
        // The host does not let an ordinary user see what its mounts cover.
        Err(Errno::EINVAL) if !export.recursive => {
            bail!("there are mounts below it, which only root can leave out: bind it with them ('rbind')")
        }
        copied => copied.context("its mounts cannot be copied: usk needs Linux 5.12 or newer")?,
    };
    check_identity(export, &tree)?;
    Ok(tree)
}

/// Has those mounts follow the host's that are to. `are_slaves`: they do so already, if they are copies of this namespace's.
pub(super) fn settle_propagation(export: &Export, tree: &OwnedFd, are_slaves: bool) -> Result<(), Errno> {
    if export.detached {
        // It may be a copy of one of the caller's, of whose group it is still a part.
        mounts::make_slave(tree.as_fd())?;
    } else if !are_slaves {
        return Ok(());
    }
    match export.propagation {
        Propagation::Private => mounts::make_private(tree.as_fd(), true),
        Propagation::SlaveBelow => mounts::make_private(tree.as_fd(), false),
        Propagation::Slave => Ok(()),
    }
}

const CANNOT_SETTLE: &str = "its mounts cannot be separated from the host's";

/// The path was resolved a second time, since mounts of the caller's namespace cannot be used in this one.
fn check_identity(export: &Export, tree: &OwnedFd) -> Result<()> {
    if file_identity(tree)? != file_identity(&export.descriptor)? {
        bail!("it was replaced meanwhile: try again");
    }
    Ok(())
}

fn restrict(export: &Export, tree: &OwnedFd) -> Result<()> {
    let attributes = MountAttributes { read_only: !export.writable, no_execute: false };
    mounts::restrict(tree.as_fd(), attributes, true).context("its mounts cannot be restricted")
}

/// An empty directory and an empty file, to mount over others.
struct Covers {
    directory: OwnedFd,
    file: OwnedFd,
}

impl Covers {
    fn make(root: BorrowedFd<'_>) -> Result<Covers> {
        let options = [(c"mode", c"0555"), (c"size", c"4k"), (c"nr_inodes", c"3")];
        let attributes = MountAttributes { read_only: false, no_execute: true };
        let empty = mounts::new_tmpfs(&options, attributes)?;
        let place = make_place(root, c"empty", true)?;
        mounts::attach(empty.as_fd(), place.as_fd())?;
        let directory = make_place(empty.as_fd(), c"directory", true)?;
        let file = make_place(empty.as_fd(), c"file", false)?;
        let attributes = MountAttributes { read_only: true, no_execute: true };
        mounts::restrict(empty.as_fd(), attributes, false)?;
        Ok(Covers { directory, file })
    }

    /// The device that they are on, which nothing else is on.
    fn device(&self) -> Result<u64> {
        let (device, _) = file_identity(&self.directory).context("cannot tell what hides files")?;
        Ok(device)
    }

    /// Mounts over a place of an export. Links inside the export are followed, and cannot lead out of it.
    fn hide(&self, tree: &OwnedFd, hidden: &Hidden) -> Result<()> {
        let place = match open_in_root(tree, &hidden.path, true) {
            Ok(place) => place,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !hidden.required => return Ok(()),
            Err(error) => return Err(error).context("it cannot be reached"),
        };
        let directory = place.metadata().context("its type cannot be read")?.is_dir();
        let cover = if directory { &self.directory } else { &self.file };
        let cover = mounts::clone_mount(cover.as_fd())?;
        mounts::attach(cover.as_fd(), place.as_fd())?;
        Ok(())
    }
}

/// Makes an empty directory or file and refers to it.
fn make_place(parent: BorrowedFd<'_>, name: &CStr, directory: bool) -> Result<OwnedFd> {
    if directory {
        nix::sys::stat::mkdirat(parent, name, Mode::from_bits_truncate(0o555))?;
    } else {
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        drop(nix::fcntl::openat(parent, name, flags, Mode::from_bits_truncate(0o444))?);
    }
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(nix::fcntl::openat(parent, name, flags, Mode::empty())?)
}

/// What the server needs to know about an export. `cover` is the device of what lies over hidden places.
fn describe(export: &Export, root: OwnedFd, cover: u64) -> usk_gofer::Export {
    usk_gofer::Export {
        root,
        mode: if export.writable { ExportMode::ReadWrite } else { ExportMode::ReadOnly },
        sharing: if export.exclusive { Sharing::Exclusive } else { Sharing::Shared },
        crossing: MountCrossing::Cross,
        owners: export.owners.clone(),
        hidden: export.hidden_names.clone().covered_by(cover),
    }
}
