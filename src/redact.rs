//! Redaction: secrets are taken out of content before anything is enqueued or hashed.

use std::borrow::Cow;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use memchr::memmem::Finder;

/// What stands in the place of a secret.
const MARK: &[u8] = b"[redacted]";

/// A host's own function: the text without secrets, `None` where there is none in it.
type Callback = dyn Fn(&[u8]) -> Result<Option<Vec<u8>>, Box<dyn std::error::Error + Send + Sync>>
    + Send
    + Sync;

/// A policy that takes secrets out of bodies, attributes, messages, texts, tool inputs and error
/// messages, on the request thread and before anything is enqueued or hashed: what it takes out is
/// nowhere in the store, not even as a digest. Lengths and digests are those of what is recorded.
///
/// Where a policy fails or panics, the content is left out and the metadata kept;
/// [`RequestRecord::is_withheld`](crate::RequestRecord::is_withheld) says so. So is a streamed response
/// above the payload cap: pieces of it cannot be looked at apart. The policy's id stands in each event
/// whose content it went over.
///
/// ```
/// use auditlite::Redaction;
///
/// let policy = Redaction::credentials("credentials-1");
/// let body = br#"{"content":"my key is sk-proj-0123456789abcdefghijklmn, keep it"}"#;
/// let redacted = policy.redact(body).unwrap();
/// assert_eq!(&*redacted, br#"{"content":"my key is [redacted], keep it"}"#);
/// ```
///
/// # Cost
///
/// Without a policy, nothing. With [`credentials`](Self::credentials), the request thread searches
/// every body once for each pattern's prefix, and joins the chunks of a streamed response at its end.
#[derive(Clone)]
pub struct Redaction {
    id: String,
    patterns: Arc<[Pattern]>,
    callback: Option<Arc<Callback>>,
}

/// A policy could not go over a text.
#[derive(Debug, thiserror::Error)]
#[error("the redaction policy {0:?} failed")]
pub struct RedactionError(String);

/// Prefix, least number of characters after it, and which characters.
type Known = (&'static str, usize, fn(u8) -> bool);

/// Credentials that their prefix gives away.
const KNOWN: &[Known] = &[
    ("sk-", 16, is_word),   // OpenAI, Anthropic, DeepSeek, OpenRouter
    ("AIza", 30, is_word),  // Google
    ("AKIA", 16, is_upper), // AWS, long-term
    ("ASIA", 16, is_upper), // AWS, temporary
    ("ghp_", 30, is_word),  // GitHub
    ("gho_", 30, is_word),
    ("ghs_", 30, is_word),
    ("github_pat_", 30, is_word),
    ("glpat-", 16, is_word), // GitLab
    ("xox", 16, is_word),    // Slack
    ("hf_", 30, is_word),    // Hugging Face
    ("gsk_", 30, is_word),   // Groq
    ("xai-", 30, is_word),   // xAI
    ("Bearer ", 16, is_token),
    ("bearer ", 16, is_token),
    ("aws_secret_access_key", 30, is_assigned),
    ("AWS_SECRET_ACCESS_KEY", 30, is_assigned),
    ("SecretAccessKey", 30, is_assigned),
];

struct Pattern {
    finder: Finder<'static>,
    /// Bytes of the prefix that stay: the name of a field, the word `Bearer`.
    kept: usize,
    length_min: usize,
    belongs: fn(u8) -> bool,
}

impl Redaction {
    /// A policy that takes out API keys and tokens that their form gives away: `sk-…`, `AIza…`, AWS
    /// access keys and named secret keys, GitHub, GitLab, Slack, Hugging Face, Groq and xAI tokens,
    /// and whatever follows `Bearer`. `id` names the policy in the log, at most 256 bytes.
    pub fn credentials(id: impl Into<String>) -> Self {
        let patterns = KNOWN.iter().map(|(prefix, length_min, belongs)| Pattern {
            finder: Finder::new(prefix),
            kept: match prefix.len() {
                0..7 => 0,
                _ if prefix.ends_with(['_', '-']) => 0,
                length => length,
            },
            length_min: *length_min,
            belongs: *belongs,
        });
        Self {
            id: shortened(id.into()),
            patterns: patterns.collect(),
            callback: None,
        }
    }

    /// A policy that is a function: it gets each text and returns it without secrets, or `None` where
    /// there is none in it. It runs on request threads.
    pub fn callback<F>(id: impl Into<String>, callback: F) -> Self
    where
        F: Fn(&[u8]) -> Result<Option<Vec<u8>>, Box<dyn std::error::Error + Send + Sync>>
            + Send
            + Sync
            + 'static,
    {
        Self {
            id: shortened(id.into()),
            patterns: Arc::default(),
            callback: None,
        }
        .and(callback)
    }

    /// Adds a function, which gets what the patterns leave.
    #[must_use]
    pub fn and<F>(mut self, callback: F) -> Self
    where
        F: Fn(&[u8]) -> Result<Option<Vec<u8>>, Box<dyn std::error::Error + Send + Sync>>
            + Send
            + Sync
            + 'static,
    {
        self.callback = Some(Arc::new(callback));
        self
    }

    /// The policy's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The text without secrets.
    ///
    /// # Errors
    ///
    /// [`RedactionError`] where the callback returned an error or panicked.
    pub fn redact<'t>(&self, text: &'t [u8]) -> Result<Cow<'t, [u8]>, RedactionError> {
        let mut text = self.without_known(text);
        if let Some(callback) = &self.callback {
            let outcome = catch_unwind(AssertUnwindSafe(|| callback(&text)));
            match outcome {
                Ok(Ok(None)) => {}
                Ok(Ok(Some(redacted))) => text = Cow::Owned(redacted),
                Ok(Err(_)) | Err(_) => return Err(RedactionError(self.id.clone())),
            }
        }
        Ok(text)
    }

    fn without_known<'t>(&self, text: &'t [u8]) -> Cow<'t, [u8]> {
        let mut secrets: Vec<(usize, usize)> = Vec::new();
        for pattern in self.patterns.iter() {
            for start in pattern.finder.find_iter(text) {
                secrets.extend(pattern.secret(text, start));
            }
        }
        if secrets.is_empty() {
            return Cow::Borrowed(text);
        }
        secrets.sort_unstable();
        let mut redacted = Vec::with_capacity(text.len());
        let mut at = 0;
        for (start, end) in secrets {
            if start >= at {
                redacted.extend_from_slice(text.get(at..start).unwrap_or_default());
                redacted.extend_from_slice(MARK);
            }
            at = at.max(end);
        }
        redacted.extend_from_slice(text.get(at..).unwrap_or_default());
        Cow::Owned(redacted)
    }
}

