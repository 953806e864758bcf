//! Applies operations to a store and to the model, and compares the two.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use auditlite::{
    Capture, Completion, Durability, Failure, Message, OpenError, ReadOnlyStore, Receipt,
    RecordError, Rejection, RequestContext, RequestHandle, Status, Store, Timing,
};
use fastrand::Rng;
use tempfile::TempDir;

use crate::ending::{end_of_model, usage};
use crate::expected::{Body, Clock, Model, Request, identifier};
use crate::operation::{Kind, Operation, Style};
use crate::words::body;

pub const PATIENCE: Duration = Duration::from_secs(60);
const CONVERSATIONS: usize = 3;
/// The one that no request names.
pub const UNNAMED: usize = 2;

pub struct Machine {
    pub style: Style,
    pub store: Option<Store>,
    pub settings: Settings,
    pub model: Model,
    pub open: Vec<OpenRequest>,
    /// What each conversation has said so far.
    pub histories: [String; CONVERSATIONS],
    /// Receipts that must be durable after the next flush.
    receipts: Vec<Receipt>,
    pub resumed: Resumed,
    /// Counts at the opening of the store.
    events_before: u64,
    lost_before: u64,
    shed_before: u64,
    /// Last: the store is closed before its files are removed.
    folder: TempDir,
}

#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub cap: usize,
    pub capture: Capture,
    pub durability: Durability,
    pub events: usize,
    pub bytes: usize,
    pub conversation_cache_bytes: usize,
}

/// How often conversations went on that were not followed any more.
#[derive(Debug, Clone, Copy, Default)]
pub struct Resumed {
    /// In a store that was opened again.
    pub after_openings: u64,
    /// In a new store, which had let them go for want of memory.
    pub after_evictions: u64,
}

pub struct OpenRequest {
    pub handle: RequestHandle,
    pub place: usize,
    pub capture: Capture,
    /// Messages that the end decides about.
    pub held: Option<Vec<Message>>,
    pub is_live: bool,
    pub upstream: (bool, bool),
    pub first_chunk: bool,
    pub served: (Option<String>, Option<String>),
    pub http_status: Option<u16>,
    pub usage: Option<[Option<u64>; 5]>,
    pub chunks: Option<Vec<u8>>,
    pub prepared: Option<Vec<u8>>,
    pub adjusted_fields: Vec<String>,
}

pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_micros() as i64
}

impl Settings {
    fn random(rng: &mut Rng, style: Style) -> Self {
        let is_tight = style == Style::Tight;
        Self {
            cap: 16 * 1024 + rng.usize(..3) * 7000,
            capture: match rng.u8(..5) {
                0 if !is_tight => Capture::MetadataOnly,
                1 if !is_tight => Capture::Deferred,
                _ => Capture::Full,
            },
            // Syncing is not what this test is about; some of it, so that both run.
            durability: match rng.u8(..8) {
                0 => Durability::Full,
                _ => Durability::Buffered,
            },
            events: if is_tight {
                16 + rng.usize(..20)
            } else {
                65_536
            },
            bytes: if is_tight { 64 * 1024 } else { 64 << 20 },
            // From nothing, over what holds a conversation or two, to what holds all.
            conversation_cache_bytes: [0, 8 << 10, 24 << 10, 200 << 10, 64 << 20][rng.usize(..5)],
        }
    }
}

impl Machine {
    pub fn new(style: Style, seed: u64) -> Self {
        let mut machine = Self {
            folder: tempfile::tempdir().unwrap(),
            style,
            store: None,
            settings: Settings::random(&mut Rng::with_seed(seed), style),
            model: Model::default(),
            open: Vec::new(),
            histories: Default::default(),
            receipts: Vec::new(),
            resumed: Resumed::default(),
            events_before: 0,
            lost_before: 0,
            shed_before: 0,
        };
        machine.open_store(false);
        machine
    }

