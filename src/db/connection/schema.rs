//! Compares the tables and indexes of a file with those of this version, and finds what else is in it.
//! Every connection does this before anything else is read or written.
//!
//! All that SQLite knows of a table or an index is the statement in `sqlite_schema`: generated columns,
//! defaults, CHECK constraints, collations, STRICT, and the expressions and condition of an index. No
//! pragma shows half of them. So the statements are compared word for word, without white space and
//! comments.

use std::sync::OnceLock;

use rusqlite::Connection;

use super::migrate;
use crate::db::added_columns::{ADDED_COLUMNS, AddedColumn, lacking};
use crate::db::error::{Context, DbError};

const READING: &str = "reading the file's schema";
const COMPARING: &str = "comparing the file's schema";

/// Further differences and foreign objects are only counted.
const LISTED_MAX: usize = 20;
/// Prefixes of the names of expendable tables, whose data exists elsewhere too: the search index, and which
/// payloads are packed against which.
const EXPENDABLE: [&str; 2] = [SEARCH, "payload_links"];
pub(crate) const SEARCH: &str = "search_";
const NOT_WRITTEN: &str = "nothing is written to it; `auditlite doctor --rebuild` recreates what is \
    derived from the log, and the rest is to come from a backup";
/// Tables that `ANALYZE` and `PRAGMA optimize` leave. They change nothing but query plans, and the writer
/// drops them.
const STATISTICS: [&str; 3] = ["sqlite_stat1", "sqlite_stat3", "sqlite_stat4"];

/// A row of `sqlite_schema`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Item {
    kind: String,
    name: String,
    table: String,
    words: Vec<String>,
}

/// An object of ours that is not as this version makes it.
#[derive(Debug)]
pub(crate) struct Difference {
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) table: String,
    what: &'static str,
}

/// A table that can be checked as a whole.
#[derive(Debug)]
pub(crate) struct SoundTable {
    pub(crate) name: &'static str,
    pub(crate) has_index: bool,
}

/// How a file's schema differs from that of this version.
#[derive(Debug, Default)]
pub(crate) struct Schema {
    differences: Vec<Difference>,
    /// Foreign objects, in words.
    foreign: Vec<String>,
    /// Names of statistics tables.
    statistics: Vec<&'static str>,
    /// An earlier build made the file, and it has no [`migrate::ADDED`] tables.
    is_of_before: bool,
    /// What was recreated at the opening, in words.
    pub(crate) remade: Vec<String>,
}

impl Schema {
    /// Reads the schema, and nothing else of the file.
    ///
    /// Every expected object must exist once, with the same words. An additional object is a difference if
    /// it is an index on one of our tables that can refuse rows; otherwise it is only listed as foreign.
    pub(crate) fn read(connection: &Connection) -> Result<Self, DbError> {
        let mut schema = Self::default();
        let own = items(connection)?;
        let expected = expected()?;
        let is_added = |table: &str| migrate::ADDED.contains(&table);
        schema.is_of_before = !own.iter().any(|item| is_added(&item.table));
        // An earlier build made the file, and its tables lack the last of the groups of added columns.
        let has = |group: &&&[AddedColumn]| own.iter().any(|item| item.has_any_of(group));
        let groups = ADDED_COLUMNS.iter().take_while(has).count();
        let before;
        let expected = match groups < ADDED_COLUMNS.len() {
            true => {
                before = expected
                    .iter()
                    .map(|item| item.without_added_columns(groups));
                &before.collect()
            }
            false => expected,
        };
        for item in expected {
            if schema.is_of_before && is_added(&item.table) {
                continue;
            }
            let mut named = own
                .iter()
                .filter(|own| own.kind == item.kind && own.name == item.name);
            let what = match (named.next(), named.next()) {
                (None, _) => "is missing",
                (Some(own), None) if own == item => continue,
                _ => "is not as this version makes it",
            };
            schema.differences.push(Difference {
                kind: item.kind.clone(),
                name: item.name.clone(),
                table: item.table.clone(),
                what,
            });
        }
        for item in &own {
            let is_own = |expected: &Item| expected.kind == item.kind && expected.name == item.name;
            if expected.iter().any(is_own) {
                continue;
            }
            if let Some(name) = item.statistics() {
                schema.statistics.push(name);
                continue;
            }
            let is_beside_ours = expected.iter().any(|own| own.name == item.table);
            if is_beside_ours && item.can_refuse_rows() {
                schema.differences.push(Difference {
                    kind: item.kind.clone(),
                    name: item.name.clone(),
                    table: item.table.clone(),
                    what: "is not of this version, and can keep rows out of its table",
                });
            } else {
                let (kind, name) = (&item.kind, &item.name);
                schema.foreign.push(format!(
                    "{kind} {name:?} is not of this version: another program put it there"
                ));
            }
        }
        Ok(schema)
    }

