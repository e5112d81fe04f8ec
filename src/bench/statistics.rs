//! From samples to figures.

use serde::Serialize;

/// The figures of one measurement.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Summary {
    /// How many samples there are.
    pub(crate) samples: usize,
    /// The middle one.
    pub(crate) median: f64,
    /// Ninety-nine in a hundred are not above it.
    pub(crate) p99: f64,
    /// The middle half's width, as a share of the median: 0.1 is ten per cent.
    pub(crate) spread: f64,
}

/// The value below which the share `rank` (0 to 1) of the samples lies, linear between neighbours. `None` if there are
/// no samples.
pub(crate) fn percentile(samples: &[f64], rank: f64) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    let place = rank.clamp(0.0, 1.0) * last as f64;
    let below = *sorted.get(place.floor() as usize)?;
    let above = *sorted.get(place.ceil() as usize)?;
    Some(below + (above - below) * place.fract())
}

/// The middle value.
pub(crate) fn median(samples: &[f64]) -> Option<f64> {
    percentile(samples, 0.5)
}

/// All figures of the samples of all rounds. `None` if there are no samples.
pub(crate) fn summarize(rounds: &[Vec<f64>]) -> Option<Summary> {
    let all: Vec<f64> = rounds.iter().flatten().copied().collect();
    let middle = median(&all)?;
    let width = percentile(&all, 0.75)? - percentile(&all, 0.25)?;
    let spread = if middle == 0.0 { 0.0 } else { width / middle };
    Some(Summary { samples: all.len(), median: middle, p99: percentile(&all, 0.99)?, spread })
}

/// Rounds from which on one that went wrong for one side cannot move a median.
const ROUNDS_FOR_MEDIAN: usize = 3;

/// How many times `base` is `rounds`: the median over the rounds of the ratio of both sides' medians in that round, so
/// that what changes from round to round on the machine hits both. Rounds that one side lacks are left out. Of fewer than
/// three rounds, it is the ratio of the medians of all samples. `None` if there is nothing to compare.
pub(crate) fn ratio(rounds: &[Vec<f64>], base: &[Vec<f64>]) -> Option<f64> {
    let of = |ours: &[f64], theirs: &[f64]| {
        let theirs = median(theirs).filter(|&value| value > 0.0)?;
        Some(median(ours)? / theirs)
    };
    let common: Vec<_> =
        rounds.iter().zip(base).filter(|(ours, theirs)| !ours.is_empty() && !theirs.is_empty()).collect();
    if common.len() < ROUNDS_FOR_MEDIAN {
        let (ours, theirs): (Vec<_>, Vec<_>) = common.into_iter().unzip();
        return of(
            &ours.into_iter().flatten().copied().collect::<Vec<_>>(),
            &theirs.into_iter().flatten().copied().collect::<Vec<_>>(),
        );
    }
    median(&common.into_iter().filter_map(|(ours, theirs)| of(ours, theirs)).collect::<Vec<_>>())
}

/// The geometric mean, for ratios. `None` if there are none, or one is not positive.
pub(crate) fn geometric_mean(ratios: &[f64]) -> Option<f64> {
    if ratios.is_empty() || ratios.iter().any(|&ratio| ratio <= 0.0) {
        return None;
    }
    Some((ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_between_neighbours() {
        let samples = [40.0, 10.0, 30.0, 20.0];
        assert_eq!(percentile(&samples, 0.0), Some(10.0));
        assert_eq!(percentile(&samples, 0.5), Some(25.0));
        assert_eq!(percentile(&samples, 1.0), Some(40.0));
        assert_eq!(percentile(&samples, 2.0), Some(40.0));
        let hundred: Vec<f64> = (0..=100).map(f64::from).collect();
        assert_eq!(percentile(&hundred, 0.99), Some(99.0));
    }

    #[test]
    fn nothing_has_no_figures() {
        assert_eq!(percentile(&[], 0.5), None);
        assert_eq!(summarize(&[]), None);
        assert_eq!(summarize(&[Vec::new(), Vec::new()]), None);
        assert_eq!(ratio(&[Vec::new()], &[vec![1.0]]), None);
        assert_eq!(geometric_mean(&[]), None);
    }

    #[test]
    fn one_sample_is_its_own_median_and_has_no_spread() {
        let expected = Summary { samples: 1, median: 7.0, p99: 7.0, spread: 0.0 };
        assert_eq!(summarize(&[vec![7.0]]), Some(expected));
    }

    #[test]
    fn spread_is_the_width_of_the_middle_half() {
        let summary = summarize(&[vec![1.0, 2.0], vec![3.0, 4.0, 5.0]]).unwrap();
        assert_eq!((summary.samples, summary.median), (5, 3.0));
        assert!((summary.spread - 2.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn a_slow_round_does_not_move_the_ratio() {
        // The machine was ten times slower in the second round, for both.
        let ours = [vec![2.0, 2.0], vec![20.0], vec![2.0]];
        let base = [vec![1.0], vec![10.0, 10.0, 10.0], vec![1.0]];
        assert_eq!(ratio(&ours, &base), Some(2.0));
    }

    #[test]
    fn of_two_rounds_one_that_went_wrong_does_not_decide() {
        let ours = [vec![2.0, 2.0, 2.0], vec![2.0, 2.0, 9000.0]];
        let base = [vec![1.0, 1.0, 1.0], vec![1.0, 1.0, 1.0]];
        assert_eq!(ratio(&ours, &base), Some(2.0));
        let ours = [vec![2.0, 2.0, 2.0], vec![9000.0]];
        assert_eq!(ratio(&ours, &base), Some(2.0));
    }

    #[test]
    fn a_ratio_to_nothing_or_to_zero_is_none() {
        assert_eq!(ratio(&[vec![1.0]], &[]), None);
        assert_eq!(ratio(&[vec![1.0]], &[vec![0.0]]), None);
        assert_eq!(ratio(&[vec![], vec![4.0]], &[vec![1.0], vec![2.0]]), Some(2.0));
    }

    #[test]
    fn the_geometric_mean_treats_twice_and_half_alike() {
        assert!((geometric_mean(&[2.0, 0.5]).unwrap() - 1.0).abs() < 1e-12);
        assert_eq!(geometric_mean(&[1.0, 0.0]), None);
    }
}
