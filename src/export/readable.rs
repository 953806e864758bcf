//! What people and spreadsheets read, beside the numbers that programs take.

use serde_json::Value;

use crate::error::ExportError;
use crate::model::{COST_DOLLARS, OPENED_AT_ISO, RequestRecord};

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 24 * 60 * 60;
/// Days from the beginning of year 1 to that of 1970.
const DAYS_BEFORE_1970: i64 = 719_162;
/// Times that ISO 8601 writes with a year of four digits: from year 1 to 9999.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// The fields of the JSON contract, and the two that are to be read. `dollars` gives the form of the cost.
pub(super) fn fields(
    record: &RequestRecord,
    dollars: impl FnOnce(u64) -> Value,
) -> Result<Value, ExportError> {
    let mut fields =
        serde_json::to_value(record).map_err(|error| ExportError::Output(error.into()))?;
    if let Value::Object(fields) = &mut fields {
        let opened_at = iso8601(record.opened_at).map_or(Value::Null, Value::String);
        fields.insert(OPENED_AT_ISO.to_owned(), opened_at);
        let cost = record.cost_microdollars.map_or(Value::Null, dollars);
        fields.insert(COST_DOLLARS.to_owned(), cost);
    }
    Ok(fields)
}

/// Dollars with six decimals, exactly.
pub(super) fn dollars(microdollars: u64) -> String {
    let (whole, rest) = (microdollars / 1_000_000, microdollars % 1_000_000);
    format!("{whole}.{rest:06}")
}

/// `2026-11-01T12:30:05.000123Z`; `None`: beyond what a calendar of four digits can say.
fn iso8601(micros: i64) -> Option<String> {
    let seconds = micros.div_euclid(MICROS_PER_SECOND);
    if !SECONDS.contains(&seconds) {
        return None;
    }
    let micros = micros.rem_euclid(MICROS_PER_SECOND);
    let (year, month, day) = date(seconds.div_euclid(SECONDS_PER_DAY) + DAYS_BEFORE_1970);
    let time = seconds.rem_euclid(SECONDS_PER_DAY);
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    Some(format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z"
    ))
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
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let february = if is_leap { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    (year, month, day + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_another_calendar() {
        let other = |micros: i64| {
            let time = jiff::Timestamp::from_microsecond(micros).unwrap();
            time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
        };
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let day = SECONDS_PER_DAY * MICROS_PER_SECOND;
        // The last moments and the first of every day from 1968 to 2072, leap years among them.
        for start in (-731..37_622).map(|number| number * day) {
            for micros in [start - 1, start, start + random.i64(0..day)] {
                assert_eq!(
                    iso8601(micros).as_deref(),
                    Some(&*other(micros)),
                    "{micros}"
                );
            }
        }
        // jiff's calendar ends a few hours before year 9999 does.
        for _ in 0..100_000 {
            let micros = random.i64(-62_135_596_800_000_000..=253_402_200_000_000_000);
            assert_eq!(
                iso8601(micros).as_deref(),
                Some(&*other(micros)),
                "{micros}"
            );
        }
        assert_eq!(
            iso8601(253_402_300_799_999_999).as_deref(),
            Some("9999-12-31T23:59:59.999999Z")
        );
        for beyond in [
            253_402_300_800_000_000,
            -62_135_596_800_000_001,
            i64::MAX,
            i64::MIN,
        ] {
            assert_eq!(iso8601(beyond), None, "{beyond}");
        }
    }

    #[test]
    fn dollars_are_exact() {
        assert_eq!(dollars(0), "0.000000");
        assert_eq!(dollars(12_300), "0.012300");
        assert_eq!(dollars(u64::MAX), "18446744073709.551615");
    }
}
