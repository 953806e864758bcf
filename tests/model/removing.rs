//! Erases and prunes, in the store and in the model.

use std::collections::HashSet;

use auditlite::{EraseSelector, ReadError, RemovalError, RequestFilter, Retention, Status};
use fastrand::Rng;

use crate::expected::Request;
use crate::machine::Machine;

impl Machine {
    pub fn erase(&mut self, rng: &mut Rng) {
        if !self.is_exact() || self.model.requests.is_empty() {
            return;
        }
        self.flush();
        let some = rng.usize(..self.model.requests.len());
        let some = &self.model.requests[some];
        let mut filter = RequestFilter::default();
        let (selector, request_id) = match rng.u8(..8) {
            0 => {
                let user = format!("user_id-{}", rng.u8(..3));
                filter.user_id = Some(user.clone());
                (EraseSelector::User(user), None)
            }
            1 => {
                let talk = format!("talk-{}", rng.u8(..3));
                filter.conversation_id = Some(talk.clone());
                if rng.bool() {
                    (EraseSelector::Conversation(talk), None)
                } else {
                    let user = some.user_id.clone().unwrap_or_default();
                    filter.user_id = Some(user.clone());
                    let selector = EraseSelector::UserConversation {
                        user_id: user,
                        conversation_id: talk,
                    };
                    (selector, None)
                }
            }
            _ => {
                let id = some.id.clone();
                (EraseSelector::Request(id.clone()), Some(id))
            }
        };
        let is_meant = |request: &Request| match &request_id {
            Some(id) => request.id == *id,
            None => request.matches(&filter),
        };
        let requests = &mut self.model.requests;
        let is_pending = |request: &Request| request.status == Status::Pending;
        let pending = requests
            .iter()
            .any(|request| is_meant(request) && is_pending(request));
        let meant = requests.iter().filter(|request| is_meant(request));
        let users: HashSet<_> = meant.map(|request| request.user_id.clone()).collect();
        let is_ambiguous = matches!(selector, EraseSelector::Conversation(_)) && users.len() > 1;
        let meant = requests.iter().filter(|request| is_meant(request));
        let is_shared = request_id.is_some() && meant.count() > 1;
        let is_ambiguous = is_ambiguous || is_shared;
        let expected = if pending || is_ambiguous {
            None
        } else {
            let meant = requests.iter_mut().filter(|request| is_meant(request));
            Some(meant.map(|request| u64::from(request.erase())).sum::<u64>())
        };
        match (self.store().erase(&selector, "the model says so"), expected) {
            (Ok(report), Some(count)) => {
                assert_eq!(report.requests, count, "{selector:?}");
                assert!(report.is_fully_erased);
            }
            (Err(RemovalError::Read(error)), None) => {
                let is_told = match error {
                    ReadError::Ambiguous { .. } => is_shared,
                    ReadError::AmbiguousConversation { .. } => !is_shared,
                    _ => false,
                };
                assert!(is_ambiguous && is_told, "{selector:?}: {error:?}");
            }
            (Err(RemovalError::Pending { .. }), None) => assert!(!is_ambiguous),
            (other, expected) => panic!("{selector:?}: {other:?}, expected {expected:?}"),
        }
        self.count_events();
    }

    pub fn prune(&mut self, rng: &mut Rng) {
        if !self.is_exact() {
            return;
        }
        self.flush();
        let (_, metadata_before) = self.pruned_to();
        let used = std::fs::metadata(self.path()).unwrap().len();
        // At times everything that may go.
        let size_bytes_max = Some(used / 8 * rng.u64(0..9));
        let mut retention = Retention::new();
        retention.size_bytes_max = size_bytes_max;

        let report = self.store().prune(&retention).unwrap();
        let (content, metadata) = self.pruned_to();
        let is_pending = |request: &&Request| request.status == Status::Pending;
        let pending = self.model.requests.iter().find(is_pending);
        let limit = pending.map_or(self.model.events, |request| request.opened_seq.unwrap());
        // Never from the first request on that has not ended; metadata only when no content is left.
        assert!(content <= limit && metadata <= limit, "{retention:?}");
        let model = &mut self.model;
        let is_whole = |request: &Request| request.opened_seq.unwrap() >= metadata;
        let (kept, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut model.requests)
            .into_iter()
            .partition(is_whole);
        assert_eq!(report.requests, gone.len() as u64, "{retention:?}");
        for open in &mut self.open {
            open.place -= gone.len();
        }
        model.requests = kept;
        model.pruned.extend(gone);
        for request in model.requests.iter_mut().chain(&mut model.pruned) {
            request.pruned_to = content;
        }
        for request in &mut model.pruned {
            request.user_id = None;
        }
        if metadata > metadata_before {
            let all = model.requests.iter().chain(&model.pruned);
            let left = all.map(|request| request.payload_rows_before(limit));
            assert_eq!(left.sum::<u64>(), 0, "{retention:?}");
        }
        if size_bytes_max == Some(0) {
            let requests = model.requests.iter().filter(|request| !request.is_erased);
            for request in
                requests.filter(|request| request.ended_seq.is_some_and(|seq| seq < limit))
            {
                assert_eq!(request.payload_rows(), 0, "{}", request.id);
            }
        }
        self.count_events();
    }

    /// Up to which events content and metadata were pruned.
    fn pruned_to(&self) -> (u64, u64) {
        let connection = rusqlite::Connection::open(self.path()).unwrap();
        let [content, metadata] = ["content", "metadata"].map(|kind| {
            let sql = "SELECT coalesce(max(last_seq) + 1, 0) FROM removals WHERE kind = ?1";
            let limit: u32 = connection.query_row(sql, [kind], |row| row.get(0)).unwrap();
            u64::from(limit)
        });
        (content, metadata)
    }

    /// How many events state a removal is the store's to decide.
    fn count_events(&mut self) {
        let committed = self.store().health().committed_events;
        self.model.events = self.events_before() + committed;
    }
}

impl Request {
    /// Why what this event committed to is not there.
    pub fn gone(&self, seq: Option<u64>) -> Option<&'static str> {
        if self.is_erased {
            return Some("it was erased");
        }
        seq.is_some_and(|seq| seq < self.pruned_to)
            .then_some("it was pruned")
    }

    /// `false`: it was before.
    fn erase(&mut self) -> bool {
        if std::mem::replace(&mut self.is_erased, true) {
            return false;
        }
        for personal in [
            &mut self.user_id,
            &mut self.session_id,
            &mut self.context_id,
            &mut self.conversation_id,
            &mut self.trace_id,
            &mut self.response_id,
            &mut self.error_message,
            &mut self.text,
        ] {
            *personal = None;
        }
        self.actor = None;
        self.max_tokens = None;
        self.temperature = None;
        self.attributes.clear();
        self.messages.clear();
        self.has_messages = false;
        self.finish_reasons.clear();
        self.calls.clear();
        self.prepared = None;
        true
    }
}
