//! auditlite: an embedded, local-first audit store for AI gateways.

mod clock;
mod config;
mod db;
mod doctor;
mod error;
mod handle;
mod log;
mod payload;
mod pricing;
mod query;
mod reader;
mod receipt;
mod record;
mod recorder;
mod store;
mod writer;

pub use config::{
    ATTRIBUTE_KEY_BYTES_MAX, ATTRIBUTE_VALUE_BYTES_MAX, ATTRIBUTES_MAX, Capture, Durability,
    ERROR_MESSAGE_BYTES_MAX, EXCERPT_BYTES, FINISH_REASONS_MAX, IDENTIFIER_BYTES_MAX, MESSAGES_MAX,
    Overflow, PAYLOAD_CAP_BYTES_MAX, TOOL_CALLS_MAX, TOOL_INPUT_BYTES_MAX,
};
pub use doctor::DoctorReport;
pub use error::{FlushError, OpenError, PriceBookError, ReadError, ReceiptError, RecordError};
pub use handle::RequestHandle;
pub use pricing::PriceBook;
pub use reader::{ReadOnlyStore, Reader};
pub use receipt::Receipt;
pub use record::{
    Actor, ActorKind, BodyInfo, Completion, Digest, Failure, InvalidField, Message,
    MessageToolCall, MessageToolResult, Page, Payload, PayloadSide, RecordedToolCall, Rejection,
    RequestContext, RequestFilter, RequestRecord, StatsFilter, StatsKey, StatsRow, Status, Timing,
    ToolCall, Usage, WireProtocol,
};
pub use recorder::Recorder;
pub use store::{Store, StoreBuilder, rebuild};
pub use writer::{CloseReport, Health, HealthState};
