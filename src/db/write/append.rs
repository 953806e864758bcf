//! Appends: one group commit, one transaction.

use super::apply;
use std::cell::Cell;
use std::time::Duration;

use rusqlite::hooks::Wal;
use rusqlite::{Connection, Row, TransactionBehavior, params};

use super::pieces;
use super::refusals::Refusals;
use super::tree::{self, CheckpointRow};
use crate::config::Durability;
use crate::db::connection::files::DatabasePath;
use crate::db::connection::schema::Schema;
use crate::db::connection::{open, settings};
use crate::db::error::{Context, DbError, DbErrorKind, open_error};
use crate::db::media;
use crate::db::remove::content::Removal;
use crate::db::rows::status_in;
use crate::db::rows::{count_at, optional_count_at};
use crate::db::segments::log_events;
use crate::db::{event_seq, seq_to_sql};
use crate::error::OpenError;
use crate::log::{Event, Fold};
use crate::merkle::CompactRange;
use crate::model::Status;
use crate::payload::EncodedPayload;

/// The packed lines of a group commit.
#[derive(Debug, Default)]
pub(crate) struct Segment {
    pub(crate) first_seq: u64,
    pub(crate) count: u64,
    pub(crate) length: u64,
    pub(crate) encoding: i64,
    pub(crate) data: Vec<u8>,
    /// The tree over the log up to the end of the segment.
    pub(crate) tree: CompactRange,
}

/// Everything that one transaction writes.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) events: Vec<Event>,
    pub(crate) segment: Segment,
    /// By their ids.
    pub(crate) payloads: Vec<(i64, EncodedPayload)>,
    pub(crate) checkpoint: Option<CheckpointRow>,
    /// What the last event records as removed.
    pub(crate) removal: Option<Removal>,
    /// The openings of requests that end here, of whose responses pieces were written.
    pub(crate) ended_pieces: Vec<u64>,
}

impl Batch {
    /// The seq after the last event.
    pub(crate) fn end_seq(&self) -> u64 {
        self.segment.end_seq()
    }
}

/// A request that a crashed opening left pending.
#[derive(Debug)]
pub(crate) struct OpenRequest {
    pub(crate) opened_seq: u64,
    pub(crate) request_id: String,
    /// `seq` of the event that began the opening of the store.
    pub(crate) store_opened_seq: u64,
    pub(crate) provider_name: Option<String>,
    pub(crate) request_model: Option<String>,
    pub(crate) client_model: Option<String>,
    pub(crate) wire_protocol: Option<String>,
    /// When it began, in microseconds since the Unix epoch.
    pub(crate) opened_at: i64,
}

/// The result of a checkpoint. Source: <https://www.sqlite.org/pragma.html#pragma_wal_checkpoint>.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WalCheckpoint {
    /// Another connection prevented it.
    is_busy: bool,
    /// Pages in the write-ahead log.
    pub(crate) wal_pages: u64,
    /// Pages of these that are in the database.
    moved_pages: u64,
}

impl WalCheckpoint {
    /// Whether everything was moved.
    pub(crate) fn is_done(&self) -> bool {
        !self.is_busy && self.moved_pages >= self.wal_pages
    }
}

thread_local! {
    /// Pages in the write-ahead log after this thread's last commit. A thread-local, because SQLite's hook
    /// takes a plain function; there is one writing connection, and one thread uses it.
    static WAL_PAGES: Cell<u64> = const { Cell::new(0) };
}

/// The only writable connection of a store. Made by the thread that opens the store, then owned by the
/// committer's thread until the store closes.
#[derive(Debug)]
pub(crate) struct Appender {
    connection: Connection,
    /// Bytes of a page of this file.
    page_bytes: u32,
    schema: Schema,
    /// Why the search index was given up.
    index_damage: Option<String>,
}

fn open_request(row: &Row<'_>) -> rusqlite::Result<OpenRequest> {
    Ok(OpenRequest {
        opened_seq: count_at(row, 0)?,
        request_id: row.get(1)?,
        store_opened_seq: optional_count_at(row, 2)?.unwrap_or(0),
        provider_name: row.get(3)?,
        request_model: row.get(4)?,
        client_model: row.get(5)?,
        wire_protocol: row.get(6)?,
        opened_at: row.get(7)?,
    })
}

