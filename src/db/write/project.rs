//! The projections: writes the rows that a fold of events makes. Used by the writer and by the rebuild.

use std::borrow::Cow;

use crate::db::rollups;
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, ToSql, params};

use super::refusals::{ROW_REFUSED, Refusals};
use crate::db::error::{Context, DbError};
use crate::db::rows;
use crate::db::seq_to_sql;
use crate::log::{
    DayKey, Ended, HourKey, HourSums, Opened, RequestChange, RequestEnd, RequestStart,
    merged_attributes,
};
use crate::model::{CostSource, Status, UsageSource};

const WRITING: &str = "writing the projections";

/// Receives the values of a row one by one: to write them, or to compare them with a row.
pub(crate) trait Values {
    fn bind(&mut self, value: impl ToSql) -> Result<(), DbError>;
}

/// The statements of one batch, looked up once.
pub(crate) struct Statements<'c> {
    connection: &'c Connection,
    insert: CachedStatement<'c>,
    end: CachedStatement<'c>,
    end_unnamed: CachedStatement<'c>,
    serve: CachedStatement<'c>,
    tool_call: CachedStatement<'c>,
    hour: CachedStatement<'c>,
    day: CachedStatement<'c>,
    pub(crate) minute: CachedStatement<'c>,
}

impl<'c> Statements<'c> {
    pub(crate) fn prepare(connection: &'c Connection) -> Result<Self, DbError> {
        let prepare = |sql: &str| connection.prepare_cached(sql).context(WRITING);
        Ok(Self {
            connection,
            insert: prepare(&rows::INSERT_REQUEST)?,
            end: prepare(&rows::END_REQUEST)?,
            end_unnamed: prepare(&rows::END_REQUEST_UNNAMED)?,
            serve: prepare(rows::SERVE_REQUEST)?,
            tool_call: prepare(rows::INSERT_TOOL_CALL)?,
            hour: prepare(&rollups::ADD_HOUR)?,
            day: prepare(&rollups::ADD_DAY)?,
            minute: prepare(rows::ADD_MINUTE)?,
        })
    }

    /// Writes what a batch says of one request: its row and its tool calls. Returns the row of sums in
    /// which a request is counted that was opened in an earlier batch.
    pub(crate) fn change(
        &mut self,
        change: &RequestChange<'_>,
    ) -> Result<Option<HourKey>, DbError> {
        let mut key = None;
        match (&change.start, &change.end) {
            (Some(start), end) => self.insert(change, start, end.as_ref())?,
            (None, Some(end)) => {
                key = self.end(change, end)?;
                if key.is_none() {
                    // Its request was removed, but this line is still there.
                    return Ok(None);
                }
            }
            (None, None) => self.serve(change)?,
        }
        if let Some(end) = &change.end {
            self.insert_tool_calls(end)?;
        }
        Ok(key)
    }

    /// Writes a request whose row was refused in its barest form, with a flag: that it existed, and how it
    /// ended. If that is refused too there is no row; the log has its lines in any case.
    pub(crate) fn barest(
        &mut self,
        connection: &Connection,
        change: &RequestChange<'_>,
        refusals: &mut Refusals,
    ) -> Result<Option<HourKey>, DbError> {
        let flag = || vec![ROW_REFUSED.to_owned()];
        let opened = change.start.map(|start| Opened {
            request_id: start.opened.request_id.clone(),
            started_at: Some(start.opened_at()),
            body_flags: flag(),
            ..Opened::default()
        });
        let ended = change.end.map(|end| Ended {
            kind: end.ended.kind,
            body_flags: if opened.is_some() { Vec::new() } else { flag() },
            ..Ended::default()
        });
        let bare = RequestChange {
            opened_seq: change.opened_seq,
            start: opened.as_ref().map(|opened| RequestStart { at: 0, opened }),
            conversation_id: None,
            user_id: None,
            attributes: Cow::Borrowed(&[]),
            response_model: None,
            response_provider_name: None,
            end: change
                .end
                .zip(ended.as_ref())
                .map(|(end, ended)| RequestEnd {
                    seq: end.seq,
                    ended,
                }),
        };
        let mut key = None;
        refusals.guard(connection, change.opened_seq, || {
            key = self.change(&bare)?;
            Ok(())
        })?;
        Ok(key)
    }

