//! Applies a fold of events to the projections. Used by the writer and by the rebuild.

use rusqlite::{Connection, ToSql, params};

use super::project::{Statements, sql};
use super::refusals::Refusals;
use super::removals;
use super::sums::{self, Saturated};
use crate::db::error::{Context, DbError};
use crate::db::rows;
use crate::log::Fold;

const WRITING: &str = "writing the projections";

/// Writes everything that the fold contains, inside the caller's transaction.
///
/// The steps: (1) rows of requests; a refused row is written again in its barest form. (2) Removals delete
/// rows and subtract what they counted. (3) What is left of erased requests is inserted. (4) Sums: an end
/// whose opening was in an earlier batch is counted only now, since its key comes from its row. (5) Sums
/// that had reached their bound are counted again. Steps 4 and 5 must come after 2, so that nothing is
/// subtracted that was not added.
pub(crate) fn apply(
    connection: &Connection,
    fold: &mut Fold<'_>,
    refusals: &mut Refusals,
) -> Result<(), DbError> {
    let mut statements = Statements::prepare(connection)?;
    let mut late = Vec::new();
    // (1) Rows. `late` has the ends of earlier openings, with the keys that their rows gave.
    for change in &fold.changes {
        let mut key = None;
        let is_written = refusals.guard(connection, change.opened_seq, || {
            key = statements.change(change)?;
            Ok(())
        })?;
        if !is_written {
            key = statements.barest(connection, change, refusals)?;
        }
        if let (None, Some(end), Some(key)) = (&change.start, &change.end, key) {
            late.push((key, end.ended));
        }
    }
    // (2) Removals subtract what their rows counted. What cannot be subtracted is noted for (5).
    let mut saturated = Saturated::default();
    removals::apply(connection, fold, &mut saturated, refusals)?;
    // (3) Rows of erased requests are replaced by what is left of them.
    for change in &fold.remains {
        let seq = change.opened_seq;
        removals::take_rows(connection, seq, seq, &mut saturated)?;
        if let Some(start) = &change.start {
            refusals.guard(connection, seq, || {
                statements.insert(change, start, change.end.as_ref())
            })?;
        }
    }
    // (4) The sums of the whole batch, one row for each key.
    for (key, ended) in late {
        fold.count_end(key, ended);
    }
    for (key, sums) in &fold.hours {
        refusals.guard(connection, fold.first_seq, || {
            statements.add_hour(key, sums)
        })?;
    }
    for (key, sums) in &fold.days() {
        refusals.guard(connection, fold.first_seq, || statements.add_day(key, sums))?;
    }
    for (minute, range) in &fold.minutes {
        refusals.guard(connection, range.first_seq, || {
            statements
                .minute
                .execute(params![minute, sql(range.first_seq), sql(range.last_seq)])
                .context(WRITING)
                .map(drop)
        })?;
    }
    // (5) Sums at their bound.
    refusals.guard(connection, fold.first_seq, || {
        sums::settle(connection, &saturated)
    })?;
    apply_store_events(connection, fold, refusals)
}

/// Writes the rows that are left of erased requests, without counting them.
pub(crate) fn insert_remains(connection: &Connection, fold: &Fold<'_>) -> Result<(), DbError> {
    let mut statements = Statements::prepare(connection)?;
    for change in &fold.remains {
        removals::drop_rows(connection, change.opened_seq, change.opened_seq)?;
        if let Some(start) = &change.start {
            statements.insert(change, start, change.end.as_ref())?;
        }
    }
    Ok(())
}

/// Events of the store itself: rare, so their statements are prepared when needed. Each row is guarded on its own: a
/// refused one must cost neither the others nor the log.
fn apply_store_events(
    connection: &Connection,
    fold: &Fold<'_>,
    refusals: &mut Refusals,
) -> Result<(), DbError> {
    let mut execute = |seq: u64, sql: &str, values: &[&dyn ToSql]| {
        refusals.guard(connection, seq, || {
            connection
                .prepare_cached(sql)
                .and_then(|mut statement| statement.execute(values))
                .context(WRITING)
                .map(drop)
        })
    };
    for (seq, at) in &fold.openings {
        execute(*seq, rows::INSERT_OPENING, &[&sql(*seq), at])?;
    }
    for (seq, at, closed) in &fold.closings {
        execute(
            *seq,
            rows::CLOSE_OPENING,
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
            *seq,
            rows::INSERT_GAP,
            &[
                &sql(*seq),
                &gap.first_at,
                &gap.last_at,
                &sql(gap.lifecycles),
                &sql(gap.payloads),
                &sql(gap.updates),
            ],
        )?;
    }
    Ok(())
}
