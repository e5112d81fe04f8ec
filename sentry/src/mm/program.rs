//! The memory of one program (`mm_access` of `kernel/fork.c`).
//!
//! On Linux each execution brings new memory along, and who has got hold of the old one has nothing of it. Here an execution may use
//! the address space again, so that the memory of a program is an address space together with the number of the program in it.

use std::sync::{Arc, Weak};

use parking_lot::{RwLock, RwLockWriteGuard};

use crate::mm::mm::Mm;

/// Counts the programs that have run in an address space. Held for writing while one takes the place of another, and for reading by who
/// looks at the memory of one (`exec_update_lock`).
pub(in crate::mm) type ProgramNumber = RwLock<u64>;

/// The memory of a program, until its process executes another or ends.
#[derive(Clone)]
pub struct ProgramMemory {
    mm: Weak<Mm>,
    number: u64,
}

impl ProgramMemory {
    /// What `act` says of the memory. Nothing if it is not there any more; it stays for as long as `act` takes.
    pub fn with<R>(&self, act: impl FnOnce(&Mm) -> R) -> Option<R> {
        let mm = self.mm.upgrade()?;
        let number = mm.program.read();
        (*number == self.number).then(|| act(&mm))
    }
}

impl Mm {
    /// The memory of the program that runs in it. Whether the caller may look at that is to be asked afterwards: an execution that is
    /// under way is waited for, after which the task's credentials are those of the new program.
    pub fn of_program(self: &Arc<Self>) -> ProgramMemory {
        ProgramMemory { mm: Arc::downgrade(self), number: *self.program.read() }
    }

    /// The memory is another program's from now on, or nobody's. Nobody looks at it before the result is dropped.
    pub(crate) fn begin_program(&self) -> RwLockWriteGuard<'_, u64> {
        let mut number = self.program.write();
        *number += 1;
        number
    }
}
