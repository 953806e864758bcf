//! Unpacks and hashes the segments of the log ahead of the checks.
//!
//! All segments are read from one connection, so that they are of one moment. Work without the connection
//! runs on a separate thread if there is a processor for it.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, Scope};

use crate::db::{DbError, Snapshot, StoredSegment};
use crate::log::{SegmentDecoder, lines};
use crate::merkle::leaf_of;
use crate::model::Digest;
use crate::sync::thread::processors;

/// Segments that are read ahead. A segment is one group commit of the writer, a few megabytes at most.
const SEGMENTS_AHEAD: usize = 2;
/// Leaves that are passed on together, and how many such pieces may wait.
const LEAVES_TOGETHER: usize = 512;
const PIECES_AHEAD: usize = 4;

/// A part of one segment's lines, and their leaves, from the decoding thread to the one that verifies. All parts share
/// the segment's text, which the last one frees. The receiving thread parses the lines: memory that one thread
/// allocates and another frees costs more than the parsing.
pub(super) struct Lines {
    text: Arc<Vec<u8>>,
    range: Range<usize>,
    leaves: Vec<Digest>,
}

impl Lines {
    /// Each line without its newline, with its leaf.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], Digest)> {
        let text = self.text.get(self.range.clone()).unwrap_or_default();
        lines(text).zip(self.leaves.iter().copied())
    }
}

/// The result of decoding a segment.
pub(super) enum Decoded {
    Lines(Lines),
    /// Its last line was passed on, or it does not unpack to as many whole lines as its row says.
    End(Result<(), String>),
}

/// A segment without its lines.
pub(super) struct SegmentHead {
    pub(super) key: i64,
    pub(super) first_seq: u64,
    pub(super) count: u64,
    pub(super) length: u64,
    pub(super) tree: Vec<u8>,
}

struct Packed {
    encoding: i64,
    data: Vec<u8>,
    length: u64,
    count: u64,
}

/// The segments of the log, in order. Reads on the caller's thread; the decoding thread, if there is one,
/// ends with the scope or when this is dropped.
pub(super) struct Segments<'a> {
    snapshot: &'a Snapshot,
    decoding: Decoding,
    /// Segments that were read and passed to the decoder.
    ahead: VecDeque<SegmentHead>,
    last_key: i64,
    is_read: bool,
    /// Reading failed after those in `ahead`.
    failed: Option<DbError>,
}

/// Where segments are decoded: on a thread of their own, behind two bounded channels (segments there, lines back), or
/// on the caller's if no thread could be started. The thread ends when `packed` is dropped.
enum Decoding {
    Thread {
        packed: SyncSender<Packed>,
        decoded: Receiver<Decoded>,
    },
    Here {
        decoder: Box<SegmentDecoder>,
        decoded: VecDeque<Decoded>,
    },
}

impl<'a> Segments<'a> {
    /// From the start of the log. `scope` is where the thread runs.
    pub(super) fn new<'scope>(
        snapshot: &'a Snapshot,
        scope: &'scope Scope<'scope, '_>,
    ) -> Result<Self, DbError> {
        Ok(Self {
            snapshot,
            decoding: Decoding::start(scope)?,
            ahead: VecDeque::new(),
            last_key: i64::MIN,
            is_read: false,
            failed: None,
        })
    }

    /// The next segment. Everything that [`decoded`](Self::decoded) returns up to its end belongs to it.
    pub(super) fn next(&mut self) -> Result<Option<SegmentHead>, DbError> {
        while !self.is_read && self.ahead.len() < SEGMENTS_AHEAD {
            match self.snapshot.segment_after(self.last_key) {
                Ok(Some((key, segment))) => self.add(key, segment),
                Ok(None) => self.is_read = true,
                Err(error) => {
                    self.is_read = true;
                    self.failed = Some(error);
                }
            }
        }
        match self.ahead.pop_front() {
            Some(segment) => Ok(Some(segment)),
            None => self.failed.take().map_or(Ok(None), Err),
        }
    }

    /// The next lines of the segment.
    pub(super) fn decoded(&mut self) -> Decoded {
        let decoded = match &mut self.decoding {
            Decoding::Thread { decoded, .. } => decoded.recv().ok(),
            Decoding::Here { decoded, .. } => decoded.pop_front(),
        };
        decoded.unwrap_or_else(|| Decoded::End(Err("the thread that unpacks has ended".to_owned())))
    }

    /// Skips the lines of the segment.
    pub(super) fn skip(&mut self) {
        while let Decoded::Lines(_) = self.decoded() {}
    }

    fn add(&mut self, key: i64, segment: StoredSegment) {
        let StoredSegment {
            first_seq,
            count,
            length,
            encoding,
            data,
            tree,
        } = segment;
        self.last_key = key;
        self.ahead.push_back(SegmentHead {
            key,
            first_seq,
            count,
            length,
            tree,
        });
        let next = Packed {
            encoding,
            data,
            length,
            count,
        };
        match &mut self.decoding {
            // Never blocks: no more segments are read ahead than fit. If the thread has ended, that shows
            // later.
            Decoding::Thread { packed, .. } => drop(packed.send(next)),
            Decoding::Here { decoder, decoded } => decode(decoder, next, &mut |piece| {
                decoded.push_back(piece);
                true
            }),
        }
    }
}

impl Decoding {
    fn start<'scope>(scope: &'scope Scope<'scope, '_>) -> Result<Self, DbError> {
        let new_decoder = || {
            SegmentDecoder::new()
                .map(Box::new)
                .map_err(|error| DbError::corrupt("reading the log", error))
        };
        if processors() > 1 {
            let mut decoder = new_decoder()?;
            let (packed, incoming) = sync_channel::<Packed>(SEGMENTS_AHEAD);
            let (outgoing, decoded) = sync_channel(PIECES_AHEAD);
            let run = move || {
                while let Ok(packed) = incoming.recv() {
                    decode(&mut decoder, packed, &mut |piece| {
                        outgoing.send(piece).is_ok()
                    });
                }
            };
            let builder = Builder::new().name("auditlite-verify-log".to_owned());
            if builder.spawn_scoped(scope, run).is_ok() {
                return Ok(Self::Thread { packed, decoded });
            }
        }
        Ok(Self::Here {
            decoder: new_decoder()?,
            decoded: VecDeque::new(),
        })
    }
}

/// Passes on the lines of a segment until `hand_on` returns `false`.
fn decode(decoder: &mut SegmentDecoder, packed: Packed, hand_on: &mut dyn FnMut(Decoded) -> bool) {
    let text = match decoder.decode(packed.encoding, packed.data, packed.length, packed.count) {
        Ok(text) => text,
        Err(error) => {
            hand_on(Decoded::End(Err(error.to_string())));
            return;
        }
    };
    let text = Arc::new(text);
    let mut begin = 0;
    while begin < text.len() {
        let mut end = begin;
        let mut leaves = Vec::with_capacity(LEAVES_TOGETHER);
        for line in lines(text.get(begin..).unwrap_or_default()).take(LEAVES_TOGETHER) {
            leaves.push(leaf_of(line));
            end = text.len().min(end + line.len() + 1);
        }
        let piece = Lines {
            text: Arc::clone(&text),
            range: begin..end,
            leaves,
        };
        if !hand_on(Decoded::Lines(piece)) {
            return;
        }
        begin = end;
    }
    hand_on(Decoded::End(Ok(())));
}
