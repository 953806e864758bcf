//! Checks a bundle, without a database.

use std::io::{BufRead, Read};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::strict::is_event;
use super::{BundleReport, BundleSignature, HEAD, LEFT_OUT, LINE_BYTES_MAX};
use crate::error::BundleError;
use crate::merkle::{Checkpoint, CompactRange, Notes, Trust, VerifyingKey, leaf_hash};
use crate::model::Timestamp;
use crate::verify::{FindingKind, Findings};

/// Checks that the lines of the bundle are those of the log in its checkpoint, and who signed the
/// checkpoint. Needs no database. Memory is bounded by the longest line.
///
/// The lines are hashed in order. Where events are left out, the bundle has the hashes of their subtrees,
/// which are added to the tree instead. At the end the computed root must equal that of the checkpoint: so
/// no line was changed, added or dropped.
///
/// ```
/// # use auditlite::{BundleOptions, ReadOnlyStore, Store};
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("audit.db");
/// # Store::builder(&path).open()?.close(std::time::Duration::from_secs(9));
/// let mut bundle = Vec::new();
/// ReadOnlyStore::open(&path)?.write_bundle(&BundleOptions::default(), &mut bundle)?;
/// let report = auditlite::verify_bundle(bundle.as_slice(), &[])?;
/// assert!(report.findings.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`BundleError::Input`], [`BundleError::NotABundle`]. Faults of a bundle are findings, not errors.
pub fn verify_bundle<R: BufRead>(
    mut reader: R,
    keys: &[VerifyingKey],
) -> Result<BundleReport, BundleError> {
    if read_line(&mut reader)? != HEAD.as_bytes() || !read_line(&mut reader)?.is_empty() {
        return Err(BundleError::NotABundle(
            "its first line is not that of a bundle",
        ));
    }
    let note = Notes::new(&mut reader)
        .only()
        .map_err(BundleError::Input)?
        .ok_or(BundleError::NotABundle("it has no checkpoint"))?;
    let (checkpoint, note) = Checkpoint::parse(&note)
        .map_err(|_| BundleError::NotABundle("its checkpoint is not one"))?;
    let mut findings = Findings::default();
    let signature = match note.trust(keys) {
        Trust::Signed => BundleSignature::Valid,
        Trust::Unsigned => BundleSignature::None,
        Trust::UnknownKey => BundleSignature::NotChecked,
        Trust::Invalid => BundleSignature::Invalid,
    };
    if !keys.is_empty() && signature != BundleSignature::Valid {
        let what = "the bundle's checkpoint is not validly signed by a given key";
        findings.add(FindingKind::Signature, None, what);
    }
    // A wrong line is reported and hashed all the same: the root then tells whether the line was changed or
    // has always been wrong. Only what makes the position in the tree unknown ends the loop.
    let mut tree = CompactRange::default();
    let (mut events, mut left_out) = (0_u64, 0_u64);
    while !is_at_end(&mut reader)? {
        let seq = tree.end();
        if seq >= checkpoint.size {
            let what = "more follows after the last event that the checkpoint covers";
            findings.add(FindingKind::Checkpoint, Some(seq), what);
            break;
        }
        let line = read_line(&mut reader)?;
        if let Some(range) = line.strip_prefix(LEFT_OUT.as_bytes()) {
            let range = left_out_range(range);
            let count = range
                .as_ref()
                .map_or(0, |range| range.end().saturating_sub(seq));
            if !range.is_some_and(|range| tree.merge(&range)) {
                let what = "what should stand for events that are left out does not";
                findings.add(FindingKind::Log, Some(seq), what);
                break;
            }
            left_out = left_out.saturating_add(count);
        } else {
            if !is_event(&line, seq) {
                let what = "the line is not this event, or not in the form of one";
                findings.add(FindingKind::Log, Some(seq), what);
            }
            tree.push(leaf_hash(&line));
            events = events.saturating_add(1);
        }
    }
    if tree.end() != checkpoint.size {
        let what = format!(
            "the bundle has {} events and its checkpoint states {}",
            tree.end(),
            checkpoint.size
        );
        findings.add(FindingKind::Checkpoint, Some(tree.end()), what);
    } else if tree.root() != checkpoint.root {
        let what = "the bundle's lines are not those of the log that its checkpoint states";
        findings.add(FindingKind::Checkpoint, None, what);
    }
    Ok(BundleReport {
        origin: checkpoint.origin,
        size: checkpoint.size,
        root: Some(checkpoint.root),
        at: checkpoint.at.map(Timestamp::from_micros),
        signature,
        events,
        left_out,
        findings: findings.into_list(),
    })
}

/// `<from> <to before> <base64 of the hashes>`.
fn left_out_range(text: &[u8]) -> Option<CompactRange> {
    let mut parts = std::str::from_utf8(text).ok()?.splitn(3, ' ');
    let (begin, end, hashes) = (parts.next()?, parts.next()?, parts.next()?);
    let number = |text: &str| {
        let number: u64 = text.parse().ok()?;
        (number.to_string() == text).then_some(number)
    };
    let (begin, end) = (number(begin)?, number(end)?);
    let hashes = STANDARD.decode(hashes).ok()?;
    (begin < end).then(|| CompactRange::from_bytes(begin, end, &hashes))?
}

fn is_at_end(reader: &mut impl BufRead) -> Result<bool, BundleError> {
    Ok(reader.fill_buf().map_err(BundleError::Input)?.is_empty())
}

/// The next line without its newline; also empty at the end.
fn read_line(reader: &mut impl BufRead) -> Result<Vec<u8>, BundleError> {
    let mut line = Vec::new();
    reader
        .take(LINE_BYTES_MAX)
        .read_until(b'\n', &mut line)
        .map_err(BundleError::Input)?;
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if !line.is_empty() {
        return Err(BundleError::NotABundle(
            "its last line is cut off, or a line is longer than 64 MiB",
        ));
    }
    Ok(line)
}
