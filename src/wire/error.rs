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

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ErrorObject<'a> {
    #[serde(borrow)]
    message: Raw<'a>,
    #[serde(borrow)]
    msg: Raw<'a>,
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    code: Label,
    #[serde(borrow)]
    status: Text<'a>,
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

    /// The value of `error`: an object, or the message itself.
    pub(super) fn read(raw: &RawValue) -> Self {
        let error = serde_json::from_str::<Object<ErrorObject<'_>>>(raw.get());
        let Some(error) = error.ok().and_then(|object| object.0) else {
            return Self::new(None, Some(&text_of(raw)));
        };
        Self {
            error_type: error.kind.owned().or_else(|| error.status.owned()),
            message: error.message.or(error.msg).map(text_of),
            code: error.code.0,
        }
    }
}

/// Errors that are not wrapped in `error`: OpenAI-compatible servers have a dozen forms.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct BareError<'a> {
    #[serde(borrow)]
    error: Raw<'a>,
    #[serde(borrow)]
    message: Text<'a>,
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    code: Label,
    #[serde(borrow)]
    reason: Text<'a>,
    /// FastAPI: prose, or a list of what is wrong with the request.
    #[serde(borrow)]
    detail: Raw<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Detail<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
}

impl BareError<'_> {
    /// The error of a document that holds nothing else; `None` if it is no error.
    pub(super) fn read(document: &[u8]) -> Option<ResponseError> {
        let bare = serde_json::from_slice::<Object<BareError<'_>>>(document);
        let bare = bare.ok()?.0?;
        if let Some(error) = bare.error {
            return Some(ResponseError::read(error));
        }
        if let Some(detail) = bare.detail {
            let first = serde_json::from_str::<List<Object<Detail<'_>>, 1>>(detail.get());
            let first = first.ok().and_then(|list| list.0.into_iter().next()?.0);
            return Some(ResponseError {
                error_type: first.and_then(|detail| detail.kind.owned()),
                message: Some(text_of(detail)),
                code: None,
            });
        }
        let message = bare.message.owned()?;
        Some(ResponseError {
            error_type: bare.kind.owned().or_else(|| bare.reason.owned()),
            message: Some(message),
            code: bare.code.0,
        })
    }
}
