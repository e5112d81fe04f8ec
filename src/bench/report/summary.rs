//! The table that is asked for first: native, container, gVisor, usk, microVM, on one page. The microVM is not measured; its
//! figures are those that Firecracker publishes, and say so.

use super::numbers;
use crate::bench::results::{Class, Results, Section};
use crate::bench::statistics::geometric_mean;

/// What stands above the columns.
pub(super) const COLUMNS: [&str; 8] = [
    "runtime",
    "isolation",
    "start + true, ms (p99)",
    "sandboxes/s",
    "idle memory, MiB",
    "getppid, µs",
    "I/O commands",
    "compute commands",
];

/// What goes with the table.
pub(super) const NOTE: &str = "Commands: geometric mean of the ratios to native of those that ran, in a running sandbox. \
    microVM: not measured here but quoted from Firecracker's specification: at most 125 ms from the request to the guest's \
    init, at most 5 MiB for the monitor besides the guest's own memory, 5 microVMs a second on each core.";

const NOTHING: &str = "–";

/// The lines of the table: one for each runtime, and the quoted one.
pub(super) fn lines(results: &Results) -> Vec<[String; 8]> {
    let measured = (0..results.runtimes.len()).map(|index| line(results, index));
    let quoted = [
        "microVM",
        "virtualization",
        "≤ 125 (quoted)",
        "5 a core (quoted)",
        "≤ 5 (quoted)",
        NOTHING,
        NOTHING,
        NOTHING,
    ]
    .map(str::to_owned);
    measured.flatten().chain([quoted]).collect()
}

fn line(results: &Results, index: usize) -> Option<[String; 8]> {
    let runtime = results.runtimes.get(index)?;
    let class = match runtime.class {
        Class::Native => "none",
        Class::Container => "namespaces",
        Class::Gvisor => "gVisor's kernel",
        Class::Usk => "usk's kernel",
    };
    let summary = |id: &str| results.rows.iter().find(|row| row.id == id)?.summary(index);
    let median = |id: &str| summary(id).map_or(NOTHING.into(), |summary| numbers::figure(summary.median));
    let mean = |section: Section| {
        let ratios: Vec<f64> = results.rows(section).filter_map(|row| row.ratio(index)).collect();
        let asked = results.rows(section).count();
        match geometric_mean(&ratios) {
            Some(mean) if ratios.len() < asked => {
                format!("{} ({} of {asked})", numbers::ratio(mean), ratios.len())
            }
            Some(mean) => numbers::ratio(mean),
            None => NOTHING.into(),
        }
    };
    let start = summary("start_warm").map_or(NOTHING.into(), |summary| {
        format!("{} ({})", numbers::figure(summary.median), numbers::figure(summary.p99))
    });
    Some([
        runtime.name.clone(),
        class.into(),
        start,
        median("throughput"),
        median("memory_alone"),
        median("getppid"),
        mean(Section::Io),
        mean(Section::Compute),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::results::tests::sample;

    #[test]
    fn usk_is_measured_and_the_microvm_is_marked_as_quoted() {
        let lines = lines(&sample());
        assert_eq!(lines.len(), 4);
        let usk = &lines[2];
        assert_eq!(usk[0], "usk trap");
        assert_eq!(usk[2..], ["7.00 (7.00)", NOTHING, "9.00", "3.05", "×2.00", "×1.02"]);
        assert!(lines[3][2..5].iter().all(|cell| cell.contains("quoted")));
        assert!(lines[..3].iter().flatten().all(|cell| !cell.contains("quoted")));
    }
}
