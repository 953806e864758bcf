//! A request as JSON: the contract of `docs/cli.md` and `docs/export.md`.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::RequestRecord;
use super::field_value::{FieldValue, Held};
use super::fields::COUNT;

/// Fields of a struct under their own names.
macro_rules! fields {
    ($of:expr; $($field:ident),* $(,)?) => {
        [$( (stringify!($field), $of.$field.value()), )*]
    };
}

impl RequestRecord {
    /// All fields with their names, in the order of the documentation.
    pub(crate) fn fields(&self) -> [(&'static str, FieldValue<'_>); COUNT] {
        fields!(
            self;
            opened_seq, ended_seq, request_id, status,
            opened_at, latency_us, upstream_latency_us, time_to_first_chunk_us,
            user_id, session_id, context_id, conversation_id, trace_id, actor_type, actor_id,
            operation_name, url_path, provider_name, response_provider_name,
            client_model, request_model, response_model, wire_protocol, is_streaming,
            max_tokens, temperature, top_p, attributes,
            input_tokens, output_tokens, cache_read_input_tokens, cache_write_input_tokens,
            reasoning_output_tokens, usage_source, usage_details, cost_microdollars, cost_source, price_book_seq,
            finish_reasons, tool_call_count,
            response_id, http_status, error_type, error_message, request_bytes, response_bytes,
            adjusted_fields, body_flags, is_erased, is_id_shared,
        )
    }
}

/// An object with a field of the same name for each field, in the order of the documentation; what
/// is not known is `null`.
impl Serialize for RequestRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.fields() {
            map.serialize_entry(name, &value)?;
        }
        map.end()
    }
}
