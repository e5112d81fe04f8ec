//! The table of patched sites as the threads of an address space share it.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{RwLock, RwLockReadGuard};

use super::PatchTable;

/// A table, and its generation beside the lock: each call from a patched site looks at that twice, and at the table hardly
/// ever.
#[derive(Default)]
pub(in crate::trap) struct Patches {
    generation: AtomicU64,
    table: RwLock<PatchTable>,
}

impl Patches {
    /// As [`PatchTable::generation`].
    pub(in crate::trap) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The table.
    pub(in crate::trap) fn read(&self) -> RwLockReadGuard<'_, PatchTable> {
        self.table.read()
    }

    /// Changes the table.
    pub(in crate::trap) fn change(&self, change: impl FnOnce(&mut PatchTable)) {
        let mut table = self.table.write();
        change(&mut table);
        self.generation.store(table.generation(), Ordering::Release);
    }
}
