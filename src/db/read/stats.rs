//! Sums over ended requests: from the rollups, or from the requests where only these have the answer.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row, params_from_iter};

use super::list::{self, Conditions, Walk};
use crate::db::added_columns::{ADDED_COLUMNS, groups_of, has_columns_of_requests, lacking};
use crate::db::ended_rows::{ENDED_COLUMN_COUNT, ENDED_COLUMNS, ended_of};
use crate::db::error::{Context, DbError};
use crate::db::rollups::{SUM_MAX, SUMS, total};
use crate::db::rows::{OTHER_MODELS, count_at};
use crate::log::{HOURS_PER_DAY, HourSums, hour_of, hour_start};
use crate::model::{RequestFilter, StatsFilter, StatsKey, StatsRow, Timestamp, ToolStats};

const READING: &str = "reading statistics";

/// Sums from the rollups, never from the requests. Whole days come from `usage_daily`, which has one row
/// for each day, provider and model. The hours at both ends, and every grouping or filter by user or hour,
/// come from `usage_hourly`. Reads ranges of primary keys.
pub(crate) fn stats(
    connection: &Connection,
    filter: &StatsFilter,
) -> Result<Vec<StatsRow>, DbError> {
    let is_hourly = filter.user_id.is_some()
        || [StatsKey::User, StatsKey::Hour]
            .iter()
            .any(|key| filter.group_by.contains(key));
    stats_from(connection, filter, is_hourly)
}

fn stats_from(
    connection: &Connection,
    filter: &StatsFilter,
    is_hourly: bool,
) -> Result<Vec<StatsRow>, DbError> {
    let (source, mut conditions) = source(filter, is_hourly, groups_of(connection));
    conditions.add_name(&["provider_name"], filter.provider_name.as_ref());
    conditions.add_name(&["model"], filter.model.as_ref());
    conditions.add_identifier("user_id = ?", filter.user_id.as_ref());
    let column = |key, name| named(&filter.group_by, key, name);
    // Over all models each request is there with all of its tokens.
    let is_by_model = filter.model.is_some() || filter.group_by.contains(&StatsKey::Model);
    let sum = |sum: &str| match is_by_model || !sum.starts_with("credited_") {
        true => total(sum),
        false => "0".to_owned(),
    };
    let sql = format!(
        "SELECT {}, {}, {}, {}, {} FROM {source}{} GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4",
        time(&filter.group_by, "hour"),
        column(StatsKey::Provider, "provider_name"),
        column(StatsKey::Model, "model"),
        column(StatsKey::User, "user_id"),
        SUMS.map(sum).join(", "),
        conditions.to_sql()
    );
    let mut statement = connection.prepare_cached(&sql).context(READING)?;
    let rows = statement
        .query_map(params_from_iter(conditions.values), |row| {
            Ok(stats_row(group_from_row(row)?, sums_from_row(row)?))
        })
        .context(READING)?;
    rows.collect::<Result<_, _>>().context(READING)
}

/// The sums of a file with this many groups of added columns: 0 for those that it has not.
fn sums_of(groups: usize) -> String {
    let is_lacking = |sum: &&str| lacking(groups).any(|(_, column, _)| column == sum);
    let columns = SUMS.iter().map(|sum| match is_lacking(sum) {
        true => format!("0 AS {sum}"),
        false => (*sum).to_owned(),
    });
    columns.collect::<Vec<_>>().join(", ")
}

