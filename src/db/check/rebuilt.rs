//! Projections made from events alone, and what of the stored ones differs from them.

use std::cmp::Ordering;

use rusqlite::types::Value;
use rusqlite::{Connection, Row};

use crate::db::connection::migrate;
use crate::db::connection::schema::COLLECTED;
use crate::db::error::{Context, DbError};
use crate::db::write::refusals::Refusals;
use crate::db::write::{apply, removals};
use crate::log::{Event, Fold};

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
        removals::note_and_drop(&self.connection, &fold)?;
        apply::insert_remains(&self.connection, &fold)
    }

    /// Applies the next events of the log.
    pub(crate) fn apply(&self, events: &[Event]) -> Result<(), DbError> {
        let mut refusals = Refusals::default();
        apply::apply(&self.connection, &mut Fold::new(events), &mut refusals)
    }

    /// Compares what was collected, row by row.
    pub(crate) fn compare_collected(
        &self,
        stored: &Connection,
        differences: &mut Vec<ProjectionDifference>,
    ) -> Result<(), DbError> {
        for (table, key, columns) in COLLECTED {
            compare_table(stored, &self.connection, (table, key, columns), differences)?;
        }
        Ok(())
    }
}

/// Walks two tables in step, both ordered by their key. A row with the smaller key exists in its table only
/// and is reported; rows with equal keys are compared column by column. Then the side with the smaller key
/// advances, or both. Only two rows are in memory at a time.
fn compare_table(
    stored: &Connection,
    rebuilt: &Connection,
    (table, key, columns): (&'static str, &'static str, &'static str),
    differences: &mut Vec<ProjectionDifference>,
) -> Result<(), DbError> {
    let sql = format!("SELECT {key}, {columns} FROM {table} ORDER BY {key}");
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
                // The row that exists, to name its seq.
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
        // A row that exists on one side only advances that side; equal keys advance both.
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
