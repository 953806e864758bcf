//! Removes payload rows, lines of segments, and space of the file, in the transaction of the event that
//! records the removal. What has to be repacked is repacked in earlier transactions, which change no
//! content.

use crate::db::rows::count_at;
use rusqlite::{Connection, OptionalExtension, params};

use crate::db::error::{Context, DbError};
use crate::db::media;
use crate::db::search;
use crate::db::segments::{StoredSegment, segment_from_row};
use crate::db::{event_seq, seq_to_sql};
use crate::log::minute_of;
use crate::model::Status;
use crate::payload::{Bases, EncodedMedia, Encoding};

const REMOVING: &str = "removing what is not to be kept";
const READING: &str = "looking for what is to be removed";

/// Payloads that a removal would not repack although they are packed against others, because
/// `payload_links` does not name them.
pub(crate) const UNLINKED: &str = "SELECT count(*) FROM payloads AS packed \
     WHERE payload_id <= (SELECT max(through) FROM payload_links_filled) AND EXISTS \
     (SELECT 1 FROM (SELECT packed.base_id AS base UNION ALL SELECT packed.second_base_id) \
     WHERE base IS NOT NULL AND NOT EXISTS (SELECT 1 FROM payload_links AS link \
     WHERE link.base_id = base AND link.payload_id = packed.payload_id) \
     AND EXISTS (SELECT 1 FROM payloads WHERE payload_id = base))";

/// One step of a removal.
#[derive(Debug, Default)]
pub(crate) struct Removal {
    /// Payloads that are repacked.
    pub(crate) repacked: Vec<Repacked>,
    /// Segments from which lines are removed.
    pub(crate) segments: Vec<RewrittenSegment>,
    /// Payloads that are removed, by first and last id.
    pub(crate) payloads: Vec<(i64, i64)>,
    pub(crate) links: Option<Links>,
    /// Which media payloads refer to is noted again, because it does not match the payloads.
    pub(crate) relinks_media: bool,
    /// Why the search index does not match the requests whose payloads are removed; then the whole index is
    /// dropped.
    pub(crate) index_suspicion: Option<String>,
    /// Free pages that are returned to the disk.
    pub(crate) vacuum_pages: u32,
}

/// The same content, packed in another way.
#[derive(Debug)]
pub(crate) struct Repacked {
    pub(crate) payload_id: i64,
    pub(crate) encoding: Encoding,
    pub(crate) bases: Option<Bases>,
    pub(crate) data: Vec<u8>,
    /// The media that it refers to: all that it referred to before, and others.
    pub(crate) media: Option<Box<EncodedMedia>>,
}

/// The lines of a segment that remain after a removal.
#[derive(Debug)]
pub(crate) struct RewrittenSegment {
    pub(crate) first_seq: u64,
    pub(crate) length: u64,
    pub(crate) encoding: i64,
    pub(crate) data: Vec<u8>,
}

/// Which payloads are packed against which.
#[derive(Debug, Default)]
pub(crate) struct Links {
    /// Existing links are not trusted; they are replaced.
    pub(crate) replaces_all: bool,
    /// A base, and a payload that is packed against it.
    pub(crate) pairs: Vec<(i64, i64)>,
    /// The links of all payloads up to this id are known afterwards.
    pub(crate) through: i64,
}

impl Removal {
    /// Removes the words of removed payloads from the search index. Runs inside the caller's transaction,
    /// before the rows of requests change, because these tell which other requests said the same. Returns
    /// why the index was dropped, if it was damaged.
    pub(crate) fn forget_words(&self, connection: &Connection) -> Result<Option<String>, DbError> {
        let events = |(first, last): &(i64, i64)| (event_seq(*first), event_seq(*last));
        let ranges: Vec<_> = self.payloads.iter().map(events).collect();
        search::forget(connection, &ranges, self.index_suspicion.as_deref())
    }

