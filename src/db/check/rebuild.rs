//! Derives the projections from the log: rewrites them, or compares them with those in the file.

use std::cmp::Ordering;
use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, Row, TransactionBehavior};

use super::projections::Tables;
use crate::db::connection::files::DatabasePath;
use crate::db::connection::mend::mend;
use crate::db::connection::{migrate, open, pool};
use crate::db::error::{Context, DbError, DbErrorKind};
use crate::db::read::lookup::{StoredSegment, visit_segments};
use crate::db::remove::projections;
use crate::db::write::project;
use crate::db::write::refusals::Refusals;
use crate::error::OpenError;
use crate::log::{Accounts, Event, Fold, SegmentDecoder, lines, removed_leaf};

/// Projections that are compared in step with the log.
const IN_STEP: &[&str] = &["requests", "tool_calls"];
/// Projections that are collected first, each with its primary key.
const COLLECTED: &[(&str, &str)] = &[
    ("usage_hourly", "hour, provider_name, model, user_id"),
    ("usage_daily", "day, provider_name, model"),
    ("opened_minutes", "minute"),
    ("store_openings", "opened_seq"),
    ("gaps", "seq"),
    ("removals", "kind, first_seq, seq"),
];

const COMPARING: &str = "comparing the projections";

/// More than this many differences of a table are only counted.
pub(crate) const DIFFERENCES_LISTED_MAX: usize = 20;

/// A projection that does not say what the log says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProjectionDifference {
    pub(crate) table: &'static str,
    /// The event that the row is about, where its key tells.
    pub(crate) seq: Option<u64>,
    pub(crate) what: String,
}

/// What reading the log from end to end found.
#[derive(Debug, Default)]
pub(crate) struct LogScan {
    pub(crate) events: u64,
    /// Places where the log has a gap, or a segment does not hold what its row says.
    pub(crate) findings: Vec<String>,
}

/// Whether a table is derived from the log.
pub(crate) fn is_projection(table: &str) -> bool {
    IN_STEP.contains(&table) || COLLECTED.iter().any(|(name, _)| *name == table)
}

/// Recreates tables and indexes that are not as this version makes them, deletes the projections, and
/// rewrites them from the log, all in one transaction. Payloads and the log do not change. The caller holds
/// the writer's lock.
pub(crate) fn rebuild_projections(path: &DatabasePath) -> Result<u64, OpenError> {
    let (mut connection, schema) = open::open_for_mending(path)?;
    let rebuild = |connection: &mut Connection, mut refusals: Refusals| -> Result<u64, DbError> {
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .context("rebuilding the projections")?;
        mend(&transaction, &schema)?;
        let collected = COLLECTED.iter().map(|(table, _)| table);
        for table in IN_STEP.iter().chain(collected) {
            transaction
                .execute(&format!("DELETE FROM {table}"), [])
                .context("rebuilding the projections")?;
        }
        let scan = replay(&transaction, |events| {
            project::apply(&transaction, &mut Fold::new(events), &mut refusals)
        })?;
        if let Some(finding) = scan.findings.into_iter().next() {
            return Err(DbError::corrupt("rebuilding the projections", finding));
        }
        transaction.commit().context("rebuilding the projections")?;
        Ok(scan.events)
    };
    let failed = |error| open::open_error(path.as_path(), error);
    open::defend(&connection, false).map_err(failed)?;
    let rebuilt = match rebuild(&mut connection, Refusals::default()) {
        Err(error) if error.kind == DbErrorKind::Refused => {
            rebuild(&mut connection, Refusals::guarding())
        }
        rebuilt => rebuilt,
    };
    rebuilt.map_err(failed)
}

/// The result of comparing the projections with the log.
#[derive(Debug)]
pub(crate) struct Compared {
    pub(crate) scan: LogScan,
    pub(crate) differences: Vec<ProjectionDifference>,
    /// Sessions whose accounts do not add up, each with the seq of its opening.
    pub(crate) accounts: Vec<(u64, String)>,
}

/// Compares the projections with the log, row by row, as of one moment. Both are read in step, so memory
/// stays bounded.
pub(crate) fn compare_projections(path: &Path) -> Result<Compared, DbError> {
    let connection = pool::open_reader(path)?;
    let snapshot = connection.unchecked_transaction().context(COMPARING)?;
    let mut tables = Tables::new(&snapshot)?;
    let mut comparison = tables.compare(None)?;
    let (mut accounts, mut findings) = (Accounts::default(), Vec::new());
    let scan = replay(&snapshot, |events| {
        for event in events {
            let removed = |events| projections::removed_requests(&snapshot, events);
            findings.extend(accounts.event(event, removed)?);
            comparison.apply(event)?;
        }
        Ok(())
    })?;
    Ok(Compared {
        scan,
        differences: comparison.finish()?.0,
        accounts: findings,
    })
}

/// Projections made from events alone, in a temporary database.
#[derive(Debug)]
pub(crate) struct Rebuilt {
    connection: Connection,
}

