//! The mappings of an address space in the order of their addresses.
//!
//! Mappings never overlap, and neighbours that are mapped the same way are always one mapping. The tree knows nothing of
//! the host: whoever changes it has made the host do the same.

use std::collections::BTreeMap;

use crate::mm::vma::{Vma, VmaFlags};

/// Byte counts over all mappings, as `/proc/PID/status` and the resource limits want them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Everything mapped (`VmSize`).
    pub total: u64,
    /// Private and writable, without the stack (`VmData`).
    pub data: u64,
    /// The initial stack (`VmStk`).
    pub stack: u64,
    /// Executable and not writable (`VmExe` and `VmLib` together).
    pub executable: u64,
    /// Locked (`VmLck`).
    pub locked: u64,
    /// Mapped so that others may see what is written there.
    pub shared: u64,
}

impl Totals {
    fn add(&mut self, vma: &Vma) {
        self.apply(vma, u64::wrapping_add);
    }

    fn subtract(&mut self, vma: &Vma) {
        self.apply(vma, u64::wrapping_sub);
    }

    fn apply(&mut self, vma: &Vma, operation: fn(u64, u64) -> u64) {
        if vma.is_hidden() {
            return;
        }
        let length = vma.length();
        self.total = operation(self.total, length);
        if vma.is_data() {
            self.data = operation(self.data, length);
        }
        if vma.flags.contains(VmaFlags::STACK) {
            self.stack = operation(self.stack, length);
        }
        if vma.protection.execute && !vma.protection.write {
            self.executable = operation(self.executable, length);
        }
        if vma.flags.contains(VmaFlags::LOCKED) {
            self.locked = operation(self.locked, length);
        }
        if vma.shared {
            self.shared = operation(self.shared, length);
        }
    }
}

/// Where the last search for a gap from the top ended. Every gap between `from` and `high` is at most `largest` bytes
/// long, so a search for more may start at `from`: without it, filling an address space with mappings would take time
/// that grows with the square of their number.
#[derive(Clone, Copy, Debug, Default)]
struct SearchHint {
    high: u64,
    from: u64,
    largest: u64,
}

/// The mappings, by start address.
#[derive(Clone, Debug, Default)]
pub struct VmaTree {
    areas: BTreeMap<u64, Vma>,
    totals: Totals,
    hint: SearchHint,
}

impl VmaTree {
    /// An empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// Count of mappings.
    pub fn len(&self) -> usize {
        self.areas.len()
    }

    /// True if nothing is mapped.
    pub fn is_empty(&self) -> bool {
        self.areas.is_empty()
    }

