//! Wire protocols over recorded traffic: everything that a provider's own documentation lets one
//! expect of an exchange is found by the parsers, and nothing that could arrive makes them panic.
//!
//! `AUDITLITE_CORPUS` names a folder of recorded exchanges (docs/traffic.md).
//! Without it the tests that need it say so and pass.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::indexing_slicing,
    missing_docs
)]

mod agreement;
mod cases;
mod corpus;
mod cuts;
mod damage;
mod recorded;
#[path = "../support/seeds.rs"]
mod seeds;
mod speed;
mod splits;
mod sums;
mod variants;

/// Counts what is allocated: `damage::parse_bombs` asks for the peak.
#[global_allocator]
static ALLOCATED: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;
