//! Verification and export of a long log: events a second, processor time, peak memory.
//!
//! `cargo bench --bench verify -- [--requests N] [--body BYTES] [--keep FILE]`
//!
//! Records N lifecycles with small bodies, which is where most of the work is per event; then verifies
//! the file, and exports its log, in processes of their own, so that their peak memory is theirs alone.
//! With `--keep` the file stays, and is used again by the next run. `--corpus FILE…` verifies recorded
//! conversations instead, where most of the work is in the bodies.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    missing_docs,
    missing_debug_implementations
)]

#[path = "common/mod.rs"]
mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use auditlite::{
    BundleOptions, Completion, Overflow, ReadOnlyStore, RequestContext, Store, ToolCall, Usage,
    VerifyOptions, VerifyStage,
};
use common::arguments::Arguments;
use common::{bytes_on_disk, figure, memory, processor, traffic};

const TIMEOUT: Duration = Duration::from_secs(600);
const REQUESTS: usize = 1_000_000;
const REQUESTS_SMOKE: usize = 2_000;
const BODY_BYTES: usize = 100;
/// Requests that are open at once.
const OPEN: usize = 64;

struct Options {
    arguments: Arguments,
    requests: usize,
    body_bytes: usize,
    keep: Option<PathBuf>,
    child: Option<(String, PathBuf)>,
}

fn main() {
    let options = read_options();
    if let Some((child, path)) = &options.child {
        return match child.as_str() {
            "verify" => verify(path, false),
            "verify_log" => verify(path, true),
            "export" => export(path),
            other => panic!("there is no measurement {other}"),
        };
    }
    let folder = tempfile::tempdir().unwrap();
    let path = match &options.keep {
        Some(path) => path.clone(),
        None => folder.path().join("audit.db"),
    };
    if !path.exists() {
        let begun = Instant::now();
        record(&options, &path);
        eprintln!("recorded in {:.1} s", begun.elapsed().as_secs_f64());
    }
    eprintln!("{:.1} MiB on disk", bytes_on_disk(&path) as f64 / 1048576.0);
    for child in ["verify", "verify_log", "export"] {
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--child", child])
            .arg(&path)
            .status()
            .unwrap();
        assert!(status.success(), "{child} ended with {status}");
    }
}

fn read_options() -> Options {
    let (mut requests, mut body_bytes, mut keep, mut child) = (REQUESTS, BODY_BYTES, None, None);
    let arguments = Arguments::read_with(
        "Verification and export of a long log.",
        0.0,
        " [--requests N] [--body BYTES] [--keep FILE]",
        |option, words| {
            let number = |word: Option<String>| word.and_then(|word| word.parse().ok());
            match option {
                "--requests" => requests = number(words.next()).unwrap_or(REQUESTS),
                "--body" => body_bytes = number(words.next()).unwrap_or(BODY_BYTES),
                "--keep" => keep = words.next().map(PathBuf::from),
                "--child" => {
                    child = words.next().zip(words.next().map(PathBuf::from));
                }
                _ => return false,
            }
            true
        },
    );
    if arguments.smoke {
        requests = REQUESTS_SMOKE;
    }
    Options {
        arguments,
        requests,
        body_bytes,
        keep,
        child,
    }
}

fn record(options: &Options, path: &Path) {
    let store = Store::builder(path)
        .overflow(Overflow::Wait(TIMEOUT))
        .open()
        .unwrap();
    let recorder = store.recorder();
    if !options.arguments.corpus.is_empty() {
        for exchange in traffic::load(&options.arguments) {
            let audit = recorder.open(exchange.context(), exchange.request.clone());
            audit.unwrap().complete(exchange.completion()).unwrap();
        }
        assert!(store.close(TIMEOUT).is_complete);
        return;
    }
    let mut open = std::collections::VecDeque::new();
    for number in 0..options.requests {
        let context = RequestContext::new("openai.chat")
            .user_id(format!("user-{}", number % 500))
            .conversation_id(format!("conversation-{}", number / 8))
            .provider_name("openai")
            .request_model("gpt-4o");
        let mut text = format!(r#"{{"model":"gpt-4o","number":{number},"messages":[{{"text":""#);
        let mut state = number as u64 + 1;
        while text.len() + 4 < options.body_bytes {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            text.push((b'a' + (state >> 59) as u8 % 26) as char);
        }
        text.push_str("\"}]}");
        let audit = recorder.open(context, text.clone()).unwrap();
        open.push_back((audit, text));
        if open.len() >= OPEN {
            let (audit, text) = open.pop_front().unwrap();
            complete(audit, text, number);
        }
    }
    for (number, (audit, text)) in open.into_iter().enumerate() {
        complete(audit, text, number);
    }
    let report = store.close(TIMEOUT);
    assert!(report.is_complete && report.shed_payloads + report.shed_lifecycles == 0);
}

fn complete(audit: auditlite::RequestHandle, body: String, number: usize) {
    let mut completion = Completion::new()
        .response_body(body)
        .usage(Usage::new(number as u64 % 2000, 80).cache_read_input_tokens(10))
        .finish_reason("stop")
        .http_status(200);
    if number.is_multiple_of(10) {
        completion = completion.tool_call(ToolCall::new("call_1", "weather", "{}"));
    }
    audit.complete(completion).unwrap();
}

fn verify(path: &Path, skip_bodies: bool) {
    let subject = if skip_bodies {
        "verify_skip_bodies"
    } else {
        "verify"
    };
    memory::forget_peak();
    let before = memory::resident_mib();
    let store = ReadOnlyStore::open(path).unwrap();
    let options = VerifyOptions::new().skip_bodies(skip_bodies);
    let begun = Instant::now();
    let mut stages: Vec<(VerifyStage, Duration)> = Vec::new();
    let report = store
        .verify_with_progress(&options, |at| {
            if stages.last().is_none_or(|(stage, _)| *stage != at.stage) {
                stages.push((at.stage, begun.elapsed()));
            }
        })
        .unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    eprintln!("{subject}: stages began at {stages:.2?}");
    figure(subject, "events_per_s", report.events as f64 / seconds);
    figure(
        subject,
        "body_mb_per_s",
        report.body_bytes as f64 / seconds / 1e6,
    );
    measured(subject, report.events, before);
}

fn export(path: &Path) {
    memory::forget_peak();
    let before = memory::resident_mib();
    let store = ReadOnlyStore::open(path).unwrap();
    let begun = Instant::now();
    let mut out = Counter(0);
    let summary = store
        .write_bundle(&BundleOptions::default(), &mut out)
        .unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    let events = summary.events;
    figure("export", "events_per_s", events as f64 / seconds);
    figure("export", "mb_per_s", out.0 as f64 / seconds / 1e6);
    measured("export", events, before);
}

fn measured(subject: &str, events: u64, before_mib: Option<f64>) {
    if let Some(seconds) = processor::seconds() {
        figure(
            subject,
            "processor_us_per_event",
            seconds * 1e6 / events as f64,
        );
    }
    if let Some((before, peak)) = before_mib.zip(memory::peak_mib()) {
        figure(subject, "peak_memory_mib", peak - before);
    }
}

/// Counts what is written to it.
struct Counter(u64);

impl std::io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
