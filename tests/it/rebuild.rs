//! The log is the only authority: projections rebuilt from it are the same, and wrong ones are found.

use auditlite::{Completion, Failure, ReadOnlyStore, RequestContext, Timestamp, ToolCall, Usage};

use crate::support::{Folder, PATIENCE, close, findings, sqlite};

const PROJECTIONS: &[&str] = &[
    "requests",
    "tool_calls",
    "usage_hourly",
    "usage_daily",
    "opened_minutes",
    "store_openings",
    "gaps",
];

/// Lifecycles of every shape: folded into one commit and spread over several, over two sessions,
/// with every kind of end, a gap, and requests that a session left open.
fn varied(folder: &Folder) {
    for session in 0..2_u32 {
        let store = folder.builder().capacity_events(64).open().unwrap();
        let mut late = Vec::new();
        for number in 0..20_u32 {
            let context = RequestContext::new("openai.chat")
                .user_id(format!("u-{}", number % 3))
                .conversation_id(format!("c-{}", number % 5))
                .provider_name("openai")
                .request_model("gpt-4o")
                .temperature(0.1 + 0.2 * f64::from(number))
                .attribute("n", number.to_string())
                .started_at(Timestamp::from_micros(
                    1_700_000_000_000_000 + i64::from(number) * 1_000_000_000,
                ));
            let mut audit = store.recorder().open(context, "question").unwrap();
            if number % 4 == 0 {
                late.push(audit);
                continue;
            }
            audit.set_served_model("gpt-4o-2024");
            let usage = Usage::new(10, 5);
            let _ = match number % 4 {
                1 => audit.complete(
                    Completion::new()
                        .usage(usage)
                        .tool_call(ToolCall::new("c", "weather", "{}"))
                        .tool_call(ToolCall::new("d", "time", "{}")),
                ),
                2 => audit.fail(Failure::new("timeout").usage(usage)),
                _ => audit.reject(auditlite::Rejection::new("quota")),
            };
        }
        store.flush(PATIENCE).unwrap();
        for mut audit in late.drain(1..) {
            audit.set_served_provider("azure");
            store.flush(PATIENCE).unwrap();
            audit
                .complete(Completion::new().usage(Usage::new(1, 1)))
                .unwrap();
        }
        // Beyond the capacity: a gap.
        let held: Vec<_> = (0..100)
            .map(|_| store.recorder().open(RequestContext::new(""), "q").unwrap())
            .collect();
        store.flush(PATIENCE).unwrap();
        if session == 0 {
            drop(held);
            close(store);
        } else {
            // Left open: the next session marks them.
            close(store);
            drop(held);
        }
        drop(late);
    }
    close(folder.open());
}

fn rows(folder: &Folder) -> Vec<String> {
    let connection = sqlite(folder);
    let mut rows = Vec::new();
    for table in PROJECTIONS {
        let mut statement = connection
            .prepare(&format!("SELECT * FROM {table}"))
            .unwrap();
        let columns = statement.column_count();
        let mut found = statement.query([]).unwrap();
        while let Some(row) = found.next().unwrap() {
            let values: Vec<rusqlite::types::Value> =
                (0..columns).map(|index| row.get(index).unwrap()).collect();
            rows.push(format!("{table}: {values:?}"));
        }
    }
    rows.sort();
    rows
}

#[test]
fn a_rebuild_from_the_log_gives_the_same_rows() {
    let folder = Folder::new();
    varied(&folder);
    let report = ReadOnlyStore::open(folder.path())
        .unwrap()
        .doctor()
        .unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert!(report.gaps > 0 && report.openings == 3 && report.pending == 0);
    let before = rows(&folder);
    assert!(before.len() > 60);
    let events = auditlite::rebuild(folder.path()).unwrap();
    assert_eq!(events, report.events);
    assert_eq!(rows(&folder), before);
}

