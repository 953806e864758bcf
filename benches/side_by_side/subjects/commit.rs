//! The lifecycle committed on the request's thread: what a gateway with SQLite writes that wants
//! the same promises. A transaction at the opening, so that readers see the request while it runs,
//! and one at its end; digests of both bodies; the indexes that its lists need.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use bytes::Bytes;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, TransactionBehavior, params};
use sha2::{Digest, Sha256};

use super::super::common::bytes_on_disk;
use super::super::gateway::Lifecycle;
use super::Subject;

const SCHEMA: &str = "
    CREATE TABLE requests (
        id INTEGER PRIMARY KEY, request_id TEXT NOT NULL, status TEXT NOT NULL,
        opened_at INTEGER NOT NULL, ended_at INTEGER, latency_us INTEGER,
        user_id TEXT, conversation_id TEXT, provider TEXT, model TEXT,
        input_tokens INTEGER, output_tokens INTEGER, cached_tokens INTEGER,
        http_status INTEGER, finish_reason TEXT,
        request_sha256 BLOB NOT NULL, response_sha256 BLOB
    );
    CREATE INDEX requests_by_request_id ON requests (request_id);
    CREATE INDEX requests_by_time ON requests (opened_at);
    CREATE INDEX requests_by_user ON requests (user_id);
    CREATE INDEX requests_by_conversation ON requests (conversation_id);
    CREATE TABLE bodies (
        request INTEGER NOT NULL, side INTEGER NOT NULL, body TEXT NOT NULL,
        PRIMARY KEY (request, side)
    );";
const BODY: &str = "INSERT INTO bodies (request, side, body) VALUES (?, ?, ?)";

pub(crate) struct Commit {
    connection: Mutex<Connection>,
    path: PathBuf,
}

impl Commit {
    pub(crate) fn open(folder: &Path, synchronous: &str) -> Self {
        let path = folder.join("requests.db");
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch(&format!(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous}; {SCHEMA}"
            ))
            .unwrap();
        Self {
            connection: Mutex::new(connection),
            path,
        }
    }

    fn begin(&self, lifecycle: &Lifecycle) -> i64 {
        let digest = Sha256::digest(&lifecycle.request);
        let context = &lifecycle.context;
        let mut connection = self.connection.lock().unwrap();
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .unwrap();
        transaction
            .prepare_cached(
                "INSERT INTO requests (request_id, status, opened_at, user_id, conversation_id,
                 provider, model, request_sha256) VALUES (?, 'pending', ?, ?, ?, ?, ?, ?)",
            )
            .unwrap()
            .execute(params![
                lifecycle.request_id,
                jiff::Timestamp::now().as_microsecond(),
                context.user_id,
                context.conversation_id,
                context.provider_name,
                context.request_model,
                digest.as_slice()
            ])
            .unwrap();
        let id = transaction.last_insert_rowid();
        transaction
            .prepare_cached(BODY)
            .unwrap()
            .execute(params![id, 0, text(&lifecycle.request)])
            .unwrap();
        transaction.commit().unwrap();
        id
    }

    fn end(&self, id: i64, lifecycle: &Lifecycle) {
        let response = lifecycle.response();
        let digest = Sha256::digest(response);
        let usage = lifecycle.usage();
        let mut connection = self.connection.lock().unwrap();
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .unwrap();
        transaction
            .prepare_cached(
                "UPDATE requests SET status = 'completed', ended_at = ?, latency_us = ?,
                 input_tokens = ?, output_tokens = ?, cached_tokens = ?, http_status = ?,
                 finish_reason = ?, response_sha256 = ? WHERE id = ?",
            )
            .unwrap()
            .execute(params![
                jiff::Timestamp::now().as_microsecond(),
                lifecycle.latency_us() as i64,
                usage.input_tokens.map(|tokens| tokens as i64),
                usage.output_tokens.map(|tokens| tokens as i64),
                usage.cache_read_input_tokens.map(|tokens| tokens as i64),
                lifecycle.completion.http_status,
                lifecycle.completion.finish_reasons.first(),
                digest.as_slice(),
                id
            ])
            .unwrap();
        transaction
            .prepare_cached(BODY)
            .unwrap()
            .execute(params![id, 1, text(response)])
            .unwrap();
        transaction.commit().unwrap();
    }
}

impl Subject for Commit {
    fn record(&self, lifecycle: Lifecycle) -> bool {
        let id = self.begin(&lifecycle);
        self.end(id, &lifecycle);
        true
    }

    fn flush(&mut self) {}

    fn close(self: Box<Self>) -> u64 {
        drop(self.connection);
        bytes_on_disk(&self.path)
    }
}

/// A body as text, without a copy.
fn text(body: &Bytes) -> ToSqlOutput<'_> {
    ToSqlOutput::Borrowed(match std::str::from_utf8(body) {
        Ok(text) => ValueRef::Text(text.as_bytes()),
        Err(_) => ValueRef::Blob(body),
    })
}