    /// Nothing is shed, so that everything is known beforehand.
    pub fn is_exact(&self) -> bool {
        self.style != Style::Tight
    }

    /// Events in the log when the store was opened.
    pub fn events_before(&self) -> u64 {
        self.events_before
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("audit.db")
    }

    pub fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    pub fn apply(&mut self, operation: Operation) {
        let mut rng = Rng::with_seed(operation.seed);
        match operation.kind {
            Kind::Open => self.open_one(&mut rng, None),
            Kind::Touch => self.touch(&mut rng),
            Kind::End => self.end(&mut rng),
            Kind::Turn => self.turn(&mut rng),
            Kind::Reject => self.reject(&mut rng),
            Kind::Flush => self.flush(),
            Kind::Reopen => self.reopen(&mut rng),
            Kind::Crash => self.crash(&mut rng),
            Kind::Erase => self.erase(&mut rng),
            Kind::Prune => self.prune(&mut rng),
            Kind::Get => self.check_get(&mut rng),
            Kind::Find => self.check_find(&mut rng),
            Kind::List => self.check_list(&mut rng),
            Kind::Stats => self.check_stats(&mut rng),
            Kind::Bodies => self.check_bodies(&mut rng),
            Kind::Doctor => self.check_doctor(),
        }
    }

    fn open_store(&mut self, is_after_crash: bool) {
        let settings = self.settings;
        let builder = Store::builder(self.path())
            .payload_bytes_max(settings.cap)
            .capture(settings.capture)
            .durability(settings.durability)
            // What a crash leaves of streams is the business of `pieces`.
            .response_pieces(Duration::MAX, usize::MAX)
            .capacity_events(settings.events)
            .capacity_bytes(settings.bytes)
            .conversation_cache_bytes(settings.conversation_cache_bytes);
        let second = builder.clone();
        self.store = Some(builder.open().unwrap());
        assert!(matches!(second.open(), Err(OpenError::Locked { .. })));
        self.events_before = self.model.events;
        (self.lost_before, self.shed_before) = (self.model.lost, self.model.shed);
        self.model.next(); // store_opened
        self.model.openings += 1;
        self.model.crashed_openings += u64::from(is_after_crash);
        for place in 0..self.model.requests.len() {
            if self.model.requests[place].status != Status::Pending {
                continue;
            }
            let seq = self.model.next();
            let request = &mut self.model.requests[place];
            request.status = Status::Interrupted;
            request.ended_seq = Some(seq);
        }
    }

    pub fn captured(&self, bytes: Vec<u8>, capture: Capture) -> Body {
        Body {
            bytes,
            is_captured: capture == Capture::Full,
            cap: self.settings.cap,
        }
    }

    /// The next seq, where it can be told.
    pub fn next_seq(&mut self) -> Option<u64> {
        let seq = self.model.next();
        self.is_exact().then_some(seq)
    }

    fn touch(&mut self, rng: &mut Rng) {
        if self.open.is_empty() {
            return;
        }
        let slot = rng.usize(..self.open.len());
        self.touch_one(rng, slot);
    }

    fn touch_one(&mut self, rng: &mut Rng, slot: usize) {
        let what = rng.u8(..8);
        let open = &mut self.open[slot];
        let request = &mut self.model.requests[open.place];
        match what {
            0 | 1 => {
                let name = ["", "served-1", "served-2"][rng.usize(..3)].to_owned();
                let (kept, recorded) = if what == 0 {
                    open.handle.set_served_model(&name);
                    (&mut open.served.0, &mut request.response_model)
                } else {
                    open.handle.set_served_provider(&name);
                    (&mut open.served.1, &mut request.response_provider)
                };
                if !name.is_empty() && kept.as_ref() != Some(&name) {
                    *kept = Some(name.clone());
                    *recorded = Some(name);
                    self.model.next();
                }
            }
            2 => {
                open.http_status = Some(200 + rng.u16(..400));
                open.handle.set_http_status(open.http_status.unwrap());
            }
            3 => {
                let (usage, numbers) = usage(rng);
                open.usage = Some(numbers);
                open.handle.set_usage(usage);
            }
            4 if rng.bool() => {
                open.upstream.0 = true;
                open.handle.upstream_started();
            }
            4 => {
                open.upstream.1 = true;
                open.handle.upstream_ended();
            }
            5 => {
                let bytes = if rng.u8(..3) == 0 {
                    request.request.bytes.clone()
                } else {
                    body(rng)
                };
                open.prepared = (bytes != request.request.bytes).then(|| bytes.clone());
                open.handle.set_upstream_body(bytes);
            }
            _ => {
                let bytes = body(rng);
                open.first_chunk = true;
                if !bytes.is_empty() {
                    open.chunks
                        .get_or_insert_default()
                        .extend_from_slice(&bytes);
                }
                open.handle.chunk(bytes);
            }
        }
    }

