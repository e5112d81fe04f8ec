//! The results as text, for a terminal.

use super::goals;
use super::numbers;
use super::summary;
use crate::bench::results::{Results, Section};

/// All tables.
pub(crate) fn text(results: &Results) -> String {
    let mut text = String::new();
    for line in results.machine.lines() {
        text += &format!("{line}\n");
    }
    for section in Section::ALL {
        let rows: Vec<Vec<String>> = rows(results, section);
        if !rows.is_empty() {
            let mut head = vec![section.title().to_owned()];
            head.extend(results.runtimes.iter().map(|runtime| runtime.name.clone()));
            text += &format!("\n{}", aligned(&[vec![head], rows].concat()));
        }
    }
    let head = vec![summary::COLUMNS.map(str::to_owned).to_vec()];
    let lines: Vec<Vec<String>> = summary::lines(results).into_iter().map(Vec::from).collect();
    text += &format!("\n{}{}\n", aligned(&[head, lines].concat()), summary::NOTE);
    let goals = goals::lines(results);
    if !goals.is_empty() {
        let head = vec![goals::COLUMNS.map(str::to_owned).to_vec()];
        let lines: Vec<Vec<String>> = goals.into_iter().map(Vec::from).collect();
        text += &format!("\n{}{}\n", aligned(&[head, lines].concat()), goals::count(results));
    }
    let reasons = results.reasons();
    if !reasons.is_empty() {
        text += "\nNot measured (–), and why:\n";
        for reason in reasons {
            text += &format!("  {reason}\n");
        }
    }
    text
}

/// The lines of one table: title and unit, then the median and its ratio to the native one.
fn rows(results: &Results, section: Section) -> Vec<Vec<String>> {
    let line = |row: &crate::bench::results::Row| {
        let unit = if row.unit.is_empty() { String::new() } else { format!(", {}", row.unit) };
        let mut cells = vec![format!("{}{unit}", row.title)];
        cells.extend((0..results.runtimes.len()).map(|index| match (row.summary(index), row.ratio(index)) {
            (None, _) => "–".into(),
            (Some(summary), Some(ratio)) if index > 0 => {
                format!("{} {}", numbers::figure(summary.median), numbers::ratio(ratio))
            }
            (Some(summary), _) => numbers::figure(summary.median),
        }));
        cells
    };
    results.rows(section).map(line).collect()
}

/// Lines with their cells below each other: the first column to the left, the others to the right, a rule below the head.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| match column {
            0 => format!("{cell:width$}"),
            _ => format!("{cell:>width$}"),
        });
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
        if number == 0 {
            text += &"─".repeat(widths.iter().sum::<usize>() + 2 * columns.saturating_sub(1));
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::results::tests::sample;

    #[test]
    fn the_table_shows_medians_ratios_and_reasons() {
        let text = text(&sample());
        let line =
            |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap_or_default().to_owned();
        assert!(line("title of find").ends_with("70.0  72.0 ×1.03  140 ×2.00"), "{text}");
        assert!(line("title of tcp").ends_with('–'));
        assert!(line("  usk trap: ").contains("micro::tcp"));
        assert!(line("  runsc kvm: ").contains("no /dev/kvm"));
        assert!(line("microVM").contains("quoted"));
    }

    #[test]
    fn columns_lie_below_each_other() {
        let cells = |line: [&str; 2]| line.map(str::to_owned).to_vec();
        let text = aligned(&[cells(["a", "µs"]), cells(["long", "7"])]);
        assert_eq!(text, "a     µs\n────────\nlong   7\n");
    }
}
