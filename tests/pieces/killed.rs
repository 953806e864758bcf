//! SIGKILL in the middle of long streams.
//!
//! `AUDITLITE_PIECES_ROUNDS` says how often, `AUDITLITE_PIECES_SEED` replays a run's choices (when
//! exactly the kill strikes is the machine's to decide).

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use auditlite::{
    EraseSelector, ListOptions, Overflow, PayloadSide, ReadOnlyStore, RequestContext,
    RequestFilter, Status, Store, StoreBuilder, VerifyOptions,
};

use crate::random::Random;
use crate::seeds;
use crate::support::{PATIENCE, PIECE, close, find, marks, noise};

const CHILD: &str = "AUDITLITE_PIECES_CHILD";
/// Prefix of the child's request ids.
const NAME: &str = "AUDITLITE_PIECES_NAME";
const PRODUCERS: u64 = 3;
const CAP: usize = 64 * 1024;
const STREAM_BYTES: usize = 200_000;
const CHUNK_BYTES_MAX: u64 = 3000;

fn builder(path: &Path) -> StoreBuilder {
    Store::builder(path)
        .overflow(Overflow::Wait(PATIENCE))
        .payload_bytes_max(CAP)
        .wal_checkpoint_bytes(64 * 1024)
        .response_pieces(Duration::MAX, PIECE)
}

/// The process that is killed: streams, and says how far each stream had come at a flush.
#[test]
fn child() {
    let Some(path) = std::env::var_os(CHILD).map(PathBuf::from) else {
        return;
    };
    let name = std::env::var(NAME).unwrap();
    let store = builder(&path).open().unwrap();
    std::thread::scope(|scope| {
        for producer in 0..PRODUCERS {
            let (store, name) = (&store, &name);
            scope.spawn(move || {
                let mut random = Random(producer);
                for number in 0.. {
                    let id = format!("{name}.{producer}-{number}");
                    let context = RequestContext::new("").request_id(id.clone());
                    let mut audit = store.recorder().open(context, id.clone()).unwrap();
                    let body = noise(&id, random.below(STREAM_BYTES as u64) as usize);
                    let mut come = 0;
                    while come < body.len() {
                        let end = come + random.below(CHUNK_BYTES_MAX) as usize;
                        let end = end.min(body.len());
                        audit.chunk(body[come..end].to_vec());
                        come = end;
                        if random.below(30) == 0 {
                            store.flush(PATIENCE).unwrap();
                            say(&format!("come {id} {come}"));
                        }
                    }
                    let receipt = audit.finish(200).unwrap();
                    if number % 2 == 0 {
                        receipt.wait(PATIENCE).unwrap();
                        say(&format!("ended {id} {}", body.len()));
                    }
                }
            });
        }
    });
}

/// One whole line, or nothing of it: a single write to the pipe.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(format!("\n{line}\n").as_bytes());
    let _ = out.flush();
}

#[derive(Debug, Default)]
struct Said {
    come: HashMap<String, usize>,
    ended: HashMap<String, usize>,
}

#[derive(Debug, Default)]
struct Seen {
    whole: u64,
    excerpts: u64,
    none: u64,
    ended: u64,
}

#[test]
fn what_came_of_long_streams_survives_sigkill() {
    let rounds = seeds::number("AUDITLITE_PIECES_ROUNDS", 12);
    let seed = seeds::seed("AUDITLITE_PIECES_SEED");
    let mut random = Random(seed);
    let mut seen = Seen::default();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    for round in 0..rounds {
        let what = format!("AUDITLITE_PIECES_SEED={seed}, round {round}");
        let pause = Duration::from_micros(random.below(10_000));
        let said = kill_one(&path, &format!("k{round}"), 1 + random.below(20), pause);
        examine(&path, &said, &what, &mut seen);
    }
    eprintln!("{rounds} kills: {seen:?}");
    assert!(seen.whole > 0 && seen.ended > 0, "{seen:?}");
    assert!(rounds < 12 || seen.excerpts > 0, "{seen:?}");
}

