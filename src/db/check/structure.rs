//! The file's structure: SQLite's own checks, and the indexes of the requests.
//!
//! `integrity_check` looks up every row in every index, which takes twice as long as all its other checks.
//! A check of all requests reads each row anyway: it sums, with a keyed hash, the entries that each index
//! should hold. One scan of each index then sums what it does hold and checks its order. SQLite's own check
//! runs only where the sums differ.

use crate::db::remove::content::UNLINKED;
use std::hash::RandomState;
use std::sync::LazyLock;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, ToSql};

use crate::db::connection::schema::Schema;
use crate::db::error::{Context, DbError, DbErrorKind};
use crate::db::keyed::KeyedHash;
use crate::db::rows::{NOT_COMPLETED, column_index};
use crate::error::chain;
use crate::model::Status;

/// Limit of lines that are passed on from one of SQLite's checks.
const LINES_MAX: i64 = 20;

const CHECKING: &str = "checking the file's structure";
const REQUESTS: &str = "requests";

/// An index of the requests, as `schema.sql` has it.
struct RequestIndex {
    name: &'static str,
    /// A row is found by the first of these columns that is not NULL. If all are NULL, the row is not in
    /// the index.
    columns: &'static [&'static str],
    is_completed_left_out: bool,
}

const fn by(name: &'static str, columns: &'static [&'static str]) -> RequestIndex {
    RequestIndex {
        name,
        columns,
        is_completed_left_out: false,
    }
}

const REQUEST_INDEXES: [RequestIndex; 6] = [
    by("requests_by_request_id", &["request_id"]),
    by("requests_by_trace_id", &["trace_id"]),
    by(
        "requests_by_conversation",
        &["conversation_id", "context_id", "session_id"],
    ),
    by("requests_by_session_id", &["session_id"]),
    by("requests_by_user_id", &["user_id"]),
    RequestIndex {
        is_completed_left_out: true,
        ..by("requests_by_status", &["status"])
    },
];

/// [`REQUEST_INDEXES`], with the positions of their columns in `SELECT_ROW`.
static PLACES: LazyLock<[Vec<usize>; REQUEST_INDEXES.len()]> = LazyLock::new(|| {
    REQUEST_INDEXES
        .each_ref()
        .map(|index| index.columns.iter().copied().map(column_index).collect())
});

impl RequestIndex {
    /// All entries, in the order of the index.
    fn entries_sql(&self) -> String {
        let value = match self.columns {
            [column] => (*column).to_owned(),
            columns => format!("coalesce({})", columns.join(", ")),
        };
        let condition = match self.is_completed_left_out {
            true => NOT_COMPLETED.to_owned(),
            false => format!("{value} IS NOT NULL"),
        };
        format!(
            "SELECT {value}, opened_seq FROM {REQUESTS} INDEXED BY {} WHERE {condition} \
             ORDER BY {value}, opened_seq",
            self.name
        )
    }
}

/// What the indexes of the requests hold, or should hold, in a form that can be compared.
#[derive(Debug, Clone)]
pub(crate) struct IndexEntries {
    hash: KeyedHash,
    /// For each index: the number of entries and the sum of their hashes. A sum does not depend on order,
    /// so rows can be added as they are read.
    sums: [(u64, u64); REQUEST_INDEXES.len()],
}

impl IndexEntries {
    /// Empty. Only entries with the same key can be compared.
    pub(crate) fn new(key: RandomState) -> Self {
        Self {
            hash: KeyedHash::new(key),
            sums: [(0, 0); REQUEST_INDEXES.len()],
        }
    }

    /// Adds the entries of a row that `SELECT_ROW` reads.
    pub(crate) fn add_row(&mut self, row: &Row<'_>) -> rusqlite::Result<()> {
        let opened_seq = row.get_ref(0)?;
        for (number, (index, places)) in REQUEST_INDEXES.iter().zip(PLACES.iter()).enumerate() {
            let mut value = ValueRef::Null;
            for &place in places {
                value = row.get_ref(place)?;
                if value != ValueRef::Null {
                    break;
                }
            }
            let is_left_out =
                index.is_completed_left_out && value == ValueRef::from(Status::Completed.as_str());
            if value != ValueRef::Null && !is_left_out {
                self.add(number, value, opened_seq);
            }
        }
        Ok(())
    }

    fn add(&mut self, number: usize, value: ValueRef<'_>, opened_seq: ValueRef<'_>) {
        self.hash.begin();
        self.hash.push(value);
        self.hash.push(opened_seq);
        if let Some((count, sum)) = self.sums.get_mut(number) {
            *count = count.wrapping_add(1);
            *sum = sum.wrapping_add(self.hash.hash());
        }
    }

    /// Names the first index that differs from the expectation.
    fn difference(&self, expected: &Self) -> Option<String> {
        let mut sums = self.sums.iter().zip(&expected.sums);
        let number = sums.position(|(found, expected)| found != expected)?;
        let name = REQUEST_INDEXES.get(number)?.name;
        Some(format!(
            "the index {name} does not hold what its table does"
        ))
    }

    /// Reads the indexes. The inner error names an index with unordered entries: lookups do not find those.
    fn read(
        connection: &Connection,
        key: RandomState,
    ) -> rusqlite::Result<Result<Self, &'static str>> {
        let mut entries = Self::new(key);
        let mut before: Vec<u8> = Vec::new();
        for (number, index) in REQUEST_INDEXES.iter().enumerate() {
            let mut statement = connection.prepare(&index.entries_sql())?;
            let mut rows = statement.query([])?;
            let mut seq_before = None;
            while let Some(row) = rows.next()? {
                let (value, opened_seq) = (row.get_ref(0)?, row.get_ref(1)?);
                let (ValueRef::Text(text), ValueRef::Integer(seq)) = (value, opened_seq) else {
                    return Ok(Err(index.name));
                };
                let is_behind = seq_before
                    .is_none_or(|seq_before| (before.as_slice(), seq_before) < (text, seq));
                if !is_behind {
                    return Ok(Err(index.name));
                }
                before.clear();
                before.extend_from_slice(text);
                seq_before = Some(seq);
                entries.add(number, value, opened_seq);
            }
        }
        Ok(Ok(entries))
    }
}

