//! What an `interrupted` request keeps.

use std::time::{Duration, Instant};

use auditlite::{
    Capture, Completion, EXCERPT_BYTES, EraseSelector, PayloadSide, ReadError, ReadOnlyStore,
    RequestContext, Status, Timestamp, WireProtocol,
};

use crate::support::{Folder, PATIENCE, PIECE, begin, close, marks, noise};

#[test]
fn an_interrupted_request_keeps_what_was_seen_of_its_response() {
    let folder = Folder::new();
    let store = folder.open();
    let body = noise("a", 10_000);
    let mut audit = begin(&store, "a");
    body.chunks(1000)
        .for_each(|chunk| audit.chunk(chunk.to_vec()));
    store.flush(PATIENCE).unwrap();
    let image = folder.crash_image();

    // Before anybody opens it for writing.
    let seen = image.so_far("a").unwrap();
    assert_eq!(seen, body[..10_000 / PIECE * 5000]);
    assert_eq!(image.request("a").status, Status::Pending);
    image.assert_sound("killed");

    close(image.open());
    let request = image.request("a");
    assert_eq!(request.status, Status::Interrupted);
    assert_eq!(request.response_bytes, Some(seen.len() as u64));
    let reader = ReadOnlyStore::open(image.path()).unwrap().reader();
    let kept = reader.payload(&request, PayloadSide::Response).unwrap();
    assert_eq!(kept.bytes, seen);
    assert!(!kept.is_truncated());
    assert_eq!(reader.response_so_far(&request).unwrap(), None);
    assert_eq!(image.pieces(), 0);
    image.assert_sound("interrupted");

    // The one that did not die goes on, and has all of it.
    audit.finish(200).unwrap();
    close(store);
    let reader = ReadOnlyStore::open(folder.path()).unwrap().reader();
    let whole = reader.payload(&folder.request("a"), PayloadSide::Response);
    assert_eq!(whole.unwrap().bytes, body);
    assert_eq!(folder.pieces(), 0);
    folder.assert_sound("finished");
}

#[test]
fn what_was_seen_says_usage_model_and_tool_calls() {
    let folder = Folder::new();
    let store = folder.open();
    let context = RequestContext::new(WireProtocol::AnthropicMessages).request_id("a");
    let mut audit = store.recorder().open(context, "{}").unwrap();
    audit.chunk(
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\
         \"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-x\",\"content\":[],\
         \"usage\":{\"input_tokens\":77,\"output_tokens\":1}}}\n\n\
         event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\
         \"content_block\":{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"look_up\",\
         \"input\":{}}}\n\n",
    );
    for number in 0..PIECE / 100 {
        audit.chunk(format!(
            "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\
             \"delta\":{{\"type\":\"input_json_delta\",\"partial_json\":\"{number} \"}}}}\n\n"
        ));
    }
    store.flush(PATIENCE).unwrap();
    let image = folder.crash_image();
    close(image.open());
    let request = image.request("a");
    assert_eq!(request.status, Status::Interrupted);
    assert_eq!(request.response_model.as_deref(), Some("claude-x"));
    assert_eq!(request.response_id.as_deref(), Some("msg_1"));
    assert_eq!(request.input_tokens, Some(77));
    let reader = ReadOnlyStore::open(image.path()).unwrap().reader();
    let calls = reader.tool_calls(&request).unwrap();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].tool_name, "look_up");
    image.assert_sound("interrupted");
    drop(audit);
}

