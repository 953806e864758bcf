//! Commits batches. The committer owns the only writable connection; each batch is one transaction, after which
//! receipts complete and capacity is released. Whether a failed commit is tried again is decided here (`write`,
//! `append`).

use std::sync::Arc;
use std::time::Duration;

use super::indexing::Indexing;
use super::presence::Found;
use super::request::{CommitRequest, EndNote};
use super::tree_head::Checkpointer;
use super::wal::WalCheckpointer;
use crate::config::Durability;
use crate::db::{Appender, Batch, DatabasePath, DbErrorKind, FileWatch, WriterLock};
use crate::error::chain;
use crate::log::{EndKind, EventKind};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::channel::{Receiver, RecvTimeoutError, Sender};
use crate::sync::{Instant, caught};
use crate::writer::admission::queue::Shared;
use crate::writer::disk_space::{DiskSpace, DiskSpaceWatch};

/// Why the writer ends.
pub(crate) enum Stop {
    Closed,
    /// The owner gave up on a disk on which commits fail.
    GivenUp,
    /// The file can no longer be written.
    Failed(String),
}

/// How far a batch has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nothing of it is written.
    Unwritten,
    /// It may or may not be written: a sync or a write failed, after which this connection cannot be trusted.
    /// Only a new connection tells.
    Unknown,
    /// It is committed, but to a file that is no longer at its path.
    Elsewhere,
    /// It is committed.
    Committed,
}

/// First and longest pause between tries of a commit that fails.
const RETRY_MIN: Duration = Duration::from_millis(5);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// How often an idle writer checks free space and size while disk space is short; and the file in any case, since
/// another program may move, delete or overwrite it.
const CHECK_DISK_SPACE_EVERY: Duration = Duration::from_secs(1);
const CHECK_FILE_EVERY: Duration = Duration::from_secs(5);

/// The last stage. Runs on the thread `auditlite-commit` (with one processor, on the intake's) from the opening of
/// the store to its close, and shares nothing but `shared` and `give_up` with other threads. It is the hub of
/// this folder: `wal`, `indexing`, `maintenance`, `pieces`, `presence` and `retry` add methods to it.
pub(crate) struct Committer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) give_up: Arc<AtomicBool>,
    pub(crate) path: DatabasePath,
    pub(crate) durability: Durability,
    pub(crate) logs_ends_at_info: bool,
    pub(crate) appender: Appender,
    pub(crate) watch: FileWatch,
    /// Bytes of the database and its write-ahead log, as of the last check.
    pub(crate) file_bytes: u64,
    /// The seq after the last event that was committed.
    pub(crate) end_seq: u64,
    /// Something failed on the connection, so that the next batch must reopen it.
    pub(crate) is_suspect: bool,
    pub(crate) checkpoints: WalCheckpointer,
    pub(crate) checkpointer: Checkpointer,
    pub(crate) space: DiskSpaceWatch,
    pub(crate) indexing: Indexing,
    /// Held for as long as the file may be written.
    pub(crate) _lock: WriterLock,
}

impl Committer {
    /// Commits batches until the store is closed or the writer must stop.
    pub(crate) fn run(&mut self, batches: &Receiver<CommitRequest>) -> Stop {
        loop {
            let stop = match self.next(batches) {
                Ok(Some(ready)) => self.handle(ready).err(),
                Ok(None) => Some(Stop::Closed),
                Err(stop) => Some(stop),
            };
            if let Some(stop) = stop {
                return stop;
            }
        }
    }

    /// Waits for the next message, and does idle work meanwhile. `None`: the channel has ended.
    pub(crate) fn next<T>(&mut self, incoming: &Receiver<T>) -> Result<Option<T>, Stop> {
        loop {
            let begun = Instant::now();
            let Some(wait) = self.idle_wait() else {
                return Ok(incoming.recv().ok());
            };
            match incoming.recv_timeout(wait) {
                Ok(next) => return Ok(Some(next)),
                Err(RecvTimeoutError::Timeout) => self.idle(begun)?,
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            }
        }
    }

