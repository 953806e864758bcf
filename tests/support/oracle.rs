//! The oracle: what must hold of a store's file after any fault.
//!
//! Included by the fault, power-loss, crash and random-operation tests:
//!
//! ```ignore
//! #[path = "../support/oracle.rs"]
//! mod oracle;
//! ```
//!
//! # Use
//!
//! 1. Record through a [`Ledger`], which remembers what was submitted and holds the receipts:
//!    [`Ledger::lifecycle`] for a whole one, [`Ledger::open`] and [`Ledger::complete`] for its
//!    halves. Ids look like `NAME-NUMBER`; bodies follow from the id ([`body`]), so that the id is
//!    enough to check a stored body byte for byte.
//! 2. [`Ledger::promises`], at any moment and from any thread, also inside of a disk call: what
//!    receipts call durable at that moment. A parent whose child is killed builds the same
//!    [`Promises`] from what the child printed ([`Promises::add`]).
//! 3. [`examine`] the file as it lies there, then [`recover`] it: open it for writing, record one
//!    more lifecycle, close it, and examine it again. Both return violations in words; none is right.
//!    [`Accounts::Settled`] says that the store claimed to have committed everything (a flush that
//!    succeeded or a complete close), so that submitted = stored + stated in gaps must hold exactly.
//!
//! # What is checked
//!
//! The file opens; SQLite's integrity check is clean; the log is gapless; the projections equal a
//! rebuild from the log; each closed session's accounts add up; no payload is there without its
//! event (no half batch); every request that is stored was submitted and its bodies come back byte
//! for byte; every durable opening and end is there; bodies left out are stated in gaps; after
//! [`recover`] nothing of earlier sessions is pending.
#![allow(dead_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use auditlite::{
    Completion, ListOptions, PayloadSide, ReadError, ReadOnlyStore, Reader, Receipt, Recorder,
    RequestContext, RequestFilter, RequestHandle, RequestRecord, Status, Store,
};

/// Long enough for any machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Messages of a conversation before the next one begins.
const CONVERSATION_LENGTH: u64 = 12;

/// What is durable of a lifecycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// Handed over; nothing is promised.
    Submitted,
    /// A receipt called the opening durable.
    Opened,
    /// A receipt called the end durable.
    Ended,
}

/// What was handed over to a store, and what its receipts called durable.
#[derive(Debug, Clone, Default)]
pub struct Promises {
    /// By request id.
    requests: BTreeMap<String, Promise>,
    /// Of these, those whose handle said that they are not recorded.
    shed: BTreeSet<String>,
    /// Whether more may be stored than is known here: the process that submitted it is dead.
    are_others_expected: bool,
}

impl Promises {
    /// A promise as reported from elsewhere. The highest one counts.
    pub fn add(&mut self, id: &str, promise: Promise) {
        let known = self.requests.entry(id.to_owned()).or_insert(promise);
        *known = (*known).max(promise);
    }

    /// More may be stored than is known here: the process that submitted it died before it said so.
    pub fn expect_others(&mut self) {
        self.are_others_expected = true;
    }

    /// Takes over what was promised before, of the same file.
    pub fn extend(&mut self, before: &Self) {
        for (id, promise) in &before.requests {
            self.add(id, *promise);
        }
        self.shed.extend(before.shed.iter().cloned());
        self.are_others_expected |= before.are_others_expected;
    }

    /// Lifecycles that were handed over.
    pub fn submitted(&self) -> u64 {
        self.requests.len() as u64
    }

    /// Lifecycles of which at least the opening is durable.
    pub fn durable(&self) -> usize {
        let durable = |promise: &&Promise| **promise > Promise::Submitted;
        self.requests.values().filter(durable).count()
    }

    /// Whether the end of every lifecycle that was taken in is durable.
    pub fn all_ended(&self) -> bool {
        let mut taken = self.requests.iter();
        taken.all(|(id, promise)| *promise == Promise::Ended || self.shed.contains(id))
    }
}

/// Remembers what was recorded. Shared by the threads that record.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: Mutex<BTreeMap<String, Entry>>,
}

#[derive(Debug, Default)]
struct Entry {
    opened: Option<Receipt>,
    ended: Option<Receipt>,
    is_shed: bool,
}

impl Ledger {
    /// Opens a lifecycle; `None` where the store refused it.
    pub fn open(&self, recorder: &Recorder, id: &str) -> Option<RequestHandle> {
        // Known before the store is: a snapshot never lacks what is stored.
        self.with(|entries| entries.insert(id.to_owned(), Entry::default()));
        let context = RequestContext::new("openai.chat")
            .request_id(id)
            .conversation_id(conversation(id))
            .request_model("m-1")
            .user_id("u-1");
        let body = body(id, PayloadSide::Request);
        let Ok(handle) = recorder.open(context, body) else {
            self.with(|entries| entries.remove(id));
            return None;
        };
        self.with(|entries| {
            let entry = entries.entry(id.to_owned()).or_default();
            entry.is_shed = !handle.is_recorded();
            entry.opened = Some(handle.opened_receipt());
        });
        Some(handle)
    }

