//! What an export writes of requests: reads some together, then hands them over.

use std::time::Duration;

use super::{Connect, Counts, ExportContent, ExportOptions};
use crate::db::{self, ReadConnection};
use crate::error::{ExportError, ReadError};
use crate::model::{CanonicalMessage, Digest, PayloadSide, RecordedToolCall, RequestRecord};
use crate::read::content::{self, ContentReader, ReadBody};
use crate::read::transcript::{KnownBodies, transcript_with};
use crate::sync::Instant;

/// Requests are read together up to this many bytes of their bodies, and for so long.
const GROUP_BYTES: usize = 1 << 20;
const GROUP_TIME: Duration = Duration::from_millis(100);

/// What is written for one request.
pub(super) struct Item {
    pub(super) record: RequestRecord,
    pub(super) tool_calls: Vec<RecordedToolCall>,
    pub(super) request: Body,
    pub(super) response: Body,
    /// The messages, if the format has a place for them.
    pub(super) messages: Vec<CanonicalMessage>,
    pub(super) replies: Vec<CanonicalMessage>,
}

/// What is known of one body.
pub(super) enum Body {
    /// There is none.
    Absent,
    /// Length, digest and, where wanted, the kept bytes.
    Present {
        length: u64,
        sha256: Option<Digest>,
        payload: Option<ReadBody>,
        /// Why there is no body although it was asked for.
        reason: Option<String>,
        /// Nothing of it could be compared with the log.
        is_unchecked: bool,
    },
}

impl Body {
    /// Bytes that it holds in memory.
    fn bytes(&self) -> usize {
        match self {
            Self::Present {
                payload: Some(payload),
                ..
            } => payload.bytes.len(),
            _ => 0,
        }
    }

    /// Its bytes, if all of them were kept.
    fn whole(&self) -> Option<&[u8]> {
        match self {
            Self::Present {
                payload: Some(payload),
                length: 1..,
                ..
            } if payload.head.is_none() => Some(payload.bytes.as_slice()),
            _ => None,
        }
    }

    fn withhold_digest(&mut self) {
        if let Self::Present { sha256, .. } = self {
            *sha256 = None;
        }
    }

    pub(super) fn is_unchecked(&self) -> bool {
        matches!(
            self,
            Self::Present {
                is_unchecked: true,
                ..
            }
        )
    }
}

/// Reads for an export, and hands over what is to be written.
pub(super) struct ItemReader<'e> {
    pub(super) connect: &'e Connect<'e>,
    pub(super) options: &'e ExportOptions,
    pub(super) wants_messages: bool,
    /// One cache of unpacked bodies serves the whole export, since a request mostly repeats the one before it.
    pub(super) content: ContentReader,
    pub(super) counts: Counts,
    pub(super) hand_over: &'e mut dyn FnMut(Vec<Item>) -> Result<(), ExportError>,
}

impl ItemReader<'_> {
    /// How many requests are still wanted.
    pub(super) fn left(&self) -> u64 {
        let limit = self.options.limit;
        limit.map_or(u64::MAX, |limit| limit.saturating_sub(self.counts.requests))
    }

    /// Reads some requests as of one moment, then hands them over, and so on: a read transaction for each of them costs
    /// more than reading it, and output that is slow must not hold one.
    pub(super) fn read(&mut self, records: Vec<RequestRecord>) -> Result<(), ExportError> {
        let mut rest = records.into_iter().peekable();
        while rest.peek().is_some() {
            let (mut items, mut bytes) = (Vec::new(), 0_usize);
            // The time limit of a read applies to the bodies of the group.
            let connection = (self.connect)()?;
            let snapshot = db::read_snapshot(&connection).map_err(ReadError::from)?;
            let begun = Instant::now();
            while items.is_empty() || bytes < GROUP_BYTES && begun.elapsed() < GROUP_TIME {
                let Some(record) = rest.next() else { break };
                self.counts.count(&record);
                let item = whole_item(
                    &connection,
                    self.options,
                    self.wants_messages,
                    &mut self.counts,
                    &mut self.content,
                    record,
                )?;
                bytes = bytes.saturating_add(item.request.bytes() + item.response.bytes());
                items.push(item);
            }
            drop(snapshot);
            drop(connection);
            (self.hand_over)(items)?;
        }
        Ok(())
    }
}