    /// Commits one batch, retrying until it succeeds, then completes receipts and answers. `Err(Stop::Closed)` after
    /// the last one.
    pub(crate) fn handle(&mut self, ready: CommitRequest) -> Result<(), Stop> {
        if let Some(mut batch) = ready.batch {
            #[cfg(shuttle)]
            match crate::sync::fault() {
                None => {}
                Some(crate::sync::Fault::Fails) => return Err(Stop::Failed("fault".to_owned())),
                Some(crate::sync::Fault::Vanishes) => return Err(Stop::Closed),
            }
            batch.checkpoint = self
                .checkpointer
                .with_batch(&batch, ready.replies.close.is_some());
            self.append(&batch)?;
            self.note_committed(&batch);
            // A subscriber is foreign code, and must not end recording.
            let _ = caught(|| trace_ends(&batch, ready.ends, self.logs_ends_at_info));
        }
        // Stages before the release and the announcement: a thread that either of them wakes must find its
        // stage reached. Capacity before answers: a caller whose flush returned can reserve it again.
        for (lifecycle, stage) in ready.reached {
            lifecycle.reach(stage);
        }
        self.write_pieces(&ready.pieces);
        self.shared.capacity.release(ready.reservation);
        self.shared.commits.announce(false);
        if let Some(maintenance) = ready.replies.maintenance {
            // Also reports a search index that was found damaged.
            self.maintenance(maintenance)?;
        }
        for reply in ready.replies.flushes {
            let _ = reply.send(());
        }
        if let Some(reply) = ready.replies.close {
            self.close(&reply);
            return Err(Stop::Closed);
        }
        self.checkpoint_busy();
        Ok(())
    }

