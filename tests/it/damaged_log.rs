//! Removals over a log with an unreadable segment: everything else is removed, and what stays is counted.

use std::time::Duration;

use auditlite::{
    Completion, EraseSelector, ListOptions, PayloadSide, ReadOnlyStore, RemovalError,
    RequestContext, RequestFilter, Retention, Timestamp, VerifyOptions, rebuild,
};

use crate::removal::assert_clean;
use crate::support::{Folder, PATIENCE, close, findings, sqlite};

/// Each event in a segment of its own, long ago.
fn recorded(users: &[&str]) -> Folder {
    let folder = Folder::new();
    let store = folder.open();
    for (number, user) in (0_i64..).zip(users) {
        let context = RequestContext::new("openai.chat")
            .request_id(format!("r-{number}"))
            .user_id(*user)
            .started_at(Timestamp::from_micros(
                1_700_000_000_000_000 + number * 60_000_000,
            ));
        let body = format!("{{\"messages\":[\"words of {user} {number}\"]}}");
        let audit = store.recorder().open(context, body).unwrap();
        store.flush(PATIENCE).unwrap();
        let completion = Completion::new().response_body(format!("answer to {user} {number}"));
        audit.complete(completion).unwrap();
        store.flush(PATIENCE).unwrap();
    }
    close(store);
    folder
}

const DAMAGES: [&str; 4] = [
    "UPDATE log_segments SET encoding = 9",
    "UPDATE log_segments SET data = zeroblob(length(data))",
    "UPDATE log_segments SET count = 0",
    "UPDATE log_segments SET count = 7",
];

fn damage(folder: &Folder, sql: &str, seq: u64) {
    let connection = sqlite(folder);
    connection
        .execute_batch("PRAGMA ignore_check_constraints = 1")
        .unwrap();
    let sql = format!("{sql} WHERE first_seq = ?1");
    let seq = i64::try_from(seq).unwrap();
    assert_eq!(connection.execute(&sql, [seq]).unwrap(), 1);
}

fn kinds(folder: &Folder) -> Vec<(String, Option<u64>)> {
    let store = ReadOnlyStore::open(folder.path()).unwrap();
    let report = store.verify(&VerifyOptions::default()).unwrap();
    let mut kinds: Vec<_> = report
        .findings
        .iter()
        .map(|finding| (finding.kind.to_string(), finding.seq))
        .collect();
    kinds.sort();
    kinds
}

fn opened_seq(folder: &Folder, id: &str) -> u64 {
    let reader = ReadOnlyStore::open(folder.path()).unwrap().reader();
    reader.get(id).unwrap().opened_seq
}

fn content_of(folder: &Folder, seq: u64) -> i64 {
    let seq = i64::try_from(seq).unwrap();
    sqlite(folder)
        .query_row(
            "SELECT count(*) FROM payloads WHERE payload_id / 4 = ?1",
            [seq],
            |row| row.get(0),
        )
        .unwrap()
}

#[test]
fn one_unreadable_segment_keeps_nothing_else_from_being_erased() {
    for sql in DAMAGES {
        let folder = recorded(&["alice", "bob", "alice", "alice"]);
        let seq = opened_seq(&folder, "r-0");
        damage(&folder, sql, seq);
        // With what another session adds to it.
        close(folder.open());
        let before = kinds(&folder);
        assert!(!before.is_empty(), "{sql}");
        let alice = EraseSelector::User("alice".to_owned());
        let preview = ReadOnlyStore::open(folder.path())
            .unwrap()
            .preview_erase(&alice)
            .unwrap();
        assert_eq!((preview.requests, preview.unreadable), (2, 1), "{sql}");
        let store = folder.open();
        let report = store.erase(&alice, "asked for").unwrap();
        close(store);
        assert_eq!((report.requests, report.unreadable), (2, 1), "{sql}");
        assert_eq!(report.payloads, preview.payloads, "{sql}");
        assert!(report.is_fully_erased, "{sql}");
        // Its content and its row are gone as well.
        assert_eq!(content_of(&folder, seq), 0, "{sql}");
        let reader = ReadOnlyStore::open(folder.path()).unwrap().reader();
        for (id, is_erased) in [("r-0", true), ("r-1", false), ("r-2", true), ("r-3", true)] {
            let request = reader.get(id).unwrap();
            assert_eq!(request.is_erased, is_erased, "{sql} {id}");
            assert_eq!(request.user_id.is_none(), is_erased, "{sql} {id}");
        }
        let bob = reader.get("r-1").unwrap();
        reader.payload(&bob, PayloadSide::Request).unwrap();
        // Nothing is wrong with the trail that was not before.
        for finding in kinds(&folder) {
            assert!(before.contains(&finding), "{sql}: {finding:?} {before:?}");
        }
    }
}

