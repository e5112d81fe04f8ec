use std::collections::BTreeMap;

use proptest::prelude::*;
use usk_platform::Protection;

use super::*;
use crate::mm::vma::{ALL_ACCESS, Backing};

const PAGE: u64 = 4096;
const PAGES: u64 = 48;

fn area(first: u64, count: u64, kind: u8) -> Vma {
    let start = first * PAGE;
    Vma {
        start,
        end: start + count * PAGE,
        protection: Protection { read: kind & 1 != 0, write: kind & 2 != 0, execute: false },
        max_protection: ALL_ACCESS,
        shared: false,
        backing: Backing::Anonymous,
        offset: start,
        flags: VmaFlags::empty(),
    }
}

fn kind_of(vma: &Vma) -> u8 {
    u8::from(vma.protection.read) | u8::from(vma.protection.write) << 1
}

#[derive(Clone, Debug)]
enum Step {
    Map(u64, u64, u8),
    Unmap(u64, u64),
    Change(u64, u64, u8),
    Search(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let range = || (1..PAGES - 8, 1u64..8);
    let step = prop_oneof![
        (range(), 0u8..4).prop_map(|((first, count), kind)| Step::Map(first, count, kind)),
        range().prop_map(|(first, count)| Step::Unmap(first, count)),
        (range(), 0u8..4).prop_map(|((first, count), kind)| Step::Change(first, count, kind)),
        (1u64..12).prop_map(Step::Search),
    ];
    proptest::collection::vec(step, 1..60)
}

/// What a kernel that keeps one entry per page would know.
#[derive(Default)]
struct Oracle(BTreeMap<u64, u8>);

impl Oracle {
    fn ranges(&self) -> Vec<(u64, u64, u8)> {
        let map: rangemap::RangeMap<u64, u8> =
            self.0.iter().map(|(&page, &kind)| (page..page + 1, kind)).collect();
        map.iter().map(|(range, &kind)| (range.start, range.end, kind)).collect()
    }

    fn highest_gap(&self, count: u64) -> Option<u64> {
        (1..=PAGES.checked_sub(count)?)
            .rev()
            .find(|&first| (first..first + count).all(|page| !self.0.contains_key(&page)))
    }

    fn lowest_gap(&self, count: u64) -> Option<u64> {
        (1..=PAGES.checked_sub(count)?)
            .find(|&first| (first..first + count).all(|page| !self.0.contains_key(&page)))
    }
}

proptest! {
    #[test]
    fn tree_agrees_with_a_page_array(steps in steps()) {
        let mut tree = VmaTree::new();
        let mut oracle = Oracle::default();
        for step in steps {
            match step {
                Step::Map(first, count, kind) => {
                    tree.remove(first * PAGE, (first + count) * PAGE);
                    tree.insert(area(first, count, kind));
                    (first..first + count).for_each(|page| { oracle.0.insert(page, kind); });
                }
                Step::Unmap(first, count) => {
                    let removed = tree.remove(first * PAGE, (first + count) * PAGE);
                    let pages: u64 = removed.iter().map(|vma| vma.length() / PAGE).sum();
                    let before = oracle.0.len();
                    (first..first + count).for_each(|page| { oracle.0.remove(&page); });
                    prop_assert_eq!(pages as usize, before - oracle.0.len());
                }
                Step::Change(first, count, kind) => {
                    tree.change(first * PAGE, (first + count) * PAGE, |vma| {
                        vma.protection.read = kind & 1 != 0;
                        vma.protection.write = kind & 2 != 0;
                    });
                    for page in first..first + count {
                        if let Some(known) = oracle.0.get_mut(&page) {
                            *known = kind;
                        }
                    }
                }
                Step::Search(count) => {
                    let found = tree.gap_from_top(count * PAGE, PAGE, PAGE, PAGES * PAGE);
                    prop_assert_eq!(found, oracle.highest_gap(count).map(|page| page * PAGE));
                    let found = tree.gap_from_bottom(count * PAGE, PAGE, PAGES * PAGE);
                    prop_assert_eq!(found, oracle.lowest_gap(count).map(|page| page * PAGE));
                }
            }
            let shown: Vec<_> =
                tree.iter().map(|vma| (vma.start / PAGE, vma.end / PAGE, kind_of(vma))).collect();
            prop_assert_eq!(shown, oracle.ranges());
            prop_assert_eq!(tree.totals().total, oracle.0.len() as u64 * PAGE);
            let data = oracle.0.values().filter(|&&kind| kind & 2 != 0).count() as u64 * PAGE;
            prop_assert_eq!(tree.totals().data, data);
            for page in 0..PAGES {
                let known = oracle.0.get(&page).copied();
                prop_assert_eq!(tree.find(page * PAGE + 5).map(kind_of), known);
            }
        }
    }
}

#[test]
fn pieces_that_were_moved_apart_do_not_merge() {
    let mut tree = VmaTree::new();
    tree.insert(area(1, 2, 3));
    tree.insert(Vma { offset: 100 * PAGE, ..area(3, 1, 3) });
    assert_eq!(tree.len(), 2);
    tree.insert(area(6, 1, 3));
    tree.insert(area(5, 1, 3));
    assert_eq!(tree.len(), 3);
}

#[test]
fn aligned_gap_is_the_highest_aligned_one() {
    let mut tree = VmaTree::new();
    tree.insert(area(10, 1, 3));
    assert_eq!(tree.gap_from_top(2 * PAGE, 8 * PAGE, PAGE, 20 * PAGE), Some(16 * PAGE));
    assert_eq!(tree.gap_from_top(8 * PAGE, 8 * PAGE, PAGE, 20 * PAGE), None);
    assert_eq!(tree.gap_from_top(9 * PAGE, PAGE, PAGE, 20 * PAGE), Some(11 * PAGE));
}

#[test]
fn filling_an_address_space_does_not_scan_it_each_time() {
    let mut tree = VmaTree::new();
    for index in 0..60_000u64 {
        let kind = if index % 2 == 0 { 1 } else { 3 };
        let start = tree.gap_from_top(PAGE, PAGE, PAGE, 1 << 40).expect("room");
        tree.insert(area(start / PAGE, 1, kind));
    }
    assert_eq!(tree.len(), 60_000);
}
