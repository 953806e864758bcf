//! Runs the program and compares what it prints.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// Six exchanges: several wire protocols, a failure, hostile names, a body of bytes, no response.
pub(crate) const SAMPLE: &str = include_str!("sample.jsonl");

/// A folder with a database of its own.
pub(crate) struct Sandbox {
    pub(crate) folder: TempDir,
}

/// How a run ended.
pub(crate) struct Run {
    pub(crate) command: String,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
    pub(crate) exit: i32,
}

impl Sandbox {
    /// An empty folder.
    pub(crate) fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
        }
    }

    /// A folder in which [`SAMPLE`] is recorded.
    pub(crate) fn sample() -> Self {
        let sandbox = Self::new();
        let run = sandbox.run_with(&["record", "--quiet", "-"], SAMPLE.as_bytes());
        assert_eq!(run.exit, 0, "{}", run.stderr);
        assert_eq!(run.stderr, "");
        sandbox
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    /// The program, in the folder, with nothing of the caller's settings but `AUDITLITE_DB`.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_auditlite"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("AUDITLITE_DB", "audit.db")
            .env("HOME", self.folder.path())
            .env_remove("XDG_DATA_HOME")
            .env("COLUMNS", "100")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        let output = self.command(arguments).output().unwrap();
        Run::new(arguments, output)
    }

    /// Runs with these bytes on standard input.
    pub(crate) fn run_with(&self, arguments: &[&str], input: &[u8]) -> Run {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::thread::scope(|scope| {
            // The program may end before it has read everything.
            scope.spawn(move || stdin.write_all(input).ok());
            Run::new(arguments, child.wait_with_output().unwrap())
        })
    }
}

impl Run {
    pub(crate) fn new(arguments: &[&str], output: std::process::Output) -> Self {
        Self {
            command: format!("auditlite {}", arguments.join(" ")),
            stdout: output.stdout,
            stderr: String::from_utf8(output.stderr).unwrap(),
            exit: output.status.code().expect("the program was killed"),
        }
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    /// Standard output as JSON Lines.
    pub(crate) fn json(&self) -> Vec<serde_json::Value> {
        let lines = self.text().lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The whole run as text: command, output, messages, exit status.
    fn transcript(&self) -> String {
        let mut transcript = format!("$ {}\n{}", self.command, self.text());
        if !self.stderr.is_empty() {
            transcript.push_str("--- standard error\n");
            transcript.push_str(&self.stderr);
        }
        transcript.push_str(&format!("--- exit {}\n\n", self.exit));
        transcript
    }
}

/// Runs the program on a terminal of 24 lines and gives back what it wrote to it.
pub(crate) fn on_a_terminal(sandbox: &Sandbox, arguments: &str, settings: &str) -> Option<String> {
    const SCRIPT: &str = "import pty, sys; pty.spawn(['/bin/sh', '-c', sys.argv[1]])";
    let program = env!("CARGO_BIN_EXE_auditlite");
    let output = Command::new("python3")
        .args(["-c", SCRIPT])
        .arg(format!("{settings} exec {program} {arguments}"))
        .current_dir(sandbox.folder.path())
        .env("AUDITLITE_DB", "audit.db")
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .env_remove("LESS")
        .stdin(std::process::Stdio::null())
        .output();
    match output {
        Ok(output) if output.status.success() => Some(
            String::from_utf8(output.stdout)
                .unwrap()
                .replace("\r\n", "\n"),
        ),
        other => {
            eprintln!("SKIPPED: no terminal to be had from python3: {other:?}");
            None
        }
    }
}

/// Compares runs with a golden file. What differs from run to run or from one version of the file
/// format to the next is masked.
pub(crate) fn assert_golden(name: &str, sandbox: &Sandbox, runs: &[Run]) {
    let folder = std::fs::canonicalize(sandbox.folder.path()).unwrap();
    let transcript: String = runs.iter().map(Run::transcript).collect();
    let transcript = transcript
        .replace(folder.to_str().unwrap(), "DIR")
        .replace(sandbox.folder.path().to_str().unwrap(), "DIR");
    let masked: String = transcript
        .split_inclusive('\n')
        .map(|line| mask(line.to_owned()))
        .collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/cli/golden")
        .join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some_and(|update| update == "1") {
        std::fs::write(&path, &masked).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    if masked != golden {
        let difference = first_difference(&golden, &masked);
        panic!("{path:?} differs; UPDATE_GOLDEN=1 rewrites it\n{difference}");
    }
}

fn first_difference(golden: &str, now: &str) -> String {
    let mut lines = golden.lines().zip(now.lines()).enumerate();
    match lines.find(|(_, (golden, now))| golden != now) {
        Some((number, (golden, now))) => {
            format!("line {}\n  golden: {golden}\n  now:    {now}", number + 1)
        }
        None => format!("one is longer:\n{now}"),
    }
}

fn mask(mut line: String) -> String {
    for field in [
        "opened_seq",
        "ended_seq",
        "stored",
        "file_version",
        "file_bytes",
        "wal_bytes",
        "events",
        "covered_at",
        "anchored_at",
        "anchored_events",
        "covered_events",
        "unsigned_events",
        "segments",
    ] {
        line = mask_number(line, &format!("\"{field}\":"));
    }
    for field in ["sqlite_version", "origin", "root"] {
        let start = format!("\"{field}\":\"");
        if let Some((head, tail)) = line.split_once(&start) {
            let rest = tail.split_once('"').map_or("", |(_, rest)| rest);
            line = format!("{head}{start}#\"{rest}");
        }
    }
    for name in ["log          auditlite/", "root         "] {
        if line.starts_with(name) {
            line = format!("{name}#\n");
        }
    }
    for name in [
        "log             ",
        "size       ",
        "format     version ",
        "contents   ",
        "checkpoints  ",
        "anchors      ",
        "unsigned     ",
    ] {
        if line.starts_with(name) {
            line = mask_digits(&line);
        }
    }
    // Of the summary of `record` the sizes stay, the times go.
    if line.starts_with("auditlite: recorded ")
        && let Some(at) = line.find(" in ")
    {
        line.replace_range(at.., " in #\n");
    }
    line
}

/// Replaces the number after `before`, wherever that is.
fn mask_number(line: String, before: &str) -> String {
    let mut masked = String::new();
    let mut rest = line.as_str();
    while let Some((head, tail)) = rest.split_once(before) {
        masked.push_str(head);
        masked.push_str(before);
        rest = tail.trim_start_matches(|character: char| character.is_ascii_digit());
        if rest.len() < tail.len() {
            masked.push('#');
        }
    }
    masked + rest
}

/// Each run of digits, dots and commas between them becomes `#`.
fn mask_digits(line: &str) -> String {
    let mut masked = String::new();
    for character in line.chars() {
        match character {
            '0'..='9' if masked.ends_with('#') => {}
            '0'..='9' => masked.push('#'),
            other => masked.push(other),
        }
    }
    masked
}
