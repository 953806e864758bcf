//! Queries for one request, tool calls and payloads by id. Each names the index that serves it.

use crate::db::rows::{count_at, optional_count_at};
use rusqlite::{Connection, OptionalExtension, params_from_iter};

use crate::db::error::{Context, DbError};
use crate::db::rows::{RequestRow, request_rows, select_request};
use crate::db::seq_to_sql;
use crate::model::{RecordedToolCall, stored_identifier};
use crate::payload::{Bases, bases_of};

/// A payload as stored in the file.
#[derive(Debug, Clone)]
pub(crate) struct StoredPayload {
    pub(crate) length: u64,
    pub(crate) sha256: Vec<u8>,
    pub(crate) salt: Vec<u8>,
    pub(crate) kept: u64,
    pub(crate) head: Option<u64>,
    pub(crate) encoding: i64,
    pub(crate) bases: Option<Bases>,
    /// Bytes of the packed content; `None` where only the digest is kept.
    pub(crate) stored: Option<u64>,
    /// The packed content, where it was asked for.
    pub(crate) data: Option<Vec<u8>>,
}

fn requests_where(
    connection: &Connection,
    condition: &str,
    values: &[&str],
    limit: usize,
) -> Result<Vec<RequestRow>, DbError> {
    const READING: &str = "looking up a request";
    let sql = format!(
        "{} WHERE {condition} ORDER BY opened_seq DESC LIMIT {limit}",
        select_request(connection)
    );
    let mut statement = connection.prepare_cached(&sql).context(READING)?;
    let rows = statement.query(params_from_iter(values)).context(READING)?;
    request_rows(rows).context(READING)
}

/// Requests with exactly this id. Index: `requests_by_request_id`.
pub(crate) fn by_request_id(
    connection: &Connection,
    id: &str,
    limit: usize,
) -> Result<Vec<RequestRow>, DbError> {
    requests_where(
        connection,
        "request_id = ?1",
        &[&stored_identifier(id)],
        limit,
    )
}

/// Whether any request has exactly this id: a fraction of what a list costs. Index: `requests_by_request_id`.
pub(crate) fn has_request_id(connection: &Connection, id: &str) -> Result<bool, DbError> {
    connection
        .prepare_cached("SELECT 1 FROM requests WHERE request_id = ?1 LIMIT 1")
        .and_then(|mut statement| statement.exists([&*stored_identifier(id)]))
        .context("looking up an id")
}

/// Requests whose id starts with this. Index: `requests_by_request_id`.
pub(crate) fn by_request_id_prefix(
    connection: &Connection,
    prefix: &str,
    limit: usize,
) -> Result<Vec<RequestRow>, DbError> {
    match prefix_end(prefix) {
        Some(end) => {
            let condition = "request_id >= ?1 AND request_id < ?2";
            requests_where(connection, condition, &[prefix, &end], limit)
        }
        None => requests_where(connection, "request_id >= ?1", &[prefix], limit),
    }
}

/// Requests whose id contains this. Reads every entry of `requests_by_request_id`, and only the
/// rows that match.
pub(crate) fn by_request_id_part(
    connection: &Connection,
    part: &str,
    limit: usize,
) -> Result<Vec<RequestRow>, DbError> {
    let condition = format!(
        "opened_seq IN (SELECT opened_seq FROM requests INDEXED BY requests_by_request_id \
         WHERE instr(request_id, ?1) > 0 ORDER BY opened_seq DESC LIMIT {limit})"
    );
    requests_where(connection, &condition, &[part], limit)
}

/// The smallest text that is greater than all texts with this prefix; `None`: there is none. SQLite
/// compares UTF-8 bytes, whose order equals that of the characters.
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

