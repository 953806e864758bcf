//! Scrubbing: what SQLite leaves of rows that it moved between pages.
//!
//! With `secure_delete` all that is deleted is overwritten, but not all that is moved: where SQLite
//! lays a page out anew, it leaves what was there before in the gap between the page's index and its
//! cells. A row that is erased from where it is may so live on, unseen, on a page where it once was.
//! Here such pages are found, by reading the file's pages themselves, and their gaps overwritten, by
//! having SQLite lay them out once more in a way that does. Source for the layout of pages:
//! <https://www.sqlite.org/fileformat2.html#b_tree_pages>.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, params};

use super::PAGE_BYTES;
use super::error::{Context, DbError};

const SCRUBBING: &str = "overwriting what is left of erased rows";
/// What is at the start of a gap that few bytes of are not overwritten, where a page has one cell.
const UNREACHED_BYTES: usize = 24;
/// The largest cell that a page holds without another one for the rest of it.
const CELL_BYTES_MAX: usize = 8_150;
/// Bytes of a text that are looked for where it may be there in part.
const GRAM_BYTES: usize = 6;
const SHORTEST_BYTES: usize = 3;
/// Beyond so many parts of them, everything is taken for something that was looked for.
const GRAMS_MAX: usize = 1_000_000;

/// Tables by their rows' numbers, each with a column that can be written to and back.
const TABLES: &[(&str, &str, &str)] = &[
    ("requests", "opened_seq", "attributes"),
    ("payloads", "payload_id", "data"),
    ("log_segments", "first_seq", "data"),
];
/// Small tables that are written anew as a whole.
const REWRITTEN: &[&str] = &["usage_hourly", "tool_calls"];

/// Text that is to be found nowhere.
#[derive(Debug, Default)]
pub(crate) struct Needles {
    /// By how they begin.
    texts: HashMap<[u8; GRAM_BYTES], HashSet<Vec<u8>>>,
    /// Every part of them.
    grams: HashSet<[u8; GRAM_BYTES]>,
    short: HashSet<Vec<u8>>,
    is_everything: bool,
}

impl Needles {
    /// Whatever is left, of whomever.
    pub(crate) fn everything() -> Self {
        Self {
            is_everything: true,
            ..Self::default()
        }
    }

    pub(crate) fn add(&mut self, text: &str) {
        let text = text.as_bytes();
        let Some(start) = text.first_chunk::<GRAM_BYTES>() else {
            if text.len() >= SHORTEST_BYTES {
                self.short.insert(text.to_vec());
            }
            return;
        };
        if self.grams.len() + text.len() > GRAMS_MAX {
            self.is_everything = true;
        } else if self.texts.entry(*start).or_default().insert(text.to_vec()) {
            let windows = text.windows(GRAM_BYTES);
            self.grams
                .extend(windows.flat_map(<[u8; GRAM_BYTES]>::try_from));
        }
    }

    /// Whether one of the texts is in the gap.
    fn are_in(&self, gap: &[u8]) -> bool {
        let is_whole = |place: usize| {
            let Some(rest) = gap.get(place..) else {
                return false;
            };
            let texts = rest.first_chunk().and_then(|start| self.texts.get(start));
            texts.is_some_and(|texts| texts.iter().any(|text| rest.starts_with(text)))
        };
        self.is_everything || (0..gap.len()).any(is_whole) || self.has_short(gap)
    }

    /// Whether a part of one is: of a row that was overwritten in part.
    fn are_in_part_in(&self, gap: &[u8]) -> bool {
        let has = |gram: &[u8]| {
            let gram = <[u8; GRAM_BYTES]>::try_from(gram);
            gram.is_ok_and(|gram| self.grams.contains(&gram))
        };
        self.is_everything || gap.windows(GRAM_BYTES).any(has) || self.has_short(gap)
    }

