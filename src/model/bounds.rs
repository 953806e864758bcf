//! Bounds of everything that a gateway passes.
//!
//! Recording must not fail because a client sent an absurd header, and must not store a value that would break a
//! reader. So every field is brought into its bounds, and each change is noted.

use super::adjustments::{Adjustments, USAGE_UNPARSED};
use super::identifier::bounded;
use super::{
    Completion, Failure, Rejection, RequestContext, Timing, ToolCall, Usage, UsageDetails,
    WireProtocol,
};
use crate::config::{
    ATTRIBUTE_KEY_BYTES_MAX, ATTRIBUTE_VALUE_BYTES_MAX, ATTRIBUTES_MAX, COST_MICRODOLLARS_MAX,
    ERROR_MESSAGE_BYTES_MAX, FINISH_REASONS_MAX, HTTP_STATUSES, IDENTIFIER_BYTES_MAX,
    LATENCY_US_MAX, MESSAGES_MAX, SAMPLING_PARAMETER_MAX, TOKEN_LIMIT_MAX, TOKENS_MAX,
    TOOL_CALLS_MAX,
};

/// 9999-12-31T23:59:59.999999Z, the last time that RFC 3339 can write.
const TIME_MAX: i64 = 253_402_300_799_999_999;

/// Replaces a credential.
const REDACTED: &str = "[redacted]";

/// A field that is out of its bounds, and how.
///
/// Returned by [`RequestContext::check`] and its like; recording itself never fails for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {problem}")]
#[non_exhaustive]
pub struct InvalidField {
    /// The field's name.
    pub field: &'static str,
    /// What is wrong with it, and the bound.
    pub problem: String,
}

/// More names of fields than a request has, and longer ones.
const TOLD_MAX: usize = 64;

/// Keeps valid names of fields that the gateway changed. Any other text could break the list of names.
pub(crate) fn told_adjusted(context: &mut RequestContext) -> impl Iterator<Item = String> + use<> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let is_name =
        move |name: &String| (1..=TOLD_MAX).contains(&name.len()) && name.bytes().all(is_part);
    let told = std::mem::take(&mut context.adjusted_fields).into_iter();
    told.filter(is_name).take(TOLD_MAX)
}

/// Brings fields into their bounds and notes which it changed.
#[derive(Debug, Default)]
pub(crate) struct Normaliser {
    problems: Vec<InvalidField>,
}

impl Normaliser {
    /// The changed fields and the flags, each once.
    pub(crate) fn into_adjustments(self) -> Adjustments {
        let mut adjustments = Adjustments::default();
        for problem in self.problems {
            match problem.field {
                USAGE_UNPARSED => adjustments.flag(USAGE_UNPARSED),
                field => adjustments.adjust(field),
            }
        }
        adjustments
    }

    fn into_result(self) -> Result<(), InvalidField> {
        match self.problems.into_iter().next() {
            Some(problem) => Err(problem),
            None => Ok(()),
        }
    }

    fn note(&mut self, field: &'static str, problem: String) {
        self.problems.push(InvalidField { field, problem });
    }

    /// At most `bytes_max` bytes, cut at a character, without NUL.
    fn text(&mut self, field: &'static str, text: &mut String, bytes_max: usize) {
        if text.len() > bytes_max {
            self.note(
                field,
                format!("is {} bytes long; at most {bytes_max} are kept", text.len()),
            );
            text.truncate(text.floor_char_boundary(bytes_max));
        }
        if text.contains('\0') {
            self.note(field, "contains a NUL byte".to_owned());
            *text = text.replace('\0', "\u{fffd}");
        }
    }

    /// At most `bytes_max` bytes without NUL, and different for different identifiers.
    fn name(&mut self, field: &'static str, name: &mut String, bytes_max: usize) {
        let Some(bounded) = bounded(name, bytes_max) else {
            return;
        };
        let problem = if name.len() > bytes_max {
            let length = name.len();
            format!(
                "is {length} bytes long; of more than {bytes_max} the beginning and a digest are kept"
            )
        } else {
            "contains a NUL byte; its beginning and a digest are kept".to_owned()
        };
        self.note(field, problem);
        *name = bounded;
    }

    fn identifier(&mut self, field: &'static str, identifier: &mut Option<String>) {
        // An empty id says no more than an absent one.
        if identifier.as_ref().is_some_and(String::is_empty) {
            *identifier = None;
        }
        if let Some(text) = identifier {
            self.name(field, text, IDENTIFIER_BYTES_MAX);
        }
    }

