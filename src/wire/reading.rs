//! Reads the documents of a response, in the protocol that they are of.
//!
//! The protocol is the request's, unless that is unknown, or the first document says nothing in it and is of another one.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use super::Protocol;
use super::batch_line::{self, Answer};
use super::error::ResponseError;
use super::framing::Frame;
use super::joiner::Joiner;
use super::json::repair;
use super::response_protocol;
use crate::model::WireProtocol;

/// Documents of which one may name the protocol: comments, pings and empty beginnings come before it.
const DOCUMENTS_MAX: u64 = 8;
/// The name of the events that Bedrock's InvokeModel wraps documents in.
const CHUNK: &str = "chunk";

/// What was read so far, and how.
#[derive(Debug)]
pub(super) struct Reading {
    /// How it is read: in its protocol, or else by what is common to JSON.
    pub(super) protocol: &'static Protocol,
    pub(super) is_known: bool,
    pub(super) joiner: Joiner,
    /// Documents that were read.
    documents: u64,
    /// What the first one says if it is not of the protocol.
    other: Option<Box<Joiner>>,
    /// Whether the stream's own last word has come: what follows is no part of the response.
    is_done: bool,
    /// The protocol as named, if a response may turn out to be of another one.
    replaceable: Option<WireProtocol>,
}

impl Reading {
    pub(super) fn new(protocol: &WireProtocol) -> Self {
        let is_known = protocol.is_supported();
        let is_replaceable = !is_known || is_mistakable(protocol);
        Self {
            protocol: Protocol::of(protocol).unwrap_or(Protocol::GENERIC),
            is_known,
            joiner: Joiner::default(),
            documents: 0,
            other: None,
            is_done: false,
            replaceable: is_replaceable.then(|| protocol.clone()),
        }
    }

    pub(super) fn count_unparsed(&mut self) {
        self.joiner.unparsed = self.joiner.unparsed.saturating_add(1);
    }

    /// Reads the next document; one that cannot be read is counted.
    pub(super) fn take(&mut self, frame: &Frame<'_>) {
        self.documents = self.documents.saturating_add(1);
        if self.is_done {
            return;
        }
        if !self.read(frame) {
            self.count_unparsed();
        } else if self.documents == 1 {
            self.other = other_reading(self.protocol, frame, &self.joiner).map(Box::new);
        }
        self.is_done |= is_last(frame);
    }

    /// Reads a document that only the end of the response completes; `false`: it may be half of one.
    pub(super) fn take_last(&mut self, frame: &Frame<'_>) -> bool {
        self.documents = self.documents.saturating_add(1);
        let is_read = self.is_done || self.read(frame);
        self.is_done |= is_last(frame);
        is_read
    }

    /// Reads a response that is this document; `false`: it is not one document.
    pub(super) fn take_whole(&mut self, frame: &Frame<'_>) -> bool {
        self.documents = 1;
        if self.choose(frame) {
            return true;
        }
        if !(self.protocol.response)(frame, &mut self.joiner) {
            self.documents = 0;
            return false;
        }
        self.replace(frame);
        self.other = other_reading(self.protocol, frame, &self.joiner).map(Box::new);
        self.be_other();
        true
    }

    fn read(&mut self, frame: &Frame<'_>) -> bool {
        self.choose(frame) || {
            let is_read = read(self.protocol, *frame, &mut self.joiner);
            self.replace(frame) || is_read
        }
    }

    /// The protocol is not known: the first document that names one decides. `true`: it is read already.
    fn choose(&mut self, frame: &Frame<'_>) -> bool {
        if self.is_known || self.documents > DOCUMENTS_MAX {
            return false;
        }
        let found = response_protocol::of_frame(frame);
        if let Some(protocol) = found.as_ref().and_then(Protocol::of) {
            self.begin_with(protocol);
            self.is_known = true;
            return false;
        }
        self.read_batch_line(frame)
    }

    /// Reads the answer within a result of a batch; `false`: the document is none.
    fn read_batch_line(&mut self, frame: &Frame<'_>) -> bool {
        let Some(answer) = batch_line::answer(frame.data).filter(|_| self.documents == 1) else {
            return false;
        };
        match answer {
            Answer::Failed(error) => {
                self.begin_with(self.protocol);
                self.joiner.fail(error);
            }
            Answer::Document(document) => {
                let frame = Frame {
                    name: None,
                    is_error: false,
                    data: document.get().as_bytes(),
                };
                let found = response_protocol::of_frame(&frame);
                let found = found.as_ref().and_then(Protocol::of);
                self.begin_with(found.unwrap_or(self.protocol));
                if !read(self.protocol, frame, &mut self.joiner) {
                    self.count_unparsed();
                }
            }
        }
        self.joiner.end();
        let tier = Some(batch_line::TIER);
        let details = self.joiner.details();
        details.name(tier, |details| &mut details.service_tier);
        self.is_known = true;
        true
    }

    /// The first document says nothing of a reply in the known protocol: it is read again if it is of another one. Then
    /// the response is not what it was said to be, which counts.
    fn replace(&mut self, frame: &Frame<'_>) -> bool {
        let Some(named) = self.replaceable.as_ref().filter(|_| self.documents == 1) else {
            return false;
        };
        // A chunk of Bedrock wraps the document that tells, which was read.
        if !self.joiner.is_bare() || frame.name == Some(CHUNK) {
            return false;
        }
        let found = response_protocol::of_frame(frame);
        if found.is_none() {
            return self.read_batch_line(frame);
        }
        let found = found.filter(|found| found != named);
        let Some(protocol) = found.as_ref().and_then(Protocol::of) else {
            return false;
        };
        if !std::ptr::eq(protocol, self.protocol) {
            self.begin_with(protocol);
            self.count_unparsed();
            read(self.protocol, *frame, &mut self.joiner);
        }
        true
    }

    fn begin_with(&mut self, protocol: &'static Protocol) {
        self.protocol = protocol;
        let skips_texts = self.joiner.skips_texts;
        self.joiner = Joiner::default();
        self.joiner.skips_texts = skips_texts;
    }

    /// If the response is one document of no protocol that is known, what was read of it as such counts.
    pub(super) fn be_other(&mut self) {
        if let Some(other) = self.other.take() {
            let unparsed = self.joiner.unparsed;
            self.joiner = *other;
            self.joiner.unparsed = unparsed.saturating_add(1);
            self.is_known = false;
        }
    }
}

/// Protocols of which requests are mistaken for each other, since they share their fields, and gateways translate
/// between. Of others the path is sure, or their documents wrap those of these.
fn is_mistakable(protocol: &WireProtocol) -> bool {
    matches!(
        protocol,
        WireProtocol::OpenAiChat
            | WireProtocol::OpenAiResponses
            | WireProtocol::OpenAiCompletions
            | WireProtocol::AnthropicMessages
            | WireProtocol::GeminiGenerate
            | WireProtocol::BedrockConverse
            | WireProtocol::OllamaChat
            | WireProtocol::OllamaGenerate
            | WireProtocol::CohereChat
            | WireProtocol::MistralConversations
    )
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
    if frame.name != Some(CHUNK) {
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