    pub(crate) fn insert(
        &mut self,
        change: &RequestChange<'_>,
        start: &RequestStart<'_>,
        end: Option<&RequestEnd<'_>>,
    ) -> Result<(), DbError> {
        let mut binder = Binder::new(&mut self.insert);
        bind_start(&mut binder, change.opened_seq, start)?;
        bind_whose(&mut binder, change)?;
        bind_late(&mut binder, change, &change.attributes)?;
        bind_end(&mut binder, end)?;
        let names = |of_start: &[String], of_end: Option<&[String]>| {
            joined(of_start.iter().chain(of_end.unwrap_or_default()))
        };
        let (opened, ended) = (start.opened, end.map(|end| end.ended));
        binder.bind(names(
            &opened.adjusted_fields,
            ended.map(|ended| ended.adjusted_fields.as_slice()),
        ))?;
        binder.bind(names(
            &opened.body_flags,
            ended.map(|ended| ended.body_flags.as_slice()),
        ))?;
        binder.execute()
    }

    /// Ends a request whose row exists. Returns the row of sums in which it is counted; `None` if the log
    /// names a request that does not exist or has ended.
    pub(crate) fn end(
        &mut self,
        change: &RequestChange<'_>,
        end: &RequestEnd<'_>,
    ) -> Result<Option<HourKey>, DbError> {
        let attributes = self.all_attributes(change)?;
        let is_named = change.user_id.is_some() || change.conversation_id.is_some();
        let statement = match is_named {
            true => &mut self.end,
            false => &mut self.end_unnamed,
        };
        let mut binder = Binder::new(statement);
        if is_named {
            bind_whose(&mut binder, change)?;
        }
        bind_late(&mut binder, change, &attributes)?;
        bind_end(&mut binder, Some(end))?;
        binder.bind(joined(end.ended.adjusted_fields.iter()))?;
        binder.bind(joined(end.ended.body_flags.iter()))?;
        binder.bind(sql(change.opened_seq))?;
        let mut rows = statement.raw_query();
        let key = match rows.next().context(WRITING)? {
            None => None,
            Some(row) => {
                let key = |row: &Row<'_>| -> rusqlite::Result<HourKey> {
                    Ok(HourKey::new(
                        row.get(0)?,
                        row.get_ref(1)?.as_str()?,
                        row.get_ref(2)?.as_str()?,
                        row.get_ref(3)?.as_str()?,
                    ))
                };
                Some(key(row).context(WRITING)?)
            }
        };
        // Step to the end: the statement must run to completion.
        while rows.next().context(WRITING)?.is_some() {}
        Ok(key)
    }

    /// Attributes of the row, and of the end that changes it. Rare: most ends have none, and read nothing.
    fn all_attributes<'e>(
        &self,
        change: &'e RequestChange<'_>,
    ) -> Result<Cow<'e, [(String, String)]>, DbError> {
        let ended = &*change.attributes;
        if ended.is_empty() {
            return Ok(Cow::Borrowed(ended));
        }
        let row: Option<Option<String>> = self
            .connection
            .prepare_cached("SELECT attributes FROM requests WHERE opened_seq = ?1")
            .and_then(|mut row| {
                row.query_row([sql(change.opened_seq)], |row| row.get(0))
                    .optional()
            })
            .context(WRITING)?;
        // What is no object is damage, and replaced.
        let opened = row
            .flatten()
            .and_then(|text| rows::attributes_from_sql(&text));
        Ok(match opened {
            None => Cow::Borrowed(ended),
            Some(opened) => Cow::Owned(merged_attributes(&opened, ended)),
        })
    }

    fn serve(&mut self, change: &RequestChange<'_>) -> Result<(), DbError> {
        self.serve
            .execute(params![
                change.response_model,
                change.response_provider_name,
                sql(change.opened_seq)
            ])
            .context(WRITING)
            .map(drop)
    }

    fn insert_tool_calls(&mut self, end: &RequestEnd<'_>) -> Result<(), DbError> {
        for (position, call) in end.tool_calls().iter().enumerate() {
            self.tool_call
                .execute(params![
                    sql(end.seq),
                    i64::try_from(position).unwrap_or(i64::MAX),
                    call.tool_call_id,
                    call.tool_name,
                    sql(call.input_bytes)
                ])
                .context(WRITING)?;
        }
        Ok(())
    }

    pub(crate) fn add_hour(&mut self, key: &HourKey, sums: &HourSums) -> Result<(), DbError> {
        let mut binder = Binder::new(&mut self.hour);
        binder.bind(key.hour)?;
        binder.bind(&key.provider_name)?;
        binder.bind(&key.model)?;
        binder.bind(&key.user_id)?;
        bind_sums(&mut binder, sums)?;
        binder.execute()
    }

    pub(crate) fn add_day(&mut self, key: &DayKey<'_>, sums: &HourSums) -> Result<(), DbError> {
        let mut binder = Binder::new(&mut self.day);
        binder.bind(key.day)?;
        binder.bind(key.provider_name)?;
        binder.bind(key.model)?;
        bind_sums(&mut binder, sums)?;
        binder.execute()
    }
}

