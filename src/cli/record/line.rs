//! One line of JSON Lines: a finished exchange.

use auditlite::{Completion, Failure, RequestContext, Timing, Usage, WireProtocol};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};
use serde_json::value::RawValue;

use super::super::identity::{BodyIdentity, Identity, KnownBy};
use super::super::time;

/// HTTP statuses from this one on are failures.
const HTTP_ERROR_MIN: u16 = 400;

/// What is recorded of a line.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) context: RequestContext,
    pub(super) request_body: Vec<u8>,
    pub(super) end: End,
    /// When it arrived, where the line says so.
    pub(super) arrived_at: Option<i64>,
}

/// How it ended.
#[derive(Debug)]
pub(super) enum End {
    Completed(Completion),
    Failed(Failure),
}

/// The fields of a line. Others are ignored; `null` is as good as absent.
#[derive(Deserialize)]
struct Line<'a> {
    request_body: Option<String>,
    #[serde(borrow)]
    request: Option<&'a RawValue>,
    response_body: Option<String>,
    #[serde(borrow)]
    response: Option<&'a RawValue>,
    response_body_encoding: Option<String>,
    request_id: Option<String>,
    conversation_id: Option<String>,
    conversation: Option<String>,
    user_id: Option<String>,
    session_id: Option<String>,
    trace_id: Option<String>,
    provider_name: Option<String>,
    request_model: Option<String>,
    model: Option<String>,
    wire_protocol: Option<String>,
    wire: Option<String>,
    stream: Option<bool>,
    status: Option<u16>,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "started_at")]
    started_at: Option<i64>,
    latency_us: Option<u64>,
}

/// The one field of a request body that is looked at.
#[derive(Deserialize)]
struct RequestModel {
    model: Option<String>,
}

impl Exchange {
    /// Reads a line.
    ///
    /// # Errors
    ///
    /// Why it cannot be recorded, in words that follow `FILE:LINE: `.
    pub(super) fn parse(line: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(line.trim_ascii_end())
            .map_err(|error| format!("is not UTF-8 at byte {}", error.valid_up_to() + 1))?;
        // serde would read an array as the struct's fields in order.
        if !text.trim_ascii_start().starts_with('{') {
            return Err("is not a JSON object".to_owned());
        }
        let line: Line<'_> = serde_json::from_str(text).map_err(|error| json_problem(&error))?;
        line.into_exchange()
    }

    /// Bytes of both bodies.
    pub(super) fn body_bytes(&self) -> u64 {
        let bytes = self
            .request_body
            .len()
            .saturating_add(self.response_body().len());
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// What tells it from others. `None`: it has no id.
    pub(super) fn identity(&self) -> Option<Identity> {
        let context = &self.context;
        let http_status = match &self.end {
            End::Completed(completion) => completion.http_status,
            End::Failed(failure) => failure.http_status,
        };
        Some(Identity {
            request_id: context.request_id.clone()?,
            opened_at: self.arrived_at,
            is_erased: false,
            ids: [
                context.user_id.clone(),
                context.session_id.clone(),
                context.context_id.clone(),
                context.conversation_id.clone(),
                context.trace_id.clone(),
            ],
            bodies: [
                BodyIdentity::of(&self.request_body),
                BodyIdentity::of(self.response_body()),
            ],
            known_by: KnownBy::Exchange { http_status },
        })
    }

    fn response_body(&self) -> &[u8] {
        let body = match &self.end {
            End::Completed(completion) => &completion.response_body,
            End::Failed(failure) => &failure.response_body,
        };
        body.as_deref().unwrap_or_default()
    }
}

impl Line<'_> {
    fn into_exchange(self) -> Result<Exchange, String> {
        let request_body = match (self.request_body, self.request) {
            (Some(body), _) => body,
            (None, Some(request)) => request.get().to_owned(),
            (None, None) => return Err("has neither `request` nor `request_body`".to_owned()),
        };
        let response_body = match (self.response_body, self.response) {
            (Some(body), _) => Some(decoded(body, self.response_body_encoding.as_deref())?),
            (None, Some(response)) => Some(response.get().as_bytes().to_vec()),
            (None, None) => None,
        };
        let wire = self.wire_protocol.or(self.wire).unwrap_or_default();
        let wire = WireProtocol::from(wire);
        let usage = match self.usage.map(RawValue::get) {
            Some(usage) if !usage.starts_with('{') => {
                return Err("usage is not a JSON object".to_owned());
            }
            usage => usage.and_then(|usage| Usage::from_json(&wire, usage)),
        };
        let mut context = RequestContext::new(wire).is_streaming(self.stream.unwrap_or(false));
        context.request_id = self.request_id;
        context.conversation_id = self.conversation_id.or(self.conversation);
        context.user_id = self.user_id;
        context.session_id = self.session_id;
        context.trace_id = self.trace_id;
        context.provider_name = self.provider_name;
        context.request_model = self
            .request_model
            .or(self.model)
            .or_else(|| model_of(&request_body));
        let arrived_at = self.started_at;
        // A finished exchange is a record of the past: how long recording it takes says nothing.
        context.started_at = self
            .started_at
            .or_else(|| Some(jiff::Timestamp::now().as_microsecond()));
        // What the line does not say, the bodies may.
        context.read_body = Some(true);
        context.check().map_err(|problem| problem.to_string())?;

        let timing = self.latency_us.map(|us| Timing::default().latency_us(us));
        let end = if self.status.is_some_and(|status| status >= HTTP_ERROR_MIN) {
            let mut failure = Failure::new(self.status.unwrap_or_default().to_string());
            failure.usage = usage;
            failure.http_status = self.status;
            failure.timing = timing;
            failure.response_body = response_body.map(Into::into);
            failure.read_body = true;
            End::Failed(failure)
        } else {
            let mut completion = Completion::new();
            completion.usage = usage;
            completion.http_status = self.status;
            completion.timing = timing;
            completion.response_body = response_body.map(Into::into);
            completion.read_body = true;
            End::Completed(completion)
        };
        Ok(Exchange {
            context,
            request_body: request_body.into_bytes(),
            end,
            arrived_at,
        })
    }
}

