//! `export` and `completions`, and the conditions that choose requests.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::support::{Sandbox, assert_golden};

/// Three requests with tool calls, costs unknown, attributes, and names that a spreadsheet would run.
const HOSTILE: &str = concat!(
    r#"{"request_id":"r-1","wire":"openai.chat","provider_name":"=cmd|' /C calc'!A0","user_id":"@SUM(1)","request_model":"-2+3","status":200,"started_at":"2026-11-01T12:00:00Z","latency_us":700000,"request":{"model":"-2+3","messages":[{"role":"user","content":"a \"quoted\", line\nand another"}]},"response":{"ok":true}}"#,
    "\n",
    r#"{"request_id":"r-2","wire":"openai.chat","provider_name":"openai","request_model":"gpt-4o-mini","status":200,"started_at":"2026-11-01T12:00:01Z","latency_us":20,"request":{"model":"gpt-4o-mini","messages":[]},"response":{"ok":true}}"#,
    "\n",
);

fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn an_export_writes_what_matches_or_says_why_it_cannot() {
    let sandbox = Sandbox::sample();
    let runs = [
        sandbox.run(&["export", "-n", "1"]),
        sandbox.run(&["export", "--status", "failed", "--content", "excerpt"]),
        sandbox.run(&["export", "--user", "nobody"]),
        sandbox.run(&["export", "--format", "xml"]),
        sandbox.run(&["export", "--content", "some"]),
        sandbox.run(&["export", "--after", "nothing"]),
        sandbox.run(&["export", "-o", "no/such/folder/x.jsonl"]),
        sandbox.run(&["export", "-o", "x.jsonl", "-n", "2"]),
        sandbox.run(&["completions", "tcsh"]),
    ];
    assert_golden("export", &sandbox, &runs);
}

#[test]
fn an_export_in_full_has_every_body_byte_for_byte() {
    let sandbox = Sandbox::sample();
    let listed = sandbox.run(&["list", "-n", "0", "--json"]).json();
    let mut lines = sandbox.run(&["export", "--content", "full"]).json();
    lines.reverse();
    assert_eq!(lines.len(), listed.len());
    let mut bodies = 0;
    for (line, listed) in lines.iter().zip(&listed) {
        for (field, value) in listed.as_object().unwrap() {
            assert_eq!(&line[field], value, "{field}");
        }
        for side in ["request", "response"] {
            let body = &line[side];
            if body["length"].as_u64().is_none_or(|length| length == 0) {
                continue;
            }
            let id = line["request_id"].as_str().unwrap();
            let exact = sandbox.run(&["payload", id, side]).stdout;
            assert_eq!(body["sha256"], sha256(&exact), "{id} {side}");
            match std::str::from_utf8(&exact) {
                Ok(text) => assert_eq!(body["text"], text, "{id} {side}"),
                Err(_) => assert!(body["base64"].is_string(), "{id} {side}"),
            }
            bodies += 1;
        }
    }
    assert!(bodies >= 9, "{bodies}");
}

