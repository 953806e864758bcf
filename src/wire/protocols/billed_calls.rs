//! Calls of OpenAI's own tools that are billed by the call.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::wire::joiner::Joiner;
use crate::wire::json::lenient::{Object, Text};
use crate::wire::usage::tool_calls;

/// Calls of the provider's own tools that are billed by the call; of the web's, those that search, and not those that
/// open a page.
pub(super) fn read_billed_calls(items: &[&RawValue], joiner: &mut Joiner) {
    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Call<'a> {
        #[serde(borrow, rename = "type")]
        kind: Text<'a>,
        #[serde(borrow)]
        action: Object<Action<'a>>,
    }
    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Action<'a> {
        #[serde(borrow, rename = "type")]
        kind: Text<'a>,
    }
    const BILLED: [(&str, &str); 3] = [
        ("web_search_call", "web_search"),
        ("file_search_call", "file_search"),
        ("code_interpreter_call", "code_interpreter"),
    ];
    let mut counts = [0_usize; BILLED.len()];
    // Most items are others: not parsed twice.
    for item in items.iter().filter(|item| item.get().contains("_call\"")) {
        let call = serde_json::from_str::<Call<'_>>(item.get()).unwrap_or_default();
        let action = call.action.0.unwrap_or_default();
        if matches!(
            action.kind.as_str(),
            Some("open_page" | "find_in_page" | "find")
        ) {
            continue;
        }
        let known = BILLED
            .iter()
            .position(|(kind, _)| call.kind.as_str() == Some(kind));
        if let Some(count) = known.and_then(|at| counts.get_mut(at)) {
            *count = count.saturating_add(1);
        }
    }
    for ((_, name), count) in BILLED.into_iter().zip(counts) {
        joiner.details().server_tool(tool_calls(name, count));
    }
}
