//! JSON documents: one, several in a row (Ollama streams one on each line), or the items of one array
//! (Gemini streams them like this without `alt=sse`).

use memchr::memchr2;

use super::{Frame, Rest};

#[derive(Debug, Default)]
pub(in crate::wire) struct JsonDocuments {
    /// The part of the current document that earlier chunks brought.
    begun: Vec<u8>,
    depth: u64,
    is_in_string: bool,
    is_after_backslash: bool,
    array: Array,
    documents: u64,
    /// Whether there was something between documents that does not belong there.
    is_foreign: bool,
}

/// Whether the documents are the items of an array.
#[derive(Debug, Default, PartialEq, Eq)]
enum Array {
    #[default]
    Unknown,
    No,
    Open,
    Closed,
}

impl JsonDocuments {
    /// Scans bytes without parsing: it only counts brackets outside of strings. Where the depth returns to
    /// 0, a document ends. A leading `[` opens an array of documents instead of being one, unless a
    /// document came before it. What a chunk leaves incomplete is copied to `begun`.
    pub(super) fn feed(&mut self, chunk: &[u8], take: &mut dyn FnMut(Frame<'_>)) {
        let mut start = 0;
        let mut next = 0;
        while let Some(byte) = chunk.get(next) {
            let at = next;
            next += 1;
            if self.is_in_string {
                next = self.string(chunk, at);
                continue;
            }
            match byte {
                b'"' if self.depth > 0 => self.is_in_string = true,
                b'[' if self.array == Array::Unknown => self.array = Array::Open,
                b']' if self.depth == 0 && self.array == Array::Open => self.array = Array::Closed,
                b'{' | b'[' => {
                    if self.depth == 0 {
                        start = at;
                        if self.array == Array::Unknown {
                            self.array = Array::No;
                        }
                    }
                    self.depth = self.depth.saturating_add(1);
                }
                b'}' | b']' if self.depth > 0 => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        let end = chunk.get(start..=at).unwrap_or_default();
                        self.hand_over(end, take);
                        start = at;
                    }
                }
                _ if self.depth > 0 => {}
                b',' if self.array == Array::Open => {}
                byte => self.is_foreign |= !byte.is_ascii_whitespace(),
            }
        }
        if self.depth > 0 {
            let rest = chunk.get(start..).unwrap_or_default();
            self.begun.extend_from_slice(rest);
        }
    }

    /// Continues within a string; returns the position after its end, or the end of the chunk.
    fn string(&mut self, chunk: &[u8], from: usize) -> usize {
        let mut at = from;
        if std::mem::take(&mut self.is_after_backslash) {
            at += 1;
        }
        while let Some(found) = memchr2(b'"', b'\\', chunk.get(at..).unwrap_or_default()) {
            at += found;
            if chunk.get(at) == Some(&b'"') {
                self.is_in_string = false;
                return at + 1;
            }
            at += 2;
        }
        // An escape whose second byte is in the next chunk.
        self.is_after_backslash = at > chunk.len();
        chunk.len()
    }

    pub(super) fn finish(&self) -> Rest {
        if self.depth > 0 || self.array == Array::Open {
            Rest::Incomplete
        } else if self.is_foreign {
            Rest::Foreign
        } else {
            Rest::Nothing
        }
    }

    pub(super) fn is_stream(&self) -> bool {
        self.documents > 1 || matches!(self.array, Array::Open | Array::Closed)
    }

    fn hand_over(&mut self, end: &[u8], take: &mut dyn FnMut(Frame<'_>)) {
        self.documents = self.documents.saturating_add(1);
        let mut frame = Frame {
            name: None,
            is_error: false,
            data: end,
        };
        if self.begun.is_empty() {
            take(frame);
        } else {
            self.begun.extend_from_slice(end);
            frame.data = &self.begun;
            take(frame);
            self.begun.clear();
        }
    }
}
