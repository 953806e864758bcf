//! `list`, `show`, `payload`, `stats`, `doctor` and `path` over the sample.

use crate::support::{Sandbox, assert_golden};

#[test]
fn a_list_shows_the_requests_that_match() {
    let sandbox = Sandbox::sample();
    let runs = [
        sandbox.run(&["list"]),
        sandbox.run(&["list", "-n", "2"]),
        sandbox.run(&["list", "--status", "failed"]),
        sandbox.run(&[
            "list",
            "--since",
            "2026-11-01T13:00:00Z",
            "--until",
            "2026-11-02",
        ]),
        sandbox.run(&[
            "list",
            "--provider",
            "openai",
            "--model",
            "gpt-4o",
            "--user",
            "u-17",
        ]),
        sandbox.run(&["list", "--trace", "4bf92f3577b34da6a3ce929d0e0e4736"]),
        sandbox.run(&[
            "list",
            "--session",
            "s-1",
            "--conversation",
            "c-42",
            "-n",
            "1",
        ]),
        sandbox.run(&["list", "--user", "nobody"]),
    ];
    assert_golden("list", &sandbox, &runs);
}

#[test]
fn states_http_statuses_and_types_of_errors_select_in_every_command() {
    let sandbox = Sandbox::sample();
    let ids = |arguments: &[&str]| -> Vec<String> {
        let run = sandbox.run(&[&["list", "--json"], arguments].concat());
        let id = |line: &serde_json::Value| {
            let id = line["request_id"].as_str().unwrap();
            id.chars().take(9).collect()
        };
        run.json().iter().map(id).collect()
    };
    // The answer of the other one is no text, and stops before its end.
    let failed = ["call-0005", "call-0003"];
    assert_eq!(ids(&["--status", "failed,pending"]), failed);
    assert_eq!(ids(&["--status", "failed,completed"]).len(), 6);
    assert_eq!(ids(&["--status", "pending", "--status", "failed"]), failed);
    assert_eq!(ids(&["--http-status", "429"]), ["call-0003"]);
    assert_eq!(ids(&["--http-status", "5xx,400-430"]), ["call-0003"]);
    assert_eq!(ids(&["--http-status", "2xx"]).len(), 4);
    assert_eq!(ids(&["--error-type", "request?"]), ["call-0003"]);
    assert_eq!(
        ids(&["--error-type", "request", "--http-status", "429"]),
        [""; 0]
    );
    let stats = sandbox
        .run(&["stats", "--json", "--http-status", "4xx"])
        .json();
    assert_eq!(stats[0]["requests"], 1);
    assert_eq!(sandbox.run(&["stats", "--error-type", "nothing"]).exit, 1);
    let export = sandbox.run(&["export", "--http-status", "429", "--error-type", "requests"]);
    assert_eq!(export.json().len(), 1);
    for wrong in [
        ["--status", "failed,broken"],
        ["--http-status", "6x"],
        ["--http-status", "599-500"],
        ["--http-status", &["4xx"; 17].join(",")],
    ] {
        let run = sandbox.run(&["list", wrong[0], wrong[1]]);
        assert_eq!(run.exit, 2, "{wrong:?}: {}", run.stderr);
    }
}

#[test]
fn a_list_as_json_has_one_object_for_each_request() {
    let sandbox = Sandbox::sample();
    let runs = [
        sandbox.run(&["list", "--json"]),
        sandbox.run(&["list", "--json", "--user", "nobody"]),
    ];
    assert_golden("list_json", &sandbox, &runs);
}

#[test]
fn a_list_goes_on_where_the_one_before_ended() {
    let sandbox = Sandbox::sample();
    let all = sandbox.run(&["list", "--json", "-n", "0"]).json();
    assert_eq!(all.len(), 6);
    let mut pages = Vec::new();
    let mut before = u64::MAX.to_string();
    before.truncate(18); // A cursor beyond every request, within SQLite's integers.
    loop {
        let page = sandbox.run(&["list", "--json", "-n", "4", "--before", &before]);
        if page.exit == 1 {
            break;
        }
        pages.extend(page.json());
        before = pages.last().unwrap()["opened_seq"].to_string();
    }
    assert_eq!(pages, all);
}

