//! What the tests share.

use std::path::PathBuf;
use std::time::Duration;

use auditlite::{Store, StoreBuilder};
use tempfile::TempDir;

/// Long enough for any machine; tests never sleep to be right.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A folder of its own for each test, and the path of a store in it.
pub struct Folder {
    folder: TempDir,
}

impl Folder {
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("audit.db")
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn builder(&self) -> StoreBuilder {
        let builder = Store::builder(self.path());
        match std::env::var("AUDITLITE_TEST_PAGE_BYTES") {
            Ok(bytes) => builder.page_bytes(bytes.parse().unwrap()),
            Err(_) => builder,
        }
    }

    pub fn open(&self) -> Store {
        self.builder().open().unwrap()
    }
}

/// Bytes of a page of a database file. Source: <https://www.sqlite.org/fileformat2.html#page_size>.
pub fn page_bytes(file: &[u8]) -> usize {
    usize::from(u16::from_be_bytes([file[16], file[17]]))
}

/// Closes a store that must close in order.
pub fn close(store: Store) -> auditlite::CloseReport {
    let report = store.close(PATIENCE);
    assert!(report.is_complete, "{report:?}");
    report
}

/// Records one finished request.
pub fn record(store: &Store, id: &str, request: &str, response: &str) {
    let context = auditlite::RequestContext::new("openai.chat").request_id(id);
    let audit = store.recorder().open(context, request.to_owned()).unwrap();
    audit
        .complete(auditlite::Completion::new().response_body(response.to_owned()))
        .unwrap();
}

/// The doctor's findings; the file must be closed or flushed.
pub fn findings(folder: &Folder) -> Vec<String> {
    auditlite::ReadOnlyStore::open(folder.path())
        .unwrap()
        .doctor()
        .unwrap()
        .findings
}

/// A plain connection, for what the library does not do: stall, damage, look underneath.
pub fn sqlite(folder: &Folder) -> rusqlite::Connection {
    rusqlite::Connection::open(folder.path()).unwrap()
}

/// How many locks this process has on the file; those of SQLite go when any descriptor of it is closed.
///
/// Asked of each descriptor: the kernel lists one file's locks at once. `/proc/locks` lists those of all files
/// in parts, and leaves some out or repeats them while others lock and unlock.
#[cfg(target_os = "linux")]
pub fn sqlite_locks(path: &std::path::Path) -> usize {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    let file = |path: &std::path::Path| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.dev(), metadata.ino()))
    };
    let wanted = file(path).unwrap();
    let mut locks = 0;
    for descriptor in fs::read_dir("/proc/self/fd").unwrap() {
        let descriptor = descriptor.unwrap();
        if file(&descriptor.path()) == Some(wanted) {
            // Another thread may have closed it.
            let info = std::path::Path::new("/proc/self/fdinfo").join(descriptor.file_name());
            let info = fs::read_to_string(info).unwrap_or_default();
            locks += info.lines().filter(|line| line.contains("POSIX")).count();
        }
    }
    locks
}

#[cfg(not(target_os = "linux"))]
pub fn sqlite_locks(_: &std::path::Path) -> usize {
    0
}
