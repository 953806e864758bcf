//! Turns the shared filter into conditions of a query. Every value is bound, and a test checks which index
//! serves which filter.

use std::ops::RangeInclusive;

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use crate::db::error::{Context, DbError};
use crate::db::rows::{RequestRow, SELECT_MINUTES, request_rows, select_request, status_in};
use crate::db::seq_to_sql;
use crate::log::minute_of;
use crate::model::{
    RequestFilter, RequestOrder, Status, Timestamp, stored_attribute, stored_identifier,
};

/// Requests of one user with the same value of this belong to one conversation.
const CONVERSATION: &str = "coalesce(conversation_id, context_id, session_id)";
/// This many index entries are read in less than a millisecond.
const ENTRIES_FEW: i64 = 1_000;

/// Conditions joined by AND, with their values.
#[derive(Debug, Default)]
pub(crate) struct Conditions {
    sql: Vec<String>,
    pub(crate) values: Vec<Value>,
    /// ` INDEXED BY …` where the planner would choose another index; follows `requests` in the query.
    pub(crate) index: &'static str,
}

impl Conditions {
    /// `?` in `sql` stands for `value`, however often it occurs.
    pub(crate) fn add(&mut self, sql: &str, value: impl Into<Value>) {
        let value = value.into();
        for _ in 0..sql.matches('?').count() {
            self.values.push(value.clone());
        }
        self.sql.push(sql.to_owned());
    }

    /// The identifier equals this one, in its recorded form.
    pub(crate) fn add_identifier(&mut self, sql: &str, identifier: Option<&String>) {
        if let Some(identifier) = identifier {
            self.add(sql, stored_identifier(identifier).into_owned());
        }
    }

    /// A condition without a value.
    pub(crate) fn add_fixed(&mut self, sql: impl Into<String>) {
        self.sql.push(sql.into());
    }

    /// One of these columns matches this name; `*` stands for any characters and `?` for one.
    pub(crate) fn add_name(&mut self, columns: &[&str], pattern: Option<&String>) {
        let Some(pattern) = pattern else { return };
        let (operator, value) = match glob(pattern) {
            None => ("=", stored_identifier(pattern).into_owned()),
            Some(glob) => ("GLOB", glob),
        };
        let any: Vec<String> = columns
            .iter()
            .map(|column| format!("{column} {operator} ?"))
            .collect();
        self.add(&format!("({})", any.join(" OR ")), value);
    }

    /// The number is in one of these ranges. No ranges: any number.
    pub(crate) fn add_ranges(&mut self, column: &str, ranges: &[RangeInclusive<u16>]) {
        if ranges.is_empty() {
            return;
        }
        let any = vec![format!("{column} BETWEEN ? AND ?"); ranges.len()];
        self.sql.push(format!("({})", any.join(" OR ")));
        for range in ranges {
            self.values.push((*range.start()).into());
            self.values.push((*range.end()).into());
        }
    }

    /// ` WHERE …`, or nothing.
    pub(crate) fn to_sql(&self) -> String {
        if self.sql.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", self.sql.join(" AND "))
        }
    }
}

/// SQLite's GLOB pattern for ours, in which brackets are ordinary characters; `None`: a plain name.
/// Consecutive stars become one, so that matching stays cheap.
fn glob(pattern: &str) -> Option<String> {
    if !pattern.contains(['*', '?']) {
        return None;
    }
    let mut glob = String::with_capacity(pattern.len());
    for character in pattern.chars() {
        match character {
            '[' => glob.push_str("[[]"),
            '*' if glob.ends_with('*') => {}
            other => glob.push(other),
        }
    }
    Some(glob)
}

/// The direction in which the log is listed, and where to start.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Walk {
    /// Newest first, from below this.
    Before(Option<u64>),
    /// Oldest first, from above this.
    After(Option<u64>),
}

