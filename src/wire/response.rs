//! What a response says, in any protocol and framing.

use std::fmt;

use super::decoding::{self, Decoder, SNIFFED_BYTES};
use super::framing::{Frame, Framing, Rest};
use super::parsed_response::ParsedResponse;
use super::reading::Reading;
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
    source: Source,
    framing: Framing,
    reading: Reading,
    bytes: usize,
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
            .field("protocol", &self.reading.protocol)
            .field("response_model", &self.reading.joiner.model)
            .field("has_ended", &self.reading.joiner.has_ended())
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
            source: Source::Undecided(Vec::new()),
            framing: Framing::new(),
            reading: Reading::new(protocol),
            bytes: 0,
        }
    }

    /// Skips texts, thinking and refusals, for callers that need only identity, usage, finish reasons, tool
    /// calls and errors.
    #[must_use]
    pub fn without_texts(mut self) -> Self {
        self.reading.joiner.skips_texts = true;
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
            source,
            framing,
            reading,
            ..
        } = self;
        let mut take = |frame: Frame<'_>| reading.take(&frame);
        match source {
            Source::Undecided(_) | Source::Damaged => {}
            Source::Plain => framing.feed(bytes, &mut take),
            Source::Encoded(decoder) => {
                let decoded = decoder.feed(bytes, &mut |piece| framing.feed(piece, &mut take));
                if decoded.is_err() {
                    reading.count_unparsed();
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
            && self.reading.take_whole(&frame)
        {
            self.bytes = body.len();
            return self.into_response(false, false);
        }
        self.feed(body);
        self.finish()
    }

    fn into_response(self, is_streamed: bool, is_broken_off: bool) -> ParsedResponse {
        let Reading {
            joiner, is_known, ..
        } = self.reading;
        let is_foreign = !is_known;
        let is_generic = is_foreign && !joiner.is_empty();
        let is_unread = is_foreign && self.bytes > 0 && joiner.is_empty();
        // One line of a stream is one document, and may be all that came.
        let is_unfinished = joiner.is_unfinished && joiner.error.is_none();
        let mut response =
            joiner.into_response(is_streamed || is_unfinished, is_broken_off || is_unfinished);
        response.is_generic = is_generic;
        response.is_foreign = is_foreign;
        response.unparsed = response
            .unparsed
            .max(u64::from(is_unread || self.bytes > RESPONSE_BYTES_MAX));
        response
    }

    /// Whether the protocol is one that can be read.
    pub(crate) fn is_known(&self) -> bool {
        self.reading.is_known
    }

    /// The model that serves the request, once the response has named it.
    pub fn response_model(&self) -> Option<&str> {
        self.reading.joiner.model.as_deref()
    }

    /// Whether the response has said that it is complete. More may follow, such as OpenAI's usage.
    pub fn has_ended(&self) -> bool {
        self.reading.joiner.has_ended()
    }

    /// What the response said.
    pub fn finish(mut self) -> ParsedResponse {
        self.decide();
        let reading = &mut self.reading;
        let mut is_cut = false;
        let rest = self.framing.finish(&mut |frame| {
            // A frame that only the end of the stream completes may be half an event.
            is_cut |= !reading.take_last(&frame);
        });
        is_cut |= rest == Rest::Incomplete;
        if rest == Rest::Foreign && reading.is_known {
            reading.count_unparsed();
        }
        let is_streamed = self.framing.is_stream();
        if !is_streamed {
            reading.be_other();
        }
        let joiner = &reading.joiner;
        let has_no_end = is_streamed && !joiner.has_ended() && joiner.error.is_none();
        self.into_response(is_streamed, is_cut || has_no_end)
    }
}
