//! Makes extreme input: templates in which every number and every text is an extreme one.

use auditlite::{
    ActorKind, Capture, Completion, Failure, Rejection, RequestContext, Store, Timestamp, Timing,
    ToolCall, Usage, WireProtocol,
};

/// Numbers as they can stand in JSON, and values that stand where a number should.
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "7",
    "200",
    "-0",
    "-1",
    "1.5",
    "-0.0",
    "1e308",
    "1e400",
    "-1e400",
    "1e-400",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "4611686018427387904",
    "9007199254740993",
    "10000000000",
    "10000000001",
    "2592000000001",
    "1000000000001",
    "123456789012345678901234567890",
    "2.0",
    "1E+2",
    "\"7\"",
    "\"\"",
    "null",
    "true",
    "[]",
    "{}",
    "[1e999]",
    "1e99999999999999999999",
];

/// Numbers as a gateway can tell them.
const COUNTS: &[u64] = &[
    0,
    1,
    7,
    10_000_000_000,
    10_000_000_001,
    1 << 53,
    1 << 62,
    (1 << 63) - 1,
    1 << 63,
    u64::MAX - 1,
    u64::MAX,
    2_592_000_000_000,
    2_592_000_000_001,
    1_000_000_000_001,
];

const REALS: &[f64] = &[
    0.0,
    -0.0,
    0.7,
    1.0,
    -1.0,
    1e6,
    1e7,
    f64::MAX,
    f64::MIN,
    f64::MIN_POSITIVE,
    5e-324,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::NAN,
];

const TIMES: &[i64] = &[
    0,
    -1,
    1,
    1_764_000_000_000_000,
    i64::MAX,
    i64::MIN,
    253_402_300_799_999_999,
    253_402_300_800_000_000,
];

