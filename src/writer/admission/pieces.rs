//! Pieces: parts of a long response are written before its end, so that they survive a crash.
//!
//! The handle keeps all chunks: an end does not depend on its pieces. These are written once, after the batch that
//! they came with, and given up if that fails. Their rows are temporary: they are deleted with the end, or become
//! the response of an `interrupted` request.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::command::{Command, PieceCommand};
use super::lifecycle::Lifecycle;
use super::queue::Shared;
use crate::config::PieceSettings;
use crate::redaction::Redaction;

/// The clock is read for every chunk of a slow stream, and for one in so many of a quick one, of which that many come
/// within this part of the interval between two pieces.
const CHUNKS_BETWEEN_LOOKS: u32 = 8;
const QUICK_PART: u32 = 20;

/// Cuts a stream into pieces, on the request thread.
#[derive(Debug)]
pub(crate) struct PieceCutter {
    /// Chunks that were submitted in whole, and bytes of the next one.
    begin: Place,
    /// When the last piece was due, and how much had come by then.
    due_at: Instant,
    due_bytes: usize,
    looked_at: Instant,
    chunks_until_look: u32,
}

/// A position in the chunks.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    chunk: usize,
    offset: usize,
}

impl PieceCutter {
    pub(crate) fn new(started: Instant) -> Self {
        Self {
            begin: Place::default(),
            due_at: started,
            due_bytes: 0,
            looked_at: started,
            chunks_until_look: CHUNKS_BETWEEN_LOOKS.min(2),
        }
    }

    /// Whether it is time for a piece. Asked once for each chunk.
    pub(crate) fn is_due(&mut self, settings: &PieceSettings, held_bytes: usize) -> bool {
        if held_bytes.saturating_sub(self.due_bytes) >= settings.bytes {
            self.note_due(Instant::now(), held_bytes);
            return true;
        }
        self.chunks_until_look = self.chunks_until_look.saturating_sub(1);
        if self.chunks_until_look > 0 {
            return false;
        }
        let now = Instant::now();
        let is_quick = now.duration_since(self.looked_at) < settings.interval / QUICK_PART;
        self.looked_at = now;
        self.chunks_until_look = if is_quick { CHUNKS_BETWEEN_LOOKS } else { 1 };
        let is_due = now.duration_since(self.due_at) >= settings.interval;
        if is_due {
            self.note_due(now, held_bytes);
        }
        is_due
    }

    fn note_due(&mut self, now: Instant, held_bytes: usize) {
        self.due_at = now;
        self.due_bytes = held_bytes;
    }

    /// The chunks were submitted for good; others follow.
    pub(crate) fn restart(&mut self) {
        self.begin = Place::default();
        self.due_bytes = 0;
    }

    /// Submits the bytes since the last piece. Without capacity, they come with the next one.
    pub(crate) fn send(&mut self, shared: &Shared, lifecycle: &Arc<Lifecycle>, chunks: &[Bytes]) {
        if !lifecycle.takes_pieces() {
            return;
        }
        // Reserved before the redaction, which may only shorten it.
        let Some(reservation) = shared.reserve_piece(self.unsent_bytes(chunks)) else {
            return;
        };
        let policy = shared.redaction.as_ref();
        let Some((piece, end)) = self.next(chunks, policy) else {
            shared.capacity.release(reservation);
            return;
        };
        self.begin = end;
        let command = PieceCommand {
            lifecycle: Arc::clone(lifecycle),
            chunks: piece,
            redaction_id: policy.map(|policy| policy.id().to_owned()),
            reservation,
        };
        let _ = shared.submit(Command::Piece(Box::new(command)));
    }

    /// Bytes that came since the last piece.
    fn unsent_bytes(&self, chunks: &[Bytes]) -> usize {
        let new = chunks.get(self.begin.chunk..).unwrap_or_default();
        let bytes = new.iter().map(Bytes::len).fold(0, usize::saturating_add);
        bytes.saturating_sub(self.begin.offset)
    }

