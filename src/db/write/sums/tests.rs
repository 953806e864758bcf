//! Sums say min(bound, exact sum), whatever is added, erased, pruned and counted again.

use super::*;
use crate::db::connection::migrate;
use crate::db::rollups::SUM_MAX;
use crate::db::rollups::SUMS;
use crate::db::rollups::total;
use crate::db::write::apply;
use crate::db::write::removals;
use crate::log::{
    EndKind, Ended, Erased, ErasedRequest, Fold, Opened, Pruned, PrunedKind, PrunedUsage,
    SegmentEncoder,
};
use crate::model::{
    CostSource, ModelUsage, StatsFilter, StatsKey, StatsRow, UsageDetails, UsageSource,
};
use crate::tests::seeds;

const HOUR: i64 = 3_600_000_000;

fn database() -> Connection {
    let mut connection = Connection::open_in_memory().unwrap();
    migrate::migrate(&mut connection).unwrap();
    connection
}

/// As the writer does: the segment, then what its events say.
fn append(connection: &Connection, events: &[Event]) {
    append_to(connection, events, &mut crate::db::Refusals::default());
}

fn append_to(connection: &Connection, events: &[Event], refusals: &mut crate::db::Refusals) {
    let Some(first) = events.first() else { return };
    let mut text = Vec::new();
    for event in events {
        event.write_line(&mut text).unwrap();
    }
    let (encoding, data) = SegmentEncoder::new().unwrap().encode(&text);
    connection
        .execute(
            "INSERT INTO log_segments VALUES (?1, ?2, ?3, ?4, ?5, x'')",
            rusqlite::params![
                seq_to_sql(first.seq),
                i64::try_from(events.len()).unwrap(),
                i64::try_from(text.len()).unwrap(),
                encoding,
                data
            ],
        )
        .unwrap();
    apply::apply(connection, &mut Fold::new(events), refusals).unwrap();
}

