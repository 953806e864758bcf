//! The parameters of a request, without its messages.
//!
//! A gateway sees the history of a conversation again in every request. So the scan reads only the top
//! level, lets `serde_json` skip the rest, and remembers where messages end. The scan of the next request
//! resumes at the last of these positions that both bodies share.

use std::collections::VecDeque;
use std::ops::Range;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::json::lenient::{Count, Flag, Latest, List, Object, Real, Text};
use super::protocols::bedrock::InferenceConfig;
use super::protocols::gemini::GenerationConfig;
use super::protocols::ollama::Options;
use super::request::{ITEMS_MAX, ParsedRequest, TOOLS_MAX};
use super::{Protocol, decoding, multipart, path};
use crate::model::{CanonicalMessage, MessagePart, WireProtocol};

/// How many ends of messages are remembered: a client may rewrite its last few messages.
const BOUNDARIES_MAX: usize = 8;

/// What a request asks for, without what it says: cheap enough for every request.
///
/// Equal to what [`ParsedRequest`] finds, except for a body that has to be repaired first (a duplicate key
/// has its last value here too). Nothing fails: of a body that is not JSON, the fields before the fault are
/// kept, and [`is_complete`](Self::is_complete) is `false`.
///
/// ```
/// use auditlite::{RequestSummary, WireProtocol};
///
/// let first = br#"{"model":"gpt-4o","messages":[{"role":"user","content":"Hi"}],"stream":true}"#;
/// let summary = RequestSummary::parse(&WireProtocol::OpenAiChat, "", first);
/// assert_eq!(summary.model.as_deref(), Some("gpt-4o"));
/// assert_eq!((summary.is_streaming, summary.message_count), (true, 1));
///
/// // The next request of the conversation: only what it adds is parsed.
/// let next = br#"{"model":"gpt-4o","messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello"}],"stream":true}"#;
/// let common_head = first.iter().zip(next).take_while(|(a, b)| a == b).count();
/// let summary = summary.parse_next("", first, next, common_head);
/// assert_eq!((summary.message_count, summary.first_new_message), (2, 1));
/// let new = summary.new_messages(&WireProtocol::OpenAiChat, next);
/// assert_eq!(new[0].text(), "Hello");
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct RequestSummary {
    /// The requested model; Gemini and Bedrock have it in the path.
    pub model: Option<String>,
    /// The most tokens that the response may have.
    pub max_tokens: Option<u64>,
    /// Sampling temperature.
    pub temperature: Option<f64>,
    /// Nucleus sampling.
    pub top_p: Option<f64>,
    /// Whether the client asks for a streamed response.
    pub is_streaming: bool,
    /// The number of messages in the list, without a separate system prompt.
    pub message_count: u64,
    /// The first message of the list that was not skipped as known from the previous request.
    pub first_new_message: u64,
    /// The number of offered tools.
    pub tool_count: u64,
    /// Whether the body is one JSON object and nothing else.
    pub is_complete: bool,
    scan: Scan,
    streams_by_default: bool,
}

/// What scanning the next request of the conversation needs to know of this one: some hundred bytes.
#[derive(Debug, Clone, PartialEq, Default)]
struct Scan {
    fields: Fields,
    /// The fields before the list of messages.
    before: Fields,
    /// Ends of messages, and the number of messages before each.
    boundaries: VecDeque<(usize, u64)>,
    messages: u64,
    /// Where the list of messages ends. Absent if there is none, or more than one.
    messages_end: Option<usize>,
    /// The messages that were read, as a range of the body.
    new: Range<usize>,
    first_new: u64,
    lists: u64,
    /// Whether a text takes the place of the list.
    is_text: bool,
    is_complete: bool,
}

#[derive(Debug, Clone, PartialEq, Default)]
struct Fields {
    model: Option<String>,
    max_tokens: Option<u64>,
    /// OpenAI's newer name, which wins.
    max_completion_tokens: Option<u64>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    is_streaming: Option<bool>,
    tools: u64,
}

impl RequestSummary {
    /// Reads a request. `path` is that of its URL, or empty if unknown.
    pub fn parse(protocol: &WireProtocol, path: &str, body: &[u8]) -> Self {
        let streams_by_default = matches!(
            protocol,
            WireProtocol::OllamaChat | WireProtocol::OllamaGenerate
        );
        Self::new(path, Scan::of(body), streams_by_default)
    }

