//! A request as JSON: the contract of `docs/cli.md` and `docs/export.md`.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::RequestRecord;

/// Writes fields of a struct under their own names.
macro_rules! fields {
    ($map:ident, $of:expr; $($field:ident),* $(,)?) => {
        $( $map.serialize_entry(stringify!($field), &$of.$field)?; )*
    };
}

/// An object with a field of the same name for each field, in the order of the documentation; what
/// is not known is `null`.
impl Serialize for RequestRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        fields!(map, self; opened_seq, ended_seq, request_id);
        map.serialize_entry("status", self.status.as_str())?;
        fields!(
            map, self;
            opened_at, latency_us, upstream_latency_us, time_to_first_chunk_us,
            user_id, session_id, context_id, conversation_id, trace_id, actor_type, actor_id,
            operation_name, url_path, provider_name, response_provider_name,
            client_model, request_model, response_model, wire_protocol, is_streaming,
            max_tokens, temperature, top_p,
        );
        map.serialize_entry("attributes", &Attributes(&self.attributes))?;
        fields!(
            map, self;
            input_tokens, output_tokens, cache_read_input_tokens, cache_write_input_tokens,
            reasoning_output_tokens, cost_microdollars, finish_reasons, tool_call_count,
            response_id, http_status, error_type, error_message, request_bytes, response_bytes,
            adjusted_fields, body_flags, is_erased, is_id_shared,
        );
        map.end()
    }
}

struct Attributes<'a>(&'a [(String, String)]);

impl Serialize for Attributes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}
