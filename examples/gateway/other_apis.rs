//! The built-in upstream's other two APIs: Anthropic's messages and Gemini's `generateContent`.
//!
//! Answers are in the form of recorded ones. Models whose name begins with `error-` fail with the
//! status that follows; `broken-stream` breaks off.

use std::io;

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::{Response, StatusCode};
use axum::routing::post;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use crate::upstream::{CHUNKS_BEFORE_BREAK, PACE, answer, response, tokens};

pub(crate) fn router() -> Router {
    Router::new()
        .route("/v1/messages", post(messages))
        .route("/v1/models/{call}", post(generate))
        .route("/v1beta/models/{call}", post(generate))
}

/// What the model says: words, and perhaps a call of the first tool.
struct Says {
    words: Vec<String>,
    tool: Option<(String, Value)>,
    input_tokens: usize,
    output_tokens: usize,
}

impl Says {
    fn to(body: &Bytes, tool: Option<&str>) -> Self {
        let text = String::from_utf8_lossy(body);
        let wants_weather = text.contains("weather");
        let tool = tool
            .filter(|_| wants_weather)
            .map(|name| (name.to_owned(), json!({"city": "Paris"})));
        let count = if text.contains("Count") { 200 } else { 8 };
        let words: Vec<String> = (1..=count).map(|n| format!("{n} ")).collect();
        Self {
            input_tokens: tokens(&text),
            output_tokens: tokens(&words.concat()),
            words,
            tool,
        }
    }
}

async fn messages(body: Bytes) -> Response<Body> {
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    let model = request["model"].as_str().unwrap_or_default().to_owned();
    if let Some(status) = error_status(&model) {
        let kind = match status {
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            _ => "overloaded_error",
        };
        let error = json!({"type": kind, "message": "This model always says so"});
        return answer(status, &json!({"type": "error", "error": error}));
    }
    let says = Says::to(&body, request["tools"][0]["name"].as_str());
    let stop_reason = if says.tool.is_some() {
        "tool_use"
    } else {
        "end_turn"
    };
    // A third of the input from the cache; `input_tokens` are those that are not.
    let cached = says.input_tokens / 3;
    let usage = json!({
        "input_tokens": says.input_tokens - cached,
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": 0,
        "output_tokens": says.output_tokens,
    });
    let mut message = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": model,
        "content": [{"type": "text", "text": says.words.concat()}],
        "stop_reason": stop_reason, "stop_sequence": null, "usage": usage,
    });
    let call = |input: &Value, name: &str| json!({"type": "tool_use", "id": "toolu_1", "name": name, "input": input});
    if request["stream"] != true {
        if let (Some((name, input)), Some(content)) =
            (&says.tool, message["content"].as_array_mut())
        {
            content.push(call(input, name));
        }
        return answer(StatusCode::OK, &message);
    }
    message["content"] = json!([]);
    message["stop_reason"] = Value::Null;
    message["usage"]["output_tokens"] = 1.into();
    let delta = |index: usize, delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
    let mut events = vec![
        json!({"type": "message_start", "message": message}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
    ];
    events.extend(
        says.words
            .iter()
            .map(|word| delta(0, json!({"type": "text_delta", "text": word}))),
    );
    events.push(json!({"type": "content_block_stop", "index": 0}));
    if let Some((name, input)) = &says.tool {
        let start = call(&json!({}), name);
        events.push(json!({"type": "content_block_start", "index": 1, "content_block": start}));
        for piece in input.to_string().split_inclusive(':') {
            events.push(delta(
                1,
                json!({"type": "input_json_delta", "partial_json": piece}),
            ));
        }
        events.push(json!({"type": "content_block_stop", "index": 1}));
    }
    events.push(json!({
        "type": "message_delta", "delta": {"stop_reason": stop_reason, "stop_sequence": null},
        "usage": {"output_tokens": says.output_tokens},
    }));
    events.push(json!({"type": "message_stop"}));
    let name = |event: &Value| format!("event: {}\n", event["type"].as_str().unwrap_or_default());
    let events = events
        .iter()
        .map(|event| format!("{}data: {event}\n\n", name(event)));
    streamed(events.collect(), model == "broken-stream")
}

async fn generate(Path(call): Path<String>, body: Bytes) -> Response<Body> {
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    let (model, method) = call.split_once(':').unwrap_or((&call, ""));
    if let Some(status) = error_status(model) {
        let word = match status {
            StatusCode::TOO_MANY_REQUESTS => "RESOURCE_EXHAUSTED",
            _ => "UNAVAILABLE",
        };
        let error = json!({"code": status.as_u16(), "status": word, "message": "This model always says so"});
        return answer(status, &json!({"error": error}));
    }
    let says = Says::to(
        &body,
        request["tools"][0]["functionDeclarations"][0]["name"].as_str(),
    );
    let document = |parts: Vec<Value>, is_last: bool| {
        let mut candidate = json!({"index": 0, "content": {"role": "model", "parts": parts}});
        if is_last {
            candidate["finishReason"] = "STOP".into();
        }
        json!({
            "candidates": [candidate], "modelVersion": model, "responseId": "resp-1",
            "usageMetadata": {
                "promptTokenCount": says.input_tokens, "candidatesTokenCount": says.output_tokens,
                "totalTokenCount": says.input_tokens + says.output_tokens,
            },
        })
    };
    let tool = says
        .tool
        .as_ref()
        .map(|(name, input)| json!({"functionCall": {"name": name, "args": input}}));
    if method != "streamGenerateContent" {
        let text = json!({"text": says.words.concat()});
        return answer(
            StatusCode::OK,
            &document([text].into_iter().chain(tool).collect(), true),
        );
    }
    let mut documents: Vec<Value> = says
        .words
        .iter()
        .map(|word| document(vec![json!({"text": word})], false))
        .collect();
    documents.push(document(tool.into_iter().collect(), true));
    let events = documents
        .iter()
        .map(|document| format!("data: {document}\r\n\r\n"));
    streamed(events.collect(), model == "broken-stream")
}

/// The status that the name of a model asks for.
fn error_status(model: &str) -> Option<StatusCode> {
    model.strip_prefix("error-")?.parse().ok()
}

fn streamed(events: Vec<String>, is_broken: bool) -> Response<Body> {
    let mut events: Vec<io::Result<Bytes>> =
        events.into_iter().map(|event| Ok(event.into())).collect();
    if is_broken {
        events.truncate(CHUNKS_BEFORE_BREAK);
        events.push(Err(io::Error::other("this model always breaks off")));
    }
    let body = stream::iter(events).then(|event| async {
        tokio::time::sleep(PACE).await;
        event
    });
    response(StatusCode::OK, "text/event-stream", Body::from_stream(body))
}
