//! Clocks that the stub reads by itself: the sentry's end of `clock.S`.

use crate::stub::addresses::clock;

/// In the code that asks the host. A signal there makes the call start again: to ask twice does no harm.
pub(super) fn is_in_clock_code(rip: u64) -> bool {
    (clock::begin()..clock::end()).contains(&rip)
}