/// The source for a time range, as a table with the columns `hour`, `provider_name`, `model`, the sums, and
/// `user_id` where hours are read.
///
/// The range is cut into three parts: the hours before the first whole day, the whole days, and the hours
/// after the last whole day. If there is no whole day, or the caller needs single hours, it is one range of
/// hours. Values that are bound in the source come before those of other conditions.
fn source(filter: &StatsFilter, is_hourly: bool, groups: usize) -> (String, Conditions) {
    let first = filter.since.map(|since| hour_of(since.as_micros()));
    // `until` is exclusive: its hour counts, unless `until` is the start of that hour.
    let last = filter
        .until
        .map(|until| hour_of(until.as_micros().saturating_sub(1)));
    let first_day = first
        .map(|hour| hour.div_euclid(HOURS_PER_DAY) + i64::from(hour.rem_euclid(HOURS_PER_DAY) > 0));
    let last_day = last.map(|hour| hour.saturating_add(1).div_euclid(HOURS_PER_DAY) - 1);
    let has_days = !matches!((first_day, last_day), (Some(first), Some(last)) if first > last);
    let mut conditions = Conditions::default();
    if is_hourly || !has_days {
        if let Some(first) = first {
            conditions.add("hour >= ?", first);
        }
        if let Some(last) = last {
            conditions.add("hour <= ?", last);
        }
        let source = match groups == ADDED_COLUMNS.len() {
            true => "usage_hourly".to_owned(),
            false => format!(
                "(SELECT hour, provider_name, model, user_id, {} FROM usage_hourly)",
                sums_of(groups)
            ),
        };
        return (source, conditions);
    }
    let start = |day: i64| day.saturating_mul(HOURS_PER_DAY);
    let mut bind = |sql: &str, value: i64| {
        conditions.values.push(value.into());
        sql.to_owned()
    };
    let columns = format!("provider_name, model, {}", sums_of(groups));
    let days: Vec<String> = [
        first_day.map(|day| bind("day >= ?", day)),
        last_day.map(|day| bind("day <= ?", day)),
    ]
    .into_iter()
    .flatten()
    .collect();
    let mut source = format!("(SELECT day * {HOURS_PER_DAY} AS hour, {columns} FROM usage_daily");
    if !days.is_empty() {
        source.push_str(&format!(" WHERE {}", days.join(" AND ")));
    }
    // The hours before the first whole day, and those after the last one.
    let ends = [
        first
            .zip(first_day)
            .map(|(hour, day)| (hour, start(day) - 1)),
        last.zip(last_day)
            .map(|(hour, day)| (start(day.saturating_add(1)), hour)),
    ];
    for (from, to) in ends.into_iter().flatten().filter(|(from, to)| from <= to) {
        let range = [bind("hour >= ?", from), bind("hour <= ?", to)].join(" AND ");
        source.push_str(&format!(
            " UNION ALL SELECT hour, {columns} FROM usage_hourly WHERE {range}"
        ));
    }
    source.push(')');
    (source, conditions)
}

/// The same sums from the requests themselves, for filters that the rollups cannot answer. Reads every
/// matching row; uses the index of a list with this filter.
///
/// Requests of which other models used tokens are added one by one where sums are grouped by model, which SQL cannot
/// share out; they are few.
pub(crate) fn stats_of(
    connection: &Connection,
    filter: &RequestFilter,
    group_by: &[StatsKey],
) -> Result<Vec<StatsRow>, DbError> {
    let transaction = connection.unchecked_transaction().context(READING)?;
    let Some(mut conditions) = list::conditions(&transaction, filter, Walk::Before(None))? else {
        return Ok(Vec::new());
    };
    conditions.add_fixed("ended_seq IS NOT NULL");
    let matching = format!("FROM requests{}{}", conditions.index, conditions.to_sql());
    let has_added = has_columns_of_requests(&transaction);
    let is_shared_out = has_added && group_by.contains(&StatsKey::Model);
    let tells_others = format!("coalesce(instr(usage_details, '{OTHER_MODELS}'), 0)");
    let mut sums = match is_shared_out {
        false => summed(&transaction, &matching, &conditions, group_by, has_added)?,
        true => {
            let matching = format!("{matching} AND {tells_others} = 0");
            summed(&transaction, &matching, &conditions, group_by, has_added)?
        }
    };
    if is_shared_out {
        let matching = format!("{matching} AND {tells_others} > 0");
        add_shared_out(&transaction, &matching, &conditions, group_by, &mut sums)?;
    }
    let rows = sums.into_iter();
    Ok(rows.map(|(group, sums)| stats_row(group, sums)).collect())
}

