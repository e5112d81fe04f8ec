//! An epoll instance: a set of open files, and the list of those that may be ready. epoll(7).
//!
//! A watched file's wait queue notifies the instance, which puts the item on its ready list; nothing is looked up then,
//! because the notifier holds the queue's lock. Collecting takes items off the list *before* it polls their files, so a
//! notification that comes in between puts them back and is not lost. Level-triggered items that are ready go back to
//! the end of the list.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use usk_abi::epoll::{
    EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, EPOLLET, EPOLLEXCLUSIVE, EPOLLONESHOT, EPOLLWAKEUP,
    EpollEvent,
};
use usk_abi::fcntl::{O_PATH, O_RDWR};
use usk_abi::{Errno, PollEvents};

use crate::vfs::{CloseWatcher, FileOps, OpenFile};
use crate::wait::{Notify, WaitQueue, WaitToken};

/// Most files that one instance watches.
const MAX_WATCHES: usize = 1 << 17;
/// Most instances above one another (`EP_MAX_NESTS`, counted in instances).
const MAX_NESTING: usize = 5;
/// Most ways from an instance up to those that nobody watches, by the instances in between (`path_limits`): an event goes them all.
/// There may be any number of instances that watch a file themselves.
const MAX_WAYS: [usize; MAX_NESTING] = [usize::MAX, 500, 100, 50, 10];
const READABLE: PollEvents = PollEvents::IN.union(PollEvents::RDNORM);
/// The flags that may go with `EPOLLEXCLUSIVE`, which promises that one or more of the instances are told (epoll_ctl(2)): all
/// are.
const EXCLUSIVE_COMPANIONS: u32 = EPOLLEXCLUSIVE
    | EPOLLET
    | EPOLLWAKEUP
    | PollEvents::IN.bits()
    | PollEvents::OUT.bits()
    | PollEvents::ERR.bits()
    | PollEvents::HUP.bits();

/// So many forgotten items may be on the ready list in any case.
const FORGOTTEN: usize = 64;

/// The flags that stay when a one-shot item is spent (`EP_PRIVATE_BITS`).
const PRIVATE: u32 = EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE;

/// Guards the shape of the graph of nested instances: two additions that each are fine must not make a loop together.
static NESTING: Mutex<()> = Mutex::new(());

/// The object behind `epoll_create(2)`.
pub struct Epoll {
    shared: Arc<Shared>,
}

/// The part that watched files' queues refer to.
struct Shared {
    own: Weak<Shared>,
    items: Mutex<Items>,
    /// Held while items are taken off the ready list and polled, so that a second waiter sees those that go back.
    collecting: Mutex<()>,
    ready: Mutex<Ready>,
    queue: WaitQueue,
    /// Instances that watch this one.
    parents: Mutex<Vec<Weak<Shared>>>,
    /// Counts what is added and removed, here and above.
    version: AtomicU64,
}

/// Of the first descriptors of a table, a bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Watchable {
    /// Those that can be added if they are not watched, and modified and removed if they are: nothing but the flags of the event
    /// decides whether that succeeds.
    pub(crate) watchable: u64,
    /// Those that are watched.
    pub(crate) watched: u64,
}

#[derive(Default)]
struct Items {
    by_key: HashMap<u64, Arc<Item>>,
    /// By the address of the open file, then the descriptor.
    by_file: BTreeMap<(usize, i32), u64>,
    next_key: u64,
}

#[derive(Default)]
struct Ready {
    /// In their order; those that are not members are passed over.
    list: VecDeque<u64>,
    members: HashSet<u64>,
}

impl Ready {
    /// Puts items before all others, in their order, wherever they are.
    fn put_first(&mut self, keys: &[u64]) {
        let new = keys.iter().filter(|key| self.members.insert(**key)).count();
        if new < keys.len() {
            let moved: HashSet<u64> = keys.iter().copied().collect();
            self.list.retain(|key| !moved.contains(key));
        }
        for key in keys.iter().rev() {
            self.list.push_front(*key);
        }
    }

