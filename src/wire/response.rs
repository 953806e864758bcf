//! What a response says, in any protocol and framing.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use super::Protocol;
use super::decoding::{self, Decoder, SNIFFED_BYTES};
use super::error::ResponseError;
use super::framing::{Frame, Framing, Rest};
use super::joiner::Joiner;
use super::json::repair;
use super::parsed_response::ParsedResponse;
use crate::model::WireProtocol;

/// Bytes that are read of a response. This bounds memory: no more is kept than was read.
const RESPONSE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Prints everything except texts, and the lengths of texts.
impl fmt::Debug for ParsedResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParsedResponse")
            .field("response_id", &self.response_id)
            .field("response_model", &self.response_model)
            .field("usage", &self.usage)
            .field("is_usage_partial", &self.is_usage_partial)
            .field("usage_details", &self.usage_details)
            .field("finish_reasons", &self.finish_reasons)
            .field("messages", &self.messages)
            .field("error", &self.error)
            .field("is_streamed", &self.is_streamed)
            .field("is_broken_off", &self.is_broken_off)
            .field("unparsed", &self.unparsed)
            .finish()
    }
}

/// Reads a response chunk by chunk while it passes. It does not matter where the chunks are cut.
///
/// Keeps the texts so far and the incomplete event, never the stream.
pub struct ResponseParser {
    /// How it is read: in its protocol, or else by what is common to JSON.
    protocol: &'static Protocol,
    is_known: bool,
    source: Source,
    framing: Framing,
    joiner: Joiner,
    bytes: usize,
    /// Documents that were read.
    documents: u64,
    /// What the first one says if it is not of the protocol.
    other: Option<Box<Joiner>>,
    /// Whether the stream's own last word has come: what follows is no part of the response.
    is_done: bool,
}

/// How the bytes are encoded.
enum Source {
    /// Too few bytes to tell.
    Undecided(Vec<u8>),
    Plain,
    Encoded(Box<Decoder>),
    /// The encoding is damaged, or hides more than is read.
    Damaged,
}

/// Prints the progress, never a text.
impl fmt::Debug for ResponseParser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseParser")
            .field("protocol", &self.protocol)
            .field("response_model", &self.joiner.model)
            .field("has_ended", &self.joiner.has_ended())
            .finish_non_exhaustive()
    }
}

impl ParsedResponse {
    /// Reads a whole response. The bytes tell the framing (one document, server-sent events, an array,
    /// lines of JSON, AWS event stream). For a protocol that is unknown or not supported, everything
    /// remains unread.
    pub fn parse(protocol: &WireProtocol, body: &[u8]) -> Self {
        ResponseParser::new(protocol).parse_whole(body)
    }
}

impl ResponseParser {
    /// A parser for a response in this protocol.
    pub fn new(protocol: &WireProtocol) -> Self {
        Self {
            protocol: Protocol::of(protocol).unwrap_or(Protocol::GENERIC),
            is_known: protocol.is_supported(),
            source: Source::Undecided(Vec::new()),
            framing: Framing::new(),
            joiner: Joiner::default(),
            bytes: 0,
            documents: 0,
            other: None,
            is_done: false,
        }
    }

    /// Skips texts, thinking and refusals, for callers that need only identity, usage, finish reasons, tool
    /// calls and errors.
    #[must_use]
    pub fn without_texts(mut self) -> Self {
        self.joiner.skips_texts = true;
        self
    }

    /// Reads the next chunk.
    pub fn feed(&mut self, chunk: &[u8]) {
        let free_bytes = RESPONSE_BYTES_MAX.saturating_sub(self.bytes);
        self.bytes = self.bytes.saturating_add(chunk.len());
        let chunk = chunk.get(..free_bytes).unwrap_or(chunk);
        if let Source::Undecided(begun) = &mut self.source {
            begun.extend_from_slice(chunk);
            if begun.len() >= SNIFFED_BYTES {
                self.decide();
            }
            return;
        }
        self.read(chunk);
    }

    /// The encoding is known now, or all bytes are here.
    fn decide(&mut self) {
        let Source::Undecided(begun) = &mut self.source else {
            return;
        };
        let begun = std::mem::take(begun);
        self.source = match Decoder::of(&begun, RESPONSE_BYTES_MAX) {
            Some(decoder) => Source::Encoded(Box::new(decoder)),
            None => Source::Plain,
        };
        let bytes = match &self.source {
            Source::Plain => decoding::without_mark(&begun),
            _ => &begun,
        };
        self.read(bytes);
    }

