//! Page keys: words that SQLite's index keeps to find its pages by.
//!
//! `secure-delete` takes a word out of the page that it lies on. A word that a page once began with is
//! also kept, in full where its neighbours begin alike, in `search_index_idx`, and stays there for as
//! long as the page does. So the pages on which removed words would lie are looked up by these very
//! keys, and a key that is the beginning of no word of its page any more is made anew from the word
//! that the page begins with now. No other segment and no other page is touched.
//!
//! The form of pages and ids is that of FTS5, versions 4 and 5 of its file format. Source:
//! <https://www.sqlite.org/fts5.html#fts5_data_structures>.

use std::collections::BTreeSet;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, params};

use super::super::error::{Context, DbError};
use crate::db::connection::open;

const RENEWING: &str = "renewing the page keys of the search index";
/// What stands before every word of the main index.
const MAIN_PREFIX: u8 = b'0';
/// The id of a page is its segment's, shifted by so much, and its own number.
const SEGMENT_SHIFT: u32 = 37;
/// Above the number of a page come its height and whether it is an index of rows: 0 for what has words.
const PAGE_SHIFT: u32 = 31;
const PAGE_NUMBERS: i64 = (1 << PAGE_SHIFT) - 1;
/// Bytes before a page's first word: where the first row and the footer begin.
const PAGE_HEADER_BYTES: usize = 4;

/// The words of texts, as the index tells them apart.
#[derive(Debug)]
pub(crate) struct Words {
    index: Connection,
}

impl Words {
    pub(crate) fn new() -> Result<Self, DbError> {
        let index = Connection::open_in_memory().context(RENEWING)?;
        index
            .execute_batch(&format!(
                "{}; CREATE VIRTUAL TABLE words USING fts5vocab(search_index, 'row')",
                crate::db::connection::migrate::definition_of("search_index")
            ))
            .context(RENEWING)?;
        Ok(Self { index })
    }

    /// Adds those of a text; what the index is to hold of its length.
    pub(super) fn add(&self, message_id: i64, text: &str) -> Result<Vec<u8>, DbError> {
        self.index
            .prepare_cached("INSERT INTO search_index (rowid, text) VALUES (?1, ?2)")
            .and_then(|mut statement| statement.execute(params![message_id, text]))
            .context(RENEWING)?;
        self.index
            .prepare_cached("SELECT sz FROM search_index_docsize WHERE id = ?1")
            .and_then(|mut statement| statement.query_row([message_id], |row| row.get(0)))
            .context(RENEWING)
    }

    /// All words, in order, and none afterwards.
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

/// A key that is to be another one, or to go.
struct Change {
    segment: i64,
    key: Vec<u8>,
    renewed: Option<Vec<u8>>,
}

/// Renews the keys that only words which are not in the index any more begin with. What was removed
/// has been written. Within the caller's transaction. One look-up for each word and segment.
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
            // The lowest bit says whether the page has an index of its rows.
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
    open::defend(connection, false)?;
    let result = write(connection, &changes);
    open::defend(connection, true)?;
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

/// Whether every page is where its words are looked for.
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
        // Words in front of all keys are looked for on the first page.
        let is_found = found.map(|found| found >> 1) == Some(page)
            || is_first && found.is_none_or(|found| found >> 1 < page);
        if !is_found {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The segments, one look-up each.
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

/// The word that a page begins with; `None`: it is not there any more, or no word begins on it.
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

/// Source: <https://www.sqlite.org/fileformat2.html#varint>; lengths on a page take three bytes at most.
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

/// A number below 2^56, which everything that is counted here is.
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

/// The shortest beginning of the page's first word that is behind the key, and so behind all words
/// that come before the page.
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
