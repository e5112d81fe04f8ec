//! `results.json`: everything, every sample included.

use anyhow::Result;
use serde_json::{Value, json};

use crate::bench::goals::judge;
use crate::bench::results::Results;

/// The results with the figures that the other reports show beside each cell's samples.
pub(super) fn json(results: &Results) -> Result<String> {
    let mut whole = serde_json::to_value(results)?;
    for (row, value) in results.rows.iter().zip(whole["rows"].as_array_mut().into_iter().flatten()) {
        let figures: Vec<Value> = (0..row.cells.len())
            .map(|runtime| json!({ "summary": row.summary(runtime), "ratio": row.ratio(runtime) }))
            .collect();
        value["figures"] = figures.into();
    }
    whole["goals"] = serde_json::to_value(judge(results))?;
    Ok(serde_json::to_string_pretty(&whole)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::results::tests::sample;

    #[test]
    fn json_has_samples_figures_and_reasons() {
        let value: Value = serde_json::from_str(&json(&sample()).unwrap()).unwrap();
        assert_eq!(value["runtimes"][2]["name"], "usk trap");
        assert_eq!(value["rows"][0]["cells"][0]["rounds"], json!([[0.1, 0.1, 0.2]]));
        assert_eq!(value["rows"][0]["figures"][0]["summary"]["samples"], 3);
        assert_eq!(value["rows"][2]["figures"][2]["ratio"], 2.0);
        assert_eq!(value["rows"][1]["cells"][2]["missing"], "it refused, with a <tag>");
        assert!(value["rows"][1]["figures"][2]["summary"].is_null());
        assert_eq!(value["absent"][0]["reason"], "no /dev/kvm");
        assert_eq!(
            (&value["goals"][0]["name"], &value["goals"][0]["is_met"]),
            (&json!("micro::getppid"), &json!(false))
        );
    }
}
