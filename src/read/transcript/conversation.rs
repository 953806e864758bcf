//! Conversations: what one user's requests said, each message once, page by page.

use std::collections::HashMap;

use super::{Transcript, message_key, transcript};
use crate::config::IDENTIFIER_BYTES_MAX;
use crate::db::{self, Connection, Walk};
use crate::error::ReadError;
use crate::model::{CanonicalMessage, Digest, MessagePart, RequestFilter, RequestRecord, setters};
use crate::read::content::ContentReader;
use crate::read::requests;

/// Requests of a page, by default.
const PAGE_REQUESTS: usize = 1_000;
/// Limit of bytes of texts in a page's memory, without the page before it.
const PAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Users that are named if one has to be chosen.
const USERS_NAMED: usize = 20;

/// Whose conversation, and which part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConversationOptions {
    /// Of this user; empty for requests without a user. Default: the only user who has a conversation with
    /// this id.
    pub user_id: Option<String>,
    /// Continue after the request with this `opened_seq`, from [`Conversation::next`]. Default: from the
    /// beginning.
    pub cursor: Option<u64>,
    /// Limit of requests, 1 to 10,000. Default: 1,000.
    pub limit: usize,
}

impl Default for ConversationOptions {
    fn default() -> Self {
        Self {
            user_id: None,
            cursor: None,
            limit: PAGE_REQUESTS,
        }
    }
}

impl ConversationOptions {
    /// The first 1,000 requests, of the only user who has a conversation with this id.
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        text: user_id;
        plain: limit: usize;
    }

    /// Sets [`cursor`](Self::cursor): a number, or [`Conversation::next`] as it is.
    #[must_use]
    pub fn cursor(mut self, cursor: impl Into<Option<u64>>) -> Self {
        self.cursor = cursor.into();
        self
    }
}

/// A page of a conversation: each of its messages once.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Conversation {
    /// The requests, oldest first, all of one user.
    pub requests: Vec<RequestRecord>,
    /// The messages that these requests said first, in the order in which they appeared. Messages that the
    /// request before them carried are not part of the page.
    pub messages: Vec<ConversationMessage>,
    /// Requests with a damaged row or body; their messages are missing.
    pub damaged: u64,
    /// Requests whose lines in the log cannot be read: their messages are included, could not be compared
    /// with what was recorded, and may be anything.
    pub unchecked: u64,
    /// Messages that the requests carried but that are not included: the oldest of a request with more than
    /// 16,384 messages, or with more than 64 MiB of text.
    pub left_out: u64,
    /// Where the next page begins, for [`ConversationOptions::cursor`]. Absent on the last page.
    pub next: Option<u64>,
}

/// A message, and which requests carried it.
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConversationMessage {
    /// The message.
    pub message: CanonicalMessage,
    /// Whether it first appeared as a reply of the model.
    pub is_reply: bool,
    /// Index, in the page's requests, of the first one that carried it.
    pub first: usize,
    /// Index of the last one.
    pub last: usize,
    /// How many of the page's requests carried it, including the one whose reply it was.
    pub requests: usize,
}

/// Bytes that a message takes.
fn bytes_of(message: &CanonicalMessage) -> usize {
    let part = |part: &MessagePart| match part {
        MessagePart::Text(text)
        | MessagePart::Thinking(text)
        | MessagePart::Refusal(text)
        | MessagePart::Other(text) => text.len(),
        MessagePart::ToolCall(call) => call.input.len().saturating_add(IDENTIFIER_BYTES_MAX),
        MessagePart::ToolResult(result) => result.text.len().saturating_add(IDENTIFIER_BYTES_MAX),
    };
    message.parts.iter().map(part).sum::<usize>() + size_of::<ConversationMessage>()
}

/// A page of the conversation with this id. Index: `requests_by_conversation`, or that of the user.
pub(crate) fn conversation(
    connection: &Connection,
    id: &str,
    options: &ConversationOptions,
) -> Result<Conversation, ReadError> {
    let user_id = match &options.user_id {
        Some(user_id) => user_id.clone(),
        None => only_user(connection, id)?,
    };
    let filter = RequestFilter {
        conversation_id: Some(id.to_owned()),
        user_id: Some(user_id),
        ..RequestFilter::default()
    };
    page(connection, &filter, options)?.ok_or_else(|| ReadError::NotFound(id.to_owned()))
}

