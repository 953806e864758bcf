//! The committer: the only one that writes. One batch, one transaction, then everybody is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::batch::{EndNote, Ready};
use super::notary::Notary;
use super::shared::Shared;
use crate::config::Durability;
use crate::db::{Appender, Batch, DatabasePath, DbError, DbErrorKind, WriterLock};
use crate::error::chain;
use crate::log::{EndKind, Fact};

/// While busy, the write-ahead log is moved into the database at this many pages (16 MiB).
const CHECKPOINT_PAGES: u64 = 2048;
/// After so long without work, it is moved and its space given back.
const IDLE_CHECKPOINT: Duration = Duration::from_millis(500);
/// First and longest pause between tries of a commit that fails.
const RETRY_MIN: Duration = Duration::from_millis(5);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// How often a pause looks whether the owner has given up.
const RETRY_STEP: Duration = Duration::from_millis(20);
const PAGE_BYTES: u64 = 8192;

/// Why the writer ends.
pub(super) enum Stop {
    Closed,
    /// The owner gave up on a disk that does not take commits.
    GivenUp,
    /// The file cannot be written any more.
    Failed(String),
}

/// One step of the committer's work.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) ready: Ready,
    pub(super) flushes: Vec<Sender<()>>,
    /// Present with the last batch of a session.
    pub(super) close: Option<Sender<bool>>,
}

pub(super) struct Committer {
    pub(super) shared: Arc<Shared>,
    pub(super) give_up: Arc<AtomicBool>,
    pub(super) path: DatabasePath,
    pub(super) durability: Durability,
    pub(super) appender: Appender,
    pub(super) notary: Notary,
    pub(super) is_wal_dirty: bool,
    /// Held for as long as the file may be written.
    pub(super) _lock: WriterLock,
}

impl Committer {
    /// Commits what comes until the session is closed or cannot go on.
    pub(super) fn run(&mut self, works: &Receiver<Work>) -> Stop {
        while let Some(work) = self.next(works) {
            if let Err(stop) = self.handle(work) {
                return stop;
            }
        }
        Stop::Closed
    }

