//! Layers become a root: their listings are laid over each other in memory, then one tree is made of directories and of hard
//! links to the layers' files.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;

use anyhow::{Context, Result, bail};
use nix::sys::stat::{FileStat, SFlag};
use usk_gofer::HeldAttributes;

use super::layer::{host_directory_mode, host_file_mode};
use super::limits::{MAX_ENTRIES, MAX_NAMES};
use super::listing::{Attributes, Brought, Listing, Place, parse_rights, rights, shown, split, take_below};
use super::tree::Tree;

/// What a root has at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Directory(Attributes),
    /// A file of the layer with this number; whether it is a symbolic link.
    File(Attributes, usize, bool),
}

/// What layers are when they lie over each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Merged(pub(super) BTreeMap<Place, Node>);

impl Merged {
    /// Nothing but a root.
    pub(super) fn new() -> Merged {
        Merged([(Place::new(), Node::Directory(Attributes::IMPLIED))].into())
    }

    /// Lays a layer on top. First what it takes away, then what it brings: a layer's whiteouts do not concern itself.
    pub(super) fn apply(&mut self, number: usize, layer: &Listing) -> Result<()> {
        for place in &layer.emptied {
            take_below(&mut self.0, place);
        }
        for place in &layer.removed {
            self.remove(place);
        }
        for (place, brought) in &layer.brought {
            let is_directory = matches!(self.0.get(place), Some(Node::Directory(_)));
            let node = match *brought {
                Brought::Implied if is_directory => continue,
                Brought::Implied => Node::Directory(Attributes::IMPLIED),
                Brought::Directory(attributes) => Node::Directory(attributes),
                Brought::File(attributes, is_symlink) => Node::File(attributes, number, is_symlink),
            };
            if !(is_directory && matches!(node, Node::Directory(_))) {
                self.remove(place);
            }
            let parent = split(place).0;
            if !matches!(self.0.get(parent), Some(Node::Directory(_))) {
                bail!("its listing has {} in nothing", shown(place));
            }
            self.0.insert(place.clone(), node);
        }
        if self.0.len() > MAX_ENTRIES {
            bail!("with it the image has more than {MAX_ENTRIES} names");
        }
        if self.0.keys().map(Vec::len).sum::<usize>() > MAX_NAMES {
            bail!("with it the image has more than {} MiB of names", MAX_NAMES >> 20);
        }
        Ok(())
    }

    /// Sees to it that there is a directory to mount something on. Where a link leads on the way, nothing is done: the
    /// sandbox follows it.
    pub(super) fn make_place(&mut self, place: &[u8]) {
        let ends = place.iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(at, _)| at);
        for end in ends.chain([place.len()]) {
            let Some(part) = place.get(..end) else { continue };
            match self.0.get(part) {
                Some(Node::File(..)) => return,
                Some(Node::Directory(_)) => {}
                None => drop(self.0.insert(part.to_vec(), Node::Directory(Attributes::IMPLIED))),
            }
        }
    }

    fn remove(&mut self, place: &[u8]) {
        // The root stays, whatever a listing says.
        if !place.is_empty() && self.0.remove(place).is_some() {
            take_below(&mut self.0, place);
        }
    }

    /// Makes the tree. Returns what cannot be seen in it, and how many bytes its files have.
    pub(super) fn make(&self, layers: &mut [Tree], root: &mut Tree) -> Result<(Unseen, u64)> {
        let mut inodes: HashMap<u64, u64> = HashMap::new();
        let mut bytes: u64 = 0;
        let mut files = Vec::new();
        for (place, node) in &self.0 {
            let named = || format!("cannot make {}", shown(place));
            match node {
                Node::Directory(_) if place.is_empty() => {}
                Node::Directory(_) => root.make_directory(place).with_context(named)?,
                Node::File(attributes, layer, is_symlink) => {
                    let layer = layers.get_mut(*layer).context("a layer is missing")?;
                    root.link_from(layer, place).with_context(named)?;
                    let status = root.status(place).with_context(named)?;
                    let names = inodes.entry(status.st_ino).or_default();
                    *names += 1;
                    if *names == 1 && is(&status, SFlag::S_IFREG) {
                        bytes = bytes.saturating_add(u64::try_from(status.st_size).unwrap_or(0));
                    }
                    files.push((place, attributes, status.st_ino, *is_symlink));
                }
            }
        }
        let mut unseen = Unseen::default();
        // What is inside a directory changes its time: those deeper down come first.
        for (place, node) in self.0.iter().rev() {
            let Node::Directory(attributes) = node else { continue };
            let mode = host_directory_mode(attributes.mode);
            root.finish_directory(place, mode, attributes.mtime)
                .with_context(|| format!("cannot finish {}", shown(place)))?;
            unseen.note(place, attributes, mode, 1);
        }
        for (place, attributes, inode, is_symlink) in files {
            let names = inodes.get(&inode).copied().unwrap_or(1);
            let shown = Attributes { mode: if is_symlink { 0o777 } else { attributes.mode }, ..*attributes };
            let mode = if is_symlink { 0o777 } else { host_file_mode(attributes.mode) };
            unseen.note(place, &shown, mode, names);
        }
        Ok((unseen, bytes))
    }
}

fn is(status: &FileStat, kind: SFlag) -> bool {
    SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT == kind
}

/// What a root's tree does not show: of each file that is not root's, has other permissions than in the tree, capabilities,
/// or several names. All else is root's, with one name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Unseen(String, Vec<u8>);

