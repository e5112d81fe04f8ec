//! An eventfd: a 64-bit counter to wait for. eventfd(2).

use std::any::Any;
use std::sync::Arc;

use parking_lot::Mutex;
use usk_abi::fcntl::O_RDWR;
use usk_abi::{Errno, PollEvents};

use crate::vfs::{FileOps, OpenFile};
use crate::wait::WaitQueue;
use crate::{Sink, Source};

/// The counter never reaches this value.
const FORBIDDEN: u64 = u64::MAX;
const WIDTH: usize = size_of::<u64>();

/// The object behind `eventfd(2)`.
pub struct EventFd {
    count: Mutex<u64>,
    is_semaphore: bool,
    queue: WaitQueue,
}

impl EventFd {
    /// An open file for a new counter. With `is_semaphore` each read takes one instead of all. `flags` may be
    /// `O_NONBLOCK`.
    pub fn open(initial: u32, is_semaphore: bool, flags: u32) -> Arc<OpenFile> {
        let ops = EventFd { count: Mutex::new(u64::from(initial)), is_semaphore, queue: WaitQueue::new() };
        OpenFile::anonymous(Arc::new(ops), O_RDWR | flags, "anon_inode:[eventfd]")
    }
}

impl EventFd {
    /// The counter behind an open file, if it is one.
    pub fn of(file: &OpenFile) -> Option<&EventFd> {
        file.ops.as_any().downcast_ref()
    }

    /// Counts an event of the kernel's (`eventfd_signal`).
    pub fn signal(&self) {
        let mut count = self.count.lock();
        *count = count.saturating_add(1);
        drop(count);
        self.queue.notify(PollEvents::IN | PollEvents::RDNORM);
    }
}

impl FileOps for EventFd {
    fn read(&self, _file: &OpenFile, destination: &mut dyn Sink, _offset: u64) -> Result<usize, Errno> {
        if destination.remaining() < WIDTH {
            return Err(Errno::EINVAL);
        }
        let mut count = self.count.lock();
        if *count == 0 {
            return Err(Errno::EAGAIN);
        }
        let value = if self.is_semaphore { 1 } else { *count };
        *count -= value;
        drop(count);
        self.queue.notify(PollEvents::OUT | PollEvents::WRNORM);
        // As on Linux, the value is gone even if the copy fails, or ends in the middle.
        if destination.put(&value.to_ne_bytes())? < WIDTH { Err(Errno::EFAULT) } else { Ok(WIDTH) }
    }

    fn takes_ranges_apart(&self) -> bool {
        true
    }

    fn write(&self, _file: &OpenFile, source: &mut dyn Source, _offset: u64) -> Result<usize, Errno> {
        // Exactly eight bytes, since Linux 6.9.
        if source.remaining() != WIDTH {
            return Err(Errno::EINVAL);
        }
        let mut bytes = [0; WIDTH];
        if source.take(&mut bytes)? < WIDTH {
            return Err(Errno::EFAULT);
        }
        let value = u64::from_ne_bytes(bytes);
        if value == FORBIDDEN {
            return Err(Errno::EINVAL);
        }
        let mut count = self.count.lock();
        match count.checked_add(value) {
            Some(sum) if sum != FORBIDDEN => *count = sum,
            _ => {
                source.give_back(WIDTH);
                return Err(Errno::EAGAIN);
            }
        }
        drop(count);
        self.queue.notify(PollEvents::IN | PollEvents::RDNORM);
        Ok(WIDTH)
    }

    fn seek(&self, _file: &OpenFile, _offset: i64, _whence: u32) -> Result<u64, Errno> {
        // Linux's noop_llseek: there is no position, and asking for one is no error.
        Ok(0)
    }

    fn poll(&self, _file: &OpenFile) -> PollEvents {
        let count = *self.count.lock();
        let mut events = PollEvents::empty();
        events.set(PollEvents::IN | PollEvents::RDNORM, count > 0);
        events.set(PollEvents::OUT | PollEvents::WRNORM, count < FORBIDDEN - 1);
        events
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::file::testing::{read, read_blocking, write, write_blocking};

    #[test]
    fn a_read_takes_the_whole_count() {
        let file = EventFd::open(3, false, 0);
        assert_eq!(write(&file, &4u64.to_ne_bytes()), Ok(8));
        assert_eq!(read(&file, 8).unwrap(), 7u64.to_ne_bytes());
        assert_eq!(read(&file, 8), Err(Errno::EAGAIN));
        assert_eq!(read(&file, 7), Err(Errno::EINVAL));
    }

    #[test]
    fn a_semaphore_is_read_one_by_one() {
        let file = EventFd::open(2, true, 0);
        assert_eq!(read(&file, 100).unwrap(), 1u64.to_ne_bytes());
        assert_eq!(read(&file, 8).unwrap(), 1u64.to_ne_bytes());
        assert_eq!(read(&file, 8), Err(Errno::EAGAIN));
    }

    #[test]
    fn the_counter_stops_below_its_maximum() {
        let file = EventFd::open(0, false, 0);
        assert_eq!(write(&file, &u64::MAX.to_ne_bytes()), Err(Errno::EINVAL));
        assert_eq!(write(&file, &(u64::MAX - 1).to_ne_bytes()), Ok(8));
        assert_eq!(write(&file, &1u64.to_ne_bytes()), Err(Errno::EAGAIN));
        assert!(!file.ops.poll(&file).contains(PollEvents::OUT));
        assert_eq!(write(&file, &0u64.to_ne_bytes()), Ok(8));
    }

    #[test]
    fn no_wake_up_is_lost_between_two_threads() {
        let (ping, pong) = (EventFd::open(0, false, 0), EventFd::open(0, false, 0));
        let (their_ping, their_pong) = (ping.clone(), pong.clone());
        let other = thread::spawn(move || {
            for _ in 0..2000 {
                read_blocking(&their_ping, 8).unwrap();
                write_blocking(&their_pong, &1u64.to_ne_bytes()).unwrap();
            }
        });
        for _ in 0..2000 {
            write_blocking(&ping, &1u64.to_ne_bytes()).unwrap();
            assert_eq!(read_blocking(&pong, 8).unwrap(), 1u64.to_ne_bytes());
        }
        other.join().unwrap();
    }
}