fn rollup(connection: &Connection, table: &str) -> Vec<String> {
    let keys = match table {
        "usage_hourly" => "hour || ' ' || provider_name || ' ' || model || ' ' || user_id",
        _ => "day || ' ' || provider_name || ' ' || model",
    };
    let sums = SUMS.map(|sum| format!("' {sum} ' || {sum}")).join(" || ");
    let mut statement = connection
        .prepare(&format!("SELECT {keys} || {sums} FROM {table} ORDER BY 1"))
        .unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

/// Tokens of other models, of which some count to them and some were recorded by an earlier build.
fn others(
    random: &mut fastrand::Rng,
    count: fn(&mut fastrand::Rng) -> Option<u64>,
) -> Option<Box<UsageDetails>> {
    let mut details = UsageDetails::default();
    for _ in 0..random.usize(..4).saturating_sub(1) {
        let mut other = ModelUsage {
            model: format!("m{}", random.u8(..4)),
            cost_microdollars: count(random),
            cost_source: CostSource::ALL.get(random.usize(..8)).copied(),
            ..ModelUsage::default()
        };
        other.usage.input_tokens = count(random);
        other.usage.output_tokens = count(random);
        details.other_models.push(other);
    }
    (random.u8(..3) > 0).then(|| Box::new(details))
}

/// A count, at times one near the bound.
fn huge(random: &mut fastrand::Rng) -> Option<u64> {
    match random.u8(..6) {
        0 => None,
        1 => Some(u64::MAX),
        2 => Some(i64::MAX.unsigned_abs()),
        3 => Some(i64::MAX.unsigned_abs() / 2 + random.u64(..3)),
        _ => Some(random.u64(..1000)),
    }
}

fn small(random: &mut fastrand::Rng) -> Option<u64> {
    (random.u8(..4) > 0).then(|| random.u64(..1000))
}

/// Opens, ends, erases and prunes at random. Gives the events in their
/// order, and those that a removal took out.
fn events(
    random: &mut fastrand::Rng,
    stored: &Connection,
    count: fn(&mut fastrand::Rng) -> Option<u64>,
) -> (Vec<Event>, BTreeSet<u64>) {
    let (mut all, mut gone) = (Vec::new(), BTreeSet::new());
    let mut ended: Vec<(Opened, Ended, u64)> = Vec::new();
    let mut pruned_to = 0;
    let mut seq = 0;
    for _ in 0..random.usize(2..12) {
        let first = all.len();
        for _ in 0..random.usize(1..6) {
            let user = format!("u{}", random.u8(..2));
            let at = 480_000 * HOUR + i64::from(random.u8(..3)) * 12 * HOUR;
            let opened = Opened {
                request_id: format!("r{seq}"),
                started_at: Some(at),
                user_id: Some(user),
                request_model: Some(format!("m{}", random.u8(..2))),
                ..Opened::default()
            };
            let end = Ended {
                kind: EndKind::Completed,
                request_id: opened.request_id.clone(),
                opened_seq: seq,
                input_tokens: count(random),
                output_tokens: count(random),
                cost_microdollars: count(random),
                latency_us: count(random),
                usage_source: UsageSource::ALL.get(random.usize(..8)).copied(),
                usage_details: others(random, count),
                ..Ended::default()
            };
            ended.push((opened.clone(), end.clone(), seq + 1));
            for kind in [
                EventKind::Opened(Box::new(opened)),
                EventKind::Ended(Box::new(end)),
            ] {
                all.push(Event { seq, at, kind });
                seq += 1;
            }
        }
        append(stored, &all[first..]);
        let kind = match random.u8(..4) {
            0 => {
                let place = random.usize(..ended.len());
                let (mut opened, end, ended_seq) = ended.swap_remove(place);
                opened.user_id = None;
                gone.extend([end.opened_seq, ended_seq]);
                EventKind::Erased(Box::new(Erased {
                    reason: "test".to_owned(),
                    requests: vec![ErasedRequest {
                        ended_seq,
                        status: EndKind::Completed,
                        opened,
                        ended: end,
                    }],
                }))
            }
            1 if random.bool() => {
                let to = random.u64(pruned_to / 2..=seq / 2) * 2;
                let to = to.max(pruned_to);
                let usage = removals::usage_between(stored, pruned_to, to.saturating_sub(1));
                let usage = if to > pruned_to {
                    usage.unwrap()
                } else {
                    HashMap::new()
                };
                let from = std::mem::replace(&mut pruned_to, to);
                ended.retain(|(_, end, _)| end.opened_seq >= to);
                let requests = all.iter().filter(|event| {
                    (from..to).contains(&event.seq)
                        && matches!(event.kind, EventKind::Opened(_) | EventKind::Ended(_))
                });
                gone.extend(requests.map(|event| event.seq));
                EventKind::Pruned(Box::new(Pruned {
                    what: PrunedKind::Metadata,
                    from,
                    to,
                    requests: 1,
                    usage: usage
                        .into_iter()
                        .map(|(key, sums)| PrunedUsage {
                            hour: key.hour,
                            provider_name: key.provider_name,
                            model: key.model,
                            sums,
                        })
                        .collect(),
                }))
            }
            _ => continue,
        };
        let event = Event { seq, at: 0, kind };
        // Removals are about even places.
        seq += 2;
        append(stored, std::slice::from_ref(&event));
        all.push(event);
    }
    (all, gone)
}

#[test]
fn what_is_added_and_taken_is_what_the_log_says_also_at_the_bound() {
    let mut seeds = fastrand::Rng::with_seed(seeds::seed("AUDITLITE_SUMS_SEED"));
    let mut at_bound = 0;
    for _ in 0..seeds::number("AUDITLITE_SUM_CASES", 150) {
        let case = seeds.u64(..);
        let mut random = fastrand::Rng::with_seed(case);
        let (stored, rebuilt) = (database(), database());
        let (events, gone) = events(&mut random, &stored, huge);
        // As the rebuild reads them: line by line, without what was taken out.
        for event in events.iter().filter(|event| !gone.contains(&event.seq)) {
            append(&rebuilt, std::slice::from_ref(event));
        }
        for table in ["usage_hourly", "usage_daily"] {
            let rows = rollup(&stored, table);
            assert_eq!(rows, rollup(&rebuilt, table), "case {case}, {table}");
            let bound = SUM_MAX.to_string();
            at_bound += rows.iter().filter(|row| row.contains(&bound)).count();
        }
        let filter = crate::model::StatsFilter::default();
        let all = crate::db::stats(&stored, &filter).unwrap();
        let read = crate::db::stats_of(&stored, &crate::model::RequestFilter::default(), &[]);
        let (all, read) = (all.first().cloned().unwrap_or_default(), read.unwrap());
        // Pruned requests count on in the rollups alone.
        assert!(
            read.first()
                .is_none_or(|read| read.input_tokens <= all.input_tokens)
        );
    }
    assert!(at_bound > 100, "{at_bound}");
}

/// What a row says of tokens, cost and requests, without its group.
fn figures(row: &StatsRow) -> [u64; 9] {
    [
        row.requests,
        row.input_tokens,
        row.output_tokens,
        row.cost_microdollars,
        row.without_usage,
        row.unpriced,
        row.partial_usage,
        row.told_usage,
        row.latency_us_sum,
    ]
}

#[test]
fn sums_of_all_models_are_those_of_all_requests_from_rollups_and_from_rows() {
    let mut seeds = fastrand::Rng::with_seed(seeds::seed("AUDITLITE_SUMS_SEED"));
    let (mut credited, mut compared) = (0, 0);
    for _ in 0..seeds::number("AUDITLITE_SUM_CASES", 150) {
        let case = seeds.u64(..);
        let mut random = fastrand::Rng::with_seed(case);
        let stored = database();
        let (events, _) = events(&mut random, &stored, small);
        let has_pruned = events
            .iter()
            .any(|event| matches!(event.kind, EventKind::Pruned(_)));
        for others in [&[][..], &[StatsKey::User], &[StatsKey::Day]] {
            let mut filter = StatsFilter::new().group_by(others.to_vec());
            let whole = crate::db::stats(&stored, &filter).unwrap();
            filter.group_by.push(StatsKey::Model);
            let by_model = crate::db::stats(&stored, &filter).unwrap();
            let mut summed: HashMap<_, [u64; 9]> = HashMap::new();
            for row in &by_model {
                let sums = summed.entry((row.time, row.user_id.clone())).or_default();
                let added = sums.iter_mut().zip(figures(row));
                added.for_each(|(sum, figure)| *sum += figure);
                credited += row.credited_requests;
            }
            let whole_sums = whole.iter().map(|row| {
                assert_eq!(row.credited_requests, 0);
                ((row.time, row.user_id.clone()), figures(row))
            });
            assert_eq!(summed, whole_sums.collect(), "case {case}");
            // Pruned requests count on in the rollups alone.
            if !has_pruned {
                let read = |keys: &[StatsKey]| {
                    let all = crate::model::RequestFilter::default();
                    crate::db::stats_of(&stored, &all, keys).unwrap()
                };
                assert_eq!(read(others), whole, "case {case}");
                assert_eq!(read(&filter.group_by), by_model, "case {case}");
                compared += 1;
            }
        }
    }
    assert!(credited > 100 && compared > 100, "{credited} {compared}");
}

#[test]
fn a_total_is_the_sum_or_the_bound() {
    let connection = Connection::open_in_memory().unwrap();
    connection
        .execute_batch("CREATE TABLE numbers (number INTEGER) STRICT")
        .unwrap();
    let sql = format!("SELECT {} FROM numbers", total("number"));
    let read = || {
        connection
            .query_row(&sql, [], |row| row.get::<_, i64>(0))
            .unwrap()
    };
    assert_eq!(read(), 0);
    let mut exact: i128 = 0;
    for number in [
        0,
        1,
        u32::MAX.into(),
        1 << 32,
        1 << 62,
        (1 << 62) - 7,
        1 << 33,
        SUM_MAX,
    ] {
        connection
            .execute("INSERT INTO numbers VALUES (?1), (NULL)", [number])
            .unwrap();
        exact += i128::from(number);
        assert_eq!(
            i128::from(read()),
            exact.min(SUM_MAX.into()),
            "after {number}"
        );
    }
}

/// Writes what a strict table does not take.
fn plant(connection: &Connection, table: &str, value: &str) {
    let rename = |from: &str, to: &str| {
        format!(
            "PRAGMA writable_schema = ON; \
             UPDATE sqlite_schema SET sql = replace(sql, '{from}', '{to}') WHERE name = '{table}'; \
             PRAGMA writable_schema = RESET;"
        )
    };
    connection
        .execute_batch(&format!(
            "{} UPDATE {table} SET output_tokens = {value}; {}",
            rename("STRICT, WITHOUT ROWID", "WITHOUT ROWID"),
            rename("WITHOUT ROWID", "STRICT, WITHOUT ROWID"),
        ))
        .unwrap();
    let error = connection
        .execute(&format!("UPDATE {table} SET input_tokens = 1.5"), [])
        .unwrap_err();
    assert!(error.to_string().contains("REAL"), "strict again: {error}");
}

#[test]
fn values_that_are_not_sums_are_counted_again_on_a_subtraction() {
    let request = |seq: u64| {
        let opened = Opened {
            request_id: format!("r{seq}"),
            started_at: Some(480_000 * HOUR),
            request_model: Some("m".to_owned()),
            ..Opened::default()
        };
        let ended = Ended {
            kind: EndKind::Completed,
            request_id: opened.request_id.clone(),
            opened_seq: seq,
            output_tokens: Some(seq + 1),
            ..Ended::default()
        };
        (opened, ended)
    };
    let lines = |seq: u64| {
        let (opened, ended) = request(seq);
        let facts = [
            EventKind::Opened(Box::new(opened)),
            EventKind::Ended(Box::new(ended)),
        ];
        let event = |(seq, kind)| Event { seq, at: 0, kind };
        (seq..).zip(facts).map(event).collect::<Vec<_>>()
    };
    let (opened, ended) = request(0);
    let erased = EventKind::Erased(Box::new(Erased {
        reason: "test".to_owned(),
        requests: vec![ErasedRequest {
            ended_seq: 1,
            status: EndKind::Completed,
            opened,
            ended,
        }],
    }));
    let erased = Event {
        seq: 4,
        at: 0,
        kind: erased,
    };
    let rebuilt = database();
    append(&rebuilt, &lines(2));
    append(&rebuilt, std::slice::from_ref(&erased));
    for value in ["1.5", "'x'", "x'00'", "-3", "9e99"] {
        for table in ["usage_hourly", "usage_daily"] {
            let stored = database();
            append(&stored, &[lines(0), lines(2)].concat());
            plant(&stored, table, value);
            let mut refusals = crate::db::Refusals::guarding();
            append_to(&stored, std::slice::from_ref(&erased), &mut refusals);
            for table in ["usage_hourly", "usage_daily"] {
                assert_eq!(
                    rollup(&stored, table),
                    rollup(&rebuilt, table),
                    "{table} {value}"
                );
            }
        }
    }
}
