//! Queries. Each is bounded, uses bound parameters only, and says which index serves it.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};

use super::error::{Context, DbError};
use super::rows::{SELECT_REQUEST, request_from_row, status_is};
use super::seq_to_sql;
use crate::log::{hour_of, hour_start, minute_of};
use crate::payload::{Bases, bases_of};
use crate::record::{
    RecordedToolCall, RequestFilter, RequestRecord, StatsFilter, StatsKey, StatsRow, Status,
};

/// A payload as it lies in the file.
#[derive(Debug, Clone)]
pub(crate) struct StoredPayload {
    pub(crate) length: u64,
    pub(crate) sha256: Vec<u8>,
    pub(crate) kept: u64,
    pub(crate) head: Option<u64>,
    pub(crate) encoding: i64,
    pub(crate) bases: Option<Bases>,
    /// Bytes of the packed content; absent where only the digest is kept.
    pub(crate) stored: Option<u64>,
    /// The packed content, where it was asked for.
    pub(crate) data: Option<Vec<u8>>,
}

/// A segment of the log as it lies in the file.
#[derive(Debug)]
pub(crate) struct StoredSegment {
    pub(crate) first_seq: u64,
    pub(crate) count: u64,
    pub(crate) length: u64,
    pub(crate) encoding: i64,
    pub(crate) data: Vec<u8>,
    /// Hashes of the tree that belong to it.
    pub(crate) tree: Vec<u8>,
}

pub(super) fn count_at(row: &Row<'_>, index: usize) -> rusqlite::Result<u64> {
    Ok(u64::try_from(row.get::<_, i64>(index)?).unwrap_or(0))
}

pub(super) fn optional_count_at(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<u64>> {
    Ok(row
        .get::<_, Option<i64>>(index)?
        .and_then(|count| u64::try_from(count).ok()))
}

/// Conditions joined by AND, with their values.
#[derive(Default)]
struct Conditions {
    sql: Vec<String>,
    values: Vec<Value>,
}

impl Conditions {
    /// `?` in `sql` stands for `value`, as often as it occurs.
    fn add(&mut self, sql: &str, value: impl Into<Value>) {
        let value = value.into();
        for _ in 0..sql.matches('?').count() {
            self.values.push(value.clone());
        }
        self.sql.push(sql.to_owned());
    }

    fn add_text(&mut self, sql: &str, value: Option<&String>) {
        if let Some(value) = value {
            self.add(sql, value.clone());
        }
    }

    fn to_sql(&self) -> String {
        if self.sql.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", self.sql.join(" AND "))
        }
    }
}