/// serde_json counts lines within its text, of which there is but one.
fn json_problem(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let reason = text.strip_suffix(&place).unwrap_or(&text);
    let column = error.column();
    if error.is_data() {
        format!("{reason} (column {column})")
    } else {
        format!("is not JSON: {reason} (column {column})")
    }
}

fn decoded(body: String, encoding: Option<&str>) -> Result<Vec<u8>, String> {
    match encoding {
        None => Ok(body.into_bytes()),
        Some("base64") => BASE64_STANDARD
            .decode(body)
            .map_err(|error| format!("response_body is not base64: {error}")),
        Some(other) => Err(format!(
            "response_body_encoding is {other:?}; only \"base64\" is known"
        )),
    }
}

/// The model that a request body names, where it is a JSON object that does.
fn model_of(request_body: &str) -> Option<String> {
    if !request_body.trim_ascii_start().starts_with('{') {
        return None;
    }
    serde_json::from_str::<RequestModel>(request_body)
        .ok()?
        .model
}

/// A number since the Unix epoch, of which the size tells the unit, or an RFC 3339 string.
fn started_at<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    struct StartedAt;

    impl<'de> Visitor<'de> for StartedAt {
        type Value = Option<i64>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a number since the Unix epoch or an RFC 3339 time")
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
            match u64::try_from(number) {
                Ok(number) => self.visit_u64(number),
                Err(_) => Err(E::custom(no_time(number))),
            }
        }

        fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
            time::from_number(number)
                .map(Some)
                .ok_or_else(|| E::custom(no_time(number)))
        }

        fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
            time::from_seconds(number)
                .map(Some)
                .ok_or_else(|| E::custom(no_time(number)))
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            time::parse_rfc3339(text)
                .map(Some)
                .map_err(|reason| E::custom(format!("started_at is not a time: {reason}")))
        }
    }

    deserializer.deserialize_any(StartedAt)
}

