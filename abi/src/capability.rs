//! Capability numbers (`capabilities(7)`, `linux/capability.h`).

#![allow(missing_docs)]

use crate::Errno;

pub const CAP_CHOWN: u32 = 0;
pub const CAP_DAC_OVERRIDE: u32 = 1;
pub const CAP_DAC_READ_SEARCH: u32 = 2;
pub const CAP_FOWNER: u32 = 3;
pub const CAP_FSETID: u32 = 4;
pub const CAP_KILL: u32 = 5;
pub const CAP_SETGID: u32 = 6;
pub const CAP_SETUID: u32 = 7;
pub const CAP_SETPCAP: u32 = 8;
pub const CAP_LINUX_IMMUTABLE: u32 = 9;
pub const CAP_NET_BIND_SERVICE: u32 = 10;
pub const CAP_NET_ADMIN: u32 = 12;
pub const CAP_NET_RAW: u32 = 13;
pub const CAP_IPC_LOCK: u32 = 14;
pub const CAP_IPC_OWNER: u32 = 15;
pub const CAP_SYS_CHROOT: u32 = 18;
pub const CAP_SYS_PTRACE: u32 = 19;
pub const CAP_SYS_ADMIN: u32 = 21;
pub const CAP_SYS_BOOT: u32 = 22;
pub const CAP_SYS_NICE: u32 = 23;
pub const CAP_SYS_RESOURCE: u32 = 24;
pub const CAP_SYS_TIME: u32 = 25;
pub const CAP_SYS_TTY_CONFIG: u32 = 26;
pub const CAP_MKNOD: u32 = 27;
pub const CAP_LEASE: u32 = 28;
pub const CAP_AUDIT_CONTROL: u32 = 30;
pub const CAP_SETFCAP: u32 = 31;

/// The names of all capabilities of Linux 6.12: the index is the number.
pub const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// Every capability of this version.
const ALL: u64 = (1 << NAMES.len()) - 1;

/// The extended attribute with a file's capabilities.
pub const XATTR_NAME_CAPS: &[u8] = b"security.capability";

const VFS_CAP_FLAGS_EFFECTIVE: u32 = 1;
const VFS_CAP_REVISION_MASK: u32 = 0xff00_0000;
const VFS_CAP_REVISION_1: u32 = 0x0100_0000;
const VFS_CAP_REVISION_2: u32 = 0x0200_0000;
const VFS_CAP_REVISION_3: u32 = 0x0300_0000;

/// What a file gives to whoever executes it (`struct vfs_ns_cap_data`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileCapabilities {
    /// F(permitted)
    pub permitted: u64,
    /// F(inheritable)
    pub inheritable: u64,
    /// F(effective): one bit for all.
    pub effective: bool,
    /// The user 0 of the user namespace in which they count; before version 3 that of the file system's.
    pub root: u32,
}

impl FileCapabilities {
    /// Reads the attribute's value. `EINVAL` if it is of no version, or not of its length.
    pub fn parse(value: &[u8]) -> Result<Self, Errno> {
        let (words, rest) = value.as_chunks::<4>();
        let word = |index: usize| words.get(index).copied().map(u32::from_le_bytes).ok_or(Errno::EINVAL);
        let flags = word(0)?;
        let (length, is_long, has_root) = match flags & VFS_CAP_REVISION_MASK {
            VFS_CAP_REVISION_1 => (3, false, false),
            VFS_CAP_REVISION_2 => (5, true, false),
            VFS_CAP_REVISION_3 => (6, true, true),
            _ => return Err(Errno::EINVAL),
        };
        if words.len() != length || !rest.is_empty() {
            return Err(Errno::EINVAL);
        }
        let set = |low: usize| -> Result<u64, Errno> {
            let high = if is_long { word(low + 2)? } else { 0 };
            Ok((u64::from(high) << 32 | u64::from(word(low)?)) & ALL)
        };
        Ok(FileCapabilities {
            permitted: set(1)?,
            inheritable: set(2)?,
            effective: flags & VFS_CAP_FLAGS_EFFECTIVE != 0,
            root: if has_root { word(5)? } else { 0 },
        })
    }

    /// The attribute's value, in the oldest version that can say it.
    pub fn to_value(self) -> Vec<u8> {
        let effective = if self.effective { VFS_CAP_FLAGS_EFFECTIVE } else { 0 };
        let version = if self.root == 0 { VFS_CAP_REVISION_2 } else { VFS_CAP_REVISION_3 };
        let word = |set: u64, shift: u32| (set >> shift & u64::from(u32::MAX)) as u32;
        let (permitted, inheritable) = (self.permitted, self.inheritable);
        let words = [
            version | effective,
            word(permitted, 0),
            word(inheritable, 0),
            word(permitted, 32),
            word(inheritable, 32),
            self.root,
        ];
        let length = if self.root == 0 { 5 } else { 6 };
        words.iter().take(length).flat_map(|word| word.to_le_bytes()).collect()
    }

    /// A value as `getxattr(2)` shows it: without the version that names a user 0 if that is the reader's own.
    pub fn as_shown(value: Vec<u8>) -> Vec<u8> {
        match Self::parse(&value) {
            Ok(own) if own.root == 0 => own.to_value(),
            _ => value,
        }
    }

    /// Whether `setxattr(2)` takes a value: those of version 1 are only read.
    pub fn may_be_set(value: &[u8]) -> bool {
        const LENGTH_1: usize = 12;
        value.len() != LENGTH_1 && Self::parse(value).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn the_three_versions_are_read() {
        let read = |words: &[u32]| FileCapabilities::parse(&value(words));
        let expected = FileCapabilities { permitted: 1 << 13, inheritable: 2, effective: true, root: 0 };
        assert_eq!(read(&[0x0100_0001, 1 << 13, 2]), Ok(expected));
        assert_eq!(read(&[0x0200_0001, 1 << 13, 2, 0, 0]), Ok(expected));
        // Of those that nobody knows none is left.
        let high = FileCapabilities { permitted: 1 << 33, inheritable: 0, effective: false, root: 7 };
        assert_eq!(read(&[0x0300_0000, 0, 0, 2 | 1 << 20, 0, 7]), Ok(high));
        assert_eq!(high.to_value(), value(&[0x0300_0000, 0, 0, 2, 0, 7]));
        let shown = FileCapabilities::as_shown(value(&[0x0300_0001, 1 << 13, 2, 0, 0, 0]));
        assert_eq!(shown, value(&[0x0200_0001, 1 << 13, 2, 0, 0]));
    }

    #[test]
    fn values_of_no_version_or_another_length_are_refused() {
        for words in [
            &[][..],
            &[0],
            &[0x0400_0000, 0, 0],
            &[0x0100_0000, 0],
            &[0x0200_0000, 0, 0],
            &[0x0300_0000, 0, 0, 0, 0],
        ] {
            assert_eq!(FileCapabilities::parse(&value(words)), Err(Errno::EINVAL), "{words:?}");
        }
        assert_eq!(FileCapabilities::parse(&[0, 0, 0, 2, 0]), Err(Errno::EINVAL));
        assert!(!FileCapabilities::may_be_set(&value(&[0x0100_0000, 0, 0])));
        assert!(FileCapabilities::may_be_set(&value(&[0x0200_0000, 0, 0, 0, 0])));
    }
}
