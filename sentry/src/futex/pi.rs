//! Priority-inheriting futexes (`futex(2)`, "Priority-inheritance futexes"; `kernel/futex/pi.c`, `requeue.c`).
//!
//! The word holds the owner's thread identifier. Who finds it held queues up in the word's bucket, names the owner, and is handed the
//! lock by whoever unlocks it, or by the owner's end. Priorities are not lent: the host schedules the threads.
//!
//! [`OwnerState`] keeps a sleeper from queueing up behind a thread that has ended: the end of a thread first closes the state,
//! then looks through the buckets, and a sleeper marks the state under its bucket's lock before it queues up.
//!
//! The word is exchanged with its bucket locked, which words of other address spaces hash to: whoever locks a bucket has the
//! word's [`Exchanger`] before, for which a guest can make one wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use hashbrown::HashMap;
use parking_lot::Mutex;
use usk_abi::Errno;
use usk_platform::{AddressSpace, Exchanger};

use super::{
    BUCKETS, FUTEX_OWNER_DIED, FUTEX_TID_MASK, FUTEX_WAITERS, Kind, Place, Slot, Waiting, bucket_of, key,
    leave, load, lock_two,
};
use crate::mm::FutexKey;
use crate::task::{Current, Task};
use crate::time::Deadline;
use crate::wait::Wake;
use crate::{Restart, SysResult, UserPtr};

/// So often a word may change between a look at it and its exchange (`FUTEX_MAX_LOOPS`): each time others wait for its bucket.
const MOST_TRIES: usize = 128;

/// Whether anybody may wait for a thread as an owner.
#[derive(Debug, Default)]
pub struct OwnerState(AtomicU8);

const NOBODY_WAITS: u8 = 0;
const SOMEBODY_WAITS: u8 = 1;
const ENDED: u8 = 2;

impl OwnerState {
    /// Somebody is about to queue up. False if the thread has ended.
    fn mark(&self) -> bool {
        let mark = |state| (state != ENDED).then_some(SOMEBODY_WAITS);
        self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, mark).is_ok()
    }

    /// The thread ends. True if somebody may wait for it.
    fn end(&self) -> bool {
        self.0.swap(ENDED, Ordering::SeqCst) == SOMEBODY_WAITS
    }

    /// The thread goes on with another program.
    fn begin(&self) {
        self.0.store(NOBODY_WAITS, Ordering::SeqCst);
    }
}

/// A sleeper that is to own the word.
#[derive(Clone)]
pub(super) struct Heir {
    /// The sleeper.
    task: Arc<Task>,
    /// Where it sees the word, and in which memory.
    address: u64,
    space: Arc<dyn AddressSpace>,
}

impl Heir {
    fn of(task: &Arc<Task>, address: u64) -> Self {
        Heir { task: task.clone(), address, space: task.mm().space.clone() }
    }

    fn tid(&self) -> u32 {
        self.task.tid().unsigned_abs()
    }
}

/// Which thread waits for which, to find deadlocks. Taken inside a bucket's lock.
static WAITS_FOR: Mutex<Option<HashMap<i32, i32>>> = Mutex::new(None);

/// Notes that `waiter` waits for `owner`. `EDEADLK` if the owner waits, at some remove, for it.
fn wait_for(waiter: i32, owner: i32) -> Result<(), Errno> {
    let mut chains = WAITS_FOR.lock();
    let chains = chains.get_or_insert_default();
    let mut at = owner;
    // A chain cannot be longer than there are waiters.
    for _ in 0..=chains.len() {
        if at == waiter {
            return Err(Errno::EDEADLK);
        }
        match chains.get(&at) {
            Some(next) => at = *next,
            None => break,
        }
    }
    chains.insert(waiter, owner);
    Ok(())
}

fn wait_no_more(waiter: i32) {
    if let Some(chains) = WAITS_FOR.lock().as_mut() {
        chains.remove(&waiter);
    }
}

/// What became of an attempt to have the lock.
enum Attempt {
    /// The word names the new owner.
    Locked,
    /// This thread has it, and knows that somebody may wait for it; the word says so too.
    HeldBy(Arc<Task>),
}

