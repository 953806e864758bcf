//! The projections held against the log, in step with it.
//!
//! Rows of requests and tool calls are in the order of the events that begin them, so that one walk
//! over the log meets them as they come. What cannot be met in this order (sums, minutes, sessions,
//! gaps) is collected in a temporary database and compared at the end. Memory is bounded whatever the
//! log holds: beyond the bounds below, that database spills to a temporary file.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

use rusqlite::fallible_streaming_iterator::FallibleStreamingIterator;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, Rows, Statement, ToSql, params};
use serde::{Deserialize, Serialize};

use super::error::{Context, DbError};
use super::project::{self, Values, bind_end, bind_start, joined};
use super::rebuild::{DIFFERENCES_LISTED_MAX, ProjectionDifference, Rebuilt};
use super::rows::{COLUMN_COUNT, SELECT_REQUEST, START_COUNT, column_name};
use super::seq_to_sql;
use crate::log::{Ended, Event, Fact, Fold, HourKey, Opened, RequestEnd, RequestStart, Served};

const COMPARING: &str = "comparing the tables with the log";

/// Rows of sums that are held before they are added to those in the temporary database.
const SUMS_HELD_MAX: usize = 16 * 1024;
/// Bytes of requests without an end that are held; a store that is not configured otherwise lets
/// 32,768 be open, which take about 6 MiB.
const OPEN_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The statements that a comparison reads from.
#[derive(Debug)]
pub(crate) struct Tables<'s> {
    connection: &'s Connection,
    requests: Statement<'s>,
    tool_calls: Statement<'s>,
}

impl<'s> Tables<'s> {
    pub(super) fn new(connection: &'s Connection) -> Result<Self, DbError> {
        let prepare = |sql: &str| connection.prepare(sql).context(COMPARING);
        Ok(Self {
            connection,
            requests: prepare(&format!("{} ORDER BY opened_seq", *SELECT_REQUEST))?,
            tool_calls: prepare(
                "SELECT ended_seq, position, tool_call_id, tool_name, input_bytes \
                 FROM tool_calls ORDER BY ended_seq, position",
            )?,
        })
    }

    /// Begins at the start of the log.
    pub(crate) fn compare(&mut self) -> Result<Comparison<'_>, DbError> {
        Ok(Comparison {
            connection: self.connection,
            requests: Cursor::new(&mut self.requests, "requests", 1)?,
            tool_calls: Cursor::new(&mut self.tool_calls, "tool_calls", 2)?,
            open: BTreeMap::new(),
            open_bytes: 0,
            spilled: 0,
            sums: Fold::default(),
            rebuilt: Rebuilt::new()?,
            rest: Rest::default(),
            differences: Differences::default(),
        })
    }
}

/// A request whose end is still to come, as far as it matters for what comes.
#[derive(Debug, Serialize, Deserialize)]
struct OpenRequest {
    opened_at: i64,
    provider_name: Option<Box<str>>,
    /// Routed to, else asked for.
    model: Option<Box<str>>,
    user_id: Option<Box<str>>,
    response_provider_name: Option<Box<str>>,
    response_model: Option<Box<str>>,
    altered: Option<Box<str>>,
    /// The hash of what the stored row has in the columns that are not known at the opening;
    /// `None`: there is no row, which has been reported.
    rest: Option<u64>,
}

/// Walks the log and the tables in step.
pub(crate) struct Comparison<'r> {
    connection: &'r Connection,
    requests: Cursor<'r>,
    tool_calls: Cursor<'r>,
    /// By the seq of the opening.
    open: BTreeMap<u64, OpenRequest>,
    open_bytes: usize,
    /// Open requests that lie in the temporary database.
    spilled: usize,
    /// Sums of hours and minutes that are not in the temporary database yet.
    sums: Fold<'static>,
    rebuilt: Rebuilt,
    rest: Rest,
    differences: Differences,
}

