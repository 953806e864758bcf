//! `import`: what was exported elsewhere, once and not twice.

use auditlite::{RequestContext, Store};
use serde_json::{Value, json};

use crate::conversations::agent;
use crate::ends::ENDS;
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
    // The event that states it is in the other store.
    object.insert("price_book_seq".to_owned(), Value::Null);
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
    let run = source.run(&["export", "--digests"]);
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

/// An export without digests knows no more of a body than its length: that is enough to know a request again, whichever
/// export comes first.
#[test]
fn a_request_is_known_again_from_an_export_with_digests_and_from_one_without() {
    let source = agent();
    let exports = [
        source.run(&["export"]),
        source.run(&["export", "--digests"]),
        source.run(&["export", "--content", "full"]),
    ];
    for first in &exports {
        let target = Sandbox::new();
        target.write("first.jsonl", &first.stdout);
        let run = target.run(&["import", "--origin", "it", "first.jsonl"]);
        assert_eq!(run.exit, 0, "{}", run.stderr);
        for later in &exports {
            target.write("later.jsonl", &later.stdout);
            let run = target.run(&["import", "--origin", "it", "later.jsonl"]);
            assert!(run.stderr.contains("imported 0 requests"), "{}", run.stderr);
        }
    }
}

/// User, conversation and attributes that became known after the opening are an export's like any other, whatever
/// the end was; imported, they are told at the opening, and found by filters, once and not twice.
#[test]
fn what_became_known_after_the_opening_survives_an_export_and_an_import() {
    let source = Sandbox::new();
    let store = Store::builder(source.path("audit.db")).open().unwrap();
    for (id, end) in ENDS {
        let context = RequestContext::new("x")
            .request_id(id)
            .attribute("route", "/v1")
            .attribute("kept", "yes");
        let mut audit = store.recorder().open(context, "a question").unwrap();
        audit.set_user_id("u-1");
        audit.set_conversation_id("c-1");
        audit.set_attribute("route", "/v2");
        audit.set_attribute("tier", "gold \"1\"");
        end(audit);
    }
    drop(store);
    let target = Sandbox::new();
    target.write("a.jsonl", exported(&source));
    for imported in [ENDS.len(), 0] {
        let run = target.run(&["import", "--origin", "box-7", "a.jsonl"]);
        assert_eq!(run.exit, 0, "{}", run.stderr);
        let wanted = format!("imported {imported} ");
        assert!(run.stderr.contains(&wanted), "{}", run.stderr);
    }
    let text = String::from_utf8(exported(&target)).unwrap();
    let after: Vec<_> = text.lines().map(essence).collect();
    assert_eq!(after.len(), ENDS.len());
    for (request, (id, _)) in after.iter().zip(ENDS) {
        assert_eq!(request["request_id"], id);
        assert_eq!(request["user_id"], "u-1");
        assert_eq!(request["conversation_id"], "c-1");
        let attributes = json!({"route": "/v2", "kept": "yes", "tier": "gold \"1\""});
        assert_eq!(request["attributes"], attributes);
    }
    let filter = ["list", "--user", "u-1", "--attr", "route=/v2", "--json"];
    assert_eq!(target.run(&filter).json().len(), ENDS.len());
    assert_eq!(target.run(&["verify"]).exit, 0);
}
