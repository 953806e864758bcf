//! The Model Context Protocol (<https://modelcontextprotocol.io/specification>): JSON-RPC over streamable HTTP (one
//! document, or server-sent events) and over stdio (a document on each line).
//!
//! Three things can fail, and they are told apart: the transport (its status), JSON-RPC (`error`, of which the code is the
//! error's type), and the tool (`isError` in a result, `tool_error`). The names of the types of errors are those of
//! OpenTelemetry's conventions for MCP. The request's call is the call of the exchange.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::{MessagePart, MessageToolCall, MessageToolResult};
use crate::wire::error::ResponseError;
use crate::wire::framing::Frame;
use crate::wire::joiner::{Joiner, Slot};
use crate::wire::json::lenient::{Content, Flag, Label, Latest, List, Object, Raw, Text, text_of};
use crate::wire::parts::{CONTENT_PARTS_MAX, Parts, kind_of, result_text};
use crate::wire::request::{ITEMS_MAX, ParsedRequest, TOOLS_MAX, tool};

/// A result has one message.
const CHOICE: u64 = 0;
/// OpenTelemetry's name for a tool's own failure.
const TOOL_ERROR: &str = "tool_error";
/// Keys of `_meta` in which clients name the model's call that they execute.
const CALL_ID_KEYS: [&str; 3] = ["toolUseId", "toolCallId", "tool_call_id"];

/// A message of JSON-RPC.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Rpc<'a> {
    #[serde(borrow)]
    jsonrpc: Text<'a>,
    id: Label,
    #[serde(borrow)]
    method: Text<'a>,
    #[serde(borrow)]
    params: Raw<'a>,
    #[serde(borrow)]
    result: Raw<'a>,
    #[serde(borrow)]
    error: Raw<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer<'a> {
    #[serde(borrow)]
    content: Raw<'a>,
    #[serde(borrow, rename = "structuredContent")]
    structured_content: Raw<'a>,
    #[serde(rename = "isError")]
    is_error: Flag,
    // Of `sampling/createMessage`.
    #[serde(borrow)]
    role: Text<'a>,
    #[serde(borrow)]
    model: Text<'a>,
    #[serde(borrow, rename = "stopReason")]
    stop_reason: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Block<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    text: Text<'a>,
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    input: Raw<'a>,
    #[serde(borrow, rename = "toolUseId")]
    tool_use_id: Text<'a>,
    #[serde(borrow)]
    content: Raw<'a>,
}

type Blocks<'a> = Content<'a, Object<Block<'a>>, CONTENT_PARTS_MAX>;

/// Reads one message of the server. Notifications and the server's own requests come before the answer, and are passed
/// over.
pub(crate) fn response(frame: &Frame<'_>, joiner: &mut Joiner) -> bool {
    let Ok(Object(Some(rpc))) = serde_json::from_slice::<Object<Rpc<'_>>>(frame.data) else {
        return false;
    };
    if rpc.jsonrpc.as_str().is_none() {
        return false;
    }
    if let Some(error) = rpc.error {
        joiner.fail(ResponseError::read(error));
        joiner.end();
        return true;
    }
    let Some(result) = rpc.result else {
        return rpc.method.as_str().is_some();
    };
    joiner.end();
    let Ok(Object(Some(answer))) = serde_json::from_str::<Object<Answer<'_>>>(result.get()) else {
        // A result may be any JSON.
        return true;
    };
    if answer.model.as_str().is_some() || answer.role.as_str().is_some() {
        joiner.identify(None, answer.model.as_str());
        joiner.role(CHOICE, answer.role.as_str());
        read_said(answer.content, joiner);
        joiner.finish_reason(CHOICE, answer.stop_reason.as_str());
        return true;
    }
    let text = answer.content.map(result_text).unwrap_or_default();
    let is_error = answer.is_error.0 == Some(true);
    if is_error {
        let message = Some(text.as_str()).filter(|text| !text.is_empty());
        joiner.fail(ResponseError::new(Some(TOOL_ERROR), message));
    }
    if answer.content.or(answer.structured_content).is_some() {
        joiner.role(CHOICE, Some("tool"));
        let structured = answer.structured_content.map(text_of);
        let result = MessageToolResult {
            tool_call_id: rpc.id.0.unwrap_or_default(),
            text: Some(text)
                .filter(|text| !text.is_empty())
                .or(structured)
                .unwrap_or_default(),
        };
        joiner.result(CHOICE, Slot::Result(0), result);
    }
    true
}

/// What a model said for a server: one block, or a list of them.
fn read_said(content: Raw<'_>, joiner: &mut Joiner) {
    let Some(raw) = content else { return };
    let one = serde_json::from_str::<Object<Block<'_>>>(raw.get());
    if let Ok(Object(Some(block))) = one {
        read_block(0, &block, joiner);
    } else if let Ok(Content::Parts(blocks)) = serde_json::from_str::<Blocks<'_>>(raw.get()) {
        for (index, block) in (0..).zip(&blocks) {
            if let Some(block) = &block.0 {
                read_block(index, block, joiner);
            }
        }
    }
}

