//! Reads of a store, compared with the model.

use auditlite::{
    ListOptions, PayloadSide, ReadError, Reader, RequestFilter, RequestRecord, StatsFilter,
    StatsKey, Status, Timestamp,
};
use fastrand::Rng;
use sha2::{Digest, Sha256};

use crate::expected::{Body, Request, StatsSums};
use crate::machine::Machine;
use crate::words::{name, odd};

/// Kept from each end of a body above the cap.
const EXCERPT_BYTES: usize = 8 * 1024;

impl Machine {
    fn reader(&mut self) -> Reader {
        self.flush();
        self.store().reader()
    }

    /// An id: of a request, of a trace or session, or a part of one, or none at all.
    fn some_id(&self, rng: &mut Rng) -> String {
        let requests = &self.model.requests;
        if requests.is_empty() || rng.u8(..8) == 0 {
            return odd(rng);
        }
        let request = &requests[rng.usize(..requests.len())];
        let id = match rng.u8(..6) {
            0 => request.trace_id.clone().unwrap_or_default(),
            1 => request.session_id.clone().unwrap_or_default(),
            _ => request.id.clone(),
        };
        if rng.u8(..4) > 0 {
            return id;
        }
        let end = rng.usize(..=id.chars().count());
        let start = if rng.bool() { 0 } else { rng.usize(..=end) };
        id.chars().take(end).skip(start).collect()
    }

    pub fn check_get(&mut self, rng: &mut Rng) {
        let reader = self.reader();
        let id = self.some_id(rng);
        let expected = self.model.lookup(&id);
        match (reader.get(&id), expected.as_slice()) {
            (Err(ReadError::NotFound(_)), []) => {}
            (Ok(found), [only]) => only.check(&found, self.is_exact()),
            (Err(ReadError::Ambiguous { candidates, .. }), several) => {
                assert!(several.len() > 1, "{id:?}");
                for (candidate, request) in candidates.iter().zip(several) {
                    // By its id, or by its number where the id is another's too.
                    let found = reader.get(candidate).unwrap();
                    request.check(&found, self.is_exact());
                    let others = self.model.requests.iter();
                    let is_shared = others.filter(|other| other.id == request.id).count() > 1;
                    assert_eq!(found.is_id_shared, is_shared);
                }
            }
            (other, expected) => panic!("{id:?}: {other:?}, expected {expected:?}"),
        }
    }

    pub fn check_find(&mut self, rng: &mut Rng) {
        let reader = self.reader();
        let id = self.some_id(rng);
        let mut expected = self.model.lookup(&id);
        if expected.is_empty() && !id.is_empty() {
            expected = self
                .model
                .list(&RequestFilter::new().session_id(id.clone()));
        }
        let is_number = |id: &str| id.starts_with('#') && id[1..].parse::<u64>().is_ok();
        if expected.is_empty() && !id.is_empty() && !is_number(&id) {
            let requests = self.model.requests.iter().rev();
            expected = requests
                .filter(|request| request.id.contains(&id))
                .collect();
        }
        let limit = 1 + rng.usize(..20);
        expected.truncate(limit);
        let found = reader.find(&id, limit).unwrap();
        assert_eq!(found.len(), expected.len(), "{id:?}");
        for (found, expected) in found.iter().zip(expected) {
            expected.check(found, self.is_exact());
        }
    }

    pub fn check_list(&mut self, rng: &mut Rng) {
        let reader = self.reader();
        let filter = filter(rng);
        self.compare_list(&reader, &filter, 1 + rng.usize(..30));
    }

    /// All pages of a list, with the records' own places in it.
    fn compare_list(
        &self,
        reader: &Reader,
        filter: &RequestFilter,
        limit: usize,
    ) -> Vec<RequestRecord> {
        let expected = self.model.list(filter);
        let mut found = Vec::new();
        let mut before = None;
        loop {
            let page = reader
                .list(filter, &ListOptions::new().cursor(before).limit(limit))
                .unwrap();
            assert!(page.requests.len() <= limit);
            found.extend(page.requests);
            let Some(next) = page.next else { break };
            assert_eq!(found.last().unwrap().opened_seq, next);
            assert!(found.len() < expected.len(), "{filter:?}: a page too many");
            before = Some(next);
        }
        assert!(found.is_sorted_by(|a, b| a.opened_seq > b.opened_seq));
        assert_eq!(found.len(), expected.len(), "{filter:?}");
        for (found, expected) in found.iter().zip(&expected) {
            expected.check(found, self.is_exact());
        }
        found
    }