/// The sums of requests that match, by group. The columns come in the order that [`group_from_row`] and
/// [`sums_from_row`] read: the grouping, the counts by status, then the sums. Counts beside the sums tell in how many
/// requests a value is missing.
fn summed(
    connection: &Connection,
    matching: &str,
    conditions: &Conditions,
    group_by: &[StatsKey],
    has_added: bool,
) -> Result<BTreeMap<Group, Sums>, DbError> {
    let column = |key, name| named(group_by, key, name);
    let count = |status: &str| format!("sum(status = '{status}')");
    let sql = format!(
        "SELECT {}, {}, {}, {}, {}, {}, {}, 0, 0, 0, 0 {matching} \
         GROUP BY 1, 2, 3, 4",
        time(group_by, HOUR_OF_OPENING),
        column(
            StatsKey::Provider,
            "coalesce(response_provider_name, provider_name, '')"
        ),
        column(
            StatsKey::Model,
            "coalesce(response_model, request_model, client_model, '')"
        ),
        column(StatsKey::User, "coalesce(user_id, '')"),
        [
            "completed",
            "failed",
            "rejected",
            "abandoned",
            "interrupted"
        ]
        .map(count)
        .join(", "),
        [
            "input_tokens",
            "output_tokens",
            "cache_read_input_tokens",
            "cache_write_input_tokens",
            "reasoning_output_tokens",
            "status <> 'rejected' AND input_tokens IS NULL AND output_tokens IS NULL \
             AND NOT (status = 'failed' AND coalesce(http_status, 0) >= 400)",
            "cost_microdollars",
            "cost_microdollars IS NULL AND \
             (input_tokens IS NOT NULL OR output_tokens IS NOT NULL)",
            "latency_us",
            "latency_us IS NOT NULL",
        ]
        .map(total)
        .join(", "),
        match has_added {
            false => "0, 0, 0, 0, 0".to_owned(),
            true => [
                "usage_source = 'partial'",
                "usage_source = 'told'",
                "cost_source = 'partial'",
                "cost_source IN ('stated', 'told')",
                "cost_source = 'incomplete'",
            ]
            .map(|condition| total(&format!("coalesce({condition}, 0)")))
            .join(", "),
        },
    );
    let mut statement = connection.prepare_cached(&sql).context(READING)?;
    let rows = statement
        .query_map(params_from_iter(&conditions.values), |row| {
            Ok((group_from_row(row)?, sums_from_row(row)?))
        })
        .context(READING)?;
    rows.collect::<Result<_, _>>().context(READING)
}

/// Adds requests to the groups of the models whose tokens they used.
fn add_shared_out(
    connection: &Connection,
    matching: &str,
    conditions: &Conditions,
    group_by: &[StatsKey],
    sums: &mut BTreeMap<Group, Sums>,
) -> Result<(), DbError> {
    let time = time(group_by, HOUR_OF_OPENING);
    let sql = format!("SELECT {ENDED_COLUMNS}, {time} {matching}");
    let mut statement = connection.prepare_cached(&sql).context(READING)?;
    let mut rows = statement
        .query(params_from_iter(&conditions.values))
        .context(READING)?;
    let is = |key, name: &str| group_by.contains(&key).then(|| name.to_owned());
    while let Some(row) = rows.next().context(READING)? {
        let hour: Option<i64> = row.get(ENDED_COLUMN_COUNT).context(READING)?;
        let request = ended_of(row).context(READING)?;
        let mut add = |model: &str, added: &HourSums| {
            let group = Group {
                hour,
                provider_name: is(StatsKey::Provider, &request.key.provider_name),
                model: is(StatsKey::Model, model),
                user_id: is(StatsKey::User, &request.key.user_id),
            };
            let sums = sums.entry(group).or_insert([0; SUMS.len()]);
            for (sum, value) in sums.iter_mut().zip(added.values()) {
                *sum = sum.saturating_add(value).min(SUM_MAX.unsigned_abs());
            }
        };
        let others = request.ended.shares_of_others(&request.key.model);
        add(&request.key.model, &request.ended.own_share(&others));
        for (model, share) in &others {
            add(model, share);
        }
    }
    Ok(())
}

