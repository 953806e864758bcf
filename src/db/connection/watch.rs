//! Watches the file at a path: is it still the one being written, and how large is it?

use crate::db::connection::files::has_log;
use crate::db::connection::identity::{Identity, identity};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use super::alone::{self, Alone};
use super::files::wal_path;

/// What is found at the path of a database that is being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// The same files, with this many bytes altogether.
    Same { bytes: u64 },
    /// Nothing.
    Gone,
    /// Another file.
    Replaced,
    /// The database exists, but its write-ahead log does not.
    WalMissing,
    /// The same file with other contents: it was cut off at this many bytes.
    Truncated { bytes: u64 },
    /// The same file with other contents: another database, an older copy, or no database at all.
    Overwritten,
}

/// How often to look at a file that another process seems to have written to, and the pause in between:
/// that process may be moving the write-ahead log into it, which takes no longer than all looks together.
const LOOKS_MAX: u32 = 20;
const LOOK_PAUSE: Duration = Duration::from_millis(25);
/// The minimum length of a database. Source: <https://www.sqlite.org/fileformat2.html#the_database_header>.
const HEADER_BYTES: u64 = 100;

/// Remembers what the written files looked like, and compares.
///
/// Owned by the committer's thread, from opening to close. After every commit, [`look`](Self::look)
/// compares identity and length (calls that read no content). Only when another process seems to
/// have written to the file is its content examined. After each of its own checkpoints the writer calls
/// [`settle`](Self::settle), which takes the file as it is now for the new reference.
#[derive(Debug)]
pub(crate) struct FileWatch {
    database: PathBuf,
    log: PathBuf,
    database_identity: Identity,
    log_identity: Identity,
    /// The log that is recorded.
    log_id: String,
    /// The file after the writer last wrote to it, or after it was last found to be in order.
    settled: Still,
    /// No correct program makes it shorter than this, except by pages that its header no longer counts.
    bytes_min: u64,
    /// The change counter of its header at that time.
    changes: u32,
    /// The file alone contained the log at least up to this seq then.
    settled_seq: u64,
    /// Only a part of the write-ahead log was moved into it: its tables say nothing without the rest.
    is_torn: bool,
}

impl FileWatch {
    /// Watches files that are open now.
    pub(crate) fn new(database: &Path, log_id: &str) -> io::Result<Self> {
        let log = wal_path(database);
        let metadata = fs::symlink_metadata(database)?;
        // A crash may have left the file half checkpointed.
        let alone = alone::look(database);
        Ok(Self {
            database_identity: identity(&metadata),
            log_identity: identity(&fs::symlink_metadata(&log)?),
            log_id: log_id.to_owned(),
            settled: Still::of(&metadata),
            bytes_min: metadata.len(),
            changes: alone::header(database)?.map_or(0, |header| header.changes),
            is_torn: alone.is_err(),
            settled_seq: alone.map_or(0, |alone| alone.end_seq),
            database: database.to_owned(),
            log,
        })
    }

    /// The id of the log that is recorded.
    pub(crate) fn log_id(&self) -> &str {
        &self.log_id
    }

    /// Called after the writer has moved the write-ahead log into the file. `end_seq`: all of it, with the
    /// log up to this seq; `None`: only a part. What another process did meanwhile is left for the next
    /// look: the file is taken for the checkpoint's result only if it has the log as far as that.
    pub(crate) fn settle(&mut self, end_seq: Option<u64>) {
        self.settled_seq = end_seq.unwrap_or(self.settled_seq);
        self.is_torn = end_seq.is_none();
        let Ok(Some(metadata)) = found(&self.database) else {
            return;
        };
        let Ok(Some(header)) = alone::header(&self.database) else {
            return;
        };
        if identity(&metadata) != self.database_identity || header.changes < self.changes {
            return;
        }
        if !self.is_torn {
            // Read after the metadata: what is written from here on makes them differ.
            let alone = alone::look(&self.database);
            if !alone.as_ref().is_ok_and(|alone| self.has_all(alone)) {
                // Cut off since the checkpoint, it cannot be read. It was as long as its header says.
                if alone.is_err() {
                    self.bytes_min = self.bytes_min.max(header.bytes);
                }
                return;
            }
            self.bytes_min = header.bytes;
        }
        if metadata.len() >= self.bytes_min {
            self.settled = Still::of(&metadata);
            self.changes = header.changes;
        }
    }

    /// Looks at the files. An error means that the disk does not even answer this.
    pub(crate) fn look(&mut self) -> io::Result<Presence> {
        let Some(database) = found(&self.database)? else {
            return Ok(Presence::Gone);
        };
        if identity(&database) != self.database_identity {
            return Ok(Presence::Replaced);
        }
        if Still::of(&database) != self.settled
            && let Some(changed) = self.examine()?
        {
            return Ok(changed);
        }
        match found(&self.log)? {
            Some(log) if identity(&log) == self.log_identity => Ok(Presence::Same {
                bytes: database.len().saturating_add(log.len()),
            }),
            _ => Ok(Presence::WalMissing),
        }
    }
}

/// The result of examining a file.
enum Verdict {
    InOrder,
    /// It cannot be read now, or only in part.
    Unclear,
    Changed(Presence),
}