/// In the order of the columns of both rollups.
fn bind_sums(binder: &mut Binder<'_, '_>, sums: &HourSums) -> Result<(), DbError> {
    for sum in sums.values() {
        binder.bind(sql(sum))?;
    }
    Ok(())
}

/// Whose the request is, in the order of `WHOSE_COLUMNS` in `db/rows.rs`.
fn bind_whose(binder: &mut impl Values, change: &RequestChange<'_>) -> Result<(), DbError> {
    binder.bind(change.user_id)?;
    binder.bind(change.conversation_id)
}

/// What else may become known early or late, in the order of its columns.
fn bind_late(
    binder: &mut impl Values,
    change: &RequestChange<'_>,
    attributes: &[(String, String)],
) -> Result<(), DbError> {
    binder.bind(change.response_provider_name)?;
    binder.bind(change.response_model)?;
    binder.bind(rows::attributes_to_sql(attributes))
}

/// In the order of `START_COLUMNS` in `db/rows.rs`. The pattern names every field, so that a new field of the event
/// cannot be forgotten here.
pub(crate) fn bind_start(
    binder: &mut impl Values,
    opened_seq: u64,
    start: &RequestStart<'_>,
) -> Result<(), DbError> {
    let Opened {
        request_id,
        started_at: _,
        conversation_id: _,
        context_id,
        session_id,
        user_id: _,
        trace_id,
        actor_type,
        actor_id,
        operation_name,
        provider_name,
        client_model,
        request_model,
        wire_protocol,
        is_streaming,
        max_tokens,
        temperature,
        top_p,
        attributes: _,
        request_body,
        content: _,
        adjusted_fields: _,
        body_flags: _,
        redaction_id: _,
        url_path,
    } = start.opened;
    binder.bind(sql(opened_seq))?;
    binder.bind(request_id)?;
    binder.bind(start.opened_at())?;
    binder.bind(session_id)?;
    binder.bind(context_id)?;
    binder.bind(trace_id)?;
    binder.bind(actor_type.map(crate::model::ActorKind::as_str))?;
    binder.bind(actor_id)?;
    binder.bind(operation_name)?;
    binder.bind(url_path)?;
    binder.bind(provider_name)?;
    binder.bind(client_model)?;
    binder.bind(request_model)?;
    let wire_protocol = Some(wire_protocol.as_str()).filter(|name| !name.is_empty());
    binder.bind(wire_protocol)?;
    binder.bind(is_streaming)?;
    binder.bind(max_tokens.map(sql))?;
    binder.bind(temperature)?;
    binder.bind(top_p)?;
    binder.bind(sql(request_body.length))
}

/// In the order of `END_COLUMNS` in `db/rows.rs`. The pattern names every field, for the same reason. Without an
/// end, every column is NULL.
pub(crate) fn bind_end(
    binder: &mut impl Values,
    end: Option<&RequestEnd<'_>>,
) -> Result<(), DbError> {
    let nothing = Ended::default();
    let status = end.map_or(Status::Pending, |end| end.ended.kind.status());
    let Ended {
        kind: _,
        request_id: _,
        opened_seq: _,
        store_opened_seq: _,
        response_model: _,
        response_provider_name: _,
        response_id,
        http_status,
        error_type,
        error_message,
        finish_reasons,
        input_tokens,
        output_tokens,
        cache_read_input_tokens,
        cache_write_input_tokens,
        reasoning_output_tokens,
        cost_microdollars,
        latency_us,
        upstream_latency_us,
        time_to_first_chunk_us,
        tool_calls,
        response_body,
        content: _,
        upstream_body: _,
        adjusted_fields: _,
        body_flags: _,
        redaction_id: _,
        user_id: _,
        conversation_id: _,
        attributes: _,
        request_body: _,
        usage_source,
        cost_source,
        price_book_seq,
        usage_details,
    } = end.map_or(&nothing, |end| end.ended);
    binder.bind(end.map(|end| sql(end.seq)))?;
    binder.bind(status.as_str())?;
    binder.bind(latency_us.map(sql))?;
    binder.bind(upstream_latency_us.map(sql))?;
    binder.bind(time_to_first_chunk_us.map(sql))?;
    binder.bind(input_tokens.map(sql))?;
    binder.bind(output_tokens.map(sql))?;
    binder.bind(cache_read_input_tokens.map(sql))?;
    binder.bind(cache_write_input_tokens.map(sql))?;
    binder.bind(reasoning_output_tokens.map(sql))?;
    binder.bind(usage_source.map(UsageSource::as_str))?;
    binder.bind(rows::usage_details_to_sql(usage_details.as_deref()))?;
    binder.bind(cost_microdollars.map(sql))?;
    binder.bind(cost_source.map(CostSource::as_str))?;
    binder.bind(price_book_seq.map(sql))?;
    binder.bind(rows::finish_reasons_to_sql(finish_reasons.as_slice()))?;
    binder.bind(i64::try_from(tool_calls.len()).unwrap_or(i64::MAX))?;
    binder.bind(response_id)?;
    binder.bind(http_status)?;
    binder.bind(error_type)?;
    binder.bind(error_message)?;
    binder.bind(response_body.as_ref().map(|body| sql(body.length)))
}