#[test]
fn a_file_comes_whole_with_its_manifest_or_not_at_all() {
    let sandbox = Sandbox::sample();
    let run = sandbox.run(&[
        "export",
        "-o",
        "all.jsonl.zst",
        "--zstd",
        "--content",
        "full",
    ]);
    assert_eq!(run.exit, 0, "{}", run.stderr);
    let bytes = std::fs::read(sandbox.path("all.jsonl.zst")).unwrap();
    let manifest = std::fs::read(sandbox.path("all.jsonl.zst.manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["sha256"], sha256(&bytes));
    assert_eq!(manifest["bytes"], bytes.len());
    assert_eq!(manifest["requests"], 6);
    let text = zstd::decode_all(bytes.as_slice()).unwrap();
    assert_eq!(text.iter().filter(|byte| **byte == b'\n').count(), 6);

    // What stands in the way of the rename is not overwritten, and nothing half stays behind.
    std::fs::create_dir(sandbox.path("taken")).unwrap();
    assert_eq!(sandbox.run(&["export", "-o", "taken"]).exit, 2);
    let names = std::fs::read_dir(sandbox.folder.path()).unwrap();
    for name in names.map(|entry| entry.unwrap().file_name()) {
        assert!(!name.to_string_lossy().ends_with(".part"), "{name:?}");
    }
    assert!(!sandbox.path("taken.manifest.json").exists());
}

#[test]
fn the_next_export_goes_on_where_the_manifest_says() {
    let sandbox = Sandbox::sample();
    assert_eq!(sandbox.run(&["export", "-o", "a.jsonl", "-n", "4"]).exit, 0);
    let manifest = std::fs::read(sandbox.path("a.jsonl.manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let after = manifest["next_after_id"].as_str().unwrap();
    let rest = sandbox.run(&["export", "--after", after]).json();
    let all = sandbox.run(&["export"]).json();
    assert_eq!(rest, all[4..]);
}

#[test]
fn csv_opens_safely() {
    let sandbox = Sandbox::new();
    let run = sandbox.run_with(&["record", "--quiet", "-"], HOSTILE.as_bytes());
    assert_eq!(run.exit, 0, "{}", run.stderr);
    let run = sandbox.run(&["export", "--format", "csv", "--content", "full"]);
    let mut reader = csv::Reader::from_reader(run.stdout.as_slice());
    let headings = reader.headers().unwrap().clone();
    let column = |name: &str| headings.iter().position(|heading| heading == name).unwrap();
    let records: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert_eq!(records.len(), 2);
    assert_eq!(&records[0][column("provider_name")], "'=cmd|' /C calc'!A0");
    assert_eq!(&records[0][column("user_id")], "'@SUM(1)");
    assert_eq!(&records[0][column("request_model")], "'-2+3");
    assert_eq!(&records[0][column("latency_us")], "700000");
    let exact = sandbox.run(&["payload", "r-1", "request"]);
    assert_eq!(&records[0][column("request_text")], exact.text());
    assert!(run.text().contains("\r\n"));
}

/// Whichever separator a program goes by, as programs do where a decimal comma is used, and those that
/// try several: no cell is a formula. By commas, each cell is what was recorded, but for apostrophes.
#[test]
fn no_cell_is_a_formula_by_any_separator() {
    let sandbox = Sandbox::new();
    let mut names = Vec::new();
    for before in [
        "",
        "a;",
        "a\t",
        "a\r",
        "a\n",
        "a\r\n",
        "a;\"",
        "a;\"\";\"",
        "\"",
        "a,",
        "a,\"",
        ";;",
    ] {
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", "＝1", "＋1", "－1", "＠x"] {
            for after in ["", ";b", "\";b", "\tb", "\nb"] {
                names.push(format!("{before}{formula}{after}"));
            }
        }
    }
    let lines: Vec<String> = (names.iter().enumerate())
        .map(|(number, name)| {
            serde_json::json!({"request_id": format!("r-{number}"), "user_id": name,
                "provider_name": name, "request_body": name, "wire": "openai.chat",
                "response": {"choices": [{"finish_reason": name, "message": {"content": name,
                    "tool_calls": [{"id": name, "function": {"name": name, "arguments": "{}"}}]}}]}})
            .to_string()
        })
        .collect();
    let run = sandbox.run_with(&["record", "--quiet", "-"], lines.join("\n").as_bytes());
    assert_eq!(run.exit, 0, "{}", run.stderr);
    let run = sandbox.run(&["export", "--format", "csv", "--content", "full"]);
    let begins_formula =
        |cell: &str| cell.starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠']);
    for separator in [b',', b';', b'\t'] {
        let mut reader = csv::ReaderBuilder::new();
        let reader = reader
            .delimiter(separator)
            .flexible(true)
            .has_headers(false);
        let mut reader = reader.from_reader(run.stdout.as_slice());
        for record in reader.records() {
            for cell in &record.unwrap() {
                assert!(!begins_formula(cell), "{:?}: {cell}", char::from(separator));
            }
        }
    }
    let mut reader = csv::Reader::from_reader(run.stdout.as_slice());
    let headings = reader.headers().unwrap().clone();
    let column = |name: &str| headings.iter().position(|heading| heading == name).unwrap();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), names.len());
    for (row, name) in rows.iter().zip(&names) {
        let as_recorded = name.replace('\'', "");
        for field in ["user_id", "provider_name", "request_text"] {
            assert_eq!(row[column(field)].replace('\'', ""), as_recorded, "{field}");
        }
        let reasons: Vec<String> = serde_json::from_str(&row[column("finish_reasons")]).unwrap();
        assert_eq!(reasons, [name.as_str()]);
    }
    // Where one cell needs quotes for another separator, all have them.
    let quoted = run
        .text()
        .lines()
        .filter(|line| line.starts_with('"'))
        .count();
    assert!(quoted >= names.len() / 2, "{quoted}");
}

/// Every condition narrows `list`, `stats` and `export` in the same way.
#[test]
fn conditions_hold_for_every_command() {
    let sandbox = Sandbox::sample();
    let run = sandbox.run_with(&["record", "--quiet", "-"], HOSTILE.as_bytes());
    assert_eq!(run.exit, 0, "{}", run.stderr);
    for (conditions, expected) in [
        (&["--model", "gpt-4o*"][..], 3),
        (&["--model", "gpt-4?-mini"], 1),
        (&["--model", "*"], 7),
        (&["--provider", "open*"], 3),
        (&["--min-latency", "800ms"], 3),
        (&["--min-cost", "0.01"], 0),
        (&["--after", "call-0004"], 4),
        (&["--tool", "*"], 0),
        (&["--attr", "route=x"], 0),
    ] {
        let run = |command: &[&str]| sandbox.run(&[command, conditions].concat());
        let listed = run(&["list", "--json", "-n", "0"]).json();
        assert_eq!(listed.len(), expected, "{conditions:?}");
        let mut exported = run(&["export"]).json();
        exported.reverse();
        let ids = |rows: &[Value]| -> Vec<Value> {
            rows.iter().map(|row| row["request_id"].clone()).collect()
        };
        assert_eq!(ids(&exported), ids(&listed), "{conditions:?}");
    }
    let requests = |conditions: &[&str]| -> u64 {
        let command = ["stats", "--json"];
        let rows = sandbox.run(&[&command, conditions].concat()).json();
        rows.iter()
            .map(|row| row["requests"].as_u64().unwrap())
            .sum()
    };
    assert_eq!(
        requests(&["--min-latency", "800ms", "--by", "day,model"]),
        3
    );
    assert_eq!(requests(&["--session", "s-1"]), 2);
    // The two ways to count agree where both can.
    let summary = sandbox.run(&["stats", "--json", "--by", "hour,provider,model,user"]);
    let exact = sandbox.run(&[
        "stats",
        "--json",
        "--by",
        "hour,provider,model,user",
        "--min-latency",
        "0s",
    ]);
    let without_latency = summary
        .json()
        .iter()
        .filter(|row| row["latency_count"] == 0)
        .count();
    assert_eq!(exact.json().len() + without_latency, summary.json().len());
}

#[test]
fn sorted_lists_have_most_first() {
    let sandbox = Sandbox::sample();
    let rows = sandbox.run(&["list", "--json", "--sort", "latency"]).json();
    let latencies: Vec<u64> = rows
        .iter()
        .map(|row| row["latency_us"].as_u64().unwrap())
        .collect();
    assert!(latencies.len() >= 5);
    assert!(
        latencies.is_sorted_by(|one, other| one >= other),
        "{latencies:?}"
    );
    assert_eq!(
        sandbox.run(&["list", "--sort", "latency", "-n", "0"]).exit,
        2
    );
    let by_time = |order| sandbox.run(&["list", "--json", "-n", "0", "--sort", order]);
    let (oldest, newest) = (by_time("oldest").json(), by_time("newest").json());
    assert!(oldest.iter().eq(newest.iter().rev()));
    assert!(oldest[0]["opened_seq"].as_u64() < oldest[5]["opened_seq"].as_u64());
}

#[test]
fn sql_in_a_condition_is_only_text() {
    let sandbox = Sandbox::sample();
    let hostile = "' OR 1=1; DROP TABLE requests; --";
    for option in [
        "--provider",
        "--model",
        "--user",
        "--session",
        "--conversation",
        "--trace",
        "--tool",
    ] {
        let run = sandbox.run(&["list", option, hostile]);
        assert_eq!(run.exit, 1, "{option}: {}", run.stderr);
    }
    let run = sandbox.run(&["list", "--attr", &format!("{hostile}={hostile}")]);
    assert_eq!(run.exit, 1, "{}", run.stderr);
    assert_eq!(sandbox.run(&["list", "-n", "0", "--json"]).json().len(), 6);
}

#[test]
fn completions_know_every_command() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let run = sandbox.run(&["completions", shell]);
        assert_eq!(run.exit, 0, "{}", run.stderr);
        assert!(
            run.text().contains("export") && run.text().contains("min-latency"),
            "{shell}"
        );
    }
}

