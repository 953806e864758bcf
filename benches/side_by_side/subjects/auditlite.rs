//! auditlite at its defaults, FULL durability and all digests included.
//!
//! `auditlite` waits for capacity instead of shedding, so that every lifecycle counts; its request
//! threads then take as long as the writer. `auditlite_shed` never waits, as is the default, and shows
//! what request threads notice of a writer that cannot keep up. Both are told usage and a finish reason; `auditlite_told` is told all that a response says, as by a gateway
//! that has parsed it (before the clock starts); `auditlite_extracting` records the same from a status
//! alone, and the writer reads the bytes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use auditlite::{Overflow, Recorder, RequestContext, Store};

use super::super::common::bytes_on_disk;
use super::super::gateway::Lifecycle;
use super::Subject;

const TIMEOUT: Duration = Duration::from_secs(120);

pub(crate) struct Auditlite {
    store: Store,
    recorder: Recorder,
    path: PathBuf,
    is_shedding: bool,
    telling: Telling,
}

/// What the gateway knows of a response.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Telling {
    Usage,
    Everything,
    Status,
}

impl Auditlite {
    pub(crate) fn waiting(folder: &Path, byte_budget: usize) -> Self {
        Self::open(folder, byte_budget, Overflow::Wait(TIMEOUT))
    }

    pub(crate) fn told(folder: &Path, byte_budget: usize) -> Self {
        Self {
            telling: Telling::Everything,
            ..Self::waiting(folder, byte_budget)
        }
    }

    pub(crate) fn extracting(folder: &Path, byte_budget: usize) -> Self {
        Self {
            telling: Telling::Status,
            ..Self::waiting(folder, byte_budget)
        }
    }

    pub(crate) fn shedding(folder: &Path, byte_budget: usize) -> Self {
        Self::open(folder, byte_budget, Overflow::Shed)
    }

    fn open(folder: &Path, byte_budget: usize, overflow: Overflow) -> Self {
        let path = folder.join("audit.db");
        let store = Store::builder(&path)
            .overflow(overflow)
            .capacity_bytes(byte_budget)
            .open()
            .unwrap();
        Self {
            recorder: store.recorder(),
            store,
            path,
            is_shedding: overflow == Overflow::Shed,
            telling: Telling::Usage,
        }
    }
}

impl Subject for Auditlite {
    fn record(&self, lifecycle: Lifecycle) -> bool {
        let lifecycle = match self.telling {
            Telling::Usage => lifecycle,
            Telling::Everything => tell_everything(lifecycle),
            Telling::Status => return self.extract(lifecycle),
        };
        let audit = self
            .recorder
            .open(lifecycle.context, lifecycle.request)
            .unwrap();
        let is_recorded = audit.is_recorded();
        audit.complete(lifecycle.completion).unwrap();
        is_recorded
    }

    fn flush(&mut self) {
        self.store.flush(TIMEOUT).unwrap();
    }

    fn is_partial(&self) -> bool {
        self.is_shedding
    }

    fn measures(&self) -> Vec<(&'static str, f64)> {
        let health = self.store.health();
        if !self.is_shedding {
            return vec![
                ("bodies_continued", health.bodies_continued as f64),
                ("bodies_of_shared_head", health.bodies_of_shared_head as f64),
                ("bodies_alone", health.bodies_alone as f64),
                ("conversations_resumed", health.conversations_resumed as f64),
            ];
        }
        vec![
            ("lifecycles_shed", health.shed_lifecycles as f64),
            ("bodies_shed", health.shed_payloads as f64),
        ]
    }

    fn close(self: Box<Self>) -> u64 {
        let report = self.store.close(TIMEOUT);
        assert!(report.is_complete);
        assert!(self.is_shedding || report.shed_payloads + report.shed_lifecycles == 0);
        bytes_on_disk(&self.path)
    }
}

impl Auditlite {
    /// What a gateway does that parses nothing.
    fn extract(&self, lifecycle: Lifecycle) -> bool {
        let mut context = RequestContext::new(lifecycle.context.wire_protocol);
        context.user_id = lifecycle.context.user_id;
        context.conversation_id = lifecycle.context.conversation_id;
        context.provider_name = lifecycle.context.provider_name;
        let mut audit = self.recorder.open(context, lifecycle.request).unwrap();
        let is_recorded = audit.is_recorded();
        audit.chunk(lifecycle.completion.response_body.unwrap());
        audit.finish(200).unwrap();
        is_recorded
    }
}

fn tell_everything(mut lifecycle: Lifecycle) -> Lifecycle {
    let said = &lifecycle.said;
    let completion = &mut lifecycle.completion;
    completion.response_id.clone_from(&said.response_id);
    completion.response_model.clone_from(&said.response_model);
    completion.usage = said.usage;
    completion.finish_reasons.clone_from(&said.finish_reasons);
    completion.tool_calls = said.tool_calls();
    lifecycle
}
