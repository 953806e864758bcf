//! `auditlite list`.

use std::collections::HashMap;
use std::io::Write;

use auditlite::{ListOptions, Page, Reader, RequestFilter, RequestOrder, RequestRecord, Status};
use clap::builder::PossibleValuesParser;

use crate::cli::Outcome;
use crate::cli::support::database::DatabaseArgs;
use crate::cli::support::error::CliError;
use crate::cli::support::filter::{FilterArgs, LimitArgs};
use crate::cli::support::format::{self, or_absent};
use crate::cli::support::layout::{Layout, Step};
use crate::cli::support::style::Style;
use crate::cli::support::table::{Align, Table};
use crate::cli::support::text::{escape, shorten};
use crate::cli::support::width::width;
use crate::cli::support::{marks, output, time};

/// Requests that are read at once. Also the most that one table aligns: a longer list is aligned
/// part by part, so that memory stays bounded.
const PAGE_REQUESTS: u64 = 2_000;
/// Most requests of a sorted list.
const SORTED_MAX: u64 = 10_000;
/// The part of a terminal's width that an id may take; of a longer one its number is shown.
const ID_SHARE: usize = 5;
/// Shortest prefix of an id that is printed: the time part of a UUIDv7.
const ID_CHARACTERS_MIN: usize = 13;
/// What is left out on a narrow terminal, in this order. The id and the status stay.
const STEPS: [Step; 20] = [
    // `show` has the whole message.
    Step::Cut(ERROR, 60),
    Step::Cut("model", 28),
    Step::Cut("user", 20),
    Step::Cut("provider", 16),
    Step::Drop("response"),
    Step::Drop("request"),
    Step::Drop("provider"),
    Step::Cut("user", 12),
    Step::Cut("model", 20),
    Step::Drop("user"),
    Step::Drop("latency"),
    Step::Drop("out"),
    Step::Drop("tokens in"),
    Step::Drop("cost"),
    Step::Cut("model", 12),
    Step::Cut(ERROR, 32),
    Step::Drop("model"),
    Step::Cut(ERROR, 12),
    Step::Drop(TIME_UTC),
    Step::Drop(TIME_LOCAL),
];
const TIME_UTC: &str = "time (UTC)";
const TIME_LOCAL: &str = "time (local)";
/// The column that says why requests failed.
const ERROR: &str = "error";
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

To continue where a list ended, pass the opened_seq of its last line (see --json) to --before.
Exit status: 0 requests were listed, 1 there are none, or some cannot be read.";

/// List requests, newest first
///
/// Ids are shortened as long as they stay unique in the list; `auditlite show` accepts the short form. For
/// requests that share an id, and for ids that are too long for the terminal, `#` and the number of the
/// opening event is shown. If only failed requests can match (--status failed), the last column says why
/// they failed.
#[derive(Debug, clap::Args)]
#[command(after_help = format!("{}\n\n{AFTER_HELP}", marks::LEGEND))]
pub(crate) struct Args {
    #[command(flatten)]
    limit: LimitArgs,
    /// Only requests opened before the one with this opened_seq
    #[arg(long, value_name = "CURSOR")]
    before: Option<u64>,
    /// Sort by this: the oldest first, or the largest first, instead of the newest first
    #[arg(
        long,
        value_name = "BY",
        conflicts_with = "before",
        value_parser = PossibleValuesParser::new(RequestOrder::ALL.map(RequestOrder::as_str))
    )]
    sort: Option<String>,
    /// One JSON object per line and request; docs/cli.md describes the fields
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    filter: FilterArgs,
}

