//! The comparison agrees with the writer over events in any order, and finds any cell that differs.
#![allow(clippy::cast_possible_wrap, clippy::cast_sign_loss)]

use std::collections::HashSet;

use super::*;
use crate::db::connection::migrate;
use crate::log::{BodyFact, EndKind, Gap, StoreClosed, StoreOpened, ToolCallFact};
use crate::model::{CostSource, ModelUsage, Usage, UsageDetails};
use crate::tests::seeds;

/// Tokens of other models.
fn others(random: &mut fastrand::Rng) -> Option<Box<UsageDetails>> {
    let others = (0..random.usize(..4)).map(|_| ModelUsage {
        model: format!("text-{}", random.u8(..4)),
        usage: Usage::new(random.u64(..600), 1),
        cost_source: random.bool().then_some(CostSource::Unknown),
        ..ModelUsage::default()
    });
    let details = UsageDetails {
        other_models: others.collect(),
        ..UsageDetails::default()
    };
    random.bool().then(|| Box::new(details))
}

/// Events of requests that come and go in any order, some of them never.
fn events(random: &mut fastrand::Rng) -> Vec<Event> {
    let text = |random: &mut fastrand::Rng, kinds: u32| {
        (random.u32(..4) > 0).then(|| format!("text-{}", random.u32(..kinds)))
    };
    let attributes = |random: &mut fastrand::Rng| -> Vec<(String, String)> {
        let keys = ["k", "l\"", "ü/"].into_iter();
        let keys = keys.filter(|_| random.bool()).collect::<Vec<_>>();
        let pair = |key: &str| (key.to_owned(), format!("{}\\", random.u32(..9)));
        keys.into_iter().map(pair).collect()
    };
    let (mut events, mut open) = (Vec::new(), Vec::new());
    for seq in 0..random.u64(1..300) {
        let at = 1_764_000_000_000_000
            + seq as i64 * random.i64(-10_000_000_000_000..10_000_000_000_000);
        let adjusted_fields =
            |random: &mut fastrand::Rng| vec!["user_id".to_owned(); random.usize(..2)];
        let kind = match random.u32(..20) {
            0 => EventKind::Gap(Gap {
                lifecycles: random.u64(..3),
                ..Gap::default()
            }),
            1 => EventKind::StoreClosed(StoreClosed {
                lifecycles_submitted: 7,
                lifecycles_stored: 7,
                lifecycles_lost: 0,
                payloads_lost: 0,
            }),
            2..=3 => EventKind::Served(Served {
                // At times of one that has ended.
                opened_seq: open.last().copied().unwrap_or(0),
                response_model: text(random, 3),
                response_provider_name: text(random, 3),
                ..Served::default()
            }),
            4..=10 if !open.is_empty() => {
                let opened_seq = open.swap_remove(random.usize(..open.len()));
                EventKind::Ended(Box::new(Ended {
                    kind: *random
                        .choice(&[EndKind::Completed, EndKind::Failed, EndKind::Abandoned])
                        .unwrap(),
                    opened_seq,
                    user_id: text(random, 3),
                    conversation_id: text(random, 3),
                    attributes: attributes(random),
                    response_model: text(random, 3),
                    input_tokens: random.bool().then(|| random.u64(..1000)),
                    latency_us: random.bool().then(|| random.u64(..1000)),
                    usage_details: others(random),
                    finish_reasons: text(random, 2).into_iter().collect(),
                    tool_calls: (0..random.u64(..3))
                        .map(|input_bytes| ToolCallFact {
                            tool_call_id: format!("call-{input_bytes}"),
                            tool_name: "weather".to_owned(),
                            input_bytes,
                        })
                        .collect(),
                    adjusted_fields: adjusted_fields(random),
                    ..Ended::default()
                }))
            }
            _ if seq == 0 => EventKind::StoreOpened(Box::new(StoreOpened {
                log_id: "log".to_owned(),
                auditlite_version: String::new(),
                sqlite_version: String::new(),
                durability: String::new(),
                overflow: String::new(),
                capture: String::new(),
                payload_bytes_max: 0,
                unsigned_removals: None,
            })),
            _ => {
                open.push(seq);
                EventKind::Opened(Box::new(Opened {
                    request_id: format!("r-{seq}"),
                    user_id: text(random, 50),
                    provider_name: text(random, 3),
                    request_model: text(random, 3),
                    client_model: text(random, 3),
                    temperature: random.bool().then(|| random.f64()),
                    conversation_id: text(random, 3),
                    attributes: attributes(random),
                    request_body: BodyFact {
                        length: random.u64(..9),
                        ..BodyFact::default()
                    },
                    adjusted_fields: adjusted_fields(random),
                    ..Opened::default()
                }))
            }
        };
        events.push(Event { seq, at, kind });
    }
    events
}

