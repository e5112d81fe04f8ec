//! `report.html`: one page that needs nothing else, with tables, pictures, and what was not measured.

use super::{goals, numbers, summary};
use crate::bench::results::{Cell, Results, Row, Section};

const STYLE: &str = "
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 75rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; font-size: 13px }
th, td { padding: .2rem .6rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap }
th:first-child, td:first-child { text-align: left }
td small { color: #777 }
.scroll { overflow-x: auto }
svg { max-width: 100%; height: auto }
code { font-size: 13px }
";

/// The page, with these pictures.
pub(super) fn html(results: &Results, pictures: &[(Section, String)]) -> String {
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n<title>usk bench</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<h1>usk bench</h1>\n"
    );
    let settings = &results.settings;
    let mut lines = results.machine.lines();
    lines.push(format!(
        "{} rounds{}, the runtimes in turn. Each figure is a median of all samples; behind it stands how many times the \
         native figure it is (the median over the rounds). Point at a figure for its p99 and spread, which is the width of \
         the middle half as a share of the median.",
        settings.rounds,
        if settings.quick { ", --quick" } else { "" }
    ));
    lines.iter().for_each(|line| page += &format!("<p>{}</p>\n", escape(line)));
    page += "<h2>Summary</h2>\n";
    page += &table(
        &summary::COLUMNS.map(escape),
        summary::lines(results).iter().map(|line| line.each_ref().map(escape).to_vec()),
    );
    page += &format!("<p>{}</p>\n", escape(summary::NOTE));
    let goal_lines = goals::lines(results);
    if !goal_lines.is_empty() {
        page += "<h2>Goals</h2>\n";
        page += &table(
            &goals::COLUMNS.map(escape),
            goal_lines.iter().map(|line| line.each_ref().map(escape).to_vec()),
        );
        page += &format!("<p>{}</p>\n", escape(goals::count(results)));
    }
    for section in Section::ALL {
        if results.rows(section).next().is_none() {
            continue;
        }
        page += &format!("<h2>{}</h2>\n", escape(section.title()));
        if let Some((_, picture)) = pictures.iter().find(|(of, _)| *of == section) {
            page += &format!("<div class=\"scroll\">{picture}</div>\n");
        }
        let mut head = vec![String::new()];
        head.extend(results.runtimes.iter().map(|runtime| escape(&runtime.name)));
        page += &table(&head, results.rows(section).map(line));
    }
    let reasons: Vec<String> = results.reasons().iter().map(escape).collect();
    if !reasons.is_empty() {
        page += &format!(
            "<h2>Not measured, and why</h2>\n<ul>\n<li>{}</li>\n</ul>\n",
            reasons.join("</li>\n<li>")
        );
    }
    page += "<h2>Runtimes</h2>\n";
    let runtimes = results.runtimes.iter();
    page += &table(
        &["name", "version", "command"].map(str::to_owned),
        runtimes.map(|runtime| {
            let command = format!("<code>{}</code>", escape(&runtime.command));
            vec![escape(&runtime.name), escape(&runtime.version), command]
        }),
    );
    page + "</body>\n</html>\n"
}

/// One row's cells: the title, then a figure or a dash with its reason for each runtime.
fn line(row: &Row) -> Vec<String> {
    let unit = if row.unit.is_empty() { String::new() } else { format!(", {}", row.unit) };
    let mut cells = vec![escape(format!("{}{unit}", row.title))];
    for (index, cell) in row.cells.iter().enumerate() {
        cells.push(match (cell, row.summary(index)) {
            (Cell::Missing(reason), _) => format!("<span title=\"{}\">–</span>", escape(reason)),
            (_, None) => "–".into(),
            (_, Some(summary)) => {
                let ratio = row.ratio(index).filter(|_| index > 0).map(numbers::ratio).unwrap_or_default();
                format!(
                    "<span title=\"p99 {}, spread {:.0} %, {} samples\">{}</span> <small>{ratio}</small>",
                    numbers::figure(summary.p99),
                    summary.spread * 100.0,
                    summary.samples,
                    numbers::figure(summary.median),
                )
            }
        });
    }
    cells
}

/// A table of cells that are HTML already.
fn table(head: &[String], lines: impl Iterator<Item = Vec<String>>) -> String {
    let mut text = format!("<div class=\"scroll\"><table>\n<tr><th>{}</th></tr>\n", head.join("</th><th>"));
    for line in lines {
        text += &format!("<tr><td>{}</td></tr>\n", line.join("</td><td>"));
    }
    text + "</table></div>\n"
}

fn escape(text: impl AsRef<str>) -> String {
    text.as_ref().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
pub(in crate::bench::report) mod tests {
    use super::*;
    use crate::bench::report::svg;
    use crate::bench::results::tests::sample;

    /// Fails unless every element that is opened is closed in its order and every `&` begins an entity: XML, as far as
    /// these pages use it.
    pub(in crate::bench::report) fn assert_well_formed(text: &str) {
        let mut open: Vec<&str> = Vec::new();
        for part in text.split('<').skip(1) {
            let (tag, _) = part.split_once('>').unwrap_or_else(|| panic!("a tag does not end: {part:?}"));
            let name = tag.split([' ', '\n', '/']).find(|name| !name.is_empty()).unwrap_or_default();
            match tag.as_bytes() {
                [b'!' | b'?', ..] | [.., b'/'] => {}
                [b'/', ..] => assert_eq!(open.pop(), Some(name), "in {part:?}"),
                _ => open.push(name),
            }
            assert!(tag.matches('"').count().is_multiple_of(2), "a quote is open in {tag:?}");
        }
        assert!(open.is_empty(), "never closed: {open:?}");
        for part in text.split('&').skip(1) {
            let (entity, _) = part.split_once(';').unwrap_or_else(|| panic!("no entity: {part:?}"));
            assert!(entity.chars().all(|c| c.is_ascii_alphanumeric() || c == '#'), "no entity: {entity:?}");
        }
    }

    #[test]
    fn the_page_is_well_formed_and_needs_nothing_from_outside() {
        let results = sample();
        let pictures: Vec<_> = Section::ALL
            .into_iter()
            .filter_map(|section| Some((section, svg::svg(&results, section).unwrap()?)))
            .collect();
        let page = html(&results, &pictures);
        assert_well_formed(&page);
        assert_eq!(page.matches("<svg").count(), 4);
        for outside in ["<link", "<script", "src=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.contains("it refused, with a &lt;tag&gt;"));
        assert!(page.contains("(quoted)"));
        assert!(page.contains("<h2>Goals</h2>") && page.contains("<td>missed</td>"));
    }
}
