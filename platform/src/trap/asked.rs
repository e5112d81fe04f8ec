//! What the stub asks the host: the sentry's end of `asked.S`.

use crate::stub::addresses::asked;

/// In the code that asks the host. A signal there makes the call start again: to ask twice does no harm.
pub(super) fn is_in_asking_code(rip: u64) -> bool {
    (asked::begin()..asked::end()).contains(&rip)
}
