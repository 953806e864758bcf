//! `auditlite tools`.

use std::io::Write;

use crate::cli::Outcome;
use crate::cli::support::database::DatabaseArgs;
use crate::cli::support::error::CliError;
use crate::cli::support::filter::FilterArgs;
use crate::cli::support::json::ToolStatsJson;
use crate::cli::support::layout::{Layout, Step};
use crate::cli::support::table::{Align, Table};
use crate::cli::support::text::{escape, shorten};
use crate::cli::support::{format, output};

/// Longest name that a cell shows.
const NAME_CHARACTERS_MAX: usize = 60;

/// What is left out on a narrow terminal, in this order.
const STEPS: [Step; 4] = [
    Step::Cut("tool", 20),
    Step::Drop("input (mean)"),
    Step::Drop("requests"),
    Step::Cut("tool", 8),
];

const AFTER_HELP: &str = "\
Examples:
  auditlite tools
  auditlite tools --since 7d --user u-17
  auditlite tools --tool 'web_*' --json

Exit status: 0 tools were called, 1 there are none.";

/// Count the tools that models asked to have called
///
/// One line for each tool, most called first. `auditlite list --tool NAME` lists the requests.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// One JSON object per line and tool; docs/cli.md describes the fields
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    filter: FilterArgs,
}

/// Runs the command.
pub(crate) fn run(
    args: &Args,
    database: &DatabaseArgs,
    out: &mut dyn Write,
) -> Result<Outcome, CliError> {
    let reader = database.open()?.reader();
    let tools = reader.tools(&args.filter.filter(&reader)?)?;
    if tools.is_empty() {
        output::say("no tool call matches");
        return Ok(Outcome::Findings);
    }
    if args.json {
        for tool in &tools {
            output::json_line(out, &ToolStatsJson(tool))?;
        }
        return Ok(Outcome::Fine);
    }
    let columns = [
        ("tool", Align::Left),
        ("calls", Align::Right),
        ("requests", Align::Right),
        ("input (mean)", Align::Right),
    ];
    let mut table = Table::new(&columns, true);
    for tool in &tools {
        let mean = tool.input_bytes.checked_div(tool.calls);
        table.row(vec![
            shorten(&escape(&tool.tool_name), NAME_CHARACTERS_MAX).into_owned(),
            format::count(tool.calls),
            format::count(tool.requests),
            format::or_absent(mean, format::bytes),
        ]);
    }
    table.write(&STEPS, &mut Layout::default(), out)?;
    Ok(Outcome::Fine)
}