impl Comparison<'_> {
    /// Takes the next event of the log.
    pub(crate) fn apply(&mut self, event: &Event) -> Result<(), DbError> {
        match &event.fact {
            Fact::Opened(opened) => {
                let at = event.at;
                self.opened(event.seq, &RequestStart { at, opened })
            }
            Fact::Served(served) => self.served(served),
            Fact::Ended(ended) => self.ended(event.seq, ended),
            Fact::StoreOpened(_) | Fact::StoreClosed(_) | Fact::Gap(_) => {
                self.rebuilt.apply(std::slice::from_ref(event))
            }
        }
    }

    /// The log has ended: what is left, and all differences.
    pub(crate) fn finish(mut self) -> Result<Vec<ProjectionDifference>, DbError> {
        for (opened_seq, request) in std::mem::take(&mut self.open) {
            self.check_rest(opened_seq, &request, None)?;
        }
        self.check_spilled()?;
        self.requests.rest(&mut self.differences)?;
        self.tool_calls.rest(&mut self.differences)?;
        self.add_sums()?;
        let mut differences = self.differences.into_list();
        self.rebuilt
            .compare_collected(self.connection, &mut differences)?;
        Ok(differences)
    }

    fn opened(&mut self, seq: u64, start: &RequestStart<'_>) -> Result<(), DbError> {
        self.sums.count_minute(start.opened_at(), seq);
        let key = (seq_to_sql(seq), 0);
        let mut rest = None;
        if self.requests.reach(key, &mut self.differences)?
            && let Some(row) = self.requests.rows.get()
        {
            let mut check = Check::new(row, 0);
            bind_start(&mut check, seq, start)?;
            self.differences.add_changed("requests", key, 1, check);
            rest = Some(self.rest.of_row(row)?);
            self.requests.advance()?;
        }
        let Opened {
            provider_name,
            request_model,
            requested_model,
            user_id,
            altered,
            ..
        } = start.opened;
        let text = |text: &Option<String>| text.as_deref().map(Box::from);
        let request = OpenRequest {
            opened_at: start.opened_at(),
            provider_name: text(provider_name),
            model: text(request_model).or_else(|| text(requested_model)),
            user_id: text(user_id),
            response_provider_name: None,
            response_model: None,
            altered: joined(altered.iter()).map(String::into_boxed_str),
            rest,
        };
        self.hold(seq, request)
    }

    fn served(&mut self, served: &Served) -> Result<(), DbError> {
        // What the log says of a request that is not open changes nothing.
        let Some(mut request) = self.take(served.opened_seq)? else {
            return Ok(());
        };
        request.serve(&served.response_model, &served.response_provider_name);
        self.hold(served.opened_seq, request)
    }

    fn ended(&mut self, seq: u64, ended: &Ended) -> Result<(), DbError> {
        let end = RequestEnd { seq, ended };
        for (position, call) in (0..).zip(end.tool_calls()) {
            let key = (seq_to_sql(seq), position);
            if self.tool_calls.reach(key, &mut self.differences)?
                && let Some(row) = self.tool_calls.rows.get()
            {
                let mut check = Check::new(row, 2);
                check.bind(&call.tool_call_id)?;
                check.bind(&call.tool_name)?;
                check.bind(seq_to_sql(call.input_bytes))?;
                self.differences.add_changed("tool_calls", key, 2, check);
                self.tool_calls.advance()?;
            }
        }
        let Some(mut request) = self.take(ended.opened_seq)? else {
            return Ok(());
        };
        request.serve(&ended.response_model, &ended.response_provider_name);
        if !ended.altered.is_empty() {
            let before = request.altered.take().map(String::from);
            let altered = before.iter().chain(&ended.altered);
            request.altered = joined(altered).map(String::into_boxed_str);
        }
        self.check_rest(ended.opened_seq, &request, Some(&end))?;
        self.sums.count_end(request.hour_key(), ended);
        if self.sums.hours.len() + self.sums.minutes.len() > SUMS_HELD_MAX {
            self.add_sums()?;
        }
        Ok(())
    }

    /// Holds what is not known at the opening against the stored row, which was read then.
    fn check_rest(
        &mut self,
        opened_seq: u64,
        request: &OpenRequest,
        end: Option<&RequestEnd<'_>>,
    ) -> Result<(), DbError> {
        let Some(found) = request.rest else {
            return Ok(());
        };
        self.rest.begin();
        request.bind_rest(&mut self.rest, end)?;
        if self.rest.hash() == found {
            return Ok(());
        }
        // Rare, and so is worth a second look that names the columns.
        let key = seq_to_sql(opened_seq);
        let sql = format!("{} WHERE opened_seq = ?1", *SELECT_REQUEST);
        let mut statement = self.connection.prepare_cached(&sql).context(COMPARING)?;
        let mut rows = statement.query([key]).context(COMPARING)?;
        if let Some(row) = rows.next().context(COMPARING)? {
            let mut check = Check::new(row, START_COUNT);
            request.bind_rest(&mut check, end)?;
            self.differences
                .add_changed("requests", (key, 0), 1, check);
        }
        Ok(())
    }

    fn add_sums(&mut self) -> Result<(), DbError> {
        let mut sums = std::mem::take(&mut self.sums);
        project::apply(self.rebuilt.connection(), &mut sums)
    }

    /// Holds a request that is open. The oldest ones are the first to be spilled: they have been
    /// open for long, and most requests are not.
    fn hold(&mut self, opened_seq: u64, request: OpenRequest) -> Result<(), DbError> {
        self.open_bytes = self.open_bytes.saturating_add(request.size());
        self.open.insert(opened_seq, request);
        if self.open_bytes <= OPEN_BYTES_MAX {
            return Ok(());
        }
        let connection = self.rebuilt.connection();
        if self.spilled == 0 {
            connection
                .execute_batch(
                    "CREATE TABLE IF NOT EXISTS open_requests \
                     (opened_seq INTEGER PRIMARY KEY, request BLOB NOT NULL) STRICT",
                )
                .context(COMPARING)?;
        }
        let mut insert = connection
            .prepare_cached("INSERT INTO open_requests VALUES (?1, ?2)")
            .context(COMPARING)?;
        while self.open_bytes > OPEN_BYTES_MAX / 2
            && let Some((seq, request)) = self.open.pop_first()
        {
            self.open_bytes = self.open_bytes.saturating_sub(request.size());
            let json = serde_json::to_vec(&request)
                .map_err(|error| DbError::corrupt(COMPARING, error))?;
            insert
                .execute(params![seq_to_sql(seq), json])
                .context(COMPARING)?;
            self.spilled = self.spilled.saturating_add(1);
        }
        Ok(())
    }

    fn take(&mut self, opened_seq: u64) -> Result<Option<OpenRequest>, DbError> {
        if let Some(request) = self.open.remove(&opened_seq) {
            self.open_bytes = self.open_bytes.saturating_sub(request.size());
            return Ok(Some(request));
        }
        if self.spilled == 0 {
            return Ok(None);
        }
        let json: Option<Vec<u8>> = self
            .rebuilt
            .connection()
            .prepare_cached("DELETE FROM open_requests WHERE opened_seq = ?1 RETURNING request")
            .and_then(|mut statement| {
                statement
                    .query_row([seq_to_sql(opened_seq)], |row| row.get(0))
                    .optional()
            })
            .context(COMPARING)?;
        let Some(json) = json else { return Ok(None) };
        self.spilled = self.spilled.saturating_sub(1);
        OpenRequest::read(&json).map(Some)
    }

    fn check_spilled(&mut self) -> Result<(), DbError> {
        let mut after = i64::MIN;
        while self.spilled > 0 {
            let next: Option<(i64, Vec<u8>)> = self
                .rebuilt
                .connection()
                .prepare_cached(
                    "SELECT opened_seq, request FROM open_requests WHERE opened_seq > ?1 \
                     ORDER BY opened_seq LIMIT 1",
                )
                .and_then(|mut statement| {
                    statement
                        .query_row([after], |row| Ok((row.get(0)?, row.get(1)?)))
                        .optional()
                })
                .context(COMPARING)?;
            let Some((seq, json)) = next else { break };
            after = seq;
            let request = OpenRequest::read(&json)?;
            self.check_rest(u64::try_from(seq).unwrap_or(0), &request, None)?;
        }
        Ok(())
    }
}