    /// The next piece, without secrets, and where it ends. `None`: nothing can be cut safely yet.
    fn next(&self, chunks: &[Bytes], policy: Option<&Redaction>) -> Option<(Vec<Bytes>, Place)> {
        let mut new = chunks.get(self.begin.chunk..)?.iter();
        let first = new.next()?;
        let first = first.slice(self.begin.offset.min(first.len())..);
        let mut piece = vec![first];
        piece.extend(new.cloned());
        let end = Place {
            chunk: chunks.len(),
            offset: 0,
        };
        let Some(policy) = policy else {
            return Some((piece, end));
        };
        let text = piece.concat();
        let length = policy.prefix_apart(&text)?;
        let redacted = policy.redact(text.get(..length)?).ok()?;
        Some((
            vec![Bytes::from(redacted.into_owned())],
            self.behind(length, chunks),
        ))
    }

    /// The position this many bytes after the end of the last piece.
    fn behind(&self, mut bytes: usize, chunks: &[Bytes]) -> Place {
        let mut place = self.begin;
        while let Some(chunk) = chunks.get(place.chunk) {
            let left = chunk.len().saturating_sub(place.offset);
            if bytes < left {
                place.offset = place.offset.saturating_add(bytes);
                break;
            }
            bytes = bytes.saturating_sub(left);
            place = Place {
                chunk: place.chunk.saturating_add(1),
                offset: 0,
            };
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SETTINGS: PieceSettings = PieceSettings {
        interval: Duration::from_secs(10),
        bytes: 1000,
    };

    #[test]
    fn pieces_joined_are_what_came_wherever_they_are_cut() {
        let seed = crate::tests::seeds::seed("AUDITLITE_PIECES_SEED");
        let mut random = fastrand::Rng::with_seed(seed);
        for case in 0..500 {
            let policy = random.bool().then(|| Redaction::credentials("test"));
            let mut cutter = PieceCutter::new(Instant::now());
            let (mut chunks, mut sent, mut come) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..random.usize(1..30) {
                let length = random.usize(..60);
                let chunk: Vec<u8> = (0..length)
                    .map(|_| b"sk-0123456789abcdefghij,{} \n"[random.usize(..28)])
                    .collect();
                come.extend_from_slice(&chunk);
                chunks.push(Bytes::from(chunk));
                if random.bool()
                    && let Some((piece, end)) = cutter.next(&chunks, policy.as_ref())
                {
                    sent.extend_from_slice(&piece.concat());
                    cutter.begin = end;
                }
                let begin = cutter.begin;
                let cut: usize = chunks[..begin.chunk].iter().map(Bytes::len).sum();
                let told = &come[..cut + begin.offset];
                let expected = match &policy {
                    None => told.to_vec(),
                    Some(policy) => policy.redact(told).unwrap().into_owned(),
                };
                assert_eq!(sent, expected, "AUDITLITE_PIECES_SEED={seed}, case {case}");
            }
        }
    }

    #[test]
    fn a_piece_is_due_after_so_many_bytes_or_so_much_time() {
        let started = Instant::now();
        let mut cutter = PieceCutter::new(started);
        assert!(!cutter.is_due(&SETTINGS, 999));
        assert!(cutter.is_due(&SETTINGS, 1000));
        assert!(!cutter.is_due(&SETTINGS, 1999));
        assert!(cutter.is_due(&SETTINGS, 2500));
        assert!(!cutter.is_due(&SETTINGS, 3499));
        // A quick stream is looked at now and then, and a slow one each time.
        let long_ago = started.checked_sub(SETTINGS.interval).unwrap();
        let mut cutter = PieceCutter::new(long_ago);
        assert!(!cutter.is_due(&SETTINGS, 1), "the first chunk of many");
        assert!(cutter.is_due(&SETTINGS, 2));
        assert!(!cutter.is_due(&SETTINGS, 3));
        let mut cutter = PieceCutter::new(started);
        let asked = (0..100).filter(|_| {
            let before = cutter.looked_at;
            let _ = cutter.is_due(&SETTINGS, 1);
            cutter.looked_at != before
        });
        assert!(asked.count() < 20);
    }
}
