//! Files that a program opens again and again by the same name and in the same way: a table of users, a configuration. From the third time
//! on they are [prepared](super::prepared), and the platform opens them.

use std::sync::Arc;

use usk_abi::fs::OpenFlags;
use usk_platform::{GuestThread, LENT_CONTENTS};

use super::prepared::{PLAIN, Purpose};
use super::{Lending, Record};
use crate::countdown::Countdown;
use crate::task::{Current, NameQuestion};
use crate::vfs::{FileType, InodeRef, OpenFile, Path, notify};

/// Files that are prepared for this at the same time.
const MOST_AGAIN: usize = 8;
/// Files that are remembered to have been opened.
const MOST_REMEMBERED: usize = 16;
/// Bytes that are left of one together with it.
const MOST_LEFT: usize = LENT_CONTENTS / 4;
/// How often the rest is doubled that follows files that were prepared in vain.
const MOST_WASTED: u32 = 6;

/// Which files were opened last, and what became of preparing them.
#[derive(Default)]
pub(super) struct Again {
    /// Where their names are in memory, which tells whether it is worth a closer look, and how they were opened.
    opened: [Option<(usize, OpenFlags)>; MOST_REMEMBERED],
    next: usize,
    /// How many in a row were not opened once more, and opens that are left before the next is prepared.
    wasted: u32,
    rests: Countdown,
}

impl Again {
    /// Whether a file that has been opened was opened before, in the same way.
    fn note_open(&mut self, path: &Path, flags: OpenFlags) -> bool {
        let opened = Some((Arc::as_ptr(&path.dentry).addr(), flags));
        if self.opened.contains(&opened) {
            return !self.rests.step();
        }
        self.opened[self.next] = opened;
        self.next = (self.next + 1) % MOST_REMEMBERED;
        false
    }

    /// A file that was prepared is let go.
    pub(super) fn note_end(&mut self, is_used: bool) {
        self.wasted = if is_used { 0 } else { MOST_WASTED.min(self.wasted + 1) };
        self.rests = Countdown::of(if is_used { 0 } else { 1 << self.wasted });
    }
}

impl Current {
    /// A file has come to be opened here. Whether it has been before, in the same way, and can be prepared.
    pub fn opens_again(&mut self, file: &OpenFile, flags: OpenFlags) -> bool {
        let may_be = self.is_lent_to() && self.lending.is_on && PLAIN.contains(flags) && !notify::is_active();
        may_be && is_fixed_file(file.path()) && self.lending.again.note_open(file.path(), flags)
    }

    /// Prepares the file at `path` to be opened once more, by the name of this question.
    pub fn prepare_again(&mut self, question: &NameQuestion, path: &Path, flags: OpenFlags) {
        if !is_fixed_file(path) {
            return;
        }
        self.lending.let_outdated_go(&mut *self.thread);
        let task = self.task.clone();
        let (credentials, fs) = (task.credentials(), task.fs());
        let Ok(file) = fs.names(&credentials, Some(&task)).open_path(path, flags, false, None) else {
            return;
        };
        let Some(number) = self.lending.place_for_again(&mut *self.thread) else { return };
        let mut room = MOST_LEFT;
        let thread = &mut *self.thread;
        let meaning = self.lending.prepare_file(&task, &mut room, file, Purpose::Again, number, thread);
        if let Some(meaning) = meaning {
            self.leave_meaning(question, meaning);
            self.lending.walk.as_of = Some(question.as_of);
        }
    }
}

/// Whether there is a regular file that does not change unnoticed.
fn is_fixed_file(path: &Path) -> bool {
    let is_one =
        |inode: &&InodeRef| inode.file_type() == FileType::Regular && inode.fixed_attributes().is_some();
    !path.is_mount_root() && path.inode().ok().filter(is_one).is_some()
}

impl Lending {
    /// A record for a file that is prepared for this: a free one, or that of the one that was prepared longest ago.
    fn place_for_again(&mut self, thread: &mut dyn GuestThread) -> Option<usize> {
        let number_if_for_this = |(number, record): (usize, &Option<Box<Record>>)| {
            let record = record.as_ref()?;
            let prepared = record.prepared.as_ref()?;
            (prepared.purpose == Purpose::Again).then_some((record.id, number))
        };
        let known = || self.records.iter().enumerate().filter_map(number_if_for_this);
        let free = self.records.iter().position(Option::is_none);
        if free.is_some() && known().count() < MOST_AGAIN {
            return free;
        }
        let (_, oldest) = known().min()?;
        self.let_one_go(oldest, thread);
        Some(oldest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_opens_nothing_once_more_is_left_alone_for_longer_each_time() {
        let mut again = Again::default();
        let mut rest = || {
            again.note_end(false);
            std::iter::repeat_with(|| again.rests.step()).take_while(|rests| *rests).count()
        };
        assert_eq!([rest(), rest(), rest()], [2, 4, 8]);
        assert_eq!(std::iter::repeat_with(rest).take(9).last(), Some(64));
        again.note_end(true);
        assert!(!again.rests.step());
    }
}