    fn take_first(&mut self) -> Option<u64> {
        loop {
            let key = self.list.pop_front()?;
            if self.members.remove(&key) {
                return Some(key);
            }
        }
    }

    /// Takes out an item that does not come back. At most half of a long list is of those.
    fn forget(&mut self, key: u64) {
        if self.members.remove(&key) && self.list.len() > 2 * self.members.len() + FORGOTTEN {
            self.list.retain(|key| self.members.contains(key));
        }
    }
}

/// What has been collected of an item.
pub struct Report {
    /// For the guest.
    pub event: EpollEvent,
    item: Arc<Item>,
    /// How often the item had been spent then.
    spent: u64,
}

struct Item {
    key: u64,
    descriptor: i32,
    file: Weak<OpenFile>,
    address: usize,
    interest: Mutex<Interest>,
}

struct Interest {
    event: EpollEvent,
    /// Set once a one-shot item has been reported.
    is_spent: bool,
    /// How often it has been.
    spent: u64,
    /// Set when it is watched no more.
    is_over: bool,
    token: Option<WaitToken>,
}

impl Interest {
    /// What is to be reported of a file in this state.
    fn ready_events(&self, state: PollEvents) -> PollEvents {
        if self.is_spent || self.is_over {
            return PollEvents::empty();
        }
        let wanted = PollEvents::from_bits_truncate(self.event.events);
        state & (wanted | PollEvents::ERR | PollEvents::HUP)
    }

    /// Leaves the file's queue.
    fn stop_listening(&mut self, file: &OpenFile) {
        if let (Some(queue), Some(token)) = (file.ops.wait_queue(), self.token.take()) {
            queue.remove(token);
        }
    }
}

fn address_of(file: &OpenFile) -> usize {
    std::ptr::from_ref(file).addr()
}

impl Epoll {
    /// An open file for a new instance.
    pub fn open() -> Arc<OpenFile> {
        let shared = Arc::new_cyclic(|own| Shared {
            own: own.clone(),
            items: Mutex::default(),
            collecting: Mutex::default(),
            ready: Mutex::default(),
            queue: WaitQueue::new(),
            parents: Mutex::default(),
            version: AtomicU64::new(0),
        });
        OpenFile::anonymous(Arc::new(Epoll { shared }), O_RDWR, "anon_inode:[eventpoll]")
    }

    /// The instance behind an open file, if it is one.
    pub fn of(file: &OpenFile) -> Option<&Epoll> {
        file.ops.as_any().downcast_ref()
    }

    /// What `epoll_ctl(2)` does with the instance behind an open file. `EINVAL` if it is none, or for an unknown operation; `EPERM` for
    /// a file that is always ready.
    pub fn control(
        instance: &Arc<OpenFile>,
        operation: i32,
        descriptor: i32,
        file: &Arc<OpenFile>,
        event: EpollEvent,
    ) -> Result<(), Errno> {
        if file.ops.wait_queue().is_none() {
            return Err(Errno::EPERM);
        }
        let epoll = Epoll::of(instance).filter(|_| !Arc::ptr_eq(instance, file)).ok_or(Errno::EINVAL)?;
        // Nothing keeps a sandbox from being suspended: the flag is taken away, as from anybody without the capability.
        let event = EpollEvent { events: event.events & !EPOLLWAKEUP, ..event };
        match operation {
            EPOLL_CTL_ADD => epoll.add(descriptor, file, event),
            EPOLL_CTL_MOD => epoll.modify(descriptor, file, event),
            EPOLL_CTL_DEL => epoll.remove(descriptor, file),
            _ => Err(Errno::EINVAL),
        }
    }

