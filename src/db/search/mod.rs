//! The full-text index in SQL: adds messages, finds them, and says how far the index goes. `forgetting` removes
//! messages, `dropping` gives the index up, `check` compares its tables with each other.
//!
//! The index holds content. It is not a projection of the log: it is made from payloads, may lag behind,
//! and can be dropped and built again. The words are in `search_index`, which keeps no text; the packed
//! texts are in `search_messages`.

mod check;
mod dropping;
mod finding;
mod forgetting;
mod page_keys;
mod splitting;
#[cfg(test)]
mod tests;
mod texts;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params, params_from_iter};

use super::error::{Context, DbError};
use super::rows::{RequestRow, request_rows, select_request};
use super::seq_to_sql;
use crate::db::rows::count_at;
use crate::model::{Digest, RequestRecord};
use crate::payload::sha256;

const INDEXING: &str = "building the search index";
const SEARCHING: &str = "searching";
/// The page cache of a connection that does nothing but index, in KiB. The keys of some hundred thousand messages
/// stay in it, in any order.
const CACHE_KIB: i64 = 20 * 1024;
/// Pages of the write-ahead log beyond which indexing waits for readers: with pages of 4 KiB 64 MiB, several times
/// what a step writes.
const WAL_PAGES_MAX: i64 = 16 * 1024;

pub(crate) use crate::db::connection::index_state::give_up;
pub(crate) use crate::db::connection::index_state::is_empty;
pub(crate) use check::{
    are_words_found, are_words_of_texts, by_key, is_answering, is_waited_for, messages_of,
    problems, whole,
};
pub(crate) use dropping::{drop_step, replace};
pub(crate) use finding::{Found, Order, find, snippets};
pub(super) use forgetting::forget;
pub(crate) use forgetting::{check_settings, kept_from, look_again};
pub(crate) use page_keys::Words;
pub(crate) use splitting::{Ending, Form, phrase};
pub(crate) use texts::{Packer, TEXT_BYTES_MAX};

/// A message that is to be added to the index.
#[derive(Debug)]
pub(crate) struct NewMessage<'m> {
    pub(crate) request_seq: u64,
    pub(crate) is_reply: bool,
    pub(crate) position: u64,
    pub(crate) role: &'m str,
    /// Identifies the message among all that may be searched: a message that is sent again has the same
    /// key.
    pub(crate) key: [u8; 16],
    pub(crate) text: &'m str,
}

/// The extent of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct IndexState {
    /// `None`: there is no index yet.
    pub(crate) index: Option<Extent>,
    /// The seq that the next event of the log will get.
    pub(crate) log_end: u64,
    /// Requests before the index's end that have not ended.
    pub(crate) waiting: u64,
    /// Requests before its end that are to be examined again, each with those that follow it.
    pub(crate) again: u64,
    /// Requests before its end that could not be read.
    pub(crate) unread: u64,
    /// When the first request after its end was opened.
    pub(crate) missing_since: Option<i64>,
}

/// What the index says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Extent {
    /// Requests opened from this seq on are not in it.
    pub(crate) next_seq: u64,
    /// It is being dropped.
    pub(crate) is_dropped: bool,
    /// When it was found damaged; kept until it is built again.
    pub(crate) damaged_at: Option<i64>,
}

/// The extent of the index. Reads primary keys only.
pub(crate) fn state(connection: &Connection) -> Result<IndexState, DbError> {
    let transaction = connection.unchecked_transaction().context(SEARCHING)?;
    state_within(&transaction)
}

/// The same, within the caller's transaction.
fn state_within(transaction: &Connection) -> Result<IndexState, DbError> {
    let index = extent(transaction)?;
    let number = |sql: &str| -> Result<Option<i64>, DbError> {
        let mut statement = transaction.prepare_cached(sql).context(SEARCHING)?;
        let found = statement.query_row([], |row| row.get(0)).optional();
        found.context(SEARCHING)
    };
    let log_end =
        number("SELECT first_seq + count FROM log_segments ORDER BY first_seq DESC LIMIT 1")?;
    let waiting = number("SELECT count(*) FROM search_pending WHERE state = 0")?;
    let again = number("SELECT count(*) FROM search_pending WHERE state = 1")?;
    let unread = number("SELECT count(*) FROM search_pending WHERE state = 2")?;
    let next_seq = index.map_or(0, |index| index.next_seq);
    let missing_since = transaction
        .prepare_cached(
            "SELECT opened_at FROM requests WHERE opened_seq >= ?1 ORDER BY opened_seq LIMIT 1",
        )
        .and_then(|mut statement| {
            statement
                .query_row([seq_to_sql(next_seq)], |row| row.get(0))
                .optional()
        })
        .context(SEARCHING)?;
    let count = |number: Option<i64>| u64::try_from(number.unwrap_or(0)).unwrap_or(0);
    Ok(IndexState {
        index,
        log_end: count(log_end),
        waiting: count(waiting),
        again: count(again),
        unread: count(unread),
        missing_since,
    })
}

