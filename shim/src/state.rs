//! The directory of a container below `--root`: what outlives each verb. A verb may be killed between any two steps, so
//! nothing here is believed to be complete: a directory without a readable state is one to delete.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, open};
use nix::sys::stat::Mode;
use serde::{Deserialize, Serialize};

use crate::cgroup::Membership;
use crate::hooks::Hook;

/// The version of the runtime specification that is spoken.
pub const OCI_VERSION: &str = "1.2.0";

const STATE_FILE: &str = "state.json";
const NEW_STATE_FILE: &str = "state.json.new";
const SOCKET: &str = "monitor.sock";
/// In runc's words, which engines look for.
const EXISTS: &str = "container with given ID already exists";
/// How long somebody who looks at a new directory may keep its maker from locking it.
const MAKE_PATIENCE: Duration = Duration::from_secs(10);
/// How often it is tried to lock a directory.
const LOCK_INTERVAL: Duration = Duration::from_millis(2);
/// Most bytes of a state.
const MAX_STATE: u64 = 4 << 20;

/// What is remembered about a container.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Its name.
    pub id: String,
    /// The process that is named as the container's: its monitor. 0 until there is one.
    pub pid: i32,
    /// When that process started, in clock ticks since the boot: with the id it names a process for good.
    pub start_time: u64,
    /// Absolute path.
    pub bundle: PathBuf,
    /// Absolute path.
    pub rootfs: PathBuf,
    /// When it was made (RFC 3339).
    pub created: String,
    /// From the configuration.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Who made it: user id.
    pub owner: u32,
    /// Its cgroups.
    pub cgroups: Membership,
    /// Nobody inside may mount: the configuration would have it show on the host.
    #[serde(default)]
    pub reaches_host: bool,
    /// Whom its users are on the host, if others than the host's.
    #[serde(default)]
    pub users: Option<Maps>,
    /// To be run in the container before its command.
    #[serde(default)]
    pub start_container: Vec<Hook>,
    /// To be run once the container runs.
    #[serde(default)]
    pub poststart: Vec<Hook>,
    /// To be run after the container is deleted.
    #[serde(default)]
    pub poststop: Vec<Hook>,
    /// What a process that joins has, unless it says otherwise: the `process` of the configuration.
    pub process: serde_json::Value,
}

/// Users and groups in the form of `/proc/PID/uid_map` (user_namespaces(7)).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Maps {
    /// Of `uid_map`.
    pub users: String,
    /// Of `gid_map`.
    pub groups: String,
}

/// The directory of one container. Its name may be another container's by the time that something is done to it: files
/// are reached by the descriptor, and it is removed by who has locked it.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    descriptor: OwnedFd,
    /// Held by who makes or deletes the container. flock(2).
    lock: Option<Flock<File>>,
}

