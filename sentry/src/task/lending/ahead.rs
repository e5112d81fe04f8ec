//! What a program will probably ask for next of the file that it has just opened: the entries of a directory, or the contents of a
//! small file. They come along with the call that opens it and are left with the guest thread, whose platform then serves
//! `getdents64(2)` or `read(2)`. There is a ring of room for them: what was left longest ago gives way.
//!
//! Whether a program does so is guessed by what it did last: what was left and not used is not left again before the program has
//! asked for such a thing.

use usk_platform::host;
use usk_platform::{GuestThread, LENT_CONTENTS, LENT_SHELF, LentWindow};

use super::{Lending, Record};
use crate::countdown::Countdown;
use crate::task::Current;
use crate::vfs::{DirectoryEntry, FileType, InodeRef, Mapping, NamesAsOf, OpenFile};

/// Directories about whose entries questions are expected after one has come to the sentry. Those that the platform answers are not seen.
const DIRECTORIES_EXPECTED: u32 = 16;

/// Names left together at most.
const MOST_NAMES: usize = 32;

/// Bytes that the entries of most directories take.
const USUAL_ENTRIES: usize = 1024;

/// What was brought along.
pub(super) struct Ahead {
    /// Whose ([`OpenFile::id`]).
    file: u64,
    /// The contents, or the entries as `getdents64(2)` returns them, until they are left.
    bytes: Option<Vec<u8>>,
    /// For a directory, the position after its last entry.
    entries_end: Option<u64>,
    is_used: bool,
}

/// What the program does with files that it opens.
#[derive(Default)]
pub(super) struct Habits {
    /// It reads small files.
    pub(super) reads: bool,
    /// It lists directories to their ends.
    pub(super) lists: bool,
    /// Directories about whose entries it will still be expected to ask.
    questions: Countdown,
    /// Names that were left together the last time, and when that was.
    names: usize,
    names_as_of: Option<NamesAsOf>,
    /// How many times it will still be expected to ask about files both following links and not.
    follows_links: Countdown,
}

impl Current {
    /// A file has been opened: brings along what will probably be asked for next, as far as that cannot change unnoticed.
    pub fn bring_along(&mut self, file: &OpenFile) {
        if !self.lending.is_on {
            return;
        }
        if self.lending.bring_along(file) && self.lending.habits.questions.step() {
            self.leave_first(file);
        }
    }
}

impl Lending {
    /// True if the entries of a directory have been brought.
    fn bring_along(&mut self, file: &OpenFile) -> bool {
        let Some(inode) = file.inode_if_known().filter(|_| file.check_readable().is_ok()) else {
            return false;
        };
        let ahead = match inode.file_type() {
            FileType::Regular if self.habits.reads => contents(file, inode, LENT_CONTENTS),
            FileType::Directory if self.habits.lists => entries(file, inode, LENT_CONTENTS),
            _ => None,
        };
        let Some((bytes, entries_end)) = ahead else { return false };
        let has_entries = entries_end.is_some();
        let ahead = Ahead { file: file.id(), bytes: Some(bytes), entries_end, is_used: false };
        if let Some(before) = self.ahead.replace(ahead) {
            *self.habits.of(&before) = before.is_used;
        }
        has_entries
    }

    /// How many names to leave together: more each time, until something changes that withdraws them.
    pub(in crate::task) fn names_to_leave(&mut self, as_of: NamesAsOf) -> usize {
        let Habits { names, names_as_of, .. } = &mut self.habits;
        let is_unchanged = names_as_of.replace(as_of).is_some_and(|before| before.is_near(as_of));
        *names = if is_unchanged { (*names * 2).clamp(1, MOST_NAMES) } else { 0 };
        *names
    }

    /// The guest has asked about a file following links, after it was told of it, or of one of that name, without.
    pub(in crate::task) fn expect_links_followed(&mut self) {
        self.habits.follows_links = Countdown::of(DIRECTORIES_EXPECTED);
    }

    /// Whether it will do so with others that are told now.
    pub(in crate::task) fn follows_links(&mut self) -> bool {
        self.habits.follows_links.step()
    }

    /// The guest has asked about an entry of an open directory: it will do so with others'.
    pub(in crate::task) fn expect_questions(&mut self) {
        self.habits.questions = Countdown::of(DIRECTORIES_EXPECTED);
    }

    /// Leaves what was brought along with the record of its file, if there is one that allows it.
    pub(super) fn leave_ahead(&mut self, thread: &mut dyn GuestThread) {
        let Some(ahead) = &mut self.ahead else { return };
        let Some(bytes) = ahead.bytes.take() else { return };
        let (file, entries_end, length) = (ahead.file, ahead.entries_end, bytes.len() as u64);
        let takes = |record: &Record| {
            record.id == file
                && match entries_end {
                    Some(_) => record.lists(),
                    None => record.lent.length == Some(length),
                }
        };
        if !self.records.iter().flatten().any(|record| takes(record)) {
            return;
        }
        let Some(window) = self.leave_bytes(&bytes, thread) else { return };
        for (number, record) in self.records.iter_mut().enumerate() {
            let Some(record) = record.as_mut().filter(|record| takes(record)) else { continue };
            record.lent.window = Some(window);
            record.lent.entries_end = entries_end;
            thread.lend_file(number, &record.lent);
        }
    }