fn no_time(number: impl std::fmt::Display) -> String {
    format!(
        "started_at is {number}, which is no time from 1973 on in seconds, milliseconds, microseconds or \
         nanoseconds since the Unix epoch"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Exchange {
        Exchange::parse(line.as_bytes()).unwrap()
    }

    fn problem(line: &str) -> String {
        Exchange::parse(line.as_bytes()).unwrap_err()
    }

    #[test]
    fn a_json_request_is_recorded_exactly_as_written() {
        let exchange =
            parse(r#"{"request": {"model":"m",  "n":1.50, "s":"\u00e9"} , "response":[1, 2]}"#);
        assert_eq!(
            exchange.request_body,
            br#"{"model":"m",  "n":1.50, "s":"\u00e9"}"#
        );
        assert_eq!(exchange.context.request_model.as_deref(), Some("m"));
        assert_eq!(exchange.body_bytes(), 38 + 6);
        let End::Completed(completion) = exchange.end else {
            panic!("a line without status is completed")
        };
        assert_eq!(completion.response_body.unwrap(), &b"[1, 2]"[..]);
    }

    #[test]
    fn a_body_string_wins_and_may_be_anything() {
        let exchange = parse(
            r#"{"request":{},"request_body":"not { json\n","response_body":"/wA=","response_body_encoding":"base64","model":"x"}"#,
        );
        assert_eq!(exchange.request_body, b"not { json\n");
        assert_eq!(exchange.context.request_model.as_deref(), Some("x"));
        let End::Completed(completion) = exchange.end else {
            panic!("a line without status is completed")
        };
        assert_eq!(completion.response_body.unwrap(), &b"\xff\x00"[..]);
    }

    #[test]
    fn an_http_error_is_a_failure() {
        let exchange = parse(r#"{"request":1,"status":429,"latency_us":5,"usage":null}"#);
        let End::Failed(failure) = exchange.end else {
            panic!("status 429 is a failure")
        };
        assert_eq!(failure.error_type, "429");
        assert_eq!(failure.http_status, Some(429));
        assert_eq!(failure.timing.unwrap().latency_us, Some(5));
        assert_eq!(exchange.context.request_model, None);
    }

    #[test]
    fn times_are_numbers_or_text() {
        let at = |value: &str| {
            parse(&format!(r#"{{"request":1,"started_at":{value}}}"#))
                .context
                .started_at
        };
        assert_eq!(at("1700000000000000"), Some(1_700_000_000_000_000));
        // Whatever the unit, it is never 1970.
        for same in [
            "1700000000",
            "1700000000.0",
            "1700000000000",
            "1700000000000000000",
        ] {
            assert_eq!(at(same), Some(1_700_000_000_000_000), "{same}");
        }
        assert_eq!(at("1700000000.25"), Some(1_700_000_000_250_000));
        assert_eq!(at(r#""2023-11-14T22:13:20Z""#), Some(1_700_000_000_000_000));
        // Not known: recorded as of now, so that the handle's own clock says nothing.
        assert!(at("null").is_some_and(|at| at > 1_700_000_000_000_000));
    }

    #[test]
    fn a_model_is_taken_from_objects_only() {
        assert_eq!(
            model_of(r#" {"x":[{"model":"inner"}],"model":"m"}"#).as_deref(),
            Some("m")
        );
        assert_eq!(model_of(r#"["m"]"#), None);
        assert_eq!(model_of(r#"{"model":7}"#), None);
        assert_eq!(model_of("hello"), None);
    }

    #[test]
    fn what_cannot_be_recorded_says_why() {
        let problems = [
            "{}",
            "[1]",
            "nonsense",
            r#"{"request":1"#,
            r#"{"request":1,"stream":"yes"}"#,
            r#"{"request":1,"started_at":"soon"}"#,
            r#"{"request":1,"started_at":-1}"#,
            r#"{"request":1,"started_at":0}"#,
            r#"{"request":1,"started_at":86400}"#,
            r#"{"request":1,"started_at":0.5}"#,
            r#"{"request":1,"started_at":1700000000000.5}"#,
            r#"{"request":1,"response_body":"?","response_body_encoding":"base64"}"#,
            r#"{"request":1,"response_body":"x","response_body_encoding":"hex"}"#,
            r#"{"request":1,"request_id":""}"#,
        ]
        .map(problem);
        let starts = [
            "has neither `request`",
            "is not a JSON object",
            "is not a JSON object",
            "is not JSON: EOF while parsing",
            "invalid type: string \"yes\", expected a boolean (column ",
            "started_at is not a time: ",
            "started_at is -1, which is no time",
            "started_at is 0, which is no time",
            "started_at is 86400, which is no time",
            "started_at is 0.5, which is no time",
            "started_at is 1700000000000.5, which is no time",
            "response_body is not base64: ",
            "response_body_encoding is \"hex\"",
            "request_id is empty",
        ];
        for (problem, start) in problems.iter().zip(starts) {
            assert!(problem.starts_with(start), "{problem:?} is not {start:?}");
        }
        let not_text = Exchange::parse(b"{\"request_body\":\"\xff\"}").unwrap_err();
        assert_eq!(not_text, "is not UTF-8 at byte 18");
    }
}
