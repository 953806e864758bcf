//! The recorded trail as a table.

use std::error::Error;
use std::io::{self, Write};

use auditlite::{ListOptions, Reader, RequestFilter, RequestRecord, Timestamp};

/// Most requests that the table shows.
const ROWS_MAX: usize = 100;
const HEADINGS: [&str; 10] = [
    "TIME (UTC)",
    "STATUS",
    "HTTP",
    "MODEL",
    "TOKENS IN",
    "OUT",
    "COST",
    "LATENCY",
    "BYTES",
    "ID",
];

/// Prints what was opened since this time, oldest first; returns the ids.
pub(crate) fn print(reader: &Reader, since: Timestamp) -> Result<Vec<String>, Box<dyn Error>> {
    let filter = RequestFilter::new().since(since);
    let page = reader.list(&filter, &ListOptions::new().limit(ROWS_MAX))?;

    let mut rows = vec![HEADINGS.map(str::to_owned)];
    rows.extend(page.requests.iter().rev().map(row));
    let mut widths = [0; HEADINGS.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut out = io::stdout().lock();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(&format!("{cell:width$}  "));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(page
        .requests
        .into_iter()
        .map(|record| record.request_id)
        .collect())
}

fn row(record: &RequestRecord) -> [String; HEADINGS.len()] {
    [
        time_of_day(record.opened_at),
        record.status.to_string(),
        optional(record.http_status),
        optional(record.model()),
        optional(record.input_tokens),
        optional(record.output_tokens),
        optional(record.cost_microdollars.map(dollars)),
        optional(
            record
                .latency_us
                .map(|us| format!("{}.{} ms", us / 1000, us % 1000 / 100)),
        ),
        format!(
            "{}/{}",
            record.request_bytes,
            record.response_bytes.unwrap_or(0)
        ),
        record.request_id.clone(),
    ]
}

fn optional(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn dollars(micros: u64) -> String {
    format!("${}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

/// `12:30:05.123`, UTC.
fn time_of_day(at: Timestamp) -> String {
    let text = at.to_string();
    text.get(11..23).unwrap_or(&text).to_owned()
}
