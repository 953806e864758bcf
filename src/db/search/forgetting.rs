//! Forgetting: removes words and texts from the index. The index never stops a removal: if it is damaged,
//! it is dropped.

use crate::db::connection::index_state::is_empty;
use std::collections::HashSet;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params};

use super::super::error::{Context, DbError};
use super::super::seq_to_sql;
use super::page_keys::{self, Words};
use super::splitting::split;
use super::texts::unpack;
use super::{Extent, by_opened_seq, extent, form, run, scope_of, wait_no_more};
use crate::db::connection::index_state::give_up;
use crate::db::read::list::{self, Walk};
use crate::db::read::removals::{RemovalKind, pruned_to};
use crate::db::rows::count_at;
use crate::error::chain;
use crate::model::{Digest, RequestFilter};

const REMOVING: &str = "removing from the search index";
/// Bytes of texts whose words are kept in memory at a time.
const WORDS_BYTES_MAX: usize = 1024 * 1024;
/// `hashsize` of the index, as `schema.sql` sets it.
const HASH_BYTES: i64 = 4_194_304;

/// Removes from the index what requests brought in that events of these ranges opened. Runs within the
/// caller's transaction, and **before** the rows of `requests` change: these tell which other requests may
/// have said the same. If the index cannot be trusted it is given up, and the result says why. `suspicion`:
/// why it is not trusted to begin with.
///
/// A message that several requests sent is stored once, with the first. When that request goes, the message
/// leaves the index; the next request of the same conversation is then examined again, and adds the message
/// if it repeats it.
pub(in super::super) fn forget(
    connection: &Connection,
    ranges: &[(i64, i64)],
    suspicion: Option<&str>,
) -> Result<Option<String>, DbError> {
    let run = |sql: &str| connection.execute_batch(sql).context(REMOVING);
    if ranges.is_empty() {
        return Ok(None);
    }
    run("SAVEPOINT forgetting")?;
    let forgotten = match suspicion {
        Some(what) => Err(DbError::corrupt(REMOVING, what)),
        None => forget_ranges(connection, ranges),
    };
    let error = match forgotten {
        Ok(()) => return run("RELEASE forgetting").map(|()| None),
        Err(error) if error.is_damage() => error,
        Err(error) => return Err(error),
    };
    run("ROLLBACK TO forgetting; RELEASE forgetting")?;
    // Even recording this fails if the table of one row is damaged. The removal continues; the writer
    // reports the damaged index.
    let _ = give_up(connection);
    Ok(Some(chain(&error)))
}

fn forget_ranges(connection: &Connection, ranges: &[(i64, i64)]) -> Result<(), DbError> {
    match extent(connection)? {
        None => return check_empty(connection),
        Some(Extent {
            is_dropped: true, ..
        }) => return Ok(()),
        Some(_) => check_settings(connection)?,
    }
    let mut forgetting = Forgetting::new(connection)?;
    for (first, last) in ranges {
        forgetting.range(*first, *last)?;
    }
    forgetting.finish()
}

/// If there is no index, there must be no remains of one.
fn check_empty(connection: &Connection) -> Result<(), DbError> {
    match is_empty(connection)? {
        true => Ok(()),
        false => {
            let what = "search_state says that there is no index, and there is one";
            Err(DbError::corrupt(REMOVING, what))
        }
    }
}

/// Whether SQLite's index has the settings with which it was made. Without `secure-delete` removed words
/// stay in it, and how long that has been so is not known.
pub(crate) fn check_settings(connection: &Connection) -> Result<(), DbError> {
    let mut statement = connection
        .prepare_cached("SELECT k, v FROM search_index_config ORDER BY k")
        .context(REMOVING)?;
    let rows = statement
        .query_map([], |row| {
            Ok((row.get::<_, Value>(0)?, row.get::<_, Value>(1)?))
        })
        .context(REMOVING)?;
    let mut is_secure = false;
    for row in rows {
        let (name, value) = row.context(REMOVING)?;
        match (&name, &value) {
            (Value::Text(name), Value::Integer(1)) if name == "secure-delete" => is_secure = true,
            // Not that of an earlier build.
            (Value::Text(name), Value::Integer(HASH_BYTES)) if name == "hashsize" => {}
            (Value::Text(name), Value::Integer(4 | 5)) if name == "version" => {}
            _ => {
                return Err(DbError::corrupt(
                    REMOVING,
                    format!("search_index_config says {name:?} is {value:?}"),
                ));
            }
        }
    }
    match is_secure {
        true => Ok(()),
        false => Err(DbError::corrupt(
            REMOVING,
            "secure-delete is off in search_index_config",
        )),
    }
}

/// A removal in progress.
struct Forgetting<'c> {
    connection: &'c Connection,
    words: Words,
    word_bytes: usize,
    /// Conversations, otherwise users, whose following requests are already to be examined again.
    scopes: HashSet<Digest>,
}

impl<'c> Forgetting<'c> {
    fn new(connection: &'c Connection) -> Result<Self, DbError> {
        Ok(Self {
            connection,
            words: Words::new(form(connection)?)?,
            word_bytes: 0,
            scopes: HashSet::new(),
        })
    }

    /// Removes what requests brought in that these events opened. Only those requests are read. Index:
    /// `search_messages_by_request`.
    fn range(&mut self, first: i64, last: i64) -> Result<(), DbError> {
        let requests: Vec<u64> = self
            .connection
            .prepare_cached(
                "SELECT request_seq FROM search_messages WHERE request_seq BETWEEN ?1 AND ?2 \
                 UNION SELECT opened_seq FROM search_pending WHERE opened_seq BETWEEN ?1 AND ?2 \
                 ORDER BY 1 DESC",
            )
            .and_then(|mut statement| {
                let rows = statement.query_map([first, last], |row| count_at(row, 0))?;
                rows.collect()
            })
            .context(REMOVING)?;
        for seq in requests {
            let is_again = is_again(self.connection, seq)?;
            wait_no_more(self.connection, seq)?;
            if self.one(seq)? > 0 || is_again {
                let last = u64::try_from(last).unwrap_or(0);
                self.look_behind(seq, last, is_again)?;
            }
        }
        Ok(())
    }

