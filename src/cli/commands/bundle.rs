//! `auditlite bundle`.

use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use auditlite::{
    BundleOptions, BundleReport, BundleSignature, BundleSummary, ReadOnlyStore, VerifyingKey,
    verify_bundle,
};

use crate::cli::Outcome;
use crate::cli::support::database::DatabaseArgs;
use crate::cli::support::error::CliError;
use crate::cli::support::json::BundleJson;
use crate::cli::support::text::escape;
use crate::cli::support::{format, keys, output, private_file, resolve, source, time};

const AFTER_HELP: &str = "\
Examples:
  auditlite bundle > whole.bundle
  auditlite bundle --request 0199f0a2-6c1e-7cc1-b2f0-6a1a1c9f2a55 -o one.bundle
  auditlite bundle --from 1000 --to 1999 > part.bundle
  auditlite bundle --check part.bundle --key audit.vkey

docs/format.md describes the form; another verifier can be written from it.
Exit status: 0 written, or all is well; 1 the bundle does not hold; 2 error.";

/// Write part of the log with its proof, for readers without the database, or check one
///
/// A bundle has the chosen events as they are stored, hashes of those in between, and the last
/// checkpoint. It holds no bodies.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Only the events of this request: its id or a unique part of it, `#` and its opened_seq, or `last`
    #[arg(long, value_name = "ID")]
    request: Option<String>,
    /// Only events from this seq on
    #[arg(long, value_name = "SEQ")]
    from: Option<u64>,
    /// Only events up to this seq
    #[arg(long, value_name = "SEQ")]
    to: Option<u64>,
    /// Write to this file, which must not exist yet, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Check this bundle instead of writing one; needs no database
    #[arg(long, value_name = "FILE", conflicts_with_all = ["request", "from", "to", "output"])]
    check: Option<PathBuf>,
    /// With --check: public key that the checkpoint is to be signed with, or a file with it
    #[arg(long, value_name = "VKEY", requires = "check")]
    key: Vec<String>,
    /// With --check: one JSON object; docs/cli.md describes the fields
    #[arg(long, requires = "check")]
    json: bool,
}

/// Runs the command: checks a bundle, or writes one. Events after the last checkpoint cannot be proved, so they are
/// left out and counted.
pub(crate) fn run(
    args: &Args,
    database: &DatabaseArgs,
    out: &mut dyn Write,
) -> Result<Outcome, CliError> {
    if let Some(path) = &args.check {
        return check(args, path, database, out);
    }
    if let Some((from, to)) = args.from.zip(args.to).filter(|(from, to)| from > to) {
        let what = format!("--from {from} comes after --to {to}: no event is between them");
        return Err(CliError::Message(what));
    }
    let store = database.open()?;
    let opened_seq = match &args.request {
        None => None,
        Some(id) => match resolve::resolve(&store.reader(), id)? {
            Some(request) => Some(request.opened_seq),
            None => return Ok(Outcome::Findings),
        },
    };
    let mut options = BundleOptions::new();
    options.seqs = (args.from.is_some() || args.to.is_some())
        .then(|| args.from.unwrap_or(0)..=args.to.unwrap_or(u64::MAX));
    options.opened_seq = opened_seq;

    let summary = match &args.output {
        None => store.write_bundle(&options, out)?,
        Some(path) => write_file(&store, &options, path)?,
    };
    let events = format::counted(summary.events, "event", "events");
    output::say(&format!("{events} of {}", format::count(summary.size)));
    if summary.uncovered > 0 {
        let uncovered = format::counted(summary.uncovered, "event is", "events are");
        output::say(&format!(
            "{uncovered} newer than the last checkpoint and not in the bundle"
        ));
    }
    Ok(if summary.events == 0 {
        Outcome::Findings
    } else {
        Outcome::Fine
    })
}

/// Writes the bundle to a file, which is complete or does not exist.
fn write_file(
    store: &ReadOnlyStore,
    options: &BundleOptions,
    path: &Path,
) -> Result<BundleSummary, CliError> {
    let failed = |what| {
        move |source| CliError::File {
            path: path.to_owned(),
            what,
            source,
        }
    };
    let file = private_file::create_new(path).map_err(failed("created"))?;
    let mut file = BufWriter::new(file);
    let written = store
        .write_bundle(options, &mut file)
        .map_err(CliError::from)
        .and_then(|summary| {
            file.flush().map_err(failed("written"))?;
            Ok(summary)
        });
    if written.is_err() {
        let _ = std::fs::remove_file(path);
    }
    written
}

fn check(
    args: &Args,
    path: &Path,
    database: &DatabaseArgs,
    out: &mut dyn Write,
) -> Result<Outcome, CliError> {
    let keys: Result<Vec<VerifyingKey>, CliError> =
        args.key.iter().map(|key| keys::public(key)).collect();
    let file = source::open_regular(path).map_err(|source| CliError::File {
        path: path.to_owned(),
        what: "read",
        source,
    })?;
    let report = verify_bundle(BufReader::new(file), &keys?)?;
    if let Some(log) = database.log()
        && report.origin.strip_prefix("auditlite/") != Some(log)
    {
        let origin = &report.origin;
        return Err(CliError::Message(format!(
            "the bundle is of the log {origin:?}, and not of {log:?}"
        )));
    }
    if args.json {
        output::json_line(out, &BundleJson(&report))?;
    } else {
        write_report(&report, !args.key.is_empty(), out)?;
    }
    Ok(if report.findings.is_empty() {
        Outcome::Fine
    } else {
        Outcome::Findings
    })
}

fn write_report(report: &BundleReport, has_key: bool, out: &mut dyn Write) -> std::io::Result<()> {
    let size = format::counted(report.size, "event", "events");
    writeln!(out, "log          {}, {size}", escape(&report.origin))?;
    let root = report.root.map(|root| root.to_string());
    writeln!(out, "root         {}", root.as_deref().unwrap_or("-"))?;
    let at = format::or_absent(report.at, time::seconds);
    writeln!(
        out,
        "checkpoint   {at}; {}",
        words(report.signature, has_key)
    )?;
    writeln!(
        out,
        "bundle       {}, {} left out",
        format::counted(report.events, "event", "events"),
        format::count(report.left_out)
    )?;
    writeln!(out)?;
    if report.findings.is_empty() {
        return writeln!(
            out,
            "every line is one of the log that the checkpoint states"
        );
    }
    for finding in &report.findings {
        let place = finding.seq.map(|seq| format!("seq {seq}: "));
        let place = place.unwrap_or_default();
        writeln!(out, "  {place}{}: {}", finding.kind, escape(&finding.what))?;
    }
    Ok(())
}

fn words(signature: BundleSignature, has_key: bool) -> &'static str {
    match signature {
        BundleSignature::Valid => "signed by a given key",
        BundleSignature::Invalid => "its signature is not one of what it states",
        BundleSignature::NotChecked if has_key => "signed, and not by a given key",
        BundleSignature::NotChecked => "its signatures were not checked: no --key was given",
        _ => "not signed: anybody could have made this bundle",
    }
}
