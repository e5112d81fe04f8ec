//! Which answers stand, as a count of changes. Compiled twice: over the machine's atomic words, and over loom's.

use super::atomic::{AtomicU32, Ordering};

/// The count.
#[derive(Debug)]
pub(crate) struct Version(AtomicU32);

impl Version {
    pub(crate) fn new() -> Version {
        Version(AtomicU32::new(0))
    }

    /// What stood has changed: nothing stands any more, which `erase` makes so where it has been left.
    pub(crate) fn withdraw(&self, erase: impl FnOnce()) {
        self.0.fetch_add(1, Ordering::SeqCst);
        erase();
    }

    /// Whether what was left at a version stands.
    pub(crate) fn stands(&self, left: Option<u32>) -> bool {
        left == Some(self.now())
    }

    /// The version of what is left now, with everything locked that may change it.
    pub(crate) fn now(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}
