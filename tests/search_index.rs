//! The search index after removals, and damaged: erased words are not in the file any more, and no state of the index
//! stops any other operation.
//!
//! `AUDITLITE_ERASED_WORDS=30000 AUDITLITE_INDEX_BUILDS=60 cargo test --all-features --test search_index`
//! for more words and builds; the seed is printed, and `AUDITLITE_SEARCH_INDEX_SEED` replays it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    missing_docs,
    unreachable_pub
)]

#[path = "search_index/changed.rs"]
mod changed;
#[path = "search_index/languages.rs"]
mod languages;
#[path = "support/random.rs"]
mod random;
#[path = "support/seeds.rs"]
mod seeds;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::time::Duration;

use auditlite::{
    Alarm, Completion, Durability, EraseSelector, HealthState, ReadOnlyStore, Recorder,
    RequestContext, Retention, SearchOptions, Store, Timestamp, VerifyOptions, update_search_index,
};
use random::Random;

const PATIENCE: Duration = Duration::from_secs(60);
/// What all account numbers begin with; eight digits follow.
const COMMON: &str = "konto47110815";
const DIGITS: usize = 8;

fn say(recorder: &Recorder, user: &str, conversation: &str, id: &str, text: &str) {
    let body = serde_json::json!({"model": "m", "messages": [{"role": "user", "content": text}]});
    let context = RequestContext::new("openai.chat")
        .request_id(id)
        .started_at(Timestamp::from_micros(1_700_000_000_000_000))
        .user_id(user)
        .conversation_id(conversation);
    let handle = recorder.open(context, body.to_string()).unwrap();
    let reply = r#"{"choices":[{"message":{"role":"assistant","content":"noted"}}]}"#;
    let end = Completion::new().response_body(reply);
    handle.complete(end).unwrap();
}

/// Power loss is not what is tested here.
fn open(path: &Path) -> Store {
    let builder = Store::builder(path).durability(Durability::Buffered);
    builder.open().unwrap()
}

fn close(store: Store) {
    assert!(store.close(PATIENCE).is_complete);
}

/// All files of the store, one after the other.
fn raw(path: &Path) -> Vec<Vec<u8>> {
    let files = std::fs::read_dir(path.parent().unwrap()).unwrap();
    files
        .map(|file| std::fs::read(file.unwrap().path()).unwrap())
        .collect()
}

/// Account numbers in the bytes, and beginnings of such, that no living one begins with.
fn left(files: &[Vec<u8>], living: &BTreeSet<String>) -> BTreeSet<String> {
    let mut left = BTreeSet::new();
    for bytes in files {
        let places = bytes.windows(COMMON.len()).enumerate();
        for (place, _) in places.filter(|(_, window)| *window == COMMON.as_bytes()) {
            let digits = bytes[place + COMMON.len()..].iter().take(DIGITS);
            let digits: String = digits
                .take_while(|byte| byte.is_ascii_digit())
                .map(|byte| char::from(*byte))
                .collect();
            let word = format!("{COMMON}{digits}");
            let is_of_living = living
                .range(word.clone()..)
                .next()
                .is_some_and(|next| next.starts_with(&word));
            if !is_of_living {
                left.insert(word);
            }
        }
    }
    left
}