    /// `EPOLL_CTL_ADD`. `EEXIST` if the pair of descriptor and file is watched already, `EPERM` for a file that is
    /// always ready, `ELOOP` for nesting that is circular or too deep, `ENOSPC` for too many, `EINVAL` for flags that do
    /// not go together, or for too many ways that an event would go.
    pub fn add(&self, descriptor: i32, file: &Arc<OpenFile>, event: EpollEvent) -> Result<(), Errno> {
        let inner = Epoll::of(file);
        // A first look decides what kind of host file it is.
        file.ops.poll(file);
        if file.ops.wait_queue().is_none() {
            return Err(Errno::EPERM);
        }
        if event.events & EPOLLEXCLUSIVE != 0
            && (inner.is_some() || event.events & !EXCLUSIVE_COMPANIONS != 0)
        {
            return Err(Errno::EINVAL);
        }
        let _nesting = inner.map(|_| NESTING.lock());
        if let Some(inner) = inner {
            self.shared.nest(&inner.shared)?;
        }
        let added = self.shared.insert(descriptor, file, event);
        if let (Some(inner), Err(_)) = (inner, &added) {
            self.shared.leave(&inner.shared);
        }
        let item = added?;
        file.watch_close(self.shared.own.clone() as Weak<dyn CloseWatcher>);
        self.shared.listen(&item, file);
        Ok(())
    }

    /// `EPOLL_CTL_MOD`. `ENOENT` if it is not watched, `EINVAL` if it is or would be exclusive.
    pub fn modify(&self, descriptor: i32, file: &Arc<OpenFile>, event: EpollEvent) -> Result<(), Errno> {
        let item = self.shared.find(descriptor, file)?;
        if event.events & EPOLLEXCLUSIVE != 0 {
            return Err(Errno::EINVAL);
        }
        {
            let mut interest = item.interest.lock();
            if interest.is_over {
                return Err(Errno::ENOENT);
            }
            if interest.event.events & EPOLLEXCLUSIVE != 0 {
                return Err(Errno::EINVAL);
            }
            interest.event = event;
            interest.is_spent = false;
        }
        self.shared.listen(&item, file);
        Ok(())
    }

    /// `EPOLL_CTL_DEL`. `ENOENT` if it is not watched.
    pub fn remove(&self, descriptor: i32, file: &Arc<OpenFile>) -> Result<(), Errno> {
        let item = self.shared.find(descriptor, file)?;
        self.shared.forget(&item, file);
        Ok(())
    }

    /// A number that changes with what [`Epoll::watchable`] says, as long as the files stay the same.
    pub(crate) fn version(&self) -> u64 {
        self.shared.version.load(Ordering::SeqCst)
    }

    /// What can be done with the files of the first descriptors. Nothing in an instance that others watch.
    pub(crate) fn watchable<'a>(&self, files: impl Iterator<Item = (u8, &'a Arc<OpenFile>)>) -> Watchable {
        let mut found = Watchable::default();
        let items = self.shared.items.lock();
        if !self.shared.parents.lock().is_empty() || items.by_key.len() + u64::BITS as usize > MAX_WATCHES {
            return found;
        }
        for (descriptor, file) in files {
            if file.ops.wait_queue().is_none() || file.flags() & O_PATH != 0 || Epoll::of(file).is_some() {
                continue;
            }
            let key = items.by_file.get(&(address_of(file), descriptor.into()));
            let item = key.and_then(|key| items.by_key.get(key));
            if item.is_none_or(|item| item.interest.lock().event.events & EPOLLEXCLUSIVE == 0) {
                found.watchable |= 1 << descriptor;
                found.watched |= u64::from(item.is_some()) << descriptor;
            }
        }
        found
    }

    /// Up to `most` events that are ready now; `EAGAIN` if there are none.
    pub fn collect(&self, most: usize) -> Result<Vec<Report>, Errno> {
        self.shared.collect(most)
    }

    /// Takes back what has been collected, in that order, and could not be told: it is told the next time.
    pub fn give_back(&self, reports: &[Report]) {
        self.shared.give_back(reports);
        self.shared.queue.notify(READABLE);
    }

    /// Where the instance notifies.
    pub fn queue(&self) -> &WaitQueue {
        &self.shared.queue
    }
}