/// `#N`: a number; `#T`: a text; `#M`: a model.
const REQUESTS: &[(&str, &str)] = &[
    (
        "openai.chat",
        r##"{"model":#M,"messages":[{"role":#T,"content":#T},{"role":"assistant","tool_calls":[{"id":#T,"function":{"name":#T,"arguments":#T}}]}],"max_tokens":#N,"max_completion_tokens":#N,"temperature":#N,"top_p":#N,"n":#N,"stream":true}"##,
    ),
    (
        "openai.responses",
        r##"{"model":#M,"input":[{"type":"message","role":#T,"content":#T}],"max_output_tokens":#N,"temperature":#N,"top_p":#N}"##,
    ),
    ("openai.embeddings", r##"{"model":#M,"input":[#T,#N]}"##),
    (
        "anthropic.messages",
        r##"{"model":#M,"system":#T,"messages":[{"role":"user","content":[{"type":"text","text":#T}]}],"max_tokens":#N,"temperature":#N,"top_p":#N}"##,
    ),
    (
        "gemini.generate",
        r##"{"contents":[{"role":#T,"parts":[{"text":#T}]}],"generationConfig":{"maxOutputTokens":#N,"temperature":#N,"topP":#N}}"##,
    ),
    (
        "bedrock.converse",
        r##"{"modelId":#M,"messages":[{"role":#T,"content":[{"text":#T}]}],"inferenceConfig":{"maxTokens":#N,"temperature":#N,"topP":#N}}"##,
    ),
    (
        "ollama.chat",
        r##"{"model":#M,"messages":[{"role":#T,"content":#T}],"options":{"num_predict":#N,"temperature":#N,"top_p":#N}}"##,
    ),
];

const CHAT_USAGE: &str = r##"{"prompt_tokens":#N,"completion_tokens":#N,"total_tokens":#N,"prompt_tokens_details":{"cached_tokens":#N,"cache_write_tokens":#N},"completion_tokens_details":{"reasoning_tokens":#N}}"##;
const ANTHROPIC_USAGE: &str = r##"{"input_tokens":#N,"output_tokens":#N,"cache_read_input_tokens":#N,"cache_creation_input_tokens":#N,"output_tokens_details":{"thinking_tokens":#N}}"##;
const GEMINI_USAGE: &str = r##"{"promptTokenCount":#N,"candidatesTokenCount":#N,"thoughtsTokenCount":#N,"cachedContentTokenCount":#N,"toolUsePromptTokenCount":#N,"totalTokenCount":#N}"##;

/// `#U`: the protocol's usage.
const RESPONSES: &[(&str, &str, &str)] = &[
    (
        "openai.chat",
        CHAT_USAGE,
        r##"{"id":#T,"created":#N,"model":#M,"choices":[{"index":#N,"message":{"role":#T,"content":#T,"tool_calls":[{"index":#N,"id":#T,"type":"function","function":{"name":#T,"arguments":#T}}]},"finish_reason":#T}],"usage":#U}"##,
    ),
    (
        "openai.chat",
        CHAT_USAGE,
        "data: {\"id\":#T,\"model\":#M,\"choices\":[{\"index\":#N,\"delta\":{\"content\":#T,\"tool_calls\":[{\"index\":#N,\"id\":#T,\"function\":{\"name\":#T,\"arguments\":#T}}]}}]}\n\ndata: {\"choices\":[{\"index\":#N,\"delta\":{},\"finish_reason\":#T}]}\n\ndata: {\"choices\":[],\"usage\":#U}\n\ndata: [DONE]\n\n",
    ),
    (
        "openai.chat",
        CHAT_USAGE,
        r##"{"error":{"message":#T,"type":#T,"code":#N,"param":#T},"usage":#U}"##,
    ),
    (
        "openai.responses",
        ANTHROPIC_USAGE,
        r##"{"id":#T,"object":"response","status":"completed","model":#M,"output":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":#T}]},{"type":"function_call","call_id":#T,"name":#T,"arguments":#T}],"usage":#U}"##,
    ),
    (
        "openai.responses",
        CHAT_USAGE,
        "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"output_index\":#N,\"content_index\":#N,\"delta\":#T}\n\nevent: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":#T,\"model\":#M,\"status\":\"completed\",\"output\":[],\"usage\":#U}}\n\n",
    ),
    (
        "openai.embeddings",
        CHAT_USAGE,
        r##"{"model":#M,"data":[{"index":#N,"embedding":[#N]}],"usage":#U}"##,
    ),
    (
        "anthropic.messages",
        ANTHROPIC_USAGE,
        r##"{"id":#T,"type":"message","role":"assistant","model":#M,"content":[{"type":"text","text":#T},{"type":"tool_use","id":#T,"name":#T,"input":{"a":#N}}],"stop_reason":#T,"usage":#U}"##,
    ),
    (
        "anthropic.messages",
        ANTHROPIC_USAGE,
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":#T,\"model\":#M,\"usage\":#U}}\n\nevent: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":#N,\"content_block\":{\"type\":\"tool_use\",\"id\":#T,\"name\":#T}}\n\nevent: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":#N,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":#T}}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":#T},\"usage\":#U}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    ),
    (
        "gemini.generate",
        GEMINI_USAGE,
        r##"{"candidates":[{"index":#N,"content":{"role":"model","parts":[{"text":#T},{"functionCall":{"name":#T,"args":{"a":#N}}}]},"finishReason":#T}],"usageMetadata":#U,"modelVersion":#M,"responseId":#T}"##,
    ),
    (
        "gemini.generate",
        GEMINI_USAGE,
        "data: {\"candidates\":[{\"index\":#N,\"content\":{\"parts\":[{\"text\":#T}]}}],\"usageMetadata\":#U}\r\n\r\ndata: {\"candidates\":[{\"index\":#N,\"finishReason\":#T}],\"usageMetadata\":#U,\"modelVersion\":#M}\r\n\r\n",
    ),
    (
        "bedrock.converse",
        r##"{"inputTokens":#N,"outputTokens":#N,"totalTokens":#N,"cacheReadInputTokens":#N,"cacheWriteInputTokens":#N}"##,
        r##"{"output":{"message":{"role":"assistant","content":[{"text":#T},{"toolUse":{"toolUseId":#T,"name":#T,"input":{"a":#N}}}]}},"stopReason":#T,"usage":#U,"metrics":{"latencyMs":#N}}"##,
    ),
    (
        "ollama.chat",
        "#N",
        "{\"model\":#M,\"message\":{\"role\":\"assistant\",\"content\":#T},\"done\":false}\n{\"model\":#M,\"done\":true,\"done_reason\":#T,\"total_duration\":#N,\"prompt_eval_count\":#U,\"eval_count\":#U}\n",
    ),
];

const RECORD_LINE: &str = r##"{"request":{"model":#M,"max_tokens":#N},"response":{"model":#M,"usage":#U},"usage":#U,"user_id":#T,"conversation_id":#T,"session_id":#T,"wire_protocol":"openai.chat","status":#S,"latency_us":#C,"started_at":#S,"stream":false}"##;

const IMPORT_LINE: &str = r##"{"opened_seq":1,"request_id":#I,"status":#E,"opened_at":#A,"latency_us":#C,"upstream_latency_us":#C,"time_to_first_chunk_us":#C,"user_id":#T,"context_id":#T,"conversation_id":#T,"session_id":#T,"trace_id":#T,"actor_type":"job","actor_id":#T,"operation_name":#T,"provider_name":#T,"response_provider_name":#T,"client_model":#M,"request_model":#M,"response_model":#M,"wire_protocol":#T,"max_tokens":#C,"temperature":#R,"top_p":#R,"attributes":{"k":#T},"input_tokens":#C,"output_tokens":#C,"cache_read_input_tokens":#C,"cache_write_input_tokens":#C,"reasoning_output_tokens":#C,"cost_microdollars":#C,"finish_reasons":[#T],"response_id":#T,"http_status":#S,"error_type":#T,"error_message":#T,"tool_calls":[{"tool_call_id":#T,"tool_name":#T,"input":#T}],"adjusted_fields":[#T],"response":{"length":#C,"text":#T}}"##;

pub struct Generator {
    random: fastrand::Rng,
    imported: u64,
}

impl Generator {
    pub fn new(seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            imported: 0,
        }
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.random.usize(..of.len())]
    }

    fn is(&mut self, one_of: u32) -> bool {
        self.random.u32(..one_of) == 0
    }

    fn number(&mut self) -> String {
        // Most are in order, so that what is beside the extreme ones is read.
        if self.random.bool() {
            return self.random.u32(..100_000).to_string();
        }
        self.one(NUMBERS).to_owned()
    }

    fn text(&mut self) -> String {
        match self.random.u8(..24) {
            0 => String::new(),
            1 => "\0".to_owned(),
            2 => "x".repeat(self.random.usize(250..260)),
            3 => "ü\u{1F600}".repeat(self.random.usize(40..50)),
            4 => "\u{1}\u{7f}\u{200b}\u{202e}\u{feff}\"\\".repeat(9),
            5 => "y".repeat(self.random.usize(4090..4100)),
            6 => "z".repeat(70_000),
            7 => "\u{10FFFF}".to_owned(),
            8 => "a,b".to_owned(),
            _ => format!("text-{}", self.random.u8(..20)),
        }
    }

    fn json_text(&mut self) -> String {
        match self.random.u8(..30) {
            0 => self.number(),
            1 => r#""\ud800""#.to_owned(),
            _ => serde_json::to_string(&self.text()).unwrap(),
        }
    }

    fn count(&mut self) -> u64 {
        if self.random.bool() {
            return self.random.u64(..100_000);
        }
        self.one(COUNTS)
    }

    /// Fills a template in.
    fn fill(&mut self, template: &str, usage: &str) -> String {
        let mut text = String::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('#') {
            text.push_str(before);
            let value = match after.as_bytes()[0] {
                b'N' => self.number(),
                b'T' => self.json_text(),
                b'M' if self.random.bool() => "\"m\"".to_owned(),
                b'M' => self.json_text(),
                b'U' => self.fill(usage, ""),
                b'C' => self.count().to_string(),
                b'S' if self.random.bool() => "200".to_owned(),
                b'S' => self.number(),
                b'R' => match self.one(REALS) {
                    real if real.is_finite() => format!("{real:e}"),
                    _ => "null".to_owned(),
                },
                b'A' => self.one(TIMES).to_string(),
                b'E' => {
                    let all = [
                        "completed",
                        "failed",
                        "rejected",
                        "abandoned",
                        "interrupted",
                    ];
                    format!("{:?}", self.one(&all))
                }
                b'I' => {
                    self.imported += 1;
                    format!("\"imported-{}\"", self.imported)
                }
                other => unreachable!("#{}", char::from(other)),
            };
            text.push_str(&value);
            rest = &after[1..];
        }
        text.push_str(rest);
        text
    }

    pub fn record_line(&mut self) -> String {
        self.fill(RECORD_LINE, CHAT_USAGE)
    }

    pub fn import_line(&mut self) -> String {
        self.fill(IMPORT_LINE, "")
    }

    fn request(&mut self, protocol: &str) -> String {
        let templates: Vec<&str> = REQUESTS
            .iter()
            .filter(|(name, _)| *name == protocol)
            .map(|(_, template)| *template)
            .collect();
        match self.random.u8(..20) {
            0 => self.text(),
            1 => "[".repeat(self.random.usize(..5000)),
            _ => {
                let template = self.one(&templates);
                self.fill(template, "")
            }
        }
    }

    fn response(&mut self, protocol: &str) -> Vec<u8> {
        let templates: Vec<(&str, &str)> = RESPONSES
            .iter()
            .filter(|(name, ..)| *name == protocol)
            .map(|(_, usage, template)| (*usage, *template))
            .collect();
        let (usage, template) = self.one(&templates);
        let mut body = self.fill(template, usage).into_bytes();
        match self.random.u8(..24) {
            0 => body.truncate(self.random.usize(..=body.len())),
            1 => {
                let place = self.random.usize(..=body.len());
                body.insert(place.min(body.len()), self.random.u8(..));
            }
            2 => {
                body = (0..self.random.usize(..300))
                    .map(|_| self.random.u8(..))
                    .collect()
            }
            _ => {}
        }
        body
    }

    fn usage(&mut self) -> Usage {
        Usage::new(self.count(), self.count())
            .cache_read_input_tokens(self.count())
            .cache_write_input_tokens(self.count())
            .reasoning_output_tokens(self.count())
    }

    fn timing(&mut self) -> Timing {
        Timing::default()
            .latency_us(self.count())
            .upstream_latency_us(self.count())
            .time_to_first_chunk_us(self.count())
    }

    fn context(&mut self, protocol: &str) -> RequestContext {
        let mut context = RequestContext::new(WireProtocol::from(protocol));
        if self.is(2) {
            return context.user_id(self.text());
        }
        context = context
            .user_id(self.text())
            .session_id(self.text())
            .context_id(self.text())
            .conversation_id(self.text())
            .trace_id(self.text())
            .operation_name(self.text())
            .provider_name(self.text())
            .actor(ActorKind::Job, self.text())
            .is_streaming(self.random.bool())
            .max_tokens(self.count())
            .temperature(self.one(REALS))
            .top_p(self.one(REALS))
            .started_at(Timestamp::from_micros(self.one(TIMES)));
        if self.is(3) {
            context = context.request_model(self.text()).client_model(self.text());
        }
        if self.is(20) {
            context = context.capture(Capture::MetadataOnly);
        }
        for _ in 0..self.random.usize(..70) {
            context = context.attribute(self.text(), self.text());
        }
        context
    }

    /// Records a request by the API, in any way.
    pub fn record(&mut self, store: &Store) {
        let protocol = if self.is(12) {
            "text"
        } else {
            self.one(REQUESTS).0
        };
        let (mut request, mut response) = (self.text(), self.text().into_bytes());
        if protocol != "text" {
            (request, response) = (self.request(protocol), self.response(protocol));
        }
        let context = self.context(protocol);
        let mut audit = store.recorder().open(context, request).unwrap();
        if self.is(4) {
            for _ in 0..self.random.usize(..4) {
                audit.set_served_model(&self.text());
                audit.set_served_provider(&self.text());
                audit.set_usage(self.usage());
                audit.set_http_status(self.random.u16(..));
            }
            audit.set_upstream_body(self.text());
            audit.upstream_started();
            audit.upstream_ended();
        }
        match self.random.u8(..12) {
            0 => {
                let mut failure = Failure::new(self.text())
                    .error_message(self.text())
                    .usage(self.usage())
                    .http_status(self.random.u16(..))
                    .timing(self.timing())
                    .cost_microdollars(self.count())
                    .response_body(response);
                failure.read_body = self.random.bool();
                audit.fail(failure).unwrap();
            }
            1 => {
                let rejection = Rejection::new(self.text())
                    .http_status(self.random.u16(..))
                    .timing(self.timing());
                audit.reject(rejection).unwrap();
            }
            2 | 3 => {
                let mut completion = Completion::new()
                    .finish_reason(self.text())
                    .response_id(self.text())
                    .response_model(self.text())
                    .http_status(self.random.u16(..))
                    .timing(self.timing())
                    .assistant_text(self.text())
                    .tool_call(ToolCall::new(self.text(), self.text(), self.text()))
                    .response_body(response);
                if self.random.bool() {
                    completion = completion.usage(self.usage());
                }
                if self.random.bool() {
                    completion = completion.cost_microdollars(self.count());
                }
                completion.read_body = self.random.bool();
                audit.complete(completion).unwrap();
            }
            4 => {
                audit.chunk(response);
                drop(audit);
            }
            _ => {
                let step = self.random.usize(1..200);
                for chunk in response.chunks(step) {
                    audit.chunk(chunk.to_vec());
                }
                let status = if self.is(4) { self.random.u16(..) } else { 200 };
                audit.finish(status).unwrap();
            }
        }
    }
}
