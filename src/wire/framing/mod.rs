//! Cuts the bytes of a response into frames, regardless of how they are cut into chunks.
//!
//! The first bytes tell the framing; unlike a `Content-Type` they are never missing or wrong. Frames within
//! one chunk are borrowed from it. Only what a chunk leaves incomplete is copied, and that is at most the
//! response itself.

mod aws;
mod json;
mod sse;

use aws::AwsEventStream;
#[cfg(test)]
pub(super) use aws::message as aws_message;
use json::JsonDocuments;
use sse::ServerSentEvents;

/// One document of a response: the whole response, or one event of a stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    /// The name of the event, if the framing has names.
    pub(super) name: Option<&'a str>,
    /// Whether the framing says that this is an error.
    pub(super) is_error: bool,
    /// The JSON, or what is there instead.
    pub(super) data: &'a [u8],
}

/// Cuts a response into frames.
#[derive(Debug)]
pub(super) enum Framing {
    /// Only white space so far.
    Undecided,
    Events(ServerSentEvents),
    Documents(JsonDocuments),
    Aws(AwsEventStream),
}

/// What is left when the response ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing.
    Nothing,
    /// The beginning of a frame.
    Incomplete,
    /// Something that is not of this framing, at the end or before.
    Foreign,
}

impl Framing {
    pub(super) fn new() -> Self {
        Self::Undecided
    }

