//! Advisory locks on a file: record locks of processes (POSIX) and of open files (OFD), and whole-file locks (`flock(2)`).

use parking_lot::{Mutex, MutexGuard};
use usk_abi::{Errno, PollEvents};

use crate::SysResult;
use crate::task::Current;
use crate::wait::WaitQueue;

/// The last byte of a range that goes to the end of the file, wherever that is.
pub const TO_THE_END: u64 = i64::MAX as u64;

/// Record locks that one file has at most; guards the sentry's memory.
const MAX_RECORDS: usize = 65536;

/// Waiters that a search for a deadlock follows at most (the kernel's `MAX_DEADLK_ITERATIONS`).
const MAX_DEADLOCK_STEPS: usize = 10;

/// Who holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LockOwner {
    /// A process: the number of its descriptor table.
    Table(u64),
    /// An open file: its number.
    Description(u64),
}

/// A lock on a range of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordLock {
    /// First byte.
    pub start: u64,
    /// Last byte, or [`TO_THE_END`].
    pub end: u64,
    /// A write lock (else a read lock).
    pub exclusive: bool,
    /// Who holds it.
    pub owner: LockOwner,
    /// What `F_GETLK` calls the holder; -1 for open files.
    pub pid: i32,
}

impl RecordLock {
    fn overlaps(&self, other: &RecordLock) -> bool {
        self.start <= other.end && other.start <= self.end
    }

    fn conflicts_with(&self, other: &RecordLock) -> bool {
        self.owner != other.owner && self.overlaps(other) && (self.exclusive || other.exclusive)
    }
}

#[derive(Default)]
struct Locks {
    records: Vec<RecordLock>,
    /// Open files that hold the whole file, and whether exclusively.
    whole: Vec<(u64, bool)>,
    /// How many of [`WAITING`] wait for a record of this file.
    waiters: usize,
}

/// All locks on one file.
#[derive(Default)]
pub struct FileLocks {
    locks: Mutex<Locks>,
    /// Notified when a lock is released.
    released: WaitQueue,
}

/// A task that waits for a record lock of its process.
struct Waiter {
    /// The task's number.
    task: i32,
    /// The address of the [`FileLocks`].
    file: usize,
    wanted: RecordLock,
    /// Who holds a lock that is in the way.
    holder: LockOwner,
}

/// Who waits for whom, to find deadlocks. Locked inside of the locks of a file, which thus cannot change between the look at
/// them and the note of it: a waiter is here only while its holder is in its way.
static WAITING: Mutex<Vec<Waiter>> = Mutex::new(Vec::new());

impl FileLocks {
    /// The first lock that keeps `wanted` from being had.
    pub fn conflict(&self, wanted: &RecordLock) -> Option<RecordLock> {
        self.locks.lock().records.iter().find(|held| wanted.conflicts_with(held)).copied()
    }

    /// Whether `owner` can have so many more locks, for nobody else has any.
    pub(crate) fn are_only(&self, owner: LockOwner, more: usize) -> bool {
        let records = &self.locks.lock().records;
        records.len() + 2 * more <= MAX_RECORDS && records.iter().all(|held| held.owner == owner)
    }

    /// Takes a record lock, replacing what its owner holds of the range. The conflicting lock if that cannot be done now.
    /// `ENOLCK` beyond the bound on locks.
    pub fn lock(&self, wanted: RecordLock) -> Result<Result<(), RecordLock>, Errno> {
        let mut locks = self.locks.lock();
        if let Err(held) = locks.take(wanted)? {
            return Ok(Err(held));
        }
        // A write lock may have become a read lock.
        self.tell_release(locks);
        Ok(Ok(()))
    }

