//! All interleavings of a guest thread that hands a call over and a sentry thread that looks for it for a while, by loom. The guest's
//! side is what `spin.S` does.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use loom::thread;

use crate::stub::geometry::{HAND_LISTENS, HAND_RESTS, HAND_RUNG, HAND_SLEEPS};

mod atomic {
    pub(super) use loom::sync::atomic::{AtomicU32, Ordering};
}
#[path = "hand.rs"]
#[allow(clippy::duplicate_mod, reason = "the same source over other words")]
mod hand;
use hand::Hand;

/// The slot, and the doorbell, which is the host's and so one object with one order of events.
struct Slot {
    hand: AtomicU32,
    call: AtomicU32,
    answer: AtomicU32,
    bell: AtomicBool,
}

/// What the guest gets for its call: an answer, or that it is at the doorbell.
fn call(slot: &Slot, number: u32) -> Option<u32> {
    slot.call.store(number, Ordering::Relaxed);
    let exchange = |from, to| slot.hand.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
    if exchange(HAND_LISTENS, HAND_RUNG).is_ok() {
        // It has looked long enough at any time.
        if slot.hand.load(Ordering::Acquire) != HAND_RUNG || exchange(HAND_RUNG, HAND_SLEEPS).is_err() {
            return Some(slot.answer.load(Ordering::Relaxed));
        }
    }
    slot.bell.swap(true, Ordering::AcqRel);
    None
}

/// A slot that the sentry looks at, and a guest thread that calls.
fn begin() -> (Arc<Slot>, thread::JoinHandle<Option<u32>>) {
    let slot = Arc::new(Slot {
        hand: AtomicU32::new(HAND_RESTS),
        call: AtomicU32::new(0),
        answer: AtomicU32::new(0),
        bell: AtomicBool::new(false),
    });
    Hand(&slot.hand).listen();
    let guest = Arc::clone(&slot);
    (slot, thread::spawn(move || call(&guest, 7)))
}

#[test]
fn each_call_is_taken_and_answered_once() {
    loom::model(|| {
        let (slot, guest) = begin();
        let hand = Hand(&slot.hand);
        let is_taken = (hand.has_moved() && hand.has_rung()) || hand.rest();
        let mut is_answered = false;
        if is_taken {
            assert_eq!(slot.call.load(Ordering::Relaxed), 7);
            slot.answer.store(8, Ordering::Relaxed);
            is_answered = hand.answer(true);
        }
        let answer = guest.join().unwrap();
        // It has its answer, or it waits where the sentry looks next.
        assert_eq!(answer, is_answered.then_some(8));
        assert_eq!(slot.bell.load(Ordering::Acquire), !is_answered);
    });
}

#[test]
fn a_thread_that_is_sent_to_the_doorbell_hears_of_it_or_is_there() {
    loom::model(|| {
        let (slot, guest) = begin();
        let hand = Hand(&slot.hand);
        let is_taken = (hand.has_moved() && hand.has_rung()) || hand.rest();
        if is_taken {
            slot.answer.store(9, Ordering::Relaxed);
            hand.dismiss();
        }
        match guest.join().unwrap() {
            Some(answer) => assert!(is_taken && answer == 9),
            None => assert!(slot.bell.load(Ordering::Acquire)),
        }
    });
}