/// What the index says about itself; `None`: there is no index yet.
pub(crate) fn extent(connection: &Connection) -> Result<Option<Extent>, DbError> {
    connection
        .prepare_cached("SELECT next_seq, is_dropped, damaged_at FROM search_state WHERE id = 0")
        .and_then(|mut statement| {
            statement
                .query_row([], |row| {
                    Ok(Extent {
                        next_seq: count_at(row, 0)?,
                        is_dropped: row.get::<_, i64>(1)? != 0,
                        damaged_at: row.get(2)?,
                    })
                })
                .optional()
        })
        .context(SEARCHING)
}

/// How the words of the index were made, or are to be made where there is none yet.
pub(crate) fn form(connection: &Connection) -> Result<Form, DbError> {
    let is_split = connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM search_index_config WHERE k = 'hashsize')")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .context(SEARCHING)?;
    Ok(match is_split {
        true => Form::Split,
        false => Form::Unsplit,
    })
}

/// Runs a step of building in its own transaction, which is rolled back if the step fails.
pub(crate) fn in_transaction<T, E: From<DbError>>(
    connection: &mut Connection,
    step: impl FnOnce(&Connection) -> Result<T, E>,
) -> Result<T, E> {
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .context(INDEXING)?;
    let done = step(&transaction)?;
    transaction.commit().context(INDEXING)?;
    Ok(done)
}

/// Reads as of one moment.
pub(crate) fn as_of_one_moment<T, E: From<DbError>>(
    connection: &Connection,
    read: impl FnOnce(&Connection) -> Result<T, E>,
) -> Result<T, E> {
    let transaction = connection.unchecked_transaction().context(SEARCHING)?;
    read(&transaction)
}

/// The next requests to examine, each with whether it was examined before: first those that were waited for
/// and have ended, then new ones. A request that cannot be read does not block others.
pub(crate) fn next_requests(
    connection: &Connection,
    next_seq: u64,
    limit: usize,
) -> Result<Vec<(RequestRow, bool)>, DbError> {
    let waited_for = |state: i64| {
        format!(
            "{} WHERE opened_seq IN (SELECT opened_seq FROM search_pending WHERE state = {state}) \
             AND ended_seq IS NOT NULL LIMIT {limit}",
            select_request(connection)
        )
    };
    let mut requests = Vec::new();
    for is_again in [false, true] {
        let ended = requests_by(connection, &waited_for(i64::from(is_again)), &[])?;
        requests.extend(ended.into_iter().map(|request| (request, is_again)));
    }
    let new = requests_from(connection, next_seq, limit)?;
    requests.extend(new.into_iter().map(|request| (request, false)));
    requests.truncate(limit);
    Ok(requests)
}

/// The next requests that were opened by this event or later.
pub(crate) fn requests_from(
    connection: &Connection,
    seq: u64,
    limit: usize,
) -> Result<Vec<RequestRow>, DbError> {
    let sql = format!(
        "{} WHERE opened_seq >= ?1 ORDER BY opened_seq LIMIT {limit}",
        select_request(connection)
    );
    requests_by(connection, &sql, &[seq_to_sql(seq)])
}

fn requests_by(
    connection: &Connection,
    sql: &str,
    values: &[i64],
) -> Result<Vec<RequestRow>, DbError> {
    let mut statement = connection.prepare_cached(sql).context(INDEXING)?;
    let rows = statement
        .query(params_from_iter(values))
        .context(INDEXING)?;
    request_rows(rows).context(INDEXING)
}

/// Marks the request to be examined once it has ended.
pub(crate) fn wait_for(connection: &Connection, opened_seq: u64) -> Result<(), DbError> {
    run(
        connection,
        "INSERT OR IGNORE INTO search_pending VALUES (?1, 0)",
        opened_seq,
    )
}

/// The request need not be examined any more.
pub(crate) fn wait_no_more(connection: &Connection, opened_seq: u64) -> Result<(), DbError> {
    run(
        connection,
        "DELETE FROM search_pending WHERE opened_seq = ?1",
        opened_seq,
    )
}

/// The request cannot be read: its text is not in the index.
pub(crate) fn note_unread(connection: &Connection, opened_seq: u64) -> Result<(), DbError> {
    run(
        connection,
        "INSERT INTO search_pending VALUES (?1, 2) ON CONFLICT DO UPDATE SET state = 2",
        opened_seq,
    )
}

/// All requests before this one are in the index or waited for.
pub(crate) fn set_next_seq(connection: &Connection, next_seq: u64) -> Result<(), DbError> {
    run(
        connection,
        "INSERT INTO search_state VALUES (0, ?1, 0, NULL) \
         ON CONFLICT DO UPDATE SET next_seq = excluded.next_seq",
        next_seq,
    )
}

