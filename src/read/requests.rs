//! Records of requests, page by page. A row that cannot be read is named, and the others are returned.

use crate::db::{self, Connection};
use crate::error::ReadError;
use crate::model::{ListOptions, Page, RequestFilter, RequestOrder, UnreadableRequest};

/// Limit of requests in one page.
pub(crate) const PAGE_REQUESTS_MAX: usize = 10_000;

/// One page, in the order that is asked for.
pub(crate) fn page(
    connection: &Connection,
    filter: &RequestFilter,
    options: &ListOptions,
) -> Result<Page, ReadError> {
    let walk = match options.order {
        RequestOrder::Newest => db::Walk::Before(options.cursor),
        RequestOrder::Oldest => db::Walk::After(options.cursor),
        _ if options.cursor.is_some() => {
            return Err(ReadError::InvalidArgument(
                "only lists by time have a cursor".to_owned(),
            ));
        }
        order => return top(connection, filter, order, options.limit),
    };
    list(connection, filter, walk, options.limit)
}

/// One page, in the order of the log.
pub(crate) fn list(
    connection: &Connection,
    filter: &RequestFilter,
    walk: db::Walk,
    limit: usize,
) -> Result<Page, ReadError> {
    let limit = check_limit(limit)?;
    // One more than asked for tells whether there is a next page.
    let mut rows = db::list(connection, filter, walk, limit + 1)?;
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().filter(|_| has_more);
    let next = last.and_then(|(key, _)| u64::try_from(*key).ok());
    Ok(Page {
        next,
        ..page_of(rows)
    })
}

/// Requests with the highest value of something.
fn top(
    connection: &Connection,
    filter: &RequestFilter,
    order: RequestOrder,
    limit: usize,
) -> Result<Page, ReadError> {
    let rows = db::top(connection, filter, order, check_limit(limit)?)?;
    Ok(page_of(rows))
}

fn page_of(rows: Vec<db::RequestRow>) -> Page {
    let mut page = Page {
        requests: Vec::with_capacity(rows.len()),
        next: None,
        unreadable: Vec::new(),
    };
    for (opened_seq, row) in rows {
        match row {
            Ok(request) => page.requests.push(request),
            Err(what) => page.unreadable.push(UnreadableRequest { opened_seq, what }),
        }
    }
    page
}

/// For reads that may answer without a query of requests.
pub(crate) fn check_filter(filter: &RequestFilter) -> Result<(), ReadError> {
    match filter.problem() {
        Some(problem) => Err(ReadError::InvalidArgument(problem.to_owned())),
        None => Ok(()),
    }
}

pub(super) fn check_limit(limit: usize) -> Result<usize, ReadError> {
    if (1..=PAGE_REQUESTS_MAX).contains(&limit) {
        Ok(limit)
    } else {
        Err(ReadError::InvalidArgument(format!(
            "a page has between 1 and {PAGE_REQUESTS_MAX} requests, not {limit}"
        )))
    }
}
