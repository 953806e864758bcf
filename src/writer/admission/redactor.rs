//! Applies the redaction policy to every text of a command before it is sent, and to every text that the writer
//! parses from a body before it is written.
//!
//! The policy sees texts as they came: one that was shortened before could contain half of a secret, and the digest
//! of a long name would be a digest of the secret in it. Ids of people, sessions, conversations, traces and requests
//! are not redacted: two that become equal would merge.

use bytes::Bytes;

use super::queue::Shared;
use crate::model::{
    Adjustments, Completion, Failure, Rejection, RequestContext, ToolCall, WireProtocol,
};
use crate::redaction::Redaction;
use crate::sync::atomic::Ordering;

/// Replaces the type of an error that could not be redacted: an error must have a type.
const ERROR_TYPE_WITHHELD: &str = "_OTHER";

/// Applies one policy to one command, or to the texts that were parsed from one body. Lives on the stack of a request
/// thread or of the packer.
#[derive(Debug)]
pub(crate) struct SecretRedactor<'s> {
    policy: &'s Redaction,
    shared: &'s Shared,
    /// Fields that could not be redacted, and are left out.
    failed: Adjustments,
}

impl<'s> SecretRedactor<'s> {
    /// `None`: there is no policy.
    pub(crate) fn of(shared: &'s Shared) -> Option<Self> {
        shared.redaction.as_ref().map(|policy| Self {
            policy,
            shared,
            failed: Adjustments::default(),
        })
    }

    /// The policy's id.
    pub(crate) fn id(&self) -> String {
        self.policy.id().to_owned()
    }

    /// The fields that could not be redacted.
    pub(crate) fn into_failed(self) -> Adjustments {
        self.failed
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

    pub(crate) fn fail(&mut self) {
        let failures = &self.shared.counters.redaction_failures;
        failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Redacts a text; it becomes empty if that fails.
    fn text(&mut self, field: &str, text: &mut String) {
        match self.policy.redact(text.as_bytes()) {
            Ok(std::borrow::Cow::Borrowed(_)) => {}
            Ok(std::borrow::Cow::Owned(redacted)) => {
                *text = String::from_utf8_lossy(&redacted).into_owned();
            }
            Err(_) => {
                self.fail();
                self.failed.adjust(field);
                text.clear();
            }
        }
    }

    /// Redacts a text; it becomes absent if that fails.
    pub(crate) fn optional(&mut self, field: &str, text: &mut Option<String>) {
        if let Some(inner) = text {
            let was_empty = inner.is_empty();
            self.text(field, inner);
            if inner.is_empty() && !was_empty {
                *text = None;
            }
        }
    }

    fn error_type(&mut self, error_type: &mut String) {
        let was_empty = error_type.is_empty();
        self.text("error_type", error_type);
        if error_type.is_empty() && !was_empty {
            ERROR_TYPE_WITHHELD.clone_into(error_type);
        }
    }

    fn tool_calls(&mut self, calls: &mut [ToolCall]) {
        for call in calls {
            self.text("tool_calls", &mut call.tool_call_id);
            self.text("tool_calls", &mut call.tool_name);
            self.text("tool_calls", &mut call.input);
        }
    }

    pub(crate) fn context(&mut self, context: &mut RequestContext) {
        self.optional("operation_name", &mut context.operation_name);
        self.optional("provider_name", &mut context.provider_name);
        self.optional("request_model", &mut context.request_model);
        self.optional("client_model", &mut context.client_model);
        // Some protocols have the model in the path.
        self.optional("url_path", &mut context.url_path);
        if let WireProtocol::Other(name) = &mut context.wire_protocol {
            self.text("wire_protocol", name);
        }
        for (key, value) in &mut context.attributes {
            self.text("attributes", key);
            self.text("attributes", value);
        }
        for message in context.messages.iter_mut().flatten() {
            self.text("messages", &mut message.role);
            self.text("messages", &mut message.text);
            for call in &mut message.tool_calls {
                self.text("messages", &mut call.tool_call_id);
                self.text("messages", &mut call.tool_name);
                self.text("messages", &mut call.input);
            }
            for result in &mut message.tool_results {
                self.text("messages", &mut result.tool_call_id);
                self.text("messages", &mut result.text);
            }
        }
    }

    pub(crate) fn completion(&mut self, completion: &mut Completion) {
        self.optional("assistant_text", &mut completion.assistant_text);
        self.optional("response_id", &mut completion.response_id);
        self.optional("response_model", &mut completion.response_model);
        for reason in &mut completion.finish_reasons {
            self.text("finish_reasons", reason);
        }
        self.tool_calls(&mut completion.tool_calls);
    }

    pub(crate) fn failure(&mut self, failure: &mut Failure) {
        self.error_type(&mut failure.error_type);
        self.optional("error_message", &mut failure.error_message);
        self.optional("assistant_text", &mut failure.assistant_text);
        self.optional("response_id", &mut failure.response_id);
        self.optional("response_model", &mut failure.response_model);
        for reason in &mut failure.finish_reasons {
            self.text("finish_reasons", reason);
        }
        self.tool_calls(&mut failure.tool_calls);
    }

    pub(crate) fn rejection(&mut self, rejection: &mut Rejection) {
        self.error_type(&mut rejection.error_type);
        self.optional("error_message", &mut rejection.error_message);
    }
}