    fn number(&mut self, field: &'static str, number: &mut Option<u64>, max: u64) {
        if let Some(value) = number
            && *value > max
        {
            self.note(field, format!("is {value}; at most {max} is kept"));
            *value = max;
        }
    }

    fn sampling_parameter(&mut self, field: &'static str, number: &mut Option<f64>) {
        const MAX: f64 = SAMPLING_PARAMETER_MAX;
        let Some(value) = *number else { return };
        if !value.is_finite() {
            self.note(field, "is not a finite number".to_owned());
            *number = None;
        } else if !(-MAX..=MAX).contains(&value) {
            self.note(field, format!("is {value}; -{MAX} to {MAX} are kept"));
            *number = Some(value.clamp(-MAX, MAX));
        }
    }

    pub(crate) fn cost(&mut self, cost: &mut Option<u64>) {
        self.number("cost_microdollars", cost, COST_MICRODOLLARS_MAX);
    }

    /// A status that no response can have is left out.
    pub(crate) fn http_status(&mut self, http_status: &mut Option<u16>) {
        if let Some(status) = *http_status
            && !HTTP_STATUSES.contains(&status)
        {
            let (min, max) = (HTTP_STATUSES.start(), HTTP_STATUSES.end());
            self.note(
                "http_status",
                format!("is {status}; it must lie between {min} and {max}"),
            );
            *http_status = None;
        }
    }

    fn count<T>(&mut self, field: &'static str, items: &mut Vec<T>, count_max: usize) {
        if items.len() > count_max {
            self.note(
                field,
                format!("has {} entries; at most {count_max} are kept", items.len()),
            );
            items.truncate(count_max);
        }
    }

    fn attributes(&mut self, attributes: &mut Vec<(String, String)>) {
        // The last value of a key counts. Lists are small, so a search is enough.
        if attributes.len() > 1 {
            let mut seen = std::collections::HashSet::new();
            let mut kept: Vec<_> = std::mem::take(attributes)
                .into_iter()
                .rev()
                .filter(|(key, _)| seen.insert(key.clone()))
                .collect();
            kept.reverse();
            *attributes = kept;
        }
        self.count("attributes", attributes, ATTRIBUTES_MAX);
        for (key, value) in attributes {
            self.credentials(key, value);
            self.attribute(key, value);
        }
    }

    fn attribute(&mut self, key: &mut String, value: &mut String) {
        self.name("attributes", key, ATTRIBUTE_KEY_BYTES_MAX);
        self.text("attributes", value, ATTRIBUTE_VALUE_BYTES_MAX);
    }

    /// Headers and queries that carry credentials are never recorded, whichever gateway passes them: a known header
    /// loses its whole value, a URL only the values of known parameters. This is a safety net; secrets in texts
    /// are the business of [`Redaction`](crate::Redaction).
    fn credentials(&mut self, key: &str, value: &mut String) {
        const HEADERS: [&str; 8] = [
            "authorization",
            "proxy-authorization",
            "cookie",
            "set-cookie",
            "x-api-key",
            "api-key",
            "x-goog-api-key",
            "x-amz-security-token",
        ];
        const PARAMETERS: [&str; 10] = [
            "key",
            "api_key",
            "api-key",
            "apikey",
            "access_token",
            "token",
            "sig",
            "signature",
            "x-amz-signature",
            "x-amz-security-token",
        ];
        // `http.request.header.authorization`, as OpenTelemetry names it.
        let name = key.rsplit('.').next().unwrap_or(key).replace('_', "-");
        let is_one_of =
            |names: &[&str], name: &str| names.iter().any(|known| known.eq_ignore_ascii_case(name));
        if is_one_of(&HEADERS, &name) && !value.is_empty() {
            self.note("attributes", format!("{key} holds a credential"));
            REDACTED.clone_into(value);
            return;
        }
        let Some((path, query)) = value.split_once('?') else {
            return;
        };
        let mut is_changed = false;
        let parameters: Vec<String> = query
            .split('&')
            .map(|parameter| match parameter.split_once('=') {
                Some((name, value)) if !value.is_empty() && is_one_of(&PARAMETERS, name) => {
                    is_changed = true;
                    format!("{name}={REDACTED}")
                }
                _ => parameter.to_owned(),
            })
            .collect();
        if is_changed {
            let redacted = format!("{path}?{}", parameters.join("&"));
            self.note("attributes", format!("{key} holds a credential in a query"));
            *value = redacted;
        }
    }