    /// Reads the request that follows the summarized one: it has the same protocol, and its body has the
    /// same first `common_head` bytes. Messages within those are not read again. What follows the messages
    /// is not read again either, if it is the same as in `previous_body`, which may be empty if it is not
    /// available.
    ///
    /// The result equals that of [`parse`](Self::parse), except for
    /// [`first_new_message`](Self::first_new_message).
    #[must_use]
    pub fn parse_next(
        &self,
        path: &str,
        previous_body: &[u8],
        body: &[u8],
        common_head: usize,
    ) -> Self {
        let common_tail = match (previous_body.get(common_head..), body.get(common_head..)) {
            (Some(before), Some(after)) => {
                let equal = |(before, after): &(&u8, &u8)| before == after;
                let pairs = before.iter().rev().zip(after.iter().rev());
                pairs.take_while(equal).count()
            }
            _ => 0,
        };
        let next = self.clone();
        next.into_next(path, previous_body.len(), body, common_head, common_tail)
    }

    /// As [`parse_next`](Self::parse_next), for a caller that knows the length of the previous body and how
    /// many bytes both have in common at their ends, in addition to `common_head`.
    pub(crate) fn into_next(
        self,
        path: &str,
        previous_length: usize,
        body: &[u8],
        common_head: usize,
        common_tail: usize,
    ) -> Self {
        let streams_by_default = self.streams_by_default;
        let scan = self
            .scan
            .resume(previous_length, body, common_head, common_tail);
        let scan = scan.unwrap_or_else(|| Scan::of(body));
        Self::new(path, scan, streams_by_default)
    }

    /// Where the last message of the list ends.
    pub(crate) fn messages_end(&self) -> Option<usize> {
        self.scan.boundaries.back().map(|(end, _)| *end)
    }

    /// Bytes that it takes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        let models = [
            &self.model,
            &self.scan.fields.model,
            &self.scan.before.model,
        ];
        let models: usize = models.into_iter().flatten().map(String::capacity).sum();
        models + self.scan.boundaries.capacity() * size_of::<(usize, u64)>()
    }

    /// The messages from [`first_new_message`](Self::first_new_message) on, in canonical form, with their
    /// positions in the list. `body` is the summarized one.
    pub fn new_messages(&self, protocol: &WireProtocol, body: &[u8]) -> Vec<CanonicalMessage> {
        if let Some(decoded) = decoding::decoded(body) {
            return Self::parse(protocol, "", &decoded).messages_of_text(protocol, &decoded);
        }
        self.messages_of_text(protocol, body)
    }

    /// The same for a body that is not encoded, or was decoded: what was encoded twice is not read.
    fn messages_of_text(&self, protocol: &WireProtocol, body: &[u8]) -> Vec<CanonicalMessage> {
        let mut parsed = ParsedRequest::default();
        if let Some(protocol) = Protocol::of(protocol)
            && let Some(span) = body.get(self.scan.new.clone())
        {
            if self.scan.is_text {
                return self.text(span).into_iter().collect();
            }
            let mut list = Vec::with_capacity(span.len().saturating_add(2));
            list.push(b'[');
            list.extend_from_slice(span.trim_ascii_start().strip_prefix(b",").unwrap_or(span));
            list.push(b']');
            let items = serde_json::from_slice::<Latest<&RawValue, ITEMS_MAX>>(&list);
            parsed.read_messages(items.unwrap_or_default(), protocol.message);
        }
        for message in &mut parsed.messages {
            message.position = message.position.saturating_add(self.first_new_message);
        }
        parsed.messages
    }

    /// A text in place of a list, as one message of the user.
    fn text(&self, span: &[u8]) -> Option<CanonicalMessage> {
        let text = serde_json::from_slice::<Text<'_>>(span).ok()?;
        Some(CanonicalMessage {
            role: "user".to_owned(),
            parts: vec![MessagePart::Text(text.owned()?)],
            ..CanonicalMessage::default()
        })
    }

    fn new(path: &str, scan: Scan, streams_by_default: bool) -> Self {
        let fields = scan.fields.clone();
        let mut summary = Self {
            model: fields.model,
            max_tokens: fields.max_completion_tokens.or(fields.max_tokens),
            temperature: fields.temperature,
            top_p: fields.top_p,
            is_streaming: fields.is_streaming.unwrap_or(streams_by_default),
            message_count: scan.messages,
            first_new_message: scan.first_new,
            tool_count: fields.tools,
            is_complete: scan.is_complete,
            scan,
            streams_by_default,
        };
        path::complete(path, &mut summary.model, &mut summary.is_streaming);
        summary
    }
}

