//! Content: from a record to its bodies, and to what a gateway handed over in addition. Each is compared with
//! what the log commits to.

use std::sync::Arc;

use super::commitments::{Absence, Check, Commitments};
use super::payloads::{PayloadCache, ReadPayload, digest_of};
use crate::config::TOOL_INPUT_BYTES_MAX;
use crate::db::{self, Connection, Part, RemovalKind, payload_id};
use crate::error::ReadError;
use crate::log::Kept;
use crate::model::{
    BodyInfo, CanonicalMessage, Digest, Message, Payload, PayloadSide, REQUEST_WITHHELD,
    RESPONSE_WITHHELD, RecordedToolCall, RequestRecord, Status, ToolCall, WireProtocol,
};
use crate::payload::{EndContent, sha256, text_prefix};
use crate::wire::{OfferedTool, ParsedRequest, ParsedResponse};

/// Reads content and compares it with the log. Caches both the payloads and the parts of the log that it
/// read last, so that requests are best read in the order of the log. Belongs to one operation on one
/// thread.
#[derive(Debug, Default)]
pub(crate) struct ContentReader {
    pub(crate) payloads: PayloadCache,
    /// What the log commits to.
    pub(crate) commitments: Commitments,
}

/// A body with its bytes, which the cache may hold too.
#[derive(Debug)]
pub(crate) struct ReadBody {
    pub(crate) bytes: Arc<Vec<u8>>,
    pub(crate) length: u64,
    pub(crate) sha256: Digest,
    pub(crate) head: Option<u64>,
    pub(crate) is_unchecked: bool,
}

impl From<ReadBody> for Payload {
    /// Copies the bytes only if a cache still holds them.
    fn from(body: ReadBody) -> Self {
        Self {
            bytes: Arc::unwrap_or_clone(body.bytes),
            length: body.length,
            sha256: body.sha256,
            head: body.head,
            is_unchecked: body.is_unchecked,
        }
    }
}

/// Where a body is: the event that committed to it, and its length.
fn place(request: &RequestRecord, side: PayloadSide) -> Option<(u64, u64)> {
    match side {
        PayloadSide::Request => Some((request.opened_seq, request.request_bytes)),
        PayloadSide::Response => request.ended_seq.zip(request.response_bytes),
    }
}

/// Returns a value that has no place to say that it could not be compared with the log.
pub(crate) fn checked<T>(
    read: impl FnOnce(&mut ContentReader) -> Result<T, ReadError>,
) -> Result<T, ReadError> {
    let mut reader = ContentReader::default();
    let found = read(&mut reader)?;
    match reader.commitments.take_unchecked().first() {
        Some(&seq) => Err(ReadError::Unchecked { seq }),
        None => Ok(found),
    }
}

/// The length of a body, according to the request's row.
pub(crate) fn body_length(request: &RequestRecord, side: PayloadSide) -> Option<u64> {
    place(request, side).map(|(_, length)| length)
}

/// The words for a removal.
fn removed(kind: RemovalKind) -> &'static str {
    match kind {
        RemovalKind::Erased => "erased",
        RemovalKind::Content | RemovalKind::Metadata => "pruned",
    }
}

/// The word for content that is gone without a removal.
pub(crate) const MISSING: &str = "missing";

