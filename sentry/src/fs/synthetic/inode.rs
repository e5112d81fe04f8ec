//! The inode, and what makes it up.

use std::any::Any;
use std::sync::{Arc, OnceLock};

use usk_abi::Errno;
use usk_abi::fs::{OpenFlags, Statfs};

use crate::fs::synthetic::file::TextFile;
use crate::task::ThreadGroup;
use crate::vfs::{
    Access, Attributes, Caching, Caller, FileOps, FileSystem, FileType, Inode, InodeCommon, InodeRef, Link,
    Listing, SetAttributes, Timestamp, devices,
};

/// Longest name.
const NAME_MAX: i64 = 255;
const BLOCK: i64 = 4096;

/// An entry of a synthetic directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: Vec<u8>,
    /// Its inode number.
    pub inode: u64,
    /// What it is.
    pub file_type: FileType,
}

/// Knows the names of a directory.
pub trait Directory: Send + Sync {
    /// The file of this name. `ENOENT` if there is none. `who` asks.
    fn lookup(&self, name: &[u8]) -> Result<InodeRef, Errno>;
    /// All names.
    fn entries(&self) -> Result<Vec<Entry>, Errno>;
    /// See [`Inode::judge`].
    fn judge(&self, caller: Caller<'_>, wanted: Access) -> Option<bool> {
        let _ = (caller, wanted);
        None
    }
    /// True if `name` still means `child`.
    fn is_current(&self, name: &[u8], child: &InodeRef) -> bool {
        let _ = (name, child);
        true
    }
    /// Count of directories in it, for its link count.
    fn subdirectories(&self) -> u32 {
        0
    }
    /// The process, if it is `/proc/PID`.
    fn process(&self) -> Option<Arc<ThreadGroup>> {
        None
    }
}

/// Makes the contents of a file, and takes what is written to it.
pub trait Text: Send + Sync {
    /// May `caller` open it? (Permission bits have been looked at.)
    fn admit(&self, caller: Caller<'_>) -> Result<(), Errno> {
        let _ = caller;
        Ok(())
    }
    /// See [`Inode::judge`].
    fn judge(&self, caller: Caller<'_>, wanted: Access) -> Option<bool> {
        let _ = (caller, wanted);
        None
    }
    /// The same as [`Text::admit`] for one that opens it for writing.
    fn admit_writer(&self, caller: Caller<'_>) -> Result<(), Errno> {
        let _ = caller;
        Ok(())
    }
    /// What a file that `caller` opens has instead, if that is something of the moment when it is opened. Asked before [`Text::admit`].
    fn bind(&self, caller: Caller<'_>) -> Option<Arc<dyn Text>> {
        let _ = caller;
        None
    }
    /// The contents now.
    fn read(&self, reader: Option<&Arc<crate::task::Task>>) -> Result<Vec<u8>, Errno>;
    /// Takes one write to a file that `opener` has opened.
    fn write(&self, bytes: &[u8], opener: Option<&Arc<crate::task::Task>>) -> Result<(), Errno> {
        let _ = (bytes, opener);
        Err(Errno::EACCES)
    }
    /// Reads a part of contents that are too large to be made as a whole. `None` if they are not.
    fn read_part(&self, offset: u64, length: usize) -> Option<Result<Vec<u8>, Errno>> {
        let _ = (offset, length);
        None
    }
    /// Writes at an offset of such contents. `None` if writes are taken as a whole.
    fn write_part(&self, offset: u64, bytes: &[u8]) -> Option<Result<usize, Errno>> {
        let _ = (offset, bytes);
        None
    }
}

