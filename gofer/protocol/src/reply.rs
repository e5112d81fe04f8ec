//! What the gofer answers.

use usk_abi::Errno;

use crate::attributes::{Attributes, FileSystemStatistics};
use crate::codec::{DecodeError, Reader, Wire, Writer};
use crate::entries::{DirectoryEntries, DirectoryEntry};
use crate::limits::{MAX_COMPONENTS, MAX_DESCRIPTORS, MAX_EXPORTS, MAX_MESSAGE, MAX_NODES};
use crate::message::{enumeration, messages, structure};
use crate::name::{LinkTarget, XattrValue};
use crate::request::NodeId;

messages! {
    /// A reply. Which one answers which request is said at [`Request`](crate::Request).
    pub enum Reply {
        /// The request failed and changed nothing that it could undo. Among the errors that are the gofer's
        /// own: `ESTALE`, the node was forgotten, or its file is not where it was; `ENFILE`, the table of
        /// nodes is full: forget some and ask again; `EROFS`, the export is read-only.
        Failed = 1 {
            /// Why.
            errno: Errno,
        },
        /// It is done; there is nothing to say.
        Done = 2 {},
        /// The exports, by number.
        Attached = 3 {
            /// [`VERSION`](crate::limits::VERSION).
            version: u32,
            /// One for each export.
            exports: Vec<ExportDescription>,
        },
        /// How far a walk went. A descriptor comes with it exactly when the end says [`Opened::Donated`].
        Walked = 4 {
            /// The components that exist, in order; fewer than asked for when the walk ended early.
            steps: Vec<Entry>,
            /// How it ended.
            end: WalkEnd,
        },
        /// The descriptor comes with this.
        Opened = 5 {},
        /// One result for each node asked for.
        Attributes = 6 {
            /// In the order asked for.
            results: Vec<Result<Attributes, Errno>>,
        },
        /// A page of a directory, without `.` and `..`.
        Directory = 7 {
            /// In the host's order.
            entries: DirectoryEntries,
            /// What to ask the next page with; `None` at the end.
            next: Option<DirectoryPosition>,
        },
        /// A new file. A regular file's descriptor comes with this.
        Created = 8 {
            /// The file.
            entry: Entry,
        },
        /// What a symbolic link says.
        LinkTarget = 9 {
            /// Its bytes.
            target: LinkTarget,
        },
        /// What `statfs(2)` says.
        FileSystem = 10 {
            /// In its terms.
            statistics: FileSystemStatistics,
        },
        /// An extended attribute's value, or the list of their names.
        Xattr = 11 {
            /// Its bytes.
            value: XattrValue,
        },
        /// Whole directories.
        Directories = 12 {
            /// One result for each directory asked for, in that order, as far as they fit in one message. None if the first is
            /// too long for that: then it is to be read page by page.
            directories: Vec<Result<WholeDirectory, Errno>>,
            /// Directories in these, and in those before, level by level.
            below: Vec<DirectoryBelow>,
        },
        /// Open files. A descriptor comes with this for each success, in their order.
        Files = 13 {
            /// The attributes of each file asked for, or why it was not opened.
            results: Vec<Result<Attributes, Errno>>,
        },
        /// Which files have no extended attributes.
        XattrsChecked = 14 {
            /// For each file asked for: true if [`Request::ListXattrs`](crate::Request::ListXattrs) would name none of it; false if it would, or
            /// if that is not known.
            none: Vec<bool>,
        },
    }
}

structure! {
    /// One export, whose root is the node with the export's number.
    #[derive(Copy)]
    pub struct ExportDescription {
        /// Changes are refused (`EROFS`).
        pub read_only: bool,
        /// Others may change it at any time. If false, nobody does: names, attributes and absences may be
        /// cached for good.
        pub shared: bool,
        /// The root's attributes.
        pub attributes: Attributes,
    }
}

structure! {
    /// A file that the gofer handed out: one reference to a node.
    #[derive(Copy)]
    pub struct Entry {
        /// Its number.
        pub node: NodeId,
        /// Its attributes at that moment.
        pub attributes: Attributes,
    }
}

