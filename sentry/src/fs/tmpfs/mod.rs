//! Files in memory (`tmpfs(5)`).
//!
//! A small regular file is a byte vector in the sentry; a larger one, or one that is mapped, is a memfd of the host
//! ([`contents`]), so that mapping, holes and faults beyond the end are the host's business. Directories, symbolic links and the
//! attributes of everything are plain structures of the sentry.

mod contents;
mod directory;
mod file;
mod inode;
mod memory_file;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use usk_abi::Errno;
use usk_abi::fs::{NAME_MAX, S_ISVTX, Statfs, magic};

use crate::vfs::{FileSystem, FileType, InodeRef, NewNode, devices};

use inode::TmpfsInode;

pub(crate) use contents::read_host;
pub use memory_file::memory_file;

/// Bytes in a page: the unit in which space is counted.
const PAGE: u64 = 4096;

/// Free pages that `statfs(2)` shows where only the sandbox's memory is the limit: programs refuse to write where none are.
const UNBOUNDED_PAGES: u64 = 1 << 28;

/// How a tmpfs is mounted.
#[derive(Clone, Copy, Debug)]
pub struct TmpfsOptions {
    /// Most bytes that the contents of its files may take; `None` for no limit of its own.
    pub size: Option<u64>,
    /// Most files that it may hold; `None` for no limit of its own.
    pub files: Option<u64>,
    /// Permissions of its root.
    pub permissions: u32,
    /// Owner of its root.
    pub uid: u32,
    /// Group of its root.
    pub gid: u32,
    /// Inode number of its root; the others follow.
    pub first_inode: u64,
}

impl Default for TmpfsOptions {
    /// No limits, and a root that everybody may write to, with the sticky bit, as `/tmp` is.
    fn default() -> Self {
        TmpfsOptions { size: None, files: None, permissions: 0o777 | S_ISVTX, uid: 0, gid: 0, first_inode: 1 }
    }
}

/// What the files of one tmpfs have in common.
struct Volume {
    options: TmpfsOptions,
    device: u64,
    next_inode: AtomicU64,
    files: AtomicU64,
    pages: AtomicU64,
}

impl Volume {
    /// Counts a new file. `ENOSPC` if that is one too many.
    fn add_file(&self) -> Result<u64, Errno> {
        let before = self.files.fetch_add(1, Ordering::Relaxed);
        if self.options.files.is_some_and(|limit| before >= limit) {
            self.files.fetch_sub(1, Ordering::Relaxed);
            return Err(Errno::ENOSPC);
        }
        Ok(self.next_inode.fetch_add(1, Ordering::Relaxed))
    }

    /// Pages that may still be taken; `None` if that is not bounded.
    fn free_pages(&self) -> Option<u64> {
        let limit = self.options.size? / PAGE;
        Some(limit.saturating_sub(self.pages.load(Ordering::Relaxed)))
    }

    /// Counts that a file takes `now` pages, having taken `before`.
    fn recount(&self, before: u64, now: u64) {
        if now >= before {
            self.pages.fetch_add(now - before, Ordering::Relaxed);
        } else {
            self.pages.fetch_sub(before - now, Ordering::Relaxed);
        }
    }
}

/// A tmpfs.
pub struct Tmpfs {
    volume: Arc<Volume>,
    root: InodeRef,
}

impl Tmpfs {
    /// An empty one.
    pub fn new(options: TmpfsOptions) -> Arc<Self> {
        let volume = Arc::new(Volume {
            options,
            device: devices::allocate(),
            next_inode: AtomicU64::new(options.first_inode + 1),
            files: AtomicU64::new(1),
            pages: AtomicU64::new(0),
        });
        let node = NewNode {
            file_type: FileType::Directory,
            permissions: options.permissions,
            uid: options.uid,
            gid: options.gid,
            special_device: 0,
            target: b"",
        };
        let root = TmpfsInode::new(&volume, options.first_inode, &node, true);
        Arc::new(Tmpfs { volume, root })
    }

    /// A file system whose root is an empty regular file.
    pub fn single_file(permissions: u32) -> Arc<Self> {
        Self::single(FileType::Regular, permissions, 0)
    }

    /// A file system whose root is the file of a character device of this number.
    pub fn single_device(permissions: u32, number: u64) -> Arc<Self> {
        Self::single(FileType::CharacterDevice, permissions, number)
    }

    fn single(file_type: FileType, permissions: u32, special_device: u64) -> Arc<Self> {
        let volume = Tmpfs::new(TmpfsOptions::default()).volume.clone();
        let node = NewNode { file_type, permissions, uid: 0, gid: 0, special_device, target: b"" };
        let root = TmpfsInode::new(&volume, 2, &node, false);
        Arc::new(Tmpfs { volume, root })
    }
}

impl FileSystem for Tmpfs {
    fn type_name(&self) -> &'static str {
        "tmpfs"
    }

    fn root(&self) -> InodeRef {
        self.root.clone()
    }

    fn statistics(&self) -> Result<Statfs, Errno> {
        let options = &self.volume.options;
        let used = self.volume.pages.load(Ordering::Relaxed);
        let files = self.volume.files.load(Ordering::Relaxed);
        let free = self.volume.free_pages().unwrap_or(UNBOUNDED_PAGES);
        Ok(Statfs {
            f_type: magic::TMPFS,
            f_bsize: PAGE as i64,
            f_blocks: used + free,
            f_bfree: free,
            f_bavail: free,
            f_files: options.files.unwrap_or(0),
            f_ffree: options.files.map_or(0, |limit| limit.saturating_sub(files)),
            f_namelen: NAME_MAX as i64,
            f_frsize: PAGE as i64,
            ..Statfs::default()
        })
    }

    fn options(&self) -> String {
        let options = &self.volume.options;
        let mut text = String::new();
        if let Some(size) = options.size {
            text.push_str(&format!(",size={}k", size / 1024));
        }
        if let Some(files) = options.files {
            text.push_str(&format!(",nr_inodes={files}"));
        }
        if options.permissions != 0o777 | S_ISVTX {
            text.push_str(&format!(",mode={:03o}", options.permissions));
        }
        for (name, id) in [("uid", options.uid), ("gid", options.gid)] {
            if id != 0 {
                text.push_str(&format!(",{name}={id}"));
            }
        }
        text.trim_start_matches(',').into()
    }
}