/// Makes the target of a symbolic link.
pub trait LinkSource: Send + Sync {
    /// Where it leads, as `caller` sees it.
    fn target(&self, caller: Caller<'_>) -> Result<Link, Errno>;
    /// The text that `readlink(2)` shows, if that is not what [`LinkSource::target`] says.
    fn text(&self, caller: Caller<'_>) -> Option<Result<Vec<u8>, Errno>> {
        let _ = caller;
        None
    }
    /// Permissions and size, if they are not those of most links.
    fn appearance(&self) -> Option<(u32, u64)> {
        None
    }
}

/// A link that always leads to one place.
pub struct FixedLink(pub &'static str);

impl LinkSource for FixedLink {
    fn target(&self, _caller: Caller<'_>) -> Result<Link, Errno> {
        Ok(Link::Target(self.0.as_bytes().to_vec()))
    }
}

enum Kind {
    Directory(Box<dyn Directory>),
    Text(Arc<dyn Text>),
    Link(Box<dyn LinkSource>),
}

/// Says who owns a file that belongs to a task.
type Owner = Box<dyn Fn() -> (u32, u32) + Send + Sync>;

/// A file that is made up.
pub struct SyntheticInode {
    common: InodeCommon,
    kind: Kind,
    device: u64,
    number: u64,
    permissions: u32,
    owner: Option<Owner>,
    made: Timestamp,
}

impl SyntheticInode {
    fn new(kind: Kind, device: u64, number: u64, permissions: u32) -> Self {
        let made = Timestamp::now();
        SyntheticInode {
            common: InodeCommon::default(),
            kind,
            device,
            number,
            permissions,
            owner: None,
            made,
        }
    }

    /// A directory.
    pub fn directory(device: u64, number: u64, permissions: u32, names: impl Directory + 'static) -> Self {
        Self::new(Kind::Directory(Box::new(names)), device, number, permissions)
    }

    /// A file.
    pub fn text(device: u64, number: u64, permissions: u32, text: impl Text + 'static) -> Self {
        Self::new(Kind::Text(Arc::new(text)), device, number, permissions)
    }

    /// A symbolic link.
    pub fn link(device: u64, number: u64, source: impl LinkSource + 'static) -> Self {
        Self::new(Kind::Link(Box::new(source)), device, number, 0o777)
    }

    /// The same, owned by what `owner` says.
    pub fn owned_by(mut self, owner: impl Fn() -> (u32, u32) + Send + Sync + 'static) -> Self {
        self.owner = Some(Box::new(owner));
        self
    }

    /// True of a directory that all may list and search.
    pub fn is_open_directory(&self) -> bool {
        matches!(self.kind, Kind::Directory(_)) && self.permissions == 0o555
    }

    /// As what the VFS wants.
    pub fn into_ref(self) -> InodeRef {
        Arc::new(self)
    }

    /// The process whose directory `/proc/PID` this is.
    pub fn process(&self) -> Option<Arc<ThreadGroup>> {
        match &self.kind {
            Kind::Directory(names) => names.process(),
            _ => None,
        }
    }

    /// What `readlink(2)` shows of this link where that is not its target.
    pub fn link_text(&self, caller: Caller<'_>) -> Option<Result<Vec<u8>, Errno>> {
        match &self.kind {
            Kind::Link(source) => source.text(caller),
            _ => None,
        }
    }
}

impl Inode for SyntheticInode {
    fn common(&self) -> &InodeCommon {
        &self.common
    }

    fn file_type(&self) -> FileType {
        match self.kind {
            Kind::Directory(_) => FileType::Directory,
            Kind::Text(_) => FileType::Regular,
            Kind::Link(_) => FileType::Symlink,
        }
    }

    fn attributes(&self) -> Result<Attributes, Errno> {
        let mode = self.file_type().mode() | self.permissions;
        let mut attributes = Attributes::new(self.device, self.number, mode, self.made);
        if let Kind::Directory(names) = &self.kind {
            attributes.links = 2 + names.subdirectories();
        }
        if let Kind::Link(source) = &self.kind
            && let Some((permissions, size)) = source.appearance()
        {
            attributes.mode = FileType::Symlink.mode() | permissions;
            attributes.size = size;
        }
        if let Some(owner) = &self.owner {
            (attributes.uid, attributes.gid) = owner();
        }
        Ok(attributes)
    }

    fn set_attributes(&self, change: &SetAttributes) -> Result<(), Errno> {
        // Cutting such a file off, as a shell does with what it writes to, and its times mean nothing.
        let is_owned = change.permissions.is_some() || change.uid.is_some() || change.gid.is_some();
        if is_owned { Err(Errno::EPERM) } else { Ok(()) }
    }

    fn lookup(&self, name: &[u8]) -> Result<InodeRef, Errno> {
        match &self.kind {
            Kind::Directory(names) => names.lookup(name),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn revalidate(&self, name: &[u8], child: &InodeRef) -> bool {
        match &self.kind {
            Kind::Directory(names) => names.is_current(name, child),
            _ => false,
        }
    }

    fn list(&self) -> Result<Listing, Errno> {
        let Kind::Directory(names) = &self.kind else { return Err(Errno::ENOTDIR) };
        let mut listing = Listing::new();
        for entry in names.entries()? {
            listing.push(&entry.name, entry.inode, entry.file_type);
        }
        Ok(listing)
    }

    fn judge(&self, caller: Caller<'_>, wanted: Access) -> Option<bool> {
        match &self.kind {
            Kind::Directory(names) => names.judge(caller, wanted),
            Kind::Text(text) => text.judge(caller, wanted),
            Kind::Link(_) => None,
        }
    }

    fn read_link(&self, caller: Caller<'_>) -> Result<Link, Errno> {
        match &self.kind {
            Kind::Link(source) => source.target(caller),
            _ => Err(Errno::EINVAL),
        }
    }

    fn open(
        &self,
        _this: &InodeRef,
        flags: OpenFlags,
        caller: Caller<'_>,
    ) -> Result<Arc<dyn FileOps>, Errno> {
        match &self.kind {
            Kind::Text(text) => {
                let bound = text.bind(caller).unwrap_or_else(|| text.clone());
                text.admit(caller)?;
                if flags.is_writable() {
                    text.admit_writer(caller)?;
                }
                Ok(Arc::new(TextFile::new(bound, caller.task.cloned())))
            }
            Kind::Directory(_) | Kind::Link(_) => Err(Errno::ENXIO),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A file system of synthetic inodes.
pub struct SyntheticFs {
    type_name: &'static str,
    magic: i64,
    device: u64,
    caching: Caching,
    options: String,
    root: OnceLock<InodeRef>,
}

impl SyntheticFs {
    /// A file system whose root `make_root` makes, given the device's number.
    pub fn new(
        type_name: &'static str,
        magic: i64,
        caching: Caching,
        make_root: impl FnOnce(u64) -> InodeRef,
    ) -> Arc<Self> {
        Self::with_options(type_name, magic, caching, String::new(), make_root)
    }

    /// The same with options that `/proc/mounts` shows.
    pub fn with_options(
        type_name: &'static str,
        magic: i64,
        caching: Caching,
        options: String,
        make_root: impl FnOnce(u64) -> InodeRef,
    ) -> Arc<Self> {
        let device = devices::allocate();
        let root = OnceLock::new();
        let _ = root.set(make_root(device));
        Arc::new(SyntheticFs { type_name, magic, device, caching, options, root })
    }

    /// Its device number.
    pub fn device(&self) -> u64 {
        self.device
    }
}

impl FileSystem for SyntheticFs {
    fn type_name(&self) -> &'static str {
        self.type_name
    }

    fn root(&self) -> InodeRef {
        self.root
            .get_or_init(|| SyntheticInode::directory(self.device, 1, 0o555, Names::default()).into_ref())
            .clone()
    }

    fn caching(&self) -> Caching {
        self.caching
    }

    fn has_fixed_names(&self) -> bool {
        self.type_name == "proc"
    }

    fn statistics(&self) -> Result<Statfs, Errno> {
        Ok(Statfs {
            f_type: self.magic,
            f_bsize: BLOCK,
            f_frsize: BLOCK,
            f_namelen: NAME_MAX,
            ..Statfs::default()
        })
    }

    fn options(&self) -> String {
        self.options.clone()
    }
}

/// A directory with a fixed set of files.
#[derive(Default)]
pub struct Names {
    entries: Vec<(Vec<u8>, InodeRef)>,
}

impl Names {
    /// The same with another file.
    pub fn with(mut self, name: &str, inode: InodeRef) -> Self {
        self.entries.push((name.as_bytes().to_vec(), inode));
        self
    }
}

impl Directory for Names {
    fn lookup(&self, name: &[u8]) -> Result<InodeRef, Errno> {
        let found = self.entries.iter().find(|(known, _)| known == name);
        found.map(|(_, inode)| inode.clone()).ok_or(Errno::ENOENT)
    }

    fn entries(&self) -> Result<Vec<Entry>, Errno> {
        self.entries
            .iter()
            .map(|(name, inode)| {
                let number = inode.attributes()?.inode;
                Ok(Entry { name: name.clone(), inode: number, file_type: inode.file_type() })
            })
            .collect()
    }

    fn subdirectories(&self) -> u32 {
        let count = self.entries.iter().filter(|(_, inode)| inode.file_type() == FileType::Directory).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }
}

/// Any function of the reader can be a text.
impl<F> Text for F
where
    F: Fn() -> Result<Vec<u8>, Errno> + Send + Sync,
{
    fn read(&self, _reader: Option<&Arc<crate::task::Task>>) -> Result<Vec<u8>, Errno> {
        self()
    }
}
