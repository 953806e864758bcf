//! The command line.

use std::path::PathBuf;

use lexopt::prelude::*;

use crate::forward::Upstream;

pub(crate) const HELP: &str = "\
An audited reverse proxy for APIs of language models (OpenAI's and compatible
ones, Anthropic's, Gemini's), as an example of auditlite.

Usage: gateway [OPTIONS]

Without --listen and --upstream it serves itself a few conversations on the
loopback interface, prints the recorded trail and ends.

Options:
      --listen ADDR     Serve on this address, for example 127.0.0.1:8080
                        [default with --upstream: 127.0.0.1:8080; port 0: any]
      --upstream URL    What stands before /v1, for example https://api.openai.com
                        [default with --listen: the built-in upstream]
      --provider NAME   The upstream's name in the trail
                        [default: by its host; built-in: by the protocol]
      --db PATH         The database
                        [default: auditlite-gateway.db in the temporary folder]
      --no-redaction    Record bodies and error messages as they came, also API keys
                        that a client or the upstream wrote into them
  -h, --help            Print this help

Clients may send x-user-id, x-conversation-id and traceparent; they are recorded.
Credentials in headers and queries are passed on and never recorded. API keys and
tokens of known forms are taken out of what is recorded, never out of what is
passed on.
";

/// What to run.
#[derive(Debug)]
pub(crate) enum Mode {
    /// Print the help.
    Help,
    /// Talk to itself, print the trail, end.
    Demo,
    /// Serve until a signal.
    Serve {
        /// Where to listen.
        listen: String,
        /// What to stand in front of; `None`: the built-in upstream.
        upstream: Option<Upstream>,
    },
}

/// The command line, read.
#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) mode: Mode,
    pub(crate) db: PathBuf,
    pub(crate) provider_name: Option<String>,
    /// Whether credentials of known forms are taken out of what is recorded.
    pub(crate) redacts: bool,
}

impl Args {
    /// Reads the process's arguments.
    pub(crate) fn read() -> Result<Self, lexopt::Error> {
        let mut listen: Option<String> = None;
        let mut upstream: Option<Upstream> = None;
        let mut provider_name = None;
        let mut db = std::env::temp_dir().join("auditlite-gateway.db");
        let mut is_help = false;
        let mut redacts = true;

        let mut parser = lexopt::Parser::from_env();
        while let Some(argument) = parser.next()? {
            match argument {
                Long("listen") => listen = Some(parser.value()?.string()?),
                Long("upstream") => upstream = Some(read_upstream(&parser.value()?.string()?)?),
                Long("provider") => provider_name = Some(parser.value()?.string()?),
                Long("db") => db = parser.value()?.into(),
                Long("no-redaction") => redacts = false,
                Short('h') | Long("help") => is_help = true,
                other => return Err(other.unexpected()),
            }
        }
        let mode = match (is_help, listen, upstream) {
            (true, _, _) => Mode::Help,
            (false, None, None) => Mode::Demo,
            (false, listen, upstream) => Mode::Serve {
                listen: listen.unwrap_or_else(|| "127.0.0.1:8080".to_owned()),
                upstream,
            },
        };
        Ok(Self {
            mode,
            db,
            provider_name,
            redacts,
        })
    }
}

/// The error does not repeat the URL: it could carry a password.
fn read_upstream(url: &str) -> Result<Upstream, lexopt::Error> {
    url.parse()
        .map_err(|problem: String| format!("--upstream: {problem}").into())
}
