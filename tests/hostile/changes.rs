//! One change of a file: of its schema, its values, its sizes, its search tables, its anchors or its
//! bytes. All are harmless stand-ins: a view of one row, a trigger that counts.

use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, params};

use super::random::Random;

pub const TABLES: &[&str] = &[
    "requests",
    "log_segments",
    "payloads",
    "checkpoints",
    "tool_calls",
    "usage_hourly",
    "usage_daily",
    "opened_minutes",
    "store_openings",
    "removals",
    "payload_links",
    "payload_links_filled",
    "gaps",
];
const SEARCH_TABLES: &[&str] = &["search_messages", "search_state", "search_pending"];
const INDEXES: &[&str] = &[
    "requests_by_request_id",
    "requests_by_trace_id",
    "requests_by_session_id",
    "requests_by_user_id",
    "requests_by_status",
    "search_messages_by_key",
];

/// What is to be expected of the file then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// All is as it was, and nothing is to be said.
    Same,
    /// All is as it was, what was put there is named, and recording goes on.
    Foreign,
    /// Whatever is not as it was is named.
    Named,
}

pub struct Change {
    pub what: String,
    pub expected: Expected,
}

pub fn change(path: &Path, anchor: &Path, random: &mut Random) -> Change {
    let named = |what: String| Change {
        what,
        expected: Expected::Named,
    };
    match random.below(16) {
        0 | 1 => harmless(path, random),
        2 | 3 => named(redefine(path, random)),
        4 => named(replace(path, random)),
        5 => named(edit_schema(path, random)),
        6..=8 => named(value(path, random)),
        9 | 10 => named(sizes(path, random)),
        11 | 12 => named(search(path, random)),
        13 => named(anchors(anchor, random)),
        _ => named(bytes(path, random)),
    }
}

fn pick<'t, T>(random: &mut Random, list: &'t [T]) -> &'t T {
    &list[random.below(list.len() as u64) as usize]
}

fn open(path: &Path) -> Connection {
    Connection::open(path).unwrap()
}

fn columns(connection: &Connection, table: &str) -> Vec<String> {
    let mut statement = connection
        .prepare("SELECT name FROM pragma_table_info(?1)")
        .unwrap();
    let names = statement.query_map([table], |row| row.get(0)).unwrap();
    names.map(Result::unwrap).collect()
}

/// What others put into a file without meaning harm, or meaning it.
fn harmless(path: &Path, random: &mut Random) -> Change {
    let connection = open(path);
    let table = *pick(random, TABLES);
    let column = pick(random, &columns(&connection, table)).clone();
    let event = *pick(random, &["INSERT", "UPDATE", "DELETE"]);
    let when = *pick(random, &["BEFORE", "AFTER"]);
    let (sql, expected) = match random.below(10) {
        0 => ("ANALYZE".to_owned(), Expected::Same),
        1 => ("CREATE VIEW x AS SELECT 1 AS one".to_owned(), Expected::Foreign),
        2 => (format!("CREATE VIEW x AS SELECT * FROM {table}"), Expected::Foreign),
        3 => (format!("CREATE INDEX x ON {table} ({column})"), Expected::Foreign),
        4 => (
            format!("CREATE TABLE x (a INTEGER REFERENCES {table} ({column}) ON DELETE RESTRICT); INSERT INTO x VALUES (0)"),
            Expected::Foreign,
        ),
        5 => (
            "CREATE TABLE x (a INTEGER CHECK (a > 0), b TEXT AS (hex(a)), PRIMARY KEY (a)) WITHOUT ROWID".to_owned(),
            Expected::Foreign,
        ),
        6 => ("CREATE VIRTUAL TABLE x USING fts5 (a)".to_owned(), Expected::Foreign),
        7 => (
            "CREATE VIEW x AS WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3) SELECT i FROM n".to_owned(),
            Expected::Foreign,
        ),
        _ => (
            format!(
                "CREATE TABLE counted (t TEXT); CREATE TRIGGER x {when} {event} ON {table} \
                 BEGIN INSERT INTO counted VALUES ('ran'); END"
            ),
            Expected::Foreign,
        ),
    };
    connection
        .execute_batch(&format!("PRAGMA foreign_keys = OFF; {sql}"))
        .unwrap();
    Change {
        what: sql,
        expected,
    }
}