    /// Byte counts.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// All mappings, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = &Vma> {
        self.areas.values()
    }

    /// The mapping that `address` lies in.
    pub fn find(&self, address: u64) -> Option<&Vma> {
        let (_, vma) = self.areas.range(..=address).next_back()?;
        vma.contains(address).then_some(vma)
    }

    /// The lowest mapping that ends above `address`.
    pub fn find_from(&self, address: u64) -> Option<&Vma> {
        self.find(address).or_else(|| self.areas.range(address..).next().map(|(_, vma)| vma))
    }

    /// The mappings that have a page in the range, lowest first.
    pub fn overlapping(&self, start: u64, end: u64) -> impl Iterator<Item = &Vma> {
        let first = self.find(start).map_or(start, |vma| vma.start);
        self.areas.range(first..end.max(first)).map(|(_, vma)| vma)
    }

    /// True if nothing in the range is mapped.
    pub fn is_free(&self, start: u64, end: u64) -> bool {
        self.overlapping(start, end).next().is_none()
    }

    /// Bytes mapped in the range.
    pub fn mapped_bytes(&self, start: u64, end: u64) -> u64 {
        self.overlapping(start, end).map(|vma| vma.end.min(end) - vma.start.max(start)).sum()
    }

    /// The first address of the range that is not mapped; `end` if all of it is.
    pub fn first_hole(&self, start: u64, end: u64) -> u64 {
        let mut at = start;
        for vma in self.overlapping(start, end) {
            if vma.start > at {
                break;
            }
            at = vma.end;
        }
        at.min(end)
    }

    /// How many more mappings there would be if both ends of the range became boundaries.
    pub fn splits(&self, start: u64, end: u64) -> usize {
        let cut = |address| usize::from(self.find(address).is_some_and(|vma| vma.start < address));
        cut(start) + cut(end)
    }

    /// Adds a mapping to a range that is free, and merges it with its neighbours where they are alike.
    pub fn insert(&mut self, mut vma: Vma) {
        debug_assert!(vma.start < vma.end && self.is_free(vma.start, vma.end));
        self.totals.add(&vma);
        let below = self.areas.range(..vma.start).next_back().map(|(&start, _)| start);
        if let Some(start) = below
            && self.areas[&start].can_merge(&vma)
            && let Some(lower) = self.areas.remove(&start)
        {
            vma = Vma { end: vma.end, ..lower };
        }
        if self.areas.get(&vma.end).is_some_and(|upper| vma.can_merge(upper))
            && let Some(upper) = self.areas.remove(&vma.end)
        {
            vma.end = upper.end;
        }
        self.areas.insert(vma.start, vma);
    }

    /// Removes what is mapped in the range, cutting mappings that reach out of it, and returns the removed parts, lowest
    /// first.
    pub fn remove(&mut self, start: u64, end: u64) -> Vec<Vma> {
        let removed = self.take(start, end);
        let gap_end = self.areas.range(end..).next().map_or(u64::MAX, |(&next, _)| next);
        if gap_end > self.hint.from {
            self.hint.from = gap_end.min(self.hint.high);
        }
        removed
    }

    /// Changes every mapping in the range (mappings that reach out of it are cut), and merges what has become alike.
    /// `change` must leave the range and the backing as they are.
    pub fn change(&mut self, start: u64, end: u64, mut change: impl FnMut(&mut Vma)) {
        for mut vma in self.take(start, end) {
            change(&mut vma);
            self.insert(vma);
        }
    }

    /// The highest address where `length` free bytes fit between `low` and `high`, aligned to `alignment` (a power of two).
    pub fn gap_from_top(&mut self, length: u64, alignment: u64, low: u64, high: u64) -> Option<u64> {
        let hint = self.hint;
        let may_skip = hint.high == high && length > hint.largest;
        let from = if may_skip { hint } else { SearchHint { high, from: high, largest: 0 } };
        let (found, hint) = self.search_down(length, alignment, low, from)?;
        self.hint = hint;
        Some(found)
    }

    /// As [`VmaTree::gap_from_top`], for something that does not belong among the mappings below `high`: what the last search for
    /// one of those has found stays known.
    pub fn gap_below(&self, length: u64, low: u64, high: u64) -> Option<u64> {
        let from = SearchHint { high, from: high, largest: 0 };
        self.search_down(length, 1, low, from).map(|(found, _)| found)
    }

    /// Searches from where an earlier search has ended. Returns also where this one has.
    fn search_down(
        &self,
        length: u64,
        alignment: u64,
        low: u64,
        SearchHint { high, from: mut gap_end, mut largest }: SearchHint,
    ) -> Option<(u64, SearchHint)> {
        let mut found = None;
        for vma in self.areas.range(..gap_end).rev().map(|(_, vma)| vma) {
            if vma.end <= low {
                break;
            }
            found = fit(vma.end, gap_end, length, alignment);
            if found.is_some() {
                break;
            }
            largest = largest.max(gap_end.saturating_sub(vma.end));
            gap_end = gap_end.min(vma.start);
        }
        let found = found.or_else(|| fit(low, gap_end, length, alignment))?;
        Some((found, SearchHint { high, from: gap_end, largest }))
    }

    /// Where the gap ended in which the last search from `high` has put something, and how long the longest gap between that and
    /// `high` is at most. `None` if the last search was another.
    pub fn last_gap(&self, high: u64) -> Option<(u64, u64)> {
        (self.hint.high == high).then_some((self.hint.from, self.hint.largest))
    }

    /// The end of the highest mapping that begins below `address`; 0 if there is none.
    pub fn end_below(&self, address: u64) -> u64 {
        self.areas.range(..address).next_back().map_or(0, |(_, vma)| vma.end)
    }

    /// The lowest address where `length` free bytes fit between `low` and `high`.
    pub fn gap_from_bottom(&self, length: u64, low: u64, high: u64) -> Option<u64> {
        let mut gap_start = low;
        for vma in self.overlapping(low, high) {
            if let Some(found) = fit_low(gap_start, vma.start, length) {
                return Some(found);
            }
            gap_start = vma.end;
        }
        fit_low(gap_start, high, length)
    }

    fn take(&mut self, start: u64, end: u64) -> Vec<Vma> {
        self.split(start);
        self.split(end);
        let keys: Vec<u64> = self.areas.range(start..end.max(start)).map(|(&key, _)| key).collect();
        let removed: Vec<Vma> = keys.iter().filter_map(|key| self.areas.remove(key)).collect();
        for vma in &removed {
            self.totals.subtract(vma);
        }
        removed
    }

    fn split(&mut self, address: u64) {
        if let Some((_, vma)) = self.areas.range_mut(..address).next_back()
            && vma.end > address
        {
            let upper = vma.split_off(address);
            self.areas.insert(address, upper);
        }
    }
}

/// The highest place for `length` bytes in a gap.
fn fit(gap_start: u64, gap_end: u64, length: u64, alignment: u64) -> Option<u64> {
    let start = gap_end.checked_sub(length)? & !(alignment - 1);
    (start >= gap_start).then_some(start)
}

/// The lowest place for `length` bytes in a gap.
fn fit_low(gap_start: u64, gap_end: u64, length: u64) -> Option<u64> {
    (gap_end.checked_sub(gap_start)? >= length).then_some(gap_start)
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