/// Everything is in the index; requests that are waited for can be added.
pub(crate) fn set_complete(connection: &Connection) -> Result<(), DbError> {
    connection
        .execute_batch(
            "DELETE FROM search_pending WHERE opened_seq NOT IN (SELECT opened_seq FROM requests); \
             UPDATE search_state SET damaged_at = NULL WHERE damaged_at IS NOT NULL",
        )
        .context(INDEXING)
}

fn run(connection: &Connection, sql: &str, seq: u64) -> Result<(), DbError> {
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.execute([seq_to_sql(seq)]))
        .map(drop)
        .context(INDEXING)
}

/// Adds a message, unless it is known. Index: `search_messages_by_key`.
pub(crate) fn add(
    connection: &Connection,
    packer: &mut Packer,
    message: &NewMessage<'_>,
) -> Result<bool, DbError> {
    let packed = packer.pack(message.text)?;
    let added = connection
        .prepare_cached(
            "INSERT INTO search_messages \
             (request_seq, is_reply, position, role, message_key, text) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (message_key) DO NOTHING",
        )
        .and_then(|mut statement| {
            statement.execute(params![
                seq_to_sql(message.request_seq),
                message.is_reply,
                seq_to_sql(message.position),
                message.role,
                message.key,
                packed
            ])
        })
        .context(INDEXING)?;
    if added == 0 {
        return Ok(false);
    }
    connection
        .prepare_cached("INSERT INTO search_index (rowid, text) VALUES (?1, ?2)")
        .and_then(|mut statement| {
            let words = splitting::split(message.text, Form::Split);
            statement.execute(params![connection.last_insert_rowid(), words])
        })
        .context(INDEXING)?;
    Ok(true)
}

/// A digest of the owner of a request's messages: the user's conversation, otherwise the user, otherwise
/// nothing. Within one owner, the same message is stored once. Identifiers contain no NUL.
pub(crate) fn scope_of(request: &RequestRecord) -> Digest {
    match (request.conversation(), request.user_id.as_deref()) {
        (Some(conversation), user) => {
            let user = user.unwrap_or_default();
            sha256(format!("conversation {user}\0{conversation}").as_bytes())
        }
        (None, Some(user)) => sha256(format!("user {user}").as_bytes()),
        (None, None) => sha256(b"nobody"),
    }
}

/// Whether the index has a message with this key. Index: `search_messages_by_key`.
pub(crate) fn is_known(connection: &Connection, key: &[u8; 16]) -> Result<bool, DbError> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM search_messages WHERE message_key = ?1)")
        .and_then(|mut statement| statement.query_row([key], |row| row.get(0)))
        .context(INDEXING)
}

/// A request by its primary key.
pub(crate) fn by_opened_seq(
    connection: &Connection,
    opened_seq: u64,
) -> Result<Option<RequestRow>, DbError> {
    let sql = format!("{} WHERE opened_seq = ?1", select_request(connection));
    let found = requests_by(connection, &sql, &[seq_to_sql(opened_seq)])?;
    Ok(found.into_iter().next())
}

/// Opens the file for building the index. The caller holds the writer's lock.
pub(crate) fn open_for_indexing(
    path: &super::DatabasePath,
) -> Result<Connection, crate::error::OpenError> {
    let opened = super::connection::open::open_for_writing(
        path,
        crate::config::Durability::Buffered,
        crate::config::PAGE_BYTES,
    );
    let (connection, _) = opened?;
    // A smaller cache makes it slower, not wrong.
    let _ = connection.pragma_update(None, "cache_size", -CACHE_KIB);
    Ok(connection)
}

/// Moves the write-ahead log into the database, so that it does not grow with everything that is built. `false`: it
/// is long, and a reader needs it.
pub(crate) fn move_log(connection: &Connection) -> Result<bool, DbError> {
    is_log_short(connection, WAL_PAGES_MAX)
}

fn is_log_short(connection: &Connection, pages_max: i64) -> Result<bool, DbError> {
    // Where no reader needs it, the next transaction begins it again.
    if checkpoint(connection, "PRAGMA wal_checkpoint(PASSIVE)")? <= pages_max {
        return Ok(true);
    }
    // Waits for readers, as long as for any lock.
    Ok(checkpoint(connection, "PRAGMA wal_checkpoint(TRUNCATE)")? <= pages_max)
}

/// As [`move_log`], and also returns the space of the write-ahead log to the disk.
pub(crate) fn empty_log(connection: &Connection) -> Result<(), DbError> {
    checkpoint(connection, "PRAGMA wal_checkpoint(TRUNCATE)").map(drop)
}

/// Returns the pages that the write-ahead log still has.
fn checkpoint(connection: &Connection, pragma: &str) -> Result<i64, DbError> {
    connection
        .query_row(pragma, [], |row| row.get(1))
        .context("checkpointing the write-ahead log")
}
