//! Long responses of requests that have not ended: their pieces are in the file after a crash, and deleted once they
//! are not needed.
//!
//! A binary of its own: `killed` runs it again as the process that is killed.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    missing_docs,
    unreachable_pub
)]

mod interrupted;
#[cfg(unix)]
mod killed;
#[path = "../support/random.rs"]
mod random;
mod redacted;
mod scratch;
#[path = "../support/seeds.rs"]
mod seeds;
mod support;
