//! Bounds on the whole sandbox, which whoever runs it sets, and may change while it runs.

use std::sync::atomic::{AtomicU64, Ordering};

use usk_platform::host::rlimit;

/// Tasks that a sandbox may have unless the operator says otherwise.
const DEFAULT_TASKS: u64 = 16_384;
/// No bound.
const UNLIMITED: u64 = u64::MAX;

/// What is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SandboxLimits {
    /// Most tasks (threads) that may live at a time.
    pub tasks: Option<u64>,
    /// Bytes of memory that `/proc/meminfo` and `sysinfo(2)` call the total. The host's cgroup keeps the bound.
    pub memory: Option<u64>,
    /// Microseconds of processor time in each period, and the period: for show, the host's cgroup keeps it.
    pub processor: Option<(u64, u64)>,
}

/// What is in force.
pub struct Limits {
    tasks: AtomicU64,
    memory: AtomicU64,
    processor: (AtomicU64, AtomicU64),
}

impl Limits {
    pub(crate) fn new(asked: SandboxLimits) -> Limits {
        let (quota, period) = asked.processor.unwrap_or((UNLIMITED, 0));
        Limits {
            tasks: asked.tasks.unwrap_or(UNLIMITED).into(),
            memory: asked.memory.unwrap_or(UNLIMITED).into(),
            processor: (quota.into(), period.into()),
        }
    }

    /// Changes the bound on tasks. Those that are there already stay.
    pub fn set_tasks(&self, tasks: Option<u64>) {
        self.tasks.store(tasks.unwrap_or(UNLIMITED), Ordering::Relaxed);
    }

    /// Changes what is called the total of memory.
    pub fn set_memory(&self, memory: Option<u64>) {
        self.memory.store(memory.unwrap_or(UNLIMITED), Ordering::Relaxed);
    }

    /// Changes what is shown of processor time.
    pub fn set_processor(&self, processor: Option<(u64, u64)>) {
        let (quota, period) = processor.unwrap_or((UNLIMITED, 0));
        self.processor.1.store(period, Ordering::Relaxed);
        self.processor.0.store(quota, Ordering::Relaxed);
    }

    /// Most tasks at a time.
    pub fn most_tasks(&self) -> usize {
        usize::try_from(self.tasks().unwrap_or(DEFAULT_TASKS)).unwrap_or(usize::MAX)
    }

    /// The bound on tasks that was asked for.
    pub fn tasks(&self) -> Option<u64> {
        bound(&self.tasks)
    }

    /// Bytes of memory in all.
    pub fn total_memory(&self) -> u64 {
        self.memory().unwrap_or_else(rlimit::total_memory)
    }

    /// The bound on memory that was asked for.
    pub fn memory(&self) -> Option<u64> {
        bound(&self.memory)
    }

    /// The bound on processor time: microseconds in each period, and the period.
    pub fn processor(&self) -> Option<(u64, u64)> {
        bound(&self.processor.0).map(|quota| (quota, self.processor.1.load(Ordering::Relaxed)))
    }
}

fn bound(place: &AtomicU64) -> Option<u64> {
    Some(place.load(Ordering::Relaxed)).filter(|&value| value != UNLIMITED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_can_be_changed_and_lifted() {
        let asked = SandboxLimits { tasks: Some(5), memory: None, processor: Some((50, 100)) };
        let limits = Limits::new(asked);
        assert_eq!((limits.most_tasks(), limits.memory(), limits.processor()), (5, None, Some((50, 100))));
        assert!(limits.total_memory() > 0);
        limits.set_tasks(None);
        limits.set_memory(Some(4096));
        limits.set_processor(None);
        assert_eq!((limits.tasks(), limits.total_memory(), limits.processor()), (None, 4096, None));
        assert_eq!(limits.most_tasks() as u64, DEFAULT_TASKS);
    }
}
