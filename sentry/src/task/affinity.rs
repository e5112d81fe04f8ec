//! Which processors a task may run on (`sched_setaffinity(2)`, `cpuset(7)`). The host chooses where it does run.

use std::sync::atomic::Ordering;

use usk_platform::host;

use crate::task::Task;

/// Processors that the sandbox may use, as a mask of at most 64.
pub fn usable_processors() -> u64 {
    let count = host::processor_count();
    if count >= 64 { u64::MAX } else { (1 << count) - 1 }
}

impl Task {
    /// Processors that it may run on, as a mask of at most 64. Of whom none of those that it chose is left runs on all, as when a cpuset
    /// changes.
    pub fn allowed_processors(&self) -> u64 {
        let usable = usable_processors();
        Some(self.affinity.load(Ordering::Relaxed) & usable).filter(|&mask| mask != 0).unwrap_or(usable)
    }
}
