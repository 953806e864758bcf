//! `erase` and `prune`: what they remove, report and ask.

use crate::support::{Sandbox, assert_golden};

#[test]
fn erase_removes_a_request_and_reports_what_it_did() {
    let sandbox = Sandbox::sample();
    let shown = sandbox.run(&["list", "--json", "-n", "1"]);
    let id = shown.json()[0]["request_id"].as_str().unwrap().to_owned();
    let erase = ["erase", "--request", &id, "--reason", "a test", "--yes"];
    let runs = [
        sandbox.run(&[&erase[..], &["--dry-run"]].concat()),
        sandbox.run(&erase),
        sandbox.run(&[&erase[..], &["--json"]].concat()),
        sandbox.run(&[
            "erase",
            "--user",
            "nobody",
            "--reason",
            "a test",
            "--dry-run",
            "--json",
        ]),
        sandbox.run(&["payload", &id, "request"]),
        sandbox.run(&["erase", "--reason", "a test"]),
    ];
    let exits: Vec<_> = runs.iter().map(|run| run.exit).collect();
    assert_eq!(exits, [0, 0, 1, 1, 1, 2]);
    assert_eq!(sandbox.run(&["verify"]).exit, 0);
    let shown = sandbox.run(&["show", &id, "--json"]);
    assert_eq!(shown.json()[0]["is_erased"], true);
    assert_golden("erase", &sandbox, &runs);
}

#[test]
fn prune_removes_what_its_dry_run_announced() {
    let sandbox = Sandbox::sample();
    let runs = [
        sandbox.run(&["prune", "--content-older-than", "1000000d", "--yes"]),
        // Nobody is there to ask.
        sandbox.run(&["prune", "--content-older-than", "0s"]),
        sandbox.run(&["prune", "--content-older-than", "7x"]),
        sandbox.run(&["prune", "--max-size", "ten"]),
        sandbox.run(&["prune"]),
    ];
    let exits: Vec<_> = runs.iter().map(|run| run.exit).collect();
    assert_eq!(exits, [0, 2, 2, 2, 2]);
    assert_eq!(sandbox.run(&["list", "--json"]).json().len(), 6);
    assert_golden("prune", &sandbox, &runs);
    let before = sandbox.run(&[
        "prune",
        "--metadata-older-than",
        "0s",
        "--dry-run",
        "--json",
    ]);
    let done = sandbox.run(&["prune", "--metadata-older-than", "0s", "--json", "--yes"]);
    for field in ["payloads", "payload_bytes", "requests"] {
        assert_eq!(before.json()[0][field], done.json()[0][field], "{field}");
    }
    assert_eq!(sandbox.run(&["list"]).exit, 1);
    assert_eq!(sandbox.run(&["verify"]).exit, 0);
    assert_eq!(sandbox.run(&["doctor"]).exit, 0);
}

#[test]
fn ages_count_to_the_second() {
    let sandbox = Sandbox::new();
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_secs();
    // Also where one is recorded after younger ones, and minutes apart.
    let ages = [700, 3600, 130, 95, 65, 60, 20, 19, 100, 0];
    let lines: Vec<String> = ages
        .iter()
        .map(|age| {
            format!(
                r#"{{"request":{{"age":{age}}},"started_at":{}}}"#,
                now - age
            )
        })
        .collect();
    sandbox.write("lines.jsonl", lines.join("\n"));
    assert_eq!(sandbox.run(&["record", "lines.jsonl"]).exit, 0);
    // Removal goes by the order of the log, and stops at the first that is younger.
    let pruned = |age: &str| {
        let run = sandbox.run(&["prune", "--content-older-than", age, "--yes", "--json"]);
        assert_eq!(run.exit, 0, "{}", run.stderr);
        run.json()[0]["payloads"].as_u64().unwrap()
    };
    assert_eq!(pruned("1h"), 0);
    assert_eq!(pruned("690s"), 2);
    assert_eq!(pruned("90s"), 2);
    assert_eq!(pruned("40s"), 2);
    assert_eq!(pruned("0s"), 4);
    assert_eq!(sandbox.run(&["verify"]).exit, 0);
}

