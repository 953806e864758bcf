//! `search` from the command line.

use std::time::Duration;

use auditlite::{RequestContext, Store};

use crate::conversations::agent;
use crate::support::{Sandbox, assert_golden};

#[test]
fn a_search_finds_words_phrases_and_beginnings() {
    let sandbox = agent();
    let runs = [
        sandbox.run(&["search", "weather", "--no-update"]),
        sandbox.run(&["search", "weather"]),
        sandbox.run(&["search", "18", "degrees"]),
        sandbox.run(&["search", "\"you are\" -brief"]),
        sandbox.run(&["search", "sun*", "--newest", "--user", "u-1"]),
        sandbox.run(&["search", "nothing-like-this"]),
        sandbox.run(&["search", "-lyon"]),
        sandbox.run(&["search", "welcome' OR 1=1; DROP TABLE requests; --"]),
        sandbox.run(&["search", "weather", "-n", "0"]),
    ];
    assert_golden("search", &sandbox, &runs);
    let found = sandbox.run(&["search", "lyon", "--json"]).json();
    assert_eq!(found[0]["conversation_id"], "weather");
    assert_eq!(sandbox.run(&["doctor"]).exit, 0);
    assert_eq!(sandbox.run(&["verify"]).exit, 0);
}

#[test]
fn while_a_store_has_the_file_open_the_lag_is_said() {
    let sandbox = agent();
    assert_eq!(sandbox.run(&["search", "weather"]).exit, 0);
    let store = Store::builder(sandbox.path("audit.db")).open().unwrap();
    let context = RequestContext::new("openai.chat").request_id("new");
    let body = r#"{"messages":[{"role":"user","content":"brandnew"}]}"#;
    let handle = store.recorder().open(context, body).unwrap();
    store.flush(Duration::from_secs(60)).unwrap();
    let run = sandbox.run(&["search", "brandnew"]);
    assert_eq!(run.exit, 1);
    // The store may have looked at it in the meantime: it has not ended.
    assert!(run.stderr.contains("not searched yet"), "{}", run.stderr);
    drop(handle);
    assert!(store.close(Duration::from_secs(60)).is_complete);
    assert_eq!(sandbox.run(&["search", "brandnew"]).exit, 0);
}

#[test]
fn what_follows_from_the_log_and_is_damaged_is_told_with_what_makes_it_anew() {
    for (sql, command) in [
        (
            "UPDATE usage_hourly SET completed = -7; UPDATE usage_daily SET completed = -7",
            &["stats"][..],
        ),
        (
            "UPDATE usage_hourly SET latency_us_sum = -1",
            &["stats", "--by", "user"],
        ),
        ("UPDATE search_state SET next_seq = -1", &["search", "lyon"]),
        (
            "UPDATE search_index_data SET block = x'00'",
            &["search", "lyon"],
        ),
        ("DELETE FROM search_index_data", &["search", "lyon"]),
    ] {
        let sandbox = agent();
        assert_eq!(sandbox.run(&["search", "lyon"]).exit, 0);
        let before = sandbox.run(command).text().to_owned();
        let connection = rusqlite::Connection::open(sandbox.path("audit.db")).unwrap();
        connection.execute_batch(sql).unwrap();
        drop(connection);
        let run = sandbox.run(command);
        assert_eq!(run.exit, 2, "{sql}: {}", run.text());
        assert!(
            run.stderr.contains("search and count by is damaged")
                && run.stderr.contains("doctor --rebuild"),
            "{sql}: {}",
            run.stderr
        );
        let rebuilt = sandbox.run(&["doctor", "--rebuild"]);
        assert_eq!(rebuilt.exit, 0, "{sql}: {}", rebuilt.stderr);
        assert_eq!(sandbox.run(command).text(), before, "{sql}");
    }
}

#[test]
fn what_could_not_be_read_is_said_and_fails_though_something_is_found() {
    let sandbox = Sandbox::new();
    let lines = "{\"request_body\":\"{\\\"messages\\\":[{\\\"role\\\":\\\"user\\\",\\\"content\\\":\\\"needle1\\\"}]}\"}\n\
                 {\"request_body\":\"{\\\"messages\\\":[{\\\"role\\\":\\\"user\\\",\\\"content\\\":\\\"needle2\\\"}]}\"}\n";
    sandbox.run_with(&["record", "--quiet", "-"], lines.as_bytes());
    let connection = rusqlite::Connection::open(sandbox.path("audit.db")).unwrap();
    let deleted = connection.execute(
        "DELETE FROM payloads WHERE payload_id = (SELECT min(payload_id) FROM payloads)",
        [],
    );
    assert_eq!(deleted.unwrap(), 1);
    drop(connection);
    for (word, hits) in [("needle1", 0), ("needle2", 1)] {
        let run = sandbox.run(&["search", word, "--json"]);
        assert_eq!((run.exit, run.json().len()), (1, hits), "{}", run.stderr);
        let is_said = run.stderr.contains("1 request said is not searched");
        assert!(is_said, "{}", run.stderr);
    }
}

#[test]
fn a_search_that_is_refused_builds_no_index() {
    let sandbox = agent();
    for words in [&["!!!"][..], &["--", "-lyon"], &["lyon OR"]] {
        let run = sandbox.run(&[&["search"], words].concat());
        assert_eq!(run.exit, 2, "{words:?}: {}", run.stderr);
        let run = sandbox.run(&["search", "lyon", "--no-update"]);
        assert!(
            run.stderr.contains("nothing is indexed yet"),
            "{words:?}: {}",
            run.stderr
        );
    }
    assert_eq!(sandbox.run(&["search", "lyon"]).exit, 0);
}

#[test]
fn where_more_match_than_are_ranked_it_is_said() {
    let sandbox = Sandbox::new();
    let mut lines = String::new();
    for half in 0..2 {
        let messages: Vec<_> = (0..10_100)
            .map(
                |number| serde_json::json!({"role": "user", "content": format!("needle {number}")}),
            )
            .collect();
        let body = serde_json::json!({"messages": messages});
        let id = format!("half-{half}");
        let line = serde_json::json!({"request_body": body.to_string(), "conversation_id": id});
        lines.push_str(&format!("{line}\n"));
    }
    assert_eq!(
        sandbox
            .run_with(&["record", "--quiet", "-"], lines.as_bytes())
            .exit,
        0
    );
    let is_said = |arguments: &[&str]| {
        let run = sandbox.run(arguments);
        assert_eq!(
            (run.exit, run.stdout.is_empty()),
            (0, false),
            "{}",
            run.stderr
        );
        run.stderr.contains("more than 20,000 messages match")
    };
    assert!(is_said(&["search", "needle"]));
    assert!(!is_said(&["search", "needle", "--rank", "all"]));
    assert!(!is_said(&["search", "needle", "--newest"]));
    assert!(!is_said(&["search", "needle", "7"]));
}