impl OpenRequest {
    /// The latest word on what served counts; silence changes nothing.
    fn serve(&mut self, model: &Option<String>, provider_name: &Option<String>) {
        if let Some(model) = model {
            self.response_model = Some(model.as_str().into());
        }
        if let Some(provider_name) = provider_name {
            self.response_provider_name = Some(provider_name.as_str().into());
        }
    }

    /// The row of sums that it counts in.
    fn hour_key(&self) -> HourKey {
        let provider = self.response_provider_name.as_deref();
        let model = self.response_model.as_deref();
        let or = |first: Option<&str>, second: &Option<Box<str>>| -> String {
            first.or(second.as_deref()).unwrap_or_default().to_owned()
        };
        HourKey::new(
            self.opened_at,
            &or(provider, &self.provider_name),
            &or(model, &self.model),
            self.user_id.as_deref().unwrap_or_default(),
        )
    }

    /// Everything that is not known at the opening.
    fn bind_rest(
        &self,
        values: &mut impl Values,
        end: Option<&RequestEnd<'_>>,
    ) -> Result<(), DbError> {
        values.bind(self.response_model.as_deref())?;
        values.bind(self.response_provider_name.as_deref())?;
        bind_end(values, end)?;
        values.bind(self.altered.as_deref())
    }

