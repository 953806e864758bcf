//! Numbers as people read them.

/// Printed for a value that is not known.
pub(crate) const ABSENT: &str = "-";

const MICROS_PER_SECOND: u64 = 1_000_000;

/// Dollars with up to six decimals, at least two: `$0.0123`, `$1.20`.
pub(crate) fn cost(microdollars: u64) -> String {
    let mut text = format!(
        "${}.{:06}",
        microdollars / MICROS_PER_SECOND,
        microdollars % MICROS_PER_SECOND
    );
    let decimals_min = text.len().saturating_sub(4);
    let trimmed = text.trim_end_matches('0').len();
    text.truncate(trimmed.max(decimals_min));
    text
}

/// A duration of microseconds in a unit that fits: `812 µs`, `45.6 ms`, `1.23 s`, `2m 03s`.
pub(crate) fn latency(micros: u64) -> String {
    let seconds = micros / MICROS_PER_SECOND;
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..MICROS_PER_SECOND => format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100),
        MICROS_PER_SECOND..60_000_000 => {
            format!("{seconds}.{:02} s", micros % MICROS_PER_SECOND / 10_000)
        }
        60_000_000..3_600_000_000 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// A number of bytes in a unit that fits: `512 B`, `1.5 KiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut whole = bytes;
    let mut tenths = 0;
    let mut unit = "B";
    for next in UNITS {
        if whole < 1024 {
            break;
        }
        tenths = whole % 1024 * 10 / 1024;
        whole /= 1024;
        unit = next;
    }
    format!("{whole}.{tenths} {unit}")
}

/// A whole number with thousands separators: `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len().saturating_mul(2));
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && digits.len().saturating_sub(index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 request`, `2 requests`.
pub(crate) fn counted(number: u64, singular: &str, plural: &str) -> String {
    format!(
        "{} {}",
        count(number),
        if number == 1 { singular } else { plural }
    )
}

/// The value in words, or `-`.
pub(crate) fn or_absent<T>(value: Option<T>, words: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| ABSENT.to_owned(), words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_keep_two_decimals_and_lose_other_zeros() {
        assert_eq!(cost(0), "$0.00");
        assert_eq!(cost(1), "$0.000001");
        assert_eq!(cost(12_300), "$0.0123");
        assert_eq!(cost(1_200_000), "$1.20");
        assert_eq!(cost(10_000_000), "$10.00");
        assert_eq!(cost(u64::MAX), "$18446744073709.551615");
    }

    #[test]
    fn latencies_choose_their_unit() {
        let words = [0, 999, 1_000, 45_678, 999_999, 1_234_567, 59_999_999].map(latency);
        assert_eq!(
            words,
            [
                "0 µs", "999 µs", "1.0 ms", "45.6 ms", "999.9 ms", "1.23 s", "59.99 s"
            ]
        );
        assert_eq!(latency(123_000_000), "2m 03s");
        assert_eq!(latency(3_720_000_000), "1h 02m");
    }

    #[test]
    fn bytes_and_counts_are_printed_in_readable_units() {
        assert_eq!(
            [0, 1023, 1024, 1536, 1 << 20].map(bytes),
            ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB"]
        );
        assert_eq!(bytes(u64::MAX), "15.9 EiB");
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(count),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(counted(1, "request", "requests"), "1 request");
        assert_eq!(counted(2000, "request", "requests"), "2,000 requests");
    }
}
