//! `auditlite stats`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::Write;

use auditlite::{StatsKey, StatsRow, Timestamp};
use clap::ValueEnum;

use crate::cli::Outcome;
use crate::cli::support::database::DatabaseArgs;
use crate::cli::support::error::CliError;
use crate::cli::support::filter::FilterArgs;
use crate::cli::support::format::{self, ABSENT};
use crate::cli::support::json::StatsJson;
use crate::cli::support::layout::{Layout, Step};
use crate::cli::support::marks;
use crate::cli::support::table::{Align, Table};
use crate::cli::support::text::{escape, shorten};
use crate::cli::support::{output, time};

/// Longest name that a cell shows.
const NAME_CHARACTERS_MAX: usize = 40;

const AFTER_HELP: &str = "\
Examples:
  auditlite stats
  auditlite stats --by day,model --since 7d
  auditlite stats --by user --provider openai --json

A request counts once it has ended. Counts by time, provider, model and user come from an hourly
summary: --since and --until are widened to whole hours, --provider is the one that served, and
--model the one that served or used tokens of a request of another model. By model, a request counts
for the model that served, and tokens for the model that used them. Any other condition has the
requests themselves read, with the conditions of `list`. Latencies are means.
Exit status: 0 there are requests, 1 there are none.";

/// Count requests, tokens, cost and latency
///
/// One line for each combination of the groups in --by, and a line of totals.
#[derive(Debug, clap::Args)]
#[command(after_help = format!("{}\n\n{AFTER_HELP}", marks::LEGEND))]
pub(crate) struct Args {
    /// What to group by, separated by commas; without it, everything is one line
    #[arg(long, value_name = "KEYS", value_delimiter = ',')]
    by: Vec<Key>,
    /// One JSON object per line and row, without totals; docs/cli.md describes the fields
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    filter: FilterArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Key {
    /// The hour in which a request was opened
    Hour,
    /// The day in which a request was opened
    Day,
    /// The provider that served
    Provider,
    /// The model that served
    Model,
    /// The user
    User,
}

impl From<Key> for StatsKey {
    fn from(key: Key) -> Self {
        match key {
            Key::Hour => Self::Hour,
            Key::Day => Self::Day,
            Key::Provider => Self::Provider,
            Key::Model => Self::Model,
            Key::User => Self::User,
        }
    }
}

/// Runs the command.
pub(crate) fn run(
    args: &Args,
    database: &DatabaseArgs,
    out: &mut dyn Write,
) -> Result<Outcome, CliError> {
    let keys = keys(&args.by)?;
    let is_by_local_day = time::is_local() && keys.contains(&Key::Day);
    let key = |key: &Key| match (is_by_local_day, key) {
        // Which hours a day has depends on the zone.
        (true, Key::Day) => StatsKey::Hour,
        (_, key) => StatsKey::from(*key),
    };
    let group_by: Vec<StatsKey> = keys.iter().map(key).collect();
    let summary = args.filter.summary_filter()?;
    let is_of_all_models = summary.as_ref().is_none_or(|filter| filter.model.is_none());
    let reader = database.open()?.reader();
    let mut rows = match summary {
        Some(filter) => reader.stats(&filter.group_by(group_by))?,
        None => reader.stats_of(&args.filter.filter(&reader)?, &group_by)?,
    };
    if is_by_local_day {
        rows = by_local_day(rows);
    }
    // A stable order is part of the contract.
    rows.sort_by(|one, other| order(one).cmp(&order(other)));
    if rows
        .iter()
        .all(|row| row.requests == 0 && row.credited_requests == 0)
    {
        output::say("no ended request matches");
        return Ok(Outcome::Findings);
    }
    if args.json {
        for row in &rows {
            output::json_line(out, &StatsJson(row))?;
        }
        return Ok(Outcome::Fine);
    }
    write_table(&keys, &rows, is_of_all_models, out)?;
    Ok(Outcome::Fine)
}

/// What is left out on a narrow terminal, in this order. The groups, the requests and their cost stay.
const STEPS: [Step; 21] = [
    Step::Drop("requests (bar)"),
    Step::Drop("cost (bar)"),
    Step::Cut("model", 28),
    Step::Cut("user", 20),
    Step::Cut("provider", 16),
    // The others say how many these are.
    Step::Drop("completed"),
    Step::Drop("latency"),
    Step::Drop("other"),
    Step::Cut("model", 20),
    Step::Cut("user", 14),
    Step::Cut("provider", 12),
    Step::Cut("model", 14),
    Step::Drop("cached"),
    Step::Drop("out"),
    Step::Cut("model", 12),
    Step::Cut("user", 10),
    Step::Drop("tokens in"),
    Step::Drop("failed"),
    Step::Cut("model", 6),
    Step::Cut("user", 6),
    Step::Cut("provider", 6),
];

/// How long the longest bar is, in characters.
const BAR_CHARACTERS: u64 = 24;

/// Bars that show each row's share: of the cost, or of the requests where no cost is known.
struct Bars {
    most: u64,
    is_cost: bool,
}

impl Bars {
    /// `None`: there is nothing to compare.
    fn new(rows: &[StatsRow]) -> Option<Self> {
        let is_cost = rows.iter().any(|row| row.cost_microdollars > 0);
        let mut bars = Self { most: 0, is_cost };
        bars.most = rows.iter().map(|row| bars.value(row)).max()?;
        (rows.len() > 1 && bars.most > 0).then_some(bars)
    }

