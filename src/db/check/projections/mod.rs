//! Compares the projections with the log while the log is read once.
//!
//! Requests and tool calls are keyed by the events that begin them. One walk over the log therefore meets
//! their rows in order. Sums, minutes, sessions and gaps do not come in this order: they are collected in a
//! temporary database and compared at the end.
//!
//! A request's opening and end are far apart in the log, but its row has the columns of both. The opening
//! checks its own columns at once and remembers a keyed hash of the remaining ones. The end computes the
//! same hash from its event. The row itself is read again only when the two hashes differ.
//!
//! Memory is bounded for any log: beyond the bounds below, the temporary database spills to a temporary
//! file.

mod walk;

use crate::db::write::apply;
use std::collections::BTreeMap;

use rusqlite::fallible_streaming_iterator::FallibleStreamingIterator;
use rusqlite::{Connection, OptionalExtension, Statement, params};
use serde::{Deserialize, Serialize};

use super::structure::IndexEntries;
use crate::db::check::rebuilt::{ProjectionDifference, Rebuilt};
use crate::db::ended_rows::visit_ended;
use crate::db::error::{Context, DbError};
use crate::db::keyed::KeyedHash;
use crate::db::rows::{IS_ERASED, START_COUNT, attributes_to_sql, select_row};
use crate::db::seq_to_sql;
use crate::db::write::project::{Values, bind_end, bind_start, joined};
use crate::db::write::refusals::Refusals;
use crate::log::{
    Ended, Event, EventKind, Fold, HourKey, Opened, RequestEnd, RequestStart, Served,
    merged_attributes,
};
use walk::{Check, Cursor, Differences, hash_of_end_columns};

const COMPARING: &str = "comparing the tables with the log";

/// What is kept in memory; the rest is in the temporary database.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// Rows of sums that are kept before they are added to those in the temporary database.
    sums: usize,
    /// Bytes of requests without an end.
    open_bytes: usize,
}

/// A store with default settings allows 32,768 open requests, which take about 8 MiB.
const BOUNDS: Bounds = Bounds {
    sums: 16 * 1024,
    open_bytes: 8 * 1024 * 1024,
};

/// The prepared statements that a comparison reads from.
#[derive(Debug)]
pub(crate) struct Tables<'s> {
    connection: &'s Connection,
    requests: Statement<'s>,
    tool_calls: Statement<'s>,
}

impl<'s> Tables<'s> {
    pub(crate) fn new(connection: &'s Connection) -> Result<Self, DbError> {
        let prepare = |sql: &str| connection.prepare(sql).context(COMPARING);
        Ok(Self {
            connection,
            requests: prepare(&format!("{} ORDER BY opened_seq", select_row(connection)))?,
            tool_calls: prepare(
                "SELECT ended_seq, position, tool_call_id, tool_name, input_bytes \
                 FROM tool_calls ORDER BY ended_seq, position",
            )?,
        })
    }

    /// Begins at the start of the log. Rows of requests are counted into these index entries.
    pub(crate) fn compare(
        &mut self,
        entries: Option<IndexEntries>,
    ) -> Result<ProjectionCheck<'_>, DbError> {
        let requests = &mut self.requests;
        Ok(ProjectionCheck {
            connection: self.connection,
            requests: Cursor::new(requests, "requests", 1, Some(IS_ERASED), entries)?,
            tool_calls: Cursor::new(&mut self.tool_calls, "tool_calls", 2, None, None)?,
            bounds: BOUNDS,
            open: BTreeMap::new(),
            open_bytes: 0,
            spilled: 0,
            sums: Fold::default(),
            rebuilt: Rebuilt::new()?,
            rest: KeyedHash::default(),
            differences: Differences::default(),
        })
    }
}

/// What later events need to know of a request that has not ended yet.
#[derive(Debug, Serialize, Deserialize)]
struct OpenRequest {
    opened_at: i64,
    provider_name: Option<Box<str>>,
    /// The model it was routed to, otherwise the one that was asked for.
    model: Option<Box<str>>,
    user_id: Option<Box<str>>,
    conversation_id: Option<Box<str>>,
    attributes: Vec<(String, String)>,
    response_provider_name: Option<Box<str>>,
    response_model: Option<Box<str>>,
    adjusted_fields: Option<Box<str>>,
    body_flags: Option<Box<str>>,
    /// The hash of the stored row's columns that are not known at the opening. `None`: there is no row, and
    /// that was already reported.
    rest: Option<u64>,
}

/// Adds names to a comma-separated list.
fn append_names(list: &mut Option<Box<str>>, names: &[String]) {
    if names.is_empty() {
        return;
    }
    let before = list.take().map(String::from);
    *list = joined(before.iter().chain(names)).map(String::into_boxed_str);
}

/// The result of a comparison.
type Differing = (Vec<ProjectionDifference>, Option<IndexEntries>);

