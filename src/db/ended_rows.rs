//! Rows of requests that have ended, as the rollups count them.

use std::ops::RangeInclusive;

use rusqlite::{Connection, Row};

use crate::db::error::{Context, DbError};
use crate::db::rows::{count_at, details_of_others_at, name_at, optional_count_at};
use crate::db::seq_to_sql;
use crate::log::{EndKind, Ended, HourKey};

const READING: &str = "reading ended requests";

/// The values of an ended request that are counted.
pub(crate) struct EndedRow {
    pub(crate) opened_seq: u64,
    pub(crate) opened_at: i64,
    pub(crate) key: HourKey,
    pub(crate) ended: Ended,
}

/// What [`ended_of`] reads, and how many columns that is.
pub(crate) const ENDED_COLUMNS: &str = "opened_at, \
     coalesce(response_provider_name, provider_name, ''), \
     coalesce(response_model, request_model, client_model, ''), coalesce(user_id, ''), status, \
     input_tokens, output_tokens, cache_read_input_tokens, cache_write_input_tokens, \
     reasoning_output_tokens, cost_microdollars, latency_us, opened_seq, http_status, \
     usage_source, cost_source, usage_details";
pub(crate) const ENDED_COLUMN_COUNT: usize = 17;

/// Visits the ended requests that these events opened.
pub(crate) fn visit_ended(
    connection: &Connection,
    opened: RangeInclusive<u64>,
    mut visit: impl FnMut(EndedRow) -> Result<(), DbError>,
) -> Result<(), DbError> {
    let mut statement = connection
        .prepare_cached(&format!(
            "SELECT {ENDED_COLUMNS} FROM requests WHERE opened_seq BETWEEN ?1 AND ?2 \
             AND ended_seq IS NOT NULL"
        ))
        .context(READING)?;
    let mut rows = statement
        .query([seq_to_sql(*opened.start()), seq_to_sql(*opened.end())])
        .context(READING)?;
    while let Some(row) = rows.next().context(READING)? {
        visit(ended_of(row).context(READING)?)?;
    }
    Ok(())
}

/// Reads [`ENDED_COLUMNS`].
pub(crate) fn ended_of(row: &Row<'_>) -> rusqlite::Result<EndedRow> {
    let opened_at = row.get(0)?;
    let key = HourKey::new(
        opened_at,
        row.get_ref(1)?.as_str()?,
        row.get_ref(2)?.as_str()?,
        row.get_ref(3)?.as_str()?,
    );
    let kind = row.get_ref(4)?.as_str()?.parse().ok().and_then(EndKind::of);
    let ended = Ended {
        kind: kind.unwrap_or_default(),
        input_tokens: optional_count_at(row, 5)?,
        output_tokens: optional_count_at(row, 6)?,
        cache_read_input_tokens: optional_count_at(row, 7)?,
        cache_write_input_tokens: optional_count_at(row, 8)?,
        reasoning_output_tokens: optional_count_at(row, 9)?,
        cost_microdollars: optional_count_at(row, 10)?,
        latency_us: optional_count_at(row, 11)?,
        http_status: row.get(13)?,
        usage_source: name_at(row, 14)?,
        cost_source: name_at(row, 15)?,
        usage_details: details_of_others_at(row, 16)?,
        ..Ended::default()
    };
    Ok(EndedRow {
        opened_seq: count_at(row, 12)?,
        opened_at,
        key,
        ended,
    })
}
