//! Health: state, alarms and counters of the writer.

use std::sync::PoisonError;
use std::time::Duration;

use crate::error::named;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use super::disk_space::DiskSpace;

/// Whether the writer commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HealthState {
    /// Commits succeed.
    Healthy,
    /// Commits fail, and the writer keeps the batch in memory and retries; or disk space is so short that
    /// not everything is recorded.
    Degraded,
    /// The writer has stopped, or the store was closed. Nothing more is recorded.
    Failed,
}

named! {
    HealthState;
    Healthy => "healthy",
    Degraded => "degraded",
    Failed => "failed",
}

/// A condition that the operator should look into although commits succeed.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(tag = "kind", rename_all = "snake_case"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Alarm {
    /// Disk space for the database is getting short: on the disk, or below its
    /// [`size_bytes_max`](crate::StoreBuilder::size_bytes_max). `free_bytes` are those of the disk, if known.
    DiskSpaceLow {
        /// Free bytes on the disk.
        free_bytes: Option<u64>,
    },
    /// Disk space is so short that bodies are left out; they are flagged, and stated in the log.
    MetadataOnly {
        /// Free bytes on the disk.
        free_bytes: Option<u64>,
    },
    /// The database has reached its [`size_bytes_max`](crate::StoreBuilder::size_bytes_max): new requests meet
    /// the [`Overflow`](crate::Overflow) policy.
    SizeReached,
    /// A reader of an old state keeps the write-ahead log from being moved into the
    /// database. It grows until that reader ends.
    WalPinned {
        /// Size of the write-ahead log.
        wal_bytes: u64,
    },
    /// Moving the write-ahead log into the database fails. Nothing is lost: the write-ahead log keeps what it
    /// has, and grows.
    WalCheckpointsFail,
    /// The file holds tables, views, triggers or indexes that are not this library's, as
    /// [`doctor`](crate::ReadOnlyStore::doctor) names them: another program writes to the file. Views and
    /// triggers do not run, and recording is not affected. As of the opening.
    ForeignSchema {
        /// How many.
        objects: u64,
    },
    /// At its opening the log was not all that the anchor file states: its end is missing, or an
    /// older copy was put in its place. Stays until the store is closed; with
    /// [`Durability::Full`](crate::Durability::Full) the opening is refused instead
    /// ([`OpenError::BehindAnchor`](crate::OpenError::BehindAnchor)).
    BehindAnchor {
        /// Events that the anchor file states.
        anchored_events: u64,
    },
    /// The clock is more than a week ahead of the time that follows from the log and a monotonic clock, so
    /// the retention policy removes nothing by its age. Check the clock; if it is right, set
    /// [`Retention::clock_is_right`](crate::Retention::clock_is_right). As of the policy's last run.
    ClockAhead {
        /// By how much.
        #[cfg_attr(
            feature = "serde",
            serde(rename = "ahead_us", serialize_with = "crate::clock::serialize_micros")
        )]
        ahead: Duration,
    },
    /// The search index was found damaged. It was dropped and is being rebuilt; until then,
    /// searches find less than there is. Recording is not affected.
    SearchIndexDamaged,
}