/// Walks the log and the tables in step.
pub(crate) struct ProjectionCheck<'r> {
    connection: &'r Connection,
    requests: Cursor<'r>,
    tool_calls: Cursor<'r>,
    bounds: Bounds,
    /// By the seq of the opening.
    open: BTreeMap<u64, OpenRequest>,
    open_bytes: usize,
    /// Number of open requests in the temporary database.
    spilled: usize,
    /// Sums of hours and minutes that are not in the temporary database yet.
    sums: Fold<'static>,
    rebuilt: Rebuilt,
    rest: KeyedHash,
    differences: Differences,
}

impl ProjectionCheck<'_> {
    /// Compares with the next event of the log.
    pub(crate) fn apply(&mut self, event: &Event) -> Result<(), DbError> {
        match &event.kind {
            EventKind::Opened(opened) => {
                let at = event.at;
                self.opened(event.seq, &RequestStart { at, opened })
            }
            EventKind::Served(served) => self.served(served),
            EventKind::Ended(ended) => self.ended(event.seq, ended),
            EventKind::StoreOpened(_) | EventKind::StoreClosed(_) | EventKind::Gap(_) => {
                self.rebuilt.apply(std::slice::from_ref(event))
            }
            EventKind::PriceBook(_) => Ok(()),
            EventKind::Erased(_) => self.rebuilt.remove(event),
            EventKind::Pruned(pruned) => {
                self.sums.count_pruned(pruned);
                self.rebuilt.remove(event)
            }
        }
    }

    /// Called at the end of the log: compares what is left and returns all differences, with the entries
    /// that the indexes of the requests should hold where they were counted.
    pub(crate) fn finish(mut self) -> Result<Differing, DbError> {
        for (opened_seq, request) in std::mem::take(&mut self.open) {
            self.check_rest(opened_seq, &request, None)?;
        }
        self.check_spilled()?;
        let entries = self.requests.rest(&mut self.differences)?;
        self.tool_calls.rest(&mut self.differences)?;
        self.count_remains()?;
        self.differences
            .add_remains(self.connection, self.rebuilt.connection())?;
        self.add_sums()?;
        let mut differences = self.differences.into_list();
        self.rebuilt
            .compare_collected(self.connection, &mut differences)?;
        Ok((differences, entries))
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
            rest = Some(hash_of_end_columns(&mut self.rest, row)?);
            self.requests.advance()?;
        }
        let Opened {
            provider_name,
            request_model,
            client_model,
            user_id,
            conversation_id,
            attributes,
            adjusted_fields,
            body_flags,
            ..
        } = start.opened;
        let text = |text: &Option<String>| text.as_deref().map(Box::from);
        let request = OpenRequest {
            opened_at: start.opened_at(),
            provider_name: text(provider_name),
            model: text(request_model).or_else(|| text(client_model)),
            user_id: text(user_id),
            conversation_id: text(conversation_id),
            attributes: attributes.clone(),
            response_provider_name: None,
            response_model: None,
            adjusted_fields: joined(adjusted_fields.iter()).map(String::into_boxed_str),
            body_flags: joined(body_flags.iter()).map(String::into_boxed_str),
            rest,
        };
        self.hold(seq, request)
    }

    fn served(&mut self, served: &Served) -> Result<(), DbError> {
        // An event about a request that is not open changes nothing.
        let Some(mut request) = self.take(served.opened_seq)? else {
            return Ok(());
        };
        request.serve(&served.response_model, &served.response_provider_name);
        self.hold(served.opened_seq, request)
    }

    fn ended(&mut self, seq: u64, ended: &Ended) -> Result<(), DbError> {
        let end = RequestEnd { seq, ended };
        // The request was removed or has ended already: its row does not change.
        let Some(mut request) = self.take(ended.opened_seq)? else {
            return Ok(());
        };
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
        request.serve(&ended.response_model, &ended.response_provider_name);
        request.describe(ended);
        append_names(&mut request.adjusted_fields, &ended.adjusted_fields);
        append_names(&mut request.body_flags, &ended.body_flags);
        self.check_rest(ended.opened_seq, &request, Some(&end))?;
        self.sums.count_end(request.hour_key(), ended);
        if self.sums.hours.len() + self.sums.minutes.len() > self.bounds.sums {
            self.add_sums()?;
        }
        Ok(())
    }

    /// Compares the columns that are not known at the opening with the row, which was hashed at the
    /// opening.
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
        // Rare: read the row a second time to name the columns.
        let key = seq_to_sql(opened_seq);
        let sql = format!("{} WHERE opened_seq = ?1", select_row(self.connection));
        let mut statement = self.connection.prepare_cached(&sql).context(COMPARING)?;
        let mut rows = statement.query([key]).context(COMPARING)?;
        if let Some(row) = rows.next().context(COMPARING)? {
            let mut check = Check::new(row, START_COUNT);
            request.bind_rest(&mut check, end)?;
            self.differences.add_changed("requests", (key, 0), 1, check);
        }
        Ok(())
    }

    /// Counts what is left of erased requests.
    fn count_remains(&mut self) -> Result<(), DbError> {
        let mut all = Fold::default();
        std::mem::swap(&mut all, &mut self.sums);
        let (connection, bound) = (self.rebuilt.connection(), self.bounds.sums);
        visit_ended(connection, 0..=u64::MAX, |request| {
            all.count_minute(request.opened_at, request.opened_seq);
            all.count_end(request.key, &request.ended);
            if all.hours.len() + all.minutes.len() > bound {
                let mut sums = std::mem::take(&mut all);
                apply::apply(connection, &mut sums, &mut Refusals::default())?;
            }
            Ok(())
        })?;
        self.sums = all;
        Ok(())
    }

    fn add_sums(&mut self) -> Result<(), DbError> {
        let mut sums = std::mem::take(&mut self.sums);
        let mut refusals = Refusals::default();
        apply::apply(self.rebuilt.connection(), &mut sums, &mut refusals)
    }

    /// Keeps an open request. Beyond the bound, the oldest requests are spilled first: most requests end
    /// soon, so one that has been open for long will probably stay open.
    fn hold(&mut self, opened_seq: u64, request: OpenRequest) -> Result<(), DbError> {
        self.open_bytes = self.open_bytes.saturating_add(request.size());
        self.open.insert(opened_seq, request);
        if self.open_bytes <= self.bounds.open_bytes {
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
        while self.open_bytes > self.bounds.open_bytes / 2
            && let Some((seq, request)) = self.open.pop_first()
        {
            self.open_bytes = self.open_bytes.saturating_sub(request.size());
            let json =
                serde_json::to_vec(&request).map_err(|error| DbError::corrupt(COMPARING, error))?;
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
    /// Records what served the request. A later event overrides an earlier one; an absent value changes
    /// nothing.
    fn serve(&mut self, model: &Option<String>, provider_name: &Option<String>) {
        if let Some(model) = model {
            self.response_model = Some(model.as_str().into());
        }
        if let Some(provider_name) = provider_name {
            self.response_provider_name = Some(provider_name.as_str().into());
        }
    }

    /// Adds what became known after the opening.
    fn describe(&mut self, ended: &Ended) {
        let text = |text: &Option<String>| text.as_deref().map(Box::from);
        self.user_id = self.user_id.take().or_else(|| text(&ended.user_id));
        let conversation_id = self.conversation_id.take();
        self.conversation_id = conversation_id.or_else(|| text(&ended.conversation_id));
        if !ended.attributes.is_empty() {
            self.attributes = merged_attributes(&self.attributes, &ended.attributes);
        }
    }

    /// The row of sums in which it is counted.
    fn hour_key(&self) -> HourKey {
        let provider = self.response_provider_name.as_deref();
        let model = self.response_model.as_deref();
        HourKey::new(
            self.opened_at,
            provider
                .or(self.provider_name.as_deref())
                .unwrap_or_default(),
            model.or(self.model.as_deref()).unwrap_or_default(),
            self.user_id.as_deref().unwrap_or_default(),
        )
    }

    /// Binds everything that is not known at the opening.
    fn bind_rest(
        &self,
        values: &mut impl Values,
        end: Option<&RequestEnd<'_>>,
    ) -> Result<(), DbError> {
        values.bind(self.user_id.as_deref())?;
        values.bind(self.conversation_id.as_deref())?;
        values.bind(self.response_provider_name.as_deref())?;
        values.bind(self.response_model.as_deref())?;
        values.bind(attributes_to_sql(&self.attributes))?;
        bind_end(values, end)?;
        values.bind(self.adjusted_fields.as_deref())?;
        values.bind(self.body_flags.as_deref())
    }

    /// The memory that it takes, with its share of the map.
    fn size(&self) -> usize {
        let texts = [
            &self.provider_name,
            &self.model,
            &self.user_id,
            &self.conversation_id,
            &self.response_provider_name,
            &self.response_model,
            &self.adjusted_fields,
            &self.body_flags,
        ];
        // An allocation takes at least 16 bytes in addition to its content.
        let text = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len() + 16);
        let attribute = |(key, value): &(String, String)| key.len() + value.len() + 80;
        let attributes: usize = self.attributes.iter().map(attribute).sum();
        texts.into_iter().map(text).sum::<usize>() + attributes + size_of::<(u64, Self)>() + 16
    }

    fn read(json: &[u8]) -> Result<Self, DbError> {
        serde_json::from_slice(json).map_err(|error| DbError::corrupt(COMPARING, error))
    }
}

#[cfg(test)]
mod tests;
