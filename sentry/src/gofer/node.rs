//! Files that the gofer handed out.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use usk_abi::Errno;
use usk_gofer_protocol::limits::{MAX_COMPONENTS, MAX_WALK_BYTES};
use usk_gofer_protocol::{
    self as protocol, Access, AttributeChange, Attributes, DirectoryBelow, DirectoryEntries,
    DirectoryPosition, Entry, FileIn, FileSystemStatistics, FileType, LinkTarget, Name, NodeId, Opened,
    Owner, RenameMode, Reply, Request, WholeDirectory, XattrMode, XattrName, XattrValue,
};
use usk_platform::host::is_regular_file;

use super::client::GoferClient;

/// Most entries of one directory that [`Node::read_whole_directory`] collects; beyond, the gofer is taken for
/// broken.
const MAX_DIRECTORY: usize = 1 << 22;

/// One reference to a file of the gofer's. Two nodes may stand for the same file: `(dev, ino)` tells.
pub struct Node {
    client: Arc<GoferClient>,
    id: NodeId,
    /// Roots are not counted by the gofer, and never given back.
    is_root: bool,
}

/// How far a walk went.
#[derive(Debug)]
pub struct WalkOutcome {
    /// The components that exist, in order.
    pub steps: Vec<WalkStep>,
    /// How it ended.
    pub end: WalkEnd,
}

/// A component that exists.
#[derive(Debug)]
pub struct WalkStep {
    /// The file.
    pub node: Node,
    /// Its attributes.
    pub attributes: Attributes,
}

/// How a walk ended. `n` is the count of steps.
#[derive(Debug)]
pub enum WalkEnd {
    /// All components exist.
    Complete {
        /// The last component's descriptor, or why it could not be opened; `None` if that was not asked for
        /// or the component is not a regular file.
        opened: Option<Result<OwnedFd, Errno>>,
    },
    /// Component `n` does not exist.
    Missing,
    /// The last step is a symbolic link that says this; components may remain.
    Symlink(LinkTarget),
    /// The last step is neither a directory nor a symbolic link, and components remain. With `n` 0, the node
    /// that the walk began at.
    NotDirectory,
    /// Component `n` could not be reached.
    Failed(Errno),
}

/// A new regular file.
#[derive(Debug)]
pub struct CreatedFile {
    /// The file.
    pub node: Node,
    /// Its attributes.
    pub attributes: Attributes,
    /// Open as asked for; `None` if this process had no room for the descriptor, so that the file is there, and to be opened.
    pub descriptor: Option<OwnedFd>,
}

/// A page of a directory.
#[derive(Debug)]
pub struct DirectoryPage {
    /// Entries, without `.` and `..`.
    pub entries: DirectoryEntries,
    /// Where the next page begins; `None` at the end.
    pub next: Option<DirectoryPosition>,
}

/// A directory that was read as a whole.
#[derive(Debug)]
pub struct ReadAhead {
    /// The directory.
    pub node: Node,
    /// Its attributes.
    pub attributes: Attributes,
    /// Its entries, without `.` and `..`.
    pub entries: DirectoryEntries,
    /// Directories in it that were read, too, by the numbers of their entries.
    pub below: Vec<(usize, ReadAhead)>,
}

impl Node {
    pub(super) fn root(client: &Arc<GoferClient>, id: NodeId) -> Node {
        Node { client: Arc::clone(client), id, is_root: true }
    }

    /// The gofer's number for it.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// The gofer that it belongs to.
    pub fn client(&self) -> &Arc<GoferClient> {
        &self.client
    }

