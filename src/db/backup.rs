//! A copy of the file as of one moment.

use std::path::Path;

use rusqlite::limits::Limit;

use super::connection::pool;
use super::error::{Context, DbError};

/// Writes a copy into an empty file, while others read and write: as of one moment, without free
/// pages. Source: <https://www.sqlite.org/lang_vacuum.html#vacuuminto>.
pub(crate) fn copy_into(source: &Path, target: &Path) -> Result<(), DbError> {
    const COPYING: &str = "copying the file";
    let connection = pool::open_reader(source)?;
    // What is written has a name of its own for as long as it is.
    connection
        .set_limit(Limit::SQLITE_LIMIT_ATTACHED, 1)
        .context(COPYING)?;
    // The file itself is open for reading only; what is written is the copy.
    connection
        .pragma_update(None, "query_only", 0)
        .context(COPYING)?;
    let Some(target) = target.to_str() else {
        return Err(DbError::corrupt(COPYING, "the path is not UTF-8"));
    };
    connection
        .execute("VACUUM INTO ?1", [target])
        .context(COPYING)
        .map(drop)
}
