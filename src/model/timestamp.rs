//! Points in time, as the log has them.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::clock::{duration_micros, now_micros};
use crate::error::ParseError;

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 24 * 60 * 60;
/// Days from the beginning of year 1 to that of 1970.
const DAYS_BEFORE_1970: i64 = 719_162;
/// Times that RFC 3339 writes with a year of four digits: from year 1 to 9999.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// A point in time: whole microseconds since the Unix epoch, UTC.
///
/// Prints, and is read, as RFC 3339 (<https://www.rfc-editor.org/rfc/rfc3339>). In JSON it is the number of
/// microseconds.
///
/// ```
/// use std::time::{Duration, SystemTime};
///
/// use auditlite::{RequestFilter, Timestamp};
///
/// let at: Timestamp = "2026-11-01T13:30:05+01:00".parse()?;
/// assert_eq!(at.to_string(), "2026-11-01T12:30:05.000000Z");
/// assert_eq!(Timestamp::from(SystemTime::from(at)), at);
///
/// let last_hour = RequestFilter::new().since(Timestamp::now() - Duration::from_secs(3600));
/// # assert!(last_hour.since > Some(at) || last_hour.since < Some(at));
/// # Ok::<(), auditlite::ParseError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The beginning of 1970, UTC.
    pub const UNIX_EPOCH: Self = Self(0);

    /// So many microseconds after the Unix epoch; before it, where they are negative.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// What the system's clock says.
    pub fn now() -> Self {
        Self(now_micros())
    }

    /// RFC 3339 with six decimals; `None`: beyond years 1 to 9999, which a damaged file may say.
    pub(crate) fn to_rfc3339(self) -> Option<String> {
        let seconds = self.0.div_euclid(MICROS_PER_SECOND);
        if !SECONDS.contains(&seconds) {
            return None;
        }
        let micros = self.0.rem_euclid(MICROS_PER_SECOND);
        let (year, month, day) = date(seconds.div_euclid(SECONDS_PER_DAY) + DAYS_BEFORE_1970);
        let time = seconds.rem_euclid(SECONDS_PER_DAY);
        let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
        Some(format!(
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z"
        ))
    }
}

/// What the clock said, cut to whole microseconds.
impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        Self(match time.duration_since(UNIX_EPOCH) {
            Ok(since) => duration_micros(since),
            Err(before) => duration_micros(before.duration()).saturating_neg(),
        })
    }
}

/// The epoch in the place of what the system's clock cannot say (on Windows before 1601 and after 30828).
impl From<Timestamp> for SystemTime {
    fn from(at: Timestamp) -> Self {
        let distance = Duration::from_micros(at.0.unsigned_abs());
        let time = match at.0 < 0 {
            true => UNIX_EPOCH.checked_sub(distance),
            false => UNIX_EPOCH.checked_add(distance),
        };
        time.unwrap_or(UNIX_EPOCH)
    }
}

/// Stops at the last time that there is.
impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration_micros(duration)))
    }
}

/// Stops at the first time that there is.
impl std::ops::Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration_micros(duration)))
    }
}

/// RFC 3339 with six decimals, UTC; beyond years 1 to 9999 the number of microseconds.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_rfc3339() {
            Some(text) => f.pad(&text),
            None => write!(f, "{} µs", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reads RFC 3339, with any offset. Digits below the microsecond are cut; a leap second is the second
/// before it.
impl FromStr for Timestamp {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        const EXPECTED: &str = "a time as in RFC 3339, such as 2026-11-01T12:30:05Z";
        let error = || ParseError::new(EXPECTED, text);
        read(text.as_bytes()).map(Self).ok_or_else(error)
    }
}

