//! A store, and what a crash would leave of it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use auditlite::{
    ReadOnlyStore, RequestContext, RequestHandle, RequestRecord, Store, StoreBuilder,
    VerifyOptions, WireProtocol,
};
use tempfile::TempDir;

use crate::random::Random;

pub const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of a piece in these tests.
pub const PIECE: usize = 4096;

pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> PathBuf {
        self.0.path().join("audit.db")
    }

    /// Pieces by their size alone.
    pub fn builder(&self) -> StoreBuilder {
        Store::builder(self.path()).response_pieces(Duration::MAX, PIECE)
    }

    /// What would be there if the process died now: the files as they are.
    pub fn crash_image(&self) -> Self {
        let image = Self::new();
        for name in ["audit.db", "audit.db-wal"] {
            let from = self.0.path().join(name);
            if from.exists() {
                std::fs::copy(from, image.0.path().join(name)).unwrap();
            }
        }
        image
    }

    /// The first of these texts that is in any of the store's files.
    pub fn find<'t>(&self, texts: impl Iterator<Item = &'t [u8]>) -> Option<&'t [u8]> {
        find(self.0.path(), texts)
    }

    pub fn sqlite(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.path()).unwrap()
    }

    /// Rows of pieces.
    pub fn pieces(&self) -> u64 {
        let sql = "SELECT count(*) FROM response_pieces";
        let count: i64 = self.sqlite().query_row(sql, [], |row| row.get(0)).unwrap();
        count.cast_unsigned()
    }

    pub fn open(&self) -> Store {
        self.builder().open().unwrap()
    }

    /// The file is as it should be.
    pub fn assert_sound(&self, what: &str) {
        assert_eq!(self.findings(), [""; 0], "{what}");
    }

    pub fn findings(&self) -> Vec<String> {
        let store = ReadOnlyStore::open(self.path()).unwrap();
        let verified = store.verify(&VerifyOptions::default()).unwrap();
        let found = verified.findings.into_iter().map(|finding| finding.what);
        let mut found: Vec<String> = found.collect();
        found.extend(store.doctor().unwrap().findings);
        found
    }

    pub fn request(&self, id: &str) -> RequestRecord {
        let store = ReadOnlyStore::open(self.path()).unwrap();
        store.reader().get(id).unwrap()
    }

    /// What was written of a response whose request has not ended.
    pub fn so_far(&self, id: &str) -> Option<Vec<u8>> {
        let reader = ReadOnlyStore::open(self.path()).unwrap().reader();
        let request = reader.get(id).unwrap();
        reader
            .response_so_far(&request)
            .unwrap()
            .map(|seen| seen.bytes)
    }
}

/// Texts of at least 12 bytes, which are looked for by their first eight.
pub fn find<'t>(folder: &Path, texts: impl Iterator<Item = &'t [u8]>) -> Option<&'t [u8]> {
    let mut wanted: HashMap<[u8; 8], Vec<&[u8]>> = HashMap::new();
    for text in texts.filter(|text| text.len() >= 12) {
        let start = text[..8].try_into().unwrap();
        wanted.entry(start).or_default().push(text);
    }
    assert!(!wanted.is_empty());
    std::fs::read_dir(folder).unwrap().find_map(|entry| {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let mut places = bytes.windows(8).enumerate();
        places.find_map(|(place, window)| {
            let texts = wanted.get(window)?.iter();
            texts.copied().find(|text| bytes[place..].starts_with(text))
        })
    })
}

/// Places all over a body that would be found if a part of it were still there.
pub fn marks(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.chunks(64).map(|part| &part[..16.min(part.len())])
}

pub fn close(store: Store) {
    let report = store.close(PATIENCE);
    assert!(report.is_complete, "{report:?}");
}

/// A request whose response will be streamed.
pub fn begin(store: &Store, id: &str) -> RequestHandle {
    let context = RequestContext::new(WireProtocol::Unknown).request_id(id);
    store.recorder().open(context, "{}").unwrap()
}

/// Bytes that cannot be packed, known from their name: where a file has them, a search finds them.
pub fn noise(name: &str, length: usize) -> Vec<u8> {
    let seed = name.bytes().fold(7_u64, |seed, byte| {
        seed.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte)
    });
    let mut random = Random(seed);
    let bytes = (0..length.div_ceil(8)).flat_map(|_| random.next().to_le_bytes());
    bytes.take(length).collect()
}