/// Matching requests in the order of the log. Index: the one of the filter's id, otherwise the primary key.
/// A time range is first turned into a seq range by `opened_minutes`.
pub(crate) fn list(
    connection: &Connection,
    filter: &RequestFilter,
    walk: Walk,
    limit: usize,
) -> Result<Vec<RequestRow>, DbError> {
    const LISTING: &str = "listing requests";
    // One read transaction: the bounds and the page see the same data.
    let transaction = connection.unchecked_transaction().context(LISTING)?;
    list_within(&transaction, filter, walk, limit)
}

/// As [`list`], within the caller's transaction.
pub(crate) fn list_within(
    connection: &Connection,
    filter: &RequestFilter,
    walk: Walk,
    limit: usize,
) -> Result<Vec<RequestRow>, DbError> {
    let Some((sql, values)) = list_sql(connection, filter, walk, limit)? else {
        return Ok(Vec::new());
    };
    rows(connection, &sql, values)
}

/// The matching requests with the highest value of a column, highest first. Reads every matching row.
pub(crate) fn top(
    connection: &Connection,
    filter: &RequestFilter,
    order: RequestOrder,
    limit: usize,
) -> Result<Vec<RequestRow>, DbError> {
    const LISTING: &str = "listing requests";
    let transaction = connection.unchecked_transaction().context(LISTING)?;
    let Some(mut conditions) = conditions(&transaction, filter, Walk::Before(None))? else {
        return Ok(Vec::new());
    };
    let column = order.column();
    conditions.add_fixed(format!("{column} IS NOT NULL"));
    let sql = format!(
        "{}{}{} ORDER BY {column} DESC, opened_seq DESC LIMIT {limit}",
        select_request(connection),
        conditions.index,
        conditions.to_sql()
    );
    rows(&transaction, &sql, conditions.values)
}

pub(super) fn rows(
    connection: &Connection,
    sql: &str,
    values: Vec<Value>,
) -> Result<Vec<RequestRow>, DbError> {
    const LISTING: &str = "listing requests";
    let mut statement = connection.prepare_cached(sql).context(LISTING)?;
    let rows = statement.query(params_from_iter(values)).context(LISTING)?;
    request_rows(rows).context(LISTING)
}

/// The query of a page, with its values. `None`: nothing can match.
///
/// With several rare states, each state is a separate walk through the index by status, whose entries are
/// in the order of the log, and SQLite merges the walks: a page reads only as many rows as it shows.
/// `status IN (…)` would read and sort all matching rows for every page.
fn list_sql(
    connection: &Connection,
    filter: &RequestFilter,
    walk: Walk,
    limit: usize,
) -> Result<Option<(String, Vec<Value>)>, DbError> {
    let direction = match walk {
        Walk::Before(_) => "DESC",
        Walk::After(_) => "ASC",
    };
    let walks = match index(connection, filter)? {
        BY_STATUS => filter.by_status(),
        _ => vec![filter.clone()],
    };
    let (mut queries, mut values) = (Vec::new(), Vec::new());
    for filter in walks {
        let Some(conditions) = conditions(connection, &filter, walk)? else {
            return Ok(None);
        };
        queries.push(format!(
            "{}{}{}",
            select_request(connection),
            conditions.index,
            conditions.to_sql()
        ));
        values.extend(conditions.values);
    }
    let sql = format!(
        "{} ORDER BY opened_seq {direction} LIMIT {limit}",
        queries.join(" UNION ALL ")
    );
    Ok(Some((sql, values)))
}

const BY_STATUS: &str = " INDEXED BY requests_by_status";

