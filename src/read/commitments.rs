//! What the log commits to, for readers of content: is the content in the file what was recorded, and if it
//! is missing, does the log say why?
//!
//! The line is used as it is in the log. Whether the log is what was signed, only verification tells.

use std::collections::VecDeque;

use crate::db::{self, Connection, Part, RemovalKind, StoredPayload, event_seq, payload_id};
use crate::error::ReadError;
use crate::log::{
    BodyFact, BodyFacts, Event, EventKind, Kept, PrunedKind, SegmentDecoder, lines, removed_leaf,
};
use crate::model::Digest;
use crate::payload::{commitment, sha256};

/// Pieces of the log that are cached, and events that were read from them. The two events of a request are
/// mostly close to each other, and are needed several times.
const PIECES_MAX: usize = 8;
const EVENTS_MAX: usize = 16;
/// Bytes of the cached pieces in addition to the last one: removals can make long lines, and a segment
/// without frames is one piece.
const PIECES_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Pieces that cannot be read and are not unpacked again for each of their events.
const UNREADABLE_MAX: usize = 1024;
/// Events that are known to be unchecked: more than one request has.
const UNCHECKED_MAX: usize = 16;

/// Reads what events commit to. Caches what it read last. Belongs to one operation on one thread.
#[derive(Debug, Default)]
pub(crate) struct Commitments {
    decoder: Option<SegmentDecoder>,
    pieces: VecDeque<Piece>,
    events: VecDeque<(u64, Line)>,
    /// First seqs of pieces that cannot be read.
    unreadable: VecDeque<u64>,
    /// Events of which something was read, although their lines cannot be read.
    unchecked: VecDeque<u64>,
    /// The newest removal that explained something missing.
    removal: u64,
}

/// The result of comparing a payload with the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    /// It is what the event commits to.
    Committed,
    /// The line of the event cannot be read: the payload may be anything.
    Unchecked,
    /// The event was removed in the meantime.
    Removed,
}

/// Consecutive lines.
#[derive(Debug)]
struct Piece {
    first_seq: u64,
    text: Vec<u8>,
    /// Where each line ends.
    ends: Vec<usize>,
}

/// What the log has for an event.
#[derive(Debug, Clone)]
enum Line {
    Facts(Box<BodyFacts>),
    /// It was removed.
    Removed,
    /// The log cannot be read here.
    Unreadable,
}

/// Why content is not in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Absence {
    /// There never was any, or the log says that it was not kept.
    NotKept,
    /// A recorded removal removed it.
    Removed(RemovalKind),
    /// The log says that it was kept, and no event says why it is gone.
    Missing,
    /// The line that would say so cannot be read.
    Unknown,
}

impl Absence {
    /// The error for content that should be there.
    pub(crate) fn problem(self, seq: u64) -> Option<ReadError> {
        let why = match self {
            Self::NotKept | Self::Removed(_) => return None,
            Self::Missing => {
                "though the log says that it was kept: it was deleted without a record"
            }
            Self::Unknown => "and its line in the log, which would say why, cannot be read",
        };
        Some(ReadError::Damaged(format!(
            "content of event {seq} is missing, {why}"
        )))
    }
}

/// What the row of a payload claims.
#[derive(Debug)]
pub(crate) struct Claim<'r> {
    pub(crate) salt: &'r [u8],
    pub(crate) sha256: &'r [u8],
    pub(crate) length: u64,
    pub(crate) kept: u64,
    pub(crate) head: Option<u64>,
    pub(crate) has_data: bool,
}

impl<'r> From<&'r StoredPayload> for Claim<'r> {
    fn from(stored: &'r StoredPayload) -> Self {
        Self {
            salt: &stored.salt,
            sha256: &stored.sha256,
            length: stored.length,
            kept: stored.kept,
            head: stored.head,
            has_data: stored.stored.is_some(),
        }
    }
}

