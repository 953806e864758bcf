//! auditlite compared with what a gateway would write otherwise: one run, the same traffic, the same machine.
//!
//! `cargo bench --bench side_by_side -- --corpus FILE…`
//!
//! Each measurement is a process of its own. The subjects take turns over three rounds, so that a slow
//! spell of the machine meets all of them; the median round is reported. Memory is measured in a fourth
//! round, in which every lifecycle brings a copy of its bodies, as from a socket. The time runs until everything that was handed
//! over is committed, or written and flushed. Files lie in the temporary folder (`TMPDIR`): a file
//! system in memory there would make every sync free.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    missing_docs,
    missing_debug_implementations
)]

#[path = "../common/mod.rs"]
mod common;

mod bars;
mod child;
mod edge;
mod gateway;
mod growth;
mod rate;
mod report;
mod rounds;
mod subjects;

use std::io::IsTerminal;
use std::process::Command;
use std::time::Instant;

use common::arguments::Arguments;
use common::traffic;
use gateway::Bodies;
use growth::Scale;
use report::Figures;

/// Byte budget of every auditlite store here: the default, in MiB.
const BYTE_BUDGET_MIB: usize = 64;
const ROUNDS: usize = 3;
/// Seconds in which each measurement hands over traffic; what is queued then is added.
const SECONDS: f64 = 1.5;
const SECONDS_SMOKE: f64 = 0.1;
const CONVERSATIONS: usize = 8;
const RATE: &str = "lifecycles_per_s";
const MEMORY: &str = "peak_memory_mib";

const USAGE: &str = "
       [--conversations N [--turns T [--past P]]] [--rate R [--body-bytes N]] [--own-bodies] [--subjects A,B…]
       [--scale small|full] [--edge]

Without one of the last three: all subjects and the small scale. With some: only what is named.
  --conversations  that each of the two producers has going at once (8); with --turns, how many different ones
              both have going together
  --turns     that each of them has, from the end of a recorded one
  --past      that the file holds already, one turn of each, before it is opened for the measurement (auditlite only)
  --own-bodies  every lifecycle brings a copy of its bodies in all rounds, not in the memory round only
  --rate      lifecycles a second, each of half a second, in place of as many as possible: what auditlite and its
              profile for edge boxes write to the disk, how often they sync, and how long a waited receipt takes
  --body-bytes  generated bodies of this length, each of its own, in place of a corpus
  --subjects  of auditlite auditlite_told auditlite_extracting auditlite_shed commit_full commit_normal
              json_log json_log_bounded jsonl jsonl_zstd ceiling; at a rate of auditlite auditlite_large_pages
              auditlite_edge
  --scale     cost and reads with 10 k and 100 k requests in the file (small), or 100 k, 1 M and 10 M (full)
  --edge      idle memory, one core, binary size";

struct Options {
    arguments: Arguments,
    /// Conversations that each producer has going at once.
    conversations: usize,
    turns: Option<usize>,
    past: usize,
    rate: Option<f64>,
    /// Of generated bodies, at a rate.
    body_bytes: Option<usize>,
    bodies: Bodies,
    subjects: Vec<String>,
    scale: Option<Scale>,
    edge: bool,
    /// This process takes one measurement: which.
    child: Option<String>,
}

impl Options {
    fn read() -> Self {
        let (mut subjects, mut scale, mut edge, mut child) = (Vec::new(), None, false, None);
        let mut conversations = CONVERSATIONS;
        let (mut turns, mut past) = (None, 0);
        let (mut rate, mut body_bytes) = (None, None);
        let mut bodies = Bodies::Shared;
        let mut arguments = Arguments::read_with(
            "auditlite beside what a gateway would write otherwise.",
            SECONDS,
            USAGE,
            |option, words| match option {
                "--subjects" => {
                    let list = words.next().unwrap_or_default();
                    subjects = list.split(',').map(str::to_owned).collect();
                    subjects.iter().all(|subject| {
                        let subject = subject.as_str();
                        subjects::ALL.contains(&subject) || rate::SUBJECTS.contains(&subject)
                    })
                }
                "--conversations" => {
                    let count = words.next().and_then(|word| word.parse().ok());
                    conversations = count.unwrap_or(0);
                    conversations > 0
                }
                "--turns" => {
                    turns = words.next().and_then(|word| word.parse().ok());
                    turns.is_some_and(|turns| turns > 0)
                }
                "--past" => {
                    past = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
                    past > 0
                }
                "--rate" => {
                    rate = words.next().and_then(|word| word.parse().ok());
                    rate.is_some_and(|rate| rate > 0.0)
                }
                "--body-bytes" => {
                    body_bytes = words.next().and_then(|word| word.parse().ok());
                    body_bytes.is_some()
                }
                "--scale" => {
                    scale = words.next().and_then(|word| Scale::from_name(&word));
                    scale.is_some()
                }
                "--own-bodies" => {
                    bodies = Bodies::Own;
                    true
                }
                "--edge" => {
                    edge = true;
                    true
                }
                "--child" => {
                    child = words.next();
                    child.is_some()
                }
                _ => false,
            },
        );
        if rate.is_some() && subjects.is_empty() {
            subjects = rate::SUBJECTS.map(str::to_owned).to_vec();
        }
        if subjects.is_empty() && scale.is_none() && !edge {
            subjects = subjects::ALL.map(str::to_owned).to_vec();
            scale = Some(Scale::Small);
            edge = arguments.smoke;
        }
        if arguments.smoke {
            arguments.seconds = SECONDS_SMOKE;
        }
        Self {
            arguments,
            conversations,
            turns,
            past,
            rate,
            body_bytes,
            bodies,
            subjects,
            scale,
            edge,
            child,
        }
    }

