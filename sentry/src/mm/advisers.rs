//! Threads that let go of their stacks by themselves (tier 1).
//!
//! The last thing that a thread of the C library's does before it ends is to give back what its stack has used. Where others use the memory,
//! too, a change of the map must not come between what the map says and what the host does; so whoever changes the map first takes the
//! permissions away, and stops the threads if one is just using its own. That hardly ever happens.

use std::ops::Range;
use std::sync::{Arc, Weak};

use usk_platform::{GuestThread, Kick};

use crate::mm::mm::{Mm, State};
use crate::mm::{Vma, VmaTree};
use crate::task::Current;

/// The number of `madvise(2)`: a filter that looks at it wants to see it.
const CALLS: [u32; 1] = [28];

/// The threads that have leave. One that has ended is forgotten when the next gets it.
#[derive(Clone, Default)]
pub(in crate::mm) struct Advisers(Vec<Weak<dyn Kick>>);

impl Advisers {
    fn add(&mut self, thread: &Arc<dyn Kick>) {
        self.0.retain(|other| other.strong_count() > 0);
        self.0.push(Arc::downgrade(thread));
    }

    /// Takes leave from all. True if one of them may be using it.
    fn end(&mut self) -> bool {
        let threads = self.0.drain(..).filter_map(|thread| thread.upgrade());
        threads.fold(false, |is_used, thread| thread.withdraw_advice() | is_used)
    }
}

impl Mm {
    /// Takes from all threads the leave to let go of memory, before the map is changed.
    pub(in crate::mm) fn end_advice(&self, state: &mut State) {
        if state.advisers.end() {
            drop(self.stop_threads());
        }
    }

    /// Lets a thread, which shares this memory and does not run, let go of what is around `address`; unless somebody has the map, who
    /// would take that away again at once.
    fn lend_advice(&self, thread: &mut dyn GuestThread, address: u64) {
        let Some(mut state) = self.state.try_lock() else { return };
        let range = stack_around(&state.tree, address);
        if range.is_some_and(|range| thread.lend_advice(&range)) {
            state.advisers.add(&thread.kicker());
        }
    }
}

/// The stack that a stack pointer is in, as far as it may be let go of, with the guard below: the C library advises about both.
fn stack_around(tree: &VmaTree, address: u64) -> Option<Range<u64>> {
    let may_be_let_go = |address: u64| tree.find(address).filter(|vma| is_let_go_of_anyway(vma));
    let stack = may_be_let_go(address)?;
    let guard = stack.start.checked_sub(1).and_then(may_be_let_go);
    Some(guard.map_or(stack.start, |guard| guard.start)..stack.end)
}

/// Nothing that is known of a mapping keeps its pages there.
fn is_let_go_of_anyway(vma: &Vma) -> bool {
    vma.is_private_anonymous() && vma.flags.is_empty()
}

impl Current {
    /// Lets the task let go of its stack's memory by itself, if others use the memory, too. What was lent before has been withdrawn with all
    /// answers, or by a change of the map.
    pub(crate) fn lend_stack(&mut self) {
        let standing = self.task.standing.now();
        let mm = self.task.mm();
        let may = self.thread.can_lend()
            && self.standing == Some(standing)
            && mm.users() > 1
            && self.task.hides_calls(&CALLS);
        if may {
            let stack_pointer = self.thread.registers().rsp;
            mm.lend_advice(&mut *self.thread, stack_pointer);
            // Withdrawn meanwhile: before it was lent, perhaps.
            if self.task.standing.now() != standing {
                self.thread.kicker().withdraw_advice();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use usk_platform::Protection;

    use super::*;
    use crate::mm::vma::{ALL_ACCESS, Backing, READ_WRITE, VmaFlags};

    fn vma(start: u64, end: u64, protection: Protection, flags: VmaFlags) -> Vma {
        let (max_protection, backing) = (ALL_ACCESS, Backing::Anonymous);
        Vma { start, end, protection, max_protection, shared: false, backing, offset: start, flags }
    }

    #[test]
    fn a_stack_is_lent_with_its_guard_unless_something_keeps_it() {
        let none = Protection::default();
        let plain = VmaFlags::empty();
        for (guard_flags, flags, range) in [
            (plain, plain, Some(0x1000..0x8000)),
            (VmaFlags::LOCKED, plain, Some(0x2000..0x8000)),
            (VmaFlags::SEALED, plain, Some(0x2000..0x8000)),
            (plain, VmaFlags::LOCKED, None),
            (plain, VmaFlags::STACK, None),
        ] {
            let mut tree = VmaTree::new();
            tree.insert(vma(0x1000, 0x2000, none, guard_flags));
            tree.insert(vma(0x2000, 0x8000, READ_WRITE, flags));
            assert_eq!(stack_around(&tree, 0x7ff8), range);
            assert_eq!(stack_around(&tree, 0x8000), None);
        }
    }

    /// A thread with leave.
    struct Thread {
        is_advising: bool,
        has_leave: AtomicBool,
    }

    impl Thread {
        fn new(is_advising: bool) -> Arc<Thread> {
            Arc::new(Thread { is_advising, has_leave: AtomicBool::new(true) })
        }
    }

    impl Kick for Thread {
        fn kick(&self) {}

        fn kill(&self) {}

        fn withdraw_advice(&self) -> bool {
            self.has_leave.store(false, Ordering::Relaxed);
            self.is_advising
        }

        fn is_alive(&self) -> bool {
            true
        }

        fn cpu_time(&self) -> Duration {
            Duration::ZERO
        }
    }

    fn add(advisers: &mut Advisers, thread: &Arc<Thread>) {
        let thread: Arc<dyn Kick> = Arc::<Thread>::clone(thread);
        advisers.add(&thread);
    }

    #[test]
    fn all_lose_their_leave_and_one_that_is_using_it_is_told_of() {
        let mut advisers = Advisers::default();
        for advising in [[false, false, false], [true, false, false], [false, true, false]] {
            let threads = advising.map(Thread::new);
            threads.iter().for_each(|thread| add(&mut advisers, thread));
            assert_eq!(advisers.end(), advising.contains(&true));
            assert!(threads.iter().all(|thread| !thread.has_leave.load(Ordering::Relaxed)));
            assert!(!advisers.end());
        }
    }

    #[test]
    fn threads_that_have_ended_are_forgotten() {
        let mut advisers = Advisers::default();
        (0..100).for_each(|_| add(&mut advisers, &Thread::new(true)));
        assert!(advisers.0.len() <= 1);
        assert!(!advisers.end());
    }
}