    pub fn check_stats(&mut self, rng: &mut Rng) {
        let reader = self.reader();
        let mut filter = StatsFilter::new();
        filter.provider_name = (rng.u8(..4) == 0).then(|| "provider_name-1".to_owned());
        filter.model = (rng.u8(..4) == 0).then(|| "request_model-1".to_owned());
        filter.user_id = (rng.u8(..4) == 0).then(|| "user_id-1".to_owned());

        if rng.bool() {
            (filter.since, filter.until) = times(rng);
        }
        for key in [StatsKey::Provider, StatsKey::Model, StatsKey::User] {
            if rng.bool() {
                filter.group_by.push(key);
            }
        }
        let rows = reader.stats(&filter).unwrap();
        let found: Vec<StatsSums> = rows
            .iter()
            .map(|row| StatsSums {
                key: [
                    row.provider_name.clone(),
                    row.model.clone(),
                    row.user_id.clone(),
                ],
                by_status: [
                    0,
                    row.completed,
                    row.failed,
                    row.rejected,
                    row.abandoned,
                    row.interrupted,
                ],
                tokens: [
                    row.input_tokens,
                    row.output_tokens,
                    row.cache_read_input_tokens,
                    row.cache_write_input_tokens,
                    row.reasoning_output_tokens,
                ],
                unpriced: row.unpriced,
                timed: row.latency_count,
                credited: row.credited_requests,
            })
            .collect();
        assert_eq!(found, self.model.stats(&filter), "{filter:?}");
        for row in rows {
            let counted = row.completed + row.failed + row.rejected + row.abandoned;
            assert_eq!(row.requests, counted + row.interrupted);
        }
    }

    /// A few requests, in any order, with all that belongs to them.
    pub fn check_bodies(&mut self, rng: &mut Rng) {
        let reader = self.reader();
        let found = reader
            .list(&RequestFilter::default(), &ListOptions::new().limit(10_000))
            .unwrap()
            .requests;
        assert_eq!(found.len(), self.model.requests.len());
        for _ in 0..5.min(found.len()) {
            let place = rng.usize(..found.len());
            let request = &self.model.requests[found.len() - 1 - place];
            self.compare_bodies(&reader, &found[place], request);
        }
    }

    /// Every request with everything that belongs to it, in random order. The end of a sequence.
    pub fn check_everything(&mut self, rng: &mut Rng) {
        self.reopen(rng);
        self.check_doctor();
        let reader = self.reader();
        let found = self.compare_list(&reader, &RequestFilter::default(), 1 + rng.usize(..100));
        let mut places: Vec<usize> = (0..found.len()).collect();
        rng.shuffle(&mut places);
        for place in places {
            let request = &self.model.requests[found.len() - 1 - place];
            self.compare_bodies(&reader, &found[place], request);
        }
    }

    /// Bodies and other content that are flagged as shed, by reading them all.
    pub fn count_shed(&self) -> u64 {
        let reader = self.store().reader();
        let found = reader
            .list(&RequestFilter::default(), &ListOptions::new().limit(10_000))
            .unwrap()
            .requests;
        found
            .iter()
            .zip(self.model.requests.iter().rev())
            .map(|(found, request)| self.compare_bodies(&reader, found, request))
            .sum()
    }