/// What is known of a body; `None`: there is none.
///
/// An empty body has no row. A row must match the line of its event. Without a row, the log and the table
/// of removals tell why.
pub(crate) fn body_info(
    connection: &Connection,
    commitments: &mut Commitments,
    request: &RequestRecord,
    side: PayloadSide,
) -> Result<Option<BodyInfo>, ReadError> {
    let Some((seq, length)) = place(request, side) else {
        return Ok(None);
    };
    if length == 0 {
        return Ok(Some(BodyInfo {
            length,
            sha256: Some(sha256(&[])),
            kept: 0,
            stored: 0,
            removed: None,
            is_deferred: false,
            is_unchecked: false,
        }));
    }
    let mut id = payload_id(seq, Part::Body);
    // A row that the log does not confirm is treated like none: the reason is then looked up below.
    let mut stored = db::payload(connection, id, false)?;
    let mut is_unchecked = false;
    let has_content = stored.as_ref().is_some_and(|row| row.stored.is_some());
    if !has_content
        && side == PayloadSide::Request
        && let Some(end) = end_with_body(connection, commitments, request)?
    {
        id = payload_id(end, Part::RequestBody);
        stored = db::payload(connection, id, false)?;
    }
    if let Some(row) = &stored {
        match commitments.check(connection, id, row, None)? {
            Check::Committed => {}
            Check::Unchecked => is_unchecked = true,
            Check::Removed => stored = None,
        }
    }
    let Some(stored) = stored else {
        let absence = commitments.absence(connection, seq, Part::Body)?;
        return Ok(Some(BodyInfo {
            length,
            sha256: None,
            kept: 0,
            stored: 0,
            removed: match absence {
                Absence::NotKept => None,
                Absence::Removed(kind) => Some(removed(kind)),
                Absence::Missing | Absence::Unknown => Some(MISSING),
            },
            is_deferred: false,
            is_unchecked: absence == Absence::Unknown,
        }));
    };
    Ok(Some(BodyInfo {
        length: stored.length,
        sha256: Some(digest_of(&stored)?),
        kept: stored.kept,
        stored: stored.stored.unwrap_or(0),
        removed: None,
        is_deferred: stored.stored.is_none()
            && commitments.kept(connection, seq)? == Some(Kept::Deferred),
        is_unchecked,
    }))
}

/// The seq of the end, where that has kept the request body which the opening deferred. To be asked where the
/// opening's row has no content.
///
/// # Errors
///
/// The end's event says that it was kept, and nothing says why it is gone.
pub(super) fn end_with_body(
    connection: &Connection,
    commitments: &mut Commitments,
    request: &RequestRecord,
) -> Result<Option<u64>, ReadError> {
    let Some(seq) = request.ended_seq else {
        return Ok(None);
    };
    let stated = commitments.kept(connection, request.opened_seq)?;
    if stated.is_some_and(|kept| kept != Kept::Deferred) {
        return Ok(None);
    }
    let id = payload_id(seq, Part::RequestBody);
    if db::payload(connection, id, false)?.is_some() {
        return Ok(Some(seq));
    }
    commitments.accept_absence(connection, seq, Part::RequestBody)?;
    Ok(None)
}

/// The digest and length of the body that was forwarded upstream, if it differed.
pub(crate) fn upstream_body(
    connection: &Connection,
    commitments: &mut Commitments,
    request: &RequestRecord,
) -> Result<Option<BodyInfo>, ReadError> {
    let Some(seq) = request.ended_seq else {
        return Ok(None);
    };
    let id = payload_id(seq, Part::UpstreamBody);
    let Some(stored) = db::payload(connection, id, false)? else {
        commitments.accept_absence(connection, seq, Part::UpstreamBody)?;
        return Ok(None);
    };
    let check = commitments.check(connection, id, &stored, None)?;
    if check == Check::Removed {
        return Ok(None);
    }
    Ok(Some(BodyInfo {
        length: stored.length,
        sha256: Some(digest_of(&stored)?),
        kept: 0,
        stored: 0,
        removed: None,
        is_deferred: false,
        is_unchecked: check == Check::Unchecked,
    }))
}

/// The bytes of a body, compared with the recorded digest, and that with what the log commits to.
pub(crate) fn body(
    connection: &Connection,
    reader: &mut ContentReader,
    request: &RequestRecord,
    side: PayloadSide,
) -> Result<ReadBody, ReadError> {
    let mut place = Place::of(request, side)?;
    let mut found = match place.id() {
        Some(id) => reader.payloads.read(connection, id)?,
        None => None,
    };
    let has_no_content = !matches!(found, Some((_, Some(_))));
    if has_no_content && place.move_to_end(connection, &mut reader.commitments)? {
        found = reader.payloads.read(connection, place.id)?;
    }
    place.body(connection, &mut reader.commitments, found)
}