    fn heading(&self) -> &'static str {
        if self.is_cost {
            "cost (bar)"
        } else {
            "requests (bar)"
        }
    }

    fn value(&self, row: &StatsRow) -> u64 {
        if self.is_cost {
            row.cost_microdollars
        } else {
            row.requests
        }
    }

    /// In eighths of a character, rounded up, so that the smallest share is visible.
    fn bar(&self, row: &StatsRow) -> String {
        const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
        let eighths = u128::from(self.value(row))
            .saturating_mul(u128::from(BAR_CHARACTERS) * 8)
            .div_ceil(u128::from(self.most.max(1)));
        let whole = usize::try_from(eighths / 8).unwrap_or(0);
        let part = usize::try_from(eighths % 8).unwrap_or(0);
        format!("{}{}", "█".repeat(whole), PARTS.get(part).unwrap_or(&""))
    }
}

type Order<'a> = (Option<Timestamp>, [Option<&'a str>; 3]);

fn order(row: &StatsRow) -> Order<'_> {
    let names = [&row.provider_name, &row.model, &row.user_id];
    (row.time, names.map(Option::as_deref))
}

/// The keys, each once. A row has one time only, so it is either the hour's or the day's.
fn keys(by: &[Key]) -> Result<Vec<Key>, CliError> {
    let mut keys: Vec<Key> = Vec::new();
    for key in by {
        if !keys.contains(key) {
            keys.push(*key);
        }
    }
    if keys.contains(&Key::Hour) && keys.contains(&Key::Day) {
        return Err(CliError::Message(
            "--by takes hour or day, not both; an hour says its day".to_owned(),
        ));
    }
    Ok(keys)
}

/// Writes the table with a line of totals. Sums that lack values are marked in the table and explained below it, so
/// that no total is taken for more than it is.
///
/// Over all models, what one is credited with counts to the total once already, with the requests.
fn write_table(
    keys: &[Key],
    rows: &[StatsRow],
    is_of_all_models: bool,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    use Align::{Left, Right};
    let mut columns: Vec<(&str, Align)> = keys.iter().map(|key| (heading(*key), Left)).collect();
    columns.extend([
        ("requests", Right),
        ("completed", Right),
        ("failed", Right),
        ("other", Right),
        ("tokens in", Right),
        ("cached", Right),
        ("out", Right),
        ("cost", Right),
        ("latency", Right),
    ]);
    let bars = Bars::new(rows).filter(|_| !keys.is_empty() && output::is_terminal());
    if let Some(bars) = &bars {
        columns.push((bars.heading(), Left));
    }
    let mut table = Table::new(&columns, true);
    for row in rows {
        let mut cells: Vec<String> = keys.iter().map(|key| group(*key, row)).collect();
        cells.extend(figures(row));
        cells.extend(bars.as_ref().map(|bars| bars.bar(row)));
        table.row(cells);
    }
    let mut totals = totals(rows);
    let is_shared_out = keys.contains(&Key::Model) && totals.credited_requests > 0;
    if is_of_all_models {
        totals.credited_requests = 0;
        totals.credited_partial_usage = 0;
        totals.credited_told_usage = 0;
        totals.credited_unpriced = 0;
    }
    if !keys.is_empty() {
        let mut cells = vec![String::new(); keys.len()];
        if let Some(first) = cells.first_mut() {
            "total".clone_into(first);
        }
        cells.extend(figures(&totals));
        cells.extend(bars.as_ref().map(|_| String::new()));
        table.row(cells);
    }
    let mut layout = Layout::default();
    table.write(&STEPS, &mut layout, out)?;
    layout.say();
    // Notes are about the whole table: behind it, where both go to one place.
    out.flush()?;
    notes(&totals);
    if is_shared_out {
        output::say(
            "note: some requests used tokens of several models: they count once, for the model that served, and their \
             tokens for the models that used them",
        );
    }
    Ok(())
}