/// Chooses the index. Without statistics the planner prefers a cursor's range on the primary key, and would
/// walk past all completed requests to find a few rare ones. With both a user and a conversation it may
/// take either index, but the one with fewer entries is right: the user of a service has many
/// conversations, and an id that clients share, such as `default`, has many users.
fn index(connection: &Connection, filter: &RequestFilter) -> Result<&'static str, DbError> {
    const BY_USER: &str = " INDEXED BY requests_by_user_id";
    const BY_CONVERSATION: &str = " INDEXED BY requests_by_conversation";
    let user = filter.user_id.as_deref().filter(|user| !user.is_empty());
    if let Some(conversation) = &filter.conversation_id
        && [&filter.session_id, &filter.trace_id, &filter.request_id]
            .into_iter()
            .all(Option::is_none)
    {
        let Some(user) = user else {
            return Ok(BY_CONVERSATION);
        };
        let is_short = |column: &str, index: &str, id: &str| -> Result<bool, DbError> {
            let sql = format!(
                "SELECT count(*) FROM \
                 (SELECT 1 FROM requests{index} WHERE {column} = ?1 LIMIT {ENTRIES_FEW})"
            );
            let count: i64 = connection
                .prepare_cached(&sql)
                .and_then(|mut statement| {
                    statement.query_row([stored_identifier(id)], |row| row.get(0))
                })
                .context("looking for the shorter index")?;
            Ok(count < ENTRIES_FEW)
        };
        let is_by_user = !is_short(CONVERSATION, BY_CONVERSATION, conversation)?
            && is_short("user_id", BY_USER, user)?;
        return Ok(if is_by_user { BY_USER } else { BY_CONVERSATION });
    }
    let ids = [
        &filter.session_id,
        &filter.conversation_id,
        &filter.trace_id,
        &filter.request_id,
    ];
    let has_id = user.is_some() || ids.into_iter().any(Option::is_some);
    let is_rare = !filter.statuses.is_empty() && !filter.statuses.contains(&Status::Completed);
    Ok(if is_rare && !has_id { BY_STATUS } else { "" })
}

/// What the filter demands of a row of `requests`. `None`: nothing can match.
///
/// Cursors and times become bounds on `opened_seq` first, since these limit how many rows are read. Then
/// come plain columns, and last the conditions that need a lookup for each row (tool calls, attributes).
pub(crate) fn conditions(
    connection: &Connection,
    filter: &RequestFilter,
    walk: Walk,
) -> Result<Option<Conditions>, DbError> {
    if let Some(problem) = filter.problem() {
        return Err(DbError::invalid(problem));
    }
    let mut conditions = Conditions {
        index: index(connection, filter)?,
        ..Conditions::default()
    };
    let (before, after) = match walk {
        Walk::Before(before) => (before, filter.after_seq),
        Walk::After(after) => (None, after.max(filter.after_seq)),
    };
    if let Some(before) = before {
        conditions.add("opened_seq < ?", seq_to_sql(before));
    }
    match (after, walk) {
        (Some(after), _) => conditions.add("opened_seq > ?", seq_to_sql(after)),
        // No event has a seq below 0: a row with a negative key would stop a caller who continues from the
        // last key.
        (None, Walk::After(_)) => conditions.add_fixed("opened_seq >= 0"),
        (None, Walk::Before(_)) => {}
    }
    let micros = |at: Option<Timestamp>| at.map(Timestamp::as_micros);
    let (since, until) = (micros(filter.since), micros(filter.until));
    if since.is_some() || until.is_some() {
        let Some((first, last)) = seq_range(connection, since, until)? else {
            return Ok(None);
        };
        conditions.add("opened_seq >= ?", first);
        conditions.add("opened_seq <= ?", last);
        if let Some(since) = since {
            conditions.add("opened_at >= ?", since);
        }
        if let Some(until) = until {
            conditions.add("opened_at < ?", until);
        }
    }
    if !filter.statuses.is_empty() {
        conditions.add_fixed(status_in(&filter.statuses));
    }
    conditions.add_ranges("http_status", &filter.http_statuses);
    conditions.add_name(&["error_type"], filter.error_type.as_ref());
    conditions.add_name(&["url_path"], filter.url_path.as_ref());
    conditions.add_name(
        &["provider_name", "response_provider_name"],
        filter.provider_name.as_ref(),
    );
    conditions.add_name(
        &["response_model", "request_model", "client_model"],
        filter.model.as_ref(),
    );
    match filter.user_id.as_deref() {
        Some("") => conditions.add_fixed("user_id IS NULL"),
        _ => conditions.add_identifier("user_id = ?", filter.user_id.as_ref()),
    }
    conditions.add_identifier("session_id = ?", filter.session_id.as_ref());
    conditions.add_identifier(
        &format!("{CONVERSATION} = ?"),
        filter.conversation_id.as_ref(),
    );
    conditions.add_identifier("trace_id = ?", filter.trace_id.as_ref());
    conditions.add_identifier("request_id = ?", filter.request_id.as_ref());
    if let Some(cost) = filter.cost_microdollars_min {
        conditions.add("cost_microdollars >= ?", seq_to_sql(cost));
    }
    if let Some(latency) = filter.latency_us_min {
        conditions.add("latency_us >= ?", seq_to_sql(latency));
    }
    // Looked up for each row by the primary key of tool_calls, and only where the request has tool calls.
    if let Some(tool) = &filter.tool_name {
        conditions.add_fixed("tool_call_count > 0");
        let mut names = Conditions::default();
        names.add_name(&["tool_name"], Some(tool));
        conditions.add(
            &format!(
                "EXISTS (SELECT 1 FROM tool_calls WHERE tool_calls.ended_seq = \
                 requests.ended_seq AND {})",
                names.sql.join("")
            ),
            names.values.pop().unwrap_or(Value::Null),
        );
    }
    for (key, value) in &filter.attributes {
        let (key, value) = stored_attribute(key, value);
        conditions.add_fixed("attributes IS NOT NULL AND json_valid(attributes)");
        conditions.add(
            "EXISTS (SELECT 1 FROM json_each(attributes) WHERE json_each.key = ?",
            key,
        );
        conditions.add("json_each.atom = ?)", value);
    }
    Ok(Some(conditions))
}