/// A body that was kept whole with its own event, compared with the log once. `None`: anything else, of which
/// [`body_info`] and [`body`] tell what it is.
pub(crate) fn body_kept_whole(
    connection: &Connection,
    reader: &mut ContentReader,
    request: &RequestRecord,
    side: PayloadSide,
) -> Result<Option<ReadBody>, ReadError> {
    let Some(place) = Place::of(request, side)
        .ok()
        .filter(|place| place.length > 0)
    else {
        return Ok(None);
    };
    let mut read = || {
        let found = reader.payloads.read(connection, place.id)?;
        let Some((row, Some(bytes))) = found.filter(|(row, _)| row.head.is_none()) else {
            return Ok(None);
        };
        let check = reader.commitments.check(connection, place.id, &row, None)?;
        if check == Check::Removed {
            return Ok(None);
        }
        Ok(Some(ReadBody {
            bytes,
            length: row.length,
            sha256: digest_of(&row)?,
            head: None,
            is_unchecked: check == Check::Unchecked,
        }))
    };
    match read() {
        Err(ReadError::Damaged(_)) => Ok(None),
        found => found,
    }
}

/// Where a body is read.
struct Place<'r> {
    request: &'r RequestRecord,
    side: PayloadSide,
    /// The event that its row belongs to, and the row.
    seq: u64,
    id: i64,
    length: u64,
}

impl<'r> Place<'r> {
    fn of(request: &'r RequestRecord, side: PayloadSide) -> Result<Self, ReadError> {
        let (seq, length) = place(request, side).ok_or_else(|| ReadError::NoBody {
            request_id: request.request_id.clone(),
            side: side.as_str(),
        })?;
        Ok(Self {
            request,
            side,
            seq,
            id: payload_id(seq, Part::Body),
            length,
        })
    }

    /// The id of the row; `None`: the body is empty and has no row.
    fn id(&self) -> Option<i64> {
        (self.length > 0).then_some(self.id)
    }

    /// Goes to the end's row, if that has the request's body.
    fn move_to_end(
        &mut self,
        connection: &Connection,
        commitments: &mut Commitments,
    ) -> Result<bool, ReadError> {
        if self.side != PayloadSide::Request || self.length == 0 {
            return Ok(false);
        }
        let end = end_with_body(connection, commitments, self.request)?;
        if let Some(seq) = end {
            self.id = payload_id(seq, Part::RequestBody);
            self.seq = seq;
        }
        Ok(end.is_some())
    }

    /// Makes the body from what was found.
    ///
    /// A row that was found is compared with the log first; it may have been removed in the meantime.
    /// Without a row, the reason is looked up: only a reason that the log confirms is reported as "not
    /// kept", and anything else is damage.
    fn body(
        &self,
        connection: &Connection,
        commitments: &mut Commitments,
        mut found: Option<ReadPayload>,
    ) -> Result<ReadBody, ReadError> {
        let &Self {
            request,
            side,
            seq,
            length,
            ..
        } = self;
        let Some(id) = self.id() else {
            return Ok(ReadBody {
                bytes: Arc::default(),
                length,
                sha256: sha256(&[]),
                head: None,
                is_unchecked: false,
            });
        };
        let mut is_unchecked = false;
        if let Some((row, bytes)) = &found {
            match commitments.check(connection, id, row, bytes_of(bytes))? {
                Check::Committed => {}
                Check::Unchecked => is_unchecked = true,
                Check::Removed => found = None,
            }
        }
        let not_kept = |reason| ReadError::NotKept {
            request_id: request.request_id.clone(),
            side: side.as_str(),
            reason,
            length,
        };
        let Some((stored, bytes)) = found else {
            let absence = commitments.absence(connection, seq, Part::Body)?;
            if let Some(problem) = absence.problem(seq) {
                return Err(problem);
            }
            let is_withheld = request.has_flag(match side {
                PayloadSide::Request => REQUEST_WITHHELD,
                PayloadSide::Response => RESPONSE_WITHHELD,
            });
            return Err(not_kept(match absence {
                Absence::Removed(RemovalKind::Erased) => "it was erased",
                Absence::Removed(_) => "it was pruned",
                _ if is_withheld => "its redaction failed",
                _ => "it was shed for want of capacity",
            }));
        };
        let Some(bytes) = bytes else {
            return Err(not_kept(match commitments.kept(connection, seq)? {
                Some(Kept::Deferred) => undecided(request),
                _ => "content capture was off",
            }));
        };
        Ok(ReadBody {
            bytes,
            length: stored.length,
            sha256: digest_of(&stored)?,
            head: stored.head,
            is_unchecked,
        })
    }
}

