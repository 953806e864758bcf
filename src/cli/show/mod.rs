//! `auditlite show`.

mod page;

use std::io::Write;

use auditlite::{Message, PayloadSide, ReadError, ReadOnlyStore, Reader, RequestRecord};
use clap::builder::NonEmptyStringValueParser;

use super::database::DatabaseArgs;
use super::error::CliError;
use super::json::Details;
use super::{Outcome, output, resolve};

const AFTER_HELP: &str = "\
Examples:
  auditlite show 0199f0a2-6c1e
  auditlite show 0199f0a2-6c1e --no-body
  auditlite show 0199f0a2-6c1e --full | less
  auditlite show 4bf92f3577b34da6a3ce929d0e0e4736      by trace
  auditlite show 0199f0a2-6c1e --json | jq '.tool_calls[].tool_name'

Where several requests match, they are listed on standard error and none is shown.
Exit status: 0 the request was shown, 1 there is none or a choice must be made.";

/// Show everything known about one request
///
/// Long texts are folded. Bodies are indented if they are JSON; `auditlite payload` writes their
/// exact bytes. Characters that would steer the terminal are printed as \u{…}.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The request: its id, a unique beginning of it, its trace or its session
    #[arg(value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    id: String,
    /// Fold nothing
    #[arg(long)]
    full: bool,
    /// Leave the two bodies out
    #[arg(long)]
    no_body: bool,
    /// One JSON object, without the bodies; docs/cli.md describes the fields
    #[arg(long, conflicts_with = "full")]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(
    args: &Args,
    database: &DatabaseArgs,
    out: &mut dyn Write,
) -> Result<Outcome, CliError> {
    let store = ReadOnlyStore::open(database.resolve()?.path)?;
    let reader = store.reader();
    let Some(request) = resolve::resolve(&reader, &args.id)? else {
        return Ok(Outcome::Findings);
    };
    let details = details(&reader, request)?;
    if args.json {
        output::json_line(out, &details)?;
        return Ok(Outcome::Fine);
    }
    let mut page = page::Page {
        out,
        is_full: args.full,
    };
    page.details(&details)?;
    if args.no_body {
        return Ok(Outcome::Fine);
    }
    for side in [PayloadSide::Request, PayloadSide::Response] {
        match reader.payload(&details.record, side) {
            Ok(payload) => page.body(side, &payload)?,
            // The page's heading part has said so.
            Err(ReadError::NoBody { .. } | ReadError::NotKept { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Outcome::Fine)
}

fn details(reader: &Reader, record: RequestRecord) -> Result<Details, CliError> {
    Ok(Details {
        request: reader.body_info(&record, PayloadSide::Request)?,
        response: reader.body_info(&record, PayloadSide::Response)?,
        tool_calls: reader.tool_calls(&record)?,
        messages: reader
            .messages(&record)?
            .iter()
            .map(Message::from)
            .collect(),
        assistant_text: reader.assistant_text(&record)?,
        record,
    })
}