/// Runs the command. Newest first, it prints page by page with a cursor; sorted by another value, it reads one
/// bounded list.
pub(crate) fn run(
    args: &Args,
    database: &DatabaseArgs,
    out: &mut dyn Write,
) -> Result<Outcome, CliError> {
    let store = database.open()?;
    let reader = store.reader();
    let filter = args.filter.filter(&reader)?;
    let order = args.sort.as_deref().and_then(|name| name.parse().ok());
    let order: RequestOrder = order.unwrap_or_default();
    let left = args.limit.count();
    if !order.is_by_time() && left > SORTED_MAX {
        return Err(CliError::Message(format!(
            "--sort {} takes -n from 1 to {SORTED_MAX}",
            order.as_str()
        )));
    }
    let mut unreadable = Vec::new();
    let mut has_pending = false;
    let mut list = List::new(args.filter.is_of_failures());
    let mut is_empty = true;
    let mut pages = Pages {
        reader,
        filter,
        order,
        cursor: args.before,
        left,
    };
    while let Some(page) = pages.next()? {
        write(args, &page.requests, &mut list, out)?;
        has_pending |= has_pending_of(&page.requests);
        is_empty &= page.requests.is_empty();
        unreadable.extend(page.unreadable);
    }
    list.say_left_out();
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
    list: &mut List,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    if !args.json && !requests.is_empty() {
        list.write(requests, out)?;
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

/// Goes through a list page by page with the keyset cursor.
struct Pages {
    reader: Reader,
    filter: RequestFilter,
    order: RequestOrder,
    cursor: Option<u64>,
    left: u64,
}

impl Pages {
    /// The next page; `None` after the last one. A page is never empty.
    fn next(&mut self) -> Result<Option<Page>, CliError> {
        // A sorted list is read at once.
        let page_max = match self.order.is_by_time() {
            true => PAGE_REQUESTS,
            false => SORTED_MAX,
        };
        let count = usize::try_from(self.left.min(page_max)).unwrap_or(usize::MAX);
        if count == 0 {
            return Ok(None);
        }
        let options = ListOptions::new().order(self.order).limit(count);
        let page = self
            .reader
            .list(&self.filter, &options.cursor(self.cursor))?;
        let got = page.requests.len().saturating_add(page.unreadable.len());
        let got = u64::try_from(got).unwrap_or(u64::MAX);
        self.left = match page.next {
            Some(_) => self.left.saturating_sub(got),
            None => 0,
        };
        self.cursor = page.next;
        Ok((got > 0).then_some(page))
    }
}

/// A list of requests, part by part.
pub(crate) struct List {
    has_header: bool,
    has_errors: bool,
    layout: Layout,
}

impl List {
    /// `has_errors`: with a column that says why requests failed.
    pub(crate) fn new(has_errors: bool) -> Self {
        Self {
            has_header: true,
            has_errors,
            layout: Layout::default(),
        }
    }

    /// Writes the next part; the first one has the heading. All values are cells of all lists; the steps then decide
    /// which columns a narrow terminal shows.
    pub(crate) fn write(
        &mut self,
        requests: &[RequestRecord],
        out: &mut dyn Write,
    ) -> std::io::Result<()> {
        use Align::{Left, Right};
        let mut columns = vec![
            ("id", Left),
            (time::heading(TIME_UTC, TIME_LOCAL), Left),
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
        ];
        columns.extend(self.has_errors.then_some((ERROR, Left)));
        let ids = Ids::of(requests);
        let mut table = Table::new(&columns, std::mem::take(&mut self.has_header));
        for request in requests {
            let mut cells = vec![
                ids.cell(request),
                time::seconds(request.opened_at),
                request.status.to_string(),
                name(request.provider()),
                name(request.model()),
                marks::tokens(request.input_tokens, request),
                marks::tokens(request.output_tokens, request),
                marks::cost(request),
                or_absent(request.latency_us, format::latency),
                format::bytes(request.request_bytes),
                or_absent(request.response_bytes, format::bytes),
                name(request.user_id.as_deref()),
            ];
            cells.extend(self.has_errors.then(|| error(request)));
            let style = Style::of_status(request.status);
            table.styled_row(cells, (style == Style::Bad).then_some(style));
        }
        table.write(&STEPS, &mut self.layout, out)
    }

    /// Reports once which columns were left out, if any.
    pub(crate) fn say_left_out(&mut self) {
        self.layout.say();
    }
}

/// HTTP status, type and message, as far as they are there: `429 rate_limit: slow down`.
fn error(request: &RequestRecord) -> String {
    let status = request.http_status.map(|status| status.to_string());
    // An error without a type of its own has its status there.
    let kind = request.error_type.clone();
    let kind = kind.filter(|kind| Some(kind) != status.as_ref());
    let what: Vec<String> = status.into_iter().chain(kind).collect();
    let what = [Some(what.join(" ")), request.error_message.clone()];
    let what: Vec<String> = what
        .into_iter()
        .flatten()
        .filter(|text| !text.is_empty())
        .collect();
    match what.is_empty() {
        true => format::ABSENT.to_owned(),
        false => escape(&what.join(": ")).into_owned(),
    }
}

/// A name for each request of a list, short enough for the terminal. Commands accept each of them.
struct Ids<'r> {
    prefixes: HashMap<&'r str, &'r str>,
    columns_max: usize,
}

impl<'r> Ids<'r> {
    fn of(requests: &'r [RequestRecord]) -> Self {
        let ids = requests.iter().map(|request| request.request_id.as_str());
        let terminal = output::terminal_width().map(|columns| usize::from(columns) / ID_SHARE);
        Self {
            prefixes: unique_prefixes(ids),
            columns_max: terminal.map_or(usize::MAX, |columns| columns.max(ID_CHARACTERS_MIN)),
        }
    }

    fn cell(&self, request: &RequestRecord) -> String {
        let id = request.request_id.as_str();
        let number = || format!("#{}", request.opened_seq);
        match request.reference() {
            reference if reference != id => reference,
            _ => {
                let prefix = escape(self.prefixes.get(id).copied().unwrap_or(id));
                match width(&prefix) > self.columns_max {
                    true => number(),
                    false => prefix.into_owned(),
                }
            }
        }
    }
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
