//! Reads rows in the order of their keys and compares them.

use std::collections::BTreeMap;

use rusqlite::fallible_streaming_iterator::FallibleStreamingIterator;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Row, Rows, Statement, ToSql};

use super::COMPARING;
use crate::db::check::rebuilt::{DIFFERENCES_LISTED_MAX, ProjectionDifference};
use crate::db::check::structure::IndexEntries;
use crate::db::error::{Context, DbError};
use crate::db::keyed::KeyedHash;
use crate::db::rows::{COLUMN_COUNT, START_COUNT, column_name, select_row};
use crate::db::write::project::Values;

/// A table's rows in the order of their keys.
pub(super) struct Cursor<'r> {
    pub(super) rows: Rows<'r>,
    table: &'static str,
    key_length: usize,
    /// The column that says whether a row is what is left of an erased request.
    erased_column: Option<usize>,
    /// Key of the current row; `None` after the last one. A key of one column has 0 as its second.
    key: Option<(i64, i64)>,
    /// The index entries that the rows so far should have; requests only.
    entries: Option<IndexEntries>,
}

impl<'r> Cursor<'r> {
    pub(super) fn new(
        statement: &'r mut Statement<'_>,
        table: &'static str,
        key_length: usize,
        erased_column: Option<usize>,
        entries: Option<IndexEntries>,
    ) -> Result<Self, DbError> {
        let mut cursor = Self {
            rows: statement.query([]).context(COMPARING)?,
            table,
            key_length,
            erased_column,
            key: None,
            entries,
        };
        cursor.advance()?;
        Ok(cursor)
    }

    pub(super) fn advance(&mut self) -> Result<(), DbError> {
        self.rows.advance().context(COMPARING)?;
        self.key = match self.rows.get() {
            None => None,
            Some(row) => {
                if let Some(entries) = &mut self.entries {
                    entries.add_row(row).context(COMPARING)?;
                }
                let second = if self.key_length > 1 {
                    row.get(1)
                } else {
                    Ok(0)
                };
                Some((row.get(0).context(COMPARING)?, second.context(COMPARING)?))
            }
        };
        Ok(())
    }

    /// Advances to the row with this key. Rows before it are differences. `false`: there is no such row,
    /// which is a difference too.
    pub(super) fn reach(
        &mut self,
        key: (i64, i64),
        differences: &mut Differences,
    ) -> Result<bool, DbError> {
        while self.key.is_some_and(|found| found < key) {
            self.leave_behind(differences)?;
        }
        let is_there = self.key == Some(key);
        if !is_there {
            differences.add(self.table, key, self.key_length, " is missing");
        }
        Ok(is_there)
    }

    /// Reports rows after the last one that the log makes. Returns the index entries that all rows should
    /// have.
    pub(super) fn rest(
        &mut self,
        differences: &mut Differences,
    ) -> Result<Option<IndexEntries>, DbError> {
        while self.key.is_some() {
            self.leave_behind(differences)?;
        }
        Ok(self.entries.take())
    }

    /// Skips a row that no event makes. What is left of erased requests is compared later, once the events
    /// about them have been read.
    fn leave_behind(&mut self, differences: &mut Differences) -> Result<(), DbError> {
        let is_erased = match (self.rows.get(), self.erased_column) {
            (Some(row), Some(column)) => row.get(column).context(COMPARING)?,
            _ => false,
        };
        if !is_erased && let Some(found) = self.key {
            differences.add(self.table, found, self.key_length, " is not in the log");
        }
        self.advance()
    }
}

/// Compares a row with the values that it should have.
pub(super) struct Check<'r> {
    row: &'r Row<'r>,
    next: usize,
    changed: Vec<usize>,
}

impl<'r> Check<'r> {
    pub(super) fn new(row: &'r Row<'r>, next: usize) -> Self {
        Self {
            row,
            next,
            changed: Vec::new(),
        }
    }

    fn hold(&mut self, value: ValueRef<'_>) -> Result<(), DbError> {
        if value != self.row.get_ref(self.next).context(COMPARING)? {
            self.changed.push(self.next);
        }
        self.next += 1;
        Ok(())
    }
}

impl Values for Check<'_> {
    fn bind(&mut self, value: impl ToSql) -> Result<(), DbError> {
        self.hold(value_of(&value.to_sql().context(COMPARING)?))
    }
}

/// The hash of the columns that are not known at the opening.
pub(super) fn hash_of_end_columns(hash: &mut KeyedHash, row: &Row<'_>) -> Result<u64, DbError> {
    hash.begin();
    for index in START_COUNT..COLUMN_COUNT {
        hash.push(row.get_ref(index).context(COMPARING)?);
    }
    Ok(hash.hash())
}

impl Values for KeyedHash {
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
pub(super) struct Differences {
    listed: Vec<ProjectionDifference>,
    found: BTreeMap<&'static str, usize>,
}

impl Differences {
    pub(super) fn add(
        &mut self,
        table: &'static str,
        key: (i64, i64),
        key_length: usize,
        what: &str,
    ) {
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

    pub(super) fn add_changed(
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

    /// Compares the rows that are left of erased requests with what the log says of them.
    pub(super) fn add_remains(
        &mut self,
        stored: &Connection,
        rebuilt: &Connection,
    ) -> Result<(), DbError> {
        let mut rebuilt = rebuilt
            .prepare(&format!("{} ORDER BY opened_seq", select_row(rebuilt)))
            .context(COMPARING)?;
        let mut stored = stored
            .prepare(&format!("{} WHERE opened_seq = ?1", select_row(stored)))
            .context(COMPARING)?;
        let mut rows = rebuilt.query([]).context(COMPARING)?;
        while let Some(row) = rows.next().context(COMPARING)? {
            let key: i64 = row.get(0).context(COMPARING)?;
            let mut found = stored.query([key]).context(COMPARING)?;
            let Some(found) = found.next().context(COMPARING)? else {
                self.add("requests", (key, 0), 1, " is missing");
                continue;
            };
            let mut check = Check::new(found, 0);
            for index in 0..COLUMN_COUNT {
                check.hold(row.get_ref(index).context(COMPARING)?)?;
            }
            self.add_changed("requests", (key, 0), 1, check);
        }
        Ok(())
    }

    pub(super) fn into_list(mut self) -> Vec<ProjectionDifference> {
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
