//! What is known of bodies, of one request after the other.

use std::fmt;

use super::Reader;
use crate::db::ReadFile;
use crate::error::ReadError;
use crate::model::{BodyInfo, PayloadSide, RequestRecord};
use crate::read::commitments::Commitments;
use crate::read::content;

/// As [`Reader::body_info`], for many bodies: caches the parts of the log that it read last, at most 8 MiB,
/// instead of unpacking them again for each body. Made by [`Reader::body_infos`].
pub struct BodyInfos {
    reader: Reader,
    commitments: Commitments,
    /// What `commitments` are of.
    file: Option<ReadFile>,
}

impl Reader {
    /// Lengths and digests of bodies of many requests; quickest in the order of the log.
    pub fn body_infos(&self) -> BodyInfos {
        BodyInfos {
            reader: self.clone(),
            commitments: Commitments::default(),
            file: None,
        }
    }
}

impl BodyInfos {
    /// Lengths and digests of a request's body and its response's, without reading them; `None` where there
    /// is none.
    ///
    /// # Errors
    ///
    /// [`ReadError::Damaged`], or what the database reported.
    pub fn get(&mut self, request: &RequestRecord) -> Result<[Option<BodyInfo>; 2], ReadError> {
        let connection = self.reader.connection()?;
        let file = connection.file();
        if file != self.file {
            // Another file has another log.
            self.commitments = Commitments::default();
            self.file = file;
        }
        let mut info = |side| content::body_info(&connection, &mut self.commitments, request, side);
        Ok([info(PayloadSide::Request)?, info(PayloadSide::Response)?])
    }
}

impl fmt::Debug for BodyInfos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyInfos").finish_non_exhaustive()
    }
}