/// What SQLite says about the structure of a file, except the indexes of the requests.
#[derive(Debug)]
pub(crate) struct Structure {
    lines: Vec<String>,
    /// What these indexes hold, or why they cannot be read.
    entries: Result<IndexEntries, String>,
}

impl Structure {
    /// Reads the whole file: first one check of everything, then a check of each table whose index the
    /// first one does not compare, then the links between payloads, then the indexes of the requests.
    pub(crate) fn read(
        connection: &Connection,
        schema: &Schema,
        key: RandomState,
    ) -> Result<Self, DbError> {
        let mut lines = Vec::new();
        let mut is_ours_alone = schema.is_ours_alone();
        if is_ours_alone {
            // Damaged settings of the search index end SQLite's check of the whole file early. Then each
            // table is checked on its own.
            let whole = check_whole(connection, "quick_check")?;
            is_ours_alone = whole.is_some();
            lines = whole.unwrap_or_default();
        }
        for table in schema.sound_tables()? {
            // Foreign tables are never checked: an expression in them may take for ever to compute. Tables
            // without a separate index were covered by the check of the whole file.
            let pragma = match (table.has_index && table.name != REQUESTS, is_ours_alone) {
                (true, _) => "integrity_check",
                (false, false) => "quick_check",
                (false, true) => continue,
            };
            lines.extend(check(connection, pragma, table.name)?);
        }
        // Different tables are reported elsewhere, and recreated before they are used.
        let are_links_sound = schema.are_sound(&["payload_links", "payload_links_filled"]);
        let unlinked = match are_links_sound {
            true => connection.query_row(UNLINKED, [], |row| row.get::<_, i64>(0)),
            false => Ok(0),
        };
        match or_damage("the table payload_links", unlinked.context(CHECKING))? {
            Ok(0) => {}
            Ok(unlinked) => lines.push(format!(
                "{unlinked} bodies are packed against others of which payload_links does not say so: \
                 removing those would damage them"
            )),
            Err(damage) => lines.push(damage),
        }
        let entries = IndexEntries::read(connection, key).context(CHECKING);
        let entries = or_damage("the indexes of the requests", entries)?.and_then(|entries| {
            entries.map_err(|index| format!("the entries of the index {index} are not in order"))
        });
        Ok(Self { lines, entries })
    }

