//! From what names a request to its record. Requests that share a name are never confused.

use super::requests::check_limit;
use crate::db::{self, Connection, RequestRow};
use crate::error::ReadError;
use crate::model::RequestRecord;

/// Candidates named when an id is ambiguous.
const CANDIDATES_NAMED: usize = 5;

/// The request of this number, of this id, of this unique prefix of one, or of this trace.
pub(crate) fn get(connection: &Connection, id: &str) -> Result<RequestRecord, ReadError> {
    only(
        id,
        by_number_id_or_trace(connection, id, CANDIDATES_NAMED + 1)?,
    )
}

/// The request of this number or with exactly this id.
pub(crate) fn get_exact(connection: &Connection, id: &str) -> Result<RequestRecord, ReadError> {
    let found = match opened_seq_of(id) {
        Some(opened_seq) => by_opened_seq(connection, opened_seq)?,
        None => readable(db::by_request_id(connection, id, CANDIDATES_NAMED + 1)?)?,
    };
    only(id, found)
}

/// All requests of this number or id, else of this prefix, trace or session, else with this in their
/// id; newest first.
pub(crate) fn find(
    connection: &Connection,
    id: &str,
    limit: usize,
) -> Result<Vec<RequestRecord>, ReadError> {
    let limit = check_limit(limit)?;
    let found = by_number_id_or_trace(connection, id, limit)?;
    // A number names its request or none: it is no part of an id.
    if !found.is_empty() || id.is_empty() || opened_seq_of(id).is_some() {
        return Ok(found);
    }
    first_of(
        connection,
        id,
        limit,
        &[db::by_session_id, db::by_request_id_part],
    )
}

/// Neither the newest nor the oldest of several is meant.
fn only(id: &str, mut found: Vec<RequestRecord>) -> Result<RequestRecord, ReadError> {
    match (found.pop(), found.is_empty()) {
        (None, _) => Err(ReadError::NotFound(id.to_owned())),
        (Some(only), true) => Ok(only),
        (Some(last), false) => {
            found.push(last);
            let references = found.iter().map(RequestRecord::reference);
            Err(ReadError::Ambiguous {
                what: id.to_owned(),
                candidates: references.take(CANDIDATES_NAMED).collect(),
            })
        }
    }
}

/// The number of an opening event, as a name of the request that it opened: `#17`. It is never taken
/// for an id, even where a client chose one that looks like it.
fn opened_seq_of(id: &str) -> Option<u64> {
    let number = id.strip_prefix('#')?;
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
    number.parse().ok().filter(|_| is_number)
}

fn by_opened_seq(
    connection: &Connection,
    opened_seq: u64,
) -> Result<Vec<RequestRecord>, ReadError> {
    let row = db::search::by_opened_seq(connection, opened_seq)?;
    readable(row.into_iter().collect())
}

fn by_number_id_or_trace(
    connection: &Connection,
    id: &str,
    limit: usize,
) -> Result<Vec<RequestRecord>, ReadError> {
    if id.is_empty() {
        return Ok(Vec::new());
    }
    if let Some(opened_seq) = opened_seq_of(id) {
        return by_opened_seq(connection, opened_seq);
    }
    let ways: [Way; 3] = [db::by_request_id, db::by_request_id_prefix, db::by_trace_id];
    first_of(connection, id, limit, &ways)
}

type Way = fn(&Connection, &str, usize) -> Result<Vec<RequestRow>, db::DbError>;

/// What the first way finds that finds any.
fn first_of(
    connection: &Connection,
    id: &str,
    limit: usize,
    ways: &[Way],
) -> Result<Vec<RequestRecord>, ReadError> {
    for way in ways {
        let found = way(connection, id, limit)?;
        if !found.is_empty() {
            return readable(found);
        }
    }
    Ok(Vec::new())
}

/// A row that cannot be read may be the one that is meant.
fn readable(rows: Vec<RequestRow>) -> Result<Vec<RequestRecord>, ReadError> {
    let read = |(opened_seq, row): RequestRow| {
        row.map_err(|what| ReadError::DamagedRow { opened_seq, what })
    };
    rows.into_iter().map(read).collect()
}