impl FileWatch {
    /// Examines a file that another process has written to. It may have moved some of the write-ahead log
    /// into the file, which is fine. Only a content that nothing else explains is reported.
    fn examine(&mut self) -> io::Result<Option<Presence>> {
        let mut looks = 0;
        loop {
            let Some(metadata) = found(&self.database)? else {
                return Ok(None);
            };
            let verdict = self.judge(metadata.len());
            looks += 1;
            match verdict {
                Verdict::Changed(changed) if looks >= LOOKS_MAX => return Ok(Some(changed)),
                Verdict::Unclear if looks >= LOOKS_MAX => self.is_torn = true,
                Verdict::InOrder => {}
                Verdict::Unclear | Verdict::Changed(_) => {
                    thread::sleep(LOOK_PAUSE);
                    continue;
                }
            }
            self.settled = Still::of(&metadata);
            self.bytes_min = self.bytes_min.min(metadata.len());
            return Ok(None);
        }
    }

    fn judge(&self, bytes: u64) -> Verdict {
        if bytes < HEADER_BYTES {
            return Verdict::Changed(Presence::Truncated { bytes });
        }
        let header = match alone::header(&self.database) {
            Err(_) => return Verdict::Unclear,
            Ok(None) => return Verdict::Changed(Presence::Overwritten),
            Ok(Some(header)) => header,
        };
        // A checkpoint only shortens the file at its end, and then to the length in its header.
        if bytes < self.bytes_min && bytes != header.bytes {
            return Verdict::Changed(Presence::Truncated { bytes });
        }
        if header.changes < self.changes {
            return Verdict::Changed(Presence::Overwritten);
        }
        if self.is_torn {
            return Verdict::InOrder;
        }
        match alone::look(&self.database) {
            Err(_) => Verdict::Unclear,
            Ok(alone) if self.has_all(&alone) => Verdict::InOrder,
            Ok(_) => Verdict::Changed(Presence::Overwritten),
        }
    }

    /// Whether it is this log, at least as far as it was moved into the file.
    fn has_all(&self, alone: &Alone) -> bool {
        let is_other = alone.log_id.as_deref().is_some_and(|id| id != self.log_id);
        !is_other && alone.end_seq >= self.settled_seq
    }
}

/// The file on which a reading connection is open. Tells later whether the connection must be opened again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReadFile {
    identity: Identity,
    /// How the file was, if it is read as immutable.
    still: Option<Still>,
}

/// How a file was at one moment. As long as this does not change and there is no write-ahead log, nobody
/// writes to the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Still {
    bytes: u64,
    modified: Option<SystemTime>,
}

impl ReadFile {
    /// The file at this path now, and whether it is read as immutable.
    pub(crate) fn new(path: &Path, is_immutable: bool) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(Self {
            identity: identity(&metadata),
            still: is_immutable.then(|| Still::of(&metadata)),
        })
    }

    /// Whether a connection should still be open on this file. A file that was moved away still counts, as
    /// long as no other is in its place.
    pub(crate) fn is_current(&self, path: &Path) -> bool {
        let Ok(found) = fs::symlink_metadata(path) else {
            return true;
        };
        let is_as_it_was = |still| still == Still::of(&found) && !has_log(path);
        identity(&found) == self.identity && self.still.is_none_or(is_as_it_was)
    }

    /// Whether the other one is the same file.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.identity == other.identity
    }
}

impl Still {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            bytes: metadata.len(),
            modified: metadata.modified().ok(),
        }
    }
}

fn found(path: &Path) -> io::Result<Option<fs::Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::db::connection::migrate;

    /// An empty database in WAL mode, and a connection that keeps it so.
    fn database(path: &Path) -> Connection {
        let mut connection = Connection::open(path).unwrap();
        let settings = "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF";
        connection.execute_batch(settings).unwrap();
        migrate::migrate(&mut connection).unwrap();
        connection
    }

    /// Appends a segment of one event, and moves the write-ahead log into the file.
    fn append(connection: &Connection, seq: u64) {
        let line = format!(
            r#"{{"seq":{seq},"at":1,"event":"store_opened","log_id":"l","auditlite_version":"1","sqlite_version":"3","durability":"full","overflow":"shed","capture":"full","payload_bytes_max":1}}"#
        );
        let data = format!("{line}\n").into_bytes();
        let length = i64::try_from(data.len()).unwrap();
        let values = (seq.cast_signed(), length, data);
        let insert = "INSERT INTO log_segments VALUES (?1, 1, ?2, 0, ?3, x'')";
        connection.execute(insert, values).unwrap();
        let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
        connection.query_row(checkpoint, [], |_| Ok(())).unwrap();
    }

    #[test]
    fn a_file_that_is_cut_off_right_after_a_checkpoint_is_not_taken_for_its_result() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.db");
        let connection = database(&path);
        let mut watch = FileWatch::new(&path, "l").unwrap();
        append(&connection, 0);
        // Another program writes before the writer looks at what its first checkpoint made of the file.
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(8192).unwrap();
        watch.settle(Some(1));
        assert_eq!(watch.look().unwrap(), Presence::Truncated { bytes: 8192 });
    }

    #[test]
    fn a_copy_over_the_file_right_after_a_checkpoint_is_not_taken_for_its_result() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.db");
        let copy = folder.path().join("copy.db");
        let connection = database(&path);
        append(&connection, 0);
        fs::copy(&path, &copy).unwrap();
        let mut watch = FileWatch::new(&path, "l").unwrap();
        append(&connection, 1);
        watch.settle(Some(2));
        assert!(matches!(watch.look().unwrap(), Presence::Same { .. }));
        append(&connection, 2);
        // Another program writes before the writer looks at what its checkpoint made of the file.
        fs::copy(&copy, &path).unwrap();
        watch.settle(Some(3));
        assert_eq!(watch.look().unwrap(), Presence::Overwritten);
    }
}
