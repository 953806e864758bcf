//! The doctor: checks the structure of a file, and counts what it holds.

use std::path::Path;

use crate::db::{self, FileFacts, WriterLock};
use crate::error::ReadError;
use crate::model::Timestamp;
use crate::read::search;

const NOT_CHECKED: &str = "bodies' bytes, hashes, signatures and anchors (auditlite verify)";
const SEARCH_NOT_CHECKED: &str =
    "whether the search index says what the bodies say (auditlite verify --search)";

/// What [`ReadOnlyStore::doctor`](crate::ReadOnlyStore::doctor) found.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DoctorReport {
    /// Size of the database file in bytes.
    pub file_bytes: u64,
    /// Size of the write-ahead log in bytes.
    pub wal_bytes: u64,
    /// The file's format version.
    pub file_version: i64,
    /// The version of the SQLite library that read the file.
    pub sqlite_version: String,
    /// Events in the log.
    pub events: u64,
    /// Group commits that wrote them.
    pub segments: u64,
    /// Requests.
    pub requests: u64,
    /// Requests that have not ended. If no store has the file open for writing, a crash left them open: they
    /// become interrupted at the next opening.
    pub pending: u64,
    /// Bodies and other content, kept or only digested.
    pub payloads: u64,
    /// Times that the store was opened for writing.
    pub openings: u64,
    /// Of these, those that ended without a close: the process died or was killed.
    pub crashed_openings: u64,
    /// Gap events.
    pub gaps: u64,
    /// Lifecycles that gap events record as lost.
    pub shed_lifecycles: u64,
    /// Bodies that gap events record as lost.
    pub shed_payloads: u64,
    /// When the first of these losses happened.
    pub lost_first_at: Option<Timestamp>,
    /// When the last of them happened.
    pub lost_last_at: Option<Timestamp>,
    /// Whether a store has the file open for writing now.
    pub is_being_written: bool,
    /// What is wrong, in plain words. Empty when all is well.
    pub findings: Vec<String>,
    /// What was not checked, and which command checks it, in plain words.
    pub not_checked: Vec<String>,
}

/// Examines the file at this path: its structure first; then, only if its tables can be read, each derived
/// table and each opening's accounts against the log, and last the search index.
pub(crate) fn examine(path: &Path) -> Result<DoctorReport, ReadError> {
    // Asked before the file is read: a store that closes meanwhile then leaves no opening that looks crashed.
    let is_being_written = WriterLock::is_held(path);
    let (file, log, mut findings) = db::inspect(path, is_being_written)?;
    let Some(log) = log else {
        findings.push(
            "nothing else was checked: what is read from tables that are not those of this version \
             could be anything"
                .to_owned(),
        );
        return Ok(DoctorReport {
            findings,
            ..DoctorReport::of_file(file, is_being_written)
        });
    };
    let db::Compared {
        scan,
        differences,
        accounts,
    } = db::compare_projections(path)?;
    findings.extend(scan.findings);
    findings.extend(
        differences
            .into_iter()
            .map(|difference| format!("table {}: {}", difference.table, difference.what)),
    );
    findings.extend(accounts.into_iter().map(|(_, finding)| finding));
    let snapshot = db::Snapshot::open(path)?;
    let of_search = search::compare(snapshot.connection(), false)?;
    findings.extend(of_search.lines.into_iter().map(|(_, line)| line));
    for fault in db::media_faults(snapshot.connection(), false)? {
        findings.push(match fault {
            db::MediaFault::Payload { payload_id, what } => {
                format!("payload {payload_id}: {what}")
            }
            db::MediaFault::Unheld { what } => what,
        });
    }
    let mut not_checked = vec![NOT_CHECKED.to_owned()];
    if of_search.is_unproved {
        not_checked.push(SEARCH_NOT_CHECKED.to_owned());
    }
    Ok(DoctorReport {
        events: scan.events,
        segments: log.segments,
        requests: log.requests,
        pending: log.pending,
        payloads: log.payloads,
        openings: log.openings,
        crashed_openings: log.crashed_openings,
        gaps: log.gaps,
        shed_lifecycles: log.shed_lifecycles,
        shed_payloads: log.shed_payloads,
        lost_first_at: log.lost_at.map(|(first, _)| Timestamp::from_micros(first)),
        lost_last_at: log.lost_at.map(|(_, last)| Timestamp::from_micros(last)),
        findings,
        not_checked,
        ..DoctorReport::of_file(file, is_being_written)
    })
}

impl DoctorReport {
    /// The report of a file whose tables are not read.
    fn of_file(file: FileFacts, is_being_written: bool) -> Self {
        Self {
            file_bytes: file.file_bytes,
            wal_bytes: file.wal_bytes,
            file_version: file.file_version,
            sqlite_version: db::sqlite_version().to_owned(),
            is_being_written,
            ..Self::default()
        }
    }
}
