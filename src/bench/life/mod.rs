//! The life cycle of sandboxes: starting, being many, being idle.

mod idle;
mod processes;
mod start;

use anyhow::Result;

use super::results::Row;
use super::session::{Session, TIME_IS_OVER, Until};

pub(crate) use processes::descendants;

/// Measures what is wanted.
pub(crate) fn measure(session: &Session, until: Until) -> Result<Vec<Row>> {
    let mut rows = start::measure(session, until);
    rows.extend(idle::measure(session, until));
    rows.iter_mut().for_each(|row| row.close(TIME_IS_OVER));
    Ok(rows)
}

/// What is measured here: name, title, unit.
pub(crate) const MEASURED: &[(&str, &str, &str)] = &[
    start::WARM,
    start::COLD,
    start::THROUGHPUT,
    idle::PROCESSES,
    idle::MEMORY_ALONE,
    idle::PROCESSOR,
    idle::MEMORY_TOGETHER,
];
