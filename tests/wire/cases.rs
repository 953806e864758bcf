//! Exchanges that were read wrongly once, rebuilt from public reports, with what is right: recorded from lines, and
//! piece by piece as a gateway streams them.
//!
//! `AUDITLITE_CASES` names their folder: `NAME.jsonl` has one line for `record`, `NAME.expect.json` what is right.
//! Without it the folder beside the repository is read; where there is none, the test says so and passes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use auditlite::{PriceBook, RequestContext, RequestRecord, Store, Timestamp, Usage, WireProtocol};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// What is not right yet, by case and value. A value that has become right is to leave the list.
const PENDING: &[(&str, &[&str])] = &[];

/// One case: the line, and what is right.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) line: Value,
    pub(super) right: BTreeMap<String, Value>,
}

fn cases() -> Vec<Case> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/cases");
    let folder = std::env::var_os("AUDITLITE_CASES").map_or(beside, PathBuf::from);
    let Ok(entries) = std::fs::read_dir(&folder) else {
        eprintln!("SKIPPED: no cases; AUDITLITE_CASES names their folder");
        return Vec::new();
    };
    let mut cases: Vec<Case> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "jsonl"))
        .map(|path| {
            let json = |path: &Path| -> Value {
                serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
            };
            let expected = json(&path.with_extension("expect.json"));
            Case {
                name: expected["name"].as_str().unwrap().to_owned(),
                line: json(&path),
                right: serde_json::from_value(expected["right"].clone()).unwrap(),
                path,
            }
        })
        .collect();
    cases.sort_by(|one, other| one.name.cmp(&other.name));
    assert!(
        cases.len() >= 40,
        "{} cases in {}",
        cases.len(),
        folder.display()
    );
    cases
}

/// The published price list beside the cases, unpacked into `folder`.
fn prices(case: &Case, folder: &Path) -> PathBuf {
    let packed = case.path.parent().unwrap().join("../prices");
    let mut lists: Vec<PathBuf> = std::fs::read_dir(packed)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(".json.zst"))
        .collect();
    lists.sort();
    let packed = std::fs::File::open(lists.last().unwrap()).unwrap();
    let mut decoder = zstd::stream::read::Decoder::new(packed).unwrap();
    decoder.window_log_max(27).unwrap();
    let path = folder.join("prices.json");
    std::io::copy(&mut decoder, &mut std::fs::File::create(&path).unwrap()).unwrap();
    path
}

/// What is recorded of a request, under the names of the cases.
fn recorded(store: &Store, found: &RequestRecord) -> BTreeMap<&'static str, Value> {
    let reader = store.reader();
    let calls = reader.tool_calls(found).unwrap();
    let inputs: Vec<&str> = calls
        .iter()
        .map(|call| call.input.as_deref().unwrap_or_default())
        .collect();
    let calls_as =
        |of: fn(&auditlite::RecordedToolCall) -> Value| -> Value { calls.iter().map(of).collect() };
    let replies = reader.transcript(found).unwrap().replies;
    let reply: String = replies
        .iter()
        .map(auditlite::CanonicalMessage::text)
        .collect();
    BTreeMap::from([
        ("status", json!(found.status.as_str())),
        ("error_type", json!(found.error_type)),
        ("error_message", json!(found.error_message)),
        ("input_tokens", json!(found.input_tokens)),
        ("output_tokens", json!(found.output_tokens)),
        (
            "cache_read_input_tokens",
            json!(found.cache_read_input_tokens),
        ),
        (
            "cache_write_input_tokens",
            json!(found.cache_write_input_tokens),
        ),
        (
            "reasoning_output_tokens",
            json!(found.reasoning_output_tokens),
        ),
        ("cost_microdollars", json!(found.cost_microdollars)),
        ("tool_call_count", json!(found.tool_call_count)),
        ("reply", json!(reply)),
        ("names", calls_as(|call| json!(call.tool_name))),
        (
            "tools",
            calls_as(|call| json!([call.tool_call_id, call.tool_name, call.input])),
        ),
        ("input_has", json!(inputs.join("\n"))),
    ])
}

/// Whether what was found is right. Inputs of tools are text; where a case has an object, its JSON is meant.
fn is_right(name: &str, right: &Value, found: &Value) -> bool {
    match name {
        "input_has" => found.as_str().unwrap().contains(right.as_str().unwrap()),
        "tools" => {
            let (right, found) = (right.as_array().unwrap(), found.as_array().unwrap());
            right.len() == found.len()
                && right.iter().zip(found).all(|(right, found)| {
                    let input = match &right[2] {
                        Value::Object(_) => serde_json::from_str(found[2].as_str().unwrap()).ok(),
                        _ => Some(found[2].clone()),
                    };
                    right[0] == found[0]
                        && right[1] == found[1]
                        && input.as_ref() == Some(&right[2])
                })
        }
        _ => right == found,
    }
}

