//! Damage of media is named, costs what it must, and nothing later.

use auditlite::{EraseSelector, FindingKind, PayloadSide, ReadOnlyStore, Store, VerifyOptions};

use super::{Recorded, body, image, said, shown, words};
use crate::support::{Folder, findings, sqlite};

/// Three conversations with one image, and one with another. Nothing is packed against anything else.
fn recorded() -> (Recorded, String) {
    let (shared, other) = (image(1, 40_000), image(2, 40_000));
    let mut recorded = Recorded::new();
    for (number, image) in [&shared, &shared, &shared, &other].into_iter().enumerate() {
        show(&mut recorded, &format!("c{number}"), number, image);
    }
    recorded.close();
    assert_eq!(
        (recorded.count("media"), recorded.count("media_links")),
        (2, 4)
    );
    (recorded, shared)
}

fn show(recorded: &mut Recorded, name: &str, seed: usize, image: &str) {
    let system = said("system", &words(seed as u64, 3000));
    let request = body(&[system, shown("what is it?", &[image])]);
    recorded.turn(name, 0, request, "{}".to_owned());
}

fn change(recorded: &Recorded, sql: &str) {
    let changed = sqlite(&recorded.folder).execute(sql, []).unwrap();
    assert!(changed > 0, "{sql}");
}

/// What verification finds: kinds, and the seqs of the events.
fn found(recorded: &Recorded, skip_bodies: bool) -> Vec<(FindingKind, Option<u64>)> {
    let store = ReadOnlyStore::open(recorded.folder.path()).unwrap();
    let mut options = VerifyOptions::new();
    options.skip_bodies = skip_bodies;
    let report = store.verify(&options).unwrap();
    report
        .findings
        .iter()
        .map(|finding| (finding.kind, finding.seq))
        .collect()
}

fn opened_seq(recorded: &Recorded, id: &str) -> u64 {
    let reader = ReadOnlyStore::open(recorded.folder.path())
        .unwrap()
        .reader();
    reader.get(id).unwrap().opened_seq
}

#[test]
fn a_damaged_medium_is_named_with_every_body_that_has_it_and_costs_no_other() {
    for damage in [
        "UPDATE media SET data = zeroblob(30000) WHERE media_id = 1",
        "UPDATE media SET data = substr(data, 1, 100) WHERE media_id = 1",
        "UPDATE media SET length = 1000000000 WHERE media_id = 1",
        "UPDATE media SET encoding = 2 WHERE media_id = 1",
        "UPDATE media SET data = (SELECT data FROM media WHERE media_id = 2) WHERE media_id = 1",
        "DELETE FROM media WHERE media_id = 1",
    ] {
        let (mut recorded, shared) = recorded();
        change(&recorded, damage);
        let found = found(&recorded, false);
        let reader = ReadOnlyStore::open(recorded.folder.path())
            .unwrap()
            .reader();
        for number in 0..3 {
            let id = format!("c{number}-0");
            let seq = opened_seq(&recorded, &id);
            assert!(
                found.contains(&(FindingKind::PayloadContent, Some(seq))),
                "{damage}: {found:?}"
            );
            let error = reader
                .payload(&reader.get(&id).unwrap(), PayloadSide::Request)
                .unwrap_err();
            assert!(
                error.to_string().contains(&format!("event {seq}")),
                "{damage}: {error}"
            );
            recorded.bodies.remove(&id);
        }
        recorded.check();
        // What is damaged is not referred to any more.
        recorded.reopen();
        show(&mut recorded, "later", 9, &shared);
        recorded.flush();
        recorded.check();
        for number in 0..3 {
            let selector = EraseSelector::Conversation(format!("c{number}"));
            assert!(
                recorded
                    .store()
                    .erase(&selector, "why")
                    .unwrap()
                    .is_fully_erased
            );
        }
        recorded.check();
        recorded.check_clean();
    }
}

#[test]
fn a_link_that_is_missing_is_found_and_takes_no_medium_away() {
    let (mut recorded, _) = recorded();
    let seq = opened_seq(&recorded, "c1-0");
    change(
        &recorded,
        &format!("DELETE FROM media_links WHERE payload_id = {}", seq * 4),
    );
    for skip_bodies in [false, true] {
        assert_eq!(
            found(&recorded, skip_bodies),
            [(FindingKind::PayloadContent, Some(seq))]
        );
    }
    assert_eq!(findings(&recorded.folder).len(), 1);
    recorded.reopen();
    recorded.erase("c0");
    recorded.erase("c2");
    recorded.check();
    recorded.check_clean();
}