    /// Many different conversations, where they are asked for.
    fn rounds(&self) -> Option<rounds::Plan> {
        let conversations = self.conversations;
        self.turns.map(|turns| rounds::Plan {
            conversations,
            turns,
        })
    }
}

fn main() {
    let options = Options::read();
    let arguments = &options.arguments;
    if let Some(child) = &options.child {
        return child::run(child, &options);
    }
    let begun = Instant::now();
    let mut figures = Figures::default();
    if options.rate.is_some() {
        rate::measure_all(&options, &mut figures);
        return figures.print();
    }
    if !options.subjects.is_empty() {
        traffic::load(arguments);
        let rounds = if arguments.smoke { 1 } else { ROUNDS };
        let is_watched = std::io::stderr().is_terminal();
        for round in 1..=rounds {
            for subject in &options.subjects {
                if is_watched {
                    eprint!("\rround {round} of {rounds}: {subject:<20}");
                }
                let mut measures = measure(&options, subject, options.bodies, &[]);
                measures.retain(|(measure, _)| measure != MEMORY);
                figures.add(subject, &measures);
            }
        }
        for subject in &options.subjects {
            if is_watched {
                eprint!("\rmemory: {subject:<20}");
            }
            let measures = measure(&options, subject, Bodies::Own, &[]);
            for (measure, value) in measures {
                match measure.as_str() {
                    MEMORY => figures.add(subject, &[(measure, value)]),
                    RATE => figures.add(subject, &[(format!("{RATE}_own_bodies"), value)]),
                    _ => {}
                }
            }
        }
        if is_watched {
            eprint!("\r{:40}\r", "");
        }
        figures.print();
        report::table(&figures, &options.subjects);
    }
    if let Some(scale) = options.scale {
        growth::run(scale, arguments.smoke, &mut figures);
    }
    if options.edge {
        edge::run(&options, &mut figures);
    }
    bars::print(&figures, &arguments.corpus);
    eprintln!(
        "\nthe whole run took {:.0} s",
        begun.elapsed().as_secs_f64()
    );
}

/// Takes one measurement in a process of its own, started by `launcher` where there is one, and
/// gives its measures.
fn measure(
    options: &Options,
    child: &str,
    bodies: Bodies,
    launcher: &[&str],
) -> Vec<(String, f64)> {
    let arguments = &options.arguments;
    let this = std::env::current_exe().unwrap();
    let mut command = match launcher {
        [] => Command::new(this),
        [program, words @ ..] => {
            let mut command = Command::new(program);
            command.args(words).arg(this);
            command
        }
    };
    command.args(["--child", child]);
    command.args(["--seconds", &arguments.seconds.to_string()]);
    command.args(["--limit", &arguments.limit.to_string()]);
    command.args(["--conversations", &options.conversations.to_string()]);
    if let Some(rate) = options.rate {
        command.args(["--rate", &rate.to_string()]);
    }
    if let Some(bytes) = options.body_bytes {
        command.args(["--body-bytes", &bytes.to_string()]);
    }
    if let Some(turns) = options.turns {
        command.args(["--turns", &turns.to_string()]);
    }
    if options.past > 0 {
        command.args(["--past", &options.past.to_string()]);
    }
    if bodies == Bodies::Own {
        command.arg("--own-bodies");
    }
    if !arguments.corpus.is_empty() {
        command.arg("--corpus").args(&arguments.corpus);
    }
    let output = command
        .stderr(std::process::Stdio::inherit())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "the measurement of {child} ended with {}",
        output.status
    );
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| line.strip_prefix(child::PREFIX))
        .filter_map(|line| line.split_once(' '))
        .map(|(measure, value)| (measure.to_owned(), value.parse().unwrap()))
        .collect()
}
