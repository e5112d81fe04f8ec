//! Between the gofer's terms and the VFS's.

use super::Tree;
use crate::gofer::{self, AttributeChange, TimeChange};
use crate::vfs::{Attributes, FileType, SetAttributes, Timestamp};

pub(super) fn file_type(file_type: gofer::FileType) -> FileType {
    match file_type {
        gofer::FileType::Regular => FileType::Regular,
        gofer::FileType::Directory => FileType::Directory,
        gofer::FileType::Symlink => FileType::Symlink,
        gofer::FileType::Fifo => FileType::Fifo,
        gofer::FileType::Socket => FileType::Socket,
        gofer::FileType::CharacterDevice => FileType::CharacterDevice,
        gofer::FileType::BlockDevice => FileType::BlockDevice,
    }
}

fn time(time: gofer::Timestamp) -> Timestamp {
    Timestamp { seconds: time.seconds(), nanoseconds: time.nanoseconds() }
}

pub(super) fn attributes(tree: &Tree, from: &gofer::Attributes) -> Attributes {
    Attributes {
        device: tree.device,
        inode: tree.inode_number(from.dev, from.ino),
        mode: from.st_mode(),
        links: from.nlink,
        uid: from.uid,
        gid: from.gid,
        special_device: from.rdev,
        size: from.size,
        block_size: from.blksize,
        blocks: from.blocks,
        accessed: time(from.atime),
        modified: time(from.mtime),
        changed: time(from.ctime),
        born: from.btime.map(time),
    }
}

pub(super) fn change(from: &SetAttributes) -> AttributeChange {
    let at = |time: Timestamp| gofer::Timestamp::new(time.seconds, time.nanoseconds).map(TimeChange::At);
    AttributeChange {
        permissions: from.permissions.and_then(|permissions| u16::try_from(permissions & 0o7777).ok()),
        uid: from.uid,
        gid: from.gid,
        size: from.size,
        atime: from.accessed.and_then(at),
        mtime: from.modified.and_then(at),
    }
}
