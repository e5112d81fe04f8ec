//! Host calls of the guest's own: those that the stub makes for a patched site without asking, and those that the sentry has
//! a guest thread make.
//!
//! Private futexes are the host's in a sandbox that has these calls, all of them: a word's sleepers hang in one queue, whichever
//! way they came there. So what reaches the sentry nevertheless, because its site is not patched or because it has a timeout
//! that only the sentry can make absolute, is made by the guest thread on order ([`GuestThread::futex`](crate::GuestThread)).
//!
//! A kick may come at any instruction of the stub's part. [`Stage`] says what that means: a call that waits and is
//! interrupted has done nothing, for the host takes a waiter that a signal wakes out of its queue, or says that it was woken.

use usk_abi::Errno;

use crate::arch::Registers;
use crate::interface::{ExitReason, FutexCall, HostCalled, Trap};
use crate::stub::addresses::{host_call, site};
use crate::stub::geometry::*;

use super::patched::{PatchedCall, Place};
use super::thread::{Ring, Thread};

/// The largest error number that a host call returns, negated.
const MAX_ERRNO: u64 = 4095;
const NANOSECONDS: u64 = 1_000_000_000;
/// Flags at the entry of a call that the sentry orders: none but those that are always set.
const NO_FLAGS: u64 = 0x202;
const OPERATIONS: [i32; 5] = [
    libc::FUTEX_WAIT_BITSET,
    libc::FUTEX_WAKE_BITSET,
    libc::FUTEX_REQUEUE,
    libc::FUTEX_CMP_REQUEUE,
    libc::FUTEX_WAKE_OP,
];

/// How far a host call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Not made.
    Before,
    /// About to be made, or interrupted.
    Waits,
    /// Made; this is what the host has said.
    Made(u64),
}

/// In the platform's code for host calls, where the sentry has not heard of the call yet.
pub(super) fn is_in_host_call(rip: u64) -> bool {
    (host_call::begin()..host_call::end()).contains(&rip)
}

/// In a host call, by the registers of a signal frame. `None` elsewhere.
fn stage(raw: &Registers) -> Option<Stage> {
    if !is_in_host_call(raw.rip) {
        return None;
    }
    let sites = [site::futex_one(), site::futex_two(), site::yields()];
    // The host has it begin again, or has yet to begin.
    if sites.iter().any(|site| site - 2 == raw.rip) {
        return Some(Stage::Waits);
    }
    let result = match raw.rip {
        rip if rip >= host_call::reports() => raw.rdi,
        rip if rip >= host_call::made() || sites.contains(&rip) => raw.rax,
        _ => return Some(Stage::Before),
    };
    let is_interrupted = result == Errno::EINTR.as_return_value();
    Some(if is_interrupted { Stage::Waits } else { Stage::Made(result) })
}

impl Thread {
    /// Where a kick has met a thread in a host call that the guest has made from a patched site.
    pub(super) fn locate_host_call(&self, raw: Registers) -> Option<Place> {
        let stage = stage(&raw)?;
        let slot = self.slot();
        slot.store(ENTRY_HOST_CALL, 0);
        let (rip, rflags) = (slot.read_u64(ENTRY_RIP), slot.read_u64(ENTRY_FLAGS));
        let after = Registers { rip, rcx: rip, r11: rflags, rflags, rsp: slot.read_u64(ENTRY_RSP), ..raw };
        let number = slot.read_u64(ENTRY_RAX);
        let instruction = rip.wrapping_sub(2);
        Some(match stage {
            Stage::Before => {
                Place::Settled(Registers { rip: instruction, rax: number, ..after }, Trap::Interrupted)
            }
            Stage::Waits => Place::Settled(Registers { rax: number, ..after }, Trap::Syscall { instruction }),
            Stage::Made(result) => Place::Settled(Registers { rax: result, ..after }, Trap::Interrupted),
        })
    }

    /// Whether the thread, which has rung from a patched site or was about to, does so because a host call of its own has
    /// returned when none was allowed any more. Not more than once for each.
    pub(super) fn has_returned_from_host(&self) -> bool {
        let slot = self.slot();
        let has_returned = slot.load(ENTRY_HOST_CALL) == HOST_CALL_RETURNED;
        if has_returned {
            slot.store(ENTRY_HOST_CALL, 0);
        }
        has_returned
    }

