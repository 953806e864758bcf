//! Damaged files: opened, read, checked and written to. Every read gives what was recorded, or an error; nothing
//! panics, and nothing runs without end.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use fastrand::Rng;

use super::mutation::fuzz;
use crate::{
    Completion, HealthState, ListOptions, PayloadSide, ReadOnlyStore, RequestContext,
    RequestFilter, StatsFilter, Store, ToolCall, Usage,
};

const PAGE_BYTES: usize = 4096;

/// A file with a bit of everything, and what its bodies are.
fn template(path: &Path) -> HashMap<(String, PayloadSide), Vec<u8>> {
    let store = Store::builder(path)
        .payload_bytes_max(16 * 1024)
        .open()
        .unwrap();
    let recorder = store.recorder();
    let mut bodies = HashMap::new();
    let mut history = String::new();
    for number in 0..40 {
        let id = format!("r-{number}");
        history.push_str(&format!(
            "[turn {number} says something new, and says it at length]"
        ));
        let body = match number % 8 {
            7 => format!("{number} long ").repeat(3000),
            _ => history.clone(),
        };
        let context = RequestContext::new("openai.chat")
            .request_id(id.as_str())
            .conversation_id(format!("c-{}", number % 3))
            .user_id("u")
            .attribute("k", "v");
        let mut audit = recorder.open(context, body.clone()).unwrap();
        audit.set_served_model("m");
        let answer = format!("answer {number}, and more of it").repeat(20);
        let completion = Completion::new()
            .usage(Usage::new(1, 2))
            .tool_call(ToolCall::new("id", "name", "{}"))
            .response_body(answer.clone());
        match number % 5 {
            4 => drop(audit),
            _ => drop(audit.complete(completion).unwrap()),
        }
        bodies.insert((id.clone(), PayloadSide::Request), body.into_bytes());
        bodies.insert((id, PayloadSide::Response), answer.into_bytes());
        if number % 6 == 0 {
            store.flush(Duration::from_secs(60)).unwrap();
        }
    }
    assert!(store.close(Duration::from_secs(60)).is_complete);
    bodies
}

fn damage(rng: &mut Rng, bytes: &mut Vec<u8>) {
    let pages = bytes.len() / PAGE_BYTES;
    for _ in 0..1 + rng.usize(..4) {
        let page = rng.usize(..pages) * PAGE_BYTES;
        let other = rng.usize(..pages) * PAGE_BYTES;
        let at = rng.usize(..bytes.len());
        let end = (at + 1 + rng.usize(..64)).min(bytes.len());
        match rng.u8(..8) {
            0 => bytes[at] ^= 1 << rng.u8(..8),
            1 => bytes[at..end]
                .iter_mut()
                .for_each(|byte| *byte = rng.u8(..)),
            2 => bytes[page..page + PAGE_BYTES].fill(0),
            3 => bytes.copy_within(other..other + PAGE_BYTES, page),
            // Damage in the headers of pages and of the file has the largest effect.
            4 => bytes[page + rng.usize(..16)] = rng.u8(..),
            5 => bytes[rng.usize(..100)] = rng.u8(..),
            6 => bytes[at..end].fill(0xFF),
            _ => {
                bytes.truncate(at.max(PAGE_BYTES));
                return;
            }
        }
    }
}

#[test]
fn a_damaged_file_gives_what_was_recorded_or_an_error() {
    let memory = Path::new("/dev/shm");
    let folder = match memory.is_dir() {
        true => tempfile::tempdir_in(memory),
        false => tempfile::tempdir(),
    };
    let folder = folder.unwrap();
    let path = folder.path().join("template.db");
    let bodies = template(&path);
    let whole = std::fs::read(&path).unwrap();
    let mut number = 0_u64;
    fuzz("AUDITLITE_FUZZ_FILE_SEED", |rng| {
        number += 1;
        let path = folder.path().join(format!("{number}.db"));
        let mut bytes = whole.clone();
        damage(rng, &mut bytes);
        std::fs::write(&path, &bytes).unwrap();
        read(&path, &bodies);
        // A reader never changes what it reads.
        assert!(
            std::fs::read(&path).unwrap() == bytes,
            "a reader changed the file"
        );
        if rng.u8(..3) == 0 {
            write(&path);
        }
        for end in ["", "-wal", "-shm", ".lock", "-lock"] {
            let mut name = path.clone().into_os_string();
            name.push(end);
            let _ = std::fs::remove_file(name);
        }
    });
}

/// Found by the fuzzing: rusqlite panics over names of columns that are not text.
#[test]
fn a_schema_that_is_not_text_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    template(&path);
    let mut bytes = std::fs::read(&path).unwrap();
    let name = b"response_provider_name";
    let places: Vec<usize> = (0..bytes.len() - name.len())
        .filter(|&at| bytes[at..].starts_with(name))
        .collect();
    for at in places {
        bytes[at + 5] = 0xFF;
    }
    std::fs::write(&path, &bytes).unwrap();
    let error = ReadOnlyStore::open(&path).unwrap_err();
    assert!(matches!(error, crate::OpenError::Damaged { .. }), "{error}");
    let error = Store::builder(&path).open().unwrap_err();
    assert!(matches!(error, crate::OpenError::Damaged { .. }), "{error}");
}

fn read(path: &Path, bodies: &HashMap<(String, PayloadSide), Vec<u8>>) {
    let Ok(store) = ReadOnlyStore::open(path) else {
        return;
    };
    let reader = store.reader();
    let _ = store.doctor();
    let _ = reader.stats(&StatsFilter::default());
    let _ = reader.get("r-1");
    let Ok(page) = reader.list(&RequestFilter::default(), &ListOptions::new().limit(1000)) else {
        return;
    };
    for request in &page.requests {
        let _ = reader.tool_calls(request);
        let _ = reader.messages(request);
        let _ = reader.assistant_text(request);
        let _ = reader.upstream_body(request);
        for side in [PayloadSide::Request, PayloadSide::Response] {
            let _ = reader.body_info(request, side);
            let Ok(payload) = reader.payload(request, side) else {
                continue;
            };
            let recorded = bodies.values().any(|body| *body == payload.bytes);
            let is_excerpt = payload.is_truncated();
            // Damage can give a request another one's body, which verifying the log tells; it
            // cannot give it one that nobody sent.
            assert!(
                recorded || is_excerpt || payload.bytes.is_empty(),
                "{} {side}: a body that was never recorded",
                request.request_id
            );
        }
    }
}

fn write(path: &Path) {
    let builder = Store::builder(path).close_timeout(Duration::from_millis(200));
    let Ok(store) = builder.open() else {
        return;
    };
    if let Ok(audit) = store.recorder().open(RequestContext::new(""), "a request") {
        let _ = audit.complete(Completion::new());
    }
    let _ = store.flush(Duration::from_millis(200));
    let health = store.health();
    if health.state == HealthState::Failed {
        let problem = health.problem.unwrap_or_default();
        assert!(!problem.contains("panicked"), "{problem}");
    }
    let begun = std::time::Instant::now();
    let _ = store.close(Duration::from_millis(500));
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "a close without end"
    );
}
