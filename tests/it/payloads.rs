//! Bodies: exactly as sent, or an exact excerpt; digest and length always of the whole.

use auditlite::{
    Capture, Completion, EXCERPT_BYTES, ListOptions, PayloadSide, ReadError, Reader,
    RequestContext, RequestFilter, RequestRecord,
};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::support::{Folder, PATIENCE, close, findings, sqlite};

const CAP: usize = 64 * 1024;

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

fn text(length: usize) -> Vec<u8> {
    "aß漢🦀 ".bytes().cycle().take(length).collect()
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(length)
    .collect()
}

fn check(reader: &Reader, request: &RequestRecord, side: PayloadSide, body: &[u8]) {
    let info = reader.body_info(request, side).unwrap().unwrap();
    assert_eq!(info.length, body.len() as u64);
    assert_eq!(info.sha256.unwrap().0, digest(body));
    let payload = reader.payload(request, side).unwrap();
    assert_eq!(payload.length, body.len() as u64);
    assert_eq!(payload.sha256.0, digest(body));
    if body.len() <= CAP {
        assert_eq!(payload.bytes, body);
        assert!(!payload.is_truncated());
        return;
    }
    let head = payload.head.unwrap() as usize;
    let (head, tail) = payload.bytes.split_at(head);
    assert!(body.starts_with(head) && body.ends_with(tail));
    assert!(head.len() <= EXCERPT_BYTES && head.len() > EXCERPT_BYTES - 4);
    assert!(tail.len() <= EXCERPT_BYTES && tail.len() > EXCERPT_BYTES - 4);
    assert_eq!(
        payload.dropped() as usize,
        body.len() - head.len() - tail.len()
    );
}

#[test]
fn bodies_of_every_kind_come_back_exactly() {
    let folder = Folder::new();
    let store = folder.builder().payload_bytes_max(CAP).open().unwrap();
    let bodies: Vec<Vec<u8>> = [
        0,
        1,
        63,
        64,
        65,
        1000,
        CAP - 1,
        CAP,
        CAP + 1,
        3 * CAP,
        1 << 20,
    ]
    .into_iter()
    .flat_map(|length| [text(length), noise(length), vec![0; length]])
    .collect();
    for (number, body) in bodies.iter().enumerate() {
        let context = RequestContext::new("").request_id(format!("r-{number}"));
        let audit = store.recorder().open(context, body.clone()).unwrap();
        audit
            .complete(Completion::new().response_body(body.clone()))
            .unwrap();
    }
    store.flush(PATIENCE).unwrap();
    let reader = store.reader();
    for (number, body) in bodies.iter().enumerate() {
        let request = reader.find(&format!("r-{number}"), 1).unwrap().remove(0);
        check(&reader, &request, PayloadSide::Request, body);
        check(&reader, &request, PayloadSide::Response, body);
    }
    close(store);
    assert!(findings(&folder).is_empty());
}

#[test]
fn a_streamed_response_is_joined_whatever_its_length() {
    let folder = Folder::new();
    let store = folder.builder().payload_bytes_max(CAP).open().unwrap();
    let cases = [
        (0, 1),
        (5, 1),
        (CAP, 1000),
        (CAP + 1, 1000),
        (5 << 20, 10_000),
        (5 << 20, 3 << 20),
    ];
    for (number, (length, size)) in cases.into_iter().enumerate() {
        let body = text(length);
        let context = RequestContext::new("").request_id(format!("r-{number}"));
        let mut audit = store.recorder().open(context, "q").unwrap();
        for chunk in body.chunks(size) {
            audit.chunk(Bytes::copy_from_slice(chunk));
        }
        let receipt = audit.complete(Completion::new()).unwrap();
        receipt.wait(PATIENCE).unwrap();
        let request = store.reader().get(&format!("r-{number}")).unwrap();
        if length == 0 {
            assert_eq!(request.response_bytes, None);
            let error = store
                .reader()
                .payload(&request, PayloadSide::Response)
                .unwrap_err();
            assert!(matches!(error, ReadError::NoBody { .. }), "{error}");
        } else {
            assert_eq!(request.response_bytes, Some(length as u64));
            assert!(request.time_to_first_chunk_us.is_some());
            check(&store.reader(), &request, PayloadSide::Response, &body);
        }
    }
    close(store);
    assert!(findings(&folder).is_empty());
}

