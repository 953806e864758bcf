//! Pages of a new file: as asked for, and whatever works on a file goes by the size that its pages have.

use auditlite::{EraseSelector, OpenError, Retention, Store, StoreBuilder};

use crate::removal::assert_clean;
use crate::support::{Folder, PATIENCE, close, page_bytes, record};

fn pages_of(folder: &Folder) -> usize {
    page_bytes(&std::fs::read(folder.path()).unwrap())
}

/// Not as the other tests: these choose the size themselves.
fn builder(folder: &Folder) -> StoreBuilder {
    Store::builder(folder.path())
}

#[test]
fn a_new_file_has_the_pages_that_are_asked_for_and_keeps_them() {
    for (bytes, other) in [(4096, 8192), (8192, 4096)] {
        let folder = Folder::new();
        for asked in [bytes, other] {
            close(builder(&folder).page_bytes(asked).open().unwrap());
            assert_eq!(pages_of(&folder), bytes as usize);
        }
        assert_clean(&folder);
    }
}

#[test]
fn pages_are_small_by_default() {
    let folder = Folder::new();
    close(builder(&folder).open().unwrap());
    assert_eq!(pages_of(&folder), 4096);
}

#[test]
fn other_sizes_are_refused_before_a_file_is_made() {
    for bytes in [0, 512, 2048, 4097, 16_384, 65_536] {
        let folder = Folder::new();
        let error = builder(&folder).page_bytes(bytes).open().unwrap_err();
        assert!(matches!(error, OpenError::Config(_)), "{error}");
        assert!(!folder.path().exists());
    }
}

/// What counts in pages must count in those of the file: what a removal frees, and how long the log is.
#[test]
fn what_is_freed_and_what_is_logged_is_stated_in_bytes() {
    for bytes in [4096, 8192] {
        let folder = Folder::new();
        let store = builder(&folder).page_bytes(bytes).open().unwrap();
        for number in 0..40 {
            let body = format!("{{\"secret\":\"zz{}\"}}", fill(number));
            record(&store, &format!("r-{number}"), &body, "{}");
        }
        // Tried again where the idle writer has emptied the log in between.
        let is_stated = (40..60).any(|number| {
            record(&store, &format!("r-{number}"), "{}", "{}");
            store.flush(PATIENCE).unwrap();
            let logged = std::fs::metadata(folder.join("audit.db-wal")).unwrap();
            // Frames have a header of 24 bytes each, the file one of 32.
            let pages = logged.len().saturating_sub(32) / u64::from(bytes + 24);
            pages > 0 && store.health().wal_bytes == pages * u64::from(bytes)
        });
        assert!(is_stated, "{:?}", store.health());
        let selector = EraseSelector::Request("r-1".to_owned());
        assert!(store.erase(&selector, "test").unwrap().is_fully_erased);
        // All is in the file now, and its log empty.
        let before = std::fs::metadata(folder.path()).unwrap().len();
        let report = store.prune(&Retention::new().size_bytes_max(1)).unwrap();
        assert!(report.payloads > 0, "{report:?}");
        close(store);
        let after = std::fs::metadata(folder.path()).unwrap().len();
        // The event of the closing may have taken pages again.
        let difference = report.freed_bytes.abs_diff(before - after);
        assert!(difference <= 8 * u64::from(bytes), "{report:?}");
        assert!(report.freed_bytes > 20 * 9_000, "{report:?}");
        assert_clean(&folder);
    }
}

/// Some 10 KB that do not compress to much less.
fn fill(seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        format!("{state:016x}")
    };
    (0..1250).map(|_| next()).collect()
}
