//! Compares the search index with the bodies from which it was made.
//!
//! An attacker who can write to the file can make a search show what was never said, or miss what was.
//! Nothing in the log commits to the index. But all of it can be derived again, at the cost of building it.

use std::collections::{BTreeSet, HashSet};

use super::indexing::{IndexError, key_of, searched_text};
use crate::db::{Connection, search as index};
use crate::error::{ReadError, chain};
use crate::model::{RequestRecord, Status};
use crate::read::content::ContentReader;
use crate::read::transcript::transcript;

/// Requests that are read at a time.
const PAGE: usize = 64;
/// Requests that are named; further ones are only counted.
const NAMED_MAX: usize = 20;

/// The note about an index that was not compared with the bodies.
pub(crate) const UNPROVED: &str = "the search index was not compared with the bodies: that a search \
    finds something, or does not, shows nothing (`auditlite verify --search` compares it)";

/// What is wrong with the search index.
#[derive(Debug, Default)]
pub(crate) struct IndexFindings {
    /// Each with the request concerned, if there is one, in plain words.
    pub(crate) lines: Vec<(Option<u64>, String)>,
    /// There is an index, and it was not compared with the bodies.
    pub(crate) is_unproved: bool,
}

/// Compares the index with itself and, if `with_bodies`, with what the bodies say.
pub(crate) fn compare(
    connection: &Connection,
    with_bodies: bool,
) -> Result<IndexFindings, ReadError> {
    let mut findings = IndexFindings::default();
    match find(connection, with_bodies, &mut findings) {
        Ok(()) => {}
        Err(IndexError::Damaged(what)) => {
            findings.add(None, &format!("something cannot be read: {what}"))
        }
        Err(IndexError::Failed(error)) => return Err(error),
    }
    Ok(findings)
}

/// First the index's own tables, then for each request what the index has of it, and last the words with
/// the texts. A mismatch names the first requests, and counts the rest.
fn find(
    connection: &Connection,
    with_bodies: bool,
    findings: &mut IndexFindings,
) -> Result<(), IndexError> {
    for problem in index::problems(connection)? {
        findings.add(None, &problem);
    }
    let Some(state) = index::whole(connection)? else {
        return Ok(());
    };
    findings.is_unproved = !with_bodies;
    if !with_bodies {
        return Ok(());
    }
    let extent = state.index.unwrap_or_default();
    let mut comparison = ProjectionCheck {
        connection,
        reader: &mut ContentReader::default(),
        // Messages from before a removal may not have been examined again yet.
        is_missing_told: state.again == 0,
        kept_from: index::kept_from(connection)?,
        others: BTreeSet::new(),
    };
    let mut differing = 0_usize;
    let mut next = 0;
    loop {
        let page = index::requests_from(connection, next, PAGE)?;
        let Some(last) = page.last() else { break };
        next = u64::try_from(last.0).unwrap_or(0).saturating_add(1);
        // Rows that cannot be read are reported by the comparison of the tables.
        for request in page.into_iter().filter_map(|(_, request)| request.ok()) {
            if request.opened_seq >= extent.next_seq {
                break;
            }
            comparison.others.clear();
            if let Some(what) = comparison.request(&request)? {
                differing = differing.saturating_add(1);
                if differing <= NAMED_MAX {
                    let id = &request.request_id;
                    findings.add(
                        Some(request.opened_seq),
                        &format!("what it has of request {id:?} is wrong: {what}"),
                    );
                }
            }
        }
        if next > extent.next_seq {
            break;
        }
    }
    if differing > NAMED_MAX {
        let more = differing - NAMED_MAX;
        findings.add(
            None,
            &format!("what it has of {more} more requests is wrong"),
        );
    }
    if !index::are_words_of_texts(connection)? {
        findings.add(
            None,
            "the words by which it finds messages are not those of the messages: searches may find \
             what was never said, and miss what was",
        );
    }
    Ok(())
}

impl IndexFindings {
    fn add(&mut self, seq: Option<u64>, what: &str) {
        self.lines.push((
            seq,
            format!(
                "searches may miss messages, or show messages that were never sent: of the search index, {what}. \
                 The trail itself is not concerned; `auditlite doctor --rebuild` builds the index again"
            ),
        ));
    }
}

/// Requests whose messages were compared with the index.
#[derive(Debug)]
pub(crate) struct Compared {
    reader: ContentReader,
    seqs: BTreeSet<u64>,
    words: Option<index::Words>,
}

impl Compared {
    pub(crate) fn new() -> Self {
        Self {
            reader: ContentReader::default(),
            seqs: BTreeSet::new(),
            words: None,
        }
    }
}

/// As [`compare_request`], for all requests that these events opened, except the last event.
pub(crate) fn compare_between(
    connection: &Connection,
    compared: &mut Compared,
    from: u64,
    to: u64,
) -> Result<Option<String>, ReadError> {
    let mut next = from;
    loop {
        match index::whole(connection) {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(None),
            Err(error) if error.is_damage() => return Ok(Some(chain(&error))),
            Err(error) => return Err(error.into()),
        }
        let page = index::requests_from(connection, next, PAGE)?;
        if page.is_empty() {
            return Ok(None);
        }
        for (opened_seq, request) in page {
            let opened_seq = u64::try_from(opened_seq).unwrap_or(0);
            if opened_seq >= to {
                return Ok(None);
            }
            next = opened_seq.saturating_add(1);
            let Ok(request) = request else { continue };
            let what = compare_request(connection, compared, &request)?;
            if what.is_some() {
                return Ok(what);
            }
        }
    }
}

