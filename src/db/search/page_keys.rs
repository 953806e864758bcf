//! Page keys: words by which SQLite's index finds its pages.
//!
//! `secure-delete` removes a word from its page. But the first word of a page is also a key in
//! `search_index_idx`, in full where its neighbours have the same prefix, and stays there as long as the
//! page does. So for each removed word, its page is looked up by these same keys. A key that is no longer a
//! prefix of the page's first word is replaced by one made from that word. No other segment and no other
//! page changes.
//!
//! The form of pages and ids is that of FTS5, versions 4 and 5 of its file format. Source:
//! <https://www.sqlite.org/fts5.html#fts5_data_structures>.

use crate::db::connection::settings;
use std::collections::BTreeSet;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, params};

use super::super::error::{Context, DbError};
use super::splitting::{Form, split};

const RENEWING: &str = "renewing the page keys of the search index";
/// Precedes every word of the main index.
const MAIN_PREFIX: u8 = b'0';
/// The id of a page is the id of its segment, shifted by this, plus its own number.
const SEGMENT_SHIFT: u32 = 37;
/// Above the page number come its height and whether it is an index of rows: both 0 for a page with words.
const PAGE_SHIFT: u32 = 31;
const PAGE_NUMBERS: i64 = (1 << PAGE_SHIFT) - 1;
/// Bytes before the first word of a page: the positions of its first row and of its footer.
const PAGE_HEADER_BYTES: usize = 4;

/// The words of texts, split as the index splits them.
#[derive(Debug)]
pub(crate) struct Words {
    index: Connection,
    pub(super) form: Form,
}

impl Words {
    pub(crate) fn new(form: Form) -> Result<Self, DbError> {
        let index = Connection::open_in_memory().context(RENEWING)?;
        index
            .execute_batch(&format!(
                "{}; CREATE VIRTUAL TABLE words USING fts5vocab(search_index, 'row')",
                crate::db::connection::migrate::definition_of("search_index")
            ))
            .context(RENEWING)?;
        Ok(Self { index, form })
    }

    /// Adds the words of a text. Returns what the index should hold as its length.
    pub(super) fn add(&self, message_id: i64, text: &str) -> Result<Vec<u8>, DbError> {
        self.index
            .prepare_cached("INSERT INTO search_index (rowid, text) VALUES (?1, ?2)")
            .and_then(|mut statement| {
                statement.execute(params![message_id, split(text, self.form)])
            })
            .context(RENEWING)?;
        self.index
            .prepare_cached("SELECT sz FROM search_index_docsize WHERE id = ?1")
            .and_then(|mut statement| statement.query_row([message_id], |row| row.get(0)))
            .context(RENEWING)
    }

    /// Returns all words in order, and empties the list.
    pub(super) fn take(&self) -> Result<Vec<String>, DbError> {
        let words = self
            .index
            .prepare_cached("SELECT term FROM words")
            .and_then(|mut statement| {
                let rows = statement.query_map([], |row| row.get(0))?;
                rows.collect()
            })
            .context(RENEWING)?;
        self.index
            .execute_batch("INSERT INTO search_index (search_index) VALUES ('delete-all')")
            .context(RENEWING)?;
        Ok(words)
    }
}

/// A key that is to be replaced or removed.
struct Change {
    segment: i64,
    key: Vec<u8>,
    renewed: Option<Vec<u8>>,
}

/// Replaces the keys whose words are no longer in the index. The removal itself has been written already.
/// Runs within the caller's transaction.
///
/// For each segment and removed word: find the last key at or before the word, which belongs to the page
/// where the word was. If the key is a prefix of the word but not of the page's first word any more, then
/// it would show the removed word. Its replacement is the shortest prefix of that first word which still
/// separates it from the page before. One lookup for each word and segment.
pub(super) fn renew(connection: &Connection, words: &[String]) -> Result<(), DbError> {
    let mut changes = Vec::new();
    for segment in segments(connection)? {
        let mut seen = BTreeSet::new();
        let mut statement = connection
            .prepare_cached(
                "SELECT term, pgno FROM search_index_idx WHERE segid = ?1 AND term <= ?2 \
                 ORDER BY term DESC LIMIT 1",
            )
            .context(RENEWING)?;
        for word in words {
            let mut wanted = vec![MAIN_PREFIX];
            wanted.extend_from_slice(word.as_bytes());
            let found: Option<(Vec<u8>, i64)> = statement
                .query_row(params![segment, wanted], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })
                .optional()
                .context(RENEWING)?;
            let Some((key, page)) = found else { continue };
            if key.len() <= 1 || !wanted.starts_with(&key) || !seen.insert(key.clone()) {
                continue;
            }
            // The lowest bit tells whether the page has an index of its rows.
            let first = first_word(connection, segment, page >> 1)?;
            if first.as_ref().is_some_and(|first| first.starts_with(&key)) {
                continue;
            }
            let renewed = first.map(|first| separator(&key, &first)).transpose()?;
            changes.push(Change {
                segment,
                key,
                renewed,
            });
        }
    }
    if changes.is_empty() {
        return Ok(());
    }
    // SQLite protects the index's own tables from writes; switched off for this write only, also if it fails.
    settings::defend(connection, false)?;
    let result = write(connection, &changes);
    settings::defend(connection, true)?;
    result
}