    /// What holding it takes, with the map's share.
    fn size(&self) -> usize {
        let texts = [
            &self.provider_name,
            &self.model,
            &self.user_id,
            &self.response_provider_name,
            &self.response_model,
            &self.altered,
        ];
        // An allocation takes at least 16 bytes more than what it holds.
        let text = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len() + 16);
        texts.into_iter().map(text).sum::<usize>() + size_of::<(u64, Self)>() + 16
    }

    fn read(json: &[u8]) -> Result<Self, DbError> {
        serde_json::from_slice(json).map_err(|error| DbError::corrupt(COMPARING, error))
    }
}

/// A table's rows in the order of their keys.
struct Cursor<'r> {
    rows: Rows<'r>,
    table: &'static str,
    key_length: usize,
    /// Key of the current row; `None` behind the last one. A key of one column has 0 as its second.
    key: Option<(i64, i64)>,
}

impl<'r> Cursor<'r> {
    fn new(
        statement: &'r mut Statement<'_>,
        table: &'static str,
        key_length: usize,
    ) -> Result<Self, DbError> {
        let mut cursor = Self {
            rows: statement.query([]).context(COMPARING)?,
            table,
            key_length,
            key: None,
        };
        cursor.advance()?;
        Ok(cursor)
    }

    fn advance(&mut self) -> Result<(), DbError> {
        self.rows.advance().context(COMPARING)?;
        self.key = match self.rows.get() {
            None => None,
            Some(row) => {
                let second = if self.key_length > 1 { row.get(1) } else { Ok(0) };
                Some((row.get(0).context(COMPARING)?, second.context(COMPARING)?))
            }
        };
        Ok(())
    }

    /// Goes on to the row with this key. `false`: there is none, which is a difference. So are the
    /// rows before it.
    fn reach(&mut self, key: (i64, i64), differences: &mut Differences) -> Result<bool, DbError> {
        while let Some(found) = self.key.filter(|found| *found < key) {
            differences.add(self.table, found, self.key_length, " is not in the log");
            self.advance()?;
        }
        let is_there = self.key == Some(key);
        if !is_there {
            differences.add(self.table, key, self.key_length, " is missing");
        }
        Ok(is_there)
    }

    /// Rows behind the last one that the log makes.
    fn rest(&mut self, differences: &mut Differences) -> Result<(), DbError> {
        while let Some(found) = self.key {
            differences.add(self.table, found, self.key_length, " is not in the log");
            self.advance()?;
        }
        Ok(())
    }
}

/// Holds a row against the values that it should have.
struct Check<'r> {
    row: &'r Row<'r>,
    next: usize,
    changed: Vec<usize>,
}

impl<'r> Check<'r> {
    fn new(row: &'r Row<'r>, next: usize) -> Self {
        Self {
            row,
            next,
            changed: Vec::new(),
        }
    }
}

