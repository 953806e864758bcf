//! A copy of the file as of one moment.

use std::path::Path;

use rusqlite::limits::Limit;

use super::connection::pool;
use super::error::{Context, DbError};

/// Copies the database into an empty file while others read and write it. The copy shows one moment and has
/// no free pages. Source: <https://www.sqlite.org/lang_vacuum.html#vacuuminto>.
pub(crate) fn copy_into(source: &Path, target: &Path) -> Result<(), DbError> {
    const COPYING: &str = "copying the file";
    let connection = pool::open_reader(source)?;
    // The target has its own name while it is written.
    connection
        .set_limit(Limit::SQLITE_LIMIT_ATTACHED, 1)
        .context(COPYING)?;
    // The source is open read-only; SQLite writes the copy only.
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