/// Names joined by commas; no field's name contains one.
pub(crate) fn joined<'n>(names: impl Iterator<Item = &'n String>) -> Option<String> {
    let names: Vec<&str> = names.map(String::as_str).collect();
    (!names.is_empty()).then(|| names.join(","))
}

pub(crate) fn sql(number: u64) -> i64 {
    seq_to_sql(number)
}

/// Binds one parameter after the other. Most are NULL in most rows, and unbound parameters are NULL, so
/// these are skipped.
struct Binder<'s, 'c> {
    statement: &'s mut CachedStatement<'c>,
    bound: usize,
}

impl<'s, 'c> Binder<'s, 'c> {
    fn new(statement: &'s mut CachedStatement<'c>) -> Self {
        statement.clear_bindings();
        Self {
            statement,
            bound: 0,
        }
    }

    fn execute(self) -> Result<(), DbError> {
        self.statement.raw_execute().context(WRITING).map(drop)
    }
}

impl Values for Binder<'_, '_> {
    fn bind(&mut self, value: impl ToSql) -> Result<(), DbError> {
        self.bound += 1;
        let value = value.to_sql().context(WRITING)?;
        match value {
            ToSqlOutput::Borrowed(ValueRef::Null) | ToSqlOutput::Owned(Value::Null) => Ok(()),
            value => self
                .statement
                .raw_bind_parameter(self.bound, value)
                .context(WRITING),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Durability, PAGE_BYTES};
    use crate::db::{Appender, DatabasePath};

    /// Names of the indexes to which a statement may write.
    fn indexes_written(connection: &Connection, sql: &str) -> Vec<String> {
        let mut program = connection.prepare(&format!("EXPLAIN {sql}")).unwrap();
        let steps = program
            .raw_query()
            .mapped(|row| Ok((row.get(1)?, row.get(2)?, row.get(3)?, row.get(5)?)));
        let steps: Vec<(String, i64, i64, Option<String>)> = steps.map(Result::unwrap).collect();
        let name = |page: i64| {
            let name = "SELECT name FROM sqlite_schema WHERE rootpage = ?1";
            connection.query_row(name, [page], |row| row.get::<_, String>(0))
        };
        let mut names: Vec<String> = steps
            .iter()
            .filter(|(step, ..)| step == "IdxInsert")
            .map(|(_, cursor, ..)| {
                let opened = steps
                    .iter()
                    .find(|(step, of, ..)| step == "OpenWrite" && of == cursor);
                name(opened.unwrap().2).unwrap()
            })
            .collect();
        names.sort();
        names.dedup();
        names
    }

    #[test]
    fn an_end_that_names_nobody_leaves_the_indexes_of_names_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = DatabasePath::new(&folder.path().join("audit.db")).unwrap();
        let appender = Appender::open(&path, Durability::Buffered, PAGE_BYTES).unwrap();
        let written = |sql: &str| indexes_written(appender.connection(), sql);
        assert_eq!(written(&rows::END_REQUEST_UNNAMED), ["requests_by_status"]);
        assert_eq!(
            written(&rows::END_REQUEST),
            [
                "requests_by_conversation",
                "requests_by_status",
                "requests_by_user_id"
            ]
        );
    }
}
