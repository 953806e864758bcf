//! `auditlite stats`.

use std::io::Write;

use auditlite::{ReadOnlyStore, StatsKey, StatsRow};
use clap::ValueEnum;

use super::database::DatabaseArgs;
use super::error::CliError;
use super::filter::StatsFilterArgs;
use super::format::{self, ABSENT};
use super::json::StatsJson;
use super::table::{Align, Table};
use super::text::{escape, shorten};
use super::{Outcome, output, time};

/// Longest name that a cell shows.
const NAME_CHARACTERS_MAX: usize = 40;

const AFTER_HELP: &str = "\
Examples:
  auditlite stats
  auditlite stats --by day,model --since 7d
  auditlite stats --by user --provider openai --json

Counts come from an hourly summary: --since and --until are widened to whole hours, and a request
counts once it has ended.
Exit status: 0 there are requests, 1 there are none.";

/// Count requests, tokens, cost and latency
///
/// One line for each combination of what --by names, and a line of totals.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// What to group by, separated by commas; without it, everything is one line
    #[arg(long, value_name = "KEYS", value_delimiter = ',')]
    by: Vec<Key>,
    #[command(flatten)]
    filter: StatsFilterArgs,
    /// One JSON object per line and row, without totals; docs/cli.md describes the fields
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Key {
    /// The hour (UTC) in which a request was opened
    Hour,
    /// The day (UTC) in which a request was opened
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
    let mut filter = args.filter.filter()?;
    filter.group_by = keys.iter().copied().map(StatsKey::from).collect();
    let store = ReadOnlyStore::open(database.resolve()?.path)?;
    let mut rows = store.reader().stats(&filter)?;
    // A stable order is part of the contract.
    rows.sort_by(|one, other| order(one).cmp(&order(other)));
    if rows.iter().all(|row| row.requests == 0) {
        output::say("no ended request matches");
        return Ok(Outcome::Findings);
    }
    if args.json {
        for row in &rows {
            output::json_line(out, &StatsJson(row))?;
        }
        return Ok(Outcome::Fine);
    }
    write_table(&keys, &rows, out)?;
    Ok(Outcome::Fine)
}

type Order<'a> = (Option<i64>, [Option<&'a str>; 3]);

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

fn write_table(keys: &[Key], rows: &[StatsRow], out: &mut dyn Write) -> Result<(), CliError> {
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
        ("latency (mean)", Right),
    ]);
    let mut table = Table::new(&columns, true);
    for row in rows {
        let mut cells: Vec<String> = keys.iter().map(|key| group(*key, row)).collect();
        cells.extend(figures(row));
        table.row(cells);
    }
    let totals = totals(rows);
    if !keys.is_empty() {
        let mut cells = vec![String::new(); keys.len()];
        if let Some(first) = cells.first_mut() {
            "total".clone_into(first);
        }
        cells.extend(figures(&totals));
        table.row(cells);
    }
    table.write(out)?;
    if totals.unpriced > 0 {
        output::say(&format!(
            "note: a cost of - or with a + leaves out {} with tokens but without a known price",
            format::counted(totals.unpriced, "request", "requests")
        ));
    }
    Ok(())
}

fn heading(key: Key) -> &'static str {
    match key {
        Key::Hour => "hour (UTC)",
        Key::Day => "day (UTC)",
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
        format::count(row.input_tokens),
        format::count(row.cache_read_input_tokens),
        format::count(row.output_tokens),
        cost(row),
        format::or_absent(mean, format::latency),
    ]
}

/// Never a silent zero: what is not known, or only in part, shows.
fn cost(row: &StatsRow) -> String {
    match (row.cost_microdollars, row.unpriced) {
        (known, 0) => format::cost(known),
        (0, _) => ABSENT.to_owned(),
        (known, _) => format!("{}+", format::cost(known)),
    }
}

fn totals(rows: &[StatsRow]) -> StatsRow {
    let mut totals = StatsRow::default();
    macro_rules! add {
        ($row:ident: $($field:ident),*) => {
            $( totals.$field = totals.$field.saturating_add($row.$field); )*
        };
    }
    for row in rows {
        add!(row: requests, completed, failed, rejected, abandoned, interrupted, input_tokens,
            output_tokens, cache_read_input_tokens, cost_microdollars, unpriced, latency_us_sum,
            latency_count);
    }
    totals
}
