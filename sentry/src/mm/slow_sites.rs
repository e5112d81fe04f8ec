//! Which call sites are worth a patch.

use hashbrown::HashMap;

use crate::task::Current;

/// Calls after which a site is patched. A patch takes some 40 us and saves 3 us a call, so it pays after thirteen; a site
/// that has called so often usually goes on. (With 8 every dynamic loader patched its `mmap` just before its last calls.)
pub(in crate::mm) const THRESHOLD: u8 = 13;
/// Sites that are counted at the same time.
const MAX_SITES: usize = 1024;

/// How often each call site of an address space has trapped.
#[derive(Default)]
pub(crate) struct SlowSites(HashMap<u64, SlowCalls>);

/// The calls that have trapped at a site.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::mm) struct SlowCalls {
    /// How many.
    pub(in crate::mm) count: u8,
    /// The last one's number.
    pub(in crate::mm) number: u64,
}

impl SlowSites {
    /// All of them, which are forgotten: the program ends.
    pub(in crate::mm) fn take(&mut self) -> HashMap<u64, SlowCalls> {
        std::mem::take(&mut self.0)
    }

    /// Counts a trap. True if the site is to be patched now; that is said once.
    fn count(&mut self, site: u64, number: u64) -> bool {
        if self.0.len() == MAX_SITES && !self.0.contains_key(&site) {
            self.0.clear();
        }
        let calls = self.0.entry(site).or_default();
        calls.number = number;
        calls.count = calls.count.saturating_add(1);
        calls.count == THRESHOLD
    }
}

/// Called at each system call, before it is carried out. Threads of an address space count together: one that makes a call
/// once in its life has siblings that make it too.
pub(crate) fn patch_if_slow(current: &mut Current) {
    let Some(site) = current.thread.patchable_site() else { return };
    let mm = current.task.mm();
    // A statement of its own, so that the lock is not held during the patch.
    let number = current.thread.registers().syscall_number();
    let is_due = mm.slow_sites.lock().count(site, number);
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
        let named: Vec<u32> = (0..600).filter(|_| sites.count(0x1000, 1)).collect();
        assert_eq!(named, [u32::from(THRESHOLD) - 1]);
        assert!(!sites.count(0x2000, 1));
    }

    #[test]
    fn sites_are_bounded() {
        let mut sites = SlowSites::default();
        for site in 0..5000 {
            sites.count(site, 1);
        }
        assert!(sites.0.len() <= MAX_SITES);
    }
}
