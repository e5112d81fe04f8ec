//! `results.csv`: one line for each measurement under each runtime. RFC 4180.

use crate::bench::results::{Cell, Results};

const HEAD: &str = "section,id,title,unit,runtime,samples,median,p99,spread,ratio_to_native,missing";

/// The lines.
pub(super) fn csv(results: &Results) -> String {
    let mut text = format!("{HEAD}\r\n");
    for row in &results.rows {
        for (index, (cell, runtime)) in row.cells.iter().zip(&results.runtimes).enumerate() {
            let mut fields = vec![
                row.section.name().to_owned(),
                row.id.clone(),
                row.title.clone(),
                row.unit.to_owned(),
                runtime.name.clone(),
            ];
            fields.extend(match row.summary(index) {
                Some(summary) => [
                    summary.samples.to_string(),
                    summary.median.to_string(),
                    summary.p99.to_string(),
                    summary.spread.to_string(),
                ],
                None => Default::default(),
            });
            fields.push(row.ratio(index).map(|ratio| ratio.to_string()).unwrap_or_default());
            fields.push(match cell {
                Cell::Missing(reason) => reason.clone(),
                Cell::Rounds(_) => String::new(),
            });
            let fields: Vec<String> = fields.iter().map(|field| quoted(field)).collect();
            text += &(fields.join(",") + "\r\n");
        }
    }
    text
}

fn quoted(field: &str) -> String {
    if field.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::results::tests::sample;

    /// The fields of each record.
    fn parse(text: &str) -> Vec<Vec<String>> {
        let (mut records, mut record, mut field) = (Vec::new(), Vec::new(), String::new());
        let (mut quoted, mut characters) = (false, text.chars().peekable());
        while let Some(character) = characters.next() {
            match character {
                '"' if quoted && characters.peek() == Some(&'"') => {
                    characters.next();
                    field.push('"');
                }
                '"' => quoted = !quoted,
                ',' if !quoted => record.push(std::mem::take(&mut field)),
                '\r' if !quoted => {}
                '\n' if !quoted => {
                    record.push(std::mem::take(&mut field));
                    records.push(std::mem::take(&mut record));
                }
                other => field.push(other),
            }
        }
        assert!(!quoted && record.is_empty() && field.is_empty(), "the last record ends");
        records
    }

    #[test]
    fn every_record_has_the_fields_of_the_head() {
        let results = sample();
        let records = parse(&csv(&results));
        let (head, rest) = records.split_first().unwrap();
        assert_eq!(rest.len(), results.rows.len() * results.runtimes.len());
        assert!(rest.iter().all(|record| record.len() == head.len()));
        let tcp = rest.iter().find(|record| record[1] == "tcp" && record[4] == "usk trap").unwrap();
        assert_eq!(tcp[2], "title of tcp <&>, \"quoted\"");
        assert_eq!((tcp[6].as_str(), tcp[10].as_str()), ("", "it refused, with a <tag>"));
        let find = rest.iter().find(|record| record[1] == "find" && record[4] == "usk trap").unwrap();
        assert_eq!((find[6].as_str(), find[9].as_str()), ("140", "2"));
    }
}
