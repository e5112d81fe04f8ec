//! From an image's name to its root in the cache and its settings.

use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::fcntl::Flock;
use usk_gofer::Owners;

use super::cache::Cache;
use super::listing::Place;
use super::manifest;
use super::reference::Reference;
use super::root::read_unseen;
use super::settings::Settings;
use super::source::Source;
use super::tree::Tree;

/// An image's root in the cache, and what the image says about its command.
#[derive(Debug)]
pub struct ImageRoot {
    /// The tree, on the host.
    pub root: PathBuf,
    /// Whose its files are, and which permissions they have.
    pub owners: Owners,
    /// About the command.
    pub settings: Settings,
    /// Keeps the root in the cache as long as it exists.
    pub lease: Flock<File>,
}

/// Finds an image, and unpacks it if it is not in the cache yet.
pub fn prepare(reference: &Reference, cache: Option<&Path>) -> Result<ImageRoot> {
    let describe = || format!("cannot use the image {}", super::listing::shown(reference.place.as_bytes()));
    let (path, tag) = reference.split();
    let source = Source::open(reference.transport, &path).with_context(describe)?;
    let image = manifest::find(&source, tag).with_context(describe)?;
    let settings = Settings::of(&image.configuration).with_context(describe)?;
    let cache = Cache::open(cache)?;
    let root = cache.root(&image, &source, &reference.place, &places(&settings)).with_context(describe)?;
    let damaged = || format!("{} is damaged: say 'usk image prune'", root.directory.display());
    let unseen = fs::read(root.unseen()).with_context(damaged)?;
    let mut tree = Tree::open(&root.tree()).with_context(damaged)?;
    let owners = Owners::new(read_unseen(&unseen, &mut tree).with_context(damaged)?);
    Ok(ImageRoot { root: root.tree(), owners, settings, lease: root.lease })
}

/// Where the sandbox mounts something of its own, also in a root that cannot be written to.
fn places(settings: &Settings) -> Vec<Place> {
    let inner = |path: &PathBuf| path.strip_prefix("/").unwrap_or(path).as_os_str().as_bytes().to_vec();
    let own = ["proc", "sys", "dev"].map(|name| name.as_bytes().to_vec());
    let mut places: Vec<Place> = own.into_iter().chain(settings.volumes.iter().map(inner)).collect();
    places.sort();
    places
}
