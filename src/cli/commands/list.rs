//! `auditlite list`.

use std::collections::HashMap;
use std::io::Write;

use auditlite::{Page, Reader, RequestFilter, RequestOrder, RequestRecord, Status};
use clap::builder::PossibleValuesParser;

use crate::cli::Outcome;
use crate::cli::support::database::DatabaseArgs;
use crate::cli::support::error::CliError;
use crate::cli::support::filter::{FilterArgs, LimitArgs};
use crate::cli::support::format::{self, or_absent};
use crate::cli::support::table::{Align, LeftOut, Table};
use crate::cli::support::text::{escape, shorten};
use crate::cli::support::{output, time};

/// Requests that are read at once. Also the most that one table aligns: a longer list is aligned
/// part by part, so that memory stays bounded.
const PAGE_REQUESTS: u64 = 2_000;
/// Most requests of a sorted list.
const SORTED_MAX: usize = 10_000;
/// Shortest prefix of an id that is printed: the time part of a UUIDv7.
const ID_CHARACTERS_MIN: usize = 13;
/// Columns that a narrow terminal has no room for, the least important first.
const EXPENDABLE: [&str; 9] = [
    "response",
    "request",
    "provider",
    "user",
    "latency",
    "cost",
    "out",
    "tokens in",
    "model",
];
/// Longest name that a cell shows.
const NAME_CHARACTERS_MAX: usize = 40;

const AFTER_HELP: &str = "\
Examples:
  auditlite list
  auditlite list --status failed --since 2h
  auditlite list --since 2026-11-01 --until 2026-11-02 --model 'gpt-4o*' -n 0
  auditlite list --user u-17 --json | jq .cost_microdollars
  auditlite list --tool 'web_*' --attr team=search --min-cost 0.10
  auditlite list --sort latency --since 1d -n 10

To go on where a list ended, pass the opened_seq of its last line (see --json) to --before.
Exit status: 0 requests were listed, 1 there are none, or some cannot be read.";

/// List requests, newest first
///
/// The id is shortened as far as it stays unique in the list; `auditlite show` takes it like that. Of
/// requests that share an id there stands `#` and the number of the event that opened each.
/// A cost of `-` means that the model's price was not known, not that it cost nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    limit: LimitArgs,
    /// Only requests opened before the one with this opened_seq
    #[arg(long, value_name = "CURSOR")]
    before: Option<u64>,
    /// Those that have most of this, most first, instead of the newest
    #[arg(
        long,
        value_name = "BY",
        conflicts_with = "before",
        value_parser = PossibleValuesParser::new(RequestOrder::ALL.map(RequestOrder::name))
    )]
    sort: Option<String>,
    /// One JSON object per line and request; docs/cli.md describes the fields
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    filter: FilterArgs,
}

/// Runs the command.
pub(crate) fn run(
    args: &Args,
    database: &DatabaseArgs,
    out: &mut dyn Write,
) -> Result<Outcome, CliError> {
    let store = database.open()?;
    let reader = store.reader();
    let filter = args.filter.filter(&reader)?;
    let order = args.sort.as_deref().and_then(RequestOrder::from_name);
    let mut unreadable = Vec::new();
    let mut has_pending = false;
    let mut left_out = LeftOut::default();
    let is_empty = match order {
        Some(order) => {
            let page = top(&reader, &filter, order, args.limit.count())?;
            write(args, &page.requests, true, &mut left_out, out)?;
            has_pending = has_pending_of(&page.requests);
            unreadable = page.unreadable;
            page.requests.is_empty()
        }
        None => {
            let mut pages = Pages {
                reader,
                filter,
                before: args.before,
                left: args.limit.count(),
            };
            let mut is_first = true;
            while let Some(page) = pages.next()? {
                write(args, &page.requests, is_first, &mut left_out, out)?;
                has_pending |= has_pending_of(&page.requests);
                is_first &= page.requests.is_empty();
                unreadable.extend(page.unreadable);
            }
            is_first
        }
    };
    left_out.say();
    if has_pending {
        output::say_left_open(&store);
    }
    if output::say_unreadable(&unreadable) {
        return Ok(Outcome::Findings);
    }
    if is_empty {
        output::say("no request matches");
        return Ok(Outcome::Findings);
    }
    Ok(Outcome::Fine)
}

fn write(
    args: &Args,
    requests: &[RequestRecord],
    is_first: bool,
    left_out: &mut LeftOut,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    if !args.json && !requests.is_empty() {
        write_table(requests, is_first, left_out, out)?;
    } else {
        for request in requests {
            output::json_line(out, request)?;
        }
    }
    Ok(())
}

fn has_pending_of(requests: &[RequestRecord]) -> bool {
    let is_pending = |request: &RequestRecord| request.status == Status::Pending;
    requests.iter().any(is_pending)
}

