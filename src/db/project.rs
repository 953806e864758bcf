//! The projections: rows that a fold of events becomes. Used by the writer and by the rebuild.

use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, ToSql, params};

use super::error::{Context, DbError};
use super::removals;
use super::rows;
use super::seq_to_sql;
use crate::log::{
    DayKey, Ended, Fold, HourKey, HourSums, Opened, RequestChange, RequestEnd, RequestStart,
};
use crate::record::Status;

const WRITING: &str = "writing the projections";

/// Takes the values of a row one after the other: to write them, or to hold a row against them.
pub(super) trait Values {
    fn bind(&mut self, value: impl ToSql) -> Result<(), DbError>;
}

/// Writes everything that the fold says. Runs inside the caller's transaction.
pub(super) fn apply(connection: &Connection, fold: &mut Fold<'_>) -> Result<(), DbError> {
    let mut statements = Statements::prepare(connection)?;
    let mut late = Vec::new();
    for change in &fold.changes {
        match (&change.start, &change.end) {
            (Some(start), end) => statements.insert(change, start, end.as_ref())?,
            (None, Some(end)) => match statements.end(change, end)? {
                Some(key) => late.push((key, end.ended)),
                // Its request was taken out, and this line is not yet.
                None => continue,
            },
            (None, None) => statements.serve(change)?,
        }
        if let Some(end) = &change.end {
            statements.insert_tool_calls(end)?;
        }
    }
    removals::apply(connection, fold)?;
    for change in &fold.remains {
        removals::take_rows(connection, change.opened_seq, change.opened_seq)?;
        if let Some(start) = &change.start {
            statements.insert(change, start, change.end.as_ref())?;
        }
    }
    for (key, ended) in late {
        fold.count_end(key, ended);
    }
    for (key, sums) in &fold.hours {
        statements.add_hour(key, sums)?;
    }
    for (key, sums) in &fold.days() {
        statements.add_day(key, sums)?;
    }
    for (minute, range) in &fold.minutes {
        statements
            .minute
            .execute(params![minute, sql(range.first_seq), sql(range.last_seq)])
            .context(WRITING)?;
    }
    apply_store_events(connection, fold)
}

/// Writes the rows that are left of requests that were erased, and nothing that counts them.
pub(super) fn insert_remains(connection: &Connection, fold: &Fold<'_>) -> Result<(), DbError> {
    let mut statements = Statements::prepare(connection)?;
    for change in &fold.remains {
        removals::drop_rows(connection, change.opened_seq, change.opened_seq)?;
        if let Some(start) = &change.start {
            statements.insert(change, start, change.end.as_ref())?;
        }
    }
    Ok(())
}

/// Events of the store itself: rare, so their statements are looked up as needed.
fn apply_store_events(connection: &Connection, fold: &Fold<'_>) -> Result<(), DbError> {
    let execute = |sql: &str, values: &[&dyn ToSql]| {
        connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(values))
            .context(WRITING)
    };
    for (seq, at) in &fold.sessions {
        execute(rows::INSERT_SESSION, &[&sql(*seq), at])?;
    }
    for (seq, at, closed) in &fold.closings {
        execute(
            rows::CLOSE_SESSION,
            &[
                &sql(*seq),
                at,
                &sql(closed.lifecycles_submitted),
                &sql(closed.lifecycles_stored),
                &sql(closed.lifecycles_lost),
                &sql(closed.payloads_lost),
            ],
        )?;
    }
    for (seq, gap) in &fold.gaps {
        execute(
            rows::INSERT_GAP,
            &[
                &sql(*seq),
                &gap.first_at,
                &gap.last_at,
                &sql(gap.lifecycles),
                &sql(gap.payloads),
                &sql(gap.notices),
            ],
        )?;
    }
    Ok(())
}

/// Statements of one run, looked up once.
struct Statements<'c> {
    insert: CachedStatement<'c>,
    end: CachedStatement<'c>,
    serve: CachedStatement<'c>,
    tool_call: CachedStatement<'c>,
    hour: CachedStatement<'c>,
    day: CachedStatement<'c>,
    minute: CachedStatement<'c>,
}

