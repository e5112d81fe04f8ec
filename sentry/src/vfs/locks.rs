//! Advisory locks on a file: record locks of processes (POSIX) and of open files (OFD), and whole-file locks (`flock(2)`).

use hashbrown::HashMap;
use parking_lot::Mutex;
use usk_abi::{Errno, PollEvents};

use crate::SysResult;
use crate::task::Current;
use crate::wait::WaitQueue;

/// The last byte of a range that goes to the end of the file, wherever that is.
pub const TO_THE_END: u64 = i64::MAX as u64;

/// Record locks that one file has at most; guards the sentry's memory.
const MAX_RECORDS: usize = 65536;

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
}

/// All locks on one file.
#[derive(Default)]
pub struct FileLocks {
    locks: Mutex<Locks>,
    /// Notified when a lock is released.
    released: WaitQueue,
}

/// Which process waits for whom with a record lock, to find deadlocks. Processes are numbers of descriptor tables.
static WAITING: Mutex<Option<HashMap<u64, LockOwner>>> = Mutex::new(None);

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
        if let Some(held) = locks.records.iter().find(|held| wanted.conflicts_with(held)) {
            return Ok(Err(*held));
        }
        if locks.records.len() >= MAX_RECORDS {
            return Err(Errno::ENOLCK);
        }
        locks.cut_out(&wanted);
        let mut merged = wanted;
        locks.records.retain(|held| {
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
        locks.records.push(merged);
        drop(locks);
        // A write lock may have become a read lock.
        self.released.notify(PollEvents::IN);
        Ok(Ok(()))
    }

    /// Releases what `owner` holds of a range.
    pub fn unlock(&self, owner: LockOwner, start: u64, end: u64) {
        self.locks.lock().cut_out(&RecordLock { start, end, exclusive: false, owner, pid: 0 });
        self.released.notify(PollEvents::IN);
    }

    /// Takes a record lock as `fcntl(F_SETLKW)` does: waits until it can be had. `EDEADLK` if the holder waits, at some
    /// remove, for the caller.
    pub fn lock_or_wait(&self, current: &mut Current, wanted: RecordLock) -> SysResult<()> {
        let table = match wanted.owner {
            LockOwner::Table(table) => Some(table),
            LockOwner::Description(_) => None,
        };
        let result = current.block(&[(&self.released, PollEvents::IN)], None, |_| {
            let Err(held) = self.lock(wanted)? else { return Ok(()) };
            if let Some(table) = table {
                wait_for(table, held.owner)?;
            }
            Err(Errno::EAGAIN.into())
        });
        if let (Some(table), Some(waiting)) = (table, WAITING.lock().as_mut()) {
            waiting.remove(&table);
        }
        result
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
        drop(locks);
        self.released.notify(PollEvents::IN);
    }
}

impl Locks {
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

/// Notes that the process `table` waits for `holder`. `EDEADLK` if `holder` waits for it.
fn wait_for(table: u64, holder: LockOwner) -> Result<(), Errno> {
    let mut waiting = WAITING.lock();
    let waiting = waiting.get_or_insert_default();
    let mut at = holder;
    // A chain cannot be longer than there are waiters.
    for _ in 0..=waiting.len() {
        let LockOwner::Table(next) = at else { break };
        if next == table {
            waiting.remove(&table);
            return Err(Errno::EDEADLK);
        }
        match waiting.get(&next) {
            Some(next) => at = *next,
            None => break,
        }
    }
    waiting.insert(table, holder);
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
        locks.unlock(LockOwner::Table(1), 40, 59);
        assert_eq!(locks.lock(record(2, 40, 59, true)).unwrap(), Ok(()));
        assert_eq!(locks.conflict(&record(3, 45, 45, false)).unwrap().owner, LockOwner::Table(2));
        locks.release(LockOwner::Table(2));
        assert_eq!(locks.lock(record(1, 40, 59, true)).unwrap(), Ok(()));
        assert_eq!(locks.locks.lock().records, [record(1, 0, 99, true)]);
    }

    #[test]
    fn a_cycle_of_waiters_is_a_deadlock() {
        assert_eq!(wait_for(1001, LockOwner::Table(1002)), Ok(()));
        assert_eq!(wait_for(1002, LockOwner::Table(1003)), Ok(()));
        assert_eq!(wait_for(1003, LockOwner::Table(1001)), Err(Errno::EDEADLK));
        assert_eq!(wait_for(1003, LockOwner::Table(1004)), Ok(()));
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
