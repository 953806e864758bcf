//! CSV as in RFC 4180. It is safe to open in a spreadsheet, including one that separates cells by
//! semicolons or tabs, as where a decimal comma is used.

use std::io::Write;

use super::line::KEPT_BYTES;
use super::{Body, ExportContent, Item, Line, Sink, excerpt, json, readable};
use crate::error::ExportError;
use crate::model::{FieldValue, Held, export_columns};

/// Columns of metadata: the fields of a request, and three that are to be read.
fn columns() -> impl Iterator<Item = &'static str> {
    export_columns().map(|(name, _)| name).chain(["tool_names"])
}

/// Writes records.
pub(super) struct Csv {
    content: ExportContent,
    cells: Cells,
    line: Line,
}

impl Csv {
    pub(super) fn new(content: ExportContent) -> Self {
        Self {
            content,
            cells: Cells::default(),
            line: Line::default(),
        }
    }

    /// Writes the cells as a record.
    fn record(&mut self, out: &mut dyn Write) -> Result<(), ExportError> {
        self.cells.write(self.line.begin());
        self.line.write(out)
    }
}

impl Sink for Csv {
    fn begin(&mut self, out: &mut dyn Write) -> Result<(), ExportError> {
        let bodies: &[_] = match self.content {
            ExportContent::None => &[],
            _ => &["request_text", "response_text"],
        };
        self.cells.begin();
        for name in columns()
            .chain(["request_sha256", "response_sha256", "unchecked"])
            .chain(bodies.iter().copied())
        {
            self.cells.text(name);
        }
        self.record(out)
    }

    fn write(&mut self, item: &Item, out: &mut dyn Write) -> Result<(), ExportError> {
        let cells = &mut self.cells;
        cells.begin();
        let opened_at = item.record.opened_at.to_rfc3339();
        let cost = item.record.cost_microdollars.map(readable::dollars);
        item.record
            .visit_export_values(opened_at.value(), cost.value(), |value| cells.value(&value));
        let calls = item.tool_calls.iter();
        let names: Vec<&str> = calls.map(|call| call.tool_name.as_str()).collect();
        cells.text(&names.join(" "));
        let sides = [&item.request, &item.response];
        for body in sides {
            if let Body::Present {
                sha256: Some(digest),
                ..
            } = body
            {
                cells.text.extend_from_slice(&digest.hex());
            }
            cells.end();
        }
        cells.text(match sides.map(Body::is_unchecked) {
            [true, true] => "request response",
            [true, false] => "request",
            [false, true] => "response",
            [false, false] => "",
        });
        if self.content != ExportContent::None {
            for body in sides {
                self.cells.body(body, self.content);
            }
        }
        self.record(out)
    }
}

/// The cells of a record, before they are quoted.
#[derive(Default)]
struct Cells {
    text: Vec<u8>,
    /// Where each ends in the text.
    ends: Vec<usize>,
}

impl Cells {
    fn begin(&mut self) {
        self.text.clear();
        self.text.shrink_to(KEPT_BYTES);
        self.ends.clear();
    }

    fn end(&mut self) {
        self.ends.push(self.text.len());
    }

    fn text(&mut self, text: &str) {
        safe(&mut self.text, text);
        self.end();
    }

    fn value(&mut self, value: &FieldValue<'_>) {
        match value {
            FieldValue::Absent => {}
            FieldValue::Text(text) => safe(&mut self.text, text),
            FieldValue::Texts([]) => self.text.extend_from_slice(b"[]"),
            FieldValue::Pairs([]) => self.text.extend_from_slice(b"{}"),
            FieldValue::Texts(_) | FieldValue::Pairs(_) | FieldValue::Details(_) => {
                safe_json(&mut self.text, &readable::json(value));
            }
            number_or_boolean => json::value(&mut self.text, number_or_boolean),
        }
        self.end();
    }

    /// A body as text. Bytes that are not UTF-8 become U+FFFD; use JSON Lines for the exact bytes.
    fn body(&mut self, body: &Body, content: ExportContent) {
        if let Body::Present {
            payload: Some(payload),
            ..
        } = body
        {
            // Text is the rule, and told faster than it is repaired.
            let repaired;
            let text = match std::str::from_utf8(&payload.bytes) {
                Ok(text) => text,
                Err(_) => {
                    repaired = String::from_utf8_lossy(&payload.bytes);
                    &repaired
                }
            };
            safe(
                &mut self.text,
                match content {
                    ExportContent::Excerpt => excerpt(text),
                    _ => text,
                },
            );
        }
        self.end();
    }