/// What a killed store holds before and after it is opened again is the same, and the beginning of what
/// came; erased, nothing of it is left.
fn examine(path: &Path, said: &Said, what: &str, seen: &mut Seen) {
    let verify = || {
        let store = ReadOnlyStore::open(path).unwrap();
        let report = store.verify(&VerifyOptions::default()).unwrap();
        assert_eq!(report.findings, [], "{what}");
        store.reader()
    };
    let reader = verify();
    let filter = RequestFilter::new().statuses([Status::Pending]);
    let open = reader
        .list(&filter, &ListOptions::new().limit(1000))
        .unwrap()
        .requests;
    let mut before = HashMap::new();
    for request in &open {
        let body = noise(&request.request_id, STREAM_BYTES);
        let so_far = reader.response_so_far(request).unwrap();
        let length = so_far.as_ref().map_or(0, |seen| seen.length as usize);
        let promised = said.come.get(&request.request_id).copied().unwrap_or(0);
        // A piece is due after so many bytes, and holds its chunks in whole.
        let least = match promised > CAP {
            true => CAP.min(promised),
            false => promised.saturating_sub(PIECE + CHUNK_BYTES_MAX as usize),
        };
        assert!(
            length >= least,
            "{what}: {length} of {promised}, {request:?}"
        );
        match &so_far {
            None => seen.none += 1,
            Some(kept) => {
                use sha2::Digest as _;
                let digest = sha2::Sha256::digest(&body[..length]);
                assert_eq!(kept.sha256.0, <[u8; 32]>::from(digest), "{what}");
                match kept.head {
                    None => seen.whole += 1,
                    Some(_) => seen.excerpts += 1,
                }
            }
        }
        before.insert(request.request_id.clone(), so_far);
    }
    drop(reader);

    let store = builder(path).open().unwrap();
    let reader = store.reader();
    for request in &open {
        let request = reader.get(&request.request_id).unwrap();
        assert_eq!(request.status, Status::Interrupted, "{what}");
        let kept = reader.payload(&request, PayloadSide::Response).ok();
        let mut expected = before[&request.request_id].clone();
        if let Some(expected) = &mut expected {
            // Now the log commits to it.
            assert!(std::mem::take(&mut expected.is_unchecked), "{what}");
        }
        assert_eq!(kept, expected, "{what}: {request:?}");
    }
    for (id, length) in &said.ended {
        let request = reader.get(id).unwrap();
        assert_eq!(
            request.response_bytes.unwrap_or(0),
            *length as u64,
            "{what}"
        );
        seen.ended += 1;
    }
    if let Some(request) = open.first() {
        let selector = EraseSelector::Request(request.request_id.clone());
        assert!(
            store.erase(&selector, "why").unwrap().is_fully_erased,
            "{what}"
        );
        let body = noise(&request.request_id, STREAM_BYTES);
        let folder = path.parent().unwrap();
        let left = find(folder, marks(&body));
        assert_eq!(left, None, "{what}: {}", request.request_id);
    }
    close(store);
    verify();
    let sql = "SELECT count(*) FROM response_pieces";
    let connection = rusqlite::Connection::open(path).unwrap();
    let left: i64 = connection.query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0, "{what}");
}

/// Runs a child until it has said so many things, kills it a moment later, and notes what it said.
fn kill_one(path: &Path, name: &str, lines: u64, pause: Duration) -> Said {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::child", "--nocapture"])
        .env(CHILD, path)
        .env(NAME, name)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut said, mut count) = (Said::default(), 0);
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let Ok(line) = line else { break };
        let words: Vec<&str> = line.split(' ').collect();
        let ["come" | "ended", id, bytes] = words[..] else {
            continue;
        };
        // What is in the pipe was said before the kill, and counts.
        let bytes = bytes.parse().unwrap();
        match words[0] {
            "come" => said.come.insert(id.to_owned(), bytes),
            _ => said.ended.insert(id.to_owned(), bytes),
        };
        count += 1;
        if count == lines {
            std::thread::sleep(pause);
            child.kill().unwrap();
        }
    }
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(9), "{status}");
    said
}
