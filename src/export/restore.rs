//! Puts a backup in place of a database without losing what is there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::file::Temporary;
use crate::clock;
use crate::db::{
    DatabasePath, FileLinks, Readable, ReplacedFiles, WriterLock, copy_into, erasures_from,
    give_as_before, log_events, log_id, open_reader,
};
use crate::error::{ExportError, OpenError, ReadError};
use crate::model::setters;
use crate::verify::{self, VerifyOptions, VerifyReport};

/// Options of [`restore`].
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RestoreOptions {
    /// What the copy is compared with.
    pub verify: VerifyOptions,
    /// Put the copy in place although verifying it found something, for example because there is no better
    /// one. Default: `false`.
    pub accept_findings: bool,
}

impl RestoreOptions {
    /// Verified without keys and anchors; findings are not accepted.
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        plain: verify: VerifyOptions, accept_findings: bool;
    }
}

/// The result of a restore.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug)]
#[non_exhaustive]
pub struct RestoreReport {
    /// The database's absolute path.
    pub path: PathBuf,
    /// Whether the copy is in place. It is not if verifying found something, unless that is accepted; then
    /// nothing was changed.
    pub is_restored: bool,
    /// Size of the copy in bytes.
    pub bytes: u64,
    /// The id of its log; `None` if it has no event yet or cannot be read.
    pub log_id: Option<String>,
    /// What verifying it found.
    pub verified: VerifyReport,
    /// What was there before, if it was replaced.
    pub replaced: Option<Replaced>,
}

/// A database that was replaced by a restored one.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug)]
#[non_exhaustive]
pub struct Replaced {
    /// Where it is kept, with its write-ahead log.
    pub kept: PathBuf,
    /// The number of events in its log, if that can be read.
    pub events: Option<u64>,
    /// The id of its log, if that can be read.
    pub log_id: Option<String>,
    /// Erasures in its log after the end of the backup's, if both are the same log. What they erased is in
    /// the restored database again.
    pub undone_erasures: u64,
}

/// Why a backup could not be restored. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The backup cannot be read, or the database cannot be written: another process writes to it.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Backup and database are the same file.
    #[error("{path:?} is the backup and the database that it is to replace; nothing is to be done")]
    Same {
        /// The absolute path.
        path: PathBuf,
    },
    /// The backup could not be copied or verified.
    #[error(transparent)]
    Copy(#[from] ExportError),
    /// The existing files could not be set aside or replaced.
    #[error("{path:?} could not be replaced")]
    File {
        /// The absolute path.
        path: PathBuf,
        /// What the operating system reported.
        source: io::Error,
    },
}

/// Puts a backup in place of the database at `target`, which need not exist. The backup is copied (with its
/// write-ahead log, if any), the copy is verified, and takes the name in one step. The old database is kept
/// beside it as `<name>.before-restore-<seconds since 1970>`, together with its write-ahead log: if that
/// log stayed in place, SQLite would replay it into the restored database and destroy it.
///
/// The database gets the owner and permissions of the old one. If there was none, and as root, it gets the
/// owner of its folder.
///
/// ```no_run
/// let report = auditlite::restore("/mnt/backup/audit.db", "audit.db", &Default::default())?;
/// assert!(report.is_restored, "{:?}", report.verified.findings);
/// # Ok::<(), auditlite::RestoreError>(())
/// ```
///
/// # Blocking
///
/// Reads the backup, and the copy once more. No store can be opened for writing meanwhile.
///
/// # Errors
///
/// [`RestoreError`], after which nothing is changed. It contains [`OpenError::Locked`] if a process writes
/// to the database.
pub fn restore(
    backup: impl AsRef<Path>,
    target: impl AsRef<Path>,
    options: &RestoreOptions,
) -> Result<RestoreReport, RestoreError> {
    let backup = DatabasePath::new(backup.as_ref())?;
    let target = DatabasePath::new(target.as_ref())?;
    if backup.as_path() == target.as_path() {
        return Err(RestoreError::Same {
            path: target.as_path().to_owned(),
        });
    }
    let readable = Readable::open(&backup)?;
    // Before the work, since a recording process must be stopped first. Under other names of the file the
    // database stays.
    let _lock = WriterLock::acquire(&target, FileLinks::Allowed)?;
    let restored = put_in_place(readable.path(), &target, options);
    let is_in_place = restored.as_ref().is_ok_and(|report| report.is_restored);
    if !is_in_place && !target.exists() {
        // Acquiring the lock created an empty one.
        let _ = fs::remove_file(target.as_path());
    }
    restored
}

fn put_in_place(
    backup: &Path,
    target: &DatabasePath,
    options: &RestoreOptions,
) -> Result<RestoreReport, RestoreError> {
    let path = target.as_path();
    let failed = |source: io::Error| RestoreError::File {
        path: path.to_owned(),
        source,
    };
    let temporary = Temporary::create(path)?;
    copy_into(backup, temporary.path())
        .map_err(|error| ExportError::from(ReadError::from(error)))?;
    let verified = verify::verify(temporary.path(), &options.verify, &mut |_| {})
        .map_err(ExportError::from)?;
    let mut report = RestoreReport {
        path: path.to_owned(),
        is_restored: verified.findings_total == 0 || options.accept_findings,
        bytes: temporary.bytes(),
        log_id: log_of(temporary.path()).and_then(|(_, id)| id),
        verified,
        replaced: None,
    };
    if !report.is_restored {
        return Ok(report);
    }
    give_as_before(temporary.path(), target).map_err(failed)?;
    let before = target.exists().then(|| log_of(path)).flatten();
    let undone_erasures = undone_erasures(path, &report);
    let seconds = clock::now_micros().div_euclid(1_000_000);
    let aside = ReplacedFiles::set_aside(target, seconds).map_err(failed)?;
    temporary.put(path)?;
    let kept = aside.keep();
    report.replaced = kept.map(|kept| Replaced {
        kept,
        events: before.as_ref().map(|(events, _)| *events),
        log_id: before.and_then(|(_, id)| id),
        undone_erasures,
    });
    Ok(report)
}

/// Erasures that a database has and a backup of the same log has not; 0 if it cannot be read.
fn undone_erasures(database: &Path, backup: &RestoreReport) -> u64 {
    let found = open_reader(database).and_then(|connection| {
        let is_same = log_id(&connection)? == backup.log_id;
        let erasures = || erasures_from(&connection, backup.verified.events);
        is_same.then(erasures).transpose()
    });
    found.ok().flatten().unwrap_or(0)
}

/// The number of events in a log, and its id, if it can be read.
fn log_of(path: &Path) -> Option<(u64, Option<String>)> {
    let connection = open_reader(path).ok()?;
    Some((log_events(&connection).ok()?, log_id(&connection).ok()?))
}
