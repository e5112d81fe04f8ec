//! Which CPU a thread runs on: `sched_getcpu(3)`, `sched_setaffinity(2)`.

use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use usk_abi::Errno;

/// The CPU that the caller runs on at this moment.
pub fn current_cpu() -> usize {
    // Fails only where the kernel has no getcpu(2), which is older than all that the platforms need.
    nix::sched::sched_getcpu().unwrap_or(0)
}

/// Binds a thread to one CPU.
pub fn pin(thread: Pid, cpu: usize) -> Result<(), Errno> {
    let mut set = CpuSet::new();
    set.set(cpu).map_err(from_nix)?;
    sched_setaffinity(thread, &set).map_err(from_nix)
}

/// Binds the caller and a partner to the CPU that the caller runs on at this moment. Where that fails everything works, slower.
pub fn pin_together(partner: Pid) {
    let cpu = current_cpu();
    let _ = pin(Pid::from_raw(0), cpu).and_then(|()| pin(partner, cpu));
}

/// A set of CPUs, to give a thread its freedom back.
#[derive(Clone, Copy, Debug)]
pub struct Cpus(CpuSet);

impl Cpus {
    /// Those that the thread may run on now; pid 0 is the caller.
    pub fn of(thread: Pid) -> Result<Cpus, Errno> {
        sched_getaffinity(thread).map(Cpus).map_err(from_nix)
    }

    /// Lets a thread run on all of them; on all that there are if none of them is left to it (`cpuset(7)`).
    pub fn allow(&self, thread: Pid) -> Result<(), Errno> {
        match sched_setaffinity(thread, &self.0) {
            Err(nix::errno::Errno::EINVAL) => sched_setaffinity(thread, &all_cpus()?).map_err(from_nix),
            result => result.map_err(from_nix),
        }
    }

    /// Lets a thread run on all of them but this. `EINVAL` if there is no other.
    pub fn allow_others(&self, thread: Pid, cpu: usize) -> Result<(), Errno> {
        let mut others = self.0;
        others.unset(cpu).map_err(from_nix)?;
        sched_setaffinity(thread, &others).map_err(from_nix)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.numbers().len()
    }

    /// Whether it is this CPU and no other.
    fn is_only(&self, cpu: usize) -> bool {
        let mut only = CpuSet::new();
        only.set(cpu).is_ok() && only == self.0
    }

    /// Their numbers, ascending.
    pub fn numbers(&self) -> Vec<usize> {
        (0..CpuSet::count()).filter(|&cpu| self.0.is_set(cpu).unwrap_or(false)).collect()
    }
}

/// Keeps the calling thread on its CPU until dropped, so that wake-ups between it and a partner on that CPU stay there:
/// on a virtual machine a wake-up on another CPU that sleeps costs 20 to 100 µs. Each costs some 10 µs itself: around several
/// such wake-ups one more is worth it, in which theirs cost little. A thread that is made meanwhile stays there for good.
pub struct Stay {
    before: Option<Cpus>,
    cpu: usize,
}

impl Stay {
    /// On the CPU that the caller runs on at this moment.
    pub fn here() -> Stay {
        let caller = Pid::from_raw(0);
        let before = Cpus::of(caller).ok();
        let cpu = current_cpu();
        if before.is_some_and(|before| before.is_only(cpu)) {
            // Within another stay, or bound for good.
            return Stay { before: None, cpu };
        }
        // Without it everything works, slower.
        let _ = pin(caller, cpu);
        Stay { before, cpu }
    }

    /// The CPU.
    pub fn cpu(&self) -> usize {
        self.cpu
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        if let Some(before) = self.before {
            let _ = before.allow(Pid::from_raw(0));
        }
    }
}

/// Keeps the calling thread and a partner that sleeps on the CPU of the caller until dropped, while they wake each other in ways that do
/// not say that the waker is about to sleep: the host would have each look for a CPU that is idle, and wake that. Both are free to run on
/// all of the CPUs afterwards. Each costs 2 µs, where it saves two wake-ups of a sleeping CPU.
pub struct Together<'a> {
    partner: Pid,
    cpus: &'a Cpus,
}

impl<'a> Together<'a> {
    /// On the CPU that the caller runs on at this moment, out of those on which both may run.
    pub fn here(partner: Pid, cpus: &'a Cpus) -> Together<'a> {
        pin_together(partner);
        Together { partner, cpus }
    }
}

impl Drop for Together<'_> {
    fn drop(&mut self) {
        for thread in [self.partner, Pid::from_raw(0)] {
            // It fails only for a thread that has ended.
            let _ = self.cpus.allow(thread);
        }
    }
}

fn all_cpus() -> Result<CpuSet, Errno> {
    let mut all = CpuSet::new();
    (0..CpuSet::count()).try_for_each(|cpu| all.set(cpu)).map_err(from_nix)?;
    Ok(all)
}

fn from_nix(error: nix::errno::Errno) -> Errno {
    Errno::from_raw(error as i32)
}

/// What [`count_processors`] has counted; 0 before it has.
static PROCESSORS: AtomicUsize = AtomicUsize::new(0);

/// Count of CPUs that this process may run on, at least 1, when they were last counted ([`count_processors`]).
pub fn processor_count() -> usize {
    match PROCESSORS.load(Ordering::Relaxed) {
        0 => count_processors(),
        count => count,
    }
}

/// Counts the CPUs that the caller may run on, which must not be bound to fewer than its process may have. sched_getaffinity(2).
pub fn count_processors() -> usize {
    let count = |set: CpuSet| (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).count();
    let count = sched_getaffinity(Pid::from_raw(0)).map(count).unwrap_or(1).max(1);
    PROCESSORS.store(count, Ordering::Relaxed);
    count
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn two_threads_are_together_for_as_long_as_is_said() {
        thread::spawn(|| {
            let all = Cpus::of(Pid::from_raw(0)).unwrap();
            let (say, pid) = mpsc::channel();
            let (end, ends) = mpsc::channel::<()>();
            let partner = thread::spawn(move || {
                say.send(nix::unistd::gettid()).unwrap();
                assert!(ends.recv().is_err());
            });
            let pid = pid.recv().unwrap();
            let of_both = || [Pid::from_raw(0), pid].map(|thread| Cpus::of(thread).unwrap().numbers());
            let together = Together::here(pid, &all);
            let here = vec![current_cpu()];
            assert_eq!(of_both(), [here.clone(), here]);
            drop(together);
            assert_eq!(of_both(), [all.numbers(), all.numbers()]);
            drop(end);
            partner.join().unwrap();
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_thread_gets_all_that_is_left_where_nothing_of_what_it_had_is() {
        let all = Cpus::of(Pid::from_raw(0)).unwrap();
        let mut absent = CpuSet::new();
        absent.set(CpuSet::count() - 1).unwrap();
        // No machine of these tests has that many.
        assert!(!all.numbers().contains(&(CpuSet::count() - 1)));
        let allowed = thread::spawn(move || {
            Cpus(absent).allow(Pid::from_raw(0)).unwrap();
            Cpus::of(Pid::from_raw(0)).unwrap().numbers()
        });
        let allowed = allowed.join().unwrap();
        assert!(all.numbers().iter().all(|cpu| allowed.contains(cpu)), "{allowed:?}");
    }
}
