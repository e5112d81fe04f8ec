//! The directories that a run needs: programs and inputs, which every sandbox sees where the host has them; a scratch
//! directory for native runs; bundles and a root for container runtimes.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use nix::fcntl::{OFlag, open};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::stat::Mode;
use usk_platform::host::mounts::{self, MountAttributes};

/// Where the inputs lie: not in `/tmp`, which is each sandbox's own.
const PARENT: &str = "/var/tmp";
/// What every sandbox has at `/tmp` is a tmpfs; so is this on most machines.
const SCRATCH_PARENT: &str = "/dev/shm";
/// Where programs are looked for, in every runtime alike.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Where Debian puts PostgreSQL's own programs, one directory a version.
const POSTGRESQL: &str = "/usr/lib/postgresql";

/// The directories of one run. Dropping it removes them.
#[derive(Debug)]
pub(crate) struct Place {
    directory: PathBuf,
    native_scratch: PathBuf,
    root: Option<Root>,
    count: AtomicU64,
}

/// The host's root as a directory of its own, for runtimes that cannot take `/`. It is mounted in a mount namespace that
/// only those runtimes are started in: the others' starts do not pay for it, and it can never be seen from outside.
#[derive(Debug)]
struct Root {
    directory: PathBuf,
    namespace: fs::File,
}

impl Place {
    /// Makes the directories.
    pub(crate) fn new() -> Result<Place> {
        let name = format!("usk-bench-{}", std::process::id());
        let directory = Path::new(PARENT).join(&name);
        let parent = if Path::new(SCRATCH_PARENT).is_dir() { SCRATCH_PARENT } else { "/tmp" };
        let native_scratch = Path::new(parent).join(&name);
        let place = Place { directory, native_scratch, root: None, count: AtomicU64::new(0) };
        for directory in [place.inputs(), place.bundles(), place.native_scratch.clone()] {
            fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        }
        // Some commands run as another user, who must be able to write here as in a sandbox's /tmp.
        fs::set_permissions(&place.native_scratch, fs::Permissions::from_mode(0o1777))?;
        Ok(place)
    }

    /// Where built programs lie.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Files that every sandbox can read, under this name.
    pub(crate) fn inputs(&self) -> PathBuf {
        self.directory.join("inputs")
    }

    /// The native runs' counterpart of a sandbox's `/tmp`.
    pub(crate) fn native_scratch(&self) -> &Path {
        &self.native_scratch
    }

    /// Container bundles, and what the runtimes remember about containers.
    pub(crate) fn bundles(&self) -> PathBuf {
        self.directory.join("bundles")
    }

    /// A number that no caller has had.
    pub(crate) fn next_number(&self) -> u64 {
        self.count.fetch_add(1, Ordering::Relaxed)
    }

    /// Removes what native runs have left.
    pub(crate) fn clean_scratch(&self) {
        let Ok(entries) = fs::read_dir(&self.native_scratch) else { return };
        for entry in entries.flatten() {
            let path = entry.path();
            // What cannot be removed now is tried again when the run is over.
            let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        }
    }

    /// The environment of everything that is measured.
    pub(crate) fn environment(&self, scratch: &Path) -> Vec<(String, String)> {
        let mut path = PATH.to_owned();
        for version in fs::read_dir(POSTGRESQL).into_iter().flatten().flatten() {
            path += &format!(":{}", version.path().join("bin").display());
        }
        let scratch = scratch.display().to_string();
        [
            ("PATH", path),
            ("HOME", scratch.clone()),
            ("TMPDIR", scratch),
            ("LANG", "C.UTF-8".into()),
            ("INPUTS", self.inputs().display().to_string()),
        ]
        .into_iter()
        .map(|(name, value)| (name.into(), value))
        .collect()
    }

    /// The program of that name, as every runtime would find it.
    pub(crate) fn find_program(&self, name: &str) -> Option<PathBuf> {
        let environment = self.environment(Path::new("/"));
        let (_, path) = environment.iter().find(|(name, _)| name == "PATH")?;
        path.split(':').map(|directory| Path::new(directory).join(name)).find(|path| path.is_file())
    }

    /// Makes the root for container runtimes, as root.
    pub(crate) fn make_root(&mut self) -> Result<()> {
        let directory = PathBuf::from(format!("{}-root", self.directory.display()));
        fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        // A thread of its own, because unsharing mounts lasts as long as the thread that did it.
        let made = std::thread::scope(|scope| scope.spawn(|| private_root(&directory)).join());
        let namespace = match made {
            Ok(made) => made.context("cannot mount the host's root again")?,
            Err(_) => anyhow::bail!("cannot mount the host's root again: the thread that does it failed"),
        };
        self.root = Some(Root { directory, namespace });
        Ok(())
    }

    /// Where the root for container runtimes is, in the namespace that [`spawn_with_root`](Self::spawn_with_root) uses.
    pub(crate) fn root(&self) -> Option<&Path> {
        self.root.as_ref().map(|root| root.directory.as_path())
    }

    /// Starts a command that can see [`root`](Self::root).
    pub(crate) fn spawn_with_root(&self, command: &mut Command) -> io::Result<Child> {
        let Some(root) = &self.root else { return command.spawn() };
        let namespace = root.namespace.as_fd();
        let in_thread = || {
            unshare(CloneFlags::CLONE_FS)?;
            setns(namespace, CloneFlags::CLONE_NEWNS)?;
            command.spawn()
        };
        let spawned = std::thread::scope(|scope| scope.spawn(in_thread).join());
        spawned.unwrap_or_else(|_| Err(io::Error::other("the thread that starts it failed")))
    }
}

/// In a new mount namespace of the calling thread: the host's root, all of it, read-only, at `place`. Returns the namespace.
fn private_root(place: &Path) -> Result<fs::File> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mounts::make_all_private()?;
    let tree = mounts::clone_tree(c"/")?;
    mounts::restrict(tree.as_fd(), MountAttributes { read_only: true, ..MountAttributes::default() }, true)?;
    let place = open(place, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    mounts::attach(tree.as_fd(), place.as_fd())?;
    Ok(fs::File::open("/proc/thread-self/ns/mnt")?)
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(root) = &self.root {
            // Only ever an empty directory: with the host's root mounted in it, this fails.
            let _ = fs::remove_dir(&root.directory);
        }
        for directory in [&self.directory, &self.native_scratch] {
            let _ = fs::remove_dir_all(directory);
        }
    }
}