#[test]
fn a_link_of_nothing_is_found_and_leaves_no_medium_behind() {
    let (mut recorded, shared) = recorded();
    change(
        &recorded,
        "INSERT INTO media_links VALUES (100000, 1), (100004, 77)",
    );
    assert!(
        found(&recorded, true)
            .iter()
            .all(|(kind, _)| *kind == FindingKind::PayloadUnknown)
    );
    assert_eq!(findings(&recorded.folder).len(), 2);
    recorded.reopen();
    for number in 0..3 {
        recorded.erase(&format!("c{number}"));
    }
    assert_eq!(
        (recorded.count("media"), recorded.count("media_links")),
        (1, 1)
    );
    assert!(!recorded.has_part_of(shared.as_bytes()));
    recorded.check();
    recorded.check_clean();
}

#[test]
fn a_medium_that_no_body_has_is_found_and_goes_with_the_next_removal_or_rebuild() {
    for is_rebuilt in [false, true] {
        let (mut recorded, _) = recorded();
        change(
            &recorded,
            "INSERT INTO media (media_id, digest, length, encoding, data) \
             VALUES (50, zeroblob(32), 6, 0, x'686964646e21')",
        );
        assert_eq!(
            found(&recorded, true),
            [(FindingKind::PayloadUnknown, None)]
        );
        assert_eq!(findings(&recorded.folder).len(), 1);
        if is_rebuilt {
            auditlite::rebuild(recorded.folder.path()).unwrap();
        } else {
            recorded.reopen();
            recorded.erase("c3");
        }
        recorded.check();
        recorded.check_clean();
    }
}

/// Links are made again from the payloads; media are not.
#[test]
fn a_rebuild_makes_the_links_again_and_refuses_without_the_media() {
    let (mut recorded, shared) = recorded();
    let connection = sqlite(&recorded.folder);
    connection.execute_batch("DROP TABLE media_links").unwrap();
    assert!(Store::builder(recorded.folder.path()).open().is_err());
    auditlite::rebuild(recorded.folder.path()).unwrap();
    assert_eq!(recorded.count("media_links"), 4);
    recorded.check();
    recorded.check_clean();
    recorded.reopen();
    for number in 0..3 {
        recorded.erase(&format!("c{number}"));
    }
    assert!(!recorded.has_part_of(shared.as_bytes()));
    recorded.close();
    connection.execute_batch("DROP TABLE media").unwrap();
    assert!(Store::builder(recorded.folder.path()).open().is_err());
    assert!(auditlite::rebuild(recorded.folder.path()).is_err());
}

/// Without the key, media stay in bodies; those that are there go on being read.
#[test]
fn a_lost_key_costs_no_body() {
    let (mut recorded, shared) = recorded();
    change(&recorded, "DELETE FROM media_key");
    assert_eq!(
        found(&recorded, false),
        [(FindingKind::PayloadUnknown, None)]
    );
    recorded.reopen();
    show(&mut recorded, "later", 9, &shared);
    recorded.erase("c0");
    recorded.erase("c1");
    recorded.close();
    assert_eq!(recorded.count("media"), 2);
    recorded.check();
}

/// A file of an earlier build has no tables of media.
#[test]
fn a_file_without_tables_of_media_is_read_and_gets_them() {
    let folder = Folder::new();
    let store = folder.open();
    crate::support::record(&store, "before", "a question", "an answer");
    crate::support::close(store);
    let drop = "DROP TABLE media; DROP TABLE media_links; DROP TABLE media_key";
    sqlite(&folder).execute_batch(drop).unwrap();
    crate::removal::assert_clean(&folder);
    let copy = folder.join("copy.db");
    ReadOnlyStore::open(folder.path())
        .unwrap()
        .backup(&copy, &VerifyOptions::new())
        .unwrap();
    let mut recorded = Recorded::with(folder);
    let shared = image(1, 40_000);
    show(&mut recorded, "a", 1, &shared);
    recorded.reopen();
    show(&mut recorded, "b", 2, &shared);
    recorded.bodies.insert(
        "before".to_owned(),
        ("a question".to_owned(), "an answer".to_owned()),
    );
    recorded.check_clean();
    assert_eq!(recorded.count("media"), 1);
    recorded.check();
    auditlite::rebuild(&copy).unwrap();
    let store = Store::builder(&copy).open().unwrap();
    crate::support::close(store);
}
