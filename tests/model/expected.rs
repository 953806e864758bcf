//! The model: what a store must answer, kept in plain memory by rules of its own.

use auditlite::{
    Message, RequestFilter, RequestRecord, StatsFilter, StatsKey, Status, Usage, stored_identifier,
};

/// An identifier as it is recorded.
pub fn identifier(text: Option<&str>, field: &str, adjusted: &mut Vec<String>) -> Option<String> {
    let text = text.filter(|text| !text.is_empty())?;
    let recorded = stored_identifier(text).into_owned();
    note(recorded != text, field, adjusted);
    Some(recorded)
}

/// As much of a text as fits, in whole characters.
pub fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

pub fn note(is_altered: bool, field: &str, adjusted: &mut Vec<String>) {
    if is_altered && !adjusted.iter().any(|name| name == field) {
        adjusted.push(field.to_owned());
    }
}

/// A body, and what of it can be read.
#[derive(Debug, Clone)]
pub struct Body {
    pub bytes: Vec<u8>,
    /// Capture was on.
    pub is_captured: bool,
    pub cap: usize,
}

#[derive(Debug, Clone, Default)]
pub struct Call {
    pub id: String,
    pub name: String,
    pub input: String,
    pub input_bytes: u64,
}

/// A figure of a clock: known, there, or not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Clock {
    #[default]
    Absent,
    Measured,
    Given(u64),
}

impl Clock {
    fn check(self, found: Option<u64>, what: &str) {
        match self {
            Self::Absent => assert_eq!(found, None, "{what}"),
            Self::Given(us) => assert_eq!(found, Some(us), "{what}"),
            // A sequence takes minutes at most; a wrap-around takes centuries.
            Self::Measured => assert!(found.is_some_and(|us| us < 3_600_000_000), "{what}"),
        }
    }
}

/// One request.
#[derive(Debug, Clone)]
pub struct Request {
    /// Known beforehand where nothing is shed.
    pub opened_seq: Option<u64>,
    pub ended_seq: Option<u64>,
    pub id: String,
    pub status: Status,
    pub started_at: Option<i64>,
    /// Between these it was opened.
    pub window: (i64, i64),
    pub user_id: Option<String>,
    pub session_id: Option<String>,
    pub context_id: Option<String>,
    pub conversation_id: Option<String>,
    pub trace_id: Option<String>,
    pub actor: Option<(&'static str, String)>,
    pub operation_name: Option<String>,
    pub provider_name: Option<String>,
    pub request_model: Option<String>,
    pub client_model: Option<String>,
    pub is_streaming: bool,
    pub max_tokens: Option<u64>,
    pub temperature: Option<f64>,
    pub attributes: Vec<(String, String)>,
    pub request: Body,
    pub messages: Vec<Message>,
    pub has_messages: bool,
    /// Capture was deferred, and the end has kept what the opening did not.
    pub is_late: bool,
    pub adjusted_fields: Vec<String>,
    pub response_model: Option<String>,
    pub response_provider: Option<String>,
    pub usage: [Option<u64>; 5],
    /// Tokens of other models that the usage includes.
    pub others: Vec<(String, [Option<u64>; 5])>,
    pub latency: Clock,
    pub upstream: Clock,
    pub first_chunk: Clock,
    pub finish_reasons: Vec<String>,
    pub calls: Vec<Call>,
    pub text: Option<String>,
    pub response_id: Option<String>,
    pub http_status: Option<u16>,
    pub error_type: Option<String>,
    pub error_message: Option<String>,
    pub response: Option<Body>,
    /// The forwarded body, where it differs.
    pub prepared: Option<Vec<u8>>,
    pub is_erased: bool,
    /// What events before this one committed to was pruned.
    pub pruned_to: u64,
}

impl Request {
    fn conversation(&self) -> Option<&String> {
        self.conversation_id
            .as_ref()
            .or(self.context_id.as_ref())
            .or(self.session_id.as_ref())
    }

    fn provider(&self) -> Option<&String> {
        self.response_provider
            .as_ref()
            .or(self.provider_name.as_ref())
    }

    fn model(&self) -> Option<&String> {
        self.response_model
            .as_ref()
            .or(self.request_model.as_ref())
            .or(self.client_model.as_ref())
    }

