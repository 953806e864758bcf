//! Columns of the request rows, written and read in the order given here.

use std::str::FromStr;
use std::sync::LazyLock;

use rusqlite::types::FromSql;
use rusqlite::{Connection, OptionalExtension, Row, RowIndex, Rows};

use super::added_columns::{has_columns_of_requests, lacking};
use super::error::{Context, DbError};

use crate::model::{Known, RequestRecord, Status, Timestamp, UsageDetails, names_known};

/// Known when a request is opened.
const START_COLUMNS: [&str; 19] = names_known(Known::Opening);

/// Known early or late, as all of the next: the opening's value counts, the end's where it has none.
const WHOSE_COLUMNS: [&str; 2] = names_known(Known::OpeningElseEnd);

/// A later value replaces an earlier one, an absent value does not.
const SERVED_COLUMNS: [&str; 2] = names_known(Known::Serving);

/// Merged before they are written.
const MERGED_COLUMNS: [&str; 1] = names_known(Known::Merged);

/// Known when a request has ended.
const END_COLUMNS: [&str; 22] = names_known(Known::End);

/// Field names from the opening and the end, separated by commas.
const NAMES_COLUMNS: [&str; 2] = names_known(Known::OpeningAndEnd);

fn all_columns() -> String {
    COLUMN_GROUPS.concat().join(", ")
}

const COLUMN_GROUPS: [&[&str]; 6] = [
    &START_COLUMNS,
    &WHOSE_COLUMNS,
    &SERVED_COLUMNS,
    &MERGED_COLUMNS,
    &END_COLUMNS,
    &NAMES_COLUMNS,
];

/// How many columns are known when a request is opened. They come first.
pub(super) const START_COUNT: usize = START_COLUMNS.len();

/// All columns of a request's row.
pub(super) const COLUMN_COUNT: usize = START_COUNT
    + WHOSE_COLUMNS.len()
    + SERVED_COLUMNS.len()
    + MERGED_COLUMNS.len()
    + END_COLUMNS.len()
    + NAMES_COLUMNS.len();

/// The name of a column, counted from 0.
pub(super) fn column_name(index: usize) -> &'static str {
    column_names().nth(index).unwrap_or_default()
}

/// The position of a column, counted from 0.
pub(super) fn column_index(name: &str) -> usize {
    let place = column_names().position(|column| column == name);
    place.unwrap_or(COLUMN_COUNT)
}

fn column_names() -> impl Iterator<Item = &'static str> {
    COLUMN_GROUPS.iter().copied().flatten().copied()
}

/// All groups of columns.
pub(super) static INSERT_REQUEST: LazyLock<String> = LazyLock::new(|| {
    let columns = all_columns();
    let places = vec!["?"; columns.split(',').count()].join(", ");
    format!("INSERT INTO requests ({columns}) VALUES ({places})")
});

/// All groups of columns but the first, opened_seq. Returns what the rollups need.
pub(super) static END_REQUEST: LazyLock<String> = LazyLock::new(|| end_request(&WHOSE_COLUMNS));
/// The same of an end that does not say whose the request is, as most do not: SQLite writes the index entries of
/// every column that a statement sets, even to what it was.
pub(super) static END_REQUEST_UNNAMED: LazyLock<String> = LazyLock::new(|| end_request(&[]));

fn end_request(whose_columns: &[&str]) -> String {
    let whose = whose_columns
        .iter()
        .map(|column| format!("{column} = coalesce({column}, ?)"));
    let served = SERVED_COLUMNS
        .iter()
        .chain(&MERGED_COLUMNS)
        .map(|column| format!("{column} = coalesce(?, {column})"));
    let end = END_COLUMNS.iter().map(|column| format!("{column} = ?"));
    let names = NAMES_COLUMNS.iter().map(|column| {
        format!(
            "{column} = nullif(trim(coalesce({column}, '') || ',' || coalesce(?, ''), ','), '')"
        )
    });
    let sets: Vec<String> = whose.chain(served).chain(end).chain(names).collect();
    format!(
        "UPDATE requests SET {} WHERE opened_seq = ? AND ended_seq IS NULL RETURNING opened_at, \
         coalesce(response_provider_name, provider_name, ''), \
         coalesce(response_model, request_model, client_model, ''), coalesce(user_id, '')",
        sets.join(", ")
    )
}

pub(super) const SERVE_REQUEST: &str = "UPDATE requests SET \
     response_model = coalesce(?1, response_model), \
     response_provider_name = coalesce(?2, response_provider_name) \
     WHERE opened_seq = ?3 AND ended_seq IS NULL";

