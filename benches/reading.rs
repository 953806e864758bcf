//! Reading a large file: a list page, one request, statistics, a search, a conversation; and the memory that
//! exports and an import of the whole file need.
//!
//! `cargo bench --bench reading -- [--requests N] [--keep FILE] [--take]`
//!
//! Records N lifecycles (a million; `--smoke`: two thousand) and one conversation of 100 turns, builds
//! the search index, and gives medians, in this process, over one connection. `--take` also exports
//! the file in every form, each in a process of its own, with peak memory. With `--keep` the file
//! stays, and is used again by the next run.
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
    Completion, ConversationOptions, ExportContent, ExportFormat, ExportOptions, ListOptions,
    Overflow, PayloadSide, ReadOnlyStore, RequestContext, RequestFilter, SearchOptions,
    StatsFilter, StatsKey, Status, Store, Timestamp, Usage, update_search_index,
};
use common::arguments::Arguments;
use common::{bytes_on_disk, figure, memory, processor};

const TIMEOUT: Duration = Duration::from_secs(600);
const REQUESTS: u64 = 1_000_000;
const REQUESTS_SMOKE: u64 = 2_000;
const TURNS: usize = 100;
/// One in so many messages has the rare word.
const RARE_EACH: u64 = 100_000;
const MODELS: [&str; 5] = [
    "gpt-4o",
    "gpt-4o-mini",
    "claude-sonnet-4-5",
    "gemini-3-pro",
    "local",
];
const WORDS: &str = "the a of and to in is it you that he was for on are with as his they be at one \
    have this from or had by hot but some what there we can out other were all your when up use";

