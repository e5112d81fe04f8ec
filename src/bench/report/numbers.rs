//! Numbers as people read them.

/// Three digits that count: `0.012`, `1.23`, `45.6`, `7,890`.
pub(super) fn figure(value: f64) -> String {
    let size = value.abs();
    let decimals = match size {
        _ if size == 0.0 || size >= 100.0 => 0,
        _ if size >= 10.0 => 1,
        _ if size >= 0.1 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    if size < 1000.0 { text } else { with_separators(&text) }
}

/// A ratio: `×0.98`, `×12`.
pub(super) fn ratio(value: f64) -> String {
    format!("×{}", figure(value))
}

/// Commas between groups of three digits of a number without decimals.
fn with_separators(digits: &str) -> String {
    let count = digits.len();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && digit.is_ascii_digit() && (count - index).is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_that_count() {
        for (value, text) in [
            (0.0, "0"),
            (0.0123, "0.012"),
            (0.123, "0.12"),
            (1.234, "1.23"),
            (45.67, "45.7"),
            (789.1, "789"),
            (1234.5, "1,234"),
            (1234567.0, "1,234,567"),
            (-123456.0, "-123,456"),
        ] {
            assert_eq!(figure(value), text);
        }
        assert_eq!(ratio(0.981), "×0.98");
    }
}
