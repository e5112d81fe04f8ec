//! Futexes (`futex(2)`, `kernel/futex/`).
//!
//! Waiters hang in buckets by their key. A waiter checks the word's value and joins its bucket under the bucket's lock; a waker takes
//! the same lock after it has changed the word: so either the waiter sees the new value, or the waker sees the waiter.
//!
//! Private futexes may be the host's instead ([`host`]).

mod host;
mod pi;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use parking_lot::{Mutex, MutexGuard};
use usk_abi::Errno;

use crate::mm::FutexKey;
use crate::task::{Current, Task};
use crate::time::Deadline;
use crate::wait::{Waiter, Wake};
use crate::{Restart, SysResult, UserPtr};

pub(crate) use host::may_go_to_host;
pub use pi::{OwnerState, cmp_requeue_pi, lock_pi, unlock_pi, wait_requeue_pi};

/// `FUTEX_BITSET_MATCH_ANY`
pub const MATCH_ANY: u32 = u32::MAX;
/// `FUTEX_WAITERS`: somebody waits for the robust or priority-inheriting mutex.
const FUTEX_WAITERS: u32 = 0x8000_0000;
/// `FUTEX_OWNER_DIED`
const FUTEX_OWNER_DIED: u32 = 0x4000_0000;
/// `FUTEX_TID_MASK`
const FUTEX_TID_MASK: u32 = 0x3fff_ffff;
/// `ROBUST_LIST_LIMIT`: most entries of a robust list that are looked at.
const ROBUST_LIST_LIMIT: usize = 2048;

const BUCKET_COUNT: usize = 256;

struct Waiting {
    key: FutexKey,
    bitset: u32,
    waiter: Arc<Waiter>,
    slot: Arc<Slot>,
    kind: Kind,
}

/// What a sleeper waits for.
enum Kind {
    /// To be woken.
    Plain,
    /// To be moved to a priority-inheriting lock.
    Requeue { heir: pi::Heir, to: FutexKey },
    /// To be handed the lock that `owner` has.
    Pi { heir: pi::Heir, owner: Arc<Task> },
}

/// What a sleeper and its waker share: in which bucket it hangs, or that it has been woken. Changed under that bucket's lock.
struct Slot {
    place: Mutex<Place>,
    /// It was in another bucket before.
    moved: AtomicBool,
}

impl Slot {
    fn new(index: usize) -> Arc<Self> {
        Arc::new(Slot { place: Mutex::new(Place::In(index)), moved: AtomicBool::new(false) })
    }

    fn move_to(&self, index: usize) {
        *self.place.lock() = Place::In(index);
        self.moved.store(true, Ordering::Relaxed);
    }

    fn was_moved(&self) -> bool {
        self.moved.load(Ordering::Relaxed)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    In(usize),
    Woken,
}

type Bucket = Mutex<Vec<Waiting>>;

static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);
static BUCKETS: LazyLock<Vec<Bucket>> =
    LazyLock::new(|| (0..BUCKET_COUNT).map(|_| Bucket::default()).collect());

fn bucket_of(key: &FutexKey) -> usize {
    (HASHER.hash_one(key) as usize) % BUCKET_COUNT
}

fn key(task: &Task, address: u64, private: bool) -> Result<FutexKey, Errno> {
    if !address.is_multiple_of(4) {
        return Err(Errno::EINVAL);
    }
    task.mm().futex_key(address, private)
}

fn load(current: &Current, address: u64) -> Result<u32, Errno> {
    UserPtr::<u32>::new(address).read(current.space())
}

/// `FUTEX_WAIT` and `FUTEX_WAIT_BITSET`: sleeps while the word at `address` holds `expected`, until woken. `EAGAIN` if
/// it holds something else, `ETIMEDOUT` after the deadline.
pub fn wait(
    current: &mut Current,
    address: u64,
    private: bool,
    expected: u32,
    bitset: u32,
    deadline: Option<Deadline>,
) -> SysResult<()> {
    if bitset == 0 {
        return Err(Errno::EINVAL.into());
    }
    if private && current.thread.has_host_futexes() {
        return host::wait(current, address, expected, bitset, deadline);
    }
    let key = key(&current.task, address, private)?;
    let waiter = current.task.waiter.clone();
    let index = bucket_of(&key);
    let slot = Slot::new(index);
    waiter.arm();
    {
        let mut bucket = BUCKETS[index].lock();
        if load(current, address)? != expected {
            return Err(Errno::EAGAIN.into());
        }
        let (waiter, slot) = (waiter.clone(), slot.clone());
        bucket.push(Waiting { key, bitset, waiter, slot, kind: Kind::Plain });
    }
    loop {
        let wake = current.sleep_at(&waiter, deadline, false);
        if *slot.place.lock() == Place::Woken {
            return Ok(());
        }
        match wake {
            // Something else used the waiter; sleep on.
            Wake::Notified => {}
            Wake::TimedOut if leave(&slot) => return Err(Errno::ETIMEDOUT.into()),
            Wake::Interrupted if leave(&slot) => return Err(Restart::IfHandlerAllows.into()),
            Wake::TimedOut | Wake::Interrupted => return Ok(()),
        }
    }
}

