//! What came so far of responses whose requests have not ended.

use super::Reader;
use crate::db::seen_response;
use crate::error::ReadError;
use crate::model::{Payload, RequestRecord};
use crate::payload::sha256;

impl Reader {
    /// What was written so far of the response to a request that has not ended: of one under way, or of
    /// one that a crash left open and that the next opening for writing will mark interrupted. As
    /// [`StoreBuilder::response_pieces`](crate::StoreBuilder::response_pieces) says; more may have come.
    /// `None`: nothing, or the request has ended. No part of the log: nothing commits to it yet.
    ///
    /// # Errors
    ///
    /// [`ReadError::Damaged`], or what the database reported.
    pub fn response_so_far(&self, request: &RequestRecord) -> Result<Option<Payload>, ReadError> {
        if request.ended_seq.is_some() {
            return Ok(None);
        }
        let seen = seen_response(&*self.connection()?, request.opened_seq)?;
        Ok(seen.map(|seen| {
            let (length, digest, head) = match seen.excerpt {
                Some((length, digest, head)) => (length, digest, Some(head)),
                None => {
                    let length = u64::try_from(seen.content.len()).unwrap_or(u64::MAX);
                    (length, sha256(&seen.content), None)
                }
            };
            Payload {
                bytes: seen.content,
                length,
                sha256: digest,
                head,
                is_unchecked: true,
            }
        }))
    }
}