/// Microseconds of an RFC 3339 time. `None` if the text is anything else, even by one byte. A leap second counts as
/// the second before it, and decimals beyond microseconds are cut off.
fn read(text: &[u8]) -> Option<i64> {
    let (year, text) = digits(text, 4)?;
    let (month, text) = digits(text.strip_prefix(b"-")?, 2)?;
    let (day, text) = digits(text.strip_prefix(b"-")?, 2)?;
    let (separator, text) = text.split_first()?;
    let (hour, text) = digits(text, 2)?;
    let (minute, text) = digits(text.strip_prefix(b":")?, 2)?;
    let (second, mut text) = digits(text.strip_prefix(b":")?, 2)?;
    let mut micros = 0;
    if let Some(decimals) = text.strip_prefix(b".") {
        let count = decimals.iter().take_while(|byte| byte.is_ascii_digit());
        let (decimals, rest) = decimals.split_at_checked(count.count())?;
        let mut unit = MICROS_PER_SECOND;
        for digit in decimals {
            unit /= 10;
            micros += i64::from(digit - b'0') * unit;
        }
        text = match decimals.is_empty() {
            true => return None,
            false => rest,
        };
    }
    let offset_minutes = match text {
        b"Z" | b"z" => 0,
        _ => {
            let (sign, text) = text.split_first()?;
            let (hours, text) = digits(text, 2)?;
            let (minutes, text) = digits(text.strip_prefix(b":")?, 2)?;
            let minutes =
                (text.is_empty() && hours < 24 && minutes < 60).then_some(hours * 60 + minutes)?;
            match sign {
                b'+' => minutes,
                b'-' => -minutes,
                _ => return None,
            }
        }
    };
    let is_valid = matches!(separator, b'T' | b't' | b' ')
        && (1..=12).contains(&month)
        && (1..=length_of(month, is_leap(year))).contains(&day)
        && year > 0
        && hour < 24
        && minute < 60
        && second <= 60;
    let days = is_valid.then(|| days_before(year, month) + day - 1)? - DAYS_BEFORE_1970;
    let minutes = hour * 60 + minute - offset_minutes;
    let seconds = days * SECONDS_PER_DAY + minutes * 60 + second.min(59);
    Some(seconds * MICROS_PER_SECOND + micros)
}

