//! What the sentry asks.

use crate::attributes::{AttributeChange, FileType, Owner};
use crate::codec::{DecodeError, Reader, Wire, Writer};
use crate::limits::{MAX_COMPONENTS, MAX_DESCRIPTORS, MAX_NODES, MAX_WALK_BYTES};
use crate::message::{enumeration, messages, structure};
use crate::name::{LinkTarget, Name, XattrName, XattrValue};

/// The gofer's number for a file that the sentry knows. The roots of the exports have the numbers
/// `0..exports` and are never forgotten; every other number is handed out by a reply, stands for one
/// reference, and is given back with [`Request::Forget`]. Numbers are not reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u64);

impl<'a> Wire<'a> for NodeId {
    fn encode(&self, writer: &mut Writer) {
        self.0.encode(writer);
    }

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        u64::decode(reader).map(NodeId)
    }
}

enumeration! {
    /// What a donated descriptor may do.
    pub enum Access {
        /// `O_RDONLY`.
        Read = 1,
        /// `O_WRONLY`.
        Write = 2,
        /// `O_RDWR`.
        ReadWrite = 3,
    }
}

impl Access {
    /// True if the descriptor may change the file.
    pub fn writes(self) -> bool {
        self != Access::Read
    }
}

enumeration! {
    /// What `renameat2(2)` does when the new name exists.
    pub enum RenameMode {
        /// It is replaced.
        Replace = 1,
        /// `EEXIST` (`RENAME_NOREPLACE`).
        NoReplace = 2,
        /// The two change places (`RENAME_EXCHANGE`).
        Exchange = 3,
    }
}

enumeration! {
    /// What `setxattr(2)` does when the attribute exists or does not.
    pub enum XattrMode {
        /// Create or replace.
        Any = 1,
        /// `EEXIST` if it exists (`XATTR_CREATE`).
        Create = 2,
        /// `ENODATA` if it does not (`XATTR_REPLACE`).
        Replace = 3,
    }
}

