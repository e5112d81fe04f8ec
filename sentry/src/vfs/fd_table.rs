//! Descriptor tables.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{RwLock, RwLockWriteGuard};
use usk_abi::Errno;
use usk_platform::{LENT_DESCRIPTORS, LentDescriptor, TakenBack};

use crate::task::Lent;
use crate::vfs::OpenFile;
use crate::vfs::locks::LockOwner;

/// Descriptors that a table has at most, whatever `RLIMIT_NOFILE` says (`fs.nr_open`).
pub const MAX_DESCRIPTORS: u64 = 1 << 20;

/// A descriptor.
#[derive(Clone)]
struct Slot {
    file: Arc<OpenFile>,
    close_on_exec: bool,
}

#[derive(Clone, Default)]
struct Slots {
    slots: Vec<Option<Slot>>,
    /// No number below this is free.
    lowest_free: usize,
    /// Counts the changes.
    version: u64,
    /// A bit for each of the first descriptors that has changed since a version.
    changed: u64,
    changed_since: u64,
}

/// The table from descriptor numbers to open files (`files_struct`).
pub struct FdTable {
    slots: RwLock<Slots>,
    /// A number that no other table has had: what POSIX record locks belong to.
    id: u64,
    /// To whom it is lent.
    pub(crate) lent: Lent,
}

/// The first descriptors of a table: those that can be lent.
pub(crate) struct FirstSlots<'a> {
    slots: &'a [Option<Slot>],
    /// A bit for each that has changed.
    pub(crate) changed: u64,
}

impl FirstSlots<'_> {
    /// Those that have changed, lowest first.
    pub(crate) fn changed(&self) -> impl Iterator<Item = usize> {
        let mut left = self.changed;
        std::iter::from_fn(move || {
            let lowest = left.trailing_zeros();
            left &= left.checked_sub(1)?;
            Some(lowest as usize)
        })
    }

    /// The file of a descriptor, and whether it is closed on exec. `None` if there is none.
    pub(crate) fn get(&self, number: usize) -> Option<(&Arc<OpenFile>, bool)> {
        let slot = self.slots.get(number)?.as_ref()?;
        Some((&slot.file, slot.close_on_exec))
    }

    /// Those that are open, lowest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &Arc<OpenFile>, bool)> {
        let numbered = self.slots.iter().enumerate();
        numbered
            .filter_map(|(number, slot)| slot.as_ref().map(|slot| (number, &slot.file, slot.close_on_exec)))
    }
}

impl Default for FdTable {
    fn default() -> Self {
        Self::with(Slots::default())
    }
}

impl Drop for FdTable {
    fn drop(&mut self) {
        for slot in std::mem::take(&mut self.slots.get_mut().slots).into_iter().flatten() {
            let _ = self.closed(&slot.file);
        }
    }
}

impl Slots {
    fn get(&self, fd: i32) -> Option<&Slot> {
        self.slots.get(usize::try_from(fd).ok()?)?.as_ref()
    }

    /// The lowest free number that is at least `minimum`.
    fn free(&self, minimum: usize) -> usize {
        let start = self.lowest_free.max(minimum);
        let rest = self.slots.get(start..).unwrap_or_default();
        start + rest.iter().position(Option::is_none).unwrap_or(rest.len())
    }

    /// The same below `limit` (`RLIMIT_NOFILE`). `EMFILE` if there is none.
    fn free_below(&self, minimum: usize, limit: u64) -> Result<(usize, i32), Errno> {
        let number = self.free(minimum);
        let descriptor = i32::try_from(number).map_err(|_| Errno::EMFILE)?;
        if number as u64 >= limit.min(MAX_DESCRIPTORS) {
            Err(Errno::EMFILE)
        } else {
            Ok((number, descriptor))
        }
    }

