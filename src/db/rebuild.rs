//! The projections from the log: written anew, or held against what the file has.

use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, Row, TransactionBehavior};

use super::error::{Context, DbError};
use super::files::DatabasePath;
use super::read::{StoredSegment, visit_segments};
use super::{migrate, open, pool, project};
use crate::config::Durability;
use crate::error::OpenError;
use crate::log::{Event, Fold, SegmentDecoder, lines};

/// Projections, each with its primary key.
const PROJECTIONS: &[(&str, &str)] = &[
    ("requests", "opened_seq"),
    ("tool_calls", "ended_seq, position"),
    ("usage_hourly", "hour, provider_name, model, user_id"),
    ("opened_minutes", "minute"),
    ("store_sessions", "opened_seq"),
    ("gaps", "seq"),
];

/// More than this many differences of a table are only counted.
const DIFFERENCES_LISTED_MAX: usize = 20;

/// A projection that does not say what the log says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProjectionDifference {
    pub(crate) table: &'static str,
    pub(crate) what: String,
}

/// What reading the log from end to end found.
#[derive(Debug, Default)]
pub(crate) struct LogScan {
    pub(crate) events: u64,
    /// Where the log is not gapless, or a segment does not hold what it says.
    pub(crate) findings: Vec<String>,
}

/// Deletes the projections and writes them anew from the log, in one transaction. Payloads and the
/// log itself are not touched. The caller holds the writer's lock.
pub(crate) fn rebuild_projections(path: &DatabasePath) -> Result<u64, OpenError> {
    let mut connection = open::open_for_writing(path, Durability::Full)?;
    let rebuild = |connection: &mut Connection| -> Result<u64, DbError> {
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .context("rebuilding the projections")?;
        for (table, _) in PROJECTIONS {
            transaction
                .execute(&format!("DELETE FROM {table}"), [])
                .context("rebuilding the projections")?;
        }
        let scan = replay(&transaction, &transaction)?;
        if let Some(finding) = scan.findings.into_iter().next() {
            return Err(DbError::corrupt("rebuilding the projections", finding));
        }
        transaction.commit().context("rebuilding the projections")?;
        Ok(scan.events)
    };
    rebuild(&mut connection).map_err(|error| open::open_error(path.as_path(), error))
}

/// Rebuilds the projections beside the file and compares them with it, row by row, as of one
/// moment. Memory stays bounded: both sides are read in step.
pub(crate) fn compare_projections(
    path: &Path,
) -> Result<(LogScan, Vec<ProjectionDifference>), DbError> {
    let connection = pool::open_reader(path)?;
    let snapshot = connection
        .unchecked_transaction()
        .context("comparing the projections")?;
    // An unnamed database lies in memory and spills to a temporary file.
    let mut rebuilt = Connection::open("").context("opening a temporary database")?;
    migrate::migrate(&mut rebuilt)?;
    let transaction = rebuilt.transaction().context("comparing the projections")?;
    let scan = replay(&snapshot, &transaction)?;
    let mut differences = Vec::new();
    for (table, key) in PROJECTIONS {
        compare_table(&snapshot, &transaction, table, key, &mut differences)?;
    }
    Ok((scan, differences))
}

/// Reads the log of `source` and applies it to the projections of `target`.
fn replay(source: &Connection, target: &Connection) -> Result<LogScan, DbError> {
    let mut decoder =
        SegmentDecoder::new().map_err(|error| DbError::corrupt("reading the log", error))?;
    let mut scan = LogScan::default();
    visit_segments(source, |segment| {
        let first_seq = segment.first_seq;
        match events_of(&mut decoder, segment, scan.events) {
            Ok(events) => {
                let count = u64::try_from(events.len()).unwrap_or(u64::MAX);
                scan.events = scan.events.saturating_add(count);
                project::apply(target, &mut Fold::new(&events))
            }
            Err(finding) => {
                scan.findings
                    .push(format!("log segment at seq {first_seq}: {finding}"));
                Ok(())
            }
        }
    })?;
    Ok(scan)
}

