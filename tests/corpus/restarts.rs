//! Conversations that go on in another opening of the store, or in another run of the program, are not stored
//! once more.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::conversations::{CODING, Conversations, SWE_BENCH, builder, bytes, close, is_within};
use crate::files::{corpus, expand, is_full, lines};

/// Bytes of a store that is closed again and again, in hundredths of one that stays open.
const PERCENT_MAX: u64 = 115;

#[test]
fn a_store_that_is_closed_after_each_round_takes_no_more() {
    let sizes: &[(&str, usize, usize)] = if is_full() {
        &[(SWE_BENCH, 50, 20), (CODING, 8, 20)]
    } else {
        &[(SWE_BENCH, 12, 8)]
    };
    for (traffic, count, rounds) in sizes {
        let (once, often) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let Some(conversations) = Conversations::load(traffic, *rounds, once.path()) else {
            return;
        };
        let round = |store: &_, round| {
            for number in 0..*count {
                conversations.record(store, number, round);
            }
        };
        let store = builder(once.path()).open().unwrap();
        (0..*rounds).for_each(|number| round(&store, number));
        close(&store);
        for number in 0..*rounds {
            let store = builder(often.path()).open().unwrap();
            round(&store, number);
            close(&store);
        }
        let [once, often] = [once, often].map(|folder| bytes(&folder.path().join("audit.db"), 0));
        let what =
            format!("{traffic}, {count} conversations, closed after each of {rounds} rounds");
        assert!(is_within(&what, often, PERCENT_MAX, once));
    }
}

#[test]
fn a_trajectory_that_is_recorded_in_ten_runs_takes_no_more() {
    const RUNS: usize = 10;
    let Some(corpus) = corpus() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = expand(
        &corpus,
        SWE_BENCH,
        if is_full() { 80 } else { 10 },
        folder.path(),
    );
    let mut trajectory: Vec<String> = Vec::new();
    let mut name = String::new();
    for line in lines(&file) {
        let conversation: serde_json::Value = serde_json::from_str(&line).unwrap();
        let conversation = conversation["conversation"].as_str().unwrap().to_owned();
        if conversation != name {
            if trajectory.len() >= 3 * RUNS {
                break;
            }
            (name, trajectory) = (conversation, Vec::new());
        }
        trajectory.push(line);
    }
    assert!(trajectory.len() >= 3 * RUNS);
    let (once, often) = (
        folder.path().join("once.db"),
        folder.path().join("often.db"),
    );
    record(&once, &write(folder.path(), &trajectory));
    for part in trajectory.chunks(trajectory.len().div_ceil(RUNS)) {
        record(&often, &write(folder.path(), part));
    }
    let what = format!("{name}, {} calls in {RUNS} runs", trajectory.len());
    assert!(is_within(
        &what,
        bytes(&often, 0),
        PERCENT_MAX,
        bytes(&once, 0)
    ));
}

fn write(folder: &Path, lines: &[String]) -> PathBuf {
    let path = folder.join("part.jsonl");
    let mut file = std::fs::File::create(&path).unwrap();
    for line in lines {
        writeln!(file, "{line}").unwrap();
    }
    path
}

fn record(database: &Path, file: &Path) {
    let done = Command::new(env!("CARGO_BIN_EXE_auditlite"))
        .arg("--db")
        .arg(database)
        .arg("record")
        .arg(file)
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
}
