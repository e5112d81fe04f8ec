//! Orders in which programs go through a directory, and where each of its entries is in them.

use std::cmp::Ordering;
use std::sync::OnceLock;

use crate::vfs::Listing;

/// An order of a directory's entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Order {
    /// The listing's own, which fts(3) and most others keep to.
    #[default]
    Listing,
    /// By inode number, in which files lie on many disks: coreutils' cp(1).
    Inode,
    /// By name, byte by byte: patterns of shells, diff(1), Git.
    Name,
}

impl Order {
    /// All there are.
    pub(super) const ALL: [Order; 3] = [Order::Listing, Order::Inode, Order::Name];

    /// Which of two entries of a listing comes first. Those of one inode number come as in the listing.
    fn compare(self, listing: &Listing, one: usize, other: usize) -> Ordering {
        let entry = |index| listing.get(index);
        let sorted = match self {
            Order::Listing => Ordering::Equal,
            Order::Inode => entry(one).map(|entry| entry.inode).cmp(&entry(other).map(|entry| entry.inode)),
            Order::Name => entry(one).map(|entry| entry.name).cmp(&entry(other).map(|entry| entry.name)),
        };
        sorted.then(one.cmp(&other))
    }
}

/// The entries of one listing sorted in other orders than its own, each of which is made when it is first needed.
#[derive(Default)]
pub(super) struct Sorted {
    by_inode: OnceLock<Box<[u32]>>,
    by_name: OnceLock<Box<[u32]>>,
}

impl Sorted {
    /// The entry at a place in an order.
    pub(super) fn entry(&self, listing: &Listing, order: Order, place: usize) -> Option<usize> {
        match self.sorted(listing, order) {
            None => Some(place).filter(|place| *place < listing.len()),
            Some(sorted) => sorted.get(place).and_then(|entry| usize::try_from(*entry).ok()),
        }
    }

    /// The place of an entry in an order.
    pub(super) fn place(&self, listing: &Listing, order: Order, entry: usize) -> usize {
        let comes_before = |other: &u32| {
            usize::try_from(*other).is_ok_and(|other| order.compare(listing, other, entry).is_lt())
        };
        self.sorted(listing, order).map_or(entry, |sorted| sorted.partition_point(comes_before))
    }

    /// `None` for the listing's own.
    fn sorted(&self, listing: &Listing, order: Order) -> Option<&[u32]> {
        let sorted = match order {
            Order::Listing => return None,
            Order::Inode => &self.by_inode,
            Order::Name => &self.by_name,
        };
        let sort = || {
            let mut entries: Vec<usize> = (0..listing.len()).collect();
            entries.sort_unstable_by(|one, other| order.compare(listing, *one, *other));
            entries.into_iter().filter_map(|entry| u32::try_from(entry).ok()).collect()
        };
        Some(sorted.get_or_init(sort))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::FileType;

    #[test]
    fn each_entry_has_a_place_in_each_order() {
        let mut listing = Listing::new();
        for (name, inode) in [("b", 7), ("a", 9), ("B", 7), ("ab", 3)] {
            listing.push(name.as_bytes(), inode, FileType::Regular);
        }
        let sorted = Sorted::default();
        let expected =
            [(Order::Listing, [0, 1, 2, 3]), (Order::Inode, [3, 0, 2, 1]), (Order::Name, [2, 1, 3, 0])];
        for (order, entries) in expected {
            for (place, entry) in entries.into_iter().enumerate() {
                assert_eq!(sorted.entry(&listing, order, place), Some(entry));
                assert_eq!(sorted.place(&listing, order, entry), place);
            }
            assert_eq!(sorted.entry(&listing, order, entries.len()), None);
        }
    }
}
