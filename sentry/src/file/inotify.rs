//! Watching files. inotify(7).
//!
//! A [`Watch`] hangs on the inode that it watches (see [`crate::vfs::notify`]) and holds its dentry, so that the cache does
//! not evict what is watched. Locks, from the outside in: a file's list of watches, the instance's state, its wait queue.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::sync::{Arc, Weak};

use hashbrown::HashMap;
use parking_lot::Mutex;
use usk_abi::fcntl::O_RDONLY;
use usk_abi::inotify::{INOTIFY_EVENT_SIZE, InotifyMask};
use usk_abi::tty::FIONREAD;
use usk_abi::{Errno, PollEvents};

use crate::task::Current;
use crate::vfs::notify::Event;
use crate::vfs::{FileOps, OpenFile, Path};
use crate::wait::WaitQueue;
use crate::{Sink, SysResult, UserPtr};

/// `fs.inotify.max_queued_events`: what happens beyond that is lost, and one event says so.
const MAX_QUEUED_EVENTS: usize = 16384;
/// `fs.inotify.max_user_instances`
const MAX_USER_INSTANCES: u32 = 128;
/// `fs.inotify.max_user_watches`
const MAX_USER_WATCHES: u32 = 65536;

/// These limits as `/proc/sys/fs/inotify` shows them.
pub const LIMITS: &[(&str, &str)] =
    &[("max_queued_events", "16384"), ("max_user_instances", "128"), ("max_user_watches", "65536")];

const READABLE: PollEvents = PollEvents::IN.union(PollEvents::RDNORM);

/// Instances and watches of each user.
static USERS: Mutex<BTreeMap<u32, (u32, u32)>> = Mutex::new(BTreeMap::new());

/// Changes a user's counts, unless they would pass their limits.
fn account(user: u32, change: impl FnOnce(&mut (u32, u32))) -> Result<(), ()> {
    let mut users = USERS.lock();
    let counts = users.entry(user).or_default();
    let before = *counts;
    change(counts);
    let is_within = counts.0 <= MAX_USER_INSTANCES && counts.1 <= MAX_USER_WATCHES;
    if !is_within {
        *counts = before;
    }
    if *counts == (0, 0) {
        users.remove(&user);
    }
    if is_within { Ok(()) } else { Err(()) }
}

/// An event in the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Queued {
    watch: i32,
    mask: u32,
    cookie: u32,
    name: Box<[u8]>,
}

impl Queued {
    /// Bytes of the name as it is read: terminated, and padded to a multiple of the structure's size.
    fn name_length(&self) -> usize {
        if self.name.is_empty() { 0 } else { (self.name.len() + 1).next_multiple_of(INOTIFY_EVENT_SIZE) }
    }

    fn length(&self) -> usize {
        INOTIFY_EVENT_SIZE + self.name_length()
    }

    fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.name_length()).unwrap_or(0);
        let mut bytes = Vec::with_capacity(self.length());
        bytes.extend_from_slice(&self.watch.to_le_bytes());
        for word in [self.mask, self.cookie, length] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(&self.name);
        bytes.resize(self.length(), 0);
        bytes
    }

    /// What Linux merges with the event before (`event_compare`): the cookie does not count.
    fn is_repeated_by(&self, next: &Queued) -> bool {
        self.watch == next.watch
            && self.mask == next.mask
            && self.name == next.name
            && self.mask & InotifyMask::IGNORED.bits() == 0
    }
}

#[derive(Default)]
struct State {
    events: VecDeque<Queued>,
    watches: HashMap<i32, Arc<Watch>>,
    /// Watch descriptors are not used again until all have been used.
    last: i32,
    has_overflowed: bool,
}

impl State {
    /// Queues an event. False if nothing has changed for readers.
    fn push(&mut self, event: Queued) -> bool {
        if self.events.back().is_some_and(|last| last.is_repeated_by(&event)) {
            return false;
        }
        if self.events.len() < MAX_QUEUED_EVENTS {
            self.events.push_back(event);
            return true;
        }
        if !std::mem::replace(&mut self.has_overflowed, true) {
            let mask = InotifyMask::Q_OVERFLOW.bits();
            self.events.push_back(Queued { watch: -1, mask, cookie: 0, name: Box::default() });
        }
        true
    }

    fn pop(&mut self) -> Option<Queued> {
        let event = self.events.pop_front()?;
        if event.watch == -1 {
            self.has_overflowed = false;
        }
        Some(event)
    }

    fn ignored(&mut self, watch: i32) {
        let mask = InotifyMask::IGNORED.bits();
        self.push(Queued { watch, mask, cookie: 0, name: Box::default() });
    }

    fn free_descriptor(&mut self) -> i32 {
        loop {
            self.last = self.last.checked_add(1).unwrap_or(1);
            if !self.watches.contains_key(&self.last) {
                return self.last;
            }
        }
    }
}

