//! The log: events as lines, lines as segments, and what events say about requests.
//!
//! Pure: knows neither the database nor threads.
//!
//! - `event`, `request_events`, `removal`, `body`: what a line says, in its order;
//! - `segment`: the lines of one group commit, compressed;
//! - `fold`, `hours`, `shares`: from events to rows and sums, by the models that took part;
//! - `accounts`: whether what an opening's close counts is what its events say.

mod accounts;
mod body;
mod error;
mod event;
mod fold;
mod hours;
mod removal;
mod request_events;
mod segment;
mod shares;

pub(crate) use accounts::Accounts;
pub(crate) use body::{BodyFact, BodyFacts, Kept};
pub(crate) use event::{
    Event, EventKind, Gap, PRICE_SOURCES_MAX, PriceBookStated, StoreClosed, StoreOpened,
    UNSIGNED_REMOVALS_MAX, UnsignedRemovals,
};
pub(crate) use fold::{Fold, RequestChange, RequestEnd, RequestStart};
pub(crate) use hours::{
    DayKey, HOURS_PER_DAY, HourKey, HourSums, count_end, hour_of, hour_start, minute_of,
};
pub(crate) use removal::{
    ERASED_REQUESTS_MAX, Erased, ErasedRequest, Pruned, PrunedKind, PrunedUsage, removed_leaf,
    write_removed,
};
pub(crate) use request_events::{
    EndKind, Ended, Opened, Served, ToolCallFact, merged_attributes, pairs,
};
pub(crate) use segment::{SegmentDecoder, SegmentEncoder, check_sizes, lines};
