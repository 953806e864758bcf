//! The last request of a conversation and its response, for the writer to go on with what the file has.

use std::sync::Arc;

use super::payloads::PayloadCache;
use crate::db::{self, Connection, Part, payload_id};
use crate::error::ReadError;
use crate::payload::Resumed;

/// The newest requests that are looked at: bodies of some may have been left out, or erased.
const LOOKED_AT: usize = 4;

/// The newest request of a user's conversation whose body is in the file. Nothing in the file is trusted: what
/// takes more than the writer's own chains do is an error, and a body has the digest in its row.
pub(crate) fn last_turn(
    connection: &Connection,
    payloads: &mut PayloadCache,
    user_id: Option<&str>,
    conversation_id: &str,
) -> Result<Option<Resumed>, ReadError> {
    let newest = db::newest_of_conversation(connection, user_id, conversation_id, LOOKED_AT)?;
    for (opened_seq, ended_seq) in newest {
        let id = payload_id(opened_seq, Part::Body);
        let Some((body, place, keyframe)) = payloads.read_base(connection, id)? else {
            continue;
        };
        let response = match ended_seq.map(|seq| payload_id(seq, Part::Body)) {
            None => None,
            Some(id) => {
                let response = payloads.read_base(connection, id)?;
                response.map(|(response, ..)| (id, Arc::new(response)))
            }
        };
        return Ok(Some(Resumed {
            id,
            body: Arc::new(body),
            place,
            keyframe,
            response,
        }));
    }
    Ok(None)
}
