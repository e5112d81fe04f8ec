//! Which call sites are worth a patch.

use hashbrown::HashMap;

use crate::task::Current;

/// Calls after which a site is patched. A patch takes some 40 us and saves 3 us a call, so it pays after thirteen; a site
/// that has called so often usually goes on. (With 8 every dynamic loader patched its `mmap` just before its last calls.)
const THRESHOLD: u8 = 13;
/// Sites that are counted at the same time.
const MAX_SITES: usize = 1024;

/// How often each call site of an address space has trapped.
#[derive(Default)]
pub(crate) struct SlowSites(HashMap<u64, u8>);

impl SlowSites {
    /// Forgets all: a new program comes.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Counts a trap. True if the site is to be patched now; that is said once.
    fn count(&mut self, site: u64) -> bool {
        if self.0.len() == MAX_SITES && !self.0.contains_key(&site) {
            self.0.clear();
        }
        let count = self.0.entry(site).or_default();
        *count = count.saturating_add(1);
        *count == THRESHOLD
    }
}

/// Called at each system call, before it is carried out. Threads of an address space count together: one that makes a call
/// once in its life has siblings that make it too.
pub(crate) fn patch_if_slow(current: &mut Current) {
    let Some(site) = current.thread.patchable_site() else { return };
    let mm = current.task.mm();
    // A statement of its own, so that the lock is not held during the patch.
    let is_due = mm.slow_sites.lock().count(site);
    if is_due && let Err(errno) = mm.patch(&mut *current.thread) {
        tracing::debug!(site, %errno, "a call site stays as it is");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_named_once_when_it_has_called_often_enough() {
        let mut sites = SlowSites::default();
        let named: Vec<u32> = (0..600).filter(|_| sites.count(0x1000)).collect();
        assert_eq!(named, [u32::from(THRESHOLD) - 1]);
        assert!(!sites.count(0x2000));
    }

    #[test]
    fn sites_are_bounded() {
        let mut sites = SlowSites::default();
        for site in 0..5000 {
            sites.count(site);
        }
        assert!(sites.0.len() <= MAX_SITES);
    }
}
