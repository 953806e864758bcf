//! Chains: unpacks content that is packed against other content.
//!
//! The bases of a body always have smaller ids than the body, so every chain ends, even in a damaged file.
//! In addition, the rows and bytes of a chain are bounded.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use super::commitments::Commitments;
use crate::config::PAYLOAD_CAP_BYTES_MAX;
use crate::db::{self, Connection, StoredPayload, event_seq};
use crate::error::ReadError;
use crate::model::Digest;
use crate::payload::{Encoding, apply, sha256, unpack_alone};

/// The writer makes no chain with more rows; a longer one is damage.
const ROWS_MAX: usize = 1024;
/// The writer makes no chain that unpacks to more bytes in total.
const BYTES_MAX: u64 = 1 << 30;

/// Contents that a [`Recent`] caches, in number and bytes. A chain returns to a keyframe that is at most 96
/// bodies old.
const RECENT_MAX: usize = 200;
const RECENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The digest in a row.
pub(crate) fn digest_of(stored: &StoredPayload) -> Result<Digest, ReadError> {
    <[u8; 32]>::try_from(stored.sha256.as_slice())
        .map(Digest)
        .map_err(|_| ReadError::Damaged("a payload's digest does not have 32 bytes".to_owned()))
}

/// The row of a payload, and its kept content; no content if only the digest is kept.
pub(crate) type ReadPayload = (StoredPayload, Option<Vec<u8>>);

/// The payload with this id, if there is one.
pub(crate) fn read(
    connection: &Connection,
    payload_id: i64,
) -> Result<Option<ReadPayload>, ReadError> {
    let Some(wanted) = db::payload(connection, payload_id, true)? else {
        return Ok(None);
    };
    if wanted.data.is_none() {
        return Ok(Some((wanted, None)));
    }
    let rows = load(connection, payload_id, wanted)?;
    // Only the wanted content is compared with its digest. If that fails, all are compared: the error must
    // name the damaged one.
    let assembled = match assemble(rows.clone(), payload_id, false) {
        Err(_) => assemble(rows, payload_id, true),
        assembled => assembled,
    };
    assembled.map(|(row, content)| Some((row, Some(content))))
}

/// As [`ReadPayload`], with content that others still need.
pub(crate) type SharedPayload = (StoredPayload, Option<Arc<Vec<u8>>>);

/// Recently read contents. A reader of a conversation in order finds here what the next body is packed
/// against, and does not unpack the whole chain for each turn. Belongs to one operation on one thread.
#[derive(Debug)]
pub(crate) struct Recent {
    /// What the log commits to.
    pub(crate) commitments: Commitments,
    contents: VecDeque<(i64, Arc<Vec<u8>>)>,
    bytes: usize,
    bytes_max: usize,
}

impl Default for Recent {
    fn default() -> Self {
        Self::with_bytes(RECENT_BYTES_MAX)
    }
}

impl Recent {
    /// Caches at most this many bytes.
    pub(crate) fn with_bytes(bytes_max: usize) -> Self {
        Self {
            commitments: Commitments::default(),
            contents: VecDeque::new(),
            bytes: 0,
            bytes_max,
        }
    }

    /// As [`read`].
    pub(crate) fn read(
        &mut self,
        connection: &Connection,
        payload_id: i64,
    ) -> Result<Option<SharedPayload>, ReadError> {
        let Some(mut row) = db::payload(connection, payload_id, true)? else {
            return Ok(None);
        };
        if row.data.is_none() {
            return Ok(Some((row, None)));
        }
        check_sizes(payload_id, row.length, row.kept, row.head, true)?;
        let content = match self.apply(&row) {
            Some(content) => content,
            None => match read(connection, payload_id)? {
                Some((_, Some(content))) => content,
                _ => return Ok(None),
            },
        };
        row.data = None;
        let content = Arc::new(content);
        self.hold(payload_id, &content);
        Ok(Some((row, Some(content))))
    }

    /// The content from cached bases; `None` also if it is not what was recorded.
    fn apply(&self, row: &StoredPayload) -> Option<Vec<u8>> {
        let bases = row.bases?;
        if Encoding::from_code(row.encoding) != Some(Encoding::Delta) {
            return None;
        }
        let first = self.content(bases.first)?;
        let second = match bases.second {
            None => None,
            Some(second) => Some(self.content(second)?.as_slice()),
        };
        let applied = apply(first, second, row.data.as_deref()?, row.kept)?;
        let content = applied.join(first)?;
        let is_whole = row.head.is_none();
        (!is_whole || digest_of(row).ok()? == sha256(&content)).then_some(content)
    }

    fn content(&self, id: i64) -> Option<&Arc<Vec<u8>>> {
        let mut newest_first = self.contents.iter().rev();
        newest_first
            .find(|(held, _)| *held == id)
            .map(|(_, content)| content)
    }

    fn hold(&mut self, id: i64, content: &Arc<Vec<u8>>) {
        self.bytes = self.bytes.saturating_add(content.len());
        self.contents.push_back((id, Arc::clone(content)));
        while (self.bytes > self.bytes_max || self.contents.len() > RECENT_MAX)
            && let Some((_, content)) = self.contents.pop_front()
        {
            self.bytes = self.bytes.saturating_sub(content.len());
        }
    }
}

