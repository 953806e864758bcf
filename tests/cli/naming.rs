//! Naming a request on the command line: its number, `last`, its whole id, or anything that only it has.

use std::time::Duration;

use auditlite::{RequestContext, Store};

use crate::support::{Run, Sandbox};

const IDS: [&str; 7] = [
    "0199f0a2-6c1e-7abc-8000-00000000face",
    "0199f0a2-6c1e-7abd-8000-00000000cafe",
    "last",
    "#5",
    "=eq",
    "say-abd-again",
    "0199f0a3-0000-7000-8000-000000000001",
];

/// Requests with these ids, in this order: the first has number 1, the next one 3.
fn filled() -> Sandbox {
    let sandbox = Sandbox::new();
    let store = Store::builder(sandbox.path("audit.db")).open().unwrap();
    for id in IDS {
        let context = RequestContext::new("").request_id(id).user_id("u");
        let audit = store
            .recorder()
            .open(context, format!("body of {id}"))
            .unwrap();
        audit
            .finish(200)
            .unwrap()
            .wait(Duration::from_secs(60))
            .unwrap();
    }
    assert!(store.close(Duration::from_secs(60)).is_complete);
    sandbox
}

/// The id of the request that was found.
fn found(run: &Run) -> Option<String> {
    assert_eq!(run.exit, i32::from(run.stdout.is_empty()), "{}", run.stderr);
    let body = String::from_utf8(run.stdout.clone()).unwrap();
    body.strip_prefix("body of ").map(str::to_owned)
}

#[test]
fn a_number_last_a_whole_id_or_a_unique_part_names_a_request() {
    let sandbox = filled();
    for (name, id) in [
        ("#1", Some(IDS[0])),
        ("#3", Some(IDS[1])),
        // A number is never an id.
        ("#5", Some("last")),
        ("last", Some(IDS[6])),
        ("=last", Some("last")),
        ("=#5", Some("#5")),
        ("==eq", Some("=eq")),
        ("eq", Some("=eq")),
        ("0199f0a3", Some(IDS[6])),
        ("face", Some(IDS[0])),
        ("7abd-8000", Some(IDS[1])),
        ("d-again", Some("say-abd-again")),
        // A beginning goes before a part of another one.
        ("say", Some("say-abd-again")),
        ("0199f0a2", None),
        ("abd", None),
        ("=face", None),
        ("=", None),
        ("#2", None),
        ("#99", None),
        ("nothing", None),
        ("%", None),
    ] {
        let run = sandbox.run(&["payload", name, "request"]);
        assert_eq!(found(&run).as_deref(), id, "{name}: {}", run.stderr);
    }
    let ambiguous = sandbox.run(&["show", "abd"]).stderr;
    for candidate in [IDS[1], "say-abd-again"] {
        assert!(ambiguous.contains(candidate), "{ambiguous}");
    }
    assert!(
        ambiguous.contains("matches several requests"),
        "{ambiguous}"
    );
    assert!(ambiguous.contains("#3 "), "{ambiguous}");
}

/// What `list` prints as an id can be typed again, whatever the id is.
#[test]
fn every_id_that_is_listed_names_its_request() {
    let sandbox = filled();
    let list = sandbox.run(&["list", "-n", "0"]);
    let printed = list
        .text()
        .lines()
        .skip(1)
        .map(|line| line.split(' ').next().unwrap());
    let found: Vec<String> = printed
        .map(|id| found(&sandbox.run(&["payload", id, "request"])).unwrap())
        .collect();
    let newest_first: Vec<&str> = IDS.into_iter().rev().collect();
    assert_eq!(found, newest_first);
}