    /// The first ones, of which some have changed.
    fn first(&self, changed: u64) -> FirstSlots<'_> {
        FirstSlots { slots: &self.slots[..self.slots.len().min(LENT_DESCRIPTORS)], changed }
    }

    /// Notes that a descriptor changes.
    fn change(&mut self, number: usize) {
        self.version += 1;
        self.changed |= u32::try_from(number).ok().and_then(|number| 1u64.checked_shl(number)).unwrap_or(0);
    }

    /// Notes that any may change.
    fn change_all(&mut self) {
        self.version += 1;
        self.changed = u64::MAX;
    }

    fn put(&mut self, number: usize, slot: Slot) -> Option<Slot> {
        self.change(number);
        if number >= self.slots.len() {
            self.slots.resize_with(number + 1, || None);
        }
        let before = self.slots[number].replace(slot);
        if number == self.lowest_free {
            self.lowest_free += 1;
        }
        before
    }

    fn take(&mut self, fd: i32) -> Option<Slot> {
        let number = usize::try_from(fd).ok()?;
        let slot = self.slots.get_mut(number)?.take()?;
        self.change(number);
        self.lowest_free = self.lowest_free.min(number);
        Some(slot)
    }
}

impl FdTable {
    fn with(slots: Slots) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        FdTable {
            slots: RwLock::new(slots),
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            lent: Lent::default(),
        }
    }

    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// A number that no other table has had.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// A copy for a new process: the same open files under the same numbers.
    pub fn duplicate(&self) -> Self {
        Self::with(self.slots.read().clone())
    }

    /// The open file of a descriptor. `EBADF` if there is none.
    pub fn get(&self, fd: i32) -> Result<Arc<OpenFile>, Errno> {
        self.slots.read().get(fd).map(|slot| slot.file.clone()).ok_or(Errno::EBADF)
    }

    /// `EMFILE` if no descriptor below `limit` is free.
    pub fn check_room(&self, limit: u64) -> Result<(), Errno> {
        self.slots.read().free_below(0, limit).map(|_| ())
    }

    /// Gives a file the lowest free descriptor below `limit` (`RLIMIT_NOFILE`). `EMFILE` if there is none.
    pub fn install(&self, file: Arc<OpenFile>, close_on_exec: bool, limit: u64) -> Result<i32, Errno> {
        self.install_from(0, file, close_on_exec, limit)
    }

    /// [`FdTable::install`] with the lowest free descriptor that is at least `minimum`.
    pub fn install_from(
        &self,
        minimum: i32,
        file: Arc<OpenFile>,
        close_on_exec: bool,
        limit: u64,
    ) -> Result<i32, Errno> {
        let minimum = usize::try_from(minimum).map_err(|_| Errno::EINVAL)?;
        let mut slots = self.slots.write();
        let (number, descriptor) = slots.free_below(minimum, limit)?;
        slots.put(number, Slot { file, close_on_exec });
        Ok(descriptor)
    }

    /// [`FdTable::install`] of a file that `make` makes once a descriptor is free, which nobody else gets meanwhile. Returns what it has
    /// made besides. The table is locked while it does.
    pub fn install_made<R>(
        &self,
        close_on_exec: bool,
        limit: u64,
        make: impl FnOnce() -> Result<(Arc<OpenFile>, R), Errno>,
    ) -> Result<(i32, R), Errno> {
        let mut slots = self.slots.write();
        let (number, descriptor) = slots.free_below(0, limit)?;
        let (file, rest) = make()?;
        slots.put(number, Slot { file, close_on_exec });
        Ok((descriptor, rest))
    }

    /// Gives a file the descriptor `fd`, closing what had it before (`dup2(2)`). `EBADF` for a number that is not below
    /// `limit`.
    pub fn install_at(
        &self,
        fd: i32,
        file: Arc<OpenFile>,
        close_on_exec: bool,
        limit: u64,
    ) -> Result<(), Errno> {
        let number = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        if number as u64 >= limit.min(MAX_DESCRIPTORS) {
            return Err(Errno::EBADF);
        }
        let before = self.slots.write().put(number, Slot { file, close_on_exec });
        if let Some(before) = before {
            let _ = self.closed(&before.file);
        }
        Ok(())
    }

    /// Closes a descriptor. `EBADF` if there is none; another error is the file's own, and the descriptor is closed then, too.
    pub fn close(&self, fd: i32) -> Result<(), Errno> {
        let slot = self.slots.write().take(fd).ok_or(Errno::EBADF)?;
        self.closed(&slot.file)
    }

    /// Closes a descriptor if it is still this file's, and not another's that has got its number meanwhile.
    pub fn close_file(&self, fd: i32, file: &Arc<OpenFile>) {
        let mut slots = self.slots.write();
        let is_its = slots.get(fd).is_some_and(|slot| Arc::ptr_eq(&slot.file, file));
        let slot = if is_its { slots.take(fd) } else { None };
        drop(slots);
        if let Some(slot) = slot {
            let _ = self.closed(&slot.file);
        }
    }

    /// Closes every descriptor from `first` to `last`.
    pub fn close_range(&self, first: u32, last: u32) {
        self.close_if(|number, _| (first..=last).contains(&number));
    }

    /// Marks every descriptor from `first` to `last` to be closed on exec.
    pub fn set_close_on_exec_range(&self, first: u32, last: u32) {
        let mut slots = self.slots.write();
        slots.change_all();
        let first = first as usize;
        let count = (last as usize).saturating_sub(first).saturating_add(1);
        for slot in slots.slots.iter_mut().skip(first).take(count).flatten() {
            slot.close_on_exec = true;
        }
    }

    /// Closes what is marked to be closed on exec.
    pub fn close_on_exec(&self) {
        self.close_if(|_, slot| slot.close_on_exec);
    }

    fn close_if(&self, condition: impl Fn(u32, &Slot) -> bool) {
        let mut closed = Vec::new();
        let mut slots = self.slots.write();
        slots.change_all();
        for (number, slot) in (0u32..).zip(slots.slots.iter_mut()) {
            if slot.as_ref().is_some_and(|slot| condition(number, slot)) {
                closed.extend(slot.take());
            }
        }
        slots.lowest_free = slots.slots.iter().position(Option::is_none).unwrap_or(slots.slots.len());
        drop(slots);
        for slot in closed {
            let _ = self.closed(&slot.file);
        }
    }

    /// Whether a descriptor is closed on exec. `EBADF` if there is none.
    pub fn is_close_on_exec(&self, fd: i32) -> Result<bool, Errno> {
        self.slots.read().get(fd).map(|slot| slot.close_on_exec).ok_or(Errno::EBADF)
    }

    /// Sets that.
    pub fn set_close_on_exec(&self, fd: i32, close_on_exec: bool) -> Result<(), Errno> {
        let mut slots = self.slots.write();
        let number = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        slots.change(number);
        let slot = slots.slots.get_mut(number).and_then(Option::as_mut);
        slot.ok_or(Errno::EBADF)?.close_on_exec = close_on_exec;
        Ok(())
    }

    /// All descriptors, lowest first, with their files and whether they are closed on exec.
    pub fn descriptors(&self) -> Vec<(i32, Arc<OpenFile>, bool)> {
        let slots = self.slots.read();
        let numbered = (0i32..).zip(&slots.slots);
        numbered
            .filter_map(|(number, slot)| {
                slot.as_ref().map(|slot| (number, slot.file.clone(), slot.close_on_exec))
            })
            .collect()
    }

    /// One more than the highest number ever used, rounded up as Linux does (`FDSize` in `/proc/PID/status`).
    pub fn size(&self) -> usize {
        self.slots.read().slots.len().next_power_of_two().max(64)
    }

    /// A number that changes with the table.
    pub(crate) fn version(&self) -> u64 {
        self.slots.read().version
    }

    /// Something has changed that decides what can be lent of the table.
    pub fn touch(&self) {
        self.slots.write().change_all();
    }

    /// Calls `look` with the first descriptors.
    pub(crate) fn look_at_first(&self, look: impl FnOnce(&FirstSlots<'_>)) {
        look(&self.slots.read().first(u64::MAX));
    }

    /// Calls `look` with the first descriptors, and which of them have changed since a version: all, if that is not known any more.
    /// Returns the version, for the next time.
    pub(crate) fn look_at_changes(&self, since: Option<u64>, look: impl FnOnce(&FirstSlots<'_>)) -> u64 {
        let mut slots = self.slots.write();
        let version = slots.version;
        let changed = std::mem::take(&mut slots.changed);
        let is_known = since == Some(std::mem::replace(&mut slots.changed_since, version));
        let slots = RwLockWriteGuard::downgrade(slots);
        look(&slots.first(if is_known { changed } else { u64::MAX }));
        version
    }

    /// Changes the table to what a guest has made of the descriptors that it was lent. A file is named by a descriptor that it
    /// had before, or it is one of those that were `prepared`; new descriptors are below `limit` (`RLIMIT_NOFILE`). Returns what has been
    /// closed, which [`FdTable::settle`] settles.
    pub(crate) fn take_back(
        &self,
        taken: &TakenBack,
        prepared: impl Fn(u8) -> Option<Arc<OpenFile>>,
        limit: u64,
    ) -> Vec<Arc<OpenFile>> {
        let mut slots = self.slots.write();
        let file_of = |descriptor: &LentDescriptor| match *descriptor {
            LentDescriptor::Open { file, .. } => slots.get(file.into()).map(|slot| slot.file.clone()),
            LentDescriptor::Prepared { record, .. } => prepared(record),
            _ => None,
        };
        let changed =
            || (0i32..).zip(&taken.descriptors).filter(|(number, _)| taken.changed >> number & 1 == 1);
        let files: Vec<_> = changed().map(|(_, descriptor)| file_of(descriptor)).collect();
        let mut closed = Vec::new();
        for ((number, descriptor), file) in changed().zip(files) {
            match *descriptor {
                LentDescriptor::Free => closed.extend(slots.take(number)),
                LentDescriptor::Open { close_on_exec, .. }
                | LentDescriptor::Prepared { close_on_exec, .. } => {
                    let Some(file) = file else { continue };
                    if slots.get(number).is_none() && u64::from(number.unsigned_abs()) >= limit {
                        continue;
                    }
                    closed.extend(slots.put(number as usize, Slot { file, close_on_exec }));
                }
                LentDescriptor::Withheld => {}
            }
        }
        closed.into_iter().map(|slot| slot.file).collect()
    }

    /// Does what closing does for files whose descriptors have been taken out.
    pub(crate) fn settle(&self, closed: Vec<Arc<OpenFile>>) {
        for file in closed {
            let _ = self.closed(&file);
        }
    }

    /// A descriptor of `file` has been closed: the process's record locks on it end, whatever other descriptors it has.
    fn closed(&self, file: &Arc<OpenFile>) -> Result<(), Errno> {
        let result = file.ops.flush(file, self.id);
        if let Some(locks) = file.inode().common().locks_if_any() {
            locks.release(LockOwner::Table(self.id));
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use std::any::Any;

    use usk_platform::{LENT_RECORDS, Notes};

    use super::*;
    use crate::vfs::FileOps;

    struct Nothing;

    impl FileOps for Nothing {
        fn as_any(&self) -> &dyn Any {
            self
        }
    }

    fn file() -> Arc<OpenFile> {
        OpenFile::anonymous(Arc::new(Nothing), 0, "anon_inode:[nothing]")
    }

    #[test]
    fn the_lowest_free_descriptor_is_given_out() {
        let table = FdTable::new();
        for expected in 0..4 {
            assert_eq!(table.install(file(), false, 16), Ok(expected));
        }
        table.close(1).unwrap();
        table.close(2).unwrap();
        assert_eq!(table.install_from(2, file(), false, 16), Ok(2));
        assert_eq!(table.install(file(), false, 16), Ok(1));
        assert_eq!(table.install(file(), false, 16), Ok(4));
        assert_eq!(table.close(9), Err(Errno::EBADF));
        assert_eq!(table.close(-1), Err(Errno::EBADF));
    }

    #[test]
    fn a_file_is_closed_only_where_it_still_is() {
        let table = FdTable::new();
        let files = [file(), file()];
        table.install(files[0].clone(), false, 16).unwrap();
        table.close_file(0, &files[1]);
        table.close_file(1, &files[0]);
        assert!(Arc::ptr_eq(&table.get(0).unwrap(), &files[0]));
        table.close_file(0, &files[0]);
        assert_eq!(table.get(0).err(), Some(Errno::EBADF));
    }

    #[test]
    fn the_limit_bounds_new_descriptors_only() {
        let table = FdTable::new();
        table.install_at(20, file(), false, 64).unwrap();
        assert_eq!(table.install(file(), false, 1), Ok(0));
        assert_eq!(table.install(file(), false, 1), Err(Errno::EMFILE));
        assert_eq!(table.install_at(5, file(), false, 5), Err(Errno::EBADF));
        assert!(table.get(20).is_ok());
    }

    fn taken(changes: &[(usize, LentDescriptor)]) -> TakenBack {
        let mut taken = TakenBack {
            changed: 0,
            descriptors: [LentDescriptor::Withheld; LENT_DESCRIPTORS],
            positions: [None; LENT_RECORDS],
            notes: Notes::default(),
        };
        for (number, descriptor) in changes {
            taken.changed |= 1 << number;
            taken.descriptors[*number] = *descriptor;
        }
        taken
    }

    fn open(file: u8, close_on_exec: bool) -> LentDescriptor {
        LentDescriptor::Open { file, record: None, close_on_exec, closes_silently: false }
    }

    #[test]
    fn what_a_guest_has_made_of_its_descriptors_is_what_calls_could_have_made() {
        let table = FdTable::new();
        let files = [file(), file()];
        for file in &files {
            table.install(file.clone(), false, 64).unwrap();
        }
        // Both have changed places, by way of a third number.
        assert_eq!(
            table.take_back(&taken(&[(0, open(1, true)), (1, open(0, false))]), |_| None, 64).len(),
            2
        );
        assert!(
            Arc::ptr_eq(&table.get(0).unwrap(), &files[1]) && Arc::ptr_eq(&table.get(1).unwrap(), &files[0])
        );
        assert_eq!((table.is_close_on_exec(0), table.is_close_on_exec(1)), (Ok(true), Ok(false)));
        // A file that is not there, a number above the limit, and nothing at all.
        let prepared = |record| LentDescriptor::Prepared { record, close_on_exec: true };
        let forged = [
            (5, open(9, false)),
            (6, prepared(7)),
            (40, open(0, false)),
            (41, prepared(8)),
            (1, LentDescriptor::Withheld),
        ];
        let opened = |record| (record == 8).then(|| files[0].clone());
        assert!(table.take_back(&taken(&forged), opened, 40).is_empty());
        assert_eq!(table.descriptors().len(), 2);
        let before = table.version();
        let closed = table.take_back(&taken(&[(0, LentDescriptor::Free), (7, open(1, false))]), |_| None, 40);
        assert!(closed.len() == 1 && Arc::ptr_eq(&closed[0], &files[1]));
        assert_ne!(table.version(), before);
        assert_eq!(table.install(file(), false, 40), Ok(0));
        assert!(Arc::ptr_eq(&table.get(7).unwrap(), &files[0]));
        assert!(table.take_back(&taken(&[(9, prepared(8))]), opened, 40).is_empty());
        assert!(Arc::ptr_eq(&table.get(9).unwrap(), &files[0]) && table.is_close_on_exec(9) == Ok(true));
    }

    /// Which of the first descriptors have changed since a version, and the version.
    fn changed(table: &FdTable, since: Option<u64>) -> (Vec<usize>, u64) {
        let mut changed = Vec::new();
        let version = table.look_at_changes(since, |slots| changed.extend(slots.changed()));
        (changed, version)
    }

    #[test]
    fn a_table_knows_what_has_changed_since_somebody_looked_last() {
        let table = FdTable::new();
        let all: Vec<usize> = (0..LENT_DESCRIPTORS).collect();
        let (seen, first) = changed(&table, None);
        assert_eq!(seen, all);
        table.install(file(), false, 128).unwrap();
        table.install_at(63, file(), false, 128).unwrap();
        table.install_at(64, file(), false, 128).unwrap();
        let (seen, second) = changed(&table, Some(first));
        assert_eq!(seen, [0, 63]);
        table.close(63).unwrap();
        table.set_close_on_exec(0, true).unwrap();
        assert_eq!(changed(&table, Some(first)).0, all, "another has looked since");
        table.close(0).unwrap();
        assert_eq!(changed(&table, Some(second)).0, all);
        let third = table.version();
        assert!(changed(&table, Some(third)).0.is_empty());
        table.touch();
        assert_eq!(changed(&table, Some(third)).0, all);
    }

    #[test]
    fn exec_closes_what_is_marked() {
        let table = FdTable::new();
        table.install(file(), true, 16).unwrap();
        table.install(file(), false, 16).unwrap();
        table.install(file(), false, 16).unwrap();
        table.set_close_on_exec_range(2, u32::MAX);
        let copy = table.duplicate();
        table.close_on_exec();
        let left: Vec<i32> = table.descriptors().into_iter().map(|(fd, ..)| fd).collect();
        assert_eq!(left, [1]);
        assert_eq!(copy.descriptors().len(), 3);
        assert_eq!(table.install(file(), false, 16), Ok(0));
    }
}
