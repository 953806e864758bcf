//! Small machines: what an idle store needs, what one processor achieves, what the library adds to a binary.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use auditlite::{Completion, RequestContext, Store, WireProtocol};

use super::common::memory;
use super::gateway::Bodies;
use super::report::Figures;
use super::{Options, child, measure};

/// The name of the measurement of [`idle`].
pub(crate) const IDLE: &str = "edge_idle";
const ONE_CORE: &[&str] = &["taskset", "-c", "0"];
const TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) fn run(options: &Options, figures: &mut Figures) {
    eprintln!("\nedge boxes");
    for (what, value) in measure(options, IDLE, Bodies::Own, &[]) {
        eprintln!("  {what:<44}{value:>12.2}");
        figures.add_printed("edge", &what, value);
    }
    one_core(options, figures);
    // Builds in release mode, which is not brief.
    if options.arguments.smoke {
        return;
    }
    match binary_kib() {
        Ok([without, with]) => {
            eprintln!(
                "  examples/quickstart {with:.0} KiB, an empty main {without:.0} KiB, stripped, release profile"
            );
            figures.add_printed("edge", "binary_added_kib", with - without);
        }
        Err(problem) => eprintln!("  binary size: {problem}"),
    }
}

/// Traffic with a byte budget of 64 MiB, everything on one processor.
fn one_core(options: &Options, figures: &mut Figures) {
    let can_pin = Command::new(ONE_CORE[0])
        .args(&ONE_CORE[1..])
        .arg("true")
        .status()
        .is_ok_and(|status| status.success());
    if !can_pin {
        eprintln!("  one core: `taskset -c 0` does not work here");
        return;
    }
    for (subject, way) in [("auditlite", "waiting"), ("auditlite_shed", "shedding")] {
        for (what, value) in measure(options, subject, Bodies::Own, ONE_CORE) {
            let what = format!("one_core_{way}_{what}");
            eprintln!("  {what:<44}{value:>12.2}");
            figures.add_printed("edge", &what, value);
        }
    }
}

/// In a process of its own: what is resident more after the open, and after a first request.
pub(crate) fn idle() {
    let folder = tempfile::tempdir().unwrap();
    let Some(before) = memory::resident_mib() else {
        return;
    };
    let store = Store::builder(folder.path().join("audit.db"))
        .open()
        .unwrap();
    let grown = || memory::resident_mib().unwrap_or(before) - before;
    child::print("idle_memory_mib", grown());
    let context = RequestContext::new(WireProtocol::OpenAiChat).request_model("gpt-4o");
    let audit = store
        .recorder()
        .open(context, r#"{"messages":[]}"#)
        .unwrap();
    let completion = Completion::new().response_body(r#"{"choices":[]}"#);
    audit.complete(completion).unwrap().wait(TIMEOUT).unwrap();
    child::print("idle_memory_after_a_request_mib", grown());
    assert!(store.close(TIMEOUT).is_complete);
}

/// Sizes of a program without and with the library, stripped.
fn binary_kib() -> Result<[f64; 2], String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let empty = folder.path().join("empty");
    let source = folder.path().join("empty.rs");
    std::fs::write(&source, "fn main() {}\n").map_err(|error| error.to_string())?;
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    succeed(
        Command::new(rustc)
            .args(["-C", "opt-level=3", "-C", "strip=symbols", "-o"])
            .args([&empty, &source]),
    )?;
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    succeed(
        Command::new(cargo)
            .args(["build", "--quiet", "--release", "--example", "quickstart"])
            .arg("--manifest-path")
            .arg(manifest),
    )?;
    let stripped = folder.path().join("quickstart");
    succeed(
        Command::new("strip")
            .arg("-o")
            .args([&stripped, &quickstart()?]),
    )?;
    let kib = |path: &Path| {
        let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
        Ok::<_, String>(metadata.len() as f64 / 1024.0)
    };
    Ok([kib(&empty)?, kib(&stripped)?])
}

/// Beside this program, which lies in `release/deps` of the target folder.
fn quickstart() -> Result<PathBuf, String> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    this.ancestors()
        .nth(2)
        .map(|release| release.join("examples/quickstart"))
        .filter(|path| path.exists())
        .ok_or_else(|| "the built examples/quickstart is not where it is expected".to_owned())
}

fn succeed(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{program} ended with {status}")),
        Err(error) => Err(format!("{program}: {error}")),
    }
}