    /// Releases what `owner` holds of a range. `ENOLCK` if it is the middle of a lock, and two would be beyond the bound.
    pub fn unlock(&self, owner: LockOwner, start: u64, end: u64) -> Result<(), Errno> {
        let mut locks = self.locks.lock();
        let splits = |held: &RecordLock| held.owner == owner && held.start < start && held.end > end;
        if locks.records.len() >= MAX_RECORDS && locks.records.iter().any(splits) {
            return Err(Errno::ENOLCK);
        }
        locks.cut_out(&RecordLock { start, end, exclusive: false, owner, pid: 0 });
        self.tell_release(locks);
        Ok(())
    }

    /// Takes a record lock as `fcntl(F_SETLKW)` does: waits until it can be had. `EDEADLK` if the holder waits, at some
    /// remove, for the caller.
    pub fn lock_or_wait(&self, current: &mut Current, wanted: RecordLock) -> SysResult<()> {
        let task = current.task.tid();
        let result = current
            .block(&[(&self.released, PollEvents::IN)], None, |_| Ok(self.lock_or_note(task, wanted)?));
        let mut locks = self.locks.lock();
        if locks.waiters > 0 {
            self.forget_waiters(&mut locks, |waiter, _| waiter.task == task);
        }
        result
    }

    /// [`FileLocks::lock`], or `EAGAIN` and a note of what `task` waits for.
    fn lock_or_note(&self, task: i32, wanted: RecordLock) -> Result<(), Errno> {
        let mut locks = self.locks.lock();
        match locks.take(wanted)? {
            Ok(()) => {
                self.tell_release(locks);
                Ok(())
            }
            Err(held) => {
                // Open files wait for nothing: whoever has them can release their locks.
                if let LockOwner::Table(_) = wanted.owner {
                    let file = self.address();
                    wait_for(Waiter { task, file, wanted, holder: held.owner })?;
                    self.forget_waiters(&mut locks, |_, _| false);
                }
                Err(Errno::EAGAIN)
            }
        }
    }

    /// Wakes those who wait, of whom none waits any more for a lock that is gone.
    fn tell_release(&self, mut locks: MutexGuard<'_, Locks>) {
        if locks.waiters > 0 {
            self.forget_waiters(&mut locks, |waiter, records| {
                !records.iter().any(|held| held.owner == waiter.holder && waiter.wanted.conflicts_with(held))
            });
        }
        drop(locks);
        self.released.notify(PollEvents::IN);
    }