fn definition(connection: &Connection, name: &str) -> String {
    let sql = "SELECT sql FROM sqlite_schema WHERE name = ?1";
    connection.query_row(sql, [name], |row| row.get(0)).unwrap()
}

fn define(connection: &Connection, name: &str, sql: &str) {
    connection
        .execute_batch("PRAGMA writable_schema = ON")
        .unwrap();
    let update = "UPDATE sqlite_schema SET sql = ?2 WHERE name = ?1";
    connection.execute(update, [name, sql]).unwrap();
    let _ = connection.execute_batch("PRAGMA writable_schema = RESET");
}

/// A definition of ours, changed word by word.
fn redefine(path: &Path, random: &mut Random) -> String {
    let connection = open(path);
    let name = *pick(random, &[TABLES, SEARCH_TABLES, INDEXES].concat());
    let before = definition(&connection, name);
    let changes = [
        (" NOT NULL", ""),
        (" NOT NULL", " NOT NULL DEFAULT 7"),
        (" NOT NULL", " NOT NULL CHECK (1)"),
        (" INTEGER,", " INTEGER AS (1),"),
        (
            " INTEGER NOT NULL,",
            " INTEGER NOT NULL CHECK (length(hex(zeroblob(1000000))) > 0),",
        ),
        (" TEXT,", " TEXT COLLATE NOCASE,"),
        (" TEXT NOT NULL", " TEXT NOT NULL COLLATE nowhere"),
        (" STRICT", ""),
        (", WITHOUT ROWID", ""),
        ("_id)", "_id COLLATE NOCASE)"),
        ("_id)", "_id COLLATE nowhere)"),
        (" IS NOT NULL", " > 'm'"),
        ("CREATE INDEX", "CREATE UNIQUE INDEX"),
        ("INTEGER PRIMARY KEY", "INTEGER PRIMARY KEY AUTOINCREMENT"),
        ("INTEGER", "TEXT"),
        ("<> 'completed'", "<> 'failed'"),
        ("(", "(  -- a comment\n"),
    ];
    let (from, to) = *pick(random, &changes);
    define(
        &connection,
        name,
        &before.replacen(from, to, 1 + random.below(2) as usize),
    );
    format!("{name}: {from:?} becomes {to:?}")
}

/// Something else in the place of a table or an index.
fn replace(path: &Path, random: &mut Random) -> String {
    let connection = open(path);
    let table = *pick(random, &[TABLES, SEARCH_TABLES].concat());
    let names = columns(&connection, table).join(", ");
    let ones = names.replace(", ", ", 1 AS ");
    let sql = match random.below(7) {
        0 => format!("DROP TABLE {table}"),
        1 => format!("DROP TABLE {table}; CREATE VIEW {table} AS SELECT 1 AS {ones}"),
        2 => format!("DROP TABLE {table}; CREATE TABLE {table} ({names})"),
        3 => format!("DROP TABLE {table}; CREATE VIRTUAL TABLE {table} USING fts5 ({names})"),
        4 => format!("ALTER TABLE {table} ADD COLUMN x INTEGER"),
        5 => format!(
            "DROP TABLE {table}; CREATE VIEW {table} AS WITH RECURSIVE n (i) AS \
             (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3) SELECT i AS {} FROM n",
            names.replace(", ", ", i AS ")
        ),
        _ => format!("DROP INDEX {}", pick(random, INDEXES)),
    };
    connection
        .execute_batch(&format!("PRAGMA foreign_keys = OFF; {sql}"))
        .unwrap();
    sql
}

/// The rows of `sqlite_schema` themselves.
fn edit_schema(path: &Path, random: &mut Random) -> String {
    let connection = open(path);
    let name = *pick(random, &[TABLES, SEARCH_TABLES, INDEXES].concat());
    let of = format!("WHERE name = '{name}'");
    let sql = match random.below(7) {
        0 => format!("DELETE FROM sqlite_schema {of}"),
        1 => format!("UPDATE sqlite_schema SET rootpage = rootpage + 1 {of}"),
        2 => format!("UPDATE sqlite_schema SET sql = NULL {of}"),
        3 => format!("UPDATE sqlite_schema SET type = 'view' {of}"),
        4 => format!("UPDATE sqlite_schema SET tbl_name = 'x' {of}"),
        5 => format!("INSERT INTO sqlite_schema SELECT * FROM sqlite_schema {of}"),
        _ => format!("UPDATE sqlite_schema SET sql = x'FF' {of}"),
    };
    connection
        .execute_batch(&format!("PRAGMA writable_schema = ON; {sql}"))
        .unwrap();
    sql
}