impl Unseen {
    fn note(&mut self, place: &[u8], attributes: &Attributes, host_mode: u32, names: u64) {
        let Attributes { mode, uid, gid, capabilities, .. } = *attributes;
        if (mode, uid, gid, names) == (host_mode, 0, 0, 1) && capabilities.is_none() {
            return;
        }
        self.0.clear();
        // Writing to a string does not fail.
        let _ = write!(self.0, "{} {uid} {gid} {names} ", rights(mode, capabilities));
        self.1.extend(self.0.as_bytes());
        self.1.extend(place);
        self.1.push(0);
    }

    /// As it is kept: records of numbers and a path, each ended by a zero byte.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.1
    }
}

/// Reads what [`Unseen::into_bytes`] wrote, by inode number: these are looked up anew each time, since a cache may be
/// copied.
pub(super) fn read_unseen(bytes: &[u8], root: &mut Tree) -> Result<HashMap<u64, HeldAttributes>> {
    let mut found = HashMap::new();
    for record in bytes.split_inclusive(|&byte| byte == 0) {
        let Some(record) = record.strip_suffix(b"\0") else { bail!("its last record is cut off") };
        let mut fields = record.splitn(5, |&byte| byte == b' ');
        let mut field = || fields.next().and_then(|field| std::str::from_utf8(field).ok());
        let numbers = (|| {
            let (mode, capabilities) = parse_rights(field()?)?;
            let permissions = u16::try_from(mode).ok()?;
            let (uid, gid) = (field()?.parse().ok()?, field()?.parse().ok()?);
            Some(HeldAttributes { permissions, uid, gid, nlink: field()?.parse().ok()?, capabilities })
        })();
        let held = numbers.context("a record has no numbers")?;
        let place = fields.next().context("a record has no path")?;
        let describe = || std::ffi::OsStr::from_bytes(place).display().to_string();
        let status = root.status(place).with_context(describe)?;
        found.insert(status.st_ino, held);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Attributes = Attributes { mode: 0o644, ..Attributes::IMPLIED };

    fn listing(brought: &[(&str, Brought)], removed: &[&str], emptied: &[&str]) -> Listing {
        let places = |names: &[&str]| names.iter().map(|name| name.as_bytes().to_vec()).collect();
        Listing {
            brought: brought.iter().map(|(name, brought)| (name.as_bytes().to_vec(), *brought)).collect(),
            removed: places(removed),
            emptied: places(emptied),
        }
    }

    fn names(layers: &[Listing]) -> Vec<String> {
        let mut merged = Merged::new();
        for (number, layer) in layers.iter().enumerate() {
            merged.apply(number, layer).unwrap();
        }
        let name = |place: &Place| String::from_utf8(place.clone()).unwrap();
        merged.0.keys().filter(|place| !place.is_empty()).map(name).collect()
    }

    const FILE: Brought = Brought::File(PLAIN, false);
    const DIRECTORY: Brought = Brought::Directory(Attributes { mode: 0o700, ..PLAIN });

    #[test]
    fn a_whiteout_takes_away_what_lies_below_and_not_what_comes_with_it() {
        let below = listing(&[("a", DIRECTORY), ("a/b", DIRECTORY), ("a/b/c", FILE), ("ab", FILE)], &[], &[]);
        let gone = listing(&[], &["a"], &[]);
        assert_eq!(names(&[below.clone(), gone]), ["ab"]);
        let replaced = listing(&[("a", DIRECTORY), ("a/new", FILE)], &["a", "nothing"], &[]);
        assert_eq!(names(&[below, replaced]), ["a", "a/new", "ab"]);
    }

    #[test]
    fn an_opaque_directory_shows_only_what_its_layer_and_those_above_bring() {
        let below = listing(&[("a", DIRECTORY), ("a/old", FILE), ("b", FILE)], &[], &[]);
        let opaque = listing(&[("a", DIRECTORY), ("a/new", FILE)], &[], &["a"]);
        assert_eq!(names(&[below.clone(), opaque.clone(), below.clone()]), ["a", "a/new", "a/old", "b"]);
        assert_eq!(names(&[below.clone(), opaque]), ["a", "a/new", "b"]);
        assert_eq!(names(&[below, listing(&[], &[], &[""])]), Vec::<String>::new());
    }

    #[test]
    fn directories_join_and_everything_else_replaces() {
        let below = listing(&[("a", DIRECTORY), ("a/b", FILE), ("f", FILE)], &[], &[]);
        let joins = listing(&[("a", Brought::Implied), ("a/c", FILE), ("f", DIRECTORY)], &[], &[]);
        let mut merged = Merged::new();
        merged.apply(0, &below).unwrap();
        merged.apply(1, &joins).unwrap();
        let Node::Directory(attributes) = merged.0[&b"a"[..]] else { panic!("a directory") };
        assert_eq!(attributes.mode, 0o700, "a directory that is passed through stays as it is");
        assert!(matches!(merged.0[&b"f"[..]], Node::Directory(_)) && merged.0.contains_key(&b"a/b"[..]));
        assert_eq!(names(&[below, listing(&[("a", FILE)], &[], &[])]), ["a", "f"]);
    }

    #[test]
    fn a_listing_that_brings_something_into_nothing_is_refused() {
        assert!(Merged::new().apply(0, &listing(&[("a/b", FILE)], &[], &[])).is_err());
    }
}