#[test]
fn every_command_that_takes_a_request_takes_every_name() {
    let sandbox = filled();
    for name in ["#3", "cafe", "=0199f0a2-6c1e-7abd-8000-00000000cafe"] {
        for arguments in [
            &["show", name, "--json"][..],
            &["conversation", name, "--json"],
            &["bundle", "--request", name],
        ] {
            let run = sandbox.run(arguments);
            assert_eq!(run.exit, 0, "{arguments:?}: {}", run.stderr);
            assert!(run.text().contains("00000000cafe"), "{arguments:?}");
        }
        let after = IDS.len() - 2;
        let list = sandbox.run(&["list", "--after", name, "--json"]).json();
        assert_eq!(list.len(), after, "{name}");
        let stats = sandbox.run(&["stats", "--after", name, "--json"]).json();
        assert_eq!(stats[0]["requests"], after, "{name}");
        let export = sandbox.run(&["export", "--after", name]).json();
        assert_eq!(export.len(), after, "{name}");
    }
    assert_eq!(sandbox.run(&["list", "--after", "last"]).exit, 1);
}

#[test]
fn a_part_of_an_id_is_not_erased_without_a_question() {
    let sandbox = filled();
    let erase = |name: &str, how: &str| {
        sandbox.run(&[
            "erase",
            "--reason",
            "asked for",
            "--json",
            how,
            "--request",
            name,
        ])
    };
    for name in ["face", "last", "0199f0a2-6c1e-7abc"] {
        let run = erase(name, "--yes");
        assert_eq!((run.exit, run.text()), (2, ""), "{name}");
        assert!(
            run.stderr.contains("with --yes give the whole id, or '#"),
            "{}",
            run.stderr
        );
        let preview = erase(name, "--dry-run");
        assert_eq!(preview.exit, 0, "{}", preview.stderr);
        assert_eq!(preview.json()[0]["requests"], 1);
        assert!(preview.stderr.contains("0199f0a"), "{}", preview.stderr);
    }
    assert_eq!(erase("abd", "--yes").exit, 1);
    for name in [IDS[0], "=last", "#3"] {
        let run = erase(name, "--yes");
        assert_eq!(run.exit, 0, "{}", run.stderr);
        assert_eq!(run.json()[0]["requests"], 1, "{name}");
    }
    let left = sandbox.run(&["list", "--json"]).json();
    let erased = left.iter().filter(|request| request["is_erased"] == true);
    let erased: Vec<_> = erased
        .map(|request| request["request_id"].clone())
        .collect();
    assert_eq!(erased, ["last", IDS[1], IDS[0]]);
}

#[test]
fn a_damaged_row_is_told_in_plain_words_with_what_mends_it() {
    let sandbox = filled();
    let connection = rusqlite::Connection::open(sandbox.path("audit.db")).unwrap();
    let damage = |sql: &str| assert_eq!(connection.execute(sql, []).unwrap(), 1);
    damage("UPDATE requests SET latency_us = -5 WHERE opened_seq = 13");
    damage("UPDATE requests SET http_status = 70000 WHERE opened_seq = 1");
    damage("UPDATE requests SET status = 'odd' WHERE opened_seq = 3");
    for (name, words) in [
        ("#13", "column latency_us holds -5"),
        ("last", "column latency_us holds -5"),
        ("0199f0a3", "column latency_us holds -5"),
        ("face", "column http_status holds 70000"),
        ("cafe", "column status holds an unexpected value"),
    ] {
        let run = sandbox.run(&["show", name]);
        assert_eq!((run.exit, run.text()), (2, ""), "{name}");
        for words in [words, "is damaged", "doctor --rebuild"] {
            assert!(run.stderr.contains(words), "{name}: {}", run.stderr);
        }
        assert!(!run.stderr.contains("index 2"), "{name}: {}", run.stderr);
    }
    let list = sandbox.run(&["list"]);
    assert!(
        list.stderr.contains("column latency_us holds -5"),
        "{}",
        list.stderr
    );
    drop(connection);
    assert_eq!(sandbox.run(&["doctor", "--rebuild"]).exit, 0);
    assert_eq!(sandbox.run(&["show", "last"]).exit, 0);
}