    fn end(&mut self, rng: &mut Rng) {
        if !self.open.is_empty() {
            let slot = rng.usize(..self.open.len());
            self.end_one(rng, slot);
        }
    }

    fn end_one(&mut self, rng: &mut Rng, slot: usize) {
        let mut open = self.open.swap_remove(slot);
        let how = rng.u8(..10);
        let mut decided = open.capture;
        if rng.u8(..4) == 0 {
            let captures = [Capture::Full, Capture::MetadataOnly, Capture::Deferred];
            let capture = captures[rng.usize(..3)];
            open.handle.set_capture(capture);
            if decided == Capture::Deferred {
                decided = capture;
            }
        }
        let mut adjusted = open.adjusted_fields.clone();
        let mut completion = Completion::new();
        let seq = self.next_seq();
        let cap = self.settings.cap;
        let request = &mut self.model.requests[open.place];
        request.ended_seq = seq;
        request.http_status = open.http_status;
        request.usage = open.usage.unwrap_or_default();
        let measured = |is_there: bool| match is_there && open.is_live {
            true => Clock::Measured,
            false => Clock::Absent,
        };
        request.latency = measured(true);
        request.upstream = measured(open.upstream.0);
        request.first_chunk = measured(open.first_chunk);
        request.prepared.clone_from(&open.prepared);
        let mut response = open.chunks.clone();
        if how >= 2 {
            // All of completed, failed and rejected have these.
            if rng.bool() {
                response = Some(body(rng));
                completion.response_body = response.clone().map(Into::into);
            }
            if rng.u8(..3) == 0 {
                let status = 100 + rng.u16(..500);
                completion = completion.http_status(status);
                request.http_status = Some(status);
            }
            if rng.bool() {
                let latency = rng.u64(..1 << 40);
                completion = completion.timing(
                    Timing::default()
                        .latency_us(latency)
                        .time_to_first_chunk_us(latency / 2),
                );
                request.latency = Clock::Given(latency);
                request.first_chunk = Clock::Given(latency / 2);
            }
        }
        if how >= 3 {
            end_of_model(rng, &mut completion, request, &mut adjusted, cap);
        }
        if request.response_model.is_none() || open.served.0.is_some() {
            // What the end says wins over what was said on the way.
            let served = completion.response_model.as_deref();
            let served = identifier(served, "response_model", &mut Vec::new());
            request.response_model = served.or_else(|| open.served.0.clone());
        }
        // 0 and 1 abandon, 2 rejects, 3 and 4 fail.
        let is_success = how > 4 && request.http_status.is_none_or(|status| status < 400);
        let is_captured = match decided {
            Capture::Deferred => !is_success,
            decided => decided == Capture::Full,
        };
        if open.capture == Capture::Deferred && is_captured {
            request.is_late = true;
            request.request.is_captured = true;
            request.messages = open.held.unwrap_or_default();
        }
        if !is_captured {
            request.text = request.text.take().map(|_| String::new());
        }
        request.response = response.map(|bytes| Body {
            bytes,
            is_captured,
            cap,
        });
        let receipt = match how {
            0 | 1 => {
                drop(open.handle);
                request.status = Status::Abandoned;
                None
            }
            2 => {
                request.status = Status::Rejected;
                let mut rejection = Rejection::new("policy");
                request.error_type = Some("policy".to_owned());
                rejection.response_body = completion.response_body;
                rejection.http_status = completion.http_status;
                rejection.timing = completion.timing;
                Some(open.handle.reject(rejection).unwrap())
            }
            3 | 4 => {
                request.status = Status::Failed;
                let mut failure = Failure::new(if rng.bool() { "" } else { "timeout" });
                let error_type = if failure.error_type.is_empty() {
                    "_OTHER"
                } else {
                    "timeout"
                };
                request.error_type = Some(error_type.to_owned());
                failure.error_message = rng.bool().then(|| "words\nof the upstream".to_owned());
                request.error_message.clone_from(&failure.error_message);
                failure.usage = completion.usage;
                failure.usage_details = completion.usage_details;
                failure.finish_reasons = completion.finish_reasons;
                failure.tool_calls = completion.tool_calls;
                failure.response_body = completion.response_body;
                failure.assistant_text = completion.assistant_text;
                failure.response_id = completion.response_id;
                failure.response_model = completion.response_model;
                failure.http_status = completion.http_status;
                failure.timing = completion.timing;
                Some(open.handle.fail(failure).unwrap())
            }
            _ => {
                request.status = Status::Completed;
                Some(open.handle.complete(completion).unwrap())
            }
        };
        request.adjusted_fields.extend(adjusted);
        self.receipts.extend(receipt);
    }

