//! Where lines come from: files, standard input, plain or compressed with zstd.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::error::CliError;
use super::output;
use super::progress::Progress;
use super::text::{escape, shorten};

/// Longest line that is read, in bytes. A longer one is skipped without being held in memory.
pub(crate) const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Largest window of a zstd frame, as a power of two: 128 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// How a zstd frame begins (RFC 8878, section 3.1.1).
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// How a skippable frame begins but for its first byte, which is 0x50 to 0x5f (RFC 8878, section 3.1.2). `pzstd` begins
/// its files with one.
const ZSTD_SKIPPABLE_MAGIC: [u8; 3] = [0x2a, 0x4d, 0x18];
/// Longest reason that is printed for a line, in characters.
const PROBLEM_CHARACTERS_MAX: usize = 300;
const READ_BUFFER_BYTES: usize = 128 * 1024;

/// The next item of the input.
#[derive(Debug, PartialEq, Eq)]
enum NextLine<'a> {
    /// A line, with its line break where it has one.
    Line(&'a [u8]),
    /// A line above [`LINE_BYTES_MAX`], which was skipped.
    TooLong,
    /// Nothing.
    End,
}

/// The lines of one file.
pub(crate) struct Source {
    path: PathBuf,
    lines: Lines<Box<dyn BufRead>>,
}

/// Whether a file can be read, without reading it.
///
/// # Errors
///
/// It cannot; or it is a folder.
pub(crate) fn check(path: &Path) -> Result<(), CliError> {
    if is_stdin(path) {
        return Ok(());
    }
    let metadata = std::fs::metadata(path).map_err(|source| unreadable(path, source))?;
    if metadata.is_dir() {
        let source = io::Error::from(io::ErrorKind::IsADirectory);
        return Err(unreadable(path, source));
    }
    // A FIFO is not opened here: that would consume what its writer sends.
    if metadata.is_file() {
        File::open(path).map_err(|source| unreadable(path, source))?;
    }
    Ok(())
}

/// Reports a problem with a line. The problem may quote the line, which may be long and hostile: so it is escaped
/// and cut.
pub(crate) fn say_bad_line(progress: &Progress, path: &Path, number: u64, problem: &str) {
    let path = path.to_string_lossy();
    let problem = shorten(problem, PROBLEM_CHARACTERS_MAX);
    let line = format!("{}:{number}: {}", escape(&path), escape(&problem));
    progress.suspend(|| output::say_raw(&line));
}

/// Opens a file that is read as a whole: a FIFO would wait for a writer, and a device
/// may never end.
///
/// # Errors
///
/// It cannot be opened, or is not a regular file.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    let file = match std::fs::metadata(path)?.is_file() {
        true => Some(File::open(path)?),
        false => None,
    };
    file.ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a regular file; copy what it gives into one",
        )
    })
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn unreadable(path: &Path, source: io::Error) -> CliError {
    CliError::File {
        path: path.to_owned(),
        what: "read",
        source,
    }
}

impl Source {
    /// Opens a file, or standard input for `-`.
    ///
    /// # Errors
    ///
    /// The file cannot be opened or read.
    pub(crate) fn open(path: &Path, progress: &Progress) -> Result<Self, CliError> {
        let opened = if is_stdin(path) {
            reader(progress.reading(None, io::stdin()))
        } else {
            File::open(path).and_then(|file| {
                let length = file.metadata()?.len();
                reader(progress.reading(Some(length), file))
            })
        };
        Ok(Self {
            path: path.to_owned(),
            lines: Lines::new(
                opened.map_err(|source| unreadable(path, source))?,
                LINE_BYTES_MAX,
            ),
        })
    }

