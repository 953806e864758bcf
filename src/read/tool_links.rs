//! Which requests executed a model's tool calls: those of the Model Context Protocol that a client made of them.
//!
//! Two requests are linked where the call has the same id (clients pass the model's in `_meta`) and name, or, in one
//! conversation, session or trace, the same name and input. Only requests nearby in the log are looked at.

use serde_json::Value;

use super::content::{self, ContentReader};
use crate::db::{self, Connection};
use crate::error::ReadError;
use crate::model::{RecordedToolCall, RequestRecord, Status, WireProtocol};

/// How far from a request the other one may be, in events of the log: a call is executed at once, or after a person
/// agreed.
const EVENTS_MAX: u64 = 20_000;
/// Requests that are looked at, the nearest first.
const CANDIDATES_MAX: usize = 256;

/// The other request of a tool call: the one that executed it, or the one in whose response the model asked for it.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ToolLink {
    /// The position of the call in the request that was asked about.
    pub position: u64,
    /// Whether the other request executed the call. `false`: the model asked for it there.
    pub is_execution: bool,
    /// The other request.
    pub request_id: String,
    /// A name that only that request has, see [`RequestRecord::reference`].
    pub reference: String,
    /// How it ended. A tool that says that it failed makes it `failed`.
    pub status: Status,
    /// Why it failed: `tool_error`, the code of JSON-RPC, the HTTP status.
    pub error_type: Option<String>,
}

/// The other requests of the request's tool calls, at most one for each call.
pub(crate) fn tool_links(
    connection: &Connection,
    request: &RequestRecord,
) -> Result<Vec<ToolLink>, ReadError> {
    let mut reader = ContentReader::default();
    let calls = calls(connection, &mut reader, request)?;
    let mut links: Vec<ToolLink> = Vec::new();
    if calls.is_empty() {
        return Ok(links);
    }
    let is_execution = !is_mcp(request);
    let candidates = db::tool_callers_near(
        connection,
        request.opened_seq,
        EVENTS_MAX,
        is_execution,
        CANDIDATES_MAX,
    )?;
    for (_, other) in candidates {
        // A damaged row is no other request.
        let Ok(other) = other else { continue };
        if links.len() >= calls.len() {
            break;
        }
        if are_strangers(request, &other) {
            continue;
        }
        let mut others = self::calls(connection, &mut reader, &other)?;
        for call in &calls {
            let is_linked = links.iter().any(|link| link.position == call.position);
            let is_same_call = |own: &RecordedToolCall| {
                let [asked, executed] = match is_execution {
                    true => [call, own],
                    false => [own, call],
                };
                are_same(asked, executed, is_together(request, &other))
            };
            let Some(at) = others.iter().position(is_same_call).filter(|_| !is_linked) else {
                continue;
            };
            others.remove(at);
            links.push(ToolLink {
                position: call.position,
                is_execution,
                request_id: other.request_id.clone(),
                reference: other.reference(),
                status: other.status,
                error_type: other.error_type.clone(),
            });
        }
    }
    links.sort_by_key(|link| link.position);
    Ok(links)
}

fn is_mcp(request: &RequestRecord) -> bool {
    request.wire_protocol.as_deref() == Some(WireProtocol::Mcp.as_str())
}

/// The calls, with their inputs where these can be read.
fn calls(
    connection: &Connection,
    reader: &mut ContentReader,
    request: &RequestRecord,
) -> Result<Vec<RecordedToolCall>, ReadError> {
    match content::tool_calls(connection, reader, request) {
        Err(ReadError::Damaged(_)) => content::tool_calls_without_inputs(connection, request),
        calls => calls,
    }
}

/// Whether both name a user, and not the same one.
fn are_strangers(one: &RequestRecord, other: &RequestRecord) -> bool {
    one.user_id.is_some() && other.user_id.is_some() && one.user_id != other.user_id
}

/// Whether both belong to the same conversation, session or trace.
fn is_together(one: &RequestRecord, other: &RequestRecord) -> bool {
    let same = |one: Option<&str>, other: Option<&str>| one.is_some() && one == other;
    same(one.conversation(), other.conversation())
        || same(one.session_id.as_deref(), other.session_id.as_deref())
        || same(one.trace_id.as_deref(), other.trace_id.as_deref())
}

fn are_same(asked: &RecordedToolCall, executed: &RecordedToolCall, is_together: bool) -> bool {
    if !is_name_of(&asked.tool_name, &executed.tool_name) {
        return false;
    }
    if !asked.tool_call_id.is_empty() && asked.tool_call_id == executed.tool_call_id {
        return true;
    }
    let inputs = (asked.input.as_deref(), executed.input.as_deref());
    matches!(inputs, (Some(asked), Some(executed)) if is_together && are_equal(asked, executed))
}

/// Clients offer the tool of a server under its name, or with the server's before it (`mcp__files__read`).
fn is_name_of(asked: &str, executed: &str) -> bool {
    let head = asked
        .strip_suffix(executed)
        .filter(|_| !executed.is_empty());
    head.is_some_and(|head| !head.ends_with(char::is_alphanumeric))
}

/// Whether two inputs are the same JSON. None at all is an empty object.
fn are_equal(one: &str, other: &str) -> bool {
    let read = |text: &str| match text.trim() {
        "" | "null" => Some(Value::Object(serde_json::Map::new())),
        text => serde_json::from_str::<Value>(text).ok(),
    };
    one == other || read(one).is_some_and(|one| Some(one) == read(other))
}
