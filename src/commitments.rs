//! What the log commits to, for whoever reads content: is what lies in the file what was recorded, and
//! where it is not there, does the log say why?
//!
//! The line is taken as it stands in the log; that the log is what was signed is for verification.

use std::collections::VecDeque;

use crate::db::{self, Connection, Part, RemovalKind, StoredPayload, event_seq, payload_id};
use crate::error::ReadError;
use crate::log::{
    BodyFact, BodyFacts, Event, Fact, Kept, PrunedKind, SegmentDecoder, lines, removed_leaf,
};
use crate::payload::{commitment, sha256};
use crate::record::Digest;

/// Pieces of the log that are held, and events that were read from them. A request's two events mostly
/// lie close to each other, and are asked for several times.
const PIECES_MAX: usize = 8;
const EVENTS_MAX: usize = 16;
/// A longer piece is not held: what removals state can be long.
const PIECE_BYTES_MAX: usize = 1024 * 1024;

/// Reads what events commit to. Holds what it read last.
#[derive(Debug, Default)]
pub(crate) struct Commitments {
    decoder: Option<SegmentDecoder>,
    pieces: VecDeque<Piece>,
    events: VecDeque<(u64, Line)>,
}

/// Lines that follow each other.
#[derive(Debug)]
struct Piece {
    first_seq: u64,
    text: Vec<u8>,
    /// Where each line ends.
    ends: Vec<usize>,
}

/// What stands in an event's place.
#[derive(Debug, Clone)]
enum Line {
    Facts(Box<BodyFacts>),
    /// It was taken out.
    Removed,
    /// The log cannot be read here.
    Unreadable,
}

/// Why content is not in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Absence {
    /// There never was any, or the log says that it was not kept.
    NotKept,
    /// A removal that the log states took it out.
    Removed(RemovalKind),
    /// The log says that it was kept, and no event says why it is gone.
    Missing,
    /// The line that would say so cannot be read.
    Unknown,
}

impl Absence {
    /// What somebody is told where it should be there.
    pub(crate) fn problem(self, seq: u64) -> Option<ReadError> {
        let why = match self {
            Self::NotKept | Self::Removed(_) => return None,
            Self::Missing => "though the log says that it was kept: somebody deleted it",
            Self::Unknown => "and the line of the log that would say why cannot be read",
        };
        Some(ReadError::Damaged(format!(
            "content of event {seq} is missing, {why}"
        )))
    }
}

/// What a payload's row claims.
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

/// What a row claims that its event does not commit to.
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
        Kept::Digest | Kept::Nothing => !claim.has_data && claim.head.is_none() && claim.kept == 0,
    };
    (!is_as_stated).then_some("more or less of it is kept than the log says")
}

/// Whether these are the bytes of an excerpt that was committed to.
pub(crate) fn is_excerpt_committed(fact: &BodyFact, salt: &[u8], digest: &Digest) -> bool {
    <&[u8; 32]>::try_from(salt)
        .is_ok_and(|salt| fact.excerpt_commitment == Some(commitment(salt, digest)))
}

