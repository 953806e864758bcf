//! From what was typed to one request.

use auditlite::{ReadError, Reader, RequestFilter, RequestRecord};

use super::error::CliError;
use super::text::escape;
use super::{format, output, time};

/// Candidates that are listed.
const CANDIDATES_MAX: usize = 20;

/// The request of this number, id, unique prefix, trace or session. `None`: there is none, or a choice must
/// be made; either has been said on standard error.
///
/// # Errors
///
/// The database cannot be read.
pub(crate) fn resolve(reader: &Reader, id: &str) -> Result<Option<RequestRecord>, CliError> {
    resolve_else(reader, id, "the trace or the session")
}

/// As [`resolve`], where `others` names what else was looked for.
///
/// # Errors
///
/// The database cannot be read.
pub(crate) fn resolve_else(
    reader: &Reader,
    id: &str,
    others: &str,
) -> Result<Option<RequestRecord>, CliError> {
    match reader.get(id) {
        Ok(request) => return Ok(Some(request)),
        Err(ReadError::NotFound(_) | ReadError::Ambiguous { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let mut candidates = reader.find(id, CANDIDATES_MAX.saturating_add(1))?;
    match (candidates.pop(), candidates.is_empty()) {
        (None, _) => {
            output::say(&format!(
                "no request has the id, a beginning of the id, {others} {id:?}; \
                 `auditlite list` shows what there is"
            ));
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

/// Names the requests that share this id.
///
/// # Errors
///
/// The database cannot be read.
pub(crate) fn list_shared(reader: &Reader, id: &str) -> Result<(), CliError> {
    let filter = RequestFilter {
        request_id: Some(id.to_owned()),
        ..RequestFilter::default()
    };
    let shared = reader.list(&filter, None, CANDIDATES_MAX.saturating_add(1))?;
    ask_to_choose(id, &shared.requests);
    Ok(())
}

fn ask_to_choose(id: &str, candidates: &[RequestRecord]) {
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

/// Several users have a conversation of this id; says which.
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