    /// See [`GuestThread::futex`](crate::GuestThread::futex).
    pub(super) fn order_futex(&mut self, call: &FutexCall) -> HostCalled {
        let has_second = OPERATIONS[2..].contains(&(call.operation as i32));
        if !self.space.sandbox().has_host_calls || !OPERATIONS.contains(&(call.operation as i32)) {
            return HostCalled::Failed(Errno::ENOSYS);
        }
        if call.address >= GUEST_END || (has_second && call.second >= GUEST_END) {
            return HostCalled::Failed(Errno::EFAULT);
        }
        // The caller looks for itself why it was kicked.
        if self.ended.is_some() || std::mem::take(&mut self.is_kicked) || !self.handle().handover.begin() {
            return HostCalled::Interrupted;
        }
        let result = self.make_futex_call(call, has_second);
        self.handle().handover.end();
        match result {
            Ok(Stage::Made(value)) if value >= MAX_ERRNO.wrapping_neg() => {
                HostCalled::Failed(Errno::from_raw(value.wrapping_neg() as i32))
            }
            Ok(Stage::Made(value)) => HostCalled::Returned(value),
            Ok(Stage::Before | Stage::Waits) => HostCalled::Interrupted,
            // The next run says so.
            Err(_) => HostCalled::Interrupted,
        }
    }

    fn make_futex_call(&mut self, call: &FutexCall, has_second: bool) -> Result<Stage, ExitReason> {
        self.leave_slot()?;
        self.carry_out_deferred()?;
        if std::mem::take(&mut self.is_kicked) {
            // It has met the thread just now, and would not wake it from the call.
            return Ok(Stage::Before);
        }
        let slot = self.slot();
        let entry = if has_second { host_call::ordered_futex_two() } else { host_call::ordered_futex_one() };
        let fourth = match call.deadline_ns {
            None => u64::from(call.second_count),
            Some(deadline) => {
                slot.write_order(HOST_CALL_TIME, deadline / NANOSECONDS);
                slot.write_order(HOST_CALL_TIME + 8, deadline % NANOSECONDS);
                slot.orders_address() + HOST_CALL_TIME
            }
        };
        let registers = Registers {
            rip: entry,
            rsp: slot.address() + ENTRY_FLAGS,
            rdi: call.address,
            rsi: u64::from(call.operation | libc::FUTEX_PRIVATE_FLAG as u32),
            rdx: call.value.into(),
            r10: fourth,
            r8: call.second,
            r9: call.third_value.into(),
            rflags: NO_FLAGS,
            // That of the slot, which the stub needs, whatever the guest's is.
            gs_base: 0,
            fs_base: self.registers.fs_base,
            ..Registers::default()
        };
        let guests = std::mem::replace(&mut self.registers, registers);
        let result = self.run_to_host_call();
        self.registers = guests;
        result
    }

    /// Runs the thread, which has the registers of the call, until that has been made or a kick has come.
    fn run_to_host_call(&mut self) -> Result<Stage, ExitReason> {
        let Some(answer) = self.prepare_return()? else { return Ok(Stage::Before) };
        self.answer(answer)?;
        let stage = match self.await_ring()? {
            Ring::HostCalled(result) => {
                // It waits without a frame, and goes back with registers that it is told.
                self.patched = Some(PatchedCall::outside_of_sites());
                self.bases.1 = self.slot().address();
                return Ok(Stage::Made(result));
            }
            Ring::Trapped { signal, frame, bases } if signal == KICK_SIGNAL as u64 => {
                (self.patched, self.frame, self.bases) = (None, frame, bases);
                let mut raw = Registers::default();
                frame.read_registers(self.slot(), &mut raw);
                // Elsewhere it was still on its way.
                stage(&raw).unwrap_or(Stage::Before)
            }
            _ => return Err(self.execute()),
        };
        self.slot().store(ENTRY_HOST_CALL, 0);
        Ok(stage)
    }
}

#[cfg(test)]
mod model;
