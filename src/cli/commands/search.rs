//! `auditlite search`.

use std::collections::BTreeSet;
use std::io::{self, Write};

use auditlite::{
    OpenError, ReadOnlyStore, SearchHit, SearchIndexError, SearchLag, SearchOptions,
    update_search_index,
};

use crate::cli::Outcome;
use crate::cli::support::database::DatabaseArgs;
use crate::cli::support::error::CliError;
use crate::cli::support::filter::FilterArgs;
use crate::cli::support::json::SearchHitJson;
use crate::cli::support::progress::Progress;
use crate::cli::support::style::Style;
use crate::cli::support::text::escape;
use crate::cli::support::{format, output, time};

/// Most messages that are shown.
const HITS_MAX: u64 = 200;

const AFTER_HELP: &str = "\
Examples:
  auditlite search refund
  auditlite search '\"credit card\" refund*' --since 7d
  auditlite search 'timeout -retry OR deadline' --model 'gpt-*' --newest
  auditlite search refund --json | jq .request_id
  auditlite search error --rank all

All words must be in the message; \"…\" is a phrase, WORD* the beginning of a word, -WORD must not
be in it, and OR stands between alternatives. Case and accents do not matter.
Chinese, Japanese and Korean words are found inside longer ones.
Of more than 20,000 matches the newest 20,000 are ranked.
Exit status: 0 messages were found, 1 there are none, or one could not be
compared with the log, or a request could not be read.";

/// Search messages by their words
///
/// Finds messages, best first, each in the request that sent it first. The first search of a file builds
/// its index. While a gateway has the file open, the gateway updates the index in idle times, and the
/// search says how far it is behind.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// What to search for
    #[arg(value_name = "WORDS", required = true)]
    words: Vec<String>,
    /// Newest first instead of best first
    #[arg(long)]
    newest: bool,
    /// Of which matches the best come first
    #[arg(
        long,
        value_name = "WHICH",
        value_enum,
        default_value = "newest",
        conflicts_with = "newest"
    )]
    rank: Ranked,
    /// Search the index as it is, without bringing it up to date
    #[arg(long)]
    no_update: bool,
    /// One JSON object per line and message; docs/cli.md describes the fields
    #[arg(long)]
    json: bool,
    /// At most this many messages, 1 to 200
    #[arg(
        short = 'n',
        long = "limit",
        value_name = "COUNT",
        default_value_t = 20,
        value_parser = clap::value_parser!(u64).range(1..=HITS_MAX)
    )]
    limit: u64,
    #[command(flatten)]
    filter: FilterArgs,
}

/// Runs the command. First brings the index up to date, unless another program has the file open or the user
/// forbids it; what the index does not cover is reported after the hits.
pub(crate) fn run(
    args: &Args,
    database: &DatabaseArgs,
    out: &mut dyn Write,
) -> Result<Outcome, CliError> {
    let store = database.open()?;
    let reader = store.reader();
    let mut options = SearchOptions::default();
    options.filter = args.filter.filter(&reader)?;
    options.is_newest_first = args.newest;
    options.is_all_ranked = args.rank == Ranked::All;
    options.limit = usize::try_from(args.limit).unwrap_or(1);
    let words = args.words.join(" ");
    // Nothing is indexed for a search that is refused.
    options.check(&words)?;
    let lag = reader.search_lag()?;
    if !args.no_update && !lag.is_none() {
        update(&store, &lag)?;
    }
    let result = reader.search(&words, &options)?;
    if !result.lag.is_built {
        return Err(CliError::Message(
            "nothing is indexed yet; search without --no-update while no store has the file open, or \
             have the gateway keep an index (StoreBuilder::search_index)"
                .to_owned(),
        ));
    }
    for hit in &result.hits {
        if args.json {
            output::json_line(out, &SearchHitJson(hit))?;
        } else {
            write_hit(hit, out)?;
        }
    }
    if result.is_ranking_cut {
        output::say(
            "note: more than 20,000 messages match; these are the best of the newest 20,000 (--rank all ranks \
             every one)",
        );
    }
    say_lag(&result.lag);
    let is_unread = result.lag.unread > 0;
    let unchecked: BTreeSet<u64> = result
        .hits
        .iter()
        .filter(|hit| hit.is_unchecked)
        .map(|hit| hit.request.opened_seq)
        .collect();
    let unchecked = u64::try_from(unchecked.len()).unwrap_or(u64::MAX);
    let is_unchecked = output::say_unchecked(unchecked);
    if output::say_unreadable(&result.unreadable) || is_unchecked || is_unread {
        return Ok(Outcome::Findings);
    }
    if result.hits.is_empty() {
        output::say("no message matches");
        return Ok(Outcome::Findings);
    }
    Ok(Outcome::Fine)
}

