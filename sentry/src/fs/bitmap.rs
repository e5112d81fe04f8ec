//! Sets of processors, as the kernel writes them (`Documentation/core-api/printk-formats.rst`, "bitmap and its derivatives").

/// The set of those of `count` processors that `contains`, in hexadecimal, in groups of 32 from the highest on (`%*pb`).
pub(super) fn mask(count: usize, contains: impl Fn(usize) -> bool) -> String {
    let group = |group: usize| {
        let members = (0..32).filter(|bit| contains(group * 32 + bit));
        let word = members.fold(0u32, |word, bit| word | 1 << bit);
        let digits = (count - group * 32).min(32).div_ceil(4);
        format!("{word:0digits$x}")
    };
    (0..count.div_ceil(32)).rev().map(group).collect::<Vec<String>>().join(",")
}

/// The same by numbers, as in `0-3,5` (`%*pbl`).
pub(super) fn ranges(count: usize, contains: impl Fn(usize) -> bool) -> String {
    let mut ranges = Vec::new();
    let mut next = 0;
    while let Some(first) = (next..count).find(|&processor| contains(processor)) {
        next = (first..count).find(|&processor| !contains(processor)).unwrap_or(count);
        ranges.push(if next - first == 1 { first.to_string() } else { format!("{first}-{}", next - 1) });
    }
    ranges.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_written_as_the_kernel_does() {
        for (count, set, expected_mask, expected_ranges) in [
            (2, &[0, 1][..], "3", "0-1"),
            (2, &[1], "2", "1"),
            (8, &[0], "01", "0"),
            (8, &[0, 1, 2, 5, 7], "a7", "0-2,5,7"),
            (33, &[0, 32], "1,00000001", "0,32"),
        ] {
            let contains = |processor| set.contains(&processor);
            assert_eq!(mask(count, contains), expected_mask);
            assert_eq!(ranges(count, contains), expected_ranges);
        }
    }
}
