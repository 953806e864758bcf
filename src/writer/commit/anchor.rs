//! The anchor file: checkpoints kept in another place than the database.
//!
//! A database alone cannot prove that its end was not cut off, or that it is not an older copy. The file is only ever
//! appended to, so that it can be append-only (`chattr +a`, a share of another machine).

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::merkle::{Checkpoint, Notes};
use crate::regular_file;

/// Ends a note in the file; missing if a crash tore the last one.
const END: &[u8] = b"\n\n";
/// Ends a torn note, so that the next one stands on its own.
const REPAIR: &[u8] = b"\n\n\n";
/// What an opening reads of a long file first: some thousand notes.
const TAIL_BYTES: u64 = 1 << 20;

#[derive(Debug)]
pub(crate) struct AnchorFile {
    path: PathBuf,
}

impl AnchorFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The note with the largest size of this log, among those near the end of the file; if none of these is about this
    /// log, among all. `None`: there is none, or no file.
    pub(crate) fn latest(&self, origin: &str) -> io::Result<Option<Checkpoint>> {
        let mut file = match regular_file::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let length = file.metadata()?.len();
        let mut starts = vec![length.saturating_sub(TAIL_BYTES), 0];
        starts.dedup();
        for start in starts {
            file.seek(SeekFrom::Start(start))?;
            let mut latest: Option<Checkpoint> = None;
            for note in Notes::new(BufReader::new(&mut file)) {
                // Torn notes, and the one in which reading began, are skipped.
                let Ok((checkpoint, _)) = Checkpoint::parse(&note?) else {
                    continue;
                };
                let is_later = latest
                    .as_ref()
                    .is_none_or(|latest| checkpoint.size >= latest.size);
                if checkpoint.origin == origin && is_later {
                    latest = Some(checkpoint);
                }
            }
            if latest.is_some() {
                return Ok(latest);
            }
        }
        Ok(None)
    }

    /// Appends a note and waits until it is on the disk. Opens the file each time: it may have been moved away in
    /// between, or its folder may have been missing.
    pub(crate) fn append(&self, note: &str) -> io::Result<()> {
        // Writing to a FIFO would wait for a reader, and recording with it.
        let is_new = match std::fs::metadata(&self.path) {
            Ok(metadata) => {
                regular_file::check(&metadata)?;
                false
            }
            Err(_) => true,
        };
        let mut options = OpenOptions::new();
        options.create(true).read(true).append(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;
            options.mode(0o600);
        }
        let mut file = options.open(&self.path)?;
        let mut record = Vec::new();
        if !ends_well(&mut file)? {
            record.extend_from_slice(REPAIR);
        }
        record.extend_from_slice(note.as_bytes());
        record.push(b'\n');
        file.write_all(&record)?;
        file.sync_all()?;
        if is_new && let Some(folder) = self.path.parent() {
            // The file's entry in its folder is part of what must survive.
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }
}

fn ends_well(file: &mut File) -> io::Result<bool> {
    let length = file.metadata()?.len();
    if length == 0 {
        return Ok(true);
    }
    let mut tail = [0; 2];
    if length < 2 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-2))?;
    file.read_exact(&mut tail)?;
    Ok(tail == END)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Digest;

    #[test]
    fn a_torn_note_does_not_spoil_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("anchors");
        let file = AnchorFile::new(path.clone());
        let checkpoint = Checkpoint {
            origin: "auditlite/x".to_owned(),
            size: 7,
            root: Digest([1; 32]),
            at: Some(5),
        };
        let note = checkpoint.write(None);
        file.append(&note).unwrap();
        for torn in 1..note.len() {
            let mut raw = OpenOptions::new().append(true).open(&path).unwrap();
            raw.write_all(&note.as_bytes()[..torn]).unwrap();
            file.append(&note).unwrap();
        }
        let notes = Notes::new(BufReader::new(File::open(&path).unwrap()));
        let whole = notes
            .filter(|read| Checkpoint::parse(read.as_ref().unwrap()).is_ok())
            .count();
        assert!(whole >= note.len(), "{whole} of {}", note.len());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }
}
