//! The progress bar: on standard error, and only where that is a terminal.

use std::io::{self, IsTerminal, Read};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Progress over bytes read, whatever they decompress to.
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar; invisible if `is_quiet`, or if standard error is not a terminal.
    pub(crate) fn new(is_quiet: bool) -> Self {
        if is_quiet || !io::stderr().is_terminal() {
            return Self {
                bar: ProgressBar::hidden(),
            };
        }
        let bar = ProgressBar::no_length();
        let template = "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {msg} {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar }
    }

    /// Counts what is read from `reader`, a file of `length` bytes where that is known.
    pub(crate) fn reading<R: Read>(&self, length: Option<u64>, reader: R) -> impl Read + use<R> {
        match length {
            Some(length) => {
                self.bar.reset();
                self.bar.set_length(length);
            }
            None => self.bar.unset_length(),
        }
        self.bar.wrap_read(reader)
    }

    /// Says how many requests are recorded.
    pub(crate) fn recorded(&self, requests: u64) {
        if !self.bar.is_hidden() && requests.is_multiple_of(64) {
            self.bar.set_message(format!("{requests} requests"));
        }
    }

    /// Prints a line above the bar.
    pub(crate) fn suspend(&self, print: impl FnOnce()) {
        self.bar.suspend(print);
    }

    /// Removes the bar.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