/// A word to wait on.
#[derive(Clone, Copy, Debug)]
pub struct Word {
    /// Its address.
    pub address: u64,
    /// Whether it is private to the address space.
    pub private: bool,
    /// What it must hold.
    pub expected: u32,
}

/// `futex_waitv(2)`: sleeps while every word holds what is expected, until one of them is woken; returns which.
pub fn wait_any(current: &mut Current, words: &[Word], deadline: Option<Deadline>) -> SysResult<usize> {
    let keys = words.iter().map(|word| key(&current.task, word.address, word.private));
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    let is_private = words.iter().any(|word| word.private) && current.thread.has_host_futexes();
    let _presence = is_private.then(|| host::SleepsHere::new(current.task.mm()));
    let waiter = current.task.waiter.clone();
    let mut slots: Vec<Arc<Slot>> = Vec::with_capacity(words.len());
    waiter.arm();
    for (word, key) in words.iter().zip(keys) {
        let index = bucket_of(&key);
        let mut bucket = BUCKETS[index].lock();
        let refused = match load(current, word.address) {
            Ok(value) if value == word.expected => None,
            Ok(_) => Some(Errno::EAGAIN),
            Err(errno) => Some(errno),
        };
        if let Some(errno) = refused {
            drop(bucket);
            // Somebody may have been faster and woken one that was queued already.
            return leave_all(&slots).ok_or(errno.into());
        }
        let slot = Slot::new(index);
        slots.push(slot.clone());
        bucket.push(Waiting { key, bitset: MATCH_ANY, waiter: waiter.clone(), slot, kind: Kind::Plain });
    }
    loop {
        let wake = current.sleep_at(&waiter, deadline, false);
        let is_woken = |slot: &Arc<Slot>| *slot.place.lock() == Place::Woken;
        let failure = match wake {
            _ if slots.iter().any(is_woken) => Errno::EAGAIN.into(),
            // Something else used the waiter; sleep on.
            Wake::Notified => continue,
            Wake::TimedOut => Errno::ETIMEDOUT.into(),
            Wake::Interrupted => Restart::IfHandlerAllows.into(),
        };
        return leave_all(&slots).ok_or(failure);
    }
}

/// Takes sleepers out of their buckets. The last that has been woken, if any has.
fn leave_all(slots: &[Arc<Slot>]) -> Option<usize> {
    let mut woken = None;
    for (index, slot) in slots.iter().enumerate() {
        if !leave(slot) {
            woken = Some(index);
        }
    }
    woken
}

/// Takes a sleeper out of its bucket. False if it has been woken meanwhile.
fn leave(slot: &Arc<Slot>) -> bool {
    loop {
        let Place::In(index) = *slot.place.lock() else { return false };
        let mut bucket = BUCKETS[index].lock();
        let before = bucket.len();
        bucket.retain(|waiting| !Arc::ptr_eq(&waiting.slot, slot));
        if bucket.len() < before {
            return true;
        }
        // It was requeued to another bucket between the two locks; look again.
    }
}

/// Takes up to `count` sleepers that fit out of a bucket and wakes them. `EINVAL` if one waits for a lock, which waking does not
/// give.
fn wake_in(bucket: &mut Vec<Waiting>, key: &FutexKey, bitset: u32, count: u32) -> Result<u32, Errno> {
    if bucket.iter().any(|waiting| waiting.key == *key && !matches!(waiting.kind, Kind::Plain)) {
        return Err(Errno::EINVAL);
    }
    let mut woken = 0;
    bucket.retain(|waiting| {
        if woken == count || waiting.key != *key || waiting.bitset & bitset == 0 {
            return true;
        }
        *waiting.slot.place.lock() = Place::Woken;
        waiting.waiter.wake();
        woken += 1;
        false
    });
    Ok(woken)
}

/// `FUTEX_WAKE` and `FUTEX_WAKE_BITSET`: wakes up to `count` sleepers; returns how many.
pub fn wake(current: &mut Current, address: u64, private: bool, count: u32, bitset: u32) -> SysResult<u32> {
    if bitset == 0 {
        return Err(Errno::EINVAL.into());
    }
    if private && current.thread.has_host_futexes() {
        return host::wake(current, address, count, bitset);
    }
    Ok(wake_here(&current.task, address, private, count, bitset)?)
}

