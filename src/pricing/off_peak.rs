//! Hours in which other rates hold.

use serde_json::{Map, Value};

use super::rates::Rates;
use crate::model::Timestamp;

const MINUTES_PER_DAY: i64 = 24 * 60;
const MICROS_PER_MINUTE: i64 = 60_000_000;

/// Rates that take the place of others in some hours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OffPeak {
    pub(super) rates: Rates,
    windows: Vec<Window>,
    /// Minutes east of UTC of the calendar whose days of the week count; `None`: that calendar is not known.
    calendar_offset_minutes: Option<i64>,
}

/// Some hours of some days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    /// Minutes of the day in UTC. The start is in it, the end is not; an end at or before the start is of the next day.
    start: i64,
    end: i64,
    /// Bit 0: Monday.
    weekdays: u8,
}

impl Window {
    fn contains(&self, minute_of_day: i64, weekday: u32) -> bool {
        let is_hour = if self.start < self.end {
            (self.start..self.end).contains(&minute_of_day)
        } else {
            minute_of_day >= self.start || minute_of_day < self.end
        };
        is_hour && self.weekdays >> weekday & 1 == 1
    }

    fn is_every_day(&self) -> bool {
        self.weekdays == EVERY_DAY
    }
}

const EVERY_DAY: u8 = 0b111_1111;

impl OffPeak {
    /// Reads `off_peak_pricing` of LiteLLM's list; the rates are read already. Windows that cannot be read are left out.
    pub(super) fn read(fields: &Map<String, Value>, rates: Rates) -> Self {
        let mut windows = Vec::new();
        add_windows(fields.get("hours_utc"), EVERY_DAY, &mut windows);
        let rules = fields.get("windows").and_then(Value::as_array);
        for rule in rules.into_iter().flatten() {
            let weekdays = rule.get("weekdays").map_or(EVERY_DAY, weekdays_of);
            add_windows(rule.get("hours_utc"), weekdays, &mut windows);
        }
        let zone = fields.get("weekday_timezone").and_then(Value::as_str);
        let calendar_offset_minutes = match zone.map(str::trim) {
            None | Some("" | "UTC") => Some(0),
            // The only one in use; it has no summer time.
            Some("Asia/Shanghai") => Some(8 * 60),
            Some(_) => None,
        };
        Self {
            rates,
            windows,
            calendar_offset_minutes,
        }
    }

    /// Whether its rates hold at a time; `None`: that is not known.
    pub(super) fn is_at(&self, at: Option<Timestamp>) -> Option<bool> {
        let minute = at?.as_micros().div_euclid(MICROS_PER_MINUTE);
        let minute_of_day = minute.rem_euclid(MINUTES_PER_DAY);
        let offset = match self.calendar_offset_minutes {
            Some(offset) => offset,
            None if self.windows.iter().all(Window::is_every_day) => 0,
            None => return None,
        };
        // The first of January 1970 was a Thursday.
        let day = minute.saturating_add(offset).div_euclid(MINUTES_PER_DAY);
        let weekday = u32::try_from(day.saturating_add(3).rem_euclid(7)).unwrap_or(0);
        let mut windows = self.windows.iter();
        Some(windows.any(|window| window.contains(minute_of_day, weekday)))
    }
}

/// Adds `"16:30-00:30"`, or a list of such hours.
fn add_windows(hours: Option<&Value>, weekdays: u8, windows: &mut Vec<Window>) {
    let texts = match hours {
        Some(Value::String(text)) => vec![text.as_str()],
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    for text in texts {
        let Some((start, end)) = text.split_once('-') else {
            continue;
        };
        if let (Some(start), Some(end)) = (minutes(start), minutes(end)) {
            windows.push(Window {
                start,
                end,
                weekdays,
            });
        }
    }
}

fn minutes(text: &str) -> Option<i64> {
    let (hours, minutes) = text.trim().split_once(':')?;
    let (hours, minutes): (u8, u8) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours < 24 && minutes < 60).then_some(i64::from(hours) * 60 + i64::from(minutes))
}

/// Days as numbers, Monday being 1, or as English names.
fn weekdays_of(value: &Value) -> u8 {
    const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let day = |value: &Value| {
        let number = value.as_u64().filter(|day| (1..=7).contains(day));
        let name = value.as_str().and_then(|name| {
            let name = name.trim().to_ascii_lowercase();
            NAMES.iter().position(|known| name.starts_with(known))
        });
        let index = number.and_then(|day| usize::try_from(day - 1).ok());
        index.or(name)
    };
    let days = value.as_array().into_iter().flatten().filter_map(day);
    days.fold(0, |bits, day| bits | 1 << day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Option<Timestamp> {
        Some(text.parse().unwrap())
    }

    fn read(json: &str) -> OffPeak {
        let fields: Value = serde_json::from_str(json).unwrap();
        OffPeak::read(fields.as_object().unwrap(), Rates::default())
    }

    #[test]
    fn windows_have_their_start_and_not_their_end_and_may_pass_midnight() {
        let hours = read(r#"{"hours_utc": "16:30-00:30"}"#);
        for (time, expected) in [
            ("2026-11-22T16:29:59Z", false),
            ("2026-11-22T16:30:00Z", true),
            ("2026-11-22T23:59:59Z", true),
            ("2026-11-23T00:29:59Z", true),
            ("2026-11-23T00:30:00Z", false),
        ] {
            assert_eq!(hours.is_at(at(time)), Some(expected), "{time}");
        }
        assert_eq!(hours.is_at(None), None);
    }

    #[test]
    fn days_of_the_week_are_those_of_the_named_calendar() {
        let rules = r#""windows": [{"hours_utc": ["17:00-18:00"], "weekdays": [1, "tue"]}]"#;
        let utc = read(&format!("{{{rules}}}"));
        let shanghai = read(&format!(
            r#"{{"weekday_timezone": "Asia/Shanghai", {rules}}}"#
        ));
        let elsewhere = read(&format!(
            r#"{{"weekday_timezone": "Mars/Olympus", {rules}}}"#
        ));
        // 22 November 2026 is a Sunday; at 17:00 UTC it is Monday in Shanghai.
        for (time, in_utc, in_shanghai) in [
            ("2026-11-22T17:00:00Z", false, true),
            ("2026-11-23T17:00:00Z", true, true),
            ("2026-11-24T17:59:00Z", true, false),
            ("2026-11-24T18:00:00Z", false, false),
        ] {
            assert_eq!(utc.is_at(at(time)), Some(in_utc), "{time}");
            assert_eq!(shanghai.is_at(at(time)), Some(in_shanghai), "{time}");
            assert_eq!(elsewhere.is_at(at(time)), None, "{time}");
        }
    }

    #[test]
    fn a_window_that_ends_where_it_starts_is_the_whole_day() {
        let weekend = read(r#"{"windows": [{"hours_utc": "00:00-00:00", "weekdays": [6, 7]}]}"#);
        assert_eq!(weekend.is_at(at("2026-11-22T12:00:00Z")), Some(true));
        assert_eq!(weekend.is_at(at("2026-11-23T12:00:00Z")), Some(false));
        let broken = read(r#"{"hours_utc": ["25:00-26:00", "noon", "1-2"]}"#);
        assert_eq!(broken.is_at(at("2026-11-22T12:00:00Z")), Some(false));
    }
}
