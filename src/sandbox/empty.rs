//! Namespaces in which there is nothing, which all sandboxes of a privileged caller have in common.
//!
//! A network takes the host longer to make, and to unmake, than anything else that a sandbox consists of; letting go of a copy of the
//! host's mounts comes next ([why](../../docs/decisions/0052-namespaces-in-which-there-is-nothing.md)). So the first sandbox
//! leaves those behind that any other would make again: they are mounted on files below `/run/usk`, as `ip netns` does it. Whoever can
//! put something there is root, and what is there is looked at before it is used. Where there is no such place, or not
//! what should be there, a sandbox makes its own.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, umount2};
use nix::sys::statfs::{NSFS_MAGIC, TMPFS_MAGIC, fstatfs, statfs};
use nix::sys::statvfs::FsFlags;
use usk_abi::Errno;
use usk_platform::host::child::{self, ChildProcess, Spawned};
use usk_platform::host::is_network_empty;
use usk_platform::host::mounts::{self, Whereabouts};
use usk_platform::host::namespaces::{self, Namespaces};

use super::gofer::GOFER_JOINS;
use super::sentry::enter_empty_root;

/// The kinds, and what they are called here and in `/proc/PID/ns`.
const KINDS: [(&str, Namespaces); 4] = [
    ("net", Namespaces::NETWORK),
    ("ipc", Namespaces::IPC),
    ("uts", Namespaces::UTS),
    ("mnt", Namespaces::MOUNT),
];

/// All of them.
pub(super) const EMPTY: Namespaces = GOFER_JOINS.and(Namespaces::MOUNT);

/// Where they are kept.
pub(crate) const DIRECTORY: &str = "/run/usk";

/// How long it is not tried again to make them. A host refuses to keep a mount namespace among mounts that it takes to be younger, which
/// can happen in those of a container; and trying takes milliseconds.
const PAUSE: Duration = Duration::from_mins(1);

/// How often it is tried to remove them while sandboxes that start make them.
const REMOVALS_MAX: usize = 10;

/// One of each kind, and the way back from them.
pub(super) struct EmptyNamespaces {
    /// In the order of [`KINDS`].
    namespaces: [File; KINDS.len()],
    home: Whereabouts,
}

impl EmptyNamespaces {
    /// Those of the host, which are made if there are none yet. `None` if they cannot be. The caller must be privileged, and have one
    /// thread.
    pub(super) fn of_host() -> Option<EmptyNamespaces> {
        find().or_else(|_| make().and_then(|()| find())).ok()
    }

    /// Moves this process, which has one thread, into them, until the returned visit ends: what it forks meanwhile is born there.
    /// `None` if that is not possible, or there is something in them: what follows must not use them, and this process is among the mounts
    /// that it was among.
    pub(super) fn enter(&self) -> Result<Option<Visit<'_>>, Errno> {
        let [net, ipc, uts, mnt] = &self.namespaces;
        let join = |file: &File, kind| namespaces::join(file.as_fd(), kind).is_ok();
        let is_inside = join(net, Namespaces::NETWORK)
            && join(ipc, Namespaces::IPC)
            && join(uts, Namespaces::UTS)
            && is_network_empty() == Ok(true)
            && join(mnt, Namespaces::MOUNT);
        if !is_inside {
            return Ok(None);
        }
        if !is_root_empty() {
            self.home.go_back()?;
            return Ok(None);
        }
        Ok(Some(Visit { home: &self.home }))
    }
}

/// A stay among no mounts.
pub(super) struct Visit<'a> {
    home: &'a Whereabouts,
}

impl Visit<'_> {
    /// Goes back to the host's mounts. The other kinds stay.
    pub(super) fn end(self) -> Result<(), Errno> {
        self.home.go_back()
    }
}

/// Takes away what sandboxes have left to others, until the next one does it again. Those that run stay where they are, and one that is
/// starting makes its own. Returns whether there was anything that is the caller's to remove.
pub(crate) fn remove_empty_namespaces() -> Result<bool> {
    match open_directory() {
        Ok(directory) => check_directory(&directory)?,
        // Without any, or without the right to look at them.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
            return Ok(false);
        }
        Err(error) => return Err(error.into()),
    }
    for _ in 0..REMOVALS_MAX {
        KINDS.iter().try_for_each(|(name, _)| remove(&place(name)))?;
        match fs::remove_dir(DIRECTORY) {
            // Somebody has made one meanwhile.
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {}
            removed => return ignore_missing(removed).map(|()| true),
        }
    }
    bail!("there is more in it than usk has left")
}

/// Removes a file, with all that is mounted on it.
fn remove(file: &Path) -> Result<()> {
    unmount_all(file)?;
    ignore_missing(fs::remove_file(file))
}

