//! Moments as RFC 3339 writes them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Now, with seconds: what a line of a log begins with.
pub(crate) fn now() -> String {
    format(since_epoch(), false)
}

/// Now, with nanoseconds: when a container was made.
pub(crate) fn now_precise() -> String {
    format(since_epoch(), true)
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn format(since_epoch: Duration, precise: bool) -> String {
    let seconds = since_epoch.as_secs();
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let fraction = if precise { format!(".{:09}", since_epoch.subsec_nanos()) } else { String::new() };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// Year, month and day of a count of days since 1970 in the Gregorian calendar. Years are counted from March, so that
/// the leap day is the last, and in eras of 400 years, which all have the same length.
fn date(days: u64) -> (u64, u64, u64) {
    const DAYS_OF_ERA: u64 = 146_097;
    let from_march_0000 = days + 719_468;
    let era = from_march_0000 / DAYS_OF_ERA;
    let day_of_era = from_march_0000 % DAYS_OF_ERA;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / (DAYS_OF_ERA - 1)) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_date_writes_them() {
        // date -u -d @N +%FT%TZ
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(format(Duration::from_secs(seconds), false), text);
        }
        assert_eq!(format(Duration::from_nanos(5), true), "1970-01-01T00:00:00.000000005Z");
    }
}
