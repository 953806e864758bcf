//! A campaign of hostile files: whatever another program changes in a file's schema, values, sizes, search tables,
//! anchors and bytes, nothing hangs, exhausts memory or panics, and every answer that differs from what was recorded
//! is reported.
//!
//! `AUDITLITE_HOSTILE_MUTATIONS=2000 cargo test --all-features --test hostile` for all of it;
//! the seed is printed, and `AUDITLITE_HOSTILE_SEED` with `AUDITLITE_HOSTILE_CASE` replays a case.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    unreachable_pub,
    missing_docs
)]

mod changes;
mod child;
mod limits;
#[path = "../support/oracle.rs"]
mod oracle;
#[path = "../support/random.rs"]
mod random;
#[path = "../support/scene.rs"]
mod scene;
#[path = "../support/seeds.rs"]
mod seeds;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use auditlite::{
    Completion, EraseSelector, Failure, Message, RequestContext, SigningKey, Store, Timestamp,
    ToolCall, Usage, update_search_index,
};

use changes::Expected;
use limits::Ended;
use random::Random;

const PATIENCE: Duration = Duration::from_secs(60);
/// What a child is to do; set for children only.
const CHILD: &str = "AUDITLITE_HOSTILE_CHILD";

/// Commands that read, beside `verify` and `doctor`; a case runs some of them.
const COMMANDS: &[&[&str]] = &[
    &["list", "-n", "0", "--json"],
    &["list", "--sort", "input-tokens"],
    &["show", "r-3"],
    &["show", "r-4", "--json"],
    &["conversation", "c-0", "--user", "u-0"],
    &["search", "turn", "--no-update"],
    &["search", "turn"],
    &["stats"],
    &["stats", "--by", "model,user", "--json"],
    &["tools"],
    &["export", "--content", "full"],
    &["export", "--format", "csv"],
    &["export", "--format", "otlp", "--content", "full"],
    &["export", "--format", "sqlite", "-o", "plain.db"],
    &["payload", "r-3", "request"],
    &["payload", "r-3", "response"],
    &["bundle", "-o", "all.bundle"],
    &["backup", "copy.db"],
    &["erase", "--user", "u-1", "--reason", "why", "--dry-run"],
    &["prune", "--content-older-than", "1d", "--dry-run"],
];
const COMMANDS_EACH: usize = 2;

/// A trail, its anchors, and what is answered of it.
struct Clean {
    database: Vec<u8>,
    anchor: Vec<u8>,
    key: String,
    answers: BTreeMap<String, String>,
}

/// Files of one case.
struct Case {
    folder: tempfile::TempDir,
}

