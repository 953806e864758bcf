//! JSON Lines: one object for each request. `docs/export.md` describes the fields.

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Body, ExportContent, Item, Line, Sink, excerpt, json};
use crate::error::ExportError;
use crate::model::RecordedToolCall;
use crate::read::content::ReadBody;

/// Writes lines.
pub(super) struct JsonLines {
    content: ExportContent,
    line: Line,
}

impl JsonLines {
    pub(super) fn new(content: ExportContent) -> Self {
        Self {
            content,
            line: Line::default(),
        }
    }
}

impl Sink for JsonLines {
    fn write(&mut self, item: &Item, out: &mut dyn Write) -> Result<(), ExportError> {
        let line = self.line.begin();
        let mut before = b'{';
        for (name, value) in item.record.fields() {
            line.push(before);
            before = b',';
            json::string(line, name.as_bytes());
            line.push(b':');
            json::field(line, &value);
        }
        line.extend_from_slice(b",\"tool_calls\":[");
        for (place, call) in item.tool_calls.iter().enumerate() {
            if place > 0 {
                line.push(b',');
            }
            tool_call(line, call);
        }
        line.extend_from_slice(b"],\"request\":");
        body(line, &item.request, self.content);
        line.extend_from_slice(b",\"response\":");
        body(line, &item.response, self.content);
        line.extend_from_slice(b"}\n");
        self.line.write(out)
    }

    fn begin(&mut self, _: &mut dyn Write) -> Result<(), ExportError> {
        Ok(())
    }
}

fn tool_call(line: &mut Vec<u8>, call: &RecordedToolCall) {
    line.extend_from_slice(b"{\"tool_call_id\":");
    json::string(line, call.tool_call_id.as_bytes());
    line.extend_from_slice(b",\"tool_name\":");
    json::string(line, call.tool_name.as_bytes());
    line.extend_from_slice(b",\"input_bytes\":");
    json::value(line, &call.input_bytes);
    line.extend_from_slice(b",\"input\":");
    optional(line, call.input.as_ref().map(String::as_bytes));
    line.push(b'}');
}

fn optional(line: &mut Vec<u8>, text: Option<&[u8]>) {
    match text {
        None => line.extend_from_slice(b"null"),
        Some(text) => json::string(line, text),
    }
}

fn body(line: &mut Vec<u8>, body: &Body, content: ExportContent) {
    let Body::Present {
        length,
        sha256,
        payload,
        reason,
        is_unchecked,
    } = body
    else {
        line.extend_from_slice(b"null");
        return;
    };
    line.extend_from_slice(b"{\"length\":");
    json::value(line, length);
    line.extend_from_slice(b",\"sha256\":");
    match sha256 {
        None => line.extend_from_slice(b"null"),
        Some(digest) => json::digest(line, digest),
    }
    line.extend_from_slice(b",\"not_exported\":");
    optional(line, reason.as_ref().map(String::as_bytes));
    line.extend_from_slice(b",\"is_unchecked\":");
    json::value(line, is_unchecked);
    line.extend_from_slice(b",\"head\":");
    json::value(line, &payload.as_ref().and_then(|payload| payload.head));
    let (text, base64) = match payload {
        None => (None, None),
        Some(payload) => bytes(payload, content),
    };
    line.extend_from_slice(b",\"text\":");
    optional(line, text.map(str::as_bytes));
    line.extend_from_slice(b",\"base64\":");
    optional(line, base64.as_ref().map(String::as_bytes));
    line.push(b'}');
}

/// As text if the bytes are text and complete, otherwise in base64.
fn bytes(payload: &ReadBody, content: ExportContent) -> (Option<&str>, Option<String>) {
    match (std::str::from_utf8(&payload.bytes), content) {
        (Ok(text), ExportContent::Excerpt) => (Some(excerpt(text)), None),
        (Ok(text), _) => (Some(text), None),
        // An excerpt is for reading: without text it has no value.
        (Err(_), ExportContent::Excerpt) => (None, None),
        (Err(_), _) => (None, Some(STANDARD.encode(payload.bytes.as_slice()))),
    }
}
