//! Which pieces belong to one call, where servers do not number them as the protocol says.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;

use crate::model::{MessagePart, MessageToolCall};

/// What a piece of a call says of the call.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct CallPiece<'a> {
    pub(super) id: Option<&'a str>,
    pub(super) name: Option<&'a str>,
    /// Whether it has a piece of the input.
    pub(super) has_input: bool,
}

impl CallPiece<'_> {
    /// Whether it begins a call after this one, at the same number. Only a piece with a name does. Its id, as far as it
    /// says something, is `id`.
    pub(super) fn begins_after(&self, before: &MessageToolCall, id: Option<&str>) -> bool {
        let Some(name) = self.name.filter(|name| !name.is_empty()) else {
            return false;
        };
        let has_id = !before.tool_call_id.is_empty();
        match id.filter(|_| has_id) {
            Some(id) if id == before.tool_call_id => false,
            // Another id: maybe only of another piece, if that goes on with the same input.
            Some(_) if name == before.tool_name => {
                is_whole(&before.input) || (before.input.is_empty() && !self.has_input)
            }
            Some(_) => true,
            None => !before.tool_name.is_empty() && is_whole(&before.input),
        }
    }
}

/// Whether an input is complete JSON.
fn is_whole(input: &str) -> bool {
    !input.is_empty() && serde_json::from_str::<IgnoredAny>(input).is_ok()
}

/// Joins calls with the same id and name, of which the same was sent at two numbers: again, or the rest.
pub(super) fn join_repeated(parts: &mut Vec<MessagePart>) {
    let mut first = BTreeMap::new();
    let mut repeated = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        if let MessagePart::ToolCall(call) = part
            && !call.tool_call_id.is_empty()
        {
            let known = *first.entry(call.tool_call_id.as_str()).or_insert(at);
            if known != at {
                repeated.push((known, at));
            }
        }
    }
    // From the last one on, so that the places before it stay as they are.
    for (known, at) in repeated.into_iter().rev() {
        let joined = match (parts.get(known), parts.get(at)) {
            (Some(MessagePart::ToolCall(known)), Some(MessagePart::ToolCall(again))) => {
                joined(known, again)
            }
            _ => None,
        };
        if let Some(joined) = joined {
            parts.remove(at);
            if let Some(part) = parts.get_mut(known) {
                *part = MessagePart::ToolCall(joined);
            }
        }
    }
}

/// Both as one call; `None` if they are two in spite of their id.
fn joined(call: &MessageToolCall, again: &MessageToolCall) -> Option<MessageToolCall> {
    let (name, other) = (&call.tool_name, &again.tool_name);
    if !name.is_empty() && !other.is_empty() && name != other {
        return None;
    }
    let input = if again.input.is_empty() || call.input == again.input {
        call.input.clone()
    } else if call.input.is_empty() {
        again.input.clone()
    } else if is_whole(&call.input) {
        // Another input is another call; what is no input of its own is a piece that came twice.
        if is_whole(&again.input) {
            return None;
        }
        call.input.clone()
    } else if is_whole(&again.input) {
        again.input.clone()
    } else {
        format!("{}{}", call.input, again.input)
    };
    Some(MessageToolCall {
        tool_call_id: call.tool_call_id.clone(),
        tool_name: if name.is_empty() { other } else { name }.clone(),
        input,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(id: &str, name: &str, input: &str) -> MessageToolCall {
        MessageToolCall::new(id, name, input)
    }

    #[test]
    fn only_a_piece_with_a_name_begins_a_call() {
        let whole = call("a", "f", "{\"x\":1}");
        let half = call("a", "f", "{\"x\"");
        let empty = call("a", "f", "");
        let without_id = call("", "f", "{}");
        for (before, id, name, has_input, begins) in [
            (&half, Some("b"), "", true, false),
            (&half, Some("b"), "f", true, false),
            (&half, Some("b"), "g", true, true),
            (&whole, Some("b"), "f", true, true),
            (&whole, Some("a"), "f", true, false),
            (&empty, Some("b"), "f", true, false),
            (&empty, Some("b"), "f", false, true),
            (&without_id, None, "f", true, true),
            (&half, None, "f", true, false),
        ] {
            let piece = CallPiece {
                id,
                name: Some(name),
                has_input,
            };
            assert_eq!(
                piece.begins_after(before, id),
                begins,
                "{before:?} {piece:?}"
            );
        }
    }

    #[test]
    fn a_call_that_was_sent_twice_is_one() {
        for (first, again, input) in [
            ("{}", "{}", Some("{}")),
            ("{\"a\":1}", "", Some("{\"a\":1}")),
            ("", "{\"a\":1}", Some("{\"a\":1}")),
            ("{\"a\"", ":1}", Some("{\"a\":1}")),
            ("{\"a\"", "{\"a\":1}", Some("{\"a\":1}")),
            ("{\"a\":1}", "{\"a\":2}", None),
        ] {
            let both = [first, again].map(|input| MessagePart::ToolCall(call("z", "f", input)));
            let mut parts = Vec::from(both.clone());
            join_repeated(&mut parts);
            let expected = match input {
                Some(input) => vec![MessagePart::ToolCall(call("z", "f", input))],
                None => Vec::from(both),
            };
            assert!(parts == expected, "{first} {again}");
        }
        let mut parts = vec![
            MessagePart::ToolCall(call("z", "f", "{}")),
            MessagePart::ToolCall(call("z", "g", "{}")),
            MessagePart::ToolCall(call("", "f", "{}")),
            MessagePart::ToolCall(call("", "f", "{}")),
        ];
        join_repeated(&mut parts);
        assert_eq!(parts.len(), 4, "another tool, and calls without ids");
    }
}
