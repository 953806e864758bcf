//! Decides when a signed checkpoint is due, makes it, and publishes it outside of the file.
//!
//! A checkpoint that comes with events is committed with them. The anchor file and the callback get it afterwards;
//! failures there are counted and never fail recording.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use std::time::Duration;

use super::anchor::AnchorFile;
use crate::clock::now_micros;
use crate::db::{Batch, CheckpointRow, TreeHead};
use crate::error::Cause;
use crate::merkle::{Checkpoint, CompactRange, SigningKey};
use crate::model::{Digest, Timestamp};
use crate::sync::Instant;
use crate::writer::health::HealthCounters;

/// Most events between two checkpoints, but for the rest of a group commit.
const EVENTS_MAX: u64 = 10_000;

/// Shortest pause between checkpoints that can be configured.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// A checkpoint, as [`StoreBuilder::on_checkpoint`](crate::StoreBuilder::on_checkpoint) gets it.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckpointNotice {
    /// Which log: `auditlite/` and the log's id.
    pub origin: String,
    /// Events in the log.
    pub size: u64,
    /// Root of the RFC 6962 tree over them.
    pub root: Digest,
    /// When it was made.
    pub at: Timestamp,
    /// The signed note (C2SP `tlog-checkpoint`); without a key it has no signature line.
    pub note: String,
}

/// The gateway's callback for checkpoints.
pub(crate) type Callback = Arc<dyn Fn(&CheckpointNotice) -> Result<(), Cause> + Send + Sync>;

/// The settings of checkpoints. [`StoreBuilder`](crate::StoreBuilder) documents each field.
#[derive(Clone)]
pub(crate) struct CheckpointSettings {
    pub(crate) key: Option<SigningKey>,
    pub(crate) interval: Duration,
    pub(crate) heartbeat: Option<Duration>,
    pub(crate) anchor: Option<PathBuf>,
    pub(crate) callback: Option<Callback>,
}

impl Default for CheckpointSettings {
    fn default() -> Self {
        Self {
            key: None,
            interval: Duration::from_secs(60),
            heartbeat: None,
            anchor: None,
            callback: None,
        }
    }
}

impl CheckpointSettings {
    /// Makes the anchor's path absolute, and checks the bounds; the error names the setting.
    pub(crate) fn settle(&mut self, database: &Path) -> Result<(), String> {
        let pauses = [
            ("checkpoint_interval", Some(self.interval)),
            ("checkpoint_heartbeat", self.heartbeat),
        ];
        for (name, pause) in pauses {
            if let Some(pause) = pause.filter(|pause| *pause < PAUSE_MIN) {
                return Err(format!("{name} must be at least 1 s, not {pause:?}"));
            }
        }
        if let Some(anchor) = &mut self.anchor {
            let absolute = std::path::absolute(&*anchor)
                .map_err(|error| format!("anchor_file {anchor:?} cannot be resolved: {error}"))?;
            let folder = |path: &Path| path.parent().map(std::fs::canonicalize);
            if let (Some(Ok(own)), Some(Ok(other))) = (folder(database), folder(&absolute))
                && own == other
            {
                return Err(format!(
                    "anchor_file {absolute:?} lies in the database's directory; an attacker who can restore an \
                     old database there can restore an old anchor too"
                ));
            }
            *anchor = absolute;
        }
        Ok(())
    }
}

impl fmt::Debug for CheckpointSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckpointSettings")
            .field("key", &self.key)
            .field("interval", &self.interval)
            .field("heartbeat", &self.heartbeat)
            .field("anchor", &self.anchor)
            .finish_non_exhaustive()
    }
}

pub(crate) struct Checkpointer {
    settings: CheckpointSettings,
    anchor: Option<AnchorFile>,
    origin: String,
    /// The tree over the committed events.
    tree: CompactRange,
    checkpoint_size: u64,
    /// When the last checkpoint was made or tried.
    checkpoint_at: Instant,
    /// Since when there are events that no checkpoint covers.
    uncovered_since: Option<Instant>,
    /// Whether the last publication failed: warned of once.
    is_failing: bool,
}

impl Checkpointer {
    pub(crate) fn new(settings: CheckpointSettings, log_id: &str, head: TreeHead) -> Self {
        let now = Instant::now();
        Self {
            anchor: settings.anchor.clone().map(AnchorFile::new),
            settings,
            origin: format!("auditlite/{log_id}"),
            // Events that a crash left uncovered are due as if they had just happened.
            uncovered_since: (head.range.end() > head.checkpoint_size).then_some(now),
            checkpoint_size: head.checkpoint_size,
            checkpoint_at: now,
            tree: head.range,
            is_failing: false,
        }
    }