const VALUES: &[&str] = &[
    "NULL",
    "-1",
    "0",
    "1",
    "9223372036854775807",
    "-9223372036854775808",
    "1.5",
    "9e999",
    "'text'",
    "''",
    "x'00FF'",
    "zeroblob(1000000)",
    "hex(zeroblob(500000))",
    "x'FFFE'",
    "char(0)",
];

/// A value that no writer writes, whatever the table's types are.
fn value(path: &Path, random: &mut Random) -> String {
    let connection = open(path);
    let filled: Vec<&str> = [TABLES, SEARCH_TABLES]
        .concat()
        .into_iter()
        .filter(|table| count(&connection, table) > 0)
        .collect();
    let table = *pick(random, &filled);
    let column = pick(random, &columns(&connection, table)).clone();
    let value = *pick(random, VALUES);
    let place = random.below(count(&connection, table));
    let before = definition(&connection, table);
    let loose = before
        .replace(" NOT NULL", "")
        .replace(") STRICT, WITHOUT", ") WITHOUT")
        .replace(") STRICT", ")");
    define(&connection, table, &loose);
    let sql = format!(
        "UPDATE OR IGNORE {table} SET {column} = {value} WHERE {column} IS \
         (SELECT {column} FROM {table} LIMIT 1 OFFSET {place})"
    );
    connection.execute_batch(&sql).ok();
    define(&connection, table, &before);
    sql
}

fn count(connection: &Connection, table: &str) -> u64 {
    let sql = format!("SELECT count(*) FROM {table}");
    let count: i64 = connection.query_row(&sql, [], |row| row.get(0)).unwrap();
    count as u64
}

/// Sizes that are not those of what they are the sizes of, and content that unpacks to very much.
fn sizes(path: &Path, random: &mut Random) -> String {
    let connection = open(path);
    let (table, column, key) = *pick(
        random,
        &[
            ("log_segments", "count", "first_seq"),
            ("log_segments", "length", "first_seq"),
            ("log_segments", "encoding", "first_seq"),
            ("log_segments", "first_seq", "first_seq"),
            ("payloads", "length", "payload_id"),
            ("payloads", "kept", "payload_id"),
            ("payloads", "head", "payload_id"),
            ("payloads", "encoding", "payload_id"),
            ("payloads", "base_id", "payload_id"),
            ("payloads", "second_base_id", "payload_id"),
            ("checkpoints", "size", "checkpoint_id"),
            ("opened_minutes", "last_seq", "minute"),
        ],
    );
    let place = random.below(count(&connection, table));
    let of = format!("{key} = (SELECT {key} FROM {table} ORDER BY {key} LIMIT 1 OFFSET {place})");
    if random.below(3) == 0 && matches!(table, "log_segments" | "payloads") {
        let fill = *pick(random, b"\n#{a");
        let bytes = *pick(random, &[1_usize << 20, 30 << 20, 60 << 20]);
        let bomb = zstd::bulk::compress(&vec![fill; bytes], 1).unwrap();
        let set = match table {
            "payloads" => {
                "length = ?1, kept = ?1, encoding = 1, base_id = NULL, head = NULL, data = ?2"
            }
            _ => "length = ?1, encoding = 1, data = ?2",
        };
        let sql = format!("UPDATE {table} SET {set} WHERE {of}");
        connection
            .execute(&sql, params![bytes as i64, bomb])
            .unwrap();
        return format!("{sql}: {bytes} times {fill}");
    }
    let number = *pick(
        random,
        &[
            0,
            1,
            2,
            -1,
            4,
            1 << 20,
            1 << 26,
            1 << 30,
            1 << 40,
            i64::MAX,
            i64::MIN,
        ],
    );
    let number = match random.coin() {
        true => number.to_string(),
        false => format!("{column} + {}", number.clamp(-9, 9)),
    };
    let sql = format!("UPDATE OR IGNORE {table} SET {column} = {number} WHERE {of}");
    connection.execute_batch(&sql).ok();
    sql
}