/// What a row claims although its event does not commit to it.
pub(crate) fn mismatch(
    fact: &BodyFact,
    committed: &Digest,
    claim: &Claim<'_>,
) -> Option<&'static str> {
    let (Ok(salt), Ok(sha256)) = (
        <&[u8; 32]>::try_from(claim.salt),
        <[u8; 32]>::try_from(claim.sha256),
    ) else {
        return Some("salt or digest do not have 32 bytes");
    };
    if commitment(salt, &Digest(sha256)) != *committed {
        return Some("digest and salt are not those that the log commits to");
    }
    if claim.length != fact.length {
        return Some("its length is not the one in the log");
    }
    let is_as_stated = match fact.kept {
        Kept::Whole => claim.has_data && claim.head.is_none() && claim.kept == claim.length,
        Kept::Excerpt => claim.has_data && claim.head == fact.head,
        Kept::Digest | Kept::Deferred | Kept::Nothing => {
            !claim.has_data && claim.head.is_none() && claim.kept == 0
        }
    };
    (!is_as_stated).then_some("more or less of it is kept than the log says")
}

/// Whether these are the bytes of the committed excerpt.
pub(crate) fn is_excerpt_committed(fact: &BodyFact, salt: &[u8], digest: &Digest) -> bool {
    <&[u8; 32]>::try_from(salt)
        .is_ok_and(|salt| fact.excerpt_commitment == Some(commitment(salt, digest)))
}

impl Commitments {
    /// Compares a row, and the bytes of an excerpt if they were read, with the log. An attacker who makes a
    /// line unreadable must not disable this: content that could not be compared is never returned without
    /// saying so.
    pub(crate) fn check(
        &mut self,
        connection: &Connection,
        id: i64,
        stored: &StoredPayload,
        bytes: Option<&[u8]>,
    ) -> Result<Check, ReadError> {
        let seq = u64::try_from(event_seq(id)).unwrap_or(u64::MAX);
        let wrong = match self.line(connection, seq)? {
            Line::Unreadable => {
                self.note_unchecked(seq);
                return Ok(Check::Unchecked);
            }
            Line::Removed => return Ok(Check::Removed),
            Line::Facts(facts) => match committed(facts, id) {
                None => Some("no event commits to it"),
                Some((fact, commitment)) => mismatch(fact, commitment, &Claim::from(stored))
                    .or_else(|| {
                        let digest = stored.head.and(bytes).map(sha256)?;
                        (!is_excerpt_committed(fact, &stored.salt, &digest))
                            .then_some("the excerpt is not the one that the log commits to")
                    }),
            },
        };
        match wrong {
            None => Ok(Check::Committed),
            Some(what) => Err(ReadError::Damaged(format!(
                "content of event {seq} is not what was recorded: {what}"
            ))),
        }
    }

    /// Why there is no row.
    pub(crate) fn absence(
        &mut self,
        connection: &Connection,
        seq: u64,
        part: Part,
    ) -> Result<Absence, ReadError> {
        let stated = db::removal_of(connection, seq)?;
        if let Some((_, event)) = stated
            && event > self.removal
        {
            // The cache may be older than the removal.
            self.removal = event;
            self.pieces.clear();
            self.events.clear();
            self.unreadable.clear();
        }
        let id = payload_id(seq, part);
        let otherwise = match self.line(connection, seq)? {
            Line::Removed => {
                let kind = stated.map(|(kind, _)| kind);
                return Ok(kind.map_or(Absence::Missing, Absence::Removed));
            }
            Line::Unreadable => Absence::Unknown,
            Line::Facts(facts) if committed(facts, id).is_none() => return Ok(Absence::NotKept),
            Line::Facts(_) => Absence::Missing,
        };
        // The line is there or cannot be read: the event itself must say that it was removed, not only the
        // table.
        let is_possible =
            |kind: RemovalKind| kind == RemovalKind::Content || otherwise == Absence::Unknown;
        if let Some((kind, event)) = stated
            && is_possible(kind)
            && self.is_removed_by(connection, event, kind, seq)?
        {
            return Ok(Absence::Removed(kind));
        }
        Ok(otherwise)
    }

