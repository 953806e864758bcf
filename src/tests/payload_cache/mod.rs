//! The cache of payloads: it stays within its bound, a base in it is not read again, and it never answers
//! for a row that is gone or another. Chains that the writer never makes are damage, found in bounded time
//! and memory.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::{Connection, params};

use crate::db::{Part, Snapshot, payload_id};
use crate::error::ReadError;
use crate::payload::sha256;
use crate::read::payloads::{CACHE_BYTES_MAX, PayloadCache};
use crate::{
    Completion, ListOptions, ReadOnlyStore, RequestContext, RequestFilter, RequestOrder, Store,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Letters, in an order that repeats nowhere: nothing that packs them makes them much shorter.
fn noise(seed: u64, length: usize) -> String {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'a' + u8::try_from(state % 26).unwrap())
    };
    (0..length).map(|_| next()).collect()
}

/// A conversation, whose requests each repeat the one before. Returns the payloads of the requests with
/// their bodies, in order.
fn conversation(path: &Path, first_bytes: usize, turns: u64) -> Vec<(i64, Vec<u8>)> {
    let store = Store::builder(path).open().unwrap();
    let mut messages = format!(r#"{{"role":"user","content":"{}"}}"#, noise(1, first_bytes));
    let mut bodies = Vec::new();
    for turn in 0..turns {
        let said = noise(turn + 2, 200);
        messages.push_str(&format!(r#",{{"role":"user","content":"{said}"}}"#));
        let body = format!(r#"{{"model":"m","messages":[{messages}]}}"#).into_bytes();
        let context = RequestContext::new("openai.chat").conversation_id("c");
        let audit = store.recorder().open(context, body.clone()).unwrap();
        let receipt = audit.complete(Completion::new()).unwrap();
        receipt.wait(PATIENCE).unwrap();
        bodies.push(body);
    }
    store.close(PATIENCE);
    let reader = ReadOnlyStore::open(path).unwrap().reader();
    let oldest = ListOptions::new().order(RequestOrder::Oldest).limit(10_000);
    let page = reader.list(&RequestFilter::new(), &oldest).unwrap();
    let ids = page
        .requests
        .iter()
        .map(|request| payload_id(request.opened_seq, Part::Body));
    ids.zip(bodies).collect()
}

/// One read, as of now.
fn read(
    path: &Path,
    cache: &mut PayloadCache,
    id: i64,
) -> Result<Option<std::sync::Arc<Vec<u8>>>, ReadError> {
    let [snapshot] = Snapshot::open_many::<1>(path).unwrap();
    let found = cache.read(snapshot.connection(), id)?;
    Ok(found.map(|(_, content)| content.unwrap()))
}

fn change(path: &Path, sql: &str) {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch(sql).unwrap();
}

fn has_base(path: &Path, id: i64) -> bool {
    let connection = Connection::open(path).unwrap();
    let sql = "SELECT base_id IS NOT NULL FROM payloads WHERE payload_id = ?1";
    connection.query_row(sql, [id], |row| row.get(0)).unwrap()
}

fn damage(result: Result<Option<std::sync::Arc<Vec<u8>>>, ReadError>) -> String {
    match result {
        Err(ReadError::Damaged(what)) => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_cache_stays_within_its_bound_with_long_bodies_and_long_chains() {
    for (first_bytes, turns) in [(620_000, 40), (100, 250)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.db");
        let bodies = conversation(&path, first_bytes, turns);
        let total: usize = bodies.iter().map(|(_, body)| body.len()).sum();
        assert!(total > 2 * CACHE_BYTES_MAX || turns > 200);
        let [snapshot] = Snapshot::open_many::<1>(&path).unwrap();
        let mut cache = PayloadCache::default();
        let forward = bodies.iter();
        // Against the order too, where nothing that is needed was read before.
        for (id, body) in forward.chain(bodies.iter().rev()) {
            let (_, content) = cache.read(snapshot.connection(), *id).unwrap().unwrap();
            assert_eq!(content.unwrap().as_slice(), body.as_slice());
            assert!(cache.content_bytes() <= CACHE_BYTES_MAX);
        }
    }
}

/// A removal repacks a body and deletes what it was packed against, in one transaction, at every moment at which
/// a reader may be reading the two.
#[test]
fn a_removal_between_two_rows_of_a_chain_is_not_taken_for_damage() {
    let folder = tempfile::tempdir().unwrap();
    let recorded = folder.path().join("recorded.db");
    let bodies = conversation(&recorded, 1000, 4);
    let (id, body) = &bodies[3];
    let mut was_in_between = false;
    for moment in 0.. {
        let path = folder.path().join(format!("{moment}.db"));
        std::fs::copy(&recorded, &path).unwrap();
        let (steps, is_done) = (AtomicU64::new(0), Arc::new(AtomicBool::new(false)));
        let (of_removal, of_reader) = (Arc::clone(&is_done), Connection::open(&path).unwrap());
        let (from, alone) = (path.clone(), body.clone());
        let id = *id;
        let remove = move || {
            if steps.fetch_add(1, Ordering::Relaxed) == moment {
                let mut connection = Connection::open(&from).unwrap();
                let removal = connection.transaction().unwrap();
                let repack = "UPDATE payloads SET encoding = 0, base_id = NULL, second_base_id = NULL, \
                              data = ?2 WHERE payload_id = ?1";
                removal.execute(repack, params![id, alone]).unwrap();
                let delete = "DELETE FROM payloads WHERE payload_id < ?1";
                removal.execute(delete, [id]).unwrap();
                removal.commit().unwrap();
                of_removal.store(true, Ordering::Relaxed);
            }
            false
        };
        of_reader.progress_handler(1, Some(remove)).unwrap();
        let found = PayloadCache::default().read(&of_reader, id);
        let (row, content) = found.unwrap().unwrap();
        assert_eq!(content.unwrap().as_slice(), body.as_slice());
        if !is_done.load(Ordering::Relaxed) {
            break;
        }
        was_in_between |= row.bases.is_some();
    }
    assert!(was_in_between, "a reader saw the body as it was before");
}

#[test]
fn a_base_in_the_cache_is_not_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let bodies = conversation(&path, 1000, 3);
    let (first, second) = (bodies[0].0, bodies[1].0);
    assert!(has_base(&path, second));
    let mut cache = PayloadCache::default();
    read(&path, &mut cache, first).unwrap().unwrap();
    change(
        &path,
        &format!("UPDATE payloads SET data = x'00' WHERE payload_id = {first}"),
    );
    let content = read(&path, &mut cache, second).unwrap().unwrap();
    assert_eq!(*content, bodies[1].1);
    // Without the cache, the error names what is damaged, and what cannot be read because of it.
    let what = damage(read(&path, &mut PayloadCache::default(), second));
    assert!(what.contains("is damaged or missing"), "{what}");
}

#[test]
fn what_was_only_a_base_is_held_for_others_and_compared_before_it_is_returned() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let bodies = conversation(&path, 1000, 3);
    let (second, third) = (bodies[1].0, bodies[2].0);
    let mut cache = PayloadCache::default();
    read(&path, &mut cache, third).unwrap().unwrap();
    change(
        &path,
        &format!("UPDATE payloads SET data = x'00' WHERE payload_id = {second}"),
    );
    // It serves what is packed against it, and is no answer itself.
    let content = read(&path, &mut cache, third).unwrap().unwrap();
    assert_eq!(*content, bodies[2].1);
    let what = damage(read(&path, &mut cache, second));
    assert!(what.contains("does not unpack"), "{what}");
}

#[test]
fn the_cache_does_not_answer_for_a_row_that_is_gone_or_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let bodies = conversation(&path, 1000, 2);
    let (first, second) = (bodies[0].0, bodies[1].0);
    let mut cache = PayloadCache::default();
    for (id, body) in &bodies {
        assert_eq!(*read(&path, &mut cache, *id).unwrap().unwrap(), *body);
    }
    change(
        &path,
        &format!("UPDATE payloads SET sha256 = zeroblob(32) WHERE payload_id = {second}"),
    );
    let what = damage(read(&path, &mut cache, second));
    assert!(what.contains("does not unpack"), "{what}");
    change(
        &path,
        &format!("DELETE FROM payloads WHERE payload_id = {first}"),
    );
    assert_eq!(read(&path, &mut cache, first).unwrap(), None);
}

#[test]
fn a_damaged_body_is_named_also_where_what_it_needs_is_cached() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let bodies = conversation(&path, 1000, 3);
    let mut cache = PayloadCache::default();
    read(&path, &mut cache, bodies[1].0).unwrap().unwrap();
    let third = bodies[2].0;
    change(
        &path,
        &format!("UPDATE payloads SET data = x'00' WHERE payload_id = {third}"),
    );
    let what = damage(read(&path, &mut cache, third));
    let seq = third / 4;
    assert_eq!(
        what,
        format!("the body of event {seq} does not unpack to what was recorded")
    );
}

/// Adds payloads that are packed against each other in a row, each claiming this length. Returns the last.
fn add_chain(path: &Path, rows: i64, claimed: usize) -> i64 {
    const FIRST: i64 = 4_000_000;
    let content = vec![b'a'; 100];
    let length = i64::try_from(claimed).unwrap();
    let connection = Connection::open(path).unwrap();
    // Everything from the first base, nothing new.
    let empty = zstd::bulk::compress(&[], 1).unwrap();
    let delta = [&[100, 0, 0, 0, 0], empty.as_slice()].concat();
    for row in 0..rows {
        let (encoding, base, data) = match row {
            0 => (0, None, &content),
            _ => (2, Some(FIRST + 4 * (row - 1)), &delta),
        };
        connection
            .execute(
                "INSERT INTO payloads (payload_id, length, sha256, salt, kept, encoding, base_id, data) \
                 VALUES (?1, ?2, ?3, zeroblob(32), ?2, ?4, ?5, ?6)",
                params![
                    FIRST + 4 * row,
                    length,
                    sha256(&content).0.as_slice(),
                    encoding,
                    base,
                    data
                ],
            )
            .unwrap();
    }
    FIRST + 4 * (rows - 1)
}

#[test]
fn a_chain_longer_than_the_writer_makes_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    conversation(&path, 100, 1);
    let last = add_chain(&path, 1025, 100);
    let what = damage(read(&path, &mut PayloadCache::default(), last));
    assert!(what.contains("takes more than can be"), "{what}");
    let content = read(&path, &mut PayloadCache::default(), last - 4).unwrap();
    assert_eq!(content.unwrap().len(), 100);
}

#[test]
fn a_chain_that_claims_more_bytes_than_the_writer_makes_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    conversation(&path, 100, 1);
    let last = add_chain(&path, 9, 128 * 1024 * 1024);
    let what = damage(read(&path, &mut PayloadCache::default(), last));
    assert!(what.contains("takes more than can be"), "{what}");
}

#[test]
fn a_payload_that_is_packed_against_itself_or_a_later_one_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let bodies = conversation(&path, 1000, 3);
    let (second, third) = (bodies[1].0, bodies[2].0);
    for base in [second, third] {
        change(
            &path,
            &format!("UPDATE payloads SET base_id = {base} WHERE payload_id = {second}"),
        );
        let what = damage(read(&path, &mut PayloadCache::default(), second));
        assert!(what.contains("does not unpack"), "{what}");
        let what = damage(read(&path, &mut PayloadCache::default(), third));
        assert!(what.contains("is damaged or missing"), "{what}");
    }
}
