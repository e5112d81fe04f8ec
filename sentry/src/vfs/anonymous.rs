//! Files that no directory names: pipes, sockets, eventfds and their kin.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use usk_abi::Errno;
use usk_abi::fs::{OpenFlags, Statfs, magic};

use crate::file::namespace::NamespaceFile;
use crate::file::pipe::PipeEnd;
use crate::vfs::{
    Attributes, Caller, Dentry, FileOps, FileSystem, FileType, Inode, InodeCommon, InodeRef, Mount, Path,
    SetAttributes, Timestamp, devices,
};

/// The file system of such files.
pub(super) struct AnonymousFileSystem {
    type_name: &'static str,
    /// `f_type` of `statfs(2)`.
    magic: i64,
}

impl AnonymousFileSystem {
    /// That of all but namespaces.
    pub(super) const OF_OBJECTS: Self =
        AnonymousFileSystem { type_name: "anon_inodefs", magic: magic::ANON_INODE };
    /// That of namespaces, by which programs know them.
    pub(super) const OF_NAMESPACES: Self = AnonymousFileSystem { type_name: "nsfs", magic: magic::NSFS };
}

impl FileSystem for AnonymousFileSystem {
    fn type_name(&self) -> &'static str {
        self.type_name
    }

    fn root(&self) -> InodeRef {
        AnonymousInode::create(FileType::Directory, 0o500)
    }

    fn statistics(&self) -> Result<Statfs, Errno> {
        Ok(Statfs { f_type: self.magic, f_bsize: 4096, f_frsize: 4096, f_namelen: 255, ..Statfs::default() })
    }
}

/// The inode of a file that no directory names.
pub struct AnonymousInode {
    common: InodeCommon,
    attributes: Mutex<Attributes>,
    file_type: FileType,
    /// What opening it by way of `/proc/PID/fd` gives, if that is possible.
    reopened: Option<Arc<dyn FileOps>>,
}

impl AnonymousInode {
    /// A fresh inode with a number of its own.
    pub fn create(file_type: FileType, permissions: u32) -> InodeRef {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Self::numbered(file_type, permissions, NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    fn numbered(file_type: FileType, permissions: u32, inode: u64) -> Self {
        let mode = file_type.mode() | permissions;
        let attributes = Attributes::new(devices::ANONYMOUS, inode, mode, Timestamp::now());
        AnonymousInode {
            common: InodeCommon::default(),
            attributes: Mutex::new(attributes),
            file_type,
            reopened: None,
        }
    }

    /// The inode for a label such as `pipe:[17]`, `socket:[4]` or `anon_inode:[eventfd]`: the kernel's convention says what it
    /// is and what number it has.
    pub(super) fn of(label: &str, ops: &Arc<dyn FileOps>) -> InodeRef {
        let (kind, permissions) = match label.split(':').next() {
            Some("pipe") => (FileType::Fifo, 0o600),
            Some("socket") => (FileType::Socket, 0o777),
            _ if ops.as_any().is::<NamespaceFile>() => (FileType::Regular, 0o444),
            _ => (FileType::Anonymous, 0o600),
        };
        let number = label.split(['[', ']']).nth(1).and_then(|number| number.parse().ok());
        let mut inode = Self::numbered(kind, permissions, number.unwrap_or(1));
        if let Some(end) = ops.as_any().downcast_ref::<PipeEnd>() {
            return end.pipe().inode(|| {
                *inode.common.special.lock() = Some(end.pipe().clone());
                Arc::new(inode)
            });
        }
        inode.reopened = ops.can_be_reopened().then(|| ops.clone());
        Arc::new(inode)
    }
}

impl Inode for AnonymousInode {
    fn common(&self) -> &InodeCommon {
        &self.common
    }

    fn file_type(&self) -> FileType {
        self.file_type
    }

    fn attributes(&self) -> Result<Attributes, Errno> {
        Ok(*self.attributes.lock())
    }

    fn set_attributes(&self, change: &SetAttributes) -> Result<(), Errno> {
        change.apply(&mut self.attributes.lock());
        Ok(())
    }

    fn open(
        &self,
        _this: &InodeRef,
        _flags: OpenFlags,
        _caller: Caller<'_>,
    ) -> Result<Arc<dyn FileOps>, Errno> {
        self.reopened.clone().ok_or(Errno::ENXIO)
    }

    fn opens_itself(&self) -> bool {
        self.reopened.is_some()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The path of a file of this label that no directory names.
pub(crate) fn path_without_name(label: &str, ops: &Arc<dyn FileOps>) -> Path {
    let is_namespace = ops.as_any().is::<NamespaceFile>();
    let mount = if is_namespace { Mount::of_namespaces() } else { Mount::anonymous() };
    path_on(mount, label, AnonymousInode::of(label, ops))
}

/// The path of a file that no directory names.
pub(super) fn anonymous_path(label: &str, inode: InodeRef) -> Path {
    path_on(Mount::anonymous(), label, inode)
}

fn path_on(mount: &Arc<Mount>, label: &str, inode: InodeRef) -> Path {
    let dentry = Dentry::disconnected(mount.root.block(), label.as_bytes(), inode);
    Path { mount: mount.clone(), dentry }
}