    /// How much of a body the event says was kept. `None`: it says nothing, or cannot be read.
    pub(crate) fn kept(
        &mut self,
        connection: &Connection,
        seq: u64,
    ) -> Result<Option<Kept>, ReadError> {
        Ok(match self.line(connection, seq)? {
            Line::Facts(facts) => facts.body().map(|fact| fact.kept),
            Line::Removed | Line::Unreadable => None,
        })
    }

    /// Accepts that content in addition to the body has no row, if that is as it should be.
    ///
    /// # Errors
    ///
    /// The log says that it was kept, and nothing says why it is gone.
    pub(crate) fn accept_absence(
        &mut self,
        connection: &Connection,
        seq: u64,
        part: Part,
    ) -> Result<(), ReadError> {
        // Most events have no such content. No removal needs to be looked up then.
        if let Line::Facts(facts) = self.line(connection, seq)?
            && committed(facts, payload_id(seq, part)).is_none()
        {
            return Ok(());
        }
        match self.absence(connection, seq, part)? {
            // Nothing says that there was any.
            Absence::Unknown => {
                self.note_unchecked(seq);
                Ok(())
            }
            absence => absence.problem(seq).map_or(Ok(()), Err),
        }
    }

    /// Whether recent reads of this event could not be compared with its line.
    pub(crate) fn is_unchecked(&self, seq: u64) -> bool {
        self.unchecked.contains(&seq)
    }

    /// The events of which reads since the last call could not be compared with their lines.
    pub(crate) fn take_unchecked(&mut self) -> Vec<u64> {
        self.unchecked.drain(..).collect()
    }

    /// Whether the line of the event can be read, or was removed.
    pub(crate) fn is_known(
        &mut self,
        connection: &Connection,
        seq: u64,
    ) -> Result<bool, ReadError> {
        Ok(!matches!(self.line(connection, seq)?, Line::Unreadable))
    }

    /// An event. `None`: its line was removed, or cannot be read.
    pub(crate) fn event(
        &mut self,
        connection: &Connection,
        seq: u64,
    ) -> Result<Option<Event>, ReadError> {
        let Some((piece, index)) = self.piece(connection, seq)? else {
            return Ok(None);
        };
        let event = Event::from_line(piece.line(index)).ok();
        Ok(event.filter(|event| event.seq == seq))
    }

    fn note_unchecked(&mut self, seq: u64) {
        if !self.is_unchecked(seq) {
            hold(&mut self.unchecked, seq, UNCHECKED_MAX);
        }
    }

    fn is_removed_by(
        &mut self,
        connection: &Connection,
        event: u64,
        kind: RemovalKind,
        seq: u64,
    ) -> Result<bool, ReadError> {
        let event = self.event(connection, event)?;
        Ok(event.is_some_and(|event| match (event.kind, kind) {
            (EventKind::Pruned(pruned), RemovalKind::Content) => {
                pruned.what == PrunedKind::Content && (pruned.from..pruned.to).contains(&seq)
            }
            (EventKind::Pruned(pruned), RemovalKind::Metadata) => {
                pruned.what == PrunedKind::Metadata && (pruned.from..pruned.to).contains(&seq)
            }
            (EventKind::Erased(erased), RemovalKind::Erased) => erased
                .requests
                .iter()
                .any(|request| request.ended.opened_seq == seq || request.ended_seq == seq),
            _ => false,
        }))
    }

    /// What the log has for the event.
    fn line(&mut self, connection: &Connection, seq: u64) -> Result<&Line, ReadError> {
        let known = self.events.iter().position(|(known, _)| *known == seq);
        let place = match known {
            Some(place) => place,
            None => {
                let line = match self.piece(connection, seq)? {
                    Some((piece, index)) => read(piece.line(index), seq),
                    None => Line::Unreadable,
                };
                hold(&mut self.events, (seq, line), EVENTS_MAX);
                self.events.len().saturating_sub(1)
            }
        };
        let line = self.events.get(place).map(|(_, line)| line);
        Ok(line.unwrap_or(&Line::Unreadable))
    }