    /// Walks down `names` (at least one) from this directory, as far as it goes. Symbolic links are not
    /// followed: the walk ends at them. With `open`, the last component is opened if the walk reaches it and
    /// it is a regular file. Takes one round trip for each 64 names or 4096 bytes.
    pub fn walk(&self, names: &[Name<'_>], open: Option<Access>) -> Result<WalkOutcome, Errno> {
        let mut steps: Vec<WalkStep> = Vec::with_capacity(names.len());
        let mut rest = names;
        loop {
            let (part, after) = rest.split_at(walk_length(rest));
            let from = steps.last().map_or(self.id, |step| step.node.id);
            let outcome = self.walk_part(from, part, open.filter(|_| after.is_empty()))?;
            steps.extend(outcome.steps);
            match outcome.end {
                WalkEnd::Complete { .. } if !after.is_empty() => rest = after,
                end => return Ok(WalkOutcome { steps, end }),
            }
        }
    }

    fn walk_part(
        &self,
        node: NodeId,
        names: &[Name<'_>],
        open: Option<Access>,
    ) -> Result<WalkOutcome, Errno> {
        let (reply, descriptor) = self.client.call(&Request::Walk { node, names: names.to_vec(), open })?;
        let Reply::Walked { steps: entries, end } = reply else {
            return Err(self.wrong("walk", "it is something else"));
        };
        let steps: Vec<WalkStep> = entries.into_iter().map(|entry| self.step(entry)).collect();
        let count = steps.len();
        let last = steps.last().map(|step| step.attributes);
        let passed = steps.get(..count.saturating_sub(1)).unwrap_or_default();
        if !passed.iter().all(|step| step.attributes.is_directory()) {
            return Err(self.wrong("walk", "it goes on below a file that is no directory"));
        }
        let all_remain = last.is_none_or(|attributes| attributes.is_directory());
        let is_plausible = match &end {
            protocol::WalkEnd::Complete(_) => {
                count == names.len() && last.is_some_and(|last| !last.is_symlink())
            }
            protocol::WalkEnd::Missing | protocol::WalkEnd::Failed(_) => count < names.len() && all_remain,
            protocol::WalkEnd::Symlink(_) => {
                count <= names.len() && last.is_some_and(|attributes| attributes.is_symlink())
            }
            protocol::WalkEnd::NotDirectory => {
                count < names.len() && last.is_none_or(|last| !last.is_directory())
            }
        };
        if !is_plausible {
            return Err(self.wrong("walk", "its end contradicts its steps"));
        }
        let is_regular = last.is_some_and(|attributes| attributes.is_regular());
        let end = match (end, descriptor) {
            (protocol::WalkEnd::Complete(Ok(Opened::Donated)), Some(file))
                if open.is_some() && is_regular =>
            {
                WalkEnd::Complete { opened: Some(Ok(self.checked("walk", file)?)) }
            }
            (protocol::WalkEnd::Complete(Ok(Opened::No)), None) if open.is_none() || !is_regular => {
                WalkEnd::Complete { opened: None }
            }
            (protocol::WalkEnd::Complete(Err(errno)), None) if open.is_some() => {
                WalkEnd::Complete { opened: Some(Err(errno)) }
            }
            (protocol::WalkEnd::Missing, None) => WalkEnd::Missing,
            (protocol::WalkEnd::Symlink(target), None) => WalkEnd::Symlink(target),
            (protocol::WalkEnd::NotDirectory, None) => WalkEnd::NotDirectory,
            (protocol::WalkEnd::Failed(errno), None) => WalkEnd::Failed(errno),
            _ => return Err(self.wrong("walk", "its descriptor contradicts its end")),
        };
        Ok(WalkOutcome { steps, end })
    }

    /// Opens this regular file. `EISDIR` for a directory, `ELOOP` for a symbolic link, `ENXIO` for a special
    /// file, `EROFS` for writing on a read-only export.
    pub fn open(&self, access: Access) -> Result<OwnedFd, Errno> {
        match self.client.call(&Request::Open { node: self.id, access })? {
            (Reply::Opened {}, Some(file)) => self.checked("open", file),
            _ => Err(self.wrong("open", "it is something else")),
        }
    }

    /// Its attributes now.
    pub fn attributes(&self) -> Result<Attributes, Errno> {
        match self.client.call(&Request::GetAttributes { nodes: vec![self.id] })? {
            (Reply::Attributes { results }, None) => self.single("getattr", &results),
            _ => Err(self.wrong("getattr", "it is something else")),
        }
    }

    /// Changes attributes; returns what they are then.
    pub fn set_attributes(&self, change: AttributeChange) -> Result<Attributes, Errno> {
        match self.client.call(&Request::SetAttributes { node: self.id, change })? {
            (Reply::Attributes { results }, None) => self.single("setattr", &results),
            _ => Err(self.wrong("setattr", "it is something else")),
        }
    }

    /// A page of this directory: from the beginning, or from where the page before ended.
    /// Without `all_attributes`, those of directories' only.
    pub fn read_directory(
        &self,
        position: Option<DirectoryPosition>,
        all_attributes: bool,
    ) -> Result<DirectoryPage, Errno> {
        let (stream, cursor) = position.map_or((0, 0), |position| (position.stream, position.cursor));
        let request = Request::ReadDirectory { node: self.id, stream, cursor, all_attributes };
        match self.client.call(&request)? {
            (Reply::Directory { entries, next }, None) => {
                if entries.is_empty() && next.is_some() {
                    return Err(self.wrong("readdir", "a page before the last is empty"));
                }
                Ok(DirectoryPage { entries, next })
            }
            _ => Err(self.wrong("readdir", "it is something else")),
        }
    }

    /// All entries of this directory, without `.` and `..`; attributes as in [`Node::read_directory`].
    pub fn read_whole_directory(&self, all_attributes: bool) -> Result<DirectoryEntries, Errno> {
        let mut all = DirectoryEntries::new();
        let mut position = None;
        loop {
            let page = self.read_directory(position, all_attributes)?;
            all.append(page.entries);
            if all.len() > MAX_DIRECTORY {
                return Err(self.wrong("readdir", "the directory has no end"));
            }
            match page.next {
                None => return Ok(all),
                next => position = next,
            }
        }
    }

    /// Reads directories of this directory as wholes, as many from the front as come in one reply: perhaps none, if the first
    /// is long; and then so many that are in them. Without `all_attributes`, those of directories' only.
    pub fn read_directories(
        &self,
        names: &[Name<'_>],
        below: u16,
        all_attributes: bool,
    ) -> Result<Vec<Result<ReadAhead, Errno>>, Errno> {
        let request =
            Request::ReadDirectories { parent: self.id, names: names.to_vec(), below, all_attributes };
        let (Reply::Directories { directories, below: found }, None) = self.client.call(&request)? else {
            return Err(self.wrong("readdirs", "it is something else"));
        };
        let count = directories.len();
        let take = |whole: WholeDirectory| {
            let step = self.step(whole.directory);
            ReadAhead {
                node: step.node,
                attributes: step.attributes,
                entries: whole.entries,
                below: Vec::new(),
            }
        };
        let mut all: Vec<_> = directories.into_iter().map(|result| result.map(take)).collect();
        let mut places = Vec::with_capacity(found.len());
        for DirectoryBelow { above, entry, read } in found {
            places.push((above as usize, entry as usize));
            all.push(Ok(take(read)));
        }
        if count > names.len() || places.len() > usize::from(below) {
            return Err(self.wrong("readdirs", "it has more than was asked for"));
        }
        if all.iter().flatten().any(|read| !read.attributes.is_directory()) {
            return Err(self.wrong("readdirs", "it has read what is no directory"));
        }
        // The last first: what a directory is in comes before it.
        while let Some((above, entry)) = places.pop() {
            let read = all.pop().and_then(Result::ok);
            let place = all.get_mut(above).and_then(|above| above.as_mut().ok());
            match (read, place.filter(|place| entry < place.entries.len())) {
                (Some(read), Some(place)) => place.below.push((entry, read)),
                _ => return Err(self.wrong("readdirs", "a directory is in none that it has read before")),
            }
        }
        Ok(all)
    }

    /// Opens regular files for reading, of this directory and of others, at most `MAX_DESCRIPTORS` of the protocol; one result for
    /// each.
    pub fn open_files(
        &self,
        files: &[FileIn<'_>],
    ) -> Result<Vec<Result<(Attributes, OwnedFd), Errno>>, Errno> {
        let request = Request::OpenFiles { files: files.to_vec() };
        let (reply, descriptors) = self.client.call_for_several(&request)?;
        let Reply::Files { results } = reply else {
            return Err(self.wrong("open", "it is something else"));
        };
        let count = results.iter().flatten().count();
        if results.len() != files.len() || descriptors.len() != count {
            return Err(self
                .wrong("open", "it has not one result for each file, and one descriptor for each success"));
        }
        let mut descriptors = descriptors.into_iter();
        let mut opened = Vec::with_capacity(results.len());
        for result in results {
            opened.push(match (result, &mut descriptors) {
                (Err(errno), _) => Err(errno),
                (Ok(attributes), rest) => match rest.next() {
                    Some(file) if attributes.is_regular() => Ok((attributes, self.checked("open", file)?)),
                    _ => return Err(self.wrong("open", "it has opened what is no regular file")),
                },
            });
        }
        Ok(opened)
    }

    /// Creates a regular file that must not exist (`EEXIST`) and opens it. The permission bits are exact: no
    /// umask applies. Without `owner` it belongs to the gofer's user.
    pub fn create_file(
        &self,
        name: Name<'_>,
        permissions: u16,
        owner: Option<Owner>,
        access: Access,
    ) -> Result<CreatedFile, Errno> {
        let request = Request::CreateFile { parent: self.id, name, permissions, owner, access };
        match self.client.call(&request)? {
            (Reply::Created { entry }, file) if entry.attributes.is_regular() => {
                let WalkStep { node, attributes } = self.step(entry);
                let descriptor = file.map(|file| self.checked("create", file)).transpose()?;
                Ok(CreatedFile { node, attributes, descriptor })
            }
            _ => Err(self.wrong("create", "it is something else")),
        }
    }

    /// `mkdir(2)`; permission bits and owner as in [`Node::create_file`].
    pub fn make_directory(
        &self,
        name: Name<'_>,
        permissions: u16,
        owner: Option<Owner>,
    ) -> Result<WalkStep, Errno> {
        let request = Request::MakeDirectory { parent: self.id, name, permissions, owner };
        self.created("mkdir", &request, Some(FileType::Directory))
    }

    /// `symlink(2)`; owner as in [`Node::create_file`].
    pub fn make_symlink(
        &self,
        name: Name<'_>,
        target: &[u8],
        owner: Option<Owner>,
    ) -> Result<WalkStep, Errno> {
        let target = LinkTarget::new(target)?;
        self.created(
            "symlink",
            &Request::MakeSymlink { parent: self.id, name, target, owner },
            Some(FileType::Symlink),
        )
    }

    /// `mknod(2)` of a fifo or a socket; permission bits and owner as in [`Node::create_file`].
    pub fn make_special(
        &self,
        name: Name<'_>,
        file_type: FileType,
        permissions: u16,
        owner: Option<Owner>,
    ) -> Result<WalkStep, Errno> {
        let request = Request::MakeSpecial { parent: self.id, name, file_type, permissions, owner };
        self.created("mknod", &request, Some(file_type))
    }

    /// Gives this file another name, in `parent`; returns a node for that name.
    pub fn link(&self, parent: &Node, name: Name<'_>) -> Result<WalkStep, Errno> {
        self.created("link", &Request::Link { node: self.id, parent: parent.id, name }, None)
    }

    /// `unlink(2)` of a name in this directory.
    pub fn unlink(&self, name: Name<'_>) -> Result<(), Errno> {
        self.done("unlink", &Request::Unlink { parent: self.id, name })
    }

    /// `rmdir(2)` of a name in this directory.
    pub fn remove_directory(&self, name: Name<'_>) -> Result<(), Errno> {
        self.done("rmdir", &Request::RemoveDirectory { parent: self.id, name })
    }

    /// `renameat2(2)` of a name in this directory. Nodes stay valid.
    pub fn rename(
        &self,
        name: Name<'_>,
        new_parent: &Node,
        new_name: Name<'_>,
        mode: RenameMode,
    ) -> Result<(), Errno> {
        self.done(
            "rename",
            &Request::Rename { parent: self.id, name, new_parent: new_parent.id, new_name, mode },
        )
    }

    /// What this symbolic link says; `EINVAL` for another file.
    pub fn read_link(&self) -> Result<LinkTarget, Errno> {
        match self.client.call(&Request::ReadLink { node: self.id })? {
            (Reply::LinkTarget { target }, None) => Ok(target),
            _ => Err(self.wrong("readlink", "it is something else")),
        }
    }

    /// `statfs(2)`.
    pub fn file_system(&self) -> Result<FileSystemStatistics, Errno> {
        match self.client.call(&Request::StatFileSystem { node: self.id })? {
            (Reply::FileSystem { statistics }, None) => Ok(statistics),
            _ => Err(self.wrong("statfs", "it is something else")),
        }
    }

    /// An extended attribute's value; `ENODATA` if there is none.
    pub fn get_xattr(&self, name: XattrName<'_>) -> Result<Vec<u8>, Errno> {
        self.xattr("getxattr", &Request::GetXattr { node: self.id, name })
    }

    /// Which of several files, of this directory and of others, have no extended attributes; false also of one of which that is not known.
    /// At most `MAX_DESCRIPTORS` of the protocol.
    pub fn check_xattrs(&self, files: &[FileIn<'_>]) -> Result<Vec<bool>, Errno> {
        match self.client.call(&Request::CheckXattrs { files: files.to_vec() })? {
            (Reply::XattrsChecked { none }, None) if none.len() == files.len() => Ok(none),
            _ => Err(self.wrong("listxattr", "it has not one result for each file")),
        }
    }

    /// The names of all extended attributes, each followed by NUL.
    pub fn list_xattrs(&self) -> Result<Vec<u8>, Errno> {
        self.xattr("listxattr", &Request::ListXattrs { node: self.id })
    }

    /// Sets an extended attribute; only `user.` ones (`EPERM`).
    pub fn set_xattr(&self, name: XattrName<'_>, value: &[u8], mode: XattrMode) -> Result<(), Errno> {
        let value = XattrValue::new(value.to_vec())?;
        self.done("setxattr", &Request::SetXattr { node: self.id, name, value, mode })
    }

    /// Removes an extended attribute; only `user.` ones (`EPERM`).
    pub fn remove_xattr(&self, name: XattrName<'_>) -> Result<(), Errno> {
        self.done("removexattr", &Request::RemoveXattr { node: self.id, name })
    }

    fn done(&self, what: &'static str, request: &Request<'_>) -> Result<(), Errno> {
        match self.client.call(request)? {
            (Reply::Done {}, None) => Ok(()),
            _ => Err(self.wrong(what, "it is something else")),
        }
    }

    fn created(
        &self,
        what: &'static str,
        request: &Request<'_>,
        expected: Option<FileType>,
    ) -> Result<WalkStep, Errno> {
        match self.client.call(request)? {
            (Reply::Created { entry }, None) => {
                let step = self.step(entry);
                if expected.is_some_and(|expected| expected != step.attributes.file_type()) {
                    return Err(self.wrong(what, "it made something else"));
                }
                Ok(step)
            }
            _ => Err(self.wrong(what, "it is something else")),
        }
    }

    fn xattr(&self, what: &'static str, request: &Request<'_>) -> Result<Vec<u8>, Errno> {
        match self.client.call(request)? {
            (Reply::Xattr { value }, None) => Ok(value.into_bytes()),
            _ => Err(self.wrong(what, "it is something else")),
        }
    }

    fn single(&self, what: &'static str, results: &[Result<Attributes, Errno>]) -> Result<Attributes, Errno> {
        match results {
            [result] => *result,
            _ => Err(self.wrong(what, "it has not one result")),
        }
    }

    /// A donated descriptor must be a regular file's: anything else could block or act when it is read.
    fn checked(&self, what: &'static str, file: OwnedFd) -> Result<OwnedFd, Errno> {
        match is_regular_file(file.as_fd()) {
            Ok(true) => Ok(file),
            _ => Err(self.wrong(what, "the descriptor is not a regular file's")),
        }
    }

    /// Takes over the reference that a reply handed out.
    fn step(&self, entry: Entry) -> WalkStep {
        let node = Node { client: Arc::clone(&self.client), id: entry.node, is_root: false };
        WalkStep { node, attributes: entry.attributes }
    }

    fn wrong(&self, request: &'static str, reason: &'static str) -> Errno {
        self.client.contradiction(request, reason)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if !self.is_root {
            self.client.forget(self.id);
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Node").field(&self.id.0).finish()
    }
}

/// How many names from the front fit in one request.
fn walk_length(names: &[Name<'_>]) -> usize {
    let mut bytes = 0;
    names
        .iter()
        .take(MAX_COMPONENTS)
        .take_while(|name| {
            bytes += name.as_bytes().len();
            bytes <= MAX_WALK_BYTES
        })
        .count()
}
