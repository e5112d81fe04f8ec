//! Files of the host, through the gofer.
//!
//! An *exclusive* export is changed by nobody else: names, attributes and absences are cached for good, and a directory that was
//! read once answers lookups by itself, without a round trip. Of a *shared* one nothing is believed without asking again.
//! Regular files are read, written and mapped through descriptors that the gofer donates; only opening asks the gofer.
//!
//! Descriptors are scarce. A node costs the gofer one, so nodes are held by inodes, inodes by dentries, and the dentry cache is
//! bounded. Inodes that a directory listing has announced get their node only when something needs it. A donated descriptor
//! lives as long as a file is open or mapped, and a little longer: the last few are kept for the next open.

mod ahead;
mod attributes;
mod file;
mod inode;
mod listed;
mod order;
mod row;
mod xattr;

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use hashbrown::HashMap;
use parking_lot::Mutex;
use usk_abi::Errno;
use usk_abi::fs::Statfs;

use crate::gofer::{GoferClient, Node};
use crate::vfs::{Caching, FileSystem, InodeRef, devices};

use inode::GoferInode;
use listed::{Habits, Listed};
use row::Row;
use xattr::Absences;

/// Donated descriptors that are kept although nothing uses them.
const SPARE_DESCRIPTORS: usize = 256;

/// Bytes of memory for listings of directories that are kept, for each export. An entry takes 16, its name, 20 by which it is looked up, and
/// 144 if its attributes were told.
const MAX_LISTED_MEMORY: usize = 8 << 20;

/// Listings looked at for eviction, at least, whenever something is added to too many.
const EVICTION_STEPS: usize = 16;

/// A descriptor that is kept for the next open.
struct Spare {
    /// The host's device and inode number.
    identity: (u64, u64),
    file: Arc<OwnedFd>,
    /// It was opened ahead, and not used yet.
    is_ahead: bool,
}

/// What the files of one export have in common.
struct Tree {
    device: u64,
    is_shared: bool,
    is_read_only: bool,
    /// The gofer may not give files away: new ones belong to its own user.
    owner_refused: AtomicBool,
    /// Devices of the host that were seen; the index makes inode numbers of one device of ours.
    host_devices: Mutex<Vec<u64>>,
    /// Files with several names, by the host's device and inode number.
    linked: Mutex<HashMap<(u64, u64), Weak<GoferInode>>>,
    /// Descriptors donated most recently.
    spare: Mutex<VecDeque<Spare>>,
    habits: Habits,
    absences: Absences,
    /// Bytes of memory that all listings take.
    listed_memory: Arc<AtomicUsize>,
    /// Directories whose listings are kept, the next to be looked at first.
    listed: Mutex<Row<GoferInode>>,
}

impl Tree {
    /// A number that no other file of this tree has.
    fn inode_number(&self, host_device: u64, host_inode: u64) -> u64 {
        self.inode_numbers(host_device)(host_inode)
    }

    /// The same for files of one device, by the host's inode number.
    fn inode_numbers(&self, host_device: u64) -> impl Fn(u64) -> u64 + use<> {
        let mut devices = self.host_devices.lock();
        let index = match devices.iter().position(|device| *device == host_device) {
            Some(index) => index,
            None => {
                devices.push(host_device);
                devices.len() - 1
            }
        };
        move |host_inode| host_inode ^ ((index as u64) << 56)
    }

    /// Keeps a descriptor for the next open, or the first if it was opened ahead.
    fn keep(&self, identity: (u64, u64), file: &Arc<OwnedFd>, is_ahead: bool) {
        let mut spare = self.spare.lock();
        spare.push_back(Spare { identity, file: file.clone(), is_ahead });
        let surplus = if spare.len() > SPARE_DESCRIPTORS { spare.pop_front() } else { None };
        drop(spare);
        drop(surplus);
    }

    /// A descriptor of this file that was kept. On an export that is read only: elsewhere it may be for writing, and inode
    /// numbers are used again.
    fn spare(&self, identity: (u64, u64)) -> Option<Arc<OwnedFd>> {
        let mut spare = self.spare.lock();
        let kept = spare.iter_mut().rev().find(|kept| kept.identity == identity)?;
        if std::mem::replace(&mut kept.is_ahead, false) {
            self.habits.used_ahead();
        }
        Some(kept.file.clone())
    }

    /// Notes a directory that keeps its listing of so many bytes.
    fn note_listed(&self, directory: &Weak<GoferInode>, memory: usize) {
        self.listed.lock().push(directory.clone());
        self.make_room(memory);
    }

    /// Has listings be forgotten if they take too much memory together, of which so much has been added.
    fn make_room(&self, added: usize) {
        // As many as had to be kept to take that, and each may have been used once since it was looked at last.
        for _ in 0..EVICTION_STEPS + 2 * (added / size_of::<Listed>()) {
            if self.listed_memory.load(Ordering::Relaxed) <= MAX_LISTED_MEMORY {
                break;
            }
            let Some(candidate) = self.listed.lock().pop() else { break };
            // Not under the lock: it may be the end of nodes.
            if candidate.upgrade().is_some_and(|directory| !directory.forget_listed()) {
                self.listed.lock().push(candidate);
            }
        }
    }

    /// True if nobody changes it: what was learned holds for good.
    fn is_fixed(&self) -> bool {
        self.is_read_only && !self.is_shared
    }

    fn refuses_owner(&self) -> bool {
        self.owner_refused.load(Ordering::Relaxed)
    }
}

/// One export of a gofer.
pub struct GoferFileSystem {
    tree: Arc<Tree>,
    root: Arc<GoferInode>,
}

impl GoferFileSystem {
    /// Export number `export` of `client`. `ENOENT` if there is none.
    pub fn new(client: &Arc<GoferClient>, export: usize) -> Result<Arc<Self>, Errno> {
        let description = *client.exports().get(export).ok_or(Errno::ENOENT)?;
        let (node, attributes): (Node, _) = client.root(export).ok_or(Errno::ENOENT)?;
        let tree = Arc::new(Tree {
            device: devices::allocate(),
            is_shared: description.shared,
            is_read_only: description.read_only,
            owner_refused: AtomicBool::new(false),
            host_devices: Mutex::default(),
            linked: Mutex::default(),
            spare: Mutex::default(),
            habits: Habits::default(),
            absences: Absences::default(),
            listed_memory: Arc::default(),
            listed: Mutex::default(),
        });
        let root = GoferInode::root(&tree, node, &attributes);
        Ok(Arc::new(GoferFileSystem { tree, root }))
    }

    /// True if nothing can be written.
    pub fn is_read_only(&self) -> bool {
        self.tree.is_read_only
    }
}

impl FileSystem for GoferFileSystem {
    fn type_name(&self) -> &'static str {
        "usk"
    }

    fn root(&self) -> InodeRef {
        self.root.clone()
    }

    fn caching(&self) -> Caching {
        if self.tree.is_shared { Caching::Revalidate } else { Caching::Forever }
    }

    fn statistics(&self) -> Result<Statfs, Errno> {
        let statistics = self.root.node()?.file_system()?;
        let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        Ok(Statfs {
            f_type: signed(statistics.kind),
            f_bsize: signed(statistics.block_size),
            f_blocks: statistics.blocks,
            f_bfree: statistics.blocks_free,
            f_bavail: statistics.blocks_available,
            f_files: statistics.files,
            f_ffree: statistics.files_free,
            f_namelen: signed(statistics.name_length),
            f_frsize: signed(statistics.fragment_size),
            ..Statfs::default()
        })
    }
}
