//! A campaign against the trail: whatever is changed in the files of a small store is reported by
//! verification, or is shown to be harmless because everything that can be read is as it was.
//!
//! `AUDITLITE_TAMPER_MUTATIONS=10000 cargo test --all-features --test tamper` for all of it; the seed is
//! printed, and `AUDITLITE_TAMPER_SEED` replays it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::cast_possible_wrap,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    unreachable_pub,
    missing_docs
)]

#[path = "support/forge.rs"]
mod forge;
#[path = "support/seeds.rs"]
mod seeds;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use auditlite::{
    BundleOptions, Completion, EraseSelector, Failure, ListOptions, Message, PayloadSide,
    ReadOnlyStore, RequestContext, RequestFilter, Retention, SigningKey, StatsFilter, Store,
    Timestamp, ToolCall, Usage, VerifyOptions,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rusqlite::types::Value;

const PATIENCE: Duration = Duration::from_secs(60);
const TABLES: &[&str] = &[
    "log_segments",
    "payloads",
    "checkpoints",
    "requests",
    "tool_calls",
    "usage_hourly",
    "usage_daily",
    "opened_minutes",
    "store_openings",
    "gaps",
    "removals",
    "payload_links",
    "payload_links_filled",
];

/// A trail with a write-ahead log, its anchors, and what can be read of it.
struct Clean {
    database: Vec<u8>,
    wal: Vec<u8>,
    anchor: Vec<u8>,
    options: VerifyOptions,
    contents: Vec<String>,
    /// The file after the first session, an older copy.
    old: Vec<u8>,
    /// The files of another store with the same key.
    other: (Vec<u8>, Vec<u8>),
}

/// Files to be damaged.
struct Copy {
    folder: tempfile::TempDir,
    anchor: tempfile::TempDir,
}

impl Copy {
    fn database(&self) -> PathBuf {
        self.folder.path().join("audit.db")
    }

    fn wal(&self) -> PathBuf {
        self.folder.path().join("audit.db-wal")
    }

    fn anchor(&self) -> PathBuf {
        self.anchor.path().join("anchors")
    }
}

fn record(store: &Store, session: u32) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = i64::try_from(now.as_micros()).unwrap();
    let ages_days = if session == 0 {
        [30, 10, 10, 0, 0, 0]
    } else {
        [0; 6]
    };
    let mut history = format!("system prompt of session {session}; ");
    for turn in 0..6_u32 {
        history.push_str(&format!("turn {turn}: please go on; ").repeat(10));
        let context = RequestContext::new(if turn == 1 { "" } else { "openai.chat" })
            .request_id(format!("s{session}-t{turn}"))
            .conversation_id("c")
            .user_id("someone")
            .provider_name("openai")
            .request_model("gpt-4o")
            .started_at(Timestamp::from_micros(
                now - i64::from(ages_days[turn as usize]) * 24 * 3_600_000_000,
            ))
            .messages(vec![Message::new("user", "hello")]);
        let body = if turn == 4 {
            history.repeat(100)
        } else {
            history.clone()
        };
        let mut audit = store.recorder().open(context, body).unwrap();
        if turn == 2 {
            audit.set_served_model("gpt-4o-2024");
            audit.fail(Failure::new("timeout")).unwrap();
        } else {
            audit
                .complete(
                    Completion::new()
                        .usage(Usage::new(100, 10))
                        .response_body(format!("the answer to turn {turn}"))
                        .tool_call(ToolCall::new("id", "weather", "{\"city\":\"Bern\"}")),
                )
                .unwrap();
        }
        if turn % 2 == 0 {
            store.flush(PATIENCE).unwrap();
        }
    }
}

fn builder(copy: &Copy, key: &SigningKey) -> auditlite::StoreBuilder {
    Store::builder(copy.database())
        .signing_key(key.clone())
        .anchor_file(copy.anchor())
        .payload_bytes_max(16 * 1024)
}

fn fresh() -> Copy {
    Copy {
        folder: tempfile::tempdir().unwrap(),
        anchor: tempfile::tempdir().unwrap(),
    }
}