    /// Visits each line that is not blank, with its number from 1 on, or with the problem of a line that
    /// cannot be read.
    ///
    /// # Errors
    ///
    /// The file cannot be read further, or what is compressed is damaged; what `visit` returns.
    pub(crate) fn each_line(
        &mut self,
        mut visit: impl FnMut(u64, Result<&[u8], String>) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        let mut number = 0_u64;
        loop {
            number = number.saturating_add(1);
            let path = &self.path;
            match self
                .lines
                .next()
                .map_err(|source| unreadable(path, source))?
            {
                NextLine::End => return Ok(()),
                NextLine::TooLong => {
                    let problem = format!("is longer than {LINE_BYTES_MAX} bytes; it was skipped");
                    visit(number, Err(problem))?;
                }
                NextLine::Line(line) if line.trim_ascii().is_empty() => {}
                NextLine::Line(line) => visit(number, Ok(line))?,
            }
        }
    }
}

/// Decompresses what is compressed, recognised by its first bytes.
fn reader(source: impl Read + 'static) -> io::Result<Box<dyn BufRead>> {
    let mut source = BufReader::with_capacity(READ_BUFFER_BYTES, source);
    // A pipe may deliver fewer than four bytes at first; zstd's programs never do.
    if !is_zstd(source.fill_buf()?) {
        return Ok(Box::new(source));
    }
    let mut decoder = zstd::stream::read::Decoder::with_buffer(source)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
    Ok(Box::new(BufReader::with_capacity(
        READ_BUFFER_BYTES,
        decoder,
    )))
}

fn is_zstd(bytes: &[u8]) -> bool {
    match bytes {
        [0x50..=0x5f, rest @ ..] => rest.starts_with(&ZSTD_SKIPPABLE_MAGIC),
        _ => bytes.starts_with(&ZSTD_MAGIC),
    }
}

/// Splits into lines of bounded length.
struct Lines<R> {
    reader: R,
    line: Vec<u8>,
    bytes_max: usize,
}

impl<R: BufRead> Lines<R> {
    fn new(reader: R, bytes_max: usize) -> Self {
        Self {
            reader,
            line: Vec::new(),
            bytes_max,
        }
    }

    fn next(&mut self) -> io::Result<NextLine<'_>> {
        self.line.clear();
        // One more byte for the line break, which does not count.
        let limit = u64::try_from(self.bytes_max).unwrap_or(u64::MAX);
        let limit = limit.saturating_add(1);
        (&mut self.reader)
            .take(limit)
            .read_until(b'\n', &mut self.line)?;
        if self.line.is_empty() {
            return Ok(NextLine::End);
        }
        if self.line.len() <= self.bytes_max || self.line.ends_with(b"\n") {
            return Ok(NextLine::Line(&self.line));
        }
        self.line.clear();
        self.reader.skip_until(b'\n')?;
        Ok(NextLine::TooLong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded_and_a_long_one_is_skipped_as_a_whole() {
        let text = b"1234\n12345\n123456789\n\n1234\n12345";
        // A tiny buffer, so that lines cross its edges.
        let mut lines = Lines::new(BufReader::with_capacity(3, &text[..]), 4);
        let expected = [
            NextLine::Line(b"1234\n"),
            NextLine::TooLong,
            NextLine::TooLong,
            NextLine::Line(b"\n"),
            NextLine::Line(b"1234\n"),
            NextLine::TooLong,
            NextLine::End,
            NextLine::End,
        ];
        for next in expected {
            assert_eq!(lines.next().unwrap(), next);
        }
        assert!(lines.line.capacity() < 64);
    }

    #[test]
    fn zstd_is_recognised_by_its_content() {
        let text = b"one\ntwo\n";
        let packed = zstd::encode_all(&text[..], 1).unwrap();
        // As pzstd writes them: before each frame one that has its length.
        let part = |text: &[u8]| {
            let frame = zstd::encode_all(text, 1).unwrap();
            let length = u32::try_from(frame.len()).unwrap().to_le_bytes();
            [&[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0], &length[..], &frame].concat()
        };
        let parts = [part(&text[..4]), part(&text[4..])].concat();
        let last_kind = [&[0x5f], &part(text)[1..]].concat();
        for bytes in [text.to_vec(), packed, parts, last_kind] {
            let mut unpacked = Vec::new();
            let mut reader = reader(io::Cursor::new(bytes)).unwrap();
            reader.read_to_end(&mut unpacked).unwrap();
            assert_eq!(unpacked, text);
        }
    }
}
