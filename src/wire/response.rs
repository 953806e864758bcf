//! What a response says, in any protocol and framing.

use std::fmt;

use super::Protocol;
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
    protocol: Option<&'static Protocol>,
    framing: Framing,
    joiner: Joiner,
    bytes: usize,
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
            protocol: Protocol::of(protocol),
            framing: Framing::new(),
            joiner: Joiner::default(),
            bytes: 0,
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
        if let Some(protocol) = self.protocol {
            let joiner = &mut self.joiner;
            self.framing.feed(chunk, &mut |frame| {
                if !read(protocol, frame, joiner) {
                    joiner.unparsed = joiner.unparsed.saturating_add(1);
                }
            });
        }
    }

    /// Reads a response that is completely here. Most are one document, so its end need not be searched
    /// for.
    pub(crate) fn parse_whole(mut self, body: &[u8]) -> ParsedResponse {
        let document = body.trim_ascii();
        let frame = Frame {
            name: None,
            is_error: false,
            data: document,
        };
        if let Some(protocol) = self.protocol
            && document.starts_with(b"{")
            && body.len() <= RESPONSE_BYTES_MAX
            && (protocol.response)(&frame, &mut self.joiner)
        {
            return self.joiner.into_response(false, false);
        }
        self.feed(body);
        self.finish()
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
        let mut is_cut = false;
        if let Some(protocol) = self.protocol {
            let joiner = &mut self.joiner;
            let rest = self.framing.finish(&mut |frame| {
                // A frame that only the end of the stream completes may be half an event.
                is_cut |= !read(protocol, frame, joiner);
            });
            is_cut |= rest == Rest::Incomplete;
            let foreign = u64::from(rest == Rest::Foreign);
            joiner.unparsed = joiner.unparsed.saturating_add(foreign);
        }
        if self.bytes > RESPONSE_BYTES_MAX || (self.protocol.is_none() && self.bytes > 0) {
            self.joiner.unparsed = self.joiner.unparsed.saturating_add(1);
        }
        let is_streamed = self.framing.is_stream();
        let has_no_end = is_streamed && !self.joiner.has_ended() && self.joiner.error.is_none();
        let is_broken_off = is_cut || has_no_end;
        self.joiner.into_response(is_streamed, is_broken_off)
    }
}

fn read(protocol: &Protocol, frame: Frame<'_>, joiner: &mut Joiner) -> bool {
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