pub(super) const INSERT_TOOL_CALL: &str = "INSERT INTO tool_calls \
     (ended_seq, position, tool_call_id, tool_name, input_bytes) VALUES (?1, ?2, ?3, ?4, ?5)";

/// Leaves a row that contains the range already as it is: a commit then writes no page of the table.
pub(super) const ADD_MINUTE: &str = "INSERT INTO opened_minutes VALUES (?1, ?2, ?3) \
     ON CONFLICT DO UPDATE SET \
     first_seq = min(first_seq, excluded.first_seq), last_seq = max(last_seq, excluded.last_seq) \
     WHERE excluded.first_seq < first_seq OR excluded.last_seq > last_seq";

/// The range of seqs that contains the requests of minutes ?1 to ?2. The last 10 bits of a last seq say nothing.
pub(super) const SELECT_MINUTES: &str = "SELECT min(first_seq), max(last_seq) | 1023 FROM opened_minutes \
     WHERE minute BETWEEN ?1 AND ?2";

pub(super) const INSERT_OPENING: &str =
    "INSERT INTO store_openings (opened_seq, opened_at) VALUES (?1, ?2)";

/// Closes the opening that the log is in at this point: the last one that began before.
pub(super) const CLOSE_OPENING: &str = "UPDATE store_openings SET closed_seq = ?1, closed_at = ?2, \
     lifecycles_submitted = ?3, lifecycles_stored = ?4, lifecycles_lost = ?5, payloads_lost = ?6 \
     WHERE opened_seq = (SELECT max(opened_seq) FROM store_openings WHERE opened_seq < ?1)";

pub(super) const INSERT_GAP: &str = "INSERT INTO gaps \
     (seq, first_at, last_at, lifecycles, payloads, updates) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

/// Whether a request was erased. Primary key.
const IS_ERASED_SQL: &str =
    "EXISTS (SELECT 1 FROM removals WHERE kind = 'erased' AND first_seq = opened_seq)";

/// A statement, and its form for files of earlier builds.
type Forms = LazyLock<[String; 2]>;

/// See [`select_row`].
static SELECT_ROW: Forms = LazyLock::new(|| {
    [false, true].map(|has_added| {
        let columns = readable_columns(has_added);
        format!("SELECT {columns}, {IS_ERASED_SQL} FROM requests")
    })
});

/// See [`select_request`].
static SELECT_REQUEST: Forms = LazyLock::new(|| {
    [false, true].map(|has_added| {
        format!(
            "SELECT {}, {IS_ERASED_SQL}, \
             EXISTS (SELECT 1 FROM requests AS others WHERE others.request_id = requests.request_id \
             AND others.opened_seq <> requests.opened_seq) FROM requests",
            readable_columns(has_added)
        )
    })
});

/// All columns; NULL for those that an earlier build's file has not.
fn readable_columns(has_added: bool) -> String {
    let is_absent = |name: &str| {
        let mut added = lacking(0);
        !has_added && added.any(|(table, column, _)| (*table, *column) == ("requests", name))
    };
    let columns = column_names().map(|name| if is_absent(name) { "NULL" } else { name });
    columns.collect::<Vec<_>>().join(", ")
}

fn form_for(forms: &'static Forms, connection: &Connection) -> &'static str {
    let [before, now] = &**forms;
    if has_columns_of_requests(connection) {
        now
    } else {
        before
    }
}

/// `SELECT … FROM requests`: the columns of the table, and whether the request was erased.
pub(super) fn select_row(connection: &Connection) -> &'static str {
    form_for(&SELECT_ROW, connection)
}

/// `SELECT … FROM requests` for [`request_from_row`]: also tells whether another request has the same id.
/// That is looked up when a request is read (at most two entries of `requests_by_request_id`), not when one
/// is recorded.
pub(super) fn select_request(connection: &Connection) -> &'static str {
    form_for(&SELECT_REQUEST, connection)
}

/// The column of [`select_row`] that tells whether the request was erased.
pub(super) const IS_ERASED: usize = COLUMN_COUNT;

/// A row of [`select_request`] and its key, or what is damaged in the row.
pub(crate) type RequestRow = (i64, Result<RequestRecord, String>);

