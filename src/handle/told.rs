//! What a gateway tells of a request between its opening and its end.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use super::{Active, RequestHandle};
use crate::clock::now_micros;
use crate::config::Capture;
use crate::model::{RequestContext, Usage, seen_status, seen_usage, served_name};
use crate::writer::{
    Command, Loss, Reservation, SecretRedactor, ServedCommand, Share, UpstreamBodyCommand,
};

impl RequestHandle {
    /// The user, where the opening was not told: authentication may come after it. Recorded with the
    /// end, however the request ends; a crash before it loses this. The last word counts.
    pub fn set_user_id(&mut self, user_id: impl Into<String>) {
        self.describe(RequestContext::default().user_id(user_id));
    }

    /// The conversation, where the opening was not told, as [`set_user_id`](Self::set_user_id).
    pub fn set_conversation_id(&mut self, conversation_id: impl Into<String>) {
        self.describe(RequestContext::default().conversation_id(conversation_id));
    }

    /// An attribute that became known after the opening, as [`set_user_id`](Self::set_user_id). It takes
    /// the place of one with the same key. The opening's and these are at most
    /// [`ATTRIBUTES_MAX`](crate::ATTRIBUTES_MAX); more are left out and flagged.
    pub fn set_attribute(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.describe(RequestContext::default().attribute(key, value));
    }

    fn describe(&mut self, mut told: RequestContext) {
        let Some(active) = &mut self.active else {
            return;
        };
        if let Some(mut redactor) = SecretRedactor::of(&active.shared) {
            redactor.context(&mut told);
            active.adjustments.add(redactor.into_failed());
        }
        let (bytes, adjustments) = active.late.add(told);
        active.adjustments.add(adjustments);
        // Metadata, of a bounded length: never left out.
        active
            .reservation
            .add(active.shared.capacity.force_reserve(bytes));
    }

    /// The model that serves, once it is known. An empty or unchanged name is ignored.
    pub fn set_served_model(&mut self, model: &str) {
        if let Some(active) = &mut self.active
            && let Some(model) = active.redacted("response_model", model)
            && active.response_model.as_deref() != Some(&*model)
            && let Some((model, adjustments)) = served_name(&model)
        {
            active.adjustments.add(adjustments);
            active.response_model = Some(model.clone());
            active.notice_served(Some(model), None);
        }
    }

    /// The provider that serves, where a failover made it another one than the routed one. An
    /// empty or unchanged name is ignored.
    pub fn set_served_provider(&mut self, provider_name: &str) {
        if let Some(active) = &mut self.active
            && let Some(name) = active.redacted("response_provider_name", provider_name)
            && active.response_provider_name.as_deref() != Some(&*name)
            && let Some((name, adjustments)) = served_name(&name)
        {
            active.adjustments.add(adjustments);
            active.response_provider_name = Some(name.clone());
            active.notice_served(None, Some(name));
        }
    }

    /// The HTTP status that the client gets, once it is known. Counts where the end does not say,
    /// above all for a request that is abandoned in the middle of its response.
    pub fn set_http_status(&mut self, http_status: u16) {
        if let Some(active) = &mut self.active {
            let (http_status, adjustments) = seen_status(http_status);
            active.http_status = http_status;
            active.adjustments.add(adjustments);
        }
    }

    /// Usage seen so far. Counts where the end does not say.
    pub fn set_usage(&mut self, usage: Usage) {
        if let Some(active) = &mut self.active {
            let (usage, adjustments) = seen_usage(usage);
            active.usage = usage;
            active.adjustments.add(adjustments);
        }
    }

    /// Decides whether bodies and texts of a request that was opened with [`Capture::Deferred`] are kept, however
    /// it ends: for requests that were slow, say, or flagged. With `Deferred` the outcome decides again. The last
    /// word counts. Has no effect on other requests, whose body is on its way to the disk.
    pub fn set_capture(&mut self, capture: Capture) {
        if let Some(active) = &mut self.active
            && active.is_deferred
        {
            active.capture = Some(capture);
        }
    }

    /// The body that was forwarded upstream, where the gateway changed it. Only its digest and
    /// length are recorded, and only where it differs from the client's.
    pub fn set_upstream_body(&mut self, body: impl Into<Bytes>) {
        let Some(active) = &mut self.active else {
            return;
        };
        let mut body = body.into();
        if let Some(mut redactor) = SecretRedactor::of(&active.shared)
            && !redactor.body(&mut body)
        {
            return; // not even its digest may be known
        }
        let reservation = Reservation::new(1, body.len());
        let capacity = &active.shared.capacity;
        if capacity.try_reserve_from(Share::Content, reservation) {
            let command = UpstreamBodyCommand {
                lifecycle: Arc::clone(&active.lifecycle),
                body,
                reservation,
            };
            let _ = active
                .shared
                .submit(Command::UpstreamBody(Box::new(command)));
        } else {
            active.shared.count_loss(Loss::Update, now_micros());
        }
    }
}

impl Active {
    /// A name that was told in the middle; `None` where no policy could go over it.
    fn redacted<'n>(&mut self, field: &str, name: &'n str) -> Option<Cow<'n, str>> {
        let Some(mut redactor) = SecretRedactor::of(&self.shared) else {
            return Some(Cow::Borrowed(name));
        };
        let mut name = Some(name.to_owned());
        redactor.optional(field, &mut name);
        self.adjustments.add(redactor.into_failed());
        name.map(Cow::Owned)
    }

    fn notice_served(&self, model: Option<String>, provider_name: Option<String>) {
        let reservation = Reservation::new(1, 512);
        if self.shared.capacity.try_reserve(reservation) {
            let command = ServedCommand {
                lifecycle: Arc::clone(&self.lifecycle),
                at: now_micros(),
                response_model: model,
                response_provider_name: provider_name,
                reservation,
            };
            let _ = self.shared.submit(Command::Served(Box::new(command)));
        } else {
            // The end says it too.
            self.shared.count_loss(Loss::Update, now_micros());
        }
    }
}