impl<'c> Statements<'c> {
    fn prepare(connection: &'c Connection) -> Result<Self, DbError> {
        let prepare = |sql: &str| connection.prepare_cached(sql).context(WRITING);
        Ok(Self {
            insert: prepare(&rows::INSERT_REQUEST)?,
            end: prepare(&rows::END_REQUEST)?,
            serve: prepare(rows::SERVE_REQUEST)?,
            tool_call: prepare(rows::INSERT_TOOL_CALL)?,
            hour: prepare(rows::ADD_HOUR)?,
            day: prepare(rows::ADD_DAY)?,
            minute: prepare(rows::ADD_MINUTE)?,
        })
    }

    fn insert(
        &mut self,
        change: &RequestChange<'_>,
        start: &RequestStart<'_>,
        end: Option<&RequestEnd<'_>>,
    ) -> Result<(), DbError> {
        let mut binder = Binder::new(&mut self.insert);
        bind_start(&mut binder, change.opened_seq, start)?;
        binder.bind(change.response_model)?;
        binder.bind(change.response_provider_name)?;
        bind_end(&mut binder, end)?;
        let altered = joined(
            [
                Some(start.opened.altered.as_slice()),
                end.map(|end| end.ended.altered.as_slice()),
            ]
            .into_iter()
            .flatten()
            .flatten(),
        );
        binder.bind(altered)?;
        binder.execute()
    }

