//! The command line as its users see it: the built program is run in temporary folders, and what it
//! prints is compared with the files in `golden/`. `UPDATE_GOLDEN=1` rewrites those.

// Helpers outside of test functions fail a test in the same way as the tests themselves do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr
)]

mod commands;
mod conversations;
mod documentation;
#[path = "../support/ends.rs"]
mod ends;
mod errors;
mod exporting;
mod full_requests;
#[path = "../support/gateway.rs"]
mod gateway;
mod gateway_redaction;
mod hostile;
mod importing;
mod lines;
mod local_time;
mod naming;
mod narrow_terminals;
mod newcomer;
mod private_files;
mod reading;
mod recording;
mod removing;
mod searching;
mod shared_ids;
mod support;
mod verifying;