/// Reads everything of one request.
fn whole_item(
    connection: &ReadConnection,
    options: &ExportOptions,
    wants_messages: bool,
    counts: &mut Counts,
    reader: &mut ContentReader,
    record: RequestRecord,
) -> Result<Item, ExportError> {
    let mut item = item(connection, reader, record, options, counts)?;
    if !options.shows_digests() {
        item.request.withhold_digest();
        item.response.withhold_digest();
    }
    if wants_messages {
        let known = KnownBodies {
            request: item.request.whole(),
            response: item.response.whole(),
        };
        match transcript_with(connection, reader, &item.record, &known) {
            Ok(found) => (item.messages, item.replies) = (found.messages, found.replies),
            // The body was already counted as damaged.
            Err(ReadError::Damaged(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let is_unchecked = !reader.commitments.take_unchecked().is_empty()
        || item.request.is_unchecked()
        || item.response.is_unchecked();
    counts.unchecked = counts.unchecked.saturating_add(u64::from(is_unchecked));
    Ok(item)
}

/// Reads everything of one request but its messages. Tool calls keep their inputs only in a full export: an
/// input is content.
fn item(
    connection: &ReadConnection,
    reader: &mut ContentReader,
    record: RequestRecord,
    options: &ExportOptions,
    counts: &mut Counts,
) -> Result<Item, ExportError> {
    let content = options.content;
    let request = body(
        connection,
        reader,
        &record,
        PayloadSide::Request,
        options,
        counts,
    )?;
    let response = body(
        connection,
        reader,
        &record,
        PayloadSide::Response,
        options,
        counts,
    )?;
    // Inputs are unpacked and parsed only where they are exported.
    let tool_calls = match content {
        _ if record.tool_call_count == 0 => Ok(Vec::new()),
        ExportContent::Full => content::tool_calls(connection, reader, &record),
        ExportContent::None | ExportContent::Excerpt => {
            content::tool_calls_without_inputs(connection, &record)
        }
    };
    let tool_calls = match tool_calls {
        Err(ReadError::Damaged(_)) => {
            counts.damaged = counts.damaged.saturating_add(1);
            Vec::new()
        }
        other => other?,
    };
    Ok(Item {
        record,
        tool_calls,
        request,
        response,
        messages: Vec::new(),
        replies: Vec::new(),
    })
}

/// Reads one body. A damaged body is left out and counted: the others are still valuable. Its reason tells
/// a body that is gone from one that was never kept.
///
/// Most are kept whole and are read at once. All others in two steps: `body_info` gives length and digest, also for an export without content, and finds a row that
/// is missing. Then the bytes are read, unless the first step has given a reason why there are none.
fn body(
    connection: &ReadConnection,
    reader: &mut ContentReader,
    record: &RequestRecord,
    side: PayloadSide,
    options: &ExportOptions,
    counts: &mut Counts,
) -> Result<Body, ExportError> {
    let content = options.content;
    if content == ExportContent::None && !options.shows_digests() {
        // Its length is in the row: no body is looked at.
        return Ok(match content::body_length(record, side) {
            None => Body::Absent,
            Some(length) => Body::Present {
                length,
                sha256: None,
                payload: None,
                reason: None,
                is_unchecked: false,
            },
        });
    }
    if content != ExportContent::None
        && let Some(payload) = content::body_kept_whole(connection, reader, record, side)?
    {
        counts.bodies = counts.bodies.saturating_add(1);
        return Ok(Body::Present {
            length: payload.length,
            sha256: Some(payload.sha256),
            reason: None,
            is_unchecked: payload.is_unchecked,
            payload: Some(payload),
        });
    }
    let mut damaged = |what: String| {
        counts.damaged = counts.damaged.saturating_add(1);
        Some(what)
    };
    let (mut reason, mut is_unchecked) = (None, false);
    let (length, sha256) =
        match content::body_info(connection, &mut reader.commitments, record, side) {
            Ok(None) => return Ok(Body::Absent),
            Ok(Some(info)) => {
                if info.removed == Some(content::MISSING) {
                    let why = match info.is_unchecked {
                        true => {
                            "missing, and its line in the log, which would say why, cannot be read"
                        }
                        false => "missing, though the log says that it was kept",
                    };
                    reason = damaged(why.to_owned());
                }
                is_unchecked = info.is_unchecked;
                (info.length, info.sha256)
            }
            Err(ReadError::Damaged(what)) => {
                reason = damaged(what);
                (content::body_length(record, side).unwrap_or(0), None)
            }
            Err(error) => return Err(error.into()),
        };
    let mut payload = None;
    if content != ExportContent::None && reason.is_none() {
        match content::body(connection, reader, record, side) {
            Ok(found) => payload = Some(found),
            Err(ReadError::NotKept { reason: why, .. }) => reason = Some(why.to_owned()),
            Err(ReadError::Damaged(what)) => reason = damaged(what),
            Err(error) => return Err(error.into()),
        }
    }
    counts.bodies = counts.bodies.saturating_add(u64::from(payload.is_some()));
    Ok(Body::Present {
        length,
        sha256,
        payload,
        reason,
        is_unchecked,
    })
}
