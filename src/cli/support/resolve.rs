//! Finds the request that an argument names.

use auditlite::{ListOptions, ReadError, Reader, RequestFilter, RequestRecord, UnreadableRequest};

use super::error::CliError;
use super::text::escape;
use super::{format, output, time};

/// Candidates that are listed.
const CANDIDATES_MAX: usize = 20;

/// Names the newest request.
const LAST: &str = "last";
/// Marks a whole id: nothing else is tried.
const EXACT: char = '=';

/// The request that an argument names: `#` and its number, `last` (the newest), `=` and its whole id, its id, or
/// anything that only one request has: the beginning of its id, its trace, its session, any part of its id.
/// `None`: there is none, or several match; a message on standard error says which.
///
/// # Errors
///
/// The database cannot be read.
pub(crate) fn resolve(reader: &Reader, id: &str) -> Result<Option<RequestRecord>, CliError> {
    resolve_else(reader, id, "the trace or the session")
}

/// As [`resolve`]. `others` names what else the caller has searched, for the message.
///
/// # Errors
///
/// The database cannot be read.
pub(crate) fn resolve_else(
    reader: &Reader,
    id: &str,
    others: &str,
) -> Result<Option<RequestRecord>, CliError> {
    let mut candidates = candidates(reader, id)?;
    match (candidates.pop(), candidates.is_empty()) {
        (None, _) => {
            output::say(&nothing(id, others));
            Ok(None)
        }
        (Some(only), true) => Ok(Some(only)),
        (Some(last), false) => {
            candidates.push(last);
            ask_to_choose(id, &candidates);
            Ok(None)
        }
    }
}

fn nothing(id: &str, others: &str) -> String {
    const LIST: &str = "`auditlite list` shows what there is";
    match (id, id.strip_prefix(EXACT)) {
        (LAST, _) => "there is no request yet".to_owned(),
        (_, Some(exact)) => format!("no request has the whole id {exact:?}; {LIST}"),
        (_, None) => format!("no request has the id, a part of the id, {others} {id:?}; {LIST}"),
    }
}

/// What an argument names, for a removal.
pub(crate) enum Meant {
    /// A number or a whole id, as the library takes it, whether or not the tables have it.
    Whole(String),
    /// Something that only this request has now.
    Part(Box<RequestRecord>),
    /// Several requests, which were named.
    Several,
}

/// As [`resolve`], for commands that cannot be undone: distinguishes whole ids from parts of ids.
///
/// # Errors
///
/// The database cannot be read.
pub(crate) fn resolve_to_remove(reader: &Reader, id: &str) -> Result<Meant, CliError> {
    let exact = id.strip_prefix(EXACT);
    let is_known = id != LAST
        && exact.is_none()
        && (id.starts_with('#') || !listed(reader, &with_id(id), 1)?.is_empty());
    if is_known {
        return Ok(Meant::Whole(id.to_owned()));
    }
    let mut candidates = candidates(reader, id)?;
    match (candidates.pop(), candidates.is_empty(), exact) {
        (None, _, exact) => Ok(Meant::Whole(exact.unwrap_or(id).to_owned())),
        (Some(only), true, Some(_)) => Ok(Meant::Whole(format!("#{}", only.opened_seq))),
        (Some(only), true, None) => Ok(Meant::Part(Box::new(only))),
        (Some(last), false, _) => {
            candidates.push(last);
            ask_to_choose(id, &candidates);
            Ok(Meant::Several)
        }
    }
}

/// The requests that match; at most one more than are listed.
fn candidates(reader: &Reader, id: &str) -> Result<Vec<RequestRecord>, CliError> {
    let limit = CANDIDATES_MAX.saturating_add(1);
    match (id, id.strip_prefix(EXACT)) {
        (LAST, _) => listed(reader, &RequestFilter::default(), 1),
        (_, Some(exact)) => listed(reader, &with_id(exact), limit),
        (_, None) => Ok(reader.find(id, limit)?),
    }
}

fn with_id(id: &str) -> RequestFilter {
    RequestFilter::new().request_id(id.to_owned())
}

/// The newest that match, one of which may be the one that is meant: a row that cannot be read is an error.
fn listed(
    reader: &Reader,
    filter: &RequestFilter,
    limit: usize,
) -> Result<Vec<RequestRecord>, CliError> {
    let page = reader.list(filter, &ListOptions::new().limit(limit))?;
    match page.unreadable.into_iter().next() {
        Some(UnreadableRequest {
            opened_seq, what, ..
        }) => Err(ReadError::DamagedRow { opened_seq, what }.into()),
        None => Ok(page.requests),
    }
}

/// Names the requests that share this id.
///
/// # Errors
///
/// The database cannot be read.
pub(crate) fn list_shared(reader: &Reader, id: &str) -> Result<(), CliError> {
    let id = id.strip_prefix(EXACT).unwrap_or(id);
    let limit = CANDIDATES_MAX.saturating_add(1);
    let shared = reader.list(&with_id(id), &ListOptions::new().limit(limit))?;
    ask_to_choose(id, &shared.requests);
    Ok(())
}

/// Lists the candidates. What they have in common decides the advice: requests with the same id can only be chosen
/// by their numbers.
fn ask_to_choose(id: &str, candidates: &[RequestRecord]) {
    let id = id.strip_prefix(EXACT).unwrap_or(id);
    let all = |matches: fn(&RequestRecord) -> Option<&str>| {
        candidates
            .iter()
            .all(|request| matches(request) == Some(id))
    };
    let is_same_id = candidates
        .windows(2)
        .all(|pair| matches!(pair, [one, other] if one.request_id == other.request_id));
    let (what, choice) = if is_same_id {
        ("is the id of several requests", "choose one by its number")
    } else if all(|request| request.trace_id.as_deref()) {
        (
            "is the trace of several requests",
            "choose one by its id or number",
        )
    } else if all(|request| request.session_id.as_deref()) {
        (
            "is the session of several requests",
            "choose one by its id or number",
        )
    } else {
        (
            "matches several requests",
            "give more of the id, or the number",
        )
    };
    output::say(&format!("{id:?} {what}; {choice}:"));
    for request in candidates.iter().take(CANDIDATES_MAX) {
        output::say_raw(&format!(
            "  {}  {:<11}  {:<8}  {}  {}",
            time::seconds(request.opened_at),
            request.status,
            format!("#{}", request.opened_seq),
            escape(&request.request_id),
            escape(request.model().unwrap_or(format::ABSENT)),
        ));
    }
    if candidates.len() > CANDIDATES_MAX {
        let more = match is_same_id {
            true => "  … and more; `auditlite list --request ID` lists them all",
            false => "  … and more",
        };
        output::say_raw(more);
    }
}

/// Lists the users who have a conversation with this id.
pub(crate) fn ask_whose(id: &str, users: &[String], has_more: bool) {
    output::say(&format!(
        "{id:?} is a conversation of several users; choose one with --user:"
    ));
    for user in users {
        match user.as_str() {
            "" => output::say_raw("  ''  (requests without a user)"),
            user => output::say_raw(&format!("  {}", escape(user))),
        }
    }
    if has_more {
        output::say_raw("  … and more");
    }
}
