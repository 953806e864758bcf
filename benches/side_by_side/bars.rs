//! Targets beside the measured figures. For information; nothing fails here.

use std::path::PathBuf;

use super::BYTE_BUDGET_MIB;
use super::report::Figures;

/// Memory beyond the byte budget, in MiB.
const MEMORY_BEYOND_BUDGET_MIB: f64 = 32.0;

enum Bar {
    AtLeast(f64),
    AtMost(f64),
}

pub(crate) fn print(figures: &Figures, corpus: &[PathBuf]) {
    // The bars are set for two kinds of recorded traffic, long requests and shorter ones.
    let is_long = corpus
        .iter()
        .any(|path| path.to_string_lossy().contains("swebench"));
    let (faster, smaller) = if is_long { (15.0, 28.0) } else { (10.0, 14.0) };
    let rate = |other| figures.ratio("auditlite", other, "lifecycles_per_s");
    let growth = |measure: &str| {
        ["10000000", "1000000", "100000"]
            .iter()
            .find_map(|size| figures.get(&format!("growth_{size}"), measure))
    };
    let cost = |size: &str| figures.get(&format!("growth_{size}"), "us_per_lifecycle");
    let bars = [
        (
            "lifecycles/s, auditlite : json_log_bounded",
            rate("json_log_bounded"),
            Bar::AtLeast(faster),
        ),
        (
            "lifecycles/s, auditlite : commit_full",
            rate("commit_full"),
            Bar::AtLeast(20.0),
        ),
        (
            "lifecycles/s, reading bodies : not reading them",
            figures.ratio("auditlite_extracting", "auditlite", "lifecycles_per_s"),
            Bar::AtLeast(0.85),
        ),
        (
            "lifecycles/s, auditlite : ceiling",
            rate("ceiling"),
            Bar::AtLeast(0.7),
        ),
        (
            "bytes on disk, json_log_bounded : auditlite",
            figures.ratio("json_log_bounded", "auditlite", "bytes_per_lifecycle"),
            Bar::AtLeast(smaller),
        ),
        (
            "request thread p50 while saturated, µs",
            figures.get("auditlite_shed", "thread_p50_us"),
            Bar::AtMost(2.0),
        ),
        (
            "request thread p99 while saturated, µs",
            figures.get("auditlite_shed", "thread_p99_us"),
            Bar::AtMost(20.0),
        ),
        (
            "peak memory, waiting, MiB",
            figures.get("auditlite", "peak_memory_mib"),
            Bar::AtMost(BYTE_BUDGET_MIB as f64 + MEMORY_BEYOND_BUDGET_MIB),
        ),
        (
            "peak memory, shedding, MiB",
            figures.get("auditlite_shed", "peak_memory_mib"),
            Bar::AtMost(BYTE_BUDGET_MIB as f64 + MEMORY_BEYOND_BUDGET_MIB),
        ),
        (
            "cost per request, 10 M : 100 k",
            cost("10000000")
                .zip(cost("100000"))
                .map(|(large, small)| large / small),
            Bar::AtMost(1.3),
        ),
        (
            "list page of 20, ms",
            growth("list_page_ms"),
            Bar::AtMost(5.0),
        ),
        (
            "get with both bodies, ms",
            growth("get_with_bodies_ms"),
            Bar::AtMost(3.0),
        ),
        (
            "statistics by model, ms",
            growth("stats_by_model_ms"),
            Bar::AtMost(10.0),
        ),
    ];
    if bars.iter().all(|(_, value, _)| value.is_none()) {
        return;
    }
    let note = if corpus.is_empty() {
        " (set for recorded traffic, not for this)"
    } else {
        ""
    };
    eprintln!("\nbars{note}");
    for (what, value, bar) in bars {
        let Some(value) = value else { continue };
        let (sign, bound, is_reached) = match bar {
            Bar::AtLeast(bound) => ('≥', bound, value >= bound),
            Bar::AtMost(bound) => ('≤', bound, value <= bound),
        };
        let verdict = if is_reached { "PASS" } else { "SHORT" };
        eprintln!("  {what:<46}{value:>10.2}   {sign} {bound:<6} {verdict}");
    }
}
