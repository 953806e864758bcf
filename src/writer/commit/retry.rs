//! Steps after a failed commit: reopens the file, asks it how far the batch came, waits, and warns once.
//!
//! `Committer::append` (`committer.rs`) decides which step comes next and how long the pause is. The batch stays in
//! memory, unchanged, until it is committed.

use std::time::Duration;

use super::committer::{Committer, Progress, Stop};
use super::presence::Found;
use crate::db::{Appender, Batch, DbError, DbErrorKind, FileWatch, Refusals};
use crate::error::{OpenError, chain};
use crate::sync::atomic::Ordering;
use crate::sync::thread;
use crate::writer::health::HealthState;

/// How often a pause checks whether the owner has given up.
const RETRY_STEP: Duration = Duration::from_millis(20);

impl Committer {
    /// Reopens the file and checks whether the failed commit had succeeded after all: the log ends behind the
    /// batch, or in front of it. Until a new connection opens nothing is known, and the old one is not used,
    /// since after a failed sync its cache may have pages that the disk does not.
    pub(crate) fn reopen(&mut self, batch: &Batch) -> Result<Progress, Stop> {
        // Opening another file in its place would apply this one's WAL to it, and damage it.
        if self.look()? == Found::Gone {
            return Ok(Progress::Unknown);
        }
        let opened = Appender::open(
            &self.path.existing(),
            self.durability,
            self.appender.page_bytes(),
        );
        let appender = match opened {
            Ok(appender) => appender,
            Err(
                error @ (OpenError::Damaged { .. }
                | OpenError::NotADatabase { .. }
                | OpenError::ForeignDatabase { .. }
                | OpenError::NewerVersion { .. }),
            ) => return Err(self.damaged(chain(&error))),
            Err(error) => {
                self.note_failure(chain(&error));
                return Ok(Progress::Unknown);
            }
        };
        let next_seq = match appender.next_seq() {
            Ok(next_seq) => next_seq,
            Err(error) => return self.reopening_failed(&error),
        };
        match FileWatch::new(self.path.as_path(), self.watch.log_id()) {
            Ok(watch) => self.watch = watch,
            Err(error) => {
                self.note_failure(chain(&error));
                return Ok(Progress::Unknown);
            }
        }
        // The old connection is closed only now: the new one has taken over what both share, and
        // does not read from the write-ahead log what a failed sync may not have written.
        self.appender.leave_files();
        self.appender = appender;
        self.shared.counters.reopens.fetch_add(1, Ordering::Relaxed);
        if next_seq == batch.end_seq() {
            Ok(Progress::Committed)
        } else if next_seq == batch.segment.first_seq {
            Ok(Progress::Unwritten)
        } else {
            self.appender.leave_files();
            Err(Stop::Failed(format!(
                "the log ends at seq {next_seq} where it should end at {}; another file is in its place, and was left as it is",
                batch.segment.first_seq
            )))
        }
    }

    fn reopening_failed(&self, error: &DbError) -> Result<Progress, Stop> {
        if matches!(error.kind, DbErrorKind::Corrupt | DbErrorKind::NotADatabase) {
            return Err(self.damaged(chain(error)));
        }
        self.note_failure(chain(error));
        Ok(Progress::Unknown)
    }

    /// The file is damaged: nothing more is written to it.
    pub(crate) fn damaged(&self, what: String) -> Stop {
        self.appender.leave_files();
        Stop::Failed(format!(
            "the database is damaged and was left as it is: {what}"
        ))
    }

    pub(crate) fn note_failure(&self, problem: String) {
        let counters = &self.shared.counters;
        if counters.state() == HealthState::Healthy {
            // One warning for each spell of failures, not one for each try.
            tracing::warn!(
                target: "auditlite",
                path = ?self.path.as_path(),
                problem,
                "a commit failed; keeping the batch in memory and retrying"
            );
        }
        counters.degrade(problem);
        counters.commit_retries.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn note_refusals(&self, refusals: &Refusals) {
        if refusals.rows == 0 {
            return;
        }
        let counters = &self.shared.counters;
        counters
            .refused_rows
            .fetch_add(refusals.rows, Ordering::Relaxed);
        for (seq, what) in &refusals.listed {
            tracing::error!(
                target: "auditlite",
                path = ?self.path.as_path(),
                seq,
                what,
                "the file refused a row; the log has its event, and `doctor --rebuild` writes the row again once nothing is in its way"
            );
        }
    }

    pub(crate) fn note_recovery(&self) {
        if self.shared.counters.recover() {
            tracing::info!(target: "auditlite", path = ?self.path.as_path(), "commits succeed again");
        }
    }

    /// Waits, until the owner gives up at most.
    pub(crate) fn pause(&self, pause: Duration) {
        let mut left = pause;
        while !left.is_zero() && !self.give_up.load(Ordering::SeqCst) {
            let step = left.min(RETRY_STEP);
            thread::sleep(step);
            left = left.saturating_sub(step);
        }
    }
}
