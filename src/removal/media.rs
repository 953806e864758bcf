//! Media of what a removal repacks. A body that is packed alone would otherwise have a copy of every medium that
//! its base referred to.

use std::collections::HashMap;
use std::ops::Range;

use super::Session;
use crate::db::{self, Removal, Repacked, StoredPayload};
use crate::error::{ReadError, RemovalError};
use crate::model::Digest;
use crate::payload::{
    Domain, Encoding, Hole, MediaKey, Parts, PlannedMedia, Unpacker, copied_head, media_in,
    pack_alone_with, ranges_of,
};
use crate::read::payloads::find_medium;

/// Plans the media of bodies that are repacked before one step of a removal.
pub(super) struct RepackedMedia {
    /// `None`: it is damaged. No further media are left out of bodies then.
    key: Option<MediaKey>,
    unpacker: Unpacker,
    /// Those that were found or stored meanwhile. None of them goes: only a later step of this removal deletes media,
    /// and no other removal runs.
    known: HashMap<Digest, i64>,
}

/// More than these are looked up in the file again.
const KNOWN_MAX: usize = 4096;

impl RepackedMedia {
    pub(super) fn new(session: &Session<'_>) -> Result<Self, ReadError> {
        Ok(Self {
            key: db::media_key(&session.connection)?,
            unpacker: Unpacker::new(),
            known: HashMap::new(),
        })
    }

    /// A body so that it stands alone. It goes on to refer to every medium that its row refers to now, so that the
    /// writer may rely on each.
    pub(super) fn repack(
        &mut self,
        session: &Session<'_>,
        payload_id: i64,
        row: &StoredPayload,
        content: &[u8],
    ) -> Result<Repacked, ReadError> {
        let media = self.plan(session, row, content)?;
        let (encoding, data, media) = pack_alone_with(content, media);
        Ok(Repacked {
            payload_id,
            encoding,
            bases: None,
            data,
            media,
        })
    }

    fn plan(
        &mut self,
        session: &Session<'_>,
        row: &StoredPayload,
        content: &[u8],
    ) -> Result<Option<PlannedMedia>, ReadError> {
        let mut planned = PlannedMedia::default();
        let mut from = 0;
        for (range, media_id) in media_in(content, &media_of(row)) {
            let media_id = match media_id {
                Some(media_id) => Some(media_id),
                None => {
                    let medium = content.get(range.clone()).unwrap_or_default();
                    self.find(session, medium, &mut planned)?
                }
            };
            let Some(media_id) = media_id else { continue };
            let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
            planned.holes.push(Hole {
                gap: count(range.start - from),
                media_id,
                length: count(range.len()),
            });
            from = range.end;
        }
        Ok((!planned.holes.is_empty()).then_some(planned))
    }

    fn find(
        &mut self,
        session: &Session<'_>,
        content: &[u8],
        planned: &mut PlannedMedia,
    ) -> Result<Option<i64>, ReadError> {
        let Some(key) = &self.key else {
            return Ok(None);
        };
        let digest = key.digest(Domain::default(), content);
        if let Some(media_id) = self.known.get(&digest) {
            return Ok(Some(*media_id));
        }
        let connection = &session.connection;
        let found = find_medium(connection, &mut self.unpacker, &digest, content, &[])?;
        let media_id = found.unwrap_or_else(|| {
            planned.new.push((planned.holes.len(), digest));
            session.shared.media_ids.next()
        });
        if self.known.len() < KNOWN_MAX {
            self.known.insert(digest, media_id);
        }
        Ok(Some(media_id))
    }
}

/// Compares the links to media with the payloads. Where they differ, removing a payload could take a medium from
/// another, or leave one behind: all are noted again, and what nothing refers to is deleted.
pub(super) fn check_links(session: &Session<'_>) -> Result<(), RemovalError> {
    let faults = db::media_faults(&session.connection, false).map_err(ReadError::from)?;
    if faults.is_empty() {
        return Ok(());
    }
    tracing::warn!(target: "auditlite", faults = faults.len(), "what the file says of its media does not match the bodies; it is noted again");
    // A medium that only a wrong link keeps is about to go: the writer must not refer to it any more.
    session.forget(&[(i64::MIN, i64::MAX)])?;
    session.step(
        None,
        Removal {
            relinks_media: true,
            ..Removal::default()
        },
    )
}

/// The media that a row refers to, by their places in its content.
fn media_of(row: &StoredPayload) -> Vec<(Range<usize>, i64)> {
    let encoding = Encoding::from_code(row.encoding);
    let data = row.data.as_deref();
    let Some(parts) = encoding
        .zip(data)
        .and_then(|(encoding, data)| Parts::of(encoding, data))
    else {
        return Vec::new();
    };
    let start = match parts.encoding {
        Encoding::Delta => copied_head(parts.data).unwrap_or(0),
        _ => 0,
    };
    let start = usize::try_from(start).unwrap_or(usize::MAX);
    let ids = parts.holes.iter().map(|hole| hole.media_id);
    ranges_of(start, &parts.holes)
        .into_iter()
        .zip(ids)
        .collect()
}
