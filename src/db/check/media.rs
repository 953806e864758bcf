//! Compares media with what payloads refer to, and with their digests.

use rusqlite::{Connection, Row};

use crate::config::PAYLOAD_CAP_BYTES_MAX;
use crate::db::error::{Context, DbError};
use crate::db::read::media::{has_media, media_key};
use crate::db::rows::count_at;
use crate::payload::{Domain, Encoding, MediaKey, Parts, Unpacker, unpack_alone};

const CHECKING: &str = "comparing media with the payloads";
/// Further faults of one kind are left out.
const LISTED_MAX: usize = 100;

/// What is wrong with media.
#[derive(Debug)]
pub(crate) enum MediaFault {
    /// A payload cannot be read, or a removal would take what it needs.
    Payload { payload_id: i64, what: String },
    /// Nothing refers to it.
    Unheld { what: String },
}

/// Compares what payloads refer to with the links, both ways, and finds media that nothing refers to. With their
/// content: media that do not have their digest. Reads all payloads, if there are any media.
pub(crate) fn media_faults(
    connection: &Connection,
    with_content: bool,
) -> Result<Vec<MediaFault>, DbError> {
    let mut faults = Vec::new();
    if !has_media(connection)? {
        return Ok(faults);
    }
    let sql = "SELECT EXISTS (SELECT 1 FROM media) OR EXISTS (SELECT 1 FROM media_links)";
    let is_used: bool = connection
        .query_row(sql, [], |row| row.get(0))
        .context(CHECKING)?;
    if is_used {
        compare_links(connection, &mut faults)?;
        find_foreign_links(connection, &mut faults)?;
        find_unheld(connection, &mut faults)?;
    }
    if is_used && with_content {
        compare_digests(connection, &mut faults)?;
    }
    Ok(faults)
}

fn compare_links(connection: &Connection, faults: &mut Vec<MediaFault>) -> Result<(), DbError> {
    let mut payloads = connection
        .prepare("SELECT payload_id, data FROM payloads WHERE encoding = ?1 ORDER BY payload_id")
        .context(CHECKING)?;
    let mut links = connection
        .prepare("SELECT media_id FROM media_links WHERE payload_id = ?1 ORDER BY media_id")
        .context(CHECKING)?;
    let mut rows = payloads.query([Encoding::Media.code()]).context(CHECKING)?;
    let mut listed = 0;
    while let Some(row) = rows.next().context(CHECKING)? {
        let payload_id: i64 = row.get(0).context(CHECKING)?;
        let data = row.get_ref(1).context(CHECKING)?;
        let data = data.as_blob().ok();
        // What it is packed in is compared elsewhere.
        let Some(parts) = data.and_then(|data| Parts::of(Encoding::Media, data)) else {
            continue;
        };
        let mut wanted: Vec<i64> = parts.holes.iter().map(|hole| hole.media_id).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let found = links.query_map([payload_id], |row| row.get(0));
        let found: Vec<i64> = found.and_then(Iterator::collect).context(CHECKING)?;
        if found != wanted && listed < LISTED_MAX {
            listed += 1;
            faults.push(MediaFault::Payload {
                payload_id,
                what: "media_links does not say which media it refers to: a removal could take them from it".to_owned(),
            });
        }
    }
    Ok(())
}

/// Links of payloads that refer to no media, or are not there.
fn find_foreign_links(
    connection: &Connection,
    faults: &mut Vec<MediaFault>,
) -> Result<(), DbError> {
    let ids = listed(
        connection,
        "SELECT DISTINCT payload_id FROM media_links AS link WHERE NOT EXISTS \
         (SELECT 1 FROM payloads WHERE payload_id = link.payload_id AND encoding = ?1) LIMIT ?2",
    )?;
    faults.extend(ids.into_iter().map(|payload_id| MediaFault::Unheld {
        what: format!(
            "media_links says that payload {payload_id} refers to media, and it does not"
        ),
    }));
    Ok(())
}

fn find_unheld(connection: &Connection, faults: &mut Vec<MediaFault>) -> Result<(), DbError> {
    let ids = listed(
        connection,
        "SELECT media_id FROM media INDEXED BY media_by_digest WHERE ?1 = ?1 AND NOT EXISTS \
         (SELECT 1 FROM media_links WHERE media_id = media.media_id) LIMIT ?2",
    )?;
    faults.extend(ids.into_iter().map(|media_id| MediaFault::Unheld {
        what: format!("no payload refers to medium {media_id}; the next removal deletes it"),
    }));
    Ok(())
}

fn listed(connection: &Connection, sql: &str) -> Result<Vec<i64>, DbError> {
    let limit = i64::try_from(LISTED_MAX).unwrap_or(i64::MAX);
    let mut statement = connection.prepare(sql).context(CHECKING)?;
    let rows = statement.query_map([Encoding::Media.code(), limit], |row| row.get(0));
    rows.and_then(Iterator::collect).context(CHECKING)
}

fn compare_digests(connection: &Connection, faults: &mut Vec<MediaFault>) -> Result<(), DbError> {
    let Some(key) = media_key(connection)? else {
        faults.push(MediaFault::Unheld {
            what: "the key of the digests of media is missing or is none".to_owned(),
        });
        return Ok(());
    };
    let mut unpacker = Unpacker::new();
    let mut statement = connection
        .prepare(
            "SELECT media_id, digest, length, encoding, data, (SELECT min(payload_id) FROM \
             media_links WHERE media_id = media.media_id) FROM media",
        )
        .context(CHECKING)?;
    let mut rows = statement.query([]).context(CHECKING)?;
    let mut listed = 0;
    while let Some(row) = rows.next().context(CHECKING)? {
        let holder: Option<i64> = row.get(5).context(CHECKING)?;
        let Some(payload_id) = holder else { continue };
        if !is_whole(row, &key, &mut unpacker).context(CHECKING)? && listed < LISTED_MAX {
            listed += 1;
            let media_id: i64 = row.get(0).context(CHECKING)?;
            faults.push(MediaFault::Payload {
                payload_id,
                what: format!("medium {media_id}, which it refers to, does not have its digest"),
            });
        }
    }
    Ok(())
}

fn is_whole(row: &Row<'_>, key: &MediaKey, unpacker: &mut Unpacker) -> rusqlite::Result<bool> {
    let (digest, data) = (row.get_ref(1)?.as_blob()?, row.get_ref(4)?.as_blob()?);
    let length = count_at(row, 2)?;
    // No more memory than a body takes.
    let fits = length <= u64::try_from(PAYLOAD_CAP_BYTES_MAX).unwrap_or(u64::MAX)
        && u64::try_from(data.len()).is_ok_and(|packed| packed <= length);
    let encoding = Encoding::from_code(row.get(3)?).filter(|_| fits);
    let medium = encoding.and_then(|encoding| unpack_alone(unpacker, encoding, data, length));
    Ok(medium.is_some_and(|medium| key.digest(Domain::default(), &medium).0 == digest))
}
