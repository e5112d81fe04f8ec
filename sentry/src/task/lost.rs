//! Guest processes that the host ends: by SIGKILL to a stub, as its OOM killer sends it. To the guest process it is
//! SIGKILL too, whatever its threads are doing.

use std::sync::Arc;

use usk_abi::{Errno, Signal};

use crate::kernel::Kernel;
use crate::task::{Current, ExitStatus, Task};

/// Stack of the thread that waits for deaths, in bytes.
const STACK_SIZE: usize = 64 << 10;

/// How a guest process ends that has lost a part.
const KILLED: ExitStatus = ExitStatus::Signaled { signal: Signal::SIGKILL, core: false };

/// Starts the thread that ends guest processes of which a part was lost. `EAGAIN` if the host gives no thread.
pub fn watch(kernel: &Arc<Kernel>) -> Result<(), Errno> {
    let kernel = kernel.clone();
    let builder = std::thread::Builder::new().name("deaths".to_owned()).stack_size(STACK_SIZE);
    let run = move || {
        loop {
            match kernel.platform.wait_for_death() {
                Ok(()) => end_lost(&kernel),
                Err(error) => return tracing::error!(%error, "deaths of stubs are not noticed any more"),
            }
        }
    };
    builder.spawn(run).map(drop).map_err(|_| Errno::EAGAIN)
}

/// A call may have failed because the host has just ended what keeps the address space. The guest is not to see that.
pub(super) fn check_after_failure(current: &Current, errno: Errno) {
    // What a platform's operations fail with: asking is a host call, so only after these.
    let may_be_it = matches!(errno, Errno::EFAULT | Errno::EAGAIN | Errno::ENOMEM | Errno::ESRCH);
    if may_be_it && !current.space().is_alive() {
        current.task.group.begin_exit(KILLED);
    }
}

/// Deaths are rare, so which process it was is found out by looking at all.
fn end_lost(kernel: &Kernel) {
    let tasks: Vec<Arc<Task>> = kernel.tasks.lock().threads().cloned().collect();
    for task in tasks.iter().filter(|task| is_lost(task)) {
        task.group.begin_exit(KILLED);
    }
}

fn is_lost(task: &Task) -> bool {
    // A task that has no runner has not begun, or is leaving.
    let runner = task.runner.load();
    runner.as_ref().is_some_and(|runner| !runner.kicker.is_alive() || !task.mm().space.is_alive())
}