    /// Ends a request whose row exists. Gives the rollup row that it counts in; nothing where the
    /// log names a request that is not there or has ended.
    fn end(
        &mut self,
        change: &RequestChange<'_>,
        end: &RequestEnd<'_>,
    ) -> Result<Option<HourKey>, DbError> {
        let mut binder = Binder::new(&mut self.end);
        binder.bind(change.response_model)?;
        binder.bind(change.response_provider_name)?;
        bind_end(&mut binder, Some(end))?;
        binder.bind(joined(end.ended.altered.iter()))?;
        binder.bind(sql(change.opened_seq))?;
        let mut rows = self.end.raw_query();
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
        // Steps to the end: the statement has to run to completion.
        while rows.next().context(WRITING)?.is_some() {}
        Ok(key)
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

    fn add_hour(&mut self, key: &HourKey, sums: &HourSums) -> Result<(), DbError> {
        let mut binder = Binder::new(&mut self.hour);
        binder.bind(key.hour)?;
        binder.bind(&key.provider_name)?;
        binder.bind(&key.model)?;
        binder.bind(&key.user_id)?;
        bind_sums(&mut binder, sums)?;
        binder.execute()
    }

    fn add_day(&mut self, key: &DayKey<'_>, sums: &HourSums) -> Result<(), DbError> {
        let mut binder = Binder::new(&mut self.day);
        binder.bind(key.day)?;
        binder.bind(key.provider_name)?;
        binder.bind(key.model)?;
        bind_sums(&mut binder, sums)?;
        binder.execute()
    }
}

/// In the order of the columns of either rollup.
fn bind_sums(binder: &mut Binder<'_, '_>, sums: &HourSums) -> Result<(), DbError> {
    let HourSums {
        completed,
        failed,
        rejected,
        abandoned,
        interrupted,
        input_tokens,
        output_tokens,
        cache_read_input_tokens,
        cache_write_input_tokens,
        reasoning_output_tokens,
        cost_microdollars,
        unpriced,
        latency_us_sum,
        latency_count,
    } = sums;
    for sum in [
        completed,
        failed,
        rejected,
        abandoned,
        interrupted,
        input_tokens,
        output_tokens,
        cache_read_input_tokens,
        cache_write_input_tokens,
        reasoning_output_tokens,
        cost_microdollars,
        unpriced,
        latency_us_sum,
        latency_count,
    ] {
        binder.bind(sql(*sum))?;
    }
    Ok(())
}

/// In the order of [`rows::START_COLUMNS`].
pub(super) fn bind_start(
    binder: &mut impl Values,
    opened_seq: u64,
    start: &RequestStart<'_>,
) -> Result<(), DbError> {
    let Opened {
        request_id,
        started_at: _,
        conversation_id,
        context_id,
        session_id,
        user_id,
        trace_id,
        actor_type,
        actor_id,
        operation_name,
        provider_name,
        requested_model,
        request_model,
        wire_protocol,
        is_streaming,
        max_tokens,
        temperature,
        top_p,
        attributes,
        request_body,
        content: _,
        altered: _,
        redaction_id: _,
    } = start.opened;
    binder.bind(sql(opened_seq))?;
    binder.bind(request_id)?;
    binder.bind(start.opened_at())?;
    binder.bind(conversation_id)?;
    binder.bind(context_id)?;
    binder.bind(session_id)?;
    binder.bind(user_id)?;
    binder.bind(trace_id)?;
    binder.bind(actor_type.map(crate::record::ActorKind::name))?;
    binder.bind(actor_id)?;
    binder.bind(operation_name)?;
    binder.bind(provider_name)?;
    binder.bind(requested_model)?;
    binder.bind(request_model)?;
    binder.bind(wire_protocol.name())?;
    binder.bind(is_streaming)?;
    binder.bind(max_tokens.map(sql))?;
    binder.bind(temperature)?;
    binder.bind(top_p)?;
    binder.bind(rows::attributes_to_sql(attributes.as_slice()))?;
    binder.bind(sql(request_body.length))
}

/// In the order of [`rows::END_COLUMNS`].
pub(super) fn bind_end(
    binder: &mut impl Values,
    end: Option<&RequestEnd<'_>>,
) -> Result<(), DbError> {
    let nothing = Ended::default();
    let status = end.map_or(Status::Pending, |end| end.ended.kind.status());
    let Ended {
        kind: _,
        request_id: _,
        opened_seq: _,
        session_seq: _,
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
        prepared_body: _,
        altered: _,
        redaction_id: _,
    } = end.map_or(&nothing, |end| end.ended);
    binder.bind(end.map(|end| sql(end.seq)))?;
    binder.bind(status.name())?;
    binder.bind(latency_us.map(sql))?;
    binder.bind(upstream_latency_us.map(sql))?;
    binder.bind(time_to_first_chunk_us.map(sql))?;
    binder.bind(input_tokens.map(sql))?;
    binder.bind(output_tokens.map(sql))?;
    binder.bind(cache_read_input_tokens.map(sql))?;
    binder.bind(cache_write_input_tokens.map(sql))?;
    binder.bind(reasoning_output_tokens.map(sql))?;
    binder.bind(cost_microdollars.map(sql))?;
    binder.bind(rows::finish_reasons_to_sql(finish_reasons.as_slice()))?;
    binder.bind(i64::try_from(tool_calls.len()).unwrap_or(i64::MAX))?;
    binder.bind(response_id)?;
    binder.bind(http_status)?;
    binder.bind(error_type)?;
    binder.bind(error_message)?;
    binder.bind(response_body.as_ref().map(|body| sql(body.length)))
}

/// Names joined by commas, which no field's name has.
pub(super) fn joined<'n>(names: impl Iterator<Item = &'n String>) -> Option<String> {
    let names: Vec<&str> = names.map(String::as_str).collect();
    (!names.is_empty()).then(|| names.join(","))
}

fn sql(number: u64) -> i64 {
    seq_to_sql(number)
}

/// Binds one parameter after the other. Most are NULL in most rows: these stay unbound.
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

/// Reads one number, where the query gives one.
pub(super) fn optional_number(
    connection: &Connection,
    query: &str,
) -> Result<Option<i64>, DbError> {
    connection
        .prepare_cached(query)
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)).optional())
        .context("reading the log")
        .map(Option::flatten)
}
