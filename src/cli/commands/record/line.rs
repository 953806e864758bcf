//! One line of JSON Lines: a finished exchange.

use auditlite::{Completion, Failure, RequestContext, Timestamp, Timing, Usage, WireProtocol};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::cli::support::fields::{Fields, http_status};
use crate::cli::support::identity::{BodyIdentity, Identity, KnownBy};
use crate::cli::support::time;

/// HTTP statuses from this one on are failures.
const HTTP_ERROR_MIN: u64 = 400;

/// What is recorded of a line.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) context: RequestContext,
    pub(super) request_body: Vec<u8>,
    pub(super) end: End,
    /// When it arrived, where the line says so.
    pub(super) arrived_at: Option<Timestamp>,
    /// Names of fields that have no meaning.
    pub(super) unknown_fields: Vec<String>,
    /// Whether it is a result that came with a batch: a later fetch brings the same one.
    pub(super) is_result: bool,
}

/// How it ended.
#[derive(Debug)]
pub(super) enum End {
    Completed(Completion),
    Failed(Failure),
}

/// The fields of a line. Others are counted; `null` means absent.
const FIELDS: &[&str] = &[
    "request_body",
    "request",
    "response_body",
    "response",
    "request_body_encoding",
    "response_body_encoding",
    "request_id",
    "conversation_id",
    "conversation",
    "user_id",
    "session_id",
    "trace_id",
    "url_path",
    "path",
    "url",
    "provider_name",
    "request_model",
    "model",
    "wire_protocol",
    "wire",
    "stream",
    "status",
    "usage",
    "usage_details",
    "started_at",
    "latency_us",
];