    /// Strikes out the waiters for this file of which `is_over` says so, who see its records, and counts the others.
    fn forget_waiters(&self, locks: &mut Locks, is_over: impl Fn(&Waiter, &[RecordLock]) -> bool) {
        let file = self.address();
        let mut left = 0;
        WAITING.lock().retain(|waiter| {
            let is_here = waiter.file == file;
            let stays = !is_here || !is_over(waiter, &locks.records);
            left += usize::from(is_here && stays);
            stays
        });
        locks.waiters = left;
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Takes the whole file for an open file, converting a lock that it has. `EWOULDBLOCK` if that cannot be done now (a lock
    /// that was to be converted is lost then, as on Linux).
    pub fn lock_whole(&self, file: u64, exclusive: bool) -> Result<(), Errno> {
        let mut locks = self.locks.lock();
        if locks.whole.contains(&(file, exclusive)) {
            return Ok(());
        }
        let before = locks.whole.len();
        locks.whole.retain(|(holder, _)| *holder != file);
        let had_one = locks.whole.len() != before;
        let is_free = locks.whole.iter().all(|(_, held_exclusively)| !exclusive && !held_exclusively);
        if is_free {
            locks.whole.push((file, exclusive));
        }
        drop(locks);
        if had_one {
            self.released.notify(PollEvents::IN);
        }
        if is_free { Ok(()) } else { Err(Errno::EWOULDBLOCK) }
    }

    /// [`FileLocks::lock_whole`], waiting until it can be done.
    pub fn lock_whole_or_wait(&self, current: &mut Current, file: u64, exclusive: bool) -> SysResult<()> {
        current.block(&[(&self.released, PollEvents::IN)], None, |_| Ok(self.lock_whole(file, exclusive)?))
    }

    /// Releases an open file's lock on the whole file.
    pub fn unlock_whole(&self, file: u64) {
        self.locks.lock().whole.retain(|(holder, _)| *holder != file);
        self.released.notify(PollEvents::IN);
    }

    /// Releases everything that `owner` holds: the process has closed the file, or the open file is gone.
    pub fn release(&self, owner: LockOwner) {
        let mut locks = self.locks.lock();
        locks.records.retain(|held| held.owner != owner);
        if let LockOwner::Description(file) = owner {
            locks.whole.retain(|(holder, _)| *holder != file);
        }
        self.tell_release(locks);
    }
}

impl Locks {
    /// As [`FileLocks::lock`], without telling anybody.
    fn take(&mut self, wanted: RecordLock) -> Result<Result<(), RecordLock>, Errno> {
        if let Some(held) = self.records.iter().find(|held| wanted.conflicts_with(held)) {
            return Ok(Err(*held));
        }
        if self.records.len() >= MAX_RECORDS {
            return Err(Errno::ENOLCK);
        }
        self.cut_out(&wanted);
        let mut merged = wanted;
        self.records.retain(|held| {
            let touches = held.owner == merged.owner
                && held.exclusive == merged.exclusive
                && held.end.saturating_add(1) >= merged.start
                && merged.end.saturating_add(1) >= held.start;
            if touches {
                merged.start = merged.start.min(held.start);
                merged.end = merged.end.max(held.end);
            }
            !touches
        });
        self.records.push(merged);
        Ok(Ok(()))
    }

    /// Takes the range of `cut` out of what its owner holds.
    fn cut_out(&mut self, cut: &RecordLock) {
        let mut kept = Vec::with_capacity(self.records.len() + 1);
        for held in self.records.drain(..) {
            if held.owner != cut.owner || !held.overlaps(cut) {
                kept.push(held);
                continue;
            }
            if held.start < cut.start {
                kept.push(RecordLock { end: cut.start - 1, ..held });
            }
            if held.end > cut.end {
                kept.push(RecordLock { start: cut.end + 1, ..held });
            }
        }
        self.records = kept;
    }
}

/// Notes that a task waits, in the place of what it waited for before. `EDEADLK` if the holder of the lock waits for the
/// task's process (the kernel's `posix_locks_deadlock`).
fn wait_for(waiter: Waiter) -> Result<(), Errno> {
    let mut waiting = WAITING.lock();
    waiting.retain(|other| other.task != waiter.task);
    let mut at = waiter.holder;
    for _ in 0..=MAX_DEADLOCK_STEPS {
        if at == waiter.wanted.owner {
            return Err(Errno::EDEADLK);
        }
        // Of several tasks of a process the one that came last.
        match waiting.iter().rev().find(|other| other.wanted.owner == at) {
            Some(next) => at = next.holder,
            None => break,
        }
    }
    waiting.push(waiter);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(owner: u64, start: u64, end: u64, exclusive: bool) -> RecordLock {
        RecordLock { start, end, exclusive, owner: LockOwner::Table(owner), pid: 1 }
    }

    #[test]
    fn locks_split_merge_and_conflict_as_posix_says() {
        let locks = FileLocks::default();
        assert_eq!(locks.lock(record(1, 0, 99, true)).unwrap(), Ok(()));
        assert!(locks.lock(record(2, 50, 60, false)).unwrap().is_err());
        locks.unlock(LockOwner::Table(1), 40, 59).unwrap();
        assert_eq!(locks.lock(record(2, 40, 59, true)).unwrap(), Ok(()));
        assert_eq!(locks.conflict(&record(3, 45, 45, false)).unwrap().owner, LockOwner::Table(2));
        locks.release(LockOwner::Table(2));
        assert_eq!(locks.lock(record(1, 40, 59, true)).unwrap(), Ok(()));
        assert_eq!(locks.locks.lock().records, [record(1, 0, 99, true)]);
    }

    #[test]
    fn the_bound_on_locks_holds_for_what_unlocking_leaves_too() {
        let locks = FileLocks::default();
        let many = (0..MAX_RECORDS as u64).map(|number| record(1, 10 * number, 10 * number + 4, true));
        locks.locks.lock().records.extend(many);
        assert_eq!(locks.unlock(LockOwner::Table(1), 2, 2), Err(Errno::ENOLCK));
        assert_eq!(locks.unlock(LockOwner::Table(1), 3, 4), Ok(()));
        assert_eq!(locks.unlock(LockOwner::Table(1), 10, 14), Ok(()));
        assert_eq!(locks.unlock(LockOwner::Table(1), 1, 1), Ok(()));
        assert_eq!(locks.locks.lock().records.len(), MAX_RECORDS);
    }

    /// What comes of a task's wish to lock a byte for a process.
    fn wait(locks: &FileLocks, task: i32, owner: u64, byte: u64) -> Result<(), Errno> {
        locks.lock_or_note(task, record(owner, byte, byte, true))
    }

    #[test]
    fn a_cycle_of_waiters_is_a_deadlock() {
        let locks = FileLocks::default();
        for owner in [1001, 1002, 1003, 1004] {
            locks.lock(record(owner, owner, owner, true)).unwrap().unwrap();
        }
        assert_eq!(wait(&locks, -1, 1001, 1002), Err(Errno::EAGAIN));
        assert_eq!(wait(&locks, -2, 1002, 1003), Err(Errno::EAGAIN));
        assert_eq!(wait(&locks, -3, 1003, 1001), Err(Errno::EDEADLK));
        assert_eq!(wait(&locks, -3, 1003, 1004), Err(Errno::EAGAIN));
        locks.forget_waiters(&mut locks.locks.lock(), |_, _| true);
    }

    #[test]
    fn nobody_waits_for_a_lock_that_is_gone() {
        let locks = FileLocks::default();
        locks.lock(record(1101, 0, 0, true)).unwrap().unwrap();
        locks.lock(record(1102, 1, 2, true)).unwrap().unwrap();
        assert_eq!(wait(&locks, -11, 1101, 1), Err(Errno::EAGAIN));
        // The first task has not run since.
        locks.unlock(LockOwner::Table(1102), 1, 1).unwrap();
        assert_eq!(wait(&locks, -12, 1102, 0), Err(Errno::EAGAIN));
        // Another task of the first process waits as well, and its first one comes on.
        assert_eq!(wait(&locks, -13, 1101, 2), Err(Errno::EDEADLK));
        assert_eq!(wait(&locks, -11, 1101, 1), Ok(()));
        locks.forget_waiters(&mut locks.locks.lock(), |_, _| true);
    }

    #[test]
    fn each_task_of_a_process_waits_for_itself() {
        let locks = FileLocks::default();
        locks.lock(record(1201, 0, 0, true)).unwrap().unwrap();
        locks.lock(record(1202, 1, 2, true)).unwrap().unwrap();
        locks.lock(record(1203, 3, 3, true)).unwrap().unwrap();
        assert_eq!(wait(&locks, -21, 1201, 1), Err(Errno::EAGAIN));
        assert_eq!(wait(&locks, -22, 1201, 3), Err(Errno::EAGAIN));
        locks.release(LockOwner::Table(1203));
        assert_eq!(wait(&locks, -23, 1202, 0), Err(Errno::EDEADLK));
        locks.forget_waiters(&mut locks.locks.lock(), |_, _| true);
    }

    #[test]
    fn whole_file_locks_exclude_each_other_by_open_file() {
        let locks = FileLocks::default();
        assert_eq!(locks.lock_whole(1, false), Ok(()));
        assert_eq!(locks.lock_whole(2, false), Ok(()));
        assert_eq!(locks.lock_whole(1, true), Err(Errno::EWOULDBLOCK));
        locks.unlock_whole(2);
        assert_eq!(locks.lock_whole(1, true), Ok(()));
    }
}