impl Shared {
    fn has_changed(&self) {
        self.version.fetch_add(1, Ordering::SeqCst);
    }

    fn insert(&self, descriptor: i32, file: &Arc<OpenFile>, event: EpollEvent) -> Result<Arc<Item>, Errno> {
        let mut items = self.items.lock();
        let address = address_of(file);
        if items.by_file.contains_key(&(address, descriptor)) {
            return Err(Errno::EEXIST);
        }
        if items.by_key.len() >= MAX_WATCHES {
            return Err(Errno::ENOSPC);
        }
        let key = items.next_key;
        items.next_key += 1;
        let interest = Mutex::new(Interest { event, is_spent: false, spent: 0, is_over: false, token: None });
        let item = Arc::new(Item { key, descriptor, file: Arc::downgrade(file), address, interest });
        items.by_key.insert(key, item.clone());
        items.by_file.insert((address, descriptor), key);
        self.has_changed();
        Ok(item)
    }

    fn find(&self, descriptor: i32, file: &Arc<OpenFile>) -> Result<Arc<Item>, Errno> {
        let items = self.items.lock();
        let key = items.by_file.get(&(address_of(file), descriptor)).ok_or(Errno::ENOENT)?;
        items.by_key.get(key).cloned().ok_or(Errno::ENOENT)
    }

    /// Registers an item on its file's queue for what it is interested in now, and reports it if it is ready.
    fn listen(&self, item: &Item, file: &Arc<OpenFile>) {
        let (Some(queue), Some(own)) = (file.ops.wait_queue(), self.own.upgrade()) else { return };
        {
            let mut interest = item.interest.lock();
            if interest.is_over || interest.is_spent {
                return;
            }
            let events = PollEvents::from_bits_truncate(interest.event.events);
            match interest.token {
                Some(token) => queue.change(token, events),
                None => interest.token = Some(queue.add(own, item.key, events)),
            }
        }
        let state = file.ops.poll(file);
        let interest = item.interest.lock();
        if !interest.ready_events(state).is_empty() {
            self.put_back(&[item.key]);
            drop(interest);
            self.queue.notify(READABLE);
        }
    }

    fn forget(&self, item: &Item, file: &OpenFile) {
        {
            let mut items = self.items.lock();
            items.by_key.remove(&item.key);
            items.by_file.remove(&(item.address, item.descriptor));
            self.has_changed();
        }
        {
            let mut interest = item.interest.lock();
            interest.is_over = true;
            interest.stop_listening(file);
        }
        self.ready.lock().forget(item.key);
        if let Some(inner) = Epoll::of(file) {
            self.leave(&inner.shared);
        }
    }

    fn collect(&self, most: usize) -> Result<Vec<Report>, Errno> {
        let _collecting = self.collecting.lock();
        let mut events = Vec::new();
        let mut again = Vec::new();
        // Items that become ready while this runs are for the next time: each is looked at once.
        let candidates = self.ready.lock().members.len();
        for _ in 0..candidates {
            let Some((item, file)) = self.next_ready() else { break };
            let state = file.ops.poll(&file);
            // What has been asked for in the meantime is asked for of this state: whoever changes it looks at the file after that.
            let mut interest = item.interest.lock();
            let ready = interest.ready_events(state);
            if ready.is_empty() {
                continue;
            }
            let event = EpollEvent { events: ready.bits(), data: interest.event.data };
            if interest.event.events & EPOLLONESHOT != 0 {
                interest.is_spent = true;
                interest.spent += 1;
                // What happens until it is armed again gives it no place among the others.
                interest.stop_listening(&file);
            } else if interest.event.events & EPOLLET == 0 {
                again.push(item.key);
            }
            let spent = interest.spent;
            drop(interest);
            events.push(Report { event, item, spent });
            if events.len() == most {
                break;
            }
        }
        if self.put_back(&again) {
            // Others that wait may want what is left.
            self.queue.notify(READABLE);
        }
        if events.is_empty() { Err(Errno::EAGAIN) } else { Ok(events) }
    }