impl Pattern {
    /// The secret whose prefix stands here, from and to.
    fn secret(&self, text: &[u8], start: usize) -> Option<(usize, usize)> {
        let (before, from) = text.split_at_checked(start)?;
        let is_inside_word = match before {
            // The letter of an escape in JSON (`\\n`) is none of a word.
            [.., b'\\', b'n' | b'r' | b't' | b'b' | b'f'] => false,
            [.., last] => last.is_ascii_alphanumeric() || *last == b'_',
            [] => false,
        };
        if is_inside_word {
            return None;
        }
        let mut rest = from.get(self.finder.needle().len()..)?;
        let mut begin = start;
        if self.kept > 0 {
            // `key": "value`, `key = value`, `key\": \"value`.
            let between = |byte: &u8| b"\"\\':= ".contains(byte);
            let skipped = rest.iter().take_while(|byte| between(byte)).count();
            rest = rest.get(skipped..)?;
            begin = start + self.kept + skipped;
        }
        let length = rest
            .iter()
            .take_while(|byte| (self.belongs)(**byte))
            .count();
        let end = text.len() - rest.len() + length;
        (length >= self.length_min).then_some((begin, end))
    }
}

/// Prints the id.
impl fmt::Debug for Redaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redaction")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// As long as an identifier may be.
fn shortened(mut id: String) -> String {
    id.truncate(id.floor_char_boundary(256));
    id.replace('\0', "\u{fffd}")
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

fn is_upper(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit()
}

/// RFC 6750's `b64token`.
fn is_token(byte: u8) -> bool {
    is_word(byte) || b".~+/=".contains(&byte)
}

fn is_assigned(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(text: &str) -> String {
        let policy = Redaction::credentials("test");
        String::from_utf8(policy.redact(text.as_bytes()).unwrap().into_owned()).unwrap()
    }

    #[test]
    fn credentials_are_taken_out_wherever_they_stand() {
        let tail = "0123456789abcdefghijklmnopqrstuvwxyz";
        for (text, expected) in [
            (format!("sk-{tail}"), "[redacted]".to_owned()),
            (
                format!("a\\nsk-ant-{tail}\"}}"),
                "a\\n[redacted]\"}".to_owned(),
            ),
            (format!("(AIza{tail})"), "([redacted])".to_owned()),
            (
                "id AKIAIOSFODNN7EXAMPLE.".to_owned(),
                "id [redacted].".to_owned(),
            ),
            (
                format!("{{\"Authorization\":\"Bearer {tail}\"}}"),
                "{\"Authorization\":\"Bearer [redacted]\"}".to_owned(),
            ),
            (
                format!("aws_secret_access_key = {tail}/+\n"),
                "aws_secret_access_key = [redacted]\n".to_owned(),
            ),
            (
                format!("sk-{tail} sk-{tail}"),
                "[redacted] [redacted]".to_owned(),
            ),
            (format!("Bearer sk-{tail}"), "Bearer [redacted]".to_owned()),
        ] {
            assert_eq!(redacted(&text), expected, "{text}");
        }
    }

    #[test]
    fn other_words_stay() {
        for text in [
            "task-force-of-many-people",
            "sk-short",
            "Bearer of news",
            "AIza",
            "",
            "disk-0123456789abcdefghijkl",
        ] {
            assert_eq!(redacted(text), text);
        }
    }

    #[test]
    fn a_function_that_fails_or_panics_is_an_error() {
        let failing = Redaction::callback("f", |_| Err("no".into()));
        assert!(failing.redact(b"x").is_err());
        let panicking = Redaction::callback("p", |_| panic!("no"));
        assert!(panicking.redact(b"x").is_err());
        let replacing = Redaction::credentials("r").and(|_| Ok(Some(b"y".to_vec())));
        assert_eq!(&*replacing.redact(b"x").unwrap(), b"y");
    }
}
