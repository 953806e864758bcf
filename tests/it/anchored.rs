//! Opening a log that is not what its anchor states: it is refused, or raises an alarm.

use std::path::Path;

use auditlite::{Alarm, Durability, HealthState, OpenError, Store, StoreBuilder};

use crate::support::{Folder, close, record};

struct Anchored {
    folder: Folder,
    elsewhere: tempfile::TempDir,
}

impl Anchored {
    fn new() -> Self {
        Self {
            folder: Folder::new(),
            elsewhere: tempfile::tempdir().unwrap(),
        }
    }

    fn anchor(&self) -> std::path::PathBuf {
        self.elsewhere.path().join("anchors")
    }

    fn builder(&self) -> StoreBuilder {
        self.folder.builder().anchor_file(self.anchor())
    }

    fn session(&self, name: &str, requests: u32) {
        requests_in(self.builder().open().unwrap(), name, requests);
    }
}

fn requests_in(store: Store, name: &str, requests: u32) {
    for number in 0..requests {
        record(&store, &format!("{name}-{number}"), "question", "answer");
    }
    close(store);
}

fn refusal(builder: StoreBuilder) -> (u64, u64, String) {
    match builder.open() {
        Err(
            ref error @ OpenError::BehindAnchor {
                anchored_events,
                events,
                ..
            },
        ) => (anchored_events, events, error.to_string()),
        other => panic!("{other:?}"),
    }
}

fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

#[test]
fn an_older_copy_is_not_gone_on_with() {
    let trail = Anchored::new();
    let path = trail.folder.path();
    trail.session("first", 3);
    let old = bytes(&path);
    trail.session("second", 5);
    let new = bytes(&path);
    let anchors = bytes(&trail.anchor());

    std::fs::write(&path, &old).unwrap();
    let (anchored, events, text) = refusal(trail.builder());
    assert_eq!((anchored, events), (8 + 12, 8), "{text}");
    assert!(text.contains("Put the newer database back"), "{text}");
    assert!(text.contains("move the anchor file away"), "{text}");
    assert_eq!(bytes(&path), old, "nothing was recorded");
    assert_eq!(bytes(&trail.anchor()), anchors, "nothing was anchored");

    // The newer one put back goes on.
    std::fs::write(&path, &new).unwrap();
    trail.session("third", 1);

    // Where it is lost: another anchor file, and the old one kept as the proof.
    std::fs::write(&path, &old).unwrap();
    refusal(trail.builder());
    std::fs::rename(trail.anchor(), trail.elsewhere.path().join("before")).unwrap();
    trail.session("fourth", 1);
    trail.session("fifth", 1);
}

#[test]
fn another_past_of_the_same_length_or_longer_is_not_gone_on_with() {
    let trail = Anchored::new();
    let path = trail.folder.path();
    trail.session("first", 1);
    let old = bytes(&path);
    trail.session("second", 3);
    std::fs::write(&path, &old).unwrap();
    // Continued by a program that does not know of the anchor.
    for name in ["a", "b"] {
        requests_in(trail.folder.open(), name, 3);
        let (anchored, events, text) = refusal(trail.builder());
        assert!(events >= anchored, "{text}");
        assert!(text.contains("are not those that there were"), "{text}");
    }
}

#[test]
fn a_buffered_log_that_power_loss_may_have_cut_is_gone_on_with_under_an_alarm() {
    let trail = Anchored::new();
    let path = trail.folder.path();
    trail.session("first", 3);
    let old = bytes(&path);
    trail.session("second", 5);
    std::fs::write(&path, &old).unwrap();
    let store = trail
        .builder()
        .durability(Durability::Buffered)
        .open()
        .unwrap();
    let health = store.health();
    assert_eq!(health.state, HealthState::Healthy);
    let anchored_events = 20;
    assert_eq!(health.alarms, [Alarm::BehindAnchor { anchored_events }]);
    requests_in(store, "third", 1);
}

#[test]
fn other_logs_and_torn_notes_in_the_anchor_file_are_passed_over() {
    let (one, two) = (Anchored::new(), Anchored::new());
    let builder = |folder: &Folder| folder.builder().anchor_file(one.anchor());
    requests_in(builder(&two.folder).open().unwrap(), "longer", 9);
    for session in 0..3 {
        requests_in(builder(&one.folder).open().unwrap(), "r", session);
        let mut torn = bytes(&one.anchor());
        torn.extend_from_slice(b"auditlite/torn\n99");
        std::fs::write(one.anchor(), torn).unwrap();
    }
    // The note of this log that lies far from the end of a long file is found too.
    let mut long = bytes(&one.anchor());
    long.extend_from_slice(&b"\n\nanother/log\n1\n\n".repeat(100_000));
    std::fs::write(one.anchor(), long).unwrap();
    let old = bytes(&one.folder.path());
    requests_in(one.folder.open(), "unanchored", 1);
    requests_in(builder(&one.folder).open().unwrap(), "anchored", 1);
    std::fs::write(one.folder.path(), old).unwrap();
    refusal(builder(&one.folder));
}