/// The hour in which a request was opened, rounded down, also before 1970.
const HOUR_OF_OPENING: &str =
    "((opened_at - ((opened_at % 3600000000) + 3600000000) % 3600000000) / 3600000000)";

/// Tool calls by the name of the tool. Without a filter, only the calls are read. With a filter, the
/// matching requests are read first, and then the calls of each by their primary key (`CROSS JOIN` fixes
/// this order).
pub(crate) fn tools(
    connection: &Connection,
    filter: &RequestFilter,
) -> Result<Vec<ToolStats>, DbError> {
    let transaction = connection.unchecked_transaction().context(READING)?;
    let (mut source, mut values) = ("tool_calls".to_owned(), Vec::new());
    if *filter != RequestFilter::default() {
        let Some(mut conditions) = list::conditions(&transaction, filter, Walk::Before(None))?
        else {
            return Ok(Vec::new());
        };
        conditions.add_fixed("tool_call_count > 0");
        source = format!(
            "(SELECT ended_seq FROM requests{}{}) AS matching CROSS JOIN tool_calls \
             ON tool_calls.ended_seq = matching.ended_seq",
            conditions.index,
            conditions.to_sql()
        );
        values = conditions.values;
    }
    let mut sql = format!(
        "SELECT tool_name, count(*) AS calls, count(DISTINCT tool_calls.ended_seq), \
         {} FROM {source}",
        total("input_bytes")
    );
    if let Some(tool) = &filter.tool_name {
        let mut names = Conditions::default();
        names.add_name(&["tool_name"], Some(tool));
        sql.push_str(&names.to_sql());
        values.extend(names.values);
    }
    sql.push_str(" GROUP BY tool_name ORDER BY calls DESC, tool_name");
    let mut statement = transaction.prepare_cached(&sql).context(READING)?;
    let rows = statement
        .query_map(params_from_iter(values), |row| {
            Ok(ToolStats {
                tool_name: row.get(0)?,
                calls: count_at(row, 1)?,
                requests: count_at(row, 2)?,
                input_bytes: count_at(row, 3)?,
            })
        })
        .context(READING)?;
    rows.collect::<Result<_, _>>().context(READING)
}

/// The hour to group by, or the first hour of the day.
fn time(group_by: &[StatsKey], hour: &str) -> String {
    if group_by.contains(&StatsKey::Hour) {
        hour.to_owned()
    } else if group_by.contains(&StatsKey::Day) {
        format!("({hour} - (({hour} % {HOURS_PER_DAY}) + {HOURS_PER_DAY}) % {HOURS_PER_DAY})")
    } else {
        "NULL".to_owned()
    }
}

fn named<'n>(group_by: &[StatsKey], key: StatsKey, name: &'n str) -> &'n str {
    if group_by.contains(&key) {
        name
    } else {
        "NULL"
    }
}

/// What sums are grouped by; `None` where they are not.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    hour: Option<i64>,
    provider_name: Option<String>,
    model: Option<String>,
    user_id: Option<String>,
}

/// In the order of [`SUMS`].
type Sums = [u64; SUMS.len()];

fn group_from_row(row: &Row<'_>) -> rusqlite::Result<Group> {
    Ok(Group {
        hour: row.get(0)?,
        provider_name: row.get(1)?,
        model: row.get(2)?,
        user_id: row.get(3)?,
    })
}

fn sums_from_row(row: &Row<'_>) -> rusqlite::Result<Sums> {
    let mut sums = [0; SUMS.len()];
    for (index, sum) in (4..).zip(&mut sums) {
        *sum = count_at(row, index)?;
    }
    Ok(sums)
}