/// The user of the conversation; empty if its requests have none.
pub(crate) fn only_user(connection: &Connection, id: &str) -> Result<String, ReadError> {
    let mut users = db::conversation_users(connection, id, USERS_NAMED + 1)?;
    match (users.pop(), users.is_empty()) {
        (None, _) => Err(ReadError::NotFound(id.to_owned())),
        (Some(only), true) => Ok(only),
        (Some(last), false) => {
            let has_more = users.len() >= USERS_NAMED;
            users.extend(Some(last).filter(|_| !has_more));
            Err(ReadError::AmbiguousConversation {
                conversation_id: id.to_owned(),
                users,
                has_more,
            })
        }
    }
}

/// A page of the conversation of this request; only the request if it belongs to none.
pub(crate) fn conversation_of(
    connection: &Connection,
    request: &RequestRecord,
    options: &ConversationOptions,
) -> Result<Conversation, ReadError> {
    match RequestFilter::conversation_of(request) {
        Some(filter) => Ok(page(connection, &filter, options)?.unwrap_or_default()),
        None => {
            let mut join = Join::default();
            join.take(connection, request.clone())?;
            Ok(join.conversation)
        }
    }
}

/// `None`: there is no such conversation, or nothing of it after the cursor.
fn page(
    connection: &Connection,
    filter: &RequestFilter,
    options: &ConversationOptions,
) -> Result<Option<Conversation>, ReadError> {
    let list = |walk, limit| requests::list(connection, filter, walk, limit);
    let page = list(Walk::After(options.cursor), options.limit)?;
    if page.newest().is_none() {
        return Ok(None);
    }
    let unreadable = u64::try_from(page.unreadable.len()).unwrap_or(u64::MAX);
    // The last request of the previous page is the history that the requests of this page repeat.
    let before = match options.cursor {
        None => None,
        Some(after) => {
            let before = list(Walk::Before(Some(after.saturating_add(1))), 1)?;
            before.requests.into_iter().next()
        }
    };
    let mut join = Join::default();
    if let Some(before) = before {
        join.take_history(connection, before)?;
    }
    join.conversation.damaged = unreadable;
    let mut last = None;
    for request in page.requests {
        let opened_seq = request.opened_seq;
        if !join.take(connection, request)? {
            join.conversation.next = last;
            return Ok(Some(join.conversation));
        }
        last = Some(opened_seq);
    }
    join.conversation.next = page.next;
    Ok(Some(join.conversation))
}

/// A message that is to be added to a conversation.
struct Arrival {
    message: CanonicalMessage,
    is_reply: bool,
    key: Digest,
    /// Which occurrence of its key it is within its request: the same words may be said more than once.
    nth: usize,
}

/// Where a message is.
#[derive(Clone, Copy)]
enum Place {
    /// Among what was said before the page.
    History(usize),
    /// Among the messages of the page.
    Page(usize),
}

/// Joins requests, one after the other.
#[derive(Default)]
struct Join {
    conversation: Conversation,
    reader: ContentReader,
    history: Vec<CanonicalMessage>,
    places: HashMap<(Digest, usize), Place>,
    /// Keys and places of the messages of the previous request. A request mostly repeats it, and equal
    /// messages need not be hashed again.
    before: Vec<(Digest, Place)>,
    bytes: usize,
}

impl Join {
    /// Adds what a request carried as history, which is not part of the page.
    fn take_history(
        &mut self,
        connection: &Connection,
        request: RequestRecord,
    ) -> Result<(), ReadError> {
        let found = self.read(connection, &request)?;
        self.conversation = Conversation::default();
        for arrival in self.arrivals(found) {
            let place = Place::History(self.history.len());
            self.places.insert((arrival.key, arrival.nth), place);
            self.before.push((arrival.key, place));
            self.history.push(arrival.message);
        }
        Ok(())
    }

