//! Arguments of the benchmarks, read by hand: `cargo bench` passes its own along.

use std::iter::{Peekable, Skip};
use std::path::PathBuf;

/// What is left of the command line.
pub type Words = Peekable<Skip<std::env::Args>>;

#[derive(Debug, Clone)]
pub struct Arguments {
    /// JSON Lines of finished exchanges, as `auditlite record` takes them.
    pub corpus: Vec<PathBuf>,
    /// Most lifecycles in memory.
    pub limit: usize,
    /// Seconds of each measurement.
    pub seconds: f64,
    /// A smoke run: everything once, briefly.
    pub smoke: bool,
}

impl Arguments {
    pub fn read(what: &str) -> Self {
        Self::read_with(what, 5.0, "", |_, _| false)
    }

    /// `more` reads options of its own: it gets the option and the words behind it, and says
    /// whether it knows the option. `usage` describes them.
    pub fn read_with(
        what: &str,
        seconds: f64,
        usage: &str,
        mut more: impl FnMut(&str, &mut Words) -> bool,
    ) -> Self {
        let mut arguments = Self {
            corpus: Vec::new(),
            limit: 4000,
            seconds,
            smoke: false,
        };
        let mut words = std::env::args().skip(1).peekable();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--corpus" => {
                    while let Some(path) = words.next_if(|word| !word.starts_with("--")) {
                        arguments.corpus.push(PathBuf::from(path));
                    }
                }
                "--limit" => arguments.limit = number(&word, words.next()),
                "--seconds" => arguments.seconds = number(&word, words.next()),
                "--smoke" => {
                    arguments.smoke = true;
                    arguments.limit = 200;
                    arguments.seconds = 0.3;
                }
                "--bench" => {} // cargo's own
                option if more(option, &mut words) => {}
                _ => {
                    eprintln!(
                        "{what}\n\nusage: cargo bench --bench NAME -- [--corpus FILE…] [--limit N] [--seconds S] [--smoke]{usage}"
                    );
                    std::process::exit(2);
                }
            }
        }
        arguments
    }
}

fn number<T: std::str::FromStr>(option: &str, value: Option<String>) -> T {
    value
        .and_then(|value| value.parse().ok())
        .unwrap_or_else(|| {
            eprintln!("{option} takes a number");
            std::process::exit(2);
        })
}
