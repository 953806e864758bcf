//! Dependants: content that is packed against what goes, packed anew so that it stands alone.
//!
//! Alone and not against each other: what all conversations begin with would otherwise be packed
//! anew again and again, each time that the first of them goes.

use std::collections::HashSet;

use super::Session;
use crate::chain;
use crate::db::{self, Links, Removal, Repacked, event_seq};
use crate::error::{ReadError, RemovalError};
use crate::payload::pack_alone;

/// Rows that are looked at in one step.
const LINKS_EACH: usize = 4096;
/// Dependants of one step, and the bytes of their packed content.
const DEPENDANTS_EACH: usize = 64;
const PACKED_BYTES_EACH: usize = 1024 * 1024;

/// Has the file know which payloads are packed against which, up to the last one.
pub(super) fn fill_links(session: &Session<'_>) -> Result<(), RemovalError> {
    let mut after = db::links_through(&session.connection).map_err(ReadError::from)?;
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

/// Packs everything anew that is packed against payloads of these ranges and lies outside of them.
/// The ranges are in ascending order. Gives how many there were.
pub(super) fn repack(session: &Session<'_>, ranges: &[(i64, i64)]) -> Result<u64, RemovalError> {
    let mut pending = Vec::new();
    let mut seen = HashSet::new();
    let (mut bytes, mut count) = (0_usize, 0_u64);
    for &(first, last) in ranges {
        let mut after = (first, i64::MIN);
        loop {
            let links = db::dependants(&session.connection, first, last, after, DEPENDANTS_EACH)
                .map_err(ReadError::from)?;
            let Some(end) = links.last() else { break };
            after = *end;
            for (_, id) in links {
                if is_in(ranges, id) || seen.contains(&id) {
                    continue;
                }
                let Some(repacked) = repacked(session, ranges, id)? else {
                    continue;
                };
                seen.insert(id);
                bytes = bytes.saturating_add(repacked.data.len());
                pending.push(repacked);
                count = count.saturating_add(1);
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
    Ok(count)
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

/// The payload so that it stands alone; `None` where it does not need one of the ranges.
fn repacked(
    session: &Session<'_>,
    ranges: &[(i64, i64)],
    id: i64,
) -> Result<Option<Repacked>, RemovalError> {
    let row = db::payload(&session.connection, id, false).map_err(ReadError::from)?;
    let Some(bases) = row.and_then(|row| row.bases) else {
        return Ok(None);
    };
    let needs = [Some(bases.first), bases.second];
    if !needs.into_iter().flatten().any(|base| is_in(ranges, base)) {
        return Ok(None);
    }
    let damaged = |error: ReadError| match error {
        ReadError::Damaged(what) => RemovalError::Dependant {
            seq: u64::try_from(event_seq(id)).unwrap_or(0),
            what,
        },
        other => other.into(),
    };
    let content = chain::read(&session.connection, id).map_err(damaged)?;
    let Some((_, Some(content))) = content else {
        return Ok(None);
    };
    let (encoding, data) = pack_alone(&content);
    Ok(Some(Repacked {
        payload_id: id,
        encoding,
        bases: None,
        data,
    }))
}

fn is_in(ranges: &[(i64, i64)], id: i64) -> bool {
    let place = ranges.partition_point(|(_, last)| *last < id);
    ranges.get(place).is_some_and(|(first, _)| *first <= id)
}
