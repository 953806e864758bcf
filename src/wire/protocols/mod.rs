//! The wire protocols, one file each.

pub(super) mod anthropic;
pub(super) mod bedrock;
pub(super) mod embeddings;
pub(super) mod gemini;
pub(super) mod ollama;
pub(super) mod openai_chat;
pub(super) mod openai_responses;
