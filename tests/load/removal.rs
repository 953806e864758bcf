//! Erasing and pruning under full recording load: request threads notice nothing of it, nothing of
//! what was erased is left, and the trail verifies.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use auditlite::{
    Completion, EraseSelector, Overflow, ReadOnlyStore, RequestContext, Retention, Store,
    VerifyOptions, update_search_index,
};

use crate::random::Random;
use crate::{PATIENCE, latency};

const BODY_BYTES: usize = 20_000;
/// Bytes that cannot be packed: where a file has them, a search finds them.
fn secret(number: u64) -> Vec<u8> {
    let mut random = Random(number);
    (0..8).flat_map(|_| random.next().to_le_bytes()).collect()
}

/// Records a conversation, erases it, and prunes an eighth of the file, over and over. Gives how many
/// conversations.
fn remove(store: &Store, is_over: &AtomicBool, first: u64) -> u64 {
    let mut number = first;
    while !is_over.load(Ordering::Relaxed) || number == first {
        let talk = format!("talk {number} that is to be erased");
        for _ in 0..4 {
            let context = RequestContext::new("").conversation_id(talk.clone());
            let audit = store.recorder().open(context, secret(number)).unwrap();
            let end = Completion::new().response_body(secret(number));
            // What is shed has nothing to be erased.
            drop(audit.complete(end).unwrap());
        }
        let selector = EraseSelector::Conversation(talk);
        let report = store.erase(&selector, "a test of the load").unwrap();
        assert!(report.requests <= 4 && report.is_fully_erased, "{report:?}");
        let used = std::fs::metadata(store.path()).unwrap().len();
        let retention = Retention::new().size_bytes_max(used / 8 * 7);
        store.prune(&retention).unwrap();
        number += 1;
    }
    number - first
}

fn files(path: &Path) -> Vec<Vec<u8>> {
    let folder = std::fs::read_dir(path.parent().unwrap()).unwrap();
    folder
        .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .collect()
}

#[test]
fn removal_is_not_noticed_by_those_who_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    // What waits is little, so that a removal gets its turn often.
    let builder = Store::builder(&path).capacity_events(2048);
    let store = builder.open().unwrap();
    let erased = AtomicU64::new(0);
    let what = "while others erase and prune";
    let is_unmoved = latency::is_unmoved(&store, BODY_BYTES, what, |is_over| {
        let first = erased.load(Ordering::Relaxed);
        erased.fetch_add(remove(&store, is_over, first), Ordering::Relaxed);
    });
    let erased = erased.into_inner();
    println!("{erased} conversations erased, the file pruned as often");
    assert!(is_unmoved, "p99 moved");
    assert!(store.close(PATIENCE).is_complete);
    let files = files(&path);
    for number in 0..erased {
        let talk = format!("talk {number} that is to be erased");
        for text in [
            talk.as_bytes(),
            &secret(number)[..16],
            &secret(number)[48..],
        ] {
            let is_there = |file: &Vec<u8>| memchr::memmem::find(file, text).is_some();
            assert!(!files.iter().any(is_there), "{talk} is still there");
        }
    }
    let store = ReadOnlyStore::open(&path).unwrap();
    let report = store.verify(&VerifyOptions::default()).unwrap();
    assert_eq!(report.findings, []);
    assert_eq!(store.doctor().unwrap().findings, [""; 0]);
}

/// Requests in the index to begin with, and how many of each user's are erased at a time.
const INDEXED: u64 = 8000;
const INDEXED_EACH: u64 = 20;

/// What a user says: words of its own among those that all use.
fn said(number: u64) -> String {
    let own = number / INDEXED_EACH;
    let words = (0..30).map(|word| format!("word{} own{own}x{word}", word * 7 % 200));
    let text = words.collect::<Vec<_>>().join(" ");
    serde_json::json!({"model": "m", "messages": [{"role": "user", "content": text}]}).to_string()
}

/// Words are taken out of the index in the writer's transactions, and request threads wait for none.
#[test]
fn removal_from_a_search_index_is_not_noticed_by_those_who_record() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    let builder = Store::builder(&path).overflow(Overflow::Wait(PATIENCE));
    let store = builder.open().unwrap();
    for number in 0..INDEXED {
        let user = format!("user {}", number / INDEXED_EACH);
        let context = RequestContext::new("openai.chat")
            .user_id(user.clone())
            .conversation_id(user);
        let audit = store.recorder().open(context, said(number)).unwrap();
        audit.complete(Completion::new()).unwrap();
    }
    assert!(store.close(PATIENCE).is_complete);
    update_search_index(&path, |_| true).unwrap();
    let store = Store::builder(&path).capacity_events(2048).open().unwrap();
    let erased = AtomicU64::new(0);
    let what = "while others erase from the search index";
    let is_unmoved = latency::is_unmoved(&store, BODY_BYTES, what, |is_over| {
        while !is_over.load(Ordering::Relaxed) {
            let user = erased.fetch_add(1, Ordering::Relaxed);
            if user >= INDEXED / INDEXED_EACH {
                break;
            }
            let selector = EraseSelector::User(format!("user {user}"));
            let report = store.erase(&selector, "a test of the load").unwrap();
            assert!(
                report.requests == INDEXED_EACH && report.is_fully_erased,
                "{report:?}"
            );
        }
    });
    let health = store.health();
    println!("{} users erased", erased.into_inner());
    assert_eq!(health.search_index_drops, 0);
    assert!(is_unmoved, "p99 moved");
    assert!(store.close(PATIENCE).is_complete);
}