/// Takes the lock for `heir` or marks it as waited for (`futex_lock_pi_atomic`). `bucket` is the word's, locked; `exchange` is of the heir's
/// memory. With `is_contended` the word says that there are waiters also if it was free.
fn attempt(
    bucket: &[Waiting],
    key: &FutexKey,
    heir: &Heir,
    exchange: &mut Exchanger<'_>,
    is_contended: bool,
) -> Result<Attempt, Errno> {
    for _ in 0..MOST_TRIES {
        let value: u32 = UserPtr::new(heir.address).read(&*heir.space)?;
        let owner = value & FUTEX_TID_MASK;
        if owner == heir.tid() {
            return Err(Errno::EDEADLK);
        }
        let queued = match bucket.iter().find(|waiting| waiting.key == *key).map(|waiting| &waiting.kind) {
            None => None,
            Some(Kind::Pi { owner, .. }) => Some(owner.clone()),
            Some(_) => return Err(Errno::EINVAL),
        };
        if let Some(known) = &queued {
            // Between the word's release by an owner that dies and the handing over, the word names nobody.
            let is_passing = owner == 0 && value & FUTEX_OWNER_DIED != 0;
            if owner != known.tid().unsigned_abs() && !is_passing {
                return Err(Errno::EINVAL);
            }
        } else if owner == 0 {
            let waiters = if is_contended { FUTEX_WAITERS } else { 0 };
            let taken = value & FUTEX_OWNER_DIED | waiters | heir.tid();
            if exchange(heir.address, value, taken)? == value {
                return Ok(Attempt::Locked);
            }
            continue;
        }
        let holder = match queued {
            Some(known) => known,
            None => heir.task.kernel.find_task(i32::try_from(owner).map_err(|_| Errno::ESRCH)?)?,
        };
        // First: once the word says that somebody waits, the holder may end, and must find out who.
        if !holder.pi_owner.mark() {
            return Err(Errno::ESRCH);
        }
        if exchange(heir.address, value, value | FUTEX_WAITERS)? == value {
            return Ok(Attempt::HeldBy(holder));
        }
    }
    Err(Errno::EAGAIN)
}

/// Queues a sleeper up behind `holder`. The bucket is locked by the caller, who pushes what is returned.
fn queue_up(heir: Heir, holder: Arc<Task>) -> Result<Kind, Errno> {
    wait_for(heir.task.tid(), holder.tid())?;
    Ok(Kind::Pi { heir, owner: holder })
}

/// `FUTEX_LOCK_PI` and its kin: takes the lock, waiting for it until the deadline, or, with `only_try`, not at all (`EAGAIN`).
/// `EDEADLK` if that cannot end, `ESRCH` if the word names a thread that does not exist.
pub fn lock_pi(
    current: &mut Current,
    address: u64,
    private: bool,
    deadline: Option<Deadline>,
    only_try: bool,
) -> SysResult<()> {
    let key = key(&current.task, address, private)?;
    let heir = Heir::of(&current.task, address);
    let index = bucket_of(&key);
    let waiter = current.task.waiter.clone();
    let slot = Slot::new(index);
    let space = heir.space.clone();
    waiter.arm();
    {
        let mut exchange = space.exchanger()?;
        let mut bucket = BUCKETS[index].lock();
        let holder = match attempt(&bucket, &key, &heir, &mut exchange, false)? {
            Attempt::Locked => return Ok(()),
            Attempt::HeldBy(_) if only_try => return Err(Errno::EAGAIN.into()),
            Attempt::HeldBy(holder) => holder,
        };
        let kind = queue_up(heir, holder)?;
        bucket.push(Waiting { key, bitset: super::MATCH_ANY, waiter, slot: slot.clone(), kind });
    }
    match sleep(current, &slot, deadline) {
        Slept::Woken => Ok(()),
        Slept::TimedOut => Err(Errno::ETIMEDOUT.into()),
        Slept::Interrupted => Err(Restart::Always.into()),
    }
}

enum Slept {
    Woken,
    TimedOut,
    Interrupted,
}

/// Sleeps until woken, which means that the lock is ours.
fn sleep(current: &mut Current, slot: &Arc<Slot>, deadline: Option<Deadline>) -> Slept {
    let waiter = current.task.waiter.clone();
    let slept = loop {
        let wake = current.sleep_at(&waiter, deadline, false);
        if *slot.place.lock() == Place::Woken {
            break Slept::Woken;
        }
        match wake {
            Wake::Notified => {}
            Wake::TimedOut if leave(slot) => break Slept::TimedOut,
            Wake::Interrupted if leave(slot) => break Slept::Interrupted,
            Wake::TimedOut | Wake::Interrupted => break Slept::Woken,
        }
    };
    wait_no_more(current.task.tid());
    slept
}