    fn has_short(&self, gap: &[u8]) -> bool {
        let mut short = self.short.iter();
        short.any(|text| gap.windows(text.len()).any(|window| window == text))
    }
}

/// Whether something was erased and what is left of it was not looked for to the end: the process
/// ended in between.
pub(crate) fn is_wipe_pending(connection: &Connection) -> Result<bool, DbError> {
    connection
        .query_row("SELECT EXISTS (SELECT 1 FROM wipe_pending)", [], |row| {
            row.get(0)
        })
        .context(SCRUBBING)
}

/// Notes that something is to be looked for, or that it has been. Inside the caller's transaction.
pub(super) fn set_wipe_pending(connection: &Connection, is_pending: bool) -> Result<(), DbError> {
    connection
        .execute_batch(if is_pending {
            "INSERT OR IGNORE INTO wipe_pending VALUES (1)"
        } else {
            "DELETE FROM wipe_pending"
        })
        .context(SCRUBBING)
}

/// A page with something left, and how to have it overwritten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scrub {
    /// By one of its rows, made as long as the page has room for, and short again.
    Row {
        table: &'static str,
        key: &'static str,
        column: &'static str,
        rowid: i64,
        /// Bytes of the page that the row can take.
        room: i64,
        /// Bytes of the row.
        payload: i64,
    },
    /// By writing the whole index anew.
    Index(String),
    /// By writing the whole table anew.
    Table(&'static str),
}

/// Pages on which something is left, as of a moment at which the write-ahead log is empty or
/// nothing in it matters. Holds a read transaction, so that what is in the file stays as it is.
/// `with_parts`: rows of which only a part is left too, which finds others that have a part in
/// common.
pub(crate) fn leftovers(
    connection: &Connection,
    path: &Path,
    needles: &Needles,
    with_parts: bool,
) -> Result<Vec<Scrub>, DbError> {
    let transaction = connection.unchecked_transaction().context(SCRUBBING)?;
    let mut trees: Vec<(String, String, u32)> = Vec::new();
    let mut statement = transaction
        .prepare("SELECT name, tbl_name, rootpage FROM sqlite_schema WHERE rootpage > 0")
        .context(SCRUBBING)?;
    let mut rows = statement.query([]).context(SCRUBBING)?;
    while let Some(row) = rows.next().context(SCRUBBING)? {
        let read = || Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        trees.push(read().context(SCRUBBING)?);
    }
    let mut pages = Pages::open(path)?;
    let mut found = Vec::new();
    for (name, table, root) in trees {
        let by_row = TABLES.iter().find(|(table, _, _)| *table == name);
        let rewritten = REWRITTEN.iter().find(|table| **table == name);
        if by_row.is_none() && rewritten.is_none() && table != "requests" {
            continue;
        }
        pages.visit(root, &mut |page| {
            let Some(gap) = page.gap() else { return true };
            if let Some(&(table, key, column)) = by_row {
                // Requests are moved while they are recorded; the others only by a removal.
                let is_left = page.is_table_leaf()
                    && has_more_than_pointers(gap)
                    && (table != "requests"
                        || if with_parts {
                            needles.are_in_part_in(gap)
                        } else {
                            needles.are_in(gap)
                        });
                if is_left && let Some(row) = page.row() {
                    let is_alone = page.cells == 1;
                    let reached = gap.get(UNREACHED_BYTES..).unwrap_or_default();
                    if !is_alone || has_more_than_pointers(reached) {
                        let (rowid, room, payload) = row;
                        found.push(Scrub::Row {
                            table,
                            key,
                            column,
                            rowid,
                            room,
                            payload,
                        });
                    }
                }
                return true;
            }
            if !has_more_than_pointers(gap) || !needles.are_in(gap) {
                return true;
            }
            found.push(match rewritten {
                Some(table) => Scrub::Table(table),
                None => Scrub::Index(name.clone()),
            });
            // The whole of it is written anew.
            false
        })?;
    }
    Ok(found)
}

