//! Events of a request: its opening, what served it, and its end.

use serde::{Deserialize, Serialize};

use super::body::BodyFact;
use crate::model::{
    ActorKind, Adjustments, CostSource, Status, UsageDetails, UsageSource, WireProtocol, add_names,
};

/// A request was admitted. Facts that few requests have are boxed: a batch has thousands of events.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Opened {
    pub(crate) request_id: String,
    /// When the request arrived, if that differs from the event's own time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) started_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) conversation_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) context_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) session_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) trace_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) actor_type: Option<ActorKind>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) actor_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) operation_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) provider_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) client_model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) request_model: Option<String>,
    #[serde(default, skip_serializing_if = "is_unknown", with = "protocol")]
    pub(crate) wire_protocol: WireProtocol,
    pub(crate) is_streaming: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) temperature: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) top_p: Option<f64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "pairs")]
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) request_body: BodyFact,
    /// Canonical messages that the gateway passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) content: Option<Box<BodyFact>>,
    /// Fields that were shortened, left out, or replaced by a bound.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) adjusted_fields: Vec<String>,
    /// What was not read, withheld or left out as a whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) body_flags: Vec<String>,
    /// The policy that took secrets out of the content before it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) redaction_id: Option<String>,
    /// Path of the request's URL, without its query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) url_path: Option<String>,
}

/// The model or provider that serves the request became known before the end.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Served {
    pub(crate) request_id: String,
    pub(crate) opened_seq: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) response_model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) response_provider_name: Option<String>,
}

/// How a lifecycle ended; the name of the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EndKind {
    #[default]
    Completed,
    Failed,
    Rejected,
    Abandoned,
    Interrupted,
}

impl EndKind {
    /// How a request with this status ended; `None` if it has not ended.
    pub(crate) fn of(status: Status) -> Option<Self> {
        [
            Self::Completed,
            Self::Failed,
            Self::Rejected,
            Self::Abandoned,
            Self::Interrupted,
        ]
        .into_iter()
        .find(|kind| kind.status() == status)
    }

    pub(crate) fn status(self) -> Status {
        match self {
            Self::Completed => Status::Completed,
            Self::Failed => Status::Failed,
            Self::Rejected => Status::Rejected,
            Self::Abandoned => Status::Abandoned,
            Self::Interrupted => Status::Interrupted,
        }
    }
}

/// A request ended in some way.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Ended {
    #[serde(skip)]
    pub(crate) kind: EndKind,
    pub(crate) request_id: String,
    pub(crate) opened_seq: u64,
    /// Interrupted: `seq` of the `store_opened` event of the opening that left the request open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) store_opened_seq: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) response_model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) response_provider_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) response_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) http_status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error_message: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) finish_reasons: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) input_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) output_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cache_read_input_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cache_write_input_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reasoning_output_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cost_microdollars: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) latency_us: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) upstream_latency_us: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) time_to_first_chunk_us: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tool_calls: Vec<ToolCallFact>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) response_body: Option<BodyFact>,
    /// Assistant text and tool inputs that the gateway passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) content: Option<Box<BodyFact>>,
    /// The body that was forwarded upstream, if it differs from the client's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) upstream_body: Option<Box<BodyFact>>,
    /// Fields that were shortened, left out, or replaced by a bound.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) adjusted_fields: Vec<String>,
    /// What was not read, withheld or left out as a whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) body_flags: Vec<String>,
    /// The policy that took secrets out of the content before it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) redaction_id: Option<String>,
    /// What became known after the opening: the user and the conversation where the opening has none, and
    /// attributes that take the place of those with the same key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) conversation_id: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "pairs")]
    pub(crate) attributes: Vec<(String, String)>,
    /// The request's body, where the opening deferred it and it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) request_body: Option<Box<BodyFact>>,
    /// Where the counts come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) usage_source: Option<UsageSource>,
    /// Where the cost comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cost_source: Option<CostSource>,
    /// `seq` of the event that states the price book from which the cost was computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) price_book_seq: Option<u64>,
    /// What the response says of its usage beyond the counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) usage_details: Option<Box<UsageDetails>>,
}

/// The attributes of a request: those of its opening, then those of its end. A key's last value counts.
pub(crate) fn merged_attributes(
    opened: &[(String, String)],
    ended: &[(String, String)],
) -> Vec<(String, String)> {
    let mut merged = opened.to_vec();
    for (key, value) in ended {
        match merged.iter_mut().find(|(known, _)| known == key) {
            Some((_, known)) => known.clone_from(value),
            None => merged.push((key.clone(), value.clone())),
        }
    }
    merged
}

impl Ended {
    /// Adds what another step adjusted.
    pub(crate) fn adjust(&mut self, adjustments: Adjustments) {
        add_names(&mut self.adjusted_fields, adjustments.fields);
        add_names(&mut self.body_flags, adjustments.body_flags);
    }

    /// Adds a flag of the response's body.
    pub(crate) fn flag(&mut self, flag: &str) {
        add_names(&mut self.body_flags, [flag.to_owned()]);
    }

    /// Whether the provider reported any counts.
    pub(crate) fn has_usage(&self) -> bool {
        self.input_tokens.is_some() || self.output_tokens.is_some()
    }

    /// Whether tokens may have been used without any count. A request that the gateway rejected, or that
    /// the upstream answered with an error status, used none.
    pub(crate) fn lacks_usage(&self) -> bool {
        let is_refused = match self.kind {
            EndKind::Rejected => true,
            EndKind::Failed => self.http_status.is_some_and(|status| status >= 400),
            EndKind::Completed | EndKind::Abandoned | EndKind::Interrupted => false,
        };
        !is_refused && !self.has_usage()
    }
}

/// A tool call without its input, which is content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ToolCallFact {
    pub(crate) tool_call_id: String,
    pub(crate) tool_name: String,
    pub(crate) input_bytes: u64,
}

/// Attributes as a JSON object that keeps their order.
pub(crate) mod pairs {
    use serde::de::{Deserializer, MapAccess, Visitor};
    use serde::ser::Serializer;

    pub(crate) fn serialize<S: Serializer>(
        pairs: &[(String, String)],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(pairs.iter().map(|(key, value)| (key, value)))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<(String, String)>, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Vec<(String, String)>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(pairs)
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

fn is_unknown(protocol: &WireProtocol) -> bool {
    *protocol == WireProtocol::Unknown
}

/// Wire protocols by their names.
mod protocol {
    use serde::de::{Deserializer, Error, Visitor};
    use serde::ser::Serializer;

    use crate::model::WireProtocol;

    pub(super) fn serialize<S: Serializer>(
        protocol: &WireProtocol,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(protocol.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<WireProtocol, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = WireProtocol;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the name of a wire protocol")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<WireProtocol, E> {
                Ok(WireProtocol::from(name))
            }
        }
        deserializer.deserialize_str(Name)
    }
}