enumeration! {
    /// Whether a walk opened the file at its end.
    pub enum Opened {
        /// It was not asked to, or the file is not a regular one.
        No = 0,
        /// The descriptor comes with the reply.
        Donated = 1,
    }
}

/// How a walk ended. `steps` is the list in [`Reply::Walked`], `n` its length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WalkEnd {
    /// All components exist. The result of opening the last one, if that was asked for: an error there leaves
    /// the walk itself valid. The last component may be a symbolic link only in [`WalkEnd::Symlink`].
    Complete(Result<Opened, Errno>),
    /// Component `n` does not exist; `n` may be 0.
    Missing,
    /// The last step is a symbolic link, which says this. Components may remain.
    Symlink(LinkTarget),
    /// The last step is no directory (and no symbolic link), and components remain. With `n` 0 the node to
    /// start from was none.
    NotDirectory,
    /// Component `n` could not be reached, for this reason.
    Failed(Errno),
}

impl<'a> Wire<'a> for WalkEnd {
    fn encode(&self, writer: &mut Writer) {
        match self {
            WalkEnd::Complete(opened) => {
                0u8.encode(writer);
                opened.encode(writer);
            }
            WalkEnd::Missing => 1u8.encode(writer),
            WalkEnd::Symlink(target) => {
                2u8.encode(writer);
                target.encode(writer);
            }
            WalkEnd::NotDirectory => 3u8.encode(writer),
            WalkEnd::Failed(errno) => {
                4u8.encode(writer);
                errno.encode(writer);
            }
        }
    }

    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(match u8::decode(reader)? {
            0 => WalkEnd::Complete(Result::decode(reader)?),
            1 => WalkEnd::Missing,
            2 => WalkEnd::Symlink(LinkTarget::decode(reader)?),
            3 => WalkEnd::NotDirectory,
            4 => WalkEnd::Failed(Errno::decode(reader)?),
            _ => return Err(DecodeError::Invalid("end of walk")),
        })
    }
}

structure! {
    /// A directory with all its entries.
    pub struct WholeDirectory {
        /// The directory: a reference to its node.
        pub directory: Entry,
        /// Its entries, as in [`Reply::Directory`]. Those whose attributes were not wanted come without.
        pub entries: DirectoryEntries,
    }
}

impl WholeDirectory {
    /// Length of the longest form on the wire but for its entries.
    pub const fn encoded_bound() -> usize {
        // Success, or where it is; a number and attributes, which are less than an entry; the lengths of what entries consist of.
        8 + 8 + DirectoryEntry::encoded_bound(0) + DirectoryEntries::EMPTY_LENGTH
    }
}

structure! {
    /// A directory in another one of the same reply.
    pub struct DirectoryBelow {
        /// Which one: its number among the named directories and, counted on, those below.
        pub above: u32,
        /// The number of its entry there.
        pub entry: u32,
        /// The directory.
        pub read: WholeDirectory,
    }
}

structure! {
    /// Where the next page of a directory begins.
    #[derive(Copy)]
    pub struct DirectoryPosition {
        /// The gofer's open directory; it may close it at any time, and then begins again at the cursor.
        pub stream: u64,
        /// The host's position after the last entry of the page (`d_off`).
        pub cursor: u64,
    }
}

macro_rules! lists {
    ($($item:ty, $bound:expr, $what:literal;)*) => {$(
        impl<'a> Wire<'a> for Vec<$item> {
            fn encode(&self, writer: &mut Writer) {
                writer.put_list(self);
            }

            fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
                reader.take_list($bound, $what)
            }
        }
    )*};
}

lists! {
    ExportDescription, MAX_EXPORTS, "exports";
    Entry, MAX_COMPONENTS, "steps";
    Result<Attributes, Errno>, MAX_NODES, "attributes";
    Result<WholeDirectory, Errno>, MAX_COMPONENTS, "directories";
    DirectoryBelow, MAX_COMPONENTS, "directories below";
    bool, MAX_DESCRIPTORS, "answers";
}

// The fullest page, with its header, fits in a message.
const _: () = assert!(crate::limits::DIRECTORY_PAGE + DirectoryEntry::encoded_bound(255) + 64 < MAX_MESSAGE);
