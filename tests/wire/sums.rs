//! Sums over streams that stop anywhere: what `stats` says is what an independent script adds up.
//!
//! Each recorded stream is cut at a few random bytes; `AUDITLITE_CORPUS_FULL` cuts every stream. `AUDITLITE_SUMS_SEED`
//! replays a run.

use std::collections::BTreeMap;
use std::time::Duration;

use auditlite::{Overflow, ParsedResponse, RequestContext, StatsFilter, StatsKey, Store};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::agreement::expectations;
use crate::corpus::{Exchange, exchanges};
use crate::seeds;

const PATIENCE: Duration = Duration::from_secs(120);

/// Cuts of each stream.
const CUTS: usize = 3;

/// Requests, those without a count, and tokens: input, output, cache reads, cache writes, reasoning.
type Sums = [u64; 7];

#[test]
fn sums_of_streams_that_stop_are_those_of_an_independent_script() {
    let heads = heads();
    if heads.is_empty() {
        return;
    }
    let mut expected: BTreeMap<String, Sums> = BTreeMap::new();
    for (head, said) in heads.iter().zip(expectations(&heads)) {
        let usage = &said["usage"];
        let sums = expected.entry(head.wire.clone()).or_default();
        let add = |sum: &mut u64, name: &str| *sum += usage[name].as_u64().unwrap_or_default();
        let [requests, unknown, input, output, read, write, reasoning] = sums;
        *requests += 1;
        *unknown += u64::from(["input", "output"].iter().all(|name| usage[name].is_null()));
        add(input, "input");
        add(output, "output");
        add(read, "read");
        add(write, "write");
        add(reasoning, "reasoning");
    }

    let folder = tempfile::tempdir().unwrap();
    let store = Store::builder(folder.path().join("audit.db"))
        .overflow(Overflow::Wait(PATIENCE))
        .open()
        .unwrap();
    for head in &heads {
        let context = RequestContext::new(head.wire.as_str())
            .url_path(&head.path)
            // Sums by protocol. The model may stand in an event that the script skips, since it is cut.
            .user_id(head.wire.as_str());
        let mut audit = store
            .recorder()
            .open(context, head.request.clone())
            .unwrap();
        audit.chunk(head.response.clone());
        audit.finish(head.status).unwrap();
    }
    store.flush(PATIENCE).unwrap();
    let mut filter = StatsFilter::default();
    filter.group_by = vec![StatsKey::User];
    let rows = store.reader().stats(&filter).unwrap();
    let partial: u64 = rows.iter().map(|row| row.partial_usage).sum();
    let found: BTreeMap<String, Sums> = rows
        .into_iter()
        .map(|row| {
            let sums = [
                row.requests,
                row.without_usage,
                row.input_tokens,
                row.output_tokens,
                row.cache_read_input_tokens,
                row.cache_write_input_tokens,
                row.reasoning_output_tokens,
            ];
            (row.user_id.unwrap_or_default(), sums)
        })
        .collect();
    let unknown: u64 = found.values().map(|sums| sums[1]).sum();
    eprintln!(
        "{} streams that stop, {} protocols: {partial} with partial usage, {unknown} without any",
        heads.len(),
        found.len()
    );
    let differing = |a: &BTreeMap<String, Sums>, b: &BTreeMap<String, Sums>| -> Vec<String> {
        let rows = a.iter().filter(|(wire, sums)| b.get(*wire) != Some(sums));
        rows.map(|row| format!("{row:?}")).collect()
    };
    let (more, less) = (differing(&found, &expected), differing(&expected, &found));
    assert!(
        more.is_empty() && less.is_empty(),
        "{more:?} where the script says {less:?}"
    );
    // A count that is known from the first event on is partial; before any, a stream has none.
    assert!(partial > 0 && unknown > 0);
    assert!(store.close(PATIENCE).is_complete);
}

/// Streams that stop. Arrays of JSON are left out, which the script reads as a whole only.
fn heads() -> Vec<Exchange> {
    let mut random = StdRng::seed_from_u64(seeds::seed("AUDITLITE_SUMS_SEED"));
    let is_full = std::env::var_os("AUDITLITE_CORPUS_FULL").is_some();
    let mut all = exchanges();
    all.retain(|exchange| {
        exchange.is_supported()
            && exchange.status < 400
            && !exchange.response.trim_ascii_start().starts_with(b"[")
    });
    let mut heads = Vec::new();
    for (number, exchange) in all.iter().enumerate() {
        if !is_full && number % 5 != 0 {
            continue;
        }
        let whole = ParsedResponse::parse(&exchange.protocol(), &exchange.response);
        if whole.is_streamed {
            let cuts = (0..CUTS).map(|_| random.random_range(0..=exchange.response.len()));
            heads.extend(cuts.map(|at| exchange.cut(at)));
        }
    }
    heads
}
