//! Sums of the rollups, in SQL. They saturate at the largest number that a column holds, like those in
//! memory. SQLite's own sums turn into floats, which no column accepts, or fail.
//!
//! A row holds min([`SUM_MAX`], the exact sum). From a sum below the bound, values can be subtracted. A sum
//! at the bound has lost what is beyond it, so it is counted again from the requests ([`settle`]).

use crate::db::rollups::{SUM_MAX, SUMS};
use crate::db::rows;
use std::collections::{BTreeSet, HashMap};

use rusqlite::{Connection, OptionalExtension, ToSql};

use super::project::Statements;
use crate::db::ended_rows::visit_ended;
use crate::db::error::{Context, DbError};
use crate::db::segments::segment_from_row;
use crate::db::seq_to_sql;
use crate::log::{
    DayKey, Event, EventKind, HOURS_PER_DAY, HourKey, HourSums, SegmentDecoder, count_end,
    hour_start, lines, minute_of,
};

const WRITING: &str = "writing sums";
const COUNTING: &str = "counting sums again";

/// Rows of rollups that are to be counted again.
#[derive(Debug, Default)]
pub(crate) struct Saturated {
    hours: BTreeSet<HourKey>,
    days: BTreeSet<(i64, String, String)>,
}

/// Subtracts from the rows in which a key is counted. A row that counts nothing any more is deleted, since
/// a rebuild would not make it. From sums at their bound, or values that are not sums, nothing can be
/// subtracted: those rows are noted.
pub(crate) fn subtract(
    connection: &Connection,
    key: &HourKey,
    sums: &HourSums,
    saturated: &mut Saturated,
) -> Result<(), DbError> {
    let day = key.hour.div_euclid(HOURS_PER_DAY);
    let model: [&dyn ToSql; 2] = [&key.provider_name, &key.model];
    let [provider, model] = model;
    let hour_key: [(&str, &dyn ToSql); 4] = [
        ("hour", &key.hour),
        ("provider_name", provider),
        ("model", model),
        ("user_id", &key.user_id),
    ];
    if subtract_from(connection, "usage_hourly", &hour_key, sums)? {
        saturated.hours.insert(key.clone());
    }
    let day_key = [
        ("day", &day as &dyn ToSql),
        ("provider_name", provider),
        ("model", model),
    ];
    if subtract_from(connection, "usage_daily", &day_key, sums)? {
        let (provider, model) = (key.provider_name.clone(), key.model.clone());
        saturated.days.insert((day, provider, model));
    }
    Ok(())
}

/// Subtracts from one row, and deletes it if it counts nothing any more. `true`: nothing was done, since
/// the row is saturated or damaged and cannot say what is left.
fn subtract_from(
    connection: &Connection,
    table: &str,
    key: &[(&str, &dyn ToSql)],
    sums: &HourSums,
) -> Result<bool, DbError> {
    let equal: Vec<String> = key
        .iter()
        .map(|(column, _)| format!("{column} = ?"))
        .collect();
    let equal = equal.join(" AND ");
    let key: Vec<&dyn ToSql> = key.iter().map(|(_, value)| *value).collect();
    let at_bound =
        SUMS.map(|sum| format!("typeof({sum}) <> 'integer' OR {sum} = {SUM_MAX} OR {sum} < 0"));
    let at_bound = at_bound.join(" OR ");
    let is_saturated: Option<bool> = connection
        .prepare_cached(&format!("SELECT {at_bound} FROM {table} WHERE {equal}"))
        .and_then(|mut statement| {
            statement
                .query_row(key.as_slice(), |row| row.get(0))
                .optional()
        })
        .context(WRITING)?;
    if is_saturated == Some(true) {
        return Ok(true);
    }
    let execute = |sql: &str, values: &[&dyn ToSql]| {
        connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(values))
            .context(WRITING)
    };
    let sets = SUMS.map(|sum| format!("{sum} = {sum} - min(?, {sum})"));
    let sums = sums.values().map(seq_to_sql);
    let mut values: Vec<&dyn ToSql> = sums.iter().map(|sum| sum as &dyn ToSql).collect();
    values.extend(&key);
    let update = format!("UPDATE {table} SET {} WHERE {equal}", sets.join(", "));
    execute(&update, &values)?;
    // A row without requests may have tokens, of requests of other models.
    let counts_nothing = SUMS.map(|sum| format!("{sum} = 0")).join(" AND ");
    let delete = format!("DELETE FROM {table} WHERE {equal} AND {counts_nothing}");
    execute(&delete, &key)?;
    Ok(false)
}