    /// Whose tokens it used: first what counts to its own model, then to each other one. No more is credited than it
    /// used, nothing to what has no name, and what its own model used beside itself is its own.
    fn shares(&self) -> Vec<(String, [u64; 5])> {
        let own = self.model().cloned().unwrap_or_default();
        let mut shares = vec![(own.clone(), self.usage.map(Option::unwrap_or_default))];
        for (model, usage) in &self.others {
            if model.is_empty() || *model == own {
                continue;
            }
            let mut share = [0; 5];
            for (kind, count) in usage.iter().enumerate() {
                share[kind] = count.unwrap_or(0).min(shares[0].1[kind]);
                shares[0].1[kind] -= share[kind];
            }
            if share == [0; 5] {
                continue;
            }
            match shares[1..].iter_mut().find(|(known, _)| known == model) {
                Some((_, known)) => {
                    known
                        .iter_mut()
                        .zip(share)
                        .for_each(|(sum, count)| *sum += count);
                }
                None => shares.push((model.clone(), share)),
            }
        }
        shares
    }

    /// Rows of content that the file holds of it, where nothing is shed.
    pub fn payload_rows(&self) -> u64 {
        self.payload_rows_before(u64::MAX)
    }

    /// Of these, those of events before this one.
    pub fn payload_rows_before(&self, end: u64) -> u64 {
        let is_there =
            |seq: Option<u64>| self.gone(seq).is_none() && seq.is_none_or(|seq| seq < end);
        let (opening, ending) = (is_there(self.opened_seq), is_there(self.ended_seq));
        let has_texts = self.text.is_some() || !self.calls.is_empty();
        let has_content = has_texts || (self.is_late && self.has_messages);
        let has_response = self
            .response
            .as_ref()
            .is_some_and(|body| !body.bytes.is_empty());
        [
            opening && !self.request.bytes.is_empty(),
            opening && self.has_messages,
            ending && self.is_late && !self.request.bytes.is_empty(),
            ending && has_response,
            ending && has_content && self.ended_seq.is_some(),
            ending && self.prepared.is_some() && self.response_can_be(),
        ]
        .into_iter()
        .map(u64::from)
        .sum()
    }

    /// The event that has the request's content.
    pub fn content_seq(&self) -> Option<u64> {
        match self.is_late {
            true => self.ended_seq,
            false => self.opened_seq,
        }
    }

    /// Whether an end by the gateway is recorded.
    pub fn response_can_be(&self) -> bool {
        !matches!(self.status, Status::Pending | Status::Interrupted)
    }

    pub fn matches(&self, filter: &RequestFilter) -> bool {
        let is = |wanted: &Option<String>, found: &[Option<&String>]| {
            wanted
                .as_deref()
                .map(stored_identifier)
                .is_none_or(|wanted| {
                    let mut found = found.iter().flatten();
                    found.any(|found| **found == wanted)
                })
        };
        // Of the patterns, words have this one only.
        let is_like = |wanted: &Option<String>, found: &[Option<&String>]| {
            let is_any = wanted.as_deref() == Some("*") && found.iter().any(Option::is_some);
            is_any || is(wanted, found)
        };
        let at = self.started_at.unwrap_or(self.window.0);
        filter.since.is_none_or(|since| at >= since.as_micros())
            && filter.until.is_none_or(|until| at < until.as_micros())
            && (filter.statuses.is_empty() || filter.statuses.contains(&self.status))
            && (filter.http_statuses.is_empty()
                || self.http_status.is_some_and(|found| {
                    filter
                        .http_statuses
                        .iter()
                        .any(|range| range.contains(&found))
                }))
            && is_like(&filter.error_type, &[self.error_type.as_ref()])
            && is_like(
                &filter.provider_name,
                &[self.provider_name.as_ref(), self.response_provider.as_ref()],
            )
            && is_like(
                &filter.model,
                &[
                    self.response_model.as_ref(),
                    self.request_model.as_ref(),
                    self.client_model.as_ref(),
                ],
            )
            && match filter.user_id.as_deref() {
                Some("") => self.user_id.is_none(),
                _ => is(&filter.user_id, &[self.user_id.as_ref()]),
            }
            && is(&filter.session_id, &[self.session_id.as_ref()])
            && is(&filter.conversation_id, &[self.conversation()])
            && is(&filter.trace_id, &[self.trace_id.as_ref()])
    }

