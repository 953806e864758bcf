//! Runs child processes under limits of time, address space and output.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// No command takes longer, whatever the file is: of the processor, so that other work on the machine
/// does not count.
const TIME_MAX: Duration = Duration::from_secs(10);
/// Nor does one wait longer.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// What is worth a line.
const SLOW: Duration = Duration::from_secs(3);
/// How often the kernel counts a process's time; 100 a second on every Linux.
const TICK: Duration = Duration::from_millis(10);
/// Address space of a child. With one arena this is what it takes, and its threads' stacks.
const ADDRESS_SPACE_KIB: u64 = 640 * 1024;

/// How a child ended.
pub struct Ended {
    pub stdout: String,
    pub stderr: String,
    /// `None`: a signal ended it.
    pub exit: Option<i32>,
    /// It was taking longer than any may, and was ended.
    pub is_hung: bool,
}

impl Ended {
    /// What must not be, whatever the file is.
    pub fn violation(&self) -> Option<String> {
        let end = |text: &str| -> String {
            let skip = text.chars().count().saturating_sub(400);
            text.chars().skip(skip).collect()
        };
        if self.is_hung {
            return Some(format!("took longer than {TIME_MAX:?}"));
        }
        let bad = ["panicked at", "memory allocation of", "stack overflow"];
        if let Some(bad) = bad.iter().find(|bad| self.stderr.contains(**bad)) {
            return Some(format!("{bad}: {}", end(&self.stderr)));
        }
        match self.exit {
            Some(0..=2) => None,
            exit => Some(format!("exit {exit:?}: {}", end(&self.stderr))),
        }
    }
}

/// Runs a program in a folder, that does as much as so many commands.
pub fn run(
    program: &Path,
    arguments: &[&str],
    folder: &Path,
    variables: &[(&str, &str)],
    commands: u32,
) -> Ended {
    let limited = format!("ulimit -v {ADDRESS_SPACE_KIB} && exec \"$0\" \"$@\"");
    let begun = Instant::now();
    let mut child = Command::new("sh")
        .args(["-c", &limited])
        .arg(program)
        .args(arguments)
        .current_dir(folder)
        .env("MALLOC_ARENA_MAX", "1")
        .env("RUST_BACKTRACE", "0")
        .env("HOME", folder)
        .env("AUDITLITE_DB", "audit.db")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    std::thread::scope(|scope| {
        let stdout = scope.spawn(move || read(&mut out));
        let stderr = scope.spawn(move || read(&mut err));
        let mut is_hung = false;
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if begun.elapsed() > WAIT_MAX * commands
                || processor_time(child.id()) > TIME_MAX * commands
            {
                is_hung = true;
                child.kill().unwrap();
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        if begun.elapsed() > SLOW {
            eprintln!("{arguments:?} {variables:?} took {:?}", begun.elapsed());
        }
        Ended {
            is_hung,
            stdout: stdout.join().unwrap(),
            stderr: stderr.join().unwrap(),
            exit: status.code(),
        }
    })
}

fn read(from: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn processor_time(process: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // Behind the name in brackets: state, and the 11th and 12th of what follows.
    let fields = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace();
    let ticks: u32 = fields
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u32>().ok())
        .sum();
    TICK * ticks
}