/// Something of everything: a request pruned, content pruned, a request and a user erased.
fn remove(store: &Store) {
    let days = |count: u64| Duration::from_secs(count * 24 * 60 * 60);
    let retention = Retention::new()
        .content_older_than(days(5))
        .metadata_older_than(days(20));
    let report = store.prune(&retention).unwrap();
    assert_eq!(report.requests, 1, "{report:?}");
    assert!(report.payloads > 2, "{report:?}");
    let selector = EraseSelector::Request("s0-t3".to_owned());
    assert_eq!(store.erase(&selector, "why").unwrap().requests, 1);
}

/// Two sessions, the second one still in the write-ahead log and covered by an anchor.
fn made(key: &SigningKey, is_removed: bool) -> (Copy, Vec<u8>, Vec<u8>) {
    let copy = fresh();
    let store = builder(&copy, key).open().unwrap();
    record(&store, 0);
    store.flush(PATIENCE).unwrap();
    if is_removed {
        remove(&store);
    }
    assert!(store.close(PATIENCE).is_complete);
    let old = std::fs::read(copy.database()).unwrap();
    let (sender, updates) = mpsc::channel();
    let store = builder(&copy, key)
        .checkpoint_interval(Duration::from_secs(1))
        .on_checkpoint(move |notice| Ok(sender.send(notice.size)?))
        .open()
        .unwrap();
    // A reader that needs what was: the write-ahead log stays.
    let reader = rusqlite::Connection::open(copy.database()).unwrap();
    reader
        .execute_batch("BEGIN; SELECT * FROM requests")
        .unwrap();
    record(&store, 1);
    store.flush(PATIENCE).unwrap();
    // Events in all: those of the first session, this one's opening, and its requests'.
    let events: u64 = store.health().committed_events;
    let before: i64 = reader
        .query_row(
            "SELECT max(first_seq + count) FROM log_segments",
            [],
            |row| row.get(0),
        )
        .unwrap();
    let opened = u64::try_from(before).unwrap();
    loop {
        let size = updates.recv_timeout(PATIENCE).unwrap();
        if size >= opened + events - 1 {
            break;
        }
    }
    store.flush(PATIENCE).unwrap();
    let wal = std::fs::read(copy.wal()).unwrap();
    let kept = fresh();
    std::fs::copy(copy.database(), kept.database()).unwrap();
    std::fs::copy(copy.anchor(), kept.anchor()).unwrap();
    drop(reader);
    assert!(store.close(PATIENCE).is_complete);
    (kept, wal, old)
}

impl Clean {
    fn new(is_removed: bool) -> Self {
        let key = SigningKey::generate("test").unwrap();
        let (files, wal, old) = made(&key, is_removed);
        let (other, other_wal, _) = made(&key, is_removed);
        let read = |path: PathBuf| std::fs::read(path).unwrap();
        let mut clean = Self {
            database: read(files.database()),
            anchor: read(files.anchor()),
            wal,
            options: VerifyOptions::new().keys([key.verifying_key()]),
            contents: Vec::new(),
            old,
            other: (read(other.database()), other_wal),
        };
        assert!(
            clean.wal.len() > 32 * 1024,
            "{} bytes of WAL",
            clean.wal.len()
        );
        let copy = clean.copy();
        let verdict = clean.verify(&copy);
        assert_eq!(verdict, Ok(()), "the clean trail");
        clean.contents = contents(&copy.database()).unwrap();
        assert!(clean.contents.len() > 20);
        clean
    }

    fn copy(&self) -> Copy {
        let copy = fresh();
        std::fs::write(copy.database(), &self.database).unwrap();
        std::fs::write(copy.wal(), &self.wal).unwrap();
        std::fs::write(copy.anchor(), &self.anchor).unwrap();
        copy
    }

    /// `Err`: it was reported, and how.
    fn verify(&self, copy: &Copy) -> Result<(), String> {
        let options = self.options.clone().anchor(copy.anchor());
        let store = ReadOnlyStore::open(copy.database()).map_err(|error| error.to_string())?;
        let report = store.verify(&options).map_err(|error| error.to_string())?;
        match report.findings.first() {
            None => Ok(()),
            Some(finding) => Err(finding.kind.as_str().to_owned()),
        }
    }
}