messages! {
    /// A request. All but [`Request::Forget`] and [`Request::CloseDirectory`] are answered by exactly one
    /// [`Reply`](crate::Reply), which is [`Reply::Failed`](crate::Reply::Failed) or the one named here.
    pub enum Request<'a> {
        /// Asks for the exports. → `Attached`. `EPROTO` when the version is not the gofer's.
        Attach = 1 {
            /// [`VERSION`](crate::limits::VERSION).
            version: u32,
        },
        /// Gives back one reference for each number listed; a number may be listed more than once. No reply.
        Forget = 2 {
            /// The numbers.
            nodes: Vec<NodeId>,
        },
        /// Walks down from a directory, component by component, as far as it goes. → `Walked`.
        Walk = 3 {
            /// Where to start: a directory.
            node: NodeId,
            /// At least one name.
            names: Vec<Name<'a>>,
            /// Opens the last component, if the walk reaches it and it is a regular file, and donates the
            /// descriptor.
            open: Option<Access>,
        },
        /// Opens a regular file and donates the descriptor. → `Opened`. `EISDIR` for a directory, `ELOOP` for
        /// a symbolic link, `ENXIO` for anything special.
        Open = 4 {
            /// The file.
            node: NodeId,
            /// What the descriptor may do.
            access: Access,
        },
        /// Attributes of several files. → `Attributes`, one result for each.
        GetAttributes = 5 {
            /// The files.
            nodes: Vec<NodeId>,
        },
        /// Changes attributes. → `Attributes`, with one result: the attributes after the change.
        SetAttributes = 6 {
            /// The file.
            node: NodeId,
            /// What to change.
            change: AttributeChange,
        },
        /// A page of a directory, with attributes. → `Directory`.
        ReadDirectory = 7 {
            /// The directory.
            node: NodeId,
            /// 0, or what the page before named: the gofer's open directory, if it still has it.
            stream: u64,
            /// 0, or what the page before named: the position to go on from.
            cursor: u64,
            /// Attributes of all entries are wanted; else of those only that are directories, or may be.
            all_attributes: bool,
        },
        /// Drops a stream before its end. No reply.
        CloseDirectory = 8 {
            /// What a page named.
            stream: u64,
        },
        /// Creates a regular file that must not exist (`EEXIST`), and donates its descriptor. → `Created`.
        CreateFile = 9 {
            /// In this directory.
            parent: NodeId,
            /// By this name.
            name: Name<'a>,
            /// Permission bits, exactly; no umask applies.
            permissions: u16,
            /// Whom it belongs to; `None`: the gofer's own user.
            owner: Option<Owner>,
            /// What the descriptor may do.
            access: Access,
        },
        /// `mkdir(2)`. → `Created`.
        MakeDirectory = 10 {
            /// In this directory.
            parent: NodeId,
            /// By this name.
            name: Name<'a>,
            /// Permission bits, exactly; no umask applies.
            permissions: u16,
            /// Whom it belongs to; `None`: the gofer's own user.
            owner: Option<Owner>,
        },
        /// `symlink(2)`. → `Created`.
        MakeSymlink = 11 {
            /// In this directory.
            parent: NodeId,
            /// By this name.
            name: Name<'a>,
            /// What the link says.
            target: LinkTarget,
            /// Whom it belongs to; `None`: the gofer's own user.
            owner: Option<Owner>,
        },
        /// `mknod(2)`, of a fifo or a socket; devices are `EPERM`, other types `EINVAL`. → `Created`.
        MakeSpecial = 12 {
            /// In this directory.
            parent: NodeId,
            /// By this name.
            name: Name<'a>,
            /// What to make.
            file_type: FileType,
            /// Permission bits, exactly; no umask applies.
            permissions: u16,
            /// Whom it belongs to; `None`: the gofer's own user.
            owner: Option<Owner>,
        },
        /// Another name for a file, on the same export (`EXDEV`); directories are `EPERM`. → `Created`, the
        /// new name's node.
        Link = 13 {
            /// The file.
            node: NodeId,
            /// The new name's directory.
            parent: NodeId,
            /// The new name.
            name: Name<'a>,
        },
        /// `unlink(2)`. → `Done`.
        Unlink = 14 {
            /// In this directory.
            parent: NodeId,
            /// This name.
            name: Name<'a>,
        },
        /// `rmdir(2)`. → `Done`.
        RemoveDirectory = 15 {
            /// In this directory.
            parent: NodeId,
            /// This name.
            name: Name<'a>,
        },
        /// `renameat2(2)`, within one export (`EXDEV`). Nodes keep their numbers. → `Done`.
        Rename = 16 {
            /// The old directory.
            parent: NodeId,
            /// The old name.
            name: Name<'a>,
            /// The new directory.
            new_parent: NodeId,
            /// The new name.
            new_name: Name<'a>,
            /// What becomes of a file that has the new name.
            mode: RenameMode,
        },
        /// `readlink(2)`. → `LinkTarget`.
        ReadLink = 17 {
            /// The symbolic link.
            node: NodeId,
        },
        /// `statfs(2)`. → `FileSystem`.
        StatFileSystem = 18 {
            /// A file of the file system.
            node: NodeId,
        },
        /// `getxattr(2)`. → `Xattr`.
        GetXattr = 19 {
            /// The file.
            node: NodeId,
            /// The attribute.
            name: XattrName<'a>,
        },
        /// `listxattr(2)`. → `Xattr`: the names, each followed by NUL.
        ListXattrs = 20 {
            /// The file.
            node: NodeId,
        },
        /// `setxattr(2)`; names outside `user.` are `EPERM`. → `Done`.
        SetXattr = 21 {
            /// The file.
            node: NodeId,
            /// The attribute.
            name: XattrName<'a>,
            /// Its new value.
            value: XattrValue,
            /// What if it exists.
            mode: XattrMode,
        },
        /// `removexattr(2)`; names outside `user.` are `EPERM`. → `Done`.
        RemoveXattr = 22 {
            /// The file.
            node: NodeId,
            /// The attribute.
            name: XattrName<'a>,
        },
        /// Reads several directories of one directory, each as a whole, and then directories in them. → `Directories`: as many as fit.
        ReadDirectories = 23 {
            /// What they are in.
            parent: NodeId,
            /// At least one name.
            names: Vec<Name<'a>>,
            /// How many directories to read that are in them, or in these, and so on: not more than [`MAX_COMPONENTS`] are.
            below: u16,
            /// Attributes of all entries are wanted; else of those only that are directories, or may be.
            all_attributes: bool,
        },
        /// Opens several regular files for reading, and donates the descriptors. No node is handed out. → `Files`.
        OpenFiles = 24 {
            /// At least one.
            files: Vec<FileIn<'a>>,
        },
        /// Which of several files have no extended attributes at all. No node is handed out. → `XattrsChecked`.
        CheckXattrs = 25 {
            /// At least one.
            files: Vec<FileIn<'a>>,
        },
    }
}

structure! {
    /// A name in a directory.
    #[derive(Copy)]
    pub struct FileIn<'a> {
        /// What it is in.
        pub parent: NodeId,
        /// Its name there.
        pub name: Name<'a>,
    }
}

/// 1 to [`MAX_DESCRIPTORS`] files.
impl<'a> Wire<'a> for Vec<FileIn<'a>> {
    fn encode(&self, writer: &mut Writer) {
        writer.put_list(self);
    }

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let files: Vec<FileIn<'a>> = reader.take_list(MAX_DESCRIPTORS, "files")?;
        if files.is_empty() { Err(DecodeError::Invalid("files")) } else { Ok(files) }
    }
}

/// The components of a walk, or names in one directory: 1 to [`MAX_COMPONENTS`], of at most [`MAX_WALK_BYTES`] together.
impl<'a> Wire<'a> for Vec<Name<'a>> {
    fn encode(&self, writer: &mut Writer) {
        writer.put_list(self);
    }

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let names: Vec<Name<'a>> = reader.take_list(MAX_COMPONENTS, "components")?;
        if names.is_empty() {
            return Err(DecodeError::Invalid("components"));
        }
        if names.iter().map(|name| name.as_bytes().len()).sum::<usize>() > MAX_WALK_BYTES {
            return Err(DecodeError::TooLong("components"));
        }
        Ok(names)
    }
}

impl<'a> Wire<'a> for Vec<NodeId> {
    fn encode(&self, writer: &mut Writer) {
        writer.put_list(self);
    }

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        reader.take_list(MAX_NODES, "nodes")
    }
}

impl Request<'_> {
    /// False for the two requests that have no reply.
    pub fn has_reply(&self) -> bool {
        !matches!(self, Request::Forget { .. } | Request::CloseDirectory { .. })
    }
}
