//! `auditlite tail`.

use std::io::Write;
use std::time::{Duration, Instant};

use auditlite::{Follower, ListOptions, OpenError, ReadError, RequestFilter, RequestRecord};

use super::list::List;
use crate::cli::Outcome;
use crate::cli::support::database::DatabaseArgs;
use crate::cli::support::error::CliError;
use crate::cli::support::filter::FilterArgs;
use crate::cli::support::output;

/// How often the file is polled.
const INTERVAL: Duration = Duration::from_millis(250);
/// How long the file may be unreadable: it may be being replaced, or the disk may have a short failure.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most requests that are printed before following.
const BEGINNING_MAX: u64 = 10_000;

const AFTER_HELP: &str = "\
Examples:
  auditlite tail
  auditlite tail --status failed -n 0
  auditlite tail --json | jq -r .response_model

Runs until it is interrupted, or its output is closed.";

/// Print requests as they end
///
/// Begins with the last ones. A request is printed once, when it has ended. If another file takes the
/// database's place, a note says so, and that file is followed.
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
    let store = database.open()?;
    let reader = store.reader();
    let filter = args.filter.filter(&reader)?;
    let last_seq = reader.last_seq()?;
    let mut beginning = beginning(args, &reader, &filter, last_seq)?;
    beginning.reverse();
    let mut list = List::new(args.filter.is_of_failures());
    write(args, &beginning, &mut list, out)?;
    if store.copied_bytes().is_some() {
        output::say("a copy does not change: nothing to follow");
        return Ok(Outcome::Fine);
    }
    let mut follower = reader.follow(&filter, last_seq);
    let mut failing_since = None;
    loop {
        let ended = match follower.poll() {
            Ok(ended) => ended,
            Err(error) => {
                wait_again(&mut failing_since, error)?;
                continue;
            }
        };
        failing_since = None;
        say_replacement(&mut follower, database)?;
        output::say_unreadable(&follower.take_unreadable());
        write(args, &ended, &mut list, out)?;
        std::thread::sleep(INTERVAL);
    }
}

/// Waits for the next poll, unless polls have failed for too long.
fn wait_again(failing_since: &mut Option<Instant>, error: ReadError) -> Result<(), CliError> {
    if failing_since.get_or_insert_with(Instant::now).elapsed() >= PATIENCE {
        return Err(error.into());
    }
    std::thread::sleep(INTERVAL);
    Ok(())
}

/// Reports that another file is followed from now on. An error if `--log` demands another log.
fn say_replacement(follower: &mut Follower, database: &DatabaseArgs) -> Result<(), CliError> {
    let Some(found) = follower.take_replacement() else {
        return Ok(());
    };
    let path = database.resolve()?.path;
    match database.log() {
        Some(expected) if expected != found => Err(OpenError::OtherLog {
            path,
            expected: expected.to_owned(),
            found: Some(found),
        }
        .into()),
        _ => {
            output::say(&format!(
                "note: another file is at {path:?} now, with the log {found}; following that one"
            ));
            Ok(())
        }
    }
}

/// The last ones that had ended by this event, newest first. Those that had not come when they end.
fn beginning(
    args: &Args,
    reader: &auditlite::Reader,
    filter: &RequestFilter,
    last_seq: Option<u64>,
) -> Result<Vec<RequestRecord>, CliError> {
    let count = usize::try_from(args.limit.min(BEGINNING_MAX)).unwrap_or(usize::MAX);
    if count == 0 {
        return Ok(Vec::new());
    }
    let before = last_seq.map(|last| last.saturating_add(1));
    let page = reader.list(filter, &ListOptions::new().cursor(before).limit(count))?;
    output::say_unreadable(&page.unreadable);
    let mut requests = page.requests;
    requests.retain(|request| {
        request
            .ended_seq
            .is_some_and(|ended| Some(ended) <= last_seq)
    });
    Ok(requests)
}

fn write(
    args: &Args,
    requests: &[RequestRecord],
    list: &mut List,
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
        list.write(requests, out)?;
        list.say_left_out();
    }
    out.flush()?;
    Ok(())
}
