//! Asynchronous input and output: contexts, and what of their operations has not been collected. `io_setup(2)`; the kernel's
//! `fs/aio.c`.
//!
//! An operation is over when `io_submit(2)` returns, as on Linux whatever goes through the page cache is. So a context holds
//! results, and the room that is reserved for them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use usk_abi::aio::{AIO_MAX_NR, IoEvent};
use usk_abi::mm::PAGE_SIZE;
use usk_abi::{Errno, PollEvents};

use crate::ipc::Bound;
use crate::wait::WaitQueue;

/// Bytes of the ring's head (`struct aio_ring`).
const RING_HEAD: u64 = 32;
/// Bytes of a ring with more than anybody needs: `EINVAL`, before the bound is looked at.
const MAX_RING: u64 = 0x1000_0000;
const READABLE: PollEvents = PollEvents::IN;

/// How many operations the sandbox's contexts were made for, and may be.
pub struct AioLimit {
    /// `/proc/sys/fs/aio-max-nr`
    pub most: Bound,
    used: AtomicU64,
}

impl AioLimit {
    pub(crate) fn new() -> Arc<Self> {
        // Results stay in the sentry's memory until they are collected.
        Arc::new(AioLimit { most: Bound::new(AIO_MAX_NR, AIO_MAX_NR), used: AtomicU64::new(0) })
    }

    /// `/proc/sys/fs/aio-nr`
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// `EAGAIN` if there would be too many.
    fn claim(self: &Arc<Self>, count: u64) -> Result<Claim, Errno> {
        let most = self.most.get();
        let claimed = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(count).filter(|sum| *sum <= most)
        });
        claimed.map_err(|_| Errno::EAGAIN)?;
        Ok(Claim { limit: Arc::clone(self), count })
    }
}

/// Operations that count until it is dropped.
struct Claim {
    limit: Arc<AioLimit>,
    count: u64,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.limit.used.fetch_sub(self.count, Ordering::Relaxed);
    }
}

/// A context that is about to be: its bound is kept, its ring is not mapped yet.
pub struct NewContext {
    claim: Claim,
    /// Bytes of the ring, whole pages.
    pub ring_length: u64,
}

impl NewContext {
    /// For `requests` operations at a time. `EINVAL` for none or absurdly many, `EAGAIN` for more than the sandbox may have.
    pub fn reserve(limit: &Arc<AioLimit>, requests: u32, processors: usize) -> Result<Self, Errno> {
        // Twice as many, and two, as `ioctx_alloc` has it: each processor keeps some for itself there.
        let events = u64::from(requests).max(processors as u64 * 4) * 2;
        if requests == 0 || events > MAX_RING / size_of::<IoEvent>() as u64 {
            return Err(Errno::EINVAL);
        }
        let claim = limit.claim(requests.into())?;
        let length = RING_HEAD + (events + 2) * size_of::<IoEvent>() as u64;
        Ok(NewContext { claim, ring_length: length.next_multiple_of(PAGE_SIZE) })
    }
}

#[derive(Default)]
struct State {
    /// The oldest first.
    events: VecDeque<IoEvent>,
    /// Operations that are being carried out.
    reserved: usize,
    is_destroyed: bool,
}

/// One context.
pub struct AioContext {
    /// The address of its ring, which is its name.
    pub ring: u64,
    /// Bytes of the ring.
    pub ring_length: u64,
    /// Most operations and results at a time.
    capacity: usize,
    state: Mutex<State>,
    queue: WaitQueue,
    _claim: Claim,
}

impl AioContext {
    /// What is submitted and collected in one call, at most.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Where results are announced.
    pub fn queue(&self) -> &WaitQueue {
        &self.queue
    }

    /// Room for one result. `EAGAIN` if there is none, `EINVAL` if the context has been destroyed.
    pub fn reserve(&self) -> Result<Reservation<'_>, Errno> {
        let mut state = self.state.lock();
        if state.is_destroyed {
            return Err(Errno::EINVAL);
        }
        if state.reserved + state.events.len() >= self.capacity {
            return Err(Errno::EAGAIN);
        }
        state.reserved += 1;
        Ok(Reservation { context: self })
    }

    /// Takes the oldest results, `most` at most. `EAGAIN` if there are none, `EINVAL` if the context has been destroyed.
    pub fn take(&self, most: usize) -> Result<Vec<IoEvent>, Errno> {
        let mut state = self.state.lock();
        if state.is_destroyed {
            return Err(Errno::EINVAL);
        }
        let count = state.events.len().min(most);
        if count == 0 { Err(Errno::EAGAIN) } else { Ok(state.events.drain(..count).collect()) }
    }

    /// Puts results back that could not be delivered.
    pub fn put_back(&self, events: &[IoEvent]) {
        let mut state = self.state.lock();
        events.iter().rev().for_each(|event| state.events.push_front(*event));
    }
}

