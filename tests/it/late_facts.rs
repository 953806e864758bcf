//! User, conversation and attributes that become known after the opening.

use auditlite::{
    EraseSelector, ListOptions, ReadOnlyStore, Redaction, RequestContext, RequestFilter,
    RequestHandle, RequestRecord, StatsFilter, StatsKey, Store, VerifyOptions,
};

use crate::ends::ENDS;
use crate::support::{Folder, PATIENCE, close, findings};

fn open(store: &Store, id: &str) -> RequestHandle {
    let context = RequestContext::new("x").request_id(id);
    store.recorder().open(context, "a question").unwrap()
}

fn tell(audit: &mut RequestHandle) {
    audit.set_user_id("u-1");
    audit.set_conversation_id("c-1");
    audit.set_attribute("route", "/v1");
    audit.set_attribute("route", "/v2");
}

fn attribute(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

/// One request for each way to end, told in the same batch as it opens or in a later one.
fn record_every_end(store: &Store, prefix: &str, is_late: bool) -> Vec<String> {
    let ids = ENDS.iter().map(|(name, _)| format!("{prefix}-{name}"));
    let ids: Vec<String> = ids.collect();
    for ((_, end), id) in ENDS.into_iter().zip(&ids) {
        let mut audit = open(store, id);
        if is_late {
            store.flush(PATIENCE).unwrap();
        }
        tell(&mut audit);
        end(audit);
    }
    ids
}

#[test]
fn every_end_carries_what_became_known_after_the_opening() {
    let folder = Folder::new();
    let store = folder.open();
    let mut ids = record_every_end(&store, "early", false);
    ids.extend(record_every_end(&store, "late", true));
    store.flush(PATIENCE).unwrap();
    let check = |get: &dyn Fn(&str) -> RequestRecord| {
        for id in &ids {
            let request = get(id);
            assert_eq!(request.user_id.as_deref(), Some("u-1"), "{id}");
            assert_eq!(request.conversation_id.as_deref(), Some("c-1"), "{id}");
            assert_eq!(request.attributes, [attribute("route", "/v2")], "{id}");
            assert_eq!(request.adjusted_fields, [""; 0]);
        }
    };
    check(&|id| store.reader().get(id).unwrap());
    // Filters and sums know them.
    let filter = RequestFilter::new()
        .user_id("u-1")
        .conversation_id("c-1")
        .attribute("route", "/v2");
    let page = store
        .reader()
        .list(&filter, &ListOptions::new().limit(100))
        .unwrap();
    assert_eq!(page.requests.len(), ids.len());
    let users = store
        .reader()
        .stats(&StatsFilter::new().group_by([StatsKey::User]))
        .unwrap();
    let counted: Vec<_> = users.iter().map(|row| row.user_id.as_deref()).collect();
    assert_eq!(counted, [Some("u-1")]);
    close(store);
    // The tables are what the log says, and so are those that are made from it.
    assert_eq!(findings(&folder), [""; 0]);
    auditlite::rebuild(folder.path()).unwrap();
    assert_eq!(findings(&folder), [""; 0]);
    let copy = ReadOnlyStore::open(folder.path()).unwrap();
    check(&|id| copy.reader().get(id).unwrap());
    let report = copy.verify(&VerifyOptions::default()).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

#[test]
fn the_opening_counts_for_user_and_conversation_and_the_end_for_attributes() {
    let folder = Folder::new();
    let store = folder.open();
    for (id, is_late) in [("same batch", false), ("later batch", true)] {
        let context = RequestContext::new("x")
            .request_id(id)
            .user_id("u-0")
            .conversation_id("c-0")
            .attribute("kept", "1\"\\ü")
            .attribute("route", "/v0");
        let mut audit = store.recorder().open(context, "q").unwrap();
        if is_late {
            store.flush(PATIENCE).unwrap();
        }
        tell(&mut audit);
        audit.set_attribute("tier", "gold");
        audit.finish(200).unwrap().wait(PATIENCE).unwrap();
        let request = store.reader().get(id).unwrap();
        assert_eq!(request.user_id.as_deref(), Some("u-0"));
        assert_eq!(request.conversation_id.as_deref(), Some("c-0"));
        let expected = [
            attribute("kept", "1\"\\ü"),
            attribute("route", "/v2"),
            attribute("tier", "gold"),
        ];
        assert_eq!(request.attributes, expected);
    }
    close(store);
    assert_eq!(findings(&folder), [""; 0]);
}

#[test]
fn erasing_a_user_takes_requests_that_learned_of_it_late() {
    let folder = Folder::new();
    let store = folder.open();
    let ids = record_every_end(&store, "late", true);
    // Of another user, and of none.
    let mut other = open(&store, "other");
    other.set_user_id("u-2");
    other.set_conversation_id("c-1");
    drop(other);
    drop(open(&store, "nobody"));
    let selector = EraseSelector::UserConversation {
        user_id: "u-1".to_owned(),
        conversation_id: "c-1".to_owned(),
    };
    let report = store.erase(&selector, "asked for").unwrap();
    assert_eq!((report.requests, report.unlisted), (ids.len() as u64, 0));
    assert!(report.is_fully_erased);
    let selector = EraseSelector::User("u-1".to_owned());
    let report = store.erase(&selector, "asked for").unwrap();
    assert_eq!((report.requests, report.unlisted), (0, 0));
    // Of requests without a user: the opening alone would say so of all.
    let selector = EraseSelector::UserConversation {
        user_id: String::new(),
        conversation_id: "c-1".to_owned(),
    };
    let report = store.erase(&selector, "asked for").unwrap();
    assert_eq!((report.requests, report.unlisted), (0, 0));
    assert_eq!(
        store.reader().get("other").unwrap().user_id.as_deref(),
        Some("u-2")
    );
    close(store);
    let bytes = std::fs::read(folder.path()).unwrap();
    assert!(!bytes.windows(3).any(|window| window == b"u-1"));
    assert_eq!(findings(&folder), [""; 0]);
}

/// Changing the row does not keep the request from being found: its end says whose it is.
#[test]
fn a_request_whose_row_lost_its_late_user_is_reported_by_erase() {
    let folder = Folder::new();
    let store = folder.open();
    record_every_end(&store, "late", true);
    close(store);
    crate::support::sqlite(&folder)
        .execute(
            "UPDATE requests SET user_id = NULL WHERE request_id = 'late-failed'",
            [],
        )
        .unwrap();
    assert_eq!(findings(&folder).len(), 1);
    let store = folder.open();
    let selector = EraseSelector::User("u-1".to_owned());
    let report = store.erase(&selector, "asked for").unwrap();
    assert_eq!((report.requests, report.unlisted), (5, 1));
}

#[test]
fn what_is_told_late_has_the_bounds_of_the_opening() {
    let folder = Folder::new();
    let store = folder.open();
    let mut context = RequestContext::new("x").request_id("r");
    for number in 0..60 {
        context = context.attribute(format!("k-{number}"), "v");
    }
    let mut audit = store.recorder().open(context, "q").unwrap();
    audit.set_user_id("u".repeat(1000));
    for number in 100..200 {
        audit.set_attribute(format!("k-{number}"), "v".repeat(100_000));
    }
    let health = store.health();
    assert!(health.queued_bytes < 200_000, "{}", health.queued_bytes);
    audit.finish(200).unwrap().wait(PATIENCE).unwrap();
    let request = store.reader().get("r").unwrap();
    assert_eq!(request.attributes.len(), auditlite::ATTRIBUTES_MAX);
    assert!(request.user_id.unwrap().len() <= auditlite::IDENTIFIER_BYTES_MAX);
    let last = &request.attributes[63];
    assert_eq!(last.0, "k-103");
    assert_eq!(last.1.len(), auditlite::ATTRIBUTE_VALUE_BYTES_MAX);
    assert_eq!(request.adjusted_fields, ["user_id", "attributes"]);
    store.flush(PATIENCE).unwrap();
    assert_eq!(store.health().queued_bytes, 0);
    close(store);
    assert_eq!(findings(&folder), [""; 0]);
}

#[test]
fn secrets_in_late_attributes_are_redacted() {
    let folder = Folder::new();
    let redaction = Redaction::credentials("known");
    let store = folder.builder().redaction(redaction).open().unwrap();
    let mut audit = open(&store, "r");
    let secret = format!("sk-proj-{}", "a1B2c3D4e5".repeat(5));
    audit.set_attribute("note", format!("the key is {secret}"));
    audit.set_attribute("authorization", "Bearer abc");
    audit.finish(200).unwrap().wait(PATIENCE).unwrap();
    let request = store.reader().get("r").unwrap();
    assert!(!format!("{:?}", request.attributes).contains(&secret));
    assert_eq!(
        request.attributes[1],
        attribute("authorization", "[redacted]")
    );
    close(store);
}
