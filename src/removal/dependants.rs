//! Dependants: content that is packed against content which is to be removed. They are repacked so that
//! they stand alone.
//!
//! They are not packed against each other: what all conversations begin with would otherwise be repacked
//! with every removal of the first of them.

use std::collections::HashSet;

use super::Session;
use super::media::{self, RepackedMedia};
use crate::db::{self, Links, Removal, Repacked, event_seq};
use crate::error::{ReadError, RemovalError};
use crate::read::payloads::PayloadCache;
use crate::sync::atomic::Ordering;

/// Rows that one step examines.
const LINKS_EACH: usize = 4096;
/// Dependants of one step, and the bytes of their packed content.
const DEPENDANTS_EACH: usize = 64;
const PACKED_BYTES_EACH: usize = 1024 * 1024;
/// Contents that cannot be read, and are not tried again although they are packed against several removed
/// ones.
const LOST_KNOWN_MAX: usize = 65_536;

/// Records which payloads are packed against which, up to the last payload.
///
/// Once in the life of the process, existing links are compared with the payloads, those to media too: if one is
/// missing, all are recorded again from the start. Then new payloads are added in steps.
fn fill_links(session: &Session<'_>) -> Result<(), RemovalError> {
    let mut after = db::links_through(&session.connection).map_err(ReadError::from)?;
    let are_checked = session.are_links_checked.swap(true, Ordering::Relaxed);
    if !are_checked {
        media::check_links(session)
            .inspect_err(|_| session.are_links_checked.store(false, Ordering::Relaxed))?;
    }
    if !are_checked && !db::are_links_whole(&session.connection).map_err(ReadError::from)? {
        // Removing a base would damage every payload that the links do not name.
        after = -1;
        let links = Links {
            replaces_all: true,
            pairs: Vec::new(),
            through: after,
        };
        session.step(
            None,
            Removal {
                links: Some(links),
                ..Removal::default()
            },
        )?;
    }
    loop {
        let rows =
            db::packed_against(&session.connection, after, LINKS_EACH).map_err(ReadError::from)?;
        let Some(last) = rows.last() else {
            return Ok(());
        };
        after = last.payload_id;
        let is_last = rows.len() < LINKS_EACH;
        let pairs = rows.iter().flat_map(|row| {
            let bases = [row.first, row.second].into_iter().flatten();
            bases.map(|base| (base, row.payload_id))
        });
        let links = Links {
            replaces_all: false,
            pairs: pairs.collect(),
            through: after,
        };
        session.step(
            None,
            Removal {
                links: Some(links),
                ..Removal::default()
            },
        )?;
        if is_last {
            return Ok(());
        }
    }
}

/// The result of repacking.
#[derive(Debug, Default)]
pub(super) struct Dependants {
    /// Payloads that stand alone now.
    pub(super) done: u64,
    /// Payloads that cannot be read: a removal does not wait for content that is lost already.
    pub(super) failed: u64,
}

/// Repacks everything outside of these ranges that is packed against payloads inside them. The ranges are
/// in ascending order.
///
/// First the writer forgets these payloads, so that nothing more is packed against them, and links are recorded
/// of all payloads so far. For each range, the links name candidates in pages. Each candidate is unpacked and packed alone; a step
/// writes several at once. A payload that cannot be read is counted and logged once.
pub(super) fn repack(
    session: &Session<'_>,
    ranges: &[(i64, i64)],
) -> Result<Dependants, RemovalError> {
    session.forget(ranges)?;
    fill_links(session)?;
    let mut pending = Vec::new();
    let mut seen = HashSet::new();
    let mut lost = HashSet::new();
    let mut payloads = PayloadCache::default();
    let mut media = RepackedMedia::new(session)?;
    let (mut bytes, mut dependants) = (0_usize, Dependants::default());
    for &(first, last) in ranges {
        let mut after = (first, i64::MIN);
        loop {
            let links = db::dependants(&session.connection, first, last, after, DEPENDANTS_EACH)
                .map_err(ReadError::from)?;
            let Some(end) = links.last() else { break };
            after = *end;
            for (_, id) in links {
                // One payload may depend on several that are removed.
                if is_in(ranges, id) || seen.contains(&id) || lost.contains(&id) {
                    continue;
                }
                let repacked = match repacked(session, (&mut payloads, &mut media), ranges, id) {
                    Ok(Some(repacked)) => repacked,
                    Ok(None) => continue,
                    Err(ReadError::Damaged(what)) => {
                        let seq = event_seq(id);
                        tracing::warn!(target: "auditlite", seq, what, "the content of this event cannot be repacked, and is lost with what it is packed against");
                        dependants.failed = dependants.failed.saturating_add(1);
                        if lost.len() < LOST_KNOWN_MAX {
                            lost.insert(id);
                        }
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                };
                seen.insert(id);
                bytes = bytes.saturating_add(repacked.data.len());
                pending.push(repacked);
                dependants.done = dependants.done.saturating_add(1);
                if pending.len() >= DEPENDANTS_EACH || bytes >= PACKED_BYTES_EACH {
                    write(session, std::mem::take(&mut pending))?;
                    seen.clear();
                    bytes = 0;
                }
            }
        }
    }
    if !pending.is_empty() {
        write(session, pending)?;
    }
    Ok(dependants)
}

fn write(session: &Session<'_>, repacked: Vec<Repacked>) -> Result<(), RemovalError> {
    session.step(
        None,
        Removal {
            repacked,
            ..Removal::default()
        },
    )
}

/// The payload so that it stands alone; `None` if it does not need one of the ranges.
fn repacked(
    session: &Session<'_>,
    (payloads, media): (&mut PayloadCache, &mut RepackedMedia),
    ranges: &[(i64, i64)],
    id: i64,
) -> Result<Option<Repacked>, ReadError> {
    let Some(row) = db::payload(&session.connection, id, true)? else {
        return Ok(None);
    };
    let Some(bases) = row.bases else {
        return Ok(None);
    };
    let needs = [Some(bases.first), bases.second];
    if !needs.into_iter().flatten().any(|base| is_in(ranges, base)) {
        return Ok(None);
    }
    let content = payloads.read(&session.connection, id)?;
    let Some((_, Some(content))) = content else {
        return Ok(None);
    };
    media.repack(session, id, &row, &content).map(Some)
}

fn is_in(ranges: &[(i64, i64)], id: i64) -> bool {
    let place = ranges.partition_point(|(_, last)| *last < id);
    ranges.get(place).is_some_and(|(first, _)| *first <= id)
}
