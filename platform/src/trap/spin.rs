//! Hand-overs without the host. A doorbell and its answer are two switches of threads. Where a processor is idle, the sentry thread
//! can look at the slot instead, for a moment, and the guest thread can look there for its answer (`spin.S`): then a call costs the
//! way of two words between two processors. That takes processor time that nobody needs for anything else, or it would be no gain;
//! so it is done only where it was asked for, and given up where it does not pay.
//!
//! Whoever does not find what it looks for goes back to the doorbell: the sentry takes its offer back, the guest says that it sleeps.
//! One exchange of one word, the [`Hand`], decides who was first.
//!
//! A guest can pretend that a thread has called, while it goes on. It is believed, and gains nothing: its thread's call is made, and it
//! would get the answer. But whatever needs the thread to be in the stub (a list of calls, a frame, the end) has it ring the doorbell first
//! ([`Thread::leave_slot`]), and one that does not is kicked, and found out by where it was.

mod atomic {
    pub(super) use std::sync::atomic::{AtomicU32, Ordering};
}
mod hand;

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::arch::Registers;
use crate::host::pidfd::wait_readable;
use crate::host::{current_cpu, process_cpu_time};
use crate::interface::ExitReason;
use crate::stub::addresses::spin;
use crate::stub::geometry::*;

use super::thread::{Ring, Thread};
use hand::Hand;

/// How long the sentry looks for the next call. The guest's own patience is [`HAND_TURNS`].
const PATIENCE: Duration = Duration::from_micros(20);
/// The same, for the first call after the thread has been woken on another processor, which may have to leave its sleep.
const FIRST_PATIENCE: Duration = Duration::from_micros(500);
/// A thread that calls again so soon after an answer may be worth it.
const QUICK: Duration = Duration::from_micros(15);
/// So many quick calls in a row are wanted at first.
const FEW: u32 = 8;
/// And so many more, at least, once the thread has not come on in time on another processor: somebody else has that.
const SEVERAL: u32 = 128;
/// And at most, after tries that were in vain.
const MANY: u32 = 0x4000;
/// After so many calls in a row that were found, half as much is held against the thread.
const PROVEN: u32 = 256;
/// For so many times as long as a try in vain has lost no other is made: they cost five per cent at most.
const PENANCE: u32 = 20;
/// What a try can have lost: the thread has waited for the other processor. If it took longer the thread was busy.
const MOST_LOST: Duration = Duration::from_millis(10);
/// How long a thread that was sent to the doorbell may take before it is kicked.
const ROUND_PATIENCE: Duration = Duration::from_millis(10);
/// `ZF`: what was compared was equal.
const ZERO_FLAG: u64 = 0x40;
/// So often is looked before the clock is asked.
const LOOKS_PER_CLOCK: u32 = 32;

/// How many guest threads of a sandbox run, and with how many there is a second processor for each: with more, whoever looks for
/// another takes away what somebody else needs.
pub(super) struct Company {
    running: AtomicU32,
    most: u32,
}

impl Company {
    /// For `processors`; with none or one nobody looks for anybody.
    pub(super) fn new(processors: usize) -> Company {
        Company { running: AtomicU32::new(0), most: u32::try_from(processors / 2).unwrap_or(u32::MAX) }
    }

    fn may_ever_spin(&self) -> bool {
        self.most > 0
    }

