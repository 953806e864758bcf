//! A request as JSON: the contract of `docs/cli.md` and `docs/export.md`.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::fields::COUNT;
use super::{CostSource, RequestRecord, Status, Timestamp, UsageDetails, UsageSource};

/// The value of a field, borrowed from its request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum FieldValue<'r> {
    /// Not known.
    Absent,
    Flag(bool),
    Count(u64),
    /// Microseconds since the Unix epoch.
    Time(i64),
    Real(f64),
    Text(&'r str),
    Texts(&'r [String]),
    Pairs(&'r [(String, String)]),
    Details(&'r UsageDetails),
}

/// What a field can hold.
pub(crate) trait Held {
    fn value(&self) -> FieldValue<'_>;
}

macro_rules! held {
    ($($kind:ty: $held:ident => $value:expr;)*) => { $(
        impl Held for $kind {
            fn value(&self) -> FieldValue<'_> {
                let $held = self;
                $value
            }
        }
    )* };
}

held! {
    bool: flag => FieldValue::Flag(*flag);
    u64: count => FieldValue::Count(*count);
    u16: count => FieldValue::Count(u64::from(*count));
    // JSON has no other fractions than finite ones.
    f64: real => if real.is_finite() { FieldValue::Real(*real) } else { FieldValue::Absent };
    Timestamp: at => FieldValue::Time(at.as_micros());
    Status: status => FieldValue::Text(status.as_str());
    UsageSource: source => FieldValue::Text(source.as_str());
    CostSource: source => FieldValue::Text(source.as_str());
    Box<UsageDetails>: details => FieldValue::Details(details);
    String: text => FieldValue::Text(text);
    Vec<String>: texts => FieldValue::Texts(texts);
    Vec<(String, String)>: pairs => FieldValue::Pairs(pairs);
}

impl<T: Held> Held for Option<T> {
    fn value(&self) -> FieldValue<'_> {
        self.as_ref().map_or(FieldValue::Absent, T::value)
    }
}

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

impl Serialize for FieldValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::Absent => serializer.serialize_none(),
            Self::Flag(flag) => serializer.serialize_bool(flag),
            Self::Count(count) => serializer.serialize_u64(count),
            Self::Time(micros) => serializer.serialize_i64(micros),
            Self::Real(real) => serializer.serialize_f64(real),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Texts(texts) => serializer.collect_seq(texts),
            Self::Details(details) => details.serialize(serializer),
            Self::Pairs(pairs) => {
                serializer.collect_map(pairs.iter().map(|(key, value)| (key, value)))
            }
        }
    }
}
