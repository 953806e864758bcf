//! Applies operations to a store and to the model, and compares the two.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use auditlite::{
    ActorKind, Capture, Completion, Durability, Failure, Message, MessageToolCall,
    MessageToolResult, OpenError, ReadOnlyStore, Receipt, ReceiptError, RecordError, Rejection,
    RequestContext, RequestHandle, Status, Store, Timing, ToolCall, Usage,
};
use fastrand::Rng;
use tempfile::TempDir;

use crate::expected::{Body, Call, Clock, Model, Request, cut, identifier, note};
use crate::operation::{Kind, Operation, Style};
use crate::words::{body, name, odd};

pub const PATIENCE: Duration = Duration::from_secs(60);
const CONVERSATIONS: usize = 3;

pub struct Machine {
    folder: TempDir,
    pub style: Style,
    pub store: Option<Store>,
    settings: Settings,
    pub model: Model,
    open: Vec<OpenRequest>,
    /// What each conversation has said so far.
    histories: [String; CONVERSATIONS],
    /// Receipts that must be durable after the next flush.
    receipts: Vec<Receipt>,
    /// Counts at the opening of the store.
    events_before: u64,
    lost_before: u64,
    shed_before: u64,
}

#[derive(Debug, Clone, Copy)]
struct Settings {
    cap: usize,
    capture: Capture,
    durability: Durability,
    events: usize,
    bytes: usize,
}

struct OpenRequest {
    handle: RequestHandle,
    place: usize,
    capture: Capture,
    is_live: bool,
    upstream: (bool, bool),
    first_chunk: bool,
    served: (Option<String>, Option<String>),
    http_status: Option<u16>,
    usage: Option<[Option<u64>; 5]>,
    chunks: Option<Vec<u8>>,
    prepared: Option<Vec<u8>>,
    altered: Vec<String>,
}

