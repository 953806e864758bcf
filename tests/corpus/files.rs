//! Where recorded traffic is, and how its files are read.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) fn corpus() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus");
    let path = std::env::var_os("AUDITLITE_CORPUS").map_or(beside, PathBuf::from);
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("SKIPPED: no recorded traffic; AUDITLITE_CORPUS names its folder (docs/traffic.md)");
    None
}

pub(crate) fn is_full() -> bool {
    std::env::var_os("AUDITLITE_CORPUS_FULL").is_some()
}

/// Expands a file of trajectories into `folder` by the script beside it, at most so many conversations of it.
pub(crate) fn expand(corpus: &Path, name: &str, limit: usize, folder: &Path) -> PathBuf {
    let path = corpus.join(name);
    let expanded = folder.join(name.trim_end_matches(".zst"));
    let plain = folder.join("plain").join(name.trim_end_matches(".zst"));
    std::fs::create_dir_all(plain.parent().unwrap()).unwrap();
    // expand.py reads plain files everywhere; zstd it does not find on every machine.
    let mut decoder = zstd::stream::read::Decoder::new(File::open(&path).unwrap()).unwrap();
    decoder.window_log_max(27).unwrap();
    std::io::copy(&mut decoder, &mut File::create(&plain).unwrap()).unwrap();
    let done = Command::new("python3")
        .arg(corpus.join("expand.py"))
        .arg(&plain)
        .args(["--limit", &limit.to_string(), "--out"])
        .arg(&expanded)
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    std::fs::remove_file(plain).unwrap();
    expanded
}

pub(crate) fn lines(path: &Path) -> Box<dyn Iterator<Item = String>> {
    let file = File::open(path).unwrap();
    let reader: Box<dyn BufRead> = if path.extension().is_some_and(|end| end == "zst") {
        let mut decoder = zstd::stream::read::Decoder::new(file).unwrap();
        decoder.window_log_max(27).unwrap();
        Box::new(BufReader::new(decoder))
    } else {
        Box::new(BufReader::new(file))
    };
    Box::new(reader.lines().map(Result::unwrap))
}