    /// Removes the words and texts of one request, one message at a time, and returns the number of
    /// messages.
    ///
    /// An index without texts must be told which words to remove, so the stored text must be the one that
    /// was added: the stored length is compared first.
    fn one(&mut self, opened_seq: u64) -> Result<u64, DbError> {
        let mut removed = 0_u64;
        loop {
            let next: Option<(i64, Vec<u8>, Option<Vec<u8>>)> = self
                .connection
                .prepare_cached(
                    "SELECT message_id, text, sz FROM search_messages LEFT JOIN search_index_docsize \
                     ON id = message_id WHERE request_seq = ?1 LIMIT 1",
                )
                .and_then(|mut statement| {
                    statement
                        .query_row([seq_to_sql(opened_seq)], |row| {
                            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                        })
                        .optional()
                })
                .context(REMOVING)?;
            let Some((message_id, packed, length)) = next else {
                return Ok(removed);
            };
            let text = unpack(&packed)?;
            if length != Some(self.words.add(message_id, &text)?) {
                return Err(DbError::corrupt(
                    REMOVING,
                    format!("message {message_id} is not the one that was indexed"),
                ));
            }
            // See <https://www.sqlite.org/fts5.html#the_delete_command>.
            self.connection
                .prepare_cached(
                    "INSERT INTO search_index (search_index, rowid, text) VALUES ('delete', ?1, ?2)",
                )
                .and_then(|mut statement| statement.execute(params![message_id, split(&text, self.words.form)]))
                .context(REMOVING)?;
            self.connection
                .prepare_cached("DELETE FROM search_messages WHERE message_id = ?1")
                .and_then(|mut statement| statement.execute([message_id]))
                .context(REMOVING)?;
            removed = removed.saturating_add(1);
            self.word_bytes = self.word_bytes.saturating_add(text.len());
            if self.word_bytes >= WORDS_BYTES_MAX {
                self.renew_keys()?;
            }
        }
    }

    /// Marks the next request of the same conversation to be examined again: it may repeat what was
    /// removed. Once for each conversation, after the last of the requests that are removed.
    fn look_behind(&mut self, opened_seq: u64, last: u64, is_again: bool) -> Result<(), DbError> {
        // Without its row, the conversation of a request is unknown.
        let Some((_, Ok(request))) = by_opened_seq(self.connection, opened_seq)? else {
            return Ok(());
        };
        // One that an earlier range marked passes its mark on: it goes now, and what follows it repeats the same.
        if self.scopes.insert(scope_of(&request)) || is_again {
            look_again(self.connection, &request, opened_seq.max(last))?;
        }
        Ok(())
    }

    /// Makes the index write what it was told, so that damage shows here and not at the commit, and then
    /// renews the page keys.
    fn renew_keys(&mut self) -> Result<(), DbError> {
        self.connection
            .prepare_cached("INSERT INTO search_index (search_index) VALUES ('flush')")
            .and_then(|mut statement| statement.execute([]))
            .context(REMOVING)?;
        self.word_bytes = 0;
        page_keys::renew(self.connection, &self.words.take()?)
    }

    fn finish(mut self) -> Result<(), DbError> {
        self.renew_keys()
    }
}

/// Requests that were opened before this event have had their content pruned, and bring nothing into the
/// index. (If one of them ended after it, its response is still there, and is removed by the next step of
/// pruning.)
pub(crate) fn kept_from(connection: &Connection) -> Result<u64, DbError> {
    pruned_to(connection, RemovalKind::Content)
}

fn is_again(connection: &Connection, opened_seq: u64) -> Result<bool, DbError> {
    connection
        .prepare_cached("SELECT state FROM search_pending WHERE opened_seq = ?1")
        .and_then(|mut statement| {
            statement
                .query_row([seq_to_sql(opened_seq)], |row| row.get::<_, i64>(0))
                .optional()
        })
        .context(REMOVING)
        .map(|found| found == Some(1))
}

/// Marks the next request of the same conversation (otherwise of the same user) after this event to be
/// examined again. When that is done, it marks the one after it. Requests that have not ended or are not in
/// the index yet will be examined anyway, and requests without content are skipped.
pub(crate) fn look_again(
    connection: &Connection,
    request: &crate::model::RequestRecord,
    after: u64,
) -> Result<(), DbError> {
    let filter = RequestFilter::conversation_of(request).unwrap_or_else(|| RequestFilter {
        user_id: request.user_id.clone(),
        ..RequestFilter::default()
    });
    let kept = kept_from(connection)?;
    let mut after = after.max(kept.saturating_sub(1));
    let end = extent(connection)?.map_or(0, |index| index.next_seq);
    loop {
        let next = list::list_within(connection, &filter, Walk::After(Some(after)), 1)?;
        let Some((seq, row)) = next.into_iter().next() else {
            return Ok(());
        };
        let Some(seq) = u64::try_from(seq).ok().filter(|seq| *seq < end) else {
            return Ok(());
        };
        if row.is_ok_and(|next| next.ended_seq.is_some()) {
            return run(
                connection,
                "INSERT INTO search_pending VALUES (?1, 1) ON CONFLICT DO UPDATE SET state = 1",
                seq,
            );
        }
        // It is waited for already, or cannot be read.
        after = seq;
    }
}
