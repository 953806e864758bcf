//! Zeroes slack: old bytes that SQLite leaves behind when it moves rows.
//!
//! `secure_delete` overwrites what is deleted. But when SQLite spreads the rows of a page over its
//! neighbours, the old bytes stay in the unused space of the page. No query sees them, and anyone who reads
//! the file as bytes finds them. Erased content may have been moved like this before.
//!
//! So pages with slack are found by reading the file while the writer continues. The writer then zeroes
//! their unused space, a few pages at a time.
//!
//! Unused space is not part of the database, so readers are not disturbed. But no other connection may
//! write the same page meanwhile. Therefore it happens inside a write transaction over an empty write-ahead
//! log: nothing exists that a checkpoint could move into the file. Afterwards the writer drops its page
//! cache, which still has the old bytes. Source: <https://www.sqlite.org/fileformat2.html#b_tree_pages>.

use crate::db::connection::raw_io::{HEADER_BYTES, header, read_at, write_at};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::db::connection::held::hold;

/// Bytes in one read.
const READ_BYTES: usize = 1024 * 1024;
/// Page numbers of a larger file begin with bytes that also mark a kind of page.
const PAGES_MAX: u64 = 1 << 25;
/// Source: <https://www.sqlite.org/fileformat2.html#the_lock_byte_page>.
const LOCK_BYTE: u64 = 1 << 30;

/// A database as bytes, read and written past SQLite. The thread of a removal finds pages with slack; the committer
/// opens one of its own to zero them, within its write transaction. Shares the descriptor that `held` keeps open.
#[derive(Debug)]
pub(crate) struct RawFile {
    file: Arc<File>,
    page_bytes: usize,
    usable_bytes: usize,
}

impl RawFile {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = hold(path)?;
        let header = header(&file)?;
        let page_bytes = match u16::from_be_bytes([header[16], header[17]]) {
            1 => 1 << 16,
            bytes => usize::from(bytes),
        };
        let usable_bytes = page_bytes.saturating_sub(usize::from(header[20]));
        if page_bytes < 512 || usable_bytes < 480 {
            let what = "the database's header names no page size";
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        Ok(Self {
            file,
            page_bytes,
            usable_bytes,
        })
    }

    /// The numbers of the pages whose unused space is not all zeros.
    pub(crate) fn pages_with_slack(&self) -> io::Result<Vec<u32>> {
        let pages = self.file.metadata()?.len() / self.page_bytes as u64;
        if pages >= PAGES_MAX {
            let what = "the database is too large to tell its pages apart";
            return Err(io::Error::new(io::ErrorKind::Unsupported, what));
        }
        let mut found = Vec::new();
        let mut buffer = vec![0; READ_BYTES.max(self.page_bytes)];
        let mut number = 1;
        while number <= pages {
            let count = (pages + 1 - number).min((buffer.len() / self.page_bytes) as u64);
            let bytes = usize::try_from(count).unwrap_or(0) * self.page_bytes;
            let buffer = buffer.get_mut(..bytes).unwrap_or_default();
            read_at(&self.file, buffer, (number - 1) * self.page_bytes as u64)?;
            for (page, number) in buffer.chunks_exact(self.page_bytes).zip(number..) {
                let unused = self.unused(number, page);
                let is_clean = page.get(unused).is_none_or(is_zero);
                found.extend(u32::try_from(number).ok().filter(|_| !is_clean));
            }
            number += count;
        }
        Ok(found)
    }

    /// Zeroes the unused space of these pages. The caller ensures that nothing writes to them.
    pub(crate) fn zero_slack(&self, pages: &[u32]) -> io::Result<()> {
        let mut page = vec![0; self.page_bytes];
        for &number in pages {
            let begin = u64::from(number.saturating_sub(1)) * self.page_bytes as u64;
            match read_at(&self.file, &mut page, begin) {
                // The file has become shorter.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
                result => result?,
            }
            let unused = self.unused(u64::from(number), &page);
            let zeros = vec![0; unused.len()];
            if !zeros.is_empty() {
                write_at(&self.file, &zeros, begin + unused.start as u64)?;
            }
        }
        self.file.sync_data()
    }

