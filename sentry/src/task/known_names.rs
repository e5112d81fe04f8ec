//! Leaving what names mean with the guest thread that has asked, whose platform then answers when it asks again.

use usk_platform::{KnownName, MAX_KNOWN_NAME, NameMeaning};
use zerocopy::IntoBytes;

use super::Current;
use crate::vfs::{Access, InodeRef, NamesAsOf, is_real_user};

/// The calls that are answered: a filter that looks at one of them wants to see them all.
const CALLS: [u32; 7] = [2, 4, 6, 21, 257, 262, 269];

/// A name that the guest has asked about.
#[derive(Debug)]
pub struct NameQuestion {
    /// When, as far as names are concerned: before anything was looked at.
    pub as_of: NamesAsOf,
    /// The open directory where it starts ([`OpenFile::id`](crate::vfs::OpenFile::id)), or 0.
    pub start: u64,
    /// Whether a symbolic link at the end is followed.
    pub follows: bool,
    /// The name.
    pub name: Vec<u8>,
}

impl Current {
    /// Now, if what the guest asks about names may be left with it.
    pub fn names_as_of_now(&self) -> Option<NamesAsOf> {
        if self.is_lent_to() { NamesAsOf::now() } else { None }
    }

    /// Leaves the answer that there is no such file.
    pub fn leave_missing(&mut self, question: &NameQuestion) {
        self.leave_meaning(question, NameMeaning::Missing);
    }

    /// Leaves what `stat(2)` shows of the file, if that holds until it is withdrawn, and that the guest has `access`.
    pub fn leave_file(&mut self, question: &NameQuestion, inode: &InodeRef, access: Access) {
        let attributes = inode.fixed_attributes().map(|attributes| attributes.to_stat());
        let Some(attributes) = attributes.and_then(|stat| stat.as_bytes().try_into().ok()) else { return };
        let access = u8::try_from(access.bits()).unwrap_or(0);
        self.leave_meaning(question, NameMeaning::File { attributes, access });
    }

    fn leave_meaning(&mut self, question: &NameQuestion, meaning: NameMeaning) {
        let NameQuestion { as_of, start, follows, name } = question;
        let task = &self.task;
        // Own credentials and filters only the task itself changes, but for filters that another thread synchronizes: that
        // withdraws the answers.
        let stands = |standing| task.standing.stands(standing);
        if name.len() > MAX_KNOWN_NAME
            || !stands(self.standing)
            || !task.seccomp.always_allows(&CALLS)
            || !is_real_user(&task.credentials())
        {
            return;
        }
        let (thread, standing) = (&mut self.thread, self.standing);
        let kicker = thread.kicker();
        as_of.tell(
            || kicker.clone(),
            || {
                let is_first =
                    thread.leave_name(&KnownName { start: *start, follows: *follows, name, meaning });
                // Withdrawn meanwhile: before it was left, perhaps.
                if !stands(standing) {
                    kicker.withdraw_names();
                }
                is_first
            },
        );
    }
}
