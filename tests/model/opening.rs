//! Opens requests with everything that can be said of them.

use auditlite::{
    ActorKind, Capture, Completion, Message, MessageToolCall, MessageToolResult, ReceiptError,
    RequestContext, Status, Timestamp,
};
use fastrand::Rng;

use crate::expected::{Clock, Request, identifier, note};
use crate::machine::{Machine, OpenRequest, PATIENCE, UNNAMED, now};
use crate::words::{body, name, odd};

impl Machine {
    /// Opens a request; `conversation`: as the next turn of that one, with its history.
    pub fn open_one(&mut self, rng: &mut Rng, conversation: Option<(usize, String)>) {
        let is_plain = conversation.is_some() || !self.is_exact();
        let odd_id = (!is_plain && rng.u8(..5) == 0).then(|| odd(rng));
        let given_id = odd_id
            .or_else(|| (!is_plain && rng.u8(..3) > 0).then(|| format!("r-{}", rng.u16(..300))));
        let wire = ["", "openai.chat", "anthropic.messages", "my own"][rng.usize(..4)];
        let mut context = RequestContext::new(wire);
        let mut adjusted = Vec::new();
        if let Some(id) = &given_id {
            context = context.request_id(id.as_str());
            note(
                id.is_empty() || id.len() > 256 || id.contains('\0'),
                "request_id",
                &mut adjusted,
            );
        }
        let mut text = |field: &str, adjusted: &mut Vec<String>| {
            let given = name(rng, field);
            let recorded = identifier(given.as_deref(), field, adjusted);
            (given, recorded)
        };
        macro_rules! fields {
            ($($field:ident),*) => { $(
                let (given, $field) = text(stringify!($field), &mut adjusted);
                context.$field = given;
            )* };
        }
        // In the order of the checks, which is the order of what is noted.
        fields!(
            user_id,
            session_id,
            context_id,
            conversation_id,
            trace_id,
            operation_name
        );
        fields!(provider_name, request_model, client_model);
        let (mut conversation_id, mut session_id, mut context_id) =
            (conversation_id, session_id, context_id);
        if let Some((number, _)) = &conversation {
            let talk = (*number != UNNAMED).then(|| format!("talk-{number}"));
            context.conversation_id.clone_from(&talk);
            conversation_id = talk;
            adjusted.retain(|name| name != "conversation_id");
            if *number == UNNAMED {
                (context.session_id, context.context_id) = (None, None);
                (session_id, context_id) = (None, None);
                adjusted.retain(|name| name != "session_id" && name != "context_id");
            }
        }
        let actor = match rng.u8(..4) {
            0 => Some((ActorKind::User, "user")),
            1 => Some((ActorKind::Job, "job")),
            2 => Some((ActorKind::Mcp, "mcp")),
            _ => None,
        };
        if let Some((kind, _)) = actor {
            context = context.actor(kind, "someone");
        }
        let max_tokens = rng.bool().then(|| rng.u64(..1 << 40));
        context.max_tokens = max_tokens;
        let temperature = rng.bool().then(|| rng.f64() * 2.0);
        context.temperature = temperature;
        context.is_streaming = rng.bool();
        let attributes: Vec<_> = (0..rng.usize(..4))
            .map(|number| (format!("key-{number}"), odd(rng).replace('\0', "")))
            .collect();
        context.attributes.clone_from(&attributes);
        let messages = messages(rng);
        context.messages.clone_from(&messages);
        // In years long gone, so that times can be filtered without looking at the clock.
        let started_at = rng
            .bool()
            .then(|| 1_500_000_000_000_000 + rng.i64(0..40) * 1_000_000_000);
        context.started_at = started_at.map(Timestamp::from_micros);
        let capture = match rng.u8(..8) {
            0 if self.is_exact() => Some(Capture::MetadataOnly),
            1 => Some(Capture::Full),
            2 if self.is_exact() => Some(Capture::Deferred),
            _ => None,
        };
        context.capture = capture;
        let capture = capture.unwrap_or(self.settings.capture);
        let bytes = match conversation {
            Some((_, history)) => history.into_bytes(),
            None => body(rng),
        };
        let is_streaming = context.is_streaming;
        let before = now();
        let handle = self
            .store()
            .recorder()
            .open(context, bytes.clone())
            .unwrap();
        let window = (before, now());
        if !handle.is_recorded() {
            assert!(!self.is_exact());
            self.model.lost += 1;
            let receipt = handle.complete(Completion::new()).unwrap();
            assert_eq!(receipt.wait(PATIENCE), Err(ReceiptError::Shed));
            return;
        }
        let id = handle.request_id().to_owned();
        if let Some(given) = &given_id
            && !adjusted.iter().any(|name| name == "request_id")
        {
            assert_eq!(&id, given);
        }
        let opened_seq = self.next_seq();
        self.model.requests.push(Request {
            opened_seq,
            ended_seq: None,
            id,
            status: Status::Pending,
            started_at,
            is_erased: false,
            pruned_to: 0,
            window,
            user_id,
            session_id,
            context_id,
            conversation_id,
            trace_id,
            actor: actor.map(|(_, name)| (name, "someone".to_owned())),
            operation_name,
            provider_name,
            request_model,
            client_model,
            is_streaming,
            max_tokens,
            temperature,
            attributes,
            request: self.captured(bytes, capture),
            messages: match capture {
                Capture::Full => messages.clone().unwrap_or_default(),
                _ => Vec::new(),
            },
            has_messages: messages.is_some(),
            is_late: false,
            adjusted_fields: adjusted,
            response_model: None,
            response_provider: None,
            usage: [None; 5],
            others: Vec::new(),
            latency: Clock::Absent,
            upstream: Clock::Absent,
            first_chunk: Clock::Absent,
            finish_reasons: Vec::new(),
            calls: Vec::new(),
            text: None,
            response_id: None,
            http_status: None,
            error_type: None,
            error_message: None,
            response: None,
            prepared: None,
        });
        self.open.push(OpenRequest {
            handle,
            place: self.model.requests.len() - 1,
            capture,
            held: messages.filter(|_| capture == Capture::Deferred),
            is_live: started_at.is_none(),
            upstream: (false, false),
            first_chunk: false,
            served: (None, None),
            http_status: None,
            usage: None,
            chunks: None,
            prepared: None,
            adjusted_fields: Vec::new(),
        });
    }
}

fn messages(rng: &mut Rng) -> Option<Vec<Message>> {
    (rng.u8(..6) == 0).then(|| {
        (0..rng.usize(..3))
            .map(|number| {
                let text = odd(rng);
                let call = MessageToolCall::new(format!("call-{number}"), "tool", odd(rng));
                let message = Message::new("user", text).tool_call(call);
                let with_result =
                    |message: Message, _| message.tool_result(MessageToolResult::default());
                (0..number).fold(message, with_result)
            })
            .collect()
    })
}
