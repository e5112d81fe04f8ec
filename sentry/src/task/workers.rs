//! Sentry threads: one runs a task, and then waits a while for another.
//!
//! Programs that make processes make them one after the other, and a thread of the host costs some thirty microseconds to
//! make and to end. So a few threads are kept whose task has ended, the last one first, because its stack is warm.

use std::sync::{Arc, Weak};

use crossbeam::sync::{Parker, Unparker};
use parking_lot::Mutex;
use usk_abi::Errno;

/// Stack of a sentry thread in bytes. Handlers keep large buffers on the heap.
const STACK_SIZE: usize = 256 << 10;
/// Threads that wait for a task at the same time.
const MAX_IDLE: usize = 8;

/// What a sentry thread does: the life of one task.
type Work = Box<dyn FnOnce() + Send>;

/// What a thread that has nothing to do is told next.
#[derive(Default)]
enum Next {
    /// Nothing yet.
    #[default]
    Wait,
    Do(Work),
    /// The pool is gone.
    End,
}

/// Where a thread that has nothing to do finds what is next. It is parked meanwhile: a channel's receiver would spin first, on the
/// processor that the one who waits for the end of the last task is about to use.
struct Desk {
    next: Mutex<Next>,
    sleeper: Unparker,
}

impl Desk {
    fn put(&self, next: Next) {
        *self.next.lock() = next;
        self.sleeper.unpark();
    }

    /// Sleeps until there is work. `None` if there is no more.
    fn take(&self, sleeper: &Parker) -> Option<Work> {
        loop {
            let next = std::mem::take(&mut *self.next.lock());
            match next {
                Next::Wait => sleeper.park(),
                Next::Do(work) => return Some(work),
                Next::End => return None,
            }
        }
    }
}

/// The threads that have nothing to do.
#[derive(Default)]
pub(crate) struct Workers {
    idle: Mutex<Vec<Arc<Desk>>>,
}

impl Workers {
    /// None yet.
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A thread that waits for work. `EAGAIN` if the host gives none.
    pub(crate) fn hire(self: &Arc<Self>) -> Result<Worker, Errno> {
        // A statement of its own, so that the lock is not held while a thread is made.
        let idle = self.idle.lock().pop();
        let desk = match idle {
            Some(desk) => desk,
            None => self.make_thread()?,
        };
        Ok(Worker { workers: Arc::downgrade(self), desk: Some(desk) })
    }

    fn make_thread(self: &Arc<Self>) -> Result<Arc<Desk>, Errno> {
        let sleeper = Parker::new();
        let desk = Arc::new(Desk { next: Mutex::default(), sleeper: sleeper.unparker().clone() });
        let (workers, its_desk) = (Arc::downgrade(self), Arc::clone(&desk));
        let builder = std::thread::Builder::new().name("task".into()).stack_size(STACK_SIZE);
        let made = builder.spawn(move || serve(&workers, &its_desk, &sleeper));
        made.map(|_| desk).map_err(|_| Errno::EAGAIN)
    }
}

/// A thread that has been hired and does nothing yet. It goes back to the others if nothing comes of it.
pub(crate) struct Worker {
    workers: Weak<Workers>,
    /// `None` once it works.
    desk: Option<Arc<Desk>>,
}

impl Worker {
    /// Has it do `work`.
    pub(crate) fn start(mut self, work: impl FnOnce() + Send + 'static) {
        if let Some(desk) = self.desk.take() {
            desk.put(Next::Do(Box::new(work)));
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(desk) = self.desk.take().filter(|desk| !offer(&self.workers, desk)) {
            desk.put(Next::End);
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.idle.get_mut().drain(..).for_each(|desk| desk.put(Next::End));
    }
}

/// The life of a thread.
fn serve(workers: &Weak<Workers>, desk: &Arc<Desk>, sleeper: &Parker) {
    while let Some(work) = desk.take(sleeper) {
        work();
        if !offer(workers, desk) {
            return;
        }
    }
}

/// Lets the pool have a thread that waits at its desk; false if it has enough.
fn offer(workers: &Weak<Workers>, desk: &Arc<Desk>) -> bool {
    let Some(workers) = workers.upgrade() else { return false };
    let mut idle = workers.idle.lock();
    let has_room = idle.len() < MAX_IDLE;
    if has_room {
        idle.push(Arc::clone(desk));
    }
    has_room
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::mpsc::{SyncSender, sync_channel};
    use std::thread::ThreadId;

    use super::*;

    #[test]
    fn work_that_follows_is_done_by_threads_that_wait() {
        let workers = Workers::new();
        let (sender, receiver) = sync_channel::<ThreadId>(1);
        let mut threads = HashSet::new();
        for _ in 0..200 {
            let sender = sender.clone();
            let work = move || sender.send(std::thread::current().id()).expect("somebody receives");
            workers.hire().expect("a thread").start(work);
            threads.insert(receiver.recv().expect("it is done"));
        }
        assert!(threads.len() < 100, "{} threads did it", threads.len());
    }

    #[test]
    fn work_that_does_not_end_keeps_nobody_waiting() {
        let workers = Workers::new();
        let together = Arc::new(std::sync::Barrier::new(21));
        for _ in 0..20 {
            let together = Arc::clone(&together);
            workers.hire().expect("a thread").start(move || _ = together.wait());
        }
        together.wait();
    }

    #[test]
    fn a_thread_that_was_hired_for_nothing_is_there_for_the_next() {
        let workers = Workers::new();
        let hired = workers.hire().expect("a thread");
        let desk = Arc::clone(hired.desk.as_ref().expect("it does nothing yet"));
        drop(hired);
        let again = workers.hire().expect("a thread");
        assert!(again.desk.as_ref().is_some_and(|other| Arc::ptr_eq(other, &desk)));
    }

    #[test]
    fn waiting_threads_end_with_the_pool() {
        let workers = Workers::new();
        let (sender, receiver) = sync_channel::<()>(0);
        struct Hold(#[allow(dead_code)] SyncSender<()>);
        thread_local!(static HELD: std::cell::RefCell<Option<Hold>> = const { std::cell::RefCell::new(None) });
        let work = move || HELD.with(|held| *held.borrow_mut() = Some(Hold(sender)));
        workers.hire().expect("a thread").start(work);
        drop(workers);
        // The thread's local drops its sender when it ends.
        assert!(receiver.recv().is_err());
    }
}