fn wake_here(task: &Task, address: u64, private: bool, count: u32, bitset: u32) -> Result<u32, Errno> {
    let key = key(task, address, private)?;
    wake_in(&mut BUCKETS[bucket_of(&key)].lock(), &key, bitset, count)
}

/// Wakes one sleeper at `address`: what the end of a thread does. The address may be nonsense; then nobody sleeps there.
pub(crate) fn wake_address(task: &Task, address: u64) {
    let _ = wake_here(task, address, false, 1, MATCH_ANY);
}

/// Locks two buckets in the order of their indexes; the second is `None` if they are the same.
fn lock_two(
    first: usize,
    second: usize,
) -> (MutexGuard<'static, Vec<Waiting>>, Option<MutexGuard<'static, Vec<Waiting>>>) {
    let (low, high) = (first.min(second), first.max(second));
    let low_guard = BUCKETS[low].lock();
    if low == high {
        return (low_guard, None);
    }
    let high_guard = BUCKETS[high].lock();
    if first == low { (low_guard, Some(high_guard)) } else { (high_guard, Some(low_guard)) }
}

/// What `FUTEX_REQUEUE` and `FUTEX_CMP_REQUEUE` are to do.
#[derive(Clone, Copy, Debug)]
pub struct Requeue {
    /// The word waited on.
    pub from: u64,
    /// The word to wait on from now on.
    pub to: u64,
    /// Whether both are private.
    pub private: bool,
    /// How many to wake.
    pub wake: u32,
    /// How many of the rest to move.
    pub requeue: u32,
    /// What the first word must hold; `None` does not look.
    pub expected: Option<u32>,
}

/// Wakes some sleepers and moves others. Returns the count of both. (The manual page promises less for `FUTEX_REQUEUE`.)
pub fn requeue(current: &mut Current, request: Requeue) -> SysResult<u32> {
    if request.private && current.thread.has_host_futexes() {
        return host::requeue(current, request);
    }
    let (woken, moved) = requeue_here(current, request)?;
    Ok(woken + moved)
}

/// How many it has woken, and how many moved.
fn requeue_here(current: &Current, request: Requeue) -> Result<(u32, u32), Errno> {
    let from_key = key(&current.task, request.from, request.private)?;
    let to_key = key(&current.task, request.to, request.private)?;
    let (from_index, to_index) = (bucket_of(&from_key), bucket_of(&to_key));
    let (mut from, mut to) = lock_two(from_index, to_index);
    if let Some(expected) = request.expected
        && load(current, request.from)? != expected
    {
        return Err(Errno::EAGAIN);
    }
    let woken = wake_in(&mut from, &from_key, MATCH_ANY, request.wake)?;
    let mut moved = Vec::new();
    if from_key != to_key {
        let mut index = 0;
        while index < from.len() && (moved.len() as u64) < u64::from(request.requeue) {
            if from[index].key == from_key {
                let mut waiting = from.remove(index);
                waiting.key = to_key;
                waiting.slot.move_to(to_index);
                moved.push(waiting);
            } else {
                index += 1;
            }
        }
    }
    let moved_count = moved.len() as u32;
    match &mut to {
        Some(to) => to.extend(moved),
        None => from.extend(moved),
    }
    Ok((woken, moved_count))
}

/// `FUTEX_WAKE_OP`: changes the second word atomically, wakes sleepers on the first, and, if the second word's old value compares
/// so, on the second. `encoded` is the operation as the manual page packs it.
pub fn wake_op(
    current: &mut Current,
    words: (u64, u64),
    private: bool,
    counts: (u32, u32),
    encoded: u32,
) -> SysResult<u32> {
    if private && current.thread.has_host_futexes() {
        return host::wake_op(current, words, counts, encoded);
    }
    let first_key = key(&current.task, words.0, private)?;
    let second_key = key(&current.task, words.1, private)?;
    let operation = WakeOperation::decode(encoded)?;
    // Before the buckets are locked: a guest may make it take long. Who begins to wait in between has seen the new value, and whoever
    // waited before comes first.
    let old = operation.carry_out(current, words.1)?;
    let (mut first_bucket, mut second_bucket) = lock_two(bucket_of(&first_key), bucket_of(&second_key));
    let mut woken = wake_in(&mut first_bucket, &first_key, MATCH_ANY, counts.0)?;
    if operation.compares(old) {
        let bucket = second_bucket.as_mut().unwrap_or(&mut first_bucket);
        woken += wake_in(bucket, &second_key, MATCH_ANY, counts.1)?;
    }
    Ok(woken)
}

struct WakeOperation {
    operation: u32,
    operand: u32,
    comparison: u32,
    comparand: i32,
}