/// Makes the first sleeper on `key` the owner, if there is one: `write` puts the new owner into the word. False, with nothing changed, if
/// `write` says so.
fn hand_over(
    bucket: &mut Vec<Waiting>,
    key: &FutexKey,
    write: impl FnOnce(&Heir) -> Result<bool, Errno>,
) -> Result<bool, Errno> {
    let Some(index) = bucket.iter().position(|waiting| waiting.key == *key) else { return Ok(false) };
    let Kind::Pi { heir, .. } = &bucket[index].kind else { return Ok(false) };
    let heir = heir.clone();
    if !write(&heir)? {
        return Ok(false);
    }
    let woken = bucket.remove(index);
    wait_no_more(heir.task.tid());
    for waiting in bucket.iter_mut().filter(|waiting| waiting.key == *key) {
        if let Kind::Pi { heir: other, owner } = &mut waiting.kind {
            *owner = heir.task.clone();
            heir.task.pi_owner.mark();
            // It waited already, and for the one who is now the owner's predecessor: there is no new cycle.
            let _ = wait_for(other.task.tid(), heir.task.tid());
        }
    }
    *woken.slot.place.lock() = Place::Woken;
    woken.waiter.wake();
    Ok(true)
}

/// `FUTEX_UNLOCK_PI`. `EPERM` unless the caller is the owner.
pub fn unlock_pi(current: &Current, address: u64, private: bool) -> Result<(), Errno> {
    let tid = current.task.tid().unsigned_abs();
    if load(current, address)? & FUTEX_TID_MASK != tid {
        return Err(Errno::EPERM);
    }
    let key = key(&current.task, address, private)?;
    let mut exchange = current.space().exchanger()?;
    let mut bucket = BUCKETS[bucket_of(&key)].lock();
    for _ in 0..MOST_TRIES {
        let value = load(current, address)?;
        if value & FUTEX_TID_MASK != tid {
            return Err(Errno::EPERM);
        }
        let mut store = |next| Ok(exchange(address, value, next)? == value);
        let is_done = match bucket.iter().find(|waiting| waiting.key == key).map(|waiting| &waiting.kind) {
            None => store(0)?,
            Some(Kind::Pi { owner, .. }) if Arc::ptr_eq(owner, &current.task) => {
                hand_over(&mut bucket, &key, |heir| store(FUTEX_WAITERS | heir.tid()))?
            }
            Some(_) => return Err(Errno::EINVAL),
        };
        if is_done {
            return Ok(());
        }
    }
    Err(Errno::EAGAIN)
}

/// The end of a thread, or of its program: what it still owns goes to the first who waits (`exit_pi_state_list`), with a word
/// about it. `goes_on` says that the thread executes another program.
pub(super) fn release_owned(task: &Arc<Task>, goes_on: bool) {
    if task.pi_owner.end() {
        for bucket in BUCKETS.iter() {
            loop {
                let owned = first_owned(&bucket.lock(), task);
                let Some((key, space)) = owned else { break };
                let mut exchange = space.exchanger();
                let mut bucket = bucket.lock();
                let is_still_first = first_owned(&bucket, task)
                    .is_some_and(|(now, memory)| now == key && Arc::ptr_eq(&memory, &space));
                if !is_still_first {
                    continue;
                }
                // Where the word is gone, the heir is woken all the same.
                let write = |heir: &Heir| {
                    let _ = exchange.as_mut().map(|exchange| write_inheritance(heir, exchange));
                    Ok(true)
                };
                if hand_over(&mut bucket, &key, write) != Ok(true) {
                    break;
                }
            }
        }
    }
    if goes_on {
        task.pi_owner.begin();
    }
}

/// Puts the heir of a dead owner into the word.
fn write_inheritance(heir: &Heir, exchange: &mut Exchanger<'_>) -> Result<(), Errno> {
    let dead = FUTEX_WAITERS | FUTEX_OWNER_DIED | heir.tid();
    for _ in 0..MOST_TRIES {
        let value: u32 = UserPtr::new(heir.address).read(&*heir.space)?;
        if exchange(heir.address, value, dead)? == value {
            return Ok(());
        }
    }
    Err(Errno::EAGAIN)
}

/// A word that the task owns and others wait for, and the memory of the first of these.
fn first_owned(bucket: &[Waiting], task: &Arc<Task>) -> Option<(FutexKey, Arc<dyn AddressSpace>)> {
    let is_owned = |kind: &Kind| matches!(kind, Kind::Pi { owner, .. } if Arc::ptr_eq(owner, task));
    let key = bucket.iter().find(|waiting| is_owned(&waiting.kind))?.key;
    match &bucket.iter().find(|waiting| waiting.key == key)?.kind {
        Kind::Pi { heir, .. } => Some((key, heir.space.clone())),
        _ => None,
    }
}

