//! Where unpacked layers and the roots made of them are kept.
//!
//! ```text
//! CACHE/lock                           held by whoever writes
//! CACHE/layers/sha256-CONTENT/         a layer: tree/, listing
//! CACHE/roots/sha256-ROOT/             a root: tree/, unseen, image.json; locked, shared, by each sandbox that uses it
//! CACHE/unfinished/                    what somebody makes at the moment, or was interrupted at
//! ```
//!
//! What is made is made by a process that can reach nothing else, in `unfinished`, written to the disk, and renamed to its place: what has its name is whole. All of
//! it belongs to one user, and is for that user only.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use serde::{Deserialize, Serialize};

use super::compression::decompress;
use super::digest::{Digest, Verifier};
use super::layer::unpack;
use super::limits::Budget;
use super::listing::{Listing, Place};
use super::manifest::{Image, Layer};
use super::root::Merged;
use super::source::Source;
use super::tree::Tree;
use crate::sandbox::confined;

/// Where root's cache is.
const ROOTS_CACHE: &str = "/var/cache/usk";
/// The form of what is in a cache: another form is kept elsewhere.
const FORM: &str = "images-1";

/// A cache of images.
#[derive(Debug)]
pub(super) struct Cache {
    directory: PathBuf,
}

/// A root in the cache, which stays there as long as this exists.
#[derive(Debug)]
pub(super) struct CachedRoot {
    /// Its directory in the cache.
    pub(super) directory: PathBuf,
    /// Holds the lock.
    pub(super) lease: Flock<File>,
}

/// What is remembered about a root.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    /// What the image was called when the root was made.
    pub(super) name: String,
    /// Names of its layers' directories.
    pub(super) layers: Vec<String>,
    /// Bytes of its files.
    pub(super) bytes: u64,
}

impl CachedRoot {
    /// The tree.
    pub(super) fn tree(&self) -> PathBuf {
        self.directory.join("tree")
    }

    /// What the tree does not show.
    pub(super) fn unseen(&self) -> PathBuf {
        self.directory.join("unseen")
    }
}

impl Cache {
    /// Opens the cache, and makes it if it is not there. Without a directory, the usual one.
    pub(super) fn open(directory: Option<&Path>) -> Result<Cache> {
        let directory = match directory {
            Some(directory) => directory.to_owned(),
            None => usual_directory()?,
        };
        let describe = || format!("cannot keep images in {}", directory.display());
        let make = |path: &Path| DirBuilder::new().recursive(true).mode(0o700).create(path);
        make(&directory).with_context(describe)?;
        let metadata = fs::metadata(&directory).with_context(describe)?;
        if metadata.uid() != nix::unistd::geteuid().as_raw() || metadata.mode() & 0o022 != 0 {
            bail!(
                "cannot keep images in {}: others may change it; use a directory of your own that only you may write to",
                directory.display()
            );
        }
        let inner = directory.join(FORM);
        for name in ["layers", "roots", "unfinished"] {
            make(&inner.join(name)).with_context(describe)?;
        }
        // Absolute: the path is resolved again by others.
        let directory = fs::canonicalize(&inner).with_context(describe)?;
        Ok(Cache { directory })
    }

    /// The root of an image; unpacked if it is not there yet. It has directories at these places, to mount on.
    pub(super) fn root(
        &self,
        image: &Image,
        source: &Source,
        name: &str,
        places: &[Place],
    ) -> Result<CachedRoot> {
        let root = self.root_directory(image, places);
        if let Some(found) = lease(&root)? {
            return Ok(found);
        }
        let workshop = self.lock()?;
        // Somebody else may have made it meanwhile.
        if let Some(found) = lease(&root)? {
            return Ok(found);
        }
        let lock = workshop.lock.as_fd();
        let readable = source.directory().context("cannot find the image's directory")?;
        // The process keeps the lock too: who is killed may leave it behind for a moment.
        let kept: Vec<BorrowedFd<'_>> = source.file().into_iter().chain([lock]).collect();
        confined(&self.directory, readable.as_deref(), &kept, |readable| {
            let inside = match readable {
                Some(directory) => &Source::Directory(directory),
                None => source,
            };
            let cache = Cache { directory: "/".into() };
            cache.make(image, inside, name, places).map_err(explain_full)
        })?;
        lease(&root)?.context("its root is gone again")
    }

