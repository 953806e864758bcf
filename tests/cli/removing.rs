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
