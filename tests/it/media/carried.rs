//! Media in copies, exports, searches, and in what deferred capture keeps.

use auditlite::{
    Capture, EraseSelector, ExportContent, ExportFormat, ExportOptions, Failure, PayloadSide,
    ReadOnlyStore, RequestContext, SearchOptions, Store, VerifyOptions, update_search_index,
};

use super::{Recorded, body, image, open, said, shown, words};
use crate::support::{Folder, PATIENCE, close, sqlite};

/// Two conversations with one image, and what each says.
fn recorded() -> (Recorded, String) {
    let shared = image(1, 60_000);
    let mut recorded = Recorded::new();
    for (seed, name) in [(1, "a"), (2, "b")] {
        let system = said("system", &words(seed, 3000));
        let asked = shown(&format!("what is the zebra of {name}"), &[&shared]);
        recorded.turn(name, 0, body(&[system, asked]), "{}".to_owned());
    }
    recorded.flush();
    assert_eq!(recorded.count("media"), 1);
    (recorded, shared)
}

#[test]
fn a_backup_has_the_media_and_can_be_erased_from() {
    let (mut recorded, shared) = recorded();
    let copies = Folder::new();
    let reading = ReadOnlyStore::open(recorded.folder.path()).unwrap();
    let report = reading
        .backup(copies.path(), &VerifyOptions::new())
        .unwrap();
    assert_eq!(report.verified.findings, []);
    recorded.close();
    let mut copy = Recorded::with(copies);
    copy.bodies = std::mem::take(&mut recorded.bodies);
    copy.check();
    copy.erase("a");
    copy.check();
    copy.erase("b");
    assert!(!copy.has_part_of(shared.as_bytes()));
    copy.check_clean();
}

#[test]
fn exports_have_whole_bodies() {
    let (recorded, shared) = recorded();
    let reader = ReadOnlyStore::open(recorded.folder.path())
        .unwrap()
        .reader();
    let options = ExportOptions::new().content(ExportContent::Full);
    let mut lines = Vec::new();
    let as_lines = options.clone().format(ExportFormat::JsonLines);
    reader.export(&as_lines, &mut lines).unwrap();
    let lines = String::from_utf8(lines).unwrap();
    assert_eq!(lines.matches(&shared).count(), 2);
    let exported = Folder::new();
    let as_database = options.format(ExportFormat::Sqlite);
    reader
        .export_to_file(&as_database, &exported.path())
        .unwrap();
    let bytes = std::fs::read(exported.path()).unwrap();
    assert!(bytes.len() > 2 * shared.len());
}

#[test]
fn a_search_finds_what_is_said_beside_media() {
    let (mut recorded, _) = recorded();
    let found = |recorded: &Recorded| {
        update_search_index(recorded.folder.path(), |_| true).unwrap();
        let reader = ReadOnlyStore::open(recorded.folder.path())
            .unwrap()
            .reader();
        let found = reader.search("zebra", &SearchOptions::new()).unwrap();
        found.hits.len()
    };
    recorded.close();
    assert_eq!(found(&recorded), 2);
    recorded.reopen();
    recorded.erase("a");
    recorded.close();
    assert_eq!(found(&recorded), 1);
    recorded.check_clean();
}

fn deferred(store: &Store, id: &str, request: &str) -> auditlite::RequestHandle {
    let context = RequestContext::new("openai.chat")
        .request_id(id)
        .user_id("u")
        .capture(Capture::Deferred);
    store.recorder().open(context, request.to_owned()).unwrap()
}

/// A body whose capture is deferred is held while others are erased. What it refers to is decided when it is
/// written.
#[test]
fn a_deferred_body_refers_to_what_is_there_when_it_is_kept() {
    let (mut recorded, shared) = recorded();
    let other = image(2, 50_000);
    let request = body(&[
        said("system", &words(5, 3000)),
        shown("see", &[&shared, &other]),
    ]);
    let handles: Vec<_> = ["failed", "succeeded", "failed again"]
        .map(|id| (id, deferred(recorded.store(), id, &request)))
        .into();
    recorded.flush();
    recorded.erase("a");
    recorded.erase("b");
    assert_eq!(recorded.count("media"), 0);
    let response = format!("{{\"b64_json\":\"{other}\"}}");
    for (id, handle) in handles {
        match id {
            "succeeded" => drop(handle.finish(200).unwrap()),
            _ => {
                let failure = Failure::new("timeout").response_body(response.clone());
                handle.fail(failure).unwrap();
                let bodies = (request.clone(), response.clone());
                recorded.bodies.insert(id.to_owned(), bodies);
            }
        }
    }
    recorded.flush();
    assert_eq!(recorded.count("media"), 2);
    recorded.check();
    recorded.bodies.clear();
    let selector = EraseSelector::User("u".to_owned());
    assert!(
        recorded
            .store()
            .erase(&selector, "why")
            .unwrap()
            .is_fully_erased
    );
    for medium in [&shared, &other] {
        assert!(!recorded.has_part_of(medium.as_bytes()));
    }
    recorded.check_clean();
}

/// Of a body above the cap the two ends are kept, with what they have of a medium.
#[test]
fn an_excerpt_and_a_digest_refer_to_no_media() {
    let folder = Folder::new();
    let store = folder
        .builder()
        .payload_bytes_max(64 * 1024)
        .open()
        .unwrap();
    let request = body(&[shown("see", &[&image(1, 200_000)])]);
    for (id, capture) in [
        ("excerpt", Capture::Full),
        ("digest", Capture::MetadataOnly),
    ] {
        let context = RequestContext::new("openai.chat")
            .request_id(id)
            .capture(capture);
        let handle = store.recorder().open(context, request.clone()).unwrap();
        handle.fail(Failure::new("timeout")).unwrap();
    }
    store.flush(PATIENCE).unwrap();
    let reader = store.reader();
    let excerpt = reader.get("excerpt").unwrap();
    assert!(
        reader
            .payload(&excerpt, PayloadSide::Request)
            .unwrap()
            .bytes
            .len()
            >= 16 * 1024
    );
    close(store);
    let count = sqlite(&folder).query_row("SELECT count(*) FROM media", [], |row| row.get(0));
    assert_eq!(count, Ok(0_i64));
    crate::removal::assert_clean(&folder);
}

/// Without a cache bodies stand alone, and have their media.
#[test]
fn without_memory_for_conversations_media_stay_in_bodies() {
    let folder = Folder::new();
    close(open(&folder));
    let store = folder.builder().conversation_cache_bytes(0).open().unwrap();
    let mut recorded = Recorded::of(folder, store);
    let shared = image(1, 40_000);
    for name in ["a", "b"] {
        recorded.turn(name, 0, body(&[shown("see", &[&shared])]), "{}".to_owned());
    }
    recorded.close();
    assert_eq!(recorded.count("media"), 0);
    recorded.check();
    recorded.check_clean();
}