    /// Unpacks what is missing of an image, and makes its root. With the lock held.
    fn make(&self, image: &Image, source: &Source, name: &str, places: &[Place]) -> Result<()> {
        let mut budget = Budget::WHOLE;
        for (number, layer) in image.layers.iter().enumerate() {
            self.layer(layer, source, &mut budget).with_context(|| {
                format!("layer {} of {} ({})", number + 1, image.layers.len(), layer.content)
            })?;
        }
        self.make_root(image, name, places).context("its root")
    }

    /// Begins something that will have a name when it is finished.
    fn begin(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.directory.join("unfinished").join(name);
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(path)
    }

    /// Takes the lock and throws away what was interrupted.
    fn lock(&self) -> Result<Workshop> {
        let mut options = File::options();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(self.directory.join("lock")).context("cannot open the cache's lock")?;
        let lock = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno);
        let lock = lock.context("cannot lock the cache")?;
        let workshop = Workshop { directory: self.directory.join("unfinished"), lock };
        workshop.clear().context("cannot remove what was interrupted from the cache")?;
        Ok(workshop)
    }

    fn root_directory(&self, image: &Image, places: &[Place]) -> PathBuf {
        self.directory.join("roots").join(root_name(image, places).file_name())
    }

    fn layer_directory(&self, content: &Digest) -> PathBuf {
        self.directory.join("layers").join(content.file_name())
    }

    /// Unpacks a layer if it is not there.
    fn layer(&self, layer: &Layer, source: &Source, budget: &mut Budget) -> Result<()> {
        let place = self.layer_directory(&layer.content);
        if place.exists() {
            return Ok(());
        }
        let part = match source.part(&layer.file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => bail!("{} is missing", layer.file),
            part => part?,
        };
        let unfinished = self.begin("layer")?;
        let mut tree = Tree::make(&unfinished.join("tree"))?;
        let listing = match layer.stored {
            None => unpack_verified(part, &layer.content, &mut tree, budget)?,
            Some(stored) => {
                let mut part = Verifier::new(part, stored);
                let listing = unpack_verified(&mut part, &layer.content, &mut tree, budget)?;
                part.finish()?;
                listing
            }
        };
        fs::write(unfinished.join("listing"), listing.to_bytes())?;
        publish(&unfinished, &place)
    }

    fn make_root(&self, image: &Image, name: &str, places: &[Place]) -> Result<()> {
        let mut merged = Merged::new();
        let mut trees = Vec::new();
        let mut names = Vec::new();
        for (number, layer) in image.layers.iter().enumerate() {
            let directory = self.layer_directory(&layer.content);
            let describe = || format!("{} is damaged: remove it", directory.display());
            let bytes = fs::read(directory.join("listing")).with_context(describe)?;
            merged.apply(number, &Listing::parse(&bytes).with_context(describe)?).with_context(describe)?;
            trees.push(Tree::open(&directory.join("tree")).with_context(describe)?);
            names.push(layer.content.file_name());
        }
        places.iter().for_each(|place| merged.make_place(place));
        let unfinished = self.begin("root")?;
        let mut root = Tree::make(&unfinished.join("tree"))?;
        let (unseen, bytes) = merged.make(&mut trees, &mut root)?;
        fs::write(unfinished.join("unseen"), unseen.into_bytes())?;
        let record = Record { name: name.into(), layers: names, bytes };
        fs::write(unfinished.join("image.json"), serde_json::to_vec(&record)?)?;
        publish(&unfinished, &self.root_directory(image, places))
    }

    /// The roots that are there, with what is remembered about them, and whether a sandbox uses them.
    pub(super) fn list(&self) -> Result<Vec<(String, Option<Record>, bool)>> {
        let mut found = Vec::new();
        for directory in self.entries("roots")? {
            let Some(name) = directory.file_name().map(|name| name.display().to_string()) else { continue };
            let record = record(&directory);
            let is_used = match exclusive(&directory) {
                Ok(lock) => lock.is_none(),
                // Pruned meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error).with_context(|| directory.display().to_string()),
            };
            found.push((name, record, is_used));
        }
        Ok(found)
    }

    /// Removes the roots that no sandbox uses, and the layers that no root is left of. Returns how many of each.
    pub(super) fn prune(&self) -> Result<(usize, usize)> {
        let workshop = self.lock()?;
        let (mut roots, mut layers) = (0, 0);
        let mut kept = Vec::new();
        for directory in self.entries("roots")? {
            match exclusive(&directory)? {
                Some(_lock) => {
                    workshop.remove(&directory)?;
                    roots += 1;
                }
                None => {
                    // Without a record its layers go: its files stay, by their other names.
                    kept.extend(record(&directory).map(|record| record.layers).unwrap_or_default());
                }
            }
        }
        for directory in self.entries("layers")? {
            let is_kept =
                directory.file_name().is_some_and(|name| kept.iter().any(|kept| name == kept.as_str()));
            if !is_kept {
                workshop.remove(&directory)?;
                layers += 1;
            }
        }
        Ok((roots, layers))
    }

    fn entries(&self, name: &str) -> io::Result<Vec<PathBuf>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(self.directory.join(name))? {
            entries.push(entry?.path());
        }
        entries.sort();
        Ok(entries)
    }
}