    /// Writes them as one record (RFC 4180): quoted where they have a comma or a quote. All of them are quoted if one has
    /// another separator: programs that try several separators then keep the cell together.
    fn write(&self, out: &mut Vec<u8>) {
        let quotes_all = Separators::new(&self.text).at_or_after(0).is_some();
        out.reserve(self.text.len());
        let mut begin = 0;
        for (place, end) in self.ends.iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            let cell = self.text.get(begin..*end).unwrap_or_default();
            begin = *end;
            if quotes_all || memchr::memchr2(b',', b'"', cell).is_some() {
                quote(out, cell);
            } else {
                out.extend_from_slice(cell);
            }
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// Writes a cell between quotes. Those within are doubled.
fn quote(out: &mut Vec<u8>, cell: &[u8]) {
    out.push(b'"');
    let mut written = 0;
    for at in memchr::memchr_iter(b'"', cell) {
        out.extend_from_slice(cell.get(written..=at).unwrap_or_default());
        written = at;
    }
    out.extend_from_slice(cell.get(written..).unwrap_or_default());
    out.push(b'"');
}

/// Separators of readers that were told to use, or guess, something other than a comma: `;`, tab, CR and LF. A comma is not
/// among them: programs that separate by commas respect quotes.
struct Separators<'t> {
    text: &'t [u8],
    /// The next one of each kind, from the place that was asked for last.
    semicolon: Option<usize>,
    blank: Option<usize>,
}

impl<'t> Separators<'t> {
    fn new(text: &'t [u8]) -> Self {
        Self {
            text,
            semicolon: memchr::memchr(b';', text),
            blank: memchr::memchr3(b'\t', b'\r', b'\n', text),
        }
    }

    /// The first at this place or later; places only grow.
    fn at_or_after(&mut self, from: usize) -> Option<usize> {
        let rest = self.text.get(from..)?;
        let found = |at: usize| at.saturating_add(from);
        if self.semicolon.is_some_and(|at| at < from) {
            self.semicolon = memchr::memchr(b';', rest).map(found);
        }
        if self.blank.is_some_and(|at| at < from) {
            self.blank = memchr::memchr3(b'\t', b'\r', b'\n', rest).map(found);
        }
        match (self.semicolon, self.blank) {
            (Some(semicolon), Some(blank)) => Some(semicolon.min(blank)),
            (one, other) => one.or(other),
        }
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

/// Writes a cell that no spreadsheet takes for a formula: an apostrophe precedes every possible beginning of one.
///
/// Where semicolons or tabs separate cells, a quote within a cell is an ordinary character, so quotes do
/// not protect. Therefore the text after every such separator is checked too.
fn safe(out: &mut Vec<u8>, text: &str) {
    if text.starts_with(['\t', '\r', '\n']) || text.starts_with(begins_formula) {
        out.push(b'\'');
    }
    let mut written = 0;
    for at in formulas_inside(text) {
        out.extend_from_slice(text.as_bytes().get(written..at).unwrap_or_default());
        out.push(b'\'');
        written = at;
    }
    out.extend_from_slice(text.as_bytes().get(written..).unwrap_or_default());
}

/// Writes arrays and objects. Their values stay the same: JSON can escape a character instead.
fn safe_json(out: &mut Vec<u8>, text: &str) {
    let mut written = 0;
    for at in formulas_inside(text) {
        out.extend_from_slice(text.as_bytes().get(written..at).unwrap_or_default());
        written = at;
        if let Some(character) = text.get(at..).and_then(|rest| rest.chars().next()) {
            out.extend_from_slice(format!("\\u{:04x}", u32::from(character)).as_bytes());
            written = at.saturating_add(character.len_utf8());
        }
    }
    out.extend_from_slice(text.as_bytes().get(written..).unwrap_or_default());
}

/// Where formulas begin after a separator; quotes in between are taken for those of a cell.
fn formulas_inside(text: &str) -> impl Iterator<Item = usize> {
    let mut separators = Separators::new(text.as_bytes());
    let mut next = 0;
    std::iter::from_fn(move || {
        loop {
            let separator = separators.at_or_after(next)?;
            let after = text.as_bytes().get(separator..)?.iter().skip(1);
            let quotes = after.take_while(|byte| **byte == b'"').count();
            next = separator.saturating_add(1).saturating_add(quotes);
            if text.get(next..)?.starts_with(begins_formula) {
                return Some(next);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn safe(text: &str) -> String {
        let mut out = Vec::new();
        super::safe(&mut out, text);
        String::from_utf8(out).unwrap()
    }

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

    /// What quotes it, and what the dependency of the tests reads of it.
    #[test]
    fn records_are_those_of_rfc_4180() {
        for (cells, expected) in [
            (&["a", "", "1"][..], "a,,1\r\n"),
            (
                &["a,b", "say \"x\"", "1"],
                "\"a,b\",\"say \"\"x\"\"\",1\r\n",
            ),
            (&["a;b", "", "\""], "\"a;b\",\"\",\"\"\"\"\r\n"),
            (&["a\nb", "1"], "\"a\nb\",\"1\"\r\n"),
            (&["\t", "\r"], "\"'\t\",\"'\r\"\r\n"),
        ] {
            let mut record = Cells::default();
            cells.iter().for_each(|cell| record.text(cell));
            let mut out = Vec::new();
            record.write(&mut out);
            assert_eq!(out, expected.as_bytes(), "{cells:?}");
            let mut reader = csv::ReaderBuilder::new();
            let mut reader = reader.has_headers(false).from_reader(out.as_slice());
            let read = reader.records().next().unwrap().unwrap();
            assert_eq!(read.len(), cells.len());
        }
    }

    #[test]
    fn json_is_defused_and_means_the_same() {
        let json = serde_json::json!({"a;=b": "x;=1;\"-2", "c": ["@", ";＠"], "d;": -1});
        let mut cell = Vec::new();
        safe_json(&mut cell, &json.to_string());
        let cell = String::from_utf8(cell).unwrap();
        assert_eq!(formulas_inside(&cell).count(), 0, "{cell}");
        assert_eq!(serde_json::from_str::<Value>(&cell).unwrap(), json);
    }
}