#[test]
fn a_backup_is_the_same_trail() {
    let sandbox = Sandbox::sample();
    let run = sandbox.run(&["backup", "copy.db"]);
    assert_eq!(run.exit, 0, "{}", run.stderr);
    let lines = |database: &str| sandbox.run(&["--db", database, "export", "--content", "full"]);
    assert_eq!(lines("copy.db").text(), lines("audit.db").text());
    assert_eq!(sandbox.run(&["--db", "copy.db", "verify"]).exit, 0);
    // What is there is never replaced.
    assert_eq!(sandbox.run(&["backup", "copy.db"]).exit, 2);
    // And it can be recorded into.
    let run = sandbox.run_with(
        &["--db", "copy.db", "record", "--quiet", "-"],
        HOSTILE.as_bytes(),
    );
    assert_eq!(run.exit, 0, "{}", run.stderr);
    assert_eq!(sandbox.run(&["--db", "copy.db", "doctor"]).exit, 0);
}

#[test]
fn a_backup_of_a_damaged_trail_says_so() {
    let sandbox = Sandbox::sample();
    rusqlite::Connection::open(sandbox.path("audit.db"))
        .unwrap()
        .execute("UPDATE requests SET user_id = 'somebody else'", [])
        .unwrap();
    let run = sandbox.run(&["backup", "copy.db"]);
    assert_eq!(run.exit, 1, "{}", run.stderr);
    assert!(run.stderr.contains("projection"), "{}", run.stderr);
}

