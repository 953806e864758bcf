//! `auditlite show`.

pub(crate) mod page;

use std::io::Write;

use auditlite::{
    BodyInfo, CanonicalMessage, PayloadSide, ReadError, Reader, RequestRecord, Status, Transcript,
};
use clap::builder::NonEmptyStringValueParser;

use crate::cli::Outcome;
use crate::cli::support::database::DatabaseArgs;
use crate::cli::support::error::CliError;
use crate::cli::support::json::Details;
use crate::cli::support::{output, resolve};

const AFTER_HELP: &str = "\
Examples:
  auditlite show 0199f0a2-6c1e
  auditlite show 0199f0a2-6c1e --no-body
  auditlite show 0199f0a2-6c1e --raw           the bodies instead of the messages in them
  auditlite show 0199f0a2-6c1e --full | less
  auditlite show 4bf92f3577b34da6a3ce929d0e0e4736      by trace
  auditlite show 0199f0a2-6c1e --json | jq '.tool_calls[].tool_name'

`=ID` is the request whose whole id this is, even if the id is `last`, `#5` or a part of another one.
Where several requests match, they are listed on standard error and none is shown.
Exit status: 0 the request was shown, 1 there is none, a choice must be made, or a body is damaged
or could not be compared with the log.";

/// Show everything known about one request
///
/// Messages are read from the bodies. A body without messages is shown itself, as with --raw, indented if
/// it is JSON. `auditlite payload` writes the exact bytes. A tool call is shown with the result that a
/// later request of the conversation sent. Long texts are folded. Characters that would control the
/// terminal are printed as \u{…}.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The request: its id or a unique part of it, `#` and its opened_seq, `last`, its trace or its session
    #[arg(value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    id: String,
    /// Fold nothing
    #[arg(long)]
    full: bool,
    /// Leave messages and bodies out
    #[arg(long)]
    no_body: bool,
    /// Show the bodies instead of the messages in them
    #[arg(long, conflicts_with = "no_body")]
    raw: bool,
    /// One JSON object, without the bodies; docs/cli.md describes the fields
    #[arg(long, conflicts_with = "full")]
    json: bool,
}

/// Runs the command: problems first, on standard error; then the page. A side whose body gave no messages is shown
/// as a body instead.
pub(crate) fn run(
    args: &Args,
    database: &DatabaseArgs,
    out: &mut dyn Write,
) -> Result<Outcome, CliError> {
    let store = database.open()?;
    let reader = store.reader();
    let Some(request) = resolve::resolve(&reader, &args.id)? else {
        return Ok(Outcome::Findings);
    };
    let details = details(&reader, request)?;
    let outcome = match details.damaged.is_empty() && details.unchecked.is_empty() {
        true => Outcome::Fine,
        false => Outcome::Findings,
    };
    if details.record.status == Status::Pending {
        output::say_left_open(&store);
    }
    for what in &details.damaged {
        output::say(&format!("damaged: {what}; `auditlite verify` says more"));
    }
    for seq in &details.unchecked {
        output::say(&format!(
            "the line of event {seq} in the log cannot be read: what is kept of it could not be checked and \
             may be anything, and whether more was recorded with it is not known; `auditlite verify` says \
             more"
        ));
    }
    if args.json {
        output::json_line(out, &details)?;
        return Ok(outcome);
    }
    let mut page = page::Page {
        out,
        is_full: args.full,
    };
    // A reply that is shown contains its calls: they are not listed twice.
    let said = details.transcript.replies.iter();
    let says_calls = said.flat_map(CanonicalMessage::tool_calls).next().is_some();
    page.details(&details, args.raw || args.no_body || !says_calls)?;
    if args.no_body {
        return Ok(outcome);
    }
    let Transcript {
        messages, replies, ..
    } = &details.transcript;
    if !args.raw {
        page.left_out(details.transcript.left_out)?;
        page.messages("messages", messages, &details)?;
        page.messages("reply", replies, &details)?;
    }
    let sides = [
        (PayloadSide::Request, messages.is_empty()),
        (PayloadSide::Response, replies.is_empty()),
    ];
    for (side, _) in sides
        .into_iter()
        .filter(|(_, is_unread)| *is_unread || args.raw)
    {
        match reader.payload(&details.record, side) {
            Ok(payload) => page.body(side, &payload)?,
            Err(ReadError::NoBody { .. }) if side == PayloadSide::Response => {
                if let Some(seen) = &details.response_so_far {
                    page.body(side, seen)?;
                }
            }
            // The page or a message above has said so.
            Err(ReadError::NoBody { .. } | ReadError::NotKept { .. } | ReadError::Damaged(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(outcome)
}

/// Reads everything about a request. Damage in one part must not hide the others, so it is collected. Results are
/// looked up for the calls of both sources, the tool calls of the record and those in the reply's body.
fn details(reader: &Reader, record: RequestRecord) -> Result<Details, CliError> {
    let mut problems = Problems::default();
    let price_book = problems.of(reader.price_book(&record))?;
    let request = problems.of(reader.body_info(&record, PayloadSide::Request))?;
    let response = problems.of(reader.body_info(&record, PayloadSide::Response))?;
    let response_so_far = problems.of(reader.response_so_far(&record))?;
    let tool_calls = problems.of(reader.tool_calls(&record))?;
    let transcript = problems.of(reader.transcript(&record))?;
    let Problems {
        mut damaged,
        mut unchecked,
    } = problems;
    damaged.dedup();
    unchecked.extend(&transcript.unchecked);
    let is_unchecked = |info: &Option<BodyInfo>| info.is_some_and(|info| info.is_unchecked);
    unchecked.extend(is_unchecked(&request).then_some(record.opened_seq));
    unchecked.extend(record.ended_seq.filter(|_| is_unchecked(&response)));
    unchecked.sort_unstable();
    unchecked.dedup();
    let said = transcript.replies.iter();
    let said = said.flat_map(CanonicalMessage::tool_calls);
    let mut ids: Vec<&str> = tool_calls
        .iter()
        .map(|call| call.tool_call_id.as_str())
        .chain(said.map(|call| call.tool_call_id.as_str()))
        .collect();
    ids.sort_unstable();
    ids.dedup();
    let results = reader.tool_results(&record, &ids)?;
    let links = reader.tool_links(&record)?;
    let tool_links = links
        .into_iter()
        .map(|link| (link.position, link))
        .collect();
    let tool_results = ids
        .into_iter()
        .zip(results)
        .filter_map(|(id, result)| Some((id.to_owned(), result?)))
        .collect();
    Ok(Details {
        price_book,
        request,
        response,
        response_so_far,
        tool_results,
        tool_links,
        tool_calls,
        transcript,
        damaged,
        unchecked,
        record,
    })
}

/// Problems with parts of the request: the other parts are still shown.
#[derive(Default)]
struct Problems {
    damaged: Vec<String>,
    unchecked: Vec<u64>,
}

impl Problems {
    /// The value that was read; its default if there was a problem, which is noted.
    fn of<T: Default>(&mut self, read: Result<T, ReadError>) -> Result<T, CliError> {
        match read {
            Err(ReadError::Damaged(what)) => self.damaged.push(what),
            Err(ReadError::Unchecked { seq }) => self.unchecked.push(seq),
            read => return Ok(read?),
        }
        Ok(T::default())
    }
}
