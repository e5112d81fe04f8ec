//! Names and files: mounts, dentries, inodes, open files, descriptor tables.
//!
//! A file system is a tree of [`Inode`]s. The VFS puts a tree of [`Dentry`]s over it, which are the names as far as they are
//! known, and mounts such trees into each other ([`MountNamespace`]). A [`Path`] is a dentry seen through a mount. What a task may
//! call what is its [`FsContext`]; with its credentials that makes a [`NameContext`], whose methods are the operations on
//! names: walking ([`NameContext::resolve`]), opening, creating, linking, removing, renaming, changing attributes. They check
//! permission and the rules that hold on every file system, and leave the rest to the inode.
//!
//! An opened file is an [`OpenFile`] with a [`FileOps`] object; an [`FdTable`] numbers open files. Objects that no
//! directory names (pipes, sockets, …) have an inode and a dentry only when somebody asks for them.
//!
//! Locks: see [`dentry`](Dentry) and the table in the crate's comment.

mod anonymous;
mod arrivals;
mod attributes;
mod boot;
mod borrowers;
mod change;
mod claims;
mod create;
mod dentry;
pub mod devices;
mod directory_file;
mod dirent;
mod fd_table;
mod fs_context;
mod holder;
mod inode;
mod known_names;
#[cfg(test)]
mod known_names_tests;
mod listing;
mod locks;
mod mount;
pub mod notify;
mod open;
mod open_file;
#[cfg(test)]
mod oracle_tests;
mod path;
mod permission;
mod remove;
mod rename;
mod special;
#[cfg(test)]
mod tests;
mod walk;
mod xattr;

pub use anonymous::AnonymousInode;
pub(crate) use anonymous::path_without_name;
pub(crate) use arrivals::hurry;
pub use arrivals::{Arrivals, Front, Reader};
pub use attributes::{Attributes, FileType, SetAttributes, Timestamp};
pub use boot::SpecialFile;
pub use borrowers::{Borrower, Borrowers, Recall};
pub use change::{TimeChange, drop_privileges, is_real_user, real_credentials};
pub use claims::{Exclusion, FileClaim};
use dentry::PlacesAsOf;
pub use dentry::{Dentry, SuperBlock};
pub use directory_file::DirectoryFile;
pub(crate) use fd_table::FirstSlots;
pub use fd_table::{FdTable, MAX_DESCRIPTORS};
pub use fs_context::FsContext;
pub(crate) use fs_context::FsHold;
pub use holder::{Holder, Released};
pub use inode::{
    Caching, Caller, FileSystem, Inode, InodeCommon, InodeRef, KnownFile, Link, NewNode, Rename,
};
pub(crate) use known_names::NameChange;
pub use known_names::{LookedUp, Mark, NamesAsOf};
pub use listing::{DirectoryEntry, Listing};
pub use locks::{FileLocks, LockOwner, RecordLock, TO_THE_END};
pub use mount::{Mount, MountFlags, MountNamespace};
pub use open::OpenHow;
pub use open_file::{CloseWatcher, FileOps, LateWrite, Mapping, OWN_POSITION, OpenFile};
pub use path::{Path, SeenName};
pub use permission::{Access, check_inode, check_path, is_owner};
pub use special::{Device, DeviceOpening, SpecialFiles};
pub use walk::{NameContext, WalkOptions};
pub(crate) use xattr::{file_capabilities, has_capabilities};
