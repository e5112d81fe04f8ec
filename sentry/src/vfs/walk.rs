//! The path walk (`path_resolution(7)`; the kernel's `fs/namei.c`).

use std::sync::Arc;

use smallvec::SmallVec;
use usk_abi::Errno;
use usk_abi::fs::{MAX_SYMLINKS, NAME_MAX, ResolveFlags};

use crate::vfs::{
    Access, Caller, Dentry, FileType, Link, LookedUp, MountNamespace, Path, PlacesAsOf, permission,
};

/// Names handed to the file system in one go at most.
const CHAIN_LIMIT: usize = 16;

/// Whose names, and where they start: what a task knows about paths at the time of a call.
pub struct NameContext<'a> {
    /// Who walks.
    pub caller: Caller<'a>,
    /// The mounts.
    pub namespace: Arc<MountNamespace>,
    /// The root directory.
    pub root: Path,
    /// The working directory.
    pub cwd: Path,
    /// Permissions that new files do not get.
    pub umask: u32,
}

/// How the last component of a path is treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalkOptions {
    /// Follow it if it is a symbolic link. (A trailing slash follows in any case.)
    pub follow: bool,
    /// `ENOTDIR` unless it is a directory.
    pub directory: bool,
    /// `RESOLVE_*` of `openat2(2)`.
    pub resolve: ResolveFlags,
}

impl WalkOptions {
    /// Follows a symbolic link at the end.
    pub const FOLLOW: WalkOptions =
        WalkOptions { follow: true, directory: false, resolve: ResolveFlags::empty() };
    /// Means a symbolic link at the end itself.
    pub const NO_FOLLOW: WalkOptions =
        WalkOptions { follow: false, directory: false, resolve: ResolveFlags::empty() };
    /// Follows, and wants a directory.
    pub const DIRECTORY: WalkOptions =
        WalkOptions { follow: true, directory: true, resolve: ResolveFlags::empty() };

    /// One or the other.
    pub const fn following(follow: bool) -> WalkOptions {
        WalkOptions { follow, directory: false, resolve: ResolveFlags::empty() }
    }
}

impl NameContext<'_> {
    /// Walks to an existing file. `name` is relative to `start` unless it begins with a slash.
    pub fn resolve(&self, start: &Path, name: &[u8], options: WalkOptions) -> Result<Path, Errno> {
        let mut walk = Walk::new(self, start, name, options.resolve)?;
        walk.finish(options)?;
        Ok(walk.path)
    }

    /// As [`NameContext::resolve`], of a file that will be opened for reading.
    pub(super) fn resolve_to_open(
        &self,
        start: &Path,
        name: &[u8],
        options: WalkOptions,
    ) -> Result<Path, Errno> {
        let mut walk = Walk::new(self, start, name, options.resolve)?;
        walk.opens = true;
        walk.finish(options)?;
        Ok(walk.path)
    }

    /// As [`NameContext::resolve`]; and if the walk comes to the same until names change, the names whose change alone can change it
    /// (see [`NameChange`](crate::vfs::NameChange)).
    pub fn resolve_lastingly(
        &self,
        start: &Path,
        name: &[u8],
        options: WalkOptions,
    ) -> (Result<Path, Errno>, Option<LookedUp>) {
        let mut walk = match Walk::new(self, start, name, options.resolve) {
            Ok(walk) => walk,
            Err(error) => return (Err(error), None),
        };
        walk.looked_up = start.dentry.has_lasting_names().then(LookedUp::default);
        let finished = walk.finish(options);
        (finished.map(|()| walk.path), walk.looked_up)
    }
}

/// The last component of a path.
pub(super) enum Last {
    /// None is left: the path was `/`, or ended in a magic link. The walk is there.
    Here {
        /// There was a trailing slash.
        directory: bool,
    },
    /// `.`
    Dot,
    /// `..`
    DotDot,
    /// A name in the directory where the walk is.
    Name {
        /// The name.
        name: SmallVec<[u8; 32]>,
        /// There was a trailing slash.
        directory: bool,
    },
}

/// A part of the path that is still to be walked: the path itself, or the target of a symbolic link in it.
struct Pending {
    text: SmallVec<[u8; 64]>,
    at: usize,
    /// Where its last component ends: behind it there are only slashes.
    end: usize,
}

/// A walk under way.
pub(super) struct Walk<'a, 'c> {
    names: &'a NameContext<'c>,
    /// Where it is.
    pub(super) path: Path,
    /// What `/` means and `..` does not leave.
    boundary: Path,
    /// If the boundary is where it began, which a directory that is moved out of it while the walk is in there would lead past:
    /// when it began.
    scoped_since: Option<PlacesAsOf>,
    resolve: ResolveFlags,
    pending: SmallVec<[Pending; 2]>,
    links: usize,
    /// What it leads to will be opened for reading: a hint.
    pub(super) opens: bool,
    /// If that is wanted, and it has met only names that change through the VFS: what its outcome depends on.
    looked_up: Option<LookedUp>,
}

