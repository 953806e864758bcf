//! `auditlite conversation`.

use std::io::Write;

use auditlite::{Conversation, ConversationOptions, ReadError, Reader, RequestRecord};
use clap::builder::NonEmptyStringValueParser;

use super::show::page::Page;
use crate::cli::Outcome;
use crate::cli::support::database::DatabaseArgs;
use crate::cli::support::error::CliError;
use crate::cli::support::filter::cursor;
use crate::cli::support::json::ConversationJson;
use crate::cli::support::style::Style;
use crate::cli::support::text::escape;
use crate::cli::support::{format, marks, output, resolve, time};

/// Requests that are read at once. Bounds the memory.
const PAGE_REQUESTS: u64 = 1_000;

const AFTER_HELP: &str = "\
Examples:
  auditlite conversation c-42
  auditlite conversation c-42 --user u-17     where several users have one of this id
  auditlite conversation 0199f0a2-6c1e        the conversation of this request
  auditlite conversation c-42 -n 0 --full | less
  auditlite conversation c-42 --json | jq -r '.messages[] | .role + \": \" + .text'

A conversation is one user's. Of more than 1,000 requests each 1,000 are a part of their own, with --json
a line of its own; the history that a part repeats is not shown again.
Exit status: 0 the conversation was shown, 1 there is none or a choice must be made, or what a
body of it said is damaged or could not be compared with the log.";

/// Show a conversation, each message once
///
/// Every request sends the history again. Here each message appears once, where it was first sent,
/// with the requests that repeated it.
#[derive(Debug, clap::Args)]
#[command(after_help = format!("{}\n\n{AFTER_HELP}", marks::LEGEND))]
pub(crate) struct Args {
    /// The conversation's id, or what names one of its requests: an id or a unique part of it, `#` and its
    /// opened_seq, or `last`
    #[arg(value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    id: String,
    /// Whose conversation; an empty one: of requests without a user
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// At most this many requests; 0: all
    #[arg(
        short = 'n',
        long = "limit",
        value_name = "COUNT",
        default_value_t = PAGE_REQUESTS
    )]
    limit: u64,
    /// Opened after this request (named as in `show`): to continue where an earlier page ended
    #[arg(long, value_name = "ID")]
    after: Option<String>,
    /// Fold nothing
    #[arg(long)]
    full: bool,
    /// One JSON object; docs/cli.md describes the fields
    #[arg(long, conflicts_with = "full")]
    json: bool,
}

/// The conversation to show: named by its id, or by one of its requests.
enum Shown {
    Named(String),
    Of(Box<RequestRecord>),
}

impl Shown {
    fn page(
        &self,
        reader: &Reader,
        options: &ConversationOptions,
    ) -> Result<Conversation, ReadError> {
        match self {
            Self::Named(id) => reader.conversation(id, options),
            Self::Of(request) => reader.conversation_of(request, options),
        }
    }
}

