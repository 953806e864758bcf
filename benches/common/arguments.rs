//! Arguments of the benchmarks, read by hand: `cargo bench` passes its own along.

use std::path::PathBuf;

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
        let mut arguments = Self {
            corpus: Vec::new(),
            limit: 4000,
            seconds: 5.0,
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
                _ => {
                    eprintln!(
                        "{what}\n\nusage: cargo bench --bench NAME -- [--corpus FILE…] [--limit N] [--seconds S] [--smoke]"
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
