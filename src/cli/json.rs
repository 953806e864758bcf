//! The JSON contract, described in `docs/cli.md`: names are the library's field names, every field is
//! always there, and what is not known is `null`.

use std::path::Path;

use super::bundle::signature_name;
use auditlite::{
    BodyInfo, BundleReport, DoctorReport, Finding, Message, NotKept, RecordedToolCall,
    RequestRecord, StatsRow, VerifyReport,
};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// Writes fields of a struct under their own names.
macro_rules! fields {
    ($map:ident, $of:expr; $($field:ident),* $(,)?) => {
        $( $map.serialize_entry(stringify!($field), &$of.$field)?; )*
    };
}

/// `list --json`.
pub(crate) struct RecordJson<'a>(pub(crate) &'a RequestRecord);

impl Serialize for RecordJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        record_entries(&mut map, self.0)?;
        map.end()
    }
}

fn record_entries<M: SerializeMap>(map: &mut M, record: &RequestRecord) -> Result<(), M::Error> {
    fields!(map, record; opened_seq, ended_seq, request_id);
    map.serialize_entry("status", record.status.name())?;
    fields!(
        map, record;
        opened_at, latency_us, upstream_latency_us, time_to_first_chunk_us,
        user_id, session_id, context_id, conversation_id, trace_id, actor_type, actor_id,
        operation_name, provider_name, response_provider_name,
        requested_model, request_model, response_model, wire_protocol, is_streaming,
        max_tokens, temperature, top_p,
    );
    map.serialize_entry("attributes", &Attributes(&record.attributes))?;
    fields!(
        map, record;
        input_tokens, output_tokens, cache_read_input_tokens, cache_write_input_tokens,
        reasoning_output_tokens, cost_microdollars, finish_reasons, tool_call_count, response_id,
        http_status, error_type, error_message, request_bytes, response_bytes, altered, is_erased,
    );
    Ok(())
}

struct Attributes<'a>(&'a [(String, String)]);

impl Serialize for Attributes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

/// Everything that `show` knows, short of the bodies.
pub(crate) struct Details {
    /// The request.
    pub(crate) record: RequestRecord,
    /// What is known of its request body.
    pub(crate) request: Option<BodyInfo>,
    /// What is known of its response body.
    pub(crate) response: Option<BodyInfo>,
    /// Tools that the model asked for.
    pub(crate) tool_calls: Vec<RecordedToolCall>,
    /// Messages that the gateway handed over, else as the request's body says.
    pub(crate) messages: Vec<Message>,
    /// The assistant's text that the gateway handed over.
    pub(crate) assistant_text: Option<String>,
}

impl Details {
    /// What the gateway itself took: the latency less the upstream's.
    pub(crate) fn overhead_us(&self) -> Option<u64> {
        self.record
            .latency_us?
            .checked_sub(self.record.upstream_latency_us?)
    }
}

/// `show --json`.
impl Serialize for Details {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        record_entries(&mut map, &self.record)?;
        map.serialize_entry("overhead_us", &self.overhead_us())?;
        map.serialize_entry("request", &self.request.as_ref().map(BodyJson))?;
        map.serialize_entry("response", &self.response.as_ref().map(BodyJson))?;
        let tool_calls: Vec<_> = self.tool_calls.iter().map(ToolCallJson).collect();
        map.serialize_entry("tool_calls", &tool_calls)?;
        let messages: Vec<_> = self.messages.iter().map(MessageJson).collect();
        map.serialize_entry("messages", &messages)?;
        map.serialize_entry("assistant_text", &self.assistant_text)?;
        map.end()
    }
}

struct BodyJson<'a>(&'a BodyInfo);

impl Serialize for BodyJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        fields!(map, self.0; length);
        map.serialize_entry("sha256", &self.0.sha256.map(|digest| digest.to_string()))?;
        fields!(map, self.0; kept, stored, removed);
        map.end()
    }
}

struct ToolCallJson<'a>(&'a RecordedToolCall);

impl Serialize for ToolCallJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        fields!(map, self.0; position, tool_call_id, tool_name, input_bytes, input);
        map.end()
    }
}

struct MessageJson<'a>(&'a Message);

impl Serialize for MessageJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        fields!(map, self.0; role, text, tool_calls, tool_results);
        map.end()
    }
}

/// `stats --json`.
pub(crate) struct StatsJson<'a>(pub(crate) &'a StatsRow);

impl Serialize for StatsJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        fields!(
            map, self.0;
            time, provider_name, model, user_id,
            requests, completed, failed, rejected, abandoned, interrupted,
            input_tokens, output_tokens, cache_read_input_tokens, cache_write_input_tokens,
            reasoning_output_tokens, cost_microdollars, unpriced, latency_us_sum, latency_count,
        );
        map.end()
    }
}

/// `doctor --json`.
pub(crate) struct DoctorJson<'a> {
    /// The database.
    pub(crate) path: &'a Path,
    /// What was found.
    pub(crate) report: &'a DoctorReport,
}

impl Serialize for DoctorJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("path", &self.path.to_string_lossy())?;
        fields!(
            map, self.report;
            file_bytes, wal_bytes, file_version, sqlite_version, events, requests, pending,
            payloads, segments, sessions, crashed_sessions, gaps, shed_lifecycles, shed_payloads, lost_first_at, lost_last_at, is_being_written, findings,
        );
        map.end()
    }
}

/// `verify --json`.
pub(crate) struct VerifyJson<'a> {
    /// The database.
    pub(crate) path: &'a Path,
    /// What was found.
    pub(crate) report: &'a VerifyReport,
}

impl Serialize for VerifyJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let report = self.report;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("path", &self.path.to_string_lossy())?;
        fields!(map, report; origin, events);
        map.serialize_entry("root", &report.root.map(|root| root.to_string()))?;
        fields!(
            map, report;
            checkpoints, signed_checkpoints, covered_events, covered_at,
            anchors, anchored_events, anchored_at, payloads, body_bytes,
        );
        map.serialize_entry("not_kept", &NotKeptJson(&report.not_kept))?;
        fields!(map, report; notes);
        let findings: Vec<_> = report.findings.iter().map(FindingJson).collect();
        map.serialize_entry("findings", &findings)?;
        fields!(map, report; findings_total);
        map.end()
    }
}

struct NotKeptJson<'a>(&'a NotKept);

impl Serialize for NotKeptJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        fields!(map, self.0; shed, digest_only, excerpts, lifecycles, pruned, lines);
        map.end()
    }
}

struct FindingJson<'a>(&'a Finding);

impl Serialize for FindingJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("kind", self.0.kind.name())?;
        fields!(map, self.0; seq, last_seq, what);
        map.end()
    }
}

/// `bundle --check --json`.
pub(crate) struct BundleJson<'a>(pub(crate) &'a BundleReport);

impl Serialize for BundleJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let report = self.0;
        let mut map = serializer.serialize_map(None)?;
        fields!(map, report; origin, size);
        map.serialize_entry("root", &report.root.map(|root| root.to_string()))?;
        fields!(map, report; at);
        map.serialize_entry("signature", signature_name(report.signature))?;
        fields!(map, report; events, left_out);
        let findings: Vec<_> = report.findings.iter().map(FindingJson).collect();
        map.serialize_entry("findings", &findings)?;
        map.end()
    }
}