/// Requests that match, newest first, from below `before`. Index: the one of the filter's id,
/// else the primary key backwards. Times are first narrowed by `opened_minutes`.
pub(crate) fn list(
    connection: &Connection,
    filter: &RequestFilter,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<RequestRecord>, DbError> {
    const LISTING: &str = "listing requests";
    // One read transaction: the bounds and the page see the same state.
    let transaction = connection.unchecked_transaction().context(LISTING)?;
    let Some(conditions) = list_conditions(&transaction, filter, before)? else {
        return Ok(Vec::new());
    };
    let sql = list_sql(filter, &conditions, limit);
    let mut statement = transaction.prepare_cached(&sql).context(LISTING)?;
    let rows = statement
        .query_map(params_from_iter(conditions.values), request_from_row)
        .context(LISTING)?;
    rows.collect::<Result<_, _>>().context(LISTING)
}

/// The query plan of a list, for the test that holds it to its index.
#[cfg(test)]
pub(crate) fn list_plan(
    connection: &Connection,
    filter: &RequestFilter,
) -> Result<String, DbError> {
    let conditions = list_conditions(connection, filter, Some(1_000_000))?.unwrap_or_default();
    let sql = format!("EXPLAIN QUERY PLAN {}", list_sql(filter, &conditions, 20));
    let mut statement = connection.prepare(&sql).context("explaining")?;
    let rows = statement
        .query_map(params_from_iter(conditions.values), |row| {
            row.get::<_, String>(3)
        })
        .context("explaining")?;
    let lines: Vec<String> = rows.collect::<Result<_, _>>().context("explaining")?;
    Ok(lines.join("\n"))
}

fn list_sql(filter: &RequestFilter, conditions: &Conditions, limit: usize) -> String {
    let has_id = [
        &filter.user_id,
        &filter.session_id,
        &filter.conversation_id,
        &filter.trace_id,
    ]
    .into_iter()
    .any(Option::is_some);
    // Without statistics the planner takes a cursor's range on the primary key for cheaper, and
    // would walk past all completed requests to find the rare others.
    let index = match filter.status {
        None | Some(Status::Completed) => "",
        Some(_) if has_id => "",
        Some(_) => " INDEXED BY requests_by_status",
    };
    format!(
        "{}{index}{} ORDER BY opened_seq DESC LIMIT {limit}",
        *SELECT_REQUEST,
        conditions.to_sql()
    )
}

/// `None`: nothing can match.
fn list_conditions(
    connection: &Connection,
    filter: &RequestFilter,
    before: Option<u64>,
) -> Result<Option<Conditions>, DbError> {
    let mut conditions = Conditions::default();
    if let Some(before) = before {
        conditions.add("opened_seq < ?", seq_to_sql(before));
    }
    if filter.since.is_some() || filter.until.is_some() {
        let Some((first, last)) = seq_range(connection, filter.since, filter.until)? else {
            return Ok(None);
        };
        conditions.add("opened_seq >= ?", first);
        conditions.add("opened_seq <= ?", last);
        if let Some(since) = filter.since {
            conditions.add("opened_at >= ?", since);
        }
        if let Some(until) = filter.until {
            conditions.add("opened_at < ?", until);
        }
    }
    if let Some(status) = filter.status {
        conditions.sql.push(status_is(status));
    }
    conditions.add_text(
        "(provider_name = ? OR response_provider_name = ?)",
        filter.provider_name.as_ref(),
    );
    conditions.add_text(
        "(response_model = ? OR request_model = ? OR requested_model = ?)",
        filter.model.as_ref(),
    );
    conditions.add_text("user_id = ?", filter.user_id.as_ref());
    conditions.add_text("session_id = ?", filter.session_id.as_ref());
    conditions.add_text(
        "coalesce(conversation_id, context_id, session_id) = ?",
        filter.conversation_id.as_ref(),
    );
    conditions.add_text("trace_id = ?", filter.trace_id.as_ref());
    Ok(Some(conditions))
}

/// The part of the log that can hold requests of these times; `None` where there are none.
fn seq_range(
    connection: &Connection,
    since: Option<i64>,
    until: Option<i64>,
) -> Result<Option<(i64, i64)>, DbError> {
    let range: (Option<i64>, Option<i64>) = connection
        .prepare_cached(
            "SELECT min(first_seq), max(last_seq) FROM opened_minutes \
             WHERE minute BETWEEN ?1 AND ?2",
        )
        .and_then(|mut statement| {
            statement.query_row(
                [
                    since.map_or(i64::MIN, minute_of),
                    until.map_or(i64::MAX, minute_of),
                ],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
        })
        .context("looking up a time range")?;
    Ok(range.0.zip(range.1))
}

fn requests_where(
    connection: &Connection,
    condition: &str,
    values: &[&str],
    limit: usize,
) -> Result<Vec<RequestRecord>, DbError> {
    const READING: &str = "looking up a request";
    let sql = format!(
        "{} WHERE {condition} ORDER BY opened_seq DESC LIMIT {limit}",
        *SELECT_REQUEST
    );
    let mut statement = connection.prepare_cached(&sql).context(READING)?;
    let rows = statement
        .query_map(params_from_iter(values), request_from_row)
        .context(READING)?;
    rows.collect::<Result<_, _>>().context(READING)
}

/// Requests with exactly this id. Index: `requests_by_request_id`.
pub(crate) fn by_request_id(
    connection: &Connection,
    id: &str,
    limit: usize,
) -> Result<Vec<RequestRecord>, DbError> {
    requests_where(connection, "request_id = ?1", &[id], limit)
}

/// Requests whose id starts with this. Index: `requests_by_request_id`.
pub(crate) fn by_request_id_prefix(
    connection: &Connection,
    prefix: &str,
    limit: usize,
) -> Result<Vec<RequestRecord>, DbError> {
    match prefix_end(prefix) {
        Some(end) => {
            let condition = "request_id >= ?1 AND request_id < ?2";
            requests_where(connection, condition, &[prefix, &end], limit)
        }
        None => requests_where(connection, "request_id >= ?1", &[prefix], limit),
    }
}

/// The first text after all that start with this one; `None` where nothing comes after them. The
/// order of UTF-8 bytes, which is SQLite's, is that of the characters.
fn prefix_end(prefix: &str) -> Option<String> {
    let mut end = prefix.to_owned();
    while let Some(last) = end.pop() {
        if let Some(next) = (last..=char::MAX).nth(1) {
            end.push(next);
            return Some(end);
        }
    }
    None
}

/// Requests of this trace. Index: `requests_by_trace_id`.
pub(crate) fn by_trace_id(
    connection: &Connection,
    id: &str,
    limit: usize,
) -> Result<Vec<RequestRecord>, DbError> {
    requests_where(connection, "trace_id = ?1", &[id], limit)
}

/// Requests of this session. Index: `requests_by_session_id`.
pub(crate) fn by_session_id(
    connection: &Connection,
    id: &str,
    limit: usize,
) -> Result<Vec<RequestRecord>, DbError> {
    requests_where(connection, "session_id = ?1", &[id], limit)
}

/// Content, with or without the packed bytes. Primary key.
pub(crate) fn payload(
    connection: &Connection,
    payload_id: i64,
    with_data: bool,
) -> Result<Option<StoredPayload>, DbError> {
    // `data` comes last: what is not asked for is not read from the row's overflow pages.
    let sql = if with_data {
        "SELECT length, sha256, kept, head, encoding, base_id, second_base_id, length(data), data \
         FROM payloads WHERE payload_id = ?1"
    } else {
        "SELECT length, sha256, kept, head, encoding, base_id, second_base_id, length(data), NULL \
         FROM payloads WHERE payload_id = ?1"
    };
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| {
            statement
                .query_row([payload_id], |row| {
                    Ok(StoredPayload {
                        length: count_at(row, 0)?,
                        sha256: row.get(1)?,
                        kept: count_at(row, 2)?,
                        head: optional_count_at(row, 3)?,
                        encoding: row.get(4)?,
                        bases: bases_of(row.get(5)?, row.get(6)?),
                        stored: optional_count_at(row, 7)?,
                        data: row.get(8)?,
                    })
                })
                .optional()
        })
        .context("reading a payload")
}

/// Tool calls of a response, in order, without inputs. Primary key.
pub(crate) fn tool_calls(
    connection: &Connection,
    ended_seq: u64,
) -> Result<Vec<RecordedToolCall>, DbError> {
    const READING: &str = "reading tool calls";
    let mut statement = connection
        .prepare_cached(
            "SELECT position, tool_call_id, tool_name, input_bytes FROM tool_calls \
             WHERE ended_seq = ?1 ORDER BY position",
        )
        .context(READING)?;
    let rows = statement
        .query_map([seq_to_sql(ended_seq)], |row| {
            Ok(RecordedToolCall {
                position: count_at(row, 0)?,
                tool_call_id: row.get(1)?,
                tool_name: row.get(2)?,
                input_bytes: count_at(row, 3)?,
                input: None,
            })
        })
        .context(READING)?;
    rows.collect::<Result<_, _>>().context(READING)
}

/// Sums from the rollup. Primary key range where times are given; the table has a row for each
/// hour, provider, model and user, never one for each request.
pub(crate) fn stats(
    connection: &Connection,
    filter: &StatsFilter,
) -> Result<Vec<StatsRow>, DbError> {
    const READING: &str = "reading statistics";
    let mut conditions = Conditions::default();
    if let Some(since) = filter.since {
        conditions.add("hour >= ?", hour_of(since));
    }
    if let Some(until) = filter.until {
        // `until` is exclusive; the hour that it lies in counts unless it starts there.
        conditions.add("hour <= ?", hour_of(until.saturating_sub(1)));
    }
    conditions.add_text("provider_name = ?", filter.provider_name.as_ref());
    conditions.add_text("model = ?", filter.model.as_ref());
    conditions.add_text("user_id = ?", filter.user_id.as_ref());
    let has = |key| filter.group_by.contains(&key);
    let time = if has(StatsKey::Hour) {
        "hour"
    } else if has(StatsKey::Day) {
        "(hour - ((hour % 24) + 24) % 24)"
    } else {
        "NULL"
    };
    let column = |key, name| if has(key) { name } else { "NULL" };
    let sql = format!(
        "SELECT {time}, {}, {}, {}, sum(completed), sum(failed), sum(rejected), sum(abandoned), \
         sum(interrupted), sum(input_tokens), sum(output_tokens), sum(cache_read_input_tokens), \
         sum(cache_write_input_tokens), sum(reasoning_output_tokens), sum(cost_microdollars), \
         sum(unpriced), sum(latency_us_sum), sum(latency_count) FROM usage_hourly{} \
         GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4",
        column(StatsKey::Provider, "provider_name"),
        column(StatsKey::Model, "model"),
        column(StatsKey::User, "user_id"),
        conditions.to_sql()
    );
    let mut statement = connection.prepare_cached(&sql).context(READING)?;
    let rows = statement
        .query_map(params_from_iter(conditions.values), stats_from_row)
        .context(READING)?;
    rows.collect::<Result<_, _>>().context(READING)
}

fn stats_from_row(row: &Row<'_>) -> rusqlite::Result<StatsRow> {
    let [completed, failed, rejected, abandoned, interrupted] =
        [4, 5, 6, 7, 8].map(|index| count_at(row, index));
    let mut stats = StatsRow {
        time: row.get::<_, Option<i64>>(0)?.map(hour_start),
        provider_name: row.get(1)?,
        model: row.get(2)?,
        user_id: row.get(3)?,
        requests: 0,
        completed: completed?,
        failed: failed?,
        rejected: rejected?,
        abandoned: abandoned?,
        interrupted: interrupted?,
        input_tokens: count_at(row, 9)?,
        output_tokens: count_at(row, 10)?,
        cache_read_input_tokens: count_at(row, 11)?,
        cache_write_input_tokens: count_at(row, 12)?,
        reasoning_output_tokens: count_at(row, 13)?,
        cost_microdollars: count_at(row, 14)?,
        unpriced: count_at(row, 15)?,
        latency_us_sum: count_at(row, 16)?,
        latency_count: count_at(row, 17)?,
    };
    stats.requests = [
        stats.completed,
        stats.failed,
        stats.rejected,
        stats.abandoned,
        stats.interrupted,
    ]
    .into_iter()
    .fold(0, u64::saturating_add);
    Ok(stats)
}

/// Every segment of the log, in order.
pub(crate) fn visit_segments(
    connection: &Connection,
    mut visit: impl FnMut(StoredSegment) -> Result<(), DbError>,
) -> Result<(), DbError> {
    const READING: &str = "reading the log";
    let mut statement = connection
        .prepare(
            "SELECT first_seq, count, length, encoding, data, tree FROM log_segments \
             ORDER BY first_seq",
        )
        .context(READING)?;
    let mut rows = statement.query([]).context(READING)?;
    while let Some(row) = rows.next().context(READING)? {
        visit(segment_from_row(row).context(READING)?)?;
    }
    Ok(())
}

pub(super) fn segment_from_row(row: &Row<'_>) -> rusqlite::Result<StoredSegment> {
    Ok(StoredSegment {
        first_seq: count_at(row, 0)?,
        count: count_at(row, 1)?,
        length: count_at(row, 2)?,
        encoding: row.get(3)?,
        data: row.get(4)?,
        tree: row.get(5)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_nothing_starts_with_it_any_more() {
        for (prefix, end) in [
            ("a", Some("b")),
            ("a\u{10FFFF}", Some("b")),
            ("é\u{D7FF}", Some("é\u{E000}")),
            ("\u{10FFFF}\u{10FFFF}", None),
            ("", None),
        ] {
            assert_eq!(prefix_end(prefix).as_deref(), end, "{prefix:?}");
        }
    }

    /// Every filter on an id is served by its index, without sorting; the rest walk the primary
    /// key backwards, so that a page is found after as many rows as it takes.
    #[test]
    fn lists_use_the_index_that_is_promised() {
        let mut connection = Connection::open_in_memory().unwrap();
        super::super::migrate::migrate(&mut connection).unwrap();
        let text = || Some("x".to_owned());
        let none = RequestFilter::default;
        for (filter, expected) in [
            (none(), "USING INTEGER PRIMARY KEY"),
            (
                RequestFilter {
                    user_id: text(),
                    ..none()
                },
                "requests_by_user_id",
            ),
            (
                RequestFilter {
                    session_id: text(),
                    ..none()
                },
                "requests_by_session_id",
            ),
            (
                RequestFilter {
                    trace_id: text(),
                    ..none()
                },
                "requests_by_trace_id",
            ),
            (
                RequestFilter {
                    conversation_id: text(),
                    ..none()
                },
                "requests_by_conversation",
            ),
            (
                RequestFilter {
                    status: Some(Status::Failed),
                    ..none()
                },
                "requests_by_status",
            ),
            (
                RequestFilter {
                    status: Some(Status::Completed),
                    ..none()
                },
                "USING INTEGER PRIMARY KEY",
            ),
            (
                RequestFilter {
                    model: text(),
                    ..none()
                },
                "USING INTEGER PRIMARY KEY",
            ),
        ] {
            let plan = list_plan(&connection, &filter).unwrap();
            assert!(plan.contains(expected), "{filter:?}: {plan}");
            assert!(!plan.contains("TEMP B-TREE"), "{filter:?}: {plan}");
        }
    }
}