    fn request_id(&mut self, request_id: &mut Option<String>) {
        if request_id.as_ref().is_some_and(String::is_empty) {
            self.note("request_id", "is empty".to_owned());
        }
        self.identifier("request_id", request_id);
    }

    /// Brings every field of an opening into its bounds. A new field of [`RequestContext`] needs a line here.
    pub(crate) fn context(&mut self, context: &mut RequestContext) {
        self.request_id(&mut context.request_id);
        self.identifier("user_id", &mut context.user_id);
        self.identifier("session_id", &mut context.session_id);
        self.identifier("context_id", &mut context.context_id);
        self.identifier("conversation_id", &mut context.conversation_id);
        self.identifier("trace_id", &mut context.trace_id);
        self.identifier("operation_name", &mut context.operation_name);
        self.identifier("provider_name", &mut context.provider_name);
        self.identifier("request_model", &mut context.request_model);
        self.identifier("client_model", &mut context.client_model);
        if let Some(path) = &mut context.url_path {
            // Bounds the work of reading it. The recorded path is bounded, and flagged, after it was read.
            path.truncate(path.floor_char_boundary(ATTRIBUTE_VALUE_BYTES_MAX));
        }
        if let Some(actor) = &mut context.actor {
            self.name("actor", &mut actor.id, IDENTIFIER_BYTES_MAX);
        }
        if let WireProtocol::Other(name) = &mut context.wire_protocol {
            self.name("wire_protocol", name, IDENTIFIER_BYTES_MAX);
        }
        self.number("max_tokens", &mut context.max_tokens, TOKEN_LIMIT_MAX);
        self.sampling_parameter("temperature", &mut context.temperature);
        self.sampling_parameter("top_p", &mut context.top_p);
        self.attributes(&mut context.attributes);
        if let Some(messages) = &mut context.messages {
            // History grows at its end: the newest are kept.
            let excess = messages.len().saturating_sub(MESSAGES_MAX);
            if excess > 0 {
                self.note(
                    "messages",
                    format!(
                        "has {} entries; the newest {MESSAGES_MAX} are kept",
                        messages.len()
                    ),
                );
                messages.drain(..excess);
            }
        }
        if let Some(at) = context.started_at
            && !(0..=TIME_MAX).contains(&at.as_micros())
        {
            self.note(
                "started_at",
                format!("is {at}; it must lie between 1970 and 9999"),
            );
            context.started_at = None;
        }
    }

    pub(crate) fn usage(&mut self, usage: &mut Option<Usage>) {
        let Some(usage) = usage else { return };
        for (field, count) in [
            ("input_tokens", &mut usage.input_tokens),
            ("output_tokens", &mut usage.output_tokens),
            (
                "cache_read_input_tokens",
                &mut usage.cache_read_input_tokens,
            ),
            (
                "cache_write_input_tokens",
                &mut usage.cache_write_input_tokens,
            ),
            (
                "reasoning_output_tokens",
                &mut usage.reasoning_output_tokens,
            ),
        ] {
            self.number(field, count, TOKENS_MAX);
        }
        if usage.is_unparsed {
            self.note(USAGE_UNPARSED, "has a count that is none".to_owned());
        }
    }

    fn usage_details(&mut self, details: Option<&mut UsageDetails>) {
        if details.is_some_and(UsageDetails::bring_into_bounds) {
            self.note("usage_details", "has values beyond their bounds".to_owned());
        }
    }

    pub(crate) fn timing(&mut self, timing: &mut Timing) {
        for (field, latency) in [
            ("latency_us", &mut timing.latency_us),
            ("upstream_latency_us", &mut timing.upstream_latency_us),
            ("time_to_first_chunk_us", &mut timing.time_to_first_chunk_us),
        ] {
            self.number(field, latency, LATENCY_US_MAX);
        }
    }