fn bytes_of(content: &Option<Arc<Vec<u8>>>) -> Option<&[u8]> {
    content.as_ref().map(|content| content.as_slice())
}

/// Why a body whose capture was deferred is not there.
fn undecided(request: &RequestRecord) -> &'static str {
    let is_error_status = request.http_status.is_some_and(|status| status >= 400);
    match request.status {
        Status::Pending => "its capture is deferred until the request ends",
        Status::Completed if !is_error_status => {
            "its capture was deferred, and the request succeeded"
        }
        _ => "its capture was deferred, and the end did not keep it",
    }
}

/// Content in addition to a body, as the JSON that the gateway passed.
fn content<T: serde::de::DeserializeOwned>(
    connection: &Connection,
    reader: &mut ContentReader,
    seq: u64,
) -> Result<Option<T>, ReadError> {
    let id = payload_id(seq, Part::Content);
    let Some((row, bytes)) = reader.payloads.read(connection, id)? else {
        let commitments = &mut reader.commitments;
        commitments.accept_absence(connection, seq, Part::Content)?;
        return Ok(None);
    };
    let check = reader
        .commitments
        .check(connection, id, &row, bytes_of(&bytes))?;
    let Some(json) = bytes.filter(|_| check != Check::Removed) else {
        return Ok(None);
    };
    serde_json::from_slice(&json)
        .map(Some)
        .map_err(|error| ReadError::Damaged(format!("content is not what it should be: {error}")))
}

/// Canonical messages that the gateway passed; none if it passed none.
pub(crate) fn messages(
    connection: &Connection,
    reader: &mut ContentReader,
    request: &RequestRecord,
) -> Result<Vec<Message>, ReadError> {
    if let Some(messages) = content(connection, reader, request.opened_seq)? {
        return Ok(messages);
    }
    // An opening that deferred them left them to the end.
    let end = end_content(connection, reader, request)?;
    Ok(end.messages.unwrap_or_default())
}

/// What the gateway passed at the end.
pub(crate) fn end_content(
    connection: &Connection,
    reader: &mut ContentReader,
    request: &RequestRecord,
) -> Result<EndContent, ReadError> {
    match request.ended_seq {
        None => Ok(EndContent::default()),
        Some(seq) => Ok(content(connection, reader, seq)?.unwrap_or_default()),
    }
}

/// The assistant's text that the gateway passed.
pub(crate) fn assistant_text(
    connection: &Connection,
    reader: &mut ContentReader,
    request: &RequestRecord,
) -> Result<Option<String>, ReadError> {
    Ok(end_content(connection, reader, request)?.assistant_text)
}

/// Tool calls as the log has them. Their inputs are content: no payload is read.
pub(crate) fn tool_calls_without_inputs(
    connection: &Connection,
    request: &RequestRecord,
) -> Result<Vec<RecordedToolCall>, ReadError> {
    match request.ended_seq {
        None => Ok(Vec::new()),
        Some(seq) => Ok(db::tool_calls(connection, seq)?),
    }
}