    /// Everything that differs.
    pub(crate) fn findings(&self) -> Vec<String> {
        let differences = self.differences.iter().map(Difference::to_text);
        let mut lines = listed(differences.collect());
        lines.extend(listed(self.foreign.clone()));
        lines
    }

    /// The differences of our own objects.
    pub(crate) fn differences(&self) -> impl Iterator<Item = &Difference> {
        self.differences.iter()
    }

    /// The differences of what is expendable, in words.
    pub(crate) fn expendable(&self) -> Vec<String> {
        let differences = self.differences.iter();
        let expendable = differences.filter(|difference| difference.is_expendable());
        listed(expendable.map(Difference::to_text).collect())
    }

    /// What was recreated at the opening, in words, and whether that included the search index.
    pub(crate) fn remade(&self) -> (&[String], bool) {
        let is_search = self.remade.iter().any(|line| line.contains(SEARCH));
        (&self.remade, is_search)
    }

    /// The statement that makes an object of this version; `None`: this version has no object of this name.
    pub(crate) fn definition(name: &str) -> Result<Option<String>, DbError> {
        let found = expected()?.iter().find(|item| item.name == name);
        Ok(found.map(|item| item.words.join(" ")))
    }

    /// Foreign objects that are harmless: triggers and views do not run.
    pub(crate) fn foreign(&self) -> &[String] {
        &self.foreign
    }

    /// Whether the file has only what this version makes.
    pub(crate) fn is_ours_alone(&self) -> bool {
        self.differences.is_empty() && self.foreign.is_empty()
    }

    /// Our tables that, with their indexes, are as this version makes them.
    pub(crate) fn sound_tables(&self) -> Result<Vec<SoundTable>, DbError> {
        let expected = expected()?;
        let indexes = |of: &str| {
            let is_its = |item: &&Item| item.kind == "index" && item.table == of;
            expected.iter().filter(is_its).count()
        };
        let is_sound = |item: &&Item| {
            item.kind == "table"
                && !(self.is_of_before && migrate::ADDED.contains(&item.name.as_str()))
                && !self
                    .differences
                    .iter()
                    .any(|difference| difference.table == item.name)
        };
        Ok(expected
            .iter()
            .filter(is_sound)
            .map(|item| SoundTable {
                name: &item.name,
                has_index: indexes(&item.name) > 0,
            })
            .collect())
    }

    /// Whether these tables and their indexes are as this version makes them.
    pub(crate) fn are_sound(&self, tables: &[&str]) -> bool {
        let mut differences = self.differences.iter();
        !differences.any(|difference| tables.contains(&difference.table.as_str()))
    }

    /// Whether rows can be read as stored: no column is computed from an expression that was put into the
    /// schema.
    pub(crate) fn is_readable(&self) -> bool {
        self.unreadable().next().is_none()
    }

    /// Refuses a file if one of its tables is not as this version makes it.
    pub(crate) fn check_readable(&self) -> Result<(), DbError> {
        refuse(self.unreadable(), "nothing is read from it")
    }

