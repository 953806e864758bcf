//! Pieces: the parts so far of long responses whose requests have not ended. Scratch rows outside of the
//! log; `schema.sql` describes their two forms.

use rusqlite::{Connection, Row, Statement, TransactionBehavior, params};

use super::append::Appender;
use crate::config::PAYLOAD_CAP_BYTES_MAX;
use crate::db::error::{Context, DbError};
use crate::db::rows::{count_at, optional_count_at};
use crate::db::seq_to_sql;
use crate::model::Digest;
use crate::payload::{Encoding, Unpacker, unpack_alone};

/// Limit of pieces for one response: eleven hours, with one every 10 s. What comes later is only written at
/// the end.
pub(crate) const PIECES_MAX: u64 = 4096;
/// More than fits in a page of the table beside a row, so that the content begins on its own page.
const PADDING_BYTES: usize = 8192;

const WRITING: &str = "writing pieces of responses";
const READING: &str = "reading pieces of a response";

/// One row.
#[derive(Debug)]
pub(crate) struct PieceRow {
    pub(crate) opened_seq: u64,
    pub(crate) position: u64,
    pub(crate) length: u64,
    pub(crate) kept: u64,
    pub(crate) head: Option<u64>,
    /// If present: the beginning and end of the whole response so far, in place of all pieces before.
    pub(crate) sha256: Option<Digest>,
    pub(crate) redaction_id: Option<String>,
    pub(crate) encoding: Encoding,
    pub(crate) data: Vec<u8>,
}

/// What is known of a response.
#[derive(Debug, Default)]
pub(crate) struct SeenResponse {
    /// Everything that was written, or its beginning and end.
    pub(crate) content: Vec<u8>,
    /// Where only beginning and end are kept: the length and digest of everything that was seen, and how
    /// much of `content` is the beginning.
    pub(crate) excerpt: Option<(u64, Digest, u64)>,
    pub(crate) redaction_id: Option<String>,
}

/// The range of ids for the pieces of a request.
fn ids_of(opened_seq: u64) -> (i64, i64) {
    let pieces = seq_to_sql(PIECES_MAX);
    let first = seq_to_sql(opened_seq).saturating_mul(pieces);
    (first, first.saturating_add(pieces - 1))
}

/// Deletes the pieces of these requests, inside the caller's transaction.
pub(crate) fn delete(connection: &Connection, opened_seqs: &[u64]) -> Result<(), DbError> {
    if opened_seqs.is_empty() {
        return Ok(());
    }
    let mut delete = connection
        .prepare_cached("DELETE FROM response_pieces WHERE piece_id BETWEEN ?1 AND ?2")
        .context(WRITING)?;
    for opened_seq in opened_seqs {
        delete.execute(ids_of(*opened_seq)).context(WRITING)?;
    }
    Ok(())
}

/// What is known of the response to this request, as far as its pieces fit together; `None`: nothing.
pub(crate) fn seen_response(
    connection: &Connection,
    opened_seq: u64,
) -> Result<Option<SeenResponse>, DbError> {
    let mut statement = connection
        .prepare_cached(
            "SELECT piece_id, length, kept, head, sha256, redaction_id, encoding, data \
             FROM response_pieces WHERE piece_id BETWEEN ?1 AND ?2 ORDER BY piece_id",
        )
        .context(READING)?;
    let (first, last) = ids_of(opened_seq);
    let mut rows = statement.query([first, last]).context(READING)?;
    let mut unpacker = Unpacker::new();
    let mut seen: Option<SeenResponse> = None;
    let mut next = first;
    while let Some(row) = rows.next().context(READING)? {
        if row.get::<_, i64>(0).context(READING)? != next {
            break;
        }
        next = next.saturating_add(1);
        let Some(piece) = read_piece(&mut unpacker, row, seen.as_ref()).context(READING)? else {
            break;
        };
        let is_excerpt = piece.excerpt.is_some();
        match &mut seen {
            None => seen = Some(piece),
            Some(seen) => seen.content.extend_from_slice(&piece.content),
        }
        if is_excerpt {
            break;
        }
    }
    Ok(seen)
}