/// Everything that can be read of a store, as text.
fn contents(path: &Path) -> Result<Vec<String>, String> {
    let store = ReadOnlyStore::open(path).map_err(|error| error.to_string())?;
    let reader = store.reader();
    let mut contents = Vec::new();
    let page = reader
        .list(&RequestFilter::default(), &ListOptions::new().limit(1000))
        .map_err(|error| error.to_string())?;
    for request in &page.requests {
        contents.push(format!("{request:?}"));
        for side in [PayloadSide::Request, PayloadSide::Response] {
            contents.push(match reader.payload(request, side) {
                Ok(payload) => format!("{side:?} {payload:?} {:?}", payload.bytes),
                Err(error) => format!("{side:?} {error}"),
            });
        }
        contents.push(format!(
            "{:?}",
            reader.messages(request).map_err(|error| error.to_string())
        ));
        let calls = reader.tool_calls(request);
        contents.push(format!("{:?}", calls.map_err(|error| error.to_string())));
        let found = reader.get(&request.request_id);
        contents.push(format!("{:?}", found.map_err(|error| error.to_string())));
    }
    let stats = reader.stats(&StatsFilter::default());
    contents.push(format!("{:?}", stats.map_err(|error| error.to_string())));
    let mut bundle = Vec::new();
    store
        .write_bundle(&BundleOptions::default(), &mut bundle)
        .map_err(|error| error.to_string())?;
    contents.push(String::from_utf8_lossy(&bundle).into_owned());
    Ok(contents)
}

/// One change of the files; says which.
fn damage(clean: &Clean, copy: &Copy, random: &mut StdRng) -> String {
    let flip = |bytes: &[u8], random: &mut StdRng| {
        let (at, bit) = (
            random.random_range(0..bytes.len()),
            random.random_range(0..8),
        );
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 1_u8 << bit;
        (bytes, format!("bit {bit} of byte {at} flipped"))
    };
    match random.random_range(0..20) {
        0..=4 => {
            let (bytes, what) = flip(&clean.database, random);
            std::fs::write(copy.database(), bytes).unwrap();
            format!("database: {what}")
        }
        5..=8 => {
            let (bytes, what) = flip(&clean.wal, random);
            std::fs::write(copy.wal(), bytes).unwrap();
            format!("write-ahead log: {what}")
        }
        9 => {
            let length = random.random_range(0..clean.wal.len());
            std::fs::write(copy.wal(), &clean.wal[..length]).unwrap();
            format!("write-ahead log cut to {length} bytes")
        }
        10 => match random.random_range(0..4) {
            0 => {
                std::fs::remove_file(copy.wal()).unwrap();
                "write-ahead log deleted".to_owned()
            }
            1 => {
                std::fs::remove_file(copy.wal()).unwrap();
                std::fs::write(copy.database(), &clean.old).unwrap();
                "an older copy put back".to_owned()
            }
            2 => {
                std::fs::write(copy.database(), &clean.other.0).unwrap();
                std::fs::write(copy.wal(), &clean.other.1).unwrap();
                "another log put in its place".to_owned()
            }
            _ => {
                let length = random.random_range(0..clean.database.len());
                std::fs::write(copy.database(), &clean.database[..length]).unwrap();
                format!("database cut to {length} bytes")
            }
        },
        11 => {
            let (bytes, what) = flip(&clean.anchor, random);
            std::fs::write(copy.anchor(), bytes).unwrap();
            format!("anchors: {what}")
        }
        12..=13 => {
            let connection = rusqlite::Connection::open(copy.database()).unwrap();
            forge::forge(&connection, random)
        }
        _ => edit(copy, random),
    }
}