impl Directory {
    /// Makes the directory of a container that must not exist yet, and locks it.
    pub fn make(root: &Path, id: &str) -> Result<Directory> {
        check_id(id)?;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(root)
            .with_context(|| format!("cannot make {}", root.display()))?;
        let path = root.join(id);
        // Who can reach the monitor's socket can do anything to the container.
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                bail!(EXISTS)
            }
            made => made.with_context(|| format!("cannot make {}", path.display()))?,
        }
        Directory::at(path)?.claim()
    }

    /// Locks a directory that has just been made. Who deletes may have come between; and after that somebody else, whose
    /// directory has the name now and is the one that was opened. It is a container as soon as something is remembered in it.
    fn claim(mut self) -> Result<Directory> {
        if !self.lock(MAKE_PATIENCE)? || !self.is_current() {
            bail!("the container is deleted while it is created");
        }
        if self.inside(STATE_FILE).exists() {
            bail!(EXISTS);
        }
        Ok(self)
    }

    /// The directory of a container that exists.
    pub fn open(root: &Path, id: &str) -> Result<Directory> {
        check_id(id)?;
        let path = root.join(id);
        if !path.is_dir() {
            bail!("container does not exist");
        }
        Directory::at(path)
    }

    fn at(path: PathBuf) -> Result<Directory> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let descriptor =
            open(&path, flags, Mode::empty()).with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Directory { path, descriptor, lock: None })
    }

    /// The ids of all containers below a root, in order.
    pub fn all(root: &Path) -> Result<Vec<String>> {
        let entries = match fs::read_dir(root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.with_context(|| format!("cannot list {}", root.display()))?,
        };
        let mut ids: Vec<String> = entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|id| check_id(id).is_ok())
            .collect();
        ids.sort();
        Ok(ids)
    }

    /// Waits until nobody else makes or deletes the container, and keeps others from that; false if that takes longer.
    pub fn lock(&mut self, patience: Duration) -> Result<bool> {
        let deadline = Instant::now() + patience;
        while self.lock.is_none() {
            self.lock = self.try_lock()?;
            if self.lock.is_none() && Instant::now() >= deadline {
                return Ok(false);
            }
            if self.lock.is_none() {
                std::thread::sleep(LOCK_INTERVAL);
            }
        }
        Ok(true)
    }

    /// Lets others delete the container.
    pub fn unlock(&mut self) {
        self.lock = None;
    }

    /// Whether somebody else makes or deletes the container.
    pub fn is_locked_by_another(&self) -> bool {
        self.lock.is_none() && matches!(self.try_lock(), Ok(None))
    }

    fn try_lock(&self) -> Result<Option<Flock<File>>> {
        let describe = || format!("cannot lock {}", self.path.display());
        let file = File::open(self.inside(".")).with_context(describe)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(lock)),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(errno).with_context(describe),
        }
    }

    /// Whether its name is still its own. It stays so for who has locked it.
    pub fn is_current(&self) -> bool {
        let identity = |path: &Path| fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino())).ok();
        let own = identity(&self.inside("."));
        own.is_some() && own == identity(&self.path)
    }

    /// The path of a file inside, valid in this process.
    fn inside(&self, name: &str) -> PathBuf {
        format!("/proc/self/fd/{}/{name}", self.descriptor.as_raw_fd()).into()
    }

    /// The path of the monitor's socket, short enough for an address whatever the directory's own length: valid in this
    /// process.
    pub fn socket(&self) -> PathBuf {
        self.inside(SOCKET)
    }

    /// Whether a monitor has begun to listen here.
    pub fn has_listened(&self) -> bool {
        self.socket().exists()
    }

    /// What is remembered.
    pub fn load(&self) -> Result<State> {
        let path = self.path.join(STATE_FILE);
        let read = || -> io::Result<Vec<u8>> {
            let file = File::open(self.inside(STATE_FILE))?;
            let mut bytes = Vec::new();
            io::Read::read_to_end(&mut io::Read::take(file, MAX_STATE), &mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().with_context(|| {
            format!("cannot read {}: if the container is broken, delete it with --force", path.display())
        })?;
        serde_json::from_slice(&bytes).with_context(|| {
            format!("cannot understand {}: delete the container with --force", path.display())
        })
    }

    /// Replaces what is remembered, wholly or not at all.
    pub fn save(&self, state: &State) -> Result<()> {
        let new = self.inside(NEW_STATE_FILE);
        let describe = || format!("cannot write {}", self.path.join(NEW_STATE_FILE).display());
        let bytes = serde_json::to_vec(state).with_context(describe)?;
        let mut file = File::create(&new).with_context(describe)?;
        file.write_all(&bytes).with_context(describe)?;
        fs::rename(&new, self.inside(STATE_FILE)).with_context(describe)
    }

    /// Removes the directory, which must be locked, unless it has been removed.
    pub fn remove(self) -> Result<()> {
        if !self.is_current() {
            return Ok(());
        }
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.with_context(|| format!("cannot remove {}", self.path.display())),
        }
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// When a process started, in clock ticks since the boot, unless it is a zombie or gone.
pub fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // proc_pid_stat(5): field 3 is the state, 22 the start; the name in field 2 may contain anything, so count from its
    // last parenthesis.
    let mut fields = stat.get(stat.rfind(')')? + 2..)?.split(' ');
    if matches!(fields.next()?, "Z" | "X" | "x") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Whether a name can be a container's: a name of a file without surprises.
pub fn check_id(id: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '-' | '.');
    if id.is_empty() {
        bail!("container id cannot be empty");
    }
    if id.len() > 1024 || id == "." || id == ".." || !id.chars().all(allowed) {
        bail!("invalid container ID format");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_the_root() {
        for good in ["a", "A-1_b+c.d", "..."] {
            assert!(check_id(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "/", "a b", "ä", "a\n", "a\0"] {
            assert!(check_id(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_directory_is_locked_by_one_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let mut maker = Directory::make(root.path(), "a").unwrap();
        let mut other = Directory::open(root.path(), "a").unwrap();
        assert!(other.is_locked_by_another() && !maker.is_locked_by_another());
        assert!(!other.lock(Duration::ZERO).unwrap());
        maker.unlock();
        assert!(!other.is_locked_by_another() && other.lock(Duration::ZERO).unwrap());
        assert!(maker.is_locked_by_another());
    }

    #[test]
    fn of_two_who_take_one_directory_for_their_own_one_has_it() {
        let root = tempfile::tempdir().unwrap();
        // What the other has made was deleted at once, so that this is what it opens.
        let mut first = Directory::make(root.path(), "a").unwrap();
        let second = Directory::open(root.path(), "a").unwrap();
        fs::write(first.inside(STATE_FILE), "{}").unwrap();
        first.unlock();
        assert_eq!(second.claim().unwrap_err().to_string(), EXISTS);
        assert!(first.is_current());
    }

    #[test]
    fn a_directory_is_made_once() {
        let root = tempfile::tempdir().unwrap();
        let first = Directory::make(root.path(), "a").unwrap();
        let again = Directory::make(root.path(), "a").unwrap_err();
        assert_eq!(again.to_string(), EXISTS);
        assert!(first.load().is_err());
        // Whose name is another's by now, that one is left alone.
        fs::rename(root.path().join("a"), root.path().join("b")).unwrap();
        let second = Directory::make(root.path(), "a").unwrap();
        assert!(second.is_current() && !first.is_current());
        first.remove().unwrap();
        second.remove().unwrap();
        assert_eq!(Directory::open(root.path(), "a").unwrap_err().to_string(), "container does not exist");
    }
}
