//! Whatever a thread was told of names is what a walk finds afresh, as long as nobody has withdrawn it: random operations on names,
//! with random questions between them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use proptest::prelude::*;
use usk_abi::Errno;
use usk_abi::fs::{OpenFlags, ResolveFlags};
use usk_platform::{Kick, LeftName, NAME_PLACES};

use super::oracle_tests::{Operation, context, operation, path};
use crate::fs::overlay::Overlay;
use crate::fs::tmpfs::{Tmpfs, TmpfsOptions};
use crate::task::Credentials;
use crate::vfs::{
    Attributes, FsContext, InodeRef, LookedUp, NameContext, NamesAsOf, OpenFile, OpenHow, TimeChange,
    WalkOptions,
};
use crate::{BytesSink, BytesSource};

/// A question, and what was found: a file's number, and its attributes if they may be told; nothing if there is no such file.
#[derive(Clone, Debug)]
struct Known {
    name: String,
    follows: bool,
    found: Option<(u64, Option<Attributes>)>,
}

/// What is done between questions.
#[derive(Clone, Debug)]
enum Step {
    Names(Operation),
    /// Opens a file for writing, for as long as the next steps take.
    Open(String),
    /// Writes to one that is open.
    Write(usize),
    Close(usize),
    Read(String),
    Cut(String),
    Mode(String),
    Times(String),
    Mark(String),
}

/// What a thread was told, by place.
#[derive(Default)]
struct Table(Mutex<BTreeMap<usize, Known>>);

impl Kick for Table {
    fn kick(&self) {}

    fn kill(&self) {}

    fn withdraw_names(&self) {
        self.0.lock().clear();
    }

    fn withdraw_name(&self, place: usize) {
        self.0.lock().remove(&place);
    }

    fn is_alive(&self) -> bool {
        true
    }

    fn cpu_time(&self) -> Duration {
        Duration::ZERO
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => operation().prop_map(Step::Names),
        3 => path().prop_map(Step::Open),
        3 => any::<usize>().prop_map(Step::Write),
        2 => any::<usize>().prop_map(Step::Close),
        2 => path().prop_map(Step::Read),
        1 => path().prop_map(Step::Cut),
        1 => path().prop_map(Step::Mode),
        1 => path().prop_map(Step::Times),
        1 => path().prop_map(Step::Mark),
    ]
}

impl Step {
    fn take(&self, names: &NameContext<'_>, open: &mut Vec<Arc<OpenFile>>) -> Result<(), Errno> {
        let find = |name: &str| names.resolve(&names.cwd, name.as_bytes(), WalkOptions::FOLLOW);
        let one_of = |open: &[_], which: usize| which.checked_rem(open.len());
        match self {
            Step::Names(operation) => drop(operation.on_vfs(names, &names.cwd)?),
            Step::Open(name) => {
                let flags = OpenFlags::CREAT | OpenFlags::RDWR;
                let how = OpenHow { flags, mode: 0o600, resolve: ResolveFlags::empty() };
                open.extend(names.open(&names.cwd, name.as_bytes(), how, None).ok());
            }
            Step::Write(which) => {
                let file = one_of(open, *which).map(|which| &open[which]).ok_or(Errno::EBADF)?;
                file.ops.append(file, &mut BytesSource::new(b"more"))?;
            }
            Step::Close(which) => drop(one_of(open, *which).map(|which| open.swap_remove(which))),
            Step::Read(name) => {
                let file = names.open_path(&find(name)?, OpenFlags::empty(), false, None);
                let file = file.map_err(|_| Errno::EIO)?;
                file.ops.read(&file, &mut BytesSink::new(9), 0)?;
            }
            Step::Cut(name) => names.truncate(&find(name)?, 2)?,
            Step::Mode(name) => names.change_permissions(&find(name)?, 0o750)?,
            Step::Times(name) => names.change_times(&find(name)?, TimeChange::Now, TimeChange::Keep)?,
            Step::Mark(name) => find(name)?.inode()?.set_xattr(b"user.mark", b"1", 0)?,
        }
        Ok(())
    }
}