/// Brings the index up to date, unless another program writes to the file.
fn update(store: &ReadOnlyStore, lag: &SearchLag) -> Result<(), CliError> {
    let progress = Progress::indexing();
    let bytes = || std::fs::metadata(store.path()).map_or(0, |file| file.len());
    let bytes_before = bytes();
    let mut total = lag.events;
    progress.indexed(0, total, 0);
    let updated = update_search_index(store.path(), |now| {
        // An index of an earlier build is dropped first; then everything is to go.
        total = total.max(now.events);
        let added = bytes().saturating_sub(bytes_before);
        progress.indexed(total.saturating_sub(now.events), total, added);
        true
    });
    progress.finish();
    match updated {
        Ok(_) | Err(SearchIndexError::Open(OpenError::Locked { .. })) => Ok(()),
        // A file that cannot be written can still be searched as far as it is indexed.
        Err(SearchIndexError::Open(
            OpenError::NotAccessible { .. }
            | OpenError::LockFile { .. }
            | OpenError::Linked { .. }
            | OpenError::MountedAlone { .. },
        )) => Ok(()),
        Err(SearchIndexError::Open(error)) => Err(error.into()),
        Err(SearchIndexError::Read(error)) => Err(error.into()),
        Err(error) => Err(CliError::Message(error.to_string())),
    }
}

/// Which matches are ranked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Ranked {
    /// The newest 20,000
    Newest,
    /// All, which takes longer the more there are
    All,
}

fn say_lag(lag: &SearchLag) {
    if let Some(since) = lag.missing_since {
        output::say(&format!(
            "note: the index is {} behind: requests opened since {} are not searched yet",
            format::counted(lag.events, "event", "events"),
            time::seconds(since)
        ));
    }
    if lag.is_outdated {
        output::say(
            "note: an earlier build made the index: words inside Chinese, Japanese and Korean text are not found \
             until it is built again",
        );
    }
    if lag.is_damaged {
        output::say("note: the index was found damaged, and is being rebuilt");
    }
    if lag.again > 0 {
        output::say(&format!(
            "note: what {} and later ones said again after something was erased or pruned is not \
             searched yet",
            format::counted(lag.again, "request", "requests")
        ));
    }
    if lag.unread > 0 {
        output::say(&format!(
            "what {} said is not searched: a body is missing or damaged; `auditlite verify` says more",
            format::counted(lag.unread, "request", "requests")
        ));
    }
    if lag.waiting > 0 {
        output::say(&format!(
            "note: {} not ended, and not searched yet",
            format::counted(lag.waiting, "request has", "requests have")
        ));
    }
}

fn write_hit(hit: &SearchHit, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "{}  {}  {}",
        Style::Quiet.paint(&time::seconds(hit.request.opened_at)),
        escape(&hit.request.reference()),
        Style::Role.paint(&escape(&hit.role)),
    )?;
    let mut line = String::from("    ");
    for part in &hit.snippet {
        let text = escape(&part.text).replace("\\n", " ");
        if part.is_match {
            line.push_str(&mark(&text));
        } else {
            line.push_str(&text);
        }
    }
    writeln!(out, "{}", line.trim_end())
}

/// Marks a match: in colour, or between asterisks where there are no colours.
fn mark(text: &str) -> String {
    let painted = Style::Match.paint(text);
    if painted == text {
        format!("*{text}*")
    } else {
        painted
    }
}