/// A snapshot of the writer's state and counters since the store was opened.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Health {
    /// Overall state.
    pub state: HealthState,
    /// Why it is not healthy, in words.
    pub problem: Option<String>,
    /// Events that were committed; none where the file was truncated or overwritten afterwards.
    pub committed_events: u64,
    /// Lifecycles left out for want of capacity.
    pub shed_lifecycles: u64,
    /// Bodies left out for want of capacity.
    pub shed_payloads: u64,
    /// Events that are reserved or on their way to the disk, ends of open requests included.
    pub queued_events: u64,
    /// Bytes of bodies and metadata that are on their way to the disk.
    pub queued_bytes: u64,
    /// Commits that had to be tried again.
    pub commit_retries: u64,
    /// Times that the file was reopened after an I/O error.
    pub reopens: u64,
    /// Times that the write-ahead log could not be moved into the database. It keeps what it has.
    pub wal_checkpoint_failures: u64,
    /// Conditions that the operator should look into although commits succeed. Empty when all is well.
    pub alarms: Vec<Alarm>,
    /// Size of the write-ahead log in bytes, after the last commit.
    pub wal_bytes: u64,
    /// Checkpoints that could not be written, appended to the anchor file, or passed to the callback.
    /// Recording is not affected, and the next checkpoint covers the same events.
    pub checkpoint_failures: u64,
    /// Bodies that could not be parsed, or not in full, in the wire protocol of their request. They are
    /// recorded byte for byte, and their requests are
    /// [flagged](crate::RequestRecord::is_unparsed).
    pub unparsed_bodies: u64,
    /// Bodies that were packed against earlier ones of their conversation, so that what they repeat is not stored
    /// again.
    pub bodies_continued: u64,
    /// Bodies that were packed against the first body that begins with the same system prompt or tools.
    pub bodies_of_shared_head: u64,
    /// Bodies that were packed alone for want of an earlier one: the first of their conversation, or one whose
    /// conversation was not followed any more. Many of these in place of `bodies_continued` mean that
    /// [`conversation_cache_bytes`](crate::StoreBuilder::conversation_cache_bytes) is too small.
    pub bodies_alone: u64,
    /// Conversations that were read back from the file to go on with.
    pub conversations_resumed: u64,
    /// Media (base64 texts of 16 KiB and more: images, audio, documents) that were stored.
    pub media_stored: u64,
    /// Media that are stored once and were in another body, or at another place.
    pub media_shared: u64,
    /// Bodies and other content left out because the redaction failed.
    pub redaction_failures: u64,
    /// Times that the search index was found damaged and dropped.
    pub search_index_drops: u64,
    /// Derived rows that the file refused, or whose place another row had taken: another program wrote to
    /// the file. The log has their events. A request is flagged `row_refused` where its row is incomplete,
    /// and `doctor --rebuild` writes the rows again.
    pub refused_rows: u64,
    /// Events whose preparation failed, which is a bug. They are recorded in their shortest form, flagged
    /// `unprepared`; the log records their bodies as lost.
    pub unprepared_events: u64,
}

/// What became of everything that was submitted; returned by [`Store::close`](crate::Store::close).
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseReport {
    /// Events committed since the store was opened.
    pub committed_events: u64,
    /// Lifecycles left out for want of capacity; stated in the log by `gap` events.
    pub shed_lifecycles: u64,
    /// Bodies left out for want of capacity; stated in the log.
    pub shed_payloads: u64,
    /// Events that were admitted and could not be committed before the timeout, or were committed to a file
    /// that was truncated or overwritten afterwards.
    pub lost_events: u64,
    /// Requests that were open at the close; the next open marks them interrupted.
    pub open_requests: u64,
    /// Whether everything was committed and the file closed within the timeout.
    pub is_complete: bool,
    /// Why it is not complete, in words, where the store knows.
    pub problem: Option<String>,
    /// The file was truncated or overwritten while the store had it open: what was committed counts as lost,
    /// even where a receipt had reported it as durable.
    pub is_file_lost: bool,
    /// Why the last checkpoint was not written, appended to the anchor file or passed to the callback, in
    /// words. Nothing outside of the file then proves where the log ended.
    pub checkpoint_problem: Option<String>,
}

