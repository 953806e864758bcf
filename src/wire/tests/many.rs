//! More messages than are read: the newest are, and what is left out is said.

use serde_json::{Value, json};

use super::super::request::ITEMS_MAX;
use super::super::{ParsedRequest, RequestSummary};
use crate::model::WireProtocol;

const EXCESS: usize = 7;

/// Every protocol with the requests that it makes of these messages' texts; whether a system prompt
/// stands apart, which is never left out.
fn bodies(texts: &[String]) -> Vec<(WireProtocol, Value, bool)> {
    let plain = |name: &str| -> Vec<Value> {
        let message = |text: &String| json!({"role": "user", name: text});
        texts.iter().map(message).collect()
    };
    let in_parts = |name: &str| -> Vec<Value> {
        let message = |text: &String| json!({"role": "user", name: [{"text": text}]});
        texts.iter().map(message).collect()
    };
    vec![
        (
            WireProtocol::OpenAiChat,
            json!({"messages": plain("content")}),
            false,
        ),
        (
            WireProtocol::OpenAiResponses,
            json!({"instructions": "Be brief.", "input": plain("content")}),
            true,
        ),
        (
            WireProtocol::OpenAiEmbeddings,
            json!({"input": texts}),
            false,
        ),
        (
            WireProtocol::AnthropicMessages,
            json!({"system": "Be brief.", "messages": plain("content")}),
            true,
        ),
        (
            WireProtocol::GeminiGenerate,
            json!({"systemInstruction": {"parts": [{"text": "Be brief."}]}, "contents": in_parts("parts")}),
            true,
        ),
        (
            WireProtocol::BedrockConverse,
            json!({"system": [{"text": "Be brief."}], "messages": in_parts("content")}),
            true,
        ),
        (
            WireProtocol::OllamaChat,
            json!({"messages": plain("content")}),
            false,
        ),
    ]
}

#[test]
fn the_newest_messages_are_read_and_the_others_counted() {
    let texts: Vec<String> = (0..ITEMS_MAX + EXCESS).map(|at| format!("m{at}")).collect();
    for (protocol, body, has_system) in bodies(&texts) {
        let body = body.to_string();
        let parsed = ParsedRequest::parse(&protocol, "", body.as_bytes());
        assert_eq!(
            (parsed.left_out, parsed.unparsed),
            (EXCESS as u64, 0),
            "{protocol:?}"
        );
        let system = usize::from(has_system);
        assert_eq!(parsed.messages.len(), ITEMS_MAX + system);
        for (at, message) in parsed.messages.iter().enumerate().skip(system) {
            let place = at - system + EXCESS;
            assert_eq!(message.text(), texts[place], "{protocol:?}");
            assert_eq!(message.position, (place + system) as u64);
        }
        if has_system {
            assert_eq!(
                (parsed.messages[0].text(), parsed.messages[0].position),
                ("Be brief.".into(), 0)
            );
        }
        let summary = RequestSummary::parse(&protocol, "", body.as_bytes());
        let new = summary.new_messages(&protocol, body.as_bytes());
        assert_eq!(new.last().unwrap().text(), *texts.last().unwrap());
        assert_eq!(new.last().unwrap().position, (texts.len() - 1) as u64);
    }
}

#[test]
fn what_has_no_room_for_its_parts_is_the_oldest() {
    let parts = vec![json!({"type": "text", "text": "x"}); 1_000];
    let message = json!({"role": "user", "content": parts});
    let last = json!({"role": "user", "content": "the last word"});
    let mut messages = vec![message; 70];
    messages.push(last);
    let body = json!({"messages": messages}).to_string();
    let parsed = ParsedRequest::parse(&WireProtocol::OpenAiChat, "", body.as_bytes());
    assert_eq!(parsed.messages.last().unwrap().text(), "the last word");
    assert_eq!(parsed.messages.last().unwrap().position, 70);
    assert_eq!(parsed.left_out, 4);
    // Of the message in which the limit is reached, some parts are read.
    assert_eq!(parsed.unparsed, 465);
    let read: usize = parsed
        .messages
        .iter()
        .map(|message| message.parts.len())
        .sum();
    assert_eq!(read, 65_536);
}