/// An inotify instance.
pub struct Inotify {
    this: Weak<Inotify>,
    user: u32,
    state: Mutex<State>,
    queue: WaitQueue,
}

/// A watch of one file by one instance.
pub struct Watch {
    descriptor: i32,
    instance: Weak<Inotify>,
    user: u32,
    /// What is watched for, and `IN_ONESHOT` and `IN_EXCL_UNLINK`.
    mask: Mutex<InotifyMask>,
    path: Path,
}

impl Inotify {
    /// An open file for a new instance of `user`. `flags` may be `O_NONBLOCK`. `EMFILE` if the user has too many.
    pub fn open(user: u32, flags: u32) -> Result<Arc<OpenFile>, Errno> {
        account(user, |counts| counts.0 += 1).map_err(|()| Errno::EMFILE)?;
        let ops = Arc::new_cyclic(|this| Inotify {
            this: this.clone(),
            user,
            state: Mutex::default(),
            queue: WaitQueue::new(),
        });
        Ok(OpenFile::anonymous(ops, O_RDONLY | flags, "anon_inode:inotify"))
    }

    /// The instance behind an open file, if it is one.
    pub fn of(file: &OpenFile) -> Option<&Inotify> {
        file.ops.as_any().downcast_ref()
    }

    /// Watches the file at `path`, or changes the watch that there is. Returns the watch descriptor. `EEXIST` with `IN_MASK_CREATE` for a
    /// file that is watched, `ENOSPC` if the user watches too many.
    pub fn watch(&self, path: &Path, wanted: InotifyMask) -> Result<i32, Errno> {
        let kept = InotifyMask::ALL_EVENTS | InotifyMask::ONESHOT | InotifyMask::EXCL_UNLINK;
        let mask = wanted & kept;
        path.inode()?.common().watches().find_or_add(
            |watch| watch.instance.ptr_eq(&self.this),
            |watch| {
                if wanted.contains(InotifyMask::MASK_CREATE) {
                    return Err(Errno::EEXIST);
                }
                let mut known = watch.mask.lock();
                *known = if wanted.contains(InotifyMask::MASK_ADD) { *known | mask } else { mask };
                Ok(watch.descriptor)
            },
            || {
                account(self.user, |counts| counts.1 += 1).map_err(|()| Errno::ENOSPC)?;
                let mut state = self.state.lock();
                let descriptor = state.free_descriptor();
                let watch = Arc::new(Watch {
                    descriptor,
                    instance: self.this.clone(),
                    user: self.user,
                    mask: Mutex::new(mask),
                    path: path.clone(),
                });
                state.watches.insert(descriptor, watch.clone());
                Ok((watch, Ok(descriptor)))
            },
        )?
    }

    /// Ends a watch. `EINVAL` if there is none of this descriptor.
    pub fn unwatch(&self, descriptor: i32) -> Result<(), Errno> {
        let mut state = self.state.lock();
        let watch = state.watches.remove(&descriptor).ok_or(Errno::EINVAL)?;
        state.ignored(descriptor);
        drop(state);
        watch.detach();
        self.queue.notify(READABLE);
        Ok(())
    }
}

impl Watch {
    /// Queues an event if it is watched for.
    pub(crate) fn tell(self: &Arc<Self>, event: Event<'_>) {
        let mask = *self.mask.lock();
        let is_excluded =
            event.is_unlinked && event.name.is_some() && mask.contains(InotifyMask::EXCL_UNLINK);
        if !mask.intersects(event.mask) || is_excluded {
            return;
        }
        let Some(instance) = self.instance.upgrade() else { return };
        let mut shown = event.mask;
        shown.set(InotifyMask::ISDIR, event.is_directory);
        let queued = Queued {
            watch: self.descriptor,
            mask: shown.bits(),
            cookie: event.cookie,
            name: event.name.unwrap_or_default().into(),
        };
        let mut state = instance.state.lock();
        if !state.watches.contains_key(&self.descriptor) {
            return;
        }
        let mut changed = state.push(queued);
        let ends = mask.contains(InotifyMask::ONESHOT);
        if ends {
            state.watches.remove(&self.descriptor);
            state.ignored(self.descriptor);
            changed = true;
        }
        drop(state);
        if ends {
            self.detach();
        }
        if changed {
            instance.queue.notify(READABLE);
        }
    }

    /// The file is gone.
    pub(crate) fn end(self: &Arc<Self>) {
        if let Some(instance) = self.instance.upgrade() {
            // It fails for a watch that has been ended meanwhile.
            let _ = instance.unwatch(self.descriptor);
        }
    }