impl Case {
    fn new(clean: &Clean) -> Self {
        let case = Self {
            folder: scene::folder(),
        };
        std::fs::write(case.path("audit.db"), &clean.database).unwrap();
        std::fs::write(case.path("anchors"), &clean.anchor).unwrap();
        std::fs::write(case.path("audit.vkey"), &clean.key).unwrap();
        case
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Ended {
        let program = Path::new(env!("CARGO_BIN_EXE_auditlite"));
        limits::run(program, arguments, self.folder.path(), &[], 1)
    }

    /// This program as a child that reads or writes the file.
    fn child(&self, what: &str) -> Ended {
        let program = std::env::current_exe().unwrap();
        let arguments = [
            "a_child_reads_or_writes",
            "--exact",
            "--nocapture",
            "--test-threads=1",
        ];
        let variables = [(CHILD, what)];
        // It asks for more than a hundred things.
        limits::run(&program, &arguments, self.folder.path(), &variables, 4)
    }
}

/// Not a test of its own: what children of the campaign do.
#[test]
fn a_child_reads_or_writes() {
    if let Ok(what) = std::env::var(CHILD) {
        child::work(&what);
    }
}

fn clean() -> Clean {
    let folder = scene::folder();
    let path = folder.path().join("audit.db");
    let elsewhere = scene::folder();
    let anchor = elsewhere.path().join("anchors");
    let key = SigningKey::generate("test").unwrap();
    let builder = || {
        Store::builder(&path)
            .signing_key(key.clone())
            .anchor_file(&anchor)
    };
    for session in 0..2_u32 {
        let store = builder().open().unwrap();
        for turn in 0..7_u32 {
            let number = session * 7 + turn;
            let said = format!("turn {number} says something new; ");
            let context = RequestContext::new(if turn == 1 { "openai.chat" } else { "" })
                .request_id(format!("r-{number}"))
                .conversation_id(format!("c-{session}"))
                .user_id(format!("u-{}", number % 3))
                .provider_name("openai")
                .request_model("gpt-4o")
                .attribute("k", "v")
                .messages(vec![Message::new("user", said.clone())])
                .started_at(Timestamp::from_micros(
                    1_700_000_000_000_000 + i64::from(number) * 60_000_000,
                ));
            let history: String = (0..=turn)
                .map(|turn| format!("{said} {turn};").repeat(30))
                .collect();
            let mut audit = store.recorder().open(context, history).unwrap();
            audit.set_served_model("gpt-4o-2024");
            let usage = Usage::new(100 + u64::from(number), 10);
            if turn == 2 {
                audit.fail(Failure::new("timeout").usage(usage)).unwrap();
            } else {
                let completion = Completion::new()
                    .usage(usage)
                    .response_body(format!("the answer to turn {number}"))
                    .tool_call(ToolCall::new("id", "weather", "{\"city\":\"Bern\"}"));
                audit.complete(completion).unwrap();
            }
            if turn % 3 == 2 {
                store.flush(PATIENCE).unwrap();
            }
        }
        store.flush(PATIENCE).unwrap();
        if session == 1 {
            let selector = EraseSelector::Request("r-5".to_owned());
            assert_eq!(store.erase(&selector, "why").unwrap().requests, 1);
        }
        assert!(store.close(PATIENCE).is_complete);
    }
    update_search_index(&path, |_| true).unwrap();
    let mut clean = Clean {
        database: std::fs::read(&path).unwrap(),
        anchor: std::fs::read(&anchor).unwrap(),
        key: format!("{}\n", key.verifying_key()),
        answers: BTreeMap::new(),
    };
    let case = Case::new(&clean);
    let read = case.child("read");
    assert_eq!(read.violation(), None, "{}", read.stdout);
    clean.answers = answers(&read);
    assert!(clean.answers.len() > 80, "{} answers", clean.answers.len());
    for (name, answer) in &clean.answers {
        assert!(
            !answer.starts_with(child::NAMED)
                || answer.contains("NoBody")
                || answer.contains("NotKept"),
            "{name}: {answer}"
        );
    }
    let said = verdict(&case, &mut Vec::new());
    assert_eq!(said, Verdict::default(), "the clean trail");
    clean
}

fn answers(ended: &Ended) -> BTreeMap<String, String> {
    let lines = ended
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("answer "));
    lines
        .filter_map(|line| line.split_once(' '))
        .map(|(name, answer)| (name.to_owned(), answer.to_owned()))
        .collect()
}

/// What `verify` and `doctor` say.
#[derive(Debug, Default, PartialEq, Eq)]
struct Verdict {
    /// Findings and refusals.
    named: Vec<String>,
}

fn verdict(case: &Case, violations: &mut Vec<String>) -> Verdict {
    let mut verdict = Verdict::default();
    let verify = [
        "verify",
        "--search",
        "--json",
        "--anchor",
        "anchors",
        "--key",
        "audit.vkey",
    ];
    for arguments in [&verify[..], &["doctor", "--json"]] {
        let ended = case.command(arguments);
        violations.extend(
            ended
                .violation()
                .map(|what| format!("{}: {what}", arguments[0])),
        );
        match ended.exit {
            Some(0) => {}
            Some(1) => {
                let report: serde_json::Value =
                    serde_json::from_str(ended.stdout.trim()).unwrap_or_default();
                let findings = report["findings"].as_array().cloned().unwrap_or_default();
                if findings.is_empty() {
                    violations.push(format!("{} exits with 1 and names nothing", arguments[0]));
                }
                verdict
                    .named
                    .extend(findings.iter().map(ToString::to_string));
            }
            _ if ended.stderr.trim().is_empty() => {
                violations.push(format!("{} fails without a word", arguments[0]));
            }
            _ => verdict.named.push(ended.stderr.trim().to_owned()),
        }
    }
    verdict
}

