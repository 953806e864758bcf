//! Whether the file already has the request of a line: then `record` and `import` skip it.
//!
//! An id alone is not enough: two gateways or two clients may use the same one. Nor is the file that a line came
//! from. So the facts that cannot change are compared: when the request arrived, whose it was, and both bodies.

use std::time::Duration;

use auditlite::{
    BodyInfos, ListOptions, PayloadSide, ReadError, Reader, RequestFilter, RequestOrder,
    RequestRecord, Status, Timestamp, stored_identifier,
};
use sha2::{Digest as _, Sha256};

/// Requests of one id and one microsecond that are looked at at once.
const PAGE_REQUESTS: usize = 100;
/// In the place of a digest that the export does not have.
const UNKNOWN_DIGEST: &str = "unknown";

/// What distinguishes a request from others.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) request_id: String,
    /// Absent where the line's time cannot be recorded.
    pub(crate) opened_at: Option<Timestamp>,
    /// Of an erased request, only what remains can be compared.
    pub(crate) is_erased: bool,
    /// User, session, context, conversation, trace.
    pub(crate) ids: [Option<String>; 5],
    /// The two bodies.
    pub(crate) bodies: [BodyIdentity; 2],
    pub(crate) known_by: KnownBy,
}

/// What else distinguishes a request, depending on where its line came from.
#[derive(Debug)]
pub(crate) enum KnownBy {
    /// The attributes that say which log it came from and its place there, as an import gives them.
    Origin([(String, String); 2]),
    /// Its HTTP status. Ids that the line does not have may come from its bodies. An interrupted request is
    /// never the same: the line says how it ended.
    Exchange { http_status: Option<u16> },
}

/// What distinguishes a body from others.
#[derive(Debug, Default)]
pub(crate) struct BodyIdentity {
    pub(crate) length: u64,
    /// Absent if the exporting store no longer had it.
    pub(crate) sha256: Option<String>,
}

impl BodyIdentity {
    pub(crate) fn of(body: &[u8]) -> Self {
        Self {
            length: u64::try_from(body.len()).unwrap_or(u64::MAX),
            sha256: Some(hexadecimal(&Sha256::digest(body))),
        }
    }

    /// Whether these words, recorded by an earlier import, are of this body. An export without digests knows no more
    /// than the length.
    fn is_of_words(&self, words: &str) -> bool {
        let own = self.words();
        let prefix = |words: &str| words.strip_suffix(UNKNOWN_DIGEST).map(str::to_owned);
        own == words
            || prefix(words).is_some_and(|length| own.starts_with(&length))
            || prefix(&own).is_some_and(|length| words.starts_with(&length))
    }

    /// What is recorded of a body that the export does not have.
    pub(crate) fn words(&self) -> String {
        let digest = self.sha256.as_deref().unwrap_or(UNKNOWN_DIGEST);
        format!("{} bytes, sha256:{digest}", self.length)
    }
}

/// The attribute that identifies a body that the export does not have.
pub(crate) fn missing_body(side: PayloadSide) -> String {
    format!("imported_{side}")
}

impl Identity {
    /// Whether the file has this request.
    ///
    /// # Errors
    ///
    /// What the database reported.
    pub(crate) fn is_in(&self, reader: &Reader, infos: &mut BodyInfos) -> Result<bool, ReadError> {
        // Mostly it is new.
        if !reader.has_request_id(&self.request_id)? {
            return Ok(false);
        }
        let mut filter = RequestFilter::new().request_id(self.request_id.clone());
        filter.since = self.opened_at;
        filter.until = self.opened_at.map(|at| at + Duration::from_micros(1));

        if let (None, KnownBy::Origin(origin)) = (self.opened_at, &self.known_by) {
            filter.attributes = origin.to_vec();
        }
        let mut after = None;
        loop {
            let page = reader.list(
                &filter,
                &ListOptions::new()
                    .order(RequestOrder::Oldest)
                    .cursor(after)
                    .limit(PAGE_REQUESTS),
            )?;
            for request in &page.requests {
                if self.is(infos, request)? {
                    return Ok(true);
                }
            }
            match page.next {
                None => return Ok(false),
                next => after = next,
            }
        }
    }

    /// Whether the recorded request is the one of the line. From the cheapest comparison to the dearest: origin or
    /// status, what an erasure left, ids, and last the bodies, whose rows must be read. A body that the export
    /// did not have is compared by the attribute that was recorded in its place.
    fn is(&self, infos: &mut BodyInfos, request: &RequestRecord) -> Result<bool, ReadError> {
        let attribute = |name: &str| {
            let mut attributes = request.attributes.iter();
            let found = attributes.find(|(key, _)| key == name);
            found.map(|(_, value)| value.as_str())
        };
        let is_other = match &self.known_by {
            // Two equal requests of one log differ only in their places there.
            KnownBy::Origin([from, seq]) => {
                attribute(&from.0) == Some(&from.1)
                    && attribute(&seq.0).is_some_and(|place| place != seq.1)
            }
            KnownBy::Exchange { http_status } => {
                !matches!(request.status, Status::Completed | Status::Failed)
                    || request.http_status != *http_status
            }
        };
        if is_other {
            return Ok(false);
        }
        let [sent, received] = &self.bodies;
        let is_rest = self.is_erased || request.is_erased;
        if is_rest {
            // A request that was erased here must not come back by an import: ids and bodies are not compared.
            return Ok(request.request_bytes == 0 || request.request_bytes == sent.length);
        }
        let ids = [
            &request.user_id,
            &request.session_id,
            &request.context_id,
            &request.conversation_id,
            &request.trace_id,
        ];
        let may_be_read = matches!(self.known_by, KnownBy::Exchange { .. });
        let is_stored_as = |(given, found): (&Option<String>, &Option<String>)| {
            // An empty id is recorded as none.
            let given = given.as_deref().filter(|id| !id.is_empty());
            given.is_none() && may_be_read
                || given.map(stored_identifier).as_deref() == found.as_deref()
        };
        if !self.ids.iter().zip(ids).all(is_stored_as) {
            return Ok(false);
        }
        let infos = infos.get(request)?;
        let sides = [
            (PayloadSide::Request, sent),
            (PayloadSide::Response, received),
        ];
        for ((side, body), info) in sides.into_iter().zip(infos) {
            let is_same = match attribute(&missing_body(side)) {
                Some(words) => body.is_of_words(words),
                None => {
                    let length = info.map_or(0, |info| info.length);
                    let digest = info.and_then(|info| info.sha256);
                    let digests = digest.zip(body.sha256.as_ref());
                    length == body.length
                        && digests.is_none_or(|(one, other)| one.to_string() == *other)
                }
            };
            if !is_same {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// As the text of a digest in an export.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    digits
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}