    /// Takes the watch off its file.
    fn detach(self: &Arc<Self>) {
        if let Some(watches) = self.path.dentry.inode().and_then(|inode| inode.common().watches_if_any()) {
            watches.remove(self);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Going down is always within the limits.
        let _ = account(self.user, |counts| counts.1 -= 1);
    }
}

impl Drop for Inotify {
    fn drop(&mut self) {
        for watch in std::mem::take(&mut self.state.get_mut().watches).into_values() {
            watch.detach();
        }
        let _ = account(self.user, |counts| counts.0 -= 1);
    }
}

impl FileOps for Inotify {
    fn read(&self, _file: &OpenFile, destination: &mut dyn Sink, _offset: u64) -> Result<usize, Errno> {
        let mut done = 0;
        loop {
            let event = {
                let mut state = self.state.lock();
                match state.events.front() {
                    None if done == 0 => return Err(Errno::EAGAIN),
                    Some(next) if next.length() > destination.remaining() && done == 0 => {
                        return Err(Errno::EINVAL);
                    }
                    Some(next) if next.length() <= destination.remaining() => state.pop(),
                    _ => None,
                }
            };
            let Some(event) = event else { return Ok(done) };
            // As on Linux, an event whose copy fails is lost.
            match destination.put(&event.bytes()) {
                Ok(count) => done += count,
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => return Ok(done),
            }
        }
    }

    fn seek(&self, _file: &OpenFile, _offset: i64, _whence: u32) -> Result<u64, Errno> {
        // Linux's noop_llseek: there is no position, and asking for one is no error.
        Ok(0)
    }

    fn poll(&self, _file: &OpenFile) -> PollEvents {
        if self.state.lock().events.is_empty() { PollEvents::empty() } else { READABLE }
    }

    fn raises_signals(&self) -> bool {
        true
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }

    fn ioctl(&self, current: &mut Current, _file: &OpenFile, command: u32, argument: u64) -> SysResult {
        if command != FIONREAD {
            return Err(Errno::ENOTTY.into());
        }
        let queued: usize = self.state.lock().events.iter().map(Queued::length).sum();
        let queued = i32::try_from(queued).unwrap_or(i32::MAX);
        UserPtr::<i32>::new(argument).write(current.space(), &queued)?;
        Ok(0)
    }

    fn information(&self) -> String {
        let mut watches: Vec<_> = self.state.lock().watches.values().cloned().collect();
        watches.sort_by_key(|watch| watch.descriptor);
        let mut text = String::new();
        for watch in watches {
            let Ok(attributes) = watch.path.inode().and_then(|inode| inode.attributes()) else { continue };
            let (number, mask) = (watch.descriptor, watch.mask.lock().bits());
            let (inode, device) = (attributes.inode, attributes.device);
            let _ = writeln!(
                text,
                "inotify wd:{number:x} ino:{inode:x} sdev:{device:x} mask:{mask:x} ignored_mask:0"
            );
        }
        text
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::testing::read;

    fn event(name: &[u8]) -> Queued {
        Queued { watch: 1, mask: 2, cookie: 0, name: name.into() }
    }

    #[test]
    fn names_are_terminated_and_padded() {
        assert_eq!(event(b"").bytes().len(), 16);
        assert_eq!(event(b"f").bytes().len(), 32);
        assert_eq!(event(b"fifteen letters").bytes().len(), 32);
        assert_eq!(event(b"sixteen  letters").bytes().len(), 48);
    }

    #[test]
    fn the_queue_is_bounded_and_says_so_once() {
        let file = Inotify::open(7001, 0).unwrap();
        let inotify = Inotify::of(&file).unwrap();
        for number in 0..MAX_QUEUED_EVENTS + 10 {
            inotify.state.lock().push(event(number.to_string().as_bytes()));
        }
        let state = inotify.state.lock();
        assert_eq!(state.events.len(), MAX_QUEUED_EVENTS + 1);
        assert_eq!(state.events.back().map(|last| last.watch), Some(-1));
    }

    #[test]
    fn equal_events_in_a_row_are_one_and_small_buffers_are_refused() {
        let file = Inotify::open(7002, 0).unwrap();
        let inotify = Inotify::of(&file).unwrap();
        for name in [b"f", b"f", b"g", b"f"] {
            inotify.state.lock().push(event(name));
        }
        assert_eq!(read(&file, 20), Err(Errno::EINVAL));
        assert_eq!(read(&file, 70).unwrap().len(), 64);
        assert_eq!(read(&file, 70).unwrap().len(), 32);
        assert_eq!(read(&file, 70), Err(Errno::EAGAIN));
    }

    #[test]
    fn a_user_has_a_bounded_number_of_instances() {
        let files: Vec<_> = (0..MAX_USER_INSTANCES).map(|_| Inotify::open(7003, 0).unwrap()).collect();
        assert_eq!(Inotify::open(7003, 0).err(), Some(Errno::EMFILE));
        drop(files);
        assert!(Inotify::open(7003, 0).is_ok());
    }
}