/// The writer's counters and flags, from the opening to the last handle. The writer's threads write nearly
/// all of them; request threads count redaction failures, and the retention thread notes the clock.
/// `health()` reads them on any thread.
///
/// They are independent of each other, so most are relaxed: a reader may see one counter newer than another.
/// Only `state` and `problem` belong together: `set` changes both under the lock of `problem`, because one
/// thread may fail for good while another recovers.
#[derive(Debug, Default)]
pub(crate) struct HealthCounters {
    state: AtomicU8,
    problem: Mutex<Option<String>>,
    /// Of the last checkpoint.
    checkpoint_problem: Mutex<Option<String>>,
    pub(crate) committed_events: AtomicU64,
    pub(crate) commit_retries: AtomicU64,
    pub(crate) reopens: AtomicU64,
    pub(crate) checkpoint_failures: AtomicU64,
    pub(crate) unparsed_bodies: AtomicU64,
    pub(crate) bodies_continued: AtomicU64,
    pub(crate) bodies_of_shared_head: AtomicU64,
    pub(crate) bodies_alone: AtomicU64,
    pub(crate) conversations_resumed: AtomicU64,
    pub(crate) media_stored: AtomicU64,
    pub(crate) media_shared: AtomicU64,
    pub(crate) redaction_failures: AtomicU64,
    pub(crate) refused_rows: AtomicU64,
    pub(crate) unprepared_events: AtomicU64,
    wal_checkpoint_failures: AtomicU64,
    wal_bytes: AtomicU64,
    disk_space: AtomicU8,
    /// `u64::MAX`: not known.
    free_bytes: AtomicU64,
    is_wal_pinned: AtomicBool,
    do_checkpoints_fail: AtomicBool,
    /// Events that an anchor states and the log did not have; 0: nothing is missing.
    missing_of_anchor: AtomicU64,
    foreign_objects: AtomicU64,
    pub(crate) is_file_lost: AtomicBool,
    is_index_damaged: AtomicBool,
    /// Seconds that the clock is ahead; 0: it is not.
    clock_ahead_s: AtomicU64,
    pub(crate) search_index_drops: AtomicU64,
}

impl HealthCounters {
    pub(crate) fn state(&self) -> HealthState {
        match self.state.load(Ordering::Acquire) {
            0 => HealthState::Healthy,
            1 => HealthState::Degraded,
            _ => HealthState::Failed,
        }
    }

