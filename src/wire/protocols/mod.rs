//! The wire protocols, one file each.

pub(super) mod agents;
pub(super) mod anthropic;
pub(super) mod assistants;
pub(super) mod batches;
pub(super) mod bedrock;
pub(super) mod bedrock_invoke;
mod billed_calls;
pub(super) mod cohere;
mod cohere_usage;
mod cohere_v1;
pub(super) mod completions;
pub(super) mod conversations;
pub(super) mod count_tokens;
pub(super) mod embeddings;
pub(super) mod gemini;
pub(super) mod gemini_live;
pub(super) mod interactions;
pub(super) mod json;
pub(super) mod mcp;
pub(super) mod media;
pub(super) mod ollama;
pub(super) mod ollama_generate;
pub(super) mod openai_chat;
pub(super) mod openai_responses;
pub(super) mod realtime;
pub(super) mod sessions;
