//! Which request of the file a line is, if it is one.
//!
//! An id alone does not tell: two boxes, or two clients, may have used the same. Nor does the file that
//! a line came from. So what cannot change is compared: when the request arrived, whose it was, and what
//! was sent and received.

use auditlite::{PayloadSide, ReadError, Reader, RequestFilter, RequestRecord, stored_identifier};

/// Requests of one id and one microsecond that are looked at at once.
const PAGE_REQUESTS: usize = 100;

/// What tells a request from others.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) request_id: String,
    /// Absent where the line's time cannot be recorded.
    pub(super) opened_at: Option<i64>,
    /// Of an erased request only the rest can be compared.
    pub(super) is_erased: bool,
    /// User, session, context, conversation, trace.
    pub(super) ids: [Option<String>; 5],
    /// The two bodies.
    pub(super) bodies: [BodyIdentity; 2],
    /// The attributes that say where it came from, as an import gives them.
    pub(super) origin: [(String, String); 2],
}

/// What tells a body from others.
#[derive(Debug, Default)]
pub(super) struct BodyIdentity {
    pub(super) length: u64,
    /// Absent where the other box did not have it any more.
    pub(super) sha256: Option<String>,
}

impl BodyIdentity {
    /// What is recorded of a body that the export does not have.
    pub(super) fn words(&self) -> String {
        let digest = self.sha256.as_deref().unwrap_or("unknown");
        format!("{} bytes, sha256:{digest}", self.length)
    }
}

/// The attribute that says what a body was that the export does not have.
pub(super) fn missing_body(side: PayloadSide) -> String {
    format!("imported_{side}")
}

impl Identity {
    /// Whether the file has this request.
    ///
    /// # Errors
    ///
    /// What the database reported.
    pub(super) fn is_in(&self, reader: &Reader) -> Result<bool, ReadError> {
        let mut filter = RequestFilter {
            request_id: Some(self.request_id.clone()),
            since: self.opened_at,
            until: self.opened_at.map(|at| at.saturating_add(1)),
            ..RequestFilter::default()
        };
        if self.opened_at.is_none() {
            filter.attributes = self.origin.to_vec();
        }
        let mut after = None;
        loop {
            let page = reader.list_after(&filter, after, PAGE_REQUESTS)?;
            for request in &page.requests {
                if self.is(reader, request)? {
                    return Ok(true);
                }
            }
            match page.next {
                None => return Ok(false),
                next => after = next,
            }
        }
    }

    fn is(&self, reader: &Reader, request: &RequestRecord) -> Result<bool, ReadError> {
        let attribute = |name: &str| {
            let mut attributes = request.attributes.iter();
            let found = attributes.find(|(key, _)| key == name);
            found.map(|(_, value)| value.as_str())
        };
        let [from, seq] = &self.origin;
        // Twins of one log differ in nothing but their places in it.
        if attribute(&from.0) == Some(&from.1)
            && attribute(&seq.0).is_some_and(|place| place != seq.1)
        {
            return Ok(false);
        }
        let [sent, received] = &self.bodies;
        let is_rest = self.is_erased || request.is_erased;
        if is_rest {
            // What was erased here does not come back.
            return Ok(request.request_bytes == 0 || request.request_bytes == sent.length);
        }
        let ids = [
            &request.user_id,
            &request.session_id,
            &request.context_id,
            &request.conversation_id,
            &request.trace_id,
        ];
        let is_stored_as = |(given, found): (&Option<String>, &Option<String>)| {
            given.as_deref().map(stored_identifier).as_deref() == found.as_deref()
        };
        if !self.ids.iter().zip(ids).all(is_stored_as) {
            return Ok(false);
        }
        for (side, body) in [
            (PayloadSide::Request, sent),
            (PayloadSide::Response, received),
        ] {
            let is_same = match attribute(&missing_body(side)) {
                Some(words) => words == body.words(),
                None => {
                    let info = reader.body_info(request, side)?;
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