#[test]
fn more_requests_than_one_page_are_all_listed() {
    let sandbox = Sandbox::new();
    let lines: String = (0..4500)
        .map(|number| format!("{{\"request\":1,\"request_id\":\"{number:020}\"}}\n"))
        .collect();
    let run = sandbox.run_with(&["record", "--quiet", "-"], lines.as_bytes());
    assert_eq!(run.exit, 0, "{}", run.stderr);
    let table = sandbox.run(&["list", "-n", "0"]);
    assert_eq!(table.text().lines().count(), 4501);
    let json = sandbox.run(&["list", "-n", "4100", "--json"]).json();
    assert_eq!(json.len(), 4100);
    assert_eq!(json[0]["request_id"], "00000000000000004499");
    assert_eq!(json[4099]["request_id"], "00000000000000000400");
    // Each printed id leads back to its request.
    let last = table
        .text()
        .lines()
        .last()
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    assert_eq!(last, "00000000000000000000");
}

#[test]
fn show_prints_one_request_with_its_messages() {
    let sandbox = Sandbox::sample();
    let runs = [
        sandbox.run(&["show", "call-0001-openai-chat"]),
        sandbox.run(&["show", "call-0002"]),
        sandbox.run(&["show", "call-0003", "--no-body"]),
        sandbox.run(&["show", "call-0004", "--full"]),
        sandbox.run(&["show", "call-0006"]),
        sandbox.run(&["show", "call-0007"]),
    ];
    assert_golden("show", &sandbox, &runs);
}

#[test]
fn show_as_json_prints_one_object() {
    let sandbox = Sandbox::sample();
    let runs = [
        sandbox.run(&["show", "call-0001", "--json"]),
        sandbox.run(&["show", "call-0006", "--json"]),
    ];
    assert_golden("show_json", &sandbox, &runs);
}

#[test]
fn a_choice_is_asked_for() {
    let sandbox = Sandbox::sample();
    let runs = [
        sandbox.run(&["show", "4bf92f3577b34da6a3ce929d0e0e4736"]),
        sandbox.run(&["show", "s-1", "--json"]),
        sandbox.run(&["payload", "call", "request"]),
    ];
    assert_golden("choice", &sandbox, &runs);
    for run in runs {
        assert_eq!(run.exit, 1);
        assert!(run.stdout.is_empty());
    }
}

#[test]
fn long_texts_are_folded_unless_asked_for() {
    let sandbox = Sandbox::new();
    let text = "line\\n".repeat(100) + &"x".repeat(2000);
    let line = format!("{{\"request_id\":\"long\",\"request_body\":\"{text}\"}}");
    sandbox.run_with(&["record", "-"], line.as_bytes());
    let folded = sandbox.run(&["show", "long"]);
    assert!(
        folded
            .text()
            .contains("… 61 more lines (--full shows them)")
    );
    let full = sandbox.run(&["show", "long", "--full"]);
    assert!(full.text().contains(&"x".repeat(2000)));
    assert_eq!(full.text().matches("  line\n").count(), 100);
    assert!(
        !sandbox
            .run(&["show", "long", "--no-body"])
            .text()
            .contains("line")
    );
}