impl WakeOperation {
    fn decode(encoded: u32) -> Result<Self, Errno> {
        let shift_operand = encoded & 0x8000_0000 != 0;
        let operation = encoded >> 28 & 7;
        let comparison = encoded >> 24 & 15;
        let sign_extended = |value: u32| ((value << 20) as i32) >> 20;
        let raw = sign_extended(encoded >> 12 & 0xfff);
        let operand = if shift_operand { 1u32 << (raw as u32 & 31) } else { raw as u32 };
        if operation > 4 || comparison > 5 {
            return Err(Errno::ENOSYS);
        }
        Ok(WakeOperation { operation, operand, comparison, comparand: sign_extended(encoded & 0xfff) })
    }

    fn apply(&self, old: u32) -> u32 {
        match self.operation {
            0 => self.operand,
            1 => old.wrapping_add(self.operand),
            2 => old | self.operand,
            3 => old & !self.operand,
            _ => old ^ self.operand,
        }
    }

    /// Changes the word, and returns what it was.
    fn carry_out(&self, current: &Current, address: u64) -> Result<u32, Errno> {
        let mut old = load(current, address)?;
        loop {
            let seen = current.space().compare_exchange(address, old, self.apply(old))?;
            if seen == old {
                return Ok(old);
            }
            old = seen;
        }
    }

    fn compares(&self, old: u32) -> bool {
        let old = old as i32;
        match self.comparison {
            0 => old == self.comparand,
            1 => old != self.comparand,
            2 => old < self.comparand,
            3 => old <= self.comparand,
            4 => old > self.comparand,
            _ => old >= self.comparand,
        }
    }
}

/// Gives up the mutexes that an ending task still holds: marks the robust ones and wakes a waiter of each
/// (`exit_robust_list`), and hands on those that inherit priorities. `goes_on` says that the task executes another program.
pub(crate) fn release_mutexes(current: &Current, goes_on: bool) {
    release_robust_list(current);
    pi::release_owned(&current.task, goes_on);
}

fn release_robust_list(current: &Current) {
    let head = current.task.robust_list();
    // Memory that ends with the task: nobody would see the marks, nor waits there. Most processes hold no mutex of others'.
    if head == 0 || current.task.mm().is_nobody_elses() {
        return;
    }
    // The list is the guest's, and so is its fate if it is broken: every error just ends the walk.
    let _ = walk_robust_list(current, head);
}

fn walk_robust_list(current: &Current, head: u64) -> Result<(), Errno> {
    let space = current.space();
    // struct robust_list_head: next entry, offset from an entry to its futex word, pending entry. Bit 0 marks a
    // priority-inheriting one.
    let [mut entry, offset, pending]: [u64; 3] = UserPtr::new(head).read(space)?;
    for _ in 0..ROBUST_LIST_LIMIT {
        if entry & !1 == head {
            break;
        }
        let next: u64 = UserPtr::new(entry & !1).read(space)?;
        if entry & !1 != pending & !1 {
            mark_owner_dead(current, (entry & !1).wrapping_add(offset), entry & 1 != 0, false)?;
        }
        entry = next;
    }
    if pending & !1 != 0 {
        mark_owner_dead(current, (pending & !1).wrapping_add(offset), pending & 1 != 0, true)?;
    }
    Ok(())
}

fn mark_owner_dead(current: &Current, address: u64, is_pi: bool, is_pending: bool) -> Result<(), Errno> {
    let tid = current.task.tid() as u32;
    loop {
        let value = load(current, address)?;
        if is_pending && !is_pi && value & FUTEX_TID_MASK == 0 {
            wake_address(&current.task, address);
            return Ok(());
        }
        if value & FUTEX_TID_MASK != tid {
            return Ok(());
        }
        let dead = value & FUTEX_WAITERS | FUTEX_OWNER_DIED;
        if current.space().compare_exchange(address, value, dead)? == value {
            // Priority-inheriting ones are handed on.
            if !is_pi && value & FUTEX_WAITERS != 0 {
                wake_address(&current.task, address);
            }
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wake_operations_decode_as_the_manual_page_packs_them() {
        // FUTEX_OP(FUTEX_OP_ADD, -1, FUTEX_OP_CMP_GT, 1)
        let operation = WakeOperation::decode(1 << 28 | 4 << 24 | 0xfff << 12 | 1).unwrap();
        assert_eq!(operation.apply(5), 4);
        assert!(operation.compares(2));
        assert!(!operation.compares(1));
        // The operand as a shift.
        assert_eq!(WakeOperation::decode(0x8000_0000 | 2 << 28 | 4 << 12).unwrap().apply(0), 16);
        assert!(WakeOperation::decode(7 << 28).is_err());
    }
}