    /// Has items be reported again, before others.
    fn give_back(&self, reports: &[Report]) {
        let mut keys = Vec::with_capacity(reports.len());
        let mut armed = Vec::new();
        for report in reports {
            let mut interest = report.item.interest.lock();
            // It may have been armed again and reported to another since: that report is its last one then.
            if interest.is_over || interest.spent != report.spent {
                continue;
            }
            keys.push(report.item.key);
            if std::mem::take(&mut interest.is_spent) {
                armed.push(&report.item);
            }
        }
        self.ready.lock().put_first(&keys);
        for item in armed {
            if let Some(file) = item.file.upgrade() {
                self.listen(item, &file);
            }
        }
    }

    /// True if any item is ready. Leaves the ready list as it is, but for items that are not ready any more.
    fn has_ready(&self) -> bool {
        let _collecting = self.collecting.lock();
        let candidates = self.ready.lock().members.len();
        for _ in 0..candidates {
            let Some((item, file)) = self.next_ready() else { break };
            let state = file.ops.poll(&file);
            if !item.interest.lock().ready_events(state).is_empty() {
                self.ready.lock().put_first(&[item.key]);
                return true;
            }
        }
        false
    }

    /// Takes the first live item off the ready list.
    fn next_ready(&self) -> Option<(Arc<Item>, Arc<OpenFile>)> {
        loop {
            let key = self.ready.lock().take_first()?;
            let item = self.items.lock().by_key.get(&key).cloned();
            if let Some(item) = item
                && let Some(file) = item.file.upgrade()
            {
                return Some((item, file));
            }
        }
    }

    /// Puts items at the end of the ready list. True if there were any.
    fn put_back(&self, keys: &[u64]) -> bool {
        let mut ready = self.ready.lock();
        for key in keys {
            if ready.members.insert(*key) {
                ready.list.push_back(*key);
            }
        }
        !keys.is_empty()
    }

    /// Says that this instance watches `inner` once more. `ELOOP` if that would close a circle or nest too deeply, `EINVAL` if events
    /// would go too many ways. [`NESTING`] is held.
    fn nest(&self, inner: &Shared) -> Result<(), Errno> {
        let mut below = HashMap::new();
        let depth = inner.survey_below(&mut below);
        if below.contains_key(&self.address()) || depth + self.depth_above() > MAX_NESTING {
            return Err(Errno::ELOOP);
        }
        inner.parents.lock().push(self.own.clone());
        inner.has_changed();
        if below.values().any(|(_, instance)| instance.upgrade().is_some_and(|it| it.has_too_many_ways())) {
            self.leave(inner);
            return Err(Errno::EINVAL);
        }
        Ok(())
    }

