//! `auditlite erase`.

use std::io::Write;

use auditlite::{EraseReport, EraseSelector, ReadError, RemovalError};

use crate::cli::Outcome;
use crate::cli::support::database::DatabaseArgs;
use crate::cli::support::error::CliError;
use crate::cli::support::removing::{self, ConfirmingArgs, Removed};
use crate::cli::support::resolve::{self, Meant};
use crate::cli::support::writing::WritingArgs;
use crate::cli::support::{format, output, time};

const AFTER_HELP: &str = "\
Examples:
  auditlite erase --user u-17 --reason 'request of 2026-11-20' --dry-run
  auditlite erase --user u-17 --reason 'request of 2026-11-20'
  auditlite erase --conversation c-42 --user u-17 --reason 'request of 2026-11-20' --yes
  auditlite erase --request 0199f0a2-6c1e-7cc1-b2f0-6a1a1c9f2a55 --reason 'wrong tenant'

Nobody may be recording to the file; a gateway that is, erases by its own store.
It goes by the tables, and then looks through the log for requests that these do not say; --dry-run
does not.
Exit status: 0 erased, and no byte of it is left; 1 nothing matches, several requests have the id of
--request, not all of it can be read or is in the tables, or it could not be anchored; 2 error, not
confirmed, or a reader kept what was erased from being overwritten (erase again).";

/// Erase content and personal metadata of requests
///
/// Removes their bodies, salts, users, sessions, conversations, attributes and error messages; no byte
/// of them is left in the file. Ids, times, models, tokens and cost stay, and so do the hashes of their
/// lines in the log, so that it still verifies. It cannot be undone.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    selector: Selector,

    /// Why. Kept in the log, so it must not repeat what is erased
    #[arg(long, value_name = "TEXT")]
    reason: String,

    #[command(flatten)]
    writing: WritingArgs,

    #[command(flatten)]
    confirming: ConfirmingArgs,

    /// One JSON object; docs/cli.md describes the fields
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
struct Selector {
    /// This request: its id, `#` and its opened_seq, `last`, or a unique part of its id (not with --yes).
    /// Where several match, nothing is erased, and they are named
    #[arg(long, value_name = "ID", conflicts_with_all = ["user", "conversation"])]
    request: Option<String>,

    /// Every request of this user; with --conversation, and empty: of requests without a user
    #[arg(long, value_name = "ID")]
    user: Option<String>,

    /// Every request of this conversation: conversation id, else context id, else session id. Where
    /// several users have one of this id, --user says whose
    #[arg(long, value_name = "ID")]
    conversation: Option<String>,
}

impl Selector {
    /// What to erase. `None`: several requests may be meant, and were listed.
    fn selector(
        &self,
        database: &DatabaseArgs,
        confirming: &ConfirmingArgs,
    ) -> Result<Option<EraseSelector>, CliError> {
        if let Some(id) = &self.request {
            return one_request(id, database, confirming);
        }
        let selector = match (self.user.clone(), self.conversation.clone()) {
            (Some(user_id), Some(conversation_id)) => Some(EraseSelector::UserConversation {
                user_id,
                conversation_id,
            }),
            (None, Some(conversation)) => Some(EraseSelector::Conversation(conversation)),
            (user, None) => user.map(EraseSelector::User),
        };
        match selector {
            None => Err(CliError::Message(
                "give --request, --user or --conversation: what to erase".to_owned(),
            )),
            selector => Ok(selector),
        }
    }
}

/// The request of `--request`. A part of an id may name another request tomorrow: so the whole id is printed
/// before the question, and with `--yes` only a whole id is accepted.
fn one_request(
    id: &str,
    database: &DatabaseArgs,
    confirming: &ConfirmingArgs,
) -> Result<Option<EraseSelector>, CliError> {
    let request = match resolve::resolve_to_remove(&database.open()?.reader(), id)? {
        Meant::Whole(id) => return Ok(Some(EraseSelector::Request(id))),
        Meant::Several => return Ok(None),
        Meant::Part(request) => request,
    };
    let number = format!("#{}", request.opened_seq);
    let what = format!(
        "{id:?} is {number}, {}, opened {}",
        request.request_id,
        time::seconds(request.opened_at)
    );
    if confirming.is_confirmed() {
        return Err(CliError::Message(format!(
            "{what}; with --yes give the whole id, or '{number}'"
        )));
    }
    output::say(&what);
    Ok(Some(EraseSelector::Request(number)))
}