    pub(crate) fn problem(&self) -> Option<String> {
        self.problem
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn checkpoint_problem(&self) -> Option<String> {
        self.checkpoint_problem
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// How the last checkpoint went.
    pub(crate) fn set_checkpoint_problem(&self, problem: Option<&str>) {
        self.checkpoint_failures
            .fetch_add(u64::from(problem.is_some()), Ordering::Relaxed);
        let mut current = self
            .checkpoint_problem
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *current = problem.map(str::to_owned);
    }

    /// `true`: it was degraded before.
    pub(crate) fn recover(&self) -> bool {
        let was_degraded = self.state() == HealthState::Degraded;
        if was_degraded {
            self.set(0, None);
        }
        was_degraded
    }

    pub(crate) fn degrade(&self, problem: String) {
        self.set(1, Some(problem));
    }

    pub(crate) fn fail(&self, problem: String) {
        self.set(2, Some(problem));
    }

    pub(crate) fn disk_space(&self) -> DiskSpace {
        DiskSpace::from_code(self.disk_space.load(Ordering::Relaxed))
    }

    /// Whether it is to be looked at again soon.
    pub(crate) fn is_disk_space_short(&self) -> bool {
        self.disk_space() >= DiskSpace::MetadataOnly
    }

    /// Returns what it was before.
    pub(crate) fn set_disk_space(
        &self,
        disk_space: DiskSpace,
        free_bytes: Option<u64>,
    ) -> DiskSpace {
        let free_bytes = free_bytes.unwrap_or(u64::MAX);
        self.free_bytes.store(free_bytes, Ordering::Relaxed);
        DiskSpace::from_code(self.disk_space.swap(disk_space as u8, Ordering::Relaxed))
    }

    pub(crate) fn wal_bytes(&self) -> u64 {
        self.wal_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn set_wal_bytes(&self, bytes: u64) {
        self.wal_bytes.store(bytes, Ordering::Relaxed);
    }

    /// `true`: it was otherwise before.
    pub(crate) fn set_wal_pinned(&self, is_pinned: bool) -> bool {
        self.is_wal_pinned.swap(is_pinned, Ordering::Relaxed) != is_pinned
    }

    /// `true`: it was otherwise before.
    pub(crate) fn set_checkpoint_failed(&self, failed: bool) -> bool {
        self.wal_checkpoint_failures
            .fetch_add(u64::from(failed), Ordering::Relaxed);
        self.do_checkpoints_fail.swap(failed, Ordering::Relaxed) != failed
    }

    pub(crate) fn set_behind_anchor(&self, anchored_events: u64) {
        self.missing_of_anchor
            .store(anchored_events, Ordering::Relaxed);
    }

    pub(crate) fn set_foreign_objects(&self, objects: u64) {
        self.foreign_objects.store(objects, Ordering::Relaxed);
    }

    pub(crate) fn set_index_damaged(&self, is_damaged: bool) {
        self.is_index_damaged.store(is_damaged, Ordering::Relaxed);
    }

    pub(crate) fn set_clock_ahead(&self, ahead: Option<Duration>) {
        let seconds = ahead.map_or(0, |ahead| ahead.as_secs());
        let before = self.clock_ahead_s.swap(seconds, Ordering::Relaxed);
        if before == 0 && seconds > 0 {
            tracing::warn!(target: "auditlite", seconds, "the clock is ahead of the times in the log; the retention policy removes nothing by its age");
        }
    }

    pub(crate) fn note_index_drop(&self) {
        self.search_index_drops.fetch_add(1, Ordering::Relaxed);
        self.set_index_damaged(true);
    }

    pub(crate) fn wal_checkpoint_failures(&self) -> u64 {
        self.wal_checkpoint_failures.load(Ordering::Relaxed)
    }

    pub(crate) fn alarms(&self) -> Vec<Alarm> {
        let free_bytes = Some(self.free_bytes.load(Ordering::Relaxed));
        let free_bytes = free_bytes.filter(|&bytes| bytes != u64::MAX);
        let disk_space = match self.disk_space() {
            DiskSpace::Ample => None,
            DiskSpace::Low => Some(Alarm::DiskSpaceLow { free_bytes }),
            DiskSpace::MetadataOnly => Some(Alarm::MetadataOnly { free_bytes }),
            DiskSpace::Exhausted => Some(Alarm::SizeReached),
        };
        let wal_bytes = self.wal_bytes();
        let pinned = self.is_wal_pinned.load(Ordering::Relaxed);
        let failing = self.do_checkpoints_fail.load(Ordering::Relaxed);
        let anchored_events = self.missing_of_anchor.load(Ordering::Relaxed);
        let objects = self.foreign_objects.load(Ordering::Relaxed);
        let behind = Alarm::BehindAnchor { anchored_events };
        let clock_ahead_s = self.clock_ahead_s.load(Ordering::Relaxed);
        let ahead = Duration::from_secs(clock_ahead_s);
        let is_index_damaged = self.is_index_damaged.load(Ordering::Relaxed);
        disk_space
            .into_iter()
            .chain(is_index_damaged.then_some(Alarm::SearchIndexDamaged))
            .chain((clock_ahead_s > 0).then_some(Alarm::ClockAhead { ahead }))
            .chain((anchored_events > 0).then_some(behind))
            .chain((objects > 0).then_some(Alarm::ForeignSchema { objects }))
            .chain(pinned.then_some(Alarm::WalPinned { wal_bytes }))
            .chain(failing.then_some(Alarm::WalCheckpointsFail))
            .collect()
    }

    /// Sets state and reason together. A failed writer stays failed.
    fn set(&self, state: u8, problem: Option<String>) {
        let mut current = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        if self.state() != HealthState::Failed {
            *current = problem;
            self.state.store(state, Ordering::Release);
        }
    }
}