fn unmount_all(file: &Path) -> Result<(), nix::errno::Errno> {
    loop {
        match umount2(file, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            // Nothing is mounted there any more, or nothing is there.
            Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn ignore_missing(removed: io::Result<()>) -> Result<()> {
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

fn find() -> Result<EmptyNamespaces> {
    check_directory(&open_directory()?)?;
    let find = |name| {
        let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NOFOLLOW.bits()).open(place(name))?;
        ensure!(fstatfs(&file)?.filesystem_type() == NSFS_MAGIC, "there is no namespace");
        // It would be empty only by chance.
        ensure!(file.metadata()?.ino() != fs::metadata(own(name))?.ino(), "the caller's own is no empty one");
        Ok(file)
    };
    let [net, ipc, uts, mnt] = KINDS.map(|(name, _)| find(name));
    Ok(EmptyNamespaces { namespaces: [net?, ipc?, uts?, mnt?], home: Whereabouts::current()? })
}

fn place(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

fn own(name: &str) -> PathBuf {
    Path::new("/proc/self/ns").join(name)
}

fn open_directory() -> io::Result<File> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
    OpenOptions::new().read(true).custom_flags(flags.bits()).open(DIRECTORY)
}

/// Nobody but the caller can have put there what is there.
fn check_directory(directory: &File) -> Result<()> {
    let status = directory.metadata()?;
    ensure!(status.uid() == 0 && status.mode() & 0o022 == 0, "others can write to {DIRECTORY}");
    Ok(())
}

fn make() -> Result<()> {
    let is_new = match DirBuilder::new().mode(0o700).create(DIRECTORY) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error.into()),
        created => created.is_ok(),
    };
    let directory = open_directory()?;
    check_directory(&directory)?;
    let tried = directory.metadata()?.modified()?.elapsed();
    ensure!(
        is_new || tried.is_ok_and(|ago| ago >= PAUSE),
        "they could not be made a moment ago, or are being made"
    );
    directory.set_modified(SystemTime::now())?;
    let founder = Founder::start()?;
    // The last is the one that the host may refuse: then nothing has been left.
    let kept = KINDS.iter().rev().try_for_each(|(name, _)| founder.leave(name));
    founder.end()?;
    kept
}

/// A process that is in new namespaces, and stays until they are kept by others.
struct Founder {
    process: ChildProcess,
    /// It ends when this is closed.
    stay: io::PipeWriter,
}

impl Founder {
    fn start() -> Result<Founder> {
        let ((mut made, mut make), (mut stayed, stay)) = (io::pipe()?, io::pipe()?);
        match child::spawn(EMPTY, None)? {
            Spawned::Parent(process) => {
                drop((make, stayed));
                let founder = Founder { process, stay };
                if made.read_exact(&mut [0]).is_err() {
                    founder.end()?;
                    bail!("they cannot be made");
                }
                Ok(founder)
            }
            Spawned::Child => {
                drop((made, stay));
                let is_made = mounts::make_all_private().is_ok()
                    && enter_empty_root().is_ok()
                    && make.write_all(&[1]).is_ok();
                if is_made {
                    let _ = stayed.read(&mut [0]);
                }
                child::exit(i32::from(!is_made))
            }
        }
    }

    /// Mounts its namespace of this kind where all sandboxes look for it.
    fn leave(&self, name: &str) -> Result<()> {
        let namespace: OwnedFd = File::open(format!("/proc/{}/ns/{name}", self.process.pid()))?.into();
        let namespace = mounts::clone_mount(namespace.as_fd())?;
        // What lies there already may be a namespace, which cannot be written to.
        let mut options = OpenOptions::new();
        match options.write(true).create_new(true).mode(0o400).open(place(name)) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error.into()),
            _ => {}
        }
        // Something of an earlier time is missing, and the rest of it would stay below this.
        unmount_all(&place(name))?;
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
        let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(place(name))?;
        Ok(mounts::attach(namespace.as_fd(), file.as_fd())?)
    }

    fn end(self) -> Result<()> {
        drop(self.stay);
        self.process.wait().map(drop).context("cannot wait for a process of its own")
    }
}

/// A directory in which nothing is and nothing can be made. Of its file system, one file is in use: the directory.
fn is_root_empty() -> bool {
    let kept = FsFlags::ST_RDONLY | FsFlags::ST_NODEV | FsFlags::ST_NOSUID | FsFlags::ST_NOEXEC;
    statfs("/").is_ok_and(|root| {
        root.filesystem_type() == TMPFS_MAGIC
            && root.flags().contains(kept)
            && root.files().checked_sub(root.files_free()) == Some(1)
    })
}
