//! Usage and errors that protocols of one shape share, whatever their names.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::ResponseError;
use super::joiner::Joiner;
use super::json::lenient::{Object, Text};
use super::usage::{Counts, Details, OpenAiUsage};
use crate::model::{Usage, WireProtocol};

/// A model is named by a string, or by an object with its name.
pub(super) fn name_of(raw: &RawValue) -> Option<String> {
    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Named<'a> {
        #[serde(borrow, alias = "name", alias = "model")]
        id: Text<'a>,
    }
    if raw.get().starts_with('"') {
        return serde_json::from_str(raw.get()).ok();
    }
    let named = serde_json::from_str::<Object<Named<'_>>>(raw.get()).ok()?;
    named.0?.id.owned()
}

/// Reads an object of counts; their names tell whose they are.
pub(super) fn usage(raw: &RawValue, joiner: &mut Joiner) {
    let details = serde_json::from_str::<OpenAiUsage<'_>>(raw.get());
    let details = details.map(|usage| usage.details()).unwrap_or_default();
    let usage = Usage::from_json(&WireProtocol::Unknown, raw.get());
    let Some(usage) = usage else {
        // Audio and pages are billed without tokens.
        return joiner.details().merge(details);
    };
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

/// Adds the counts of one more answer, as its protocol counts them.
pub(super) fn add_counts(counts: &Counts, details: &Details, joiner: &mut Joiner) {
    joiner.details().add(details);
    if let Some(usage) = counts.usage() {
        joiner.add_usage(&usage);
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

/// Reads the usage of a model that drew for the one that served.
pub(super) fn drawing(raw: &RawValue, joiner: &mut Joiner) {
    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Named<'a> {
        #[serde(borrow)]
        model: Text<'a>,
    }
    let named = serde_json::from_str::<Named<'_>>(raw.get()).unwrap_or_default();
    if let Ok(usage) = serde_json::from_str::<OpenAiUsage<'_>>(raw.get()) {
        let tokens = usage.of_tool("image_generation", named.model.as_str());
        joiner.details().server_tool(tokens);
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