    /// Ends a lifecycle that [`open`](Self::open) began; `None` where the end was not taken.
    pub fn complete(&self, id: &str, handle: RequestHandle) -> Option<Receipt> {
        let completion = Completion::new().response_body(body(id, PayloadSide::Response));
        let receipt = handle.complete(completion).ok()?;
        self.with(|entries| {
            entries.entry(id.to_owned()).or_default().ended = Some(receipt.clone());
        });
        Some(receipt)
    }

    /// A whole lifecycle.
    pub fn lifecycle(&self, recorder: &Recorder, id: &str) -> Option<Receipt> {
        let handle = self.open(recorder, id)?;
        self.complete(id, handle)
    }

    /// What receipts call durable now.
    pub fn promises(&self) -> Promises {
        let is_durable =
            |receipt: &Option<Receipt>| receipt.as_ref().is_some_and(Receipt::is_durable);
        self.with(|entries| {
            let mut promises = Promises::default();
            for (id, entry) in entries.iter() {
                let promise = if is_durable(&entry.ended) {
                    Promise::Ended
                } else if is_durable(&entry.opened) {
                    Promise::Opened
                } else {
                    Promise::Submitted
                };
                promises.add(id, promise);
                if entry.is_shed {
                    promises.shed.insert(id.clone());
                }
            }
            promises
        })
    }

