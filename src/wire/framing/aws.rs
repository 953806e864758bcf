//! AWS event streams
//! (<https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html>, "Event stream
//! encoding"): length of the message, length of its headers and a checksum of these two; headers;
//! payload; a checksum of everything.

use super::{Frame, Rest};

/// The lengths and their checksum.
const PRELUDE_BYTES: usize = 12;
/// The checksum at the end.
const CHECKSUM_BYTES: usize = 4;
/// AWS allows payloads of 16 MiB and headers of 128 KiB.
const MESSAGE_BYTES_MAX: usize = 17 * 1024 * 1024;

#[derive(Debug, Default)]
pub(in crate::wire) struct AwsEventStream {
    /// The beginning of a message that is not complete yet.
    begun: Vec<u8>,
    /// Whether a checksum or length was wrong: the start of the next message is then unknown.
    is_damaged: bool,
}

impl AwsEventStream {
    pub(super) fn feed(&mut self, chunk: &[u8], take: &mut dyn FnMut(Frame<'_>)) {
        let mut chunk = chunk;
        while !self.is_damaged && !chunk.is_empty() {
            if self.begun.is_empty()
                && let Some(length) = message_bytes(chunk)
                && let Some((message, rest)) = chunk.split_at_checked(length)
            {
                // The whole message is in this chunk.
                self.is_damaged = !read_message(message, take);
                chunk = rest;
                continue;
            }
            let wanted = message_bytes(&self.begun).unwrap_or(PRELUDE_BYTES);
            let missing = wanted.saturating_sub(self.begun.len());
            let (more, rest) = chunk.split_at_checked(missing).unwrap_or((chunk, b""));
            self.begun.extend_from_slice(more);
            chunk = rest;
            if self.begun.len() >= PRELUDE_BYTES {
                match message_bytes(&self.begun) {
                    Some(length) if length == self.begun.len() => {
                        self.is_damaged = !read_message(&self.begun, take);
                        self.begun.clear();
                    }
                    Some(_) => {}
                    None => self.is_damaged = true,
                }
            }
        }
    }

    pub(super) fn finish(&self) -> Rest {
        if self.is_damaged {
            Rest::Foreign
        } else if !self.begun.is_empty() {
            Rest::Incomplete
        } else {
            Rest::Nothing
        }
    }
}

/// Length of the message with this prelude; `None` if it is incomplete or wrong.
fn message_bytes(prelude: &[u8]) -> Option<usize> {
    let (length, rest) = number(prelude)?;
    let (headers, rest) = number(rest)?;
    let (checksum, _) = number(rest)?;
    if crc32fast::hash(prelude.get(..8)?) != checksum {
        return None;
    }
    let length = usize::try_from(length).ok()?;
    let headers = usize::try_from(headers).ok()?;
    let least = headers.checked_add(PRELUDE_BYTES + CHECKSUM_BYTES)?;
    (least..=MESSAGE_BYTES_MAX)
        .contains(&length)
        .then_some(length)
}

/// Passes one whole message to `take`; `false` if it is damaged.
fn read_message(message: &[u8], take: &mut dyn FnMut(Frame<'_>)) -> bool {
    read_frame(message).map(take).is_some()
}

fn read_frame(message: &[u8]) -> Option<Frame<'_>> {
    let end = message.len().checked_sub(CHECKSUM_BYTES)?;
    let (body, checksum) = message.split_at_checked(end)?;
    if crc32fast::hash(body) != number(checksum)?.0 {
        return None;
    }
    let headers = usize::try_from(number(message.get(4..)?)?.0).ok()?;
    let (mut headers, data) = body.get(PRELUDE_BYTES..)?.split_at_checked(headers)?;
    let mut frame = Frame {
        name: None,
        is_error: false,
        data,
    };
    while !headers.is_empty() {
        let (name, rest) = short_text(headers)?;
        let (value, rest) = header_value(rest)?;
        headers = rest;
        match name {
            b":event-type" => frame.name = std::str::from_utf8(value).ok(),
            b":exception-type" | b":error-code" => {
                frame.name = std::str::from_utf8(value).ok();
                frame.is_error = true;
            }
            // Errors that are no exceptions have no payload.
            b":error-message" if data.is_empty() => frame.data = value,
            _ => {}
        }
    }
    Some(frame)
}

fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*number), rest))
}

/// A text after its length, which takes one byte.
fn short_text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

/// The value of a header, and the rest.
fn header_value(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (kind, rest) = bytes.split_first()?;
    let length = match kind {
        0 | 1 => 0, // true, false
        2 => 1,     // byte
        3 => 2,     // short
        4 => 4,     // integer
        5 | 8 => 8, // long, timestamp
        9 => 16,    // UUID
        6 | 7 => {
            // Bytes and text, after their length.
            let (length, rest) = rest.split_first_chunk::<2>()?;
            return rest.split_at_checked(usize::from(u16::from_be_bytes(*length)));
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// Builds a message with these headers.
#[cfg(test)]
pub(in crate::wire) fn message(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let mut head = Vec::new();
    for (name, value) in headers {
        head.push(u8::try_from(name.len()).unwrap());
        head.extend(name.as_bytes());
        head.push(7);
        head.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        head.extend(value.as_bytes());
    }
    let length = PRELUDE_BYTES + head.len() + payload.len() + CHECKSUM_BYTES;
    let mut message = u32::try_from(length).unwrap().to_be_bytes().to_vec();
    message.extend(u32::try_from(head.len()).unwrap().to_be_bytes());
    message.extend(crc32fast::hash(&message).to_be_bytes());
    message.extend(head);
    message.extend(payload);
    message.extend(crc32fast::hash(&message).to_be_bytes());
    message
}
