//! A layer's archive becomes a tree and a [`Listing`].
//!
//! Nothing that the archive says is followed on the host: whether a path leads anywhere is decided by the listing of
//! what came before, in which only real directories lead on, and the tree would refuse it again ([`Tree`]). Files belong to
//! whoever unpacks and never have set-id bits; what the archive says about owners is only written down.

use std::io::{self, Read};

use anyhow::{Context, Result, bail};

use super::archive::{Archive, Entry, Kind};
use super::limits::{Budget, MAX_BYTES, MAX_DEPTH, MAX_ENTRIES, MAX_NAMES};
use super::listing::{Attributes, Brought, Listing, Place, shown, split, take_below};
use super::tree::Tree;

/// What takes a name of the layers below away begins so (OCI image specification, layer.md).
const WHITEOUT: &[u8] = b".wh.";
/// Takes everything away that layers below have in the directory.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Begins what aufs keeps for itself.
const BOOKKEEPING: &[u8] = b".wh..wh.";

/// Unpacks a layer into an empty tree. The reader is at the archive's end afterwards, with all that follows read.
pub(super) fn unpack(reader: impl Read, tree: &mut Tree, budget: &mut Budget) -> Result<Listing> {
    let Budget { bytes, entries, names } = budget;
    let mut bounded = Bounded { inner: reader, left: bytes };
    let mut archive = Archive::new(&mut bounded);
    let mut layer = Layer { listing: Listing::default(), tree, entries, names };
    while let Some(entry) = archive.next()? {
        layer.take(&entry, &mut archive).with_context(|| format!("entry {}", shown(&entry.path)))?;
    }
    // Tools fill an archive up with zeros, and digests count them.
    io::copy(&mut bounded, &mut io::sink())?;
    Ok(layer.listing)
}

/// Ends with an error instead of going on for ever.
struct Bounded<'a, R> {
    inner: R,
    left: &'a mut u64,
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        match self.left.checked_sub(length as u64) {
            Some(left) => *self.left = left,
            None => {
                let message = format!("the image is larger than {} GiB when unpacked", MAX_BYTES >> 30);
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
        }
        Ok(length)
    }
}

struct Layer<'a> {
    listing: Listing,
    tree: &'a mut Tree,
    /// What is left of the [`Budget`].
    entries: &'a mut usize,
    names: &'a mut usize,
}