fn assemble(
    mut rows: BTreeMap<i64, StoredPayload>,
    payload_id: i64,
    check_all: bool,
) -> Result<(StoredPayload, Vec<u8>), ReadError> {
    let mut uses = count_uses(&rows);
    let mut contents: HashMap<i64, Vec<u8>> = HashMap::new();
    while let Some((id, mut row)) = rows.pop_first() {
        let data = row.data.take();
        let content = data
            .and_then(|data| unpack(&row, data, &mut contents, &mut uses))
            .ok_or_else(|| lost(id, payload_id))?;
        let is_to_be_checked = row.head.is_none() && (check_all || id == payload_id);
        if is_to_be_checked && sha256(&content) != digest_of(&row)? {
            return Err(lost(id, payload_id));
        }
        if id == payload_id {
            return Ok((row, content));
        }
        contents.insert(id, content);
    }
    Err(lost(payload_id, payload_id))
}

/// The wanted row and all that it needs, by id.
fn load(
    connection: &Connection,
    payload_id: i64,
    wanted: StoredPayload,
) -> Result<BTreeMap<i64, StoredPayload>, ReadError> {
    let mut rows = BTreeMap::new();
    let mut bytes = 0_u64;
    let mut missing = vec![(payload_id, wanted)];
    while let Some((id, row)) = missing.pop() {
        check_sizes(id, row.length, row.kept, row.head, row.data.is_some())?;
        bytes = bytes.saturating_add(row.kept);
        if rows.len() >= ROWS_MAX || bytes > BYTES_MAX {
            return Err(ReadError::Damaged(format!(
                "what the body of event {} is packed against takes more than can be",
                event_seq(payload_id)
            )));
        }
        for base in base_ids(&row) {
            let is_known = rows.contains_key(&base) || missing.iter().any(|(id, _)| *id == base);
            if base >= id {
                return Err(lost(id, payload_id));
            }
            if !is_known {
                let base_row = db::payload(connection, base, true)?;
                missing.push((base, base_row.ok_or_else(|| lost(base, payload_id))?));
            }
        }
        rows.insert(id, row);
    }
    Ok(rows)
}

fn base_ids(row: &StoredPayload) -> impl Iterator<Item = i64> + use<> {
    row.bases
        .into_iter()
        .flat_map(|bases| [Some(bases.first), bases.second])
        .flatten()
}

/// How many rows need each content: the last one may take it instead of copying it.
fn count_uses(rows: &BTreeMap<i64, StoredPayload>) -> HashMap<i64, usize> {
    let mut uses = HashMap::new();
    for row in rows.values() {
        for base in base_ids(row) {
            *uses.entry(base).or_insert(0) += 1;
        }
    }
    uses
}

/// Whether the sizes of a row match each other.
pub(crate) fn check_sizes(
    id: i64,
    length: u64,
    kept: u64,
    head: Option<u64>,
    has_data: bool,
) -> Result<(), ReadError> {
    let cap = u64::try_from(PAYLOAD_CAP_BYTES_MAX).unwrap_or(u64::MAX);
    let fits = kept <= length.min(cap)
        && head.is_none_or(|head| head <= kept)
        && (head.is_some() || !has_data || kept == length);
    if fits {
        Ok(())
    } else {
        Err(ReadError::Damaged(format!(
            "the body of event {} records sizes that cannot be",
            event_seq(id)
        )))
    }
}

fn unpack(
    row: &StoredPayload,
    data: Vec<u8>,
    contents: &mut HashMap<i64, Vec<u8>>,
    uses: &mut HashMap<i64, usize>,
) -> Option<Vec<u8>> {
    let encoding = Encoding::from_code(row.encoding)?;
    let (Encoding::Delta, Some(bases)) = (encoding, row.bases) else {
        return unpack_alone(encoding, data, row.kept);
    };
    let first = contents.get(&bases.first)?;
    let second = match bases.second {
        None => None,
        Some(second) => Some(contents.get(&second)?.as_slice()),
    };
    let applied = apply(first, second, &data, row.kept)?;
    let mut release = |id: i64| -> Option<bool> {
        let left = uses.get_mut(&id)?;
        *left = left.saturating_sub(1);
        Some(*left == 0)
    };
    let is_last_use = release(bases.first)?;
    let content = if is_last_use {
        // In place: a long conversation is not copied for each of its turns.
        let mut content = contents.remove(&bases.first)?;
        let tail_begin = content.len().checked_sub(applied.tail)?;
        content.splice(applied.head..tail_begin, applied.new);
        content
    } else {
        applied.join(contents.get(&bases.first)?)?
    };
    if let Some(second) = bases.second
        && release(second)?
    {
        contents.remove(&second);
    }
    Some(content)
}

/// Names what is damaged, and what cannot be read because of it.
fn lost(damaged: i64, wanted: i64) -> ReadError {
    let (damaged, wanted) = (event_seq(damaged), event_seq(wanted));
    ReadError::Damaged(if damaged == wanted {
        format!("the body of event {wanted} does not unpack to what was recorded")
    } else {
        format!(
            "the body of event {damaged} is damaged or missing, and the body of event {wanted} is packed against it"
        )
    })
}
