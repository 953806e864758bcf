//! Redacting: a policy goes over everything that a command carries, before the command is sent.

use bytes::Bytes;

use super::command::Ending;
use super::shared::Shared;
use crate::record::{Altered, RequestContext};
use crate::redact::Redaction;
use crate::sync::atomic::Ordering;

/// One policy over one command.
#[derive(Debug)]
pub(crate) struct Redactor<'s> {
    policy: &'s Redaction,
    shared: &'s Shared,
    has_failed: bool,
}

impl<'s> Redactor<'s> {
    /// `None`: there is no policy.
    pub(crate) fn of(shared: &'s Shared) -> Option<Self> {
        shared.redaction.as_ref().map(|policy| Self {
            policy,
            shared,
            has_failed: false,
        })
    }

    /// The policy's id; notes the flag where it failed.
    pub(crate) fn into_id(self, flag: &str, altered: &mut Altered) -> String {
        if self.has_failed {
            altered.push(flag.to_owned());
        }
        self.policy.id().to_owned()
    }

    /// `false`: the content must not be recorded.
    pub(crate) fn body(&mut self, body: &mut Bytes) -> bool {
        match self.policy.redact(body) {
            Ok(std::borrow::Cow::Borrowed(_)) => true,
            Ok(std::borrow::Cow::Owned(redacted)) => {
                *body = redacted.into();
                true
            }
            Err(_) => {
                self.fail();
                false
            }
        }
    }

    /// A text that fails is empty.
    fn text(&mut self, text: &mut String) {
        match self.policy.redact(text.as_bytes()) {
            Ok(std::borrow::Cow::Borrowed(_)) => {}
            Ok(std::borrow::Cow::Owned(redacted)) => {
                *text = String::from_utf8_lossy(&redacted).into_owned();
            }
            Err(_) => {
                self.fail();
                text.clear();
            }
        }
    }

    pub(crate) fn fail(&mut self) {
        self.has_failed = true;
        let failures = &self.shared.vitals.redaction_failures;
        failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn context(&mut self, context: &mut RequestContext) {
        for (_, value) in &mut context.attributes {
            self.text(value);
        }
        for message in context.messages.iter_mut().flatten() {
            self.text(&mut message.text);
            for call in &mut message.tool_calls {
                self.text(&mut call.input);
            }
            for result in &mut message.tool_results {
                self.text(&mut result.text);
            }
        }
    }

    pub(crate) fn ending(&mut self, ending: &mut Ending) {
        if let Some(text) = &mut ending.error_message {
            self.text(text);
        }
        if let Some(text) = &mut ending.assistant_text {
            self.text(text);
        }
        for call in &mut ending.tool_calls {
            self.text(&mut call.input);
        }
    }
}
