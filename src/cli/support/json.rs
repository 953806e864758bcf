//! The JSON contract, described in `docs/cli.md`: names are the library's field names, every field is always
//! present, and an unknown value is `null`.

use std::collections::HashMap;
use std::path::Path;

use auditlite::{
    BodyInfo, BundleReport, CanonicalMessage, Conversation, DoctorReport, Message, MessageToolCall,
    Payload, PriceSource, RecordedToolCall, RequestRecord, SearchHit, StatsRow, Status, ToolLink,
    ToolResult, ToolStats, Transcript, VerifyReport,
};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// Writes fields of a struct under their own names.
macro_rules! fields {
    ($map:ident, $of:expr; $($field:ident),* $(,)?) => {
        $( $map.serialize_entry(stringify!($field), &$of.$field)?; )*
    };
}

/// Everything that `show` prints, except the bodies.
pub(crate) struct Details {
    /// The request.
    pub(crate) record: RequestRecord,
    /// What the price book was made of from which its cost was computed.
    pub(crate) price_book: Vec<PriceSource>,
    /// What is known of its request body.
    pub(crate) request: Option<BodyInfo>,
    /// What is known of its response body.
    pub(crate) response: Option<BodyInfo>,
    /// What was written of the response to a request that has not ended.
    pub(crate) response_so_far: Option<Payload>,
    /// Tools that the model asked for.
    pub(crate) tool_calls: Vec<RecordedToolCall>,
    /// Their results, as far as later requests carried them.
    pub(crate) tool_results: HashMap<String, ToolResult>,
    /// The requests that executed them or asked for them, by the position of the call.
    pub(crate) tool_links: HashMap<u64, ToolLink>,
    /// Messages and reply.
    pub(crate) transcript: Transcript,
    /// Damage, in words.
    pub(crate) damaged: Vec<String>,
    /// Events of which the log's lines cannot be read.
    pub(crate) unchecked: Vec<u64>,
}

impl Details {
    /// The gateway's own latency: the total less the upstream's.
    pub(crate) fn overhead_us(&self) -> Option<u64> {
        self.record
            .latency_us?
            .checked_sub(self.record.upstream_latency_us?)
    }
}

impl Details {
    /// The other request of a call that a reply contains.
    pub(crate) fn link_of(&self, said: &MessageToolCall) -> Option<&ToolLink> {
        let is_it = |call: &&RecordedToolCall| {
            call.tool_call_id == said.tool_call_id && call.tool_name == said.tool_name
        };
        let call = self.tool_calls.iter().find(is_it)?;
        self.tool_links.get(&call.position)
    }

    /// The result of the call of this id.
    pub(crate) fn result_of(&self, tool_call_id: &str) -> Option<&ToolResult> {
        self.tool_results.get(tool_call_id)
    }
}

/// `show --json`.
impl Serialize for Details {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(serde::Serialize)]
        struct Line<'a> {
            #[serde(flatten)]
            record: &'a RequestRecord,
            overhead_us: Option<u64>,
            price_book: &'a [PriceSource],
            request: Option<BodyJson<'a>>,
            response: Option<BodyJson<'a>>,
            response_bytes_so_far: Option<u64>,
            tool_calls: Vec<ToolCallJson<'a>>,
            messages: Vec<MessageJson>,
            replies: Vec<MessageJson>,
            unparsed: u64,
            left_out: u64,
            unchecked: &'a [u64],
            damaged: &'a [String],
        }
        Line {
            record: &self.record,
            overhead_us: self.overhead_us(),
            price_book: &self.price_book,
            request: self.request.as_ref().map(BodyJson),
            response: self.response.as_ref().map(BodyJson),
            response_bytes_so_far: self.response_so_far.as_ref().map(|seen| seen.length),
            tool_calls: self
                .tool_calls
                .iter()
                .map(|call| ToolCallJson {
                    call,
                    result: self.result_of(&call.tool_call_id),
                    link: self.tool_links.get(&call.position),
                })
                .collect(),
            messages: self.transcript.messages.iter().map(message).collect(),
            replies: self.transcript.replies.iter().map(message).collect(),
            unparsed: self.transcript.unparsed,
            left_out: self.transcript.left_out,
            unchecked: &self.unchecked,
            damaged: &self.damaged,
        }
        .serialize(serializer)
    }
}

#[derive(serde::Serialize)]
#[serde(transparent)]
struct BodyJson<'a>(&'a BodyInfo);

struct ToolCallJson<'a> {
    call: &'a RecordedToolCall,
    result: Option<&'a ToolResult>,
    link: Option<&'a ToolLink>,
}

/// The other request of a call.
#[derive(serde::Serialize)]
struct LinkJson<'a> {
    request_id: &'a str,
    reference: &'a str,
    status: Status,
    error_type: Option<&'a str>,
}

impl<'a> From<&'a ToolLink> for LinkJson<'a> {
    fn from(link: &'a ToolLink) -> Self {
        Self {
            request_id: &link.request_id,
            reference: &link.reference,
            status: link.status,
            error_type: link.error_type.as_deref(),
        }
    }
}