    fn response(
        &mut self,
        finish_reasons: &mut Vec<String>,
        tool_calls: &mut Vec<ToolCall>,
        response_id: &mut Option<String>,
        response_model: &mut Option<String>,
    ) {
        self.count("finish_reasons", finish_reasons, FINISH_REASONS_MAX);
        for reason in finish_reasons {
            self.name("finish_reasons", reason, IDENTIFIER_BYTES_MAX);
        }
        self.count("tool_calls", tool_calls, TOOL_CALLS_MAX);
        for call in tool_calls {
            self.name("tool_calls", &mut call.tool_call_id, IDENTIFIER_BYTES_MAX);
            self.name("tool_calls", &mut call.tool_name, IDENTIFIER_BYTES_MAX);
        }
        self.identifier("response_id", response_id);
        self.identifier("response_model", response_model);
    }

    fn error(&mut self, error_type: &mut String, error_message: &mut Option<String>) {
        if error_type.is_empty() {
            // OpenTelemetry's word for an error without a type of its own.
            "_OTHER".clone_into(error_type);
        }
        self.name("error_type", error_type, IDENTIFIER_BYTES_MAX);
        if let Some(message) = error_message {
            self.text("error_message", message, ERROR_MESSAGE_BYTES_MAX);
        }
    }

    pub(crate) fn completion(&mut self, completion: &mut Completion) {
        self.usage(&mut completion.usage);
        self.usage_details(completion.usage_details.as_deref_mut());
        if let Some(timing) = &mut completion.timing {
            self.timing(timing);
        }
        self.cost(&mut completion.cost_microdollars);
        self.http_status(&mut completion.http_status);
        self.response(
            &mut completion.finish_reasons,
            &mut completion.tool_calls,
            &mut completion.response_id,
            &mut completion.response_model,
        );
    }

    pub(crate) fn failure(&mut self, failure: &mut Failure) {
        self.error(&mut failure.error_type, &mut failure.error_message);
        self.usage(&mut failure.usage);
        self.usage_details(failure.usage_details.as_deref_mut());
        if let Some(timing) = &mut failure.timing {
            self.timing(timing);
        }
        self.cost(&mut failure.cost_microdollars);
        self.http_status(&mut failure.http_status);
        self.response(
            &mut failure.finish_reasons,
            &mut failure.tool_calls,
            &mut failure.response_id,
            &mut failure.response_model,
        );
    }

    pub(crate) fn rejection(&mut self, rejection: &mut Rejection) {
        self.error(&mut rejection.error_type, &mut rejection.error_message);
        if let Some(timing) = &mut rejection.timing {
            self.timing(timing);
        }
        self.http_status(&mut rejection.http_status);
    }
}

/// Usage as set on a handle, within its bounds.
pub(crate) fn seen_usage(usage: Usage) -> (Option<Usage>, Adjustments) {
    let mut usage = Some(usage);
    let mut normaliser = Normaliser::default();
    normaliser.usage(&mut usage);
    (usage, normaliser.into_adjustments())
}

/// A status as set on a handle, within its bounds.
pub(crate) fn seen_status(http_status: u16) -> (Option<u16>, Adjustments) {
    let mut http_status = Some(http_status);
    let mut normaliser = Normaliser::default();
    normaliser.http_status(&mut http_status);
    (http_status, normaliser.into_adjustments())
}

/// A served model or provider as set on a handle: `None` if it is empty.
pub(crate) fn served_name(name: &str) -> Option<(String, Adjustments)> {
    let mut name = Some(name.to_owned());
    let mut normaliser = Normaliser::default();
    normaliser.identifier("response_model", &mut name);
    name.map(|name| (name, normaliser.into_adjustments()))
}

/// An attribute in its recorded form, as filters need it.
pub(crate) fn stored_attribute(key: &str, value: &str) -> (String, String) {
    let (mut key, mut value) = (key.to_owned(), value.to_owned());
    Normaliser::default().attribute(&mut key, &mut value);
    (key, value)
}