    /// Runs inside the caller's transaction, in this order: repack, rewrite segments, delete payloads with
    /// their links and the media that none refers to any more, then write new links. Repacking first means that no stored payload ever refers to a
    /// deleted base.
    pub(crate) fn execute(&self, connection: &Connection) -> Result<(), DbError> {
        let execute = |sql: &str, values: &[&dyn rusqlite::ToSql]| {
            connection
                .prepare_cached(sql)
                .and_then(|mut statement| statement.execute(values))
                .context(REMOVING)
        };
        if self.relinks_media {
            media::relink(connection)?;
        }
        for row in &self.repacked {
            for medium in row.media.iter().flat_map(|media| &media.new) {
                media::insert_medium(connection, medium)?;
            }
            if let Some(media) = &row.media {
                media::insert_links(connection, row.payload_id, &media.links)?;
            }
            execute(
                "UPDATE payloads SET encoding = ?2, base_id = ?3, second_base_id = ?4, data = ?5 \
                 WHERE payload_id = ?1",
                &[
                    &row.payload_id,
                    &row.encoding.code(),
                    &row.bases.map(|bases| bases.first),
                    &row.bases.and_then(|bases| bases.second),
                    &row.data,
                ],
            )?;
        }
        for segment in &self.segments {
            let changed = execute(
                "UPDATE log_segments SET length = ?2, encoding = ?3, data = ?4 \
                 WHERE first_seq = ?1",
                &[
                    &seq_to_sql(segment.first_seq),
                    &seq_to_sql(segment.length),
                    &segment.encoding,
                    &segment.data,
                ],
            )?;
            if changed != 1 {
                return Err(DbError::corrupt(REMOVING, "a segment of the log is gone"));
            }
        }
        for (first, last) in &self.payloads {
            // Links may be wrong: damage in them must not stop a removal.
            let unlinked = execute(
                "DELETE FROM payload_links WHERE base_id BETWEEN ?1 AND ?2",
                &[first, last],
            );
            if let Err(error) = unlinked
                && !error.is_damage()
            {
                return Err(error);
            }
            media::release(connection, *first, *last)?;
            execute(
                "DELETE FROM payloads WHERE payload_id BETWEEN ?1 AND ?2",
                &[first, last],
            )?;
        }
        if let Some(links) = &self.links {
            if links.replaces_all {
                execute("DELETE FROM payload_links", &[])?;
            }
            for (base, payload) in &links.pairs {
                execute(
                    "INSERT OR IGNORE INTO payload_links (base_id, payload_id) VALUES (?1, ?2)",
                    &[base, payload],
                )?;
            }
            execute("DELETE FROM payload_links_filled", &[])?;
            execute(
                "INSERT INTO payload_links_filled (through) VALUES (?1)",
                &[&links.through],
            )?;
        }
        Ok(())
    }
}

/// What a payload is packed against.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PackedAgainst {
    pub(crate) payload_id: i64,
    pub(crate) first: Option<i64>,
    pub(crate) second: Option<i64>,
}

/// The next payloads after `after`, at most `limit`, without their content.
pub(crate) fn packed_against(
    connection: &Connection,
    after: i64,
    limit: usize,
) -> Result<Vec<PackedAgainst>, DbError> {
    let mut statement = connection
        .prepare_cached(
            "SELECT payload_id, base_id, second_base_id FROM payloads WHERE payload_id > ?1 \
             ORDER BY payload_id LIMIT ?2",
        )
        .context(READING)?;
    let rows = statement
        .query_map(
            params![after, i64::try_from(limit).unwrap_or(i64::MAX)],
            |row| {
                Ok(PackedAgainst {
                    payload_id: row.get(0)?,
                    first: row.get(1)?,
                    second: row.get(2)?,
                })
            },
        )
        .context(READING)?;
    rows.collect::<Result<_, _>>().context(READING)
}

/// The id up to which the links are known.
pub(crate) fn links_through(connection: &Connection) -> Result<i64, DbError> {
    connection
        .query_row("SELECT max(through) FROM payload_links_filled", [], |row| {
            row.get::<_, Option<i64>>(0)
        })
        .context(READING)
        .map(|through| through.unwrap_or(-1))
}

