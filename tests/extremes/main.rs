//! Extreme values of every field, by every way into the store: the API, bodies of every wire protocol, streamed and
//! not, lines of `record` and of `import`. Whatever comes, later requests are recorded, stored values lie within
//! their bounds, the file is in order, statistics add up, and everything can be erased.
//!
//! `AUDITLITE_EXTREME_CASES=200000 cargo test --all-features --test extremes` for more.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::string_slice
)]
#![allow(clippy::unreachable, unreachable_pub)]

mod generate;
#[path = "../support/seeds.rs"]
mod seeds;

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use auditlite::{
    COST_MICRODOLLARS_MAX, Completion, EraseSelector, LATENCY_US_MAX, ListOptions, Overflow,
    ReadOnlyStore, RequestContext, RequestFilter, RequestRecord, StatsFilter, StatsKey, Store,
    TOKENS_MAX, Usage, VerifyOptions, WireProtocol,
};
use generate::Generator;

const PATIENCE: Duration = Duration::from_secs(120);
/// Cases of one opening of the store.
const ROUND: u64 = 500;

const PRICES: &str = r#"{"m":{"litellm_provider":"openai","input_cost_per_token":0.9,
    "output_cost_per_token":0.9}}"#;

fn open(path: &Path) -> Store {
    Store::builder(path)
        .overflow(Overflow::Wait(PATIENCE))
        .price_book(auditlite::PriceBook::from_litellm_json(PRICES).unwrap())
        .open()
        .unwrap()
}

/// A request that is in order in every respect, by which it is told that recording goes on.
fn sentinel(store: &Store, number: u64) {
    let id = format!("sentinel-{number}");
    let context = RequestContext::new("openai.chat")
        .request_id(&id)
        .user_id("sentinel");
    let audit = store.recorder().open(context, "{}").unwrap();
    audit
        .complete(Completion::new().usage(Usage::new(7, 3)))
        .unwrap()
        .wait(PATIENCE)
        .unwrap();
    let request = store.reader().get(&id).unwrap();
    assert_eq!(
        (request.input_tokens, request.body_flags.len()),
        (Some(7), 0)
    );
}

