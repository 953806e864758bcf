//! Proofs about single events and earlier checkpoints, as text.
//!
//! Sources: C2SP tlog-proof (<https://c2sp.org/tlog-proof>), and for the other kind the body of a witness
//! request (<https://c2sp.org/tlog-witness>).

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::write::{last_checkpoint, visit_lines};
use crate::db::Snapshot;
use crate::error::BundleError;
use crate::merkle::{
    Checkpoint, PathCollector, Trust, VerifyingKey, consistency_ranges, inclusion_ranges,
    leaf_hash, leaf_of, verify_consistency, verify_inclusion,
};
use crate::model::Digest;

const INCLUSION_HEAD: &str = "c2sp.org/tlog-proof@v1";
/// The longest proof in bytes.
const PROOF_BYTES_MAX: usize = 256 * 1024;

/// A proof that the log in the last checkpoint has this event.
pub(crate) fn inclusion_proof(path: &Path, seq: u64) -> Result<String, BundleError> {
    prove(path, |size| {
        let ranges = inclusion_ranges(seq, size)?;
        Some((format!("{INCLUSION_HEAD}\nindex {seq}\n"), ranges))
    })
}

/// A proof that the log in the last checkpoint continues the log as it was with this size.
pub(crate) fn consistency_proof(path: &Path, old_size: u64) -> Result<String, BundleError> {
    prove(path, |size| {
        let ranges = consistency_ranges(old_size, size)?;
        Some((format!("old {old_size}\n"), ranges))
    })
}

/// Checks a proof that the line (as stored, without its newline) is an event of the log in its checkpoint,
/// and that a given key signed the checkpoint. Returns the seq of the event; `None`: the proof does not
/// show it.
pub fn verify_inclusion_proof(line: &[u8], proof: &str, keys: &[VerifyingKey]) -> Option<u64> {
    let (head, checkpoint) = parse(proof, keys)?;
    let rest = head
        .strip_prefix(INCLUSION_HEAD)?
        .strip_prefix("\nindex ")?;
    let (index, path) = numbered(rest)?;
    let leaf = leaf_hash(line.strip_suffix(b"\n").unwrap_or(line));
    verify_inclusion(index, checkpoint.size, &leaf, &path, &checkpoint.root).then_some(index)
}

/// Whether the proof shows that the log in its checkpoint, signed by a given key, begins with the log in
/// the `old` note, which must be the same log. The signature of the old note is not checked: the caller has
/// seen it before.
pub fn verify_consistency_proof(old: &str, proof: &str, keys: &[VerifyingKey]) -> bool {
    let verify = || {
        let (old, _) = Checkpoint::parse(old.as_bytes()).ok()?;
        let (head, checkpoint) = parse(proof, keys)?;
        let (size, path) = numbered(head.strip_prefix("old ")?)?;
        let is_same = size == old.size && checkpoint.origin == old.origin;
        Some(
            is_same
                && verify_consistency(size, checkpoint.size, &path, &old.root, &checkpoint.root),
        )
    };
    verify().unwrap_or(false)
}

fn prove(
    path: &Path,
    start: impl FnOnce(u64) -> Option<(String, Vec<std::ops::Range<u64>>)>,
) -> Result<String, BundleError> {
    let snapshot = Snapshot::open(path)?;
    let (size, note) =
        last_checkpoint(&snapshot, snapshot.log_end()?)?.ok_or(BundleError::NoCheckpoint)?;
    let (mut proof, ranges) = start(size).ok_or(BundleError::NoCheckpoint)?;
    let mut collector = PathCollector::new(ranges);
    visit_lines(&snapshot, size, |seq, line| {
        if collector.wanted().is_some_and(|wanted| wanted <= seq) {
            collector.push(seq, leaf_of(line));
        }
        Ok(())
    })?;
    // Every range ends within the size, so all leaves were passed.
    for hash in collector.finish().unwrap_or_default() {
        proof.push_str(&STANDARD.encode(hash.0));
        proof.push('\n');
    }
    proof.push('\n');
    proof.push_str(&note);
    Ok(proof)
}

/// The lines before the checkpoint, and the checkpoint, if a given key signed it.
fn parse<'p>(proof: &'p str, keys: &[VerifyingKey]) -> Option<(&'p str, Checkpoint)> {
    if proof.len() > PROOF_BYTES_MAX {
        return None;
    }
    let (head, note) = proof.split_once("\n\n")?;
    let (checkpoint, note) = Checkpoint::parse(note.as_bytes()).ok()?;
    (note.trust(keys) == Trust::Signed).then_some((head, checkpoint))
}

/// A number, and the hashes in the lines after it.
fn numbered(text: &str) -> Option<(u64, Vec<Digest>)> {
    let mut lines = text.split('\n');
    let number = lines.next()?;
    let value: u64 = number.parse().ok()?;
    if value.to_string() != number {
        return None;
    }
    let path: Option<Vec<Digest>> = lines
        .map(|line| Some(Digest(STANDARD.decode(line).ok()?.try_into().ok()?)))
        .collect();
    Some((value, path?))
}
