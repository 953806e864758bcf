//! SIGKILL in the middle of recording: what a receipt called durable is there, the file opens
//! cleanly, open requests are marked.
//!
//! A binary of its own: the test runs itself again as the process that is killed.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs
)]

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use auditlite::{
    Completion, Overflow, PayloadSide, ReadOnlyStore, RequestContext, RequestFilter, Status, Store,
};

const CHILD: &str = "AUDITLITE_CRASH_CHILD";
const PRODUCERS: usize = 4;

/// Rounds of the kill; `AUDITLITE_CRASH_ROUNDS` asks for more.
fn rounds() -> usize {
    std::env::var("AUDITLITE_CRASH_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(12)
}

fn body(id: &str, side: &str) -> String {
    format!("{side} of {id}: {}", "words ".repeat(id.len() * 20))
}

/// The process that is killed: records, and prints each id once its receipt is durable.
#[test]
fn child() {
    let Some(path) = std::env::var_os(CHILD) else {
        return;
    };
    let store = Store::builder(path)
        .overflow(Overflow::Wait(Duration::from_secs(60)))
        .open()
        .unwrap();
    let prefix = std::process::id();
    std::thread::scope(|scope| {
        for producer in 0..PRODUCERS {
            let recorder = store.recorder();
            scope.spawn(move || {
                let mut held = Vec::new();
                for number in 0.. {
                    let id = format!("{prefix}-{producer}-{number}");
                    let context = RequestContext::new("openai.chat").request_id(id.as_str());
                    let audit = recorder.open(context, body(&id, "request")).unwrap();
                    if number % 7 == 0 {
                        // Left open; the opening is durable.
                        audit
                            .opened_receipt()
                            .wait(Duration::from_secs(60))
                            .unwrap();
                        say(&format!("opened {id}"));
                        held.push(audit);
                        continue;
                    }
                    let completion = Completion::new().response_body(body(&id, "response"));
                    let receipt = audit.complete(completion).unwrap();
                    if number % 3 == 0 {
                        receipt.wait(Duration::from_secs(60)).unwrap();
                        say(&format!("durable {id}"));
                    }
                }
            });
        }
    });
}

/// One whole line, or nothing of it: a single write to the pipe.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(format!("\n{line}\n").as_bytes());
    let _ = out.flush();
}

#[test]
fn what_a_receipt_called_durable_survives_sigkill() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let mut durable = Vec::new();
    let mut opened = HashSet::new();
    for round in 0..rounds() {
        kill_one(&path, 5 + round * 37 % 160, &mut durable, &mut opened);
        check(&path, &durable, &opened);
    }
    assert!(
        durable.len() > rounds(),
        "the children did record: {}",
        durable.len()
    );
}

/// Runs a child until it has reported `reports` commits, and kills it in the middle of its work.
fn kill_one(path: &Path, reports: usize, durable: &mut Vec<String>, opened: &mut HashSet<String>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut seen = 0;
    while let Some(Ok(line)) = lines.next() {
        if let Some(id) = line.strip_prefix("durable ") {
            durable.push(id.to_owned());
        } else if let Some(id) = line.strip_prefix("opened ") {
            opened.insert(id.to_owned());
        } else {
            continue;
        }
        seen += 1;
        if seen == reports {
            child.kill().unwrap();
            // What is in the pipe was said before the kill, and counts.
        }
    }
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(9), "{status}");
    assert!(seen >= reports);
}

fn check(path: &Path, durable: &[String], opened: &HashSet<String>) {
    // Readers can look before anybody repairs anything.
    let before = ReadOnlyStore::open(path).unwrap();
    assert!(before.doctor().unwrap().findings.is_empty());
    let store = Store::builder(path).open().unwrap();
    let reader = store.reader();
    for id in durable {
        let request = reader.get(id).unwrap();
        assert_eq!(request.status, Status::Completed, "{id}");
        for (side, name) in [
            (PayloadSide::Request, "request"),
            (PayloadSide::Response, "response"),
        ] {
            let payload = reader.payload(&request, side).unwrap();
            assert_eq!(payload.bytes, body(id, name).as_bytes(), "{id}");
        }
    }
    for id in opened {
        let request = reader.get(id).unwrap();
        assert_eq!(request.status, Status::Interrupted, "{id}");
        let payload = reader.payload(&request, PayloadSide::Request).unwrap();
        assert_eq!(payload.bytes, body(id, "request").as_bytes());
    }
    let pending = RequestFilter {
        status: Some(Status::Pending),
        ..RequestFilter::default()
    };
    assert!(reader.list(&pending, None, 1).unwrap().requests.is_empty());
    assert!(store.close(Duration::from_secs(60)).is_complete);
    let report = ReadOnlyStore::open(path).unwrap().doctor().unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert!(report.crashed_sessions > 0);
}
