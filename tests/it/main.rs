//! Integration tests over the public API, one file per behaviour.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod lifecycle;
mod support;
