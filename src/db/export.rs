//! Writes a plain database for other programs: once, from beginning to end.

use std::path::Path;

use rusqlite::types::{ToSqlOutput, Value as SqlValue};
use rusqlite::{Connection, OpenFlags, ToSql, params, params_from_iter};
use serde_json::Value;

use super::error::{Context, DbError};
use super::seq_to_sql;
use crate::model::RecordedToolCall;
use crate::model::export_columns;

const WRITING: &str = "writing the exported database";

const OTHER_TABLES: &str = "
CREATE TABLE tool_calls (
    opened_seq   INTEGER NOT NULL REFERENCES requests,
    position     INTEGER NOT NULL,
    tool_call_id TEXT NOT NULL,
    tool_name    TEXT NOT NULL,
    input_bytes  INTEGER NOT NULL,
    input        TEXT,
    PRIMARY KEY (opened_seq, position)
);
CREATE TABLE bodies (
    opened_seq   INTEGER NOT NULL REFERENCES requests,
    side         TEXT NOT NULL,     -- request or response
    length       INTEGER NOT NULL,  -- of the full body, whatever is here
    sha256       TEXT,              -- of the full body; NULL also in an export without digests
    head         INTEGER,           -- of a body above the payload cap: bytes of its head, the rest is its tail
    not_exported TEXT,              -- why there is no content though it was asked for
    is_unchecked INTEGER NOT NULL,  -- 1: its line in the log cannot be read, it may be anything
    text         TEXT,              -- the content, where it is text
    bytes        BLOB,              -- the content, where it is not
    PRIMARY KEY (opened_seq, side)
);
CREATE TABLE messages (
    opened_seq INTEGER NOT NULL REFERENCES requests,
    is_reply   INTEGER NOT NULL,    -- 1: said by the model
    position   INTEGER NOT NULL,
    role       TEXT NOT NULL,
    text       TEXT NOT NULL,
    PRIMARY KEY (opened_seq, is_reply, position)
);
";

/// Rows in one commit: bounded, so that SQLite keeps the transaction within its cache.
const ROWS_EACH: u64 = 5_000;

/// The database while it is written.
#[derive(Debug)]
pub(crate) struct ExportDatabase {
    connection: Connection,
    insert: String,
    rows: u64,
}

/// A request and everything that belongs to it.
#[derive(Debug)]
pub(crate) struct ExportRequest<'r> {
    /// An object with the fields of the JSON contract.
    pub(crate) record: &'r Value,
    pub(crate) tool_calls: &'r [RecordedToolCall],
    pub(crate) bodies: Vec<ExportBody<'r>>,
    /// Whether it is a reply, role, text.
    pub(crate) messages: Vec<(bool, &'r str, String)>,
}

/// What is known of a body.
#[derive(Debug)]
pub(crate) struct ExportBody<'r> {
    pub(crate) side: &'static str,
    pub(crate) length: u64,
    pub(crate) sha256: Option<String>,
    pub(crate) head: Option<u64>,
    pub(crate) not_exported: Option<&'r str>,
    pub(crate) is_unchecked: bool,
    pub(crate) text: Option<&'r str>,
    pub(crate) bytes: Option<&'r [u8]>,
}

impl ExportDatabase {
    /// Writes into an empty file that no other program knows yet: no journal, and no syncs except the
    /// caller's.
    pub(crate) fn create(path: &Path) -> Result<Self, DbError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let connection = Connection::open_with_flags(path, flags).context(WRITING)?;
        let columns: Vec<String> = export_columns()
            .map(|(name, kind)| format!("{name} {kind}"))
            .collect();
        connection
            .execute_batch(&format!(
                "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -4096; \
                 CREATE TABLE requests ({}); {OTHER_TABLES} BEGIN",
                columns.join(", ")
            ))
            .context(WRITING)?;
        let places = vec!["?"; columns.len()].join(", ");
        Ok(Self {
            connection,
            insert: format!("INSERT INTO requests VALUES ({places})"),
            rows: 0,
        })
    }

    /// Adds a request: its row, tool calls, bodies and messages. Messages are numbered from 0, separately
    /// for the request and for the reply. Commits every [`ROWS_EACH`] requests.
    pub(crate) fn add(&mut self, request: &ExportRequest<'_>) -> Result<(), DbError> {
        let values = export_columns()
            .map(|(name, _)| Cell(request.record.get(name).unwrap_or(&Value::Null)));
        let opened_seq = request.record.get("opened_seq").and_then(Value::as_i64);
        self.connection
            .prepare_cached(&self.insert)
            .and_then(|mut statement| statement.execute(params_from_iter(values)))
            .context(WRITING)?;
        for call in request.tool_calls {
            self.execute(
                "INSERT INTO tool_calls VALUES (?, ?, ?, ?, ?, ?)",
                params![
                    opened_seq,
                    seq_to_sql(call.position),
                    call.tool_call_id,
                    call.tool_name,
                    seq_to_sql(call.input_bytes),
                    call.input
                ],
            )?;
        }
        for body in &request.bodies {
            self.execute(
                "INSERT INTO bodies VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                params![
                    opened_seq,
                    body.side,
                    seq_to_sql(body.length),
                    body.sha256,
                    body.head.map(seq_to_sql),
                    body.not_exported,
                    body.is_unchecked,
                    body.text,
                    body.bytes
                ],
            )?;
        }
        let mut positions = [0_i64, 0];
        for (is_reply, role, text) in &request.messages {
            let [sent, said] = &mut positions;
            let position = if *is_reply { said } else { sent };
            self.execute(
                "INSERT INTO messages VALUES (?, ?, ?, ?, ?)",
                params![opened_seq, is_reply, *position, role, text],
            )?;
            *position = position.saturating_add(1);
        }
        self.rows = self.rows.saturating_add(1);
        if self.rows.is_multiple_of(ROWS_EACH) {
            self.connection
                .execute_batch("COMMIT; BEGIN")
                .context(WRITING)?;
        }
        Ok(())
    }

    /// Adds the indexes and completes the file.
    pub(crate) fn finish(self) -> Result<(), DbError> {
        self.connection
            .execute_batch(
                "COMMIT; CREATE INDEX requests_by_request_id ON requests (request_id); \
                 CREATE INDEX requests_by_opened_at ON requests (opened_at); \
                 CREATE INDEX tool_calls_by_name ON tool_calls (tool_name)",
            )
            .context(WRITING)?;
        self.connection
            .close()
            .map_err(|(_, error)| DbError::new(WRITING, error))
    }

    fn execute(&self, sql: &str, values: &[&dyn ToSql]) -> Result<(), DbError> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(values))
            .map(drop)
            .context(WRITING)
    }
}

/// A JSON value as a column. Lists and objects are stored as JSON text.
struct Cell<'v>(&'v Value);

impl ToSql for Cell<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self.0 {
            Value::Null => ToSqlOutput::Owned(SqlValue::Null),
            Value::Bool(value) => ToSqlOutput::Owned(SqlValue::Integer(i64::from(*value))),
            Value::String(text) => ToSqlOutput::from(text.as_str()),
            Value::Number(number) => ToSqlOutput::Owned(match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => SqlValue::Integer(whole),
                (None, Some(real)) => SqlValue::Real(real),
                (None, None) => SqlValue::Null,
            }),
            other => ToSqlOutput::Owned(SqlValue::Text(other.to_string())),
        })
    }
}