    /// One more turn: everything said so far is sent again, and an answer is added.
    fn turn(&mut self, rng: &mut Rng) {
        let number = match self.style {
            Style::Conversations => {
                [0, 0, 0, 0, 0, 0, 1, UNNAMED, UNNAMED, UNNAMED][rng.usize(..10)]
            }
            _ => rng.usize(..CONVERSATIONS),
        };
        let history = &mut self.histories[number];
        if history.len() > 200_000 || rng.u8(..150) == 0 {
            history.clear(); // starts again under the same id
        }
        history.push_str(&format!(
            "{{\"role\":\"user\",\"content\":\"{}\"}},",
            sentence(rng)
        ));
        let whole = format!(
            "{{\"messages\":[{history}],\"tools\":[\"{}\"]}}",
            "tool ".repeat(50)
        );
        let opened = self.model.requests.len();
        self.open_one(rng, Some((number, whole)));
        if self.model.requests.len() == opened {
            return;
        }
        let slot = self.open.len() - 1;
        let answer = sentence(rng);
        self.histories[number].push_str(&format!(
            "{{\"role\":\"assistant\",\"content\":\"{answer}\"}},"
        ));
        let open = &mut self.open[slot];
        open.first_chunk = true;
        let answer = format!("{{\"choices\":[{{\"content\":\"{answer}\"}}]}}").into_bytes();
        open.chunks = Some(answer.clone());
        let half = answer.len() / 2;
        open.handle.chunk(answer[..half].to_vec());
        open.handle.chunk(answer[half..].to_vec());
        self.end_one(rng, slot);
    }

    fn reject(&mut self, rng: &mut Rng) {
        let opened = self.model.requests.len();
        self.open_one(rng, None);
        if self.model.requests.len() > opened {
            let slot = self.open.len() - 1;
            self.end_one(rng, slot);
        }
    }

    pub fn flush(&mut self) {
        self.store().flush(PATIENCE).unwrap();
        for receipt in self.receipts.drain(..) {
            assert!(receipt.is_durable());
        }
    }

