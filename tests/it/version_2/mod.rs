//! A file of format version 2 that an earlier build wrote goes on opening: read, verified, exported and written to.
//!
//! `tests/fixtures/version_2.db.zst` has one of everything that the format knows. `version_2.json` beside it says
//! what was recorded, `version_2.anchor` is its anchor file, `version_2.key` the secret key of its checkpoints, which
//! guards nothing else. [`made`] wrote them. They are never written again: a change that this test does not survive
//! is a new version of the format.

mod made;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use auditlite::{
    BundleOptions, ExportContent, ExportOptions, ListOptions, PayloadSide, ReadError,
    ReadOnlyStore, Reader, RequestFilter, RequestRecord, SearchOptions, SigningKey, Status, Store,
    StoreBuilder, VerifyOptions,
};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{Folder, PATIENCE, close, record};

/// Words that are searched, and found in what is kept only.
const SEARCHED: [&str; 4] = ["turn", "weather", "deferred", "erased"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

fn key() -> SigningKey {
    let text = fs::read_to_string(fixture("version_2.key")).unwrap();
    SigningKey::from_secret_text(text.trim()).unwrap()
}

/// A copy of the fixture, to be opened.
fn unpacked() -> Folder {
    let folder = Folder::new();
    let packed = fs::read(fixture("version_2.db.zst")).unwrap();
    fs::write(folder.path(), zstd::decode_all(&*packed).unwrap()).unwrap();
    fs::copy(fixture("version_2.anchor"), anchor(&folder)).unwrap();
    folder
}

/// Not beside the database: a store refuses that.
fn anchor(folder: &Folder) -> PathBuf {
    let elsewhere = folder.join("elsewhere");
    fs::create_dir_all(&elsewhere).unwrap();
    elsewhere.join("anchor")
}

fn expected() -> Value {
    serde_json::from_slice(&fs::read(fixture("version_2.json")).unwrap()).unwrap()
}

fn builder(folder: &Folder) -> StoreBuilder {
    folder
        .builder()
        .signing_key(key())
        .anchor_file(anchor(folder))
}

/// What verification finds, with the key, the anchor, all bodies and the search index.
fn findings(folder: &Folder) -> Vec<String> {
    let options = VerifyOptions::new()
        .anchor(anchor(folder))
        .keys([key().verifying_key()])
        .compare_search(true);
    let store = ReadOnlyStore::open(folder.path()).unwrap();
    let report = store.verify(&options).unwrap();
    let doctor = store.doctor().unwrap().findings;
    let found = report.findings.into_iter().map(|finding| finding.what);
    found.chain(doctor).collect()
}

/// All that a file says, through the public interface.
fn contents(folder: &Folder) -> Value {
    let store = ReadOnlyStore::open(folder.path()).unwrap();
    let reader = store.reader();
    let options = ExportOptions::new().content(ExportContent::Full);
    let mut exported = Vec::new();
    reader.export(&options, &mut exported).unwrap();
    let mut requests = Map::new();
    for line in exported.split(|byte| *byte == b'\n') {
        let Ok(line) = serde_json::from_slice::<Value>(line) else {
            continue;
        };
        let seq = line["opened_seq"].to_string();
        let request = reader.get(&format!("#{seq}")).unwrap();
        requests.insert(seq, described(&reader, &request, line));
    }
    let listed = ListOptions::new().limit(10_000);
    let page = reader.list(&RequestFilter::default(), &listed).unwrap();
    assert_eq!(page.requests.len(), requests.len());
    let searched = SEARCHED.map(|word| {
        let found = reader.search(word, &SearchOptions::default()).unwrap();
        let hits = found.hits.iter().map(|hit| {
            let said_by = hit.request.request_id.clone();
            json!([said_by, hit.is_reply, hit.position])
        });
        let mut hits: Vec<Value> = hits.collect();
        hits.sort_by_key(Value::to_string);
        (word.to_owned(), Value::from(hits))
    });
    let options = VerifyOptions::new().keys([key().verifying_key()]);
    let report = store.verify(&options).unwrap();
    json!({
        "origin": report.origin,
        "events": report.events,
        "root": report.root.map(|root| root.to_string()),
        "checkpoints": report.checkpoints,
        "signed_checkpoints": report.signed_checkpoints,
        "payloads": report.payloads,
        "body_bytes": report.body_bytes,
        "kinds": kinds(&store),
        "searched": Map::from_iter(searched),
        "requests": requests,
    })
}

/// Long texts by length and digest, so that what is expected can be read.
fn shortened(value: Value) -> Value {
    match value {
        Value::String(text) if text.len() > 300 => {
            let digest = hex(&Sha256::digest(&text));
            json!(format!("{} bytes, sha256 {digest}", text.len()))
        }
        Value::Array(values) => values.into_iter().map(shortened).collect(),
        Value::Object(fields) => {
            let fields = fields.into_iter();
            Value::Object(
                fields
                    .map(|(name, value)| (name, shortened(value)))
                    .collect(),
            )
        }
        other => other,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn described(reader: &Reader, request: &RequestRecord, line: Value) -> Value {
    let said = reader.transcript(request).unwrap();
    let messages = |messages: Vec<auditlite::CanonicalMessage>| -> Vec<Value> {
        let message =
            |message: auditlite::CanonicalMessage| json!([message.role, message.flattened()]);
        messages.into_iter().map(message).collect()
    };
    let why = |side| match reader.payload(request, side) {
        Err(ReadError::NotKept { reason, .. }) => Some(reason),
        Err(ReadError::NoBody { .. }) => Some("there is none"),
        Err(error) => panic!("{}: {error}", request.request_id),
        Ok(_) => None,
    };
    let upstream = reader.upstream_body(request).unwrap();
    let so_far = reader.response_so_far(request).unwrap();
    shortened(json!({
        "line": line,
        "messages": messages(said.messages),
        "replies": messages(said.replies),
        "not_kept": [why(PayloadSide::Request), why(PayloadSide::Response)],
        "upstream": upstream.and_then(|info| info.sha256).map(|digest| digest.to_string()),
        "so_far": so_far.map(|payload| String::from_utf8(payload.bytes).unwrap()),
    }))
}

/// How many events of each kind the log has, and how many lines were removed.
fn kinds(store: &ReadOnlyStore) -> BTreeMap<String, u64> {
    let mut bundle = Vec::new();
    store
        .write_bundle(&BundleOptions::new(), &mut bundle)
        .unwrap();
    let mut kinds = BTreeMap::new();
    for line in String::from_utf8(bundle).unwrap().lines() {
        let name = match serde_json::from_str::<Value>(line) {
            Ok(event) if line.starts_with('{') => event["event"].as_str().unwrap().to_owned(),
            _ if line.starts_with('@') => "(removed)".to_owned(),
            _ => continue,
        };
        *kinds.entry(name).or_insert(0) += 1;
    }
    kinds
}

/// Whether all that was expected was found. Later builds may say more.
fn compare(expected: &Value, found: &Value, path: &str) {
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            for (name, value) in expected {
                let path = format!("{path}.{name}");
                let found = found.get(name);
                compare(
                    value,
                    found.unwrap_or_else(|| panic!("{path} is gone")),
                    &path,
                );
            }
        }
        (Value::Array(expected), Value::Array(found)) => {
            assert_eq!(expected.len(), found.len(), "{path}: {found:?}");
            for (place, (expected, found)) in expected.iter().zip(found).enumerate() {
                compare(expected, found, &format!("{path}[{place}]"));
            }
        }
        _ => assert_eq!(expected, found, "{path}"),
    }
}

#[test]
fn it_reads_and_verifies_as_it_was_recorded() {
    let folder = unpacked();
    let before = fs::read(folder.path()).unwrap();
    assert_eq!(findings(&folder), Vec::<String>::new());
    compare(&expected(), &contents(&folder), "");
    assert!(
        fs::read(folder.path()).unwrap() == before,
        "reading changes nothing"
    );
}

#[test]
fn it_is_written_to_and_stays_what_it_was() {
    let folder = unpacked();
    let store = builder(&folder).search_index(true).open().unwrap();
    record(&store, "after", "a later question", "a later answer");
    store.flush(PATIENCE).unwrap();
    close(store);
    assert_eq!(findings(&folder), Vec::<String>::new());
    let found = contents(&folder);
    let mut expected = expected();
    let events = expected["events"].as_u64().unwrap();
    assert!(found["events"].as_u64().unwrap() > events);
    assert_eq!(found["origin"], expected["origin"]);
    // What was open was interrupted, with what had come of its response.
    let requests = expected["requests"].as_object_mut().unwrap();
    let (mut open, mut pieces) = (0, 0);
    requests.retain(|seq, request| {
        let is_open = request["line"]["status"] == "pending";
        if is_open {
            open += 1;
            let line = &found["requests"][seq]["line"];
            assert_eq!(line["status"], "interrupted", "{seq}");
            if !request["so_far"].is_null() {
                assert_eq!(line["response"]["text"], request["so_far"], "{seq}");
                pieces += 1;
            }
        }
        !is_open
    });
    assert_eq!((open, pieces), (2, 1));
    compare(&expected["requests"], &found["requests"], "requests");
}

#[test]
fn its_tables_are_those_that_its_log_gives() {
    let folder = unpacked();
    auditlite::rebuild(folder.path()).unwrap();
    assert_eq!(findings(&folder), Vec::<String>::new());
    compare(&expected(), &contents(&folder), "");
}

#[test]
fn it_has_one_of_everything() {
    let expected = expected();
    let kinds = expected["kinds"].as_object().unwrap();
    for kind in [
        "store_opened",
        "store_closed",
        "opened",
        "served",
        "completed",
        "failed",
        "rejected",
        "abandoned",
        "interrupted",
        "gap",
        "erased",
        "pruned",
        "(removed)",
    ] {
        assert!(kinds.contains_key(kind), "{kind}");
    }
    for word in ["turn", "weather", "deferred"] {
        assert_ne!(expected["searched"][word], json!([]), "{word}");
    }
    assert_eq!(expected["searched"]["erased"], json!([]));
    let requests = expected["requests"].as_object().unwrap();
    for status in Status::ALL {
        let is_there = |request: &Value| request["line"]["status"] == status.to_string();
        assert!(requests.values().any(is_there), "{status}");
    }
    let folder = unpacked();
    let connection = crate::support::sqlite(&folder);
    let distinct = |sql: &str| -> Vec<i64> {
        let mut statement = connection.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    assert_eq!(
        distinct("SELECT DISTINCT encoding FROM payloads ORDER BY 1"),
        [0, 1, 2]
    );
    assert_eq!(
        distinct("SELECT DISTINCT payload_id % 4 FROM payloads ORDER BY 1"),
        [0, 1, 2, 3]
    );
    assert_eq!(
        distinct("SELECT DISTINCT encoding FROM log_segments ORDER BY 1"),
        [0, 1, 3]
    );
    assert!(!distinct("SELECT piece_id FROM response_pieces").is_empty());
    assert_eq!(distinct("PRAGMA user_version"), [2]);
    let packed = fs::metadata(fixture("version_2.db.zst")).unwrap().len();
    assert!(packed < 64 * 1024, "{packed} bytes");
}
