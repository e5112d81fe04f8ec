//! Which call sites are worth a patch.
//!
//! The copies that a process makes of itself, as a shell does for each command, make the same few calls from the same places, and
//! are over before any of them has paid. So they are counted with the original, too, which patches itself before the next copy.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use usk_platform::GuestThread;

use crate::mm::Mm;
use crate::task::Current;

/// Calls after which a site is patched. A patch takes some 40 us and saves 3 us a call, so it pays after thirteen; a site
/// that has called so often usually goes on. (With 8 every dynamic loader patched its `mmap` just before its last calls.)
pub(in crate::mm) const THRESHOLD: u8 = 13;
/// Sites that are counted at the same time.
const MAX_SITES: usize = 1024;

/// By these a thread ends: it waits for another with a signal's frame, which a patched site has not (see the platform's spare
/// address spaces).
pub(in crate::mm) const ENDINGS: [u64; 2] = [60, 231];

/// How often each call site of an address space has trapped.
#[derive(Default)]
pub(crate) struct SlowSites {
    calls: HashMap<u64, SlowCalls>,
    copies: Arc<Mutex<Copies>>,
    /// Of the address space that this one is a copy of.
    original: Option<Arc<Mutex<Copies>>>,
}

/// What the copies of an address space have called.
#[derive(Default)]
struct Copies {
    calls: HashMap<u64, SlowCalls>,
    /// Sites that are to be patched, and the numbers of their calls.
    due: Vec<(u64, u64)>,
}

/// The calls that have trapped at a site.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::mm) struct SlowCalls {
    /// How many.
    pub(in crate::mm) count: u8,
    /// The last one's number.
    pub(in crate::mm) number: u64,
}

impl SlowSites {
    /// Those of a copy of the address space, which are none yet.
    pub(in crate::mm) fn of_copy(&self) -> SlowSites {
        SlowSites { original: Some(Arc::clone(&self.copies)), ..SlowSites::default() }
    }

    /// All of them, which are forgotten: the program ends.
    pub(in crate::mm) fn take(&mut self) -> HashMap<u64, SlowCalls> {
        std::mem::take(self).calls
    }

    /// Counts a trap. True if the site is to be patched now; that is said once.
    fn count(&mut self, site: u64, number: u64) -> bool {
        if let Some(original) = self.original.as_ref().filter(|_| !ENDINGS.contains(&number)) {
            let mut original = original.lock();
            if count(&mut original.calls, site, number) && original.due.len() < MAX_SITES {
                original.due.push((site, number));
            }
        }
        count(&mut self.calls, site, number)
    }
}

fn count(all: &mut HashMap<u64, SlowCalls>, site: u64, number: u64) -> bool {
    if all.len() == MAX_SITES && !all.contains_key(&site) {
        all.clear();
    }
    let calls = all.entry(site).or_default();
    calls.number = number;
    calls.count = calls.count.saturating_add(1);
    calls.count == THRESHOLD
}

/// Called at each system call, before it is carried out. Threads of an address space count together: one that makes a call
/// once in its life has siblings that make it too.
pub(crate) fn patch_if_slow(current: &mut Current) {
    let Some(site) = current.thread.patchable_site() else { return };
    let mm = current.task.mm();
    // A statement of its own, so that the lock is not held during the patch.
    let number = current.thread.registers().syscall_number();
    let is_due = mm.slow_sites.lock().count(site, number);
    if is_due {
        patch(&mm, &mut *current.thread, site, number);
    }
}

/// Called before the address space of `thread`, which is in a call, is copied.
pub(crate) fn patch_for_copies(mm: &Mm, thread: &mut dyn GuestThread) {
    let copies = Arc::clone(&mm.slow_sites.lock().copies);
    // The same.
    let due = std::mem::take(&mut copies.lock().due);
    due.into_iter().for_each(|(site, number)| patch(mm, thread, site, number));
}

fn patch(mm: &Mm, thread: &mut dyn GuestThread, site: u64, number: u64) {
    if let Err(errno) = mm.patch(thread, site, number) {
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
        assert!(sites.calls.len() <= MAX_SITES);
    }

    #[test]
    fn what_copies_call_together_is_named_to_the_original() {
        let mut original = SlowSites::default();
        let due = |original: &SlowSites| original.copies.lock().due.clone();
        for _ in 1..THRESHOLD {
            assert!(!original.of_copy().count(0x1000, 39));
        }
        assert!(due(&original).is_empty());
        original.of_copy().count(0x1000, 39);
        original.of_copy().count(0x1000, 39);
        assert_eq!(due(&original), [(0x1000, 39)]);
        // Another program is nobody's copy, and has none.
        let mut copy = original.of_copy();
        copy.take();
        copy.count(0x2000, 1);
        assert!(copy.original.is_none());
        original.take();
        assert!(due(&original).is_empty());
    }
}