impl Rebuilt {
    pub(crate) fn new() -> Result<Self, DbError> {
        // An unnamed database is in memory and spills to a temporary file.
        let mut connection = Connection::open("").context("opening a temporary database")?;
        migrate::migrate(&mut connection)?;
        // Nothing of it outlives the comparison: no journal, no sync, and 4 MiB of cache.
        connection
            .execute_batch("PRAGMA journal_mode = OFF; PRAGMA cache_size = -4096; BEGIN")
            .context(COMPARING)?;
        Ok(Self { connection })
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Applies an event that records a removal. Rows of erased requests stay; their sums are computed at
    /// the end from the rows that are left.
    pub(crate) fn remove(&self, event: &Event) -> Result<(), DbError> {
        let fold = Fold::new(std::slice::from_ref(event));
        projections::note_and_drop(&self.connection, &fold)?;
        project::insert_remains(&self.connection, &fold)
    }

    /// Applies the next events of the log.
    pub(crate) fn apply(&self, events: &[Event]) -> Result<(), DbError> {
        let mut refusals = Refusals::default();
        project::apply(&self.connection, &mut Fold::new(events), &mut refusals)
    }

    /// Compares what was collected, row by row.
    pub(crate) fn compare_collected(
        &self,
        stored: &Connection,
        differences: &mut Vec<ProjectionDifference>,
    ) -> Result<(), DbError> {
        for (table, key) in COLLECTED {
            compare_table(stored, &self.connection, table, key, differences)?;
        }
        Ok(())
    }
}

/// Reads the log of `source` and passes its events to the caller, segment by segment.
fn replay(
    source: &Connection,
    mut apply: impl FnMut(&[Event]) -> Result<(), DbError>,
) -> Result<LogScan, DbError> {
    let mut decoder =
        SegmentDecoder::new().map_err(|error| DbError::corrupt("reading the log", error))?;
    let mut scan = LogScan::default();
    visit_segments(source, |segment| {
        let (first_seq, count) = (segment.first_seq, segment.count);
        match events_of(&mut decoder, segment, scan.events) {
            Ok(events) => {
                scan.events = scan.events.saturating_add(count);
                apply(&events)
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
        .decode(
            segment.encoding,
            segment.data,
            segment.length,
            segment.count,
        )
        .map_err(|error| error.to_string())?;
    let mut events = Vec::new();
    let mut expected = expected_seq;
    for line in lines(&text) {
        let seq = expected;
        expected = expected.saturating_add(1);
        if removed_leaf(line).is_some() {
            continue;
        }
        let event = Event::from_line(line).map_err(|error| error.to_string())?;
        if event.seq != seq {
            return Err(format!("seq {} stands where {seq} should", event.seq));
        }
        events.push(event);
    }
    let held = expected.saturating_sub(expected_seq);
    if held != segment.count {
        return Err(format!("it holds {held} events and says {}", segment.count));
    }
    Ok(events)
}

/// Walks two tables in step, both ordered by their key. A row with the smaller key exists in its table only
/// and is reported; rows with equal keys are compared column by column. Then the side with the smaller key
/// advances, or both. Only two rows are in memory at a time.
fn compare_table(
    stored: &Connection,
    rebuilt: &Connection,
    table: &'static str,
    key: &'static str,
    differences: &mut Vec<ProjectionDifference>,
) -> Result<(), DbError> {
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
    let has_seq = key
        .split(',')
        .next()
        .is_some_and(|key| key.ends_with("seq"));
    let (mut stored_row, mut rebuilt_row) = (next(&mut left)?, next(&mut right)?);
    let mut found = 0_usize;
    loop {
        let order = match (&stored_row, &rebuilt_row) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(stored), Some(rebuilt)) => key_order(stored, rebuilt, key_length),
        };
        let what = match (order, &stored_row, &rebuilt_row) {
            (Ordering::Less, Some(stored), _) => {
                Some(format!("{} is not in the log", shown(stored, key_length)))
            }
            (Ordering::Greater, _, Some(rebuilt)) => {
                Some(format!("{} is missing", shown(rebuilt, key_length)))
            }
            (_, Some(stored), Some(rebuilt)) if stored != rebuilt => {
                Some(changed_columns(&names, stored, rebuilt, key_length))
            }
            _ => None,
        };
        if let Some(what) = what {
            found = found.saturating_add(1);
            if found <= DIFFERENCES_LISTED_MAX {
                let row = if order == Ordering::Greater {
                    &rebuilt_row
                } else {
                    &stored_row
                };
                let seq = match row.as_deref() {
                    Some([Value::Integer(seq), ..]) if has_seq => u64::try_from(*seq).ok(),
                    _ => None,
                };
                differences.push(ProjectionDifference { table, seq, what });
            }
        }
        if order != Ordering::Greater {
            stored_row = next(&mut left)?;
        }
        if order != Ordering::Less {
            rebuilt_row = next(&mut right)?;
        }
    }
    if found > DIFFERENCES_LISTED_MAX {
        differences.push(ProjectionDifference {
            table,
            seq: None,
            what: format!("{} more rows differ", found - DIFFERENCES_LISTED_MAX),
        });
    }
    Ok(())
}

/// Compares two keys in SQLite's order of integers and text.
fn key_order(left: &[Value], right: &[Value], key_length: usize) -> Ordering {
    let pairs = left.iter().zip(right).take(key_length);
    for (left, right) in pairs {
        let order = match (left, right) {
            (Value::Integer(left), Value::Integer(right)) => left.cmp(right),
            (Value::Text(left), Value::Text(right)) => left.as_bytes().cmp(right.as_bytes()),
            // Keys have only these two types; any other value is reported as a difference of the row.
            _ => Ordering::Equal,
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    Ordering::Equal
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