impl Appender {
    /// Opens or creates the file; a new one gets pages of `page_bytes`. The caller holds the writer's lock.
    pub(crate) fn open(
        path: &DatabasePath,
        durability: Durability,
        page_bytes: u32,
    ) -> Result<Self, OpenError> {
        let (connection, schema) = open::open_for_writing(path, durability, page_bytes)?;
        let page_bytes = connection
            .query_row("PRAGMA page_size", [], |row| row.get(0))
            .context("reading the page size")
            .map_err(|error| open_error(path.as_path(), error))?;
        // Source: <https://www.sqlite.org/c3ref/wal_hook.html>.
        connection.wal_hook(Some(|_: &Wal, pages| {
            WAL_PAGES.set(u64::try_from(pages).unwrap_or(0));
            Ok(())
        }));
        Ok(Self {
            connection,
            page_bytes,
            schema,
            index_damage: None,
        })
    }

    /// Bytes of a page of this file.
    pub(crate) fn page_bytes(&self) -> u32 {
        self.page_bytes
    }

    /// What else is in the file, as found at the opening.
    pub(crate) fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Why a removal gave up the search index; returned once.
    pub(crate) fn take_index_damage(&mut self) -> Option<String> {
        self.index_damage.take()
    }

    pub(crate) fn note_index_damage(&mut self, damage: Option<String>) {
        self.index_damage = damage.or(self.index_damage.take());
    }

    /// For work in idle time, each piece in its own transaction.
    pub(crate) fn connection_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The seq that the next event gets.
    pub(crate) fn next_seq(&self) -> Result<u64, DbError> {
        log_events(&self.connection)
    }

    /// Requests without an end, oldest first, at most `limit`. Rows that cannot be read are skipped: they
    /// must not stop recording.
    pub(crate) fn open_requests(&self, limit: usize) -> Result<Vec<OpenRequest>, DbError> {
        const READING: &str = "looking for requests left open";
        let mut statement = self
            .connection
            .prepare_cached(&format!(
                "SELECT opened_seq, request_id, \
                     (SELECT max(s.opened_seq) FROM store_openings AS s \
                     WHERE s.opened_seq < requests.opened_seq), \
                     coalesce(response_provider_name, provider_name), \
                     coalesce(response_model, request_model), client_model, wire_protocol, opened_at \
                     FROM requests INDEXED BY requests_by_status WHERE {} \
                     ORDER BY opened_seq LIMIT ?1",
                status_in(&[Status::Pending])
            ))
            .context(READING)?;
        let rows = statement
            .query_map([i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
                Ok((row.get::<_, i64>(0)?, open_request(row)))
            })
            .context(READING)?;
        let mut requests = Vec::new();
        for row in rows {
            match row.context(READING)? {
                (_, Ok(request)) => requests.push(request),
                (opened_seq, Err(error)) => {
                    tracing::warn!(target: "auditlite", opened_seq, %error, "a request that was left open cannot be read, and stays open");
                }
            }
        }
        Ok(requests)
    }

    /// Writes the batch in one transaction. If the file refuses some rows, the batch is written without
    /// them. After an error nothing of it is written, unless the commit itself failed: then
    /// [`next_seq`](Self::next_seq) tells.
    pub(crate) fn append(&mut self, batch: &Batch) -> Result<Refusals, DbError> {
        let mut refusals = Refusals::default();
        match self.append_guarded(batch, &mut refusals) {
            Ok(()) => Ok(refusals),
            Err(error) if error.kind == DbErrorKind::Refused => {
                let mut refusals = Refusals::guarding();
                self.append_guarded(batch, &mut refusals)?;
                Ok(refusals)
            }
            Err(error) => Err(error),
        }
    }

