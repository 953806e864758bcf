//! The filter grammar that all commands share.

use std::ops::RangeInclusive;

use auditlite::{Reader, RequestFilter, StatsFilter, Status, Timestamp};
use clap::builder::PossibleValuesParser;
use jiff::SignedDuration;

use super::error::CliError;
use super::time::Time;
use super::{resolve, time};

const MICRODOLLARS: u64 = 1_000_000;

/// Which requests a command selects.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Which requests (all conditions must hold)")]
pub(crate) struct FilterArgs {
    /// From this time on: 30m, 2h, 7d (back from now), 2026-11-01 or RFC 3339; UTC unless --local
    #[arg(long, value_name = "TIME", value_parser = time::parse, allow_hyphen_values = true)]
    since: Option<Time>,
    /// Before this time, written as for --since
    #[arg(long, value_name = "TIME", value_parser = time::parse, allow_hyphen_values = true)]
    until: Option<Time>,
    /// In one of these states, separated by commas
    #[arg(
        long,
        value_name = "STATUS",
        value_delimiter = ',',
        value_parser = PossibleValuesParser::new(Status::ALL.map(Status::as_str))
    )]
    status: Vec<String>,
    /// The client got one of these HTTP statuses: 429, 5xx or 500-599, separated by commas
    #[arg(long, value_name = "CODES", value_delimiter = ',', value_parser = http_statuses)]
    http_status: Vec<RangeInclusive<u16>>,
    /// Sent to this path of a URL, such as /v1/messages; `*` and `?` match any characters and one
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// With this type of error; `*` and `?` match any characters and one
    #[arg(long, value_name = "NAME")]
    error_type: Option<String>,
    /// Routed to or served by this provider; `*` and `?` match any characters and one
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// Asked for, routed to or served by this model; `*` and `?` match any characters and one
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Of this user
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// Of this session
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Of this conversation
    #[arg(long, value_name = "ID")]
    conversation: Option<String>,
    /// Of this trace
    #[arg(long, value_name = "ID")]
    trace: Option<String>,
    /// With exactly this request id: all that share it
    #[arg(long, value_name = "ID")]
    request: Option<String>,
    /// The model asked to have this tool called; `*` and `?` match any characters and one
    #[arg(long, value_name = "NAME")]
    tool: Option<String>,
    /// Cost at least this many US dollars, such as 0.05
    #[arg(long, value_name = "DOLLARS", value_parser = dollars)]
    min_cost: Option<u64>,
    /// Took at least this long: 500ms, 2s, 1m30s
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    min_latency: Option<u64>,
    /// Has this attribute with this value; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = attribute)]
    attr: Vec<(String, String)>,
    /// Opened after this request (its id or a unique part of it, `#` and its opened_seq, or `last`): what
    /// is new since then
    #[arg(long, value_name = "ID")]
    after: Option<String>,
}

impl FilterArgs {
    /// The library's filter.
    ///
    /// # Errors
    ///
    /// The period is empty, or the request of `--after` is not there.
    pub(crate) fn filter(&self, reader: &Reader) -> Result<RequestFilter, CliError> {
        let (since, until) = self.period()?;
        let after = self.after.as_deref().map(|id| cursor(reader, id));
        let mut filter = RequestFilter::new()
            .statuses(self.statuses())
            .http_statuses(self.http_status.clone());
        filter.since = since;
        filter.until = until;
        filter.error_type = self.error_type.clone();
        filter.url_path = self.path.clone();
        filter.provider_name = self.provider.clone();
        filter.model = self.model.clone();
        filter.user_id = self.user.clone();
        filter.session_id = self.session.clone();
        filter.conversation_id = self.conversation.clone();
        filter.trace_id = self.trace.clone();
        filter.request_id = self.request.clone();
        filter.tool_name = self.tool.clone();
        filter.cost_microdollars_min = self.min_cost;
        filter.latency_us_min = self.min_latency;
        filter.attributes = self.attr.clone();
        filter.after_seq = after.transpose()?;
        Ok(filter)
    }

    /// The filter of the hourly sums, if they can answer: they know only hours, providers, models and users.
    /// `None`: the requests themselves must be read.
    ///
    /// # Errors
    ///
    /// The period is empty.
    pub(crate) fn summary_filter(&self) -> Result<Option<StatsFilter>, CliError> {
        let (since, until) = self.period()?;
        let other = !self.status.is_empty()
            || !self.http_status.is_empty()
            || self.error_type.is_some()
            || self.path.is_some()
            || self.session.is_some()
            || self.conversation.is_some()
            || self.trace.is_some()
            || self.request.is_some()
            || self.tool.is_some()
            || self.min_cost.is_some()
            || self.min_latency.is_some()
            || !self.attr.is_empty()
            || self.after.is_some();
        Ok((!other).then(|| {
            let mut filter = StatsFilter::new();
            filter.since = since;
            filter.until = until;
            filter.provider_name = self.provider.clone();
            filter.model = self.model.clone();
            filter.user_id = self.user.clone();
            filter
        }))
    }

    /// The states of `--status`.
    pub(crate) fn statuses(&self) -> Vec<Status> {
        let statuses = self.status.iter();
        statuses.filter_map(|name| name.parse().ok()).collect()
    }