/// One change through SQL.
fn edit(copy: &Copy, random: &mut StdRng) -> String {
    let connection = rusqlite::Connection::open(copy.database()).unwrap();
    let count = |table: &str| -> i64 {
        connection
            .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| {
                row.get(0)
            })
            .unwrap()
    };
    let filled: Vec<&str> = TABLES
        .iter()
        .copied()
        .filter(|table| count(table) > 0)
        .collect();
    let table = filled[random.random_range(0..filled.len())];
    let columns: Vec<String> = connection
        .prepare(&format!("SELECT * FROM {table}"))
        .unwrap()
        .column_names()
        .into_iter()
        .map(str::to_owned)
        .collect();
    let column = &columns[random.random_range(0..columns.len())];
    let place = random.random_range(0..count(table));
    let key = match table {
        "usage_hourly" => "(hour, provider_name, model, user_id)",
        "usage_daily" => "(day, provider_name, model)",
        "tool_calls" => "(ended_seq, position)",
        "removals" => "(kind, first_seq, seq)",
        "payload_links" => "(base_id, payload_id)",
        _ => "rowid",
    };
    let of = |place: i64| {
        let keys = key.trim_matches(['(', ')']);
        format!("{key} = (SELECT {keys} FROM {table} LIMIT 1 OFFSET {place})")
    };
    let sql = match random.random_range(0..6) {
        0 => format!("DELETE FROM {table} WHERE {}", of(place)),
        1 => {
            let other = random.random_range(0..count(table));
            format!(
                "UPDATE {table} SET {column} = (SELECT {column} FROM {table} LIMIT 1 OFFSET {other}) WHERE {}",
                of(place)
            )
        }
        2 => {
            // The row once more, under another key.
            let first = &columns[0];
            let rest = columns[1..].join(", ");
            format!(
                "INSERT INTO {table} SELECT {first} + 1000, {rest} FROM {table} LIMIT 1 OFFSET {place}"
            )
        }
        _ => {
            let value: Value = connection
                .query_row(
                    &format!("SELECT {column} FROM {table} WHERE {}", of(place)),
                    [],
                    |row| row.get(0),
                )
                .unwrap();
            let new = match value {
                Value::Integer(number) => format!("{}", number + random.random_range(-2..=2)),
                Value::Text(_) => format!("{column} || 'x'"),
                Value::Blob(_) => format!("CAST({column} || x'00' AS BLOB)"),
                Value::Real(_) => format!("{column} + 1.0"),
                Value::Null => "1".to_owned(),
            };
            format!("UPDATE {table} SET {column} = {new} WHERE {}", of(place))
        }
    };
    // What the file's own constraints refuse changes nothing.
    let outcome = connection.execute(&sql, []);
    format!("{sql} ({outcome:?})")
}

#[test]
fn every_change_is_reported_or_harmless() {
    let seed = seeds::seed("AUDITLITE_TAMPER_SEED");
    let mutations = seeds::number("AUDITLITE_TAMPER_MUTATIONS", 150);
    let mut random = StdRng::seed_from_u64(seed);
    let trails = [Clean::new(false), Clean::new(true)];
    let (mut reported, mut harmless) = (BTreeMap::<String, u64>::new(), 0_u64);
    let mut missed = Vec::new();
    for number in 0..mutations {
        // Most of them where something was removed.
        let clean = &trails[usize::from(number % 3 > 0)];
        let copy = clean.copy();
        let what = damage(clean, &copy, &mut random);
        match clean.verify(&copy) {
            Err(kind) => {
                // Errors name the path, which differs each time.
                let kind = kind.split("audit.db").last().unwrap_or_default().to_owned();
                *reported.entry(kind).or_default() += 1;
            }
            Ok(()) => match contents(&copy.database()) {
                Ok(contents) if contents == clean.contents => harmless += 1,
                Ok(contents) => {
                    let pairs = contents.iter().zip(&clean.contents);
                    let changed: Vec<_> = pairs.filter(|(now, then)| now != then).take(2).collect();
                    missed.push(format!("{number}: {what}: {changed:?}"));
                }
                Err(error) => missed.push(format!("{number}: {what}: {error}")),
            },
        }
    }
    eprintln!("{harmless} harmless, reported: {reported:#?}");
    assert!(missed.is_empty(), "not reported:\n{}", missed.join("\n"));
    assert!(harmless < mutations / 2, "most changes should matter");
}