/// The search index, and what FTS5 keeps for itself.
fn search(path: &Path, random: &mut Random) -> String {
    let connection = open(path);
    let place = random.below(count(&connection, "search_messages"));
    let of =
        format!("message_id = (SELECT message_id FROM search_messages LIMIT 1 OFFSET {place})");
    let shadow = *pick(random, &["data", "idx", "docsize", "config"]);
    let at = random.below(4);
    let sql = match random.below(12) {
        0 => format!("DELETE FROM search_messages WHERE {of}"),
        1 => format!("UPDATE search_messages SET request_seq = request_seq + 1 WHERE {of}"),
        2 => format!("UPDATE search_messages SET role = 'nobody' WHERE {of}"),
        3 => format!("UPDATE search_messages SET is_reply = 1 - is_reply WHERE {of}"),
        4 => format!("UPDATE search_messages SET text = x'00' WHERE {of}"),
        5 => format!("UPDATE search_messages SET message_key = randomblob(16) WHERE {of}"),
        6 => "UPDATE search_state SET next_seq = 9223372036854775807".to_owned(),
        7 => "DELETE FROM search_state".to_owned(),
        8 => format!("DELETE FROM search_index_{shadow}"),
        9 => format!(
            "UPDATE search_index_data SET block = x'FFFFFFFFFFFFFFFFFF' WHERE id = \
             (SELECT id FROM search_index_data LIMIT 1 OFFSET {at})"
        ),
        10 => "UPDATE search_index_config SET v = 0 WHERE k = 'secure-delete'".to_owned(),
        _ => {
            let bomb = zstd::bulk::compress(&vec![b'a'; 60 << 20], 1).unwrap();
            let sql = format!("UPDATE search_messages SET text = ?1 WHERE {of}");
            connection.execute(&sql, [bomb]).unwrap();
            return "a text that unpacks to 60 MiB".to_owned();
        }
    };
    connection.execute_batch(&sql).unwrap();
    sql
}

fn anchors(anchor: &Path, random: &mut Random) -> String {
    let mut bytes = std::fs::read(anchor).unwrap();
    let at = random.below(bytes.len() as u64) as usize;
    let what = match random.below(6) {
        0 => {
            bytes[at] ^= 1 << random.below(8);
            "a bit"
        }
        1 => {
            bytes.truncate(at);
            "cut off"
        }
        2 => {
            let copy = bytes.clone();
            bytes.extend(copy);
            "twice"
        }
        3 => {
            bytes.splice(at..at, vec![b'a'; 1 << 20]);
            "a long line"
        }
        4 => {
            bytes.splice(at..at, (0..=255).cycle().take(5000));
            "any bytes"
        }
        _ => {
            bytes = vec![0; 1 << 20];
            "zeros"
        }
    };
    std::fs::write(anchor, bytes).unwrap();
    format!("anchors: {what} at {at}")
}

fn bytes(path: &Path, random: &mut Random) -> String {
    const PAGE: usize = 4096;
    let mut bytes = std::fs::read(path).unwrap();
    let length = bytes.len();
    let at = random.below(length as u64) as usize;
    let page = at / PAGE * PAGE;
    let other = random.below((length / PAGE) as u64) as usize * PAGE;
    let what = match random.below(8) {
        0 | 1 => {
            bytes[at] ^= 1 << random.below(8);
            format!("a bit of byte {at}")
        }
        2 => {
            bytes[page..page + PAGE].fill(0);
            format!("page at {page} zeroed")
        }
        3 => {
            bytes.copy_within(other..other + PAGE, page);
            format!("page at {page} is that at {other}")
        }
        4 => {
            let place = page + random.below(12) as usize;
            bytes[place] = random.next() as u8;
            format!("head of the page at {page}")
        }
        5 => {
            let place = random.below(100) as usize;
            bytes[place] = random.next() as u8;
            format!("byte {place} of the header")
        }
        6 => {
            bytes.truncate(at);
            format!("cut to {at} bytes")
        }
        _ => {
            let end = (at + 64).min(length);
            bytes[at..end].fill(0xFF);
            format!("64 bytes at {at}")
        }
    };
    std::fs::write(path, bytes).unwrap();
    what
}

/// How often a planted trigger ran.
pub fn times_run(path: &Path) -> i64 {
    let sql = "SELECT count(*) FROM counted";
    let times: Result<Value, _> = open(path).query_row(sql, [], |row| row.get(0));
    match times {
        Ok(Value::Integer(times)) => times,
        _ => 0,
    }
}
