//! The rare things, by hand: what recorded traffic has seldom or never.

mod agents;
mod anthropic;
mod bedrock;
mod called_tools;
mod chat;
mod gemini;
mod many;
mod others;
mod protocols;
mod responses;
mod stated_errors;
mod stated_usage;
mod told_by_responses;

use super::framing;
use super::*;
use crate::model::{CanonicalMessage, MessagePart, MessageToolResult, ToolCall, Usage};

fn parse(protocol: WireProtocol, body: &str) -> ParsedResponse {
    let response = ParsedResponse::parse(&protocol, body.as_bytes());
    let mut parser = ResponseParser::new(&protocol);
    body.as_bytes().chunks(1).for_each(|byte| parser.feed(byte));
    assert_eq!(parser.finish(), response, "byte by byte");
    response
}

/// Server-sent events of these documents, each line of which is a line of data.
fn events(documents: &[&str]) -> String {
    let data = |document: &&str| {
        let lines = document.lines().map(|line| format!("data: {line}\n"));
        lines.collect::<String>() + "\n"
    };
    documents.iter().map(data).collect()
}

fn request(protocol: WireProtocol, body: &str) -> ParsedRequest {
    let request = ParsedRequest::parse(&protocol, "", body.as_bytes());
    assert_eq!(request.unparsed, 0);
    request
}

fn call(id: &str, name: &str, input: &str) -> ToolCall {
    ToolCall::new(id, name, input)
}

fn flattened(messages: &[CanonicalMessage]) -> Vec<String> {
    let flattened = messages
        .iter()
        .map(|message| format!("{}: {}", message.role, message.flattened()));
    flattened.collect()
}
