//! Fingerprints of directory trees.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A tree's entries, by their path below its root.
pub(crate) type Tree<T> = BTreeMap<PathBuf, T>;

/// What an entry holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    mode: u32,
    owner: (u32, u32),
    links: u64,
    /// The bytes of a file, the target of a symbolic link.
    content: Vec<u8>,
    /// Seconds of the modification time, unless it is recent.
    modified: Option<i64>,
    attribute: Option<Vec<u8>>,
}

/// What tells that an entry was touched, if only to put everything back: no change leaves the time of the last change
/// as it was.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    inode: u64,
    changed: (i64, i64),
    modified: (i64, i64),
    content: Vec<u8>,
}

/// Modification times before this, in seconds, were set by somebody.
const LONG_AGO: i64 = 1_500_000_000;

/// The fingerprint of each entry of `root`, itself included.
pub(crate) fn fingerprints(root: &Path) -> Tree<Fingerprint> {
    walk(root, |path, metadata| Fingerprint {
        inode: metadata.ino(),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        content: content(path, metadata),
    })
}

/// What each entry of `root` holds, itself included: two trees that were changed in the same way are equal.
pub(crate) fn entries(root: &Path) -> Tree<Entry> {
    walk(root, |path, metadata| Entry {
        mode: metadata.mode(),
        owner: (metadata.uid(), metadata.gid()),
        links: metadata.nlink(),
        content: content(path, metadata),
        modified: Some(metadata.mtime()).filter(|&time| time < LONG_AGO),
        attribute: attribute(path),
    })
}

fn walk<T>(root: &Path, look: impl Fn(&Path, &fs::Metadata) -> T) -> Tree<T> {
    let mut found = Tree::new();
    let mut paths = vec![root.to_owned()];
    while let Some(path) = paths.pop() {
        let metadata = fs::symlink_metadata(&path).expect("an entry's metadata");
        if metadata.is_dir() {
            paths.extend(
                fs::read_dir(&path).expect("a directory").map(|entry| entry.expect("an entry").path()),
            );
        }
        let name = path.strip_prefix(root).expect("the walk starts at the root").to_owned();
        found.insert(name, look(&path, &metadata));
    }
    found
}

fn content(path: &Path, metadata: &fs::Metadata) -> Vec<u8> {
    if metadata.is_file() {
        fs::read(path).expect("a file")
    } else if metadata.is_symlink() {
        fs::read_link(path).expect("a link").into_os_string().into_encoded_bytes()
    } else {
        Vec::new()
    }
}

/// The attribute that the tests set.
fn attribute(path: &Path) -> Option<Vec<u8>> {
    ["user.host", "user.guest"].into_iter().find_map(|name| {
        let mut value = vec![0; 64];
        let length = rustix::fs::lgetxattr(path, name, &mut value[..]).ok()?;
        value.truncate(length);
        Some(value)
    })
}
