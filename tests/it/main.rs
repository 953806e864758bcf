//! Integration tests over the public API, one file per behaviour.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    missing_docs,
    unreachable_pub
)]

mod accounts;
mod anchored;
mod awaiting;
mod bounds;
mod checkpoints;
mod closing;
mod continued;
mod conversations;
mod damaged;
mod damaged_log;
mod deferred;
mod deferred_capacity;
mod destroyed;
mod doctored;
mod documents;
#[path = "../support/ends.rs"]
mod ends;
mod exporting;
mod extraction;
mod feeding;
mod fields;
mod filters;
mod folders;
mod following;
mod forgeries;
mod gathering;
mod identifiers;
mod indexes;
#[cfg(feature = "serde")]
mod json_contract;
mod late_facts;
mod layers;
mod lifecycle;
mod media;
mod names;
mod opening;
mod options;
mod other_models;
mod overflow;
mod page_sizes;
mod payloads;
mod ranking;
mod reading;
mod rebuild;
mod redaction;
mod removal;
mod replaced;
mod searching;
mod searching_languages;
#[path = "../support/seeds.rs"]
mod seeds;
mod shared_ids;
mod sources;
mod stall;
mod store_checks;
mod support;
mod tracing_events;
mod unchecked;
mod verification;
mod version_2;