/// Runs the command: prints page after page, so that memory stays bounded. The argument is tried as the id of a
/// conversation first; if there is none, it may name a request, whose conversation is then shown.
pub(crate) fn run(
    args: &Args,
    database: &DatabaseArgs,
    out: &mut dyn Write,
) -> Result<Outcome, CliError> {
    let reader = database.open()?.reader();
    let mut options = ConversationOptions::default();
    options.user_id.clone_from(&args.user);
    let after = args.after.as_deref().map(|id| cursor(&reader, id));
    options.cursor = after.transpose()?;
    let mut left = match args.limit {
        0 => u64::MAX,
        limit => limit,
    };
    let mut shown = Shown::Named(args.id.clone());
    let (mut shown_requests, mut shown_messages) = (0_u64, 0_u64);
    let (mut damaged, mut unchecked, mut left_out) = (0_u64, 0_u64, 0_u64);
    loop {
        options.limit = usize::try_from(left.min(PAGE_REQUESTS)).unwrap_or(usize::MAX);
        let page = match shown.page(&reader, &options) {
            Ok(page) => page,
            Err(ReadError::NotFound(_)) if options.cursor.is_some() => {
                output::say("the conversation has no request after that one");
                return Ok(Outcome::Findings);
            }
            // With --user, an id that is no conversation of that user is not looked up as a request.
            Err(ReadError::NotFound(_)) if args.user.is_some() => {
                output::say(&format!("the user has no conversation {:?}", args.id));
                return Ok(Outcome::Findings);
            }
            Err(ReadError::NotFound(_)) => match resolve::resolve_else(
                &reader,
                &args.id,
                "the conversation, the trace or the session",
            )? {
                Some(request) => {
                    shown = Shown::Of(Box::new(request));
                    continue;
                }
                None => return Ok(Outcome::Findings),
            },
            Err(ReadError::AmbiguousConversation {
                users, has_more, ..
            }) => {
                resolve::ask_whose(&args.id, &users, has_more);
                return Ok(Outcome::Findings);
            }
            Err(error) => return Err(error.into()),
        };
        if args.json {
            output::json_line(out, &ConversationJson(&page))?;
        } else {
            if shown_requests > 0 {
                writeln!(out)?;
            }
            write(&page, shown_messages, args.full, out)?;
        }
        let requests = count(page.requests.len());
        left = left.saturating_sub(requests);
        shown_requests = shown_requests.saturating_add(requests);
        shown_messages = shown_messages.saturating_add(count(page.messages.len()));
        damaged = damaged.saturating_add(page.damaged);
        unchecked = unchecked.saturating_add(page.unchecked);
        left_out = left_out.saturating_add(page.left_out);
        match page.next {
            None => break,
            Some(next) if left == 0 => {
                let requests = format::counted(shown_requests, "request is", "requests are");
                output::say(&format!(
                    "{requests} shown; continue with --after '#{next}'"
                ));
                break;
            }
            next => options.cursor = next,
        }
    }
    Ok(outcome(left_out, unchecked, damaged))
}

/// Reports what is not shown: messages beyond the bounds, unchecked content, and damage.
fn outcome(left_out: u64, unchecked: u64, damaged: u64) -> Outcome {
    if left_out > 0 {
        let messages = format::counted(left_out, "message is", "messages are");
        output::say(&format!(
            "{messages} left out, the oldest of a request with more than 16,384 messages or 64 MiB of \
             text; `auditlite payload` writes the body"
        ));
    }
    let is_unchecked = output::say_unchecked(unchecked);
    if damaged > 0 {
        let damaged = format::counted(damaged, "request", "requests");
        output::say(&format!(
            "what {damaged} said is missing, because a body is damaged; `auditlite verify` says more"
        ));
        return Outcome::Findings;
    }
    match is_unchecked {
        true => Outcome::Findings,
        false => Outcome::Fine,
    }
}

/// Writes one page: a heading with sums over its requests, then its messages, numbered across pages.
fn write(
    conversation: &Conversation,
    messages_before: u64,
    is_full: bool,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let requests = &conversation.requests;
    let name = requests.iter().find_map(RequestRecord::conversation);
    let mut page = Page { out, is_full };
    page.line("conversation", name.unwrap_or(format::ABSENT))?;
    let user = requests
        .iter()
        .find_map(|request| request.user_id.as_deref());
    page.optional("user", user)?;
    page.line("requests", &format::count(count(requests.len())))?;
    if let (Some(first), Some(last)) = (requests.first(), requests.last()) {
        page.line("from", &time::seconds(first.opened_at))?;
        page.line("to", &time::seconds(last.opened_at))?;
    }
    page.optional(
        "tokens in",
        marks::tokens_of(requests, |request| request.input_tokens),
    )?;
    page.optional(
        "tokens out",
        marks::tokens_of(requests, |request| request.output_tokens),
    )?;
    page.optional("cost", marks::cost_of(requests))?;
    for (index, message) in (messages_before.saturating_add(1)..).zip(&conversation.messages) {
        let carriers = carriers(requests, message);
        page.message(&format!("{index}. "), &message.message, &carriers, None)?;
    }
    Ok(())
}

/// `in 3 requests, ID to ID`.
fn carriers(requests: &[RequestRecord], message: &auditlite::ConversationMessage) -> String {
    let id = |index: usize| {
        let reference = requests.get(index).map(RequestRecord::reference);
        escape(reference.as_deref().unwrap_or(format::ABSENT)).into_owned()
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
