//! The table of names in a thread's orders, from which the stub answers calls about them (`stub/names.S`).
//!
//! The guest can only read it. Its thread does not run while the sentry writes there. An entry counts while it is of the generation
//! that stands; no two tables of a sandbox ever have the same, so that entries of earlier ones need not be erased for that. Anybody may
//! say at any time that no generation stands, or that an entry is of none.

use crate::names::{KnownName, LeftName, MAX_KNOWN_NAME, NameMeaning};
use crate::stub::geometry::*;

use super::status::status_words;
use super::thread::Thread;

/// Where a name is in the table, and how it is told from others there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    set: u64,
    key: u32,
}

impl Place {
    fn of(known: &KnownName<'_>) -> Option<Place> {
        let length = u32::try_from(known.name.len()).ok().filter(|length| *length > 0)?;
        if known.name.len() > MAX_KNOWN_NAME || known.name.contains(&0) {
            return None;
        }
        let link = if known.follows { 0 } else { NAME_NOFOLLOW };
        let step = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(NAME_PRIME);
        let hash = known.name.iter().fold(known.start as u32 ^ link, step);
        let set = u64::from((hash ^ hash >> NAME_FOLD) & (NAME_SETS - 1));
        Some(Place { set, key: hash & NAME_KEY_HASH | link | length })
    }
}

impl Thread {
    /// Whether the file is still prepared that an entry says is.
    fn is_prepared(&self, entry: u64) -> bool {
        let slot = self.slot();
        let answer = slot.read_order(entry + NAME_ANSWER - 4) >> 32;
        let record = RECORDS + (answer & u64::from(LENT_RECORD)).saturating_sub(RECORD_SIZE);
        slot.read_order(record + RECORD_MODE) & RECORD_IS_PREPARED != 0
            && slot.read_order(record + RECORD_FILE) == slot.read_order(entry + NAME_OPENS)
    }

    /// See [`GuestThread::leave_name`](crate::GuestThread::leave_name).
    pub(super) fn write_name(&mut self, known: &KnownName<'_>) -> Option<LeftName> {
        let place = Place::of(known)?;
        let slot = self.slot();
        let standing = slot.read_order(NAMES_STAND);
        let generation = if standing == 0 { slot.begin_names() } else { standing };
        let entries = [0, 1].map(|way| NAMES + (2 * place.set + way) * NAME_SIZE);
        let stands = |at: &u64| slot.read_order(at + NAME_GENERATION) == generation;
        let is_same = |at: &u64| {
            let key = slot.read_order(at + NAME_KEY) as u32;
            stands(at) && key == place.key && slot.read_order(at + NAME_START) == known.start
        };
        // A file that is prepared is worth more than an answer.
        let is_kept = |at: &u64| {
            stands(at) && self.is_prepared(*at) && !matches!(known.meaning, NameMeaning::Prepared { .. })
        };
        // Or else the older of the two gives way.
        let older = (self.newer_ways >> place.set & 1 ^ 1) as usize;
        let way = entries.iter().position(is_same);
        let way = way.or_else(|| entries.iter().position(|at| !stands(at)));
        let way = way.unwrap_or(if is_kept(&entries[older]) { older ^ 1 } else { older });
        let at = entries[way];
        if is_kept(&at) {
            return None;
        }
        let named = |record: u8| (u32::from(record) + 1) << LENT_RECORD.trailing_zeros() & LENT_RECORD;
        let (answer, opens, attributes) = match known.meaning {
            NameMeaning::Missing => (NAME_MISSING, 0, None),
            NameMeaning::File { attributes, access } => (u32::from(access) & ACCESS_ALL, 0, Some(attributes)),
            NameMeaning::Held { record, identity } => (NAME_IS_HELD | named(record), identity, None),
            NameMeaning::Prepared { attributes, record, identity } => {
                (named(record), identity, Some(attributes))
            }
        };
        let mut entry = [0; NAME_SIZE as usize];
        let mut put = |offset: u64, bytes: &[u8]| {
            entry[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        };
        put(NAME_GENERATION, &generation.to_ne_bytes());
        put(NAME_START, &known.start.to_ne_bytes());
        put(NAME_KEY, &place.key.to_ne_bytes());
        put(NAME_ANSWER, &answer.to_ne_bytes());
        put(NAME_OPENS, &opens.to_ne_bytes());
        for (index, word) in (0..).zip(attributes.iter().flat_map(status_words)) {
            put(NAME_STAT + 8 * index, &word.to_ne_bytes());
        }
        put(NAME_TEXT, known.name);
        slot.write_orders(at, &entry);
        self.newer_ways = self.newer_ways & !(1 << place.set) | (way as u64) << place.set;
        self.slot().write_order(NAMES_STAND, generation);
        let place = usize::try_from((at - NAMES) / NAME_SIZE).ok()?;
        Some(LeftName { place, is_first: standing == 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(start: u64, follows: bool, name: &[u8]) -> Option<Place> {
        Place::of(&KnownName { start, follows, name, meaning: NameMeaning::Missing })
    }

    #[test]
    fn names_that_the_stub_cannot_find_have_no_place() {
        assert!(place(0, true, b"").is_none());
        assert!(place(0, true, b"a\0b").is_none());
        assert!(place(0, true, &[b'a'; MAX_KNOWN_NAME + 1]).is_none());
        assert!(place(0, true, &[b'a'; MAX_KNOWN_NAME]).is_some());
    }

    #[test]
    fn keys_tell_what_is_asked_from_what_is_not() {
        let one = place(0, true, b"/usr/include/stdio.h").unwrap();
        assert_ne!(one, place(0, false, b"/usr/include/stdio.h").unwrap());
        assert_ne!(one, place(0, true, b"/usr/include/stdin.h").unwrap());
        assert_ne!(one.key, 0);
        for set in
            (0..1000u32).filter_map(|number| place(7, true, &number.to_be_bytes().map(|byte| byte | 1)))
        {
            assert!(set.set < u64::from(NAME_SETS));
        }
    }
}
