//! The tree over the log as stored in the file: hashes beside each segment, and checkpoints.

use crate::db::segments::{log_id, segment_text};
use rusqlite::{Connection, OptionalExtension, params};

use super::append::{Appender, Segment};
use crate::db::error::{Context, DbError, DbErrorKind};
use crate::db::segments::segment_from_row;
use crate::db::seq_to_sql;
use crate::log::{Event, SegmentDecoder, lines};
use crate::merkle::CompactRange;
use crate::model::Digest;

const READING: &str = "reading the tree over the log";
const WRITING: &str = "writing a checkpoint";

/// A checkpoint to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CheckpointRow {
    pub(crate) size: u64,
    pub(crate) at: i64,
    pub(crate) note: String,
}

/// The end of the log: where the next event continues.
#[derive(Debug)]
pub(crate) struct TreeHead {
    pub(crate) range: CompactRange,
    /// The log's id; `None` before its first event.
    pub(crate) log_id: Option<String>,
    /// Size of the last checkpoint; 0 if there is none.
    pub(crate) checkpoint_size: u64,
}

impl Appender {
    /// The current end of the tree.
    pub(crate) fn tree_head(&self) -> Result<TreeHead, DbError> {
        let connection = self.connection();
        let checkpoint_size = connection
            .query_row(
                "SELECT size FROM checkpoints ORDER BY checkpoint_id DESC LIMIT 1",
                [],
                |row| row.get::<_, i64>(0),
            )
            .optional()
            .context(READING)?;
        // The position of the next event follows from the number of lines in the last segment.
        segment_text(connection, "DESC")?;
        Ok(TreeHead {
            range: range_at(connection, self.next_seq()?)?,
            log_id: log_id(connection)?,
            checkpoint_size: checkpoint_size
                .and_then(|size| u64::try_from(size).ok())
                .unwrap_or(0),
        })
    }

