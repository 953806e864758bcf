//! Times as people write and read them: UTC, or with `--local` in the time zone of this machine.

use std::sync::OnceLock;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use super::fields::Number;

const HINT: &str = "give 30m, 2h or 7d (back from now), a date such as 2026-11-01, \
                    or a time such as 2026-11-01T12:30:00Z";

/// The zone of all times that are read and printed. Set once, before the first of them; not set: UTC.
static ZONE: OnceLock<TimeZone> = OnceLock::new();

/// From now on, times are in this machine's zone.
///
/// # Errors
///
/// The zone is unknown.
pub(crate) fn use_local() -> Result<(), String> {
    let known = TimeZone::try_system().map_err(|error| error.to_string());
    match known.and_then(|zone| match zone.is_unknown() {
        true => Err("nothing says which".to_owned()),
        false => Ok(zone),
    }) {
        Ok(zone) => {
            // Set before: the same zone.
            let _ = ZONE.set(zone);
            Ok(())
        }
        Err(reason) => Err(format!(
            "the time zone of this machine is not known ({reason}); set TZ, such as Europe/Paris, or leave \
             --local out"
        )),
    }
}

fn zone() -> TimeZone {
    ZONE.get().cloned().unwrap_or(TimeZone::UTC)
}

/// Whether times are in this machine's zone.
pub(crate) fn is_local() -> bool {
    ZONE.get().is_some()
}

/// The heading of a column, for UTC and for this machine's zone.
pub(crate) fn heading(utc: &'static str, local: &'static str) -> &'static str {
    if is_local() { local } else { utc }
}

/// A time on the command line, as it was written; the zone decides which moment it is.
#[derive(Debug, Clone)]
pub(crate) enum Time {
    /// A point in time that says its offset.
    At(Timestamp),
    /// A date and a time of day.
    Civil(DateTime),
    /// A duration before now.
    Ago(Span),
}

/// Reads a time of the command line.
///
/// # Errors
///
/// Says which forms are understood.
pub(crate) fn parse(text: &str) -> Result<Time, String> {
    let text = text.trim();
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(Time::At(time));
    }
    if text.len() == "2026-11-01".len() {
        // jiff's dates would also be read from longer text, and the time of day be dropped.
        if let Ok(date) = text.parse::<Date>() {
            return Ok(Time::Civil(date.to_datetime(jiff::civil::Time::midnight())));
        }
    } else if let Ok(time) = text.parse::<DateTime>() {
        return Ok(Time::Civil(time));
    }
    match text.parse::<Span>() {
        // "2h ago" reads as minus two hours; either way it means the past.
        Ok(span) => Ok(Time::Ago(span.abs())),
        Err(_) => Err(format!("not a time; {HINT}")),
    }
}

impl Time {
    /// The point in time.
    ///
    /// # Errors
    ///
    /// It is beyond the range of the calendar.
    pub(crate) fn timestamp(&self) -> Result<auditlite::Timestamp, String> {
        let micros = self.micros_in(zone(), Timestamp::now())?;
        Ok(auditlite::Timestamp::from_micros(micros))
    }

    /// When clocks go forward, a time of day that does not exist means the one later by the gap; when they go
    /// back, one that exists twice means the first. A day back is a day of the calendar.
    fn micros_in(&self, zone: TimeZone, now: Timestamp) -> Result<i64, String> {
        let time = match self {
            Self::At(time) => return Ok(time.as_microsecond()),
            Self::Civil(time) => time.to_zoned_datetime(zone),
            Self::Ago(span) => now.to_zoned_datetime(zone).checked_sub(*span),
        };
        time.map(|time| time.timestamp().as_microsecond())
            .map_err(|_| format!("too far back; {HINT}"))
    }
}

/// An RFC 3339 time as microseconds since the Unix epoch; seconds may be left out.
///
/// # Errors
///
/// jiff's reason.
pub(crate) fn parse_rfc3339(text: &str) -> Result<i64, String> {
    text.parse::<Timestamp>()
        .map(Timestamp::as_microsecond)
        .map_err(|error| error.to_string())
}

/// For each unit (seconds, milliseconds, microseconds, nanoseconds), the smallest number since the Unix epoch
/// that is read in it, and its relation to a microsecond. Each range begins in 1973 and ends in 5138, so that a
/// time of this century is never read in the wrong unit.
const SECONDS_MIN: u64 = 100_000_000;
const MILLIS_MIN: u64 = SECONDS_MIN * 1000;
const MICROS_MIN: u64 = MILLIS_MIN * 1000;
const NANOS_MIN: u64 = MICROS_MIN * 1000;

/// Times that can be recorded, from 1970 to 9999.
pub(crate) const RECORDABLE: std::ops::RangeInclusive<i64> = 0..=253_402_300_799_999_999;

/// Microseconds since the Unix epoch, from a number whose size tells its unit; a fraction counts. `None`:
/// before 1973 in any unit, or too large.
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

/// `2026-11-01 12:30:05`, and the offset where it is not UTC.
pub(crate) fn seconds(at: auditlite::Timestamp) -> String {
    formatted(at, "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M:%S %:z")
}

