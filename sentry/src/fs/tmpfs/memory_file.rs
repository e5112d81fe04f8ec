//! The files of `memfd_create(2)`.

use std::sync::{Arc, LazyLock};

use usk_abi::Errno;
use usk_abi::fs::{OpenFlags, Seals};

use super::inode::TmpfsInode;
use super::{Tmpfs, TmpfsOptions};
use crate::task::Credentials;
use crate::vfs::{Caller, FileType, InodeRef, NewNode, OpenFile};

/// A file without a name, in memory, open for reading and writing. `name` is what `/proc/PID/fd/N` shows after `memfd:`.
pub fn memory_file(
    name: &[u8],
    credentials: &Credentials,
    permissions: u32,
    seals: Seals,
) -> Result<Arc<OpenFile>, Errno> {
    static VOLUME: LazyLock<Arc<Tmpfs>> = LazyLock::new(|| Tmpfs::new(TmpfsOptions::default()));
    let volume = &VOLUME.volume;
    let node = NewNode {
        file_type: FileType::Regular,
        permissions,
        uid: credentials.fsuid,
        gid: credentials.fsgid,
        special_device: 0,
        target: b"",
    };
    let inode = TmpfsInode::sealed(volume, volume.add_file()?, &node, false, seals);
    inode.state.lock().attributes.links = 0;
    let inode: InodeRef = inode;
    let ops = inode.open(&inode, OpenFlags::RDWR, Caller { credentials, task: None })?;
    let label = format!("/memfd:{} (deleted)", String::from_utf8_lossy(name));
    Ok(OpenFile::unnamed(ops, (OpenFlags::RDWR | OpenFlags::LARGEFILE).bits(), &label, inode))
}