    /// Adds a request. `false`: the page is full, and nothing was added.
    ///
    /// A message that is known by key and occurrence only extends the range of its requests; a new one is
    /// appended. If the new texts exceed the page, the request begins the next page. Only a single request
    /// that is too long for a page loses its oldest messages.
    fn take(&mut self, connection: &Connection, request: RequestRecord) -> Result<bool, ReadError> {
        let (damaged, unchecked) = (self.conversation.damaged, self.conversation.unchecked);
        let found = self.read(connection, &request)?;
        let unread = usize::try_from(found.left_out).unwrap_or(usize::MAX);
        // What was left out of this request was read in an earlier one, if that had as many messages.
        let unseen = unread.saturating_sub(self.places.len());
        let arrivals = self.arrivals(found);
        let is_new = |arrival: &Arrival| !self.places.contains_key(&(arrival.key, arrival.nth));
        let new_bytes: usize = arrivals
            .iter()
            .filter(|arrival| is_new(arrival))
            .map(|arrival| bytes_of(&arrival.message))
            .sum();
        let free_bytes = PAGE_BYTES_MAX.saturating_sub(self.bytes);
        if new_bytes > free_bytes && !self.conversation.requests.is_empty() {
            self.conversation.damaged = damaged;
            self.conversation.unchecked = unchecked;
            return Ok(false);
        }
        // A request that is too long for a page loses its oldest messages.
        let mut excess = new_bytes.saturating_sub(free_bytes);
        let mut left_out = unseen;
        let index = self.conversation.requests.len();
        let mut stands = Vec::with_capacity(arrivals.len());
        for arrival in arrivals {
            let known = self.places.get(&(arrival.key, arrival.nth)).copied();
            let place = match known {
                Some(place) => {
                    if let Place::Page(at) = place
                        && let Some(known) = self.conversation.messages.get_mut(at)
                    {
                        known.last = index;
                        known.requests = known.requests.saturating_add(1);
                    }
                    place
                }
                None => {
                    let bytes = bytes_of(&arrival.message);
                    if excess > 0 {
                        excess = excess.saturating_sub(bytes);
                        left_out = left_out.saturating_add(1);
                        continue;
                    }
                    self.bytes = self.bytes.saturating_add(bytes);
                    let place = Place::Page(self.conversation.messages.len());
                    self.places.insert((arrival.key, arrival.nth), place);
                    self.conversation.messages.push(ConversationMessage {
                        message: arrival.message,
                        is_reply: arrival.is_reply,
                        first: index,
                        last: index,
                        requests: 1,
                    });
                    place
                }
            };
            stands.push((arrival.key, place));
        }
        self.before = stands;
        let left_out = u64::try_from(left_out).unwrap_or(u64::MAX);
        self.conversation.left_out = self.conversation.left_out.saturating_add(left_out);
        self.conversation.requests.push(request);
        Ok(true)
    }

    fn read(
        &mut self,
        connection: &Connection,
        request: &RequestRecord,
    ) -> Result<Transcript, ReadError> {
        match transcript(connection, &mut self.reader, request) {
            Err(ReadError::Damaged(_)) => {
                self.conversation.damaged = self.conversation.damaged.saturating_add(1);
                Ok(Transcript::default())
            }
            found => {
                let found = found?;
                let is_unchecked = u64::from(!found.unchecked.is_empty());
                self.conversation.unchecked =
                    self.conversation.unchecked.saturating_add(is_unchecked);
                Ok(found)
            }
        }
    }

    fn arrivals(&self, found: Transcript) -> Vec<Arrival> {
        let mut seen: HashMap<Digest, usize> = HashMap::new();
        let sent = found.messages.into_iter().map(|message| (message, false));
        let said = found.replies.into_iter().map(|message| (message, true));
        let arrival = |(index, (message, is_reply)): (usize, (CanonicalMessage, bool))| {
            let known = self.before.get(index).filter(|(_, place)| {
                self.at(*place)
                    .is_some_and(|known| known.role == message.role && known.parts == message.parts)
            });
            let key = known.map_or_else(|| message_key(&message), |(key, _)| *key);
            let count = seen.entry(key).or_insert(0);
            let nth = *count;
            *count = count.saturating_add(1);
            Arrival {
                message,
                is_reply,
                key,
                nth,
            }
        };
        sent.chain(said).enumerate().map(arrival).collect()
    }

    fn at(&self, place: Place) -> Option<&CanonicalMessage> {
        match place {
            Place::History(at) => self.history.get(at),
            Place::Page(at) => {
                let found = self.conversation.messages.get(at);
                found.map(|found| &found.message)
            }
        }
    }
}
