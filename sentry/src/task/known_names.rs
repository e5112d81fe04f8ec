//! Leaving what names mean with the guest thread that has asked, whose platform then answers when it asks again.

use std::borrow::Cow;

use usk_platform::{FileStatus, KnownName, NameMeaning, StatxRest};
use zerocopy::IntoBytes;

use super::Current;
use crate::vfs::{
    Access, Attributes, Caller, Dentry, FileType, KnownFile, LookedUp, Mark, Mount, NamesAsOf, OpenFile,
    Path, check_inode, is_real_user,
};

/// The calls that are answered: a filter that looks at one of them wants to see them all.
const CALLS: [u32; 10] = [2, 4, 6, 21, 89, 257, 262, 267, 269, 332];

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
    /// What the answer depends on.
    pub looked_up: LookedUp,
}

/// What a name means, which starts where that of a question does.
#[derive(Clone)]
struct Answer<'a> {
    name: Cow<'a, [u8]>,
    follows: bool,
    meaning: NameMeaning,
    looked_up: LookedUp,
}

/// What `stat(2)` and `statx(2)` show of a file on a mount, and whether it is the root of that.
pub(super) fn shown(attributes: &Attributes, (mount, is_mount_root): (&Mount, bool)) -> Option<FileStatus> {
    let stat = attributes.to_stat().as_bytes().try_into().ok()?;
    let born = attributes.born.map(|born| (born.seconds, born.nanoseconds));
    Some(FileStatus { stat, rest: StatxRest { born, mount: mount.id, is_mount_root } })
}

impl<'a> Answer<'a> {
    /// That it means this file, to which the guest has `access`; its mount, and whether it is the root of that.
    fn about(
        name: Cow<'a, [u8]>,
        follows: bool,
        file: &KnownFile,
        place: (&Mount, bool),
        access: Access,
        looked_up: LookedUp,
    ) -> Option<Self> {
        let attributes = shown(&file.attributes, place)?;
        let access = u8::try_from(access.bits()).unwrap_or(0);
        let looked_up = file.mark.map_or(Some(looked_up), |mark| looked_up.with(mark))?;
        Some(Answer { name, follows, meaning: NameMeaning::File { attributes, access }, looked_up })
    }
}

impl NameQuestion {
    fn answer(&self, meaning: NameMeaning) -> Answer<'_> {
        let NameQuestion { follows, looked_up, .. } = *self;
        Answer { name: Cow::from(&*self.name), follows, meaning, looked_up }
    }
}

impl Current {
    /// Now, if what the guest asks about names may be left with it.
    pub fn names_as_of_now(&self) -> Option<NamesAsOf> {
        if self.is_lent_to() { NamesAsOf::now() } else { None }
    }

    /// Whether it has asked before about the name of this mark, by whatever path, and will probably do so again.
    pub fn asks_again(&self, name: Mark) -> bool {
        self.is_lent_to() && NamesAsOf::was_told(&self.thread.kicker(), name)
    }

    /// Leaves the answer that there is no such file.
    pub fn leave_missing(&mut self, question: &NameQuestion) {
        self.leave_meanings(question, &[question.answer(NameMeaning::Missing)]);
    }

    /// Leaves what `stat(2)` shows of the file at `path`, if that holds until it is withdrawn, and that the guest has `access`.
    pub fn leave_file(&mut self, question: &NameQuestion, path: &Path, access: Access) {
        let Ok(inode) = path.inode() else { return };
        let Some(file) = inode.known_by_name() else {
            if let Some((record, identity)) = self.lending.held_file(path) {
                self.leave_meaning(question, NameMeaning::Held { record, identity });
            }
            return;
        };
        if question.follows && question.looked_up.last().is_some_and(|name| self.asks_again(name)) {
            self.lending.expect_links_followed();
        }
        let name = Cow::from(&*question.name);
        let place = (&*path.mount, path.is_mount_root());
        if let Some(answer) = Answer::about(name, question.follows, &file, place, access, question.looked_up)
        {
            self.leave_meanings(question, &[answer]);
        }
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
        self.leave_children(question, prefix, (&path.mount, &directory), Some(&name));
    }

    /// Leaves the same of the first files in a directory that was opened.
    pub(super) fn leave_first(&mut self, file: &OpenFile) {
        let directory = &file.path().dentry;
        let Some(as_of) = self.names_as_of_now().filter(|_| directory.has_lasting_names()) else { return };
        let credentials = self.task.credentials();
        let caller = Caller { credentials: &credentials, task: Some(&self.task) };
        let may_search = |inode| check_inode(inode, caller, Access::EXECUTE).is_ok();
        if directory.inode().is_some_and(may_search) {
            // Gives way to the names of the files.
            let Some(looked_up) = LookedUp::default().with(Mark::of_name(0, b"")) else { return };
            let (start, name) = (file.id(), Vec::new());
            let question = NameQuestion { as_of, start, follows: false, name, looked_up };
            self.leave_children(&question, b"", (&file.path().mount, directory), None);
        }
    }

    fn leave_children(
        &mut self,
        question: &NameQuestion,
        prefix: &[u8],
        (mount, directory): (&Mount, &Dentry),
        after: Option<&[u8]>,
    ) {
        let limit = self.lending.names_to_leave(question.as_of);
        let follows_links = self.lending.follows_links();
        let mut answers = Vec::new();
        for (name, file) in directory.known_after(after, limit) {
            // What is no link means the same if links are followed.
            let is_followed = follows_links && file.attributes.file_type() != FileType::Symlink;
            let Some(mark) = directory.mark_of(&name) else { return };
            let looked_up = question.looked_up.with_last(mark);
            let name = Cow::from([prefix, &name].concat());
            let place = (mount, false);
            let Some(answer) = Answer::about(name, false, &file, place, Access::empty(), looked_up) else {
                continue;
            };
            answers.extend(is_followed.then(|| Answer { follows: true, ..answer.clone() }));
            answers.push(answer);
        }
        if !answers.is_empty() {
            self.leave_meanings(question, &answers);
        }
    }

    /// Leaves that the file is there to be opened.
    pub(super) fn leave_meaning(&mut self, question: &NameQuestion, meaning: NameMeaning) {
        self.leave_meanings(question, &[question.answer(meaning)]);
    }

    /// Leaves what names mean that start where that of the question does.
    fn leave_meanings(&mut self, question: &NameQuestion, answers: &[Answer<'_>]) {
        let task = &self.task;
        // Own credentials and filters only the task itself changes, but for filters that another thread synchronizes: that
        // withdraws the answers.
        let stands = |standing| task.standing.stands(standing);
        if !stands(self.standing) || !task.hides_calls(&CALLS) || !is_real_user(&task.credentials()) {
            return;
        }
        let (thread, standing) = (&mut self.thread, self.standing);
        let kicker = thread.kicker();
        question.as_of.tell(&kicker, |note| {
            for Answer { name, follows, meaning, looked_up } in answers {
                let known = KnownName { start: question.start, follows: *follows, name, meaning: *meaning };
                if let Some(left) = thread.leave_name(&known) {
                    note(left, *looked_up);
                }
            }
            // Withdrawn meanwhile: before it was left, perhaps.
            if !stands(standing) {
                kicker.withdraw_names();
            }
        });
    }
}