    /// Leaves contents or entries, in place of those that were left longest ago. `None` if there is no room.
    pub(super) fn leave_bytes(&mut self, bytes: &[u8], thread: &mut dyn GuestThread) -> Option<LentWindow> {
        let address = thread.leave_contents(self.room.place(bytes.len()), bytes)?;
        let left = LentWindow { start: 0, length: bytes.len() as u64, address };
        let is_gone = |other: LentWindow| {
            other.address < left.address + left.length && left.address < other.address + other.length
        };
        for (number, record) in self.records.iter_mut().enumerate() {
            let Some(record) = record else { continue };
            if record.lent.window.is_some_and(is_gone) {
                record.lent.window = None;
                record.lent.entries_end = None;
                thread.lend_file(number, &record.lent);
            }
        }
        Some(left)
    }

    /// How many bytes will be left with the file that was opened last.
    pub(super) fn bytes_ahead(&self) -> usize {
        let bytes = self.ahead.as_ref().and_then(|ahead| ahead.bytes.as_ref());
        bytes.map_or(0, |bytes| bytes.len().next_multiple_of(8))
    }
}

/// Where what is left of files goes: a ring, a part of it in the thread's orders and a part on its shelf, if it has one.
#[derive(Default)]
pub(super) struct Room {
    /// Where the bytes end that were left last.
    end: usize,
    has_shelf: bool,
}

impl Room {
    /// How many bytes there are.
    pub(super) fn size(&self) -> usize {
        LENT_CONTENTS + if self.has_shelf { LENT_SHELF } else { 0 }
    }

    /// Has more of it, if the platform can.
    pub(super) fn grow(&mut self, thread: &mut dyn GuestThread) {
        self.has_shelf = self.has_shelf || thread.open_shelf();
    }

    /// Where to leave so many bytes, at most [`LENT_CONTENTS`]: in one of the two parts.
    fn place(&mut self, length: usize) -> usize {
        let places = [(self.end, LENT_CONTENTS), (self.end.max(LENT_CONTENTS), self.size())];
        let fits = |&(at, end): &(usize, usize)| length <= end.saturating_sub(at);
        let (at, end) = places.into_iter().find(fits).unwrap_or((0, LENT_CONTENTS));
        self.end = (at + length).next_multiple_of(8).min(end);
        at
    }
}

/// What is left of a file: its bytes, and for a directory the position after its last entry.
pub(super) type Left = (Vec<u8>, Option<u64>);

/// The contents of a regular file, or the entries of a directory, if they are not more than `most` bytes.
pub(super) fn contents_or_entries(file: &OpenFile, most: usize) -> Option<Left> {
    let inode = file.inode_if_known()?;
    match inode.file_type() {
        FileType::Regular => contents(file, inode, most),
        FileType::Directory => entries(file, inode, most),
        _ => None,
    }
}

/// The contents of a small regular file that does not change before somebody withdraws its attributes.
fn contents(file: &OpenFile, inode: &InodeRef, most: usize) -> Option<Left> {
    let size = usize::try_from(inode.fixed_attributes()?.size).ok()?;
    if !(1..=most).contains(&size) {
        return None;
    }
    let Ok(Mapping::Host(host)) = file.ops.mapping(file, false) else { return None };
    let mut bytes = vec![0; size];
    let got = host::read_at(&*host, &mut bytes, 0).ok()?;
    (got == size).then_some((bytes, None))
}

/// All entries of such a directory, if they are few.
fn entries(file: &OpenFile, inode: &InodeRef, most: usize) -> Option<Left> {
    inode.fixed_attributes()?;
    let (mut bytes, mut end) = (Vec::with_capacity(USUAL_ENTRIES), 0);
    let push = &mut |entry: &DirectoryEntry<'_>, next| {
        entry.push_dirent64(&mut bytes, next);
        bytes.len() <= most
    };
    file.ops.read_directory(file, &mut end, push).ok()?;
    (bytes.len() <= most).then_some((bytes, Some(end)))
}

impl Ahead {
    /// The guest has moved the position of a file.
    pub(super) fn note_use(&mut self, file: u64) {
        self.is_used |= self.file == file;
    }
}

impl Habits {
    fn of(&mut self, ahead: &Ahead) -> &mut bool {
        if ahead.entries_end.is_some() { &mut self.lists } else { &mut self.reads }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_is_a_ring_in_two_parts() {
        const HALF: usize = LENT_CONTENTS / 2;
        let mut room = Room::default();
        assert_eq!([HALF, HALF, 9, HALF].map(|length| room.place(length)), [0, HALF, 0, 16]);
        // What would cross the border goes behind it.
        room.has_shelf = true;
        assert_eq!(room.place(HALF), LENT_CONTENTS);
        let end = LENT_CONTENTS + LENT_SHELF;
        let mut at = LENT_CONTENTS + HALF;
        while at < end {
            assert_eq!(room.place(HALF), at);
            at += HALF;
        }
        assert_eq!([LENT_CONTENTS, 1].map(|length| room.place(length)), [0, LENT_CONTENTS]);
    }
}
