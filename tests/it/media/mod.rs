//! Media: what recurs in other conversations is stored once, comes back exactly, and goes with its last holder.

mod carried;
mod damaged;
mod measured;
mod random;
mod removing;
mod sharing;

use std::collections::{BTreeMap, HashSet};

use auditlite::{
    Completion, EraseSelector, Overflow, PayloadSide, ReadOnlyStore, RequestContext, Store,
};
use fastrand::Rng;
use serde_json::{Value, json};

use crate::support::{Folder, PATIENCE};

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// So many characters of base64, of bytes that do not compress.
fn image(seed: u64, characters: usize) -> String {
    let mut random = Rng::with_seed(seed);
    let mut text: String = (0..characters - 2)
        .map(|_| char::from(ALPHABET[random.usize(..64)]))
        .collect();
    text.push_str("==");
    text
}

/// Text that does not compress to nothing, and is no medium.
fn words(seed: u64, bytes: usize) -> String {
    let mut random = Rng::with_seed(seed);
    let mut text = String::new();
    while text.len() < bytes {
        text.push_str(&format!("{:x} ", random.u32(..50_000)));
    }
    text
}

/// A message that shows images among text.
fn shown(text: &str, images: &[&str]) -> Value {
    let mut parts = vec![json!({"type": "text", "text": text})];
    for image in images {
        let url = format!("data:image/png;base64,{image}");
        parts.push(json!({"type": "image_url", "image_url": {"url": url}}));
    }
    json!({"role": "user", "content": parts})
}

fn said(role: &str, text: &str) -> Value {
    json!({"role": role, "content": text})
}

fn body(messages: &[Value]) -> String {
    json!({"model": "m", "messages": messages}).to_string()
}

/// A store that sheds nothing.
fn open(folder: &Folder) -> Store {
    folder
        .builder()
        .overflow(Overflow::Wait(PATIENCE))
        .open()
        .unwrap()
}

/// A store's file, and what it must have.
struct Recorded {
    folder: Folder,
    store: Option<Store>,
    /// Request and response by the request's id.
    bodies: BTreeMap<String, (String, String)>,
}

impl Recorded {
    fn new() -> Self {
        Self::with(Folder::new())
    }

    fn with(folder: Folder) -> Self {
        let store = open(&folder);
        Self::of(folder, store)
    }

    fn of(folder: Folder, store: Store) -> Self {
        Self {
            folder,
            store: Some(store),
            bodies: BTreeMap::new(),
        }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn turn(&mut self, conversation: &str, number: usize, request: String, response: String) {
        let id = format!("{conversation}-{number}");
        let context = RequestContext::new("openai.chat")
            .request_id(id.as_str())
            .user_id(format!("user of {conversation}"))
            .conversation_id(conversation);
        let audit = self
            .store()
            .recorder()
            .open(context, request.clone())
            .unwrap();
        audit
            .complete(Completion::new().response_body(response.clone()))
            .unwrap();
        self.bodies.insert(id, (request, response));
    }

    /// Bytes of the file once everything is in it.
    fn file_bytes(&mut self) -> u64 {
        self.close();
        std::fs::metadata(self.folder.path()).unwrap().len()
    }

    fn close(&mut self) {
        if let Some(store) = self.store.take() {
            crate::support::close(store);
        }
    }

    fn reopen(&mut self) {
        self.close();
        self.store = Some(open(&self.folder));
    }

    fn flush(&self) {
        self.store().flush(PATIENCE).unwrap();
    }

    /// Every body comes back, by a reader that has read nothing before and by one that reads all.
    fn check(&self) {
        let reading = ReadOnlyStore::open(self.folder.path()).unwrap();
        for (id, (request, response)) in &self.bodies {
            let reader = reading.reader();
            let record = reader.get(id).unwrap();
            for (side, body) in [
                (PayloadSide::Request, request),
                (PayloadSide::Response, response),
            ] {
                let read = reader.payload(&record, side).unwrap();
                assert!(read.bytes == body.as_bytes(), "{id} {side:?}");
            }
        }
    }

    /// Nothing is wrong with the file, which is closed.
    fn check_clean(&mut self) {
        self.close();
        crate::removal::assert_clean(&self.folder);
    }

    fn count(&self, table: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM {table}");
        let connection = crate::support::sqlite(&self.folder);
        connection.query_row(&sql, [], |row| row.get(0)).unwrap()
    }

    fn erase(&mut self, conversation: &str) {
        let selector = EraseSelector::Conversation(conversation.to_owned());
        let report = self.store().erase(&selector, "asked for").unwrap();
        assert!(report.is_fully_erased);
        let begin = format!("{conversation}-");
        let before = self.bodies.len();
        self.bodies.retain(|id, _| !id.starts_with(&begin));
        assert_eq!(before - self.bodies.len(), report.requests as usize);
    }

    /// The packed media.
    fn packed_media(&self) -> Vec<Vec<u8>> {
        let connection = crate::support::sqlite(&self.folder);
        let mut statement = connection.prepare("SELECT data FROM media").unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }

    /// Whether the store's files have 32 bytes in a row of this.
    fn has_part_of(&self, text: &[u8]) -> bool {
        let parts: HashSet<&[u8]> = text.windows(32).collect();
        let folder = self.folder.path().parent().unwrap().to_owned();
        std::fs::read_dir(folder).unwrap().any(|entry| {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            bytes.windows(32).any(|window| parts.contains(window))
        })
    }

    /// Bytes that the media take, packed.
    fn media_bytes(&self) -> u64 {
        let connection = crate::support::sqlite(&self.folder);
        let sql = "SELECT coalesce(sum(length(data)), 0) FROM media";
        connection
            .query_row(sql, [], |row| row.get::<_, i64>(0))
            .unwrap()
            .unsigned_abs()
    }
}