impl<'a, 'c> Walk<'a, 'c> {
    /// A walk of `name` that has not begun. `ENOENT` for an empty name.
    pub(super) fn new(
        names: &'a NameContext<'c>,
        start: &Path,
        name: &[u8],
        resolve: ResolveFlags,
    ) -> Result<Self, Errno> {
        if name.is_empty() {
            return Err(Errno::ENOENT);
        }
        let scoped = resolve.intersects(ResolveFlags::BENEATH | ResolveFlags::IN_ROOT);
        let mut walk = Walk {
            names,
            path: start.clone(),
            boundary: if scoped { start.clone() } else { names.root.clone() },
            scoped_since: scoped.then(PlacesAsOf::now),
            resolve,
            pending: SmallVec::new(),
            links: 0,
            opens: false,
            looked_up: None,
        };
        if name[0] == b'/' {
            walk.go_to_root()?;
        } else if !walk.path.dentry.is_directory() {
            return Err(Errno::ENOTDIR);
        }
        walk.pending.push(Pending::new(name.into()));
        Ok(walk)
    }

    fn go_to_root(&mut self) -> Result<(), Errno> {
        if self.resolve.contains(ResolveFlags::BENEATH) {
            return Err(Errno::EXDEV);
        }
        self.jump(self.boundary.clone())
    }

    /// Goes to another place at once.
    fn jump(&mut self, to: Path) -> Result<(), Errno> {
        if self.resolve.contains(ResolveFlags::NO_XDEV) && !Arc::ptr_eq(&to.mount, &self.path.mount) {
            return Err(Errno::EXDEV);
        }
        self.looked_up = self.looked_up.take().filter(|_| to.dentry.has_lasting_names());
        self.path = to;
        Ok(())
    }

    /// Walks to an existing file, from the beginning.
    fn finish(&mut self, options: WalkOptions) -> Result<(), Errno> {
        loop {
            let directory = match self.advance()? {
                Last::Here { directory } => directory,
                Last::Dot => true,
                Last::DotDot => {
                    self.up()?;
                    true
                }
                Last::Name { name, directory } => {
                    let child = self.child(&[&name])?;
                    self.depends_on(&name);
                    let inode = child.require()?;
                    if inode.file_type() == FileType::Symlink && (options.follow || directory) {
                        self.follow(&child)?;
                        continue;
                    }
                    self.enter(child)?;
                    directory
                }
            };
            if (directory || options.directory) && !self.path.dentry.is_directory() {
                return Err(Errno::ENOTDIR);
            }
            return Ok(());
        }
    }

    /// Walks up to the last component and returns it.
    pub(super) fn advance(&mut self) -> Result<Last, Errno> {
        loop {
            let Some((start, end)) = self.next_component() else {
                let directory = self.pending.iter().any(|pending| pending.at > 0 && ends_in_slash(pending));
                self.pending.clear();
                return Ok(Last::Here { directory });
            };
            let inode = self.path.inode()?;
            if inode.file_type() != FileType::Directory {
                return Err(Errno::ENOTDIR);
            }
            permission::check_inode(inode, self.names.caller, Access::EXECUTE)?;
            let is_last = self.pending.iter().all(|pending| pending.at >= pending.end);
            let Some(top) = self.pending.last() else { return Err(Errno::ENOENT) };
            match &top.text[start..end] {
                b"." if is_last => return Ok(Last::Dot),
                b"." => {}
                b".." if is_last => return Ok(Last::DotDot),
                b".." => self.up()?,
                name if is_last => {
                    let directory = self.pending.iter().any(|pending| !pending.rest().is_empty());
                    return Ok(Last::Name { name: name.into(), directory });
                }
                name if name.len() > NAME_MAX => return Err(Errno::ENAMETOOLONG),
                name => {
                    // The common case, found in the cache, needs no list of what comes after.
                    let child = match self.path.dentry.cached_child(name) {
                        Some(child) => child,
                        None => self.child(&top.chain(start))?,
                    };
                    if child.file_type() != Some(FileType::Directory) {
                        self.depends_on(&child.name());
                    }
                    match child.require()?.file_type() {
                        FileType::Symlink => self.follow(&child)?,
                        _ => self.enter(child)?,
                    }
                }
            }
        }
    }

