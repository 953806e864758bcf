//! The rollups: which columns are summed, and how large a sum gets.

use std::sync::LazyLock;

/// The largest sum that the file holds.
pub(crate) const SUM_MAX: i64 = i64::MAX;

/// The summed columns of both rollups, in order.
pub(crate) const SUMS: [&str; 24] = [
    "completed",
    "failed",
    "rejected",
    "abandoned",
    "interrupted",
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_write_input_tokens",
    "reasoning_output_tokens",
    "without_usage",
    "cost_microdollars",
    "unpriced",
    "latency_us_sum",
    "latency_count",
    "partial_usage",
    "told_usage",
    "partial_cost",
    "told_cost",
    "incomplete_cost",
    "credited_requests",
    "credited_partial_usage",
    "credited_told_usage",
    "credited_unpriced",
];

/// The sum of an expression over a group, 0 for an empty group: like `sum()`, which fails when the result
/// does not fit. The upper and the lower half are summed separately: both fit, for 2^31 rows.
pub(crate) fn total(expression: &str) -> String {
    let (upper, lower) = (
        format!("sum(({expression}) >> 32)"),
        format!("sum(({expression}) & 4294967295)"),
    );
    format!(
        "coalesce(CASE WHEN {upper} + ({lower} >> 32) > 2147483647 THEN {SUM_MAX} \
         ELSE (({upper} + ({lower} >> 32)) << 32) | ({lower} & 4294967295) END, 0)"
    )
}

/// Adds to the sums of a row if it exists.
fn add(table: &str, key_columns: usize) -> String {
    let places = vec!["?"; key_columns + SUMS.len()].join(", ");
    // Never exceeds the bound on the way: SQLite would continue with floats.
    let sets = SUMS.map(|sum| format!("{sum} = {sum} + min(excluded.{sum}, {SUM_MAX} - {sum})"));
    format!(
        "INSERT INTO {table} VALUES ({places}) ON CONFLICT DO UPDATE SET {}",
        sets.join(", ")
    )
}

pub(crate) static ADD_HOUR: LazyLock<String> = LazyLock::new(|| add("usage_hourly", 4));

pub(crate) static ADD_DAY: LazyLock<String> = LazyLock::new(|| add("usage_daily", 3));