    /// Says that this instance watches `inner` once less.
    fn leave(&self, inner: &Shared) {
        let mut parents = inner.parents.lock();
        if let Some(at) = parents.iter().position(|parent| parent.ptr_eq(&self.own)) {
            parents.swap_remove(at);
            inner.has_changed();
        }
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Instances on the longest way down, this one included. Keeps that number of each that it comes to in `known`, by address, and
    /// looks at each once.
    fn survey_below(&self, known: &mut HashMap<usize, (usize, Weak<Shared>)>) -> usize {
        if let Some((depth, _)) = known.get(&self.address()) {
            return *depth;
        }
        let files: Vec<_> =
            self.items.lock().by_key.values().filter_map(|item| item.file.upgrade()).collect();
        let inner = files.iter().filter_map(|file| Epoll::of(file));
        let depth = 1 + inner.map(|inner| inner.shared.survey_below(known)).max().unwrap_or(0);
        known.insert(self.address(), (depth, self.own.clone()));
        depth
    }

    /// Those that watch this instance, as often as they do.
    fn live_parents(&self) -> Vec<Arc<Shared>> {
        self.parents.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// Instances on the longest way up, this one included. The ways are not many: [`MAX_WAYS`].
    fn depth_above(&self) -> usize {
        1 + self.live_parents().iter().map(|parent| parent.depth_above()).max().unwrap_or(0)
    }

    /// Whether there are more ways up than [`MAX_WAYS`].
    fn has_too_many_ways(&self) -> bool {
        self.count_ways(0, &mut [0; MAX_NESTING]).is_none()
    }

    /// Counts the ways up from here by their lengths, for an instance `length` below. `None` as soon as they are too many
    /// (`reverse_path_check_proc`).
    fn count_ways(&self, length: usize, ways: &mut [usize; MAX_NESTING]) -> Option<()> {
        let (count, most) = (ways.get_mut(length)?, MAX_WAYS[length]);
        let parents = self.live_parents();
        if parents.is_empty() {
            *count += 1;
            return (*count <= most).then_some(());
        }
        parents.iter().try_for_each(|parent| parent.count_ways(length + 1, ways))
    }
}

impl Item {
    /// Its events, as Linux keeps them, and its data.
    fn shown(&self) -> (u32, u64) {
        let interest = self.interest.lock();
        let event = interest.event;
        let kept = if interest.is_spent { PRIVATE } else { u32::MAX };
        ((event.events | PollEvents::ERR.bits() | PollEvents::HUP.bits()) & kept, event.data)
    }
}

impl Notify for Shared {
    fn notify(&self, key: u64, _events: PollEvents) {
        self.put_back(&[key]);
    }

    fn wake_sleeper(&self) {
        self.queue.notify(READABLE);
    }
}

impl CloseWatcher for Shared {
    fn file_closed(&self, file: &OpenFile) {
        let address = address_of(file);
        let gone: Vec<_> = {
            let items = self.items.lock();
            let keys = items.by_file.range((address, i32::MIN)..=(address, i32::MAX));
            keys.filter_map(|(_, key)| items.by_key.get(key).cloned()).collect()
        };
        for item in gone {
            self.forget(&item, file);
        }
    }
}

impl FileOps for Epoll {
    fn seek(&self, _file: &OpenFile, _offset: i64, _whence: u32) -> Result<u64, Errno> {
        // Linux's noop_llseek: there is no position, and asking for one is no error.
        Ok(0)
    }

    fn poll(&self, _file: &OpenFile) -> PollEvents {
        if self.shared.has_ready() { READABLE } else { PollEvents::empty() }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.shared.queue)
    }

    /// `ep_show_fdinfo`, in the order of the descriptors.
    fn information(&self) -> String {
        let mut items: Vec<_> = self.shared.items.lock().by_key.values().cloned().collect();
        items.sort_by_key(|item| item.descriptor);
        let mut text = String::new();
        for item in items {
            let Some(file) = item.file.upgrade() else { continue };
            let (inode, device) =
                file.inode().attributes().map_or((0, 0), |known| (known.inode, known.device));
            let (events, data) = item.shown();
            let (descriptor, position) = (item.descriptor, *file.position.lock());
            let _ = writeln!(
                text,
                "tfd: {descriptor:8} events: {events:8x} data: {data:16x}  pos:{position} ino:{inode:x} sdev:{device:x}"
            );
        }
        text
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Drop for Epoll {
    fn drop(&mut self) {
        let items: Vec<_> = self.shared.items.lock().by_key.values().cloned().collect();
        for item in items {
            if let Some(file) = item.file.upgrade() {
                self.shared.forget(&item, &file);
            }
        }
    }
}

#[cfg(test)]
mod tests;