/// What the index lacks or has wrong of this request, or of the requests under which it stores the same
/// messages; as of one moment. `None`: nothing, or there is no index.
///
/// Called before the request is removed, since afterwards nothing could tell whether words of it stay in
/// the index.
pub(crate) fn compare_request(
    connection: &Connection,
    compared: &mut Compared,
    request: &RequestRecord,
) -> Result<Option<String>, ReadError> {
    let compare = |connection: &Connection| -> Result<Option<&'static str>, IndexError> {
        let Some(state) = index::whole(connection)? else {
            return Ok(None);
        };
        let extent = state.index.unwrap_or_default();
        if request.opened_seq >= extent.next_seq {
            // Not indexed yet: nothing is expected of it, and nothing may be there.
            let stored = index::messages_of(connection, request.opened_seq)?;
            return Ok((stored > 0).then_some("it has messages of what it has not seen"));
        }
        let mut comparison = ProjectionCheck {
            connection,
            reader: &mut compared.reader,
            is_missing_told: state.again == 0,
            kept_from: index::kept_from(connection)?,
            others: BTreeSet::new(),
        };
        let mut what = comparison.request(request)?;
        for other in std::mem::take(&mut comparison.others) {
            if what.is_some() || !compared.seqs.insert(other) {
                continue;
            }
            what = match index::by_opened_seq(connection, other)? {
                Some((_, Ok(other))) => comparison.request(&other)?,
                Some((_, Err(_))) => None,
                None => Some("it has a message of a request that there is not"),
            };
        }
        if what.is_none() {
            let words = match compared.words.take() {
                Some(words) => words,
                None => index::Words::new(index::form(connection)?)?,
            };
            let are_found = index::are_words_found(connection, &words, request.opened_seq)?;
            compared.words = Some(words);
            what = (!are_found).then_some("its words are not where a removal looks for them");
        }
        Ok(what)
    };
    match index::as_of_one_moment(connection, compare) {
        Ok(what) => Ok(what.map(str::to_owned)),
        Err(IndexError::Damaged(what)) => Ok(Some(what)),
        Err(IndexError::Failed(error)) => Err(error),
    }
}

struct ProjectionCheck<'c> {
    connection: &'c Connection,
    reader: &'c mut ContentReader,
    is_missing_told: bool,
    /// Requests before this event have had their content pruned.
    kept_from: u64,
    /// Requests under which the index has the messages that were looked for.
    others: BTreeSet<u64>,
}

impl ProjectionCheck<'_> {
    /// What the index has wrong of the request.
    ///
    /// A request that has not ended has no messages yet. Otherwise every message with text must be in the
    /// index: under this request, with the same text and position, or under an earlier one that said it
    /// first. The index must have no other messages of it.
    fn request(&mut self, request: &RequestRecord) -> Result<Option<&'static str>, IndexError> {
        let seq = request.opened_seq;
        let stored = index::messages_of(self.connection, seq)?;
        let is_waited_for = index::is_waited_for(self.connection, seq)?;
        if request.status == Status::Pending {
            return Ok(match (stored, is_waited_for) {
                (0, true) => None,
                (0, false) => Some("it does not know that it has not ended"),
                _ => Some("it has messages, though it has not ended"),
            });
        }
        if seq < self.kept_from {
            return Ok((stored > 0).then_some("it has messages of what was pruned"));
        }
        let said = match transcript(self.connection, self.reader, request) {
            // A damaged body is reported elsewhere, and says nothing.
            Err(ReadError::Damaged(_)) => return Ok(None),
            said => said.map_err(IndexError::Failed)?,
        };
        let scope = index::scope_of(request);
        let sent = said.messages.iter().map(|message| (message, false));
        let replies = said.replies.iter().map(|message| (message, true));
        let mut own = 0_u64;
        let mut keys = HashSet::new();
        for (message, is_reply) in sent.chain(replies) {
            let flattened = message.flattened();
            let Some(text) = searched_text(&flattened) else {
                continue;
            };
            let key = key_of(&scope.0, message);
            if !keys.insert(key) {
                continue;
            }
            match index::by_key(self.connection, &key)? {
                None if self.is_missing_told && !is_waited_for => {
                    return Ok(Some("it lacks a message"));
                }
                None => {}
                Some(found) if found.request_seq == seq => {
                    own = own.saturating_add(1);
                    let is_same = found.is_reply == is_reply
                        && found.position == message.position
                        && found.role == message.role
                        && found.text().as_deref() == Some(text);
                    if !is_same {
                        return Ok(Some("it has a message otherwise than the body says it"));
                    }
                }
                Some(found) => {
                    self.others.insert(found.request_seq);
                }
            }
        }
        Ok((own != stored).then_some("it has a message that the bodies do not say"))
    }
}
