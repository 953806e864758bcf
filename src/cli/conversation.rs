//! `auditlite conversation`.

use std::io::Write;

use auditlite::{Conversation, ReadError, RequestRecord};
use clap::builder::NonEmptyStringValueParser;

use super::database::DatabaseArgs;
use super::error::CliError;
use super::json::ConversationJson;
use super::show::page::Page;
use super::style::Style;
use super::text::escape;
use super::{Outcome, format, output, resolve, time};

const AFTER_HELP: &str = "\
Examples:
  auditlite conversation c-42
  auditlite conversation 0199f0a2-6c1e        the conversation of this request
  auditlite conversation c-42 --full | less
  auditlite conversation c-42 --json | jq -r '.messages[] | .role + \": \" + .text'

Exit status: 0 the conversation was shown, 1 there is none or a choice must be made, or what a
body of it said is damaged.";

/// Show a conversation, each message once
///
/// Every request sends the history again; here each message stands where it first appeared, with
/// the requests that carried it.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The conversation's id, or that of one of its requests, or a unique beginning of that one
    #[arg(value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    id: String,
    /// Fold nothing
    #[arg(long)]
    full: bool,
    /// One JSON object; docs/cli.md describes the fields
    #[arg(long, conflicts_with = "full")]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(
    args: &Args,
    database: &DatabaseArgs,
    out: &mut dyn Write,
) -> Result<Outcome, CliError> {
    let reader = database.open()?.reader();
    let conversation = match reader.conversation(&args.id) {
        Ok(conversation) => conversation,
        Err(ReadError::NotFound(_)) => match resolve::resolve(&reader, &args.id)? {
            Some(request) => reader.conversation_of(&request)?,
            None => return Ok(Outcome::Findings),
        },
        Err(error) => return Err(error.into()),
    };
    if args.json {
        output::json_line(out, &ConversationJson(&conversation))?;
    } else {
        write(&conversation, args.full, out)?;
    }
    if conversation.is_cut {
        output::say(
            "only the beginning is shown: a conversation is read up to 1,000 requests and 64 MiB",
        );
    }
    if conversation.damaged > 0 {
        let damaged = format::counted(conversation.damaged, "request", "requests");
        output::say(&format!(
            "what {damaged} said is missing, for a body is damaged; `auditlite verify` says more"
        ));
        return Ok(Outcome::Findings);
    }
    Ok(Outcome::Fine)
}

fn write(conversation: &Conversation, is_full: bool, out: &mut dyn Write) -> Result<(), CliError> {
    let requests = &conversation.requests;
    let name = requests.iter().find_map(RequestRecord::conversation);
    let mut page = Page { out, is_full };
    page.line("conversation", name.unwrap_or(format::ABSENT))?;
    page.line("requests", &format::count(count(requests.len())))?;
    if let (Some(first), Some(last)) = (requests.first(), requests.last()) {
        page.line("from", &time::seconds(first.opened_at))?;
        page.line("to", &time::seconds(last.opened_at))?;
    }
    let sum = |of: fn(&RequestRecord) -> Option<u64>| {
        let known: Vec<u64> = requests.iter().filter_map(of).collect();
        let sum = known
            .iter()
            .fold(0_u64, |sum, next| sum.saturating_add(*next));
        (!known.is_empty()).then_some(sum)
    };
    page.optional(
        "tokens in",
        sum(|request| request.input_tokens).map(format::count),
    )?;
    page.optional(
        "tokens out",
        sum(|request| request.output_tokens).map(format::count),
    )?;
    page.optional(
        "cost",
        sum(|request| request.cost_microdollars).map(format::cost),
    )?;
    for (index, message) in (1_u64..).zip(&conversation.messages) {
        let carriers = carriers(requests, message);
        page.message(&format!("{index}. "), &message.message, &carriers, None)?;
    }
    Ok(())
}

/// `in 3 requests, ID to ID`.
fn carriers(requests: &[RequestRecord], message: &auditlite::ConversationMessage) -> String {
    let id = |index: usize| {
        let id = requests
            .get(index)
            .map(|request| request.request_id.as_str());
        escape(id.unwrap_or(format::ABSENT)).into_owned()
    };
    let verb = if message.is_reply {
        "reply of"
    } else {
        "sent by"
    };
    let words = match message.requests.saturating_sub(1) {
        0 => format!("{verb} {}", id(message.first)),
        more => format!(
            "{verb} {}, and in {} up to {}",
            id(message.first),
            format::counted(count(more), "more", "more"),
            id(message.last)
        ),
    };
    Style::Quiet.paint(&words)
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