fn stats_row(group: Group, sums: Sums) -> StatsRow {
    let [
        completed,
        failed,
        rejected,
        abandoned,
        interrupted,
        input_tokens,
        output_tokens,
        cache_read_input_tokens,
        cache_write_input_tokens,
        reasoning_output_tokens,
        without_usage,
        cost_microdollars,
        unpriced,
        latency_us_sum,
        latency_count,
        partial_usage,
        told_usage,
        partial_cost,
        told_cost,
        incomplete_cost,
        credited_requests,
        credited_partial_usage,
        credited_told_usage,
        credited_unpriced,
    ] = sums;
    let requests = [completed, failed, rejected, abandoned, interrupted];
    StatsRow {
        time: group
            .hour
            .map(|hour| Timestamp::from_micros(hour_start(hour))),
        provider_name: group.provider_name,
        model: group.model,
        user_id: group.user_id,
        requests: requests.into_iter().fold(0, u64::saturating_add),
        completed,
        failed,
        rejected,
        abandoned,
        interrupted,
        input_tokens,
        output_tokens,
        cache_read_input_tokens,
        cache_write_input_tokens,
        reasoning_output_tokens,
        without_usage,
        cost_microdollars,
        unpriced,
        latency_us_sum,
        latency_count,
        partial_usage,
        told_usage,
        partial_cost,
        told_cost,
        incomplete_cost,
        credited_requests,
        credited_partial_usage,
        credited_told_usage,
        credited_unpriced,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Days and the hours at both ends give the same sums as all hours.
    #[test]
    fn days_and_hours_say_the_same() {
        let seed = std::env::var("AUDITLITE_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok())
            .unwrap_or_else(|| fastrand::u64(..));
        println!("AUDITLITE_SEED={seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let mut connection = Connection::open_in_memory().unwrap();
        crate::db::connection::migrate::migrate(&mut connection).unwrap();
        let sums = SUMS.map(total).join(", ");
        // Around 1970: days before it are rounded down too.
        for hour in -60..60 {
            for _ in 0..random.u8(..4) {
                let values: Vec<String> = SUMS.iter().map(|_| random.u8(..9).to_string()).collect();
                connection
                    .execute(
                        &format!(
                            "INSERT OR IGNORE INTO usage_hourly VALUES \
                             ({hour}, 'p{}', 'm{}', 'u{}', {})",
                            random.u8(..2),
                            random.u8(..3),
                            random.u8(..2),
                            values.join(", ")
                        ),
                        [],
                    )
                    .unwrap();
            }
        }
        connection
            .execute(
                &format!(
                    "INSERT INTO usage_daily SELECT (hour + 2400) / 24 - 100, provider_name, \
                     model, {sums} FROM usage_hourly GROUP BY 1, 2, 3"
                ),
                [],
            )
            .unwrap();
        let mut with_rows = 0;
        for _ in 0..500 {
            let mut at = || {
                random
                    .bool()
                    .then(|| random.i64(-70..70) * 3_600_000_000 + random.i64(0..2))
            };
            let filter = StatsFilter {
                since: at().map(Timestamp::from_micros),
                until: at().map(Timestamp::from_micros),
                model: random.bool().then(|| "m?".to_owned()),
                provider_name: random.bool().then(|| "p1".to_owned()),
                group_by: [StatsKey::Day, StatsKey::Provider, StatsKey::Model]
                    .into_iter()
                    .filter(|_| random.bool())
                    .collect(),
                ..StatsFilter::default()
            };
            let days = stats_from(&connection, &filter, false).unwrap();
            let hours = stats_from(&connection, &filter, true).unwrap();
            assert_eq!(days, hours, "{filter:?}");
            with_rows += usize::from(!hours.is_empty());
        }
        assert!(with_rows > 100, "{with_rows}");
    }
}