fn write(connection: &Connection, changes: &[Change]) -> Result<(), DbError> {
    for change in changes {
        let Change { segment, key, .. } = change;
        match &change.renewed {
            Some(renewed) => connection.execute(
                "UPDATE search_index_idx SET term = ?3 WHERE segid = ?1 AND term = ?2",
                params![segment, key, renewed],
            ),
            None => connection.execute(
                "DELETE FROM search_index_idx WHERE segid = ?1 AND term = ?2",
                params![segment, key],
            ),
        }
        .context(RENEWING)?;
    }
    Ok(())
}

/// Whether every page is found by its words.
pub(super) fn are_right(connection: &Connection) -> Result<bool, DbError> {
    let mut pages = connection
        .prepare("SELECT id, block FROM search_index_data WHERE id >= ?1 ORDER BY id")
        .context(RENEWING)?;
    let mut key_of = connection
        .prepare_cached(
            "SELECT pgno FROM search_index_idx WHERE segid = ?1 AND term <= ?2 \
             ORDER BY term DESC LIMIT 1",
        )
        .context(RENEWING)?;
    let mut pages = pages.query([1_i64 << SEGMENT_SHIFT]).context(RENEWING)?;
    let mut segment_before = None;
    while let Some(row) = pages.next().context(RENEWING)? {
        let id: i64 = row.get(0).context(RENEWING)?;
        let (segment, page) = (id >> SEGMENT_SHIFT, id & PAGE_NUMBERS);
        if id >> PAGE_SHIFT != segment << (SEGMENT_SHIFT - PAGE_SHIFT) {
            // An index of a page's rows.
            continue;
        }
        let ValueRef::Blob(block) = row.get_ref(1).context(RENEWING)? else {
            return Ok(false);
        };
        let Some(first) = first_word_of(block) else {
            return Ok(false);
        };
        let is_first = segment_before.replace(segment) != Some(segment);
        let Some(first) = first else { continue };
        let found: Option<i64> = key_of
            .query_row(params![segment, first], |row| row.get(0))
            .optional()
            .context(RENEWING)?;
        // Words before all keys are looked for on the first page.
        let is_found = found.map(|found| found >> 1) == Some(page)
            || is_first && found.is_none_or(|found| found >> 1 < page);
        if !is_found {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The segments, one lookup for each.
fn segments(connection: &Connection) -> Result<Vec<i64>, DbError> {
    let mut segments = Vec::new();
    let mut statement = connection
        .prepare_cached(
            "SELECT segid FROM search_index_idx WHERE segid > ?1 ORDER BY segid LIMIT 1",
        )
        .context(RENEWING)?;
    let mut after = i64::MIN;
    while let Some(next) = statement
        .query_row([after], |row| row.get(0))
        .optional()
        .context(RENEWING)?
    {
        segments.push(next);
        after = next;
    }
    Ok(segments)
}

/// The first word of a page; `None`: the page is gone, or no word begins on it.
fn first_word(
    connection: &Connection,
    segment: i64,
    page: i64,
) -> Result<Option<Vec<u8>>, DbError> {
    let id = segment
        .checked_shl(SEGMENT_SHIFT)
        .and_then(|segment| segment.checked_add(page));
    let mut statement = connection
        .prepare_cached("SELECT block FROM search_index_data WHERE id = ?1")
        .context(RENEWING)?;
    let mut rows = statement.query([id]).context(RENEWING)?;
    let Some(row) = rows.next().context(RENEWING)? else {
        return Ok(None);
    };
    let word = match row.get_ref(0).context(RENEWING)? {
        ValueRef::Blob(page) => first_word_of(page),
        _ => None,
    };
    word.map(|word| word.map(<[u8]>::to_vec))
        .ok_or_else(|| DbError::corrupt(RENEWING, "a page cannot be read"))
}

/// The inner `None`: no word begins on the page.
fn first_word_of(page: &[u8]) -> Option<Option<&[u8]>> {
    let &[_, _, high, low, ..] = page else {
        return None;
    };
    let footer = page.get(usize::from(u16::from_be_bytes([high, low]))..)?;
    if footer.is_empty() {
        return Some(None);
    }
    let (start, _) = varint(footer)?;
    if start < PAGE_HEADER_BYTES {
        return None;
    }
    let (length, rest) = varint(page.get(start..)?)?;
    rest.get(..length).map(Some)
}

/// Source: <https://www.sqlite.org/fileformat2.html#varint>. Lengths within a page take at most three
/// bytes.
fn varint(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0;
    for (place, byte) in bytes.iter().enumerate().take(3) {
        value = value << 7 | usize::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(place.saturating_add(1)..)?));
        }
    }
    None
}

/// Encodes a number below 2^56; everything counted here is.
pub(super) fn to_varint(number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for shift in (0..8_u32).rev().map(|place| place.saturating_mul(7)) {
        let part = u8::try_from(number >> shift & 0x7f).unwrap_or(0x7f);
        if part > 0 || !bytes.is_empty() || shift == 0 {
            bytes.push(part | if shift > 0 { 0x80 } else { 0 });
        }
    }
    bytes
}

/// The shortest prefix of the page's first word that is greater than the key, and so greater than all words
/// before the page.
fn separator(key: &[u8], first: &[u8]) -> Result<Vec<u8>, DbError> {
    let common = key
        .iter()
        .zip(first)
        .take_while(|(one, other)| one == other);
    let shortest = first.get(..common.count().saturating_add(1));
    shortest
        .filter(|separator| *separator > key)
        .map(<[u8]>::to_vec)
        .ok_or_else(|| DbError::corrupt(RENEWING, "a page is not behind its key"))
}
