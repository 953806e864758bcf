//! Under a redaction policy, a piece ends where no secret can continue.

use auditlite::{PayloadSide, ReadOnlyStore, Redaction, Status, StoreBuilder};

use crate::support::{Folder, PATIENCE, begin, close, noise};

fn letters(name: &str, length: usize) -> String {
    let letters = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let bytes = noise(name, length).into_iter();
    bytes
        .map(|byte| char::from(letters[usize::from(byte) % letters.len()]))
        .collect()
}

fn builder(folder: &Folder) -> StoreBuilder {
    let policy = Redaction::credentials("policy-7");
    folder.builder().redaction(policy)
}

#[test]
fn a_secret_across_pieces_never_reaches_the_disk() {
    let seed = crate::seeds::seed("AUDITLITE_PIECES_SEED");
    let mut random = fastrand::Rng::with_seed(seed);
    for case in 0..4 {
        let folder = Folder::new();
        let store = builder(&folder).open().unwrap();
        let mut audit = begin(&store, "a");
        let (mut text, mut secrets) = (String::new(), Vec::new());
        for number in 0..60 {
            let name = format!("{seed}.{case}.{number}");
            text.push_str(&format!(
                "data: {{\"t\":\"{}\"}}\n\n",
                letters(&name, random.usize(..400))
            ));
            let secret = letters(&format!("{name} s"), random.usize(40..3000));
            let prefix = ["sk-", "Bearer ", "ghp_"][random.usize(..3)];
            text.push_str(&format!("data: {{\"t\":\"{prefix}{secret}\"}}\n\n"));
            secrets.push(secret);
        }
        let come = random.usize(text.len() / 2..text.len());
        let mut rest = &text.as_bytes()[..come];
        while !rest.is_empty() {
            let (chunk, later) = rest.split_at(random.usize(1..300).min(rest.len()));
            audit.chunk(chunk.to_vec());
            rest = later;
            if random.usize(..20) == 0 {
                store.flush(PATIENCE).unwrap();
            }
        }
        store.flush(PATIENCE).unwrap();
        let what = format!("AUDITLITE_PIECES_SEED={seed}, case {case}");
        let image = folder.crash_image();
        let seen = String::from_utf8(image.so_far("a").unwrap()).unwrap();
        // Where secrets stood there is little text left.
        assert!(seen.len() > 4000, "{what}: {}", seen.len());
        let policy = Redaction::credentials("policy-7");
        let redacted = policy.redact(text.as_bytes()).unwrap().into_owned();
        assert!(redacted.starts_with(seen.as_bytes()), "{what}");
        let parts = || {
            secrets
                .iter()
                .flat_map(|secret| secret.as_bytes().chunks(20))
        };
        assert_eq!(image.find(parts()), None, "{what}");
        assert_eq!(folder.find(parts()), None, "{what}");

        close(builder(&image).open().unwrap());
        let request = image.request("a");
        assert_eq!(request.status, Status::Interrupted);
        let reader = ReadOnlyStore::open(image.path()).unwrap().reader();
        let kept = reader.payload(&request, PayloadSide::Response).unwrap();
        assert_eq!(kept.bytes, seen.as_bytes());
        image.assert_sound(&what);
        let mut lines = Vec::new();
        let store = ReadOnlyStore::open(image.path()).unwrap();
        store.write_bundle(&Default::default(), &mut lines).unwrap();
        let lines = String::from_utf8(lines).unwrap();
        let mut ends = lines
            .lines()
            .filter(|line| line.contains("\"interrupted\""));
        assert!(
            ends.next()
                .unwrap()
                .contains("\"redaction_id\":\"policy-7\"")
        );
        audit.finish(200).unwrap();
    }
}

#[test]
fn a_secret_without_an_end_is_waited_for() {
    let folder = Folder::new();
    let store = builder(&folder).open().unwrap();
    let mut audit = begin(&store, "a");
    audit.chunk("{\"key\":\"sk-");
    let secret = letters("secret", 40_000);
    for chunk in secret.as_bytes().chunks(1000) {
        audit.chunk(chunk.to_vec());
    }
    store.flush(PATIENCE).unwrap();
    assert!(folder.so_far("a").is_none_or(|seen| seen == b"{"));
    audit.chunk("\"} {");
    audit.chunk(vec![b'x'; 5000]);
    store.flush(PATIENCE).unwrap();
    assert_eq!(folder.so_far("a").unwrap(), b"{\"key\":\"[redacted]\"} {");
    audit.finish(200).unwrap();
    close(store);
}

#[test]
fn under_a_function_nothing_is_written_before_the_end() {
    let folder = Folder::new();
    let policy = Redaction::credentials("p").and(|_| Ok(None));
    let store = folder.builder().redaction(policy).open().unwrap();
    let mut audit = begin(&store, "a");
    for chunk in noise("a", 50_000).chunks(1000) {
        audit.chunk(chunk.to_vec());
    }
    store.flush(PATIENCE).unwrap();
    assert_eq!(folder.pieces(), 0);
    let image = folder.crash_image();
    close(image.open());
    assert_eq!(image.request("a").response_bytes, None);
    audit.finish(200).unwrap();
    close(store);
}
