//! Checks, after every commit and while idle, that the file at the path is still the one that is open, and decides
//! what follows: wait for a file that is gone, stop at any other. `db/connection/watch.rs` does the comparing.

use std::time::Duration;

use super::committer::{Committer, Progress, Stop};
use crate::db::Presence;
use crate::error::chain;

/// How long to wait for readers before the content of a removed write-ahead log is given up. Worth a wait: a
/// database into which only part of the log was moved is damaged without the rest.
const REMOVED_LOG_PATIENCE: Duration = Duration::from_secs(5);

/// Whether the file is where it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Here,
    Gone,
}

impl Committer {
    /// Called after a commit: did it go to the file that others will find at the path?
    pub(crate) fn check_presence(&mut self) -> Result<Progress, Stop> {
        match self.look()? {
            Found::Here => Ok(Progress::Committed),
            Found::Gone => Ok(Progress::Elsewhere),
        }
    }

    /// Compares the file at the path with the one that is open. A file that is gone may come back (a mount, a
    /// rename), so the writer waits for it. Anything else stops the writer: what is at the path now may belong
    /// to another program, and another commit would damage it.
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
                // Our descriptor still has the removed WAL, and only this connection can still move it into the
                // database.
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
            // A disk that does not even answer this is treated like a file that is gone.
            Err(error) => {
                self.note_failure(format!("the database file cannot be checked: {error}"));
                Ok(Found::Gone)
            }
        }
    }

    /// The committed events went to a file whose content is gone. Its write-ahead log is moved away, since
    /// SQLite would apply it to the file that is put in its place.
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
