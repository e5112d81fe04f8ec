//! All interleavings of a change, a renewal and a guest that asks, by loom.

use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;

mod atomic {
    pub(super) use loom::sync::atomic::{AtomicU32, Ordering};
}
#[path = "version.rs"]
#[allow(clippy::duplicate_mod, reason = "the same source over other words")]
mod version;
use version::Version;

const STANDS: u64 = 1 << 32;

struct Shared {
    version: Version,
    /// What the sentry knows, under its lock.
    truth: Mutex<u32>,
    /// What has been left for the guest.
    left: AtomicU64,
    /// Somebody has learnt of the change.
    is_known: AtomicBool,
}

impl Shared {
    fn change(&self, to: u32) {
        let mut truth = self.truth.lock().unwrap();
        *truth = to;
        self.version.withdraw(|| self.left.store(0, Ordering::Release));
        drop(truth);
        self.is_known.store(true, Ordering::Release);
    }

    fn renew(&self, version: &mut Option<u32>) {
        if !self.version.stands(*version) {
            let truth = self.truth.lock().unwrap();
            *version = Some(self.version.now());
            self.left.store(STANDS | u64::from(*truth), Ordering::Release);
        }
    }

    /// A call: the stub's answer if one stands, else the sentry's.
    fn ask(&self) -> u32 {
        match self.left.load(Ordering::Relaxed) {
            left if left & STANDS != 0 => left as u32,
            _ => *self.truth.lock().unwrap(),
        }
    }
}

#[test]
fn no_answer_stands_that_somebody_knows_to_be_old() {
    loom::model(|| {
        let shared = Arc::new(Shared {
            version: Version::new(),
            truth: Mutex::new(1),
            left: AtomicU64::new(0),
            is_known: AtomicBool::new(false),
        });
        let changer = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.change(2))
        };
        let mut version = None;
        for _ in 0..2 {
            shared.renew(&mut version);
            let is_known = shared.is_known.load(Ordering::Acquire);
            let answer = shared.ask();
            assert!(answer == 2 || !is_known);
        }
        changer.join().unwrap();
        shared.renew(&mut version);
        assert_eq!(shared.left.load(Ordering::Relaxed), STANDS | 2);
    });
}
