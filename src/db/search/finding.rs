//! Finding: matching messages, best or newest first, and the parts of their texts that match.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};

use super::super::error::{Context, DbError};
use super::SEARCHING;
use super::splitting::{self, Form, SEPARATORS};
use super::texts::unpack;
use crate::db::read::list::{self, Conditions, Walk};
use crate::db::rows::count_at;
use crate::model::RequestFilter;

/// Mark a match and a cut in a snippet until it is split: these are not characters of any text.
const OPEN: char = '\u{fdd0}';
const CLOSE: char = '\u{fdd1}';
const CUT: char = '\u{fdd2}';
/// Words in a snippet.
const SNIPPET_TOKENS: i64 = 24;

/// Which of the matching messages come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Newest,
    /// The best of all, or of so many of the newest.
    Best {
        of_newest: Option<usize>,
    },
}

/// The messages that were found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) messages: Vec<FoundMessage>,
    /// There are older matches that were not ranked.
    pub(crate) is_cut: bool,
}

/// A matching message.
#[derive(Debug)]
pub(crate) struct FoundMessage {
    pub(crate) request_seq: u64,
    pub(crate) is_reply: bool,
    pub(crate) position: u64,
    pub(crate) role: String,
    pub(crate) score: f64,
    pub(super) packed: Vec<u8>,
}

/// A match and its score: SQLite's is negative, so that the smallest is the best. The greatest is the worst.
#[derive(Debug, Clone, Copy)]
struct Match {
    score: f64,
    message_id: i64,
}

impl Ord for Match {
    fn cmp(&self, other: &Self) -> Ordering {
        // Among equals the newest are better.
        let by_score = self.score.total_cmp(&other.score);
        by_score.then(other.message_id.cmp(&self.message_id))
    }
}