    /// How much of it was shed.
    fn compare_bodies(&self, reader: &Reader, found: &RequestRecord, request: &Request) -> u64 {
        let mut shed = 0;
        for (side, body) in [
            (PayloadSide::Request, Some(&request.request)),
            (PayloadSide::Response, request.response.as_ref()),
        ] {
            if request.ended_seq.is_none() && self.is_exact() && side == PayloadSide::Response {
                assert!(matches!(
                    reader.payload(found, side),
                    Err(ReadError::NoBody { .. })
                ));
                continue;
            }
            let gone = request.gone(match side {
                PayloadSide::Request => request.content_seq(),
                PayloadSide::Response => request.ended_seq,
            });
            shed += u64::from(compare_body(reader, found, side, body, gone));
        }
        assert!(
            shed == 0 || !self.is_exact(),
            "{found:?}: nothing is shed at this capacity"
        );
        if self.is_exact() {
            // These go with a request body that is shed.
            let is_gone = request.gone(request.content_seq()).is_some();
            let messages = if is_gone {
                &[]
            } else {
                request.messages.as_slice()
            };
            assert_eq!(reader.messages(found).unwrap(), messages);
        }
        if request.status == Status::Pending || request.status == Status::Interrupted {
            assert_eq!(reader.upstream_body(found).unwrap(), None);
            return shed;
        }
        let is_gone = request.gone(request.ended_seq).is_some();
        let prepared = reader.upstream_body(found).unwrap();
        if self.is_exact() {
            let digest = |bytes: &Vec<u8>| (bytes.len() as u64, Some(sha256(bytes)));
            let found = prepared.map(|info| (info.length, info.sha256.map(|digest| digest.0)));
            assert_eq!(
                found,
                request.prepared.as_ref().filter(|_| !is_gone).map(digest),
                "{}",
                request.id
            );
        }
        let text = reader.assistant_text(found).unwrap();
        let calls = reader.tool_calls(found).unwrap();
        assert_eq!(calls.len(), request.calls.len());
        let is_captured = match &request.text {
            Some(expected) => match &text {
                Some(text) => {
                    assert_eq!(text, expected);
                    true
                }
                None => false,
            },
            None => {
                assert_eq!(text, None);
                calls.iter().any(|call| call.input.is_some())
            }
        };
        for (place, (found, expected)) in calls.iter().zip(&request.calls).enumerate() {
            assert_eq!(found.position, place as u64);
            assert_eq!(found.tool_call_id, expected.id);
            assert_eq!(found.tool_name, expected.name);
            assert_eq!(found.input_bytes, expected.input_bytes);
            let input = is_captured.then_some(&expected.input);
            assert_eq!(found.input.as_ref(), input);
        }
        let has_content = request.text.is_some() || !request.calls.is_empty();
        if self.is_exact() {
            let is_on = request.request.is_captured && !is_gone;
            assert_eq!(is_captured, has_content && is_on, "{}", request.id);
        } else {
            shed += u64::from(has_content && !is_captured);
        }
        shed
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Compares a body. `true`: it was shed, and says so.
fn compare_body(
    reader: &Reader,
    found: &RequestRecord,
    side: PayloadSide,
    expected: Option<&Body>,
    gone: Option<&'static str>,
) -> bool {
    let id = &found.request_id;
    let Some(body) = expected else {
        assert!(
            matches!(reader.payload(found, side), Err(ReadError::NoBody { .. })),
            "{id}"
        );
        assert_eq!(reader.body_info(found, side).unwrap(), None);
        return false;
    };
    let info = reader.body_info(found, side).unwrap().unwrap();
    assert_eq!(info.length, body.bytes.len() as u64, "{id}");
    let payload = match reader.payload(found, side) {
        Ok(payload) => payload,
        Err(ReadError::NotKept { reason, length, .. }) => {
            assert_eq!(length, body.bytes.len() as u64);
            if let Some(gone) = gone {
                assert_eq!(reason, gone, "{id} {side}");
                assert_eq!(info.sha256, None, "{id} {side}");
                assert!(
                    info.removed.is_some_and(|what| gone.ends_with(what)),
                    "{id} {side}"
                );
                return false;
            }
            if body.is_captured {
                assert!(reason.contains("shed"), "{id} {side}: {reason}");
                assert_eq!(info.sha256, None);
                return true;
            }
            assert_eq!(info.sha256.unwrap().0, sha256(&body.bytes), "{id} {side}");
            return false;
        }
        Err(error) => panic!("{id} {side}: {error}"),
    };
    assert!(
        body.bytes.is_empty() || (body.is_captured && gone.is_none()),
        "{id} {side}"
    );
    assert_eq!(payload.length, body.bytes.len() as u64, "{id} {side}");
    assert_eq!(payload.sha256.0, sha256(&body.bytes), "{id} {side}");
    if body.bytes.len() <= body.cap {
        assert!(
            payload.bytes == body.bytes,
            "{id} {side} is not what was sent"
        );
        assert!(!payload.is_truncated());
        return false;
    }
    let head = usize::try_from(payload.head.unwrap()).unwrap();
    let (head, tail) = payload.bytes.split_at(head);
    assert!(
        body.bytes.starts_with(head) && body.bytes.ends_with(tail),
        "{id} {side}"
    );
    // A cut character is at most three bytes of either end.
    let range = EXCERPT_BYTES - 3..=EXCERPT_BYTES;
    assert!(
        range.contains(&head.len()) && range.contains(&tail.len()),
        "{id} {side}"
    );
    assert_eq!(
        payload.dropped(),
        (body.bytes.len() - head.len() - tail.len()) as u64
    );
    if std::str::from_utf8(&body.bytes).is_ok() {
        assert!(std::str::from_utf8(head).is_ok() && std::str::from_utf8(tail).is_ok());
    }
    false
}

fn times(rng: &mut Rng) -> (Option<Timestamp>, Option<Timestamp>) {
    let mut at = || {
        rng.bool()
            .then(|| Timestamp::from_micros(1_500_000_000_000_000 + rng.i64(0..40) * 1_000_000_000))
    };
    (at(), at())
}

fn filter(rng: &mut Rng) -> RequestFilter {
    let mut filter = RequestFilter::default();
    for _ in 0..rng.usize(..3) {
        match rng.u8(..10) {
            0 => (filter.since, filter.until) = times(rng),
            1 => {
                let some = (0..1 + rng.usize(..3)).map(|_| Status::ALL[rng.usize(..6)]);
                filter.statuses = some.collect();
            }
            2 => filter.provider_name = name(rng, "provider_name"),
            3 => filter.model = name(rng, "request_model"),
            4 => filter.user_id = name(rng, "user_id"),
            5 => filter.session_id = name(rng, "session_id"),
            6 => filter.conversation_id = name(rng, "conversation_id"),
            7 => {
                let first = 200 + rng.u16(..400);
                filter.http_statuses = vec![first..=first + rng.u16(..100), 200..=210];
            }
            8 => filter.error_type = Some(if rng.bool() { "*" } else { "policy" }.to_owned()),
            _ => filter.trace_id = name(rng, "trace_id"),
        }
    }
    filter
}
