//! The forms in which `getdents(2)` and `getdents64(2)` return an entry.

use crate::vfs::DirectoryEntry;

/// Bytes before the name: inode number, offset, record length (and, in the newer form, type).
const HEADER: usize = 18;
const HEADER64: usize = 19;

impl DirectoryEntry<'_> {
    /// Appends a `struct linux_dirent`; `next` is the position after it.
    pub fn push_dirent(&self, bytes: &mut Vec<u8>, next: u64) {
        // The type is in the record's last byte.
        let length = (HEADER + self.name.len() + 2).next_multiple_of(8);
        self.push_header(bytes, next, length);
        bytes.extend_from_slice(self.name);
        bytes.resize(bytes.len() + length - HEADER - self.name.len() - 1, 0);
        bytes.push(self.file_type.directory_entry_type());
    }

    /// Appends a `struct linux_dirent64`; `next` is the position after it.
    pub fn push_dirent64(&self, bytes: &mut Vec<u8>, next: u64) {
        let length = (HEADER64 + self.name.len() + 1).next_multiple_of(8);
        self.push_header(bytes, next, length);
        bytes.push(self.file_type.directory_entry_type());
        bytes.extend_from_slice(self.name);
        bytes.resize(bytes.len() + length - HEADER64 - self.name.len(), 0);
    }

    fn push_header(&self, bytes: &mut Vec<u8>, next: u64, length: usize) {
        bytes.extend_from_slice(&self.inode.to_ne_bytes());
        bytes.extend_from_slice(&next.to_ne_bytes());
        // Names have at most 255 bytes.
        bytes.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_ne_bytes());
    }
}
