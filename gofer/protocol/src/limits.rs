//! Every bound of the protocol, by name. Sizes are in bytes.

/// Version of the protocol; [`Request::Attach`](crate::Request::Attach) carries it, and both sides must
/// agree.
pub const VERSION: u32 = 6;

/// Longest message, header included. Large enough for the largest extended attribute, small enough that a
/// packet fits the default send buffer of a unix socket (212,992) twice.
pub const MAX_MESSAGE: usize = 72 * 1024;

/// Longest name of a directory entry (`NAME_MAX`).
pub const MAX_NAME: usize = 255;

/// Most components in one walk.
pub const MAX_COMPONENTS: usize = 64;

/// Most bytes of all names of one walk together (`PATH_MAX`).
pub const MAX_WALK_BYTES: usize = 4096;

/// Longest target of a symbolic link (`PATH_MAX` without the terminating NUL).
pub const MAX_LINK_TARGET: usize = 4095;

/// Longest name of an extended attribute (`XATTR_NAME_MAX`).
pub const MAX_XATTR_NAME: usize = 255;

/// Longest value of an extended attribute (`XATTR_SIZE_MAX`), and longest list of their names
/// (`XATTR_LIST_MAX`).
pub const MAX_XATTR_VALUE: usize = 64 * 1024;

/// Most nodes in one request that lists them ([`Request::Forget`](crate::Request::Forget),
/// [`Request::GetAttributes`](crate::Request::GetAttributes)).
pub const MAX_NODES: usize = 512;

/// Most exports of one sandbox.
pub const MAX_EXPORTS: usize = 64;

/// Bytes of directory entries, encoded, after which a page is full.
pub const DIRECTORY_PAGE: usize = 64 * 1024;

/// Most entries in one page of a directory.
pub const MAX_DIRECTORY_ENTRIES: usize = 2048;

/// Most descriptors beside one reply, and so most files in one request that lists them by name
/// ([`Request::OpenFiles`](crate::Request::OpenFiles), [`Request::CheckXattrs`](crate::Request::CheckXattrs)).
pub const MAX_DESCRIPTORS: usize = 64;
