//! Usage and errors that protocols of one shape share, whatever their names.

use serde_json::value::RawValue;

use super::error::ResponseError;
use super::joiner::Joiner;
use super::usage::{Counts, Details, OpenAiUsage};
use crate::model::{Usage, WireProtocol};

/// Reads an object of counts; their names tell whose they are.
pub(super) fn usage(raw: &RawValue, joiner: &mut Joiner) {
    let details = serde_json::from_str::<OpenAiUsage<'_>>(raw.get());
    let details = details.map(|usage| usage.details()).unwrap_or_default();
    if let Some(usage) = Usage::from_json(&WireProtocol::Unknown, raw.get()) {
        joiner.replace_usage(
            Counts {
                input: usage.input_tokens,
                output: usage.output_tokens,
                cache_read: usage.cache_read_input_tokens,
                cache_write: usage.cache_write_input_tokens,
                reasoning: usage.reasoning_output_tokens,
                is_odd: usage.is_unparsed,
                ..Counts::default()
            },
            details,
        );
    }
}

/// Adds the counts of one more answer.
pub(super) fn add_usage(raw: &RawValue, joiner: &mut Joiner) {
    if let Ok(usage) = serde_json::from_str::<OpenAiUsage<'_>>(raw.get()) {
        joiner.details().add(&usage.details());
    }
    if let Some(usage) = Usage::from_json(&WireProtocol::Unknown, raw.get()) {
        joiner.add_usage(&usage);
    }
}

/// The counts so far; the last ones hold.
pub(super) fn count(counts: Counts, joiner: &mut Joiner) {
    joiner.replace_usage(counts, Details::default());
}

/// Counts of which each event has only what is new.
pub(super) fn update(counts: &Counts, joiner: &mut Joiner) {
    joiner.update_usage(counts, Details::default());
}

/// The value of `error`, if it says anything.
pub(super) fn fail(raw: Option<&RawValue>, joiner: &mut Joiner) {
    if let Some(error) = ResponseError::said(raw) {
        joiner.fail(error);
    }
}

/// The error of a document that holds nothing else.
pub(super) fn bare_error(document: &[u8]) -> Option<ResponseError> {
    ResponseError::of_document(document)
}
