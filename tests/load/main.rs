//! Under load: a disk that takes its time, a disk that stands still, and a long mixed load.
//!
//! | variable | meaning | default |
//! |---|---|---|
//! | `AUDITLITE_SOAK_SECONDS` | how long the mixed load runs | 15 |
//!
//! A binary of its own: its file layer replaces SQLite's for the whole process.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    missing_docs,
    unreachable_pub,
    dead_code
)]

mod latency;
#[path = "../../benches/common/memory.rs"]
mod memory;
#[path = "../support/random.rs"]
mod random;
mod reading;
mod removal;
#[path = "../support/seeds.rs"]
mod seeds;
mod slow_disk;
mod soak;
mod stalled_disk;
#[path = "../support/vfs.rs"]
mod vfs;
#[path = "../support/world.rs"]
mod world;

use std::time::Duration;

use auditlite::{Completion, Recorder, RequestContext};

/// Long enough for any machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs one test of this binary again in a process of its own, and returns what it printed.
fn in_child(test: &str, variable: &str) -> String {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(variable, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

/// A figure that a child printed as `NAME=NUMBER`.
fn figure(text: &str, name: &str) -> f64 {
    let start = format!("{name}=");
    text.lines()
        .find_map(|line| line.strip_prefix(&start))
        .unwrap_or_else(|| panic!("{name} is not in {text}"))
        .parse()
        .unwrap()
}

/// Opens and completes a request whose bodies are of its own, as in a gateway.
fn lifecycle(recorder: &Recorder, number: u64, bytes: usize) {
    let mut body = format!("{number}: ").repeat(bytes / 8).into_bytes();
    body.truncate(bytes);
    let context = RequestContext::new("openai.chat").conversation_id(format!("c-{}", number % 50));
    let audit = recorder.open(context, body).unwrap();
    let completion = Completion::new().response_body(format!("answer {number}"));
    audit.complete(completion).unwrap();
}