/// The right to write. What is unfinished at the end is removed.
struct Workshop {
    directory: PathBuf,
    lock: Flock<File>,
}

impl Workshop {
    /// Takes something out of its place at once, then removes it.
    fn remove(&self, directory: &Path) -> Result<()> {
        let place = self.directory.join("removed");
        let describe = || format!("cannot remove {}", directory.display());
        fs::rename(directory, &place).with_context(describe)?;
        fs::remove_dir_all(&place).with_context(describe)
    }

    fn clear(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.directory)? {
            fs::remove_dir_all(entry?.path())?;
        }
        Ok(())
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        // Else the next to take the lock does it.
        let _ = self.clear();
    }
}

fn unpack_verified(
    reader: impl io::Read,
    content: &Digest,
    tree: &mut Tree,
    budget: &mut Budget,
) -> Result<Listing> {
    let mut verifier = Verifier::new(decompress(reader)?, *content);
    let listing = unpack(&mut verifier, tree, budget)?;
    verifier.finish()?;
    Ok(listing)
}

/// Gives what is finished its name, once all of it is on the disk: after a loss of power it is whole, or not there.
fn publish(unfinished: &Path, place: &Path) -> Result<()> {
    let directory = File::open(unfinished)?;
    nix::unistd::syncfs(directory.as_fd()).context("cannot write to the disk")?;
    fs::rename(unfinished, place)?;
    Ok(())
}

/// What is remembered about a root; `None` if that is damaged.
fn record(root: &Path) -> Option<Record> {
    serde_json::from_slice(&fs::read(root.join("image.json")).ok()?).ok()
}

/// Keeps a root where it is; `None` if it is not there.
fn lease(root: &Path) -> Result<Option<CachedRoot>> {
    let describe = || format!("cannot use {}", root.display());
    loop {
        let file = match open_directory(root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.with_context(describe)?,
        };
        let lease =
            Flock::lock(file, FlockArg::LockShared).map_err(|(_, errno)| errno).with_context(describe)?;
        // It may have been removed, and made again, before the lock was there.
        let locked = lease.metadata().with_context(describe)?;
        match fs::metadata(root) {
            Ok(there) if (there.dev(), there.ino()) == (locked.dev(), locked.ino()) => {
                return Ok(Some(CachedRoot { directory: root.into(), lease }));
            }
            _ => {}
        }
    }
}

/// Locks a root against all sandboxes; `None` if one uses it.
fn exclusive(root: &Path) -> io::Result<Option<Flock<File>>> {
    match Flock::lock(open_directory(root)?, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(errno.into()),
    }
}

fn open_directory(path: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags(OFlag::O_DIRECTORY.bits()).open(path)
}

/// The name of a root: of its layers, and of the places that were made in it.
fn root_name(image: &Image, places: &[Place]) -> Digest {
    Digest::of(&[chain(image).to_string().as_bytes(), &places.join(&0)].join(&0))
}

/// The name of a stack of layers: each is summed up with what is below it (config.md, "Layer ChainID").
fn chain(image: &Image) -> Digest {
    let mut contents = image.layers.iter().map(|layer| layer.content);
    let first = contents.next().unwrap_or(Digest::of(b""));
    contents.fold(first, |below, content| Digest::of(format!("{below} {content}").as_bytes()))
}

fn usual_directory() -> Result<PathBuf> {
    if nix::unistd::geteuid().is_root() {
        return Ok(ROOTS_CACHE.into());
    }
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
    Ok(base
        .context("cannot tell where to keep images: set HOME or XDG_CACHE_HOME, or say --image-cache DIR")?
        .join("usk"))
}

/// What to do when there is no room.
fn explain_full(error: anyhow::Error) -> anyhow::Error {
    let is_full = error.chain().any(|cause| {
        let number = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
        matches!(
            number.map(nix::errno::Errno::from_raw),
            Some(nix::errno::Errno::ENOSPC | nix::errno::Errno::EDQUOT)
        )
    });
    if !is_full {
        return error;
    }
    anyhow::anyhow!("{error:#}; make room with 'usk image prune', or choose another place with --image-cache")
}