/// The part of the log that can hold requests of these times; `None`: there is none.
fn seq_range(
    connection: &Connection,
    since: Option<i64>,
    until: Option<i64>,
) -> Result<Option<(i64, i64)>, DbError> {
    let range: (Option<i64>, Option<i64>) = connection
        .prepare_cached(SELECT_MINUTES)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn database() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        crate::db::connection::migrate::migrate(&mut connection).unwrap();
        connection
    }

    fn plan(connection: &Connection, filter: &RequestFilter, walk: Walk) -> String {
        let (sql, values) = list_sql(connection, filter, walk, 20).unwrap().unwrap();
        let mut statement = connection
            .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
            .unwrap();
        let rows = statement.query_map(params_from_iter(values), |row| row.get::<_, String>(3));
        let lines: Vec<String> = rows.unwrap().collect::<Result<_, _>>().unwrap();
        lines.join("\n")
    }

    /// An index serves every filter on an id, without sorting. Other filters walk the primary key, so that
    /// a page reads as many rows as it takes to fill it.
    #[test]
    fn lists_use_the_index_that_is_promised() {
        let connection = database();
        let text = || Some("x".to_owned());
        let filter = |change: fn(&mut RequestFilter, Option<String>)| {
            let mut filter = RequestFilter::default();
            change(&mut filter, text());
            filter
        };
        const KEY: &str = "USING INTEGER PRIMARY KEY";
        for (filter, expected) in [
            (RequestFilter::default(), KEY),
            (
                filter(|filter, id| filter.user_id = id),
                "requests_by_user_id",
            ),
            (
                filter(|filter, id| filter.session_id = id),
                "requests_by_session_id",
            ),
            (
                filter(|filter, id| filter.trace_id = id),
                "requests_by_trace_id",
            ),
            (
                filter(|filter, id| filter.conversation_id = id),
                "requests_by_conversation",
            ),
            (
                filter(|filter, id| {
                    filter.conversation_id = id.clone();
                    filter.user_id = id;
                }),
                "requests_by_conversation",
            ),
            (
                filter(|filter, id| {
                    filter.conversation_id = id;
                    filter.user_id = Some(String::new());
                }),
                "requests_by_conversation",
            ),
            (
                filter(|filter, id| filter.request_id = id),
                "requests_by_request_id",
            ),
            (
                filter(|filter, _| filter.statuses = vec![Status::Failed]),
                "requests_by_status",
            ),
            (
                filter(|filter, _| {
                    filter.statuses = vec![Status::Failed, Status::Interrupted, Status::Failed];
                }),
                "MERGE (UNION ALL)",
            ),
            (
                filter(|filter, _| filter.statuses = vec![Status::Completed]),
                KEY,
            ),
            (
                filter(|filter, _| filter.statuses = vec![Status::Failed, Status::Completed]),
                KEY,
            ),
            (
                filter(|filter, id| {
                    filter.statuses = vec![Status::Failed, Status::Rejected];
                    filter.user_id = id;
                }),
                "requests_by_user_id",
            ),
            (
                filter(|filter, _| filter.http_statuses = vec![429..=429, 500..=599]),
                KEY,
            ),
            (filter(|filter, name| filter.error_type = name), KEY),
            (filter(|filter, path| filter.url_path = path), KEY),
            (
                filter(|filter, name| {
                    filter.statuses = vec![Status::Failed];
                    filter.http_statuses = vec![500..=599];
                    filter.error_type = name;
                }),
                "requests_by_status",
            ),
            (filter(|filter, name| filter.model = name), KEY),
            (
                filter(|filter, _| filter.model = Some("gpt-*".to_owned())),
                KEY,
            ),
            (filter(|filter, name| filter.tool_name = name), KEY),
            (
                filter(|filter, _| filter.cost_microdollars_min = Some(1)),
                KEY,
            ),
            (filter(|filter, _| filter.latency_us_min = Some(1)), KEY),
            (
                filter(|filter, _| filter.attributes = vec![("k".to_owned(), "v".to_owned())]),
                KEY,
            ),
            (
                filter(|filter, id| {
                    filter.user_id = id.clone();
                    filter.tool_name = id;
                    filter.after_seq = Some(7);
                }),
                "requests_by_user_id",
            ),
        ] {
            for walk in [Walk::Before(Some(1_000_000)), Walk::After(Some(5))] {
                let plan = plan(&connection, &filter, walk);
                assert!(plan.contains(expected), "{filter:?} {walk:?}: {plan}");
                assert!(!plan.contains("TEMP B-TREE"), "{filter:?} {walk:?}: {plan}");
                assert_eq!(
                    plan.matches("requests_by_status").count(),
                    plan.matches("SEARCH requests USING INDEX requests_by_status")
                        .count(),
                    "{plan}"
                );
                if filter.tool_name.is_some() {
                    assert!(
                        plan.contains("SEARCH tool_calls EXISTS USING PRIMARY KEY (ended_seq=?)"),
                        "{plan}"
                    );
                }
            }
        }
    }

    #[test]
    fn patterns_are_plain_but_for_stars_and_question_marks() {
        assert_eq!(glob("gpt-4o"), None);
        assert_eq!(glob("a[b]c"), None);
        assert_eq!(glob("gpt-*").as_deref(), Some("gpt-*"));
        assert_eq!(glob("a[b]**?").as_deref(), Some("a[[]b]*?"));
    }

    /// A value in a filter is always a bound value, never SQL.
    #[test]
    fn filters_are_values() {
        let connection = database();
        let hostile = || "x' OR 1=1; DROP TABLE requests; --".to_owned();
        let filter = RequestFilter {
            provider_name: Some(hostile()),
            model: Some(format!("{}*", hostile())),
            user_id: Some(hostile()),
            session_id: Some(hostile()),
            conversation_id: Some(hostile()),
            trace_id: Some(hostile()),
            request_id: Some(hostile()),
            tool_name: Some(hostile()),
            error_type: Some(hostile()),
            url_path: Some(hostile()),
            attributes: vec![(hostile(), hostile())],
            ..RequestFilter::default()
        };
        assert_eq!(
            list(&connection, &filter, Walk::Before(None), 5).unwrap(),
            []
        );
        assert_eq!(
            top(&connection, &filter, RequestOrder::Cost, 5).unwrap(),
            []
        );
        assert_eq!(
            list(&connection, &RequestFilter::default(), Walk::After(None), 5).unwrap(),
            []
        );
    }
}