#[test]
fn the_doctor_finds_a_projection_that_is_not_as_the_log_says_and_a_rebuild_mends_it() {
    for damage in [
        "UPDATE requests SET cost_microdollars = 1 WHERE status = 'failed'",
        "UPDATE requests SET status = 'completed' WHERE status = 'failed'",
        "DELETE FROM requests WHERE opened_seq = (SELECT max(opened_seq) FROM requests)",
        "UPDATE tool_calls SET tool_name = 'x'",
        "UPDATE usage_hourly SET input_tokens = input_tokens + 1",
        "UPDATE usage_daily SET output_tokens = output_tokens + 1",
        "DELETE FROM opened_minutes",
        "UPDATE gaps SET lifecycles = 0",
        "UPDATE store_openings SET closed_at = 0",
    ] {
        let folder = Folder::new();
        varied(&folder);
        let before = rows(&folder);
        assert!(sqlite(&folder).execute(damage, []).unwrap() > 0, "{damage}");
        assert!(!findings(&folder).is_empty(), "not found: {damage}");
        auditlite::rebuild(folder.path()).unwrap();
        assert!(findings(&folder).is_empty(), "not mended: {damage}");
        assert_eq!(rows(&folder), before);
    }
}

#[test]
fn a_damaged_log_is_found_and_never_rebuilt_from() {
    for damage in [
        "DELETE FROM log_segments WHERE first_seq = (SELECT min(first_seq) FROM log_segments WHERE first_seq > 0)",
        "UPDATE log_segments SET count = count + 1 WHERE first_seq = 0",
        "UPDATE log_segments SET length = length + 1 WHERE first_seq = 0",
        "UPDATE log_segments SET data = zeroblob(50) WHERE first_seq = 0",
        "UPDATE log_segments SET encoding = 9 WHERE first_seq = 0",
        "UPDATE log_segments SET encoding = 0, data = CAST('{}' AS BLOB), length = 2 WHERE first_seq = 0",
        "UPDATE log_segments SET length = 1 << 50 WHERE first_seq = 0",
    ] {
        let folder = Folder::new();
        varied(&folder);
        assert!(sqlite(&folder).execute(damage, []).unwrap() > 0, "{damage}");
        let before = rows(&folder);
        assert!(!findings(&folder).is_empty(), "not found: {damage}");
        let error = auditlite::rebuild(folder.path()).unwrap_err();
        assert!(
            matches!(error, auditlite::OpenError::Damaged { .. }),
            "{error}"
        );
        assert_eq!(rows(&folder), before, "nothing is changed");
    }
}

/// Writer and rebuild share the code that makes both rollups: here SQL says what they must be.
#[test]
fn days_are_the_sums_of_their_hours() {
    let folder = Folder::new();
    varied(&folder);
    let sums = "sum(completed), sum(failed), sum(rejected), sum(abandoned), sum(interrupted), \
                sum(input_tokens), sum(output_tokens), sum(cost_microdollars), sum(unpriced), \
                sum(latency_us_sum), sum(latency_count)";
    let read = |day: &str, table: &str| -> Vec<String> {
        let connection = sqlite(&folder);
        let sql = format!(
            "SELECT json_array({day}, provider_name, model, {sums}) FROM {table} \
             GROUP BY {day}, provider_name, model"
        );
        let mut statement = connection.prepare(&sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    };
    let days = read("day", "usage_daily");
    assert!(!days.is_empty());
    assert_eq!(days, read("hour / 24", "usage_hourly"));
}

#[test]
fn tables_that_are_not_those_of_this_version_are_findings() {
    let folder = Folder::new();
    close(folder.open());
    let change = |sql: &str| sqlite(&folder).execute_batch(sql).unwrap();
    change("DROP TABLE tool_calls; DROP INDEX requests_by_user_id; CREATE TABLE notes (t);");
    let found = findings(&folder).join("\n");
    for expected in [
        "table \"tool_calls\" is missing",
        "index \"requests_by_user_id\" is missing",
        "table \"notes\" is not of this version",
    ] {
        assert!(found.contains(expected), "{found}");
    }
    assert!(found.contains("nothing else was checked"), "{found}");
}
