//! Writes a plain database for other programs: once, from beginning to end.

use std::borrow::Cow;
use std::path::Path;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags, ToSql, params, params_from_iter};

use super::texts::{TextId, Texts};
use crate::db::error::{Context, DbError};
use crate::db::seq_to_sql;
use crate::model::{FieldValue, RecordedToolCall, export_columns};

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
CREATE TABLE texts (
    text_id INTEGER PRIMARY KEY,
    text    TEXT NOT NULL
);
CREATE TABLE request_messages (
    opened_seq INTEGER NOT NULL REFERENCES requests,
    is_reply   INTEGER NOT NULL,    -- 1: said by the model
    position   INTEGER NOT NULL,
    role       TEXT NOT NULL,
    text_id    INTEGER NOT NULL REFERENCES texts,
    PRIMARY KEY (opened_seq, is_reply, position)
) WITHOUT ROWID;
CREATE VIEW messages AS
    SELECT opened_seq, is_reply, position, role, text FROM request_messages JOIN texts USING (text_id);
";

/// Bytes of rows in one commit: half of the cache. SQLite's connections share one store of pages, so that a connection
/// whose cache is full takes pages of others: those of the database that is read would be read again for each body.
/// After each commit the pages that were written are given back.
const COMMIT_BYTES: usize = 4 << 20;
const CACHE_KIB: u32 = 8 << 10;
/// Bodies are longer than SQLite's default pages: a quarter of the writes.
const PAGE_BYTES: u32 = 16 << 10;
/// About what a row takes beside its texts.
const ROW_BYTES: usize = 128;

/// The database while it is written.
#[derive(Debug)]
pub(crate) struct ExportDatabase {
    connection: Connection,
    insert: String,
    texts: Texts,
    /// Written since the last commit.
    bytes: usize,
}

/// A request and everything that belongs to it.
#[derive(Debug)]
pub(crate) struct ExportRequest<'r> {
    pub(crate) opened_seq: u64,
    /// The columns of its row.
    pub(crate) columns: Vec<ExportColumn<'r>>,
    pub(crate) tool_calls: &'r [RecordedToolCall],
    pub(crate) bodies: Vec<ExportBody<'r>>,
    /// Whether it is a reply, role, text.
    pub(crate) messages: Vec<(bool, &'r str, Cow<'r, str>)>,
}

/// A column of a request. Lists and objects are stored as JSON text.
#[derive(Debug)]
pub(crate) enum ExportColumn<'r> {
    Value(FieldValue<'r>),
    Json(String),
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
    /// caller's. Rows refer to the request that was written before them, which need not be looked up.
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
                "PRAGMA page_size = {PAGE_BYTES}; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; \
                 PRAGMA cache_size = -{CACHE_KIB}; \
                 PRAGMA foreign_keys = OFF; CREATE TABLE requests ({}); {OTHER_TABLES} BEGIN",
                columns.join(", ")
            ))
            .context(WRITING)?;
        let places = vec!["?"; columns.len()].join(", ");
        Ok(Self {
            connection,
            insert: format!("INSERT INTO requests VALUES ({places})"),
            texts: Texts::new(),
            bytes: 0,
        })
    }

    /// Adds a request: its row, tool calls, bodies and messages. Messages are numbered from 0, separately
    /// for the request and for the reply. Commits every [`COMMIT_BYTES`].
    pub(crate) fn add(&mut self, request: &ExportRequest<'_>) -> Result<(), DbError> {
        let opened_seq = seq_to_sql(request.opened_seq);
        self.connection
            .prepare_cached(&self.insert)
            .and_then(|mut statement| statement.execute(params_from_iter(&request.columns)))
            .context(WRITING)?;
        self.bytes = self.bytes.saturating_add(request.bytes());
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
        self.add_messages(opened_seq, &request.messages)?;
        if self.bytes >= COMMIT_BYTES {
            self.bytes = 0;
            self.connection
                .execute_batch("COMMIT; PRAGMA shrink_memory; BEGIN")
                .context(WRITING)?;
        }
        Ok(())
    }

    /// Each text once, as far as it is remembered.
    fn add_messages(
        &mut self,
        opened_seq: i64,
        messages: &[(bool, &str, Cow<'_, str>)],
    ) -> Result<(), DbError> {
        if messages.is_empty() {
            return Ok(());
        }
        let mut add_text = self
            .connection
            .prepare_cached("INSERT INTO texts VALUES (?, ?)")
            .context(WRITING)?;
        let mut add_message = self
            .connection
            .prepare_cached("INSERT INTO request_messages VALUES (?, ?, ?, ?, ?)")
            .context(WRITING)?;
        let mut positions = [0_i64, 0];
        for (is_reply, role, text) in messages {
            let [sent, said] = &mut positions;
            let position = if *is_reply { said } else { sent };
            let text_id = match self.texts.id_of(text) {
                TextId::Known(text_id) => text_id,
                TextId::New(text_id) => {
                    add_text.execute(params![text_id, text]).context(WRITING)?;
                    self.bytes = self.bytes.saturating_add(ROW_BYTES + text.len());
                    text_id
                }
            };
            add_message
                .execute(params![opened_seq, is_reply, *position, role, text_id])
                .context(WRITING)?;
            *position = position.saturating_add(1);
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

impl ExportRequest<'_> {
    /// About what its rows take, beside the texts of its messages.
    fn bytes(&self) -> usize {
        let bodies = self.bodies.iter().map(|body| {
            let bytes = body.text.map_or(0, str::len);
            ROW_BYTES + bytes.saturating_add(body.bytes.map_or(0, <[u8]>::len))
        });
        let messages = self.messages.iter().map(|_| ROW_BYTES);
        let calls = self
            .tool_calls
            .iter()
            .map(|call| ROW_BYTES + call.input.as_ref().map_or(0, String::len));
        let all = bodies.chain(messages).chain(calls);
        all.fold(4 * ROW_BYTES, usize::saturating_add)
    }
}

impl ToSql for ExportColumn<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let value = match self {
            Self::Json(text) => ValueRef::from(text.as_str()),
            Self::Value(value) => match value {
                FieldValue::Absent
                | FieldValue::Texts(_)
                | FieldValue::Pairs(_)
                | FieldValue::Details(_) => ValueRef::Null,
                FieldValue::Flag(flag) => ValueRef::Integer(i64::from(*flag)),
                FieldValue::Count(count) => whole(*count),
                FieldValue::Time(micros) => ValueRef::Integer(*micros),
                FieldValue::Real(real) => ValueRef::Real(*real),
                FieldValue::Text(text) => ValueRef::from(*text),
            },
        };
        Ok(ToSqlOutput::Borrowed(value))
    }
}

/// Beyond SQLite's whole numbers, which no request has, the nearest fraction.
#[allow(clippy::cast_precision_loss)]
fn whole(count: u64) -> ValueRef<'static> {
    match i64::try_from(count) {
        Ok(count) => ValueRef::Integer(count),
        Err(_) => ValueRef::Real(count as f64),
    }
}
