//! JSON Lines: one object for each request. `docs/export.md` describes the fields.

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::{Body, ExportContent, Item, Sink, excerpt};
use crate::error::ExportError;
use crate::model::{RecordedToolCall, RequestRecord};
use crate::read::content::ReadBody;

/// Writes lines.
pub(super) struct JsonLines {
    content: ExportContent,
}

impl JsonLines {
    pub(super) fn new(content: ExportContent) -> Self {
        Self { content }
    }
}

impl Sink for JsonLines {
    fn write(&mut self, item: &Item<'_>, out: &mut dyn Write) -> Result<(), ExportError> {
        let line = Line {
            record: item.record,
            tool_calls: item.tool_calls.iter().map(ToolCall).collect(),
            request: BodyJson(&item.request, self.content),
            response: BodyJson(&item.response, self.content),
        };
        serde_json::to_writer(&mut *out, &line)
            .map_err(|error| ExportError::Output(error.into()))?;
        out.write_all(b"\n").map_err(ExportError::Output)
    }

    fn begin(&mut self, _: &mut dyn Write) -> Result<(), ExportError> {
        Ok(())
    }
}

#[derive(serde::Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    record: &'a RequestRecord,
    tool_calls: Vec<ToolCall<'a>>,
    request: BodyJson<'a>,
    response: BodyJson<'a>,
}

struct ToolCall<'a>(&'a RecordedToolCall);

impl Serialize for ToolCall<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("tool_call_id", &self.0.tool_call_id)?;
        map.serialize_entry("tool_name", &self.0.tool_name)?;
        map.serialize_entry("input_bytes", &self.0.input_bytes)?;
        map.serialize_entry("input", &self.0.input)?;
        map.end()
    }
}

struct BodyJson<'a>(&'a Body, ExportContent);

impl Serialize for BodyJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Body::Present {
            length,
            sha256,
            payload,
            reason,
            is_unchecked,
        } = self.0
        else {
            return serializer.serialize_none();
        };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("length", length)?;
        map.serialize_entry("sha256", &sha256.map(|digest| digest.to_string()))?;
        map.serialize_entry("not_exported", reason)?;
        map.serialize_entry("is_unchecked", is_unchecked)?;
        match payload {
            None => map.serialize_entry("head", &None::<u64>)?,
            Some(payload) => map.serialize_entry("head", &payload.head)?,
        }
        let (text, base64) = match payload {
            None => (None, None),
            Some(payload) => self.bytes(payload),
        };
        map.serialize_entry("text", &text)?;
        map.serialize_entry("base64", &base64)?;
        map.end()
    }
}

impl BodyJson<'_> {
    /// As text if the bytes are text and complete, otherwise in base64.
    fn bytes<'p>(&self, payload: &'p ReadBody) -> (Option<&'p str>, Option<String>) {
        match (std::str::from_utf8(&payload.bytes), self.1) {
            (Ok(text), ExportContent::Excerpt) => (Some(excerpt(text)), None),
            (Ok(text), _) => (Some(text), None),
            // An excerpt is for reading: without text it has no value.
            (Err(_), ExportContent::Excerpt) => (None, None),
            (Err(_), _) => (None, Some(STANDARD.encode(payload.bytes.as_slice()))),
        }
    }
}
