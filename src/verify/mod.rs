//! Verification: is the trail what was recorded, and is all of it there?
//!
//! One pass over the log as of one moment, in step with payloads, projections, checkpoints and anchors.
//! Meanwhile SQLite checks the file's structure on another connection. Memory is bounded for any log.
//! Findings are data, never errors.
//!
//! `log` is that pass: `decoding` unpacks segments ahead of it, `payloads` and `content` check bodies, `checkpoints` and
//! `anchors` compare sizes and roots, `removed` what is gone. `report` has what they find.

mod anchors;
mod checkpoints;
mod claimed_tree_head;
mod content;
mod decoding;
mod log;
mod payloads;
mod removed;
mod report;

use std::hash::RandomState;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread::{Builder, Scope};

use crate::db::{self, DbError, IndexEntries, MediaFault, Schema, Snapshot, event_seq};
use crate::error::{ReadError, VerifyError, named};
use crate::merkle::VerifyingKey;
use crate::model::setters;
use crate::read::search;

use checkpoints::CheckpointCheck;
use decoding::Segments;
use log::LogPass;
use payloads::Payloads;
use removed::Removed;
pub(crate) use report::Findings;
pub use report::{Finding, FindingKind, NotKept, OtherLog, VerifyReport};

/// What [`ReadOnlyStore::verify`](crate::ReadOnlyStore::verify) compares the file with.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct VerifyOptions {
    /// A file to which the store appended its checkpoints
    /// ([`StoreBuilder::anchor_file`](crate::StoreBuilder::anchor_file)), from a place where people who can
    /// write to the database cannot write. Without it, nothing shows that the end of the log was cut off,
    /// or that an older copy was restored. Default: none.
    pub anchor: Option<PathBuf>,
    /// Public keys that must have signed the checkpoints; after a change of keys, all of them. Without
    /// keys, signatures are not checked. Default: none.
    pub keys: Vec<VerifyingKey>,
    /// Skip unpacking and hashing bodies, which is most of the work if bodies are long. It is still checked
    /// that bodies exist and that their digests are those in the log. Default: `false`.
    pub skip_bodies: bool,
    /// Also derive the search index from the bodies and compare: do searches find everything that was said,
    /// and nothing else? That takes as long as building the index, many times as long as all other checks.
    /// Without it the index cannot be trusted, and the notes of the report say so; its settings, and that
    /// its tables and page keys match, are always checked. Default: `false`.
    pub compare_search: bool,
    /// The id that the log must have, with or without the prefix `auditlite/`. Another log in its place is
    /// a finding. Without an id, that is only noticed if an anchor file has no note of the other log.
    /// Default: any log.
    pub log_id: Option<String>,
}

impl VerifyOptions {
    /// The file alone, without keys and anchors.
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        text: log_id;
        plain: skip_bodies: bool, compare_search: bool;
        list: keys: VerifyingKey;
    }

    /// Sets [`anchor`](Self::anchor).
    #[must_use]
    pub fn anchor(mut self, path: impl Into<PathBuf>) -> Self {
        self.anchor = Some(path.into());
        self
    }
}

/// The stage of verification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum VerifyStage {
    /// SQLite's own check of the file's structure, which has been running meanwhile. Its progress is
    /// unknown.
    Structure,
    /// The log, with its tree, checkpoints, payloads and bodies. Counted in events.
    Log,
    /// The tables that are derived from the log. Its progress is unknown.
    Projections,
}

named! {
    VerifyStage;
    Structure => "structure",
    Log => "log",
    Projections => "projections",
}

/// The progress of verification.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyProgress {
    /// The current stage.
    pub stage: VerifyStage,
    /// How much of it is done.
    pub done: u64,
    /// How much there is to do; 0 if unknown.
    pub total: u64,
}

/// Verifies the file at this path.
///
/// Four connections see the same moment. The log is read on this thread (with payloads on another, see
/// [`verify_log`]); SQLite's structure check and the comparison of the search index run on two threads of
/// their own. Findings about the structure come first in the report, since they explain others.
pub(crate) fn verify(
    path: &Path,
    options: &VerifyOptions,
    progress: &mut dyn FnMut(VerifyProgress),
) -> Result<VerifyReport, VerifyError> {
    let [snapshot, of_payloads, of_structure, of_search] =
        Snapshot::open_many(path).map_err(ReadError::from)?;
    let schema = match snapshot.schema() {
        Ok(schema) if schema.is_readable() => schema,
        unreadable => return unread(unreadable, options),
    };
    let key = RandomState::new();
    std::thread::scope(|scope| {
        let entries = IndexEntries::new(key.clone());
        let of_thread = key.clone();
        let of_schema = &schema;
        let check = move || of_structure.structure(of_schema, of_thread);
        let builder = Builder::new().name("auditlite-verify-structure".to_owned());
        let structure = builder.spawn_scoped(scope, check);
        let with_bodies = options.compare_search;
        let builder = Builder::new().name("auditlite-verify-search".to_owned());
        let search = builder
            .spawn_scoped(scope, move || {
                search::compare(of_search.connection(), with_bodies)
            })
            .map_err(VerifyError::Thread)?;
        let (mut report, mut findings, entries) =
            verify_log(&snapshot, of_payloads, options, entries, scope, progress)?;
        progress(VerifyProgress {
            stage: VerifyStage::Structure,
            done: 0,
            total: 0,
        });
        let structure = match structure {
            Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            // No thread could be started: check here.
            Err(_) => snapshot.structure(&schema, key),
        };
        let structure = structure
            .and_then(|structure| snapshot.structure_findings(structure, entries.as_ref()));
        // Damage of the search index is no damage of the trail: it gets a kind of its own.
        let mut first = Findings::default();
        let kind = FindingKind::Structure;
        for line in first.keep(kind, structure)?.unwrap_or_default() {
            match db::is_of_search_index(&line) {
                true => findings.add(FindingKind::SearchIndex, None, line),
                false => first.add(kind, None, line),
            }
        }
        let search = search.join().unwrap_or_else(|panic| resume_unwind(panic));
        let search = search?;
        for (seq, line) in search.lines {
            findings.add(FindingKind::SearchIndex, seq, line);
        }
        for line in schema.findings() {
            first.add(kind, None, line);
        }
        let kind = FindingKind::PayloadUnknown;
        if let Some(Some((seq, what))) = findings.keep(kind, snapshot.pieces_left_behind())? {
            findings.add(kind, Some(seq), what);
        }
        let faults = db::media_faults(snapshot.connection(), !options.skip_bodies);
        for fault in findings.keep(kind, faults)?.unwrap_or_default() {
            match fault {
                MediaFault::Payload { payload_id, what } => {
                    let seq = u64::try_from(event_seq(payload_id)).ok();
                    let what = format!("payload {payload_id}: {what}");
                    findings.add(FindingKind::PayloadContent, seq, what);
                }
                MediaFault::Unheld { what } => {
                    findings.add(FindingKind::PayloadUnknown, None, what);
                }
            }
        }
        findings.put_first(first);
        report.explain(options);
        if search.is_unproved {
            report.notes.push(search::UNPROVED.to_owned());
        }
        findings.into_report(&mut report);
        Ok(report)
    })
}

