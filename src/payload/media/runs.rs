//! Runs of base64: finds media in what is new in a body, by samples.

use std::ops::Range;

use super::{Hole, MEDIA_MAX};

/// A shorter run is no medium: a row of its own, its digest and its links would take a percent of it.
pub(crate) const MEDIUM_BYTES_MIN: usize = 16 * 1024;
/// Samples are taken at this distance, so that every medium has one, and have so many bytes.
const STEP: usize = MEDIUM_BYTES_MIN / 2;
const SAMPLE_BYTES: usize = 64;
/// A common head or tail that has at most so many bytes of a run leaves it whole. Images of one camera or one
/// program begin with the same bytes, and end with the same padding.
const COVERED_BYTES_MAX: usize = 16 * 1024;
/// Where less than this is new, no run is looked for at its ends: most of any run there would be covered.
const NEW_BYTES_MIN: usize = 4 * 1024;

/// The alphabets of RFC 4648.
fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

fn are_base64(bytes: &[u8]) -> bool {
    // No early exit: so the compiler compares several bytes at once.
    bytes.iter().fold(true, |all, byte| all & is_base64(*byte))
}

/// Whether a `\` stands at this place only to escape the `/` after it, as some writers of JSON do.
fn is_escape(body: &[u8], at: usize) -> bool {
    body.get(at) == Some(&b'\\') && body.get(at + 1) == Some(&b'/')
}

/// Where the run ends that goes through `at`, at `limit` at most.
fn run_end(body: &[u8], mut at: usize, limit: usize) -> usize {
    let part = body.get(..limit).unwrap_or(body);
    let limit = part.len();
    loop {
        while part.get(at..at + SAMPLE_BYTES).is_some_and(are_base64) {
            at += SAMPLE_BYTES;
        }
        let rest = part.get(at..).unwrap_or_default();
        at += rest.iter().take_while(|byte| is_base64(**byte)).count();
        if at >= limit || !is_escape(body, at) {
            break;
        }
        at = (at + 2).min(limit);
    }
    let rest = part.get(at..).unwrap_or_default();
    at + rest
        .iter()
        .take(2)
        .take_while(|byte| **byte == b'=')
        .count()
}

/// Where the run begins that goes through the byte before `at`, at `limit` at least.
fn run_start(body: &[u8], mut at: usize, limit: usize) -> usize {
    loop {
        while at >= limit + SAMPLE_BYTES && body.get(at - SAMPLE_BYTES..at).is_some_and(are_base64)
        {
            at -= SAMPLE_BYTES;
        }
        let rest = body.get(limit..at).unwrap_or_default();
        at -= rest
            .iter()
            .rev()
            .take_while(|byte| is_base64(**byte))
            .count();
        if at <= limit || !is_escape(body, at - 1) {
            return at;
        }
        at -= 1;
    }
}

fn is_sample(body: &[u8], at: usize) -> bool {
    let end = at + SAMPLE_BYTES;
    match body.get(at..end) {
        None => false,
        Some(sample) => {
            are_base64(sample) || (sample.contains(&b'\\') && run_end(body, at, end) == end)
        }
    }
}

/// The media in this part of a body, in order.
pub(crate) fn runs_in(body: &[u8], part: Range<usize>) -> Vec<Range<usize>> {
    let mut runs = Vec::new();
    if part.len() < MEDIUM_BYTES_MIN {
        return runs;
    }
    let (mut at, mut from) = (part.start, part.start);
    while at + SAMPLE_BYTES <= part.end && runs.len() < MEDIA_MAX {
        if !is_sample(body, at) {
            at += STEP;
            continue;
        }
        let start = run_start(body, at, from);
        let end = run_end(body, at, part.end);
        if end - start >= MEDIUM_BYTES_MIN {
            runs.push(start..end);
        }
        // No byte is looked at twice.
        from = end;
        at = end.max(at + STEP);
    }
    runs
}

/// What of a body is to be packed anew, where this is new: also the rest of a run of which the common head or the
/// common tail has but a small part. It is the same run in every body then.
pub(crate) fn widen(body: &[u8], mut new: Range<usize>) -> Range<usize> {
    if new.len() < NEW_BYTES_MIN {
        return new;
    }
    if new.start > 0 && is_sample(body, new.start) {
        let limit = new.start.saturating_sub(COVERED_BYTES_MAX + 1);
        let start = run_start(body, new.start, limit);
        let end = run_end(body, new.start, body.len());
        let is_whole = start > limit || start == 0;
        if is_whole
            && end - start >= MEDIUM_BYTES_MIN
            && end.saturating_sub(new.end) <= COVERED_BYTES_MAX
        {
            new.start = start;
        }
    }
    let padded = body.get(..new.end).unwrap_or_default();
    let padding = padded
        .iter()
        .rev()
        .take(2)
        .take_while(|byte| **byte == b'=');
    let core_end = new.end - padding.count();
    if new.end < body.len() && core_end >= SAMPLE_BYTES && is_sample(body, core_end - SAMPLE_BYTES)
    {
        let limit = new
            .end
            .saturating_add(COVERED_BYTES_MAX + 1)
            .min(body.len());
        let end = run_end(body, core_end, limit);
        let start = run_start(body, core_end, new.start);
        let is_whole = end < limit || end == body.len();
        if is_whole && end > new.end && end - start >= MEDIUM_BYTES_MIN {
            new.end = end;
        }
    }
    new
}

/// Where media are that a text begins to leave out at `start`.
pub(crate) fn ranges_of(start: usize, holes: &[Hole]) -> Vec<Range<usize>> {
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let mut at = start;
    let ranges = holes.iter().map(|hole| {
        let begin = at.saturating_add(size(hole.gap));
        at = begin.saturating_add(size(hole.length));
        begin..at
    });
    ranges.collect()
}

/// Media of a whole body of which some are known, in order: those, and others between them.
pub(crate) fn media_in(
    body: &[u8],
    known: &[(Range<usize>, i64)],
) -> Vec<(Range<usize>, Option<i64>)> {
    let mut media = Vec::new();
    let mut left = MEDIA_MAX.saturating_sub(known.len());
    let mut from = 0;
    let end = (body.len()..body.len(), None);
    let known = known.iter().map(|(range, id)| (range.clone(), Some(*id)));
    for (range, id) in known.chain([end]) {
        let others = runs_in(body, from..range.start.max(from));
        let others = others.into_iter().take(left).map(|run| (run, None));
        let before = media.len();
        media.extend(others);
        left = left.saturating_sub(media.len() - before);
        from = range.end;
        if id.is_some() {
            media.push((range, id));
        }
    }
    media
}
