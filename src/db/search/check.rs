//! Checks the index: do its tables match each other, and do its words match the texts?

use std::hash::RandomState;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::super::error::{Context, DbError};
use super::super::seq_to_sql;
use super::forgetting::check_settings;
use super::splitting::split;
use super::texts::unpack;
use super::{Form, IndexState, Words, form, page_keys, state_within};
use crate::db::connection::index_state::is_empty;
use crate::db::connection::migrate;
use crate::db::keyed::KeyedHash;
use crate::db::rows::count_at;
use crate::error::chain;

const CHECKING: &str = "checking the search index";
/// Bytes of texts whose words are in memory at a time.
const WORDS_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Words that one expression looks up.
const WORDS_EACH: usize = 64;

/// Contradictions between the index's own tables, in plain words. The inner error is damage.
///
/// Cheap checks come first: whether there should be an index, whether it is being dropped, its extent and
/// its settings. Then each of its tables is compared with the one that it refers to, and last the page keys
/// with the pages.
pub(crate) fn problems(connection: &Connection) -> Result<Vec<String>, DbError> {
    let mut problems = Vec::new();
    let state = state_within(connection)?;
    let Some(extent) = state.index else {
        if !is_empty(connection)? {
            problems.push("search_state says that there is no index, and there is one".to_owned());
        }
        return Ok(problems);
    };
    if extent.is_dropped && extent.damaged_at.is_none() && form(connection)? == Form::Unsplit {
        // It is one of an earlier build, and is being replaced.
        return Ok(problems);
    }
    if extent.is_dropped {
        return Ok(vec![
            "it was found damaged and is being dropped; searches find nothing until it is built again"
                .to_owned(),
        ]);
    }
    if extent.damaged_at.is_some() {
        problems.push(
            "it was found damaged and is not completely built again; until then searches find \
             less than there is"
                .to_owned(),
        );
    }
    if extent.next_seq > state.log_end {
        problems.push(format!(
            "it says that it goes to seq {}, and the log ends at {}",
            extent.next_seq, state.log_end
        ));
    }
    if let Err(error) = check_settings(connection) {
        problems.push(format!(
            "its settings are not those that it was made with: {}",
            chain(&error)
        ));
    }
    let next_seq = seq_to_sql(extent.next_seq);
    // `?1 = ?1` only uses the parameter, so that all four statements take one.
    for (sql, what) in [
        (
            "SELECT count(*) FROM search_pending WHERE state NOT IN (0, 1, 2) OR opened_seq >= ?1 \
             OR opened_seq NOT IN (SELECT opened_seq FROM requests)",
            "requests that it waits for are none",
        ),
        (
            "SELECT count(*) FROM search_messages WHERE is_reply NOT IN (0, 1) OR position < 0 \
             OR request_seq >= ?1 OR request_seq NOT IN (SELECT opened_seq FROM requests)",
            "messages in it belong to no request",
        ),
        (
            "SELECT count(*) FROM search_messages \
             WHERE ?1 = ?1 AND message_id NOT IN (SELECT id FROM search_index_docsize)",
            "messages in it cannot be found by their words",
        ),
        (
            "SELECT count(*) FROM search_index_docsize \
             WHERE ?1 = ?1 AND id NOT IN (SELECT message_id FROM search_messages)",
            "messages that are not in it can be found by their words",
        ),
    ] {
        let count = connection
            .query_row(sql, [next_seq], |row| count_at(row, 0))
            .context(CHECKING)?;
        if count > 0 {
            problems.push(format!("{count} {what}"));
        }
    }
    if !page_keys::are_right(connection)? {
        problems.push("words are not found where they are".to_owned());
    }
    Ok(problems)
}

/// The extent of the index, if there is an index that can be trusted.
pub(crate) fn whole(connection: &Connection) -> Result<Option<IndexState>, DbError> {
    let state = state_within(connection)?;
    let is_whole = state.index.is_some_and(|extent| !extent.is_dropped);
    Ok(is_whole.then_some(state))
}

