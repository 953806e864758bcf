//! Times as people write and read them. Everything is UTC.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ZonedDateTime};

use super::fields::Number;

const HINT: &str = "give 30m, 2h or 7d (back from now), a date such as 2026-11-01, \
                    or a time such as 2026-11-01T12:30:00Z";

/// A time on the command line, as microseconds since the Unix epoch.
///
/// # Errors
///
/// Says what would be understood.
pub(crate) fn parse(text: &str) -> Result<i64, String> {
    parse_at(text, Timestamp::now())
}

fn parse_at(text: &str, now: Timestamp) -> Result<i64, String> {
    let text = text.trim();
    if let Some(time) = parse_point(text) {
        return Ok(time.as_microsecond());
    }
    let Ok(span) = text.parse::<Span>() else {
        return Err(format!("not a time; {HINT}"));
    };
    // "2h ago" reads as minus two hours; either way it means the past.
    now.to_zoned_datetime(TimeZone::UTC)
        .checked_sub(span.abs())
        .map(|time| time.timestamp().as_microsecond())
        .map_err(|_| format!("too far back; {HINT}"))
}

/// A point in time: RFC 3339, or a date with or without a time of day, taken as UTC.
fn parse_point(text: &str) -> Option<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    let utc = |zoned: Result<ZonedDateTime, jiff::Error>| zoned.ok().map(|zoned| zoned.timestamp());
    if text.len() == "2026-11-01".len() {
        // jiff's dates would also be read from longer text, and the time of day be dropped.
        return utc(text.parse::<Date>().ok()?.to_zoned_datetime(TimeZone::UTC));
    }
    utc(text
        .parse::<DateTime>()
        .ok()?
        .to_zoned_datetime(TimeZone::UTC))
}

/// An RFC 3339 time as microseconds since the Unix epoch.
///
/// # Errors
///
/// jiff's reason.
pub(crate) fn parse_rfc3339(text: &str) -> Result<i64, String> {
    text.parse::<Timestamp>()
        .map(Timestamp::as_microsecond)
        .map_err(|error| error.to_string())
}

/// Numbers since the Unix epoch from which on they are read in a unit, and how many of it a microsecond has or
/// takes: seconds, milliseconds, microseconds, nanoseconds. Each begins in 1973, where the one before it is in
/// 5138, so that a time of this century is never read in a wrong unit.
const SECONDS_MIN: u64 = 100_000_000;
const MILLIS_MIN: u64 = SECONDS_MIN * 1000;
const MICROS_MIN: u64 = MILLIS_MIN * 1000;
const NANOS_MIN: u64 = MICROS_MIN * 1000;

/// Times that can be recorded, from 1970 to 9999.
pub(crate) const RECORDABLE: std::ops::RangeInclusive<i64> = 0..=253_402_300_799_999_999;

/// Microseconds since the Unix epoch, of a number whose size tells its unit; a fraction counts. `None`:
/// before 1973, whatever the unit, or beyond what can be counted.
pub(crate) fn from_number(number: Number) -> Option<i64> {
    const TOO_MANY: f64 = 18_446_744_073_709_551_616.0; // 2^64
    if number.decimal() >= TOO_MANY {
        return None;
    }
    let whole = number.count()?;
    let (times, part) = match whole {
        ..SECONDS_MIN => return None,
        SECONDS_MIN..MILLIS_MIN => (1_000_000_u32, 1_u64),
        MILLIS_MIN..MICROS_MIN => (1000, 1),
        MICROS_MIN..NANOS_MIN => (1, 1),
        NANOS_MIN.. => (1, 1000),
    };
    let fraction = Number::Decimal(number.fraction() * f64::from(times)).count()?;
    let micros = whole
        .saturating_mul(u64::from(times))
        .saturating_add(fraction)
        / part;
    i64::try_from(micros).ok()
}

/// `2026-11-01 12:30:05`, UTC.
pub(crate) fn seconds(micros: i64) -> String {
    formatted(micros, "%Y-%m-%d %H:%M:%S")
}

/// `2026-11-01T12:30:05.000123Z`
pub(crate) fn exact(micros: i64) -> String {
    formatted(micros, "%Y-%m-%dT%H:%M:%S.%6fZ")
}

/// `2026-11-01 12:00` for an hour, `2026-11-01` for a day.
pub(crate) fn bucket(micros: i64, is_hour: bool) -> String {
    formatted(
        micros,
        if is_hour {
            "%Y-%m-%d %H:%M"
        } else {
            "%Y-%m-%d"
        },
    )
}

fn formatted(micros: i64, format: &str) -> String {
    match Timestamp::from_microsecond(micros) {
        Ok(time) => time.strftime(format).to_string(),
        // Beyond what a calendar can say: a damaged file.
        Err(_) => format!("{micros} µs"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<String, String> {
        parse_at(text, "2026-11-10T12:00:00Z".parse().unwrap()).map(exact)
    }

    #[test]
    fn durations_count_back_from_now() {
        assert_eq!(parsed("30m").unwrap(), "2026-11-10T11:30:00.000000Z");
        assert_eq!(parsed("2h").unwrap(), "2026-11-10T10:00:00.000000Z");
        assert_eq!(parsed("7d").unwrap(), "2026-11-03T12:00:00.000000Z");
        assert_eq!(parsed("1h30m").unwrap(), "2026-11-10T10:30:00.000000Z");
        assert_eq!(parsed("2h ago").unwrap(), "2026-11-10T10:00:00.000000Z");
    }

    #[test]
    fn dates_and_times_are_utc() {
        assert_eq!(parsed("2026-11-01").unwrap(), "2026-11-01T00:00:00.000000Z");
        assert_eq!(
            parsed("2026-11-01T12:30:05").unwrap(),
            "2026-11-01T12:30:05.000000Z"
        );
        assert_eq!(
            parsed("2026-11-01 12:30:05").unwrap(),
            "2026-11-01T12:30:05.000000Z"
        );
        assert_eq!(
            parsed("2026-11-01T12:30:05.25Z").unwrap(),
            "2026-11-01T12:30:05.250000Z"
        );
        assert_eq!(
            parsed("2026-11-01T12:30:05+02:00").unwrap(),
            "2026-11-01T10:30:05.000000Z"
        );
    }

    #[test]
    fn what_is_not_understood_gets_a_hint() {
        for text in ["yesterday", "", "12", "2026-13-01", "2026-11-1"] {
            let error = parsed(text).unwrap_err();
            assert!(error.contains("2026-11-01"), "{text:?}: {error}");
        }
        assert!(parsed("90000y").is_err());
    }

    #[test]
    fn times_beyond_the_calendar_are_printed_as_numbers() {
        assert_eq!(seconds(0), "1970-01-01 00:00:00");
        assert_eq!(exact(i64::MAX), format!("{} µs", i64::MAX));
    }
}
