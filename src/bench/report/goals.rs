//! The table of goals: what is wanted, what was reached, and whether that is it.

use super::numbers;
use crate::bench::goals::{Goal, judge};
use crate::bench::results::Results;

/// What stands above the columns.
pub(super) const COLUMNS: [&str; 4] = ["goals of usk trap", "goal", "reached", ""];

/// The lines of the table; none if usk does not take part.
pub(super) fn lines(results: &Results) -> Vec<[String; 4]> {
    judge(results).iter().map(line).collect()
}

/// How many are met.
pub(super) fn count(results: &Results) -> String {
    let goals = judge(results);
    let count = |is_met| goals.iter().filter(|goal| goal.is_met == is_met).count();
    format!("{} met, {} missed, {} not measured.", count(Some(true)), count(Some(false)), count(None))
}

fn line(goal: &Goal) -> [String; 4] {
    let reached = match goal.reached {
        Some(reached) if goal.is_ratio => numbers::ratio(reached),
        Some(reached) => numbers::figure(reached),
        None => "–".to_owned(),
    };
    let verdict = match goal.is_met {
        Some(true) => "met",
        Some(false) => "missed",
        None => "not measured",
    };
    [goal.title.clone(), goal.goal.clone(), reached, verdict.to_owned()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::results::tests::sample;

    #[test]
    fn each_goal_is_met_missed_or_not_measured() {
        let lines = lines(&sample());
        let find = |start: &str| {
            lines.iter().find(|line| line[0].starts_with(start)).unwrap_or_else(|| panic!("{start}"))
        };
        assert_eq!(find("title of start_warm")[1..], ["≤ 5 ms", "7.00", "missed"]);
        assert_eq!(find("umask")[1..], ["≤ ×1.2", "–", "not measured"]);
        assert!(lines.iter().any(|line| line[3] == "met"));
        assert!(count(&sample()).ends_with(" not measured."));
    }
}