    /// The checkpoint to commit with a batch, where one is due by then.
    pub(crate) fn with_batch(&mut self, batch: &Batch, is_last: bool) -> Option<CheckpointRow> {
        let tree = &batch.segment.tree;
        let uncovered = tree.end().saturating_sub(self.checkpoint_size);
        let is_old = self
            .uncovered_since
            .is_some_and(|since| since.elapsed() >= self.settings.interval);
        // Each removal has a checkpoint of its own: without the key nobody can sign one, so that a forged
        // removal can be told from the store's.
        let is_removal = batch.removal.is_some();
        (is_last || is_old || is_removal || uncovered >= EVENTS_MAX).then(|| self.state(tree))
    }

    /// The checkpoint to write without events, where one is due.
    pub(crate) fn on_its_own(&self) -> Option<CheckpointRow> {
        (self.wait()? == Duration::ZERO).then(|| self.state(&self.tree))
    }

    /// How long until a checkpoint is due though nothing is recorded; `None`: never.
    pub(crate) fn wait(&self) -> Option<Duration> {
        let left = |since: Instant, pause: Duration| pause.saturating_sub(since.elapsed());
        let activity = self
            .uncovered_since
            .map(|since| left(since, self.settings.interval));
        let heartbeat = self
            .settings
            .heartbeat
            .map(|pause| left(self.checkpoint_at, pause));
        match (activity, heartbeat) {
            (Some(activity), Some(heartbeat)) => Some(activity.min(heartbeat)),
            (activity, heartbeat) => activity.or(heartbeat),
        }
    }

    /// The batch is committed, and its checkpoint with it.
    pub(crate) fn committed(&mut self, batch: &Batch, counters: &HealthCounters) {
        self.tree.clone_from(&batch.segment.tree);
        match &batch.checkpoint {
            Some(row) => self.published(row, counters),
            None => {
                self.uncovered_since.get_or_insert_with(Instant::now);
            }
        }
    }

    /// The checkpoint is in the file; now it goes to those outside.
    pub(crate) fn published(&mut self, row: &CheckpointRow, counters: &HealthCounters) {
        self.checkpoint_size = row.size;
        self.tried();
        let anchored = match &self.anchor {
            None => Ok(()),
            Some(anchor) => anchor.append(&row.note).map_err(|error| {
                format!(
                    "{:?} cannot be appended to: {error}",
                    anchor.path().display()
                )
            }),
        };
        let told = self.settings.callback.as_ref().map_or(Ok(()), |callback| {
            let notice = CheckpointNotice {
                origin: self.origin.clone(),
                size: row.size,
                root: self.tree.root(),
                at: Timestamp::from_micros(row.at),
                note: row.note.clone(),
            };
            // A panic in the callback must not end the writer.
            match catch_unwind(AssertUnwindSafe(|| callback(&notice))) {
                Ok(result) => result.map_err(|error| crate::error::chain(&*error)),
                Err(_) => Err("the callback panicked".to_owned()),
            }
        });
        match anchored.and(told) {
            Ok(()) => {
                self.is_failing = false;
                counters.set_checkpoint_problem(None);
            }
            Err(problem) => self.failed(&problem, counters),
        }
    }

    /// A checkpoint was tried: the next one is due after the usual time.
    pub(crate) fn tried(&mut self) {
        self.checkpoint_at = Instant::now();
        self.uncovered_since =
            (self.tree.end() > self.checkpoint_size).then_some(self.checkpoint_at);
    }

    pub(crate) fn failed(&mut self, problem: &str, counters: &HealthCounters) {
        counters.set_checkpoint_problem(Some(problem));
        if !std::mem::replace(&mut self.is_failing, true) {
            tracing::warn!(
                target: "auditlite",
                problem,
                "the callback failed on a checkpoint of the audit log; recording continues"
            );
        }
    }

    fn state(&self, tree: &CompactRange) -> CheckpointRow {
        let at = now_micros();
        let checkpoint = Checkpoint {
            origin: self.origin.clone(),
            size: tree.end(),
            root: tree.root(),
            at: Some(at),
        };
        CheckpointRow {
            size: tree.end(),
            at,
            note: checkpoint.write(self.settings.key.as_ref()),
        }
    }
}