impl Scrub {
    /// Inside the caller's transaction.
    pub(super) fn execute(&self, connection: &Connection) -> Result<(), DbError> {
        match self {
            Self::Index(name) => connection
                .execute_batch(&format!("REINDEX \"{}\"", name.replace('"', "\"\"")))
                .context(SCRUBBING),
            Self::Table(table) => connection
                .execute_batch(&format!(
                    "CREATE TEMP TABLE scrubbed AS SELECT * FROM main.{table}; \
                     DELETE FROM main.{table}; \
                     INSERT INTO main.{table} SELECT * FROM temp.scrubbed; \
                     DROP TABLE temp.scrubbed"
                ))
                .context(SCRUBBING),
            Self::Row {
                table,
                key,
                column,
                rowid,
                room,
                payload,
            } => {
                let mut select = connection
                    .prepare_cached(&format!("SELECT {column} FROM {table} WHERE {key} = ?1"))
                    .context(SCRUBBING)?;
                let mut rows = select.query([rowid]).context(SCRUBBING)?;
                // A row that is gone meanwhile has left another one to be found.
                let Some(row) = rows.next().context(SCRUBBING)? else {
                    return Ok(());
                };
                let before: Value = row.get(0).context(SCRUBBING)?;
                drop(rows);
                let length = match &before {
                    Value::Text(text) => text.len(),
                    Value::Blob(blob) => blob.len(),
                    _ => 0,
                };
                let length = i64::try_from(length).unwrap_or(i64::MAX);
                let others = payload.saturating_sub(length);
                let filler = room.saturating_sub(others).max(0);
                let filler = vec![b' '; usize::try_from(filler).unwrap_or(0)];
                let filler = match column {
                    &"attributes" => Value::Text(String::from_utf8(filler).unwrap_or_default()),
                    _ => Value::Blob(filler),
                };
                let mut update = connection
                    .prepare_cached(&format!(
                        "UPDATE {table} SET {column} = ?2 WHERE {key} = ?1"
                    ))
                    .context(SCRUBBING)?;
                for value in [&filler, &before] {
                    update.execute(params![rowid, value]).context(SCRUBBING)?;
                }
                Ok(())
            }
        }
    }
}

/// What is at a gap's start is what is left of the page's index when it was longer: places, in two
/// bytes each, and nothing of any row.
fn has_more_than_pointers(gap: &[u8]) -> bool {
    let is_place = |pair: &[u8]| {
        let place = <[u8; 2]>::try_from(pair).map_or(0, u16::from_be_bytes);
        u64::from(place) <= PAGE_BYTES
    };
    let mut rest = gap.chunks(2).skip_while(|pair| is_place(pair));
    rest.any(|pair| pair.iter().any(|byte| *byte != 0))
}

/// The file's pages, as they are.
struct Pages {
    file: File,
    count: u32,
}

impl Pages {
    fn open(path: &Path) -> Result<Self, DbError> {
        let failed = |error| DbError::corrupt(SCRUBBING, error);
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        Ok(Self {
            file,
            count: u32::try_from(length / PAGE_BYTES).unwrap_or(u32::MAX),
        })
    }

    fn read(&mut self, number: u32) -> Result<Option<Page>, DbError> {
        if number == 0 || number > self.count {
            return Ok(None);
        }
        let failed = |error| DbError::corrupt(SCRUBBING, error);
        let size = usize::try_from(PAGE_BYTES).unwrap_or(0);
        let mut bytes = vec![0; size];
        let place = u64::from(number - 1).saturating_mul(PAGE_BYTES);
        self.file.seek(SeekFrom::Start(place)).map_err(failed)?;
        self.file.read_exact(&mut bytes).map_err(failed)?;
        Ok(Page::new(bytes, if number == 1 { 100 } else { 0 }))
    }

