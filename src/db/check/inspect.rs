//! Facts about a file for checkers: sizes, counts, and SQLite's own verdict.

use std::path::Path;

use rusqlite::Connection;

use super::structure::integrity_findings;
use crate::db::connection::files::wal_path;
use crate::db::connection::pool;
use crate::db::connection::schema::Schema;
use crate::db::error::{Context, DbError};
use crate::db::rollups::total;
use crate::db::rows::status_in;
use crate::db::write::pieces::left_behind;
use crate::model::Status;

/// Sizes and versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileFacts {
    pub(crate) file_bytes: u64,
    pub(crate) wal_bytes: u64,
    pub(crate) file_version: i64,
}

/// Counts of what the tables hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogFacts {
    pub(crate) segments: u64,
    pub(crate) requests: u64,
    pub(crate) pending: u64,
    pub(crate) payloads: u64,
    pub(crate) openings: u64,
    /// Sessions that did not close in order. One that is still running is not counted.
    pub(crate) crashed_openings: u64,
    pub(crate) gaps: u64,
    pub(crate) shed_lifecycles: u64,
    pub(crate) shed_payloads: u64,
    /// Times of the first and the last loss.
    pub(crate) lost_at: Option<(i64, i64)>,
}

/// Collects everything that can be looked up without reading the log. It gives no counts where the tables
/// are not those of this version.
pub(crate) fn inspect(
    path: &Path,
    is_being_written: bool,
) -> Result<(FileFacts, Option<LogFacts>, Vec<String>), DbError> {
    let connection = pool::open_any(path)?;
    let schema = Schema::read(&connection)?;
    let file = file_facts(path, &connection)?;
    let mut findings = schema.findings();
    if !schema.is_readable() {
        return Ok((file, None, findings));
    }
    let looked = (|| {
        let log = log_facts(&connection, is_being_written)?;
        let mut more = integrity_findings(&connection, &schema)?;
        more.extend(left_behind(&connection)?.map(|(_, what)| what));
        Ok((log, more))
    })();
    match looked {
        Ok((log, more)) => {
            findings.extend(more);
            Ok((file, Some(log), findings))
        }
        // An earlier finding already explains this error.
        Err(error) if DbError::is_damage(&error) && !findings.is_empty() => {
            Ok((file, None, findings))
        }
        Err(error) => Err(error),
    }
}

fn file_facts(path: &Path, connection: &Connection) -> Result<FileFacts, DbError> {
    let length = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    Ok(FileFacts {
        file_bytes: length(path),
        wal_bytes: length(&wal_path(path)),
        file_version: number(connection, "PRAGMA user_version")?,
    })
}

fn log_facts(connection: &Connection, is_being_written: bool) -> Result<LogFacts, DbError> {
    let count = |sql: &str| -> Result<u64, DbError> {
        Ok(u64::try_from(number(connection, sql)?).unwrap_or(0))
    };
    Ok(LogFacts {
        segments: count("SELECT count(*) FROM log_segments")?,
        requests: count("SELECT count(*) FROM requests")?,
        pending: count(&format!(
            "SELECT count(*) FROM requests WHERE {}",
            status_in(&[Status::Pending])
        ))?,
        payloads: count("SELECT count(*) FROM payloads")?,
        openings: count("SELECT count(*) FROM store_openings")?,
        crashed_openings: count(match is_being_written {
            // The last session is still running.
            true => {
                "SELECT count(*) FROM store_openings WHERE closed_seq IS NULL \
                 AND opened_seq < (SELECT max(opened_seq) FROM store_openings)"
            }
            false => "SELECT count(*) FROM store_openings WHERE closed_seq IS NULL",
        })?,
        gaps: count("SELECT count(*) FROM gaps")?,
        shed_lifecycles: count(&format!("SELECT {} FROM gaps", total("lifecycles")))?,
        shed_payloads: count(&format!("SELECT {} FROM gaps", total("payloads")))?,
        lost_at: connection
            .query_row("SELECT min(first_at), max(last_at) FROM gaps", [], |row| {
                Ok(row.get::<_, Option<i64>>(0)?.zip(row.get(1)?))
            })
            .context("looking at the file")?,
    })
}

fn number(connection: &Connection, sql: &str) -> Result<i64, DbError> {
    connection
        .query_row(sql, [], |row| row.get(0))
        .context("looking at the file")
}
