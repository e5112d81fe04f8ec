//! Leaving what names mean with the guest thread that has asked, whose platform then answers when it asks again.

use usk_platform::{KnownName, NameMeaning};
use zerocopy::IntoBytes;

use super::Current;
use crate::vfs::{Access, Dentry, InodeRef, NamesAsOf, OpenFile, Path, check_inode, is_real_user};

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

    /// Leaves what `lstat(2)` shows of the files about which the guest will probably ask next, after one that was found at `path`.
    pub fn leave_next(&mut self, question: &NameQuestion, path: &Path) {
        // A link that was followed, or a mount, leads out of the directory that the question names.
        if question.follows || path.is_mount_root() {
            return;
        }
        let name = path.dentry.name();
        let Some(directory) = path.dentry.parent() else { return };
        let Some(prefix) = question.name.strip_suffix(&*name) else { return };
        if prefix.last().is_some_and(|byte| *byte != b'/') {
            return;
        }
        if question.start != 0 && prefix.is_empty() {
            self.lending.expect_questions();
        }
        self.leave_children(question, prefix, &directory, Some(&name));
    }

    /// Leaves the same of the first files in a directory that was opened.
    pub(super) fn leave_first(&mut self, file: &OpenFile) {
        let directory = &file.path().dentry;
        let Some(as_of) = self.names_as_of_now().filter(|_| directory.has_lasting_names()) else { return };
        let may_search = |inode| check_inode(inode, &self.task.credentials(), Access::EXECUTE).is_ok();
        if directory.inode().is_some_and(may_search) {
            let question = NameQuestion { as_of, start: file.id(), follows: false, name: Vec::new() };
            self.leave_children(&question, b"", directory, None);
        }
    }

    fn leave_children(
        &mut self,
        question: &NameQuestion,
        prefix: &[u8],
        directory: &Dentry,
        after: Option<&[u8]>,
    ) {
        let limit = self.lending.names_to_leave(question.as_of);
        let next = directory.attributes_after(after, limit).into_iter().filter_map(|(name, attributes)| {
            let attributes = attributes.to_stat().as_bytes().try_into().ok()?;
            Some(([prefix, &name].concat(), NameMeaning::File { attributes, access: 0 }))
        });
        let next: Vec<_> = next.collect();
        if !next.is_empty() {
            self.leave_meanings(question, next.iter().map(|(name, meaning)| (name.as_slice(), *meaning)));
        }
    }

    pub(super) fn leave_meaning(&mut self, question: &NameQuestion, meaning: NameMeaning) {
        self.leave_meanings(question, std::iter::once((question.name.as_slice(), meaning)));
    }

    /// Leaves what these names mean, which start where that of the question does.
    fn leave_meanings<'a>(
        &mut self,
        question: &NameQuestion,
        names: impl Iterator<Item = (&'a [u8], NameMeaning)>,
    ) {
        let NameQuestion { as_of, start, follows, .. } = question;
        let task = &self.task;
        // Own credentials and filters only the task itself changes, but for filters that another thread synchronizes: that
        // withdraws the answers.
        let stands = |standing| task.standing.stands(standing);
        if !stands(self.standing) || !task.seccomp.always_allows(&CALLS) || !is_real_user(&task.credentials())
        {
            return;
        }
        let (thread, standing) = (&mut self.thread, self.standing);
        let kicker = thread.kicker();
        as_of.tell(
            || kicker.clone(),
            || {
                let mut is_first = false;
                for (name, meaning) in names {
                    is_first |=
                        thread.leave_name(&KnownName { start: *start, follows: *follows, name, meaning });
                }
                // Withdrawn meanwhile: before it was left, perhaps.
                if !stands(standing) {
                    kicker.withdraw_names();
                }
                is_first
            },
        );
    }
}
