//! Derives the projections from the log: rewrites them, or has `projections` compare them with those in the file.

use crate::db::check::rebuilt::ProjectionDifference;
use crate::db::connection::schema::{COLLECTED, IN_STEP};
use crate::db::connection::settings;
use crate::db::media;
use crate::db::write::apply;
use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::projections::Tables;
use crate::db::connection::files::DatabasePath;
use crate::db::connection::mend::mend;
use crate::db::connection::{open, pool};
use crate::db::error::{Context, DbError, DbErrorKind};
use crate::db::segments::{StoredSegment, visit_segments};
use crate::db::write::refusals::Refusals;
use crate::error::OpenError;
use crate::log::{Accounts, Event, Fold, SegmentDecoder, lines, removed_leaf};

const COMPARING: &str = "comparing the projections";

/// What reading the log from end to end found.
#[derive(Debug, Default)]
pub(crate) struct LogScan {
    pub(crate) events: u64,
    /// Places where the log has a gap, or a segment does not hold what its row says.
    pub(crate) findings: Vec<String>,
}

/// Recreates tables and indexes that are not as this version makes them, deletes the projections, and
/// rewrites them from the log, all in one transaction. Notes again which media payloads refer to, and deletes media
/// that none refers to. Payloads and the log do not change. The caller holds
/// the writer's lock.
pub(crate) fn rebuild_projections(path: &DatabasePath) -> Result<u64, OpenError> {
    let (mut connection, schema) = open::open_for_mending(path)?;
    let rebuild = |connection: &mut Connection, mut refusals: Refusals| -> Result<u64, DbError> {
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .context("rebuilding the projections")?;
        mend(&transaction, &schema)?;
        media::relink(&transaction)?;
        let collected = COLLECTED.iter().map(|(table, ..)| table);
        for table in IN_STEP.iter().chain(collected) {
            transaction
                .execute(&format!("DELETE FROM {table}"), [])
                .context("rebuilding the projections")?;
        }
        let scan = replay(&transaction, |events| {
            apply::apply(&transaction, &mut Fold::new(events), &mut refusals)
        })?;
        if let Some(finding) = scan.findings.into_iter().next() {
            return Err(DbError::corrupt("rebuilding the projections", finding));
        }
        transaction.commit().context("rebuilding the projections")?;
        Ok(scan.events)
    };
    let failed = |error| crate::db::error::open_error(path.as_path(), error);
    settings::defend(&connection, false).map_err(failed)?;
    let rebuilt = match rebuild(&mut connection, Refusals::default()) {
        Err(error) if error.kind == DbErrorKind::Refused => {
            rebuild(&mut connection, Refusals::guarding())
        }
        rebuilt => rebuilt,
    };
    rebuilt.map_err(failed)
}

/// The result of comparing the projections with the log.
#[derive(Debug)]
pub(crate) struct Compared {
    pub(crate) scan: LogScan,
    pub(crate) differences: Vec<ProjectionDifference>,
    /// Sessions whose accounts do not add up, each with the seq of its opening.
    pub(crate) accounts: Vec<(u64, String)>,
}

/// Compares the projections with the log, row by row, as of one moment. Both are read in step, so memory
/// stays bounded.
pub(crate) fn compare_projections(path: &Path) -> Result<Compared, DbError> {
    let connection = pool::open_reader(path)?;
    let snapshot = connection.unchecked_transaction().context(COMPARING)?;
    let mut tables = Tables::new(&snapshot)?;
    let mut comparison = tables.compare(None)?;
    let (mut accounts, mut findings) = (Accounts::default(), Vec::new());
    let scan = replay(&snapshot, |events| {
        for event in events {
            let removed = |events| crate::db::read::removals::removed_requests(&snapshot, events);
            findings.extend(accounts.event(event, removed)?);
            comparison.apply(event)?;
        }
        Ok(())
    })?;
    Ok(Compared {
        scan,
        differences: comparison.finish()?.0,
        accounts: findings,
    })
}

/// Reads the log of `source` and passes its events to the caller, segment by segment.
fn replay(
    source: &Connection,
    mut apply: impl FnMut(&[Event]) -> Result<(), DbError>,
) -> Result<LogScan, DbError> {
    let mut decoder =
        SegmentDecoder::new().map_err(|error| DbError::corrupt("reading the log", error))?;
    let mut scan = LogScan::default();
    visit_segments(source, |segment| {
        let (first_seq, count) = (segment.first_seq, segment.count);
        match events_of(&mut decoder, segment, scan.events) {
            Ok(events) => {
                scan.events = scan.events.saturating_add(count);
                apply(&events)
            }
            Err(finding) => {
                scan.findings
                    .push(format!("log segment at seq {first_seq}: {finding}"));
                Ok(())
            }
        }
    })?;
    Ok(scan)
}

/// The events of a segment, which must start at `expected_seq` and be gapless.
fn events_of(
    decoder: &mut SegmentDecoder,
    segment: StoredSegment,
    expected_seq: u64,
) -> Result<Vec<Event>, String> {
    if segment.first_seq != expected_seq {
        return Err(format!(
            "the log should continue with seq {expected_seq} here"
        ));
    }
    let text = decoder
        .decode(
            segment.encoding,
            segment.data,
            segment.length,
            segment.count,
        )
        .map_err(|error| error.to_string())?;
    let mut events = Vec::new();
    let mut expected = expected_seq;
    for line in lines(&text) {
        let seq = expected;
        expected = expected.saturating_add(1);
        if removed_leaf(line).is_some() {
            continue;
        }
        let event = Event::from_line(line).map_err(|error| error.to_string())?;
        if event.seq != seq {
            return Err(format!("seq {} stands where {seq} should", event.seq));
        }
        events.push(event);
    }
    let held = expected.saturating_sub(expected_seq);
    if held != segment.count {
        return Err(format!("it holds {held} events and says {}", segment.count));
    }
    Ok(events)
}