/// Words with a common beginning are keys of the index's pages, in full.
#[test]
fn no_erased_word_is_left_in_the_file() {
    let words = seeds::number("AUDITLITE_ERASED_WORDS", 10_000);
    let builds = seeds::number("AUDITLITE_INDEX_BUILDS", 10).max(1);
    let mut random = Random(seeds::seed("AUDITLITE_SEARCH_INDEX_SEED"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let mut living: HashMap<String, Vec<String>> = HashMap::new();
    let (mut erased, mut seen_on_pages) = (0, 0);
    let mut number = 0;
    for build in 0..builds {
        let store = open(&path);
        let recorder = store.recorder();
        // Few users with many words, and many with few.
        let users = 1 + random.below(12);
        // Every fourth build fills many pages of the index.
        let share = if build % 4 == 0 {
            builds.div_ceil(4) * 4 / 3
        } else {
            builds * 4
        };
        let each = words / share.max(1) / users;
        let mut texts = vec![Vec::new(); users as usize];
        for _ in 0..each * users {
            number += 1 + random.below(3);
            let word = format!("{COMMON}{number:08}");
            texts[random.below(users) as usize].push(word);
        }
        for (user, text) in texts.into_iter().enumerate() {
            let user = format!("u-{build}-{user}");
            say(&recorder, &user, &user, &user, &text.join(" "));
            living.insert(user, text);
        }
        close(store);
        assert!(update_search_index(&path, |_| true).unwrap().is_none());
        let all: BTreeSet<String> = living.values().flatten().cloned().collect();
        seen_on_pages += left(&raw(&path), &BTreeSet::new()).len();
        assert_eq!(left(&raw(&path), &all), BTreeSet::new(), "build {build}");
        let store = open(&path);
        let mut users: Vec<String> = living.keys().cloned().collect();
        users.sort();
        for user in users {
            if random.coin() {
                continue;
            }
            erased += living.remove(&user).unwrap().len();
            let report = store
                .erase(&EraseSelector::User(user), "asked for")
                .unwrap();
            assert!(report.is_fully_erased && report.requests == 1, "{report:?}");
        }
        assert_eq!(store.health().search_index_drops, 0);
        close(store);
        let all: BTreeSet<String> = living.values().flatten().cloned().collect();
        assert_eq!(left(&raw(&path), &all), BTreeSet::new(), "build {build}");
        // What stays is found, by every one of its words.
        let reader = ReadOnlyStore::open(&path).unwrap().reader();
        for word in all.iter().step_by(1 + all.len() / 40) {
            let found = reader.search(word, &SearchOptions::default()).unwrap();
            assert_eq!(found.hits.len(), 1, "{word}");
        }
    }
    eprintln!("{erased} words erased after {builds} builds; {seen_on_pages} seen in bytes before");
    assert!(seen_on_pages > 0, "the test would not see any");
    let report = ReadOnlyStore::open(&path).unwrap();
    let report = report.verify(&compared()).unwrap();
    assert_eq!(report.findings, []);
}

/// Also compares the index with the bodies.
fn compared() -> VerifyOptions {
    VerifyOptions::new().compare_search(true)
}

/// What is done to a table of the index, or to the one of links.
const DAMAGE: &[&str] = &[
    "UPDATE search_messages SET text = x'00' WHERE request_seq = (SELECT min(request_seq) FROM search_messages)",
    "UPDATE search_messages SET text = x''",
    "UPDATE search_messages SET text = (SELECT text FROM search_messages LIMIT 1)",
    "UPDATE search_messages SET request_seq = 0",
    "UPDATE search_messages SET request_seq = -1",
    "UPDATE search_messages SET request_seq = 1000000",
    "UPDATE search_messages SET request_seq = (SELECT max(request_seq) FROM search_messages)",
    "UPDATE search_messages SET is_reply = 7",
    "UPDATE search_messages SET position = -1",
    "UPDATE search_messages SET role = 'nobody'",
    "UPDATE search_messages SET message_key = randomblob(16)",
    "UPDATE search_messages SET message_key = CAST(message_id AS BLOB)",
    "UPDATE search_messages SET message_id = message_id + 1000",
    "DELETE FROM search_messages",
    "DELETE FROM search_messages WHERE request_seq = (SELECT min(request_seq) FROM search_messages)",
    "INSERT INTO search_messages SELECT message_id + 500, request_seq, is_reply, position + 50, role, \
     randomblob(16), text FROM search_messages",
    "INSERT INTO search_pending VALUES (1000000, 1)",
    "INSERT INTO search_pending VALUES (-4, 0)",
    "INSERT OR IGNORE INTO search_pending SELECT opened_seq, 9 FROM requests",
    "UPDATE search_state SET next_seq = 1000000",
    "UPDATE search_state SET next_seq = -1",
    "UPDATE search_state SET next_seq = 0",
    "UPDATE search_state SET is_dropped = -3",
    "UPDATE search_state SET damaged_at = -3",
    "DELETE FROM search_state",
    "DELETE FROM search_index_data",
    "DELETE FROM search_index_data WHERE id = 1",
    "DELETE FROM search_index_data WHERE id = 10",
    "DELETE FROM search_index_data WHERE id > 10",
    "UPDATE search_index_data SET block = x'' WHERE id = 1",
    "UPDATE search_index_data SET block = x'' WHERE id = 10",
    "UPDATE search_index_data SET block = x'' WHERE id > 10",
    "UPDATE search_index_data SET block = NULL WHERE id > 10",
    "UPDATE search_index_data SET block = NULL WHERE id = 10",
    "UPDATE search_index_data SET block = 'words' WHERE id > 10",
    "UPDATE search_index_data SET block = 4711 WHERE id = 10",
    "UPDATE search_index_data SET block = zeroblob(40) WHERE id > 10",
    "UPDATE search_index_data SET block = randomblob(4000) WHERE id > 10",
    "UPDATE search_index_data SET block = randomblob(400) WHERE id = 10",
    "UPDATE search_index_data SET block = randomblob(40) WHERE id = 1",
    "UPDATE search_index_data SET id = id + 1000 WHERE id > 10",
    "DELETE FROM search_index_idx",
    "UPDATE search_index_idx SET pgno = 12345",
    "UPDATE search_index_idx SET pgno = 'page'",
    "UPDATE search_index_idx SET segid = segid + 40",
    "UPDATE OR REPLACE search_index_idx SET term = 'word'",
    "UPDATE OR REPLACE search_index_idx SET term = 17",
    "DELETE FROM search_index_docsize",
    "UPDATE search_index_docsize SET sz = NULL",
    "UPDATE search_index_docsize SET sz = x'ffff'",
    "UPDATE search_index_docsize SET sz = 'long'",
    "UPDATE search_index_docsize SET id = id + 1000",
    "DELETE FROM search_index_config",
    "UPDATE search_index_config SET v = 99 WHERE k = 'version'",
    "UPDATE search_index_config SET v = 'none' WHERE k = 'version'",
    "UPDATE search_index_config SET v = NULL",
    "UPDATE search_index_config SET v = 0 WHERE k = 'secure-delete'",
    "DELETE FROM search_index_config WHERE k = 'secure-delete'",
    "INSERT INTO search_index_config VALUES ('pgsz', 64)",
    "INSERT INTO search_index_config VALUES ('rank', 'nothing()')",
    "DELETE FROM payload_links",
    "INSERT OR IGNORE INTO payload_links SELECT payload_id, payload_id + 4 FROM payloads",
    "INSERT OR IGNORE INTO payload_links VALUES (-1, 4), (1000000, -7), (4, 1000000)",
    "DELETE FROM payload_links_filled",
    "INSERT INTO payload_links_filled VALUES (1000000)",
    "INSERT INTO payload_links_filled VALUES (-9)",
];

/// A store with an index, in which one user is to be erased, and what it says to a search.
fn trail(path: &Path) {
    for round in 0..2 {
        let store = open(path);
        let recorder = store.recorder();
        for number in 0..20 {
            let id = format!("r-{round}-{number}");
            let user = format!("u-{}", number % 4);
            let more: Vec<_> = (0..40)
                .map(|word| format!("w{word}x{number}x{round}"))
                .collect();
            // Enough words for several pages of the index.
            let more = more.join(" ");
            let text = format!("secret{user}x{id} quokka of {user} with xylophone{number} {more}");
            say(&recorder, &user, &format!("talk-{user}"), &id, &text);
        }
        close(store);
        assert!(update_search_index(path, |_| true).unwrap().is_none());
    }
    // One removal has been, so that the links are filled.
    let store = open(path);
    let report = store.erase(&EraseSelector::User("u-3".to_owned()), "why");
    assert!(report.unwrap().is_fully_erased);
    close(store);
    assert!(update_search_index(path, |_| true).unwrap().is_none());
}

fn found(path: &Path) -> Vec<String> {
    let store = ReadOnlyStore::open(path).unwrap();
    let mut found = Vec::new();
    for word in ["quokka", "noted", "xylophone*", "secretu*"] {
        let mut options = SearchOptions::default();
        options.limit = 200;
        let result = store.reader().search(word, &options).unwrap();
        assert!(
            result.lag.is_none() && !result.lag.is_damaged,
            "{:?}",
            result.lag
        );
        let hits = result.hits.iter();
        found.extend(hits.map(|hit| {
            format!(
                "{word} {} {} {} {}",
                hit.request.request_id, hit.role, hit.is_reply, hit.position
            )
        }));
    }
    found.sort();
    found
}

/// What goes wrong after this was done to the file; empty where all is as it should be.
fn consequences(clean: &Path, damage: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    std::fs::copy(clean, &path).unwrap();
    let plain = rusqlite::Connection::open(&path).unwrap();
    plain.execute_batch("PRAGMA secure_delete = ON").unwrap();
    let is_any = !DAMAGE.contains(&damage);
    let done = plain.execute_batch(damage);
    drop(plain);
    match done {
        // STRICT tables refuse some of it.
        Err(_) if is_any => return Vec::new(),
        done => done.unwrap(),
    }
    let mut wrong = Vec::new();
    let store = ReadOnlyStore::open(&path).unwrap();
    let is_links = damage.contains("payload_links");
    match store.verify(&compared()) {
        Ok(report) => {
            if report.findings.is_empty() && !is_links && !is_any {
                wrong.push("verify finds nothing".to_owned());
            }
            for finding in report.findings {
                if finding.kind.as_str() != "search_index" && !is_links {
                    wrong.push(format!("verify: {finding:?}"));
                }
            }
        }
        Err(error) => wrong.push(format!("verify: {error}")),
    }
    match store.doctor() {
        // What only the bodies tell it does not look for, and says so.
        Ok(report) => {
            let says_so = |what: &String| what.contains("--search");
            if report.findings.is_empty()
                && !report.not_checked.iter().any(says_so)
                && !is_links
                && !is_any
            {
                wrong.push("doctor finds nothing".to_owned());
            }
        }
        Err(error) => wrong.push(format!("doctor: {error}")),
    }
    let _ = store.reader().search("quokka", &SearchOptions::default());
    drop(store);
    let store = open(&path);
    match store.erase(&EraseSelector::User("u-1".to_owned()), "why") {
        Ok(report) if report.is_fully_erased && report.requests == 10 => {}
        other => wrong.push(format!("erase: {other:?}")),
    }
    let health = store.health();
    let is_met =
        health.search_index_drops > 0 || health.alarms.contains(&Alarm::SearchIndexDamaged);
    for file in raw(&path) {
        let holds = |word: &[u8]| file.windows(word.len()).any(|window| window == word);
        if holds(b"secretu-1") || holds(b"secretu1") {
            wrong.push("what was erased is still there".to_owned());
        }
    }
    let retention = Retention::new().size_bytes_max(1);
    if let Err(error) = store.prune(&retention) {
        wrong.push(format!("prune: {error}"));
    }
    say(&store.recorder(), "u-9", "talk-9", "last", "quokka again");
    if store.flush(PATIENCE).is_err() || store.health().state != HealthState::Healthy {
        wrong.push(format!("afterwards: {:?}", store.health()));
    }
    close(store);
    eprintln!("{is_met:5} {damage}");
    auditlite::rebuild(&path).unwrap();
    update_search_index(&path, |_| true).unwrap();
    let hits = found(&path);
    if hits != ["noted last assistant true 0", "quokka last user false 0"] {
        wrong.push(format!("found afterwards: {hits:?}"));
    }
    let store = ReadOnlyStore::open(&path).unwrap();
    let findings = store.verify(&compared()).unwrap().findings;
    if !findings.is_empty() {
        wrong.push(format!("verify afterwards: {findings:?}"));
    }
    let findings = store.doctor().unwrap().findings;
    if !findings.is_empty() {
        wrong.push(format!("doctor afterwards: {findings:?}"));
    }
    wrong
}

/// One cell of one row as something else, or the row gone.
fn any_damage(random: &mut Random) -> String {
    let (table, columns) = [
        (
            "search_messages",
            "message_id request_seq is_reply position role message_key text",
        ),
        ("search_pending", "opened_seq state"),
        ("search_state", "next_seq is_dropped damaged_at"),
        ("search_index_data", "id block block block"),
        ("search_index_idx", "segid term pgno"),
        ("search_index_docsize", "id sz"),
        ("search_index_config", "k v"),
    ][random.below(7) as usize];
    let columns: Vec<&str> = columns.split(' ').collect();
    let column = columns[random.below(columns.len() as u64) as usize];
    let value = match random.below(7) {
        0 => "NULL".to_owned(),
        1 => "-1".to_owned(),
        2 => "9223372036854775807".to_owned(),
        3 => "'text'".to_owned(),
        4 => "x''".to_owned(),
        5 => format!("substr({column}, 2)"),
        // One byte of it is another one.
        _ => format!(
            "CAST(substr({column}, 1, 9) || x'{:02x}' || substr({column}, 11) AS BLOB)",
            random.below(256)
        ),
    };
    let row = format!(
        "(SELECT 1 + abs({}) % count(*) FROM {table})",
        random.next() >> 1
    );
    let numbered = format!("(SELECT *, row_number() OVER () AS number FROM {table})");
    let keys = match table {
        "search_index_idx" => "segid, term",
        "search_index_config" => "k",
        _ => "rowid",
    };
    let of_row = match keys {
        "rowid" => format!("rowid = (SELECT rowid FROM {table} LIMIT 1 OFFSET {row} - 1)"),
        keys => format!("({keys}) IN (SELECT {keys} FROM {numbered} WHERE number = {row})"),
    };
    match random.below(6) {
        0 => format!("DELETE FROM {table} WHERE {of_row}"),
        _ => format!("UPDATE OR REPLACE {table} SET {column} = {value} WHERE {of_row}"),
    }
}

#[test]
fn no_damage_of_the_index_keeps_anything_else_from_being_done() {
    let folder = tempfile::tempdir().unwrap();
    let clean = folder.path().join("clean.db");
    trail(&clean);
    let mut random = Random(seeds::seed("AUDITLITE_SEARCH_INDEX_SEED"));
    let some = (0..seeds::number("AUDITLITE_INDEX_DAMAGES", 8)).map(|_| any_damage(&mut random));
    let damages = DAMAGE.iter().map(|damage| (*damage).to_owned());
    let damages: Vec<String> = damages.chain(some).collect();
    let half = |begin: usize| {
        let mut wrong = Vec::new();
        for damage in damages.iter().skip(begin).step_by(2) {
            let found = std::panic::catch_unwind(|| consequences(&clean, damage));
            let found = found.unwrap_or_else(|_| vec!["panic".to_owned()]);
            wrong.extend(
                found
                    .into_iter()
                    .map(|what| format!("{damage}\n      {what}")),
            );
        }
        wrong
    };
    let wrong = std::thread::scope(|scope| {
        let other = scope.spawn(|| half(1));
        let mut wrong = half(0);
        wrong.extend(other.join().unwrap());
        wrong
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