    /// Compares with what a reader got. `is_exact`: nothing can have been shed.
    pub fn check(&self, found: &RequestRecord, is_exact: bool) {
        let id = &self.id;
        assert_eq!(&found.request_id, id);
        if let Some(seq) = self.opened_seq {
            assert_eq!(found.opened_seq, seq, "{id}");
            assert_eq!(found.ended_seq, self.ended_seq, "{id}");
        }
        assert_eq!(found.status, self.status, "{id}");
        match self.started_at {
            Some(at) => assert_eq!(found.opened_at.as_micros(), at, "{id}"),
            None => {
                let (from, to) = self.window;
                assert!(
                    (from..=to).contains(&found.opened_at.as_micros()),
                    "{id}: {found:?}"
                );
            }
        }
        assert_eq!(found.user_id, self.user_id, "{id}");
        assert_eq!(found.session_id, self.session_id, "{id}");
        assert_eq!(found.context_id, self.context_id, "{id}");
        assert_eq!(found.conversation_id, self.conversation_id, "{id}");
        assert_eq!(
            found.conversation(),
            self.conversation().map(String::as_str)
        );
        assert_eq!(found.trace_id, self.trace_id, "{id}");
        let actor = found.actor_type.as_deref().zip(found.actor_id.clone());
        assert_eq!(actor, self.actor.clone(), "{id}");
        assert_eq!(found.operation_name, self.operation_name, "{id}");
        assert_eq!(found.provider_name, self.provider_name, "{id}");
        assert_eq!(found.request_model, self.request_model, "{id}");
        assert_eq!(found.client_model, self.client_model, "{id}");
        assert_eq!(found.is_streaming, self.is_streaming, "{id}");
        assert_eq!(found.max_tokens, self.max_tokens, "{id}");
        assert_eq!(found.temperature, self.temperature, "{id}");
        assert_eq!(found.attributes, self.attributes, "{id}");
        assert_eq!(found.request_bytes, self.request.bytes.len() as u64, "{id}");
        // A notice that was shed is repeated by the end, where there is one.
        if is_exact || self.response_can_be() {
            assert_eq!(found.response_model, self.response_model, "{id}");
            assert_eq!(found.response_provider_name, self.response_provider, "{id}");
            assert_eq!(found.model(), self.model().map(String::as_str), "{id}");
            assert_eq!(
                found.provider(),
                self.provider().map(String::as_str),
                "{id}"
            );
        }
        let usage = [
            found.input_tokens,
            found.output_tokens,
            found.cache_read_input_tokens,
            found.cache_write_input_tokens,
            found.reasoning_output_tokens,
        ];
        assert_eq!(usage, self.usage, "{id}");
        let details = found.usage_details.as_ref();
        let others = details.map_or(&[][..], |details| &details.other_models);
        let others: Vec<_> = others
            .iter()
            .map(|other| (other.model.clone(), numbers_of(&other.usage)))
            .collect();
        assert_eq!(others, self.others, "{id}");
        assert_eq!(
            found.cost_microdollars, None,
            "{id}: there is no price book"
        );
        self.latency.check(found.latency_us, "latency_us");
        self.upstream
            .check(found.upstream_latency_us, "upstream_latency_us");
        self.first_chunk
            .check(found.time_to_first_chunk_us, "time_to_first_chunk_us");
        assert_eq!(found.finish_reasons, self.finish_reasons, "{id}");
        assert_eq!(found.tool_call_count, self.calls.len() as u64, "{id}");
        assert_eq!(found.response_id, self.response_id, "{id}");
        assert_eq!(found.http_status, self.http_status, "{id}");
        assert_eq!(found.error_type, self.error_type, "{id}");
        assert_eq!(found.error_message, self.error_message, "{id}");
        let response_bytes = self.response.as_ref().map(|body| body.bytes.len() as u64);
        assert_eq!(found.response_bytes, response_bytes, "{id}");
        // What bodies say is the business of `wire` and `it::extraction`; the ones here say nothing.
        let is_told = |name: &&String| !name.ends_with("_unparsed");
        let adjusted: Vec<&String> = found.adjusted_fields.iter().filter(is_told).collect();
        assert_eq!(
            adjusted,
            self.adjusted_fields.iter().collect::<Vec<_>>(),
            "{id}"
        );
        assert_eq!(found.is_erased, self.is_erased, "{id}");
    }
}

/// Everything that must be there, in the order of opening.
#[derive(Debug, Default)]
pub struct Model {
    pub requests: Vec<Request>,
    /// Requests that were pruned altogether: they count, without their users.
    pub pruned: Vec<Request>,
    /// Events in the log.
    pub events: u64,
    pub openings: u64,
    pub crashed_openings: u64,
    /// Lifecycles and payloads that gaps must state.
    pub lost: u64,
    pub shed: u64,
}

impl Model {
    /// The seq of the next event.
    pub fn next(&mut self) -> u64 {
        self.events += 1;
        self.events - 1
    }