/// The only field of a request body that is read here.
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
        let mut fields = Fields::of_line(line, FIELDS)?;
        let mut exchange = Self::read(&mut fields)?;
        exchange.unknown_fields = fields.unknown().to_vec();
        let adjusted_fields = fields.into_adjusted().into_iter();
        exchange.context.adjusted_fields = adjusted_fields.map(str::to_owned).collect();
        Ok(exchange)
    }

    /// Reads all fields. Only a request is demanded; each body is text, or JSON that is recorded as it is written. Some
    /// fields have a second, shorter name (`wire`, `model`, `conversation`, `path`), which counts where the first is
    /// absent. Without a protocol, path, response and request tell it. Status and response decide how the exchange ended.
    fn read(line: &mut Fields<'_>) -> Result<Self, String> {
        let request_body = body(line, ["request", "request_body", "request_body_encoding"])?
            .ok_or("has neither request nor request_body")?;
        let response_body = body(
            line,
            ["response", "response_body", "response_body_encoding"],
        )?;
        let wire = match line.text("wire_protocol", "wire_protocol")? {
            None => line.text("wire", "wire_protocol")?,
            wire => wire,
        };
        let url_path = url_path(line)?;
        let wire = match wire.filter(|wire| !wire.is_empty()) {
            Some(wire) => WireProtocol::from(wire),
            None => {
                let path = url_path.as_deref().unwrap_or_default();
                let response = response_body.as_deref().unwrap_or_default();
                WireProtocol::detect_exchange(path, &request_body, response)
            }
        };
        let usage = match line.raw("usage").map(RawValue::get) {
            Some(usage) if !usage.starts_with('{') => {
                return Err("usage is not a JSON object".to_owned());
            }
            usage => usage.and_then(|usage| Usage::from_json(&wire, usage)),
        };
        let usage_details = line.usage_details("usage_details")?;
        let is_streaming = line.truth("stream")?.unwrap_or(false);
        let mut context = RequestContext::new(wire).is_streaming(is_streaming);
        context.request_id = line.text("request_id", "request_id")?;
        if context.request_id.as_ref().is_some_and(String::is_empty) {
            // An empty id means none: the line gets one like a line without the field.
            line.note("request_id");
            context.request_id = None;
        }
        context.conversation_id = match line.text("conversation_id", "conversation_id")? {
            None => line.text("conversation", "conversation_id")?,
            id => id,
        };
        context.user_id = line.text("user_id", "user_id")?;
        context.session_id = line.text("session_id", "session_id")?;
        context.trace_id = line.text("trace_id", "trace_id")?;
        context.url_path = url_path;
        context.provider_name = line.text("provider_name", "provider_name")?;
        context.request_model = match line.text("request_model", "request_model")? {
            None => line.text("model", "request_model")?,
            model => model,
        }
        .or_else(|| model_of(&request_body));
        let arrived_at = started_at(line)?;
        // A finished exchange is a record of the past: the time that recording takes must not become its latency.
        context.started_at = Some(arrived_at.unwrap_or_else(Timestamp::now));
        // The bodies may say what the line does not.
        context.read_body = Some(true);

        let latency_us = line.count("latency_us", "latency_us")?;
        let timing = latency_us.map(|us| Timing::default().latency_us(us));
        let status = line.count("status", "http_status")?;
        let http_status = http_status(line, status);
        // What the bytes say decides, but for a status that cannot be recorded.
        let unrecorded = status.filter(|_| http_status.is_none());
        let end = match unrecorded.filter(|status| *status >= HTTP_ERROR_MIN) {
            Some(status) => {
                let mut failure = Failure::new(status.to_string());
                failure.usage = usage;
                failure.usage_details = usage_details;
                failure.timing = timing;
                failure.response_body = response_body.map(Into::into);
                failure.read_body = true;
                End::Failed(failure)
            }
            None => {
                let mut completion = Completion::new();
                completion.usage = usage;
                completion.usage_details = usage_details;
                completion.http_status = http_status;
                completion.timing = timing;
                completion.response_body = response_body.map(Into::into);
                completion.read_body = true;
                End::Completed(completion)
            }
        };
        Ok(Self {
            context,
            request_body,
            end,
            arrived_at,
            unknown_fields: Vec::new(),
            is_result: false,
        })
    }

    /// Bytes of both bodies.
    pub(super) fn body_bytes(&self) -> u64 {
        let bytes = self
            .request_body
            .len()
            .saturating_add(self.response_body().len());
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// What distinguishes the request from others. `None`: it has no id.
    pub(super) fn identity(&self) -> Option<Identity> {
        let context = &self.context;
        let http_status = match &self.end {
            End::Completed(completion) => completion.http_status,
            End::Failed(failure) => failure.http_status,
        };
        let ids = [
            &context.user_id,
            &context.session_id,
            &context.context_id,
            &context.conversation_id,
            &context.trace_id,
        ];
        Some(Identity {
            request_id: context.request_id.clone()?,
            opened_at: self.arrived_at,
            is_erased: false,
            ids: ids.map(|id| id.clone().filter(|_| !self.is_result)),
            bodies: [
                BodyIdentity::of(&self.request_body),
                BodyIdentity::of(self.response_body()),
            ],
            known_by: KnownBy::Exchange { http_status },
        })
    }

    /// Whether the protocol of the response is known: by its name, or because the response says it itself.
    pub(super) fn is_known(&self) -> bool {
        let response = self.response_body();
        self.context.wire_protocol.is_supported()
            || response.is_empty()
            || WireProtocol::detect_exchange("", b"", response).is_supported()
    }

    pub(super) fn response_body(&self) -> &[u8] {
        let body = match &self.end {
            End::Completed(completion) => &completion.response_body,
            End::Failed(failure) => &failure.response_body,
        };
        body.as_deref().unwrap_or_default()
    }
}

/// The path of the request's URL.
fn url_path(line: &mut Fields<'_>) -> Result<Option<String>, String> {
    let path = match line.text("url_path", "url_path")? {
        None => line.text("path", "url_path")?,
        path => path,
    };
    if path.is_some() {
        return Ok(path);
    }
    let url = line.text("url", "url_path")?;
    Ok(url.map(|url| {
        let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
        let start = rest.find('/').unwrap_or(rest.len());
        rest.get(start..).unwrap_or_default().to_owned()
    }))
}

