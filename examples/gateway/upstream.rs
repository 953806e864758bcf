//! The built-in upstream: speaks OpenAI's API, and in `other_apis` two more, and knows nothing.
//!
//! Its answers depend on the request alone, so that what the trail says can be checked. Models
//! `error-429`, `error-500` and `broken-stream` fail on purpose.

use std::io;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use crate::other_apis;

/// What it serves, and under which name it answers.
const MODELS: [(&str, &str); 3] = [
    ("gpt-4o", "gpt-4o-2024-08-06"),
    ("gpt-4o-mini", "gpt-4o-mini-2024-07-18"),
    ("broken-stream", "broken-stream"),
];
const EMBEDDING_MODEL: &str = "text-embedding-3-small";
/// Between the chunks of a stream.
pub(crate) const PACE: Duration = Duration::from_millis(5);
/// Chunks that a broken stream brings.
pub(crate) const CHUNKS_BEFORE_BREAK: usize = 4;
/// Bound on a request's body; the gateway has one of its own.
const REQUEST_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The upstream's routes.
pub(crate) fn router() -> Router {
    Router::new()
        .route("/v1/models", get(models))
        .route("/v1/chat/completions", post(chat))
        .route("/v1/embeddings", post(embeddings))
        .merge(other_apis::router())
        .layer(axum::extract::DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .fallback(|| async { error(StatusCode::NOT_FOUND, "not_found", "unknown path") })
}

async fn models() -> Response<Body> {
    let models = MODELS
        .iter()
        .map(|(name, _)| *name)
        .chain([EMBEDDING_MODEL]);
    let data: Vec<Value> = models
        .map(|name| json!({"id": name, "object": "model", "created": 0, "owned_by": "built-in"}))
        .collect();
    answer(StatusCode::OK, &json!({"object": "list", "data": data}))
}

async fn chat(body: Bytes) -> Response<Body> {
    let Ok(request) = serde_json::from_slice::<Value>(&body) else {
        let message = "the body is not valid JSON";
        return error(StatusCode::BAD_REQUEST, "invalid_json", message);
    };
    let name = request["model"].as_str().unwrap_or_default();
    match name {
        "error-429" => {
            let message = "Rate limit reached: this model always says so";
            return error(
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limit_exceeded",
                message,
            );
        }
        "error-500" => {
            let message = "This model always breaks";
            return error(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message);
        }
        _ => {}
    }
    let Some((_, served)) = MODELS.iter().find(|(known, _)| *known == name) else {
        let message = "The model does not exist";
        return error(StatusCode::NOT_FOUND, "model_not_found", message);
    };
    let Some(reply) = Reply::to(&request, served) else {
        let message = "`messages` must be a list that is not empty";
        return error(StatusCode::BAD_REQUEST, "invalid_messages", message);
    };
    if request["stream"] == true {
        let has_usage = request["stream_options"]["include_usage"] == true;
        reply.stream(has_usage, name == "broken-stream")
    } else {
        answer(StatusCode::OK, &reply.document())
    }
}

async fn embeddings(body: Bytes) -> Response<Body> {
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    let inputs: Vec<&str> = match &request["input"] {
        Value::String(input) => vec![input],
        Value::Array(inputs) => inputs.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if request["model"] != EMBEDDING_MODEL || inputs.is_empty() {
        let message = "the model must be text-embedding-3-small, the input one text or several";
        return error(StatusCode::BAD_REQUEST, "invalid_request", message);
    }
    let data: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(index, input)| {
            // As good as any that means nothing: the share of each letter class.
            let vector = [b"aeiou".as_slice(), b"lmnrw", b"bdgpt", b"fhsvz"].map(|class| {
                let share = input.bytes().filter(|byte| class.contains(byte)).count();
                f64::from(u32::try_from(share).unwrap_or(u32::MAX)) / 16.0
            });
            json!({"object": "embedding", "index": index, "embedding": vector})
        })
        .collect();
    let tokens: usize = inputs.iter().map(|input| tokens(input)).sum();
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    let body = json!({"object": "list", "model": EMBEDDING_MODEL, "data": data, "usage": usage});
    answer(StatusCode::OK, &body)
}

/// What the model says.
struct Reply {
    id: String,
    model: &'static str,
    content: Content,
    usage: Value,
}

enum Content {
    Text(String),
    ToolCall { name: String, arguments: String },
}

impl Reply {
    fn to(request: &Value, model: &'static str) -> Option<Self> {
        let messages = request["messages"].as_array()?;
        let (last, earlier) = messages.split_last()?;
        let said = last["content"].as_str().unwrap_or_default();
        let tool = request["tools"][0]["function"]["name"].as_str();
        let content = match tool {
            Some(name) if last["role"] == "user" && said.contains("weather") => {
                let city = said.rsplit(' ').next().unwrap_or_default();
                let city = city.trim_matches(|letter: char| !letter.is_alphanumeric());
                Content::ToolCall {
                    name: name.to_owned(),
                    arguments: json!({"city": city}).to_string(),
                }
            }
            _ if last["role"] == "tool" => Content::Text(format!("The tool says: {said}")),
            _ => Content::Text(reply_text(said, messages.len())),
        };
        let output = match &content {
            Content::Text(text) => tokens(text),
            Content::ToolCall { arguments, .. } => tokens(arguments) + 4,
        };
        let [cached, fresh] = [earlier, std::slice::from_ref(last)].map(|part| {
            part.iter()
                .map(|message| tokens(&message.to_string()))
                .sum::<usize>()
        });
        let usage = json!({
            "prompt_tokens": cached + fresh,
            "completion_tokens": output,
            "total_tokens": cached + fresh + output,
            "prompt_tokens_details": {"cached_tokens": cached},
            "completion_tokens_details": {"reasoning_tokens": 0},
        });
        Some(Self {
            id: format!("chatcmpl-{}", uuid::Uuid::now_v7().simple()),
            model,
            content,
            usage,
        })
    }

    fn finish_reason(&self) -> &'static str {
        match self.content {
            Content::Text(_) => "stop",
            Content::ToolCall { .. } => "tool_calls",
        }
    }

    fn document(&self) -> Value {
        let message = match &self.content {
            Content::Text(text) => json!({"role": "assistant", "content": text}),
            Content::ToolCall { name, arguments } => {
                let function = json!({"name": name, "arguments": arguments});
                let call = json!({"id": "call_1", "type": "function", "function": function});
                json!({"role": "assistant", "content": null, "tool_calls": [call]})
            }
        };
        json!({
            "id": self.id,
            "object": "chat.completion",
            "created": 0,
            "model": self.model,
            "choices": [{"index": 0, "message": message, "finish_reason": self.finish_reason()}],
            "usage": self.usage,
        })
    }

    fn stream(self, has_usage: bool, is_broken: bool) -> Response<Body> {
        let mut events: Vec<io::Result<Bytes>> = self
            .chunks(has_usage)
            .iter()
            .map(|chunk| Ok(Bytes::from(format!("data: {chunk}\n\n"))))
            .collect();
        if is_broken {
            events.truncate(CHUNKS_BEFORE_BREAK);
            events.push(Err(io::Error::other("this model always breaks off")));
        } else {
            events.push(Ok(Bytes::from_static(b"data: [DONE]\n\n")));
        }
        let body = stream::iter(events).then(|event| async {
            tokio::time::sleep(PACE).await;
            event
        });
        response(StatusCode::OK, "text/event-stream", Body::from_stream(body))
    }

    fn chunks(&self, has_usage: bool) -> Vec<Value> {
        let mut deltas = vec![json!({"role": "assistant", "content": ""})];
        match &self.content {
            Content::Text(text) => {
                deltas.extend(
                    text.split_inclusive(' ')
                        .map(|word| json!({"content": word})),
                );
            }
            Content::ToolCall { name, arguments } => {
                let function = json!({"name": name, "arguments": ""});
                let call =
                    json!({"index": 0, "id": "call_1", "type": "function", "function": function});
                deltas.push(json!({"tool_calls": [call]}));
                deltas.extend(arguments.split_inclusive(':').map(
                    |piece| json!({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}),
                ));
            }
        }
        let choice = |delta: Value, reason: Option<&str>| json!([{"index": 0, "delta": delta, "finish_reason": reason}]);
        let mut choices: Vec<Value> = deltas
            .into_iter()
            .map(|delta| choice(delta, None))
            .collect();
        choices.push(choice(json!({}), Some(self.finish_reason())));
        let mut chunks: Vec<Value> = choices
            .into_iter()
            .map(|choices| {
                json!({
                    "id": self.id,
                    "object": "chat.completion.chunk",
                    "created": 0,
                    "model": self.model,
                    "choices": choices,
                })
            })
            .collect();
        if has_usage {
            chunks.push(json!({
                "id": self.id,
                "object": "chat.completion.chunk",
                "created": 0,
                "model": self.model,
                "choices": [],
                "usage": self.usage,
            }));
        }
        chunks
    }
}

/// Counts where it is asked to, else repeats what it was told.
fn reply_text(said: &str, message_count: usize) -> String {
    let limit = said
        .strip_prefix("Count to ")
        .and_then(|rest| rest.parse::<u32>().ok());
    match limit {
        Some(limit) => {
            let numbers: Vec<String> = (1..=limit.min(10_000)).map(|n| n.to_string()).collect();
            numbers.join(" ")
        }
        None => format!("This is message {}. You said: {said}", message_count + 1),
    }
}

/// Four bytes each, as a rule of thumb.
pub(crate) fn tokens(text: &str) -> usize {
    text.len().div_ceil(4)
}

fn error(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    let error = json!({"message": message, "type": "error", "param": null, "code": code});
    answer(status, &json!({"error": error}))
}

pub(crate) fn answer(status: StatusCode, body: &Value) -> Response<Body> {
    response(status, "application/json", Body::from(body.to_string()))
}

pub(crate) fn response(status: StatusCode, media_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let media_type = HeaderValue::from_static(media_type);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, media_type);
    response
}
