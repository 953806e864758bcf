//! The programs that are measured side by side.

pub(crate) mod auditlite;
pub(crate) mod ceiling;
mod commit;
mod json_log;
mod jsonl;

use std::path::Path;

use super::gateway::Lifecycle;

/// In the order of the table.
pub(crate) const ALL: [&str; 11] = [
    "auditlite",
    "auditlite_told",
    "auditlite_extracting",
    "auditlite_shed",
    "commit_full",
    "commit_normal",
    "json_log",
    "json_log_bounded",
    "jsonl",
    "jsonl_zstd",
    "ceiling",
];

/// A way to keep a trail of requests.
pub(crate) trait Subject: Sync {
    /// All that is done on the request's thread, for its opening and its end. `false`: the request
    /// was left out for want of capacity.
    fn record(&self, lifecycle: Lifecycle) -> bool;

    /// Returns once everything handed over is committed, or written and flushed.
    fn flush(&mut self);

    /// Whether lifecycles may lack their bodies.
    fn is_partial(&self) -> bool {
        false
    }

    /// Measures of its own.
    fn measures(&self) -> Vec<(&'static str, f64)> {
        Vec::new()
    }

    /// Closes its files and gives their size in bytes.
    fn close(self: Box<Self>) -> u64;
}

/// Opens a subject that records lifecycles; `ceiling` is none.
pub(crate) fn open(subject: &str, folder: &Path, byte_budget: usize) -> Box<dyn Subject> {
    match subject {
        "auditlite" => Box::new(auditlite::Auditlite::waiting(folder, byte_budget)),
        "auditlite_told" => Box::new(auditlite::Auditlite::told(folder, byte_budget)),
        "auditlite_extracting" => Box::new(auditlite::Auditlite::extracting(folder, byte_budget)),
        "auditlite_shed" => Box::new(auditlite::Auditlite::shedding(folder, byte_budget)),
        "commit_full" => Box::new(commit::Commit::open(folder, "FULL")),
        "commit_normal" => Box::new(commit::Commit::open(folder, "NORMAL")),
        "json_log" => Box::new(json_log::JsonLog::open(folder, None)),
        "json_log_bounded" => Box::new(json_log::JsonLog::open(folder, Some(4096))),
        "jsonl" => Box::new(jsonl::JsonLines::open(folder, false)),
        "jsonl_zstd" => Box::new(jsonl::JsonLines::open(folder, true)),
        other => panic!("there is no subject {other}"),
    }
}
