//! `auditlite payload`.

use std::io::Write;

use auditlite::{Payload, PayloadSide, ReadError};
use clap::ValueEnum;
use clap::builder::NonEmptyStringValueParser;

use crate::cli::Outcome;
use crate::cli::support::database::DatabaseArgs;
use crate::cli::support::error::CliError;
use crate::cli::support::{output, resolve, text};

const AFTER_HELP: &str = "\
Examples:
  auditlite payload 0199f0a2-6c1e request > request.json
  auditlite payload 0199f0a2-6c1e response | jq .usage
  auditlite payload 0199f0a2-6c1e request | sha256sum    the digest that `show` prints

Exit status: 0 the body was written, 1 there is no such request or its body is not kept, or it was
written and could not be compared with the log.";

/// Write the exact bytes of a request's or response's body to standard output
///
/// Nothing is added, not even a line break at the end. Only the beginning and the end of a body above the
/// store's payload cap are kept: they are written one after the other, and a warning says how many bytes
/// are missing between them. For a request that has not ended, the part of a long response that is already
/// stored is written, with a warning.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The request: its id or a unique part of it, `#` and its opened_seq, `last`, its trace or its session
    #[arg(value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    id: String,
    /// Which of its bodies
    #[arg(value_name = "SIDE")]
    side: Side,
    /// Write to a terminal even what is not plain text
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Side {
    /// What the client sent
    Request,
    /// What the client got
    Response,
}

impl From<Side> for PayloadSide {
    fn from(side: Side) -> Self {
        match side {
            Side::Request => Self::Request,
            Side::Response => Self::Response,
        }
    }
}

/// Runs the command. A body that was never kept is a finding; one that a terminal would act on is refused there.
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
    let side = PayloadSide::from(args.side);
    // A request that has not ended has no response yet, but pieces of a long one may be stored: better than
    // nothing, and never taken for the response.
    let mut is_seen_only = false;
    let payload = match reader.payload(&request, side) {
        Ok(payload) => payload,
        Err(error @ ReadError::NoBody { .. }) if side == PayloadSide::Response => {
            let Some(payload) = reader.response_so_far(&request)? else {
                output::say(&error.to_string());
                return Ok(Outcome::Findings);
            };
            is_seen_only = true;
            output::say(&format!(
                "warning: request {:?} has not ended; this is what was written of its response so far, \
                 and no event commits to it yet",
                request.request_id
            ));
            payload
        }
        Err(error @ (ReadError::NotKept { .. } | ReadError::NoBody { .. })) => {
            output::say(&error.to_string());
            return Ok(Outcome::Findings);
        }
        Err(error) => return Err(error.into()),
    };
    if is_refused(&payload.bytes, output::is_terminal(), args.force) {
        return Err(CliError::Message(format!(
            "the {side} body is not plain text: a terminal would interpret parts of it, or not show \
             them; redirect it to a file (`> FILE`), or use --force"
        )));
    }
    if let Some(warning) = truncation(&payload) {
        output::say(&format!("warning: the {side} body is not whole: {warning}"));
    }
    out.write_all(&payload.bytes)?;
    if is_seen_only || !payload.is_unchecked {
        return Ok(Outcome::Fine);
    }
    output::say(&format!(
        "the {side} body could not be checked: the log cannot be read where it says what was recorded, so \
         that it may be anything; keep the file, `auditlite verify` says more"
    ));
    Ok(Outcome::Findings)
}

fn is_refused(bytes: &[u8], is_terminal: bool, is_forced: bool) -> bool {
    is_terminal && !is_forced && !text::is_plain_text(bytes)
}

/// What is missing of a body, and where; `None` if it is whole.
pub(crate) fn truncation(payload: &Payload) -> Option<String> {
    let head = payload.head?;
    Some(format!(
        "{} of its {} bytes are missing after the first {head}",
        payload.dropped(),
        payload.length
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_terminal_is_protected_from_bytes() {
        assert!(is_refused(b"\x00\xff", true, false));
        assert!(is_refused(b"\x1b[2J", true, false));
        assert!(!is_refused(b"\x00\xff", true, true));
        assert!(!is_refused(b"\x00\xff", false, false));
        assert!(!is_refused(b"{\"a\":1}\n", true, false));
    }
}
