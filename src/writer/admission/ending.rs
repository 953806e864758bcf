//! How a request ends, whether the gateway reports it or drops the handle.

use bytes::Bytes;

use crate::log::EndKind;
use crate::model::{
    Completion, CostSource, Failure, Rejection, Timing, ToolCall, Usage, UsageDetails,
};

/// Whether the packer reads the bytes of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum ParseResponse {
    #[default]
    No,
    /// The fields that the end left empty, and how the request ended.
    Yes,
}

impl From<bool> for ParseResponse {
    fn from(read_body: bool) -> Self {
        if read_body { Self::Yes } else { Self::No }
    }
}

/// How an answer with this HTTP status ended, as far as the status tells.
fn kind_of(http_status: u16) -> EndKind {
    match http_status {
        0..400 => EndKind::Completed,
        _ => EndKind::Failed,
    }
}

/// How a request ends. A completion, failure or rejection that the gateway reports and the abandonment that
/// it does not report (a dropped handle) all become this, so that the stages behind the queue know one kind
/// of end. Made on the request thread, consumed by the intake.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    pub(crate) kind: EndKind,
    pub(crate) parse_response: ParseResponse,
    pub(crate) error_type: Option<String>,
    pub(crate) error_message: Option<String>,
    pub(crate) usage: Option<Usage>,
    pub(crate) usage_details: Option<Box<UsageDetails>>,
    pub(crate) finish_reasons: Vec<String>,
    pub(crate) tool_calls: Vec<ToolCall>,
    pub(crate) response_body: Option<Bytes>,
    pub(crate) assistant_text: Option<String>,
    pub(crate) response_id: Option<String>,
    pub(crate) response_model: Option<String>,
    pub(crate) http_status: Option<u16>,
    /// Where the gateway knows it itself.
    pub(crate) cost_microdollars: Option<u64>,
    pub(crate) cost_source: Option<CostSource>,
    pub(crate) timing: Timing,
}

impl From<Completion> for Ending {
    fn from(completion: Completion) -> Self {
        let decided = completion.http_status.filter(|_| completion.read_body);
        Self {
            kind: decided.map_or(EndKind::Completed, kind_of),
            parse_response: completion.read_body.into(),
            error_type: None,
            error_message: None,
            usage: completion.usage,
            usage_details: completion.usage_details,
            finish_reasons: completion.finish_reasons,
            tool_calls: completion.tool_calls,
            response_body: completion.response_body,
            assistant_text: completion.assistant_text,
            response_id: completion.response_id,
            response_model: completion.response_model,
            http_status: completion.http_status,
            cost_microdollars: completion.cost_microdollars,
            cost_source: completion.cost_source,
            timing: completion.timing.unwrap_or_default(),
        }
    }
}

impl From<Failure> for Ending {
    fn from(failure: Failure) -> Self {
        Self {
            kind: EndKind::Failed,
            parse_response: failure.read_body.into(),
            error_type: Some(failure.error_type),
            error_message: failure.error_message,
            usage: failure.usage,
            usage_details: failure.usage_details,
            finish_reasons: failure.finish_reasons,
            tool_calls: failure.tool_calls,
            response_body: failure.response_body,
            assistant_text: failure.assistant_text,
            response_id: failure.response_id,
            response_model: failure.response_model,
            http_status: failure.http_status,
            cost_microdollars: failure.cost_microdollars,
            cost_source: failure.cost_source,
            timing: failure.timing.unwrap_or_default(),
        }
    }
}

impl From<Rejection> for Ending {
    fn from(rejection: Rejection) -> Self {
        Self {
            kind: EndKind::Rejected,
            error_type: Some(rejection.error_type),
            error_message: rejection.error_message,
            response_body: rejection.response_body,
            http_status: rejection.http_status,
            timing: rejection.timing.unwrap_or_default(),
            ..Self::default()
        }
    }
}

impl Ending {
    /// The end of which only the HTTP status is known: the bytes tell the rest.
    pub(crate) fn finished(http_status: u16) -> Self {
        Self {
            kind: kind_of(http_status),
            parse_response: ParseResponse::Yes,
            http_status: Some(http_status),
            ..Self::default()
        }
    }

    /// The handle was dropped.
    pub(crate) fn abandoned() -> Self {
        Self {
            kind: EndKind::Abandoned,
            parse_response: ParseResponse::Yes,
            ..Self::default()
        }
    }

    /// Bytes of the text that is content: kept apart, and shed before the metadata.
    pub(crate) fn content_bytes(&self) -> usize {
        let text = self.assistant_text.as_ref().map_or(0, String::len);
        self.tool_calls
            .iter()
            .fold(text, |sum, call| sum.saturating_add(call.input.len()))
    }

    /// Bytes of everything else that it holds on the heap, roughly; without its command.
    pub(crate) fn metadata_bytes(&self) -> usize {
        let texts = [
            &self.error_type,
            &self.error_message,
            &self.response_id,
            &self.response_model,
        ];
        let texts: usize = texts.into_iter().flatten().map(String::len).sum();
        let reasons: usize = self
            .finish_reasons
            .iter()
            .map(|reason| reason.len() + 24)
            .sum();
        let calls: usize = self
            .tool_calls
            .iter()
            .map(|call| call.tool_call_id.len() + call.tool_name.len() + 72)
            .sum();
        texts + reasons + calls
    }
}