    /// Takes the next component off what is pending: its range in the topmost text.
    fn next_component(&mut self) -> Option<(usize, usize)> {
        loop {
            let depth = self.pending.len();
            let top = self.pending.last_mut()?;
            let slashes = top.rest().iter().take_while(|&&byte| byte == b'/').count();
            let start = top.at + slashes;
            if start < top.text.len() {
                let length = top.text[start..].iter().take_while(|&&byte| byte != b'/').count();
                top.at = start + length;
                return Some((start, start + length));
            }
            if depth == 1 {
                return None;
            }
            self.pending.pop();
        }
    }

    /// Notes that the outcome depends on what this name means, in the directory where the walk is.
    fn depends_on(&mut self, name: &[u8]) {
        let mark_of = |looked_up: LookedUp| looked_up.with(self.path.dentry.mark_of(name)?);
        self.looked_up = self.looked_up.and_then(mark_of);
    }

    /// The child `names[0]` of the directory where the walk is; negative if there is none.
    pub(super) fn child(&self, names: &[&[u8]]) -> Result<Arc<Dentry>, Errno> {
        if self.resolve.contains(ResolveFlags::CACHED) {
            let name = names.first().ok_or(Errno::ENOENT)?;
            return self.path.dentry.cached_child(name).ok_or(Errno::EAGAIN);
        }
        self.path.dentry.child(names, self.opens)
    }

    /// Goes to a child of the directory where the walk is, and to what is mounted there.
    pub(super) fn enter(&mut self, child: Arc<Dentry>) -> Result<(), Errno> {
        let is_mount_point = child.is_mount_point();
        let path = Path { mount: self.path.mount.clone(), dentry: child };
        if is_mount_point {
            return self.jump(self.names.namespace.topmost(path));
        }
        self.path = path;
        Ok(())
    }

    /// Goes to the parent directory; at the boundary stays, or fails if that must not be tried. `EAGAIN` if a walk that must not
    /// leave a directory may have left it, for directories were moved meanwhile.
    pub(super) fn up(&mut self) -> Result<(), Errno> {
        let mut at = self.path.clone();
        loop {
            if at == self.boundary {
                if self.resolve.contains(ResolveFlags::BENEATH) {
                    return Err(Errno::EXDEV);
                }
                break;
            }
            if at.is_mount_root() {
                match &at.mount.parent {
                    Some(parent) => at = parent.clone(),
                    None => break,
                }
                continue;
            }
            if let Some(parent) = at.dentry.parent() {
                at.dentry = parent;
            }
            break;
        }
        if self.scoped_since.is_some_and(|since| !since.still_hold()) {
            return Err(Errno::EAGAIN);
        }
        let at = self.names.namespace.topmost(at);
        self.jump(at)
    }

    /// Follows a symbolic link in the directory where the walk is: puts its target in front of what is pending.
    pub(super) fn follow(&mut self, link: &Arc<Dentry>) -> Result<(), Errno> {
        self.links += 1;
        if self.links > MAX_SYMLINKS || self.resolve.contains(ResolveFlags::NO_SYMLINKS) {
            return Err(Errno::ELOOP);
        }
        match link.require()?.read_link(self.names.caller)? {
            Link::Magic(path) => {
                if self.resolve.contains(ResolveFlags::NO_MAGICLINKS) {
                    return Err(Errno::ELOOP);
                }
                if self.resolve.intersects(ResolveFlags::BENEATH | ResolveFlags::IN_ROOT) {
                    return Err(Errno::EXDEV);
                }
                self.jump(path)
            }
            Link::Target(target) => {
                match target.first() {
                    None => return Err(Errno::ENOENT),
                    Some(b'/') => self.go_to_root()?,
                    Some(_) => {}
                }
                // A segment that is used up (but for slashes that say "directory") need not be kept.
                if self.pending.last().is_some_and(|top| top.rest().is_empty()) && self.pending.len() > 1 {
                    self.pending.pop();
                }
                self.pending.push(Pending::new(SmallVec::from_vec(target)));
                Ok(())
            }
        }
    }
}

fn ends_in_slash(pending: &Pending) -> bool {
    pending.text.last() == Some(&b'/')
}

impl Pending {
    fn new(text: SmallVec<[u8; 64]>) -> Self {
        let end = text.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1);
        Pending { text, at: 0, end }
    }

    fn rest(&self) -> &[u8] {
        &self.text[self.at..]
    }

    /// The component that begins at `start` and those after it, up to the first that is not a plain name.
    fn chain(&self, start: usize) -> SmallVec<[&[u8]; CHAIN_LIMIT]> {
        self.text[start..]
            .split(|&byte| byte == b'/')
            .filter(|name| !name.is_empty() && *name != b".")
            .take_while(|name| *name != b".." && name.len() <= NAME_MAX)
            .take(CHAIN_LIMIT)
            .collect()
    }
}
