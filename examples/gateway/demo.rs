//! A few conversations that the gateway has with itself.

use std::error::Error;
use std::io::{self, Write};
use std::net::SocketAddr;

use axum::http::{Method, Request, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::forward::Client;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Sends every kind of request that a gateway meets.
pub(crate) async fn run(gateway: SocketAddr) -> Outcome<()> {
    let caller = Caller {
        client: Client::plain(),
        gateway,
    };
    conversation(&caller).await?;
    tool_call(&caller).await?;
    say("An embedding")?;
    let body = json!({"model": "text-embedding-3-small", "input": "what an auditor wants"});
    caller
        .send(Some("demo-key"), "c-search", "/v1/embeddings", &body)
        .await?;
    failures(&caller).await?;
    hang_up(&caller).await
}

/// Three turns, each with the history of those before; the last two streamed.
async fn conversation(caller: &Caller) -> Outcome<()> {
    let mut messages = vec![json!({"role": "system", "content": "You are brief."})];
    for (question, is_streamed) in [
        ("What is an audit trail?", false),
        ("Who reads it?", true),
        ("And who must not write it?", true),
    ] {
        say(&format!("A turn of a conversation: {question}"))?;
        messages.push(json!({"role": "user", "content": question}));
        let mut body = json!({"model": "gpt-4o", "messages": messages, "max_tokens": 200});
        if is_streamed {
            body["stream"] = true.into();
            body["stream_options"] = json!({"include_usage": true});
        }
        let answer = caller.chat("c-trail", &body).await?;
        let text = if is_streamed {
            streamed_text(&answer)
        } else {
            let answer: Value = serde_json::from_str(&answer)?;
            answer["choices"][0]["message"]["content"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        messages.push(json!({"role": "assistant", "content": text}));
    }
    Ok(())
}

/// The model asks for a tool, is told what it said, and answers.
async fn tool_call(caller: &Caller) -> Outcome<()> {
    say("A tool call, and the answer to its result")?;
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let function = json!({"name": "get_weather", "parameters": parameters});
    let tools = json!([{"type": "function", "function": function}]);
    let mut messages = vec![json!({"role": "user", "content": "What is the weather in Paris?"})];
    let body = json!({"model": "gpt-4o-mini", "messages": messages, "tools": tools});
    let answer: Value = serde_json::from_str(&caller.chat("c-weather", &body).await?)?;
    messages.push(answer["choices"][0]["message"].clone());
    messages.push(json!({"role": "tool", "tool_call_id": "call_1", "content": "18 °C, clear"}));
    let body = json!({"model": "gpt-4o-mini", "messages": messages, "tools": tools});
    caller.chat("c-weather", &body).await?;
    Ok(())
}

async fn failures(caller: &Caller) -> Outcome<()> {
    let messages = json!([{"role": "user", "content": "Are you there?"}]);
    say("The upstream's rate limit")?;
    let body = json!({"model": "error-429", "messages": messages});
    caller.chat("c-failures", &body).await?;

    say("An upstream that breaks off in mid-stream")?;
    let body = json!({"model": "broken-stream", "messages": messages, "stream": true});
    // That it breaks is the point.
    let _ = caller.chat("c-failures", &body).await;

    say("A client without a key, refused before routing")?;
    let body = json!({"model": "gpt-4o", "messages": messages});
    caller
        .send(None, "c-failures", "/v1/chat/completions", &body)
        .await?;
    Ok(())
}

async fn hang_up(caller: &Caller) -> Outcome<()> {
    say("A client that hangs up in mid-stream")?;
    let messages = json!([{"role": "user", "content": "Count to 2000"}]);
    let body = json!({"model": "gpt-4o-mini", "messages": messages, "stream": true});
    let mut answer = caller
        .request(Some("demo-key"), "c-count", "/v1/chat/completions", &body)
        .await?;
    for _ in 0..10 {
        let _ = answer.frame().await;
    }
    Ok(())
}

struct Caller {
    client: Client,
    gateway: SocketAddr,
}

impl Caller {
    /// Sends a chat request, returns the answer as text.
    async fn chat(&self, conversation: &str, body: &Value) -> Outcome<String> {
        self.send(Some("demo-key"), conversation, "/v1/chat/completions", body)
            .await
    }

    async fn send(
        &self,
        key: Option<&str>,
        conversation: &str,
        path: &str,
        body: &Value,
    ) -> Outcome<String> {
        let answer = self.request(key, conversation, path, body).await?;
        let answer = answer.collect().await?.to_bytes();
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    async fn request(
        &self,
        key: Option<&str>,
        conversation: &str,
        path: &str,
        body: &Value,
    ) -> Outcome<Incoming> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("http://{}{path}", self.gateway))
            .header(header::CONTENT_TYPE, "application/json")
            .header("x-user-id", "u-demo")
            .header("x-conversation-id", conversation);
        if let Some(key) = key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        let request = request.body(Full::new(Bytes::from(body.to_string())))?;
        Ok(self.client.request(request).await?.into_body())
    }
}

/// The text of a streamed answer.
fn streamed_text(events: &str) -> String {
    events
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok())
        .filter_map(|event| Some(event["choices"][0]["delta"]["content"].as_str()?.to_owned()))
        .collect()
}

fn say(what: &str) -> io::Result<()> {
    writeln!(io::stdout(), "- {what}")
}