    /// Whether only failed requests can match, so that the list should say why.
    pub(crate) fn is_of_failures(&self) -> bool {
        let is_failure = |status: &Status| !matches!(status, Status::Completed | Status::Pending);
        let statuses = self.statuses();
        let codes = &self.http_status;
        (!statuses.is_empty() && statuses.iter().all(is_failure))
            || (!codes.is_empty() && codes.iter().all(|range| *range.start() >= 400))
            || self.error_type.is_some()
    }

    /// The period. An error if it ends before it starts.
    fn period(&self) -> Result<(Option<Timestamp>, Option<Timestamp>), CliError> {
        let at = |time: &Option<Time>| {
            let at = time.as_ref().map(Time::timestamp);
            at.transpose().map_err(CliError::Message)
        };
        match (at(&self.since)?, at(&self.until)?) {
            (Some(since), Some(until)) if since >= until => Err(CliError::Message(format!(
                "--since ({}) is not before --until ({}); exchange them",
                time::exact(since),
                time::exact(until)
            ))),
            period => Ok(period),
        }
    }
}

/// The number of requests: `-n`.
#[derive(Debug, clap::Args)]
pub(crate) struct LimitArgs {
    /// At most this many requests; 0: all
    #[arg(
        short = 'n',
        long = "limit",
        value_name = "COUNT",
        default_value_t = 20
    )]
    limit: u64,
}

impl LimitArgs {
    /// The limit; `u64::MAX` for all.
    pub(crate) fn count(&self) -> u64 {
        match self.limit {
            0 => u64::MAX,
            limit => limit,
        }
    }
}

/// The seq of the request of `--after`.
///
/// # Errors
///
/// It does not name one request.
pub(crate) fn cursor(reader: &Reader, id: &str) -> Result<u64, CliError> {
    match resolve::resolve(reader, id)? {
        Some(request) => Ok(request.opened_seq),
        None => Err(CliError::Message(format!(
            "--after {id:?} does not name one request"
        ))),
    }
}

/// Dollars, exactly: no floating point.
fn dollars(text: &str) -> Result<u64, String> {
    const HINT: &str = "give US dollars with up to six decimals, such as 0.05 or 12";
    let number = text.trim().trim_start_matches('$');
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole)
        || !is_number(decimals)
        || decimals.len() > 6
        || (whole.is_empty() && decimals.is_empty())
    {
        return Err(format!("not an amount; {HINT}"));
    }
    let parse = |text: &str| match text {
        "" => Some(0),
        text => text.parse::<u64>().ok(),
    };
    parse(whole)
        .and_then(|whole| whole.checked_mul(MICRODOLLARS))
        .and_then(|whole| whole.checked_add(parse(&format!("{decimals:0<6}"))?))
        .ok_or_else(|| format!("too much; {HINT}"))
}

/// A length of time as microseconds.
fn duration(text: &str) -> Result<u64, String> {
    text.trim()
        .parse::<SignedDuration>()
        .ok()
        .and_then(|duration| u64::try_from(duration.as_micros()).ok())
        .ok_or_else(|| "not a length of time; give 500ms, 2s or 1m30s".to_owned())
}

/// One HTTP status, a class of them (`5xx`), or the first and the last one of a range.
fn http_statuses(text: &str) -> Result<RangeInclusive<u16>, String> {
    const HINT: &str = "give a status such as 429, a class such as 5xx, or a range such as 500-599";
    let number = |text: &str| -> Option<u16> {
        let is_number = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| is_number)
    };
    let text = text.trim();
    let class = text.strip_suffix("xx").or_else(|| text.strip_suffix("XX"));
    let range = match (class, text.split_once('-')) {
        (Some(class), _) => {
            let first = number(&format!("{class}00"));
            first.map(|first| first..=first.saturating_add(99))
        }
        (None, Some((first, last))) => number(first.trim())
            .zip(number(last.trim()))
            .map(|(first, last)| first..=last),
        (None, None) => number(text).map(|only| only..=only),
    };
    match range {
        Some(range) if range.is_empty() => Err("the range ends before it starts".to_owned()),
        Some(range) => Ok(range),
        None => Err(format!("not an HTTP status; {HINT}")),
    }
}

fn attribute(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("not an attribute; give KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact() {
        assert_eq!(dollars("0.05"), Ok(50_000));
        assert_eq!(dollars("$12"), Ok(12_000_000));
        assert_eq!(dollars(".000001"), Ok(1));
        for text in [
            "",
            ".",
            "-1",
            "1e3",
            "0.0000001",
            "1.2.3",
            "99999999999999999999",
        ] {
            assert!(dollars(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn http_statuses_are_numbers_classes_and_ranges() {
        assert_eq!(http_statuses("429"), Ok(429..=429));
        assert_eq!(http_statuses("5xx"), Ok(500..=599));
        assert_eq!(http_statuses("4XX"), Ok(400..=499));
        assert_eq!(http_statuses(" 500 - 504 "), Ok(500..=504));
        for text in [
            "", "x", "xx", "55xx", "5x", "42", "4290", "+29", "599-500", "500-", "-5", "4xx-5xx",
        ] {
            assert!(http_statuses(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn lengths_of_time_and_attributes() {
        assert_eq!(duration("500ms"), Ok(500_000));
        assert_eq!(duration("1m30s"), Ok(90_000_000));
        assert!(duration("-2s").is_err());
        assert!(duration("soon").is_err());
        assert_eq!(attribute("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(attribute("a="), Ok(("a".to_owned(), String::new())));
        assert!(attribute("=b").is_err() && attribute("a").is_err());
    }
}
