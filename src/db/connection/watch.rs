//! Whether the file at a path is still the one that is being written, and how large it is.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use super::alone;
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
    /// The database, but not its write-ahead log.
    WalMissing,
    /// The same file with other contents: it was cut off at this many bytes.
    Truncated { bytes: u64 },
    /// The same file with other contents: another database's, an older copy's, or none of any.
    Overwritten,
}

/// How often a file is looked at that somebody else seems to have written to, and the pause in between:
/// somebody may be moving the write-ahead log into it, which takes no longer.
const LOOKS_MAX: u32 = 20;
const LOOK_PAUSE: Duration = Duration::from_millis(25);
/// The least of a database. Source: <https://www.sqlite.org/fileformat2.html#the_database_header>.
const HEADER_BYTES: u64 = 100;

/// Remembers which files are being written.
#[derive(Debug)]
pub(crate) struct FileWatch {
    database: PathBuf,
    log: PathBuf,
    database_identity: Identity,
    log_identity: Identity,
    /// The log that is recorded.
    log_id: String,
    /// The file after it was last written to by the writer, or found to be in order.
    settled: Still,
    /// Nobody makes it shorter, but for pages that its header does not count any more.
    bytes_min: u64,
    /// The change counter in its header then.
    changes: u32,
    /// What the file alone had of the log then, at least.
    settled_seq: u64,
    /// The write-ahead log was moved into it in part: its tables say nothing without the rest.
    is_torn: bool,
}

/// Device and number of a file. Nothing where the operating system does not tell: there files
/// that are open can be neither removed nor replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity(Option<(u64, u64)>);

impl FileWatch {
    /// Watches files that are open now.
    pub(crate) fn new(database: &Path, log_id: &str) -> io::Result<Self> {
        let log = wal_path(database);
        let metadata = fs::symlink_metadata(database)?;
        // A crash may have left it half moved.
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

    /// The log that is recorded.
    pub(crate) fn log_id(&self) -> &str {
        &self.log_id
    }

    /// The writer has moved some of its write-ahead log into the file; all of it, with the log up to this
    /// seq, or not. What somebody else did meanwhile is left for the next look.
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
            self.bytes_min = header.bytes;
        }
        if metadata.len() >= self.bytes_min {
            self.settled = Still::of(&metadata);
            self.changes = header.changes;
        }
    }

    /// Looks. An error is that of a disk that does not even answer this.
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

/// What a look into the file shows.
enum Verdict {
    InOrder,
    /// It cannot be read just now, or only in part.
    Unclear,
    Changed(Presence),
}

impl FileWatch {
    /// Looks into a file that somebody else has written to: whether it still is what it was, with some of
    /// the write-ahead log moved into it. Only what nothing else explains is held against it.
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
        // A checkpoint makes the file shorter at its end only, and then to what its header says.
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
            Ok(alone) => {
                let is_other = alone.log_id.is_some_and(|log_id| log_id != self.log_id);
                match is_other || alone.end_seq < self.settled_seq {
                    true => Verdict::Changed(Presence::Overwritten),
                    false => Verdict::InOrder,
                }
            }
        }
    }
}

/// The file that a reading connection is to, by which it is seen later whether it is to be opened anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReadFile {
    identity: Identity,
    /// Of a file that is read as if it never changed: how it was.
    still: Option<Still>,
}

/// Nobody writes to a file that stays so and has no write-ahead log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Still {
    bytes: u64,
    modified: Option<SystemTime>,
}

impl ReadFile {
    /// The file that is at this path now, and whether it is to be read as if it never changed.
    pub(crate) fn new(path: &Path, is_immutable: bool) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(Self {
            identity: identity(&metadata),
            still: is_immutable.then(|| Still::of(&metadata)),
        })
    }

    /// Whether it is still what a connection should be to. A file that was moved away is, as long as
    /// there is no other in its place.
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

/// Whether there is something in the write-ahead log, or was when its writer died.
pub(crate) fn has_log(database: &Path) -> bool {
    fs::metadata(wal_path(database)).is_ok_and(|log| log.len() > 0)
}

fn found(path: &Path) -> io::Result<Option<fs::Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(unix)]
pub(crate) fn identity(metadata: &fs::Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt;
    Identity(Some((metadata.dev(), metadata.ino())))
}

#[cfg(not(unix))]
fn identity(_: &fs::Metadata) -> Identity {
    Identity(None)
}