    /// The root over the first `size` events. `None`: there are fewer, or no commit ended there. A commit
    /// ended wherever a checkpoint was made.
    pub(crate) fn root_at(&self, size: u64) -> Result<Option<Digest>, DbError> {
        if size > self.next_seq()? {
            return Ok(None);
        }
        match range_at(self.connection(), size) {
            Ok(range) => Ok(Some(range.root())),
            Err(error) if error.kind == DbErrorKind::Corrupt => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The last checkpoint whose note `wanted` accepts. Reads backwards from the newest one.
    pub(crate) fn last_checkpoint<T>(
        &self,
        mut wanted: impl FnMut(&str) -> Option<T>,
    ) -> Result<Option<T>, DbError> {
        let mut statement = self
            .connection()
            .prepare("SELECT note FROM checkpoints ORDER BY checkpoint_id DESC")
            .context(READING)?;
        let mut rows = statement.query([]).context(READING)?;
        while let Some(row) = rows.next().context(READING)? {
            let note = row.get_ref(0).context(READING)?.as_str();
            // A value that is not text is not a note.
            if let Some(found) = note.ok().and_then(&mut wanted) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Removals recorded at this seq or later that remove something before it, in order.
    pub(crate) fn removals_from(&self, seq: u64) -> Result<Vec<u64>, DbError> {
        // Not from the table `removals`: an attacker who removed something may have deleted its rows too.
        let mut removals = Vec::new();
        let mut decoder =
            SegmentDecoder::new().map_err(|error| DbError::corrupt(READING, error))?;
        let mut statement = self
            .connection()
            .prepare(
                "SELECT first_seq, count, length, encoding, data, tree FROM log_segments \
                 WHERE first_seq + count > ?1 \
                 AND first_seq >= (SELECT coalesce(max(first_seq), 0) FROM log_segments \
                 WHERE first_seq <= ?1) ORDER BY first_seq",
            )
            .context(READING)?;
        let mut rows = statement.query([seq_to_sql(seq)]).context(READING)?;
        while let Some(row) = rows.next().context(READING)? {
            // What cannot be read is reported by verification; it is no reason to refuse the opening.
            let Ok(segment) = segment_from_row(row) else {
                continue;
            };
            let (encoding, data) = (segment.encoding, segment.data);
            let Ok(text) = decoder.decode(encoding, data, segment.length, segment.count) else {
                continue;
            };
            let events = lines(&text).filter(|line| is_removal(line));
            for event in events.filter_map(|line| Event::from_line(line).ok()) {
                let takes_out_earlier = event
                    .kind
                    .removed_span()
                    .is_some_and(|(first, _)| first < seq);
                if event.seq >= seq && takes_out_earlier {
                    removals.push(event.seq);
                }
            }
        }
        Ok(removals)
    }

    /// Writes a checkpoint without events.
    pub(crate) fn write_checkpoint(&self, row: &CheckpointRow) -> Result<(), DbError> {
        insert_checkpoint(self.connection(), Some(row))
    }
}

/// Writes the checkpoint, if there is one, inside the caller's transaction.
pub(crate) fn insert_checkpoint(
    connection: &Connection,
    row: Option<&CheckpointRow>,
) -> Result<(), DbError> {
    let Some(row) = row else { return Ok(()) };
    connection
        .execute(
            "INSERT INTO checkpoints (size, at, note) VALUES (?1, ?2, ?3)",
            params![seq_to_sql(row.size), row.at, row.note],
        )
        .map(drop)
        .context(WRITING)
}

/// The tree over the first `size` events, where a segment ends. Each of its subtrees is stored with the
/// segment that completed it. So a handful of rows suffices for a log of any length: one for each bit that
/// is set in `size`.
fn range_at(connection: &Connection, size: u64) -> Result<CompactRange, DbError> {
    let mut statement = connection
        .prepare(
            "SELECT first_seq, count, tree FROM log_segments WHERE first_seq < ?1 \
             ORDER BY first_seq DESC LIMIT 1",
        )
        .context(READING)?;
    let mut hashes = Vec::new();
    for (first, after) in CompactRange::bounds(0, size) {
        let (first_seq, count, tree) = statement
            .query_row([seq_to_sql(after)], |row| {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get::<_, i64>(1)?,
                    row.get::<_, Vec<u8>>(2)?,
                ))
            })
            .context(READING)?;
        let number = |number: i64| u64::try_from(number).unwrap_or(0);
        let first_seq = number(first_seq);
        let end = first_seq.saturating_add(number(count));
        // The subtrees that end after the beginning of the segment are in its row.
        let place = CompactRange::bounds(0, end)
            .filter(|(_, after)| *after > first_seq)
            .position(|bounds| bounds == (first, after));
        let hash = place.and_then(|place| tree.as_chunks::<32>().0.get(place));
        let hash = hash.ok_or_else(|| {
            DbError::corrupt(
                READING,
                format!("the hashes beside the log segment at seq {first_seq} are not all there"),
            )
        })?;
        hashes.extend_from_slice(hash);
    }
    CompactRange::from_bytes(0, size, &hashes)
        .ok_or_else(|| DbError::corrupt(READING, "hashes are missing"))
}

/// Whether a line may be an event that records a removal, by its prefix. Most lines are not, and need not
/// be parsed.
fn is_removal(line: &[u8]) -> bool {
    /// `{"seq":<20 digits>,"at":<20 digits>,"event":"erased"` at most.
    const BEGINNING_BYTES: usize = 80;
    let beginning = line.get(..line.len().min(BEGINNING_BYTES));
    let beginning = beginning.unwrap_or_default();
    [&b"\"event\":\"erased\""[..], b"\"event\":\"pruned\""]
        .iter()
        .any(|name| memchr::memmem::find(beginning, name).is_some())
}

impl Segment {
    /// The seq after the last event.
    pub(crate) fn end_seq(&self) -> u64 {
        self.first_seq.saturating_add(self.count)
    }
}
