//! Preparation: commands become events and payloads, digested and planned.
//!
//! A batch is prepared once; retries of its commit write the same bytes.

use std::sync::Arc;

use bytes::Bytes;

use super::batch::BatchBuilder;
use super::bodies::{committed, committed_excerpt, count, shed};
use super::media::MediaTable;
use super::pieces::PlannedPiece;
use super::prices::Prices;
use super::request_note::RequestNote;
use super::resume::Resumer;
use super::routes::RecentRoutes;
use crate::config::{Capture, Config};
use crate::log::{BodyFact, EventKind, Kept, Served};
use crate::payload::{Content, DeltaPlanner, PayloadPlan, Planned, excerpt_of, sha256};
use crate::sync::atomic::Ordering;
use crate::sync::channel::Receiver;
use crate::sync::{caught, trip};
use crate::wire::ResponseParser;
use crate::writer::admission::capacity::BodyGrant;
use crate::writer::admission::command::{
    ChunksCommand, Command, ServedCommand, UpstreamBodyCommand,
};
use crate::writer::admission::redactor::SecretRedactor;
use crate::writer::health::HealthCounters;

/// What is kept of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeping {
    /// All of it up to the cap, as the planner sees fit.
    Planned,
    /// All of it up to the cap, past the planner: no other body is packed against it.
    Alone,
    /// Its digest, with what the event says about why.
    Digest(Kept),
}

/// Turns commands into batches. Owned by the intake's thread, from the opening to the close, with the working
/// memory for it; the delta cache in `conversations` therefore needs no lock.
#[derive(Debug)]
pub(crate) struct Preparer {
    pub(crate) payload_bytes_max: usize,
    pub(crate) capture: Capture,
    pub(crate) reads_bodies: bool,
    pub(crate) conversations: DeltaPlanner<RequestNote>,
    /// `None`: conversations are not read back from the file.
    pub(crate) resumer: Option<Resumer>,
    pub(crate) routes: RecentRoutes,
    /// `None`: media stay in their bodies.
    media: Option<MediaTable>,
    pub(crate) prices: Prices,
    /// Buffer for the name of a conversation.
    pub(crate) name: String,
    /// Arenas that the packer has packed, for use in later groups.
    buffers: Receiver<Vec<u8>>,
}

impl Preparer {
    pub(crate) fn new(
        config: &Config,
        buffers: Receiver<Vec<u8>>,
        resumer: Option<Resumer>,
        media: Option<MediaTable>,
        prices: Prices,
    ) -> Self {
        let cache_bytes = config.conversation_cache_bytes;
        Self {
            payload_bytes_max: config.payload_bytes_max,
            capture: config.capture,
            reads_bodies: config.read_bodies,
            conversations: DeltaPlanner::new(cache_bytes - MediaTable::bytes_max(cache_bytes)),
            resumer,
            routes: RecentRoutes::default(),
            media,
            prices,
            name: String::new(),
            buffers,
        }
    }

    /// A buffer for the arena of a group.
    pub(crate) fn take_buffer(&self) -> Vec<u8> {
        self.buffers.try_recv().unwrap_or_default()
    }

    /// Empties the delta cache: nothing later is packed against earlier bodies, or refers to their media.
    pub(crate) fn reset_delta_cache(&mut self) {
        self.conversations.reset();
        if let Some(media) = &mut self.media {
            media.reset();
        }
    }

    /// Says how bodies were packed.
    pub(crate) fn state_counts(&self, counters: &HealthCounters) {
        let counts = self.conversations.counts();
        let media = self.media.as_ref().map(MediaTable::counts);
        let media = media.unwrap_or_default();
        for (counter, count) in [
            (&counters.bodies_continued, counts.continued),
            (&counters.bodies_of_shared_head, counts.shared_head),
            (&counters.bodies_alone, counts.alone),
            (&counters.conversations_resumed, counts.resumed),
            (&counters.media_stored, media.stored),
            (&counters.media_shared, media.shared),
        ] {
            counter.store(count, Ordering::Relaxed);
        }
    }

    /// Packs nothing any more against these payloads, and refers to no medium that only they have, which a removal is about to remove.
    pub(crate) fn forget_payloads(&mut self, ranges: Vec<(i64, i64)>) {
        if let Some(media) = &mut self.media {
            media.forget(&ranges);
        }
        self.conversations.forget(ranges);
    }

    /// Prepares one command of a request thread. `redactor` redacts what is parsed from a request.
    pub(crate) fn command(
        &mut self,
        command: Command,
        redactor: Option<SecretRedactor<'_>>,
        batch: &mut BatchBuilder,
    ) {
        match command {
            Command::Open(command) => self.open(*command, redactor, batch),
            Command::Served(command) => Self::served(*command, batch),
            Command::UpstreamBody(command) => Self::upstream_body(*command, batch),
            Command::Chunks(command) => Self::chunks(*command, batch),
            Command::End(command) => self.end(*command, batch),
            Command::Piece(command) => batch.piece(*command),
            Command::Wake | Command::Flush(_) | Command::Maintenance(_) | Command::Close(_) => {}
        }
    }

