//! What request threads send to the writer.

use std::sync::Arc;

use bytes::Bytes;

use super::capacity::Reservation;
use super::lifecycle::Lifecycle;
use super::pieces::PieceCommand;
use super::queue::BodyGrant;
use crate::log::EndKind;
use crate::model::{Adjustments, Completion, Failure, Rejection, RequestContext, ToolCall, Usage};
use crate::sync::channel::Sender;
use crate::writer::commit::maintenance::{MaintenanceCommand, MaintenanceReply};

/// One message to the writer. Boxed where large: a channel slot takes the space of the largest one.
#[derive(Debug)]
pub(crate) enum Command {
    Open(Box<OpenCommand>),
    Served(Box<ServedCommand>),
    UpstreamBody(Box<UpstreamBodyCommand>),
    Chunks(Box<ChunksCommand>),
    Piece(Box<PieceCommand>),
    End(Box<EndCommand>),
    /// Losses wait to be stated.
    Wake,
    /// Answer once everything before this is committed.
    Flush(Sender<()>),
    /// Take out what is to be removed, after everything before this.
    Maintenance(Box<(MaintenanceCommand, MaintenanceReply)>),
    /// Drain, commit, checkpoint, stop. Answers `true` when all of it succeeded.
    Close(Sender<bool>),
}

impl Command {
    /// What is given back where the command goes nowhere.
    pub(crate) fn reservation(&self) -> Reservation {
        match self {
            Self::Open(command) => command.reservation,
            Self::Served(command) => command.reservation,
            Self::UpstreamBody(command) => command.reservation,
            Self::Chunks(command) => command.reservation,
            Self::Piece(command) => command.reservation,
            Self::End(command) => command.reservation,
            Self::Wake | Self::Flush(_) | Self::Maintenance(_) | Self::Close(_) => {
                Reservation::default()
            }
        }
    }
}

#[derive(Debug)]
pub(crate) struct OpenCommand {
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) at: i64,
    pub(crate) context: RequestContext,
    /// Empty where it was shed.
    pub(crate) body: Bytes,
    pub(crate) body_length: u64,
    pub(crate) body_grant: BodyGrant,
    pub(crate) adjustments: Adjustments,
    /// The policy that went over the content.
    pub(crate) redaction_id: Option<String>,
    /// Given back when this command is committed; the end's share stays with the handle.
    pub(crate) reservation: Reservation,
}

#[derive(Debug)]
pub(crate) struct ServedCommand {
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) at: i64,
    pub(crate) response_model: Option<String>,
    pub(crate) response_provider_name: Option<String>,
    pub(crate) reservation: Reservation,
}

/// The body that was forwarded upstream, to be digested.
#[derive(Debug)]
pub(crate) struct UpstreamBodyCommand {
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) body: Bytes,
    pub(crate) reservation: Reservation,
}

/// Part of a response above the payload cap, to be digested and cut.
#[derive(Debug)]
pub(crate) struct ChunksCommand {
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) chunks: Vec<Bytes>,
    /// Whether a crash is to leave what is kept of it so far.
    pub(crate) keeps_pieces: bool,
    pub(crate) reservation: Reservation,
}

#[derive(Debug)]
pub(crate) struct EndCommand {
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) at: i64,
    pub(crate) ending: Ending,
    /// Chunks that were not sent ahead.
    pub(crate) chunks: Vec<Bytes>,
    /// Bytes of the whole response body.
    pub(crate) response_length: u64,
    pub(crate) body_grant: BodyGrant,
    pub(crate) content_grant: BodyGrant,
    pub(crate) latency_us: Option<u64>,
    pub(crate) upstream_latency_us: Option<u64>,
    pub(crate) time_to_first_chunk_us: Option<u64>,
    pub(crate) response_provider_name: Option<String>,
    pub(crate) capture: Option<crate::config::Capture>,
    pub(crate) adjustments: Adjustments,
    pub(crate) redaction_id: Option<String>,
    /// The caller's span: the end is traced inside it.
    pub(crate) span: tracing::Span,
    pub(crate) reservation: Reservation,
}

/// What is read from the bytes of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum ParseResponse {
    #[default]
    No,
    /// What the end does not say.
    FillGaps,
    /// That, and how the request ended.
    DecideOutcome,
}

impl ParseResponse {
    fn missing(read_body: bool) -> Self {
        if read_body { Self::FillGaps } else { Self::No }
    }
}

/// The ends that a gateway tells, and the one it does not, in one shape.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    pub(crate) kind: EndKind,
    pub(crate) parse_response: ParseResponse,
    pub(crate) error_type: Option<String>,
    pub(crate) error_message: Option<String>,
    pub(crate) usage: Option<Usage>,
    pub(crate) finish_reasons: Vec<String>,
    pub(crate) tool_calls: Vec<ToolCall>,
    pub(crate) response_body: Option<Bytes>,
    pub(crate) assistant_text: Option<String>,
    pub(crate) response_id: Option<String>,
    pub(crate) response_model: Option<String>,
    pub(crate) http_status: Option<u16>,
    /// Where the gateway knows it itself.
    pub(crate) cost_microdollars: Option<u64>,
    pub(crate) timing: crate::model::Timing,
}

impl From<Completion> for Ending {
    fn from(completion: Completion) -> Self {
        Self {
            kind: EndKind::Completed,
            parse_response: ParseResponse::missing(completion.read_body),
            error_type: None,
            error_message: None,
            usage: completion.usage,
            finish_reasons: completion.finish_reasons,
            tool_calls: completion.tool_calls,
            response_body: completion.response_body,
            assistant_text: completion.assistant_text,
            response_id: completion.response_id,
            response_model: completion.response_model,
            http_status: completion.http_status,
            cost_microdollars: completion.cost_microdollars,
            timing: completion.timing.unwrap_or_default(),
        }
    }
}

impl From<Failure> for Ending {
    fn from(failure: Failure) -> Self {
        Self {
            kind: EndKind::Failed,
            parse_response: ParseResponse::missing(failure.read_body),
            error_type: Some(failure.error_type),
            error_message: failure.error_message,
            usage: failure.usage,
            finish_reasons: failure.finish_reasons,
            tool_calls: failure.tool_calls,
            response_body: failure.response_body,
            assistant_text: failure.assistant_text,
            response_id: failure.response_id,
            response_model: failure.response_model,
            http_status: failure.http_status,
            cost_microdollars: failure.cost_microdollars,
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
            kind: match http_status {
                0..400 => EndKind::Completed,
                _ => EndKind::Failed,
            },
            parse_response: ParseResponse::DecideOutcome,
            http_status: Some(http_status),
            ..Self::default()
        }
    }

    /// The handle was dropped.
    pub(crate) fn abandoned() -> Self {
        Self {
            kind: EndKind::Abandoned,
            parse_response: ParseResponse::DecideOutcome,
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

    /// Bytes of everything else that is on the heap, roughly.
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
        texts + reasons + calls + size_of::<EndCommand>()
    }
}