/// If the tables are not those of this version, nothing is read from them: they could return anything.
fn unread(
    schema: Result<Schema, DbError>,
    options: &VerifyOptions,
) -> Result<VerifyReport, VerifyError> {
    let (mut report, mut findings) = (VerifyReport::default(), Findings::default());
    let kind = FindingKind::Structure;
    let schema = findings.keep(kind, schema)?;
    for line in schema.iter().flat_map(Schema::findings) {
        findings.add(kind, None, line);
    }
    report.explain(options);
    report.notes.push(
        "nothing else was checked: the tables are not those of this version, and what is read from \
         them could be anything"
            .to_owned(),
    );
    findings.into_report(&mut report);
    Ok(report)
}

/// Checks the log, and everything that is compared in step with it. Also returns the entries that the
/// indexes of the requests should have, if all requests could be read.
fn verify_log<'scope>(
    snapshot: &Snapshot,
    of_payloads: Snapshot,
    options: &VerifyOptions,
    entries: IndexEntries,
    scope: &'scope Scope<'scope, '_>,
    progress: &mut dyn FnMut(VerifyProgress),
) -> Result<(VerifyReport, Findings, Option<IndexEntries>), VerifyError> {
    let mut findings = Findings::default();
    let mut notify = |stage, done, total| progress(VerifyProgress { stage, done, total });
    let total = snapshot.log_end().unwrap_or(0);
    notify(VerifyStage::Log, 0, total);
    let mut report = VerifyReport {
        origin: log::origin(snapshot),
        ..VerifyReport::default()
    };
    check_identity(options, report.origin.as_deref(), &mut findings);
    let statements = CheckpointCheck::new(snapshot, options, report.origin.clone(), &mut findings)?;
    let mut tables = findings.keep(FindingKind::Projection, snapshot.tables())?;
    let tables = match &mut tables {
        Some(tables) => findings.keep(FindingKind::Projection, tables.compare(Some(entries)))?,
        None => None,
    };
    let payloads =
        Payloads::new(of_payloads, !options.skip_bodies, scope).map_err(VerifyError::Thread)?;
    let removed = findings
        .keep(FindingKind::Projection, Removed::new(snapshot))?
        .unwrap_or_else(|| Removed::unreadable(snapshot));
    let mut pass = LogPass::new(statements, payloads, removed, tables);
    let ended = Segments::new(snapshot, scope).and_then(|segments| {
        pass.run(segments, &mut findings, &mut |done| {
            notify(VerifyStage::Log, done, total);
        })
    });
    findings.keep(FindingKind::Structure, ended)?;
    notify(VerifyStage::Projections, 0, 0);
    let entries = pass.finish(&mut report, &mut findings)?;
    Ok((report, findings, entries))
}

/// Whether the log is the one that was asked for.
fn check_identity(options: &VerifyOptions, origin: Option<&str>, findings: &mut Findings) {
    let id_of = |origin: &str| -> String {
        let id = origin.strip_prefix("auditlite/").unwrap_or(origin);
        id.to_owned()
    };
    let Some(wanted) = options.log_id.as_deref().map(id_of) else {
        return;
    };
    let found = origin.map(id_of);
    if found.as_deref() != Some(wanted.as_str()) {
        let found = found.map_or("no log that says which it is".to_owned(), |id| {
            format!("the log {id:?}")
        });
        let what = format!(
            "the file holds {found}, and not {wanted:?}, which was asked for: another file was put in its \
             place, or it was deleted and a new one made"
        );
        findings.add(FindingKind::OtherLog, None, what);
    }
}

impl Findings {
    /// The value that was read; if damage prevented it, that becomes a finding.
    fn keep<T, E: Into<ReadError>>(
        &mut self,
        kind: FindingKind,
        result: Result<T, E>,
    ) -> Result<Option<T>, ReadError> {
        match result.map_err(E::into) {
            Ok(value) => Ok(Some(value)),
            Err(ReadError::Damaged(what)) => {
                self.add(kind, None, what);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
