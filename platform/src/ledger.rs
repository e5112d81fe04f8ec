//! What a guest thread notes about lent files instead of calling: writes and record locks. The sentry takes the notes with the rest of
//! what was lent ([`TakenBack`](crate::TakenBack)), and does what they say.

use crate::stub::geometry::{NOTE_SIZE, NOTE_WRITE};

/// A call that the platform may note instead of making it, where nobody can tell (see [`LentFile::writes_end`](crate::LentFile::writes_end)). Record locks
/// are noted by [`LentCall::Fcntl`](crate::LentCall::Fcntl).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotedCall {
    /// `write(2)`
    Write,
    /// `pwrite64(2)`
    Pwrite,
}

/// What a guest has noted about the file of a record instead of calling. All of it may be forged, within the types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note<'a> {
    /// The record's number.
    pub record: usize,
    /// What is to be done.
    pub deed: Deed<'a>,
}

/// See [`Note`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed<'a> {
    /// `pwrite64(2)`
    Write {
        /// Where.
        position: u64,
        /// What.
        data: &'a [u8],
        /// When, on the real-time clock.
        when_ns: u64,
    },
    /// `fcntl(F_SETLK)`
    Lock {
        /// A write lock, or a read lock; `None`: no lock.
        exclusive: Option<bool>,
        /// The first byte.
        start: u64,
        /// How many bytes; 0: all that come.
        length: u64,
    },
}

/// Notes, in the order in which they were made.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    bytes: Vec<u8>,
    /// When the thread began to make them, and when they were taken.
    between: [Moment; 2],
}

/// What two clocks say at the same time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moment {
    /// The real-time clock.
    pub(crate) ns: u64,
    /// The time stamp counter, a little later: so that nothing is dated later than it was.
    pub(crate) stamp: u64,
}

impl Notes {
    /// From the bytes of a ledger that was written between two moments.
    pub(crate) fn new(bytes: Vec<u8>, between: [Moment; 2]) -> Notes {
        Notes { bytes, between }
    }

    /// Each of them, up to what is none.
    pub fn iter(&self) -> impl Iterator<Item = Note<'_>> {
        let mut rest = self.bytes.as_slice();
        std::iter::from_fn(move || {
            let (note, after) = self.first(rest)?;
            rest = after;
            Some(note)
        })
    }

    fn first<'a>(&self, bytes: &'a [u8]) -> Option<(Note<'a>, &'a [u8])> {
        let (head, rest) = bytes.split_at_checked(NOTE_SIZE as usize)?;
        let [what, start, length, stamp]: [u64; 4] = std::array::from_fn(|index| {
            head.as_chunks().0.get(index).map_or(0, |word| u64::from_le_bytes(*word))
        });
        let record = (what >> 32) as usize;
        if what as u32 == NOTE_WRITE {
            let length = usize::try_from(length).ok()?;
            let (data, _) = rest.split_at_checked(length)?;
            let deed = Deed::Write { position: start, data, when_ns: self.when_ns(stamp) };
            let rest = rest.split_at_checked(length.next_multiple_of(8))?.1;
            return Some((Note { record, deed }, rest));
        }
        let exclusive = match what as u32 as i32 {
            libc::F_RDLCK => Some(false),
            libc::F_WRLCK => Some(true),
            _ => None,
        };
        Some((Note { record, deed: Deed::Lock { exclusive, start, length } }, rest))
    }

    /// When the time stamp counter was that.
    fn when_ns(&self, stamp: u64) -> u64 {
        let [first, last] = self.between;
        let (ticks, ns) = (last.stamp.saturating_sub(first.stamp), last.ns.saturating_sub(first.ns));
        let gone = u128::from(stamp.clamp(first.stamp, last.stamp.max(first.stamp)) - first.stamp);
        let gone_ns = (gone * u128::from(ns)).checked_div(ticks.into()).unwrap_or(0);
        first.ns.saturating_add(u64::try_from(gone_ns).unwrap_or(ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(what: u32, record: u32, words: [u64; 3], data: &[u8]) -> Vec<u8> {
        let mut bytes = (u64::from(record) << 32 | u64::from(what)).to_le_bytes().to_vec();
        words.iter().for_each(|word| bytes.extend(word.to_le_bytes()));
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    #[test]
    fn notes_are_told_in_order_with_their_time() {
        let bytes = [
            note(NOTE_WRITE, 3, [100, 5, 900], b"hello"),
            note(1, 4, [7, 8, 0], b""),
            note(2, 4, [7, 0, 0], b""),
            note(NOTE_WRITE, 3, [0, 1, 0], b"x"),
        ]
        .concat();
        let notes = Notes::new(bytes, [Moment { ns: 10, stamp: 500 }, Moment { ns: 60, stamp: 1000 }]);
        let told: Vec<Note<'_>> = notes.iter().collect();
        let lock = |exclusive, length| Note { record: 4, deed: Deed::Lock { exclusive, start: 7, length } };
        let write =
            |position, data, when_ns| Note { record: 3, deed: Deed::Write { position, data, when_ns } };
        let expected =
            [write(100, b"hello".as_slice(), 50), lock(Some(true), 8), lock(None, 0), write(0, b"x", 10)];
        assert_eq!(told, expected);
    }

    #[test]
    fn what_is_no_note_ends_them() {
        for length in [u64::MAX, u64::MAX - 7, 6, 9] {
            let notes = Notes::new(note(NOTE_WRITE, 0, [0, length, 0], b"short"), Default::default());
            assert!(
                notes.iter().count() <= 1 && notes.iter().all(|note| matches!(note.deed, Deed::Write { .. }))
            );
        }
        assert_eq!(Notes::new(vec![0xff; 31], Default::default()).iter().count(), 0);
    }
}
