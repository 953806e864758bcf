//! A medium goes with the last body that has it, and with no other.

use std::time::Duration;

use auditlite::{EraseSelector, ReadOnlyStore, Retention};

use super::sharing::converse;
use super::{Recorded, body, image, said, shown, words};

#[test]
fn erasing_takes_a_medium_from_no_other_conversation_and_leaves_nothing_after_the_last() {
    let (shared, other) = (image(1, 150_000), image(2, 60_000));
    let mut recorded = Recorded::new();
    for number in 0..40 {
        converse(&mut recorded, &format!("c{number}"), number, &shared);
    }
    converse(&mut recorded, "other", 40, &other);
    recorded.flush();
    let packed = recorded.packed_media();
    assert_eq!(packed.len(), 2);
    for number in (1..40).rev() {
        recorded.erase(&format!("c{number}"));
    }
    recorded.check();
    recorded.erase("c0");
    assert_eq!(recorded.count("media"), 1);
    recorded.check();
    for text in [shared.as_bytes(), &packed[0]] {
        assert!(!recorded.has_part_of(text));
    }
    assert!(recorded.has_part_of(&packed[1]));
    recorded.check_clean();
}

/// The first conversation is what all others are packed against: erasing it repacks them.
#[test]
fn what_is_repacked_has_no_copy_of_a_medium() {
    let shared = image(3, 200_000);
    let mut recorded = Recorded::new();
    let system = words(1, 4000);
    for number in 0..20 {
        let messages = [
            said("system", &system),
            shown("what is it?", &[&shared]),
            said("user", &words(number, 300)),
        ];
        recorded.turn(&format!("c{number}"), 0, body(&messages), "{}".to_owned());
    }
    recorded.flush();
    assert_eq!(recorded.count("media_links"), 1);
    recorded.erase("c0");
    assert_eq!(
        (recorded.count("media"), recorded.count("media_links")),
        (1, 19)
    );
    recorded.check();
    for number in 1..20 {
        recorded.erase(&format!("c{number}"));
    }
    assert_eq!(recorded.count("media"), 0);
    assert!(!recorded.has_part_of(shared.as_bytes()));
    recorded.check_clean();
}

/// A later turn has the medium by its base only. It needs it when the base goes.
#[test]
fn a_request_that_has_a_medium_by_its_base_keeps_it_when_the_base_goes() {
    let shared = image(4, 100_000);
    let mut recorded = Recorded::new();
    let mut messages = vec![shown("what is it?", &[&shared])];
    for turn in 0..3 {
        recorded.turn("c", turn, body(&messages), "{}".to_owned());
        messages.push(said("user", &words(turn as u64, 200)));
    }
    recorded.flush();
    let selector = EraseSelector::Request("c-0".to_owned());
    assert!(
        recorded
            .store()
            .erase(&selector, "why")
            .unwrap()
            .is_fully_erased
    );
    recorded.bodies.remove("c-0");
    recorded.check();
    recorded.erase("c");
    assert!(!recorded.has_part_of(shared.as_bytes()));
    recorded.check_clean();
}

#[test]
fn pruning_takes_media_with_the_last_body_and_counts_them() {
    let shared = image(5, 150_000);
    let mut recorded = Recorded::new();
    for number in 0..10 {
        converse(&mut recorded, &format!("c{number}"), number, &shared);
    }
    recorded.flush();
    let packed = recorded.packed_media();
    let all = Retention::new().content_older_than(Duration::ZERO);
    let preview = ReadOnlyStore::open(recorded.folder.path())
        .unwrap()
        .preview_prune(&all)
        .unwrap();
    assert!(
        preview.payload_bytes > packed[0].len() as u64,
        "{preview:?}"
    );
    let report = recorded.store().prune(&all).unwrap();
    assert_eq!(report.payload_bytes, preview.payload_bytes);
    assert_eq!(recorded.count("media"), 0);
    recorded.bodies.clear();
    for text in [shared.as_bytes(), &packed[0]] {
        assert!(!recorded.has_part_of(text));
    }
    recorded.check_clean();
}

/// What is shared with a conversation that stays is not counted as freed.
#[test]
fn a_preview_counts_the_media_that_would_go() {
    let (shared, own) = (image(6, 80_000), image(7, 80_000));
    let mut recorded = Recorded::new();
    for (name, seed, shows) in [("a", 1, vec![&*shared, &*own]), ("b", 2, vec![&*shared])] {
        // Neither is packed against the other.
        let messages = [
            said("system", &words(seed, 1000)),
            shown("what is it?", &shows),
        ];
        recorded.turn(name, 0, body(&messages), "{}".to_owned());
    }
    recorded.flush();
    let selector = EraseSelector::Conversation("a".to_owned());
    let reading = ReadOnlyStore::open(recorded.folder.path()).unwrap();
    let preview = reading.preview_erase(&selector).unwrap();
    let packed = recorded.packed_media();
    let one = packed[0].len() as u64;
    assert!(
        (one..one + 5000).contains(&preview.payload_bytes),
        "{preview:?}"
    );
    let report = recorded.store().erase(&selector, "why").unwrap();
    assert_eq!(report.payload_bytes, preview.payload_bytes);
    recorded.bodies.remove("a-0");
    recorded.check();
    recorded.check_clean();
}