/// Asks as calls do, and tells the thread what can be told.
fn ask(names: &NameContext<'_>, table: &Arc<Table>, place: usize, name: &str, follows: bool) {
    let Some(as_of) = NamesAsOf::now() else { return };
    let (path, looked_up) =
        names.resolve_lastingly(&names.cwd, name.as_bytes(), WalkOptions::following(follows));
    let Some(looked_up) = looked_up else { return };
    let answer = |name: String, file: &InodeRef, looked_up: LookedUp| {
        let number = file.attributes().unwrap().inode;
        let known = file.known_by_name();
        let found = Some((number, known.map(|known| known.attributes)));
        let mark = known.and_then(|known| known.mark);
        let looked_up = mark.map_or(Some(looked_up), |mark| looked_up.with(mark))?;
        Some((Known { name, follows, found }, looked_up))
    };
    let mut answers = Vec::new();
    match &path {
        Err(Errno::ENOENT) => answers.push((Known { name: name.into(), follows, found: None }, looked_up)),
        Err(_) => return,
        Ok(path) => {
            answers.extend(answer(name.into(), path.inode().unwrap(), looked_up));
            let own = path.dentry.name();
            let prefix = name.as_bytes().strip_suffix(&*own).filter(|_| !follows);
            if let (Some(prefix), Some(directory)) = (prefix, path.dentry.parent()) {
                for (next, file) in directory.known_after(Some(&own), 2) {
                    let name = String::from_utf8([prefix, &next].concat()).unwrap();
                    let found = Some((file.attributes.inode, Some(file.attributes)));
                    let looked_up = looked_up.with_last(directory.mark_of(&next).unwrap());
                    let looked_up = file.mark.map_or(Some(looked_up), |mark| looked_up.with(mark));
                    answers.extend(looked_up.map(|looked_up| (Known { name, follows, found }, looked_up)));
                }
            }
        }
    }
    let thread: Arc<dyn Kick> = table.clone();
    as_of.tell(&thread, |note| {
        for (next, (known, looked_up)) in answers.into_iter().enumerate() {
            let place = (3 * place + next) % NAME_PLACES;
            let mut table = table.0.lock();
            let is_first = table.is_empty();
            table.insert(place, known);
            note(LeftName { place, is_first }, looked_up);
        }
    });
}

/// Takes the steps, each after a question, and compares. How many answers have outlived a step, and how many of them told attributes.
fn compare(steps: &[(String, bool, Step)], context: &FsContext) -> Result<(usize, usize), TestCaseError> {
    let (credentials, table) = (Credentials::user(0, 0), Arc::new(Table::default()));
    let names = context.names(&credentials, None);
    let (mut open, mut outlived) = (Vec::new(), (0, 0));
    for (number_of_step, (name, follows, step)) in steps.iter().enumerate() {
        ask(&names, &table, number_of_step, name, *follows);
        let _ = step.take(&names, &mut open);
        let known = table.0.lock().clone();
        for Known { name, follows, found } in known.values() {
            let afresh = names.resolve(&names.cwd, name.as_bytes(), WalkOptions::following(*follows));
            let afresh = match afresh {
                Ok(path) => Some(path.inode().unwrap().attributes().unwrap()),
                Err(error) => {
                    prop_assert_eq!(error, Errno::ENOENT, "{:?} after {:?}", name, step);
                    None
                }
            };
            let number = found.map(|(number, _)| number);
            prop_assert_eq!(afresh.map(|afresh| afresh.inode), number, "{:?} after {:?}", name, step);
            if let Some((_, Some(told))) = found {
                prop_assert_eq!(afresh, Some(*told), "{:?} after {:?}", name, step);
                outlived.1 += 1;
            }
        }
        outlived.0 += known.len();
    }
    Ok(outlived)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_known_of_names_is_what_a_walk_finds_and_a_stat_shows(
        below in prop::collection::vec((path(), any::<bool>(), step()), 0..20),
        above in prop::collection::vec((path(), any::<bool>(), step()), 1..60),
    ) {
        let tree = Tmpfs::new(TmpfsOptions::default());
        compare(&below, &context(tree.clone()))?;
        compare(&above, &context(Overlay::new(tree, None, None).unwrap()))?;
    }
}

fn steps<const COUNT: usize>(steps: [(&str, Step); COUNT]) -> [(String, bool, Step); COUNT] {
    steps.map(|(name, step)| (name.into(), true, step))
}

#[test]
fn what_is_known_of_other_names_outlives_a_new_one() {
    let steps = steps([
        ("a", Step::Names(Operation::MakeDirectory("b".into()))),
        ("b", Step::Names(Operation::Symlink("c".into(), "b/c".into()))),
    ]);
    // Other tests withdraw everything now and then.
    while compare(&steps, &context(Tmpfs::new(TmpfsOptions::default()))).unwrap().0 < 2 {}
}

#[test]
fn what_is_known_of_a_file_outlives_changes_of_others() {
    let steps = steps([
        ("a", Step::Open("a".into())),
        ("b", Step::Close(0)),
        ("a", Step::Open("b".into())),
        ("a", Step::Write(0)),
        ("a", Step::Mode("b".into())),
    ]);
    let tree = || Overlay::new(Tmpfs::new(TmpfsOptions::default()), None, None).unwrap();
    while compare(&steps, &context(tree())).unwrap().1 < 3 {}
}
