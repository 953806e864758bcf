//! Our own ceiling in SQL: the rows of a file that auditlite wrote, already prepared in memory,
//! inserted into a new file by a bare loop, with the same settings and in transactions of the same
//! sizes. Nothing is hashed, compressed, encoded or handed from thread to thread.
//!
//! There are no request threads: the latencies are those of a transaction, divided by its lifecycles.

use std::path::Path;
use std::time::Instant;

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, params_from_iter};

use super::super::child::{self, Outcome};
use super::super::common::{Latencies, bytes_on_disk, memory};
use super::super::gateway::Traffic;
use super::auditlite::Auditlite;

const SCHEMA: &str = include_str!("../../../schema.sql");
/// The settings of auditlite's writer; its own checkpoints come at the same size as these.
const SETTINGS: &str = "
    PRAGMA page_size = 8192;
    PRAGMA auto_vacuum = INCREMENTAL;
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA wal_autocheckpoint = 2048;
    PRAGMA journal_size_limit = 67108864;
    PRAGMA cache_size = -4096;
    PRAGMA cell_size_check = ON;
    PRAGMA mmap_size = 0;
    PRAGMA temp_store = MEMORY;";

/// The tables whose rows belong to a place in the log, and how to tell which. Rows of the others
/// are few; they go into the last transaction.
const KEYED: [(&str, &str); 4] = [
    ("log_segments", "first_seq"),
    ("payloads", "payload_id / 4"),
    ("requests", "opened_seq"),
    ("tool_calls", "ended_seq"),
];

struct Table {
    name: String,
    insert: String,
    /// Rows with the `seq` that they belong to, in order.
    rows: Vec<(i64, Vec<Value>)>,
}

/// A transaction: the end of its part of each table, and its requests.
struct Transaction {
    ends: Vec<usize>,
    requests: usize,
}

pub(crate) fn measure(traffic: &Traffic<'_>, folder: &Path) -> Outcome {
    let byte_budget = super::super::BYTE_BUDGET_MIB << 20;
    let recorded = child::measure(traffic, || {
        Box::new(Auditlite::waiting(folder, byte_budget))
    });
    let tables = read(&folder.join("audit.db"));
    let transactions = transactions(&tables);
    memory::forget_peak();
    let before = memory::resident_mib();
    let mut outcome = Outcome::new();
    let mut files = 0;
    while outcome.elapsed < traffic.duration / 2 {
        files += 1;
        let path = folder.join(format!("ceiling-{files}.db"));
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch(SETTINGS).unwrap();
        connection.execute_batch(SCHEMA).unwrap();
        connection.set_prepared_statement_cache_capacity(64);
        let begun = Instant::now();
        insert(&connection, &tables, &transactions, &mut outcome.latencies);
        outcome.elapsed += begun.elapsed();
        outcome.lifecycles += recorded.lifecycles;
        outcome.body_bytes += recorded.body_bytes;
        drop(connection);
        outcome.disk_bytes += bytes_on_disk(&path);
        std::fs::remove_file(path).unwrap();
    }
    outcome.memory_mib = before.zip(memory::peak_mib());
    outcome
}

fn read(path: &Path) -> Vec<Table> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut names = connection
        .prepare(
            // Recording does not fill the search index, and it comes with rows of its own.
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'
             AND name NOT LIKE 'search_%' ORDER BY rowid",
        )
        .unwrap();
    let names = names.query_map([], |row| row.get::<_, String>(0)).unwrap();
    names
        .map(|name| read_table(&connection, name.unwrap()))
        .collect()
}

fn read_table(connection: &Connection, name: String) -> Table {
    let key = KEYED.iter().find(|(table, _)| *table == name);
    let key = key.map_or("9223372036854775807".to_owned(), |(_, key)| {
        (*key).to_owned()
    });
    let mut statement = connection
        .prepare(&format!("SELECT {key} AS seq, * FROM {name} ORDER BY seq"))
        .unwrap();
    let columns = statement.column_count();
    let rows = statement
        .query_map([], |row| {
            let values = (1..columns).map(|column| row.get(column));
            Ok((row.get(0)?, values.collect::<Result<Vec<Value>, _>>()?))
        })
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    Table {
        insert: format!(
            "INSERT INTO {name} VALUES ({})",
            vec!["?"; columns - 1].join(",")
        ),
        name,
        rows,
    }
}

/// One for each segment of the log, with everything that belongs to its events.
fn transactions(tables: &[Table]) -> Vec<Transaction> {
    let segments = tables.iter().find(|table| table.name == "log_segments");
    let firsts: Vec<i64> = segments.unwrap().rows.iter().map(|(seq, _)| *seq).collect();
    assert!(!firsts.is_empty(), "auditlite's file has no log");
    let requests = tables.iter().position(|table| table.name == "requests");
    let requests = requests.unwrap();
    let mut begin = 0;
    (1..=firsts.len())
        .map(|next| {
            // The last one takes the rest.
            let end_seq = firsts.get(next);
            let ends: Vec<usize> = tables
                .iter()
                .map(|table| match end_seq {
                    Some(end) => table.rows.partition_point(|(seq, _)| seq < end),
                    None => table.rows.len(),
                })
                .collect();
            let count = ends[requests] - begin;
            begin = ends[requests];
            Transaction {
                ends,
                requests: count,
            }
        })
        .collect()
}

fn insert(
    connection: &Connection,
    tables: &[Table],
    transactions: &[Transaction],
    latencies: &mut Latencies,
) {
    let mut statements: Vec<_> = tables
        .iter()
        .map(|table| connection.prepare(&table.insert).unwrap())
        .collect();
    let mut begins = vec![0; tables.len()];
    for transaction in transactions {
        let begun = Instant::now();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        for (index, table) in tables.iter().enumerate() {
            let end = transaction.ends[index];
            for (_, row) in &table.rows[begins[index]..end] {
                statements[index].execute(params_from_iter(row)).unwrap();
            }
            begins[index] = end;
        }
        connection.execute_batch("COMMIT").unwrap();
        if let Ok(requests @ 1..) = u32::try_from(transaction.requests) {
            latencies.record(begun.elapsed() / requests);
        }
    }
}
