//! What can be asked of a file that is a namespace: `ioctl_nsfs(2)` (`linux/nsfs.h`).

#![allow(missing_docs)]

/// An open file of the user namespace that owns it.
pub const NS_GET_USERNS: u32 = 0xb701;
/// An open file of its parent.
pub const NS_GET_PARENT: u32 = 0xb702;
/// Its kind, as a `CLONE_NEW*` flag.
pub const NS_GET_NSTYPE: u32 = 0xb703;
/// Who has made it, of a user namespace.
pub const NS_GET_OWNER_UID: u32 = 0xb704;