fn case(clean: &Clean, seed: u64) -> Vec<String> {
    let mut random = Random(seed);
    let files = Case::new(clean);
    let database = files.path("audit.db");
    let change = changes::change(&database, &files.path("anchors"), &mut random);
    let mut violations = Vec::new();
    let verdict = verdict(&files, &mut violations);
    let read = files.child("read");
    violations.extend(read.violation().map(|what| format!("reading: {what}")));
    let found = answers(&read);
    for (name, truth) in &clean.answers {
        match found.get(name) {
            Some(answer) if answer == truth => {}
            // A missing answer is excused if the list failed or differs, and so shows that something is missing.
            None if !found.contains_key("list") || found["list"] != clean.answers["list"] => {}
            // The search index may lag, and says so itself.
            Some(answer) if name == "search" && answer.starts_with(child::NAMED) => {}
            Some(_) if change.expected == Expected::Named && !verdict.named.is_empty() => {}
            other => violations.push(format!(
                "{name} answers {other:?}, the truth is {truth}; verify and doctor name {:?}",
                verdict.named
            )),
        }
    }
    match change.expected {
        Expected::Same if !verdict.named.is_empty() => {
            violations.push(format!("named without need: {:?}", verdict.named));
        }
        Expected::Foreign if verdict.named.is_empty() => {
            violations.push("verify and doctor do not name it".to_owned());
        }
        _ => {}
    }
    // Neighbours in the list, so that no command meets a file that it wrote itself.
    let first = random.below(COMMANDS.len() as u64) as usize;
    for command in COMMANDS.iter().cycle().skip(first).take(COMMANDS_EACH) {
        let ended = files.command(command);
        violations.extend(ended.violation().map(|what| format!("{command:?}: {what}")));
        // A copy is verified, and has what the file has.
        let may_find = change.expected == Expected::Foreign && command[0] == "backup";
        if change.expected != Expected::Named && ended.exit != Some(i32::from(may_find)) {
            violations.push(format!(
                "{command:?}: exit {:?}, {}",
                ended.exit, ended.stderr
            ));
        }
    }
    written(&files, &change, &verdict, &mut violations);
    violations
        .into_iter()
        .map(|violation| format!("{}: {violation}", change.what))
        .collect()
}

/// Writes to the same file as a gateway does; then rebuilds the tables.
fn written(files: &Case, change: &changes::Change, before: &Verdict, violations: &mut Vec<String>) {
    let write = files.child("write");
    violations.extend(write.violation().map(|what| format!("writing: {what}")));
    // No row stops recording, unless two tables have a page in common: what is written to one stands in the other then.
    let is_page_shared = before
        .named
        .iter()
        .any(|named| named.contains("2nd reference to page"));
    if write.stdout.contains("does not take the log's next events") && !is_page_shared {
        violations.push(format!("a row stops recording: {}", write.stdout));
    }
    let answers = answers(&write);
    if change.expected != Expected::Named {
        let is_recorded = ["recorded", "closed"].iter().all(|name| {
            answers
                .get(*name)
                .is_some_and(|answer| !answer.starts_with(child::NAMED))
        });
        if !is_recorded {
            violations.push(format!("recording does not go on: {}", write.stdout));
        }
        if change.expected == Expected::Foreign && !write.stdout.contains("ForeignSchema") {
            violations.push("no alarm".to_owned());
        }
        let times = changes::times_run(&files.path("audit.db"));
        if times > 0 {
            violations.push(format!("a planted trigger ran {times} times"));
        }
    }
    if write.stdout.contains("kept false") && before.named.is_empty() {
        violations.push("what was durable is not there, and nothing was wrong before".to_owned());
    }
    let rebuild = files.command(&["doctor", "--rebuild"]);
    violations.extend(
        rebuild
            .violation()
            .map(|what| format!("doctor --rebuild: {what}")),
    );
}

#[test]
fn nothing_hangs_runs_away_or_lies_in_silence() {
    let clean = clean();
    let count = seeds::number("AUDITLITE_HOSTILE_MUTATIONS", 40);
    let first = seeds::seed("AUDITLITE_HOSTILE_SEED");
    scene::run_cases("hostile files", "AUDITLITE_HOSTILE_CASE", count, |number| {
        case(&clean, first.wrapping_add(number.wrapping_mul(0x9e37_79b9)))
    });
}
