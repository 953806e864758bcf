//! Golden files for commands that the other tests do not cover, and a check that every command is covered.

use std::fmt::Write as _;
use std::path::Path;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use crate::conversations::agent;
use crate::documentation::commands;
use crate::support::{Run, Sandbox, assert_golden};

#[test]
fn spans_have_messages_only_as_far_as_asked_for() {
    let sample = Sandbox::sample();
    let runs = [
        sample.run(&["export", "--format", "otlp"]),
        sample.run(&["export", "--format", "otlp", "--content", "full", "-n", "1"]),
    ];
    assert_golden("otlp", &sample, &runs);
    let agent = agent();
    let run = agent.run(&["export", "--format", "otlp", "--content", "excerpt"]);
    assert_golden("otlp_agent", &agent, &[run]);
}

#[test]
fn an_sqlite_export_has_the_documented_tables() {
    let sandbox = Sandbox::sample();
    let export = ["export", "--format", "sqlite", "--content", "full"];
    let run = sandbox.run(&[&export[..], &["-o", "plain.db"]].concat());
    assert_eq!(run.exit, 0, "{}", run.stderr);
    let plain = Run {
        command: "dump plain.db".to_owned(),
        stdout: dump(&sandbox.path("plain.db")).into_bytes(),
        stderr: String::new(),
        exit: 0,
    };
    // A database cannot go through a pipe.
    let piped = sandbox.run(&export);
    assert_golden("sqlite", &sandbox, &[run, plain, piped]);
}

/// Tables and rows of a database, as text.
fn dump(path: &Path) -> String {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut text = String::new();
    let mut schema = connection
        .prepare("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name")
        .unwrap();
    let tables = schema
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<Result<Vec<(String, String)>, _>>()
        .unwrap();
    for (_, sql) in &tables {
        writeln!(text, "{sql};").unwrap();
    }
    for (table, sql) in &tables {
        if !sql.starts_with("CREATE TABLE") {
            continue;
        }
        let mut select = connection
            .prepare(&format!("SELECT * FROM {table}"))
            .unwrap();
        let names: Vec<String> = select
            .column_names()
            .into_iter()
            .map(str::to_owned)
            .collect();
        let mut rows = select.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            writeln!(text, "{table}").unwrap();
            for (index, name) in names.iter().enumerate() {
                match row.get_ref(index).unwrap() {
                    ValueRef::Null => {}
                    ValueRef::Integer(number) => {
                        writeln!(text, "  \"{name}\":{number}").unwrap();
                    }
                    ValueRef::Real(number) => writeln!(text, "  {name}: {number:?}").unwrap(),
                    ValueRef::Text(bytes) => {
                        let bytes = std::str::from_utf8(bytes).unwrap();
                        writeln!(text, "  {name}: {bytes:?}").unwrap();
                    }
                    ValueRef::Blob(bytes) => writeln!(text, "  {name}: {bytes:?}").unwrap(),
                }
            }
        }
    }
    text
}

#[test]
fn errors_of_taking_away() {
    let sandbox = Sandbox::sample();
    let run = sandbox.run(&["bundle", "--request", "call-0001", "-o", "one.bundle"]);
    assert_eq!(run.exit, 0, "{}", run.stderr);
    sandbox.write("notes", "no bundle at all\n");
    let runs = [
        sandbox.run(&["backup", "copy.db"]),
        sandbox.run(&["backup", "copy.db"]),
        sandbox.run(&["backup"]),
        sandbox.run(&["backup", "no/such/folder/copy.db"]),
        sandbox.run(&["restore", "copy.db", "--to", "restored.db"]),
        sandbox.run(&["restore", "copy.db", "--to", "copy.db"]),
        sandbox.run(&["restore", "none.db", "--to", "never.db"]),
        sandbox.run(&["restore", "notes", "--to", "never.db"]),
        sandbox.run(&["restore"]),
        sandbox.run(&["bundle", "--request", "nobody"]),
        sandbox.run(&["bundle", "--from", "3", "--to", "2"]),
        sandbox.run(&["bundle", "--check", "notes"]),
        sandbox.run(&["bundle", "--check", "one.bundle", "--key", "no.vkey"]),
        sandbox.run(&["keygen", "audit.key"]),
        sandbox.run(&["keygen", "no/such/folder/audit.key", "--force"]),
        sandbox.run(&["keygen"]),
        sandbox.run(&["tail", "--status", "gone"]),
        sandbox.run(&["tail", "--since", "yesterdayish"]),
        sandbox.run(&["--db", "none.db", "tail"]),
        sandbox.run(&["--db", "notes", "backup", "x.db"]),
    ];
    assert_golden("taking_away", &sandbox, &runs);
}

#[test]
fn every_command_has_a_golden_file_and_is_in_the_readme() {
    let help = Sandbox::new().run(&["--help"]);
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/golden");
    let golden: String = std::fs::read_dir(golden)
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    let readme = include_str!("../../README.md");
    for command in commands(help.text()) {
        if command == "help" {
            continue;
        }
        let runs = golden.lines().filter(|line| {
            let words = line.strip_prefix("$ auditlite ").unwrap_or_default();
            words.split_whitespace().any(|word| word == command)
        });
        assert!(runs.count() > 0, "{command} has no golden file");
        let is_named = [format!("`{command}`"), format!("auditlite {command} ")]
            .iter()
            .any(|name| readme.contains(name));
        assert!(is_named, "README.md lacks {command}");
    }
}

/// Flags that the README names exist.
#[test]
fn the_readme_names_no_flag_that_is_not_there() {
    let sandbox = Sandbox::new();
    let top = sandbox.run(&["--help"]);
    let commands = commands(top.text());
    let readme = include_str!("../../README.md");
    let mut checked = 0;
    for line in readme.lines().map(|line| line.trim_start_matches("$ ")) {
        let Some(words) = line.strip_prefix("auditlite ") else {
            continue;
        };
        let words = words.split('#').next().unwrap().split('|').next().unwrap();
        let Some(command) = words
            .split_whitespace()
            .find(|word| commands.iter().any(|command| command == word))
        else {
            continue;
        };
        let help = sandbox.run(&[command, "--help"]);
        for flag in words
            .split_whitespace()
            .filter(|word| word.starts_with('-'))
        {
            assert!(help.text().contains(flag), "{command} knows no {flag}");
            checked += 1;
        }
    }
    assert!(checked >= 15, "{checked}");
}