fn main() {
    let (mut requests, mut keep, mut child, mut takes) = (REQUESTS, None, None, false);
    let arguments = Arguments::read_with(
        "Reading a large file.",
        0.0,
        " [--requests N] [--keep FILE] [--take]",
        |option, words| {
            match option {
                "--requests" => requests = words.next().unwrap().parse().unwrap(),
                "--keep" => keep = words.next().map(PathBuf::from),
                "--take" => takes = true,
                "--child" => child = words.next().zip(words.next().map(PathBuf::from)),
                _ => return false,
            }
            true
        },
    );
    if let Some((format, path)) = child {
        return take(&format, &path);
    }
    if arguments.smoke {
        requests = REQUESTS_SMOKE;
        takes = true;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = keep.unwrap_or_else(|| folder.path().join("audit.db"));
    if !path.exists() {
        let begun = Instant::now();
        record(&path, requests);
        eprintln!("recorded in {:.1} s", begun.elapsed().as_secs_f64());
        let before = bytes_on_disk(&path);
        let begun = Instant::now();
        let processor_before = processor::seconds();
        memory::forget_peak();
        let resident = memory::resident_mib();
        update_search_index(&path, |_| true).unwrap();
        let seconds = begun.elapsed().as_secs_f64();
        figure("indexing", "requests_per_s", requests as f64 / seconds);
        if let Some((before, after)) = processor_before.zip(processor::seconds()) {
            figure("indexing", "processor_s", after - before);
        }
        let after = bytes_on_disk(&path);
        figure(
            "indexing",
            "bytes_per_request",
            (after - before) as f64 / requests as f64,
        );
        if let Some((before, peak)) = resident.zip(memory::peak_mib()) {
            figure("indexing", "peak_memory_mib", peak - before);
        }
    }
    eprintln!("{:.1} MiB on disk", bytes_on_disk(&path) as f64 / 1048576.0);
    read(&path, if arguments.smoke { 3 } else { 101 });
    if takes {
        for format in ExportFormat::ALL {
            let status = Command::new(std::env::current_exe().unwrap())
                .args(["--child", format.as_str()])
                .arg(&path)
                .status()
                .unwrap();
            assert!(status.success(), "{} ended with {status}", format.as_str());
        }
    }
}

fn text(number: u64) -> String {
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    let mut random = fastrand::Rng::with_seed(number);
    let mut text: Vec<&str> = (0..24)
        .map(|_| words[random.usize(..words.len())])
        .collect();
    if number % RARE_EACH == RARE_EACH / 2 || number == 7 {
        text.push("zanzibarquux");
    }
    text.join(" ")
}

fn context(number: u64, conversation: &str) -> RequestContext {
    let model = MODELS[number as usize % MODELS.len()];
    RequestContext::new("openai.chat")
        .request_id(format!("request-{number}"))
        .started_at(Timestamp::from_micros(
            1_764_000_000_000_000 + number as i64 * 1_000_000,
        ))
        .user_id(format!("user-{}", number % 500))
        .conversation_id(conversation)
        .provider_name("openai")
        .request_model(model)
}

fn completion(reply: &str) -> Completion {
    let message = serde_json::json!({"role": "assistant", "content": reply});
    let body = serde_json::json!({"choices": [{"message": message, "finish_reason": "stop"}]});
    Completion::new()
        .response_body(body.to_string())
        .usage(Usage::new(1200, 80))
        .finish_reason("stop")
        .http_status(200)
}

fn record(path: &Path, requests: u64) {
    let store = Store::builder(path)
        .overflow(Overflow::Wait(TIMEOUT))
        .open()
        .unwrap();
    let recorder = store.recorder();
    for number in 0..requests {
        let body = serde_json::json!({"model": "gpt-4o", "messages":
            [{"role": "user", "content": text(number)}]});
        let context = context(number, &format!("conversation-{number}"));
        let audit = recorder.open(context, body.to_string()).unwrap();
        audit.complete(completion("yes")).unwrap();
    }
    // A real agent's tool output is some hundred bytes to some kilobytes.
    let mut history = Vec::new();
    for turn in 0..TURNS as u64 {
        let said: Vec<String> = (0..4)
            .map(|part| text(requests + turn * 4 + part + 1))
            .collect();
        history.push(serde_json::json!({"role": "user", "content": said.join("\n")}));
        let body = serde_json::json!({"model": "gpt-4o", "messages": history});
        let audit = recorder
            .open(
                context(requests + turn, "the-long-one").user_id("user-7"),
                body.to_string(),
            )
            .unwrap();
        let reply = format!("reply {turn}: {}", text(turn + 11));
        audit.complete(completion(&reply)).unwrap();
        history.push(serde_json::json!({"role": "assistant", "content": reply}));
    }
    let report = store.close(TIMEOUT);
    assert!(report.is_complete && report.shed_payloads + report.shed_lifecycles == 0);
}

/// The median of so many runs, each of which gets its number.
fn median(subject: &str, runs: u64, bar_ms: f64, mut run: impl FnMut(u64)) {
    let mut times: Vec<Duration> = (0..runs)
        .map(|number| {
            let begun = Instant::now();
            run(number);
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    let median = times[times.len() / 2].as_secs_f64() * 1e3;
    let slowest = times[times.len() - 1].as_secs_f64() * 1e3;
    figure(subject, "median_ms", median);
    eprintln!(
        "{subject:<24} median {median:>9.3} ms   slowest {slowest:>9.3} ms   bar {bar_ms} ms"
    );
}

fn read(path: &Path, runs: u64) {
    let reader = ReadOnlyStore::open(path).unwrap().reader();
    let newest = reader
        .list(&RequestFilter::default(), &ListOptions::new().limit(1))
        .unwrap();
    let last = newest.requests[0].opened_seq;
    let mut random = fastrand::Rng::with_seed(42);
    median("list_page", runs, 5.0, |_| {
        let before = random.u64(last / 2..last);
        let page = reader
            .list(
                &RequestFilter::default(),
                &ListOptions::new().cursor(Some(before)).limit(20),
            )
            .unwrap();
        assert_eq!(page.requests.len(), 20);
    });
    let filter = RequestFilter::new()
        .user_id("user-7")
        .statuses([Status::Completed]);
    median("list_page_of_user", runs, 5.0, |_| {
        assert!(
            !reader
                .list(&filter, &ListOptions::new().limit(20))
                .unwrap()
                .requests
                .is_empty()
        );
    });
    let count = last / 2 - TURNS as u64;
    median("get_with_bodies", runs, 3.0, |_| {
        let number = random.u64(..count);
        let request = reader
            .get(&format!("request-{number}"))
            .unwrap_or_else(|_| {
                // The beginning of longer ids, too: exact ids come first.
                panic!("request-{number} is not there")
            });
        for side in [PayloadSide::Request, PayloadSide::Response] {
            assert!(!reader.payload(&request, side).unwrap().bytes.is_empty());
        }
    });
    let by_model = StatsFilter::new().group_by([StatsKey::Model]);
    median("stats_by_model", runs, 10.0, |_| {
        assert!(reader.stats(&by_model).unwrap().len() >= MODELS.len());
    });
    median("search_rare_word", runs, 20.0, |_| {
        let found = reader
            .search("zanzibarquux", &SearchOptions::default())
            .unwrap();
        assert!(!found.hits.is_empty() && found.lag.is_none());
    });
    let mut newest_first = SearchOptions::default();
    newest_first.is_newest_first = true;
    median("search_common_newest", runs, 20.0, |_| {
        assert_eq!(
            reader.search("there", &newest_first).unwrap().hits.len(),
            20
        );
    });
    median("search_common_ranked", runs, 30.0, |_| {
        let found = reader.search("there", &SearchOptions::default()).unwrap();
        assert_eq!(found.hits.len(), 20);
    });
    let all_ranked = SearchOptions::new().is_all_ranked(true);
    median("search_common_all_ranked", runs.min(5), f64::NAN, |_| {
        let found = reader.search("there", &all_ranked).unwrap();
        assert_eq!(found.hits.len(), 20);
    });
    median("conversation_100_turns", runs, 50.0, |_| {
        let said = reader
            .conversation("the-long-one", &ConversationOptions::default())
            .unwrap();
        assert_eq!(
            (said.requests.len(), said.messages.len()),
            (TURNS, 2 * TURNS)
        );
    });
}

/// Exports everything in this form, in this process alone.
fn take(format: &str, path: &Path) {
    let reader = ReadOnlyStore::open(path).unwrap().reader();
    let folder = tempfile::tempdir_in(path.parent().unwrap()).unwrap();
    let options = ExportOptions::new()
        .format(format.parse::<ExportFormat>().unwrap())
        .content(ExportContent::Full);
    memory::forget_peak();
    let begun = Instant::now();
    let summary = reader
        .export_to_file(&options, &folder.path().join("out"))
        .unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    let subject = format!("export_{format}");
    figure(
        &subject,
        "requests_per_s",
        summary.requests as f64 / seconds,
    );
    figure(
        &subject,
        "bytes_per_request",
        summary.bytes as f64 / summary.requests as f64,
    );
    if let Some(peak) = memory::peak_mib() {
        figure(&subject, "peak_memory_mib", peak);
    }
}