    /// The unused space of a page: between the list of its cells and their contents. Empty if it is not a
    /// page of a table or an index.
    fn unused(&self, number: u64, page: &[u8]) -> Range<usize> {
        let begin = if number == 1 { HEADER_BYTES } else { 0 };
        let header = page.get(begin..begin + 8).unwrap_or_default();
        let &[
            kind,
            _,
            _,
            cells_high,
            cells_low,
            content_high,
            content_low,
            _,
        ] = header
        else {
            return 0..0;
        };
        let header_bytes = match kind {
            0x02 | 0x05 => 12,
            0x0a | 0x0d => 8,
            _ => return 0..0,
        };
        let cells = usize::from(u16::from_be_bytes([cells_high, cells_low]));
        let content = match u16::from_be_bytes([content_high, content_low]) {
            0 => 1 << 16,
            content => usize::from(content),
        };
        let start = begin + header_bytes + 2 * cells;
        if number == self.map_page(number) || start > content || content > self.usable_bytes {
            return 0..0;
        }
        start..content
    }

    /// The pointer map page that describes this page and its neighbours. Source:
    /// <https://www.sqlite.org/fileformat2.html#pointer_map_or_ptrmap_pages>.
    fn map_page(&self, number: u64) -> u64 {
        let each = (self.usable_bytes / 5 + 1) as u64;
        let map = number.saturating_sub(2) / each * each + 2;
        map + u64::from(map == LOCK_BYTE / self.page_bytes as u64 + 1)
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rusqlite::params;

    use super::*;
    use crate::config::{Durability, PAGE_BYTES};
    use crate::db::DatabasePath;
    use crate::db::write::append::Appender;

    #[test]
    fn deleted_bytes_are_gone_and_all_rows_remain() {
        let folder = tempfile::tempdir().unwrap();
        let path = DatabasePath::new(&folder.path().join("audit.db")).unwrap();
        let mut appender = Appender::open(&path, Durability::Full, PAGE_BYTES).unwrap();
        let path = path.as_path();
        let mut random = fastrand::Rng::with_seed(1);
        let table = "CREATE TABLE t (name TEXT); CREATE INDEX by_name ON t (name)";
        appender.connection().execute_batch(table).unwrap();
        for _ in 0..40 {
            let transaction = appender.connection_mut().transaction().unwrap();
            for _ in 0..200 {
                let kind = ["secret", "public"][random.usize(..2)];
                let name = format!("{:08x} {kind}", random.u32(..));
                let sql = "INSERT INTO t VALUES (?1)";
                transaction.execute(sql, params![name]).unwrap();
            }
            transaction.commit().unwrap();
        }
        let delete = "DELETE FROM t WHERE name LIKE '%secret'";
        appender.connection().execute(delete, []).unwrap();
        let count = |appender: &Appender| -> i64 {
            let sql = "SELECT count(*) FROM t INDEXED BY by_name WHERE name > ''";
            let read = appender.connection().query_row(sql, [], |row| row.get(0));
            read.unwrap()
        };
        let rest = count(&appender);
        let secrets = || {
            let bytes = std::fs::read(path).unwrap();
            bytes.windows(6).filter(|text| text == b"secret").count()
        };

        // What is still in the write-ahead log is not overwritten.
        assert!(!appender.zero_slack(path, &[1]).unwrap());
        let patience = Duration::from_secs(1);
        assert!(appender.checkpoint_truncate(patience).unwrap().is_done());
        assert!(secrets() > 0, "SQLite leaves nothing any more");
        let pages = RawFile::open(path).unwrap().pages_with_slack().unwrap();
        assert!(appender.zero_slack(path, &pages).unwrap());

        assert_eq!(secrets(), 0);
        let pages = RawFile::open(path).unwrap().pages_with_slack().unwrap();
        assert_eq!(pages, [0; 0]);
        // The writer's cache is empty too: every page is written again.
        let update = "UPDATE t SET name = upper(name)";
        appender.connection().execute(update, []).unwrap();
        assert!(appender.checkpoint_truncate(patience).unwrap().is_done());
        assert_eq!(secrets(), 0);
        assert_eq!(count(&appender), rest);
        let check = "PRAGMA integrity_check";
        let sound: String = appender
            .connection()
            .query_row(check, [], |row| row.get(0))
            .unwrap();
        assert_eq!(sound, "ok");
    }
}
