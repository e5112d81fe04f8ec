//! One thread that waits for descriptors of the host, for all host files of a sandbox.

use std::sync::{Arc, Weak};

use hashbrown::HashMap;
use parking_lot::Mutex;
use usk_abi::{Errno, PollEvents};
use usk_platform::host::{EdgePoll, WakeDescriptor};

use crate::file::async_io;
use crate::wait::WaitQueue;

/// The number of the descriptor that ends the thread.
const STOP: u64 = 0;

/// Turns changes of readiness of host descriptors into notifications of wait queues. The thread starts when the first
/// descriptor is watched, and ends when this is dropped.
#[derive(Default)]
pub struct HostPoller {
    running: Mutex<Option<Running>>,
}

struct Running {
    shared: Arc<Shared>,
    next_number: u64,
}

struct Shared {
    poll: EdgePoll,
    stop: WakeDescriptor,
    queues: Mutex<HashMap<u64, Weak<WaitQueue>>>,
}

/// Names one watched descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WatchNumber(u64);

impl HostPoller {
    /// A poller that watches nothing.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Notifies `queue` from now on when the readiness of `file` changes. `EPERM` if it is always ready, `EAGAIN` if
    /// the host allows no thread.
    pub(crate) fn watch(
        &self,
        file: &std::os::fd::OwnedFd,
        queue: &Arc<WaitQueue>,
    ) -> Result<WatchNumber, Errno> {
        let mut running = self.running.lock();
        if running.is_none() {
            *running = Some(Running { shared: Shared::start()?, next_number: STOP + 1 });
        }
        let Some(running) = running.as_mut() else { return Err(Errno::EAGAIN) };
        let number = running.next_number;
        running.next_number += 1;
        running.shared.queues.lock().insert(number, Arc::downgrade(queue));
        if let Err(errno) = running.shared.poll.add(file, number) {
            running.shared.queues.lock().remove(&number);
            return Err(errno);
        }
        Ok(WatchNumber(number))
    }

    /// Ends a watch, before the descriptor is closed.
    pub(crate) fn unwatch(&self, file: &std::os::fd::OwnedFd, number: WatchNumber) {
        if let Some(running) = &*self.running.lock() {
            running.shared.queues.lock().remove(&number.0);
            // It is registered, and the descriptor is open: this cannot fail.
            let _ = running.shared.poll.remove(file);
        }
    }
}

impl Drop for HostPoller {
    fn drop(&mut self) {
        if let Some(running) = self.running.get_mut() {
            running.shared.stop.wake();
        }
    }
}

impl Shared {
    fn start() -> Result<Arc<Self>, Errno> {
        let shared = Arc::new(Shared {
            poll: EdgePoll::new()?,
            stop: WakeDescriptor::new()?,
            queues: Mutex::default(),
        });
        shared.poll.add(&shared.stop, STOP)?;
        let thread = shared.clone();
        std::thread::Builder::new()
            .name("host poller".into())
            .stack_size(256 << 10)
            .spawn(move || thread.run())
            .map_err(|_| Errno::EAGAIN)?;
        Ok(shared)
    }

    fn run(&self) {
        loop {
            let events = match self.poll.wait() {
                Ok(events) => events,
                Err(errno) => {
                    tracing::error!("waiting for host descriptors failed: {errno}");
                    return;
                }
            };
            for (number, events) in events {
                // The stop descriptor reports that it is writable when it is added.
                if number == STOP && events.contains(PollEvents::IN) {
                    return;
                }
                let queue = self.queues.lock().get(&number).and_then(Weak::upgrade);
                if let Some(queue) = queue {
                    queue.notify(events | band_events(events));
                    async_io::send_due();
                }
            }
        }
    }
}

/// The host reports `IN` and `OUT`; who waits for the normal band means the same.
fn band_events(events: PollEvents) -> PollEvents {
    let mut band = PollEvents::empty();
    band.set(PollEvents::RDNORM, events.contains(PollEvents::IN));
    band.set(PollEvents::WRNORM, events.contains(PollEvents::OUT));
    band
}
