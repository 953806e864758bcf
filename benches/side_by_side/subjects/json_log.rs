//! A batching log of JSON text in SQLite, as gateways have it: bodies parsed on the request's thread,
//! one row for each finished request and one with both bodies as JSON text, eight indexes, a writer
//! thread. A request that has not ended leaves no trace, and `synchronous = NORMAL` may lose the end.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use jiff::Timestamp;
use rusqlite::{Connection, params};
use serde_json::Value;

use super::super::common::bytes_on_disk;
use super::super::gateway::Lifecycle;
use super::Subject;

const BATCH_ROWS_MAX: usize = 16_384;

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    CREATE TABLE logs (
        id INTEGER PRIMARY KEY, request_id TEXT NOT NULL, timestamp TEXT NOT NULL,
        created_at TEXT NOT NULL, status TEXT NOT NULL, provider TEXT, model TEXT, user_id TEXT,
        group_id TEXT, conversation_id TEXT, user_agent TEXT, latency_ms REAL,
        input_tokens INTEGER, output_tokens INTEGER, total_tokens INTEGER, cost REAL
    );
    CREATE INDEX logs_by_time ON logs (timestamp);
    CREATE INDEX logs_by_time_and_use ON logs (timestamp, total_tokens, cost);
    CREATE INDEX logs_by_status ON logs (status, timestamp);
    CREATE INDEX logs_by_provider ON logs (provider, model, timestamp);
    CREATE INDEX logs_by_model ON logs (model, timestamp);
    CREATE INDEX logs_by_user ON logs (user_id, timestamp);
    CREATE INDEX logs_by_group ON logs (group_id, timestamp);
    CREATE INDEX logs_by_user_agent ON logs (user_agent, timestamp);
    CREATE TABLE payloads (log INTEGER PRIMARY KEY, request TEXT NOT NULL, response TEXT NOT NULL);";

struct Row {
    request_id: String,
    at: Timestamp,
    provider: Option<String>,
    model: Option<String>,
    user_id: Option<String>,
    conversation_id: Option<String>,
    latency_ms: f64,
    input_tokens: i64,
    output_tokens: i64,
    request: Value,
    response: Value,
}

impl Row {
    fn of(lifecycle: Lifecycle) -> Self {
        let usage = lifecycle.usage();
        let latency_ms = lifecycle.latency_us() as f64 / 1000.0;
        let response = parsed(lifecycle.response());
        let context = lifecycle.context;
        Self {
            request_id: lifecycle.request_id,
            at: Timestamp::now(),
            provider: context.provider_name,
            model: context.request_model,
            user_id: context.user_id,
            conversation_id: context.conversation_id,
            latency_ms,
            input_tokens: usage.input_tokens.unwrap_or(0) as i64,
            output_tokens: usage.output_tokens.unwrap_or(0) as i64,
            request: parsed(&lifecycle.request),
            response,
        }
    }
}

fn parsed(body: &[u8]) -> Value {
    serde_json::from_slice(body)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned()))
}

pub(crate) struct JsonLog {
    sender: Option<Sender<Box<Row>>>,
    writer: Option<JoinHandle<Connection>>,
    /// The writer's, once it is done; the lock only lets request threads share this.
    connection: Option<Mutex<Connection>>,
    path: PathBuf,
}

impl JsonLog {
    /// Request threads wait where the channel has a bound and is full.
    pub(crate) fn open(folder: &Path, bound: Option<usize>) -> Self {
        let path = folder.join("logs.db");
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch(SCHEMA).unwrap();
        let (sender, receiver) = bound.map_or_else(unbounded, bounded);
        Self {
            sender: Some(sender),
            writer: Some(std::thread::spawn(move || write(connection, &receiver))),
            connection: None,
            path,
        }
    }
}

impl Subject for JsonLog {
    fn record(&self, lifecycle: Lifecycle) -> bool {
        let row = Box::new(Row::of(lifecycle));
        self.sender.as_ref().unwrap().send(row).unwrap();
        true
    }

    fn flush(&mut self) {
        self.sender = None;
        self.connection = self
            .writer
            .take()
            .map(|writer| Mutex::new(writer.join().unwrap()));
    }

    fn close(self: Box<Self>) -> u64 {
        drop(self.connection);
        bytes_on_disk(&self.path)
    }
}

/// Takes what waits, up to a full batch, and commits it, until nobody sends any more.
fn write(mut connection: Connection, receiver: &Receiver<Box<Row>>) -> Connection {
    while let Ok(first) = receiver.recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH_ROWS_MAX
            && let Ok(row) = receiver.try_recv()
        {
            batch.push(row);
        }
        let transaction = connection.transaction().unwrap();
        for row in batch {
            insert(&transaction, &row);
        }
        transaction.commit().unwrap();
    }
    connection
}

fn insert(connection: &Connection, row: &Row) {
    let tokens = row.input_tokens + row.output_tokens;
    let group = format!("group-{}", row.user_id.as_deref().map_or(0, str::len));
    connection
        .prepare_cached(
            "INSERT INTO logs (request_id, timestamp, created_at, status, provider, model,
             user_id, group_id, conversation_id, user_agent, latency_ms, input_tokens,
             output_tokens, total_tokens, cost) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        )
        .unwrap()
        .execute(params![
            row.request_id,
            row.at.to_string(),
            Timestamp::now().to_string(),
            "success",
            row.provider,
            row.model,
            row.user_id,
            group,
            row.conversation_id,
            "agent/1.4.2 (linux; x86_64)",
            row.latency_ms,
            row.input_tokens,
            row.output_tokens,
            tokens,
            tokens as f64 * 2.5e-6
        ])
        .unwrap();
    let id = connection.last_insert_rowid();
    connection
        .prepare_cached("INSERT INTO payloads (log, request, response) VALUES (?, ?, ?)")
        .unwrap()
        .execute(params![
            id,
            serde_json::to_string(&row.request).unwrap(),
            serde_json::to_string(&row.response).unwrap()
        ])
        .unwrap();
}