/// The exact bytes of a body: a string, maybe of bytes in base64, or else JSON as it is written.
fn body(
    line: &mut Fields<'_>,
    [json, text, encoding]: [&'static str; 3],
) -> Result<Option<Vec<u8>>, String> {
    let named = line.text(encoding, text)?;
    let Some(body) = line.text(text, text)? else {
        return Ok(line.raw(json).map(|raw| raw.get().as_bytes().to_vec()));
    };
    match named.as_deref() {
        None => Ok(Some(body.into_bytes())),
        Some("base64") => BASE64_STANDARD
            .decode(body)
            .map(Some)
            .map_err(|error| format!("{text} is not base64: {error}")),
        Some(other) => Err(format!("{encoding} is {other:?}; only \"base64\" is known")),
    }
}

/// The model that a request body names, where it is a JSON object that does.
fn model_of(request_body: &[u8]) -> Option<String> {
    if !request_body.trim_ascii_start().starts_with(b"{") {
        return None;
    }
    serde_json::from_slice::<RequestModel>(request_body)
        .ok()?
        .model
}

/// A number since the Unix epoch, of which the size tells the unit, or an RFC 3339 string. A time that
/// cannot be recorded is noted.
fn started_at(line: &mut Fields<'_>) -> Result<Option<Timestamp>, String> {
    let Some(raw) = line.raw("started_at") else {
        return Ok(None);
    };
    let at = if raw.get().starts_with('"') {
        let text = line.text("started_at", "started_at")?.unwrap_or_default();
        let at = time::parse_rfc3339(&text)
            .map_err(|reason| format!("started_at is not a time: {reason}"))?;
        Some(at)
    } else {
        line.number("started_at")
            .map_err(|_| "started_at is neither a number nor a string with a time".to_owned())?
            .and_then(time::from_number)
    };
    let at = at.filter(|at| time::RECORDABLE.contains(at));
    if at.is_none() {
        line.note("started_at");
    }
    Ok(at.map(Timestamp::from_micros))
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
    fn status_and_bytes_decide_how_it_ended() {
        let exchange = parse(r#"{"request":1,"status":429,"latency_us":5,"usage":null}"#);
        let End::Completed(completion) = exchange.end else {
            panic!("the writer decides")
        };
        assert!(completion.read_body);
        assert_eq!(completion.http_status, Some(429));
        assert_eq!(completion.timing.unwrap().latency_us, Some(5));
        assert_eq!(exchange.context.request_model, None);
        let exchange = parse(r#"{"request":1,"status":70000}"#);
        let End::Failed(failure) = exchange.end else {
            panic!("no status that can be recorded, and an error")
        };
        assert_eq!(failure.error_type, "70000");
    }

    #[test]
    fn path_and_body_tell_the_protocol_where_the_line_does_not() {
        let protocol = |line: &str| parse(line).context.wire_protocol;
        for (line, wire) in [
            (r#"{"request":{"model":"m","messages":[]}}"#, "openai.chat"),
            (
                r#"{"request":{},"path":"/v1/messages?beta=true"}"#,
                "anthropic.messages",
            ),
            (
                r#"{"request":{},"url":"https://h:1/api/chat","wire":""}"#,
                "ollama.chat",
            ),
            (
                r#"{"request":{},"path":"/v1/messages","wire":"mine"}"#,
                "mine",
            ),
            (r#"{"request":{}}"#, ""),
            (
                r#"{"request":{},"response":{"object":"chat.completion","choices":[]}}"#,
                "openai.chat",
            ),
            (
                r#"{"request":{"model":"m","messages":[]},"response":{"type":"message","role":"assistant"}}"#,
                "anthropic.messages",
            ),
            (
                r#"{"request":{},"path":"/v1/rerank","response":{"choices":[{"message":{}}]}}"#,
                "",
            ),
        ] {
            assert_eq!(protocol(line).as_str(), wire, "{line}");
        }
        let exchange = parse(r#"{"request":{},"url":"https://h/v1/x?key=1"}"#);
        assert_eq!(exchange.context.url_path.as_deref(), Some("/v1/x?key=1"));
    }

    #[test]
    fn fields_without_a_meaning_are_named() {
        let exchange = parse(r#"{"request":1,"tokens":{"a":1},"\u00e9":null,"status":200}"#);
        assert_eq!(exchange.unknown_fields, ["tokens", "\u{e9}"]);
    }

    #[test]
    fn times_are_numbers_or_text() {
        let at = |value: &str| {
            parse(&format!(r#"{{"request":1,"started_at":{value}}}"#))
                .context
                .started_at
                .map(Timestamp::as_micros)
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
        assert_eq!(at("1700000000000.5"), Some(1_700_000_000_000_500));
        assert_eq!(at(r#""2023-11-14T22:13:20Z""#), Some(1_700_000_000_000_000));
        // Not known: recorded as of now, so that the handle's own clock says nothing.
        assert!(at("null").is_some_and(|at| at > 1_700_000_000_000_000));
    }

    #[test]
    fn a_model_is_taken_from_objects_only() {
        assert_eq!(
            model_of(br#" {"x":[{"model":"inner"}],"model":"m"}"#).as_deref(),
            Some("m")
        );
        assert_eq!(model_of(br#"["m"]"#), None);
        assert_eq!(model_of(br#"{"model":7}"#), None);
        assert_eq!(model_of(b"hello"), None);
    }

    #[test]
    fn numbers_that_cannot_be_recorded_are_noted_and_refuse_nothing() {
        for (field, number, adjusted_fields) in [
            ("started_at", "-1", "started_at"),
            ("started_at", "0", "started_at"),
            ("started_at", "86400", "started_at"),
            ("started_at", "0.5", "started_at"),
            ("started_at", "1e30", "started_at"),
            ("started_at", r#""1815-12-10T00:00:00Z""#, "started_at"),
            ("latency_us", "-1", "latency_us"),
            ("latency_us", "1.5", "latency_us"),
            ("status", "-1", "http_status"),
            ("status", "65536", "http_status"),
            ("status", "1e999", "http_status"),
            ("status", "99", "http_status"),
        ] {
            let exchange = parse(&format!(r#"{{"request":1,"{field}":{number}}}"#));
            assert_eq!(
                exchange.context.adjusted_fields,
                [adjusted_fields],
                "{field} {number}"
            );
            assert_eq!(exchange.arrived_at, None);
        }
        let exchange = parse(r#"{"request":1,"status":2e2,"latency_us":1000.0}"#);
        assert!(exchange.context.adjusted_fields.is_empty());
        let End::Completed(completion) = exchange.end else {
            panic!("status 200 is completed")
        };
        assert_eq!(completion.http_status, Some(200));
        assert_eq!(completion.timing.unwrap().latency_us, Some(1000));
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
            r#"{"request":1,"response_body":"?","response_body_encoding":"base64"}"#,
            r#"{"request":1,"response_body":"x","response_body_encoding":"hex"}"#,
            r#"{"request_body":"?","request_body_encoding":"base64"}"#,
        ]
        .map(problem);
        let starts = [
            "has neither request nor",
            "is not a JSON object",
            "is not a JSON object",
            "is not JSON: EOF while parsing",
            "stream is a string, and must be true or false",
            "started_at is not a time: ",
            "response_body is not base64: ",
            "response_body_encoding is \"hex\"",
            "request_body is not base64: ",
        ];
        for (problem, start) in problems.iter().zip(starts) {
            assert!(problem.starts_with(start), "{problem:?} is not {start:?}");
        }
        let not_text = Exchange::parse(b"{\"request_body\":\"\xff\"}").unwrap_err();
        assert_eq!(not_text, "is not UTF-8 at byte 18");
    }
}