    /// Refuses a file if any of our objects differs, except those that are recreated automatically.
    pub(crate) fn check_writable(&self) -> Result<(), DbError> {
        let is_needed = |difference: &&Difference| !difference.is_expendable();
        refuse(self.differences.iter().filter(is_needed), NOT_WRITTEN)
    }

    /// Refuses a file if any of our objects differs.
    pub(crate) fn check_same(&self) -> Result<(), DbError> {
        refuse(self.differences.iter(), NOT_WRITTEN)
    }

    /// Drops statistics: our queries are written for the plans that SQLite makes without them. Returns
    /// whether there were any.
    pub(crate) fn drop_statistics(&self, connection: &Connection) -> Result<bool, DbError> {
        for name in &self.statistics {
            connection
                .execute_batch(&format!("DROP TABLE IF EXISTS {name}"))
                .context("dropping the planner's statistics")?;
        }
        Ok(!self.statistics.is_empty())
    }

    /// The differing tables that reads depend on. A differing index is not used, search reports its own
    /// differences, and links are read only after the writer has recreated them.
    fn unreadable(&self) -> impl Iterator<Item = &Difference> {
        let is_read =
            |difference: &&Difference| difference.kind == "table" && !difference.is_expendable();
        self.differences.iter().filter(is_read)
    }
}

impl Difference {
    /// Whether the data of its table exists elsewhere too.
    pub(crate) fn is_expendable(&self) -> bool {
        EXPENDABLE.iter().any(|name| self.table.starts_with(name))
    }

    fn to_text(&self) -> String {
        format!("{} {:?} {}", self.kind, self.name, self.what)
    }
}

fn refuse<'d>(
    differences: impl Iterator<Item = &'d Difference>,
    outcome: &str,
) -> Result<(), DbError> {
    let lines = listed(differences.map(Difference::to_text).collect());
    if lines.is_empty() {
        return Ok(());
    }
    let what = lines.join(", ");
    Err(DbError::corrupt(COMPARING, format!("{what}; {outcome}")))
}

fn listed(mut lines: Vec<String>) -> Vec<String> {
    let more = lines.len().saturating_sub(LISTED_MAX);
    lines.truncate(LISTED_MAX);
    if more > 0 {
        lines.push(format!("{more} more"));
    }
    lines
}

impl Item {
    fn has_any_of(&self, group: &[AddedColumn]) -> bool {
        let mut columns = group.iter();
        let is_here = |word: &str| self.words.iter().any(|own| own == word);
        columns.any(|(table, column, _)| {
            self.kind == "table" && self.name == *table && is_here(column)
        })
    }

    /// As an earlier build made it, with this many groups of added columns.
    fn without_added_columns(&self, groups: usize) -> Self {
        let mut item = self.clone();
        let columns = lacking(groups);
        for (.., column, definition) in
            columns.filter(|(table, ..)| self.kind == "table" && self.name == *table)
        {
            let added = words(&format!(", {column} {definition}"));
            let places = item.words.windows(added.len());
            if let Some(place) = places.into_iter().position(|words| words == added) {
                item.words.drain(place..place + added.len());
            }
        }
        item
    }

    /// Its name, if it is a table of statistics.
    fn statistics(&self) -> Option<&'static str> {
        let mut names = STATISTICS.into_iter();
        let name = names.find(|name| *name == self.name)?;
        let begins = ["CREATE", "TABLE", name, "("];
        let is_it = self.words.iter().map(String::as_str).take(4).eq(begins);
        (is_it && self.kind == "table").then_some(name)
    }

    /// Whether a foreign index can make it fail to write a row of its table: because it is unique, or
    /// because of an expression.
    fn can_refuse_rows(&self) -> bool {
        // Constraints of a table are a difference of the table.
        if self.kind != "index" || self.words.is_empty() {
            return false;
        }
        let lower: Vec<String> = self.words.iter().map(|word| word.to_lowercase()).collect();
        let computes = |word: &String| {
            let word = word.as_str();
            ["collate", "like", "glob", "match", "regexp", "->", "->>"].contains(&word)
        };
        let opened = lower.iter().filter(|word| *word == "(").count();
        lower.get(1).is_none_or(|word| word != "index") || opened != 1 || lower.iter().any(computes)
    }
}