/// Tool calls with their inputs, as far as these were kept.
pub(crate) fn tool_calls(
    connection: &Connection,
    reader: &mut ContentReader,
    request: &RequestRecord,
) -> Result<Vec<RecordedToolCall>, ReadError> {
    let mut calls = tool_calls_without_inputs(connection, request)?;
    if calls.is_empty() {
        return Ok(calls);
    }
    let mut inputs = end_content(connection, reader, request)?.tool_inputs;
    if inputs.is_empty() {
        inputs = derived_inputs(connection, reader, request, &calls)?;
    }
    let mut inputs = inputs.into_iter();
    for call in &mut calls {
        call.input = inputs.next();
        let is_too_long = |input: &String| input.len() > TOOL_INPUT_BYTES_MAX;
        if call.input.as_ref().is_some_and(is_too_long) {
            return Err(ReadError::Damaged(
                "a tool input is longer than possible".to_owned(),
            ));
        }
    }
    Ok(calls)
}

/// The tools that the request offers.
pub(crate) fn offered_tools(
    connection: &Connection,
    reader: &mut ContentReader,
    request: &RequestRecord,
) -> Result<Vec<OfferedTool>, ReadError> {
    let parsed = parsed_request(connection, reader, request)?;
    Ok(parsed.map(|parsed| parsed.tools).unwrap_or_default())
}

fn parsed_request(
    connection: &Connection,
    reader: &mut ContentReader,
    request: &RequestRecord,
) -> Result<Option<ParsedRequest>, ReadError> {
    let read = |protocol, body: ReadBody| ParsedRequest::parse(&protocol, "", &body.bytes);
    Ok(
        whole_body(connection, reader, request, PayloadSide::Request)?
            .map(|(protocol, body)| read(protocol, body)),
    )
}

/// What the body of the response says.
pub(crate) fn response(
    connection: &Connection,
    reader: &mut ContentReader,
    request: &RequestRecord,
) -> Result<Option<ParsedResponse>, ReadError> {
    let read = |protocol, body: ReadBody| ParsedResponse::parse(&protocol, &body.bytes);
    Ok(
        whole_body(connection, reader, request, PayloadSide::Response)?
            .map(|(protocol, body)| read(protocol, body)),
    )
}

/// A body that was kept whole, and its protocol; `None` if it cannot be read.
fn whole_body(
    connection: &Connection,
    reader: &mut ContentReader,
    request: &RequestRecord,
    side: PayloadSide,
) -> Result<Option<(WireProtocol, ReadBody)>, ReadError> {
    let protocol = WireProtocol::from(request.wire_protocol.as_deref().unwrap_or_default());
    if !protocol.is_supported() {
        return Ok(None);
    }
    match body(connection, reader, request, side) {
        Ok(body) if body.head.is_some() => Ok(None),
        Ok(body) => Ok(Some((protocol, body))),
        Err(ReadError::NoBody { .. } | ReadError::NotKept { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Inputs from the body, if its calls are those of the log.
fn derived_inputs(
    connection: &Connection,
    reader: &mut ContentReader,
    request: &RequestRecord,
    calls: &[RecordedToolCall],
) -> Result<Vec<String>, ReadError> {
    let Some(response) = response(connection, reader, request)? else {
        return Ok(Vec::new());
    };
    let mut derived = response.tool_calls();
    let is_mcp = request.wire_protocol.as_deref() == Some(WireProtocol::Mcp.as_str());
    if derived.is_empty() && is_mcp {
        // An exchange that executes a call has it in its request.
        let requested = parsed_request(connection, reader, request)?.unwrap_or_default();
        let requested = requested.messages.iter();
        derived = requested
            .flat_map(CanonicalMessage::tool_calls)
            .map(|call| ToolCall::new(&call.tool_call_id, &call.tool_name, &call.input))
            .collect();
    }
    let is_same = calls.iter().zip(&derived).all(|(call, derived)| {
        let length = u64::try_from(derived.input.len()).unwrap_or(u64::MAX);
        call.tool_name == derived.tool_name && call.input_bytes == length
    });
    if !is_same || derived.len() < calls.len() {
        return Ok(Vec::new());
    }
    let cut = |call: ToolCall| text_prefix(&call.input, TOOL_INPUT_BYTES_MAX).to_owned();
    Ok(derived.into_iter().map(cut).collect())
}
