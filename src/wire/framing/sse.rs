//! Server-sent events (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
//!
//! Only the fields `event` and `data` matter here. Unlike a browser, this does not drop a last event
//! without an empty line after it: servers end their streams early. Two things that servers send beside events
//! are events here: an error in a field of its own (`error: {…}`), and JSON that no field holds.

use super::{Frame, Rest};

#[derive(Debug, Default)]
pub(in crate::wire) struct ServerSentEvents {
    /// The beginning of a line that is not complete yet.
    line: Vec<u8>,
    event: Event,
    /// JSON that no field holds, as far as it came.
    unframed: Vec<u8>,
    /// Whether the last line ended with a carriage return: a line feed that follows belongs to it.
    is_after_return: bool,
    is_after_first_line: bool,
    /// Whether there was a line of the format, including a comment.
    is_stream: bool,
    /// Whether there was a line that is not of the format.
    is_foreign: bool,
}

#[derive(Debug, Default)]
struct Event {
    name: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
}

impl ServerSentEvents {
    pub(super) fn feed(&mut self, chunk: &[u8], take: &mut dyn FnMut(Frame<'_>)) {
        let mut chunk = chunk;
        if self.is_after_return
            && let Some(first) = chunk.first()
        {
            self.is_after_return = false;
            if *first == b'\n' {
                chunk = chunk.get(1..).unwrap_or_default();
            }
        }
        while let Some(end) = memchr::memchr2(b'\n', b'\r', chunk) {
            let (line, rest) = chunk.split_at_checked(end).unwrap_or((chunk, b""));
            if self.line.is_empty() {
                self.take_line(line, take);
            } else {
                self.line.extend_from_slice(line);
                let mut whole = std::mem::take(&mut self.line);
                self.take_line(&whole, take);
                whole.clear();
                self.line = whole; // Its memory serves the next line.
            }
            chunk = match rest {
                [b'\r', b'\n', rest @ ..] => rest,
                [b'\r'] => {
                    self.is_after_return = true;
                    &[]
                }
                [_, rest @ ..] => rest,
                [] => &[],
            };
        }
        self.line.extend_from_slice(chunk);
    }

    pub(super) fn finish(&mut self, take: &mut dyn FnMut(Frame<'_>)) -> Rest {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.take_line(&line, take);
        }
        self.take_line(b"", take);
        if self.is_foreign && !self.is_stream {
            Rest::Foreign
        } else {
            Rest::Nothing
        }
    }

    pub(super) fn is_stream(&self) -> bool {
        self.is_stream
    }

    fn take_line(&mut self, line: &[u8], take: &mut dyn FnMut(Frame<'_>)) {
        let mut line = line;
        if !self.is_after_first_line {
            self.is_after_first_line = true;
            line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
        }
        if line.is_empty() {
            self.dispatch(take);
            return;
        }
        if line.starts_with(b"{") || !self.unframed.is_empty() {
            // The lines of such JSON end with an empty one, or with the next field.
            let is_next = is_field(line) || self.unframed.is_empty();
            if is_next {
                self.dispatch(take);
            }
            if !is_field(line) {
                self.unframed.extend_from_slice(line);
                self.unframed.push(b'\n');
                return;
            }
        }
        let colon = memchr::memchr(b':', line).unwrap_or(line.len());
        let (field, value) = line.split_at_checked(colon).unwrap_or((line, b""));
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                self.is_stream = true;
                if self.event.has_data {
                    self.event.data.push(b'\n');
                }
                self.event.has_data = true;
                self.event.data.extend_from_slice(value);
            }
            b"error" => {
                self.dispatch(take);
                self.is_stream = true;
                self.event.name.extend_from_slice(b"error");
                self.event.has_data = true;
                self.event.data.extend_from_slice(value);
            }
            b"event" => {
                self.event.name.clear();
                self.event.name.extend_from_slice(value);
            }
            b"" => self.is_stream = true,
            b"id" | b"retry" => {}
            _ => self.is_foreign = true,
        }
    }

    fn dispatch(&mut self, take: &mut dyn FnMut(Frame<'_>)) {
        if self.event.has_data {
            let name = std::str::from_utf8(&self.event.name).ok();
            take(Frame {
                name: name.filter(|name| !name.is_empty()),
                is_error: self.event.name == b"error",
                data: &self.event.data,
            });
        }
        self.event.name.clear();
        self.event.data.clear();
        self.event.has_data = false;
        if !self.unframed.is_empty() {
            take(Frame {
                name: None,
                is_error: false,
                data: &self.unframed,
            });
            self.unframed.clear();
        }
    }
}

/// Whether a line begins with a field of the format.
fn is_field(line: &[u8]) -> bool {
    [&b"data:"[..], b"event:", b"id:", b"retry:", b"error:", b":"]
        .iter()
        .any(|field| line.starts_with(field))
}
