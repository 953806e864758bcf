//! Usage errors, files that are no database, broken pipes, exit statuses.

use std::process::Stdio;

use crate::support::{Sandbox, assert_golden};

#[test]
fn usage_errors_say_what_would_be_right() {
    let sandbox = Sandbox::sample();
    let runs = [
        sandbox.run(&["list", "--since", "yesterday"]),
        sandbox.run(&["list", "--since", "2026-11-02", "--until", "2026-11-01"]),
        sandbox.run(&["list", "--status", "broken"]),
        sandbox.run(&["list", "-n", "many"]),
        sandbox.run(&["stats", "--by", "colour"]),
        sandbox.run(&["payload", "call-0001"]),
        sandbox.run(&["payload", "call-0001", "both"]),
        sandbox.run(&["show", ""]),
        sandbox.run(&["show", "call-0001", "--json", "--full"]),
        sandbox.run(&["record"]),
        sandbox.run(&["lst"]),
    ];
    for run in &runs {
        assert_eq!(run.exit, 2, "{}", run.stderr);
        assert!(run.stdout.is_empty());
    }
    assert_golden("usage", &sandbox, &runs);
}

#[test]
fn without_arguments_help_is_printed() {
    let run = Sandbox::new().run(&[]);
    assert_eq!(run.exit, 2);
    assert!(run.stderr.contains("Usage: auditlite"), "{}", run.stderr);
}

#[test]
fn what_is_no_database_is_an_error() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "notes.txt",
        "these are notes, and long enough for a header\n".repeat(100),
    );
    let runs = [
        sandbox.run(&["list"]),
        sandbox.run(&["doctor"]),
        sandbox.run(&["show", "x", "--db", "notes.txt"]),
        sandbox.run(&["stats", "--db", "file:audit.db"]),
    ];
    for run in &runs {
        assert_eq!(run.exit, 2, "{}", run.stderr);
        assert!(run.stdout.is_empty());
    }
    assert_golden("no_database", &sandbox, &runs);
    assert!(!sandbox.path("audit.db").exists());
}

#[test]
fn a_closed_pipe_is_no_error() {
    let sandbox = Sandbox::sample();
    for arguments in [
        &["list", "--json", "-n", "0"][..],
        &["list"],
        &["show", "call-0001", "--full"],
        &["payload", "call-0001", "request"],
        &["stats", "--by", "model"],
        &["doctor"],
        &["verify"],
        &["bundle"],
        &["path"],
    ] {
        let mut command = sandbox.command(arguments);
        // A pipe whose reading end is closed before anything is written.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let child = command.stdout(Stdio::from(writer)).spawn().unwrap();
        let output = child.wait_with_output().unwrap();
        let messages = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {messages}");
        assert!(!messages.contains("error"), "{arguments:?}: {messages}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_an_error() {
    let sandbox = Sandbox::sample();
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let child = sandbox.command(&["list"]).stdout(full).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let messages = String::from_utf8(output.stderr).unwrap();
    assert!(
        messages.starts_with("auditlite: error: standard output cannot be written: No space left"),
        "{messages}"
    );
}
