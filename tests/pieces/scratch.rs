//! Pieces are temporary: deleted with the end of their request, and given up if they are in the way.

use std::time::Duration;

use auditlite::{Completion, PayloadSide, ReadOnlyStore, Status};

use crate::support::{Folder, PATIENCE, PIECE, begin, close, marks, noise};

/// All bytes, also copies that SQLite left when it moved rows between pages.
#[test]
fn an_end_leaves_no_byte_of_pieces() {
    let folder = Folder::new();
    // Every chunk is a piece.
    let store = folder
        .builder()
        .response_pieces(Duration::ZERO, usize::MAX)
        .wal_checkpoint_bytes(64 * 1024)
        .open()
        .unwrap();
    let mut held = Vec::new();
    let seed = crate::seeds::seed("AUDITLITE_PIECES_SEED");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bodies = Vec::new();
    let mut seen = 0_u64;
    for number in 0..40 {
        let name = format!("r{number}");
        held.push((number, begin(&store, &name), 0_usize));
        bodies.push(noise(&name, 400_000));
        // Several streams at once, of pieces of all sizes.
        for _ in 0..30 {
            let place = random.usize(..held.len());
            let (number, audit, begin) = &mut held[place];
            let body = &bodies[*number];
            let longest = [300, 9000][usize::from(random.usize(..8) == 0)];
            let end = body.len().min(*begin + random.usize(50..longest));
            audit.chunk(body[*begin..end].to_vec());
            *begin = end;
            if random.usize(..4) == 0 {
                store.flush(PATIENCE).unwrap();
            }
        }
        if folder.pieces() > seen {
            seen = folder.pieces();
            let found = folder.find(bodies.iter().flat_map(|body| marks(body)));
            assert!(found.is_some(), "the search does not find");
        }
        if held.len() > 5 {
            let (_, audit, _) = held.swap_remove(random.usize(..held.len()));
            // What counts is the body in one piece, so that nothing of the stream is to be kept.
            let end = Completion::new().response_body("short");
            audit.complete(end).unwrap();
        }
    }
    // The pieces of those that go on stay where they are, beside what others left.
    store.flush(PATIENCE).unwrap();
    assert!(seen > 10 && folder.pieces() > 0, "{seen}");
    let mut ended = bodies;
    let mut places: Vec<usize> = held.iter().map(|(number, ..)| *number).collect();
    places.sort_unstable();
    for place in places.into_iter().rev() {
        ended.remove(place);
    }
    close(store);
    let left = folder.find(ended.iter().flat_map(|body| marks(body)));
    assert_eq!(left, None, "AUDITLITE_PIECES_SEED={seed}");
    drop(held);
    close(folder.open());
    assert_eq!(folder.pieces(), 0);
    folder.assert_sound("ended");
}

#[test]
fn no_room_means_no_pieces_and_nothing_else() {
    let folder = Folder::new();
    let store = folder.builder().capacity_bytes(96 * 1024).open().unwrap();
    let mut audit = begin(&store, "a");
    let body = noise("a", 50_000);
    // More than half of what there is: the chunks fit, and a copy of them does not.
    audit.chunk(body.clone());
    store.flush(PATIENCE).unwrap();
    assert_eq!(folder.pieces(), 0);
    audit.finish(200).unwrap();
    store.flush(PATIENCE).unwrap();
    assert_eq!(store.health().shed_payloads, 0);
    close(store);
    let reader = ReadOnlyStore::open(folder.path()).unwrap().reader();
    let kept = reader.payload(&folder.request("a"), PayloadSide::Response);
    assert_eq!(kept.unwrap().bytes, body);
}

#[test]
fn pieces_that_cannot_be_written_are_given_up_and_the_end_is_recorded() {
    let folder = Folder::new();
    let store = folder.open();
    let mut audit = begin(&store, "a");
    let body = noise("a", 5 * PIECE);
    audit.chunk(body[..PIECE].to_vec());
    store.flush(PATIENCE).unwrap();
    assert_eq!(folder.so_far("a").unwrap(), body[..PIECE]);
    // Somebody holds the lock for longer than the writer waits for it.
    let lock = folder.sqlite();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    audit.chunk(body[PIECE..2 * PIECE].to_vec());
    store.flush(Duration::from_secs(20)).unwrap();
    lock.execute_batch("ROLLBACK").unwrap();
    audit.chunk(body[2 * PIECE..].to_vec());
    store.flush(PATIENCE).unwrap();
    // No later one: what is there is still what came first.
    assert_eq!(folder.so_far("a").unwrap(), body[..PIECE]);
    folder.assert_sound("given up");
    let image = folder.crash_image();
    close(image.open());
    assert_eq!(image.request("a").response_bytes, Some(PIECE as u64));
    audit.finish(200).unwrap();
    close(store);
    assert_eq!(folder.request("a").response_bytes, Some(5 * PIECE as u64));
    assert_eq!(folder.pieces(), 0);
    folder.assert_sound("finished");
}

#[test]
fn pieces_of_a_request_that_has_ended_are_found_and_taken_away() {
    let folder = Folder::new();
    let store = folder.open();
    begin(&store, "a").finish(200).unwrap();
    close(store);
    let opened_seq = folder.request("a").opened_seq;
    folder
        .sqlite()
        .execute(
            "INSERT INTO response_pieces (piece_id, length, kept, encoding, padding, data) \
             VALUES (?1 * 4096, 5, 5, 0, x'', x'6279746573')",
            [opened_seq.cast_signed()],
        )
        .unwrap();
    let findings = folder.findings();
    let told = |finding: &&String| finding.contains("have ended");
    assert_eq!(findings.iter().filter(told).count(), 2, "{findings:?}");
    close(folder.open());
    assert_eq!(folder.pieces(), 0);
    folder.assert_sound("opened");
}

#[test]
fn damaged_pieces_end_what_is_kept_and_keep_no_store_from_opening() {
    let changes = [
        "UPDATE response_pieces SET data = x'00' WHERE piece_id % 4096 = 2",
        "UPDATE response_pieces SET kept = 1 << 50, length = 1 << 50 WHERE piece_id % 4096 = 2",
        "UPDATE response_pieces SET kept = kept - 1 WHERE piece_id % 4096 = 2",
        "UPDATE response_pieces SET encoding = 9 WHERE piece_id % 4096 = 2",
        "UPDATE response_pieces SET sha256 = zeroblob(32), head = 3 WHERE piece_id % 4096 = 2",
        "UPDATE response_pieces SET sha256 = x'01' WHERE piece_id % 4096 = 2",
        "DELETE FROM response_pieces WHERE piece_id % 4096 = 2",
    ];
    let folder = Folder::new();
    let store = folder.open();
    let mut audit = begin(&store, "a");
    let body = noise("a", 5 * PIECE);
    body.chunks(PIECE)
        .for_each(|chunk| audit.chunk(chunk.to_vec()));
    store.flush(PATIENCE).unwrap();
    assert_eq!(folder.pieces(), 5);
    for change in changes {
        let image = folder.crash_image();
        assert!(image.sqlite().execute(change, []).unwrap() > 0);
        assert_eq!(image.so_far("a").unwrap(), body[..2 * PIECE], "{change}");
        close(image.open());
        let request = image.request("a");
        assert_eq!(request.status, Status::Interrupted, "{change}");
        assert_eq!(request.response_bytes, Some(2 * PIECE as u64), "{change}");
        image.assert_sound(change);
    }
    drop(audit);
}
