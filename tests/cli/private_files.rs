//! Files that the program writes are readable by their owner only, and complete or absent.
#![cfg(unix)]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use crate::support::{SAMPLE, Sandbox};

/// Runs without a mask: every permission that is missing was left out on purpose.
fn run_unmasked(sandbox: &Sandbox, arguments: &[&str], input: &str) {
    sandbox.write("input", input);
    let program = env!("CARGO_BIN_EXE_auditlite");
    let script = "umask 0; program=\"$1\"; shift; exec \"$program\" \"$@\" < input";
    let mut command = std::process::Command::new("sh");
    let output = command
        .args(["-c", script, "sh", program])
        .args(arguments)
        .current_dir(sandbox.folder.path())
        .env("AUDITLITE_DB", "audit.db")
        .env("HOME", sandbox.folder.path())
        .env_remove("XDG_DATA_HOME")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let messages = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {messages}");
    std::fs::remove_file(sandbox.path("input")).unwrap();
}

/// Every file below this folder, with its permissions.
fn files(folder: &Path, found: &mut Vec<(String, u32)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        if entry.metadata().unwrap().is_dir() {
            files(&entry.path(), found);
        } else {
            found.push((entry.file_name().to_string_lossy().into_owned(), mode));
        }
    }
}

#[test]
fn every_file_that_is_written_is_for_its_owner_only() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path("away")).unwrap();
    let commands: [&[&str]; 17] = [
        &["keygen", "away/secret.key", "--name", "test"],
        &[
            "record",
            "--quiet",
            "-",
            "--signing-key",
            "away/secret.key",
            "--anchor",
            "away/anchors",
        ],
        &["search", "Hauptstadt"],
        &["bundle", "-o", "away/some.bundle"],
        &["export", "-o", "away/all.jsonl", "--content", "full"],
        &["export", "-o", "away/all.jsonl.zst", "--zstd"],
        &["export", "-o", "away/all.csv", "--format", "csv"],
        &["export", "-o", "away/all.otlp", "--format", "otlp"],
        &[
            "export",
            "-o",
            "away/all.sqlite",
            "--format",
            "sqlite",
            "--content",
            "full",
        ],
        // What stands there already does not hand on its permissions.
        &["export", "-o", "away/open.jsonl"],
        &["backup", "away/copy.db"],
        &[
            "--db",
            "away/other.db",
            "import",
            "--quiet",
            "away/all.jsonl",
        ],
        &["--db", "away/other.db", "doctor", "--rebuild"],
        &[
            "--db",
            "away/other.db",
            "erase",
            "--request",
            "call-0005-hostile",
            "--reason",
            "x",
            "--yes",
        ],
        &[
            "--db",
            "away/other.db",
            "prune",
            "--content-older-than",
            "1s",
            "--yes",
        ],
        &["--db", "away/copy.db", "search", "Hauptstadt"],
        &["record", "--quiet", "-", "--db", "away/new.db"],
    ];
    let open = sandbox.path("away/open.jsonl");
    std::fs::write(&open, "old").unwrap();
    std::fs::set_permissions(&open, PermissionsExt::from_mode(0o666)).unwrap();
    for command in commands {
        run_unmasked(&sandbox, command, SAMPLE);
    }
    let mut found = Vec::new();
    files(sandbox.folder.path(), &mut found);
    assert!(found.len() >= 18, "{found:?}");
    for (name, mode) in found {
        assert_eq!(mode, 0o600, "{name} is {mode:o}");
    }
}

#[test]
fn a_bundle_that_cannot_be_written_in_full_is_not_there() {
    let sandbox = Sandbox::sample();
    let connection = rusqlite::Connection::open(sandbox.path("audit.db")).unwrap();
    connection
        .execute(
            "UPDATE log_segments SET data = x'00' WHERE first_seq > 2",
            [],
        )
        .unwrap();
    drop(connection);
    let run = sandbox.run(&["bundle", "-o", "some.bundle"]);
    assert_eq!(run.exit, 2, "{}", run.stderr);
    assert!(!sandbox.path("some.bundle").exists());
}
