//! The inodes: the root, and the queues.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use usk_abi::Errno;
use usk_abi::fs::{OpenFlags, S_ISVTX};

use super::queue::Queue;
use super::{DEFAULT_CHARGE, Shape, Space};
use crate::vfs::{
    Attributes, Caller, FileOps, FileType, Inode, InodeCommon, InodeRef, Listing, NewNode, SetAttributes,
    Timestamp,
};

/// What `st_size` of the root counts for each queue (`DIRENT_SIZE`), and that of a queue (`FILENT_SIZE`).
const ENTRY_SIZE: u64 = 20;
const QUEUE_SIZE: u64 = 80;

/// The directory of all queues.
pub(super) struct RootInode {
    space: Arc<Space>,
    common: InodeCommon,
    state: Mutex<RootState>,
}

struct RootState {
    attributes: Attributes,
    queues: BTreeMap<Vec<u8>, Arc<QueueInode>>,
}

impl RootInode {
    pub(super) fn new(space: Arc<Space>) -> Self {
        let number = space.next_inode.fetch_add(1, Ordering::Relaxed);
        let mode = FileType::Directory.mode() | S_ISVTX | 0o777;
        let attributes = Attributes::new(space.device, number, mode, Timestamp::now());
        let state = RootState { attributes, queues: BTreeMap::new() };
        RootInode { space, common: InodeCommon::default(), state: Mutex::new(state) }
    }

    pub(super) fn of(inode: &InodeRef) -> Result<&RootInode, Errno> {
        inode.as_any().downcast_ref().ok_or(Errno::EIO)
    }

    /// Makes a queue.
    pub(super) fn make(&self, name: &[u8], node: &NewNode<'_>, shape: Shape) -> Result<InodeRef, Errno> {
        if node.file_type != FileType::Regular {
            return Err(Errno::EPERM);
        }
        let mut state = self.state.lock();
        if state.queues.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        let queue = Queue::new(&self.space, node.uid, shape)?;
        let number = self.space.next_inode.fetch_add(1, Ordering::Relaxed);
        let mode = FileType::Regular.mode() | (node.permissions & 0o7777);
        let attributes = Attributes {
            uid: node.uid,
            gid: node.gid,
            size: QUEUE_SIZE,
            ..Attributes::new(self.space.device, number, mode, Timestamp::now())
        };
        *queue.attributes.lock() = attributes;
        let inode = Arc::new(QueueInode { common: InodeCommon::default(), queue });
        state.queues.insert(name.to_vec(), inode.clone());
        state.names_changed();
        Ok(inode)
    }
}

impl RootState {
    fn names_changed(&mut self) {
        let now = Timestamp::now();
        self.attributes.size = self.queues.len() as u64 * ENTRY_SIZE;
        self.attributes.accessed = now;
        self.attributes.modified = now;
        self.attributes.changed = now;
    }
}

impl Inode for RootInode {
    fn common(&self) -> &InodeCommon {
        &self.common
    }

    fn file_type(&self) -> FileType {
        FileType::Directory
    }

    fn attributes(&self) -> Result<Attributes, Errno> {
        Ok(self.state.lock().attributes)
    }

    fn set_attributes(&self, change: &SetAttributes) -> Result<(), Errno> {
        change.apply(&mut self.state.lock().attributes);
        Ok(())
    }

    fn lookup(&self, name: &[u8]) -> Result<InodeRef, Errno> {
        match self.state.lock().queues.get(name) {
            Some(inode) => Ok(inode.clone()),
            None => Err(Errno::ENOENT),
        }
    }

    /// By `open(2)`: as the settings say.
    fn create(&self, name: &[u8], node: &NewNode<'_>) -> Result<InodeRef, Errno> {
        self.make(name, node, Shape { size: None, is_privileged: false, limit: DEFAULT_CHARGE })
    }

    fn unlink(&self, name: &[u8], child: &InodeRef) -> Result<(), Errno> {
        let removed = {
            let mut state = self.state.lock();
            let removed = state.queues.remove(name);
            state.names_changed();
            removed
        };
        // Whoever has it open keeps it.
        if let Some(inode) = child.as_any().downcast_ref::<QueueInode>() {
            inode.queue.attributes.lock().links = 0;
        }
        drop(removed);
        Ok(())
    }

    fn list(&self) -> Result<Listing, Errno> {
        let state = self.state.lock();
        let mut listing = Listing::new();
        for (name, inode) in &state.queues {
            listing.push(name, inode.queue.attributes.lock().inode, FileType::Regular);
        }
        Ok(listing)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A queue as a file.
pub(super) struct QueueInode {
    common: InodeCommon,
    queue: Arc<Queue>,
}

impl Inode for QueueInode {
    fn common(&self) -> &InodeCommon {
        &self.common
    }

    fn file_type(&self) -> FileType {
        FileType::Regular
    }

    fn attributes(&self) -> Result<Attributes, Errno> {
        Ok(*self.queue.attributes.lock())
    }

    fn set_attributes(&self, change: &SetAttributes) -> Result<(), Errno> {
        let mut attributes = self.queue.attributes.lock();
        change.apply(&mut attributes);
        attributes.size = QUEUE_SIZE;
        Ok(())
    }

    fn open(&self, _: &InodeRef, _: OpenFlags, _: Caller<'_>) -> Result<Arc<dyn FileOps>, Errno> {
        Ok(self.queue.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
