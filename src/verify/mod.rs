//! Verification: is the trail what was recorded, and is all of it there?
//!
//! One pass over the log as of one moment, in step with payloads, checkpoints and anchors; then the
//! projections. Memory is bounded however long the log. Findings are data, never errors.

mod content;
mod log;
mod payloads;
mod report;
mod statements;

use std::path::{Path, PathBuf};

use crate::db::{DbError, Snapshot};
use crate::error::{ReadError, VerifyError};
use crate::proof::VerifyingKey;

use log::LogPass;
pub(crate) use report::Findings;
pub use report::{Finding, FindingKind, NotKept, VerifyReport};
use statements::Statements;

/// What [`ReadOnlyStore::verify`](crate::ReadOnlyStore::verify) holds the file against.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// A file to which the store appended its checkpoints
    /// ([`StoreBuilder::anchor_file`](crate::StoreBuilder::anchor_file)), from a place that whoever
    /// can write to the database cannot write to. Without it nothing shows that the end of the log
    /// was cut off, or that an older copy was put back. Default: none.
    pub anchor: Option<PathBuf>,
    /// Public keys that checkpoints are to be signed with; after a change of keys, all of them.
    /// Without one signatures are not checked. Default: none.
    pub keys: Vec<VerifyingKey>,
    /// Leave out unpacking and hashing every body, most of the work where bodies are long; that
    /// bodies are there and that their digests are those of the log is checked all the same.
    /// Default: `false`.
    pub skip_bodies: bool,
}

/// What verification is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum VerifyStage {
    /// SQLite's own check of the file's structure. Its progress is not known.
    Structure,
    /// The log, with its tree, checkpoints, payloads and bodies. Counted in events.
    Log,
    /// The tables that are derived from the log. Its progress is not known.
    Projections,
}

/// How far verification is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyProgress {
    /// What is being done.
    pub stage: VerifyStage,
    /// How much of it is done.
    pub done: u64,
    /// How much there is to do; 0 where that is not known.
    pub total: u64,
}

/// Checks the file at this path.
pub(crate) fn verify(
    path: &Path,
    options: &VerifyOptions,
    progress: &mut dyn FnMut(VerifyProgress),
) -> Result<VerifyReport, VerifyError> {
    let snapshot = Snapshot::open(path).map_err(ReadError::from)?;
    let mut findings = Findings::default();
    let mut notify = |stage, done, total| progress(VerifyProgress { stage, done, total });

    notify(VerifyStage::Structure, 0, 0);
    let structure = snapshot.integrity_findings();
    for line in findings
        .keep(FindingKind::Structure, structure)?
        .unwrap_or_default()
    {
        let what = format!("SQLite's integrity check: {line}");
        findings.add(FindingKind::Structure, None, what);
    }
    let schema = snapshot.schema_findings();
    for line in findings
        .keep(FindingKind::Structure, schema)?
        .unwrap_or_default()
    {
        findings.add(FindingKind::Structure, None, line);
    }

    let total = snapshot.log_end().unwrap_or(0);
    let origin = log::origin(&snapshot);
    let statements = Statements::new(&snapshot, options, origin.clone(), &mut findings)?;
    let mut pass = LogPass::new(&snapshot, options, statements)?;
    let ended = pass.run(&mut findings, &mut |done| {
        notify(VerifyStage::Log, done, total);
    });
    findings.keep(FindingKind::Structure, ended)?;
    let mut report = VerifyReport {
        origin,
        ..VerifyReport::default()
    };
    let rebuilt = pass.finish(&mut report, &mut findings);

    notify(VerifyStage::Projections, 0, 0);
    match rebuilt {
        None => report.notes.push(
            "the tables for reading were not compared with the log, because not all of the log \
             can be read"
                .to_owned(),
        ),
        Some(rebuilt) => {
            let differences = snapshot.compare(&rebuilt);
            let differences = findings.keep(FindingKind::Projection, differences)?;
            for difference in differences.unwrap_or_default() {
                let what = format!("table {}: {}", difference.table, difference.what);
                findings.add(FindingKind::Projection, difference.seq, what);
            }
            let accounts = findings.keep(FindingKind::Accounts, snapshot.accounting_findings())?;
            for (seq, what) in accounts.unwrap_or_default() {
                findings.add(FindingKind::Accounts, Some(seq), what);
            }
        }
    }
    report.explain(options);
    findings.into_report(&mut report);
    Ok(report)
}

impl Findings {
    /// What was read; where it could not be because of damage, that is a finding.
    fn keep<T>(
        &mut self,
        kind: FindingKind,
        result: Result<T, DbError>,
    ) -> Result<Option<T>, ReadError> {
        match result.map_err(ReadError::from) {
            Ok(value) => Ok(Some(value)),
            Err(ReadError::Damaged(what)) => {
                self.add(kind, None, what);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