#[test]
fn above_the_payload_cap_beginning_end_length_and_digest_are_kept() {
    let folder = Folder::new();
    let cap = 64 * 1024;
    let builder = |folder: &Folder| folder.builder().payload_bytes_max(cap);
    let store = builder(&folder).open().unwrap();
    let body = noise("a", 150_000);
    let mut audit = begin(&store, "a");
    let mut images = Vec::new();
    for chunk in body.chunks(5000) {
        audit.chunk(chunk.to_vec());
        store.flush(PATIENCE).unwrap();
        images.push(folder.crash_image());
    }
    for (number, image) in images.into_iter().enumerate() {
        let come = (number + 1) * 5000;
        let seen = &body[..come];
        assert!(image.pieces() > 0);
        image.assert_sound("killed");
        close(builder(&image).open().unwrap());
        let request = image.request("a");
        // Every chunk is a piece here.
        assert_eq!(request.response_bytes, Some(come as u64));
        let reader = ReadOnlyStore::open(image.path()).unwrap().reader();
        let kept = reader.payload(&request, PayloadSide::Response).unwrap();
        assert_eq!(kept.is_truncated(), come > cap, "{come}");
        if come > cap {
            let (head, tail) = kept.bytes.split_at(kept.head.unwrap() as usize);
            assert!(head.len() > EXCERPT_BYTES - 4 && seen.starts_with(head));
            assert!(tail.len() > EXCERPT_BYTES - 4 && seen.ends_with(tail));
            use sha2::Digest as _;
            assert_eq!(kept.sha256.0, <[u8; 32]>::from(sha2::Sha256::digest(seen)));
        } else {
            assert_eq!(kept.bytes, seen);
        }
        assert_eq!(image.pieces(), 0);
        image.assert_sound("interrupted");
    }
    // Never more than the cap, and the ends alone above it.
    assert_eq!(folder.pieces(), 1);
    audit.finish(200).unwrap();
    close(store);
    assert_eq!(folder.request("a").response_bytes, Some(150_000));
    folder.assert_sound("finished");
}

#[test]
fn a_smaller_cap_at_the_next_opening_holds_for_what_was_seen_too() {
    let folder = Folder::new();
    let store = folder.open();
    let body = noise("a", 80_000);
    let mut audit = begin(&store, "a");
    body.chunks(5000)
        .for_each(|chunk| audit.chunk(chunk.to_vec()));
    store.flush(PATIENCE).unwrap();
    let image = folder.crash_image();
    close(image.builder().payload_bytes_max(32 * 1024).open().unwrap());
    let request = image.request("a");
    assert_eq!(request.response_bytes, Some(80_000));
    let reader = ReadOnlyStore::open(image.path()).unwrap().reader();
    let kept = reader.payload(&request, PayloadSide::Response).unwrap();
    assert!(kept.is_truncated());
    image.assert_sound("interrupted");
    drop(audit);
}

#[test]
fn a_slow_stream_is_written_as_time_passes() {
    let folder = Folder::new();
    let interval = Duration::from_millis(20);
    let store = folder
        .builder()
        .response_pieces(interval, usize::MAX)
        .open()
        .unwrap();
    let mut audit = begin(&store, "a");
    let begun = Instant::now();
    let mut come = 0;
    while begun.elapsed() < PATIENCE {
        audit.chunk("x");
        come += 1;
        if begun.elapsed() > interval {
            store.flush(PATIENCE).unwrap();
            if folder.so_far("a").is_some() {
                break;
            }
        }
    }
    let seen = folder.so_far("a").unwrap();
    assert!((1..=come).contains(&seen.len()) && seen.iter().all(|&byte| byte == b'x'));
    audit.finish(200).unwrap();
    close(store);
}

/// What is written for a response that is short, of the past or not to be kept: nothing.
#[test]
fn other_responses_have_no_pieces() {
    let folder = Folder::new();
    let store = folder.open();
    let context = |id: &str| RequestContext::new(WireProtocol::Unknown).request_id(id);
    let contexts = [
        (context("short"), PIECE - 1),
        (
            context("past").started_at(Timestamp::from_micros(1_700_000_000_000_000)),
            10 * PIECE,
        ),
        (context("digest").capture(Capture::MetadataOnly), 10 * PIECE),
    ];
    let mut held = Vec::new();
    for (context, length) in contexts {
        let mut audit = store.recorder().open(context, "{}").unwrap();
        noise("n", length)
            .chunks(1000)
            .for_each(|chunk| audit.chunk(chunk.to_vec()));
        held.push(audit);
    }
    store.flush(PATIENCE).unwrap();
    assert_eq!(folder.pieces(), 0);
    let image = folder.crash_image();
    close(image.open());
    for id in ["short", "past", "digest"] {
        let request = image.request(id);
        assert_eq!(request.status, Status::Interrupted);
        assert_eq!(request.response_bytes, None);
    }
    drop(held);
    close(store);
}