impl Scan {
    /// Scans a whole body. Of one that is compressed, the positions are left out: the next body has none in common with
    /// it.
    fn of(body: &[u8]) -> Self {
        if let Some(form) = Self::of_form(body) {
            return form;
        }
        let Some(decoded) = decoding::decoded(body) else {
            return Self::of_json(body);
        };
        // Decoded once only: a body can be made that is encoded thousands of times, or decodes to itself.
        Self {
            boundaries: VecDeque::new(),
            messages_end: None,
            new: 0..0,
            ..Self::of_form(&decoded).unwrap_or_else(|| Self::of_json(&decoded))
        }
    }

    fn of_json(body: &[u8]) -> Self {
        let mark = body
            .len()
            .saturating_sub(decoding::without_mark(body).len());
        let mut cursor = Cursor::new(body, mark, Self::default());
        cursor.scan.is_complete = cursor.object().is_some();
        cursor.scan
    }

    fn of_form(body: &[u8]) -> Option<Self> {
        let (parts, is_complete) = multipart::parts(body)?;
        let value = |name: &str| {
            let mut parts = parts.iter().filter(|part| part.name == name);
            parts.next_back().and_then(|part| part.value)
        };
        Some(Self {
            fields: Fields {
                model: value("model").map(str::to_owned),
                is_streaming: value("stream").map(|value| value == "true"),
                ..Fields::default()
            },
            is_complete,
            ..Self::default()
        })
    }

    /// Resumes the scan after the last message that both bodies share; `None` if they share none.
    fn resume(
        mut self,
        previous_length: usize,
        body: &[u8],
        common_head: usize,
        common_tail: usize,
    ) -> Option<Self> {
        let previous_end = self.messages_end?;
        let common = |(end, _): &&(usize, u64)| *end <= common_head && *end <= body.len();
        let (at, messages) = *self.boundaries.iter().rev().find(common)?;
        self.boundaries.retain(|(end, _)| *end <= at);
        self.messages = messages;
        self.first_new = messages;
        self.lists = 1;
        self.messages_end = None;
        self.new = 0..0;
        self.is_text = false;
        let was_complete = std::mem::take(&mut self.is_complete);
        let mut cursor = Cursor::new(body, at, self);
        let is_listed = cursor.elements(at).is_some();
        let rest = body.len().saturating_sub(cursor.at);
        let is_known =
            rest <= common_tail && previous_length.checked_sub(previous_end) == Some(rest);
        cursor.scan.is_complete = if is_listed && was_complete && is_known {
            true
        } else {
            cursor.scan.fields.clone_from(&cursor.scan.before);
            is_listed && cursor.members().is_some()
        };
        Some(cursor.scan)
    }
}

struct Cursor<'a> {
    body: &'a [u8],
    at: usize,
    scan: Scan,
}

impl<'a> Cursor<'a> {
    fn new(body: &'a [u8], at: usize, scan: Scan) -> Self {
        Self { body, at, scan }
    }

    /// Scans the whole body; `None` if it is not JSON.
    fn object(&mut self) -> Option<()> {
        (self.next_byte()? == b'{').then(|| self.at += 1)?;
        self.members()
    }