#[test]
fn without_capture_digests_and_lengths_are_recorded_all_the_same() {
    let folder = Folder::new();
    let store = folder
        .builder()
        .capture(Capture::MetadataOnly)
        .open()
        .unwrap();
    let body = text(1000);
    let open = |id: &str, capture| {
        let mut context = RequestContext::new("").request_id(id);
        context.capture = capture;
        store.recorder().open(context, body.clone()).unwrap()
    };
    let mut audit = open("off", None);
    audit.chunk(Bytes::from(body.clone()));
    audit
        .complete(Completion::new().assistant_text("secret words"))
        .unwrap();
    open("on", Some(Capture::Full))
        .complete(Completion::new().response_body(body.clone()))
        .unwrap();
    store.flush(PATIENCE).unwrap();
    let reader = store.reader();
    let off = reader.get("off").unwrap();
    for side in [PayloadSide::Request, PayloadSide::Response] {
        let info = reader.body_info(&off, side).unwrap().unwrap();
        assert_eq!((info.length, info.kept), (1000, 0));
        assert_eq!(info.sha256.unwrap().0, digest(&body));
        let error = reader.payload(&off, side).unwrap_err();
        assert!(matches!(error, ReadError::NotKept { .. }), "{error}");
    }
    assert_eq!(reader.assistant_text(&off).unwrap(), None);
    let on = reader.get("on").unwrap();
    check(&reader, &on, PayloadSide::Request, &body);
    check(&reader, &on, PayloadSide::Response, &body);
    close(store);
    // Nothing of the content is anywhere in the file.
    let raw = std::fs::read(folder.path()).unwrap();
    assert!(!raw.windows(12).any(|window| window == b"secret words"));
}

#[test]
fn a_body_that_was_changed_in_the_file_is_an_error_not_an_answer() {
    let folder = Folder::new();
    let store = folder.open();
    for id in ["r-1", "r-2", "r-3", "r-4"] {
        let request = format!("{id} {}", "word ".repeat(1000));
        crate::support::record(&store, id, &request, &"word ".repeat(200));
    }
    close(store);
    let connection = sqlite(&folder);
    let change = |sql: &str| connection.execute(sql, []).unwrap();
    // A byte of the data; a length that asks for gigabytes; another body's data.
    change(
        "UPDATE payloads SET data = zeroblob(length(data)) WHERE payload_id = (SELECT opened_seq * 4 FROM requests WHERE request_id = 'r-1')",
    );
    change(
        "UPDATE payloads SET length = 1 << 40, kept = 1 << 40 WHERE payload_id = (SELECT opened_seq * 4 FROM requests WHERE request_id = 'r-2')",
    );
    change(
        "UPDATE payloads SET data = x'61', encoding = 0 WHERE payload_id = (SELECT opened_seq * 4 FROM requests WHERE request_id = 'r-3')",
    );
    // Another body of the same length, so that only the digest can tell.
    change(&format!(
        "UPDATE payloads SET data = CAST('{}' AS BLOB), encoding = 0, base_id = NULL, second_base_id = NULL WHERE payload_id = (SELECT opened_seq * 4 FROM requests WHERE request_id = 'r-4')",
        "x".repeat(5004)
    ));
    let store = folder.open();
    for id in ["r-1", "r-2", "r-3", "r-4"] {
        let request = store.reader().get(id).unwrap();
        let read = |side| store.reader().payload(&request, side).unwrap_err();
        let error = read(PayloadSide::Request);
        assert!(matches!(error, ReadError::Damaged(_)), "{id}: {error}");
        // The response is packed against its request: the error names what is damaged.
        let error = read(PayloadSide::Response).to_string();
        assert!(error.contains("damaged"), "{id}: {error}");
    }
    let last = store.reader().get("r-4").unwrap();
    let error = store
        .reader()
        .payload(&last, PayloadSide::Response)
        .unwrap_err();
    let named = format!("the body of event {} is damaged", last.opened_seq);
    assert!(error.to_string().contains(&named), "{error}");
}

#[test]
fn digests_of_many_bodies_are_those_of_each_also_after_a_removal() {
    let folder = Folder::new();
    let store = folder.open();
    for number in 0..40 {
        let context = RequestContext::new("")
            .request_id(format!("r{number}"))
            .user_id(format!("u{}", number % 4));
        let audit = store.recorder().open(context, noise(number * 7)).unwrap();
        let response = noise(number);
        let end = Completion::new().response_body(response);
        audit.complete(end).unwrap().wait(PATIENCE).unwrap();
    }
    let reader = store.reader();
    let mut infos = reader.body_infos();
    let mut all = || {
        let page = reader
            .list(&RequestFilter::default(), &ListOptions::new().limit(100))
            .unwrap();
        assert_eq!(page.requests.len(), 40);
        let mut known = 0;
        for request in &page.requests {
            let sides = [PayloadSide::Request, PayloadSide::Response];
            let each = sides.map(|side| reader.body_info(request, side).unwrap());
            known += each
                .iter()
                .flatten()
                .filter(|info| info.sha256.is_some())
                .count();
            assert_eq!(infos.get(request).unwrap(), each, "{}", request.request_id);
        }
        known
    };
    let before = all();
    let user = auditlite::EraseSelector::User("u1".to_owned());
    store.erase(&user, "a test").unwrap();
    let after = all();
    assert!(after < before, "{after} of {before}");
    close(store);
}