    /// The order matters: the segment first, so that every later row belongs to a line of the log. Then the
    /// payloads, the checkpoint, and the words that a removal takes from the search index, which needs the
    /// rows of requests. Then the projections, and last what the removal deletes. All in one transaction: a
    /// reader sees all of it or nothing.
    fn append_guarded(&mut self, batch: &Batch, refusals: &mut Refusals) -> Result<(), DbError> {
        const WRITING: &str = "writing a group commit";
        let mut damage = None;
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .context(WRITING)?;
        {
            let segment = &batch.segment;
            transaction
                .prepare_cached(
                    "INSERT INTO log_segments (first_seq, count, length, encoding, data, tree) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )
                .and_then(|mut statement| {
                    statement.execute(params![
                        seq_to_sql(segment.first_seq),
                        seq_to_sql(segment.count),
                        seq_to_sql(segment.length),
                        segment.encoding,
                        segment.data,
                        segment.tree.changed_since(segment.first_seq)
                    ])
                })
                .context(WRITING)?;
            // Rows of another program may stand where the rows of this batch belong.
            refusals.make_way(&transaction, segment.first_seq)?;
            let mut statement = transaction
                .prepare_cached(
                    "INSERT INTO payloads \
                     (payload_id, length, sha256, salt, kept, head, encoding, base_id, \
                     second_base_id, data) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                )
                .context(WRITING)?;
            for (payload_id, payload) in &batch.payloads {
                let seq = u64::try_from(event_seq(*payload_id)).unwrap_or(0);
                for medium in payload.media.iter().flat_map(|media| &media.new) {
                    // Guarded apart from the payload: later payloads refer to it too.
                    refusals.make_way_for_medium(&transaction, seq, medium.media_id)?;
                    refusals.guard(&transaction, seq, || {
                        media::insert_medium(&transaction, medium)
                    })?;
                }
                refusals.guard(&transaction, seq, || {
                    if let Some(media) = &payload.media {
                        media::insert_links(&transaction, *payload_id, &media.links)?;
                    }
                    statement
                        .execute(params![
                            payload_id,
                            seq_to_sql(payload.length),
                            payload.sha256.0.as_slice(),
                            payload.salt.as_slice(),
                            seq_to_sql(payload.kept),
                            payload.head.map(seq_to_sql),
                            payload.encoding.code(),
                            payload.bases.map(|bases| bases.first),
                            payload.bases.and_then(|bases| bases.second),
                            payload.data
                        ])
                        .map(drop)
                        .context(WRITING)
                })?;
            }
            // Not guarded: a refused checkpoint must fail the batch, as a refused line of the log does.
            tree::insert_checkpoint(&transaction, batch.checkpoint.as_ref())?;
            if let Some(removal) = &batch.removal {
                damage = removal.forget_words(&transaction)?;
            }
            apply::apply(&transaction, &mut Fold::new(&batch.events), refusals)?;
            pieces::delete(&transaction, &batch.ended_pieces)?;
            if let Some(removal) = &batch.removal {
                removal.execute(&transaction)?;
            }
        }
        transaction.commit().context("committing")?;
        self.note_index_damage(damage);
        Ok(())
    }

    /// Pages in the write-ahead log after the last commit of this thread.
    pub(crate) fn wal_pages(&self) -> u64 {
        WAL_PAGES.get()
    }

    /// Moves as much as possible from the write-ahead log into the database, without waiting for anyone.
    pub(crate) fn checkpoint_passive(&self) -> Result<WalCheckpoint, DbError> {
        self.checkpoint("PRAGMA wal_checkpoint(PASSIVE)")
    }

    /// Moves everything into the database and returns the space of the write-ahead log to the disk, unless
    /// a reader needs it for longer than `patience`.
    pub(crate) fn checkpoint_truncate(&self, patience: Duration) -> Result<WalCheckpoint, DbError> {
        self.connection
            .busy_timeout(patience)
            .context("setting the busy timeout")?;
        let result = self.checkpoint("PRAGMA wal_checkpoint(TRUNCATE)");
        self.connection
            .busy_timeout(settings::BUSY_TIMEOUT)
            .context("setting the busy timeout")?;
        let checkpoint = result?;
        if checkpoint.is_done() {
            WAL_PAGES.set(0);
        }
        Ok(checkpoint)
    }

    /// Makes closing leave the files unchanged: they are damaged, or no longer ours.
    pub(crate) fn leave_files(&self) {
        // After an error the connection cannot do anything else either.
        let _ = settings::keep_wal_on_close(&self.connection, true);
    }

    fn checkpoint(&self, pragma: &str) -> Result<WalCheckpoint, DbError> {
        self.connection
            .query_row(pragma, [], |row| {
                let pages = |index| {
                    row.get::<_, i64>(index)
                        .map(|pages| pages.max(0).unsigned_abs())
                };
                Ok(WalCheckpoint {
                    is_busy: row.get::<_, i64>(0)? != 0,
                    wal_pages: pages(1)?,
                    moved_pages: pages(2)?,
                })
            })
            .context("checkpointing the write-ahead log")
    }
}