    fn with<T>(&self, use_entries: impl FnOnce(&mut BTreeMap<String, Entry>) -> T) -> T {
        use_entries(&mut self.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whether the store claimed that everything was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accounts {
    /// It did: submitted = stored + stated in gaps.
    Settled,
    /// It was killed or gave up: what no receipt called durable may be missing.
    Open,
}

/// A body, from the id `NAME-NUMBER` alone: requests of one conversation repeat its history.
pub fn body(id: &str, side: PayloadSide) -> Vec<u8> {
    let (name, number) = split(id);
    if side == PayloadSide::Response {
        return message(name, number, "assistant").into_bytes();
    }
    let begin = number / CONVERSATION_LENGTH * CONVERSATION_LENGTH;
    let mut text = String::from(
        "{\"model\":\"m-1\",\"messages\":[{\"role\":\"system\",\"content\":\"be brief\"}",
    );
    for turn in begin..number {
        text.push(',');
        text.push_str(&message(name, turn, "user"));
        text.push(',');
        text.push_str(&message(name, turn, "assistant"));
    }
    text.push(',');
    text.push_str(&message(name, number, "user"));
    text.push_str("]}");
    text.into_bytes()
}

/// The file as it lies there, without changing it. Violations in words.
pub fn examine(path: &Path, promises: &Promises, accounts: Accounts) -> Vec<String> {
    let store = match ReadOnlyStore::open(path) {
        Ok(store) => store,
        // Nothing was promised, and there is nothing yet: the next open sets it up.
        Err(_) if promises.durable() == 0 && is_blank(path) => return Vec::new(),
        Err(error) => return vec![format!("does not open for reading: {}", chain(&error))],
    };
    let report = match store.doctor() {
        Ok(report) => report,
        Err(error) => return vec![format!("cannot be checked: {}", chain(&error))],
    };
    let mut violations = report.findings.clone();
    if let Err(error) = check_half_batch(path, &mut violations) {
        violations.push(format!("cannot be read: {error}"));
    }
    match stored_requests(&store.reader()) {
        Err(error) => violations.push(format!("cannot be listed: {}", chain(&error))),
        Ok(stored) => {
            let shed_bodies = check_bodies(&store.reader(), &stored, promises, &mut violations);
            if shed_bodies > report.shed_payloads {
                violations.push(format!(
                    "{shed_bodies} bodies are left out, gaps state {}",
                    report.shed_payloads
                ));
            }
            check_promises(&stored, promises, &mut violations);
            let accounted = stored.len() as u64 + report.shed_lifecycles;
            let submitted = promises.submitted();
            let is_settled = accounts == Accounts::Settled;
            let is_known = !promises.are_others_expected;
            if is_known && (accounted > submitted || is_settled && accounted != submitted) {
                violations.push(format!(
                    "{submitted} lifecycles submitted, {} stored and {} stated in gaps",
                    stored.len(),
                    report.shed_lifecycles
                ));
            }
        }
    }
    violations
}

/// Opens the file for writing as after a crash, records one more lifecycle, closes it, and examines
/// it again. `probe` is the id of that lifecycle; it must be new.
pub fn recover(path: &Path, promises: &Promises, accounts: Accounts, probe: &str) -> Vec<String> {
    let store = match Store::builder(path).open() {
        Ok(store) => store,
        Err(error) => return vec![format!("does not open for writing: {}", chain(&error))],
    };
    let mut violations = Vec::new();
    let pending = RequestFilter::new().statuses([Status::Pending]);
    match store.reader().list(&pending, &ListOptions::new().limit(10)) {
        Ok(page) => violations.extend(
            page.requests
                .iter()
                .map(|request| format!("{} is pending after recovery", request.request_id)),
        ),
        Err(error) => violations.push(format!("cannot be listed: {}", chain(&error))),
    }
    let ledger = Ledger::default();
    let is_recorded = ledger
        .lifecycle(&store.recorder(), probe)
        .is_some_and(|receipt| receipt.wait(PATIENCE).is_ok());
    if !is_recorded {
        violations.push(format!(
            "does not record after recovery: {:?}",
            store.health()
        ));
    }
    let report = store.close(PATIENCE);
    if !report.is_complete {
        violations.push(format!("does not close after recovery: {report:?}"));
    }
    let mut promises = promises.clone();
    promises.add(probe, Promise::Ended);
    violations.extend(examine(path, &promises, accounts));
    violations
}

fn check_promises(
    stored: &BTreeMap<String, RequestRecord>,
    promises: &Promises,
    violations: &mut Vec<String>,
) {
    for (id, promise) in &promises.requests {
        match (stored.get(id), promise) {
            (None, Promise::Submitted) => {}
            (None, _) => violations.push(format!(
                "{id} was called durable ({promise:?}), and is not there"
            )),
            (Some(request), Promise::Ended) if request.status != Status::Completed => {
                violations.push(format!(
                    "the end of {id} was called durable, and it is {}",
                    request.status
                ));
            }
            (Some(_), _) if promises.shed.contains(id) => {
                violations.push(format!("{id} was called shed, and is there"));
            }
            (Some(_), _) => {}
        }
    }
}

/// Every stored body, byte for byte. Returns how many were left out.
fn check_bodies(
    reader: &Reader,
    stored: &BTreeMap<String, RequestRecord>,
    promises: &Promises,
    violations: &mut Vec<String>,
) -> u64 {
    let mut left_out = 0;
    for (id, request) in stored {
        if !promises.are_others_expected && !promises.requests.contains_key(id) {
            violations.push(format!("{id} is stored, and was never submitted"));
            continue;
        }
        let is_ended = request.status == Status::Completed;
        for side in [PayloadSide::Request, PayloadSide::Response] {
            if side == PayloadSide::Response && !is_ended {
                continue;
            }
            match reader.payload(request, side) {
                Ok(payload) if payload.bytes == body(id, side) => {}
                Ok(_) => violations.push(format!("the {side:?} body of {id} is another one")),
                Err(ReadError::NotKept { .. }) => left_out += 1,
                Err(error) => {
                    violations.push(format!("the {side:?} body of {id}: {}", chain(&error)))
                }
            }
        }
    }
    left_out
}

/// Content whose event is not in the log, or requests beyond the log's end.
fn check_half_batch(path: &Path, violations: &mut Vec<String>) -> rusqlite::Result<()> {
    let connection = rusqlite::Connection::open_with_flags(
        path,
        rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    let orphans: i64 = connection.query_row(
        "SELECT count(*) FROM payloads WHERE payload_id >= 4 * \
         (SELECT coalesce(max(first_seq + count), 0) FROM log_segments)",
        [],
        |row| row.get(0),
    )?;
    if orphans > 0 {
        violations.push(format!(
            "half a batch: {orphans} payloads without their event"
        ));
    }
    Ok(())
}

fn stored_requests(reader: &Reader) -> Result<BTreeMap<String, RequestRecord>, ReadError> {
    let mut stored = BTreeMap::new();
    let mut before = None;
    loop {
        let page = reader.list(
            &RequestFilter::default(),
            &ListOptions::new().cursor(before).limit(1000),
        )?;
        for request in page.requests {
            stored.insert(request.request_id.clone(), request);
        }
        match page.next {
            Some(next) => before = Some(next),
            None => return Ok(stored),
        }
    }
}

/// Whether no store has been set up at this path yet: nothing, or not even a schema.
fn is_blank(path: &Path) -> bool {
    if std::fs::metadata(path).map_or(true, |metadata| metadata.len() == 0) {
        return true;
    }
    let Ok(connection) = rusqlite::Connection::open(path) else {
        return false;
    };
    connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .is_ok_and(|tables: i64| tables == 0)
}

fn split(id: &str) -> (&str, u64) {
    let (name, number) = id.rsplit_once('-').unwrap_or((id, "0"));
    (name, number.parse().unwrap_or(0))
}

fn conversation(id: &str) -> String {
    let (name, number) = split(id);
    format!("{name}-{}", number / CONVERSATION_LENGTH)
}

/// Text that does not repeat itself, from the name and number of a message.
fn message(name: &str, number: u64, role: &str) -> String {
    let mut state = 0xcbf2_9ce4_8422_2325_u64;
    for byte in format!("{name}/{number}/{role}").bytes() {
        state = (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    let mut text = format!("{{\"role\":\"{role}\",\"content\":\"{name} {number}");
    for _ in 0..8 + state % 8 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push_str(&format!(" {state:x}"));
    }
    text.push_str("\"}");
    text
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
