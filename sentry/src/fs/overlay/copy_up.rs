//! Copying a lower file up when it is changed.

use std::sync::Arc;

use usk_abi::Errno;
use usk_abi::fs::{OpenFlags, XATTR_CREATE};

use super::inode::{OverlayInode, Upper};
use crate::task::Credentials;
use crate::vfs::{Caller, FileOps, FileSystem, FileType, InodeRef, Link, NewNode, OpenFile, SetAttributes};
use crate::{BytesSource, TransitSink};

/// How much of a file is copied up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CopyUp {
    /// Attributes only: the contents stay below.
    Attributes,
    /// The contents, too.
    Contents,
    /// The contents are about to be cut off: there will be none.
    Empty,
}

impl OverlayInode {
    /// Gives the file an upper one, as far as it has none yet, and pins it. Returns the upper file.
    pub(super) fn copy_up(&self, extent: CopyUp) -> Result<InodeRef, Errno> {
        if let Some(upper) = self.upper()
            && (upper.has_contents || extent == CopyUp::Attributes)
        {
            return Ok(upper.inode);
        }
        let _copying = self.copying.lock();
        let upper = match self.upper() {
            Some(upper) => upper,
            None => {
                let inode = self.copy_attributes()?;
                let has_contents = self.kind() != FileType::Regular;
                self.set_upper(Upper { inode, has_contents })
            }
        };
        self.keep();
        if !upper.has_contents && extent != CopyUp::Attributes {
            if extent == CopyUp::Contents {
                self.copy_contents(&upper.inode)?;
            }
            self.set_upper(Upper { has_contents: true, ..upper.clone() });
        }
        Ok(upper.inode)
    }

    /// A fresh upper file with the lower one's attributes.
    fn copy_attributes(&self) -> Result<InodeRef, Errno> {
        let lower = self.lower().ok_or(Errno::EIO)?;
        let attributes = lower.attributes()?;
        let credentials = Credentials::user(0, 0);
        let target = match lower.file_type() {
            FileType::Symlink => match lower.read_link(Caller { credentials: &credentials, task: None })? {
                Link::Target(target) => target,
                Link::Magic(_) => return Err(Errno::EPERM),
            },
            _ => Vec::new(),
        };
        let node = NewNode {
            file_type: lower.file_type(),
            permissions: attributes.mode & 0o7777,
            uid: attributes.uid,
            gid: attributes.gid,
            special_device: attributes.special_device,
            target: &target,
        };
        let upper = self.layers().upper.root().create_unnamed(&node, false)?;
        if matches!(lower.file_type(), FileType::Regular | FileType::Directory) {
            copy_xattrs(lower, &upper)?;
        }
        upper.set_attributes(&SetAttributes {
            accessed: Some(attributes.accessed),
            modified: Some(attributes.modified),
            ..SetAttributes::default()
        })?;
        Ok(upper)
    }

    /// Copies the lower file's bytes into `upper`, whose times stay what they are.
    fn copy_contents(&self, upper: &InodeRef) -> Result<(), Errno> {
        let times = upper.attributes()?;
        let credentials = Credentials::user(0, 0);
        let caller = Caller { credentials: &credentials, task: None };
        let lower = self.lower().ok_or(Errno::EIO)?;
        let source = open_for_copy(lower, OpenFlags::NOATIME, caller)?;
        let target = open_for_copy(upper, OpenFlags::RDWR | OpenFlags::NOATIME, caller)?;
        let length = source.ops.length(&source)?;
        let mut at = 0;
        while at < length {
            // Holes stay holes.
            at = match source.ops.seek_data(&source, at, false) {
                Ok(data) => data,
                Err(Errno::ENXIO) => break,
                Err(_) => at,
            };
            let mut sink = TransitSink::new(usize::MAX);
            if source.ops.read(&source, &mut sink, at)? == 0 {
                break;
            }
            let mut bytes = BytesSource::new(sink.bytes());
            let written = target.ops.write(&target, &mut bytes, at)?;
            if written < sink.bytes().len() {
                return Err(Errno::ENOSPC);
            }
            at += written as u64;
        }
        upper.set_attributes(&SetAttributes {
            size: Some(length),
            accessed: Some(times.accessed),
            modified: Some(times.modified),
            ..SetAttributes::default()
        })
    }
}

fn open_for_copy(inode: &InodeRef, flags: OpenFlags, caller: Caller<'_>) -> Result<Arc<OpenFile>, Errno> {
    let ops: Arc<dyn FileOps> = inode.open(inode, flags, caller)?;
    Ok(OpenFile::unnamed(ops, flags.bits(), "", inode.clone()))
}

fn copy_xattrs(from: &InodeRef, to: &InodeRef) -> Result<(), Errno> {
    let names = match from.list_xattr() {
        Ok(names) => names,
        // The file system below has none, or does not show them.
        Err(Errno::EOPNOTSUPP | Errno::EPERM | Errno::EACCES) => return Ok(()),
        Err(error) => return Err(error),
    };
    for name in names.iter().filter(|name| !name.starts_with(b"trusted.overlay.")) {
        if let Ok(value) = from.get_xattr(name) {
            to.set_xattr(name, &value, XATTR_CREATE)?;
        }
    }
    Ok(())
}