impl Values for Check<'_> {
    fn bind(&mut self, value: impl ToSql) -> Result<(), DbError> {
        let found = self.row.get_ref(self.next).context(COMPARING)?;
        let value = value.to_sql().context(COMPARING)?;
        if value_of(&value) != found {
            self.changed.push(self.next);
        }
        self.next += 1;
        Ok(())
    }
}

/// A keyed hash of values: who doctors a file cannot know the key, and so cannot make two rows
/// collide.
#[derive(Default)]
struct Rest {
    key: RandomState,
    bytes: Vec<u8>,
}

impl Rest {
    fn begin(&mut self) {
        self.bytes.clear();
    }

    fn hash(&self) -> u64 {
        self.key.hash_one(self.bytes.as_slice())
    }

    /// The hash of the columns that are not known at the opening.
    fn of_row(&mut self, row: &Row<'_>) -> Result<u64, DbError> {
        self.begin();
        for index in START_COUNT..COLUMN_COUNT {
            self.push(row.get_ref(index).context(COMPARING)?);
        }
        Ok(self.hash())
    }

    /// Values of different types or lengths never give the same bytes.
    fn push(&mut self, value: ValueRef<'_>) {
        let (tag, bytes): (u8, &[u8]) = match value {
            ValueRef::Null => (0, &[]),
            ValueRef::Integer(number) => {
                self.bytes.push(1);
                self.bytes.extend_from_slice(&number.to_le_bytes());
                return;
            }
            ValueRef::Real(number) => {
                self.bytes.push(2);
                self.bytes.extend_from_slice(&number.to_le_bytes());
                return;
            }
            ValueRef::Text(text) => (3, text),
            ValueRef::Blob(blob) => (4, blob),
        };
        self.bytes.push(tag);
        if tag > 0 {
            self.bytes.extend_from_slice(&bytes.len().to_le_bytes());
            self.bytes.extend_from_slice(bytes);
        }
    }
}

impl Values for Rest {
    fn bind(&mut self, value: impl ToSql) -> Result<(), DbError> {
        self.push(value_of(&value.to_sql().context(COMPARING)?));
        Ok(())
    }
}

fn value_of<'v>(output: &'v ToSqlOutput<'_>) -> ValueRef<'v> {
    match output {
        ToSqlOutput::Borrowed(value) => *value,
        ToSqlOutput::Owned(value) => value.into(),
        // No other kind of value is ever bound here.
        _ => ValueRef::Null,
    }
}

/// Collects differences, and counts those beyond the bound of each table.
#[derive(Debug, Default)]
struct Differences {
    listed: Vec<ProjectionDifference>,
    found: BTreeMap<&'static str, usize>,
}

impl Differences {
    fn add(&mut self, table: &'static str, key: (i64, i64), key_length: usize, what: &str) {
        let found = self.found.entry(table).or_default();
        *found = found.saturating_add(1);
        if *found > DIFFERENCES_LISTED_MAX {
            return;
        }
        let row = match key_length {
            1 => key.0.to_string(),
            _ => format!("{}, {}", key.0, key.1),
        };
        self.listed.push(ProjectionDifference {
            table,
            seq: u64::try_from(key.0).ok(),
            what: format!("row {row}{what}"),
        });
    }

    fn add_changed(
        &mut self,
        table: &'static str,
        key: (i64, i64),
        key_length: usize,
        check: Check<'_>,
    ) {
        if check.changed.is_empty() {
            return;
        }
        let names: Vec<&str> = check
            .changed
            .iter()
            .map(|&index| match table {
                "requests" => column_name(index),
                _ => check.row.as_ref().column_name(index).unwrap_or_default(),
            })
            .collect();
        let what = format!(": {} not as the log says", names.join(", "));
        self.add(table, key, key_length, &what);
    }

    fn into_list(mut self) -> Vec<ProjectionDifference> {
        for (table, found) in self.found {
            if found > DIFFERENCES_LISTED_MAX {
                self.listed.push(ProjectionDifference {
                    table,
                    seq: None,
                    what: format!("{} more rows differ", found - DIFFERENCES_LISTED_MAX),
                });
            }
        }
        self.listed
    }
}
