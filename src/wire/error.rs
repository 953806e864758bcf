//! Errors, in the words of providers.

use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::json::lenient::{Label, List, Object, Raw, Text, text_of};

/// What the provider says went wrong.
#[derive(Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ResponseError {
    /// The kind of error, in the provider's words: OpenAI's and Anthropic's `type`, Google's
    /// `status`, AWS's exception.
    pub error_type: Option<String>,
    /// What happened, in prose; JSON if the provider gives no prose.
    pub message: Option<String>,
    /// The provider's code, a name or a number.
    pub code: Option<String>,
}

/// Prints type and code. Of the message, which may quote a body, it prints only the length.
impl fmt::Debug for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseError")
            .field("error_type", &self.error_type)
            .field("code", &self.code)
            .field("message_bytes", &self.message.as_ref().map(String::len))
            .finish()
    }
}

/// How many errors may be wrapped in each other: a gateway wraps that of a gateway, which wraps a provider's.
const NESTED_MAX: usize = 4;

/// Everything that an error is said with, in any of the dozen forms that servers have.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said<'a> {
    /// An object, a list of them, the message, or a name beside the message.
    #[serde(borrow)]
    error: Raw<'a>,
    /// Cloudflare: a list.
    #[serde(borrow)]
    errors: Raw<'a>,
    #[serde(borrow)]
    message: Raw<'a>,
    /// AWS, in older services.
    #[serde(borrow, rename = "Message")]
    aws_message: Raw<'a>,
    #[serde(borrow)]
    msg: Raw<'a>,
    #[serde(borrow)]
    error_description: Raw<'a>,
    /// FastAPI: prose, or a list of what is wrong with the request.
    #[serde(borrow)]
    detail: Raw<'a>,
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    error_type: Text<'a>,
    /// AWS: a name, maybe with a namespace before it.
    #[serde(borrow, rename = "__type")]
    aws_type: Text<'a>,
    code: Label,
    error_code: Label,
    status: Label,
    #[serde(borrow)]
    reason: Text<'a>,
}

/// What is wrong with one field of a request.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Detail<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
}

impl ResponseError {
    /// An error of which only this is known.
    pub(super) fn new(error_type: Option<&str>, message: Option<&str>) -> Self {
        Self {
            error_type: error_type.map(str::to_owned),
            message: message.map(str::to_owned),
            code: None,
        }
    }

    /// The value of `error`: an object, a list, or the message itself.
    pub(super) fn read(raw: &RawValue) -> Self {
        Self::nested(raw, NESTED_MAX)
    }

    fn nested(raw: &RawValue, depth: usize) -> Self {
        let json = raw.get();
        if json.starts_with('[') {
            let first = serde_json::from_str::<List<&RawValue, 1>>(json);
            let first = first.ok().and_then(|list| list.0.into_iter().next());
            if let Some(first) = first.filter(|_| depth > 0) {
                return Self::nested(first, depth.saturating_sub(1));
            }
        }
        let said = serde_json::from_str::<Object<Said<'_>>>(json);
        match said.ok().and_then(|object| object.0) {
            Some(said) => said.error(raw, depth),
            None => Self::new(None, Some(&text_of(raw))),
        }
    }

    /// As [`read`](Self::read); `None` for a value that says that there is no error.
    pub(super) fn said(raw: Raw<'_>) -> Option<Self> {
        let raw = raw.filter(|raw| !matches!(raw.get(), "false" | "0" | "\"\"" | "{}" | "[]"));
        raw.map(Self::read)
    }

    /// The error of a document that holds nothing else; `None` if it is no error.
    pub(super) fn of_document(document: &[u8]) -> Option<Self> {
        let raw = serde_json::from_slice::<&RawValue>(document).ok()?;
        let said = serde_json::from_str::<Object<Said<'_>>>(raw.get());
        let said = said.ok()?.0?;
        let says_it = Self::said(said.error).is_some()
            || said
                .errors
                .is_some_and(|errors| errors.get().starts_with("[{"))
            || said.detail.is_some()
            || said
                .message()
                .is_some_and(|message| message.get().starts_with('"'));
        says_it.then(|| said.error(raw, NESTED_MAX))
    }
}