/// Whether every word that the index has of a request is found in its message, in the way by which it will
/// be removed: FTS5 silently skips words that it does not find. One lookup for each word. Index:
/// `search_messages_by_request`.
pub(crate) fn are_words_found(
    connection: &Connection,
    words: &Words,
    opened_seq: u64,
) -> Result<bool, DbError> {
    let mut messages = connection
        .prepare_cached("SELECT message_id, text FROM search_messages WHERE request_seq = ?1")
        .context(CHECKING)?;
    let mut find = connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM search_index WHERE search_index MATCH ?1 AND rowid = ?2)",
        )
        .context(CHECKING)?;
    let mut rows = messages.query([seq_to_sql(opened_seq)]).context(CHECKING)?;
    while let Some(row) = rows.next().context(CHECKING)? {
        let message_id: i64 = row.get(0).context(CHECKING)?;
        let packed: Vec<u8> = row.get(1).context(CHECKING)?;
        words.add(message_id, &unpack(&packed)?)?;
        for words in words.take()?.chunks(WORDS_EACH) {
            // No word contains a quote.
            let wanted = format!("\"{}\"", words.join("\" AND \""));
            let is_found: bool = find
                .query_row(params![wanted, message_id], |row| row.get(0))
                .context(CHECKING)?;
            if !is_found {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Whether the words of the request that was added last are found. A damaged index may find nothing without
/// an error. Runs within a transaction.
pub(crate) fn is_answering(connection: &Connection) -> Result<bool, DbError> {
    if whole(connection)?.is_none() {
        // It is being dropped just now.
        return Ok(true);
    }
    let last: Option<u64> = connection
        .query_row(
            "SELECT request_seq FROM search_messages ORDER BY message_id DESC LIMIT 1",
            [],
            |row| count_at(row, 0),
        )
        .optional()
        .context(CHECKING)?;
    match last {
        Some(opened_seq) => {
            let words = Words::new(form(connection)?)?;
            are_words_found(connection, &words, opened_seq)
        }
        None => Ok(true),
    }
}

/// A message as the index has it.
#[derive(Debug)]
pub(crate) struct StoredMessage {
    pub(crate) request_seq: u64,
    pub(crate) is_reply: bool,
    pub(crate) position: u64,
    pub(crate) role: String,
    packed: Vec<u8>,
}

impl StoredMessage {
    /// `None`: it cannot be unpacked.
    pub(crate) fn text(&self) -> Option<String> {
        unpack(&self.packed).ok()
    }
}

/// The message with this key. Index: `search_messages_by_key`.
pub(crate) fn by_key(
    connection: &Connection,
    key: &[u8; 16],
) -> Result<Option<StoredMessage>, DbError> {
    connection
        .prepare_cached(
            "SELECT request_seq, is_reply, position, role, text FROM search_messages \
             WHERE message_key = ?1",
        )
        .and_then(|mut statement| {
            statement
                .query_row([key], |row| {
                    Ok(StoredMessage {
                        request_seq: count_at(row, 0)?,
                        is_reply: row.get(1)?,
                        position: count_at(row, 2)?,
                        role: row.get(3)?,
                        packed: row.get(4)?,
                    })
                })
                .optional()
        })
        .context(CHECKING)
}

/// The number of the request's messages in the index. Index: `search_messages_by_request`.
pub(crate) fn messages_of(connection: &Connection, opened_seq: u64) -> Result<u64, DbError> {
    connection
        .prepare_cached("SELECT count(*) FROM search_messages WHERE request_seq = ?1")
        .and_then(|mut statement| {
            statement.query_row([seq_to_sql(opened_seq)], |row| count_at(row, 0))
        })
        .context(CHECKING)
}

/// Whether the request will be examined, or examined again.
pub(crate) fn is_waited_for(connection: &Connection, opened_seq: u64) -> Result<bool, DbError> {
    connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM search_pending WHERE opened_seq = ?1 AND state <> 2)",
        )
        .and_then(|mut statement| statement.query_row([seq_to_sql(opened_seq)], |row| row.get(0)))
        .context(CHECKING)
}

/// Whether the words by which messages are found are those of their texts, and so the figures for ranking.
/// The position of each word in each message is summed with a keyed hash, which does not depend on the
/// order. The file can only be read; everything else this needs is in memory.
pub(crate) fn are_words_of_texts(connection: &Connection) -> Result<bool, DbError> {
    let key = RandomState::new();
    let run = |sql: &str| connection.execute_batch(sql).context(CHECKING);
    // It would also prevent writes to tables in memory.
    run("PRAGMA query_only = 0")?;
    let found = run("CREATE VIRTUAL TABLE IF NOT EXISTS temp.search_words \
         USING fts5vocab(main, search_index, instance)")
    .and_then(|()| {
        let mut found = Places::new(key.clone());
        found.add(connection, "temp.search_words")?;
        Ok(found)
    });
    let dropped = run("DROP TABLE IF EXISTS temp.search_words");
    run("PRAGMA query_only = 1")?;
    let found = found?;
    dropped?;
    let expected = expected(connection, key)?;
    let averages: Option<Value> = connection
        .query_row(
            "SELECT block FROM search_index_data WHERE id = 1",
            [],
            |row| row.get(0),
        )
        .optional()
        .context(CHECKING)?;
    let are_averages_right = match averages {
        Some(Value::Blob(averages)) if averages.is_empty() => expected.messages == 0,
        Some(Value::Blob(averages)) => averages == expected.averages(),
        _ => false,
    };
    Ok(found.sum == expected.sum && are_averages_right)
}

fn expected(connection: &Connection, key: RandomState) -> Result<Places, DbError> {
    let memory = Connection::open_in_memory().context(CHECKING)?;
    let run = |sql: &str| memory.execute_batch(sql).context(CHECKING);
    run(&migrate::definition_of("search_index"))?;
    let form = form(connection)?;
    run("CREATE VIRTUAL TABLE search_words USING fts5vocab(search_index, instance)")?;
    let mut places = Places::new(key);
    let mut bytes = 0_usize;
    let mut statement = connection
        .prepare("SELECT message_id, text FROM search_messages")
        .context(CHECKING)?;
    let mut rows = statement.query([]).context(CHECKING)?;
    let take = |places: &mut Places| -> Result<(), DbError> {
        run("COMMIT")?;
        places.add(&memory, "search_words")?;
        run("INSERT INTO search_index (search_index) VALUES ('delete-all'); BEGIN")
    };
    run("BEGIN")?;
    while let Some(row) = rows.next().context(CHECKING)? {
        let message_id: i64 = row.get(0).context(CHECKING)?;
        let packed = row.get_ref(1).context(CHECKING)?;
        let packed = packed
            .as_blob()
            .map_err(|error| DbError::corrupt(CHECKING, error))?;
        let text = unpack(packed)?;
        bytes = bytes.saturating_add(text.len());
        memory
            .prepare_cached("INSERT INTO search_index (rowid, text) VALUES (?1, ?2)")
            .and_then(|mut insert| insert.execute(params![message_id, split(&text, form)]))
            .context(CHECKING)?;
        if bytes >= WORDS_BYTES_MAX {
            bytes = 0;
            take(&mut places)?;
        }
    }
    take(&mut places)?;
    Ok(places)
}

/// Positions of words, and lengths of messages.
struct Places {
    hash: KeyedHash,
    /// The number of positions, and the sum of their hashes.
    sum: (u64, u64),
    messages: u64,
    words: u64,
}

impl Places {
    fn new(key: RandomState) -> Self {
        Self {
            hash: KeyedHash::new(key),
            sum: (0, 0),
            messages: 0,
            words: 0,
        }
    }

    fn add(&mut self, connection: &Connection, words: &str) -> Result<(), DbError> {
        let sql = format!("SELECT term, doc, offset FROM {words}");
        let mut statement = connection.prepare(&sql).context(CHECKING)?;
        let mut rows = statement.query([]).context(CHECKING)?;
        while let Some(row) = rows.next().context(CHECKING)? {
            self.words = self.words.saturating_add(1);
            self.add_row(row, 3)?;
        }
        let mut statement = connection
            .prepare("SELECT id, sz FROM search_index_docsize")
            .context(CHECKING)?;
        let mut rows = statement.query([]).context(CHECKING)?;
        while let Some(row) = rows.next().context(CHECKING)? {
            self.messages = self.messages.saturating_add(1);
            self.add_row(row, 2)?;
        }
        Ok(())
    }

    fn add_row(&mut self, row: &Row<'_>, columns: usize) -> Result<(), DbError> {
        self.hash.begin();
        for column in 0..columns {
            self.hash.push(row.get_ref(column).context(CHECKING)?);
        }
        let (count, sum) = self.sum;
        self.sum = (count.wrapping_add(1), sum.wrapping_add(self.hash.hash()));
        Ok(())
    }

    /// In the form in which the index keeps them for ranking: the number of messages, and of words.
    fn averages(&self) -> Vec<u8> {
        let mut bytes = page_keys::to_varint(self.messages);
        bytes.extend(page_keys::to_varint(self.words));
        bytes
    }
}
