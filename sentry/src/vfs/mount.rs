//! Mounts: which file system shows where, and with which flags.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use bitflags::bitflags;
use hashbrown::HashMap;
use parking_lot::RwLock;
use usk_abi::Errno;
use usk_abi::fs::statfs_flags::{ST_NODEV, ST_NOEXEC, ST_NOSUID, ST_RDONLY, ST_RELATIME, ST_VALID};

use crate::vfs::anonymous::AnonymousFileSystem;
use crate::vfs::{Dentry, FileSystem, NameChange, Path, SpecialFiles, SuperBlock};

bitflags! {
    /// Options of a mount (not of its file system).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct MountFlags: u32 {
        /// Nothing can be written through it.
        const READ_ONLY = 1;
        /// Set-user-ID and set-group-ID bits and file capabilities mean nothing.
        const NO_SUID = 2;
        /// Device files cannot be opened.
        const NO_DEVICES = 4;
        /// Nothing can be executed.
        const NO_EXECUTE = 8;
    }
}

impl MountFlags {
    /// As `statfs(2)` shows them.
    pub fn statfs(self) -> i64 {
        let pairs = [
            (MountFlags::READ_ONLY, ST_RDONLY),
            (MountFlags::NO_SUID, ST_NOSUID),
            (MountFlags::NO_DEVICES, ST_NODEV),
            (MountFlags::NO_EXECUTE, ST_NOEXEC),
        ];
        pairs
            .into_iter()
            .filter(|(flag, _)| self.contains(*flag))
            .fold(ST_VALID | ST_RELATIME, |all, (_, bit)| all | bit)
    }

    /// As `/proc/self/mounts` shows them, such as `ro,nosuid,relatime`.
    pub fn options(self) -> String {
        let mut options = String::from(if self.contains(MountFlags::READ_ONLY) { "ro" } else { "rw" });
        for (flag, name) in [
            (MountFlags::NO_SUID, ",nosuid"),
            (MountFlags::NO_DEVICES, ",nodev"),
            (MountFlags::NO_EXECUTE, ",noexec"),
        ] {
            if self.contains(flag) {
                options.push_str(name);
            }
        }
        options.push_str(",relatime");
        options
    }
}

/// A tree (or a single file) that shows at a place.
pub struct Mount {
    /// Its number, as in `/proc/self/mountinfo`.
    pub id: u64,
    /// What shows.
    pub root: Arc<Dentry>,
    /// Where: on top of this. `None` for the root of the tree of mounts.
    pub parent: Option<Path>,
    /// Its options.
    pub flags: MountFlags,
    /// What it says it was mounted from.
    pub source: String,
}

impl Mount {
    fn new(root: Arc<Dentry>, parent: Option<Path>, flags: MountFlags, source: &str) -> Arc<Self> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Arc::new(Mount { id, root, parent, flags, source: source.into() })
    }

    /// The mount of the files that no directory names, but for namespaces.
    pub fn anonymous() -> &'static Arc<Mount> {
        static MOUNT: LazyLock<Arc<Mount>> =
            LazyLock::new(|| Mount::internal(Arc::new(AnonymousFileSystem::OF_OBJECTS)).mount);
        &MOUNT
    }

    /// The mount of namespaces as files.
    pub(super) fn of_namespaces() -> &'static Arc<Mount> {
        static MOUNT: LazyLock<Arc<Mount>> =
            LazyLock::new(|| Mount::internal(Arc::new(AnonymousFileSystem::OF_NAMESPACES)).mount);
        &MOUNT
    }

    /// A file system that the kernel uses by itself, wherever else it is mounted.
    pub(crate) fn internal(file_system: Arc<dyn FileSystem>) -> Path {
        let root = SuperBlock::mount_root(file_system);
        Path { dentry: root.clone(), mount: Mount::new(root, None, MountFlags::empty(), "none") }
    }

    /// The file system whose tree shows.
    pub fn file_system(&self) -> &Arc<dyn FileSystem> {
        &self.root.block().file_system
    }

    /// `EROFS` if nothing can be written through it.
    pub fn check_writable(&self) -> Result<(), Errno> {
        if self.flags.contains(MountFlags::READ_ONLY) { Err(Errno::EROFS) } else { Ok(()) }
    }
}

#[derive(Default)]
struct Mounts {
    /// In the order in which they were mounted.
    list: Vec<Arc<Mount>>,
    /// By the mount and the dentry (its address) that they are on top of.
    by_place: HashMap<(u64, usize), Arc<Mount>>,
}

/// A tree of mounts (`mount_namespaces(7)`).
pub struct MountNamespace {
    mounts: RwLock<Mounts>,
    root: Arc<Mount>,
    /// What opening a device or a FIFO of this namespace means.
    pub special: SpecialFiles,
}

impl MountNamespace {
    /// A namespace with one mount, its root.
    pub fn new(file_system: Arc<dyn FileSystem>, flags: MountFlags, source: &str) -> Arc<Self> {
        let root = Mount::new(SuperBlock::mount_root(file_system), None, flags, source);
        let mounts = Mounts { list: vec![root.clone()], by_place: HashMap::new() };
        Arc::new(MountNamespace { mounts: RwLock::new(mounts), root, special: SpecialFiles::default() })
    }

    /// The root of the whole tree, with whatever is mounted on top of it.
    pub fn root(&self) -> Path {
        self.topmost(Path { mount: self.root.clone(), dentry: self.root.root.clone() })
    }

    /// Mounts `root`, a whole file system ([`SuperBlock::mount_root`]) or any place in a mounted one, on top of `at`.
    pub fn mount(
        &self,
        at: &Path,
        root: Arc<Dentry>,
        flags: MountFlags,
        source: &str,
    ) -> Result<Path, Errno> {
        // A directory goes on a directory, anything else on anything else.
        if at.dentry.require()?.file_type() != root.require()?.file_type()
            && (at.dentry.is_directory() || root.is_directory())
        {
            return Err(Errno::ENOTDIR);
        }
        if at.dentry.is_deleted() {
            return Err(Errno::ENOENT);
        }
        let at = self.topmost(at.clone());
        let mut mounts = self.mounts.write();
        let place = (at.mount.id, Arc::as_ptr(&at.dentry).addr());
        if mounts.by_place.contains_key(&place) {
            return Err(Errno::EBUSY);
        }
        let _change = NameChange::begin();
        at.dentry.count_mount();
        let mount = Mount::new(root, Some(at), flags, source);
        mounts.by_place.insert(place, mount.clone());
        mounts.list.push(mount.clone());
        Ok(Path { dentry: mount.root.clone(), mount })
    }

    /// All mounts, in the order in which they were made.
    pub fn mounts(&self) -> Vec<Arc<Mount>> {
        self.mounts.read().list.clone()
    }

    /// What one sees at `path`: the root of what is mounted there, and of what is mounted on that.
    pub fn topmost(&self, mut path: Path) -> Path {
        while path.dentry.is_mount_point() {
            let place = (path.mount.id, Arc::as_ptr(&path.dentry).addr());
            let Some(mount) = self.mounts.read().by_place.get(&place).cloned() else { break };
            path = Path { dentry: mount.root.clone(), mount };
        }
        path
    }
}