/// Counts the noted rows again, from the requests that remain and from what removals up to now recorded as
/// counted. Reads the requests of whole days and every such removal, which is slow, and as rare as nine
/// trillion tokens in an hour.
///
/// The steps: collect the days concerned; sum their remaining requests by hour; add the sums of pruned
/// requests, which are in the `pruned` events; derive the days from the hours; then replace exactly the
/// noted rows.
pub(crate) fn settle(connection: &Connection, saturated: &Saturated) -> Result<(), DbError> {
    if saturated.hours.is_empty() && saturated.days.is_empty() {
        return Ok(());
    }
    let mut hours: HashMap<HourKey, HourSums> = HashMap::new();
    let days_touched: BTreeSet<i64> = saturated
        .days
        .iter()
        .map(|(day, _, _)| *day)
        .chain(
            saturated
                .hours
                .iter()
                .map(|key| key.hour.div_euclid(HOURS_PER_DAY)),
        )
        .collect();
    for day in &days_touched {
        let Some((first, last)) = requests_of_day(connection, *day)? else {
            continue;
        };
        visit_ended(connection, first..=last, |request| {
            if request.key.hour.div_euclid(HOURS_PER_DAY) == *day {
                count_end(&mut hours, request.key, &request.ended);
            }
            Ok(())
        })?;
    }
    visit_pruned_usage(connection, |key, sums| {
        if days_touched.contains(&key.hour.div_euclid(HOURS_PER_DAY)) {
            hours.entry(key).or_default().merge(sums);
        }
    })?;
    let mut days: HashMap<DayKey<'_>, HourSums> = HashMap::new();
    for (key, sums) in &hours {
        days.entry(key.day()).or_default().merge(sums);
    }
    let mut statements = Statements::prepare(connection)?;
    let delete = |sql: &str, values: &[&dyn ToSql]| {
        connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(values))
            .context(WRITING)
    };
    for key in &saturated.hours {
        delete(
            "DELETE FROM usage_hourly WHERE hour = ?1 AND provider_name = ?2 AND model = ?3 \
             AND user_id = ?4",
            &[&key.hour, &key.provider_name, &key.model, &key.user_id],
        )?;
        if let Some(sums) = hours.get(key) {
            statements.add_hour(key, sums)?;
        }
    }
    for (day, provider_name, model) in &saturated.days {
        delete(
            "DELETE FROM usage_daily WHERE day = ?1 AND provider_name = ?2 AND model = ?3",
            &[day, provider_name, model],
        )?;
        let day = *day;
        let key = DayKey {
            day,
            provider_name,
            model,
        };
        if let Some(sums) = days.get(&key) {
            statements.add_day(&key, sums)?;
        }
    }
    Ok(())
}

/// The range of openings that contains the requests of a day.
fn requests_of_day(connection: &Connection, day: i64) -> Result<Option<(u64, u64)>, DbError> {
    let hour = day.saturating_mul(HOURS_PER_DAY);
    let (first, last) = (
        minute_of(hour_start(hour)),
        minute_of(hour_start(hour.saturating_add(HOURS_PER_DAY)).saturating_sub(1)),
    );
    let range: (Option<i64>, Option<i64>) = connection
        .query_row(rows::SELECT_MINUTES, [first, last], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .context(COUNTING)?;
    let seq = |seq: i64| u64::try_from(seq).unwrap_or(0);
    Ok(range
        .0
        .zip(range.1)
        .map(|(first, last)| (seq(first), seq(last))))
}

/// Visits the sums of removed requests, as recorded by the `pruned` events that are noted in `removals`. An
/// event without a note is skipped: its removal is being applied right now, and is counted there.
fn visit_pruned_usage(
    connection: &Connection,
    mut visit: impl FnMut(HourKey, &HourSums),
) -> Result<(), DbError> {
    let mut decoder = SegmentDecoder::new().map_err(|error| DbError::corrupt(COUNTING, error))?;
    let mut statement = connection
        .prepare(
            "SELECT first_seq, count, length, encoding, data, tree FROM log_segments \
             WHERE first_seq IN (SELECT (SELECT max(first_seq) FROM log_segments \
             WHERE first_seq <= seq) FROM removals WHERE kind = 'metadata')",
        )
        .context(COUNTING)?;
    let noted_max: Option<i64> = connection
        .query_row(
            "SELECT max(seq) FROM removals WHERE kind = 'metadata'",
            [],
            |row| row.get(0),
        )
        .context(COUNTING)?;
    let segments = statement
        .query_map([], segment_from_row)
        .context(COUNTING)?;
    for segment in segments {
        let segment = segment.context(COUNTING)?;
        let text = decoder
            .decode(
                segment.encoding,
                segment.data,
                segment.length,
                segment.count,
            )
            .map_err(|error| DbError::corrupt(COUNTING, error))?;
        for line in lines(&text) {
            // A line that is not an event was not counted either.
            if let Ok(event) = Event::from_line(line)
                && let EventKind::Pruned(pruned) = event.kind
                && noted_max.is_some_and(|max| seq_to_sql(event.seq) <= max)
            {
                for usage in &pruned.usage {
                    visit(usage.key(), &usage.sums);
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