fn read_block(index: u64, block: &Block<'_>, joiner: &mut Joiner) {
    match block.kind.as_str() {
        Some("text") => {
            let text = block.text.as_str().unwrap_or_default();
            joiner.text(CHOICE, Slot::Text(index, 0), text);
        }
        Some("tool_use") => {
            if let Some(call) = joiner.call(CHOICE, Slot::Call(index)) {
                *call = block.call();
            }
        }
        kind => joiner.other(CHOICE, Slot::Other(index), &kind_of(kind)),
    }
}

impl Block<'_> {
    fn call(&self) -> MessageToolCall {
        MessageToolCall {
            tool_call_id: self.id.owned().unwrap_or_default(),
            tool_name: self.name.owned().unwrap_or_default(),
            input: self.input.map(text_of).unwrap_or_default(),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Params<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    arguments: Raw<'a>,
    #[serde(borrow, rename = "_meta")]
    meta: Object<std::collections::BTreeMap<&'a str, Label>>,
    // Of `sampling/createMessage`.
    #[serde(borrow)]
    messages: Latest<&'a RawValue, ITEMS_MAX>,
    #[serde(borrow)]
    tools: List<&'a RawValue, TOOLS_MAX>,
    #[serde(rename = "maxTokens")]
    max_tokens: crate::wire::json::lenient::Count,
}

/// The call that a `tools/call` asks to execute; `None`: the body is another message.
pub(crate) fn call(body: &[u8]) -> Option<MessageToolCall> {
    let rpc = serde_json::from_slice::<Object<Rpc<'_>>>(body).ok()?.0?;
    if rpc.method.as_str() != Some("tools/call") {
        return None;
    }
    let params = serde_json::from_str::<Object<Params<'_>>>(rpc.params?.get()).ok()?;
    Some(params.0?.call(rpc.id))
}

impl Params<'_> {
    /// The call is named as the model named it, where the client says so, else by the request's own id.
    fn call(&self, id: Label) -> MessageToolCall {
        let is_call_id = |key: &&str| {
            let key = key.rsplit('/').next().unwrap_or_default();
            CALL_ID_KEYS.contains(&key)
        };
        let meta = self.meta.0.as_ref();
        let named = meta.and_then(|meta| meta.iter().find(|(key, _)| is_call_id(key)));
        let named = named.and_then(|(_, label)| label.0.clone());
        MessageToolCall {
            tool_call_id: named.or(id.0).unwrap_or_default(),
            tool_name: self.name.owned().unwrap_or_default(),
            input: self.arguments.map(text_of).unwrap_or_default(),
        }
    }
}

pub(crate) fn request(body: &[u8], parsed: &mut ParsedRequest) -> bool {
    let Ok(Object(Some(rpc))) = serde_json::from_slice::<Object<Rpc<'_>>>(body) else {
        return false;
    };
    if rpc.jsonrpc.as_str().is_none() {
        return false;
    }
    let method = rpc.method.owned();
    let params = rpc
        .params
        .and_then(|raw| {
            serde_json::from_str::<Object<Params<'_>>>(raw.get())
                .ok()?
                .0
        })
        .unwrap_or_default();
    match method.as_deref() {
        Some("tools/call") => {
            let call = params.call(rpc.id);
            parsed.read_message(|parts| {
                parts.push(MessagePart::ToolCall(call));
                Some("assistant".to_owned())
            });
        }
        Some("sampling/createMessage") => {
            parsed.max_tokens = params.max_tokens.0;
            parsed.tools.extend(params.tools.0.into_iter().map(tool));
            parsed.read_messages(params.messages, message);
        }
        Some(method) => parsed.read_message(|parts| {
            parts.other(Some(method));
            Some("user".to_owned())
        }),
        None => {}
    }
    true
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Message<'a> {
    #[serde(borrow)]
    role: Text<'a>,
    #[serde(borrow)]
    content: Raw<'a>,
}

/// A message of `sampling/createMessage`.
pub(crate) fn message(raw: &RawValue, parts: &mut Parts<'_>) -> Option<String> {
    let message = serde_json::from_str::<Object<Message<'_>>>(raw.get())
        .ok()?
        .0?;
    let content = message.content?;
    let one = serde_json::from_str::<Object<Block<'_>>>(content.get()).ok();
    let blocks = match one.and_then(|one| one.0) {
        Some(block) => vec![Object(Some(block))],
        None => match serde_json::from_str::<Blocks<'_>>(content.get()).ok()? {
            Content::Parts(blocks) => blocks,
            Content::Text(text) => {
                parts.text(&text);
                Vec::new()
            }
            Content::Absent => Vec::new(),
        },
    };
    for block in blocks.iter().filter_map(|block| block.0.as_ref()) {
        match block.kind.as_str() {
            Some("text") => parts.text(block.text.as_str().unwrap_or_default()),
            Some("tool_use") => parts.push(MessagePart::ToolCall(block.call())),
            Some("tool_result") => parts.push(MessagePart::ToolResult(MessageToolResult {
                tool_call_id: block.tool_use_id.owned().unwrap_or_default(),
                text: block.content.map(result_text).unwrap_or_default(),
            })),
            kind => parts.other(kind),
        }
    }
    message.role.owned()
}