    fn served(command: ServedCommand, batch: &mut BatchBuilder) {
        let served = Served {
            request_id: command.lifecycle.request_id.clone(),
            opened_seq: command.lifecycle.opened_seq(),
            response_model: command.response_model,
            response_provider_name: command.response_provider_name,
        };
        batch.push(command.at, EventKind::Served(served));
        batch.hold(command.reservation, 0);
    }

    fn upstream_body(command: UpstreamBodyCommand, batch: &mut BatchBuilder) {
        batch.hold(command.reservation, u64::MAX);
        let digest = sha256(&command.body);
        let mut notes = command.lifecycle.notes();
        // The last forwarded body counts; one that equals the client's is not recorded.
        notes.upstream_body = if notes.request_sha256 == Some(digest) {
            None
        } else {
            let length = count(command.body.len());
            let (_, payload) = committed(length, digest, Kept::Digest, Content::Digest, None);
            payload.map(Box::new)
        };
    }

    fn chunks(command: ChunksCommand, batch: &mut BatchBuilder) {
        batch.hold(command.reservation, u64::MAX);
        let mut notes = command.lifecycle.notes();
        let notes = &mut *notes;
        if let Some(protocol) = &notes.wire_protocol {
            let parser = notes
                .parser
                .get_or_insert_with(|| Box::new(ResponseParser::new(protocol).without_texts()));
            if feed(parser, &command.chunks).is_none() {
                // The bytes are kept in any case.
                notes.parser = None;
                notes.wire_protocol = None;
                notes.is_unreadable = true;
            }
        }
        let streamed = notes.streamed.get_or_insert_default();
        command.chunks.iter().for_each(|chunk| streamed.push(chunk));
        if command.keeps_pieces {
            notes.pieces = notes.pieces.max(1);
            let piece = PlannedPiece::ends(Arc::clone(&command.lifecycle), (**streamed).clone());
            batch.push_piece(piece, 0);
        }
    }

    /// A body in one piece; `plan` digests and plans one that is kept whole.
    pub(crate) fn body(
        &mut self,
        body: &Bytes,
        body_grant: BodyGrant,
        keeping: Keeping,
        plan: impl FnOnce(&mut DeltaPlanner<RequestNote>, &Bytes) -> Planned,
    ) -> (BodyFact, Option<PayloadPlan>) {
        if body_grant == BodyGrant::Shed {
            return (shed(count(body.len())), None);
        }
        if body.is_empty() {
            return (BodyFact::default(), None);
        }
        let length = count(body.len());
        if let Keeping::Digest(kept) = keeping {
            return committed(length, sha256(body), kept, Content::Digest, None);
        }
        if body.len() > self.payload_bytes_max {
            return committed_excerpt(length, sha256(body), excerpt_of(body));
        }
        let Planned {
            sha256,
            delta,
            media,
        } = match keeping {
            Keeping::Alone => alone(body),
            _ => plan(&mut self.conversations, body),
        };
        let start = delta.as_ref().map_or(0, |delta| delta.head);
        let content = match delta {
            Some(delta) => Content::Delta(delta),
            // The body may be a small part of a large buffer, but for no longer than this batch.
            None => Content::Alone(body.clone()),
        };
        let (fact, mut payload) = committed(length, sha256, Kept::Whole, content, None);
        if !media.is_empty()
            && let (Some(table), Some(payload)) = (&mut self.media, &mut payload)
        {
            let connection = self.resumer.as_ref().map(Resumer::connection);
            let start = usize::try_from(start).unwrap_or(usize::MAX);
            payload.media = table.plan(connection, body, start, media);
        }
        (fact, payload)
    }

    /// Plans the media of a body that was not planned, and is written now.
    pub(crate) fn plan_media(&mut self, payload: Option<&mut PayloadPlan>) {
        if let (Some(table), Some(payload)) = (&mut self.media, payload) {
            let connection = self.resumer.as_ref().map(Resumer::connection);
            table.plan_alone(connection, payload);
        }
    }

    /// Content as JSON. Above the cap only its digest is kept: half a document is useless.
    pub(crate) fn content(
        &mut self,
        json: Vec<u8>,
        body_grant: BodyGrant,
        keeping: Keeping,
    ) -> (BodyFact, Option<PayloadPlan>) {
        let keeping = match keeping {
            Keeping::Digest(kept) => Keeping::Digest(kept),
            _ if json.len() > self.payload_bytes_max => Keeping::Digest(Kept::Digest),
            _ => Keeping::Alone,
        };
        self.body(&Bytes::from(json), body_grant, keeping, |_, body| {
            alone(body)
        })
    }
}

/// A body that is packed against none.
fn alone(body: &Bytes) -> Planned {
    Planned {
        sha256: sha256(body),
        delta: None,
        media: Vec::new(),
    }
}

/// Content as JSON; `None` also where it cannot be written.
pub(crate) fn json_of<T: serde::Serialize>(content: Option<&T>) -> Option<Vec<u8>> {
    content.and_then(|content| serde_json::to_vec(content).ok())
}

/// Feeds the parser. `None`: it panicked, and must not be used again.
pub(crate) fn feed(parser: &mut ResponseParser, chunks: &[Bytes]) -> Option<()> {
    caught(|| {
        for chunk in chunks {
            trip("chunk", chunk);
            parser.feed(chunk);
        }
    })
}
