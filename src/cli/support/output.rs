//! Messages on standard error, and JSON on standard output.

use std::io::{self, IsTerminal, Write};

use auditlite::{ReadOnlyStore, UnreadableRequest};
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

use super::unseen::split_unseen;
use super::{format, text, width};

/// Requests that cannot be read and are named, each time that something is said of them.
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

/// Says which requests were passed over. `true`: there were some.
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

/// Says that the log could not be read where it says what was recorded. `true`: that is so.
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

/// Says that what is pending will not end by itself, where nobody has the store open who could end it.
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

/// Characters that a line of the terminal has: as `COLUMNS` says, else the terminal. `None`: standard
/// output is none, or does not tell.
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
/// Beyond what JSON demands, characters that steer a terminal or are not seen are written as `\u`
/// escapes: the same string to every JSON reader, harmless on a screen.
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
