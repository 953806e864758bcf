//! Recorded traffic: every body of it, and many conversations at once that are made from it.
//!
//! `AUDITLITE_CORPUS` names a folder of files; docs/traffic.md says how to make one. Without it the tests
//! say so and pass. A part is read, and fewer conversations are going; `AUDITLITE_CORPUS_FULL=1` reads all.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::indexing_slicing,
    missing_docs
)]

mod conversations;
mod files;
mod languages;
mod order;
mod recorded;
mod restarts;
mod retention;

use std::time::Duration;

/// No body takes longer to read, at its best of some tries: a virtual machine that stands still for a while
/// is not what is tested. Long bodies may take twice as long.
const READ_MAX: Duration = Duration::from_millis(5);
const LONG_READ_MAX: Duration = Duration::from_millis(10);
const LONG_BYTES: usize = 400_000;
