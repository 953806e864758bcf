//! Requests that share an id: none is shown, erased, bundled or imported instead of another.

use std::time::Duration;

use auditlite::{Completion, RequestContext, Store, Timestamp};

use crate::support::{Sandbox, assert_golden};

const STARTED_AT: i64 = 1_793_534_400_000_000;

/// What is told of a request: user, when, what was sent.
type Told = (&'static str, i64, &'static str);

/// The last two are twins: only their places in the log differ.
const SAME: [Told; 4] = [
    ("alice", 0, "alice's question"),
    ("bob", 60, "bob's question"),
    ("bob", 120, "again"),
    ("bob", 120, "again"),
];

fn filled(requests: &[Told]) -> Sandbox {
    let sandbox = Sandbox::new();
    let store = Store::builder(sandbox.path("audit.db")).open().unwrap();
    let others = [("carol", 180, "another question")];
    for (user, seconds, body) in requests.iter().copied().chain(others) {
        let id = if user == "carol" {
            "same-beginning"
        } else {
            "same"
        };
        let context = RequestContext::new("")
            .request_id(id)
            .user_id(user)
            .started_at(Timestamp::from_micros(STARTED_AT + seconds * 1_000_000));
        let handle = store.recorder().open(context, body).unwrap();
        let completion = Completion::new().response_body(format!("answer to {body}"));
        handle.complete(completion).unwrap();
    }
    assert!(store.close(Duration::from_secs(60)).is_complete);
    sandbox
}

#[test]
fn an_id_of_several_requests_is_refused_and_each_has_a_number() {
    let sandbox = filled(&SAME[..2]);
    let erase = ["erase", "--yes", "--reason", "asked for", "--request"];
    let runs = [
        sandbox.run(&["list"]),
        sandbox.run(&["list", "--request", "same"]),
        sandbox.run(&["show", "same"]),
        sandbox.run(&["show", "#1"]),
        sandbox.run(&["payload", "same", "request"]),
        sandbox.run(&["payload", "#3", "request"]),
        sandbox.run(&["conversation", "#1"]),
        sandbox.run(&["list", "--after", "#3"]),
        sandbox.run(&["export", "--after", "same"]),
        sandbox.run(&["bundle", "--request", "same"]),
        sandbox.run(&[&erase[..], &["same"]].concat()),
        sandbox.run(&[&erase[..], &["#1", "--dry-run"]].concat()),
        sandbox.run(&[&erase[..], &["#1"]].concat()),
        sandbox.run(&["list"]),
    ];
    let exits: Vec<_> = runs.iter().map(|run| run.exit).collect();
    assert_eq!(exits, [0, 0, 1, 0, 1, 0, 0, 0, 2, 1, 1, 0, 0, 0]);
    assert_golden("sharing", &sandbox, &runs);
    let bundle = sandbox.run(&["bundle", "--request", "#3"]);
    let text = String::from_utf8(bundle.stdout).unwrap();
    assert_eq!(text.lines().filter(|line| line.starts_with('{')).count(), 2);
    assert!(
        text.contains("\"user_id\":\"bob\"") && !text.contains("carol"),
        "{text}"
    );
}

/// Users and what they sent, of every request with the id.
fn of_same(sandbox: &Sandbox) -> Vec<(String, String)> {
    let listed = sandbox
        .run(&["list", "--request", "same", "--json", "-n", "0"])
        .json();
    let mut found: Vec<_> = listed
        .iter()
        .map(|request| {
            let number = format!("#{}", request["opened_seq"]);
            let body = sandbox.run(&["payload", &number, "request"]).stdout;
            let user = request["user_id"].as_str().unwrap_or("nobody").to_owned();
            (user, String::from_utf8(body).unwrap())
        })
        .collect();
    found.sort();
    found
}

fn expected(requests: &[Told]) -> Vec<(String, String)> {
    let text = |(user, _, body): &Told| ((*user).to_owned(), (*body).to_owned());
    let mut expected: Vec<_> = requests.iter().map(text).collect();
    expected.sort();
    expected
}

#[test]
fn an_import_keeps_both_of_an_id_and_takes_nothing_twice() {
    let source = filled(&SAME);
    let full = source.run(&["export", "--content", "full"]).stdout;
    let bare = source.run(&["export"]).stdout;
    let target = Sandbox::new();
    target.write("box.jsonl", &full);
    target.write("bare.jsonl", &bare);
    for (file, count) in [("box.jsonl", 5), ("box.jsonl", 0), ("bare.jsonl", 0)] {
        let run = target.run(&["import", "--origin", "box", file]);
        let words = format!("imported {count} request");
        assert!(
            run.exit == 0 && run.stderr.contains(&words),
            "{}",
            run.stderr
        );
        assert_eq!(of_same(&target), expected(&SAME));
    }
    // Another box, whose file has the same name, and whose requests the same ids and places.
    let other = filled(&[
        ("mallory", 0, "a question"),
        ("bob", 60, "bob's other question"),
    ]);
    target.write(
        "other.jsonl",
        other.run(&["export", "--content", "full"]).stdout,
    );
    for count in [3, 0] {
        let run = target.run(&["import", "--origin", "box", "other.jsonl"]);
        let words = format!("imported {count} request");
        assert!(
            run.exit == 0 && run.stderr.contains(&words),
            "{}",
            run.stderr
        );
        assert_eq!(of_same(&target).len(), 6);
    }
    // What the box itself exported, it knows.
    let path = source.path("box.jsonl");
    std::fs::write(&path, &full).unwrap();
    let run = source.run(&["import", "box.jsonl"]);
    assert!(
        run.stderr.contains("imported 0 requests, 5 known"),
        "{}",
        run.stderr
    );
    assert_eq!(target.run(&["verify"]).exit, 0);
}

#[test]
fn what_was_erased_does_not_come_back_by_an_import() {
    let sandbox = filled(&SAME[..2]);
    let full = sandbox.run(&["export", "--content", "full"]).stdout;
    sandbox.write("box.jsonl", &full);
    let run = sandbox.run(&["erase", "--user", "alice", "--reason", "asked for", "--yes"]);
    assert_eq!(run.exit, 0, "{}", run.stderr);
    let run = sandbox.run(&["import", "box.jsonl"]);
    assert!(
        run.stderr.contains("imported 0 requests, 3 known"),
        "{}",
        run.stderr
    );
    assert_eq!(sandbox.run(&["list", "--user", "alice"]).exit, 1);
}