impl Commitments {
    /// Holds a row, and of an excerpt its bytes where they were read, against the log. `false`: its
    /// event was taken out in the meantime. Where the log cannot be read there is nothing to hold it
    /// against, which is for verification to report.
    pub(crate) fn check(
        &mut self,
        connection: &Connection,
        id: i64,
        stored: &StoredPayload,
        bytes: Option<&[u8]>,
    ) -> Result<bool, ReadError> {
        let seq = u64::try_from(event_seq(id)).unwrap_or(u64::MAX);
        let wrong = match self.line(connection, seq)? {
            Line::Unreadable => None,
            Line::Removed => return Ok(false),
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
            None => Ok(true),
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
        if stated.is_some() {
            // What is held may be older than the removal.
            *self = Self::default();
        }
        let id = payload_id(seq, part);
        let is_committed = match self.line(connection, seq)? {
            Line::Removed => {
                let kind = stated.map(|(kind, _)| kind);
                return Ok(kind.map_or(Absence::Missing, Absence::Removed));
            }
            Line::Unreadable => return Ok(Absence::Unknown),
            Line::Facts(facts) => committed(facts, id).is_some(),
        };
        if !is_committed {
            return Ok(Absence::NotKept);
        }
        // Of pruned content the line is still there: the event says so, not only the table.
        if let Some((RemovalKind::Content, event)) = stated
            && self.is_pruned_by(connection, event, seq)?
        {
            return Ok(Absence::Removed(RemovalKind::Content));
        }
        Ok(Absence::Missing)
    }

    fn is_pruned_by(
        &mut self,
        connection: &Connection,
        event: u64,
        seq: u64,
    ) -> Result<bool, ReadError> {
        let Some((piece, index)) = self.piece(connection, event)? else {
            return Ok(false);
        };
        let line = Event::from_line(piece.line(index));
        Ok(line.is_ok_and(|line| match line.fact {
            Fact::Pruned(pruned) => {
                line.seq == event
                    && pruned.what == PrunedKind::Content
                    && (pruned.from..pruned.to).contains(&seq)
            }
            _ => false,
        }))
    }

    /// What stands in the event's place.
    fn line(&mut self, connection: &Connection, seq: u64) -> Result<&Line, ReadError> {
        let known = self.events.iter().position(|(known, _)| *known == seq);
        let place = match known {
            Some(place) => place,
            None => {
                let line = match self.piece(connection, seq)? {
                    Some((piece, index)) => read(piece.line(index), seq),
                    None => Line::Unreadable,
                };
                if self.events.len() >= EVENTS_MAX {
                    self.events.pop_front();
                }
                self.events.push_back((seq, line));
                self.events.len().saturating_sub(1)
            }
        };
        let line = self.events.get(place).map(|(_, line)| line);
        Ok(line.unwrap_or(&Line::Unreadable))
    }

    /// The lines among which the event's is, and its index there. `None`: they cannot be read.
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
                let is_long = |piece: &Piece| piece.text.len() > PIECE_BYTES_MAX;
                self.pieces.retain(|piece| !is_long(piece));
                if self.pieces.len() >= PIECES_MAX {
                    self.pieces.pop_front();
                }
                self.pieces.push_back(piece);
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
        let decoder = match &mut self.decoder {
            Some(decoder) => decoder,
            none => none
                .insert(SegmentDecoder::new().map_err(|error| ReadError::Database(error.into()))?),
        };
        let index = seq.saturating_sub(segment.first_seq);
        let piece = decoder.decode_piece(
            segment.encoding,
            segment.data,
            segment.length,
            segment.count,
            index,
        );
        let Ok((first, text)) = piece else {
            return Ok(None);
        };
        let mut end = 0_usize;
        let ends = lines(&text)
            .map(|line| {
                end = end.saturating_add(line.len()).saturating_add(1);
                end.saturating_sub(1)
            })
            .collect();
        let first_seq = segment.first_seq.saturating_add(first);
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

fn read(line: &[u8], seq: u64) -> Line {
    if removed_leaf(line).is_some() {
        return Line::Removed;
    }
    match BodyFacts::from_line(line) {
        Ok(facts) if facts.seq == seq => Line::Facts(Box::new(facts)),
        _ => Line::Unreadable,
    }
}

/// What the event commits to of this payload, where it does.
fn committed(facts: &BodyFacts, id: i64) -> Option<(&BodyFact, &Digest)> {
    let part = |part: Part| payload_id(facts.seq, part) == id;
    let fact = if part(Part::Body) {
        facts.body()
    } else if part(Part::Content) {
        facts.content.as_ref()
    } else if part(Part::Prepared) {
        facts.prepared_body.as_ref()
    } else {
        None
    }?;
    Some((fact, fact.commitment.as_ref()?))
}