    /// Scans the remaining members of the top level, and checks that nothing follows.
    fn members(&mut self) -> Option<()> {
        loop {
            match self.next_byte()? {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return self.next_byte().is_none().then_some(());
                }
                _ => {
                    let key = self.value::<Text<'a>>()?;
                    (self.next_byte()? == b':').then(|| self.at += 1)?;
                    self.member(key.as_str()?)?;
                }
            }
        }
    }

    /// Reads the value of one member. Members of all protocols are known here, whatever the request's
    /// protocol: their names do not conflict, and the protocol may be unknown. Every other value is skipped
    /// by `serde_json`.
    fn member(&mut self, key: &str) -> Option<()> {
        match key {
            "messages" | "contents" | "input" => self.messages()?,
            "model" | "modelId" => self.scan.fields.model = self.value::<Text<'_>>()?.owned(),
            "max_tokens" | "max_output_tokens" => {
                self.scan.fields.max_tokens = self.value::<Count>()?.0;
            }
            "max_completion_tokens" => {
                self.scan.fields.max_completion_tokens = self.value::<Count>()?.0;
            }
            "temperature" => self.scan.fields.temperature = self.value::<Real>()?.0,
            "top_p" => self.scan.fields.top_p = self.value::<Real>()?.0,
            "stream" => self.scan.fields.is_streaming = self.value::<Flag>()?.0,
            "tools" | "functions" => {
                let tools = match self.next_byte()? {
                    // Gemini accepts a single group in place of a list.
                    b'{' => List(vec![self.value::<Object<ToolGroup>>()?]),
                    _ => self.value::<ToolGroups>()?,
                };
                self.scan.fields.tools = self.scan.fields.tools.saturating_add(tools.count());
            }
            "toolConfig" => {
                let config = self.value::<Object<ToolConfig>>()?.0;
                let tools = config.map_or(0, |config| config.tools.count());
                self.scan.fields.tools = self.scan.fields.tools.saturating_add(tools);
            }
            "generationConfig" | "generation_config" => {
                if let Some(config) = self.value::<Object<GenerationConfig>>()?.0 {
                    self.sampling(config.max_output_tokens, config.temperature, config.top_p);
                }
            }
            "inferenceConfig" => {
                if let Some(config) = self.value::<Object<InferenceConfig>>()?.0 {
                    self.sampling(config.max_tokens, config.temperature, config.top_p);
                }
            }
            "options" => {
                if let Some(options) = self.value::<Object<Options>>()?.0 {
                    self.sampling(options.num_predict, options.temperature, options.top_p);
                }
            }
            _ => {
                self.value::<IgnoredAny>()?;
            }
        }
        Some(())
    }

    /// Parameters that a protocol keeps in an object of their own. Clients of other protocols may use its
    /// name for something else, so a value only counts if it is present.
    fn sampling(&mut self, max_tokens: Count, temperature: Real, top_p: Real) {
        let fields = &mut self.scan.fields;
        fields.max_tokens = max_tokens.0.or(fields.max_tokens);
        fields.temperature = temperature.0.or(fields.temperature);
        fields.top_p = top_p.0.or(fields.top_p);
    }

    /// The list of messages, or a text in place of one.
    fn messages(&mut self) -> Option<()> {
        let first = self.next_byte()?;
        let start = self.at;
        self.scan.boundaries.clear();
        self.scan.messages = 0;
        self.scan.first_new = 0;
        self.scan.new = 0..0;
        self.scan.is_text = first == b'"';
        if first != b'[' {
            self.value::<IgnoredAny>()?;
            self.scan.messages = u64::from(self.scan.is_text);
            if self.scan.is_text {
                self.scan.new = start..self.at;
            }
            return Some(());
        }
        self.at += 1;
        self.scan.before = self.scan.fields.clone();
        self.scan.lists = self.scan.lists.saturating_add(1);
        self.elements(self.at)
    }

    /// Scans the remaining messages of the list; reading begins at `start`.
    fn elements(&mut self, start: usize) -> Option<()> {
        loop {
            match self.next_byte()? {
                b',' => self.at += 1,
                b']' => {
                    self.scan.new = start..self.at;
                    self.at += 1;
                    // With two lists, it is unknown which one the next request continues.
                    self.scan.messages_end = (self.scan.lists == 1).then_some(self.at);
                    return Some(());
                }
                _ => {
                    self.value::<IgnoredAny>()?;
                    self.scan.messages = self.scan.messages.saturating_add(1);
                    // A number does not show where it ends.
                    let last = self.at.checked_sub(1).and_then(|last| self.body.get(last));
                    if matches!(last, Some(b'}' | b']' | b'"')) {
                        if self.scan.boundaries.len() >= BOUNDARIES_MAX {
                            self.scan.boundaries.pop_front();
                        }
                        let boundary = (self.at, self.scan.messages);
                        self.scan.boundaries.push_back(boundary);
                    }
                }
            }
        }
    }

    /// The next byte that is not white space; it is not consumed.
    fn next_byte(&mut self) -> Option<u8> {
        while let Some(byte) = self.body.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    fn value<T: Deserialize<'a>>(&mut self) -> Option<T> {
        let rest = self.body.get(self.at..)?;
        let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<T>();
        let value = values.next()?.ok()?;
        self.at = self.at.checked_add(values.byte_offset())?;
        Some(value)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ToolConfig {
    tools: ToolGroups,
}

type ToolGroups = List<Object<ToolGroup>, TOOLS_MAX>;

impl ToolGroups {
    /// Gemini lists functions within groups; all others list tools.
    fn count(&self) -> u64 {
        let counts = self.0.iter().map(|group| {
            let declared = group
                .0
                .as_ref()
                .map_or(0, |group| group.function_declarations.0.len());
            u64::try_from(declared.max(1)).unwrap_or(u64::MAX)
        });
        counts.fold(0, u64::saturating_add)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ToolGroup {
    #[serde(rename = "functionDeclarations", alias = "function_declarations")]
    function_declarations: List<IgnoredAny, TOOLS_MAX>,
}