/// Runs the command. Whatever could not be erased is reported and makes it exit with findings; content that is
/// still in the bytes of the file is an error, since a caller may rely on it being gone.
pub(crate) fn run(
    args: &Args,
    database: &DatabaseArgs,
    out: &mut dyn Write,
) -> Result<Outcome, CliError> {
    let Some(selector) = args.selector.selector(database, &args.confirming)? else {
        return Ok(Outcome::Findings);
    };
    let is_dry_run = args.confirming.is_dry_run();
    let removed = removing::report(
        database,
        &args.writing,
        &args.confirming,
        |reading| reading.preview_erase(&selector),
        |report| format!("erase {}", words(report)),
        |store| store.erase(&selector, &args.reason),
    );
    let Removed {
        report,
        is_anchored,
    } = match removed {
        Err(
            CliError::Read(ReadError::Ambiguous { what, .. })
            | CliError::Removal(RemovalError::Read(ReadError::Ambiguous { what, .. })),
        ) => {
            resolve::list_shared(&database.open()?.reader(), &what)?;
            return Ok(Outcome::Findings);
        }
        removed => removed?,
    };
    let is_left = !is_dry_run && !report.is_fully_erased;
    let is_in_vain = report.requests == 0 && report.unreadable == 0 && report.unlisted == 0;
    if args.json {
        output::json_line(
            out,
            &Json {
                dry_run: is_dry_run,
                report,
            },
        )?;
    } else {
        let verb = if is_dry_run { "would erase" } else { "erased" };
        writeln!(out, "{verb} {}", words(&report))?;
    }
    if is_in_vain && !is_dry_run && !is_left {
        // An earlier run may have been held up by a reader. Its requests no longer match their user, but this
        // run has overwritten what was left of them.
        output::say("nothing matches, and nothing of what was erased before is left");
    }
    removing::say_lost(report.not_repacked);
    if report.unreadable > 0 {
        say_unreadable(&report, is_dry_run);
    }
    if report.unlisted > 0 {
        say_unlisted(&report);
    }
    let is_short =
        report.unreadable > 0 || report.unlisted > 0 || report.not_repacked > 0 || !is_anchored;
    if is_left {
        return Err(removing::still_there("erased", "erase"));
    }
    Ok(if report.requests == 0 || is_short {
        Outcome::Findings
    } else {
        Outcome::Fine
    })
}

/// Says what of unreadable requests stays, and how to erase it.
fn say_unreadable(report: &EraseReport, is_dry_run: bool) {
    let matching = format::counted(
        report.unreadable,
        "request that matches",
        "requests that match",
    );
    let (verb, goes) = match is_dry_run {
        true => ("would not be", "goes"),
        false => ("is not", "went"),
    };
    output::say(&format!(
        "{matching} {verb} erased whole. Where a part of the log cannot be read, content, row and words in \
             the index {goes}, and the lines in that part stay, with who it was; `auditlite verify` names it: \
             keep the file from others, or bring the part back from a backup and erase each by its number \
             (--request '#N'). Where a row cannot be read, all of it stays; `auditlite doctor --rebuild` \
             writes the tables again from the log: erase again then"
    ));
}

/// Says that the log has matching requests that the tables do not show.
fn say_unlisted(report: &EraseReport) {
    output::say(&format!(
        "the log has {} that the tables do not say: another program changed them; `auditlite doctor --rebuild` \
             writes the tables again from the log: erase again then",
        format::counted(
            report.unlisted,
            "more request that matches",
            "more requests that match"
        )
    ));
}

fn words(report: &EraseReport) -> String {
    format!(
        "{}, {} ({})",
        format::counted(report.requests, "request", "requests"),
        format::counted(report.payloads, "body", "bodies"),
        format::bytes(report.payload_bytes),
    )
}

#[derive(serde::Serialize)]
struct Json {
    dry_run: bool,
    #[serde(flatten)]
    report: EraseReport,
}
