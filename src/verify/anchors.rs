//! The anchor file: its notes about this log, and which other logs it knows.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufReader, Read};
use std::path::Path;

use super::claimed_tree_head::ClaimedTreeHead;
use super::report::{FindingKind, Findings, OtherLog, VerifyReport};
use crate::error::VerifyError;
use crate::merkle::{Checkpoint, Notes, Trust, VerifyingKey};
use crate::model::Timestamp;
use crate::regular_file;

/// The longest anchor file that is read, in bytes: a million checkpoints.
const ANCHOR_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Limit of other logs that are listed; notes of further logs are only counted.
const OTHER_LOGS_MAX: usize = 100;

/// An anchor file's notes.
pub(super) struct Anchors {
    /// Those of this log, by size.
    pub(super) own: VecDeque<ClaimedTreeHead>,
    pub(super) others: OtherLogs,
}

/// The notes about other logs.
#[derive(Debug, Default)]
pub(super) struct OtherLogs {
    logs: BTreeMap<String, OtherLog>,
    notes: u64,
}

impl Anchors {
    /// Reads every note. A note about another log is only counted, since stores may share an anchor file. A
    /// note of this log is kept even if its signature is wrong, which is reported: its size and root are
    /// then compared like the others.
    pub(super) fn read(
        path: &Path,
        origin: Option<&str>,
        keys: &[VerifyingKey],
        findings: &mut Findings,
    ) -> Result<Self, VerifyError> {
        let failed = |source| VerifyError::Anchor {
            path: path.to_owned(),
            source,
        };
        let file = regular_file::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.len() > ANCHOR_BYTES_MAX {
            return Err(VerifyError::AnchorTooLarge {
                path: path.to_owned(),
                bytes_max: ANCHOR_BYTES_MAX,
            });
        }
        let mut own = Vec::new();
        let mut others = OtherLogs::default();
        // The file may grow while it is read.
        let file = BufReader::new(file.take(ANCHOR_BYTES_MAX));
        for (number, note) in (1..).zip(Notes::new(file)) {
            let name = || format!("note {number} of the anchor file");
            let (checkpoint, note) = match Checkpoint::parse(&note.map_err(failed)?) {
                Ok(read) => read,
                Err(error) => {
                    findings.add(FindingKind::Anchor, None, format!("{}: {error}", name()));
                    continue;
                }
            };
            if origin.is_some_and(|own| own != checkpoint.origin) {
                others.note(&checkpoint);
                continue;
            }
            let trust = note.trust(keys);
            let what = match trust {
                Trust::Invalid => Some("its signature is not one of what it states"),
                Trust::UnknownKey if !keys.is_empty() => {
                    Some("it is signed by a key that was not given")
                }
                _ => None,
            };
            if let Some(what) = what {
                let what = format!("{}: {what}", name());
                let seq = Some(checkpoint.size.saturating_sub(1));
                findings.add(FindingKind::Signature, seq, what);
            }
            own.push(ClaimedTreeHead {
                size: checkpoint.size,
                root: checkpoint.root,
                at: checkpoint.at,
                number,
                is_signed: trust == Trust::Signed,
            });
        }
        // After an older copy was restored and recorded on, sizes in the file decrease at that point.
        own.sort_by_key(|statement| (statement.size, statement.number));
        let own = own.into();
        Ok(Self { own, others })
    }
}

impl OtherLogs {
    /// Notes of other logs.
    pub(super) fn notes(&self) -> u64 {
        self.notes
    }

    fn note(&mut self, checkpoint: &Checkpoint) {
        self.notes = self.notes.saturating_add(1);
        if self.logs.len() >= OTHER_LOGS_MAX && !self.logs.contains_key(&checkpoint.origin) {
            return;
        }
        let log = self.logs.entry(checkpoint.origin.clone()).or_default();
        log.notes = log.notes.saturating_add(1);
        log.events = log.events.max(checkpoint.size);
        let at = checkpoint.at.map(Timestamp::from_micros);
        log.first_at = log.first_at.into_iter().chain(at).min();
        log.last_at = log.last_at.max(at);
    }

    pub(super) fn fill(self, report: &mut VerifyReport) {
        report.other_logs = self
            .logs
            .into_iter()
            .map(|(origin, log)| OtherLog { origin, ..log })
            .collect();
    }
}
