//! `auditlite tail`.

use std::io::Write;
use std::time::Duration;

use auditlite::{RequestFilter, RequestRecord};

use super::database::DatabaseArgs;
use super::error::CliError;
use super::filter::FilterArgs;
use super::{Outcome, list, output};

/// How often the file is looked at.
const INTERVAL: Duration = Duration::from_millis(250);
/// Most requests that are printed before following.
const BEGINNING_MAX: u64 = 10_000;

const AFTER_HELP: &str = "\
Examples:
  auditlite tail
  auditlite tail --status failed -n 0
  auditlite tail --json | jq -r .response_model

Goes on until it is interrupted, or nobody reads its output any more.";

/// Print requests as they end
///
/// Begins with the last ones. A request is printed once, when it has ended.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Begin with the last so many, at most 10,000; 0: none
    #[arg(
        short = 'n',
        long = "limit",
        value_name = "COUNT",
        default_value_t = 20
    )]
    limit: u64,
    /// One JSON object per line and request, with the fields of `list --json`
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
    let reader = database.open()?.reader();
    let filter = args.filter.filter(&reader)?;
    let newest = reader.list(&RequestFilter::default(), None, 1)?;
    let newest = newest.requests.first().map(|newest| newest.opened_seq);
    let mut beginning = beginning(args, &reader, &filter, newest)?;
    beginning.reverse();
    write(args, &beginning, true, out)?;
    let mut is_first = beginning.is_empty();
    let mut follower = reader.follow(&filter, newest);
    loop {
        let ended = follower.poll()?;
        output::say_unreadable(&follower.take_unreadable());
        write(args, &ended, is_first, out)?;
        is_first &= ended.is_empty();
        std::thread::sleep(INTERVAL);
    }
}

/// The last ones, newest first.
fn beginning(
    args: &Args,
    reader: &auditlite::Reader,
    filter: &RequestFilter,
    newest: Option<u64>,
) -> Result<Vec<RequestRecord>, CliError> {
    let count = usize::try_from(args.limit.min(BEGINNING_MAX)).unwrap_or(usize::MAX);
    if count == 0 {
        return Ok(Vec::new());
    }
    let before = newest.map(|newest| newest.saturating_add(1));
    let page = reader.list(filter, before, count)?;
    output::say_unreadable(&page.unreadable);
    Ok(page.requests)
}

fn write(
    args: &Args,
    requests: &[RequestRecord],
    is_first: bool,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    if requests.is_empty() {
        return Ok(());
    }
    if args.json {
        for request in requests {
            output::json_line(out, request)?;
        }
    } else {
        list::write_table(requests, is_first, out)?;
    }
    out.flush()?;
    Ok(())
}
