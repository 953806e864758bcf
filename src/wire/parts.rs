//! Collects the parts of messages in a request, and the text of tool results.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::json::lenient::{Content, Object, Raw, Text};
use crate::model::MessagePart;

/// Limit of parts that are read of one message.
pub(super) const CONTENT_PARTS_MAX: usize = 1024;
/// The longest kind of an unknown part that is kept, in bytes: a kind is a word.
const KIND_BYTES_MAX: usize = 64;
/// How deeply pieces of a tool result may be nested.
const RESULT_DEPTH_MAX: usize = 4;

/// Collects the parts of one message, at most as many as the request's limit still allows.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    parts: Vec<MessagePart>,
    left: &'a mut usize,
    unparsed: &'a mut u64,
}

impl<'a> Parts<'a> {
    pub(super) fn new(left: &'a mut usize, unparsed: &'a mut u64) -> Self {
        Self {
            parts: Vec::new(),
            left,
            unparsed,
        }
    }

    pub(super) fn push(&mut self, part: MessagePart) {
        if let Some(left) = self.left.checked_sub(1) {
            *self.left = left;
            self.parts.push(part);
        } else {
            *self.unparsed = self.unparsed.saturating_add(1);
        }
    }

    pub(super) fn text(&mut self, text: &str) {
        if !text.is_empty() {
            self.push(MessagePart::Text(text.to_owned()));
        }
    }

    pub(super) fn thinking(&mut self, text: &str) {
        if !text.is_empty() {
            self.push(MessagePart::Thinking(text.to_owned()));
        }
    }

    /// A part of which only the kind is kept.
    pub(super) fn other(&mut self, kind: Option<&str>) {
        self.push(MessagePart::Other(kind_of(kind)));
    }

    pub(super) fn into_vec(self) -> Vec<MessagePart> {
        self.parts
    }
}

/// The name of an unknown kind, within its bound.
pub(super) fn kind_of(kind: Option<&str>) -> String {
    let kind = kind.filter(|kind| !kind.is_empty()).unwrap_or("unknown");
    let short = kind.chars().scan(0, |bytes, letter| {
        *bytes += letter.len_utf8();
        (*bytes <= KIND_BYTES_MAX).then_some(letter)
    });
    short.collect()
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Piece<'a> {
    #[serde(borrow)]
    text: Text<'a>,
    #[serde(borrow)]
    title: Text<'a>,
    #[serde(borrow)]
    url: Text<'a>,
    #[serde(borrow)]
    stdout: Text<'a>,
    #[serde(borrow)]
    stderr: Text<'a>,
    #[serde(borrow)]
    error_code: Text<'a>,
    /// Bedrock's.
    #[serde(borrow)]
    json: Raw<'a>,
    #[serde(borrow)]
    content: Raw<'a>,
}

/// The text of a tool result or of another list of parts. A string is returned as it is; the texts of parts
/// are joined with newlines. Images and other binary content are left out.
pub(super) fn result_text(raw: &RawValue) -> String {
    let mut lines = Vec::new();
    collect(raw, RESULT_DEPTH_MAX, &mut lines);
    lines.join("\n")
}

fn collect(raw: &RawValue, depth: usize, lines: &mut Vec<String>) {
    type Pieces<'a> = Content<'a, Object<Piece<'a>>, CONTENT_PARTS_MAX>;
    let Some(depth) = depth.checked_sub(1) else {
        return;
    };
    if raw.get().starts_with('{') {
        if let Ok(Object(Some(piece))) = serde_json::from_str::<Object<Piece<'_>>>(raw.get()) {
            collect_piece(&piece, depth, lines);
        }
        return;
    }
    match serde_json::from_str::<Pieces<'_>>(raw.get()) {
        Ok(Content::Text(text)) => lines.push(text.into_owned()),
        Ok(Content::Parts(pieces)) => {
            for piece in pieces.iter().filter_map(|piece| piece.0.as_ref()) {
                collect_piece(piece, depth, lines);
            }
        }
        Ok(Content::Absent) | Err(_) => {}
    }
}

fn collect_piece(piece: &Piece<'_>, depth: usize, lines: &mut Vec<String>) {
    let texts = [
        &piece.text,
        &piece.title,
        &piece.url,
        &piece.stdout,
        &piece.stderr,
        &piece.error_code,
    ];
    lines.extend(texts.into_iter().filter_map(Text::owned));
    if let Some(json) = piece.json {
        lines.push(json.get().to_owned());
    }
    if let Some(content) = piece.content {
        collect(content, depth, lines);
    }
}