    /// A guest thread begins to run. It does so until [`Company::leave`].
    pub(super) fn enter(&self) {
        if self.may_ever_spin() {
            self.running.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// It has trapped.
    pub(super) fn leave(&self) {
        if self.may_ever_spin() {
            self.running.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn has_room(&self) -> bool {
        self.running.load(Ordering::Relaxed) <= self.most
    }
}

/// What a thread's hand-overs have been like.
#[derive(Default)]
pub(super) struct Spin {
    /// Sentry and guest thread are on two processors.
    is_apart: bool,
    /// The guest thread looks for its answer in the slot: nothing waits at the doorbell.
    waits_in_slot: bool,
    /// How long the sentry is to look at the slot before it waits for the doorbell.
    listens: Option<Duration>,
    /// Quick calls in a row, or calls that were found in the slot.
    quick: u32,
    /// How many more than [`FEW`] of them are wanted, because tries were in vain.
    held_against: u32,
    /// When the last answer was given, if that is of interest.
    answered: Option<Instant>,
    /// Since when the thread is waited for in vain.
    in_vain: Option<Instant>,
    /// When it may be tried again.
    not_before: Option<Instant>,
}

impl Spin {
    /// Whether the pair is on two processors on purpose.
    pub(super) fn is_apart(&self) -> bool {
        self.is_apart
    }

    /// A call has come by the doorbell.
    pub(super) fn note_ring(&mut self) {
        if let Some(begun) = self.in_vain.take() {
            let now = Instant::now();
            self.not_before = Some(now + PENANCE * (now - begun).min(MOST_LOST));
        }
        let Some(answered) = self.answered.take() else { return };
        self.quick = if answered.elapsed() < QUICK { self.quick.saturating_add(1) } else { 0 };
    }

    /// A call was found in the slot.
    fn note_found(&mut self) {
        self.quick = self.quick.saturating_add(1);
        if self.quick.is_multiple_of(PROVEN) {
            self.held_against /= 2;
        }
    }

    /// None was, and this is the least that is held against the thread.
    fn note_failure(&mut self, least: u32) {
        self.quick = 0;
        self.held_against = (2 * self.held_against + least).min(MANY);
    }

    fn is_worth_a_try(&self) -> bool {
        let is_time = self.not_before.is_none_or(|time| self.answered.is_some_and(|now| now >= time));
        is_time && self.quick >= FEW + self.held_against
    }
}

/// In the code that hands calls over, before the sentry has got the call, or on the way to the doorbell with it. (A thread that has stopped
/// looking for the answer to a call that the sentry has got meets [`Thread::await_own_ring`], which does not ask.)
pub(super) fn is_about_to_ring(registers: &Registers) -> bool {
    let rip = registers.rip;
    let was_exchanged = registers.rflags & ZERO_FLAG != 0;
    (spin::begin()..spin::rung()).contains(&rip)
        || (rip == spin::rung() && !was_exchanged)
        || (rip == spin::slept() && was_exchanged)
}

impl Thread {
    fn hand(&self) -> Hand<'_> {
        Hand(self.slot().word(HAND))
    }

    /// The thread looks for its answer in the slot, where a kick may meet it at any time.
    pub(super) fn waits_in_slot(&self) -> bool {
        self.spin.waits_in_slot
    }

    /// Answers the call with which the thread is to go back to the guest. False if it has been interrupted meanwhile and waits in a
    /// signal handler: then the answer has to be prepared anew.
    pub(super) fn answer_guest(&mut self, value: u32) -> Result<bool, ExitReason> {
        if self.spin.waits_in_slot {
            return self.answer_in_slot(value);
        }
        let company = &self.space.sandbox().company;
        if company.may_ever_spin() {
            let has_room = company.has_room();
            match self.spin.is_apart {
                true if has_room => self.listen_next(FIRST_PATIENCE),
                true => self.join(FEW),
                false => {
                    self.spin.answered = Some(Instant::now());
                    if has_room && self.spin.is_worth_a_try() {
                        self.part();
                    }
                }
            }
        }
        self.answer(value).map(|()| true)
    }

    fn answer_in_slot(&mut self, value: u32) -> Result<bool, ExitReason> {
        self.spin.waits_in_slot = false;
        self.slot().write_u64(HAND_ANSWER, self.slot().answer(value) as u64);
        let goes_on = self.space.sandbox().company.has_room();
        if !self.hand().answer(goes_on) {
            self.join(FEW);
            self.spin.in_vain = Some(Instant::now());
            return Ok(self.await_own_ring()? && self.answer(value).map(|()| true)?);
        }
        match goes_on {
            true => self.spin.listens = Some(PATIENCE),
            false => self.join(FEW),
        }
        Ok(true)
    }

    /// Has the thread woken on another processor, and the sentry look for its next call.
    fn part(&mut self) {
        let pid = self.handle().pid;
        if self.space.sandbox().cpus.allow_others(pid, current_cpu()).is_ok() {
            self.spin.is_apart = true;
            self.listen_next(FIRST_PATIENCE);
        } else {
            self.spin.note_failure(SEVERAL);
        }
    }

    /// Offers the thread, which waits at the doorbell, to look for its next call.
    fn listen_next(&mut self, patience: Duration) {
        self.hand().listen();
        self.spin.listens = Some(patience);
    }

    /// Gives it up, and holds so much against the thread: the two may be on one processor again.
    fn join(&mut self, least: u32) {
        self.spin.note_failure(least);
        self.come_together();
    }

    fn come_together(&mut self) {
        if std::mem::take(&mut self.spin.is_apart) {
            // It fails only for a process that has ended.
            let _ = self.space.sandbox().cpus.allow(self.handle().pid);
        }
    }

    /// The thread waits at the doorbell from now on, wherever it may run. An error means that it has ended.
    pub(super) fn stop_spinning(&mut self) -> Result<(), ExitReason> {
        self.come_together();
        self.leave_slot()
    }

    /// Looks for a call in the slot, if it is time to: its arguments.
    pub(super) fn listen(&mut self) -> Option<[u64; 6]> {
        let patience = self.spin.listens.take()?;
        let begun = Instant::now();
        let has_rung = loop {
            let looks = |_| {
                std::hint::spin_loop();
                self.hand().has_moved()
            };
            let has_moved = (0..LOOKS_PER_CLOCK).any(looks);
            if has_moved || begun.elapsed() > patience || !self.space.sandbox().company.has_room() {
                break self.hand().has_rung() || self.hand().rest();
            }
        };
        if !has_rung {
            self.spin.in_vain = Some(begun);
            self.join(if patience == FIRST_PATIENCE { SEVERAL } else { FEW });
            return None;
        }
        self.spin.note_found();
        self.spin.waits_in_slot = true;
        Some(std::array::from_fn(|index| self.slot().read_u64(ENTRY_ARGUMENTS + 8 * index as u64)))
    }

    /// Has a thread that looks for its answer in the slot wait at the doorbell instead.
    pub(super) fn leave_slot(&mut self) -> Result<(), ExitReason> {
        if !std::mem::take(&mut self.spin.waits_in_slot) {
            return Ok(());
        }
        self.slot().write_u64(HAND_ANSWER, ANSWER_RINGS.into());
        self.hand().dismiss();
        self.hurry()?;
        self.await_own_ring().map(drop)
    }

    /// Waits until the thread rings or has ended. One that does not come is kicked, and killed once it has run for a while all the same:
    /// it has its kicks blocked.
    fn hurry(&mut self) -> Result<(), ExitReason> {
        let time = |thread: &Thread| process_cpu_time(thread.handle().pid).unwrap_or_default();
        let mut kicked_at = None;
        loop {
            let ends = [self.listener.as_fd(), self.handle().process.as_fd()];
            if !matches!(wait_readable(ends, Some(ROUND_PATIENCE)), Ok([false, false])) {
                return Ok(());
            }
            match kicked_at {
                None => {
                    // If it has ended that shows.
                    let _ = self.handle().process.signal(KICK_SIGNAL);
                    kicked_at = Some(time(self));
                }
                Some(then) if time(self).saturating_sub(then) > ROUND_PATIENCE => return Err(self.execute()),
                Some(_) => {}
            }
        }
    }

    /// Waits until the thread, whose call has been taken, is at the doorbell. False if a kick has met it on its way: then it waits
    /// with a frame.
    fn await_own_ring(&mut self) -> Result<bool, ExitReason> {
        let ring = self.await_bell()?;
        self.spin.note_ring();
        match ring {
            Ring::Patched(_) => Ok(true),
            Ring::Trapped { signal, frame, bases } if signal == KICK_SIGNAL as u64 => {
                let mut raw = Registers::default();
                frame.read_registers(self.slot(), &mut raw);
                if !(STUB_BASE..STUB_BASE + CODE_SIZE).contains(&raw.rip) {
                    // It has gone on with its call in the sentry's hands.
                    return Err(self.execute());
                }
                self.is_kicked = true;
                self.settle_in_frame(frame, bases);
                Ok(false)
            }
            _ => Err(self.execute()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_worth_a_try_after_quick_calls_and_less_so_after_each_failure() {
        let mut spin = Spin::default();
        let calls_until_try = |spin: &mut Spin| {
            let calls = (1..).find(|_| {
                spin.answered = Some(Instant::now());
                spin.note_ring();
                spin.is_worth_a_try()
            });
            spin.note_failure(FEW);
            calls.unwrap()
        };
        // A machine that stops this thread between two instructions makes a call slow, and the row longer.
        assert!(calls_until_try(&mut spin) >= FEW);
        assert!(calls_until_try(&mut spin) >= 2 * FEW);
        assert!(calls_until_try(&mut spin) >= 4 * FEW);
        (0..8 * PROVEN).for_each(|_| spin.note_found());
        assert_eq!(spin.held_against, 0);
    }

    #[test]
    fn there_is_room_for_one_thread_on_each_two_processors() {
        let company = Company::new(5);
        let with_another = || {
            company.enter();
            company.has_room()
        };
        assert_eq!([with_another(), with_another(), with_another()], [true, true, false]);
        company.leave();
        assert!(company.has_room());
        assert!(!Company::new(1).may_ever_spin());
    }
}

#[cfg(test)]
mod model;
