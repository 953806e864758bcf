//! Redaction: the patterns of secrets, and how they are removed from content. `writer/admission/redactor.rs` applies
//! it to what a gateway passes, before anything is queued or hashed.

use std::borrow::Cow;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use memchr::memmem::Finder;

/// Replaces a secret.
const MARK: &[u8] = b"[redacted]";

/// The gateway's own function: returns the text without secrets, `None` if it has none.
type Callback = dyn Fn(&[u8]) -> Result<Option<Vec<u8>>, Box<dyn std::error::Error + Send + Sync>>
    + Send
    + Sync;

/// A policy that removes secrets from bodies and from every text that the gateway passes (attributes,
/// messages, tool calls, error types and messages, models, providers, response ids, finish reasons). It runs
/// before anything is shortened, queued or hashed: a removed secret is nowhere in the store, not even as a
/// digest. It also redacts every text that the writer parses from a body, which may spell a secret in another
/// way (`\u002d` in JSON). Lengths and digests are those of the redacted content.
///
/// Ids of requests, users, sessions, conversations, contexts, traces and actors are not redacted: two ids that
/// become equal would merge. A gateway that knows its users by their keys should pass a digest instead.
///
/// If a policy fails or panics, the body or the text is left out and the rest is kept.
/// [`RequestRecord::is_withheld`](crate::RequestRecord::is_withheld) flags bodies,
/// [`RequestRecord::adjusted_fields`](crate::RequestRecord::adjusted_fields) names other fields. A streamed response
/// above the payload cap is left out too, since its pieces cannot be redacted separately. Each event has the
/// id of the policy that redacted its content.
///
/// Not found: a secret that a body has in pieces (in the deltas of a stream), or in a form that the policy does
/// not know.
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
/// every body once for each pattern's prefix (1 to 2 µs for each KiB, measured), and joins the chunks of a streamed response at
/// its end.
#[derive(Clone)]
pub struct Redaction {
    id: String,
    patterns: Arc<[Pattern]>,
    /// Which bytes a pattern can remove, or look at to decide.
    belonging: Arc<[bool; 256]>,
    callback: Option<Arc<Callback>>,
}

/// A text could not be redacted.
#[derive(Debug, thiserror::Error)]
#[error("the redaction policy {0:?} failed")]
pub struct RedactionError(String);

/// What a secret is recognised by, and whether that stays.
#[derive(Debug, Clone, Copy)]
enum Sign {
    /// The secret begins with this, and all of it is removed.
    Prefix(&'static str),
    /// The name in front of the secret, which stays.
    Name(&'static str),
}

use Sign::{Name, Prefix};

/// A sign, the least number of characters after it, and which ones.
type Known = (Sign, usize, fn(u8) -> bool);

/// Credentials that are recognised by their form.
const KNOWN: &[Known] = &[
    (Prefix("sk-"), 16, is_word), // OpenAI, Anthropic, DeepSeek, OpenRouter, Moonshot
    (Prefix("csk-"), 16, is_word), // Cerebras
    (Prefix("AIza"), 30, is_word), // Google
    (Prefix("ya29."), 30, is_token), // Google, OAuth
    (Prefix("AKIA"), 16, is_upper), // AWS, long-term
    (Prefix("ASIA"), 16, is_upper), // AWS, temporary
    (Prefix("ABSK"), 40, is_assigned), // Amazon Bedrock, long-term
    (Prefix("bedrock-api-key-"), 30, is_token), // Amazon Bedrock, short-term
    (Prefix("ghp_"), 30, is_word), // GitHub
    (Prefix("gho_"), 30, is_word),
    (Prefix("ghs_"), 30, is_word),
    (Prefix("ghu_"), 30, is_word),
    (Prefix("ghr_"), 30, is_word),
    (Prefix("github_pat_"), 30, is_word),
    (Prefix("glpat-"), 16, is_word), // GitLab
    (Prefix("xox"), 16, is_word),    // Slack
    (Prefix("xapp-"), 16, is_word),
    (Prefix("hf_"), 30, is_word),     // Hugging Face
    (Prefix("gsk_"), 30, is_word),    // Groq
    (Prefix("xai-"), 30, is_word),    // xAI
    (Prefix("pplx-"), 30, is_word),   // Perplexity
    (Prefix("nvapi-"), 30, is_word),  // NVIDIA
    (Prefix("tgp_v1_"), 30, is_word), // Together
    (Prefix("r8_"), 30, is_word),     // Replicate
    (Prefix("fw_"), 20, is_word),     // Fireworks
    // Azure, Mistral and others have keys without a form of their own.
    (Name("api-key"), 20, is_word),
    (Name("api_key"), 20, is_word),
    (Name("API_KEY"), 20, is_word),
    (Name("apiKey"), 20, is_word),
    (Name("Bearer "), 16, is_token),
    (Name("bearer "), 16, is_token),
    (Name("aws_secret_access_key"), 30, is_assigned),
    (Name("AWS_SECRET_ACCESS_KEY"), 30, is_assigned),
    (Name("SecretAccessKey"), 30, is_assigned),
    (Name("secretAccessKey"), 30, is_assigned),
];

struct Pattern {
    finder: Finder<'static>,
    /// Whether the sign is the name of the secret, and stays.
    is_name: bool,
    length_min: usize,
    belongs: fn(u8) -> bool,
}

impl Redaction {
    /// A policy that removes API keys and tokens that are recognised by their form: `sk-…`, `AIza…`, AWS
    /// access keys and named secret keys, keys of Amazon Bedrock, Cerebras, Fireworks, Groq, Hugging
    /// Face, NVIDIA, Perplexity, Replicate, Together and xAI, tokens of GitHub, GitLab, Google and
    /// Slack, and whatever follows `Bearer` or the name of an API key. `id` names the policy in the log,
    /// at most 256 bytes.
    pub fn credentials(id: impl Into<String>) -> Self {
        let patterns: Arc<[Pattern]> = KNOWN
            .iter()
            .map(|(sign, length_min, belongs)| {
                let (text, is_name) = match sign {
                    Prefix(text) => (text, false),
                    Name(text) => (text, true),
                };
                Pattern {
                    finder: Finder::new(text),
                    is_name,
                    length_min: *length_min,
                    belongs: *belongs,
                }
            })
            .collect();
        let mut belonging = [false; 256];
        for (byte, belongs) in (0..=u8::MAX).zip(&mut belonging) {
            *belongs = is_word(byte) || patterns.iter().any(|pattern| pattern.has(byte));
        }
        Self {
            id: shortened(id.into()),
            patterns,
            belonging: Arc::new(belonging),
            callback: None,
        }
    }

    /// A policy that is a function: it gets each text and returns it without secrets, or `None` if it has none.
    /// It runs on request threads.
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
            belonging: Arc::new([false; 256]),
            callback: None,
        }
        .and(callback)
    }