#[test]
fn tail_prints_what_there_is_and_then_what_ends() {
    use std::io::{BufRead, BufReader};
    let sandbox = Sandbox::sample();
    let child = sandbox
        .command(&["tail", "-n", "2", "--json", "--model", "g*"])
        .spawn()
        .unwrap();
    let mut child = Killed(child);
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    let mut next = || {
        let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        line["request_id"].as_str().unwrap().to_owned()
    };
    assert_eq!(next(), "call-0003-rate-limited");
    assert_eq!(next(), "call-0004-gemini");
    let run = sandbox.run_with(&["record", "--quiet", "-"], HOSTILE.as_bytes());
    assert_eq!(run.exit, 0, "{}", run.stderr);
    assert_eq!(next(), "r-2");
}

/// A child that does not outlive its test, however that ends.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Beside the numbers there are a time and a cost that people and spreadsheets read, and they are the same.
#[test]
fn tables_have_the_time_as_text_and_the_cost_in_dollars() {
    let sandbox = Sandbox::new();
    let store = auditlite::Store::builder(sandbox.path("audit.db"))
        .open()
        .unwrap();
    for (id, at, cost) in [
        ("paid", 1_793_536_205_000_123, Some(12_300)),
        ("free", 1_772_323_199_999_999, Some(0)),
        ("unknown", 0, None),
    ] {
        let context = auditlite::RequestContext::new("")
            .request_id(id)
            .started_at(auditlite::Timestamp::from_micros(at));
        let mut completion = auditlite::Completion::new();
        completion.cost_microdollars = cost;
        let audit = store.recorder().open(context, "").unwrap();
        audit.complete(completion).unwrap();
    }
    assert!(store.close(std::time::Duration::from_secs(60)).is_complete);
    let csv = sandbox.run(&["export", "--format", "csv"]);
    let mut lines = csv
        .text()
        .lines()
        .map(|line| line.split(',').collect::<Vec<_>>());
    let heading = lines.next().unwrap();
    let column = |name: &str| heading.iter().position(|column| *column == name).unwrap();
    let [at, iso, cost, dollars] = [
        "opened_at",
        "opened_at_iso",
        "cost_microdollars",
        "cost_dollars",
    ]
    .map(column);
    assert_eq!((iso, dollars), (at + 1, cost + 1));
    let cells: Vec<_> = lines
        .map(|line| [line[at], line[iso], line[cost], line[dollars]])
        .collect();
    let expected = [
        [
            "1793536205000123",
            "2026-11-01T12:30:05.000123Z",
            "12300",
            "0.012300",
        ],
        [
            "1772323199999999",
            "2026-02-28T23:59:59.999999Z",
            "0",
            "0.000000",
        ],
        ["0", "1970-01-01T00:00:00.000000Z", "", ""],
    ];
    assert_eq!(cells, expected);
    let run = sandbox.run(&["export", "--format", "sqlite", "-o", "plain.db"]);
    assert_eq!(run.exit, 0, "{}", run.stderr);
    let plain = rusqlite::Connection::open(sandbox.path("plain.db")).unwrap();
    let rows: Vec<(String, Option<f64>)> = plain
        .prepare("SELECT opened_at_iso, cost_dollars FROM requests ORDER BY opened_seq")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let isos: Vec<&str> = rows.iter().map(|(iso, _)| iso.as_str()).collect();
    assert_eq!(isos, expected.map(|row| row[1]));
    let dollars: Vec<Option<f64>> = rows.iter().map(|(_, dollars)| *dollars).collect();
    assert_eq!(dollars, [Some(0.0123), Some(0.0), None]);
}
