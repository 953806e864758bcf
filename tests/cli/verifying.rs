//! `verify`, `bundle` and `keygen`.

use crate::support::{Sandbox, assert_golden};

/// A sample whose checkpoints are signed and anchored.
fn signed() -> (Sandbox, tempfile::TempDir, String) {
    let sandbox = Sandbox::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let path = |name: &str| elsewhere.path().join(name).to_str().unwrap().to_owned();
    let made = sandbox.run(&["keygen", &path("key"), "--name", "example.com/test"]);
    assert_eq!(made.exit, 0, "{}", made.stderr);
    let sample = crate::support::SAMPLE.as_bytes();
    let run = sandbox.run_with(
        &[
            "record",
            "--quiet",
            "--signing-key",
            &path("key"),
            "--anchor",
            &path("anchors"),
            "-",
        ],
        sample,
    );
    assert_eq!((run.exit, run.stderr.as_str()), (0, ""));
    let vkey = made.text().trim().to_owned();
    std::fs::write(elsewhere.path().join("vkey"), made.text()).unwrap();
    (sandbox, elsewhere, vkey)
}

#[test]
fn a_clean_trail_has_no_findings() {
    let sandbox = Sandbox::sample();
    let runs = [
        sandbox.run(&["verify"]),
        sandbox.run(&["verify", "--skip-bodies"]),
        sandbox.run(&["verify", "--json"]),
    ];
    assert!(runs.iter().all(|run| run.exit == 0));
    assert_golden("verify", &sandbox, &runs);
}

#[test]
fn anchors_and_keys_are_used_and_findings_are_listed() {
    let (sandbox, elsewhere, vkey) = signed();
    let anchors = elsewhere.path().join("anchors");
    let anchors = anchors.to_str().unwrap();
    let key_file = elsewhere.path().join("vkey");
    for key in [vkey.as_str(), key_file.to_str().unwrap()] {
        let run = sandbox.run(&["verify", "--anchor", anchors, "--key", key]);
        assert_eq!(run.exit, 0, "{}{}", run.text(), run.stderr);
        assert!(run.text().contains("; 1 signed"), "{}", run.text());
        assert!(run.text().contains("\nanchors      1, "), "{}", run.text());
    }
    let connection = rusqlite::Connection::open(sandbox.path("audit.db")).unwrap();
    for damage in [
        "UPDATE requests SET cost_microdollars = 1 WHERE request_id LIKE 'call-0001%'",
        "DELETE FROM payloads WHERE payload_id = (SELECT max(payload_id) FROM payloads)",
        "UPDATE payloads SET salt = zeroblob(32) WHERE payload_id = (SELECT min(payload_id) FROM payloads)",
    ] {
        assert_eq!(connection.execute(damage, []).unwrap(), 1, "{damage}");
    }
    drop(connection);
    let runs = [
        sandbox.run(&["verify", "--key", &vkey]),
        sandbox.run(&["verify", "--json"]),
    ];
    assert!(runs.iter().all(|run| run.exit == 1));
    let found = runs[1].json();
    let kinds: Vec<_> = found[0]["findings"].as_array().unwrap().iter().collect();
    assert_eq!(kinds.len(), 3);
    assert!(kinds.iter().all(|finding| finding["seq"].is_u64()));
    // The key's text differs from run to run.
    let transcript = runs[0].text().to_owned();
    assert!(transcript.contains("\n3 findings:\n"), "{transcript}");
    for kind in ["payload_missing", "payload_commitment", "projection"] {
        assert!(transcript.contains(&format!(": {kind}: ")), "{transcript}");
    }
}

#[test]
fn what_cannot_be_verified_is_an_error() {
    let (sandbox, elsewhere, vkey) = signed();
    let secret = std::fs::read_to_string(elsewhere.path().join("key")).unwrap();
    for (arguments, expected) in [
        (
            vec!["verify", "--anchor", "missing"],
            "anchor file \"missing\" could not be read",
        ),
        (
            vec!["verify", "--key", "nonsense"],
            "--key cannot be used: it is not a key",
        ),
        (vec!["verify", "--key", secret.trim()], "it is a secret key"),
        (
            vec!["verify", "--key", vkey.get(1..).unwrap()],
            "id does not fit",
        ),
        (vec!["verify", "--db", "none.db"], "there is no database"),
    ] {
        let run = sandbox.run(&arguments);
        assert_eq!(run.exit, 2, "{arguments:?}");
        assert!(run.stderr.contains(expected), "{}", run.stderr);
        assert!(
            !run.stderr.contains("PRIVATE+KEY+example"),
            "a secret is repeated"
        );
    }
}

