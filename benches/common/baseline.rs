//! What people would do otherwise: write on the request thread.

use std::path::Path;
use std::sync::Mutex;

use rusqlite::{Connection, params};

use super::traffic::Exchange;

/// One finished request, one row with both bodies, one commit, on the request thread. No digests,
/// no compression, no indexes: as little work as such a log can do.
pub struct CommitOnThread(Mutex<Connection>);

impl CommitOnThread {
    pub fn open(path: &Path, synchronous: &str) -> Self {
        let connection = Connection::open(path).unwrap();
        connection
            .execute_batch(&format!(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous};
                 CREATE TABLE requests (id INTEGER PRIMARY KEY, conversation TEXT, provider TEXT,
                 model TEXT, user TEXT, status INTEGER, input_tokens INTEGER, output_tokens INTEGER,
                 opened_at INTEGER, request BLOB, response BLOB);"
            ))
            .unwrap();
        Self(Mutex::new(connection))
    }

    pub fn record(&self, exchange: &Exchange) {
        let connection = self.0.lock().unwrap();
        let mut statement = connection
            .prepare_cached(
                "INSERT INTO requests (conversation, provider, model, user, status, input_tokens,
                 output_tokens, opened_at, request, response) VALUES (?,?,?,?,?,?,?,?,?,?)",
            )
            .unwrap();
        statement
            .execute(params![
                exchange.conversation,
                "openai",
                exchange.model,
                "user-17",
                200,
                1200,
                80,
                0,
                exchange.request.as_ref(),
                exchange.response.as_ref()
            ])
            .unwrap();
    }
}