/// A sorted list is read at once: it has a bound.
fn top(
    reader: &Reader,
    filter: &RequestFilter,
    order: RequestOrder,
    limit: u64,
) -> Result<Page, CliError> {
    match usize::try_from(limit) {
        Ok(limit @ 0..=SORTED_MAX) => Ok(reader.top(filter, order, limit)?),
        _ => Err(CliError::Message(format!(
            "--sort takes -n from 1 to {SORTED_MAX}"
        ))),
    }
}

/// Goes through a list page by page with the keyset cursor.
struct Pages {
    reader: Reader,
    filter: RequestFilter,
    before: Option<u64>,
    left: u64,
}

impl Pages {
    /// The next page; `None` after the last one. A page is never empty.
    fn next(&mut self) -> Result<Option<Page>, CliError> {
        let count = usize::try_from(self.left.min(PAGE_REQUESTS)).unwrap_or(usize::MAX);
        if count == 0 {
            return Ok(None);
        }
        let page = self.reader.list(&self.filter, self.before, count)?;
        let got = page.requests.len().saturating_add(page.unreadable.len());
        let got = u64::try_from(got).unwrap_or(u64::MAX);
        self.left = match page.next {
            Some(_) => self.left.saturating_sub(got),
            None => 0,
        };
        self.before = page.next;
        Ok((got > 0).then_some(page))
    }
}

pub(crate) fn write_table(
    requests: &[RequestRecord],
    has_header: bool,
    left_out: &mut LeftOut,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    use Align::{Left, Right};
    let columns = [
        ("time (UTC)", Left),
        ("status", Left),
        ("provider", Left),
        ("model", Left),
        ("tokens in", Right),
        ("out", Right),
        ("cost", Right),
        ("latency", Right),
        ("request", Right),
        ("response", Right),
        ("user", Left),
        ("id", Left),
    ];
    let ids = unique_prefixes(requests.iter().map(|request| request.request_id.as_str()));
    let mut table = Table::new(&columns, has_header);
    for request in requests {
        let id = request.request_id.as_str();
        table.row(vec![
            time::seconds(request.opened_at),
            request.status.to_string(),
            name(request.provider()),
            name(request.model()),
            or_absent(request.input_tokens, format::count),
            or_absent(request.output_tokens, format::count),
            or_absent(request.cost_microdollars, format::cost),
            or_absent(request.latency_us, format::latency),
            format::bytes(request.request_bytes),
            or_absent(request.response_bytes, format::bytes),
            name(request.user_id.as_deref()),
            // Whatever stands here can be given to any command.
            match request.reference() {
                number if number != id => number,
                _ => escape(ids.get(id).copied().unwrap_or(id)).into_owned(),
            },
        ]);
    }
    table.write_narrowed(&EXPENDABLE, left_out, out)
}

fn name(name: Option<&str>) -> String {
    or_absent(name, |name| {
        shorten(&escape(name), NAME_CHARACTERS_MAX).into_owned()
    })
}

/// For each id the shortest beginning, of at least [`ID_CHARACTERS_MIN`] characters, that no other
/// of the ids begins with.
fn unique_prefixes<'a>(ids: impl Iterator<Item = &'a str>) -> HashMap<&'a str, &'a str> {
    let mut sorted: Vec<&str> = ids.collect();
    sorted.sort_unstable();
    sorted.dedup();
    // In sorted order, what an id shares with any other it also shares with a neighbour.
    let shared = |index: Option<usize>, id: &str| {
        index
            .and_then(|index| sorted.get(index))
            .map_or(0, |other| shared_characters(id, other))
    };
    let prefix = |(index, id): (usize, &&'a str)| {
        let before = shared(index.checked_sub(1), id);
        let after = shared(index.checked_add(1), id);
        let characters = before.max(after).saturating_add(1).max(ID_CHARACTERS_MIN);
        let end = id
            .char_indices()
            .nth(characters)
            .map_or(id.len(), |(at, _)| at);
        (*id, id.split_at(end).0)
    };
    sorted.iter().enumerate().map(prefix).collect()
}

fn shared_characters(one: &str, other: &str) -> usize {
    let same = one.chars().zip(other.chars()).take_while(|(a, b)| a == b);
    same.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_shortened_as_far_as_they_stay_unique() {
        let ids = [
            "0199f0a2-6c1e-7abc-8000-000000000001",
            "0199f0a2-6c1e-7abd-8000-000000000002",
            "0199f0a3-0000-7abc-8000-000000000003",
            "short",
            "shorter-than-nothing",
            "日本語日本語日本語日本語日本語",
        ];
        let prefixes = unique_prefixes(ids.into_iter().chain(["short"]));
        let words = ids.map(|id| prefixes[id]);
        assert_eq!(
            words,
            [
                "0199f0a2-6c1e-7abc",
                "0199f0a2-6c1e-7abd",
                "0199f0a3-0000",
                "short",
                "shorter-than-",
                "日本語日本語日本語日本語日",
            ]
        );
    }
}
