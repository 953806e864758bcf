//! Mistakes of new users, each with a helpful message: the wrong file, no database yet, an anchor file that keeps
//! nothing, an ambiguous id.

use crate::support::{Run, Sandbox};

fn assert_refused(run: &Run, exit: i32, words: &[&str]) {
    assert_eq!(run.exit, exit, "{} {}", run.command, run.stderr);
    for word in words {
        assert!(run.stderr.contains(word), "{}: {}", run.command, run.stderr);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_anchor_that_keeps_nothing_is_refused_beforehand() {
    let sandbox = Sandbox::sample();
    let elsewhere = tempfile::TempDir::new().unwrap();
    let path = |name: &str| elsewhere.path().join(name).to_str().unwrap().to_owned();
    let fifo = path("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    for anchor in [
        fifo.as_str(),
        "/dev/full",
        "/dev/null",
        &path("missing/anchors"),
        elsewhere.path().to_str().unwrap(),
    ] {
        sandbox.write("new.jsonl", r#"{"request":1,"request_id":"new"}"#);
        let user = ["erase", "--user", "u-17", "--reason", "r", "--yes"];
        let age = ["prune", "--content-older-than", "0s", "--yes"];
        let before = sandbox.run(&["list", "--json", "-n", "0"]).stdout;
        for command in [
            &["record", "new.jsonl"][..],
            &["import", "new.jsonl"],
            &user,
            &age,
        ] {
            let run = sandbox.run(&[command, &["--anchor", anchor]].concat());
            assert_refused(&run, 2, &["cannot be appended to", anchor]);
        }
        let after = sandbox.run(&["list", "--json", "-n", "0"]).stdout;
        assert_eq!(before, after, "{anchor}");
        let missing = ["record", "new.jsonl", "--db", "none.db", "--anchor", anchor];
        assert_refused(&sandbox.run(&missing), 2, &["cannot be appended to"]);
        assert!(!sandbox.path("none.db").exists());
    }
}

/// A folder that is there and takes no file: seen only when the checkpoint is to be appended.
#[cfg(target_os = "linux")]
#[test]
fn a_checkpoint_that_could_not_be_anchored_is_said_and_is_a_finding() {
    const ANCHOR: &str = "/proc/self/anchors";
    let sandbox = Sandbox::sample();
    sandbox.write(
        "new.jsonl",
        r#"{"request":1,"request_id":"new","user_id":"u"}"#,
    );
    let user = ["erase", "--user", "u", "--reason", "r", "--yes"];
    let age = ["prune", "--metadata-older-than", "1m", "--yes"];
    for command in [&["record", "new.jsonl"][..], &user, &age] {
        let run = sandbox.run(&[command, &["--anchor", ANCHOR]].concat());
        assert_refused(&run, 1, &["was not anchored: ", ANCHOR]);
    }
    assert_eq!(sandbox.run(&["verify"]).exit, 0);
    let run = sandbox.run(&["record", "new.jsonl", "--again"]);
    assert_eq!((run.exit, run.stderr.contains("anchor")), (0, false));
}

#[test]
fn an_id_that_several_requests_share_is_listed_by_erase_as_by_show() {
    let sandbox = Sandbox::sample();
    let line = r#"{"request":1,"request_id":"dup"}"#;
    let other = r#"{"request":2,"request_id":"dup"}"#;
    sandbox.write("dup.jsonl", format!("{line}\n{other}"));
    assert_eq!(sandbox.run(&["record", "dup.jsonl"]).exit, 0);
    let show = sandbox.run(&["show", "dup"]);
    let erase = |more: &[&str]| {
        sandbox.run(&[&["erase", "--request", "dup", "--reason", "r"], more].concat())
    };
    for run in [erase(&["--yes"]), erase(&["--dry-run"])] {
        assert_refused(&run, 1, &["choose one by its number"]);
        assert_eq!(run.stderr, show.stderr);
        assert!(run.stdout.is_empty());
    }
    let number = show.stderr.split('#').nth(1).unwrap();
    let number = format!("#{}", number.split_whitespace().next().unwrap());
    let one = ["erase", "--request", &number, "--reason", "r", "--yes"];
    assert_eq!(sandbox.run(&one).exit, 0);
}

#[test]
fn where_there_is_no_database_yet_it_is_said_what_makes_one() {
    let sandbox = Sandbox::new();
    for command in ["list", "stats", "doctor", "verify", "tools", "tail"] {
        let run = sandbox
            .command(&[command])
            .env_remove("AUDITLITE_DB")
            .output();
        let run = run.unwrap();
        let stderr = String::from_utf8(run.stderr).unwrap();
        assert_eq!(run.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains("there is no database at "), "{stderr}");
        assert!(
            stderr.contains("audit.db\" yet: `auditlite record`"),
            "{stderr}"
        );
        assert!(stderr.contains("--db PATH"), "{stderr}");
    }
    assert_eq!(std::fs::read_dir(sandbox.folder.path()).unwrap().count(), 0);
}

#[test]
fn a_file_that_import_does_not_take_is_named_once() {
    let sandbox = Sandbox::sample();
    for (name, format) in [("spans", "otlp"), ("table", "csv"), ("copy", "sqlite")] {
        let run = sandbox.run(&["export", "--format", format, "-o", name]);
        assert_eq!(run.exit, 0, "{}", run.stderr);
    }
    for (name, what) in [
        ("spans", "an export of spans (OTLP)"),
        ("table", "an export as CSV"),
        ("copy", "an SQLite database"),
    ] {
        let run = sandbox.run(&["import", "--quiet", name]);
        assert_refused(&run, 2, &[&format!("\"{name}\" is "), what, "JSON Lines"]);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    }
}

#[test]
fn a_conversation_that_is_not_there_is_called_one() {
    let run = Sandbox::sample().run(&["conversation", "c-none"]);
    assert_refused(&run, 1, &["the conversation, the trace or the session"]);
}

#[test]
fn verifying_a_file_that_was_cut_off_does_not_send_anybody_round_in_circles() {
    let sandbox = Sandbox::sample();
    let file = std::fs::File::options()
        .write(true)
        .open(sandbox.path("audit.db"));
    file.unwrap().set_len(20_000).unwrap();
    let run = sandbox.run(&["verify"]);
    assert_refused(
        &run,
        2,
        &["too damaged to be verified", "auditlite restore"],
    );
    assert!(!run.stderr.contains("auditlite doctor"), "{}", run.stderr);
}

#[test]
fn a_backup_from_before_an_erasure_says_that_it_brings_back_what_was_erased() {
    let sandbox = Sandbox::sample();
    let restore = |arguments: &[&str]| {
        let run = sandbox.run(arguments);
        assert_eq!(run.exit, 0, "{}", run.stderr);
        run.stderr
    };
    let newest = sandbox.run(&["list", "--json", "-n", "1"]).json();
    let id = newest[0]["request_id"].as_str().unwrap();
    let erase = ["erase", "--request", id, "--reason", "r", "--yes"];
    assert_eq!(sandbox.run(&["backup", "copy.db"]).exit, 0);
    assert!(!restore(&["restore", "copy.db"]).contains("older than"));
    assert_eq!(sandbox.run(&erase).exit, 0);
    let said = "the backup is older than 1 erasure: what was erased is in the database again";
    let stderr = restore(&["restore", "copy.db"]);
    assert!(stderr.contains(said), "{stderr}");
    // Another log knows nothing of it.
    assert_eq!(sandbox.run(&erase).exit, 0);
    let other = Sandbox::sample().run(&["backup", sandbox.path("other.db").to_str().unwrap()]);
    assert_eq!(other.exit, 0, "{}", other.stderr);
    let stderr = restore(&["restore", "other.db"]);
    assert!(stderr.contains("of another log"), "{stderr}");
    assert!(!stderr.contains("older than"), "{stderr}");
}
