//! What request threads send to the writer.

use std::sync::Arc;

use bytes::Bytes;

use super::capacity::{BodyGrant, Reservation};
use super::ending::Ending;
use super::lifecycle::Lifecycle;
use super::maintenance::{MaintenanceCommand, MaintenanceReply};
use crate::model::{Adjustments, LateContext, RequestContext};
use crate::sync::channel::Sender;

/// One message from a request thread, the owner or a removal to the intake. Its order in the channel is its order in
/// the log. Boxed where large: each slot of the channel has the size of the largest message.
#[derive(Debug)]
pub(crate) enum Command {
    Open(Box<OpenCommand>),
    Served(Box<ServedCommand>),
    UpstreamBody(Box<UpstreamBodyCommand>),
    Chunks(Box<ChunksCommand>),
    Piece(Box<PieceCommand>),
    End(Box<EndCommand>),
    /// Losses are waiting to be recorded.
    Wake,
    /// Answer once everything before this is committed.
    Flush(Sender<()>),
    /// Execute a step of a removal, after everything before this is committed.
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

/// A request begins. First command of its lifecycle.
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
    /// The policy that redacted the content.
    pub(crate) redaction_id: Option<String>,
    /// Released when this command is committed; the end's share stays with the handle.
    pub(crate) reservation: Reservation,
}

/// Which model or provider serves the request, as soon as the gateway knows.
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

/// A request ends. Last command of its lifecycle.
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
    /// User, conversation and attributes that became known after the opening.
    pub(crate) late: LateContext,
    pub(crate) capture: Option<crate::config::Capture>,
    pub(crate) adjustments: Adjustments,
    pub(crate) redaction_id: Option<String>,
    /// Reserved for content that the opening deferred.
    pub(crate) held_bytes: u64,
    /// The caller's span: the end is traced inside it.
    pub(crate) span: tracing::Span,
    pub(crate) reservation: Reservation,
}

/// The next part of a response that has not ended.
#[derive(Debug)]
pub(crate) struct PieceCommand {
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) chunks: Vec<Bytes>,
    /// The policy that went over it.
    pub(crate) redaction_id: Option<String>,
    pub(crate) reservation: Reservation,
}
