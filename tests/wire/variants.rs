//! More exchanges of the kinds that were read wrongly once: by other providers, in other orders, cut and encoded in other
//! ways. `variants.jsonl` has a line each, with what is right; each is recorded from a line, and piece by piece.

use std::path::Path;
use std::process::Command;

use auditlite::Store;
use serde_json::Value;

use super::cases::{Case, PATIENCE, check, finish};

fn variants() -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire/variants.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    let variant = |line: &str| {
        let mut variant: Value = serde_json::from_str(line).unwrap();
        Case {
            name: variant["name"].as_str().unwrap().to_owned(),
            path: path.clone(),
            line: variant["line"].take(),
            right: serde_json::from_value(variant["right"].take()).unwrap(),
        }
    };
    text.lines().map(variant).collect()
}

#[test]
fn lines_of_the_variants_are_recorded_right() {
    let variants = variants();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let lines = folder.path().join("lines.jsonl");
    let text: Vec<String> = variants.iter().map(|case| case.line.to_string()).collect();
    std::fs::write(&lines, text.join("\n")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_auditlite"));
    command.arg("--db").arg(&path).args(["record", "--quiet"]);
    let run = command.arg(&lines).output().unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success() && said.is_empty(), "{said}");
    let store = Store::builder(&path).open().unwrap();
    let mut problems = Vec::new();
    for case in &variants {
        check(case, "record", &store, &mut problems);
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn pieces_of_the_variants_are_recorded_right() {
    let variants = variants();
    let folder = tempfile::tempdir().unwrap();
    let mut problems = Vec::new();
    for piece_bytes in [1, 7, usize::MAX] {
        let path = folder.path().join(format!("{piece_bytes}.db"));
        let store = Store::builder(&path).open().unwrap();
        for case in &variants {
            finish(&store, case, piece_bytes);
        }
        store.flush(PATIENCE).unwrap();
        for case in &variants {
            let way = format!("pieces of {piece_bytes} bytes");
            check(case, &way, &store, &mut problems);
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