/// The events of a segment, which must start at `expected_seq` and be gapless.
fn events_of(
    decoder: &mut SegmentDecoder,
    segment: StoredSegment,
    expected_seq: u64,
) -> Result<Vec<Event>, String> {
    if segment.first_seq != expected_seq {
        return Err(format!("the log should go on with seq {expected_seq} here"));
    }
    let text = decoder
        .decode(segment.encoding, segment.data, segment.length)
        .map_err(|error| error.to_string())?;
    let mut events = Vec::new();
    for line in lines(&text) {
        let event = Event::from_line(line).map_err(|error| error.to_string())?;
        let expected = expected_seq.saturating_add(u64::try_from(events.len()).unwrap_or(u64::MAX));
        if event.seq != expected {
            return Err(format!("seq {} stands where {expected} should", event.seq));
        }
        events.push(event);
    }
    if u64::try_from(events.len()).ok() != Some(segment.count) {
        return Err(format!(
            "it holds {} events and says {}",
            events.len(),
            segment.count
        ));
    }
    Ok(events)
}

/// Walks two tables in step, ordered by their key.
fn compare_table(
    stored: &Connection,
    rebuilt: &Connection,
    table: &'static str,
    key: &'static str,
    differences: &mut Vec<ProjectionDifference>,
) -> Result<(), DbError> {
    const COMPARING: &str = "comparing the projections";
    let sql = format!("SELECT {key}, * FROM {table} ORDER BY {key}");
    let key_length = key.split(',').count();
    let mut left = stored.prepare(&sql).context(COMPARING)?;
    let mut right = rebuilt.prepare(&sql).context(COMPARING)?;
    let names: Vec<String> = left.column_names().into_iter().map(str::to_owned).collect();
    let mut left = left.query([]).context(COMPARING)?;
    let mut right = right.query([]).context(COMPARING)?;
    let next = |rows: &mut rusqlite::Rows<'_>| -> Result<Option<Vec<Value>>, DbError> {
        match rows.next().context(COMPARING)? {
            None => Ok(None),
            Some(row) => values(row, names.len()).context(COMPARING).map(Some),
        }
    };
    let (mut stored_row, mut rebuilt_row) = (next(&mut left)?, next(&mut right)?);
    let mut found = 0_usize;
    loop {
        let what = match (&stored_row, &rebuilt_row) {
            (None, None) => break,
            (Some(stored), Some(rebuilt)) if stored == rebuilt => None,
            (Some(stored), Some(rebuilt)) => {
                let key = |row: &[Value]| row.get(..key_length).map(<[Value]>::to_vec);
                if key(stored) == key(rebuilt) {
                    Some(changed_columns(&names, stored, rebuilt, key_length))
                } else {
                    Some(format!("rows differ from {} on", shown(stored, key_length)))
                }
            }
            (Some(stored), None) => {
                Some(format!("{} is not in the log", shown(stored, key_length)))
            }
            (None, Some(rebuilt)) => Some(format!("{} is missing", shown(rebuilt, key_length))),
        };
        let rows_are_misaligned = what
            .as_ref()
            .is_some_and(|what| what.starts_with("rows differ"));
        if let Some(what) = what {
            found = found.saturating_add(1);
            if found <= DIFFERENCES_LISTED_MAX {
                differences.push(ProjectionDifference { table, what });
            }
        }
        if rows_are_misaligned {
            break;
        }
        stored_row = next(&mut left)?;
        rebuilt_row = next(&mut right)?;
    }
    if found > DIFFERENCES_LISTED_MAX {
        differences.push(ProjectionDifference {
            table,
            what: format!("{} more rows differ", found - DIFFERENCES_LISTED_MAX),
        });
    }
    Ok(())
}

fn values(row: &Row<'_>, count: usize) -> rusqlite::Result<Vec<Value>> {
    (0..count).map(|index| row.get(index)).collect()
}

fn shown(row: &[Value], key_length: usize) -> String {
    let key: Vec<String> = row
        .iter()
        .take(key_length)
        .map(|value| match value {
            Value::Integer(number) => number.to_string(),
            Value::Text(text) => format!("{text:?}"),
            other => format!("{other:?}"),
        })
        .collect();
    format!("row {}", key.join(", "))
}

fn changed_columns(
    names: &[String],
    stored: &[Value],
    rebuilt: &[Value],
    key_length: usize,
) -> String {
    let changed: Vec<&str> = names
        .iter()
        .zip(stored.iter().zip(rebuilt))
        .filter(|(_, (stored, rebuilt))| stored != rebuilt)
        .map(|(name, _)| name.as_str())
        .collect();
    format!(
        "{}: {} not as the log says",
        shown(stored, key_length),
        changed.join(", ")
    )
}