/// `2026-11-01T12:30:05.000123Z`, or with an offset.
pub(crate) fn exact(at: auditlite::Timestamp) -> String {
    formatted(at, "%Y-%m-%dT%H:%M:%S.%6fZ", "%Y-%m-%dT%H:%M:%S.%6f%:z")
}

/// `2026-11-01 12:00` for an hour, `2026-11-01` for a day.
pub(crate) fn bucket(at: auditlite::Timestamp, is_hour: bool) -> String {
    match is_hour {
        true => formatted(at, "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M %:z"),
        false => formatted(at, "%Y-%m-%d", "%Y-%m-%d"),
    }
}

/// The first microsecond of the day of this time, and whether the offset then and now is whole hours.
pub(crate) fn day_of(at: auditlite::Timestamp) -> (auditlite::Timestamp, bool) {
    let (start, is_whole) = day_in(zone(), at.as_micros());
    (auditlite::Timestamp::from_micros(start), is_whole)
}

fn day_in(zone: TimeZone, micros: i64) -> (i64, bool) {
    let Ok(time) = Timestamp::from_microsecond(micros) else {
        return (micros, true);
    };
    let time = time.to_zoned_datetime(zone);
    let is_whole = time.offset().seconds() % 3600 == 0;
    let start = time.start_of_day();
    let start = start.map_or(micros, |start| start.timestamp().as_microsecond());
    (start, is_whole)
}

fn formatted(at: auditlite::Timestamp, utc: &str, local: &str) -> String {
    let micros = at.as_micros();
    match ZONE.get() {
        None => formatted_in(TimeZone::UTC, micros, utc),
        Some(zone) => formatted_in(zone.clone(), micros, local),
    }
}

fn formatted_in(zone: TimeZone, micros: i64, format: &str) -> String {
    match Timestamp::from_microsecond(micros) {
        Ok(time) => time.to_zoned_datetime(zone).strftime(format).to_string(),
        // Beyond the range of the calendar: a damaged file.
        Err(_) => format!("{micros} µs"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<String, String> {
        parsed_in(TimeZone::UTC, text)
    }

    fn parsed_in(zone: TimeZone, text: &str) -> Result<String, String> {
        let now = "2026-11-10T12:00:00Z".parse().unwrap();
        let micros = parse(text)?.micros_in(zone, now)?;
        Ok(exact(auditlite::Timestamp::from_micros(micros)))
    }

    /// Clocks go forward on 29 March 2026 at 01:00 UTC and back on 25 October.
    fn paris() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    #[test]
    fn local_times_follow_the_clocks_of_the_zone() {
        let local = |text: &str| parsed_in(paris(), text).unwrap();
        assert_eq!(local("2026-07-01"), "2026-06-30T22:00:00.000000Z");
        assert_eq!(local("2026-11-01T12:30:00"), "2026-11-01T11:30:00.000000Z");
        // An offset that is given goes before the zone.
        assert_eq!(local("2026-11-01T12:30:00Z"), "2026-11-01T12:30:00.000000Z");
        // Half past two is not there, and twice there.
        assert_eq!(local("2026-03-29T02:30:00"), "2026-03-29T01:30:00.000000Z");
        assert_eq!(local("2026-10-25T02:30:00"), "2026-10-25T00:30:00.000000Z");
        // 17 days back there was summer time: the same time of day, 17 days and an hour ago.
        assert_eq!(local("17d"), "2026-10-24T11:00:00.000000Z");
        assert_eq!(local("408h"), "2026-10-24T12:00:00.000000Z");
    }

    #[test]
    fn local_times_are_printed_with_their_offset() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap().as_microsecond();
        let printed = |text: &str| formatted_in(paris(), at(text), "%Y-%m-%d %H:%M:%S %:z");
        assert_eq!(
            printed("2026-10-25T00:30:00Z"),
            "2026-10-25 02:30:00 +02:00"
        );
        assert_eq!(
            printed("2026-10-25T01:30:00Z"),
            "2026-10-25 02:30:00 +01:00"
        );
        let day = |text: &str| day_in(paris(), at(text));
        // A day of 25 hours is one day.
        for time in [
            "2026-10-24T22:00:00Z",
            "2026-10-25T12:00:00Z",
            "2026-10-25T22:59:59Z",
        ] {
            assert_eq!(day(time), (at("2026-10-24T22:00:00Z"), true), "{time}");
        }
        assert_eq!(
            day("2026-10-25T23:00:00Z"),
            (at("2026-10-25T23:00:00Z"), true)
        );
        let india = TimeZone::posix("IST-5:30").unwrap();
        let start = at("2026-10-24T18:30:00Z");
        assert_eq!(day_in(india, at("2026-10-24T19:00:00Z")), (start, false));
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
        assert_eq!(
            seconds(auditlite::Timestamp::UNIX_EPOCH),
            "1970-01-01 00:00:00"
        );
        let last = auditlite::Timestamp::from_micros(i64::MAX);
        assert_eq!(exact(last), format!("{} µs", i64::MAX));
    }
}