#[test]
fn many_interrupted_streams_are_ended_in_bounded_steps() {
    let folder = Folder::new();
    let store = folder.open();
    let length = 700_000;
    let mut held = Vec::new();
    for number in 0..12 {
        let id = format!("r{number}");
        let mut audit = begin(&store, &id);
        for chunk in noise(&id, length).chunks(100_000) {
            audit.chunk(chunk.to_vec());
            store.flush(PATIENCE).unwrap();
        }
        held.push(audit);
    }
    let image = folder.crash_image();
    close(image.open());
    let reader = ReadOnlyStore::open(image.path()).unwrap().reader();
    for number in 0..12 {
        let id = format!("r{number}");
        let request = reader.get(&id).unwrap();
        let kept = reader.payload(&request, PayloadSide::Response).unwrap();
        assert_eq!(kept.bytes, noise(&id, length));
    }
    // More than one transaction: no segment has all of them.
    let sql = "SELECT max(count) FROM log_segments";
    let most: i64 = image.sqlite().query_row(sql, [], |row| row.get(0)).unwrap();
    assert!(most < 12, "{most}");
    image.assert_sound("interrupted");
    drop(held);
}

#[test]
fn erasing_an_interrupted_request_leaves_no_byte_of_what_was_seen() {
    let folder = Folder::new();
    let store = folder.open();
    let body = noise("secret", 200_000);
    let mut audit = begin(&store, "a");
    let mut other = begin(&store, "b");
    for chunk in body.chunks(3000) {
        audit.chunk(chunk.to_vec());
        other.chunk(noise("other", 2000));
        store.flush(PATIENCE).unwrap();
    }
    let image = folder.crash_image();
    let is_anywhere = |folder: &Folder| folder.find(marks(&body)).is_some();
    assert!(is_anywhere(&image), "the search finds nothing");
    let store = image.open();
    let report = store
        .erase(&EraseSelector::Request("a".to_owned()), "why")
        .unwrap();
    assert!(report.is_fully_erased && report.requests == 1, "{report:?}");
    assert!(!is_anywhere(&image));
    close(store);
    assert!(!is_anywhere(&image));
    let request = image.request("a");
    let reader = ReadOnlyStore::open(image.path()).unwrap().reader();
    let body = reader.payload(&request, PayloadSide::Response);
    assert!(matches!(body, Err(ReadError::NotKept { .. })), "{body:?}");
    image.assert_sound("erased");
    drop((audit, other));
}

#[test]
fn a_backup_of_a_stream_under_way_keeps_its_pieces() {
    let folder = Folder::new();
    let store = folder.open();
    let body = noise("a", 3 * PIECE);
    let mut audit = begin(&store, "a");
    audit.chunk(body.clone());
    store.flush(PATIENCE).unwrap();
    let copy = Folder::new();
    let backup = ReadOnlyStore::open(folder.path()).unwrap();
    let report = backup.backup(copy.path(), &Default::default()).unwrap();
    assert_eq!(report.verified.findings, []);
    assert_eq!(copy.so_far("a").unwrap(), body);
    close(copy.open());
    assert_eq!(copy.request("a").response_bytes, Some(body.len() as u64));
    audit
        .complete(Completion::new().response_body("whole"))
        .unwrap();
    close(store);
    assert_eq!(folder.request("a").response_bytes, Some(5));
}