    pub fn reopen(&mut self, rng: &mut Rng) {
        if !self.is_exact() {
            self.settle(rng);
        }
        self.count_resumed();
        let store = self.store.take().unwrap();
        let recorder = store.recorder();
        let report = store.close(PATIENCE);
        self.model.next(); // store_closed
        assert!(report.is_complete, "{report:?}");
        assert_eq!(report.lost_events, 0);
        assert_eq!(report.open_requests, self.open.len() as u64);
        assert_eq!(report.shed_lifecycles, self.model.lost - self.lost_before);
        assert_eq!(report.shed_payloads, self.model.shed - self.shed_before);
        if self.is_exact() {
            assert_eq!(
                report.committed_events,
                self.model.events - self.events_before
            );
        }
        for receipt in self.receipts.drain(..) {
            assert!(receipt.is_durable());
        }
        // What comes now comes too late, and is told so.
        let late = recorder.open(RequestContext::new(""), "too late");
        assert_eq!(late.unwrap_err(), RecordError::Closed);
        for open in self.open.drain(..) {
            if rng.bool() {
                let late = open.handle.complete(Completion::new());
                assert_eq!(late.unwrap_err(), RecordError::Closed);
            }
        }
        self.settings = Settings::random(rng, self.style);
        self.open_store(false);
    }

    /// Goes on with a copy of the files, as a kill would have left them.
    fn crash(&mut self, rng: &mut Rng) {
        if !self.is_exact() {
            return;
        }
        self.flush();
        let copy = tempfile::tempdir().unwrap();
        {
            // A reader keeps the write-ahead log from restarting while it is copied.
            let pin = rusqlite::Connection::open(self.path()).unwrap();
            pin.execute_batch("BEGIN; SELECT count(*) FROM requests")
                .unwrap();
            for name in ["audit.db", "audit.db-wal"] {
                std::fs::copy(self.folder.path().join(name), copy.path().join(name)).unwrap();
            }
        }
        self.open.clear();
        self.count_resumed();
        let store = self.store.take().unwrap();
        assert!(store.close(PATIENCE).is_complete);
        self.folder = copy;
        self.settings = Settings::random(rng, self.style);
        self.open_store(true);
    }

    /// Counts what this opening of the store has read back.
    pub fn count_resumed(&mut self) {
        let resumed = self.store().health().conversations_resumed;
        if self.model.openings == 1 {
            self.resumed.after_evictions += resumed;
        } else {
            self.resumed.after_openings += resumed;
        }
    }

    /// Ends everything, and counts by reading what was shed in this session.
    fn settle(&mut self, rng: &mut Rng) {
        while !self.open.is_empty() {
            self.end_one(rng, 0);
        }
        self.flush();
        let health = self.store().health();
        assert_eq!((health.queued_events, health.queued_bytes), (0, 0));
        self.model.shed = self.count_shed();
        assert_eq!(health.shed_lifecycles, self.model.lost - self.lost_before);
        assert_eq!(health.shed_payloads, self.model.shed - self.shed_before);
    }

    pub fn check_doctor(&mut self) {
        self.flush();
        let report = ReadOnlyStore::open(self.path()).unwrap().doctor().unwrap();
        let model = &self.model;
        assert_eq!(report.findings, Vec::<String>::new());
        assert_eq!(report.requests, model.requests.len() as u64);
        assert_eq!(report.pending, self.open.len() as u64);
        assert_eq!(report.openings, model.openings);
        assert_eq!(report.crashed_openings, model.crashed_openings);
        assert_eq!(report.shed_lifecycles, model.lost);
        if self.is_exact() {
            assert_eq!(report.events, model.events);
            let all = model.requests.iter().chain(&model.pruned);
            let rows: u64 = all.map(Request::payload_rows).sum();
            assert_eq!(report.payloads, rows);
        }
    }
}

fn sentence(rng: &mut Rng) -> String {
    let words = [
        "alpha", "beta", "größe", "delta", "𝄞", "\\n", "tool", "result",
    ];
    (0..2 + rng.usize(..120))
        .map(|_| words[rng.usize(..words.len())])
        .collect::<Vec<_>>()
        .join(" ")
}
