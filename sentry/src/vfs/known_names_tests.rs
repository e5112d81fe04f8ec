//! Whatever a thread was told of names is what a walk finds afresh, as long as nobody has withdrawn it: random operations on names,
//! with random questions between them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use proptest::prelude::*;
use usk_abi::Errno;
use usk_platform::{Kick, LeftName, NAME_PLACES};

use super::oracle_tests::{Operation, context, operation, path};
use crate::fs::overlay::Overlay;
use crate::fs::tmpfs::{Tmpfs, TmpfsOptions};
use crate::task::Credentials;
use crate::vfs::{FsContext, NameContext, NamesAsOf, Path, WalkOptions};

/// A question, and the number of the file that was found.
#[derive(Clone, Debug)]
struct Known {
    name: String,
    follows: bool,
    found: Option<u64>,
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

fn number(found: Result<Path, Errno>) -> Result<Option<u64>, Errno> {
    match found {
        Ok(path) => Ok(Some(path.inode()?.attributes()?.inode)),
        Err(Errno::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Asks as calls do, and tells the thread what can be told.
fn ask(names: &NameContext<'_>, table: &Arc<Table>, place: usize, name: &str, follows: bool) {
    let Some(as_of) = NamesAsOf::now() else { return };
    let (found, looked_up) =
        names.resolve_lastingly(&names.cwd, name.as_bytes(), WalkOptions::following(follows));
    let (Ok(found), Some(looked_up)) = (number(found), looked_up) else { return };
    let thread: Arc<dyn Kick> = table.clone();
    as_of.tell(&thread, |note| {
        let mut known = table.0.lock();
        let is_first = known.is_empty();
        known.insert(place, Known { name: name.into(), follows, found });
        note(LeftName { place, is_first }, looked_up);
    });
}

/// Does the operations, each after a question, and compares. How many answers have outlived an operation.
fn compare(steps: &[(String, bool, Operation)], context: &FsContext) -> Result<usize, TestCaseError> {
    let (credentials, table) = (Credentials::user(0, 0), Arc::new(Table::default()));
    let names = context.names(&credentials, None);
    let mut outlived = 0;
    for (number_of_step, (name, follows, operation)) in steps.iter().enumerate() {
        ask(&names, &table, number_of_step % NAME_PLACES, name, *follows);
        let _ = operation.on_vfs(&names, &names.cwd);
        let known = table.0.lock().clone();
        for Known { name, follows, found } in known.values() {
            let afresh = names.resolve(&names.cwd, name.as_bytes(), WalkOptions::following(*follows));
            prop_assert_eq!(number(afresh), Ok(*found), "{:?} after {:?}", name, operation);
        }
        outlived += known.len();
    }
    Ok(outlived)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_known_of_names_is_what_a_walk_finds(
        below in prop::collection::vec((path(), any::<bool>(), operation()), 0..20),
        above in prop::collection::vec((path(), any::<bool>(), operation()), 1..60),
    ) {
        let tree = Tmpfs::new(TmpfsOptions::default());
        compare(&below, &context(tree.clone()))?;
        compare(&above, &context(Overlay::new(tree, None, None).unwrap()))?;
    }
}

#[test]
fn what_is_known_of_other_names_outlives_a_new_one() {
    let steps =
        [("a", Operation::MakeDirectory("b".into())), ("b", Operation::Symlink("c".into(), "b/c".into()))];
    let steps = steps.map(|(name, operation)| (name.into(), true, operation));
    // Other tests withdraw everything now and then.
    while compare(&steps, &context(Tmpfs::new(TmpfsOptions::default()))).unwrap() < 3 {}
}