    /// All findings. `expected`: what the indexes should hold, `None` where that is not known.
    pub(crate) fn findings(
        self,
        connection: &Connection,
        expected: Option<&IndexEntries>,
    ) -> Result<Vec<String>, DbError> {
        let mut lines = self.lines;
        let problem = match (&self.entries, expected) {
            (Ok(found), Some(expected)) => found.difference(expected),
            (Err(problem), _) => Some(problem.clone()),
            // Not all rows could be read, which is reported separately.
            (Ok(_), None) => None,
        };
        if problem.is_some() || expected.is_none() {
            let before = lines.len();
            lines.extend(check(connection, "integrity_check", REQUESTS)?);
            if lines.len() == before {
                lines.extend(problem);
            }
        }
        lines.dedup();
        Ok(lines)
    }
}

/// The result, or in the inner error the damage that explains why there is none.
fn or_damage<T>(what: &str, result: Result<T, DbError>) -> Result<Result<T, String>, DbError> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(error) if matches!(error.kind, DbErrorKind::Corrupt | DbErrorKind::Other) => {
            Ok(Err(format!("{what}: {}", chain(&error))))
        }
        Err(error) => Err(error),
    }
}

/// SQLite's own check of everything in the file that is ours. Empty: it is clean.
pub(crate) fn integrity_findings(
    connection: &Connection,
    schema: &Schema,
) -> Result<Vec<String>, DbError> {
    if schema.is_ours_alone()
        && let Some(lines) = check_whole(connection, "integrity_check")?
    {
        return Ok(lines);
    }
    let mut lines = Vec::new();
    for table in schema.sound_tables()? {
        lines.extend(check(connection, "integrity_check", table.name)?);
    }
    Ok(lines)
}

/// Whether a line of SQLite's check concerns the search index, which is expendable.
pub(crate) fn is_of_search_index(line: &str) -> bool {
    ["search_", "fts5", "FTS5"]
        .iter()
        .any(|name| line.contains(name))
}

fn check(connection: &Connection, pragma: &str, table: &str) -> Result<Vec<String>, DbError> {
    let mut lines = Vec::new();
    let checked = run_check(connection, pragma, &table, &mut lines);
    // For example, an index by a collation that does not exist.
    let of = format!("SQLite's integrity check: {table}");
    if let Err(damage) = or_damage(&of, checked)? {
        lines.push(damage);
    }
    Ok(lines)
}

/// Checks all tables at once. `None`: one of them ended the check.
fn check_whole(connection: &Connection, pragma: &str) -> Result<Option<Vec<String>>, DbError> {
    let mut lines = Vec::new();
    let checked = run_check(connection, pragma, &LINES_MAX, &mut lines);
    Ok(or_damage("", checked)?.is_ok().then_some(lines))
}

fn run_check(
    connection: &Connection,
    pragma: &str,
    of: &dyn ToSql,
    lines: &mut Vec<String>,
) -> Result<(), DbError> {
    let line = |row: &Row<'_>| -> rusqlite::Result<()> {
        let line: String = row.get(0)?;
        if line != "ok" {
            lines.push(format!("SQLite's integrity check: {line}"));
        }
        Ok(())
    };
    connection.pragma(None, pragma, of, line).context(CHECKING)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::connection::migrate;

    /// Otherwise SQLite could read the table instead, and find there what the index lacks.
    #[test]
    fn entries_are_read_from_the_indexes_and_from_nothing_else() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate::migrate(&mut connection).unwrap();
        for index in &REQUEST_INDEXES {
            let sql = format!("EXPLAIN QUERY PLAN {}", index.entries_sql());
            let plan: Vec<String> = connection
                .prepare(&sql)
                .unwrap()
                .query_map([], |row| row.get("detail"))
                .unwrap()
                .collect::<Result<_, _>>()
                .unwrap();
            let name = index.name;
            assert_eq!(plan.len(), 1, "{plan:?}");
            assert!(
                plan[0].contains(&format!("requests USING COVERING INDEX {name}")),
                "{plan:?}"
            );
        }
    }

    #[test]
    fn every_index_of_the_requests_is_known() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate::migrate(&mut connection).unwrap();
        let mut named: Vec<String> = connection
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = ?1")
            .unwrap()
            .query_map([REQUESTS], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        named.sort();
        let mut known = REQUEST_INDEXES.map(|index| index.name.to_owned());
        known.sort();
        assert_eq!(named, known);
        assert!(
            PLACES
                .iter()
                .flatten()
                .all(|&place| place > 0 && place < 100)
        );
    }
}