/// Reads the row as a response of its own; `None` if it cannot follow `before`.
fn read_piece(
    unpacker: &mut Unpacker,
    row: &Row<'_>,
    before: Option<&SeenResponse>,
) -> rusqlite::Result<Option<SeenResponse>> {
    let (length, kept) = (count_at(row, 1)?, count_at(row, 2)?);
    let head = optional_count_at(row, 3)?;
    let sha256 = row.get_ref(4)?.as_blob_or_null()?;
    let data = row.get_ref(7)?.as_blob()?;
    let held = before.map_or(0, |seen| seen.content.len());
    let free_bytes = PAYLOAD_CAP_BYTES_MAX.saturating_sub(held);
    let excerpt = match (sha256.map(<[u8; 32]>::try_from), head) {
        (None, None) if length == kept => None,
        (Some(Ok(sha256)), Some(head)) if before.is_none() && head <= kept && kept <= length => {
            Some((length, Digest(sha256), head))
        }
        _ => return Ok(None),
    };
    // Never more than its packed bytes, and never more than a body may have.
    let fits = usize::try_from(kept).is_ok_and(|kept| kept <= free_bytes && data.len() <= kept);
    let encoding = Encoding::from_code(row.get(6)?).filter(|_| fits);
    let content = encoding.and_then(|encoding| unpack_alone(unpacker, encoding, data, kept));
    Ok(match content {
        None => None,
        Some(content) => Some(SeenResponse {
            content,
            excerpt,
            redaction_id: row.get(5)?,
        }),
    })
}

/// Pieces of requests that have ended or never existed, in words.
pub(crate) fn left_behind(connection: &Connection) -> Result<Option<(u64, String)>, DbError> {
    let sql = format!(
        "SELECT count(DISTINCT piece_id / {PIECES_MAX}), min(piece_id / {PIECES_MAX}) \
         FROM response_pieces WHERE NOT EXISTS (SELECT 1 FROM requests \
         WHERE opened_seq = piece_id / {PIECES_MAX} AND ended_seq IS NULL)"
    );
    let (requests, first) = connection
        .query_row(&sql, [], |row| {
            Ok((count_at(row, 0)?, optional_count_at(row, 1)?))
        })
        .context(READING)?;
    Ok(first.map(|seq| {
        let what = format!(
            "pieces of the responses of {requests} requests that have ended, or that there never \
             were, are still there, the first of the one opened by event {seq}; opening the store \
             takes them away"
        );
        (seq, what)
    }))
}

impl Appender {
    /// Writes pieces in their own transaction. Writing them again changes nothing.
    pub(crate) fn write_pieces(&mut self, pieces: &[&PieceRow]) -> Result<(), DbError> {
        let transaction = self
            .connection_mut()
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .context(WRITING)?;
        {
            let mut insert = transaction
                .prepare_cached(
                    "INSERT OR REPLACE INTO response_pieces (piece_id, length, kept, head, sha256, \
                     redaction_id, encoding, padding, data) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, zeroblob(?8), ?9)",
                )
                .context(WRITING)?;
            for piece in pieces {
                if piece.sha256.is_some() {
                    delete(&transaction, &[piece.opened_seq])?;
                }
                insert_piece(&mut insert, piece).context(WRITING)?;
            }
        }
        transaction.commit().context(WRITING)
    }

    /// What is known of the response to this request.
    pub(crate) fn seen_response(&self, opened_seq: u64) -> Result<Option<SeenResponse>, DbError> {
        seen_response(self.connection(), opened_seq)
    }

    /// Deletes all pieces: once no request is open, they are not needed.
    pub(crate) fn delete_all_pieces(&mut self) -> Result<(), DbError> {
        let connection = self.connection_mut();
        let are_there = connection
            .query_row("SELECT EXISTS (SELECT 1 FROM response_pieces)", [], |row| {
                row.get::<_, bool>(0)
            })
            .context(READING)?;
        if are_there {
            // With a condition SQLite visits the rows one by one; without it, it would free whole pages
            // without reading (and overwriting) them.
            let sql = "DELETE FROM response_pieces WHERE piece_id IS NOT NULL";
            connection.execute(sql, []).context(WRITING)?;
        }
        Ok(())
    }
}

fn insert_piece(insert: &mut Statement<'_>, piece: &PieceRow) -> rusqlite::Result<usize> {
    let (first, _) = ids_of(piece.opened_seq);
    insert.execute(params![
        first.saturating_add(seq_to_sql(piece.position)),
        seq_to_sql(piece.length),
        seq_to_sql(piece.kept),
        piece.head.map(seq_to_sql),
        piece.sha256.as_ref().map(|sha256| sha256.0.as_slice()),
        piece.redaction_id,
        piece.encoding.code(),
        i64::try_from(PADDING_BYTES).unwrap_or(i64::MAX),
        piece.data,
    ])
}
