//! CSV as in RFC 4180. It is safe to open in a spreadsheet, including one that separates cells by
//! semicolons or tabs, as where a decimal comma is used.

use std::borrow::Cow;
use std::io::Write;

use csv::{QuoteStyle, Terminator, Writer, WriterBuilder};
use serde_json::Value;

use super::{Body, ExportContent, Item, Sink, excerpt, readable};
use crate::error::ExportError;
use crate::model::export_columns;

/// Columns of metadata: the fields of a request, and three that are to be read.
fn columns() -> impl Iterator<Item = &'static str> {
    export_columns().map(|(name, _)| name).chain(["tool_names"])
}

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
            .quote_style(quote_style(cells))
            .from_writer(out);
        writer
            .write_record(cells.iter().map(|cell| cell.as_bytes()))
            .map_err(|error| ExportError::Output(std::io::Error::other(error)))?;
        writer.flush().map_err(ExportError::Output)
    }
}

impl Sink for Csv {
    fn begin(&mut self, out: &mut dyn Write) -> Result<(), ExportError> {
        let mut cells: Vec<Cow<'_, str>> = columns().map(Cow::Borrowed).collect();
        cells.extend(["request_sha256", "response_sha256", "unchecked"].map(Cow::Borrowed));
        if self.content != ExportContent::None {
            cells.extend(["request_text", "response_text"].map(Cow::Borrowed));
        }
        Self::record(out, &cells)
    }

    fn write(&mut self, item: &Item<'_>, out: &mut dyn Write) -> Result<(), ExportError> {
        let dollars = |cost| Value::String(readable::dollars(cost));
        let record = readable::fields(item.record, dollars)?;
        let names: Vec<&str> = item
            .tool_calls
            .iter()
            .map(|call| call.tool_name.as_str())
            .collect();
        let names = names.join(" ");
        let mut cells: Vec<Cow<'_, str>> = columns()
            .map(|column| match record.get(column) {
                None if column == "tool_names" => safe(&names),
                None | Some(Value::Null) => Cow::Borrowed(""),
                Some(Value::String(text)) => safe(text),
                Some(json @ (Value::Array(_) | Value::Object(_))) => Cow::Owned(json_cell(json)),
                Some(number_or_boolean) => Cow::Owned(number_or_boolean.to_string()),
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
        cells.push(Cow::Borrowed(match sides.map(Body::is_unchecked) {
            [true, true] => "request response",
            [true, false] => "request",
            [false, true] => "response",
            [false, false] => "",
        }));
        if self.content != ExportContent::None {
            cells.extend(sides.map(|body| self.text(body)));
        }
        Self::record(out, &cells)
    }
}

impl Csv {
    /// A body as text. Bytes that are not UTF-8 become U+FFFD; use JSON Lines for the exact bytes.
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

/// Separators of readers that were told to use, or guess, something other than a comma. A comma is not
/// among them: programs that separate by commas respect quotes.
const SEPARATORS: [char; 4] = [';', '\t', '\r', '\n'];

/// Quotes every cell if one contains such a separator: programs that try several separators then keep the
/// cell together.
fn quote_style(cells: &[Cow<'_, str>]) -> QuoteStyle {
    if cells.iter().any(|cell| cell.contains(SEPARATORS)) {
        QuoteStyle::Always
    } else {
        QuoteStyle::Necessary
    }
}

/// Whether a cell that begins with this is taken for a formula. Source:
/// <https://owasp.org/www-community/attacks/CSV_Injection>.
fn begins_formula(character: char) -> bool {
    matches!(
        character,
        '=' | '+' | '-' | '@' | '\u{ff1d}' | '\u{ff0b}' | '\u{ff0d}' | '\u{ff20}'
    )
}

/// A cell that no spreadsheet takes for a formula: an apostrophe precedes every possible beginning of one.
///
/// Where semicolons or tabs separate cells, a quote within a cell is an ordinary character, so quotes do
/// not protect. Therefore the text after every such separator is checked too.
fn safe(text: &str) -> Cow<'_, str> {
    let is_first_bad = text.starts_with(['\t', '\r', '\n']) || text.starts_with(begins_formula);
    let mut safe = String::from(if is_first_bad { "'" } else { "" });
    let mut written = 0;
    for at in formulas_inside(text) {
        safe.push_str(text.get(written..at).unwrap_or_default());
        safe.push('\'');
        written = at;
    }
    if safe.is_empty() {
        return Cow::Borrowed(text);
    }
    safe.push_str(text.get(written..).unwrap_or_default());
    Cow::Owned(safe)
}

/// Arrays and objects. Their values stay the same: JSON can escape a character instead.
fn json_cell(json: &Value) -> String {
    let text = json.to_string();
    let mut safe = String::new();
    let mut written = 0;
    for at in formulas_inside(&text) {
        let (before, from) = text.split_at(at);
        safe.push_str(before.get(written..).unwrap_or_default());
        for character in from.chars().take(1) {
            safe.push_str(&format!("\\u{:04x}", u32::from(character)));
            written = at.saturating_add(character.len_utf8());
        }
    }
    safe.push_str(text.get(written..).unwrap_or_default());
    safe
}

/// Where formulas begin after a separator; quotes in between are taken for those of a cell.
fn formulas_inside(text: &str) -> impl Iterator<Item = usize> {
    let mut is_start = false;
    text.char_indices().filter_map(move |(at, character)| {
        let is_formula = is_start && begins_formula(character);
        is_start = SEPARATORS.contains(&character) || is_start && character == '"';
        is_formula.then_some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_are_defused_and_nothing_else_is_touched() {
        for text in ["=1+1", "+1", "-1", "@SUM(A1)", "\ta", "\ra", "\na", "＝1"] {
            assert_eq!(safe(text), format!("'{text}"));
        }
        for text in [
            "",
            "a=1",
            "'=1",
            " =1",
            "ü",
            "a;b",
            "for (;;) x",
            "a;\"'=1",
            "a,=1",
        ] {
            assert_eq!(safe(text), text);
        }
        for (text, expected) in [
            ("a;=1", "a;'=1"),
            ("\t=1", "'\t'=1"),
            ("=1;=1", "'=1;'=1"),
            ("a;\"=1\";b", "a;\"'=1\";b"),
            ("a\n-1\r\n@x\t+1;＝1", "a\n'-1\r\n'@x\t'+1;'＝1"),
        ] {
            assert_eq!(safe(text), expected);
        }
    }

    #[test]
    fn json_is_defused_and_means_the_same() {
        let json = serde_json::json!({"a;=b": "x;=1;\"-2", "c": ["@", ";＠"], "d;": -1});
        let cell = json_cell(&json);
        assert_eq!(formulas_inside(&cell).count(), 0, "{cell}");
        assert_eq!(serde_json::from_str::<Value>(&cell).unwrap(), json);
    }
}