/// What the writer makes of the events, in group commits of any size.
fn written(events: &[Event], random: &mut fastrand::Rng) -> Connection {
    let mut connection = Connection::open_in_memory().unwrap();
    migrate::migrate(&mut connection).unwrap();
    let mut rest = events;
    while !rest.is_empty() {
        let (batch, after) = rest.split_at(random.usize(1..=rest.len().min(40)));
        apply::apply(&connection, &mut Fold::new(batch), &mut Refusals::default()).unwrap();
        rest = after;
    }
    connection
}

/// What differs, and whether memory was too small for what was open.
fn compare(connection: &Connection, events: &[Event], bounds: Bounds) -> (Vec<String>, bool) {
    let mut tables = Tables::new(connection).unwrap();
    let mut comparison = tables.compare(None).unwrap();
    comparison.bounds = bounds;
    for event in events {
        comparison.apply(event).unwrap();
    }
    let has_spilled = comparison.spilled > 0;
    let differences = comparison.finish().unwrap().0;
    let differences = differences
        .iter()
        .map(|found| format!("{} {}", found.table, found.what))
        .collect();
    (differences, has_spilled)
}

#[test]
fn what_the_writer_makes_is_what_is_expected_and_any_other_cell_is_found() {
    let seed = seeds::seed("AUDITLITE_COMPARE_SEED");
    let mut random = fastrand::Rng::with_seed(seed);
    let tight = Bounds {
        sums: 2,
        open_bytes: 0,
    };
    let mut tables_seen = HashSet::new();
    let mut spilled = 0;
    for _ in 0..60 {
        let events = events(&mut random);
        let connection = written(&events, &mut random);
        for bounds in [BOUNDS, tight] {
            let (differences, has_spilled) = compare(&connection, &events, bounds);
            assert_eq!(differences, Vec::<String>::new());
            spilled += u32::from(has_spilled);
        }
        for _ in 0..10 {
            let tables = [
                "requests",
                "tool_calls",
                "usage_hourly",
                "usage_daily",
                "opened_minutes",
                "store_openings",
                "gaps",
            ];
            let table = *random.choice(&tables).unwrap();
            let rows: i64 = connection
                .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| {
                    row.get(0)
                })
                .unwrap();
            if rows == 0 {
                continue;
            }
            let columns: Vec<String> = connection
                .prepare(&format!("SELECT * FROM {table}"))
                .unwrap()
                .column_names()
                .into_iter()
                .map(str::to_owned)
                .collect();
            let column = random.choice(&columns).unwrap();
            let key = match table {
                "tool_calls" => "ended_seq, position",
                "usage_hourly" => "hour, provider_name, model, user_id",
                "usage_daily" => "day, provider_name, model",
                _ => "rowid",
            };
            let place = random.i64(..rows);
            let sql = format!(
                "UPDATE {table} SET {column} = CASE typeof({column}) \
                 WHEN 'integer' THEN {column} + 100000 WHEN 'real' THEN {column} + 1 \
                 WHEN 'text' THEN {column} || 'x' ELSE 1 END \
                 WHERE ({key}) = (SELECT {key} FROM {table} ORDER BY {key} LIMIT 1 OFFSET {place})"
            );
            connection.execute_batch("SAVEPOINT edit").unwrap();
            connection.execute(&sql, []).unwrap();
            let (found, _) = compare(&connection, &events, BOUNDS);
            assert!(!found.is_empty(), "{sql}");
            assert!(found[0].starts_with(table), "{sql}: {found:?}");
            assert_eq!(compare(&connection, &events, tight).0, found, "{sql}");
            connection
                .execute_batch("ROLLBACK TO edit; RELEASE edit")
                .unwrap();
            tables_seen.insert(table);
        }
    }
    assert_eq!(tables_seen.len(), 7, "{tables_seen:?}");
    assert!(spilled >= 30, "only {spilled} of 60 were too large");
}