#[test]
fn payloads_are_exact() {
    let sandbox = Sandbox::sample();
    let run = sandbox.run(&["payload", "call-0001", "request"]);
    // As written in the line, number format and all.
    assert!(
        run.text().ends_with(r#""temperature":0.50}"#),
        "{}",
        run.text()
    );
    let run = sandbox.run(&["payload", "call-0005", "response"]);
    assert_eq!(run.stdout, b"\x00\x01\xff\x00\xfe");
    assert_eq!((run.exit, run.stderr.as_str()), (0, ""));
    let run = sandbox.run(&["payload", "call-0005", "request"]);
    assert_eq!(
        run.text(),
        "\u{1b}]0;owned\u{7} first line\nsecond\u{2066} line\r\n"
    );
}

#[test]
fn what_is_missing_of_a_payload_is_said() {
    let sandbox = Sandbox::new();
    let body = "0123456789abcdef".repeat(17 << 16);
    let line = format!(
        "{{\"request_id\":\"big\",\"started_at\":\"1970-01-01T00:00:00Z\",\"latency_us\":5,\"request_body\":\"{body}\"}}"
    );
    let run = sandbox.run_with(&["record", "-"], line.as_bytes());
    assert_eq!(run.exit, 0, "{}", run.stderr);
    let run = sandbox.run(&["payload", "big", "request"]);
    assert_eq!(run.text(), "0123456789abcdef".repeat(1024));
    let runs = [
        sandbox.run(&["show", "big", "--no-body"]),
        sandbox.run(&["payload", "big", "response"]),
    ];
    assert_golden("truncated", &sandbox, &runs);
    assert_eq!(run.exit, 0);
    assert_eq!(
        run.stderr,
        "auditlite: warning: the request body is not whole: \
         17809408 of its 17825792 bytes are missing after the first 8192\n"
    );
}

#[test]
fn stats_sum_the_requests_that_match_by_group() {
    let sandbox = Sandbox::sample();
    let runs = [
        sandbox.run(&["stats"]),
        sandbox.run(&["stats", "--by", "day,provider"]),
        sandbox.run(&["stats", "--by", "hour,model,user", "--user", "u-17"]),
        sandbox.run(&["stats", "--since", "2026-11-02", "--model", "gemini-3-pro"]),
        sandbox.run(&["stats", "--until", "2026-11-02", "--provider", "openai"]),
        sandbox.run(&["stats", "--by", "provider", "--json"]),
        sandbox.run(&["stats", "--user", "nobody", "--json"]),
        sandbox.run(&["stats", "--by", "hour,day"]),
    ];
    assert_golden("stats", &sandbox, &runs);
}

#[test]
fn doctor_finds_nothing_wrong_with_a_sound_file() {
    let sandbox = Sandbox::sample();
    let runs = [sandbox.run(&["doctor"]), sandbox.run(&["doctor", "--json"])];
    for run in &runs {
        assert_eq!(run.exit, 0, "{}", run.text());
    }
    assert_golden("doctor", &sandbox, &runs);
}

#[test]
fn doctor_rebuilds_what_is_not_as_the_log_says() {
    let sandbox = Sandbox::sample();
    let connection = rusqlite::Connection::open(sandbox.path("audit.db")).unwrap();
    connection
        .execute("UPDATE requests SET user_id = 'somebody else'", [])
        .unwrap();
    drop(connection);
    let found = sandbox.run(&["doctor"]);
    assert_eq!(found.exit, 1, "{}", found.text());
    assert!(found.text().contains("table requests"), "{}", found.text());
    let mended = sandbox.run(&["doctor", "--rebuild"]);
    assert_eq!(mended.exit, 0, "{}", mended.text());
    assert!(mended.stderr.contains("rebuilt from"), "{}", mended.stderr);
}

#[test]
fn path_is_absolute_and_says_whether_the_file_exists() {
    let sandbox = Sandbox::sample();
    let runs = [
        sandbox.run(&["path"]),
        sandbox.run(&["path", "--db", "sub/../other.db"]),
        sandbox.run(&["--db", ".", "path"]),
    ];
    assert_golden("path", &sandbox, &runs);
}

#[test]
fn the_default_path_follows_the_environment() {
    let sandbox = Sandbox::new();
    let path = |variables: &[(&str, &str)]| {
        let mut command = sandbox.command(&["path"]);
        command.env_remove("AUDITLITE_DB").env("HOME", "/home/x");
        let output = command.envs(variables.iter().copied()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let home = "/home/x/.local/share/auditlite/audit.db\n";
    assert_eq!(path(&[]), home);
    assert_eq!(
        path(&[("XDG_DATA_HOME", "/data")]),
        "/data/auditlite/audit.db\n"
    );
    assert_eq!(path(&[("XDG_DATA_HOME", "relative")]), home);
    assert_eq!(path(&[("AUDITLITE_DB", "")]), home);
    assert_eq!(path(&[("AUDITLITE_DB", "/tmp/a.db")]), "/tmp/a.db\n");
}

#[test]
fn a_deleted_body_is_shown_as_missing() {
    let sandbox = Sandbox::sample();
    let id = sandbox.run(&["list", "--json", "-n", "1"]).json()[0]["request_id"].clone();
    let id = id.as_str().unwrap();
    let shown = sandbox.run(&["show", id, "--json"]).json();
    assert_eq!(shown[0]["damaged"], serde_json::json!([]));
    let seq = shown[0]["opened_seq"].as_i64().unwrap();
    let connection = rusqlite::Connection::open(sandbox.path("audit.db")).unwrap();
    let sql = "DELETE FROM payloads WHERE payload_id = ?1";
    assert_eq!(connection.execute(sql, [seq * 4]).unwrap(), 1);
    drop(connection);
    let words = "though the log says that it was kept";
    let payload = sandbox.run(&["payload", id, "request"]);
    assert_eq!((payload.exit, payload.text()), (2, ""));
    assert!(payload.stderr.contains(words), "{}", payload.stderr);
    for arguments in [
        &["show", id][..],
        &["show", id, "--raw"],
        &["show", id, "--no-body"],
    ] {
        let shown = sandbox.run(arguments);
        assert_eq!(shown.exit, 1, "{}", shown.text());
        assert!(shown.text().contains(words), "{}", shown.text());
        assert!(shown.stderr.contains(words), "{}", shown.stderr);
    }
    let json = sandbox.run(&["show", id, "--json"]).json();
    assert_eq!(json[0]["request"]["removed"], "missing");
    assert_eq!(json[0]["damaged"].as_array().unwrap().len(), 1);
    let export = sandbox.run(&["export", "--content", "full"]);
    assert!(export.text().contains(words) && !export.text().contains("capacity"));
}

#[test]
fn what_could_not_be_held_against_the_log_is_said_and_fails() {
    let sandbox = Sandbox::sample();
    let connection = rusqlite::Connection::open(sandbox.path("audit.db")).unwrap();
    connection
        .execute_batch("UPDATE log_segments SET encoding = 9")
        .unwrap();
    drop(connection);
    for arguments in [
        &["payload", "call-0001", "request"][..],
        &["export", "--content", "full"],
        &["export", "--digests"],
        &["show", "call-0001"],
        &["show", "call-0001", "--json"],
        &["conversation", "call-0001"],
    ] {
        let run = sandbox.run(arguments);
        assert_eq!(run.exit, 1, "{arguments:?}: {}", run.stderr);
        let is_said = run.stderr.contains("could not be checked");
        assert!(is_said, "{arguments:?}: {}", run.stderr);
        assert!(!run.stderr.contains("missing"), "{}", run.stderr);
        assert!(!run.text().is_empty(), "{arguments:?}");
    }
}

#[test]
fn bodies_that_a_deferred_capture_dropped_say_so() {
    let sandbox = Sandbox::new();
    let store = auditlite::Store::builder(sandbox.path("audit.db"))
        .capture(auditlite::Capture::Deferred)
        .open()
        .unwrap();
    for (id, status) in [("dropped", 200), ("kept", 500)] {
        let context = auditlite::RequestContext::new("").request_id(id);
        let mut audit = store.recorder().open(context, "a question").unwrap();
        audit.chunk("an answer");
        audit.finish(status).unwrap();
    }
    assert!(store.close(std::time::Duration::from_secs(60)).is_complete);
    drop(store);
    let shown = sandbox.run(&["show", "dropped"]);
    let shown = shown.text();
    let words = "10 bytes, not kept (capture was deferred)";
    assert!(shown.contains(words), "{shown}");
    let json = &sandbox.run(&["show", "dropped", "--json"]).json()[0];
    for body in ["request", "response"] {
        assert_eq!(json[body]["is_deferred"], true, "{json}");
        assert_eq!(json[body]["kept"], 0, "{json}");
    }
    let payload = sandbox.run(&["payload", "dropped", "request"]);
    assert_eq!(payload.exit, 1);
    let words = "its capture was deferred, and the request succeeded";
    assert!(payload.stderr.contains(words), "{}", payload.stderr);
    let payload = sandbox.run(&["payload", "kept", "request"]);
    assert_eq!(payload.text(), "a question");
    let json = &sandbox.run(&["show", "kept", "--json"]).json()[0];
    assert_eq!(json["request"]["is_deferred"], false, "{json}");
    assert_eq!(json["request"]["kept"], 10, "{json}");
}