/// The number that these first digits are, and what follows them.
fn digits(text: &[u8], count: usize) -> Option<(i64, &[u8])> {
    let (digits, rest) = text.split_at_checked(count)?;
    let mut number = 0;
    for digit in digits {
        number = number * 10 + i64::from(digit.is_ascii_digit().then(|| digit - b'0')?);
    }
    Some((number, rest))
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Days of a month, 1 to 12.
fn length_of(month: i64, is_leap_year: bool) -> i64 {
    match month {
        2 if is_leap_year => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from the beginning of year 1 to that of this month.
fn days_before(year: i64, month: i64) -> i64 {
    let years = year - 1;
    let of_years = years * 365 + years / 4 - years / 100 + years / 400;
    let months = (1..month).map(|month| length_of(month, is_leap(year)));
    of_years + months.sum::<i64>()
}

/// Year, month and day of a day of the Gregorian calendar, counted from the beginning of year 1.
fn date(days: i64) -> (i64, i64, i64) {
    const DAYS_PER_400_YEARS: i64 = 146_097;
    const DAYS_PER_100_YEARS: i64 = 36_524;
    const DAYS_PER_4_YEARS: i64 = 1_461;
    let (groups_of_400, rest) = (days / DAYS_PER_400_YEARS, days % DAYS_PER_400_YEARS);
    // The last day of a leap year is the 366th: it is of its year, and not the first of a fifth one.
    let groups_of_100 = (rest / DAYS_PER_100_YEARS).min(3);
    let rest = rest - groups_of_100 * DAYS_PER_100_YEARS;
    let (groups_of_4, rest) = (rest / DAYS_PER_4_YEARS, rest % DAYS_PER_4_YEARS);
    let years = (rest / 365).min(3);
    let mut day = rest - years * 365;
    let year = groups_of_400 * 400 + groups_of_100 * 100 + groups_of_4 * 4 + years + 1;
    let mut month = 1;
    while month < 12 && day >= length_of(month, is_leap(year)) {
        day -= length_of(month, is_leap(year));
        month += 1;
    }
    (year, month, day + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(micros: i64) -> Option<String> {
        Timestamp(micros).to_rfc3339()
    }

    #[test]
    fn times_are_those_of_another_calendar() {
        let other = |micros: i64| {
            let time = jiff::Timestamp::from_microsecond(micros).unwrap();
            time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
        };
        let check = |micros: i64| {
            let text = other(micros);
            assert_eq!(printed(micros).as_ref(), Some(&text), "{micros}");
            assert_eq!(text.parse(), Ok(Timestamp(micros)), "{micros}");
        };
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let day = SECONDS_PER_DAY * MICROS_PER_SECOND;
        // The last moments and the first of every day from 1968 to 2072, leap years among them.
        for start in (-731..37_622).map(|number| number * day) {
            for micros in [start - 1, start, start + random.i64(0..day)] {
                check(micros);
            }
        }
        // jiff's calendar ends a few hours before year 9999 does.
        for _ in 0..100_000 {
            check(random.i64(-62_135_596_800_000_000..=253_402_200_000_000_000));
        }
        assert_eq!(
            printed(253_402_300_799_999_999).as_deref(),
            Some("9999-12-31T23:59:59.999999Z")
        );
        for beyond in [
            253_402_300_800_000_000,
            -62_135_596_800_000_001,
            i64::MAX,
            i64::MIN,
        ] {
            assert_eq!(printed(beyond), None, "{beyond}");
            assert_eq!(Timestamp(beyond).to_string(), format!("{beyond} µs"));
        }
    }

    #[test]
    fn every_form_of_rfc_3339_is_read_and_nothing_else() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for (text, same) in [
            ("2026-11-01t12:30:05z", "2026-11-01T12:30:05Z"),
            ("2026-11-01 12:30:05.5+02:00", "2026-11-01T10:30:05.500000Z"),
            ("2026-01-01T00:00:00+23:59", "2025-12-31T00:01:00Z"),
            (
                "2026-11-01T12:30:05.1234569-00:30",
                "2026-11-01T13:00:05.123456Z",
            ),
            ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59Z"),
        ] {
            let (read, same): (Timestamp, Timestamp) =
                (text.parse().unwrap(), same.parse().unwrap());
            assert_eq!(read, same, "{text}");
            // Every prefix, and every text with one byte replaced, is read as jiff does or not at all.
            for end in 0..text.len() {
                let begin = text.get(..end).unwrap();
                assert!(begin.parse::<Timestamp>().is_err(), "{begin}");
            }
            for at in 0..text.len() {
                let mut bytes = text.as_bytes().to_vec();
                bytes[at] = random.u8(b' '..=b'~');
                let text = String::from_utf8(bytes).unwrap();
                if let Ok(read) = text.parse::<Timestamp>() {
                    let other: jiff::Timestamp = text.parse().expect(&text);
                    let micros = other.as_nanosecond().div_euclid(1000);
                    assert_eq!(i128::from(read.0), micros, "{text}");
                }
            }
        }
        for text in [
            "",
            "2026-11-01",
            "2026-11-01T12:30:05",
            "2026-02-29T00:00:00Z",
            "2026-11-01T24:00:00Z",
            "2026-11-01T12:30:05.Z",
            "2026-11-01T12:30:05+24:00",
            "0000-01-01T00:00:00Z",
            "+026-01-01T00:00:00Z",
        ] {
            let error = text.parse::<Timestamp>().unwrap_err().to_string();
            assert!(error.contains("RFC 3339"), "{error}");
        }
    }

    #[test]
    fn the_systems_clock_comes_and_goes_without_loss() {
        for micros in [0, 1, -1, 1_764_000_000_123_456, -62_135_596_800_000_000] {
            let at = Timestamp::from_micros(micros);
            assert_eq!(Timestamp::from(SystemTime::from(at)), at);
            assert_eq!(at.as_micros(), micros);
            assert_eq!(serde_json::to_string(&at).unwrap(), micros.to_string());
        }
        let second = Duration::from_secs(1);
        assert_eq!(Timestamp(5) + second, Timestamp(1_000_005));
        assert_eq!(Timestamp(i64::MAX) + second, Timestamp(i64::MAX));
        assert_eq!(Timestamp(i64::MIN) - second, Timestamp(i64::MIN));
        assert!(Timestamp::now() > Timestamp::UNIX_EPOCH);
    }
}
