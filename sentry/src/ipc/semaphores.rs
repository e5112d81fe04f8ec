//! Semaphore sets (`semget(2)`, `semop(2)`, `semctl(2)`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::HashMap;
use parking_lot::Mutex;
use usk_abi::ipc::{IPC_NOWAIT, IpcPermissions, SEM_UNDO, SEMVMX, SemaphoreOperation, SemidDs};
use usk_abi::{Errno, PollEvents};

use crate::ipc::IpcLimits;
use crate::ipc::identifiers::{GetRequest, Identifiers, IpcObject, IpcObjects, IpcPerm};
use crate::task::Credentials;
use crate::wait::WaitQueue;

/// Most semaphores in all sets of a sandbox: they are the sentry's memory.
const MAX_SEMAPHORES: usize = 1 << 20;

/// The sets of a sandbox.
pub struct SemaphoreSets {
    table: Identifiers<SemaphoreSet>,
    /// Count of semaphores in all sets.
    total: Arc<AtomicUsize>,
}

/// A set, to wait on.
pub struct SemaphoreSet {
    queue: WaitQueue,
    total: Arc<AtomicUsize>,
    state: Mutex<State>,
}

struct State {
    perm: IpcPerm,
    semaphores: Vec<Semaphore>,
    /// What to add when a process exits, by process.
    undo: HashMap<i32, BTreeMap<u16, i32>>,
    operation_time: i64,
    change_time: i64,
    is_removed: bool,
}

#[derive(Clone, Copy, Default)]
struct Semaphore {
    value: i32,
    last_pid: i32,
    /// Tasks that wait for the value to grow.
    waiting_for_more: u32,
    /// Tasks that wait for zero.
    waiting_for_zero: u32,
}

/// Why operations cannot be done now: the semaphore, and whether zero is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SemaphoreWait {
    number: u16,
    for_zero: bool,
    /// The operation that would wait says `IPC_NOWAIT`.
    pub no_wait: bool,
}

impl Drop for SemaphoreSet {
    fn drop(&mut self) {
        self.total.fetch_sub(self.state.get_mut().semaphores.len(), Ordering::Relaxed);
    }
}

impl IpcObject for SemaphoreSet {
    type Status = SemidDs;

    fn perm(&self) -> IpcPerm {
        self.state.lock().perm
    }

    fn is_gone(&self) -> bool {
        self.state.lock().is_removed
    }

    fn describe(&self) -> SemidDs {
        let state = self.state.lock();
        SemidDs {
            perm: state.perm.to_abi(),
            operation_time: state.operation_time,
            change_time: state.change_time,
            count: state.semaphores.len() as u64,
            ..SemidDs::default()
        }
    }
}

impl SemaphoreSet {
    /// Notified when values change or the set is removed.
    pub fn queue(&self) -> &WaitQueue {
        &self.queue
    }

    /// Does all operations, or none and says what they would wait for. `EIDRM` if the set has been removed; other errors as
    /// in `semop(2)`.
    pub fn perform(
        &self,
        operations: &[SemaphoreOperation],
        pid: i32,
        now: i64,
    ) -> Result<Result<(), SemaphoreWait>, Errno> {
        let mut state = self.state.lock();
        let state = &mut *state;
        if state.is_removed {
            return Err(Errno::EIDRM);
        }
        let mut values: Vec<i32> = state.semaphores.iter().map(|semaphore| semaphore.value).collect();
        let mut undo = state.undo.get(&pid).cloned().unwrap_or_default();
        for operation in operations {
            let number = usize::from(operation.number);
            let value = values[number];
            let change = i32::from(operation.operation);
            if change == 0 && value != 0 || value + change < 0 {
                return Ok(Err(SemaphoreWait {
                    number: operation.number,
                    for_zero: change == 0,
                    no_wait: u32::from(operation.flags) & IPC_NOWAIT != 0,
                }));
            }
            if value + change > SEMVMX {
                return Err(Errno::ERANGE);
            }
            if operation.flags & SEM_UNDO != 0 {
                let adjustment = undo.entry(operation.number).or_default();
                *adjustment -= change;
                if adjustment.abs() > SEMVMX {
                    return Err(Errno::ERANGE);
                }
            }
            values[number] = value + change;
        }
        let mut changed = false;
        for operation in operations {
            let semaphore = &mut state.semaphores[usize::from(operation.number)];
            changed |= semaphore.value != values[usize::from(operation.number)];
            semaphore.value = values[usize::from(operation.number)];
            semaphore.last_pid = pid;
        }
        undo.retain(|_, adjustment| *adjustment != 0);
        if undo.is_empty() {
            state.undo.remove(&pid);
        } else {
            state.undo.insert(pid, undo);
        }
        state.operation_time = now;
        if changed {
            self.queue.notify(PollEvents::IN);
        }
        Ok(Ok(()))
    }

