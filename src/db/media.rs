//! Writes media, who refers to them, and deletes those that nothing refers to.

use rusqlite::{Connection, params};

use crate::db::error::{Context, DbError};
use crate::db::seq_to_sql;
use crate::payload::{EncodedMedium, Encoding, Parts};

const WRITING: &str = "writing media";
const REMOVING: &str = "removing media";

/// Writes a medium.
pub(crate) fn insert_medium(
    connection: &Connection,
    medium: &EncodedMedium,
) -> Result<(), DbError> {
    connection
        .prepare_cached(
            "INSERT INTO media (media_id, digest, length, encoding, data) \
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )
        .and_then(|mut statement| {
            statement.execute(params![
                medium.media_id,
                medium.digest.0.as_slice(),
                seq_to_sql(medium.length),
                medium.encoding.code(),
                medium.data
            ])
        })
        .context(WRITING)
        .map(drop)
}

/// Notes which media a payload refers to.
pub(crate) fn insert_links(
    connection: &Connection,
    payload_id: i64,
    links: &[i64],
) -> Result<(), DbError> {
    let mut statement = connection
        .prepare_cached("INSERT OR IGNORE INTO media_links (payload_id, media_id) VALUES (?1, ?2)")
        .context(WRITING)?;
    for media_id in links {
        statement
            .execute([payload_id, *media_id])
            .context(WRITING)?;
    }
    Ok(())
}

/// Deletes what payloads in a range of ids refer to, and media that nothing refers to any more. The caller deletes
/// the payloads in the same transaction.
pub(crate) fn release(connection: &Connection, first: i64, last: i64) -> Result<(), DbError> {
    let mut held = connection
        .prepare_cached(
            "SELECT DISTINCT media_id FROM media_links WHERE payload_id BETWEEN ?1 AND ?2",
        )
        .context(REMOVING)?;
    let held: Vec<i64> = held
        .query_map([first, last], |row| row.get(0))
        .and_then(Iterator::collect)
        .context(REMOVING)?;
    if held.is_empty() {
        return Ok(());
    }
    connection
        .prepare_cached("DELETE FROM media_links WHERE payload_id BETWEEN ?1 AND ?2")
        .and_then(|mut statement| statement.execute([first, last]))
        .context(REMOVING)?;
    let mut delete = connection
        .prepare_cached(
            "DELETE FROM media WHERE media_id = ?1 AND NOT EXISTS (SELECT 1 FROM media_links \
             INDEXED BY media_links_by_medium WHERE media_id = ?1)",
        )
        .context(REMOVING)?;
    for media_id in held {
        delete.execute([media_id]).context(REMOVING)?;
    }
    Ok(())
}

/// Notes again which media all payloads refer to, as they themselves say, and deletes media that none refers to.
pub(crate) fn relink(connection: &Connection) -> Result<(), DbError> {
    let execute = |sql| connection.execute_batch(sql).context(REMOVING);
    execute("DELETE FROM media_links")?;
    let mut payloads = connection
        .prepare("SELECT payload_id, data FROM payloads WHERE encoding = ?1")
        .context(REMOVING)?;
    let mut rows = payloads.query([Encoding::Media.code()]).context(REMOVING)?;
    while let Some(row) = rows.next().context(REMOVING)? {
        let payload_id: i64 = row.get(0).context(REMOVING)?;
        let data = row.get_ref(1).context(REMOVING)?;
        // What cannot be read refers to nothing that could be read.
        let parts = data.as_blob().ok();
        let parts = parts.and_then(|data| Parts::of(Encoding::Media, data));
        let links: Vec<i64> = parts
            .iter()
            .flat_map(|parts| &parts.holes)
            .map(|hole| hole.media_id)
            .collect();
        insert_links(connection, payload_id, &links)?;
    }
    execute(
        "DELETE FROM media WHERE NOT EXISTS (SELECT 1 FROM media_links AS link \
         WHERE link.media_id = media.media_id)",
    )
}
