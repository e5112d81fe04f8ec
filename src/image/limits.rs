//! What an image may be at most. Whoever made it may be hostile: each bound is far above what real images need, and low
//! enough that reaching it harms nobody.

/// Bytes of an index, a manifest or a configuration. The image specification asks registries for as much.
pub(super) const MAX_DOCUMENT: u64 = 4 << 20;

/// Indexes within indexes.
pub(super) const MAX_INDEX_DEPTH: usize = 4;

/// Manifests that are looked at until one fits.
pub(super) const MAX_MANIFESTS: usize = 1024;

/// Layers of one image. Docker makes 127 at most.
pub(super) const MAX_LAYERS: usize = 512;

/// Bytes of all layers that are unpacked for one image, not compressed, headers included.
pub(super) const MAX_BYTES: u64 = 64 << 30;

/// Entries of all layers that are unpacked for one image, with the directories that they imply, and names of one root.
pub(super) const MAX_ENTRIES: usize = 1 << 20;

/// Bytes of all names that layers unpacked for one image bring or take away, and of the names of one root: each is kept
/// in memory.
pub(super) const MAX_NAMES: usize = 256 << 20;

/// What an image may still take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    pub(super) bytes: u64,
    pub(super) entries: usize,
    /// Bytes of names.
    pub(super) names: usize,
}

impl Budget {
    /// All of it.
    pub(super) const WHOLE: Budget = Budget { bytes: MAX_BYTES, entries: MAX_ENTRIES, names: MAX_NAMES };
}

/// Bytes of an entry's name, and of what a link says. `PATH_MAX`.
pub(super) const MAX_PATH: usize = 4095;

/// Names in an entry's path.
pub(super) const MAX_DEPTH: usize = 256;

/// Bytes of one extension header: long names and attributes of the entry that follows.
pub(super) const MAX_EXTENSION: u64 = 1 << 20;

/// Members of an archive that holds an image.
pub(super) const MAX_MEMBERS: usize = 1 << 16;

/// Links that are followed from one member of an archive to another.
pub(super) const MAX_MEMBER_LINKS: usize = 8;

/// Bytes of the window that a zstd frame may ask for: what the decoder keeps in memory.
pub(super) const MAX_WINDOW: u64 = 128 << 20;
