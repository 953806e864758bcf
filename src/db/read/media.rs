//! Media: lookups by id and by digest, and who refers to them.
//!
//! A file that an earlier build of this version made has no tables of media until a store opens it for writing:
//! to readers that is a file without media.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::db::error::{Context, DbError};
use crate::db::rows::count_at;
use crate::model::Digest;
use crate::payload::MediaKey;

const READING: &str = "reading media";
/// Media with one digest that are looked at: there is a second one only where the first was not found in time.
const SAME_DIGEST_MAX: i64 = 8;

/// A medium as it is stored.
#[derive(Debug)]
pub(crate) struct StoredMedium {
    pub(crate) length: u64,
    pub(crate) encoding: i64,
    pub(crate) data: Vec<u8>,
}

/// Whether the file has tables of media.
pub(crate) fn has_media(connection: &Connection) -> Result<bool, DbError> {
    connection
        .prepare_cached(
            "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'media'",
        )
        .and_then(|mut statement| statement.query_row([], |row| row.get::<_, i64>(0)))
        .context(READING)
        .map(|tables| tables > 0)
}

/// A medium. Primary key.
pub(crate) fn medium(
    connection: &Connection,
    media_id: i64,
) -> Result<Option<StoredMedium>, DbError> {
    if !has_media(connection)? {
        return Ok(None);
    }
    connection
        .prepare_cached("SELECT length, encoding, data FROM media WHERE media_id = ?1")
        .and_then(|mut statement| statement.query_row([media_id], stored_medium).optional())
        .context(READING)
}

fn stored_medium(row: &Row<'_>) -> rusqlite::Result<StoredMedium> {
    Ok(StoredMedium {
        length: count_at(row, 0)?,
        encoding: row.get(1)?,
        data: row.get(2)?,
    })
}

/// Media with this digest, the oldest first. Index: `media_by_digest`.
pub(crate) fn media_with(connection: &Connection, digest: &Digest) -> Result<Vec<i64>, DbError> {
    let mut statement = connection
        .prepare_cached(
            "SELECT media_id FROM media INDEXED BY media_by_digest WHERE digest = ?1 \
             ORDER BY media_id LIMIT ?2",
        )
        .context(READING)?;
    let rows = statement
        .query_map(params![digest.0.as_slice(), SAME_DIGEST_MAX], |row| {
            row.get(0)
        })
        .context(READING)?;
    rows.collect::<Result<_, _>>().context(READING)
}

/// Whether a payload outside of these ranges, which are in ascending order, refers to a medium. Index:
/// `media_links_by_medium`, once for each range at most.
pub(crate) fn has_holder_outside(
    connection: &Connection,
    media_id: i64,
    ranges: &[(i64, i64)],
) -> Result<bool, DbError> {
    let mut statement = connection
        .prepare_cached(
            "SELECT min(payload_id) FROM media_links INDEXED BY media_links_by_medium \
             WHERE media_id = ?1 AND payload_id >= ?2",
        )
        .context(READING)?;
    let mut from = i64::MIN;
    loop {
        let holder: Option<i64> = statement
            .query_row([media_id, from], |row| row.get(0))
            .context(READING)?;
        let Some(holder) = holder else {
            return Ok(false);
        };
        let range = ranges.partition_point(|(_, last)| *last < holder);
        match ranges.get(range) {
            Some((first, last)) if *first <= holder => match last.checked_add(1) {
                Some(next) => from = next,
                None => return Ok(false),
            },
            _ => return Ok(true),
        }
    }
}

/// The key of the file's digests.
pub(crate) fn media_key(connection: &Connection) -> Result<Option<MediaKey>, DbError> {
    let key: Option<Vec<u8>> = connection
        .query_row(
            "SELECT key FROM media_key ORDER BY rowid LIMIT 1",
            [],
            |row| row.get(0),
        )
        .optional()
        .context(READING)?;
    let key = key.and_then(|key| <[u8; 32]>::try_from(key.as_slice()).ok());
    Ok(key.map(MediaKey))
}

/// An id above those of all media, and of all that payloads refer to.
pub(crate) fn media_end(connection: &Connection) -> Result<i64, DbError> {
    connection
        .query_row(
            "SELECT max(coalesce((SELECT max(media_id) FROM media), 0), coalesce((SELECT \
             max(media_id) FROM media_links INDEXED BY media_links_by_medium), 0))",
            [],
            |row| row.get::<_, i64>(0),
        )
        .context(READING)
        .map(|last| last.saturating_add(1))
}

/// Bytes of the media that would go with the payloads in these ranges, which are in ascending order. Index: the
/// primary key of `media_links`.
pub(crate) fn media_only_in(
    connection: &Connection,
    ranges: &[(i64, i64)],
) -> Result<u64, DbError> {
    let mut bytes = 0_u64;
    if !has_media(connection)? {
        return Ok(bytes);
    }
    let mut held = std::collections::BTreeSet::new();
    let mut links = connection
        .prepare_cached(
            "SELECT DISTINCT media_id FROM media_links WHERE payload_id BETWEEN ?1 AND ?2",
        )
        .context(READING)?;
    for (first, last) in ranges {
        let rows = links
            .query_map([first, last], |row| row.get::<_, i64>(0))
            .context(READING)?;
        for row in rows {
            held.insert(row.context(READING)?);
        }
    }
    let mut size = connection
        .prepare_cached("SELECT length(data) FROM media WHERE media_id = ?1")
        .context(READING)?;
    for media_id in held {
        if has_holder_outside(connection, media_id, ranges)? {
            continue;
        }
        let length = size
            .query_row([media_id], |row| count_at(row, 0))
            .optional()
            .context(READING)?;
        bytes = bytes.saturating_add(length.unwrap_or(0));
    }
    Ok(bytes)
}
