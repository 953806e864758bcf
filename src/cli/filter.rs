//! Conditions that several commands share.

use auditlite::{RequestFilter, StatsFilter, Status};
use clap::builder::PossibleValuesParser;

use super::error::CliError;
use super::time;

/// Between which times.
#[derive(Debug, clap::Args)]
pub(crate) struct PeriodArgs {
    /// Only requests from this time on: 30m, 2h, 7d (back from now), 2026-11-01 or RFC 3339, UTC
    #[arg(long, value_name = "TIME", value_parser = time::parse, allow_hyphen_values = true)]
    since: Option<i64>,
    /// Only requests before this time, written as for --since
    #[arg(long, value_name = "TIME", value_parser = time::parse, allow_hyphen_values = true)]
    until: Option<i64>,
}

impl PeriodArgs {
    /// Refuses a period that ends before it starts, in which nothing could be found.
    fn check(&self) -> Result<(), CliError> {
        match (self.since, self.until) {
            (Some(since), Some(until)) if since >= until => Err(CliError::Message(format!(
                "--since ({}) is not before --until ({}); exchange them",
                time::exact(since),
                time::exact(until)
            ))),
            _ => Ok(()),
        }
    }
}

/// Which requests a list shows.
#[derive(Debug, clap::Args)]
pub(crate) struct ListFilterArgs {
    #[command(flatten)]
    period: PeriodArgs,
    /// Only requests in this state
    #[arg(
        long,
        value_name = "STATUS",
        value_parser = PossibleValuesParser::new(Status::ALL.map(Status::name))
    )]
    status: Option<String>,
    /// Only requests routed to or served by this provider
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// Only requests that asked for, were routed to or served by this model
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Only requests of this user
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// Only requests of this session
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Only requests of this conversation
    #[arg(long, value_name = "ID")]
    conversation: Option<String>,
    /// Only requests of this trace
    #[arg(long, value_name = "ID")]
    trace: Option<String>,
}

impl ListFilterArgs {
    /// The library's filter.
    ///
    /// # Errors
    ///
    /// The period is empty.
    pub(crate) fn filter(&self) -> Result<RequestFilter, CliError> {
        self.period.check()?;
        Ok(RequestFilter {
            since: self.period.since,
            until: self.period.until,
            status: self.status.as_deref().and_then(Status::from_name),
            provider_name: self.provider.clone(),
            model: self.model.clone(),
            user_id: self.user.clone(),
            session_id: self.session.clone(),
            conversation_id: self.conversation.clone(),
            trace_id: self.trace.clone(),
        })
    }
}

/// Which requests statistics count.
#[derive(Debug, clap::Args)]
pub(crate) struct StatsFilterArgs {
    #[command(flatten)]
    period: PeriodArgs,
    /// Only requests served by this provider
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// Only requests served by this model
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Only requests of this user
    #[arg(long, value_name = "ID")]
    user: Option<String>,
}

impl StatsFilterArgs {
    /// The library's filter, not grouped.
    ///
    /// # Errors
    ///
    /// The period is empty.
    pub(crate) fn filter(&self) -> Result<StatsFilter, CliError> {
        self.period.check()?;
        Ok(StatsFilter {
            since: self.period.since,
            until: self.period.until,
            provider_name: self.provider.clone(),
            model: self.model.clone(),
            user_id: self.user.clone(),
            group_by: Vec::new(),
        })
    }
}
