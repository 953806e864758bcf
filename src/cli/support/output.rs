//! Messages on standard error, and JSON on standard output.

use std::io::{self, IsTerminal, Write};

use auditlite::{ReadOnlyStore, UnreadableRequest};
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

use super::unseen::split_unseen;
use super::{format, text, width};

/// Most unreadable requests that one message names.
const UNREADABLE_NAMED: usize = 10;

/// Prints `auditlite: MESSAGE` on standard error. A closed standard error is not worth failing for.
pub(crate) fn say(message: &str) {
    say_raw(&format!("auditlite: {message}"));
}

/// Prints a line on standard error.
pub(crate) fn say_raw(line: &str) {
    let line = text::escape_block(line);
    let wrapped = message_width().map(|columns| {
        let lines: Vec<String> = line
            .lines()
            .map(|line| width::wrap(line, columns))
            .collect();
        lines.join("\n")
    });
    let _ = writeln!(
        io::stderr().lock(),
        "{}",
        wrapped.as_deref().unwrap_or(&line)
    );
}

/// Reports which requests were skipped. `true`: there were some.
pub(crate) fn say_unreadable(unreadable: &[UnreadableRequest]) -> bool {
    for request in unreadable.iter().take(UNREADABLE_NAMED) {
        say(&format!(
            "the request with opened_seq {} cannot be read: {}",
            request.opened_seq, request.what
        ));
    }
    if !unreadable.is_empty() {
        say(&format!(
            "{} passed over; `auditlite verify` says more, `auditlite doctor --rebuild` rewrites the \
             tables from the log",
            format::counted(
                u64::try_from(unreadable.len()).unwrap_or(u64::MAX),
                "request was",
                "requests were"
            )
        ));
    }
    !unreadable.is_empty()
}

/// Reports content that could not be checked, because its line in the log cannot be read. `true`: there was some.
pub(crate) fn say_unchecked(requests: u64) -> bool {
    if requests > 0 {
        say(&format!(
            "content of {} could not be checked: the log cannot be read where it says what was recorded, \
             so that it may be anything; keep the file, `auditlite verify` says more",
            format::counted(requests, "request", "requests")
        ));
    }
    requests > 0
}

/// If no store has the file open, says that pending requests will not end by themselves.
pub(crate) fn say_left_open(store: &ReadOnlyStore) {
    if !store.is_being_written() {
        say(
            "note: no store has the file open: what is pending was left open by a crash, and becomes \
             interrupted when a store opens it next",
        );
    }
}

/// Whether standard output is a terminal.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// The terminal's width in characters: `COLUMNS`, else as the terminal reports it. `None`: standard output is not
/// a terminal, or its width is unknown.
pub(crate) fn terminal_width() -> Option<u16> {
    is_terminal().then(width_of_any)?
}

/// As [`terminal_width`], of standard error.
fn message_width() -> Option<usize> {
    io::stderr()
        .is_terminal()
        .then(width_of_any)?
        .map(usize::from)
}

fn width_of_any() -> Option<u16> {
    let told = std::env::var("COLUMNS").ok();
    let told = told.and_then(|columns| columns.trim().parse().ok());
    told.or_else(|| terminal_size::terminal_size().map(|(width, _)| width.0))
        .filter(|width| *width > 0)
}

/// Writes `value` as one line of JSON.
///
/// Characters that control a terminal or are invisible are written as `\u` escapes too: the same string for every
/// JSON reader, and harmless on a screen.
pub(crate) fn json_line(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    let mut line = Vec::new();
    value
        .serialize(&mut Serializer::with_formatter(&mut line, SafeFormatter))
        .map_err(io::Error::from)?;
    line.push(b'\n');
    out.write_all(&line)
}

struct SafeFormatter;

impl Formatter for SafeFormatter {
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + Write,
    {
        let mut rest = fragment;
        while let Some((before, unseen, after)) = split_unseen(rest, |_| false) {
            writer.write_all(before.as_bytes())?;
            for unit in unseen.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = after;
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_escapes_what_steers_a_terminal_and_stays_the_same_string() {
        let hostile = "a\u{1b}[2Jb\u{9b}c\u{202e}d\u{7f}é🦀\u{200b}\u{e0041}\u{10ffff}";
        let mut line = Vec::new();
        json_line(&mut line, &hostile).unwrap();
        let line = String::from_utf8(line).unwrap();
        assert_eq!(
            line,
            "\"a\\u001b[2Jb\\u009bc\\u202ed\\u007fé🦀\\u200b\\udb40\\udc41\\udbff\\udfff\"\n"
        );
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), hostile);
    }
}