impl<'a> Said<'a> {
    fn message(&self) -> Raw<'a> {
        let message = self.message.or(self.aws_message).or(self.msg);
        message.or(self.error_description)
    }

    /// What is said, at the innermost place that says it. What stands around it fills what is missing there.
    fn error(self, raw: &'a RawValue, depth: usize) -> ResponseError {
        let message = self.message();
        let status = self
            .status
            .0
            .filter(|status| status.parse::<f64>().is_err());
        let kinds = [&self.kind, &self.error_type];
        let kind = kinds
            .into_iter()
            .find_map(|kind| kind.owned().filter(|kind| is_name(kind)));
        let aws = self.aws_type.non_empty();
        let aws = aws.map(|name| name.rsplit('#').next().unwrap_or(name).to_owned());
        let codes = [self.code.0, self.error_code.0];
        let mut error = ResponseError {
            error_type: kind.or(aws).or(status).or_else(|| self.reason.owned()),
            message: None,
            code: codes.into_iter().flatten().find(|code| is_name(code)),
        };
        let object = self.detail.filter(|detail| detail.get().starts_with('{'));
        let inner = self.error.or(self.errors).or(object);
        if let Some(inner) = inner.filter(|_| depth > 0) {
            let is_name_of_message = inner.get().starts_with('"') && message.is_some();
            if is_name_of_message {
                error.error_type.get_or_insert_with(|| text_of(inner));
            } else {
                let found = ResponseError::nested(inner, depth.saturating_sub(1));
                return ResponseError {
                    error_type: found.error_type.or(error.error_type),
                    message: found.message.or(message.map(text_of)),
                    code: found.code.or(error.code),
                };
            }
        }
        if let Some(detail) = self.detail.filter(|_| message.is_none()) {
            let first = serde_json::from_str::<List<Object<Detail<'_>>, 1>>(detail.get());
            let first = first.ok().and_then(|list| list.0.into_iter().next()?.0);
            let kind = first.and_then(|detail| detail.kind.owned());
            error.error_type = error.error_type.or(kind);
        }
        // JSON where there is no prose, unless the object is empty.
        let said = message.or(self.detail).map(text_of);
        let whole = || (raw.get().len() > "{}".len()).then(|| raw.get().to_owned());
        error.message = said.or_else(|| match &error {
            ResponseError {
                error_type: None,
                code: None,
                ..
            } => whole(),
            _ => None,
        });
        error
    }
}

/// Whether a name says more than that it is an error. Proxies in Python write out that there is none.
fn is_name(name: &str) -> bool {
    !matches!(name, "" | "None" | "null" | "about:blank" | "error")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(document: &str) -> Option<[Option<String>; 3]> {
        let error = ResponseError::of_document(document.as_bytes())?;
        Some([error.error_type, error.code, error.message])
    }

    #[test]
    fn an_error_is_read_in_every_form_that_servers_have() {
        for (document, kind, code, message) in [
            (
                r#"{"error":{"message":"m","type":"t","code":"c"}}"#,
                Some("t"),
                Some("c"),
                "m",
            ),
            (
                r#"{"type":"error","error":{"type":"t","message":"m"}}"#,
                Some("t"),
                None,
                "m",
            ),
            (
                r#"{"error":{"code":429,"message":"m","status":"S"}}"#,
                Some("S"),
                Some("429"),
                "m",
            ),
            (r#"{"error":"m"}"#, None, None, "m"),
            (r#"{"error":["m","n"]}"#, None, None, "m"),
            (
                r#"{"error":[{"message":"m","code":"c"}]}"#,
                None,
                Some("c"),
                "m",
            ),
            (r#"{"code":"c","error":"m"}"#, None, Some("c"), "m"),
            (r#"{"error":"m","error_type":"t"}"#, Some("t"), None, "m"),
            (r#"{"error":"t","message":"m"}"#, Some("t"), None, "m"),
            (
                r#"{"error":"t","error_description":"m"}"#,
                Some("t"),
                None,
                "m",
            ),
            (r#"{"message":"m"}"#, None, None, "m"),
            (
                r#"{"Message":"m","__type":"com.amazon#T"}"#,
                Some("T"),
                None,
                "m",
            ),
            (r#"{"detail":"m"}"#, None, None, "m"),
            (
                r#"{"detail":[{"type":"t","msg":"m"}]}"#,
                Some("t"),
                None,
                r#"[{"type":"t","msg":"m"}]"#,
            ),
            (
                r#"{"object":"error","message":"m","type":"t","code":400}"#,
                Some("t"),
                Some("400"),
                "m",
            ),
            (
                r#"{"success":false,"errors":[{"code":7003,"message":"m"}]}"#,
                None,
                Some("7003"),
                "m",
            ),
            (
                r#"{"error":{"message":"m","type":"None","code":"500"}}"#,
                None,
                Some("500"),
                "m",
            ),
            (
                r#"{"error":{"error":{"message":"m","type":"t"}}}"#,
                Some("t"),
                None,
                "m",
            ),
            (r#"{"error":{"a":1}}"#, None, None, r#"{"a":1}"#),
        ] {
            let expected = [kind, code, Some(message)].map(|text| text.map(str::to_owned));
            assert_eq!(read(document), Some(expected), "{document}");
        }
    }

    #[test]
    fn what_is_no_error_is_none() {
        for document in [
            "{}",
            r#"{"message":{"role":"assistant"}}"#,
            r#"{"type":"ping"}"#,
            r#"{"errors":[]}"#,
            r#"{"error":null}"#,
            "[]",
            "7",
            "",
        ] {
            assert_eq!(read(document), None, "{document}");
        }
    }
}