fn now() -> i64 {
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
            .payload_cap(settings.cap)
            .capture(settings.capture)
            .durability(settings.durability)
            .capacity_events(settings.events)
            .capacity_bytes(settings.bytes);
        let second = builder.clone();
        self.store = Some(builder.open().unwrap());
        assert!(matches!(second.open(), Err(OpenError::Locked { .. })));
        self.events_before = self.model.events;
        (self.lost_before, self.shed_before) = (self.model.lost, self.model.shed);
        self.model.next(); // store_opened
        self.model.sessions += 1;
        self.model.crashed_sessions += u64::from(is_after_crash);
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

    /// Opens a request; `conversation`: as the next turn of that one, with its history.
    fn open_one(&mut self, rng: &mut Rng, conversation: Option<(usize, String)>) {
        let is_plain = conversation.is_some() || !self.is_exact();
        let odd_id = (!is_plain && rng.u8(..5) == 0).then(|| odd(rng));
        let given_id = odd_id
            .or_else(|| (!is_plain && rng.u8(..3) > 0).then(|| format!("r-{}", rng.u16(..300))));
        let wire = ["", "openai.chat", "anthropic.messages", "my own"][rng.usize(..4)];
        let mut context = RequestContext::new(wire);
        let mut altered = Vec::new();
        if let Some(id) = &given_id {
            context = context.request_id(id.as_str());
            note(
                id.is_empty() || id.len() > 256 || id.contains('\0'),
                "request_id",
                &mut altered,
            );
        }
        let mut text = |field: &str, altered: &mut Vec<String>| {
            let given = name(rng, field);
            let recorded = identifier(given.as_deref(), field, altered);
            (given, recorded)
        };
        macro_rules! fields {
            ($($field:ident),*) => { $(
                let (given, $field) = text(stringify!($field), &mut altered);
                context.$field = given;
            )* };
        }
        // In the order of the checks, which is the order of what is noted.
        fields!(
            user_id,
            session_id,
            context_id,
            conversation_id,
            trace_id,
            operation_name
        );
        fields!(provider_name, request_model, requested_model);
        let mut conversation_id = conversation_id;
        if let Some((number, _)) = &conversation {
            context = context.conversation_id(format!("talk-{number}"));
            conversation_id = Some(format!("talk-{number}"));
            altered.retain(|name| name != "conversation_id");
        }
        let actor = match rng.u8(..4) {
            0 => Some((ActorKind::User, "user")),
            1 => Some((ActorKind::Job, "job")),
            2 => Some((ActorKind::Mcp, "mcp")),
            _ => None,
        };
        if let Some((kind, _)) = actor {
            context = context.actor(kind, "someone");
        }
        let max_tokens = rng.bool().then(|| rng.u64(..1 << 40));
        context.max_tokens = max_tokens;
        let temperature = rng.bool().then(|| rng.f64() * 2.0);
        context.temperature = temperature;
        context.is_streaming = rng.bool();
        let attributes: Vec<_> = (0..rng.usize(..4))
            .map(|number| (format!("key-{number}"), odd(rng).replace('\0', "")))
            .collect();
        context.attributes.clone_from(&attributes);
        let messages = messages(rng);
        context.messages.clone_from(&messages);
        // In years long gone, so that times can be filtered without looking at the clock.
        let started_at = rng
            .bool()
            .then(|| 1_500_000_000_000_000 + rng.i64(0..40) * 1_000_000_000);
        context.started_at = started_at;
        let capture = match rng.u8(..8) {
            0 if self.is_exact() => Some(Capture::MetadataOnly),
            1 => Some(Capture::Full),
            _ => None,
        };
        context.capture = capture;
        let capture = capture.unwrap_or(self.settings.capture);
        let bytes = match conversation {
            Some((_, history)) => history.into_bytes(),
            None => body(rng),
        };
        let is_streaming = context.is_streaming;
        let before = now();
        let handle = self
            .store()
            .recorder()
            .open(context, bytes.clone())
            .unwrap();
        let window = (before, now());
        if !handle.is_recorded() {
            assert!(!self.is_exact());
            self.model.lost += 1;
            let receipt = handle.complete(Completion::new()).unwrap();
            assert_eq!(receipt.wait(PATIENCE), Err(ReceiptError::Shed));
            return;
        }
        let id = handle.request_id().to_owned();
        if let Some(given) = &given_id
            && !altered.iter().any(|name| name == "request_id")
        {
            assert_eq!(&id, given);
        }
        let opened_seq = self.next_seq();
        self.model.requests.push(Request {
            opened_seq,
            ended_seq: None,
            id,
            status: Status::Pending,
            started_at,
            window,
            user_id,
            session_id,
            context_id,
            conversation_id,
            trace_id,
            actor: actor.map(|(_, name)| (name, "someone".to_owned())),
            operation_name,
            provider_name,
            request_model,
            requested_model,
            is_streaming,
            max_tokens,
            temperature,
            attributes,
            request: self.captured(bytes, capture),
            messages: match capture {
                Capture::Full => messages.clone().unwrap_or_default(),
                _ => Vec::new(),
            },
            has_messages: messages.is_some(),
            altered,
            response_model: None,
            response_provider: None,
            usage: [None; 5],
            latency: Clock::Absent,
            upstream: Clock::Absent,
            first_chunk: Clock::Absent,
            finish_reasons: Vec::new(),
            calls: Vec::new(),
            text: None,
            response_id: None,
            http_status: None,
            error_type: None,
            error_message: None,
            response: None,
            prepared: None,
        });
        self.open.push(OpenRequest {
            handle,
            place: self.model.requests.len() - 1,
            capture,
            is_live: started_at.is_none(),
            upstream: (false, false),
            first_chunk: false,
            served: (None, None),
            http_status: None,
            usage: None,
            chunks: None,
            prepared: None,
            altered: Vec::new(),
        });
    }

    fn captured(&self, bytes: Vec<u8>, capture: Capture) -> Body {
        Body {
            bytes,
            is_captured: capture == Capture::Full,
            cap: self.settings.cap,
        }
    }

    /// The next seq, where it can be told.
    fn next_seq(&mut self) -> Option<u64> {
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
                open.handle.set_prepared_body(bytes);
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
        let open = self.open.swap_remove(slot);
        let how = rng.u8(..10);
        let mut altered = open.altered.clone();
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
            end_of_model(rng, &mut completion, request, &mut altered, cap);
        }
        if request.response_model.is_none() || open.served.0.is_some() {
            // What the end says wins over what was said on the way.
            let served = completion.response_model.as_deref();
            let served = identifier(served, "response_model", &mut Vec::new());
            request.response_model = served.or_else(|| open.served.0.clone());
        }
        if open.capture != Capture::Full {
            request.text = request.text.take().map(|_| String::new());
        }
        request.response = response.map(|bytes| Body {
            bytes,
            is_captured: open.capture == Capture::Full,
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
        request.altered.extend(altered);
        self.receipts.extend(receipt);
    }

    /// One more turn: everything said so far is sent again, and an answer is added.
    fn turn(&mut self, rng: &mut Rng) {
        let number = match self.style {
            Style::Conversations => usize::from(rng.u8(..10) == 0),
            _ => rng.usize(..CONVERSATIONS),
        };
        let history = &mut self.histories[number];
        if history.len() > 200_000 || rng.u8(..150) == 0 {
            history.clear(); // begins anew under the same id
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
            // A reader keeps the write-ahead log from being started anew while it is copied.
            let pin = rusqlite::Connection::open(self.path()).unwrap();
            pin.execute_batch("BEGIN; SELECT count(*) FROM requests")
                .unwrap();
            for name in ["audit.db", "audit.db-wal"] {
                std::fs::copy(self.folder.path().join(name), copy.path().join(name)).unwrap();
            }
        }
        self.open.clear();
        let store = self.store.take().unwrap();
        assert!(store.close(PATIENCE).is_complete);
        self.folder = copy;
        self.settings = Settings::random(rng, self.style);
        self.open_store(true);
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
        assert_eq!(report.sessions, model.sessions);
        assert_eq!(report.crashed_sessions, model.crashed_sessions);
        assert_eq!(report.shed_lifecycles, model.lost);
        if self.is_exact() {
            assert_eq!(report.events, model.events);
            let rows: u64 = model.requests.iter().map(Request::payload_rows).sum();
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

fn messages(rng: &mut Rng) -> Option<Vec<Message>> {
    (rng.u8(..6) == 0).then(|| {
        (0..rng.usize(..3))
            .map(|number| Message {
                role: "user".to_owned(),
                text: odd(rng),
                tool_calls: vec![MessageToolCall {
                    tool_call_id: format!("call-{number}"),
                    tool_name: "tool".to_owned(),
                    input: odd(rng),
                }],
                tool_results: vec![MessageToolResult::default(); number],
            })
            .collect()
    })
}

fn usage(rng: &mut Rng) -> (Usage, [Option<u64>; 5]) {
    let numbers = std::array::from_fn(|_| rng.bool().then(|| rng.u64(..1 << 30)));
    let mut usage = Usage::default();
    usage.input_tokens = numbers[0];
    usage.output_tokens = numbers[1];
    usage.cache_read_input_tokens = numbers[2];
    usage.cache_write_input_tokens = numbers[3];
    usage.reasoning_output_tokens = numbers[4];
    (usage, numbers)
}

/// What completions and failures say of the model's answer.
fn end_of_model(
    rng: &mut Rng,
    completion: &mut Completion,
    request: &mut Request,
    altered: &mut Vec<String>,
    cap: usize,
) {
    if rng.bool() {
        let (usage, numbers) = usage(rng);
        completion.usage = Some(usage);
        request.usage = numbers;
    }
    for _ in 0..rng.usize(..3) {
        let reason = odd(rng);
        let recorded = cut(&reason, 256).replace('\0', "\u{fffd}");
        note(recorded != reason, "finish_reasons", altered);
        completion.finish_reasons.push(reason);
        request.finish_reasons.push(recorded);
    }
    let calls: Vec<_> = (0..rng.usize(..3))
        .map(|_| (odd(rng), odd(rng), body(rng)))
        .collect();
    let share = cap / 16;
    let input_max = (64 * 1024).min(share / calls.len().max(1));
    for (id, name, input) in &calls {
        let input = String::from_utf8_lossy(input).into_owned();
        let [short_id, short_name] =
            [id, name].map(|text| cut(text, 256).replace('\0', "\u{fffd}"));
        note(
            short_id != *id || short_name != *name,
            "tool_calls",
            altered,
        );
        request.calls.push(Call {
            id: short_id,
            name: short_name,
            input: cut(&input, input_max).to_owned(),
            input_bytes: input.len() as u64,
        });
        completion.tool_calls.push(ToolCall::new(id, name, input));
    }
    let response_id = name(rng, "response_id");
    request.response_id = identifier(response_id.as_deref(), "response_id", altered);
    completion.response_id = response_id;
    if rng.bool() {
        let model = name(rng, "response_model");
        // Noted here, recorded by the caller, who knows what was said before.
        identifier(model.as_deref(), "response_model", altered);
        completion.response_model = model;
        let recorded = completion.response_model.as_deref();
        if let Some(recorded) = identifier(recorded, "response_model", &mut Vec::new()) {
            request.response_model = Some(recorded);
        }
    }
    if rng.bool() {
        let text = String::from_utf8_lossy(&body(rng)).into_owned();
        let kept = cut(&text, share);
        request.text = Some(kept.to_owned());
        note(kept.len() < text.len(), "assistant_text", altered);
        completion.assistant_text = Some(text);
    }
    // Inputs are cut after the texts.
    for call in &request.calls {
        note(
            (call.input.len() as u64) < call.input_bytes,
            "tool_calls",
            altered,
        );
    }
}
