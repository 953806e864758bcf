//! `erase` and `prune`.

use crate::support::{Sandbox, assert_golden};

#[test]
fn erasing_by_hand() {
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
fn pruning_by_hand() {
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
