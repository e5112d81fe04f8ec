//! Where a program is that goes through a tree by directories that are open, and how far to look ahead of it.

use usk_abi::fs::OpenFlags;
use usk_platform::LENT_RECORDS;

use crate::countdown::Countdown;
use crate::vfs::{DirectoryFile, FileType, Listing, NamesAsOf, OpenFile, Path};

/// Files prepared for one thread at most. Other records are for files that are open.
const MOST_PREPARED: usize = LENT_RECORDS - 7;
/// Directories in each other that are gone through.
const MOST_LEVELS: usize = 64;
/// Entries of a directory among which a name is looked for, or one that may be opened.
const MOST_LOOKED_AT: usize = 2048;
/// Opens that come to the sentry although most of what was prepared is left, after which that was guessed wrongly.
const MOST_MISSED: u32 = 4;
/// How often the rest is doubled that follows a wrong guess.
const MOST_WRONG: u32 = 6;

/// An open directory of the tree.
pub(super) struct Level {
    /// [`OpenFile::id`].
    pub(super) start: u64,
    pub(super) path: Path,
    pub(super) listing: Listing,
    /// The entry that comes next.
    next: usize,
}

impl Level {
    fn of(directory: &OpenFile) -> Option<Level> {
        let listing = directory.ops.as_any().downcast_ref::<DirectoryFile>()?.listing(directory).ok()?;
        Some(Level { start: directory.id(), path: directory.path().clone(), listing, next: 0 })
    }

    /// The program is at this name.
    fn go_to(&mut self, name: &[u8]) {
        let is_it = |index: &usize| self.listing.get(*index).is_some_and(|entry| entry.name == name);
        let find = |first: usize| (first..self.listing.len()).take(MOST_LOOKED_AT).find(is_it);
        self.next = find(self.next).or_else(|| find(0)).map_or(self.listing.len(), |index| index + 1);
    }
}

/// How a program goes through a tree: what is in a directory before what comes after it.
#[derive(Default)]
pub(super) struct Walk {
    /// The directories in each other whose entries come next, the innermost last.
    levels: Vec<Level>,
    /// How it opens them, if it has.
    directories: Option<OpenFlags>,
    files: Option<OpenFlags>,
    /// When files were prepared, if any are.
    pub(super) as_of: Option<NamesAsOf>,
    pub(super) pace: Pace,
}

/// How many files to prepare.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// How many were prepared the last time, with those that were left.
    pub(super) prepared: usize,
    /// How many were wanted.
    most: usize,
    /// Opens that have come to the sentry since.
    missed: u32,
    /// Guesses in a row that were wrong, and opens that are left before the next one.
    wrong: u32,
    rests: Countdown,
}

impl Walk {
    /// Whether a tree is being gone through.
    pub(super) fn has_begun(&self) -> bool {
        !self.levels.is_empty()
    }

    /// Whether no name has changed since files were prepared. Who had them opened then might not get them now.
    pub(super) fn holds(&self) -> bool {
        self.as_of.is_none() || self.as_of == NamesAsOf::now()
    }

    /// A file has been opened by its name in an open directory. True if that is one of the tree.
    pub(super) fn note_open(
        &mut self,
        directory: &OpenFile,
        name: &[u8],
        file: &OpenFile,
        flags: OpenFlags,
    ) -> bool {
        let is_it = |level: &Level| level.start == directory.id() || level.path == *directory.path();
        let depth = self.levels.iter().rposition(is_it);
        match depth {
            Some(depth) => self.levels.truncate(depth + 1),
            None => self.levels = Level::of(directory).into_iter().collect(),
        }
        let Some(level) = self.levels.last_mut() else { return false };
        // It may have been opened anew.
        level.start = directory.id();
        level.go_to(name);
        match file.inode().file_type() {
            FileType::Directory => {
                self.directories = Some(flags);
                self.enter(file);
            }
            _ => self.files = Some(flags),
        }
        depth.is_some()
    }

    /// What is in this directory comes next.
    pub(super) fn enter(&mut self, directory: &OpenFile) {
        if self.levels.len() < MOST_LEVELS {
            self.levels.extend(Level::of(directory));
        }
    }

    /// The file that will probably be opened next, which is passed over: its directory, its number there, and how.
    pub(super) fn next(&mut self) -> Option<(&Level, usize, OpenFlags)> {
        for _ in 0..MOST_LOOKED_AT {
            let level = self.levels.last_mut()?;
            let index = level.next;
            level.next += 1;
            let flags = match level.listing.get(index).map(|entry| entry.file_type) {
                Some(FileType::Directory) => self.directories,
                Some(FileType::Regular) => self.files,
                Some(_) => None,
                None => {
                    self.levels.pop();
                    continue;
                }
            };
            if let Some(flags) = flags {
                return Some((self.levels.last()?, index, flags));
            }
        }
        None
    }
}

impl Pace {
    /// True if the file that was opened is not to be looked at.
    pub(super) fn rests(&mut self) -> bool {
        self.rests.step()
    }

    /// How many files there should be now, if so many are left that were not used. They are doubled as long as most are used.
    /// `None` if they will not be.
    pub(super) fn advance(&mut self, goes_on: bool, unused: usize) -> Option<usize> {
        if 2 * unused > self.prepared {
            self.missed += 1;
            if goes_on && self.missed <= MOST_MISSED {
                return Some(0);
            }
            let wrong = (self.wrong + 1).min(MOST_WRONG);
            *self = Pace { wrong, rests: Countdown::of(1 << wrong), ..Pace::default() };
            return None;
        }
        self.missed = 0;
        if self.prepared > 0 {
            self.wrong = 0;
        }
        self.most = match self.most {
            0 => usize::from(goes_on),
            most => (2 * most).min(MOST_PREPARED),
        };
        Some(self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wanted, one open after the other, if so many of what was prepared are left each time.
    fn wanted(pace: &mut Pace, left: [usize; 8]) -> [Option<usize>; 8] {
        left.map(|unused| {
            let wanted = pace.advance(true, unused);
            match wanted {
                Some(0) => {}
                wanted => pace.prepared = wanted.unwrap_or(0),
            }
            wanted
        })
    }

    #[test]
    fn more_is_prepared_as_long_as_most_of_it_is_used() {
        let mut pace = Pace::default();
        let twice = [1, 2, 4, 8, 16, MOST_PREPARED, MOST_PREPARED, MOST_PREPARED];
        assert_eq!(wanted(&mut pace, [0, 0, 1, 2, 4, 8, 9, 12]), twice.map(Some));
        assert_eq!(Pace::default().advance(false, 0), Some(0));
    }

    #[test]
    fn who_does_something_else_is_left_alone_for_longer_each_time() {
        let mut pace = Pace::default();
        for wrong in 1..=2 * MOST_WRONG {
            assert_eq!(pace.advance(true, 0), Some(1));
            pace.prepared = 1;
            for missed in 1..=MOST_MISSED {
                assert_eq!(pace.advance(true, 1), Some(0), "{missed}");
            }
            assert_eq!(pace.advance(true, 1), None);
            let rest = std::iter::repeat_with(|| pace.rests()).take_while(|rests| *rests).count();
            assert_eq!(rest, 1 << wrong.min(MOST_WRONG));
        }
    }
}