    /// Counts the caller among those who wait, or no more.
    pub fn count_waiter(&self, wait: SemaphoreWait, begins: bool) {
        let mut state = self.state.lock();
        let Some(semaphore) = state.semaphores.get_mut(usize::from(wait.number)) else { return };
        let count =
            if wait.for_zero { &mut semaphore.waiting_for_zero } else { &mut semaphore.waiting_for_more };
        *count = if begins { *count + 1 } else { count.saturating_sub(1) };
    }
}

impl IpcObjects for SemaphoreSets {
    type Object = SemaphoreSet;

    fn table(&self) -> &Identifiers<SemaphoreSet> {
        &self.table
    }
}

impl SemaphoreSets {
    /// None yet.
    pub(super) fn new(limits: Arc<IpcLimits>) -> Self {
        SemaphoreSets { table: Identifiers::new(limits, |limits| &limits.semmni), total: Arc::default() }
    }

    /// The identifier of the set of a key, which is made with `count` semaphores if need be. Errors as in `semget(2)`.
    pub fn get(&self, request: GetRequest<'_>, count: i32, now: i64) -> Result<i32, Errno> {
        let limits = self.table.limits();
        let (per_set, most) = (limits.semmsl.count(), limits.semmns.count().min(MAX_SEMAPHORES));
        let count = usize::try_from(count).ok().filter(|&count| count <= per_set).ok_or(Errno::EINVAL)?;
        let fits = |set: &SemaphoreSet| {
            if set.state.lock().semaphores.len() < count { Err(Errno::EINVAL) } else { Ok(()) }
        };
        self.table.get(request, fits, |perm| {
            if count == 0 {
                return Err(Errno::EINVAL);
            }
            let reserved = self.total.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |total| {
                total.checked_add(count).filter(|&total| total <= most)
            });
            reserved.map_err(|_| Errno::ENOSPC)?;
            Ok(SemaphoreSet {
                queue: WaitQueue::new(),
                total: self.total.clone(),
                state: Mutex::new(State {
                    perm,
                    semaphores: vec![Semaphore::default(); count],
                    undo: HashMap::new(),
                    operation_time: 0,
                    change_time: now,
                    is_removed: false,
                }),
            })
        })
    }

    /// The set to operate on. Errors as in `semop(2)`.
    pub fn for_operations(
        &self,
        id: i32,
        operations: &[SemaphoreOperation],
        credentials: &Credentials,
    ) -> Result<Arc<SemaphoreSet>, Errno> {
        let set = self.table.find(id)?;
        {
            let state = set.state.lock();
            if operations.iter().any(|operation| usize::from(operation.number) >= state.semaphores.len()) {
                return Err(Errno::EFBIG);
            }
            let alters = operations.iter().any(|operation| operation.operation != 0);
            state.perm.check(credentials, if alters { 0o222 } else { 0o444 })?;
        }
        Ok(set)
    }

    /// `IPC_SET`
    pub fn set(
        &self,
        id: i32,
        credentials: &Credentials,
        new: &IpcPermissions,
        now: i64,
    ) -> Result<(), Errno> {
        let set = self.table.find(id)?;
        let mut state = set.state.lock();
        state.perm.check_owner(credentials)?;
        state.perm.set(new);
        state.change_time = now;
        Ok(())
    }

    /// `IPC_RMID`: who waits gets `EIDRM`.
    pub fn remove(&self, id: i32, credentials: &Credentials) -> Result<(), Errno> {
        let set = self.table.find(id)?;
        {
            let mut state = set.state.lock();
            state.perm.check_owner(credentials)?;
            state.is_removed = true;
        }
        set.queue.notify(PollEvents::IN);
        self.table.sweep();
        Ok(())
    }

    /// One semaphore: value, last process, tasks that wait for it to grow, tasks that wait for zero.
    pub fn read_one(&self, id: i32, number: i32, credentials: &Credentials) -> Result<[i32; 4], Errno> {
        let set = self.table.find(id)?;
        let state = set.state.lock();
        state.perm.check(credentials, 0o444)?;
        let index = usize::try_from(number).map_err(|_| Errno::EINVAL)?;
        let semaphore = state.semaphores.get(index).ok_or(Errno::EINVAL)?;
        let waiting = [semaphore.waiting_for_more as i32, semaphore.waiting_for_zero as i32];
        Ok([semaphore.value, semaphore.last_pid, waiting[0], waiting[1]])
    }

    /// `GETALL`
    pub fn values(&self, id: i32, credentials: &Credentials) -> Result<Vec<u16>, Errno> {
        let set = self.table.find(id)?;
        let state = set.state.lock();
        state.perm.check(credentials, 0o444)?;
        Ok(state.semaphores.iter().map(|semaphore| semaphore.value as u16).collect())
    }

    /// Count of semaphores in a set, for `SETALL`.
    pub fn count(&self, id: i32, credentials: &Credentials) -> Result<usize, Errno> {
        let set = self.table.find(id)?;
        let state = set.state.lock();
        state.perm.check(credentials, 0o222)?;
        Ok(state.semaphores.len())
    }

    /// `SETVAL` (`number` names one) and `SETALL` (`number` is `None`). What processes would undo there is forgotten.
    pub fn set_values(
        &self,
        id: i32,
        number: Option<i32>,
        values: &[i32],
        credentials: &Credentials,
        pid: i32,
        now: i64,
    ) -> Result<(), Errno> {
        if values.iter().any(|value| !(0..=SEMVMX).contains(value)) {
            return Err(Errno::ERANGE);
        }
        let set = self.table.find(id)?;
        {
            let mut state = set.state.lock();
            let state = &mut *state;
            let first = usize::try_from(number.unwrap_or(0)).map_err(|_| Errno::EINVAL)?;
            if first + values.len() > state.semaphores.len() {
                return Err(Errno::EINVAL);
            }
            state.perm.check(credentials, 0o222)?;
            for (offset, &value) in values.iter().enumerate() {
                let semaphore = &mut state.semaphores[first + offset];
                semaphore.value = value;
                semaphore.last_pid = pid;
                let number = (first + offset) as u16;
                state.undo.values_mut().for_each(|undo| {
                    undo.remove(&number);
                });
            }
            state.change_time = now;
        }
        set.queue.notify(PollEvents::IN);
        Ok(())
    }

    /// Count of sets, semaphores in all, and the highest index in use.
    pub fn usage(&self) -> (i32, i32, i32) {
        let all = self.table.all();
        let semaphores = all.iter().map(|(_, set)| set.state.lock().semaphores.len()).sum::<usize>();
        (all.len() as i32, semaphores as i32, self.table.highest_index())
    }

    /// Whether the exit of a process would undo anything.
    pub fn would_undo(&self, pid: i32) -> bool {
        self.table.all().iter().any(|(_, set)| set.state.lock().undo.contains_key(&pid))
    }

    /// A process has exited: its operations with `SEM_UNDO` are undone, as far as values permit.
    pub fn process_exited(&self, pid: i32, now: i64) {
        for (_, set) in self.table.all() {
            let mut state = set.state.lock();
            let state = &mut *state;
            let Some(undo) = state.undo.remove(&pid) else { continue };
            for (number, adjustment) in undo {
                if let Some(semaphore) = state.semaphores.get_mut(usize::from(number)) {
                    semaphore.value = (semaphore.value + adjustment).clamp(0, SEMVMX);
                    semaphore.last_pid = pid;
                }
            }
            state.operation_time = now;
            set.queue.notify(PollEvents::IN);
        }
    }
}