    /// The lines that include that of the event, and its index there. `None`: they cannot be read.
    fn piece(
        &mut self,
        connection: &Connection,
        seq: u64,
    ) -> Result<Option<(&Piece, usize)>, ReadError> {
        let place = match self.pieces.iter().position(|piece| piece.has(seq)) {
            Some(place) => place,
            None => {
                let Some(piece) = self.load(connection, seq)? else {
                    return Ok(None);
                };
                hold(&mut self.pieces, piece, PIECES_MAX);
                let bytes = |piece: &Piece| piece.text.len();
                while self.pieces.len() > 1
                    && self.pieces.iter().map(bytes).sum::<usize>() > PIECES_BYTES_MAX
                {
                    self.pieces.pop_front();
                }
                self.pieces.len().saturating_sub(1)
            }
        };
        let piece = self.pieces.get(place);
        Ok(piece.and_then(|piece| Some((piece, piece.index(seq)?))))
    }

    fn load(&mut self, connection: &Connection, seq: u64) -> Result<Option<Piece>, ReadError> {
        let Some(segment) = db::segment_of(connection, seq)? else {
            return Ok(None);
        };
        let index = seq.saturating_sub(segment.first_seq);
        let first = SegmentDecoder::piece_of(segment.encoding, index);
        let first_seq = segment.first_seq.saturating_add(first);
        if self.unreadable.contains(&first_seq) {
            return Ok(None);
        }
        let decoder = match &mut self.decoder {
            Some(decoder) => decoder,
            none => none
                .insert(SegmentDecoder::new().map_err(|error| ReadError::Database(error.into()))?),
        };
        let piece = decoder.decode_piece(
            segment.encoding,
            segment.data,
            segment.length,
            segment.count,
            index,
        );
        let Ok((_, text)) = piece else {
            hold(&mut self.unreadable, first_seq, UNREADABLE_MAX);
            return Ok(None);
        };
        let mut end = 0_usize;
        let ends = lines(&text)
            .map(|line| {
                end = end.saturating_add(line.len()).saturating_add(1);
                end.saturating_sub(1)
            })
            .collect();
        let piece = Piece {
            first_seq,
            text,
            ends,
        };
        Ok(piece.has(seq).then_some(piece))
    }
}

impl Piece {
    fn has(&self, seq: u64) -> bool {
        self.index(seq).is_some()
    }

    fn index(&self, seq: u64) -> Option<usize> {
        let index = usize::try_from(seq.checked_sub(self.first_seq)?).ok()?;
        (index < self.ends.len()).then_some(index)
    }

    fn line(&self, index: usize) -> &[u8] {
        let before = index
            .checked_sub(1)
            .and_then(|before| self.ends.get(before));
        let begin = before.map_or(0, |end| end.saturating_add(1));
        let end = self.ends.get(index).copied().unwrap_or(begin);
        self.text.get(begin..end).unwrap_or_default()
    }
}

/// Adds an item, and drops the oldest if there are too many.
fn hold<T>(held: &mut VecDeque<T>, new: T, most: usize) {
    if held.len() >= most {
        held.pop_front();
    }
    held.push_back(new);
}

fn read(line: &[u8], seq: u64) -> Line {
    if removed_leaf(line).is_some() {
        return Line::Removed;
    }
    match BodyFacts::from_line(line) {
        Ok(facts) if facts.seq == seq => Line::Facts(Box::new(facts)),
        _ => Line::Unreadable,
    }
}

/// What the event commits to for this payload, if it does.
fn committed(facts: &BodyFacts, id: i64) -> Option<(&BodyFact, &Digest)> {
    let part = |part: Part| payload_id(facts.seq, part) == id;
    let fact = if part(Part::Body) {
        facts.body()
    } else if part(Part::Content) {
        facts.content.as_ref()
    } else if part(Part::UpstreamBody) {
        facts.upstream_body.as_ref()
    } else if part(Part::RequestBody) {
        facts.late_request_body()
    } else {
        None
    }?;
    Some((fact, fact.commitment.as_ref()?))
}
