//! The answer to a disk that does not take a commit: keep the batch, find out what is there, try
//! again, and say so once.

use std::time::Duration;

use super::committer::{Committer, Stop};
use super::disk_space::DiskSpace;
use crate::db::{Appender, Batch, DbError, DbErrorKind, FileWatch, Presence, Refusals};
use crate::error::{OpenError, chain};
use crate::sync::atomic::Ordering;
use crate::sync::thread;
use crate::writer::health::HealthState;

/// First and longest pause between tries of a commit that fails.
const RETRY_MIN: Duration = Duration::from_millis(5);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// How long to wait for readers before what is in a removed write-ahead log is given up. A file into which
/// only part of a log was moved is damaged without the rest.
const REMOVED_LOG_PATIENCE: Duration = Duration::from_secs(5);
/// How often a pause looks whether the owner has given up.
const RETRY_STEP: Duration = Duration::from_millis(20);

/// How far a batch has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Nothing of it is written.
    Unwritten,
    /// It may or may not be written, and the connection is not to be believed: a sync or a write
    /// failed. Only a connection that is opened anew tells.
    Unknown,
    /// It is committed, to a file that was not found at its path afterwards.
    Elsewhere,
    /// It is committed.
    Committed,
}

impl Committer {
    /// Commits a batch, trying until it succeeds.
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

    /// One try.
    fn write(&mut self, batch: &Batch) -> Result<Progress, Stop> {
        let error = match self.appender.append(batch) {
            Ok(refusals) => {
                self.note_refusals(&refusals);
                return Ok(Progress::Committed);
            }
            Err(error) => error,
        };
        match error.kind {
            // Everything but the log's own rows has been left out: somebody else writes to it.
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
                // What is moved into the database is space in the write-ahead log.
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

    /// Opens the file anew and looks whether the failed commit had succeeded after all. While that
    /// does not work nothing is known, and the old connection is not used.
    fn reopen(&mut self, batch: &Batch) -> Result<Progress, Stop> {
        // Another file in its place would be damaged by the write-ahead log of this one.
        if self.look()? == Found::Gone {
            return Ok(Progress::Unknown);
        }
        let opened = Appender::open(&self.path.existing(), self.durability);
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

    /// After a commit: whether it went to the file that others will find.
    fn check_presence(&mut self) -> Result<Progress, Stop> {
        match self.look()? {
            Found::Here => Ok(Progress::Committed),
            Found::Gone => Ok(Progress::Elsewhere),
        }
    }

    pub(crate) fn look(&mut self) -> Result<Found, Stop> {
        match self.watch.look() {
            Ok(Presence::Same { bytes }) => {
                self.file_bytes = bytes;
                Ok(Found::Here)
            }
            Ok(Presence::Gone) => {
                self.note_failure(
                    "the database file is gone from its path; put it back, or open a new store"
                        .to_owned(),
                );
                Ok(Found::Gone)
            }
            Ok(Presence::Replaced) => {
                self.appender.leave_files();
                Err(Stop::Failed(
                    "another file is in the database's place; it was left as it is".to_owned(),
                ))
            }
            Ok(Presence::WalMissing) => {
                // This connection still has it, and is the last one that can move it.
                let moved = self.appender.checkpoint_truncate(REMOVED_LOG_PATIENCE);
                self.appender.leave_files();
                let outcome = match moved {
                    Ok(checkpoint) if checkpoint.is_done() => {
                        "what was committed is in the database".to_owned()
                    }
                    Ok(_) => {
                        "a reader kept part of it from being moved into the database, which is damaged without \
                         it: put a backup in its place"
                            .to_owned()
                    }
                    Err(error) => {
                        format!("it could not be moved into the database: {}", chain(&error))
                    }
                };
                Err(Stop::Failed(format!(
                    "the write-ahead log was removed while the store was open; {outcome}"
                )))
            }
            Ok(Presence::Truncated { bytes }) => Err(self.destroyed(&format!(
                "was cut off at {bytes} bytes while the store was open, as log rotation by copying and truncating does"
            ))),
            Ok(Presence::Overwritten) => Err(self.destroyed(
                "was overwritten while the store was open, as a copy over it does",
            )),
            // A disk that does not even answer this: as good as gone.
            Err(error) => {
                self.note_failure(format!("the database file cannot be looked at: {error}"));
                Ok(Found::Gone)
            }
        }
    }

    /// What is stored contradicts itself: nothing more is written to it.
    fn damaged(&self, what: String) -> Stop {
        self.appender.leave_files();
        Stop::Failed(format!(
            "the database is damaged and was left as it is: {what}"
        ))
    }

    /// What was committed was committed to a file that is not there any more. Its write-ahead log would be
    /// written over whatever is put in its place.
    fn destroyed(&self, what: &str) -> Stop {
        self.appender.leave_files();
        let events = self.shared.disown_commits();
        let log = match self.path.put_wal_aside() {
            Ok(Some(aside)) => format!("its write-ahead log was moved to {aside:?}"),
            Ok(None) => "there is no write-ahead log".to_owned(),
            Err(error) => format!(
                "delete its write-ahead log (-wal), which could not be moved away ({error})"
            ),
        };
        Stop::Failed(format!(
            "the database file {what}; it was left as it is, and {log}. The {events} events that this store had committed count as lost: put a backup in the file's place, and open it again"
        ))
    }

    fn note_failure(&self, problem: String) {
        let counters = &self.shared.counters;
        if counters.state() == HealthState::Healthy {
            // Once for each spell, not once for each try.
            tracing::warn!(
                target: "auditlite",
                path = ?self.path.as_path(),
                problem,
                "the database does not take commits; recording goes on in memory and is tried again"
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
                "the file refused a row; the log has its event, and `doctor --rebuild` writes the row anew once nothing is in its way"
            );
        }
    }

    pub(crate) fn note_recovery(&self) {
        if self.shared.counters.recover() {
            tracing::info!(target: "auditlite", path = ?self.path.as_path(), "the database takes commits again");
        }
    }

    /// Waits, but no longer than the owner does.
    fn pause(&self, pause: Duration) {
        let mut left = pause;
        while !left.is_zero() && !self.give_up.load(Ordering::SeqCst) {
            let step = left.min(RETRY_STEP);
            thread::sleep(step);
            left = left.saturating_sub(step);
        }
    }

    /// Checks the free disk space, and says so where its state has changed.
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
}

/// Whether the file is where it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Here,
    Gone,
}