#[test]
fn a_log_that_cannot_be_read_in_a_place_holds_up_no_removal() {
    let sandbox = Sandbox::new();
    for id in ["first", "second"] {
        let line = format!(
            "{{\"request_id\":\"{id}\",\"request_body\":\"{{}}\",\"user_id\":\"alice\",\
             \"started_at\":1700000000000000}}\n"
        );
        let run = sandbox.run_with(&["record", "--quiet", "-"], line.as_bytes());
        assert_eq!(run.exit, 0, "{}", run.stderr);
    }
    let damaged = |name: &str| {
        std::fs::copy(sandbox.path("audit.db"), sandbox.path(name)).unwrap();
        let connection = rusqlite::Connection::open(sandbox.path(name)).unwrap();
        let sql = "UPDATE log_segments SET encoding = 9 WHERE first_seq = \
                   (SELECT max(first_seq) FROM log_segments WHERE first_seq <= \
                   (SELECT min(opened_seq) FROM requests))";
        assert_eq!(connection.execute(sql, []).unwrap(), 1);
    };
    damaged("erased.db");
    let erase = [
        "erase", "--user", "alice", "--reason", "r", "--json", "--db",
    ];
    for last in ["--dry-run", "--yes"] {
        let run = sandbox.run(&[&erase[..], &["erased.db", last]].concat());
        assert_eq!(run.exit, 1, "{}", run.stderr);
        let report = &run.json()[0];
        assert_eq!(
            (&report["requests"], &report["unreadable"]),
            (&1.into(), &1.into())
        );
        assert!(run.stderr.contains("erased whole"), "{}", run.stderr);
        assert!(
            !run.stderr.contains("reader is in the way"),
            "{}",
            run.stderr
        );
    }
    damaged("pruned.db");
    let prune = [
        "prune",
        "--metadata-older-than",
        "1h",
        "--clock-is-right",
        "--yes",
        "--json",
    ];
    let run = sandbox.run(&[&prune[..], &["--db", "pruned.db"]].concat());
    assert_eq!(run.exit, 1, "{}", run.stderr);
    let report = &run.json()[0];
    assert_eq!(
        (&report["requests"], &report["unreadable"]),
        (&2.into(), &1.into())
    );
    let run = sandbox.run(&[&prune[..], &["--db", "pruned.db"]].concat());
    assert_eq!(run.exit, 0, "{}", run.stderr);
}

/// Who reads an old state keeps its pages in the files: that is not "nothing matched".
#[test]
fn a_reader_in_the_way_of_an_erasure_is_an_error_with_a_report() {
    let sandbox = Sandbox::sample();
    let reader = rusqlite::Connection::open(sandbox.path("audit.db")).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    let count = |connection: &rusqlite::Connection| {
        let count = connection.query_row("SELECT count(*) FROM requests", [], |row| row.get(0));
        count.map(|count: i64| count).unwrap()
    };
    assert_eq!(count(&reader), 6);
    let erase =
        |user: &str| sandbox.run(&["erase", "--user", user, "--reason", "r", "--json", "--yes"]);
    let run = erase("u-17");
    assert_eq!(run.exit, 2, "{}", run.stderr);
    assert!(
        run.stderr.contains("error: a reader is in the way"),
        "{}",
        run.stderr
    );
    let report = &run.json()[0];
    assert_eq!(report["requests"], 2);
    assert_eq!(report["is_fully_erased"], false);
    reader.execute_batch("COMMIT").unwrap();
    drop(reader);
    // Nothing matches any more, and what was left is overwritten now.
    let again = erase("u-17");
    assert_eq!(again.exit, 1, "{}", again.stderr);
    assert_eq!(again.json()[0]["is_fully_erased"], true);
}
