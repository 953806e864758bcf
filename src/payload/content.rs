//! Content in addition to bodies: texts that a gateway passes itself.

use serde::{Deserialize, Serialize};

use super::text_prefix;
use crate::config::TOOL_INPUT_BYTES_MAX;
use crate::model::{Adjustments, Message, ToolCall};

/// Part 1 of the payloads of an end, as JSON.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct EndContent {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) assistant_text: Option<String>,
    /// Inputs of the tool calls, by position.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tool_inputs: Vec<String>,
    /// The request's messages, where its opening deferred them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) messages: Option<Vec<Message>>,
}

impl EndContent {
    /// `None`: there is nothing. What does not fit into `bytes_max` is cut at a character boundary.
    pub(crate) fn new(
        assistant_text: Option<String>,
        tool_calls: &mut [ToolCall],
        bytes_max: usize,
        adjustments: &mut Adjustments,
    ) -> Option<Self> {
        if assistant_text.is_none() && tool_calls.is_empty() {
            return None;
        }
        // JSON escapes take at most six bytes for one, so this share of the cap always fits.
        let share = bytes_max / 16;
        let input_max = TOOL_INPUT_BYTES_MAX.min(share / tool_calls.len().max(1));
        let mut content = Self::default();
        if let Some(mut text) = assistant_text {
            cut(&mut text, share, "assistant_text", adjustments);
            content.assistant_text = Some(text);
        }
        for call in tool_calls {
            let mut input = std::mem::take(&mut call.input);
            cut(&mut input, input_max, "tool_calls", adjustments);
            content.tool_inputs.push(input);
        }
        Some(content)
    }
}

fn cut(text: &mut String, bytes_max: usize, name: &str, adjustments: &mut Adjustments) {
    let kept = text_prefix(text, bytes_max).len();
    if kept < text.len() {
        text.truncate(kept);
        adjustments.adjust(name);
    }
}
