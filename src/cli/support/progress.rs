//! The progress bar: on standard error, and only where that is a terminal.

use std::io::{self, IsTerminal, Read};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::format;

/// Progress over bytes read, whatever they decompress to.
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar; invisible if `is_quiet`, or if standard error is not a terminal.
    pub(crate) fn new(is_quiet: bool) -> Self {
        let template = "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {msg} {eta}";
        Self::with(is_quiet, template)
    }

    /// A bar over the events that are indexed.
    pub(crate) fn indexing() -> Self {
        let template =
            "building the search index {wide_bar} {human_pos}/{human_len} events {msg} {eta}";
        Self::with(false, template)
    }

    fn with(is_quiet: bool, template: &str) -> Self {
        if is_quiet || !io::stderr().is_terminal() {
            return Self {
                bar: ProgressBar::hidden(),
            };
        }
        let bar = ProgressBar::no_length();
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

    /// Says how many of the events are indexed, and about how much all of them will add to the file, by what these
    /// have added.
    pub(crate) fn indexed(&self, events: u64, total: u64, bytes_added: u64) {
        if self.bar.is_hidden() {
            return;
        }
        self.bar.set_length(total);
        self.bar.set_position(events);
        if let Some(bytes) = bytes_in_total(events, total, bytes_added) {
            self.bar
                .set_message(format!("adds about {}", format::bytes(bytes)));
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

/// `None`: nothing is indexed yet.
fn bytes_in_total(events: u64, total: u64, bytes_added: u64) -> Option<u64> {
    let bytes = u128::from(bytes_added)
        .checked_mul(u128::from(total))?
        .checked_div(u128::from(events))?;
    u64::try_from(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_grows_with_what_is_indexed() {
        assert_eq!(bytes_in_total(0, 10, 0), None);
        assert_eq!(bytes_in_total(5, 10, 700), Some(1400));
        assert_eq!(bytes_in_total(10, 10, 700), Some(700));
        assert_eq!(bytes_in_total(1, u64::MAX, u64::MAX), None);
    }
}
