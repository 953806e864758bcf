//! The log: events as lines, lines as segments, and what events say about requests.
//!
//! Pure: knows nothing of the database or of threads.

mod accounts;
mod body;
mod event;
mod fold;
mod removal;
mod segment;

pub(crate) use accounts::Accounts;
pub(crate) use body::{BodyFact, BodyFacts, Kept};
pub(crate) use event::{
    EndKind, Ended, Event, EventKind, Gap, Opened, Served, StoreClosed, StoreOpened, ToolCallFact,
    UNSIGNED_REMOVALS_MAX, UnsignedRemovals, pairs,
};
pub(crate) use fold::{
    DayKey, Fold, HOURS_PER_DAY, HourKey, HourSums, RequestChange, RequestEnd, RequestStart,
    hour_of, hour_start, minute_of,
};
pub(crate) use removal::{
    ERASED_REQUESTS_MAX, Erased, ErasedRequest, Pruned, PrunedKind, PrunedUsage, removed_leaf,
    write_removed,
};
pub(crate) use segment::{SegmentDecoder, SegmentEncoder, check_sizes, lines};
