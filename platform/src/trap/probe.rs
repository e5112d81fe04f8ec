//! What the host offers the trap platform.

use crate::arch::has_bmi2;
use crate::host::Pid;
use crate::host::features::{has_fsgsbase, has_mseal, kernel_release};
use crate::host::pidfd::ProcessDescriptor;
use crate::host::seccomp::{has_filter_flags, has_user_notification};
use crate::stub::geometry::LISTENER_FLAGS;

/// What the host offers, one line each for `usk doctor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Seccomp user notification (Linux 5.0). Needed.
    pub user_notification: bool,
    /// A notified process can be interrupted only by death (Linux 5.19). Needed.
    pub killable_notification: bool,
    /// Process descriptors (Linux 5.3; that others can be taken through them, 5.6). Needed.
    pub process_descriptors: bool,
    /// User programs may use the `rdfsbase` instruction family (Linux 5.9 on a processor of 2012). Needed.
    pub fsgsbase: bool,
    /// Hand-overs stay on the waker's CPU (Linux 6.6). Without it, each guest thread is bound to one CPU.
    pub synchronous_wake_up: bool,
    /// Waiting for a call ends when the caller dies (Linux 6.11). Without it, hand-overs take a call more.
    pub receive_sees_death: bool,
    /// Mappings can be sealed (Linux 6.10). Without it, the filter alone protects the stub, which suffices.
    pub memory_sealing: bool,
    /// The processor shifts without touching the flags (BMI2, 2013). Without it, call sites are not patched.
    pub patching: bool,
    /// Sentry and guest threads may look for each other's words for a moment, on two processors, instead of sleeping. Nobody offers
    /// that: it is for whoever starts the platform to ask for. Needs synchronous wake-up and patching.
    pub spinning: bool,
}

/// Asks the host. Makes no process and changes nothing.
pub fn probe() -> Offer {
    let release = release_numbers(&kernel_release());
    Offer {
        user_notification: has_user_notification(),
        killable_notification: has_filter_flags(LISTENER_FLAGS),
        process_descriptors: ProcessDescriptor::open(Pid::this()).is_ok(),
        fsgsbase: has_fsgsbase(),
        synchronous_wake_up: release >= (6, 6),
        receive_sees_death: release >= (6, 11),
        memory_sealing: has_mseal(),
        patching: has_bmi2(),
        spinning: false,
    }
}

/// Major and minor number of a kernel.
fn release_numbers(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_version_is_two_numbers() {
        assert_eq!(release_numbers("6.18.44-fc"), (6, 18));
        assert_eq!(release_numbers("7.0"), (7, 0));
        assert_eq!(release_numbers(""), (0, 0));
    }
}
