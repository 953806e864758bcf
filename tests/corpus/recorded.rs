//! Every recorded body through `auditlite record`, and back byte for byte.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use auditlite::{ListOptions, PayloadSide, ReadOnlyStore, RequestFilter, RequestRecord, Status};
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use crate::READ_MAX;
use crate::files::{corpus, expand, is_full, lines};

#[derive(Deserialize)]
struct Line<'a> {
    request_body: Option<String>,
    response_body: Option<String>,
    response_body_encoding: Option<String>,
    #[serde(borrow)]
    request: Option<&'a RawValue>,
    #[serde(borrow)]
    response: Option<&'a RawValue>,
    status: Option<u16>,
    wire: String,
}

/// Files to record: exchanges as they are, trajectories expanded into `folder` by the script beside them.
fn files(corpus: &Path, folder: &Path) -> Vec<PathBuf> {
    let mut names: Vec<String> = std::fs::read_dir(corpus)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".jsonl.zst") || name.ends_with(".jsonl"))
        .collect();
    names.sort();
    let mut files = Vec::new();
    for name in names {
        let path = corpus.join(&name);
        if !name.starts_with("trajectories-") {
            let is_long = path.metadata().unwrap().len() >= 300_000;
            if is_full() || !(name.starts_with("exchanges-") && is_long) {
                files.push(path);
            }
            continue;
        }
        let limit = if is_full() { 1_000_000 } else { 150 };
        files.push(expand(corpus, &name, limit, folder));
    }
    files
}

#[test]
fn every_recorded_body_comes_back_byte_for_byte() {
    let Some(corpus) = corpus() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut total = 0;
    for file in files(&corpus, folder.path()) {
        let database = folder.path().join("audit.db");
        let done = Command::new(env!("CARGO_BIN_EXE_auditlite"))
            .arg("--db")
            .arg(&database)
            .arg("record")
            .arg(&file)
            .output()
            .unwrap();
        assert!(done.status.success(), "{}: {done:?}", file.display());
        total += check(&database, &file);
        for suffix in ["", "-wal", "-shm", ".lock"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", database.display()));
        }
        let _ = file
            .starts_with(folder.path())
            .then(|| std::fs::remove_file(&file));
    }
    assert!(total > 500, "{total}");
    eprintln!("{total} exchanges recorded and read back");
}

/// The file's lines and the store's requests, in step: oldest first, none more, none less.
fn check(database: &Path, file: &Path) -> usize {
    let store = ReadOnlyStore::open(database).unwrap();
    let reader = store.reader();
    let mut seqs = Vec::new();
    let mut before = None;
    loop {
        let page = reader
            .list(
                &RequestFilter::default(),
                &ListOptions::new().cursor(before).limit(1000),
            )
            .unwrap();
        seqs.extend(page.requests);
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    seqs.reverse();
    let mut requests = seqs.iter();
    let mut reads = Vec::new();
    let mut count = 0;
    for line in lines(file) {
        let line: Line<'_> = serde_json::from_str(&line).unwrap();
        let request = requests
            .next()
            .unwrap_or_else(|| panic!("{}: too few", file.display()));
        let body = |text: Option<String>, raw: Option<&RawValue>| match (text, raw) {
            (Some(text), _) => text.into_bytes(),
            (None, Some(raw)) => raw.get().as_bytes().to_vec(),
            (None, None) => Vec::new(),
        };
        let sent = body(line.request_body, line.request);
        let mut answered = body(line.response_body, line.response);
        if line.response_body_encoding.as_deref() == Some("base64") {
            answered = base64(&answered);
        }
        reads.push(compare(&reader, request, PayloadSide::Request, &sent));
        reads.push(compare(&reader, request, PayloadSide::Response, &answered));
        // A router answers 200 with an error in the place of a choice.
        let errs_within = b"\"choices\":[{\"error\":{";
        let is_error = line.status.is_some_and(|status| status >= 400)
            || answered
                .windows(errs_within.len())
                .any(|bytes| bytes == errs_within);
        let expected = if is_error {
            Status::Failed
        } else {
            Status::Completed
        };
        assert_eq!(
            request.status, expected,
            "{:?} {:?}",
            request.error_type, request.error_message
        );
        assert_eq!(request.http_status, line.status);
        assert_eq!(request.wire_protocol.as_deref(), Some(line.wire.as_str()));
        count += 1;
    }
    assert!(requests.next().is_none(), "{}: too many", file.display());
    reads.sort_unstable();
    eprintln!(
        "{}: {count} exchanges, {} B on disk each; a body is read in {:?}, the slowest in {:?}; the first \
         time the slowest took {:?}, and {} more than {READ_MAX:?}",
        file.file_name().unwrap().to_string_lossy(),
        database.metadata().unwrap().len() / count as u64,
        reads[reads.len() / 2].0,
        reads[reads.len() - 1].0,
        reads.iter().map(|(_, first)| *first).max().unwrap(),
        reads.iter().filter(|(_, first)| *first > READ_MAX).count()
    );
    // What a debug build takes says nothing.
    if !cfg!(debug_assertions) {
        let slowest = reads[reads.len() - 1].0;
        assert!(slowest <= READ_MAX, "{slowest:?}");
    }
    let doctor = store.doctor().unwrap();
    assert!(doctor.findings.is_empty(), "{:?}", doctor.findings);
    assert_eq!((doctor.shed_payloads, doctor.shed_lifecycles), (0, 0));
    count
}

/// Compares one body, and returns how long its reading took, at its best and the first time: what was
/// slow is read again, which tells what its chain takes from what happened meanwhile.
fn compare(
    reader: &auditlite::Reader,
    request: &RequestRecord,
    side: PayloadSide,
    body: &[u8],
) -> (Duration, Duration) {
    const SLOW: Duration = Duration::from_millis(2);
    let read = || {
        let begun = Instant::now();
        (reader.payload(request, side).unwrap(), begun.elapsed())
    };
    let (payload, first) = read();
    let mut best = first;
    if first > SLOW {
        best = (0..4).map(|_| read().1).fold(first, Duration::min);
    }
    assert!(payload.bytes == body, "{} {side}", request.request_id);
    let digest: [u8; 32] = Sha256::digest(body).into();
    assert_eq!(payload.sha256.0, digest);
    assert!(!payload.is_truncated());
    (best, first)
}

/// An independent decoder: the one under test is the program's.
fn base64(text: &[u8]) -> Vec<u8> {
    let (mut bits, mut count, mut out) = (0_u32, 0, Vec::new());
    for byte in text {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => continue,
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push(((bits >> count) & 0xFF).try_into().unwrap());
        }
    }
    out
}