    /// Adds a function, which runs after the patterns.
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

    /// Where a text can be cut in two, so that redacting both parts gives the same as redacting the whole,
    /// whatever follows. Secrets may be of any length, so the cut is behind the last byte that no pattern can
    /// remove or look at. `None`: nowhere, or the policy has a function, which may need to see everything.
    pub(crate) fn prefix_apart(&self, text: &[u8]) -> Option<usize> {
        if !self.can_cut() {
            return None;
        }
        let belongs = |byte: u8| self.belonging.get(usize::from(byte)).copied();
        let last = text
            .iter()
            .rposition(|byte| belongs(*byte) == Some(false))?;
        last.checked_add(1)
    }

    /// Whether parts of a text can be redacted separately at all.
    pub(crate) fn can_cut(&self) -> bool {
        self.callback.is_none()
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

/// What may stand between a name and its secret: `key": "value`, `key = value`, `key\": \"value`.
const BETWEEN: &[u8] = b"\"\\':= ";

impl Pattern {
    /// Whether this byte can stand in a match.
    fn has(&self, byte: u8) -> bool {
        (self.belongs)(byte) || BETWEEN.contains(&byte) || self.finder.needle().contains(&byte)
    }

    /// The secret whose prefix stands here, from and to.
    fn secret(&self, text: &[u8], start: usize) -> Option<(usize, usize)> {
        let (before, from) = text.split_at_checked(start)?;
        if !self.is_name && is_inside_word(before) {
            return None;
        }
        let mut rest = from.get(self.finder.needle().len()..)?;
        let mut begin = start;
        if self.is_name {
            let skipped = rest
                .iter()
                .take_while(|byte| BETWEEN.contains(byte))
                .count();
            if skipped == 0 && !self.finder.needle().ends_with(b" ") {
                return None; // A longer word that only begins like the sign.
            }
            rest = rest.get(skipped..)?;
            begin = text.len() - rest.len();
        }
        let mut length = 0_usize;
        while let Some((byte, after)) = next_character(rest)
            && (self.belongs)(byte)
        {
            rest = after;
            length = length.saturating_add(1);
        }
        let end = text.len() - rest.len();
        (length >= self.length_min).then_some((begin, end))
    }
}

/// Whether a text ends within a word, which may be the text of JSON: the letter of an escape (`\n`,
/// `\u201c`) is none of a word.
fn is_inside_word(before: &[u8]) -> bool {
    match before {
        [.., b'\\', b'n' | b'r' | b't' | b'b' | b'f'] => false,
        [.., b'\\', b'u', a, b, c, d]
            if [a, b, c, d].iter().all(|digit| digit.is_ascii_hexdigit()) =>
        {
            false
        }
        [.., last] => last.is_ascii_alphanumeric() || *last == b'_',
        [] => false,
    }
}

/// The next character, as JSON may write it: `\/` and `\u002b` are `/` and `+`.
fn next_character(text: &[u8]) -> Option<(u8, &[u8])> {
    match text {
        [b'\\', b'/', rest @ ..] => Some((b'/', rest)),
        [b'\\', b'u', b'0', b'0', high, low, rest @ ..] => {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            let code = digit(*high)?.checked_mul(16)?.checked_add(digit(*low)?)?;
            Some((u8::try_from(code).ok()?, rest))
        }
        [byte, rest @ ..] => Some((*byte, rest)),
        [] => None,
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
    fn every_form_is_known_as_json_writes_it() {
        let tail = "Ab0-_Cd1Ef2Gh3Ij4Kl5Mn6Op7Qr8St9Uv0Wx1Yz2Ab3Cd4";
        let plain: String = tail.chars().filter(char::is_ascii_alphanumeric).collect();
        for (sign, length_min, belongs) in KNOWN {
            let secret = match () {
                () if !belongs(b'a') => plain.to_uppercase(),
                () if belongs(b'/') => format!("a/b+c/{plain}=="),
                () => tail.to_owned(),
            };
            let (Prefix(text) | Name(text)) = sign;
            let between = if text.ends_with(' ') { "" } else { "\": \"" };
            let (before, secret) = match sign {
                Prefix(prefix) => (String::new(), format!("{prefix}{secret}")),
                Name(name) => (format!("{name}{between}"), secret),
            };
            let escaped = secret.replace('/', "\\/").replace('+', "\\u002B");
            let twice = format!("{before}{secret}");
            for (spelt, kept) in [
                (format!("{before}{secret}"), before.clone()),
                (format!("{before}{escaped}"), before.clone()),
                (
                    format!("\\u201c{before}{escaped}\\u201d"),
                    format!("\\u201c{before}"),
                ),
                (format!("é\\n{twice}"), format!("é\\n{before}")),
            ] {
                let found = redacted(&spelt);
                assert!(
                    found.starts_with(&format!("{kept}[redacted]")),
                    "{spelt}: {found}"
                );
                assert!(
                    !found.contains(secret.split_at(secret.len() - length_min / 2).1),
                    "{found}"
                );
            }
            // One that is too short is no secret.
            let short: String = text
                .chars()
                .chain("a".repeat(*length_min - 1).chars())
                .collect();
            assert_eq!(redacted(&short), short);
        }
    }

    #[test]
    fn other_words_stay() {
        for text in [
            "xyzsk-0123456789abcdefghijkl",
            "api_key: none",
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
    fn a_text_in_two_parts_is_redacted_as_in_one() {
        let seed = crate::tests::seeds::seed("AUDITLITE_REDACTION_SEED");
        let mut random = fastrand::Rng::with_seed(seed);
        let policy = Redaction::credentials("test");
        let words: Vec<&str> = KNOWN
            .iter()
            .map(|(Prefix(text) | Name(text), ..)| *text)
            .chain([
                "0123456789",
                "abcdefghij",
                "ABCDEFGHIJ",
                "_",
                "-",
                " ",
                "\"",
                "\\",
                "\\n",
                ":",
                "=",
                ".",
                "/",
                ",",
                "{",
                "}",
                "\n",
                "ä",
                "data: ",
                "Bearer",
            ])
            .collect();
        let (mut cuts, mut secrets) = (0, 0);
        for case in 0..600 {
            let text: String = (0..random.usize(1..40))
                .map(|_| words[random.usize(..words.len())])
                .collect();
            let text = text.as_bytes();
            let whole = policy.redact(text).unwrap();
            secrets += usize::from(*whole != *text);
            for come in 0..=text.len() {
                let Some(cut) = policy.prefix_apart(&text[..come]) else {
                    continue;
                };
                let (first, second) = text.split_at(cut);
                let (first, second) = (policy.redact(first), policy.redact(second));
                let joined = [first.unwrap(), second.unwrap()].concat();
                assert_eq!(
                    joined, *whole,
                    "AUDITLITE_REDACTION_SEED={seed}, case {case}, {cut}"
                );
                cuts += 1;
            }
        }
        assert!(cuts > 4000 && secrets > 60, "{cuts} {secrets}");
        let function = Redaction::credentials("f").and(|_| Ok(None));
        assert_eq!(function.prefix_apart(b"a, b, c"), None);
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