/// Says what the marks of the totals are about.
fn notes(totals: &StatsRow) {
    let requests = |count| format::counted(count, "request", "requests");
    for (count, what) in [
        (
            totals.without_usage,
            "of which no usage is known, because the provider gave none, or its body was left out or could not be \
             read: tokens and costs lack theirs",
        ),
        (
            totals.partial_usage,
            "whose response broke off: their tokens are at least what was counted by then",
        ),
        (
            totals.unpriced,
            "with tokens and without a known price: costs lack theirs",
        ),
        (
            totals.incomplete_cost,
            "of which something has no price: costs lack that",
        ),
    ] {
        if count > 0 {
            output::say(&format!("note: {} {what}", requests(count)));
        }
    }
}

fn heading(key: Key) -> &'static str {
    match key {
        Key::Hour => time::heading("hour (UTC)", "hour (local)"),
        Key::Day => time::heading("day (UTC)", "day (local)"),
        Key::Provider => "provider",
        Key::Model => "model",
        Key::User => "user",
    }
}

fn group(key: Key, row: &StatsRow) -> String {
    let name = match key {
        Key::Hour | Key::Day => {
            return format::or_absent(row.time, |at| time::bucket(at, key == Key::Hour));
        }
        Key::Provider => &row.provider_name,
        Key::Model => &row.model,
        Key::User => &row.user_id,
    };
    // Empty where the requests had none.
    let name = name.as_deref().filter(|name| !name.is_empty());
    shorten(&escape(name.unwrap_or(ABSENT)), NAME_CHARACTERS_MAX).into_owned()
}

fn figures(row: &StatsRow) -> [String; 9] {
    let other = row
        .rejected
        .saturating_add(row.abandoned)
        .saturating_add(row.interrupted);
    let mean = row.latency_us_sum.checked_div(row.latency_count);
    [
        format::count(row.requests),
        format::count(row.completed),
        format::count(row.failed),
        format::count(other),
        marks::tokens_sum(row.input_tokens, row),
        marks::tokens_sum(row.cache_read_input_tokens, row),
        marks::tokens_sum(row.output_tokens, row),
        marks::cost_sum(row),
        format::or_absent(mean, format::latency),
    ]
}

fn totals(rows: &[StatsRow]) -> StatsRow {
    let mut totals = StatsRow::default();
    for row in rows {
        add(&mut totals, row);
    }
    totals
}

/// Adds the sums of a group to those of another one.
fn add(sums: &mut StatsRow, row: &StatsRow) {
    macro_rules! add {
        ($($field:ident),*) => {
            $( sums.$field = sums.$field.saturating_add(row.$field); )*
        };
    }
    add!(
        requests,
        completed,
        failed,
        rejected,
        abandoned,
        interrupted,
        input_tokens,
        output_tokens,
        cache_read_input_tokens,
        cache_write_input_tokens,
        reasoning_output_tokens,
        without_usage,
        cost_microdollars,
        unpriced,
        latency_us_sum,
        latency_count,
        partial_usage,
        told_usage,
        partial_cost,
        told_cost,
        incomplete_cost,
        credited_requests,
        credited_partial_usage,
        credited_told_usage,
        credited_unpriced
    );
}

/// Turns groups by hour into groups by day of this machine's time zone. If its days do not begin with an hour of
/// UTC, an hour counts for the day in which it begins, and a note says so.
fn by_local_day(rows: Vec<StatsRow>) -> Vec<StatsRow> {
    let mut days: BTreeMap<_, StatsRow> = BTreeMap::new();
    let mut is_whole = true;
    for mut row in rows {
        if let Some(at) = &mut row.time {
            let (day, is_whole_hours) = time::day_of(*at);
            *at = day;
            is_whole &= is_whole_hours;
        }
        let names = [&row.provider_name, &row.model, &row.user_id].map(Clone::clone);
        match days.entry((row.time, names)) {
            Entry::Vacant(day) => {
                day.insert(row);
            }
            Entry::Occupied(mut day) => add(day.get_mut(), &row),
        }
    }
    if !is_whole {
        output::say(
            "note: the days of this time zone do not begin with an hour of UTC, by which requests are \
             counted: an hour counts to the day in which it begins",
        );
    }
    days.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_show_shares_and_hide_nothing() {
        let row = |requests, cost_microdollars| {
            let mut row = StatsRow::default();
            (row.requests, row.cost_microdollars) = (requests, cost_microdollars);
            row
        };
        let rows = [row(5, 1_000_000), row(50, 500_000), row(1, 1), row(9, 0)];
        let bars = Bars::new(&rows).unwrap();
        let lengths = rows.each_ref().map(|row| bars.bar(row).chars().count());
        assert_eq!(bars.heading(), "cost (bar)");
        assert_eq!(lengths, [24, 12, 1, 0]);
        let bars = Bars::new(&[row(1, 0), row(4, 0)]).unwrap();
        assert_eq!(
            (bars.heading(), bars.bar(&row(1, 0)).as_str()),
            ("requests (bar)", "██████")
        );
        assert!(Bars::new(&[row(1, 1)]).is_none());
    }
}
