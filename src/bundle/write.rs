//! Writing a bundle, in one pass over the log.

use std::io::Write;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{BundleOptions, BundleSummary, HEAD, LEFT_OUT};
use crate::db::{DbError, Snapshot};
use crate::error::{BundleError, ReadError};
use crate::log::{Event, EventKind, SegmentDecoder, lines, removed_leaf};
use crate::merkle::{CompactRange, leaf_of};

/// Checkpoints are read in pieces of so many.
const PIECE: usize = 256;

/// Writes the chosen events of the file at this path.
pub(crate) fn write_bundle(
    path: &Path,
    options: &BundleOptions,
    out: &mut dyn Write,
) -> Result<BundleSummary, BundleError> {
    let snapshot = Snapshot::open(path).map_err(ReadError::from)?;
    let log_end = snapshot.log_end().map_err(ReadError::from)?;
    let (size, note) = last_checkpoint(&snapshot, log_end)?.ok_or(BundleError::NoCheckpoint)?;
    write!(out, "{HEAD}\n\n{note}\n").map_err(BundleError::Output)?;
    let mut events = 0_u64;
    let mut left_out = CompactRange::default();
    visit_lines(&snapshot, size, |seq, line| {
        if !is_chosen(options, seq, line) {
            left_out.push(leaf_of(line));
            return Ok(());
        }
        write_left_out(&left_out, out)?;
        out.write_all(line).map_err(BundleError::Output)?;
        out.write_all(b"\n").map_err(BundleError::Output)?;
        events = events.saturating_add(1);
        left_out = CompactRange::starting_at(seq.saturating_add(1));
        Ok(())
    })?;
    write_left_out(&left_out, out)?;
    Ok(BundleSummary {
        size,
        events,
        uncovered: log_end.saturating_sub(size),
    })
}

/// The first `size` lines of the log, each with its seq and without its newline.
pub(super) fn visit_lines(
    snapshot: &Snapshot,
    size: u64,
    mut visit: impl FnMut(u64, &[u8]) -> Result<(), BundleError>,
) -> Result<(), BundleError> {
    let damaged = |seq: u64, what: &str| {
        ReadError::Damaged(format!("the log cannot be read at seq {seq}: {what}"))
    };
    let mut decoder =
        SegmentDecoder::new().map_err(|error| ReadError::Damaged(error.to_string()))?;
    let mut key = i64::MIN;
    let mut seq = 0;
    while seq < size {
        let segment = snapshot.segment_after(key)?;
        let Some((found, segment)) = segment.filter(|(_, segment)| segment.first_seq == seq) else {
            return Err(damaged(seq, "events are missing").into());
        };
        key = found;
        let text = decoder
            .decode(
                segment.encoding,
                segment.data,
                segment.length,
                segment.count,
            )
            .map_err(|error| damaged(seq, &error.to_string()))?;
        for line in lines(&text) {
            if seq == size {
                break;
            }
            visit(seq, line)?;
            seq = seq.saturating_add(1);
        }
    }
    Ok(())
}

/// Size and note of the last checkpoint that the log still reaches.
pub(super) fn last_checkpoint(
    snapshot: &Snapshot,
    log_end: u64,
) -> Result<Option<(u64, String)>, ReadError> {
    let mut last = None;
    let mut after = i64::MIN;
    loop {
        let rows = snapshot.checkpoints_after(after, PIECE)?;
        let Some(row) = rows.last() else {
            return Ok(last);
        };
        after = row.checkpoint_id;
        let found = rows.into_iter().rev().find(|row| row.size <= log_end);
        last = found.map(|row| (row.size, row.note)).or(last);
    }
}

fn is_chosen(options: &BundleOptions, seq: u64, line: &[u8]) -> bool {
    if removed_leaf(line).is_some() {
        return false;
    }
    if options
        .seqs
        .as_ref()
        .is_some_and(|seqs| !seqs.contains(&seq))
    {
        return false;
    }
    let Some(wanted) = options.opened_seq else {
        return true;
    };
    if seq == wanted {
        return true;
    }
    match Event::from_line(line).map(|event| event.kind) {
        Ok(EventKind::Served(served)) => served.opened_seq == wanted,
        Ok(EventKind::Ended(ended)) => ended.opened_seq == wanted,
        _ => false,
    }
}

/// One line for events that are left out: from, to before, and the hashes of their subtrees.
fn write_left_out(range: &CompactRange, out: &mut dyn Write) -> Result<(), BundleError> {
    let (begin, end) = (range.begin(), range.end());
    if begin == end {
        return Ok(());
    }
    let hashes = STANDARD.encode(range.to_bytes());
    writeln!(out, "{LEFT_OUT}{begin} {end} {hashes}").map_err(BundleError::Output)
}

impl From<DbError> for BundleError {
    fn from(error: DbError) -> Self {
        Self::Read(error.into())
    }
}