    /// Visits a tree's pages until `visit` has enough. What does not look like one is left alone: it
    /// is for others to report.
    fn visit(&mut self, root: u32, visit: &mut dyn FnMut(&Page) -> bool) -> Result<(), DbError> {
        let mut next = vec![root];
        let mut left = self.count;
        while let Some(number) = next.pop() {
            let Some(page) = self.read(number)? else {
                continue;
            };
            if left == 0 || !visit(&page) {
                break;
            }
            left -= 1;
            next.extend(page.children());
        }
        Ok(())
    }
}

struct Page {
    bytes: Vec<u8>,
    header: usize,
    kind: u8,
    cells: usize,
}

impl Page {
    fn new(bytes: Vec<u8>, header: usize) -> Option<Self> {
        let kind = *bytes.get(header)?;
        let mut page = Self {
            bytes,
            header,
            kind,
            cells: 0,
        };
        page.cells = page.number(header + 3)?;
        matches!(kind, 2 | 5 | 10 | 13).then_some(page)
    }

    fn number(&self, place: usize) -> Option<usize> {
        let pair = self.bytes.get(place..place.checked_add(2)?)?;
        Some(usize::from(u16::from_be_bytes(pair.try_into().ok()?)))
    }

    fn is_table_leaf(&self) -> bool {
        self.kind == 13
    }

    fn is_inner(&self) -> bool {
        matches!(self.kind, 2 | 5)
    }

    /// Where the index of the cells begins.
    fn index(&self) -> usize {
        self.header + if self.is_inner() { 12 } else { 8 }
    }

    /// What is between the index and the cells.
    fn gap(&self) -> Option<&[u8]> {
        let start = self.index() + 2 * self.cells;
        self.bytes.get(start..self.number(self.header + 5)?)
    }

    fn children(&self) -> Vec<u32> {
        if !self.is_inner() {
            return Vec::new();
        }
        let child = |place: usize| {
            let bytes = self.bytes.get(place..place.checked_add(4)?)?;
            Some(u32::from_be_bytes(bytes.try_into().ok()?))
        };
        let cells = (0..self.cells).filter_map(|cell| self.number(self.index() + 2 * cell));
        let places = cells.chain([self.header + 8]);
        places.filter_map(child).collect()
    }

    /// A row of the page: its number, what it could take, what it takes. The one that lies last, so
    /// that there is a hole in the page once it is moved, and SQLite has to lay the page out anew.
    fn row(&self) -> Option<(i64, i64, i64)> {
        let cells = (0..self.cells).filter_map(|cell| self.number(self.index() + 2 * cell));
        let place = cells.max()?;
        let (payload, after) = self.varint(place)?;
        let (rowid, start) = self.varint(after)?;
        let local = self.bytes.len().saturating_sub(start);
        let payload = usize::try_from(payload).ok()?;
        let taken = (start - place) + payload.min(local);
        let mut free = self.gap()?.len() + usize::from(*self.bytes.get(self.header + 7)?);
        let mut block = self.number(self.header + 1)?;
        for _ in 0..self.bytes.len() {
            if block == 0 {
                break;
            }
            free += self.number(block + 2)?;
            block = self.number(block)?;
        }
        // Some bytes less than there are, for lengths that take a byte more.
        let room = (free + taken).min(CELL_BYTES_MAX).saturating_sub(16);
        let number = |size: usize| i64::try_from(size).ok();
        Some((i64::try_from(rowid).ok()?, number(room)?, number(payload)?))
    }

    fn varint(&self, place: usize) -> Option<(u64, usize)> {
        let mut value = 0_u64;
        for at in 0..9 {
            let byte = *self.bytes.get(place + at)?;
            if at == 8 {
                return Some(((value << 8) | u64::from(byte), place + 9));
            }
            value = (value << 7) | u64::from(byte & 0x7f);
            if byte < 0x80 {
                return Some((value, place + at + 1));
            }
        }
        None
    }
}