fn run(path: &Path, args: &[&str], lines: Option<&str>) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_auditlite"));
    command.arg("--db").arg(path).args(args);
    if let Some(lines) = lines {
        let file = path.with_extension("jsonl");
        std::fs::write(&file, lines).unwrap();
        command.arg(file);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // 1: some lines are none; they are said and counted.
    assert!(
        matches!(output.status.code(), Some(0 | 1)),
        "{args:?}: {said}"
    );
    assert!(!said.contains("panicked"), "{said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn all(path: &Path) -> Vec<RequestRecord> {
    let reader = ReadOnlyStore::open(path).unwrap().reader();
    let (mut requests, mut next) = (Vec::new(), None);
    loop {
        let page = reader
            .list(
                &RequestFilter::default(),
                &ListOptions::new().cursor(next).limit(1000),
            )
            .unwrap();
        requests.extend(page.requests);
        next = page.next;
        if next.is_none() {
            return requests;
        }
    }
}

/// What is stored lies within its bounds, and the sums say what the requests say.
fn check(path: &Path) -> Vec<RequestRecord> {
    let requests = all(path);
    let mut tokens: u64 = 0;
    for request in &requests {
        for (count, max) in [
            (request.input_tokens, TOKENS_MAX),
            (request.output_tokens, TOKENS_MAX),
            (request.cache_read_input_tokens, TOKENS_MAX),
            (request.cache_write_input_tokens, TOKENS_MAX),
            (request.reasoning_output_tokens, TOKENS_MAX),
            (request.cost_microdollars, COST_MICRODOLLARS_MAX),
            (request.latency_us, LATENCY_US_MAX),
            (request.upstream_latency_us, LATENCY_US_MAX),
            (request.time_to_first_chunk_us, LATENCY_US_MAX),
        ] {
            assert!(count.is_none_or(|count| count <= max), "{request:?}");
        }
        assert!(
            request
                .http_status
                .is_none_or(|status| (100..1000).contains(&status))
        );
        tokens += request.input_tokens.unwrap_or(0);
    }
    let store = ReadOnlyStore::open(path).unwrap();
    let sums = store.reader().stats(&StatsFilter::default()).unwrap();
    let (counted, summed) = sums.iter().fold((0, 0), |(count, sum), row| {
        (count + row.requests, sum + row.input_tokens)
    });
    assert_eq!((counted, summed), (requests.len() as u64, tokens));
    let read = store
        .reader()
        .stats_of(&RequestFilter::default(), &[])
        .unwrap();
    assert_eq!(read, sums);
    for key in [
        StatsKey::Hour,
        StatsKey::Day,
        StatsKey::User,
        StatsKey::Model,
    ] {
        let by = store
            .reader()
            .stats_of(&RequestFilter::default(), &[key])
            .unwrap();
        assert_eq!(by.iter().map(|row| row.input_tokens).sum::<u64>(), tokens);
    }
    let doctor = store.doctor().unwrap();
    assert!(doctor.findings.is_empty(), "{:?}", doctor.findings);
    let report = store.verify(&VerifyOptions::default()).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    requests
}

#[test]
fn extremes_of_every_field_end_nothing() {
    let seed = seeds::seed("AUDITLITE_EXTREMES_SEED");
    let cases = seeds::number("AUDITLITE_EXTREME_CASES", 500);
    let mut generator = Generator::new(seed);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let mut done = 0;
    let mut expected = 0;
    while done < cases {
        let store = open(&path);
        let round = ROUND.min(cases - done);
        for number in 0..round * 6 / 10 {
            generator.record(&store);
            expected += 1;
            if number % 50 == 0 {
                sentinel(&store, expected);
                expected += 1;
            }
        }
        sentinel(&store, expected);
        expected += 1;
        let health = store.health();
        assert_eq!(health.problem, None);
        assert_eq!((health.refused_rows, health.unprepared_events), (0, 0));
        assert!(store.close(PATIENCE).is_complete);
        assert_eq!(all(&path).len() as u64, expected);

        let lines: String = (0..round / 5)
            .map(|_| generator.record_line() + "\n")
            .collect();
        run(&path, &["record"], Some(&lines));
        let lines: String = (0..round / 5)
            .map(|_| generator.import_line() + "\n")
            .collect();
        run(&path, &["import"], Some(&lines));
        expected = all(&path).len() as u64;
        run(&path, &["stats", "--by", "day,model"], None);
        done += round;
    }
    let requests = check(&path);
    let flagged = requests
        .iter()
        .filter(|request| !request.adjusted_fields.is_empty())
        .count();
    println!("{} requests, {flagged} of them adjusted", requests.len());
    assert!(flagged > requests.len() / 10);

    // Everything can be erased, and again.
    let store = open(&path);
    let mut users: HashMap<Option<String>, Vec<String>> = HashMap::new();
    for request in &requests {
        let ids = users.entry(request.user_id.clone()).or_default();
        ids.push(request.request_id.clone());
    }
    for _ in 0..2 {
        for (user, ids) in &users {
            let selectors = match user {
                Some(user) => vec![EraseSelector::User(user.clone())],
                // One by one takes its time.
                None => ids
                    .iter()
                    .take(20)
                    .cloned()
                    .map(EraseSelector::Request)
                    .collect(),
            };
            for selector in selectors {
                store.erase(&selector, "test").unwrap();
            }
        }
    }
    sentinel(&store, u64::MAX);
    assert!(store.close(PATIENCE).is_complete);
    let left = check(&path);
    let named = left.iter().filter(|request| request.user_id.is_some());
    assert_eq!(named.count(), 1, "the last sentinel's");
}

/// The answers that ended recording, one by one.
#[test]
fn answers_that_ended_recording_are_brought_into_their_bounds_and_flagged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let usages = [
        ("9223372036854775807", "2", "input_tokens"),
        ("1", "4611686018427387904", "output_tokens"),
        ("1", "4611686018427387904", "output_tokens"),
        ("18446744073709551616", "1e308", "input_tokens"),
        ("-1", "1.5", "usage_unparsed"),
    ];
    for _ in 0..2 {
        let store = open(&path);
        let mut number = all(&path).len() as u64;
        for is_streamed in [false, true] {
            for (input, output, flag) in usages {
                let usage =
                    format!(r#""usage":{{"prompt_tokens":{input},"completion_tokens":{output}}}"#);
                let body = match is_streamed {
                    false => format!(
                        r#"{{"model":"m","choices":[{{"index":0,"message":{{"content":"a"}},"finish_reason":"stop"}}],{usage}}}"#
                    ),
                    true => format!(
                        "data: {{\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"a\"}},\"finish_reason\":\"stop\"}}]}}\n\ndata: {{\"choices\":[],{usage}}}\n\ndata: [DONE]\n\n"
                    ),
                };
                let context = RequestContext::new(WireProtocol::OpenAiChat).user_id("u");
                let mut audit = store.recorder().open(context, "{\"model\":\"m\"}").unwrap();
                let id = audit.request_id().to_owned();
                audit.chunk(body);
                audit.finish(200).unwrap().wait(PATIENCE).unwrap();
                let request = store.reader().get(&id).unwrap();
                assert!(
                    [&request.adjusted_fields, &request.body_flags]
                        .iter()
                        .any(|names| names.iter().any(|name| name == flag)),
                    "{request:?}"
                );
                number += 1;
                sentinel(&store, number);
            }
        }
        assert!(store.close(PATIENCE).is_complete);
        let line = r#"{"request":{"model":"m"},"latency_us":9223372036854775807,"user_id":"u"}"#;
        run(
            &path,
            &["record"],
            Some(&format!("{line}\n{line}\n{line}\n")),
        );
        let line = r#"{"opened_seq":1,"request_id":"ID","status":"completed","opened_at":1764000000000000,"latency_us":9223372036854775807,"user_id":"u","wire_protocol":"openai.chat"}"#;
        let lines: String = (0..3)
            .map(|id| line.replace("ID", &format!("imported-{number}-{id}")) + "\n")
            .collect();
        run(&path, &["import"], Some(&lines));
        let told = all(&path)
            .into_iter()
            .filter(|request| request.latency_us == Some(LATENCY_US_MAX))
            .inspect(|request| assert_eq!(request.adjusted_fields, ["latency_us"]))
            .count();
        assert!(told >= 6, "{told}");
        check(&path);
    }
    let store = open(&path);
    for _ in 0..2 {
        store
            .erase(&EraseSelector::User("u".to_owned()), "test")
            .unwrap();
    }
    sentinel(&store, u64::MAX);
    assert!(store.close(PATIENCE).is_complete);
    check(&path);
}

/// Bodies that were left out, cut or not read, and providers that say nothing.
#[test]
fn requests_without_usage_are_told_beside_the_sums() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let store = open(&path);
    let record = |response: &str, status: u16, capture: auditlite::Capture| {
        let context = RequestContext::new("openai.chat").capture(capture);
        let mut audit = store.recorder().open(context, "{\"model\":\"m\"}").unwrap();
        audit.chunk(response.to_owned());
        audit.finish(status).unwrap();
    };
    let good = r#"{"model":"m","choices":[],"usage":{"prompt_tokens":90,"completion_tokens":90}}"#;
    record(good, 200, auditlite::Capture::Full);
    record("{not read", 200, auditlite::Capture::Full);
    record(
        r#"{"model":"m","choices":[]}"#,
        200,
        auditlite::Capture::Full,
    );
    record(
        r#"{"error":{"message":"no"}}"#,
        429,
        auditlite::Capture::Full,
    );
    let context = RequestContext::new("openai.chat");
    let audit = store.recorder().open(context, "{}").unwrap();
    audit.reject(auditlite::Rejection::new("quota")).unwrap();
    drop(
        store
            .recorder()
            .open(RequestContext::new(""), "{}")
            .unwrap(),
    );
    store.flush(PATIENCE).unwrap();
    let sums = store.reader().stats(&StatsFilter::default()).unwrap();
    assert_eq!((sums[0].requests, sums[0].input_tokens), (6, 90));
    // Not read, not said, and gone before anything was known.
    assert_eq!(sums[0].without_usage, 3);
    let read = store
        .reader()
        .stats_of(&RequestFilter::default(), &[])
        .unwrap();
    assert_eq!(read, sums);
    assert!(store.close(PATIENCE).is_complete);
    let output = Command::new(env!("CARGO_BIN_EXE_auditlite"))
        .arg("--db")
        .arg(&path)
        .arg("stats")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("3 requests of which no usage is known"),
        "{said}"
    );
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("≥90"), "{shown}");
    check(&path);
}