/// Requests with tool calls near an event of the log, the nearest first: those of the Model Context Protocol after it, or
/// others before it. Primary key, of at most `events` keys.
pub(crate) fn tool_callers_near(
    connection: &Connection,
    seq: u64,
    events: u64,
    is_after: bool,
    limit: usize,
) -> Result<Vec<RequestRow>, DbError> {
    let (range, order) = match is_after {
        true => (
            "opened_seq > ?1 AND opened_seq <= ?2 AND wire_protocol IS 'mcp'",
            "",
        ),
        false => (
            "opened_seq < ?1 AND opened_seq >= ?2 AND wire_protocol IS NOT 'mcp'",
            " DESC",
        ),
    };
    let end = match is_after {
        true => seq.saturating_add(events),
        false => seq.saturating_sub(events),
    };
    let sql = format!(
        "{} WHERE {range} AND tool_call_count > 0 ORDER BY opened_seq{order} LIMIT {limit}",
        select_request(connection)
    );
    const READING: &str = "reading requests with tool calls";
    let mut statement = connection.prepare_cached(&sql).context(READING)?;
    let values = [seq, end].map(seq_to_sql);
    request_rows(statement.query(values).context(READING)?).context(READING)
}

/// Requests of this trace. Index: `requests_by_trace_id`.
pub(crate) fn by_trace_id(
    connection: &Connection,
    id: &str,
    limit: usize,
) -> Result<Vec<RequestRow>, DbError> {
    requests_where(
        connection,
        "trace_id = ?1",
        &[&stored_identifier(id)],
        limit,
    )
}

/// Requests of this session. Index: `requests_by_session_id`.
pub(crate) fn by_session_id(
    connection: &Connection,
    id: &str,
    limit: usize,
) -> Result<Vec<RequestRow>, DbError> {
    requests_where(
        connection,
        "session_id = ?1",
        &[&stored_identifier(id)],
        limit,
    )
}

/// The newest requests of a user's conversation, newest first: the seqs of their opening and of their end.
/// Index: `requests_by_conversation`, and the rows of the newest requests with the id. Of an id that many users
/// share only some are looked at.
pub(crate) fn newest_of_conversation(
    connection: &Connection,
    user_id: Option<&str>,
    id: &str,
    limit: usize,
) -> Result<Vec<(u64, Option<u64>)>, DbError> {
    const READING: &str = "looking up the newest requests of a conversation";
    const LOOKED_AT: usize = 64;
    let mut statement = connection
        .prepare_cached(&format!(
            "SELECT opened_seq, ended_seq FROM (SELECT opened_seq, ended_seq, user_id FROM requests \
             INDEXED BY requests_by_conversation \
             WHERE coalesce(conversation_id, context_id, session_id) = ?1 \
             ORDER BY opened_seq DESC LIMIT {LOOKED_AT}) WHERE user_id IS ?2 LIMIT {limit}"
        ))
        .context(READING)?;
    let rows = statement
        .query_map((stored_identifier(id), user_id), |row| {
            Ok((count_at(row, 0)?, optional_count_at(row, 1)?))
        })
        .context(READING)?;
    rows.collect::<Result<_, _>>().context(READING)
}

/// Users that have a conversation with this id, in no order; an empty text stands for requests without a
/// user. Index: `requests_by_conversation`, and the row of each request with the id.
pub(crate) fn conversation_users(
    connection: &Connection,
    id: &str,
    limit: usize,
) -> Result<Vec<String>, DbError> {
    const READING: &str = "looking up the users of a conversation";
    let mut statement = connection
        .prepare_cached(&format!(
            "SELECT DISTINCT coalesce(user_id, '') FROM requests \
             INDEXED BY requests_by_conversation \
             WHERE coalesce(conversation_id, context_id, session_id) = ?1 LIMIT {limit}"
        ))
        .context(READING)?;
    let rows = statement
        .query_map([stored_identifier(id)], |row| row.get(0))
        .context(READING)?;
    rows.collect::<Result<_, _>>().context(READING)
}

/// A payload, with or without its packed bytes. Primary key.
pub(crate) fn payload(
    connection: &Connection,
    payload_id: i64,
    with_data: bool,
) -> Result<Option<StoredPayload>, DbError> {
    // `data` is the last column: if it is not asked for, the row's overflow pages are not read.
    let sql = if with_data {
        "SELECT length, sha256, kept, head, encoding, base_id, second_base_id, length(data), salt, data \
         FROM payloads WHERE payload_id = ?1"
    } else {
        "SELECT length, sha256, kept, head, encoding, base_id, second_base_id, length(data), salt, NULL \
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
                        salt: row.get(8)?,
                        data: row.get(9)?,
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
}
