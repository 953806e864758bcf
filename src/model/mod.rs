//! The data types of the trail: what a gateway passes, and what a reader gets back.
//!
//! Plain data. Nothing here knows how it is stored.

mod adjustments;
mod bounds;
mod completion;
mod context;
mod field_value;
mod fields;
mod filter;
mod identifier;
mod json;
mod late;
mod message;
mod price_source;
mod protocol;
mod read;
mod source;
mod timestamp;
mod usage;
mod usage_bounds;
mod usage_details;

pub use bounds::InvalidField;
pub use completion::{Completion, Failure, Rejection, Timing, ToolCall};
pub use context::{Actor, ActorKind, Message, MessageToolCall, MessageToolResult, RequestContext};
pub use filter::{ListOptions, RequestFilter, RequestOrder};
pub use identifier::stored_identifier;
pub use message::{CanonicalMessage, MessagePart};
pub use price_source::PriceSource;
pub use protocol::WireProtocol;
pub use read::{
    BodyInfo, Digest, Page, Payload, PayloadSide, RecordedToolCall, RequestRecord, StatsFilter,
    StatsKey, StatsRow, Status, ToolStats, UnreadableRequest,
};

pub use source::{CostSource, UsageSource};
pub use timestamp::Timestamp;
pub use usage::Usage;
pub use usage_details::{
    BilledUnit, CacheWriteTokens, ModalityTokens, ModelUsage, ServerToolUsage, UsageDetails,
    UsageSoFar,
};

pub(crate) use adjustments::{
    Adjustments, REQUEST_UNPARSED, REQUEST_WITHHELD, RESPONSE_GENERIC, RESPONSE_UNPARSED,
    RESPONSE_WITHHELD, add_names,
};
pub(crate) use bounds::{
    Normaliser, seen_status, seen_usage, served_name, stored_attribute, told_adjusted,
};
pub(crate) use field_value::{FieldValue, Held};
pub(crate) use fields::{FIELDS, Field, Known, export_columns, names_known};
pub(crate) use late::LateContext;

/// Chainable setters named like their fields; the field's own documentation says the rest. `text` and
/// `value` are of optional fields, `plain` of others, `list` takes anything that can be iterated, and
/// `time` a `Timestamp` or a `SystemTime`.
macro_rules! setters {
    (
        $(text: $($text:ident),* $(,)?;)?
        $(value: $($value:ident : $kind:ty),* $(,)?;)?
        $(plain: $($plain:ident : $plain_kind:ty),* $(,)?;)?
        $(list: $($list:ident : $item:ty),* $(,)?;)?
        $(time: $($time:ident),* $(,)?;)?
    ) => {
        $($(
            #[doc = concat!("Sets [`", stringify!($text), "`](Self::", stringify!($text), ").")]
            #[must_use]
            pub fn $text(mut self, $text: impl Into<String>) -> Self {
                self.$text = Some($text.into());
                self
            }
        )*)?
        $($(
            #[doc = concat!("Sets [`", stringify!($value), "`](Self::", stringify!($value), ").")]
            #[must_use]
            pub fn $value(mut self, $value: $kind) -> Self {
                self.$value = Some($value);
                self
            }
        )*)?
        $($(
            #[doc = concat!("Sets [`", stringify!($plain), "`](Self::", stringify!($plain), ").")]
            #[must_use]
            pub fn $plain(mut self, $plain: $plain_kind) -> Self {
                self.$plain = $plain;
                self
            }
        )*)?
        $($(
            #[doc = concat!("Sets [`", stringify!($list), "`](Self::", stringify!($list), ").")]
            #[must_use]
            pub fn $list(mut self, $list: impl IntoIterator<Item = $item>) -> Self {
                self.$list = $list.into_iter().collect();
                self
            }
        )*)?
        $($(
            #[doc = concat!("Sets [`", stringify!($time), "`](Self::", stringify!($time), ").")]
            #[must_use]
            pub fn $time(mut self, $time: impl Into<$crate::model::Timestamp>) -> Self {
                self.$time = Some($time.into());
                self
            }
        )*)?
    };
}
pub(crate) use setters;
