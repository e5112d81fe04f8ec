//! Private futexes where the host keeps them ([`usk_platform::GuestThread::has_host_futexes`]): guest threads make most of these
//! calls without the sentry, so the sleepers hang in the host's queues, and whatever reaches the sentry goes there too.
//!
//! Nothing that the sentry does of its own accord concerns them: the end of a thread wakes words that nobody has promised to be
//! private (`mm_release`, `handle_futex_death`), and those, on Linux, are others, even at the same address.
//!
//! There is one exception, `futex_waitv(2)`, whose words need not all be private: its sleepers hang here. While an address space
//! has one ([`SleepsHere`]), all its futex calls come to the sentry, and who wakes looks in both places.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use usk_platform::FutexCall;

use super::{MATCH_ANY, Requeue, WakeOperation, key, requeue_here, wake_here};
use crate::SysResult;
use crate::mm::Mm;
use crate::task::{Current, Task};
use crate::time::Deadline;

const FUTEX_REQUEUE: u32 = 3;
const FUTEX_CMP_REQUEUE: u32 = 4;
const FUTEX_WAKE_OP: u32 = 5;
const FUTEX_WAIT_BITSET: u32 = 9;
const FUTEX_WAKE_BITSET: u32 = 10;

/// Says that an address space has a sleeper here, as long as it lives. To be made before the sleeper looks at its words.
pub(super) struct SleepsHere(Arc<Mm>);

impl SleepsHere {
    pub(super) fn new(mm: Arc<Mm>) -> Self {
        mm.futex_sleepers.fetch_add(1, Ordering::SeqCst);
        // Whoever wakes without asking has changed the word before this, and the sleeper sees that (`host_calls.S`).
        mm.withdraw_answers();
        SleepsHere(mm)
    }
}

impl Drop for SleepsHere {
    fn drop(&mut self) {
        self.0.futex_sleepers.fetch_sub(1, Ordering::SeqCst);
        // They are left anew when each thread next goes back to guest code.
        self.0.withdraw_answers();
    }
}

/// Whether all sleepers on private futexes of the task's address space are the host's.
pub(crate) fn may_go_to_host(task: &Task) -> bool {
    task.borrow_mm(|mm| mm.futex_sleepers.load(Ordering::SeqCst) == 0)
}

pub(super) fn wait(
    current: &mut Current,
    address: u64,
    expected: u32,
    bitset: u32,
    deadline: Option<Deadline>,
) -> SysResult<()> {
    let call = FutexCall::new(FUTEX_WAIT_BITSET, address, expected, bitset);
    let deadline_ns = deadline.map(|deadline| deadline.0);
    current.host_futex(&FutexCall { deadline_ns, ..call }, true).map(|_| ())
}

pub(super) fn wake(current: &mut Current, address: u64, count: u32, bitset: u32) -> SysResult<u32> {
    let woken = match may_go_to_host(&current.task) {
        true => 0,
        false => wake_here(&current.task, address, true, count, bitset)?,
    };
    match count.saturating_sub(woken) {
        0 => Ok(woken),
        rest => {
            let call = FutexCall::new(FUTEX_WAKE_BITSET, address, rest, bitset);
            Ok(woken + count_of(current.host_futex(&call, false)?))
        }
    }
}

pub(super) fn requeue(current: &mut Current, request: Requeue) -> SysResult<u32> {
    let Requeue { from, to, wake, requeue, expected, .. } = request;
    let (woken, moved) = match may_go_to_host(&current.task) {
        true => (0, 0),
        false => requeue_here(current, request)?,
    };
    let operation = if expected.is_some() { FUTEX_CMP_REQUEUE } else { FUTEX_REQUEUE };
    let call = FutexCall {
        second: to,
        second_count: requeue.saturating_sub(moved),
        ..FutexCall::new(operation, from, wake.saturating_sub(woken), expected.unwrap_or(0))
    };
    Ok(woken + moved + count_of(current.host_futex(&call, false)?))
}

pub(super) fn wake_op(
    current: &mut Current,
    (first, second): (u64, u64),
    (wake_first, wake_second): (u32, u32),
    encoded: u32,
) -> SysResult<u32> {
    if may_go_to_host(&current.task) {
        let call = FutexCall::new(FUTEX_WAKE_OP, first, wake_first, encoded);
        return current
            .host_futex(&FutexCall { second, second_count: wake_second, ..call }, false)
            .map(count_of);
    }
    // Both words must be good before one is changed.
    key(&current.task, first, true)?;
    key(&current.task, second, true)?;
    let old = WakeOperation::decode(encoded)?.carry_out(current, second)?;
    let woken = wake(current, first, wake_first, MATCH_ANY)?;
    match WakeOperation::decode(encoded)?.compares(old) {
        true => Ok(woken + wake(current, second, wake_second, MATCH_ANY)?),
        false => Ok(woken),
    }
}

/// The host counts in an `int`.
fn count_of(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
