//! Marks of numbers that are not what the provider reported and the price book gives: `≥` at least, `~` told or
//! stated, `+` something has no price, `-` not known.

use auditlite::{CostSource, RequestRecord, StatsRow, UsageSource};

use super::format::{self, ABSENT};

/// Said in the help of commands with such numbers.
pub(crate) const LEGEND: &str = "\
Numbers: `≥` at least so much, because a response broke off or some requests have no counts; `~` as
the gateway told or the response stated it; `+` without something that has no price; `-` not known.";

const AT_LEAST: &str = "≥";
const TOLD: &str = "~";
const MORE: &str = "+";

/// Which marks a number has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    is_at_least: bool,
    is_told: bool,
    is_incomplete: bool,
}

impl Marks {
    fn of_usage(source: Option<UsageSource>) -> Self {
        Self {
            is_at_least: source == Some(UsageSource::Partial),
            is_told: source == Some(UsageSource::Told),
            is_incomplete: false,
        }
    }

    fn of_cost(source: Option<CostSource>) -> Self {
        Self {
            is_at_least: source == Some(CostSource::Partial),
            is_told: matches!(source, Some(CostSource::Told | CostSource::Stated)),
            is_incomplete: source == Some(CostSource::Incomplete),
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            is_at_least: self.is_at_least || other.is_at_least,
            is_told: self.is_told || other.is_told,
            is_incomplete: self.is_incomplete || other.is_incomplete,
        }
    }

    fn mark(self, number: &str) -> String {
        let before = [(self.is_at_least, AT_LEAST), (self.is_told, TOLD)];
        let before = before
            .into_iter()
            .filter_map(|(is, mark)| is.then_some(mark));
        let after = if self.is_incomplete { MORE } else { "" };
        format!("{}{number}{after}", before.collect::<String>())
    }
}

/// A count of tokens of one request.
pub(crate) fn tokens(count: Option<u64>, request: &RequestRecord) -> String {
    let marks = Marks::of_usage(request.usage_source);
    format::or_absent(count, |count| marks.mark(&format::count(count)))
}

/// The cost of one request.
pub(crate) fn cost(request: &RequestRecord) -> String {
    let marks = Marks::of_cost(request.cost_source);
    format::or_absent(request.cost_microdollars, |cost| {
        marks.mark(&format::cost(cost))
    })
}

/// The sum of a count of tokens over some requests; absent where none has it.
pub(crate) fn tokens_of(
    requests: &[RequestRecord],
    of: fn(&RequestRecord) -> Option<u64>,
) -> Option<String> {
    let lacks = |request: &RequestRecord| request.usage_source == Some(UsageSource::Absent);
    let marks = |request: &RequestRecord| Marks::of_usage(request.usage_source);
    sum_of(requests, of, lacks, marks, format::count)
}

/// The sum of the costs of some requests; absent where none has one.
pub(crate) fn cost_of(requests: &[RequestRecord]) -> Option<String> {
    let lacks = |request: &RequestRecord| request.cost_source == Some(CostSource::Unknown);
    let marks = |request: &RequestRecord| Marks::of_cost(request.cost_source);
    sum_of(
        requests,
        |request| request.cost_microdollars,
        lacks,
        marks,
        format::cost,
    )
}

fn sum_of(
    requests: &[RequestRecord],
    of: impl Fn(&RequestRecord) -> Option<u64>,
    lacks: impl Fn(&RequestRecord) -> bool,
    marks: impl Fn(&RequestRecord) -> Marks,
    words: impl Fn(u64) -> String,
) -> Option<String> {
    let mut all = Marks::default();
    let mut sum = None;
    for request in requests {
        all.is_at_least |= lacks(request);
        if let Some(number) = of(request) {
            all = all.and(marks(request));
            sum = Some(sum.unwrap_or(0_u64).saturating_add(number));
        }
    }
    sum.map(|sum| all.mark(&words(sum)))
}

/// A sum of tokens in statistics. Never a silent zero: what is known of no request is `-`.
pub(crate) fn tokens_sum(sum: u64, row: &StatsRow) -> String {
    let knows_none = row.without_usage == row.requests && row.credited_requests == 0;
    if sum == 0 && row.without_usage > 0 && knows_none {
        return ABSENT.to_owned();
    }
    let partial = [
        row.partial_usage,
        row.credited_partial_usage,
        row.without_usage,
    ];
    let marks = Marks {
        is_at_least: partial.into_iter().any(|count| count > 0),
        is_told: row.told_usage > 0 || row.credited_told_usage > 0,
        is_incomplete: false,
    };
    marks.mark(&format::count(sum))
}

/// A sum of costs in statistics.
pub(crate) fn cost_sum(row: &StatsRow) -> String {
    let lacking = row
        .unpriced
        .saturating_add(row.without_usage)
        .saturating_add(row.credited_unpriced);
    if row.cost_microdollars == 0 && lacking > 0 {
        return ABSENT.to_owned();
    }
    let marks = Marks {
        is_at_least: row.partial_cost > 0 || row.credited_partial_usage > 0 || lacking > 0,
        is_told: row.told_cost > 0,
        is_incomplete: row.incomplete_cost > 0,
    };
    marks.mark(&format::cost(row.cost_microdollars))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_has_its_mark_and_sums_have_all_of_theirs() {
        let mark = |marks: Marks| marks.mark("1");
        let usage = UsageSource::ALL.map(|source| mark(Marks::of_usage(Some(source))));
        assert_eq!(usage, ["1", "≥1", "~1", "1"]);
        let cost = CostSource::ALL.map(|source| mark(Marks::of_cost(Some(source))));
        assert_eq!(cost, ["1", "~1", "~1", "≥1", "1+", "1"]);
        let mut row = StatsRow::default();
        row.requests = 4;
        assert_eq!(
            (tokens_sum(0, &row), cost_sum(&row)),
            ("0".to_owned(), "$0.00".to_owned())
        );
        row.without_usage = 4;
        assert_eq!(
            (tokens_sum(0, &row), cost_sum(&row)),
            ("-".to_owned(), "-".to_owned())
        );
        (row.without_usage, row.told_usage, row.cost_microdollars) = (1, 1, 10_000);
        (row.told_cost, row.incomplete_cost) = (1, 1);
        assert_eq!(
            (tokens_sum(7, &row), cost_sum(&row)),
            ("≥~7".to_owned(), "≥~$0.01+".to_owned())
        );
        // Tokens of requests that count to another model.
        let mut row = StatsRow::default();
        (row.credited_requests, row.credited_unpriced) = (2, 2);
        assert_eq!(
            (tokens_sum(7, &row), cost_sum(&row)),
            ("7".to_owned(), "-".to_owned())
        );
        (row.credited_unpriced, row.cost_microdollars) = (1, 10_000);
        row.credited_told_usage = 1;
        assert_eq!(
            (tokens_sum(7, &row), cost_sum(&row)),
            ("~7".to_owned(), "≥$0.01".to_owned())
        );
        (row.credited_unpriced, row.credited_partial_usage) = (0, 1);
        assert_eq!(
            (tokens_sum(7, &row), cost_sum(&row)),
            ("≥~7".to_owned(), "≥$0.01".to_owned())
        );
    }
}