    /// Reads the next chunk and passes on each frame that it completes.
    pub(super) fn feed(&mut self, chunk: &[u8], take: &mut dyn FnMut(Frame<'_>)) {
        let mut chunk = chunk;
        if matches!(self, Self::Undecided) {
            chunk = chunk.trim_ascii_start();
            match chunk.first() {
                None => return,
                Some(b'{' | b'[') => *self = Self::Documents(JsonDocuments::default()),
                // The length of a message of less than 16 MiB begins with a zero byte.
                Some(0) => *self = Self::Aws(AwsEventStream::default()),
                Some(_) => *self = Self::Events(ServerSentEvents::default()),
            }
        }
        match self {
            Self::Undecided => {}
            Self::Events(framing) => framing.feed(chunk, take),
            Self::Documents(framing) => framing.feed(chunk, take),
            Self::Aws(framing) => framing.feed(chunk, take),
        }
    }

    /// Passes on a last frame that only the end of the response completes.
    pub(super) fn finish(&mut self, take: &mut dyn FnMut(Frame<'_>)) -> Rest {
        match self {
            Self::Undecided => Rest::Nothing,
            Self::Events(framing) => framing.finish(take),
            Self::Documents(framing) => framing.finish(),
            Self::Aws(framing) => framing.finish(),
        }
    }

    /// Whether it is a sequence of frames, in contrast to one document.
    pub(super) fn is_stream(&self) -> bool {
        match self {
            Self::Undecided => false,
            Self::Events(framing) => framing.is_stream(),
            Self::Documents(framing) => framing.is_stream(),
            Self::Aws(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames, whether it is a stream, and what is left.
    fn frames(chunks: &[&[u8]]) -> (Vec<String>, bool, Rest) {
        let mut framing = Framing::new();
        let mut seen = Vec::new();
        let mut take = |frame: Frame<'_>| {
            let name = frame
                .name
                .map(|name| format!("{name}="))
                .unwrap_or_default();
            seen.push(name + &String::from_utf8_lossy(frame.data));
        };
        for chunk in chunks {
            framing.feed(chunk, &mut take);
        }
        let rest = framing.finish(&mut take);
        (seen, framing.is_stream(), rest)
    }

    /// The same result for the whole body and for single bytes.
    fn both(body: &[u8]) -> (Vec<String>, bool, Rest) {
        let whole = frames(&[body]);
        let bytes: Vec<&[u8]> = body.chunks(1).collect();
        assert_eq!(whole, frames(&bytes));
        for at in 0..body.len() {
            let (head, tail) = body.split_at(at);
            assert_eq!(whole, frames(&[head, tail]), "split at {at}");
        }
        whole
    }

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn server_sent_events_are_split_into_events() {
        let body = b"\xEF\xBB\xBF: comment\n\nevent: first\r\ndata: {\"a\":\r\ndata:1}\r\n\r\n\
            id: 7\rdata:  two\r\rretry: 5\n\ndata\ndata\n\ndata: [DONE]\n\n";
        let (seen, is_stream, rest) = both(body);
        let expected = ["first={\"a\":\n1}", " two", "\n", "[DONE]"];
        assert_eq!(seen, strings(&expected));
        assert_eq!((is_stream, rest), (true, Rest::Nothing));
    }

    #[test]
    fn the_last_event_needs_no_empty_line() {
        for body in ["data: 1\n\ndata: 2", "data: 1\n\ndata: 2\n"] {
            assert_eq!(both(body.as_bytes()).0, strings(&["1", "2"]));
        }
    }

    #[test]
    fn what_is_no_stream_has_no_frames() {
        let (seen, is_stream, rest) = both(b"<html>\n<p>data: no</p>\n\n</html>\n");
        assert_eq!((seen, is_stream, rest), (Vec::new(), false, Rest::Foreign));
        assert_eq!(both(b" \n ").2, Rest::Nothing);
    }

    #[test]
    fn one_document_lines_of_them_and_an_array() {
        let one = b" \n{\"a\": \"}\\\"\", \"b\": [{}]}\n";
        assert_eq!(both(one).0, strings(&["{\"a\": \"}\\\"\", \"b\": [{}]}"]));
        assert!(!both(one).1);
        let lines = b"{\"a\":1}\n{\"a\":2}\n";
        assert_eq!(both(lines).0, strings(&["{\"a\":1}", "{\"a\":2}"]));
        assert!(both(lines).1);
        let array = b"[{\"a\":1}\n,\r\n{\"a\":[2]}]";
        assert_eq!(both(array).0, strings(&["{\"a\":1}", "{\"a\":[2]}"]));
        assert!(both(array).1);
    }

    #[test]
    fn documents_that_break_off_or_have_something_after_them() {
        for (body, expected) in [
            ("{\"a\":1}\n{\"a\"", Rest::Incomplete),
            ("[{\"a\":1},{\"a\"", Rest::Incomplete),
            ("[{\"a\":1},", Rest::Incomplete),
            ("{\"a\":1}]", Rest::Foreign),
            ("{\"a\":1} x", Rest::Foreign),
        ] {
            let (seen, _, rest) = both(body.as_bytes());
            assert_eq!((seen, rest), (strings(&["{\"a\":1}"]), expected), "{body}");
        }
    }

    #[test]
    fn aws_event_streams_are_split_into_messages() {
        let mut body = aws::message(&[(":event-type", "messageStart")], b"{\"a\":1}");
        body.extend(aws::message(
            &[(":exception-type", "throttlingException")],
            b"{}",
        ));
        let (seen, is_stream, rest) = both(&body);
        assert_eq!(
            seen,
            strings(&["messageStart={\"a\":1}", "throttlingException={}"])
        );
        assert_eq!((is_stream, rest), (true, Rest::Nothing));
        body.pop();
        assert_eq!(both(&body).2, Rest::Incomplete);
        assert_eq!(both(&[0; 11]).2, Rest::Incomplete);
        assert_eq!(both(&[0; 12]).2, Rest::Foreign);
    }

    #[test]
    fn a_damaged_aws_message_ends_the_reading() {
        let whole = aws::message(&[(":event-type", "x")], b"{\"a\":1}");
        for at in 0..whole.len() {
            let mut body = whole.clone();
            body[at] ^= 0x10;
            if at == 0 {
                continue; // Then it is no event stream any more.
            }
            let (seen, _, rest) = both(&body);
            assert_eq!((seen, rest), (Vec::new(), Rest::Foreign), "byte {at}");
        }
    }
}
