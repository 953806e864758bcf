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
    let Some(sample) = body.get(at..end) else {
        return false;
    };
    // Text has a space or a quote after a few bytes.
    match sample.iter().position(|byte| !is_base64(*byte)) {
        None => true,
        Some(first) => is_escape(body, at + first) && run_end(body, at, end) == end,
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

/// The part of a body that is to be packed, where this part is new: also the rest of a run of which the common head or the
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

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;

    /// The same by looking at every byte.
    fn runs_by_bytes(body: &[u8]) -> Vec<Range<usize>> {
        let is_in = |at: usize| is_base64(body[at]) || is_escape(body, at);
        let (mut runs, mut at) = (Vec::new(), 0);
        while at < body.len() {
            let start = at;
            while at < body.len() && is_in(at) {
                at += 1;
            }
            if at > start {
                let padding = body[at..].iter().take(2).take_while(|byte| **byte == b'=');
                at += padding.count();
                if at - start >= MEDIUM_BYTES_MIN {
                    runs.push(start..at);
                }
            }
            at = at.max(start + 1);
        }
        runs
    }

    /// Pieces of base64, long and short, between other text.
    fn body(random: &mut Rng) -> Vec<u8> {
        let mut body = Vec::new();
        for _ in 0..random.usize(1..12) {
            let length = match random.usize(..4) {
                0 => random.usize(..100),
                1 => random.usize(..MEDIUM_BYTES_MIN + 10),
                2 => MEDIUM_BYTES_MIN - 2 + random.usize(..4),
                _ => random.usize(..60_000),
            };
            let alphabet: &[u8] =
                [b"ABCxyz019+".as_slice(), b"AB-_9", b"AB\\/xyz/"][random.usize(..3)];
            body.extend(alphabet.iter().cycle().take(length));
            let end = [
                b"==".as_slice(),
                b"=",
                b"",
                b"\",\"",
                b" words \\u00e9 \\\\ ",
                b"\\",
            ];
            body.extend_from_slice(end[random.usize(..6)]);
        }
        body
    }

    #[test]
    fn samples_find_what_a_look_at_every_byte_finds() {
        let mut random = Rng::with_seed(1);
        for _ in 0..2000 {
            let body = body(&mut random);
            assert_eq!(runs_in(&body, 0..body.len()), runs_by_bytes(&body));
        }
    }

    #[test]
    fn runs_are_in_their_part_and_no_more_than_may_be() {
        let mut random = Rng::with_seed(2);
        for _ in 0..500 {
            let body = body(&mut random);
            let start = random.usize(..=body.len());
            let part = start..random.usize(start..=body.len());
            let mut from = part.start;
            for run in runs_in(&body, part.clone()) {
                assert!(from <= run.start && run.end <= part.end);
                assert!(run.len() >= MEDIUM_BYTES_MIN);
                from = run.end;
            }
        }
        let one = [b"A".repeat(MEDIUM_BYTES_MIN), b"\",\"".to_vec()].concat();
        let many = one.repeat(MEDIA_MAX + 10);
        assert_eq!(runs_in(&many, 0..many.len()).len(), MEDIA_MAX);
    }

    /// Whatever the head and the tail have of a run, if it is little: the run is the same.
    #[test]
    fn a_new_part_is_widened_to_whole_runs() {
        let medium = [b"iVBORw0K".repeat(10_000), b"==".to_vec()].concat();
        let begin = b"{\"text\":\"some text\",\"url\":\"data:image/png;base64,".to_vec();
        let end = b"\"}],\"tools\":[{\"name\":\"a tool\"}]}".to_vec();
        let body = [begin.clone(), medium.clone(), end].concat();
        let run = begin.len()..begin.len() + medium.len();
        for covered in [0, 1, 63, 64, 65, 1000, COVERED_BYTES_MAX] {
            for behind in [0, 1, 2, 3, 100, COVERED_BYTES_MAX] {
                let new = run.start + covered..run.end - behind;
                let whole = if behind == 0 { new.end } else { run.end };
                assert_eq!(widen(&body, new), run.start..whole, "{covered} {behind}");
            }
        }
        for new in [
            run.start + COVERED_BYTES_MAX + 1..body.len(),
            run.start - 10..run.end - COVERED_BYTES_MAX - 1,
            // Nothing of a run is at the ends.
            run.start - 1..run.end + 1,
            run.start..run.end,
            0..body.len(),
        ] {
            assert_eq!(widen(&body, new.clone()), new);
        }
    }

    #[test]
    fn media_between_known_ones_are_found() {
        let medium = |byte: u8| vec![byte; MEDIUM_BYTES_MIN];
        let body = [
            medium(b'a'),
            medium(b'b'),
            b" ".to_vec(),
            medium(b'c'),
            b" ".to_vec(),
        ]
        .concat();
        let length = MEDIUM_BYTES_MIN;
        // The first two are one run, of which the second half is known as a medium of its own.
        let known = [(length..2 * length, 7)];
        let found = media_in(&body, &known);
        let expected = [
            (0..length, None),
            (length..2 * length, Some(7)),
            (2 * length + 1..3 * length + 1, None),
        ];
        assert_eq!(found, expected);
        let holes = [
            Hole {
                gap: 0,
                media_id: 1,
                length: length as u64,
            },
            Hole {
                gap: 0,
                media_id: 7,
                length: length as u64,
            },
            Hole {
                gap: 1,
                media_id: 2,
                length: length as u64,
            },
        ];
        let ranges: Vec<_> = expected.into_iter().map(|(range, _)| range).collect();
        assert_eq!(ranges_of(0, &holes), ranges);
    }
}