    /// What comes next; meanwhile, what is to be done in idle times. `None`: the channel has ended.
    pub(super) fn next<T>(&mut self, incoming: &Receiver<T>) -> Option<T> {
        loop {
            let idle = self.is_wal_dirty.then_some(IDLE_CHECKPOINT);
            let wait = idle.into_iter().chain(self.notary.wait()).min();
            let Some(wait) = wait else {
                return incoming.recv().ok();
            };
            match incoming.recv_timeout(wait) {
                Ok(next) => return Some(next),
                Err(RecvTimeoutError::Timeout) => self.idle(),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    fn idle(&mut self) {
        if let Some(row) = self.notary.on_its_own() {
            let vitals = &self.shared.vitals;
            match self.appender.write_checkpoint(&row) {
                Ok(()) => self.notary.published(&row, vitals),
                Err(error) => {
                    self.notary.tried();
                    self.notary.failed(&chain(&error), vitals);
                }
            }
            self.is_wal_dirty = true;
        } else if self.is_wal_dirty {
            self.checkpoint_idle();
        }
    }

    /// Commits one batch, trying until it succeeds, and tells everybody. `Err(Stop::Closed)` after
    /// the last one.
    pub(super) fn handle(&mut self, work: Work) -> Result<(), Stop> {
        let Work {
            mut ready,
            flushes,
            close,
        } = work;
        if let Some(mut batch) = ready.take_batch() {
            batch.checkpoint = self.notary.with_batch(&batch, close.is_some());
            self.append(&batch)?;
            self.note_committed(&batch);
            trace_ends(&batch, std::mem::take(&mut ready.ends));
        }
        for (lifecycle, stage) in ready.reached {
            lifecycle.reach(stage);
        }
        self.shared.capacity.release(ready.reservation);
        self.shared.commits.announce();
        for reply in flushes {
            let _ = reply.send(());
        }
        if let Some(reply) = close {
            self.close(&reply);
            return Err(Stop::Closed);
        }
        self.checkpoint_busy();
        Ok(())
    }

    /// Latches the store where the writer ends in any other way than by a close.
    pub(super) fn latch(shared: &Shared, path: &DatabasePath, stop: Stop) {
        match stop {
            Stop::Closed => {}
            Stop::GivenUp => shared.set_stopped(
                "the store was closed before the disk took what was queued".to_owned(),
            ),
            Stop::Failed(reason) => {
                tracing::error!(target: "auditlite", path = ?path.as_path(), reason, "the writer has stopped");
                shared.set_stopped(reason);
            }
        }
    }

    fn append(&mut self, batch: &Batch) -> Result<(), Stop> {
        let mut pause = RETRY_MIN;
        loop {
            let Err(error) = self.appender.append(batch) else {
                self.shared.vitals.recover();
                return Ok(());
            };
            if matches!(error.kind, DbErrorKind::Corrupt | DbErrorKind::NotADatabase) {
                return Err(Stop::Failed(format!(
                    "the database is damaged and was left as it is: {}",
                    chain(&error)
                )));
            }
            self.note_failure(&error);
            if self.give_up.load(Ordering::SeqCst) {
                return Err(Stop::GivenUp);
            }
            self.pause(pause);
            pause = (pause * 2).min(RETRY_MAX);
            // A busy or full database keeps its connection. After anything else what SQLite holds
            // in memory may not be what is on the disk: open it anew and look.
            if !matches!(error.kind, DbErrorKind::Busy | DbErrorKind::Full) && self.reopen(batch)? {
                return Ok(());
            }
        }
    }

    /// Opens the file anew. `true`: the batch is there, the failed commit had succeeded after all.
    fn reopen(&mut self, batch: &Batch) -> Result<bool, Stop> {
        // While the file cannot be opened the old connection stays; the caller tries again.
        let Ok(appender) = Appender::open(&self.path, self.durability) else {
            return Ok(false);
        };
        self.appender = appender;
        match self.appender.next_seq() {
            Ok(seq) if seq == batch.end_seq() => {
                self.shared.vitals.recover();
                Ok(true)
            }
            Ok(seq) if seq == batch.segment.first_seq => Ok(false),
            Ok(seq) => Err(Stop::Failed(format!(
                "the log ends at seq {seq} where it should end at {}; another file is in its place",
                batch.segment.first_seq
            ))),
            Err(error) => {
                self.note_failure(&error);
                Ok(false)
            }
        }
    }

    fn note_failure(&self, error: &DbError) {
        let problem = chain(error);
        let vitals = &self.shared.vitals;
        if vitals.state() == super::health::HealthState::Healthy {
            // Once for each spell, not once for each try.
            tracing::warn!(
                target: "auditlite",
                path = ?self.path.as_path(),
                problem,
                "the database does not take commits; recording goes on in memory and is tried again"
            );
        }
        vitals.degrade(problem);
        vitals.commit_retries.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits, but no longer than the owner does.
    fn pause(&self, pause: Duration) {
        let mut left = pause;
        while !left.is_zero() && !self.give_up.load(Ordering::SeqCst) {
            let step = left.min(RETRY_STEP);
            std::thread::sleep(step);
            left = left.saturating_sub(step);
        }
    }

    pub(super) fn note_committed(&mut self, batch: &Batch) {
        self.is_wal_dirty = true;
        let vitals = &self.shared.vitals;
        self.notary.committed(batch, vitals);
        vitals
            .committed_events
            .fetch_add(batch.segment.count, Ordering::Relaxed);
        self.note_wal();
    }

    fn note_wal(&self) {
        let bytes = self.appender.wal_pages().saturating_mul(PAGE_BYTES);
        self.shared.vitals.wal_bytes.store(bytes, Ordering::Relaxed);
    }

    fn checkpoint_busy(&mut self) {
        if self.appender.wal_pages() >= CHECKPOINT_PAGES {
            self.note_checkpoint(self.appender.checkpoint_passive());
        }
    }

    fn checkpoint_idle(&mut self) {
        let result = self.appender.checkpoint_truncate();
        // A reader that still needs the log is not waited for: the next idle time tries again,
        // after the next commit.
        self.is_wal_dirty = false;
        self.note_checkpoint(result.map(drop));
        self.note_wal();
    }

    /// A failed checkpoint loses nothing: the write-ahead log keeps what it has.
    fn note_checkpoint(&self, result: Result<(), DbError>) {
        if let Err(error) = result {
            tracing::warn!(target: "auditlite", problem = chain(&error), "a checkpoint failed");
        }
    }

    /// Moves the write-ahead log into the database and reports the end.
    fn close(&self, reply: &Sender<bool>) {
        let is_truncated = self.appender.checkpoint_truncate();
        self.note_wal();
        self.note_checkpoint(is_truncated.map(drop));
        self.shared.set_closed();
        let _ = reply.send(true);
    }
}

/// One `tracing` event for each end that is committed: ids and figures, never content.
fn trace_ends(batch: &Batch, ends: Vec<EndNote>) {
    for note in ends {
        let Some(Fact::Ended(ended)) = batch.events.get(note.event_index).map(|event| &event.fact)
        else {
            continue;
        };
        macro_rules! trace_end {
            ($level:ident) => {
                tracing::$level!(
                    target: "auditlite",
                    parent: &note.span,
                    request_id = ended.request_id,
                    status = ended.kind.status().name(),
                    provider_name = note.provider_name,
                    model = note.model,
                    http_status = ended.http_status,
                    error_type = ended.error_type,
                    input_tokens = ended.input_tokens,
                    output_tokens = ended.output_tokens,
                    cost_microdollars = ended.cost_microdollars,
                    latency_us = ended.latency_us,
                    "request {}",
                    ended.kind.status().name()
                )
            };
        }
        match ended.kind {
            EndKind::Failed => trace_end!(warn),
            _ => trace_end!(info),
        }
    }
}