/// Room for a result, until it is there or the operation turns out to be none.
pub struct Reservation<'a> {
    context: &'a AioContext,
}

impl Reservation<'_> {
    /// The operation is over.
    pub fn complete(self, event: IoEvent) {
        self.context.state.lock().events.push_back(event);
        self.context.queue.notify(READABLE);
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.context.state.lock().reserved -= 1;
    }
}

/// The contexts of an address space, by name. A copy of it has none.
#[derive(Default)]
pub struct AioContexts(Mutex<BTreeMap<u64, Arc<AioContext>>>);

impl AioContexts {
    /// Adds one whose ring is mapped at `ring`.
    pub fn insert(&self, new: NewContext, ring: u64) {
        let capacity = (new.ring_length - RING_HEAD) / size_of::<IoEvent>() as u64 - 1;
        let context = AioContext {
            ring,
            ring_length: new.ring_length,
            capacity: usize::try_from(capacity).unwrap_or(usize::MAX),
            state: Mutex::default(),
            queue: WaitQueue::new(),
            _claim: new.claim,
        };
        self.0.lock().insert(ring, Arc::new(context));
    }

    /// The context of this name; `EINVAL` if there is none.
    pub fn find(&self, ring: u64) -> Result<Arc<AioContext>, Errno> {
        self.0.lock().get(&ring).cloned().ok_or(Errno::EINVAL)
    }

    /// Takes one out, with what it holds, and wakes who waits for it.
    pub fn remove(&self, ring: u64) -> Result<Arc<AioContext>, Errno> {
        let context = self.0.lock().remove(&ring).ok_or(Errno::EINVAL)?;
        context.state.lock().is_destroyed = true;
        context.queue.notify(READABLE);
        Ok(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(limit: &Arc<AioLimit>) -> (AioContexts, Arc<AioContext>) {
        let contexts = AioContexts::default();
        contexts.insert(NewContext::reserve(limit, 1, 1).expect("room"), 0x1000);
        let context = contexts.find(0x1000).expect("it was added");
        (contexts, context)
    }

    #[test]
    fn a_context_takes_as_many_operations_as_its_ring_has_room_for() {
        let (_contexts, context) = context(&AioLimit::new());
        for data in 0..context.capacity() as u64 {
            context.reserve().expect("room").complete(IoEvent { data, ..IoEvent::default() });
        }
        assert_eq!(context.reserve().err(), Some(Errno::EAGAIN));
        assert_eq!(
            context.take(2).expect("results").iter().map(|event| event.data).collect::<Vec<_>>(),
            [0, 1]
        );
        assert!(context.reserve().is_ok());
    }

    #[test]
    fn results_that_are_put_back_come_first_again() {
        let (_contexts, context) = context(&AioLimit::new());
        for data in 0..3 {
            context.reserve().expect("room").complete(IoEvent { data, ..IoEvent::default() });
        }
        let events = context.take(2).expect("results");
        context.put_back(&events);
        let all = context.take(9).expect("results");
        assert_eq!(all.iter().map(|event| event.data).collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn what_contexts_were_made_for_counts_until_they_are_gone() {
        let limit = AioLimit::new();
        let all = NewContext::reserve(&limit, AIO_MAX_NR as u32, 1).expect("all of it");
        assert_eq!(NewContext::reserve(&limit, 1, 1).err(), Some(Errno::EAGAIN));
        drop(all);
        let (contexts, context) = context(&limit);
        assert_eq!(limit.used(), 1);
        drop(contexts.remove(0x1000));
        assert_eq!(context.take(1), Err(Errno::EINVAL));
        assert_eq!(context.reserve().err(), Some(Errno::EINVAL));
        drop(context);
        assert_eq!(limit.used(), 0);
    }
}