    /// A list, newest first.
    pub fn list(&self, filter: &RequestFilter) -> Vec<&Request> {
        let newest_first = self.requests.iter().rev();
        newest_first
            .filter(|request| request.matches(filter))
            .collect()
    }

    /// What an id stands for: itself, else a prefix, else a trace; newest first.
    pub fn lookup(&self, id: &str) -> Vec<&Request> {
        if id.is_empty() {
            return Vec::new();
        }
        let found = |is: &dyn Fn(&Request) -> bool| -> Vec<&Request> {
            self.requests
                .iter()
                .rev()
                .filter(|request| is(request))
                .collect()
        };
        let stored = stored_identifier(id);
        let mut matching = found(&|request| request.id == stored);
        if matching.is_empty() {
            matching = found(&|request| request.id.starts_with(id));
        }
        if matching.is_empty() {
            matching = found(&|request| request.trace_id.as_deref() == Some(&stored));
        }
        matching
    }

    /// The rows of a rollup, without times and latencies: key, counts by status, tokens, unpriced.
    pub fn stats(&self, filter: &StatsFilter) -> Vec<StatsSums> {
        let mut rows = std::collections::BTreeMap::new();
        for request in self.requests.iter().chain(&self.pruned) {
            let provider = request.provider().cloned().unwrap_or_default();
            let user = request.user_id.clone().unwrap_or_default();
            let is = |wanted: &Option<String>, found: &String| {
                wanted.as_ref().is_none_or(|wanted| wanted == found)
            };
            let hour = request
                .started_at
                .unwrap_or(request.window.0)
                .div_euclid(3_600_000_000);
            let is_in = filter
                .since
                .is_none_or(|at| hour >= at.as_micros().div_euclid(3_600_000_000))
                && filter
                    .until
                    .is_none_or(|at| hour <= (at.as_micros() - 1).div_euclid(3_600_000_000));
            if request.status == Status::Pending
                || !is_in
                || !is(&filter.provider_name, &provider)
                || !is(&filter.user_id, &user)
            {
                continue;
            }
            let by = |key, value: &String| filter.group_by.contains(&key).then(|| value.clone());
            let is_by_model = filter.model.is_some() || filter.group_by.contains(&StatsKey::Model);
            for (place, (model, tokens)) in request.shares().into_iter().enumerate() {
                if !is(&filter.model, &model) {
                    continue;
                }
                let key = [
                    by(StatsKey::Provider, &provider),
                    by(StatsKey::Model, &model),
                    by(StatsKey::User, &user),
                ];
                let sums: &mut StatsSums = rows.entry(key.clone()).or_insert_with(|| StatsSums {
                    key,
                    ..StatsSums::default()
                });
                for (sum, value) in sums.tokens.iter_mut().zip(tokens) {
                    *sum += value;
                }
                if place > 0 {
                    sums.credited += u64::from(is_by_model);
                    continue;
                }
                let place = Status::ALL
                    .iter()
                    .position(|status| *status == request.status);
                sums.by_status[place.unwrap()] += 1;
                sums.unpriced +=
                    u64::from(request.usage[0].is_some() || request.usage[1].is_some());
                sums.timed += u64::from(request.latency != Clock::Absent);
            }
        }
        rows.into_values().collect()
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct StatsSums {
    pub key: [Option<String>; 3],
    pub by_status: [u64; 6],
    pub tokens: [u64; 5],
    pub unpriced: u64,
    pub timed: u64,
    pub credited: u64,
}

pub fn numbers_of(usage: &Usage) -> [Option<u64>; 5] {
    [
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_input_tokens,
        usage.cache_write_input_tokens,
        usage.reasoning_output_tokens,
    ]
}