#[test]
fn a_key_is_private_never_overwritten_and_not_beside_the_database() {
    let sandbox = Sandbox::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let path = elsewhere.path().join("audit.key");
    let path = path.to_str().unwrap();
    let made = sandbox.run(&["keygen", path]);
    assert_eq!(made.exit, 0, "{}", made.stderr);
    assert!(made.text().starts_with("auditlite+"));
    let secret = std::fs::read_to_string(path).unwrap();
    assert!(secret.starts_with("PRIVATE+KEY+auditlite+"));
    assert!(!made.text().contains("PRIVATE") && !made.stderr.contains("PRIVATE"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let again = sandbox.run(&["keygen", path, "--force"]);
    assert_eq!(again.exit, 2);
    assert_eq!(std::fs::read_to_string(path).unwrap(), secret);
    let beside = sandbox.run(&["keygen", "audit.key"]);
    assert_eq!(beside.exit, 2);
    assert!(beside.stderr.contains("--force"), "{}", beside.stderr);
    assert!(!sandbox.path("audit.key").exists());
    assert_eq!(sandbox.run(&["keygen", "audit.key", "--force"]).exit, 0);
    assert_eq!(
        sandbox
            .run(&["keygen", "x/audit.key", "--name", "a b"])
            .exit,
        2
    );
}

#[test]
fn a_bundle_is_checked_without_the_database() {
    let (sandbox, _elsewhere, vkey) = signed();
    let id = sandbox.run(&["list", "--json", "-n", "1"]).json()[0]["request_id"].clone();
    let id = id.as_str().unwrap();
    let one = sandbox.run(&["bundle", "--request", id]);
    assert_eq!(one.exit, 0, "{}", one.stderr);
    assert!(
        one.stderr.starts_with("auditlite: 2 events of 15"),
        "{}",
        one.stderr
    );
    let part = sandbox.run(&["bundle", "--from", "3", "--to", "5", "--output", "part"]);
    assert_eq!((part.exit, part.text()), (0, ""));
    assert_eq!(
        sandbox.run(&["bundle", "-o", "part"]).exit,
        2,
        "overwritten"
    );
    let none = sandbox.run(&["bundle", "--request", "nobody"]);
    assert_eq!(none.exit, 1);

    let away = Sandbox::new();
    away.write("one", &one.stdout);
    let bent = one.text().replace("\"at\":1", "\"at\":2");
    away.write("bent", bent);
    away.write("notes", "no bundle at all\n");
    let checked = away.run(&["bundle", "--check", "one", "--key", &vkey]);
    assert_eq!(checked.exit, 0, "{}{}", checked.text(), checked.stderr);
    assert!(checked.text().contains("; signed by a given key"));
    let unchecked = away.run(&["bundle", "--check", "one"]);
    let words = "its signatures were not checked: no --key was given";
    assert!(unchecked.text().contains(words), "{}", unchecked.text());
    let json = away.run(&["bundle", "--check", "one", "--json"]).json();
    assert_eq!(json[0]["signature"], "not_checked");
    assert_eq!(
        (&json[0]["events"], &json[0]["left_out"]),
        (&2.into(), &13.into())
    );
    assert_eq!(away.run(&["bundle", "--check", "bent"]).exit, 1);
    assert_eq!(away.run(&["bundle", "--check", "notes"]).exit, 2);
}

#[test]
fn a_signed_log_is_written_to_with_its_key_or_with_a_word_for_it() {
    let (sandbox, elsewhere, vkey) = signed();
    let key = elsewhere.path().join("key");
    let key = key.to_str().unwrap();
    sandbox.write("more.jsonl", "{\"request\":{\"model\":\"m\"}}\n");
    let exported = sandbox.run(&["export", "--content", "full"]);
    sandbox.write("export.jsonl", &exported.stdout);
    let id = sandbox.run(&["list", "--json", "-n", "1"]).json()[0]["request_id"].clone();
    let writes: [&[&str]; 4] = [
        &["record", "--quiet", "more.jsonl"],
        &["import", "--quiet", "export.jsonl"],
        &[
            "erase",
            "--request",
            id.as_str().unwrap(),
            "--reason",
            "a test",
            "--yes",
        ],
        &["prune", "--max-size", "1", "--yes"],
    ];
    let file = || std::fs::read(sandbox.path("audit.db")).unwrap();
    for write in writes {
        let before = file();
        let refused = sandbox.run(write);
        assert_eq!(refused.exit, 2, "{write:?}");
        for word in ["--signing-key FILE", "--unsigned"] {
            assert!(refused.stderr.contains(word), "{}", refused.stderr);
        }
        assert!(file() == before, "{write:?} wrote something");
        let run = sandbox.run(&[write, &["--signing-key", key]].concat());
        assert_eq!(run.exit, 0, "{}", run.stderr);
        let verified = sandbox.run(&["verify", "--key", &vkey]);
        assert_eq!(verified.exit, 0, "{write:?}: {}", verified.text());
        let unsigned = verified
            .text()
            .lines()
            .find(|line| line.starts_with("unsigned "));
        assert!(
            unsigned.unwrap().contains(" 0 of these events"),
            "{unsigned:?}"
        );
    }
    // A search builds its index, which is no event, and a rebuild changes none.
    assert_eq!(sandbox.run(&["search", "anything"]).exit, 1);
    assert_eq!(sandbox.run(&["doctor", "--rebuild"]).exit, 0);
    let run = sandbox.run(&["record", "--quiet", "--unsigned", "more.jsonl"]);
    assert_eq!(run.exit, 0, "{}", run.stderr);
    let json = sandbox.run(&["verify", "--json", "--key", &vkey]).json();
    // The price book's event is one of them.
    assert_eq!(json[0]["unsigned_events"], 5);
    assert_eq!(json[0]["findings"][0]["kind"], "signature");
    // A log that never was signed needs neither.
    let prune = ["prune", "--max-size", "1", "--yes"];
    assert_eq!(Sandbox::sample().run(&prune).exit, 0);
}

#[test]
fn a_database_with_another_log_than_the_given_one_is_refused_by_every_command() {
    let sandbox = Sandbox::sample();
    let verified = sandbox.run(&["verify", "--json"]).json();
    let origin = verified[0]["origin"].as_str().unwrap();
    let own = origin.strip_prefix("auditlite/").unwrap();
    sandbox.write("more.jsonl", "{\"request\":{\"model\":\"m\"}}\n");
    let id = sandbox.run(&["list", "--json", "-n", "1"]).json()[0]["request_id"].clone();
    let id = id.as_str().unwrap();
    let commands: [&[&str]; 16] = [
        &["list"],
        &["show", id],
        &["conversation", id],
        &["search", "the"],
        &["payload", id, "request"],
        &["stats"],
        &["tools"],
        &["export"],
        &["bundle"],
        &["doctor"],
        &["doctor", "--rebuild"],
        &["backup", "copy.db"],
        &["record", "--quiet", "more.jsonl"],
        &["import", "--quiet", "export.jsonl"],
        &["erase", "--request", id, "--reason", "a test", "--dry-run"],
        &["prune", "--max-size", "1", "--yes"],
    ];
    let exported = sandbox.run(&["export", "--content", "full"]);
    sandbox.write("export.jsonl", &exported.stdout);
    for command in commands {
        let run = sandbox.run(&[command, &["--log", "another"]].concat());
        assert_eq!((run.exit, run.text()), (2, ""), "{command:?}");
        assert!(
            run.stderr.contains("\"another\" is expected"),
            "{}",
            run.stderr
        );
    }
    assert!(!sandbox.path("copy.db").exists());
    for id in [own, origin] {
        for command in commands {
            let run = sandbox.run(&[command, &["--log", id]].concat());
            assert!(
                !run.stderr.contains("is expected"),
                "{command:?}: {}",
                run.stderr
            );
        }
        std::fs::remove_file(sandbox.path("copy.db")).unwrap();
        assert_eq!(sandbox.run(&["verify", "--log", id]).exit, 0);
    }
    let run = sandbox.run(&["verify", "--log", "another", "--json"]);
    assert_eq!(run.exit, 1);
    assert_eq!(run.json()[0]["findings"][0]["kind"], "other_log");
    // Nor is a new one made.
    let empty = Sandbox::new();
    empty.write("more.jsonl", "{\"request\":{\"model\":\"m\"}}\n");
    assert_eq!(empty.run(&["record", "more.jsonl", "--log", own]).exit, 2);
    assert!(!empty.path("audit.db").exists());
}

#[test]
fn logs_that_share_an_anchor_file_are_named() {
    let (sandbox, elsewhere, _) = signed();
    let anchors = elsewhere.path().join("anchors");
    let anchors = anchors.to_str().unwrap();
    let before = sandbox
        .run(&["verify", "--json", "--anchor", anchors])
        .json();
    assert_eq!(before[0]["other_logs"], serde_json::json!([]));
    let other = Sandbox::new();
    let sample = crate::support::SAMPLE.as_bytes();
    let run = other.run_with(&["record", "--quiet", "--anchor", anchors, "-"], sample);
    assert_eq!(run.exit, 0, "{}", run.stderr);
    let after = other.run(&["verify", "--json", "--anchor", anchors]).json();
    let log = &after[0]["other_logs"][0];
    assert_eq!(log["origin"], before[0]["origin"]);
    assert_eq!(log["events"], before[0]["anchored_events"]);
    assert_eq!((&log["notes"], log["first_at"].is_u64()), (&1.into(), true));
    let text = other.run(&["verify", "--anchor", anchors]);
    assert_eq!(text.exit, 0);
    assert!(
        text.text().contains("\nother log    auditlite/"),
        "{}",
        text.text()
    );
}

/// Files that never end, or never begin.
#[cfg(unix)]
#[test]
fn a_file_that_is_no_regular_one_is_refused_at_once() {
    let (sandbox, elsewhere, _) = signed();
    let fifo = elsewhere.path().join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    for path in [fifo.to_str().unwrap(), "/dev/zero"] {
        let commands: [&[&str]; 6] = [
            &["verify", "--anchor", path],
            &["verify", "--key", path],
            &["bundle", "--check", path],
            &["record", "--prices", path, "-"],
            &["record", "--signing-key", path, "-"],
            &["list", "--db", path],
        ];
        for command in commands {
            let run = sandbox.run(command);
            assert_eq!(run.exit, 2, "{command:?}: {}", run.stderr);
            assert!(
                run.stderr.contains("not a regular file"),
                "{command:?}: {}",
                run.stderr
            );
        }
    }
}