impl Layer<'_> {
    fn take(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<()> {
        let place = clean(&entry.path)?;
        self.count(&place)?;
        let (directory, name) = split(&place);
        if name == OPAQUE {
            self.listing.emptied.insert(directory.to_vec());
            return Ok(());
        }
        if name.starts_with(BOOKKEEPING) {
            return Ok(());
        }
        if let Some(removed) = name.strip_prefix(WHITEOUT) {
            if matches!(removed, b"" | b"." | b"..") {
                bail!("it takes away what is no name");
            }
            let separator: &[u8] = if directory.is_empty() { b"" } else { b"/" };
            self.listing.removed.insert([directory, separator, removed].concat());
            return Ok(());
        }
        let attributes = attributes(entry)?;
        if entry.kind == Kind::Device {
            return device(&place);
        }
        if place.is_empty() {
            if entry.kind != Kind::Directory {
                bail!("the root is not a directory");
            }
            self.listing.brought.insert(place, Brought::Directory(attributes));
            return Ok(());
        }
        self.make_parents(directory)?;
        if entry.kind == Kind::Directory {
            return self.directory(place, attributes);
        }
        // Before the place is made free: it might be its own target.
        let target = match &entry.kind {
            Kind::HardLink(target) => {
                let target = clean(target).context("what it is a link to")?;
                match self.listing.brought.get(&target) {
                    // tar(1) writes this for a file that it was told twice.
                    Some(Brought::File(..)) if target == place => return Ok(()),
                    Some(&Brought::File(attributes, is_symlink)) => Some((target, attributes, is_symlink)),
                    _ => bail!(
                        "it is a link to {}, which is no file that came before in the layer",
                        shown(&target)
                    ),
                }
            }
            _ => None,
        };
        self.make_free(&place)?;
        let mut brought = Brought::File(attributes, false);
        match (&entry.kind, target) {
            (_, Some((target, attributes, is_symlink))) => {
                // The target may have been below what the link replaces.
                self.tree.link(&target, &place)?;
                brought = Brought::File(attributes, is_symlink);
            }
            (Kind::Symlink(target), _) => {
                if target.is_empty() || target.contains(&0) {
                    bail!("it is a link to nothing");
                }
                self.tree.make_symlink(&place, target, entry.mtime)?;
                brought = Brought::File(attributes, true);
            }
            (Kind::Fifo, _) => self.tree.make_fifo(&place, entry.mtime)?,
            _ => self.tree.make_file(&place, content, host_file_mode(attributes.mode), entry.mtime)?,
        }
        self.listing.brought.insert(place, brought);
        Ok(())
    }

    /// Takes an entry, or a directory that one implies, from the budget.
    fn count(&mut self, place: &[u8]) -> Result<()> {
        let entries = self.entries.checked_sub(1);
        *self.entries = entries.with_context(|| format!("the image has more than {MAX_ENTRIES} entries"))?;
        let names = self.names.checked_sub(place.len());
        *self.names =
            names.with_context(|| format!("the image has more than {} MiB of names", MAX_NAMES >> 20))?;
        Ok(())
    }

    /// Sees to it that a directory is there to make something in.
    fn make_parents(&mut self, directory: &[u8]) -> Result<()> {
        match self.listing.brought.get(directory) {
            Some(Brought::Directory(_) | Brought::Implied) => return Ok(()),
            Some(Brought::File(..)) => {
                bail!("{} is not a directory: links are not followed while unpacking", shown(directory))
            }
            None if directory.is_empty() => return Ok(()),
            None => {}
        }
        let ends = directory.iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(at, _)| at);
        for end in ends.chain([directory.len()]) {
            let Some(place) = directory.get(..end) else { continue };
            match self.listing.brought.get(place) {
                Some(Brought::Directory(_) | Brought::Implied) => {}
                Some(Brought::File(..)) => {
                    bail!("{} is not a directory: links are not followed while unpacking", shown(place))
                }
                None => {
                    self.count(place)?;
                    self.tree.make_directory(place)?;
                    self.listing.brought.insert(place.to_vec(), Brought::Implied);
                }
            }
        }
        Ok(())
    }

    fn directory(&mut self, place: Place, attributes: Attributes) -> Result<()> {
        let is_there =
            matches!(self.listing.brought.get(&place), Some(Brought::Directory(_) | Brought::Implied));
        if !is_there {
            self.make_free(&place)?;
            self.tree.make_directory(&place)?;
        }
        self.listing.brought.insert(place, Brought::Directory(attributes));
        Ok(())
    }

    /// Removes what came before at this place: the last entry of a name counts.
    fn make_free(&mut self, place: &[u8]) -> Result<()> {
        if self.listing.brought.remove(place).is_none() {
            return Ok(());
        }
        for below in take_below(&mut self.listing.brought, place).iter().rev() {
            self.tree.remove(below)?;
        }
        Ok(self.tree.remove(place)?)
    }
}

/// Reads a path as one below the root, however it begins. One with `..` means something that no tool writes.
fn clean(path: &[u8]) -> Result<Place> {
    if path.contains(&0) {
        bail!("its name has a zero byte");
    }
    let names: Vec<&[u8]> =
        path.split(|&byte| byte == b'/').filter(|name| !matches!(*name, b"" | b".")).collect();
    if names.contains(&&b".."[..]) {
        bail!("its name has '..', which would lead out of the layer");
    }
    if names.len() > MAX_DEPTH {
        bail!("it lies more than {MAX_DEPTH} directories deep");
    }
    Ok(names.join(&b'/'))
}

fn attributes(entry: &Entry) -> Result<Attributes> {
    // -1 is nobody's number: chown(2) takes it for no change.
    let id = |id: u64| u32::try_from(id).ok().filter(|&id| id != u32::MAX);
    let (Some(uid), Some(gid)) = (id(entry.uid), id(entry.gid)) else {
        bail!("its owner {}:{} is no user of Linux", entry.uid, entry.gid)
    };
    let Entry { mode, mtime, capabilities, .. } = *entry;
    Ok(Attributes { mode: mode & 0o7777, uid, gid, mtime, capabilities })
}

/// A device is passed over where the sandbox's own devices are mounted, and nobody could see it; elsewhere it is nothing
/// that an image has for a good reason.
fn device(place: &[u8]) -> Result<()> {
    if place.starts_with(b"dev/") {
        return Ok(());
    }
    bail!("it is a device, which a layer may have in /dev only")
}

/// The permissions of a file in the cache: readable for its owner, without set-id bits.
pub(super) fn host_file_mode(mode: u32) -> u32 {
    mode & 0o777 | 0o400
}

/// The same for a directory.
pub(super) fn host_directory_mode(mode: u32) -> u32 {
    mode & 0o777 | 0o700
}
