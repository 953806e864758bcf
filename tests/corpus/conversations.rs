//! Many conversations at the same time, made from recorded ones: a recorded one serves several times, each time
//! with another beginning, so that no two share what they begin with.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use auditlite::{Completion, Overflow, RequestContext, Store, StoreBuilder, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::files::{corpus, expand, is_full, lines};

/// Coding agents on GitHub issues, bodies of 80 KB.
pub(crate) const SWE_BENCH: &str = "trajectories-swebench-mini-swe-agent-gemini3.jsonl.zst";
/// Long sessions of a coding agent, bodies of up to 614 KB.
pub(crate) const CODING: &str = "trajectories-pi-coding-agent-sessions.jsonl.zst";

pub(crate) const PATIENCE: Duration = Duration::from_secs(300);
/// What the text of a message begins with, in the protocols of these two.
const TEXTS: [&[u8]; 2] = [b"\"content\":\"", b"\"text\":\""];

#[derive(Deserialize)]
struct Line<'a> {
    conversation: String,
    wire: String,
    #[serde(borrow)]
    request: &'a RawValue,
    #[serde(borrow)]
    response: &'a RawValue,
}

#[derive(Default)]
struct Recorded {
    wire: String,
    turns: Vec<(Vec<u8>, Vec<u8>)>,
}

/// So many conversations of so many turns.
pub(crate) struct Conversations {
    recorded: Vec<Recorded>,
    pub(crate) turns: usize,
}

impl Conversations {
    /// From a file of the corpus, or of a part of it; nothing where there is none.
    pub(crate) fn load(name: &str, turns: usize, folder: &Path) -> Option<Self> {
        let corpus = corpus()?;
        let limit = if is_full() { 80 } else { 10 };
        let file = expand(&corpus, name, limit, folder);
        let mut places = HashMap::new();
        let mut recorded: Vec<Recorded> = Vec::new();
        for line in lines(&file) {
            let line: Line<'_> = serde_json::from_str(&line).unwrap();
            let place = *places.entry(line.conversation).or_insert(recorded.len());
            if place == recorded.len() {
                recorded.push(Recorded::default());
            }
            let conversation = &mut recorded[place];
            let body = |raw: &RawValue| raw.get().as_bytes().to_vec();
            let turn = (body(line.request), body(line.response));
            conversation.wire = line.wire;
            conversation.turns.push(turn);
        }
        std::fs::remove_file(file).unwrap();
        recorded.retain(|conversation| conversation.turns.len() >= turns);
        assert!(!recorded.is_empty(), "{name}");
        Some(Self { recorded, turns })
    }

    pub(crate) fn request(&self, number: usize, turn: usize) -> Vec<u8> {
        let (request, _) = self.turn(number, turn);
        let ends = |start| {
            let text = |text: &&&[u8]| request[start..].starts_with(text);
            TEXTS.iter().find(text).map(|text| start + text.len())
        };
        let start = (0..request.len()).find_map(ends).unwrap();
        let number = format!("{number:x} ");
        [&request[..start], number.as_bytes(), &request[start..]].concat()
    }

    pub(crate) fn response(&self, number: usize, turn: usize) -> &[u8] {
        &self.turn(number, turn).1
    }

    /// Records one turn of a conversation, as one that arrives now.
    pub(crate) fn record(&self, store: &Store, number: usize, turn: usize) {
        self.record_at(store, number, turn, None);
    }

    pub(crate) fn record_at(
        &self,
        store: &Store,
        number: usize,
        turn: usize,
        arrived: Option<Timestamp>,
    ) {
        let wire = self.recorded[number % self.recorded.len()].wire.as_str();
        let mut context = RequestContext::new(wire)
            .request_id(request_id(number, turn))
            .conversation_id(format!("c-{number}"));
        context.started_at = arrived;
        let audit = store
            .recorder()
            .open(context, self.request(number, turn))
            .unwrap();
        let response = self.response(number, turn).to_vec();
        audit
            .complete(Completion::new().response_body(response))
            .unwrap();
    }

    /// The last turns of a recorded conversation.
    fn turn(&self, number: usize, turn: usize) -> &(Vec<u8>, Vec<u8>) {
        let turns = &self.recorded[number % self.recorded.len()].turns;
        &turns[turns.len() - self.turns + turn]
    }
}

pub(crate) fn request_id(number: usize, turn: usize) -> String {
    format!("r-{number}-{turn}")
}

pub(crate) fn builder(folder: &Path) -> StoreBuilder {
    Store::builder(folder.join("audit.db")).overflow(Overflow::Wait(PATIENCE))
}

pub(crate) fn close(store: &Store) {
    let report = store.close(PATIENCE);
    assert!(report.is_complete, "{report:?}");
    assert_eq!(report.shed_payloads + report.shed_lifecycles, 0);
}

/// Bytes of the file, and of packed bodies from an event on. The store is closed.
pub(crate) fn bytes(database: &Path, from_seq: u64) -> (u64, u64) {
    let connection = rusqlite::Connection::open(database).unwrap();
    let from_id = i64::try_from(from_seq * 4).unwrap();
    let packed: i64 = connection
        .query_row(
            "SELECT coalesce(sum(length(data)), 0) FROM payloads WHERE payload_id >= ?",
            [from_id],
            |row| row.get(0),
        )
        .unwrap();
    drop(connection);
    let file = database.metadata().unwrap().len();
    (file, u64::try_from(packed).unwrap())
}

/// Whether one is at most so many hundredths of the other, printed.
pub(crate) fn is_within(what: &str, bytes: (u64, u64), percent: u64, of: (u64, u64)) -> bool {
    eprintln!(
        "{what}: {} bytes of file and {} of bodies in place of {} and {}",
        bytes.0, bytes.1, of.0, of.1
    );
    bytes.0 * 100 <= of.0 * percent && bytes.1 * 100 <= of.1 * percent
}