/// The objects of this version.
fn expected() -> Result<&'static Vec<Item>, DbError> {
    static EXPECTED: OnceLock<Vec<Item>> = OnceLock::new();
    if let Some(items) = EXPECTED.get() {
        return Ok(items);
    }
    let mut fresh = Connection::open_in_memory().context("opening a temporary database")?;
    migrate::migrate(&mut fresh)?;
    let items = items(&fresh)?;
    Ok(EXPECTED.get_or_init(|| items))
}

/// Names must be text: rusqlite panics on column names that are not, so such a file is reported as damaged.
fn items(connection: &Connection) -> Result<Vec<Item>, DbError> {
    let mut statement = connection
        .prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema")
        .context(READING)?;
    let mut rows = statement.query([]).context(READING)?;
    let mut items = Vec::new();
    while let Some(row) = rows.next().context(READING)? {
        let text = |column| -> Result<&str, DbError> {
            let value = row.get_ref(column).context(READING)?;
            let text = value.as_str_or_null();
            let text = text.map_err(|error| DbError::corrupt(READING, error))?;
            Ok(text.unwrap_or_default())
        };
        items.push(Item {
            kind: text(0)?.to_owned(),
            name: text(1)?.to_owned(),
            table: text(2)?.to_owned(),
            words: words(text(3)?),
        });
    }
    Ok(items)
}

/// The tokens of a statement as SQLite's parser reads them: quoted text is unchanged, white space and
/// comments are dropped. Source: <https://www.sqlite.org/lang_comment.html>.
fn words(sql: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            ' ' | '\t' | '\n' | '\r' | '\x0c' => {
                rest = rest.get(1..).unwrap_or_default();
                continue;
            }
            '-' if rest.starts_with("--") => {
                let end = rest.find('\n').unwrap_or(rest.len());
                rest = rest.get(end..).unwrap_or_default();
                continue;
            }
            '/' if rest.starts_with("/*") => {
                let inside = rest.get(2..).unwrap_or_default();
                rest = inside.split_once("*/").map_or("", |(_, behind)| behind);
                continue;
            }
            '\'' | '"' | '`' => quoted(rest, first),
            '[' => rest.find(']').map_or(rest.len(), |end| end + 1),
            '-' if rest.starts_with("->>") => 3,
            '-' if rest.starts_with("->") => 2,
            first if is_of_word(first) => rest.find(|c| !is_of_word(c)).unwrap_or(rest.len()),
            other => other.len_utf8(),
        };
        let (word, behind) = rest.split_at_checked(length).unwrap_or((rest, ""));
        words.push(word.to_owned());
        rest = behind;
    }
    words
}

fn is_of_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '$') || !character.is_ascii()
}

/// The length up to the closing quote; two quotes in a row stand for one.
fn quoted(text: &str, quote: char) -> usize {
    let mut is_open = false;
    for (at, character) in text.char_indices() {
        if character == quote {
            is_open = !is_open;
        } else if !is_open {
            return at;
        }
    }
    text.len()
}

/// Projections that are compared in step with the log.
pub(crate) const IN_STEP: &[&str] = &["requests", "tool_calls"];

/// Projections that are collected first, each with its primary key and what of it is compared.
pub(crate) const COLLECTED: &[(&str, &str, &str)] = &[
    ("usage_hourly", "hour, provider_name, model, user_id", "*"),
    ("usage_daily", "day, provider_name, model", "*"),
    // The last 10 bits of a last seq say nothing.
    (
        "opened_minutes",
        "minute",
        "minute, first_seq, last_seq | 1023 AS last_seq",
    ),
    ("store_openings", "opened_seq", "*"),
    ("gaps", "seq", "*"),
    ("removals", "kind, first_seq, seq", "*"),
];