/// Compares one recording of a case with what is right, but for what is pending.
pub(super) fn check(case: &Case, way: &str, store: &Store, problems: &mut Vec<String>) {
    let found = store.reader().get(&case.name).unwrap();
    let found = recorded(store, &found);
    let pending = PENDING.iter().find(|(name, _)| *name == case.name);
    let pending = pending.map_or(&[][..], |(_, values)| *values);
    for (name, right) in &case.right {
        let value = &found[name.as_str()];
        let is_pending = pending.contains(&name.as_str());
        if is_right(name, right, value) == is_pending {
            let problem = match is_pending {
                true => "is right: take it off the list".to_owned(),
                false => format!("{right} is right, not {value}"),
            };
            problems.push(format!("{} by {way}: {name}: {problem}", case.name));
        }
    }
}

#[test]
fn lines_of_the_cases_are_recorded_right() {
    let cases = cases();
    let Some(first) = cases.first() else { return };
    let folder = tempfile::tempdir().unwrap();
    let prices = prices(first, folder.path());
    let path = folder.path().join("audit.db");
    let mut command = Command::new(env!("CARGO_BIN_EXE_auditlite"));
    command
        .arg("--db")
        .arg(&path)
        .args(["record", "--quiet", "--prices"]);
    command
        .arg(&prices)
        .args(cases.iter().map(|case| &case.path));
    let run = command.output().unwrap();
    assert!(
        run.status.success(),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
    let store = Store::builder(&path).open().unwrap();
    let mut problems = Vec::new();
    for case in &cases {
        check(case, "record", &store, &mut problems);
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn pieces_of_the_cases_are_recorded_right() {
    let cases = cases();
    let Some(first) = cases.first() else { return };
    let folder = tempfile::tempdir().unwrap();
    let prices = PriceBook::load(prices(first, folder.path())).unwrap();
    let mut problems = Vec::new();
    for piece_bytes in [1, 7, usize::MAX] {
        let path = folder.path().join(format!("{piece_bytes}.db"));
        let builder = Store::builder(&path).price_book(prices.clone());
        let store = builder.open().unwrap();
        for case in &cases {
            finish(&store, case, piece_bytes);
        }
        store.flush(PATIENCE).unwrap();
        for case in &cases {
            let way = format!("pieces of {piece_bytes} bytes");
            check(case, &way, &store, &mut problems);
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Records a case as a gateway does: it tells what it knows, passes the pieces on, and ends with the status.
pub(super) fn finish(store: &Store, case: &Case, piece_bytes: usize) {
    let text = |name: &str| case.line[name].as_str();
    let request = text("request_body").unwrap().to_owned();
    let path = text("path").unwrap_or_default();
    let protocol = match text("wire").unwrap_or_default() {
        "" => WireProtocol::detect(path, request.as_bytes()),
        wire => WireProtocol::from(wire),
    };
    let response = text("response_body").unwrap_or_default();
    let response = match text("response_body_encoding") {
        Some(_) => BASE64_STANDARD.decode(response).unwrap(),
        None => response.as_bytes().to_vec(),
    };
    let mut context = RequestContext::new(protocol.clone())
        .request_id(&case.name)
        .url_path(path)
        .read_body(true);
    context.provider_name = text("provider_name").map(str::to_owned);
    context.request_model = text("model").map(str::to_owned);
    if let Some(at) = text("started_at") {
        let at: jiff::Timestamp = at.parse().unwrap();
        context.started_at = Some(Timestamp::from_micros(at.as_microsecond()));
    }
    let mut audit = store.recorder().open(context, request).unwrap();
    let mut rest = response.as_slice();
    while !rest.is_empty() {
        let (piece, more) = rest.split_at(piece_bytes.min(rest.len()));
        audit.chunk(piece.to_vec());
        rest = more;
    }
    if case.line["usage"].is_object()
        && let Some(usage) = Usage::from_json(&protocol, &case.line["usage"].to_string())
    {
        audit.set_usage(usage);
    }
    let status = u16::try_from(case.line["status"].as_u64().unwrap()).unwrap();
    audit.finish(status).unwrap();
}
