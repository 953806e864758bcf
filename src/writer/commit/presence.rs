//! Whether the file is still the one that is written to: looked at after every commit, and while idle.

use std::time::Duration;

use super::committer::{Committer, Progress, Stop};
use crate::db::Presence;
use crate::error::chain;

/// How long to wait for readers before what is in a removed write-ahead log is given up. A file into which
/// only part of a log was moved is damaged without the rest.
const REMOVED_LOG_PATIENCE: Duration = Duration::from_secs(5);
/// Whether the file is where it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Here,
    Gone,
}

impl Committer {
    /// After a commit: whether it went to the file that others will find.
    pub(crate) fn check_presence(&mut self) -> Result<Progress, Stop> {
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
}
