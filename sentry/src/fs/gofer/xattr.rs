//! Extended attributes of an export that nobody changes. Hardly a file has any, and `ls -l` and `cp -a` ask for several of each: which ones
//! a file has is found out once, and of the entries of a directory together.

use std::sync::atomic::{AtomicBool, Ordering};

use hashbrown::HashMap;
use parking_lot::Mutex;
use usk_abi::Errno;
use usk_abi::capability::XATTR_NAME_CAPS;

use super::inode::GoferInode;
use super::listed::Listed;
use crate::gofer::{FileIn, MAX_OPENED, Name, XattrName};
use crate::vfs::{FileType, Inode};

/// Longest list of names, in bytes, that is kept for a file.
const MAX_KEPT: usize = 1024;

/// Most errors that are kept for an export.
const MAX_ABSENCES: usize = 64;

/// What the host says of an attribute that a file does not have depends on the file system, the type of the file and the attribute:
/// `ENODATA`, or `EOPNOTSUPP` where there can be none.
#[derive(Default)]
pub(super) struct Absences(Mutex<Vec<Absence>>);

struct Absence {
    /// The host's device.
    device: u64,
    file_type: FileType,
    name: Box<[u8]>,
    errno: Errno,
}

/// Which entries of a directory have no extended attributes at all.
#[derive(Default)]
pub(super) struct Without {
    /// A bit for each of [`MAX_OPENED`] entries that were asked about together, by the number of the first, divided by that.
    groups: Mutex<HashMap<usize, u64>>,
    /// Somebody has asked for a file's capabilities, as whoever executes it does.
    is_asked_for_capabilities: AtomicBool,
}

const _: () = assert!(MAX_OPENED == u64::BITS as usize);

impl Absences {
    fn of(&self, inode: &GoferInode, name: &[u8]) -> Option<Errno> {
        let is_it = |absence: &&Absence| {
            absence.device == inode.identity.0
                && absence.file_type == inode.file_type()
                && *absence.name == *name
        };
        self.0.lock().iter().find(is_it).map(|absence| absence.errno)
    }

    fn note(&self, inode: &GoferInode, name: &[u8], errno: Errno) {
        let is_known = self.of(inode, name).is_some();
        let mut all = self.0.lock();
        if !is_known && all.len() < MAX_ABSENCES {
            let (device, file_type) = (inode.identity.0, inode.file_type());
            all.push(Absence { device, file_type, name: name.into(), errno });
        }
    }
}

impl GoferInode {
    /// The value of an attribute.
    pub(super) fn xattr(&self, name: &[u8]) -> Result<Vec<u8>, Errno> {
        let is_fixed = self.tree.is_fixed();
        if is_fixed
            && let Some(absent) = self.tree.absences.of(self, name)
            && !self.names_for(name)?.split(|byte| *byte == 0).any(|held| held == name)
        {
            return Err(absent);
        }
        let answer = if name == XATTR_NAME_CAPS { self.capabilities() } else { self.ask_xattr(name) };
        if is_fixed && let Err(errno @ (Errno::ENODATA | Errno::EOPNOTSUPP)) = answer {
            self.tree.absences.note(self, name, errno);
        }
        answer
    }

    /// The names of all attributes, each followed by NUL.
    pub(super) fn xattr_names(&self) -> Result<Vec<u8>, Errno> {
        self.names_for(&[])
    }

    /// The same for a question about one of them.
    fn names_for(&self, name: &[u8]) -> Result<Vec<u8>, Errno> {
        if !self.tree.is_fixed() {
            return self.node()?.list_xattrs();
        }
        if let Some(known) = self.known_xattrs.get() {
            return Ok(known.to_vec());
        }
        let has_none = self.is_told_without_xattrs(name);
        let names = if has_none { Vec::new() } else { self.node()?.list_xattrs()? };
        if names.len() <= MAX_KEPT {
            let _ = self.known_xattrs.set(names.as_slice().into());
        }
        Ok(names)
    }

    pub(super) fn ask_xattr(&self, name: &[u8]) -> Result<Vec<u8>, Errno> {
        self.node()?.get_xattr(XattrName::new(name)?)
    }

    /// Whether the gofer says so of an entry of a directory that was read as a whole. An error is for the question about this file to meet.
    fn is_told_without_xattrs(&self, wanted: &[u8]) -> bool {
        let Some((directory, name)) = self.listed_at() else { return false };
        let Some(listed) = directory.listed() else { return false };
        // Whoever executes a file asks about no other one.
        let asked = &listed.without_xattrs.is_asked_for_capabilities;
        if wanted == XATTR_NAME_CAPS && !asked.swap(true, Ordering::Relaxed) {
            return false;
        }
        listed.is_without_xattrs(&name, |entries| directory.check_xattrs(entries)).unwrap_or(false)
    }

    /// Which entries of this directory have none.
    fn check_xattrs(&self, entries: &[&[u8]]) -> Result<Vec<bool>, Errno> {
        let node = self.node()?;
        let parent = node.id();
        let mut files = Vec::with_capacity(entries.len());
        for name in entries {
            files.push(FileIn { parent, name: Name::new(name)? });
        }
        node.check_xattrs(&files)
    }
}

impl Listed {
    /// Whether the entry of this name has no extended attributes; `ask` says of which of several that is so. `ENOENT` if there is no such
    /// entry.
    fn is_without_xattrs(
        &self,
        name: &[u8],
        ask: impl FnOnce(&[&[u8]]) -> Result<Vec<bool>, Errno>,
    ) -> Result<bool, Errno> {
        let index = self.find(name).ok_or(Errno::ENOENT)?;
        let (group, bit) = (index / MAX_OPENED, index % MAX_OPENED);
        let known = self.without_xattrs.groups.lock().get(&group).copied();
        let without = match known {
            Some(known) => known,
            None => {
                let entries = (group * MAX_OPENED..self.listing.len()).take(MAX_OPENED);
                let names: Vec<&[u8]> = entries.filter_map(|at| Some(self.listing.get(at)?.name)).collect();
                let answers = ask(&names)?;
                let without = answers.iter().rev().fold(0, |bits, none| bits << 1 | u64::from(*none));
                self.without_xattrs.groups.lock().insert(group, without);
                without
            }
        };
        Ok(without & 1 << bit != 0)
    }
}
