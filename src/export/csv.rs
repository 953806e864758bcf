//! CSV by RFC 4180, safe to open in a spreadsheet.

use std::borrow::Cow;
use std::io::Write;

use csv::{Terminator, Writer, WriterBuilder};
use serde_json::Value;

use super::{Body, ExportContent, Item, Sink, excerpt};
use crate::error::ExportError;

/// Columns of metadata: the fields of a request in JSON Lines, by their names.
const COLUMNS: [&str; 44] = [
    "opened_seq",
    "ended_seq",
    "request_id",
    "status",
    "opened_at",
    "latency_us",
    "upstream_latency_us",
    "time_to_first_chunk_us",
    "user_id",
    "session_id",
    "context_id",
    "conversation_id",
    "trace_id",
    "actor_type",
    "actor_id",
    "operation_name",
    "provider_name",
    "response_provider_name",
    "requested_model",
    "request_model",
    "response_model",
    "wire_protocol",
    "is_streaming",
    "max_tokens",
    "temperature",
    "top_p",
    "attributes",
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_write_input_tokens",
    "reasoning_output_tokens",
    "cost_microdollars",
    "finish_reasons",
    "tool_call_count",
    "response_id",
    "http_status",
    "error_type",
    "error_message",
    "request_bytes",
    "response_bytes",
    "altered",
    "is_erased",
    "tool_names",
];

/// Writes records.
pub(super) struct Csv {
    content: ExportContent,
}

impl Csv {
    pub(super) fn new(content: ExportContent) -> Self {
        Self { content }
    }

    fn record(out: &mut dyn Write, cells: &[Cow<'_, str>]) -> Result<(), ExportError> {
        let mut writer: Writer<&mut dyn Write> = WriterBuilder::new()
            .terminator(Terminator::CRLF)
            .from_writer(out);
        writer
            .write_record(cells.iter().map(|cell| cell.as_bytes()))
            .map_err(|error| ExportError::Output(std::io::Error::other(error)))?;
        writer.flush().map_err(ExportError::Output)
    }
}

impl Sink for Csv {
    fn begin(&mut self, out: &mut dyn Write) -> Result<(), ExportError> {
        let mut cells: Vec<Cow<'_, str>> = COLUMNS.into_iter().map(Cow::Borrowed).collect();
        cells.extend(["request_sha256", "response_sha256"].map(Cow::Borrowed));
        if self.content != ExportContent::None {
            cells.extend(["request_text", "response_text"].map(Cow::Borrowed));
        }
        Self::record(out, &cells)
    }

    fn write(&mut self, item: &Item<'_>, out: &mut dyn Write) -> Result<(), ExportError> {
        let record =
            serde_json::to_value(item.record).map_err(|error| ExportError::Output(error.into()))?;
        let names: Vec<&str> = item
            .tool_calls
            .iter()
            .map(|call| call.tool_name.as_str())
            .collect();
        let names = names.join(" ");
        let mut cells: Vec<Cow<'_, str>> = COLUMNS
            .iter()
            .map(|column| match record.get(*column) {
                None if *column == "tool_names" => safe(&names),
                None | Some(Value::Null) => Cow::Borrowed(""),
                Some(Value::String(text)) => safe(text),
                // Numbers and booleans as they are; objects and arrays as JSON.
                Some(other) => Cow::Owned(other.to_string()),
            })
            .collect();
        let sides = [&item.request, &item.response];
        cells.extend(sides.map(|body| match body {
            Body::Present {
                sha256: Some(digest),
                ..
            } => Cow::Owned(digest.to_string()),
            _ => Cow::Borrowed(""),
        }));
        if self.content != ExportContent::None {
            cells.extend(sides.map(|body| self.text(body)));
        }
        Self::record(out, &cells)
    }
}

impl Csv {
    /// A body as text. Bytes that are no UTF-8 are shown as U+FFFD: whoever needs them takes JSON Lines.
    fn text<'b>(&self, body: &'b Body) -> Cow<'b, str> {
        let Body::Present {
            payload: Some(payload),
            ..
        } = body
        else {
            return Cow::Borrowed("");
        };
        let text = String::from_utf8_lossy(&payload.bytes);
        let text = match self.content {
            ExportContent::Excerpt => Cow::Owned(excerpt(&text).to_owned()),
            _ => text,
        };
        match text {
            Cow::Borrowed(text) => safe(text),
            Cow::Owned(text) => Cow::Owned(safe(&text).into_owned()),
        }
    }
}

/// A cell that no spreadsheet takes for a formula: an apostrophe before what would begin one. Source:
/// <https://owasp.org/www-community/attacks/CSV_Injection>.
fn safe(text: &str) -> Cow<'_, str> {
    let is_formula = text.starts_with([
        '=', '+', '-', '@', '\t', '\r', '\n', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}',
    ]);
    if is_formula {
        Cow::Owned(format!("'{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_are_defused_and_nothing_else_is_touched() {
        for text in [
            "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1",
        ] {
            assert_eq!(safe(text), format!("'{text}"));
        }
        for text in ["", "a=1", "'=1", " =1", "ü"] {
            assert_eq!(safe(text), text);
        }
    }
}