/// The memory of the first who waits on `key` to be moved.
fn first_to_move(bucket: &[Waiting], key: &FutexKey) -> Option<Arc<dyn AddressSpace>> {
    match &bucket.iter().find(|waiting| waiting.key == *key)?.kind {
        Kind::Requeue { heir, .. } => Some(heir.space.clone()),
        _ => None,
    }
}

/// `FUTEX_WAIT_REQUEUE_PI`: waits on the first word to be moved to the second, a priority-inheriting lock, and to get that.
pub fn wait_requeue_pi(
    current: &mut Current,
    (from, to): (u64, u64),
    private: bool,
    expected: u32,
    deadline: Option<Deadline>,
) -> SysResult<()> {
    let from_key = key(&current.task, from, private)?;
    let to_key = key(&current.task, to, private)?;
    if from_key == to_key {
        return Err(Errno::EINVAL.into());
    }
    let index = bucket_of(&from_key);
    let waiter = current.task.waiter.clone();
    let slot = Slot::new(index);
    waiter.arm();
    {
        let mut bucket = BUCKETS[index].lock();
        if load(current, from)? != expected {
            return Err(Errno::EAGAIN.into());
        }
        let kind = Kind::Requeue { heir: Heir::of(&current.task, to), to: to_key };
        let slot = slot.clone();
        bucket.push(Waiting { key: from_key, bitset: super::MATCH_ANY, waiter, slot, kind });
    }
    match sleep(current, &slot, deadline) {
        Slept::Woken => Ok(()),
        Slept::TimedOut => Err(Errno::ETIMEDOUT.into()),
        // Once it has been moved, the first word has changed, and starting again would find just that.
        Slept::Interrupted if slot.was_moved() => Err(Errno::EAGAIN.into()),
        Slept::Interrupted => Err(Restart::Always.into()),
    }
}

/// `FUTEX_CMP_REQUEUE_PI`: gives the lock `to` to the first sleeper on `from` if it is free, and moves up to `count` others, and the
/// first if it is not. Returns how many were given the lock or moved.
pub fn cmp_requeue_pi(
    current: &Current,
    (from, to): (u64, u64),
    private: bool,
    count: u32,
    expected: u32,
) -> Result<u32, Errno> {
    let from_key = key(&current.task, from, private)?;
    let to_key = key(&current.task, to, private)?;
    if from_key == to_key {
        return Err(Errno::EINVAL);
    }
    let (from_index, to_index) = (bucket_of(&from_key), bucket_of(&to_key));
    let mut done = 0;
    // One more than the count: the first is woken or moved in any case.
    while u64::from(done) <= u64::from(count) {
        let space = first_to_move(&BUCKETS[from_index].lock(), &from_key);
        let space = space.unwrap_or_else(|| current.task.mm().space.clone());
        let mut exchange = space.exchanger()?;
        let (mut from_bucket, mut to_bucket) = lock_two(from_index, to_index);
        if done == 0 && load(current, from)? != expected {
            return Err(Errno::EAGAIN);
        }
        let Some(index) = from_bucket.iter().position(|waiting| waiting.key == from_key) else { break };
        let heir = match &from_bucket[index].kind {
            Kind::Requeue { heir, to } if *to == to_key => heir.clone(),
            _ => return Err(Errno::EINVAL),
        };
        if !Arc::ptr_eq(&heir.space, &space) {
            // Another has become the first.
            continue;
        }
        let target = to_bucket.as_deref().unwrap_or(&from_bucket);
        match attempt(target, &to_key, &heir, &mut exchange, count > 0)? {
            Attempt::Locked => {
                let woken = from_bucket.remove(index);
                *woken.slot.place.lock() = Place::Woken;
                woken.waiter.wake();
            }
            Attempt::HeldBy(holder) => {
                let kind = queue_up(heir, holder)?;
                let mut moved = from_bucket.remove(index);
                (moved.key, moved.kind) = (to_key, kind);
                moved.slot.move_to(to_index);
                to_bucket.as_deref_mut().unwrap_or(&mut from_bucket).push(moved);
            }
        }
        done += 1;
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circle_of_waiters_is_a_deadlock() {
        assert_eq!(wait_for(9001, 9002), Ok(()));
        assert_eq!(wait_for(9002, 9003), Ok(()));
        assert_eq!(wait_for(9003, 9001), Err(Errno::EDEADLK));
        wait_no_more(9001);
        assert_eq!(wait_for(9003, 9001), Ok(()));
    }

    #[test]
    fn nobody_queues_up_behind_a_thread_that_has_ended() {
        let state = OwnerState::default();
        assert!(state.mark());
        assert!(state.end());
        assert!(!state.mark());
        state.begin();
        assert!(!state.end());
    }
}