impl PartialOrd for Match {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Match {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Match {}

/// Matching messages. `words` is an FTS5 expression. The index is asked first, newest first; then the messages are
/// read by their primary keys.
///
/// Scoring costs most of a search of a common word, so only as many of the newest are scored as `order` says.
pub(crate) fn find(
    connection: &Connection,
    words: &str,
    request_filter: &RequestFilter,
    order: Order,
    limit: usize,
) -> Result<Found, DbError> {
    let transaction = connection.unchecked_transaction().context(SEARCHING)?;
    let Some(conditions) = list::conditions(&transaction, request_filter, Walk::Before(None))?
    else {
        return Ok(Found::default());
    };
    let looked_at = match order {
        Order::Newest => Some(limit),
        Order::Best { of_newest } => of_newest,
    };
    // One more tells whether there are more.
    let rows_max = looked_at.map(|rows| rows.saturating_add(1));
    let sql = matches_sql(request_filter, &conditions, rows_max);
    let mut values: Vec<Value> = vec![words.to_owned().into()];
    values.extend(conditions.values);
    let mut best = BinaryHeap::with_capacity(limit.saturating_add(1));
    let mut count = 0_usize;
    let mut statement = transaction.prepare_cached(&sql).context(SEARCHING)?;
    let mut rows = statement
        .query(params_from_iter(values))
        .context(SEARCHING)?;
    while let Some(row) = rows.next().context(SEARCHING)? {
        if Some(count) == looked_at {
            count = count.saturating_add(1);
            break;
        }
        count = count.saturating_add(1);
        best.push(Match {
            message_id: row.get(0).context(SEARCHING)?,
            score: row.get(1).context(SEARCHING)?,
        });
        if best.len() > limit {
            best.pop();
        }
    }
    let mut best = best.into_vec();
    match order {
        Order::Newest => best.sort_unstable_by_key(|found| std::cmp::Reverse(found.message_id)),
        Order::Best { .. } => best.sort_unstable(),
    }
    let mut found = Found {
        messages: Vec::with_capacity(best.len()),
        is_cut: order != Order::Newest && looked_at.is_some_and(|rows| count > rows),
    };
    for one in best {
        found.messages.extend(message(&transaction, one)?);
    }
    Ok(found)
}

pub(super) fn matches_sql(
    request_filter: &RequestFilter,
    conditions: &Conditions,
    rows_max: Option<usize>,
) -> String {
    let mut source = "search_index".to_owned();
    let mut wanted = " WHERE search_index MATCH ?".to_owned();
    if *request_filter != RequestFilter::default() {
        source.push_str(
            " CROSS JOIN search_messages ON search_messages.message_id = search_index.rowid \
             CROSS JOIN requests ON requests.opened_seq = search_messages.request_seq",
        );
        wanted.push_str(&conditions.to_sql().replacen(" WHERE ", " AND ", 1));
    }
    let limit = rows_max.map_or(String::new(), |rows| format!(" LIMIT {rows}"));
    format!(
        "SELECT search_index.rowid, search_index.rank FROM {source}{wanted} \
         ORDER BY search_index.rowid DESC{limit}"
    )
}

fn message(connection: &Connection, found: Match) -> Result<Option<FoundMessage>, DbError> {
    connection
        .prepare_cached(
            "SELECT request_seq, is_reply, position, role, text FROM search_messages \
             WHERE message_id = ?1",
        )
        .and_then(|mut statement| {
            statement
                .query_row([found.message_id], |row| {
                    Ok(FoundMessage {
                        request_seq: count_at(row, 0)?,
                        is_reply: row.get(1)?,
                        position: count_at(row, 2)?,
                        role: row.get(3)?,
                        score: found.score,
                        packed: row.get(4)?,
                    })
                })
                .optional()
        })
        .context(SEARCHING)
}

/// For each message, the part of its text that matches best, in pieces with whether each is a match. SQLite
/// finds it with an index of these messages alone, in memory.
pub(crate) fn snippets(
    found: &[FoundMessage],
    words: &str,
    form: Form,
) -> Result<Vec<Vec<(String, bool)>>, DbError> {
    let mut connection = Connection::open_in_memory().context(SEARCHING)?;
    let transaction = connection.transaction().context(SEARCHING)?;
    transaction
        .execute_batch("CREATE VIRTUAL TABLE texts USING fts5(text, tokenize = \"unicode61 remove_diacritics 2\")")
        .context(SEARCHING)?;
    let mut texts = Vec::with_capacity(found.len());
    for message in found {
        let text = unpack(&message.packed)?;
        texts.push(
            text.replace([OPEN, CLOSE, CUT], "\u{fffd}")
                .replace(SEPARATORS, " "),
        );
    }
    let mut snippets = vec![Vec::new(); found.len()];
    {
        let mut insert = transaction
            .prepare("INSERT INTO texts (rowid, text) VALUES (?1, ?2)")
            .context(SEARCHING)?;
        for (index, text) in (0_i64..).zip(&texts) {
            insert
                .execute(params![index, splitting::split(text, form)])
                .context(SEARCHING)?;
        }
        let mut select = transaction
            .prepare(
                "SELECT rowid, snippet(texts, 0, ?2, ?3, ?4, ?5) FROM texts WHERE texts MATCH ?1",
            )
            .context(SEARCHING)?;
        let [open, close, cut] = [OPEN, CLOSE, CUT].map(String::from);
        let rows = select
            .query_map(params![words, open, close, cut, SNIPPET_TOKENS], |row| {
                Ok((count_at(row, 0)?, row.get::<_, String>(1)?))
            })
            .context(SEARCHING)?;
        for row in rows {
            let (index, marked) = row.context(SEARCHING)?;
            let index = usize::try_from(index).unwrap_or(usize::MAX);
            if let (Some(snippet), Some(text)) = (snippets.get_mut(index), texts.get(index)) {
                *snippet = parts(text, &marked);
            }
        }
    }
    Ok(snippets)
}

/// The pieces of a marked part of a text.
fn parts(text: &str, marked: &str) -> Vec<(String, bool)> {
    let mut is_match = false;
    let mut part = Vec::new();
    for c in marked.chars() {
        match c {
            OPEN => is_match = true,
            CLOSE => is_match = false,
            CUT => {}
            c => part.push((c, is_match)),
        }
    }
    let mut parts = splitting::restored(text, &part);
    if marked.starts_with(CUT) {
        parts.insert(0, ("…".to_owned(), false));
    }
    if marked.ends_with(CUT) {
        parts.push(("…".to_owned(), false));
    }
    parts
}
