//! Verification: is the trail what was recorded, and is all of it there?
//!
//! One pass over the log as of one moment, in step with payloads, projections, checkpoints and
//! anchors, while SQLite checks the file's structure on a connection of its own. Memory is bounded
//! however long the log. Findings are data, never errors.

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

use crate::db::{self, DbError, IndexEntries, Schema, Snapshot};
use crate::error::{ReadError, VerifyError};
use crate::merkle::VerifyingKey;
use crate::read::search;

use checkpoints::CheckpointCheck;
use decoding::Segments;
use log::LogPass;
use payloads::Payloads;
use removed::Removed;
pub(crate) use report::Findings;
pub use report::{Finding, FindingKind, NotKept, OtherLog, VerifyReport};

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
    /// Also derive the search index from the bodies, and compare: whether searches find all that was
    /// said, and nothing else. It takes as long as building the index, many times what all the rest
    /// takes. Without it the index is not to be trusted, and the report's notes say so; its settings,
    /// and that its tables and the keys of its pages fit together, are checked in any case. Default:
    /// `false`.
    pub compare_search: bool,
    /// The id of the log that this is to be, with or without the `auditlite/` before it. Another log
    /// in its place is a finding; without it, that is only seen where an anchor file has no note of
    /// the other one. Default: whichever log it is.
    pub log_id: Option<String>,
}

/// What verification is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum VerifyStage {
    /// SQLite's own check of the file's structure, which has been going on meanwhile. Its progress is
    /// not known.
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
            // There is no thread to be had.
            Err(_) => snapshot.structure(&schema, key),
        };
        let structure = structure
            .and_then(|structure| snapshot.structure_findings(structure, entries.as_ref()));
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
        findings.put_first(first);
        report.explain(options);
        if search.is_unproved {
            report.notes.push(search::UNPROVED.to_owned());
        }
        findings.into_report(&mut report);
        Ok(report)
    })
}

/// Where the tables are not those of this version nothing is read from them: what they would say is up to
/// whoever made them.
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
        "nothing else was looked at: the tables are not those of this version, and what is read from \
         them could be anything"
            .to_owned(),
    );
    findings.into_report(&mut report);
    Ok(report)
}

/// Checks the log, and everything that can be held against it in step with it. Gives what the indexes of
/// the requests are to hold, too, where all of the requests could be read.
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
    /// What was read; where it could not be because of damage, that is a finding.
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