/// Whether the links name everything that they should.
pub(crate) fn are_links_whole(connection: &Connection) -> Result<bool, DbError> {
    let is_filled_too_far = connection.query_row(
        "SELECT coalesce((SELECT max(through) FROM payload_links_filled) > \
         (SELECT max(payload_id) FROM payloads), 0)",
        [],
        |row| row.get::<_, bool>(0),
    );
    let missing = connection.query_row(UNLINKED, [], |row| row.get::<_, i64>(0));
    match (is_filled_too_far.context(READING), missing.context(READING)) {
        (Ok(is_filled_too_far), Ok(missing)) => Ok(!is_filled_too_far && missing == 0),
        (Err(error), _) | (_, Err(error)) if error.is_damage() => Ok(false),
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

/// Payloads outside of this range that may be packed against one inside it, at most `limit`.
pub(crate) fn dependants(
    connection: &Connection,
    first: i64,
    last: i64,
    after: (i64, i64),
    limit: usize,
) -> Result<Vec<(i64, i64)>, DbError> {
    let mut statement = connection
        .prepare_cached(
            "SELECT base_id, payload_id FROM payload_links WHERE base_id BETWEEN ?1 AND ?2 \
             AND (base_id, payload_id) > (?3, ?4) ORDER BY base_id, payload_id LIMIT ?5",
        )
        .context(READING)?;
    let rows = statement
        .query_map(
            params![
                first,
                last,
                after.0,
                after.1,
                i64::try_from(limit).unwrap_or(i64::MAX)
            ],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .context(READING)?;
    rows.collect::<Result<_, _>>().context(READING)
}

/// The segment that has this event.
pub(crate) fn segment_of(
    connection: &Connection,
    seq: u64,
) -> Result<Option<StoredSegment>, DbError> {
    connection
        .prepare_cached(
            "SELECT first_seq, count, length, encoding, data, tree FROM log_segments \
             WHERE first_seq <= ?1 ORDER BY first_seq DESC LIMIT 1",
        )
        .and_then(|mut statement| {
            statement
                .query_row([seq_to_sql(seq)], segment_from_row)
                .optional()
        })
        .context(READING)
}

/// The first event of the segment that has this one.
pub(crate) fn segment_start(connection: &Connection, seq: u64) -> Result<Option<u64>, DbError> {
    connection
        .prepare_cached("SELECT max(first_seq) FROM log_segments WHERE first_seq <= ?1")
        .and_then(|mut statement| {
            statement.query_row([seq_to_sql(seq)], |row| row.get::<_, Option<i64>>(0))
        })
        .context(READING)
        .map(|seq| seq.and_then(|seq| u64::try_from(seq).ok()))
}

/// How many requests were opened by these events.
pub(crate) fn requests_between(
    connection: &Connection,
    first: u64,
    last: u64,
) -> Result<u64, DbError> {
    connection
        .prepare_cached("SELECT count(*) FROM requests WHERE opened_seq BETWEEN ?1 AND ?2")
        .and_then(|mut statement| {
            statement.query_row([seq_to_sql(first), seq_to_sql(last)], |row| {
                count_at(row, 0)
            })
        })
        .context(READING)
}

/// A position in the log that limits what may be pruned.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bound {
    /// The opening of the first request that has not ended.
    FirstPending,
    /// The first request at this time or later, in microseconds since the Unix epoch.
    FirstSince(i64),
    /// The opening of the store that begins after this event.
    NextSession(u64),
    /// The segment of the log that begins after this event.
    NextSegment(u64),
    /// The seq after the last event.
    LogEnd,
}

/// The seq of the position, if there is one. Each is a lookup in an index or primary key: a removal asks for them at
/// every step. `?1 = 0` only uses the parameter, so that all statements take one.
pub(crate) fn bound(connection: &Connection, bound: Bound) -> Result<Option<u64>, DbError> {
    let (sql, value) = match bound {
        Bound::FirstPending => (
            format!(
                "SELECT min(opened_seq) FROM requests INDEXED BY requests_by_status \
                 WHERE {} AND ?1 = 0",
                crate::db::rows::status_in(&[Status::Pending])
            ),
            0,
        ),
        // Within the minute of `at` the rows decide; for later minutes the rollup does.
        Bound::FirstSince(at) => (
            format!(
                "SELECT min(seq) FROM (SELECT (SELECT opened_seq FROM requests WHERE opened_seq BETWEEN \
                 first_seq AND last_seq | 1023 AND opened_at >= ?1 ORDER BY opened_seq LIMIT 1) AS seq \
                 FROM opened_minutes WHERE minute = {0} \
                 UNION ALL SELECT first_seq FROM opened_minutes WHERE minute > {0})",
                minute_of(at)
            ),
            at,
        ),
        Bound::NextSession(seq) => (
            "SELECT min(opened_seq) FROM store_openings WHERE opened_seq > ?1".to_owned(),
            seq_to_sql(seq),
        ),
        Bound::NextSegment(seq) => (
            "SELECT min(first_seq) FROM log_segments WHERE first_seq > ?1".to_owned(),
            seq_to_sql(seq),
        ),
        Bound::LogEnd => (
            "SELECT max(first_seq + count) FROM log_segments WHERE first_seq = \
             (SELECT max(first_seq) FROM log_segments) AND ?1 = 0"
                .to_owned(),
            0,
        ),
    };
    connection
        .prepare_cached(&sql)
        .and_then(|mut statement| statement.query_row([value], |row| row.get::<_, Option<i64>>(0)))
        .context(READING)
        .map(|seq| seq.and_then(|seq| u64::try_from(seq).ok()))
}

/// Pages of a file: how long each is, how many hold something, how many are free.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pages {
    pub(crate) bytes_each: u64,
    pub(crate) used: u64,
    pub(crate) free: u64,
}

impl Pages {
    pub(crate) fn used_bytes(self) -> u64 {
        self.used.saturating_mul(self.bytes_each)
    }
}

/// The pages in use, and the free ones.
pub(crate) fn space_used(connection: &Connection) -> Result<Pages, DbError> {
    let number = |pragma: &str| -> Result<u64, DbError> {
        connection
            .query_row(pragma, [], |row| row.get::<_, i64>(0))
            .context(READING)
            .map(|number| u64::try_from(number).unwrap_or(0))
    };
    let free = number("PRAGMA freelist_count")?;
    Ok(Pages {
        bytes_each: number("PRAGMA page_size")?,
        used: number("PRAGMA page_count")?.saturating_sub(free),
        free,
    })
}

/// The number of payloads in a range of ids, and the bytes of their content.
pub(crate) fn payloads_between(
    connection: &Connection,
    first: i64,
    last: i64,
) -> Result<(u64, u64), DbError> {
    connection
        .prepare_cached(
            "SELECT count(*), coalesce(sum(length(data)), 0) FROM payloads \
             WHERE payload_id BETWEEN ?1 AND ?2",
        )
        .and_then(|mut statement| {
            statement.query_row([first, last], |row| {
                Ok((count_at(row, 0)?, count_at(row, 1)?))
            })
        })
        .context(READING)
}