impl Serialize for ToolCallJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { call, result, link } = self;
        let mut map = serializer.serialize_map(None)?;
        fields!(map, call; position, tool_call_id, tool_name, input_bytes, input);
        map.serialize_entry("result", &result.map(ResultJson))?;
        let [executed_by, asked_in] = [true, false].map(|is_execution| {
            let link = link.filter(|link| link.is_execution == is_execution);
            link.map(LinkJson::from)
        });
        map.serialize_entry("executed_by", &executed_by)?;
        map.serialize_entry("asked_in", &asked_in)?;
        map.end()
    }
}

#[derive(serde::Serialize)]
#[serde(transparent)]
struct ResultJson<'a>(&'a ToolResult);

fn message(message: &CanonicalMessage) -> MessageJson {
    MessageJson(Message::from(message))
}

struct MessageJson(Message);

impl Serialize for MessageJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        fields!(map, self.0; role, text, tool_calls, tool_results);
        map.end()
    }
}

/// `conversation --json`.
pub(crate) struct ConversationJson<'a>(pub(crate) &'a Conversation);

impl Serialize for ConversationJson<'_> {
    /// The library refers to requests by their index in the page; here ids and seqs stand for them, since a reader of
    /// JSON may see one page without the others.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(serde::Serialize)]
        struct Line<'a> {
            #[serde(flatten)]
            message: MessageJson,
            is_reply: bool,
            first_request_id: Option<&'a str>,
            first_opened_seq: Option<u64>,
            last_request_id: Option<&'a str>,
            last_opened_seq: Option<u64>,
            requests: usize,
        }
        let requests = &self.0.requests;
        let id = |index: usize| {
            let request = requests.get(index);
            request.map(|request| request.request_id.as_str())
        };
        let mut map = serializer.serialize_map(None)?;
        let name = requests.iter().find_map(RequestRecord::conversation);
        map.serialize_entry("conversation_id", &name)?;
        let user = requests
            .iter()
            .find_map(|request| request.user_id.as_deref());
        map.serialize_entry("user_id", &user)?;
        let ids: Vec<&str> = requests
            .iter()
            .map(|request| request.request_id.as_str())
            .collect();
        map.serialize_entry("request_ids", &ids)?;
        let seqs: Vec<u64> = requests.iter().map(|request| request.opened_seq).collect();
        map.serialize_entry("opened_seqs", &seqs)?;
        let messages: Vec<Line<'_>> = self
            .0
            .messages
            .iter()
            .map(|said| Line {
                message: message(&said.message),
                is_reply: said.is_reply,
                first_request_id: id(said.first),
                first_opened_seq: seqs.get(said.first).copied(),
                last_request_id: id(said.last),
                last_opened_seq: seqs.get(said.last).copied(),
                requests: said.requests,
            })
            .collect();
        map.serialize_entry("messages", &messages)?;
        fields!(map, self.0; damaged, unchecked, left_out, next);
        let is_cut = self.0.next.is_some() || self.0.left_out > 0;
        map.serialize_entry("is_cut", &is_cut)?;
        map.end()
    }
}

/// `search --json`.
pub(crate) struct SearchHitJson<'a>(pub(crate) &'a SearchHit);

impl Serialize for SearchHitJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(serde::Serialize)]
        struct Part<'a> {
            text: &'a str,
            is_match: bool,
        }
        let hit = self.0;
        let mut map = serializer.serialize_map(None)?;
        fields!(map, hit.request; request_id, opened_seq, opened_at);
        map.serialize_entry("conversation_id", &hit.request.conversation())?;
        fields!(map, hit.request; user_id);
        map.serialize_entry("model", &hit.request.model())?;
        fields!(map, hit; role, is_reply, position, score, is_unchecked);
        let parts: Vec<Part<'_>> = hit
            .snippet
            .iter()
            .map(|part| Part {
                text: &part.text,
                is_match: part.is_match,
            })
            .collect();
        map.serialize_entry("snippet", &parts)?;
        map.end()
    }
}

/// `tools --json`.
#[derive(serde::Serialize)]
#[serde(transparent)]
pub(crate) struct ToolStatsJson<'a>(pub(crate) &'a ToolStats);

/// `stats --json`.
#[derive(serde::Serialize)]
#[serde(transparent)]
pub(crate) struct StatsJson<'a>(pub(crate) &'a StatsRow);

/// `doctor --json`.
#[derive(serde::Serialize)]
pub(crate) struct DoctorJson<'a> {
    /// The database.
    #[serde(serialize_with = "lossy")]
    pub(crate) path: &'a Path,
    /// What was found.
    #[serde(flatten)]
    pub(crate) report: &'a DoctorReport,
}

/// `verify --json`.
#[derive(serde::Serialize)]
pub(crate) struct VerifyJson<'a> {
    /// The database.
    #[serde(serialize_with = "lossy")]
    pub(crate) path: &'a Path,
    /// What was found.
    #[serde(flatten)]
    pub(crate) report: &'a VerifyReport,
}

/// `bundle --check --json`.
#[derive(serde::Serialize)]
#[serde(transparent)]
pub(crate) struct BundleJson<'a>(pub(crate) &'a BundleReport);

/// A path as text; what is not UTF-8 in it is replaced.
fn lossy<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}