    /// Commits a batch, retrying until it succeeds, the owner gives up, or the file can no longer be written.
    ///
    /// Each turn does what the last result calls for: reopens where it is unknown whether the commit
    /// succeeded, writes where it did not, and then checks that the file is still at its path. Only a batch
    /// that is committed to the file at the path is done: receipts promise durability there.
    pub(crate) fn append(&mut self, batch: &Batch) -> Result<(), Stop> {
        let mut pause = RETRY_MIN;
        let mut progress = match std::mem::take(&mut self.is_suspect) {
            false => Progress::Unwritten,
            true => Progress::Unknown,
        };
        loop {
            progress = match progress {
                Progress::Unknown => self.reopen(batch)?,
                other => other,
            };
            if progress == Progress::Unwritten {
                progress = self.write(batch)?;
            }
            if matches!(progress, Progress::Committed | Progress::Elsewhere) {
                progress = self.check_presence()?;
            }
            if progress == Progress::Committed {
                self.note_recovery();
                return Ok(());
            }
            if self.give_up.load(Ordering::SeqCst) {
                self.appender.leave_files();
                return Err(Stop::GivenUp);
            }
            self.pause(pause);
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    /// Tries once. The kind of failure decides what follows: a busy or full database wrote nothing, damage or a
    /// refusal stops the writer, and after anything else the commit may have succeeded.
    fn write(&mut self, batch: &Batch) -> Result<Progress, Stop> {
        let error = match self.appender.append(batch) {
            Ok(refusals) => {
                self.note_refusals(&refusals);
                return Ok(Progress::Committed);
            }
            Err(error) => error,
        };
        match error.kind {
            // Even without its derived rows the batch was refused: another program writes to the file.
            DbErrorKind::Refused => {
                self.appender.leave_files();
                Err(Stop::Failed(format!(
                    "the file does not take the log's next events, and was left as it is: {}",
                    chain(&error)
                )))
            }
            DbErrorKind::Corrupt | DbErrorKind::NotADatabase => Err(self.damaged(chain(&error))),
            // Nothing is wrong with the connection.
            DbErrorKind::Busy => {
                self.note_failure(chain(&error));
                Ok(Progress::Unwritten)
            }
            DbErrorKind::Full => {
                self.note_failure(chain(&error));
                // Moving pages into the database frees space in the write-ahead log.
                let moved = self.appender.checkpoint_passive();
                self.note_checkpoint(&moved);
                Ok(Progress::Unwritten)
            }
            _ => {
                self.note_failure(chain(&error));
                Ok(Progress::Unknown)
            }
        }
    }

    /// Latches the store as stopped, unless the writer ends by a close.
    pub(crate) fn latch(shared: &Shared, path: &DatabasePath, stop: Stop) {
        match stop {
            Stop::Closed => {}
            Stop::GivenUp => {
                let why = shared.counters.problem();
                shared.set_stopped(format!(
                    "the store was closed before the disk took what was queued{}",
                    why.map_or(String::new(), |why| format!(": {why}"))
                ));
            }
            Stop::Failed(reason) => {
                tracing::error!(target: "auditlite", path = ?path.as_path(), reason, "the writer has stopped");
                shared.set_stopped(reason);
            }
        }
    }

    pub(crate) fn note_committed(&mut self, batch: &Batch) {
        self.end_seq = batch.end_seq();
        self.checkpoints.note_commit();
        self.indexing.note_commit();
        self.check_disk_space();
        let counters = &self.shared.counters;
        self.checkpointer.committed(batch, counters);
        counters
            .committed_events
            .fetch_add(batch.segment.count, Ordering::Relaxed);
        self.shared.note_committed(&batch.events);
    }

    /// How long to wait for work before [`idle`](Self::idle) is called; `None`: as long as it takes.
    pub(crate) fn idle_wait(&self) -> Option<Duration> {
        let look = match self.shared.counters.is_disk_space_short() {
            true => Some(CHECK_DISK_SPACE_EVERY),
            // Under shuttle a timed wait may end at once, and would keep a schedule from ending.
            false => (!cfg!(shuttle)).then_some(CHECK_FILE_EVERY),
        };
        [
            self.checkpoints.idle_wait(),
            self.checkpointer.wait(),
            self.indexing.idle_wait(),
            look,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Called when no message came for a while.
    pub(crate) fn idle(&mut self, since: Instant) -> Result<(), Stop> {
        if self.look()? == Found::Here {
            self.note_recovery();
        }
        self.state_log();
        self.index_idle(since);
        if self
            .checkpoints
            .idle_wait()
            .is_some_and(|wait| since.elapsed() >= wait)
        {
            self.checkpoint_idle();
        }
        self.check_disk_space();
        Ok(())
    }

    /// Writes a signed checkpoint that is due although nothing was recorded.
    fn state_log(&mut self) {
        let Some(row) = self.checkpointer.on_its_own() else {
            return;
        };
        let counters = &self.shared.counters;
        match self.appender.write_checkpoint(&row) {
            Ok(()) => self.checkpointer.published(&row, counters),
            Err(error) => {
                self.checkpointer.tried();
                self.checkpointer.failed(&chain(&error), counters);
            }
        }
        self.checkpoints.note_commit();
    }

    /// Checks the free disk space, and logs a change of its state.
    pub(crate) fn check_disk_space(&mut self) {
        let (space, free_bytes) = self.space.look(&self.path, self.file_bytes);
        self.checkpoints.note_free(free_bytes);
        let before = self.shared.counters.set_disk_space(space, free_bytes);
        if before == space {
            return;
        }
        let path = self.path.as_path();
        let (file_bytes, free_bytes) = (self.file_bytes, free_bytes.unwrap_or_default());
        match space {
            DiskSpace::Ample => {
                tracing::info!(target: "auditlite", ?path, file_bytes, free_bytes, "the database has disk space again");
            }
            DiskSpace::Low => {
                tracing::warn!(target: "auditlite", ?path, file_bytes, free_bytes, "disk space for the database is getting short");
            }
            DiskSpace::MetadataOnly | DiskSpace::Exhausted => {
                tracing::warn!(target: "auditlite", ?path, file_bytes, free_bytes, "{}", space.problem().unwrap_or_default());
            }
        }
    }

    /// Moves the write-ahead log into the database and reports the end.
    fn close(&mut self, reply: &Sender<bool>) {
        self.checkpoint_close();
        // In this order: a thread that sees the closed state finds the answer.
        let _ = reply.send(true);
        self.shared.set_closed();
    }
}

/// One `tracing` event for each end that is committed: ids and figures, never content.
fn trace_ends(batch: &Batch, ends: Vec<EndNote>, is_info: bool) {
    if !tracing::enabled!(target: "auditlite", tracing::Level::WARN) {
        return;
    }
    for note in ends {
        let Some(EventKind::Ended(ended)) =
            batch.events.get(note.event_index).map(|event| &event.kind)
        else {
            continue;
        };
        let model = note.models(ended).next();
        macro_rules! trace_end {
            ($level:ident) => {
                tracing::$level!(
                    target: "auditlite",
                    parent: &note.span,
                    request_id = ended.request_id,
                    status = ended.kind.status().as_str(),
                    provider_name = note.provider_name(ended),
                    model,
                    http_status = ended.http_status,
                    error_type = ended.error_type,
                    input_tokens = ended.input_tokens,
                    output_tokens = ended.output_tokens,
                    cost_microdollars = ended.cost_microdollars,
                    latency_us = ended.latency_us,
                    "request {}",
                    ended.kind.status().as_str()
                )
            };
        }
        match ended.kind {
            EndKind::Failed => trace_end!(warn),
            _ if is_info => trace_end!(info),
            _ => trace_end!(debug),
        }
    }
}