    fn read(&mut self, bytes: &[u8]) {
        let Self {
            protocol,
            source,
            framing,
            joiner,
            documents,
            other,
            is_done,
            ..
        } = self;
        let mut take = |frame: Frame<'_>| {
            *documents = documents.saturating_add(1);
            if !*is_done && !read(protocol, frame, joiner) {
                joiner.unparsed = joiner.unparsed.saturating_add(1);
            } else if *documents == 1 {
                *other = other_reading(protocol, &frame, joiner).map(Box::new);
            }
            *is_done |= is_last(&frame);
        };
        match source {
            Source::Undecided(_) | Source::Damaged => {}
            Source::Plain => framing.feed(bytes, &mut take),
            Source::Encoded(decoder) => {
                let decoded = decoder.feed(bytes, &mut |piece| framing.feed(piece, &mut take));
                if decoded.is_err() {
                    joiner.unparsed = joiner.unparsed.saturating_add(1);
                    *source = Source::Damaged;
                }
            }
        }
    }

    /// Reads a response that is completely here. Most are one document, so its end need not be searched
    /// for.
    pub(crate) fn parse_whole(mut self, body: &[u8]) -> ParsedResponse {
        let document = decoding::without_mark(body).trim_ascii();
        let frame = Frame {
            name: None,
            is_error: false,
            data: document,
        };
        if document.starts_with(b"{")
            && !decoding::is_encoded(body)
            && body.len() <= RESPONSE_BYTES_MAX
            && (self.protocol.response)(&frame, &mut self.joiner)
        {
            self.bytes = body.len();
            self.documents = 1;
            if let Some(other) = other_reading(self.protocol, &frame, &self.joiner) {
                self.be_other(other);
            }
            return self.into_response(false, false);
        }
        self.feed(body);
        self.finish()
    }

    /// The response is one document of another protocol: what was read of it as such counts.
    fn be_other(&mut self, other: Joiner) {
        let unparsed = self.joiner.unparsed;
        self.joiner = other;
        self.joiner.unparsed = unparsed.saturating_add(1);
        self.is_known = false;
    }

    fn into_response(self, is_streamed: bool, is_broken_off: bool) -> ParsedResponse {
        let is_foreign = !self.is_known;
        let is_generic = !self.is_known && !self.joiner.is_empty();
        let is_unread = !self.is_known && self.bytes > 0 && self.joiner.is_empty();
        let mut response = self.joiner.into_response(is_streamed, is_broken_off);
        response.is_generic = is_generic;
        response.is_foreign = is_foreign;
        response.unparsed = response
            .unparsed
            .max(u64::from(is_unread || self.bytes > RESPONSE_BYTES_MAX));
        response
    }

    /// Whether the protocol is one that can be read.
    pub(crate) fn is_known(&self) -> bool {
        self.is_known
    }

    /// The model that serves the request, once the response has named it.
    pub fn response_model(&self) -> Option<&str> {
        self.joiner.model.as_deref()
    }

    /// Whether the response has said that it is complete. More may follow, such as OpenAI's usage.
    pub fn has_ended(&self) -> bool {
        self.joiner.has_ended()
    }

    /// What the response said.
    pub fn finish(mut self) -> ParsedResponse {
        self.decide();
        let (protocol, joiner) = (self.protocol, &mut self.joiner);
        let mut is_cut = false;
        let rest = self.framing.finish(&mut |frame| {
            // A frame that only the end of the stream completes may be half an event.
            is_cut |= !self.is_done && !read(protocol, frame, joiner);
        });
        is_cut |= rest == Rest::Incomplete;
        let foreign = u64::from(rest == Rest::Foreign && self.is_known);
        joiner.unparsed = joiner.unparsed.saturating_add(foreign);
        let is_streamed = self.framing.is_stream();
        let has_no_end = is_streamed && !joiner.has_ended() && joiner.error.is_none();
        let is_broken_off = is_cut || has_no_end;
        if let Some(other) = self.other.take().filter(|_| !is_streamed) {
            self.be_other(*other);
        }
        self.into_response(is_streamed, is_broken_off)
    }
}

/// A document that says nothing in its protocol is of another one, and is read by what JSON of any protocol has in
/// common. Whether it says something may show in its texts only, which the first reading may have skipped.
fn other_reading(protocol: &Protocol, frame: &Frame<'_>, read: &Joiner) -> Option<Joiner> {
    if !read.is_empty() || read.has_ended() || read.unparsed > 0 {
        return None;
    }
    let mut with_texts = Joiner::default();
    (protocol.response)(frame, &mut with_texts);
    let mut other = Joiner::default();
    let is_other = with_texts.is_empty() && (Protocol::GENERIC.response)(frame, &mut other);
    is_other.then_some(other)
}

/// Whether this is OpenAI's last word, which other protocols have taken over.
fn is_last(frame: &Frame<'_>) -> bool {
    frame.data.trim_ascii() == b"[DONE]"
}

/// What an event of Bedrock's InvokeModel wraps: a document of the model's own protocol.
#[derive(Debug, Default, Deserialize)]
struct Wrapped<'a> {
    bytes: &'a str,
}

fn unwrapped(frame: &Frame<'_>) -> Option<Vec<u8>> {
    if frame.name != Some("chunk") {
        return None;
    }
    let wrapped = serde_json::from_slice::<Wrapped<'_>>(frame.data).ok()?;
    BASE64_STANDARD.decode(wrapped.bytes).ok()
}

fn read(protocol: &Protocol, frame: Frame<'_>, joiner: &mut Joiner) -> bool {
    if let Some(document) = unwrapped(&frame) {
        let frame = Frame {
            name: None,
            is_error: false,
            data: &document,
        };
        return read(protocol, frame, joiner);
    }
    if frame.is_error {
        joiner.fail(framed_error(&frame));
        return true;
    }
    if (protocol.response)(&frame, joiner) {
        return true;
    }
    let Some(repaired) = repair::repaired(frame.data) else {
        return false;
    };
    let frame = Frame {
        data: &repaired,
        ..frame
    };
    (protocol.response)(&frame, joiner)
}

/// What the framing says is an error, in whatever protocol. Its name is the kind of error, unless it only says that it
/// is one.
fn framed_error(frame: &Frame<'_>) -> ResponseError {
    let mut error = ResponseError::of_document(frame.data).unwrap_or_else(|| {
        let text = String::from_utf8_lossy(frame.data);
        let text = Some(text.trim()).filter(|text| !matches!(*text, "" | "{}"));
        ResponseError::new(None, text)
    });
    if let Some(name) = frame.name.filter(|name| *name != "error") {
        error.error_type = Some(name.to_owned());
    }
    error
}