/// Reads rows of [`select_request`]. A damaged row does not stop the others.
pub(super) fn request_rows(mut rows: Rows<'_>) -> rusqlite::Result<Vec<RequestRow>> {
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let key = row.get(0)?;
        match request_from_row(row) {
            Ok(request) => found.push((key, Ok(request))),
            Err(error) if error.sqlite_error_code().is_none() => {
                found.push((key, Err(in_words(&error))));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Says in words which column has a value that it cannot have.
fn in_words(error: &rusqlite::Error) -> String {
    use rusqlite::types::Type;
    let column = |index: &usize| match column_name(*index) {
        "" => "a column".to_owned(),
        name => format!("column {name}"),
    };
    match error {
        rusqlite::Error::IntegralValueOutOfRange(index, number) => {
            format!("{} holds {number}, which cannot be", column(index))
        }
        rusqlite::Error::InvalidColumnType(index, _, kind) => {
            let what = match kind {
                Type::Null => "nothing",
                Type::Integer => "a whole number",
                Type::Real => "a fraction",
                Type::Text => "text",
                Type::Blob => "bytes",
            };
            format!("{} holds {what}, which cannot be", column(index))
        }
        rusqlite::Error::FromSqlConversionFailure(_, _, what) => what.to_string(),
        rusqlite::Error::Utf8Error(index, _) => {
            format!("{} holds text that is not UTF-8", column(index))
        }
        other => other.to_string(),
    }
}

/// Reads a row of [`select_request`]. The fields are read in the order of the columns: Rust evaluates the
/// expressions of a struct literal in the order in which they are written, so their order here must not change.
pub(super) fn request_from_row(row: &Row<'_>) -> rusqlite::Result<RequestRecord> {
    let mut columns = Columns { row, next: 0 };
    Ok(RequestRecord {
        opened_seq: columns.count()?,
        request_id: columns.get()?,
        opened_at: Timestamp::from_micros(columns.get()?),
        session_id: columns.get()?,
        context_id: columns.get()?,
        trace_id: columns.get()?,
        actor_type: columns.get()?,
        actor_id: columns.get()?,
        operation_name: columns.get()?,
        url_path: columns.get()?,
        provider_name: columns.get()?,
        client_model: columns.get()?,
        request_model: columns.get()?,
        wire_protocol: columns.get()?,
        is_streaming: columns.get()?,
        max_tokens: columns.optional_count()?,
        temperature: columns.get()?,
        top_p: columns.get()?,
        request_bytes: columns.count()?,
        user_id: columns.get()?,
        conversation_id: columns.get()?,
        response_provider_name: columns.get()?,
        response_model: columns.get()?,
        attributes: columns.attributes()?,
        ended_seq: columns.optional_count()?,
        status: columns.status()?,
        latency_us: columns.optional_count()?,
        upstream_latency_us: columns.optional_count()?,
        time_to_first_chunk_us: columns.optional_count()?,
        input_tokens: columns.optional_count()?,
        output_tokens: columns.optional_count()?,
        cache_read_input_tokens: columns.optional_count()?,
        cache_write_input_tokens: columns.optional_count()?,
        reasoning_output_tokens: columns.optional_count()?,
        usage_source: columns.name()?,
        usage_details: columns.usage_details()?,
        cost_microdollars: columns.optional_count()?,
        cost_source: columns.name()?,
        price_book_seq: columns.optional_count()?,
        finish_reasons: columns.texts()?,
        tool_call_count: columns.count()?,
        response_id: columns.get()?,
        http_status: columns.get()?,
        error_type: columns.get()?,
        error_message: columns.get()?,
        response_bytes: columns.optional_count()?,
        adjusted_fields: columns.names()?,
        body_flags: columns.names()?,
        is_erased: columns.get()?,
        is_id_shared: columns.get()?,
    })
}

/// The condition of the index by status.
pub(super) const NOT_COMPLETED: &str = "status <> 'completed'";

/// The condition that the status is one of these. The planner uses the partial index only if the index's
/// own condition is in the query word for word, with nothing bound.
pub(super) fn status_in(statuses: &[Status]) -> String {
    let named = |status: &&Status| statuses.contains(status);
    let names: Vec<String> = Status::ALL
        .iter()
        .filter(named)
        .map(|status| format!("'{}'", status.as_str()))
        .collect();
    let is = match names.as_slice() {
        [only] => format!("status = {only}"),
        names => format!("status IN ({})", names.join(", ")),
    };
    match statuses.contains(&Status::Completed) {
        true => is,
        false => format!("{is} AND {NOT_COMPLETED}"),
    }
}

/// Attributes as the JSON object in the column.
pub(super) fn attributes_to_sql(attributes: &[(String, String)]) -> Option<String> {
    let mut text = Vec::new();
    if attributes.is_empty() {
        return None;
    }
    crate::log::pairs::serialize(attributes, &mut serde_json::Serializer::new(&mut text)).ok()?;
    String::from_utf8(text).ok()
}

/// Attributes from the column; `None`: it holds something else.
pub(super) fn attributes_from_sql(text: &str) -> Option<Vec<(String, String)>> {
    crate::log::pairs::deserialize(&mut serde_json::Deserializer::from_str(text)).ok()
}

/// Finish reasons as the JSON array in the column.
pub(super) fn finish_reasons_to_sql(reasons: &[String]) -> Option<String> {
    if reasons.is_empty() {
        return None;
    }
    serde_json::to_string(reasons).ok()
}

/// Details of usage as the JSON object in the column.
pub(super) fn usage_details_to_sql(details: Option<&UsageDetails>) -> Option<String> {
    details.and_then(|details| serde_json::to_string(details).ok())
}

/// Details of usage that tell tokens of other models, which sums count apart; `None` where they tell none. Others are
/// not parsed, and what cannot be parsed tells none.
pub(crate) fn details_of_others_at(
    row: &Row<'_>,
    index: usize,
) -> rusqlite::Result<Option<Box<UsageDetails>>> {
    let text = row.get_ref(index)?.as_str_or_null()?;
    let text = text.filter(|text| text.contains(OTHER_MODELS));
    Ok(text.and_then(|text| serde_json::from_str(text).ok()))
}

/// What only details that tell tokens of other models have: in the texts of JSON the quotes would be escaped.
pub(crate) const OTHER_MODELS: &str = "\"other_models\":";

/// Reads one column after the other.
struct Columns<'r, 's> {
    row: &'r Row<'s>,
    next: usize,
}

impl Columns<'_, '_> {
    fn get<T: FromSql>(&mut self) -> rusqlite::Result<T> {
        let index = self.next;
        self.next += 1;
        self.row.get(index)
    }

    /// The name of the column that was read last.
    fn last(&self) -> &'static str {
        column_name(self.next - 1)
    }

    fn count(&mut self) -> rusqlite::Result<u64> {
        self.next += 1;
        count_at(self.row, self.next - 1)
    }

    fn optional_count(&mut self) -> rusqlite::Result<Option<u64>> {
        self.next += 1;
        optional_count_at(self.row, self.next - 1)
    }

    fn status(&mut self) -> rusqlite::Result<Status> {
        let name: String = self.get()?;
        name.parse()
            .map_err(|_| damaged(self.last(), format!("status {name:?}")))
    }

    /// One of a few names.
    fn name<T: FromStr>(&mut self) -> rusqlite::Result<Option<T>> {
        self.next += 1;
        name_at(self.row, self.next - 1)
    }

    fn attributes(&mut self) -> rusqlite::Result<Vec<(String, String)>> {
        let Some(text): Option<String> = self.get()? else {
            return Ok(Vec::new());
        };
        crate::log::pairs::deserialize(&mut serde_json::Deserializer::from_str(&text))
            .map_err(|error| damaged(self.last(), error.to_string()))
    }

    fn usage_details(&mut self) -> rusqlite::Result<Option<Box<UsageDetails>>> {
        let Some(text): Option<String> = self.get()? else {
            return Ok(None);
        };
        let details = serde_json::from_str(&text).map(Some);
        details.map_err(|error| damaged(self.last(), error.to_string()))
    }

    /// Names, separated by commas.
    fn names(&mut self) -> rusqlite::Result<Vec<String>> {
        let list: Option<String> = self.get()?;
        Ok(list.map_or_else(Vec::new, |list| {
            list.split(',').map(str::to_owned).collect()
        }))
    }

    fn texts(&mut self) -> rusqlite::Result<Vec<String>> {
        let Some(text): Option<String> = self.get()? else {
            return Ok(Vec::new());
        };
        serde_json::from_str(&text).map_err(|error| damaged(self.last(), error.to_string()))
    }
}

/// A number that is never negative. A negative one is damage, and is not replaced by another number.
pub(crate) fn count_at(row: &Row<'_>, index: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(index)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(index, number))
}

pub(crate) fn optional_count_at(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<u64>> {
    match row.get::<_, Option<i64>>(index)? {
        None => Ok(None),
        Some(_) => count_at(row, index).map(Some),
    }
}

/// One of a few names, where there is one.
pub(crate) fn name_at<T: FromStr>(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<T>> {
    let Some(name) = row.get_ref(index)?.as_str_or_null()? else {
        return Ok(None);
    };
    let known = name.parse().map(Some);
    known.map_err(|_| damaged(column_name(index), format!("the name {name:?}")))
}

/// Reads one number, where the query returns one.
pub(crate) fn optional_number(
    connection: &Connection,
    query: &str,
) -> Result<Option<i64>, DbError> {
    connection
        .prepare_cached(query)
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)).optional())
        .context("reading the log")
        .map(Option::flatten)
}

/// An error for a column with a value that it cannot have.
pub(super) fn damaged(column: impl RowIndex + std::fmt::Display, what: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(
        0,
        rusqlite::types::Type::Text,
        format!("column {column} holds an unexpected value: {what}").into(),
    )
}
