//! Media of payloads: reads those that a payload refers to, and puts them in.

use std::collections::BTreeMap;

use crate::db::{self, Connection, StoredMedium};
use crate::error::ReadError;
use crate::model::Digest;
use crate::payload::{Encoding, Hole, Parts, Unpacker, unpack_alone};

/// Packed media that some payloads refer to, by their ids.
#[derive(Debug, Default)]
pub(crate) struct Media(BTreeMap<i64, StoredMedium>);

impl Media {
    /// Reads the media of a payload. `false`: one is not there, or is not what the payload says.
    pub(super) fn load(
        &mut self,
        connection: &Connection,
        holes: &[Hole],
    ) -> Result<bool, ReadError> {
        for hole in holes {
            if self.0.contains_key(&hole.media_id) {
                continue;
            }
            // One that is larger packed than unpacked is none that the writer made.
            let fits = |medium: &StoredMedium| {
                let packed = u64::try_from(medium.data.len()).unwrap_or(u64::MAX);
                medium.length == hole.length && packed <= medium.length
            };
            let medium = db::medium(connection, hole.media_id)?;
            let Some(medium) = medium.filter(fits) else {
                return Ok(false);
            };
            self.0.insert(hole.media_id, medium);
        }
        Ok(true)
    }

    /// The new text of a payload with its media. `None`: they do not fit each other.
    pub(super) fn fill(
        &self,
        unpacker: &mut Unpacker,
        parts: &Parts<'_>,
        text: Vec<u8>,
    ) -> Option<Vec<u8>> {
        parts.fill(text, |hole: &Hole| {
            let medium = self.0.get(&hole.media_id)?;
            unpack_medium(unpacker, medium)
        })
    }
}

/// The content of a medium; `None`: it is damaged.
fn unpack_medium(unpacker: &mut Unpacker, medium: &StoredMedium) -> Option<Vec<u8>> {
    let encoding = Encoding::from_code(medium.encoding)?;
    unpack_alone(unpacker, encoding, &medium.data, medium.length)
}

/// The medium of the file that is exactly this content, and that a payload outside of these ranges refers to. The
/// ranges are in ascending order.
///
/// What the file has is compared byte by byte: a medium that is damaged must not cost the bodies to come too.
pub(crate) fn find_medium(
    connection: &Connection,
    unpacker: &mut Unpacker,
    digest: &Digest,
    content: &[u8],
    ranges: &[(i64, i64)],
) -> Result<Option<i64>, ReadError> {
    let length = u64::try_from(content.len()).unwrap_or(u64::MAX);
    for media_id in db::media_with(connection, digest)? {
        if !db::has_holder_outside(connection, media_id, ranges)? {
            continue;
        }
        let stored = db::medium(connection, media_id)?;
        let stored = stored.filter(|stored| stored.length == length);
        if stored
            .and_then(|stored| unpack_medium(unpacker, &stored))
            .as_deref()
            == Some(content)
        {
            return Ok(Some(media_id));
        }
    }
    Ok(None)
}
