//! `import`: what was exported elsewhere, once and not twice.

use serde_json::Value;

use crate::conversations::agent;
use crate::support::{Sandbox, assert_golden};

fn exported(sandbox: &Sandbox) -> Vec<u8> {
    let run = sandbox.run(&["export", "--content", "full"]);
    assert_eq!(run.exit, 0, "{}", run.stderr);
    run.stdout
}

/// A line without what has to differ: places in the log, and where it was imported from.
fn essence(line: &str) -> Value {
    let mut value: Value = serde_json::from_str(line).unwrap();
    let object = value.as_object_mut().unwrap();
    object.remove("opened_seq");
    object.remove("ended_seq");
    let attributes = object["attributes"].as_object_mut().unwrap();
    assert_eq!(attributes.remove("imported_from"), Some("box-7".into()));
    assert!(attributes.remove("imported_seq").is_some());
    value
}

fn original(line: &str) -> Value {
    let mut value: Value = serde_json::from_str(line).unwrap();
    let object = value.as_object_mut().unwrap();
    object.remove("opened_seq");
    object.remove("ended_seq");
    value
}

#[test]
fn an_export_in_an_empty_store_gives_the_same_requests_and_bodies() {
    for source in [Sandbox::sample(), agent()] {
        let before = exported(&source);
        let target = Sandbox::new();
        target.write("a.jsonl", &before);
        let run = target.run(&["import", "--origin", "box-7", "a.jsonl"]);
        assert_eq!(run.exit, 0, "{}", run.stderr);
        let after = exported(&target);
        let lines = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let before: Vec<_> = lines(&before).lines().map(original).collect();
        let after: Vec<_> = lines(&after).lines().map(essence).collect();
        assert_eq!(before, after);
        assert_eq!(target.run(&["verify"]).exit, 0);
    }
}

#[test]
fn a_second_import_changes_nothing_and_damaged_lines_are_named() {
    let source = Sandbox::sample();
    let text = String::from_utf8(exported(&source)).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let broken = lines[1].replacen("\"sha256\":\"", "\"sha256\":\"0", 1);
    let target = Sandbox::new();
    target.write(
        "damaged.jsonl",
        [
            lines[0],
            "{\"request_id\":1",
            &broken,
            "",
            "\u{1b}[2J",
            lines[2],
        ]
        .join("\n"),
    );
    target.write("whole.jsonl", &text);
    let runs = [
        target.run(&["import", "damaged.jsonl"]),
        target.run(&["import", "whole.jsonl"]),
        target.run(&["import", "whole.jsonl", "whole.jsonl"]),
        target.run(&["list", "--attr", "imported_from=damaged.jsonl"]),
        target.run(&["import", "nothing.jsonl"]),
        target.run(&["import"]),
    ];
    assert_golden("import", &target, &runs);
    assert_eq!(
        target.run(&["list", "--json", "-n", "0"]).json().len(),
        lines.len()
    );
}

#[test]
fn bodies_that_did_not_come_along_are_named_by_their_digests() {
    let source = agent();
    let run = source.run(&["export"]);
    let target = Sandbox::new();
    target.write("bare.jsonl", &run.stdout);
    let run = target.run(&["import", "bare.jsonl"]);
    assert_eq!(run.exit, 0, "{}", run.stderr);
    assert!(
        run.stderr.contains("7 bodies were not in the export"),
        "{}",
        run.stderr
    );
    let shown = target.run(&["show", "turn-0", "--json"]).json();
    let known = source.run(&["show", "turn-0", "--json"]).json();
    let attribute = shown[0]["attributes"]["imported_request"].as_str().unwrap();
    assert!(attribute.ends_with(known[0]["request"]["sha256"].as_str().unwrap()));
}