macro_rules! checks {
    ($($kind:ty => $method:ident),* $(,)?) => { $(
        impl $kind {
            /// Checks that every field is within its bounds. Recording does not need this call: it
            /// shortens or leaves out fields that are not, and flags them.
            ///
            /// # Errors
            ///
            /// [`InvalidField`] names the first field that is out of its bounds.
            pub fn check(&self) -> Result<(), InvalidField> {
                let mut normaliser = Normaliser::default();
                normaliser.$method(&mut self.clone());
                normaliser.into_result()
            }
        }
    )* };
}
checks!(
    RequestContext => context,
    Completion => completion,
    Failure => failure,
    Rejection => rejection,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_identifiers_keep_a_beginning_and_a_digest_and_are_noted() {
        let mut context = RequestContext::new("openai.chat")
            .request_id("x".repeat(257))
            .user_id("ä".repeat(200))
            .trace_id("a\0b")
            .temperature(f64::NAN)
            .max_tokens(u64::MAX);
        assert_eq!(context.check().unwrap_err().field, "request_id");
        let mut normaliser = Normaliser::default();
        normaliser.context(&mut context);
        let stored = |id: &str| super::super::stored_identifier(id).into_owned();
        assert_eq!(context.request_id.unwrap(), stored(&"x".repeat(257)));
        assert_eq!(context.user_id.unwrap(), stored(&"ä".repeat(200)));
        assert_eq!(context.trace_id.unwrap(), stored("a\0b"));
        assert_eq!(context.temperature, None);
        assert_eq!(context.max_tokens, Some(TOKEN_LIMIT_MAX));
        assert_eq!(
            normaliser.into_adjustments().fields,
            [
                "request_id",
                "user_id",
                "trace_id",
                "max_tokens",
                "temperature"
            ]
        );
    }

    #[test]
    fn numbers_are_brought_into_their_bounds_and_noted() {
        let mut usage = Usage::new(u64::MAX, TOKENS_MAX)
            .cache_read_input_tokens(TOKENS_MAX + 1)
            .cache_write_input_tokens(0);
        usage.is_unparsed = true;
        let timing = Timing::default()
            .latency_us(u64::MAX)
            .upstream_latency_us(LATENCY_US_MAX);
        let mut completion = Completion::new().usage(usage).timing(timing);
        completion.cost_microdollars = Some(u64::MAX);
        completion.http_status = Some(7);
        assert_eq!(completion.check().unwrap_err().field, "input_tokens");
        let mut normaliser = Normaliser::default();
        normaliser.completion(&mut completion);
        let usage = completion.usage.unwrap();
        let max = Some(TOKENS_MAX);
        assert_eq!((usage.input_tokens, usage.output_tokens), (max, max));
        assert_eq!(usage.cache_read_input_tokens, max);
        assert_eq!(usage.cache_write_input_tokens, Some(0));
        let timing = completion.timing.unwrap();
        assert_eq!(timing.latency_us, Some(LATENCY_US_MAX));
        assert_eq!(timing.upstream_latency_us, Some(LATENCY_US_MAX));
        assert_eq!(completion.cost_microdollars, Some(COST_MICRODOLLARS_MAX));
        assert_eq!(completion.http_status, None);
        let adjusted = [
            "input_tokens",
            "cache_read_input_tokens",
            "latency_us",
            "cost_microdollars",
            "http_status",
        ];
        let adjustments = normaliser.into_adjustments();
        assert_eq!(adjustments.fields, adjusted);
        assert_eq!(adjustments.body_flags, [USAGE_UNPARSED]);
        for (given, kept) in [
            (1e308, Some(1e6)),
            (-1e7, Some(-1e6)),
            (-0.5, Some(-0.5)),
            (f64::NEG_INFINITY, None),
        ] {
            let mut context = RequestContext::new("").temperature(given);
            Normaliser::default().context(&mut context);
            assert_eq!(context.temperature, kept);
        }
    }

    #[test]
    fn credentials_of_headers_and_queries_do_not_enter() {
        let mut context = RequestContext::new("")
            .attribute("Authorization", "Bearer abc")
            .attribute("http.request.header.x-api-key", "abc")
            .attribute("url", "/v1/models?key=abc&alt=sse&api_key=x#?")
            .attribute("question", "what? key=abc");
        let mut normaliser = Normaliser::default();
        normaliser.context(&mut context);
        let values: Vec<&str> = context.attributes.iter().map(|(_, v)| v.as_str()).collect();
        let url = "/v1/models?key=[redacted]&alt=sse&api_key=[redacted]";
        assert_eq!(values, ["[redacted]", "[redacted]", url, "what? key=abc"]);
        assert_eq!(normaliser.into_adjustments().fields, ["attributes"]);
    }

    #[test]
    fn the_last_value_of_an_attribute_counts() {
        let mut context = RequestContext::new("")
            .attribute("a", "1")
            .attribute("b", "2")
            .attribute("a", "3");
        let mut normaliser = Normaliser::default();
        normaliser.context(&mut context);
        let expected = [("b", "2"), ("a", "3")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(context.attributes, expected);
        assert_eq!(normaliser.into_adjustments(), Adjustments::default());
    }
}
