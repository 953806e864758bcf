//! Long output on a terminal goes through a pager.

use std::io::{self, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

use super::output;

/// Lines of a terminal whose size is not known.
const LINES: usize = 24;
/// Most output that is held back until it is known whether a pager is needed.
const HELD_BYTES_MAX: usize = 256 * 1024;

/// Standard output, through a pager once it is longer than the terminal is high.
///
/// The pager is `AUDITLITE_PAGER`, else `PAGER`, else `less`; empty or `cat`: none.
pub(crate) struct Paged<W: Write> {
    plain: W,
    state: State,
}

enum State {
    /// Nothing is paged.
    Plain,
    /// Held back until it is known whether it is long.
    Held { bytes: Vec<u8>, lines: usize },
    Pager {
        child: Child,
        input: Option<ChildStdin>,
    },
}

impl<W: Write> Paged<W> {
    /// `wants_pager`: the output is for reading. What is no terminal gets none.
    pub(crate) fn new(plain: W, wants_pager: bool) -> Self {
        let state = if wants_pager && output::is_terminal() && command().is_some() {
            State::Held {
                bytes: Vec::new(),
                lines: height(),
            }
        } else {
            State::Plain
        };
        Self { plain, state }
    }

    /// Writes what is held back, and waits until the pager is left.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.state, State::Plain) {
            State::Plain => {}
            State::Held { bytes, .. } => self.plain.write_all(&bytes)?,
            State::Pager { mut child, input } => {
                drop(input);
                child.wait()?;
            }
        }
        self.plain.flush()
    }
}

impl<W: Write> Write for Paged<W> {
    fn write(&mut self, new: &[u8]) -> io::Result<usize> {
        match &mut self.state {
            State::Plain => return self.plain.write(new),
            State::Pager { input, .. } => {
                return input
                    .as_mut()
                    .map_or(Ok(new.len()), |input| input.write(new));
            }
            State::Held { bytes, lines } => {
                bytes.extend_from_slice(new);
                let is_long = bytes.len() > HELD_BYTES_MAX
                    || bytes.iter().filter(|byte| **byte == b'\n').count() >= *lines;
                if !is_long {
                    return Ok(new.len());
                }
            }
        }
        let State::Held { bytes, .. } = std::mem::replace(&mut self.state, State::Plain) else {
            return Ok(new.len());
        };
        match spawn() {
            Some(mut child) => {
                let mut input = child.stdin.take();
                let written = input
                    .as_mut()
                    .map_or(Ok(()), |input| input.write_all(&bytes));
                self.state = State::Pager { child, input };
                written?;
            }
            // No pager could be started: print without one.
            None => self.plain.write_all(&bytes)?,
        }
        Ok(new.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.state {
            State::Plain => self.plain.flush(),
            State::Held { .. } => Ok(()),
            State::Pager { input, .. } => input.as_mut().map_or(Ok(()), Write::flush),
        }
    }
}

fn height() -> usize {
    terminal_size::terminal_size().map_or(LINES, |(_, height)| usize::from(height.0))
}

/// The pager's program and arguments.
fn command() -> Option<Vec<String>> {
    let set = |name| std::env::var(name).ok();
    let line = set("AUDITLITE_PAGER")
        .or_else(|| set("PAGER"))
        .unwrap_or_else(|| "less".to_owned());
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let is_none = words.first().is_none_or(|program| program == "cat");
    (!is_none).then_some(words)
}

fn spawn() -> Option<Child> {
    let words = command()?;
    let (program, arguments) = words.split_first()?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped());
    // As `git` sets it: exit if the text fits the screen, keep colours, leave the text on the screen.
    if std::env::var_os("LESS").is_none() {
        command.env("LESS", "FRX");
    }
    command.spawn().ok()
}