/// Whether a table is derived from the log.
pub(crate) fn is_projection(table: &str) -> bool {
    IN_STEP.contains(&table) || COLLECTED.iter().any(|(name, ..)| *name == table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_white_space_say_nothing_and_all_else_does() {
        let plain =
            words("CREATE TABLE t (a TEXT DEFAULT 'x -- y' CHECK (a <> '/*'), [b c] INTEGER)");
        let other = "CREATE  TABLE t(a TEXT -- it's )\n DEFAULT 'x -- y'/* ( */CHECK(a<>'/*'),\
                     \n[b c]INTEGER)-- end";
        assert_eq!(words(other), plain);
        for changed in [
            "CREATE TABLE t (a TEXT DEFAULT 'x --  y' CHECK (a <> '/*'), [b c] INTEGER)",
            "CREATE TABLE t (a TEXT DEFAULT 'x -- y', [b c] INTEGER)",
            "CREATE TABLE t (a TEXT DEFAULT 'x -- y' CHECK (a <> '/*'), [bc] INTEGER)",
            "CREATE TABLE t (a TEXT DEFAULT 'x -- y' CHECK (a <> '/*'), [b c] INTEGER) STRICT",
        ] {
            assert_ne!(words(changed), plain);
        }
        assert_eq!(
            words("'it''s' \"a\"\"b\" x'00'"),
            ["'it''s'", "\"a\"\"b\"", "x", "'00'"]
        );
        assert_eq!(words("'open"), ["'open"]);
        assert_eq!(words("a /* open"), ["a"]);
        assert_eq!(words("é\0b"), ["é", "\0", "b"]);
    }

    /// A comment of `schema.sql` can be corrected without making existing files different.
    #[test]
    fn comments_of_the_schema_may_change() {
        let text = include_str!("../../../schema.sql");
        let without: String = text
            .lines()
            .map(|line| line.split("--").next().unwrap_or_default())
            .collect::<Vec<_>>()
            .join("\n");
        assert!(without.len() < text.len() * 3 / 4);
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(&without).unwrap();
        let schema = Schema::read(&connection).unwrap();
        assert_eq!(schema.findings(), Vec::<String>::new());
    }

    fn changed(sql: &str) -> Schema {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate::migrate(&mut connection).unwrap();
        connection.execute_batch(sql).unwrap();
        Schema::read(&connection).unwrap()
    }

    #[test]
    fn what_is_added_beside_the_tables_differs_only_where_it_can_keep_rows_out() {
        for harmless in [
            "CREATE VIEW v AS SELECT 1",
            "CREATE TRIGGER t AFTER INSERT ON requests BEGIN SELECT 1; END",
            "CREATE TABLE replica (t TEXT CHECK (t <> ''))",
            "CREATE TABLE replica (t TEXT UNIQUE); CREATE UNIQUE INDEX i ON replica (lower(t))",
            "CREATE INDEX i ON requests (opened_at, user_id DESC)",
            "CREATE INDEX i ON requests (cost_microdollars) WHERE cost_microdollars IS NOT NULL",
        ] {
            let schema = changed(harmless);
            schema.check_writable().unwrap();
            schema.check_readable().unwrap();
            assert!(!schema.foreign().is_empty(), "{harmless}");
            assert!(!schema.findings().is_empty(), "{harmless}");
        }
        for harmful in [
            "CREATE UNIQUE INDEX i ON requests (user_id)",
            "CREATE INDEX i ON requests (json(attributes))",
            "CREATE INDEX i ON requests (user_id COLLATE NOCASE)",
            "CREATE INDEX i ON requests (user_id) WHERE attributes -> 'x' = 1",
            "CREATE INDEX i ON requests (user_id) WHERE json(attributes)",
        ] {
            let schema = changed(harmful);
            let error = crate::error::chain(&schema.check_writable().unwrap_err());
            assert!(error.contains("index \"i\""), "{harmful}: {error}");
            schema.check_readable().unwrap();
        }
        assert_eq!(changed("ANALYZE").findings(), Vec::<String>::new());
    }
}