#[test]
fn lines_go_with_a_second_erasure_once_they_can_be_read_again() {
    for by_number in [true, false] {
        let folder = recorded(&["alice", "bob"]);
        let seq = opened_seq(&folder, "r-0");
        let encoding: i64 = sqlite(&folder)
            .query_row(
                "SELECT encoding FROM log_segments WHERE first_seq = ?1",
                [i64::try_from(seq).unwrap()],
                |row| row.get(0),
            )
            .unwrap();
        damage(&folder, DAMAGES[0], seq);
        let alice = EraseSelector::User("alice".to_owned());
        let store = folder.open();
        assert_eq!(store.erase(&alice, "asked for").unwrap().unreadable, 1);
        close(store);
        damage(
            &folder,
            &format!("UPDATE log_segments SET encoding = {encoding}"),
            seq,
        );
        let found = kinds(&folder);
        assert!(found.contains(&("log".to_owned(), Some(seq))), "{found:?}");
        let store = folder.open();
        let again = match by_number {
            true => EraseSelector::Request(format!("#{seq}")),
            false => alice,
        };
        let report = store.erase(&again, "asked for").unwrap();
        close(store);
        assert_eq!((report.requests, report.unreadable), (1, 0));
        assert_clean(&folder);
    }
}

#[test]
fn pruning_goes_on_behind_a_segment_that_cannot_be_read() {
    let damages = DAMAGES.iter().chain(&["DELETE FROM log_segments"]);
    for sql in damages {
        // A file whose last segments cannot be read is not opened for writing.
        for number in [0, 2] {
            let folder = recorded(&["a", "b", "c", "d", "e", "f"]);
            let seq = opened_seq(&folder, &format!("r-{number}"));
            damage(&folder, sql, seq);
            let retention = Retention::new()
                .metadata_older_than(Duration::from_secs(3600))
                .clock_is_right(true);
            let store = folder.open();
            let report = store.prune(&retention).unwrap();
            close(store);
            assert_eq!(report.requests, 6, "{sql} {number}");
            assert_eq!((report.payloads, report.unreadable), (12, 1), "{sql}");
            let reader = ReadOnlyStore::open(folder.path()).unwrap().reader();
            let left = reader
                .list(&RequestFilter::default(), &ListOptions::new().limit(10))
                .unwrap();
            assert!(left.requests.is_empty(), "{sql} {number}");
            // What comes later is pruned later.
            let store = folder.open();
            let report = store.prune(&retention).unwrap();
            assert_eq!((report.requests, report.unreadable), (0, 0), "{sql}");
            close(store);
        }
    }
}

#[test]
fn what_went_before_an_error_is_told_with_it() {
    let folder = recorded(&["a", "b"]);
    let store = folder.open();
    // The rows of usage are what the metadata needs, and content does not.
    sqlite(&folder)
        .execute_batch("PRAGMA ignore_check_constraints = 1; UPDATE requests SET input_tokens = -5")
        .unwrap();
    let retention = Retention::new()
        .metadata_older_than(Duration::from_secs(3600))
        .clock_is_right(true);
    let error = store.prune(&retention).unwrap_err();
    let RemovalError::Unfinished {
        requests, payloads, ..
    } = &error
    else {
        panic!("{error:?}");
    };
    assert_eq!((*requests, *payloads), (0, 4));
    close(store);
}

#[test]
fn an_erasure_finds_what_the_log_says_and_the_tables_do_not() {
    for sql in [
        "UPDATE requests SET user_id = 'zed' WHERE request_id = 'r-0'",
        "UPDATE requests SET user_id = NULL WHERE request_id = 'r-0'",
        "DELETE FROM requests WHERE request_id = 'r-0'",
    ] {
        let folder = recorded(&["alice", "bob", "alice"]);
        assert_eq!(sqlite(&folder).execute(sql, []).unwrap(), 1);
        let alice = EraseSelector::User("alice".to_owned());
        let store = folder.open();
        let report = store.erase(&alice, "asked for").unwrap();
        close(store);
        assert_eq!((report.requests, report.unlisted), (1, 1), "{sql}");
        assert!(!findings(&folder).is_empty());
        rebuild(folder.path()).unwrap();
        let store = folder.open();
        let report = store.erase(&alice, "asked for").unwrap();
        close(store);
        assert_eq!((report.requests, report.unlisted), (1, 0), "{sql}");
        assert_clean(&folder);
    }
}
