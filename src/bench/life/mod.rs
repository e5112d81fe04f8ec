//! The life cycle of sandboxes: starting, being many, being idle.

mod idle;
mod processes;
mod start;

use super::results::Row;
use super::session::{Session, TIME_IS_OVER, Until};

pub(crate) use processes::descendants;

/// Measures what is wanted, what matters most first.
pub(crate) fn measure(session: &Session, until: Until) -> Vec<Row> {
    let mut rows = start::measure_warm(session, until);
    rows.extend(idle::measure(session, until));
    rows.extend(start::measure_others(session, until));
    rows.iter_mut().for_each(|row| row.close(TIME_IS_OVER));
    rows
}

/// What is measured here: name, title, unit.
pub(crate) const MEASURED: &[(&str, &str, &str)] = &[
    start::WARM,
    idle::PROCESSES,
    idle::MEMORY_ALONE,
    idle::PROCESSOR,
    idle::MEMORY_TOGETHER,
    start::COLD,
    start::THROUGHPUT,
];
