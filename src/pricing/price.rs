//! Rates, tiers, and what one request costs.
//!
//! Money is always an integer. A rate is in 1e-12 US dollars per token, which is the same number as
//! microdollars per million tokens. It is rounded once, when its decimal is parsed. A cost is the exact sum
//! over the kinds of tokens, rounded once.

use serde_json::Value;

use crate::model::Usage;

/// The highest rate that is accepted: one dollar per token.
const RATE_MAX: u64 = 1_000_000_000_000;
/// Decimal digits between dollars per token and a rate.
pub(super) const DOLLARS_PER_TOKEN: i64 = 12;
/// Decimal digits between dollars per million tokens and a rate.
pub(super) const DOLLARS_PER_MILLION_TOKENS: i64 = 6;

/// Rates of each kind of token, in 1e-12 dollars per token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Rates {
    pub(super) input: Option<u64>,
    pub(super) output: Option<u64>,
    /// Default: the input rate.
    pub(super) cache_read: Option<u64>,
    /// Default: the input rate.
    pub(super) cache_write: Option<u64>,
    /// Default: the output rate.
    pub(super) reasoning: Option<u64>,
}

impl Rates {
    /// These rates, completed with those of `base`.
    pub(super) fn or(self, base: Self) -> Self {
        Self {
            input: self.input.or(base.input),
            output: self.output.or(base.output),
            cache_read: self.cache_read.or(base.cache_read),
            cache_write: self.cache_write.or(base.cache_write),
            reasoning: self.reasoning.or(base.reasoning),
        }
    }

    /// In microdollars. `None`: tokens of a kind without a rate were used.
    fn cost_microdollars(&self, usage: &Usage) -> Option<u64> {
        let read = usage.cache_read_input_tokens.unwrap_or(0);
        let write = usage.cache_write_input_tokens.unwrap_or(0);
        let reasoning = usage.reasoning_output_tokens.unwrap_or(0);
        let input = usage.input_tokens.unwrap_or(0);
        let output = usage.output_tokens.unwrap_or(0);
        let kinds = [
            (input.saturating_sub(read).saturating_sub(write), self.input),
            (read, self.cache_read.or(self.input)),
            (write, self.cache_write.or(self.input)),
            (output.saturating_sub(reasoning), self.output),
            (reasoning, self.reasoning.or(self.output)),
        ];
        // Below 2^107: five products of at most 2^64 tokens and 2^40.
        let mut sum: u128 = 0;
        for (tokens, rate) in kinds {
            if tokens > 0 {
                let part = u128::from(tokens).saturating_mul(u128::from(rate?));
                sum = sum.saturating_add(part);
            }
        }
        let rounded = sum.saturating_add(500_000) / 1_000_000;
        Some(u64::try_from(rounded).unwrap_or(u64::MAX))
    }
}

/// Rates that apply to a whole request if its input tokens exceed a threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tier {
    pub(super) above_input_tokens: u64,
    pub(super) rates: Rates,
}

/// What a model costs. Immutable, and shared by all names of one entry and all clones of a book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Price {
    base: Rates,
    /// Highest threshold first.
    tiers: Vec<Tier>,
}

impl Price {
    /// A price with these rates, and those of the tiers where they apply.
    pub(super) fn new(base: Rates, mut tiers: Vec<Tier>) -> Self {
        tiers.sort_by_key(|tier| std::cmp::Reverse(tier.above_input_tokens));
        Self { base, tiers }
    }

    /// In microdollars. `None`: nothing is known of the usage, or a rate is missing.
    pub(super) fn cost_microdollars(&self, usage: &Usage) -> Option<u64> {
        if usage.input_tokens.is_none() && usage.output_tokens.is_none() {
            return None;
        }
        let input_tokens = usage.input_tokens.unwrap_or(0);
        self.tiers
            .iter()
            .find(|tier| input_tokens > tier.above_input_tokens)
            .map_or(&self.base, |tier| &tier.rates)
            .cost_microdollars(usage)
    }
}

/// The rate that a number, or a decimal in a string, means. `scale` is one of the constants above. An error
/// completes a sentence that begins with the name of the field.
pub(super) fn rate(value: &Value, scale: i64) -> Result<u64, &'static str> {
    let rate = match value {
        // The shortest decimal that parses to the same float: the one that was written.
        Value::Number(number) => scaled(&number.to_string(), scale)?,
        Value::String(text) => scaled(text.trim(), scale)?,
        _ => return Err("is not a number"),
    };
    if rate > RATE_MAX {
        return Err("is more than one dollar per token");
    }
    Ok(rate)
}

/// A decimal times 10^`scale`, rounded half up to an integer, and exact before the rounding.
///
/// Works on the digits, because a float would round a second time: the exponent and `scale` move the
/// decimal point, digits before the point make the integer, and the first digit after it decides the
/// rounding.
pub(super) fn scaled(text: &str, scale: i64) -> Result<u64, &'static str> {
    const NOT_A_NUMBER: &str = "is not a number";
    const TOO_LARGE: &str = "is too large";
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => {
            (mantissa, exponent.parse::<i32>().map_err(|_| NOT_A_NUMBER)?)
        }
        None => (text, 0),
    };
    let (negative, magnitude) = match mantissa.strip_prefix('-') {
        Some(magnitude) => (true, magnitude),
        None => (false, mantissa),
    };
    let (whole, fraction) = magnitude.split_once('.').unwrap_or((magnitude, ""));
    if whole.is_empty() && fraction.is_empty() {
        return Err(NOT_A_NUMBER);
    }
    // The number of digits before the decimal point, once it has moved.
    let mut left = i64::try_from(whole.len())
        .map_err(|_| TOO_LARGE)?
        .saturating_add(i64::from(exponent))
        .saturating_add(scale);
    let mut integer: u64 = 0;
    let mut is_zero = true;
    let mut round_up = false;
    for digit in whole.chars().chain(fraction.chars()) {
        let digit = u64::from(digit.to_digit(10).ok_or(NOT_A_NUMBER)?);
        is_zero = is_zero && digit == 0;
        if left > 0 {
            integer = push_digit(integer, digit).ok_or(TOO_LARGE)?;
        } else if left == 0 {
            round_up = digit >= 5;
        }
        left = left.saturating_sub(1);
    }
    if is_zero {
        return Ok(0);
    }
    if negative {
        return Err("is negative");
    }
    // Ends soon: a number that is not zero overflows after a few rounds.
    while left > 0 {
        integer = push_digit(integer, 0).ok_or(TOO_LARGE)?;
        left = left.saturating_sub(1);
    }
    integer.checked_add(u64::from(round_up)).ok_or(TOO_LARGE)
}

fn push_digit(integer: u64, digit: u64) -> Option<u64> {
    integer.checked_mul(10)?.checked_add(digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(input: u64, output: u64) -> Rates {
        Rates {
            input: Some(input),
            output: Some(output),
            ..Rates::default()
        }
    }

    fn cost(rates: Rates, usage: Usage) -> Option<u64> {
        Price::new(rates, Vec::new()).cost_microdollars(&usage)
    }

    #[test]
    fn decimals_are_scaled_exactly_and_rounded_once() {
        for (text, scale, expected) in [
            ("2.5e-06", 12, Ok(2_500_000)),
            ("2.5E-6", 12, Ok(2_500_000)),
            ("0.0000025", 12, Ok(2_500_000)),
            ("5.46875e-07", 12, Ok(546_875)),
            ("0.15", 6, Ok(150_000)),
            ("3", 6, Ok(3_000_000)),
            ("+3", 6, Err("is not a number")),
            (".5", 6, Ok(500_000)),
            ("1e1", 6, Ok(10_000_000)),
            ("1.0000004", 6, Ok(1_000_000)),
            ("1.0000005", 6, Ok(1_000_001)),
            ("1.00000049999999999999999999", 6, Ok(1_000_000)),
            ("4e-13", 12, Ok(0)),
            ("5e-13", 12, Ok(1)),
            ("5e-14", 12, Ok(0)),
            ("1e-2147483648", 12, Ok(0)),
            ("0e2147483647", 12, Ok(0)),
            ("-0.0", 12, Ok(0)),
            ("18446744073709551615", 0, Ok(u64::MAX)),
            ("18446744073709551615.5", 0, Err("is too large")),
            ("18446744073709551616", 0, Err("is too large")),
            ("1e2147483647", 12, Err("is too large")),
            ("1e99999999999", 12, Err("is not a number")),
            ("-1e-6", 12, Err("is negative")),
            ("", 12, Err("is not a number")),
            (".", 12, Err("is not a number")),
            ("e5", 12, Err("is not a number")),
            ("1.2.3", 12, Err("is not a number")),
            ("1,5", 12, Err("is not a number")),
            ("NaN", 12, Err("is not a number")),
            ("inf", 12, Err("is not a number")),
        ] {
            assert_eq!(scaled(text, scale), expected, "{text:?}");
        }
    }

    #[test]
    fn a_rate_is_at_most_one_dollar_per_token() {
        let rate = |text: &str| rate(&serde_json::from_str(text).unwrap(), DOLLARS_PER_TOKEN);
        assert_eq!(rate("1"), Ok(RATE_MAX));
        assert_eq!(rate("1.0"), Ok(RATE_MAX));
        assert_eq!(
            rate("1.000000000001"),
            Err("is more than one dollar per token")
        );
        assert_eq!(rate("\" 2.5e-06 \""), Ok(2_500_000));
        assert_eq!(rate("null"), Err("is not a number"));
        assert_eq!(rate("true"), Err("is not a number"));
    }

    #[test]
    fn a_cost_is_rounded_once_half_up() {
        // One token at half a microdollar, and one just below.
        assert_eq!(cost(rates(500_000, 0), Usage::new(1, 0)), Some(1));
        assert_eq!(cost(rates(499_999, 0), Usage::new(1, 0)), Some(0));
        // Two kinds of 0.3 microdollars each: rounding each one would give 0.
        assert_eq!(cost(rates(300_000, 300_000), Usage::new(1, 1)), Some(1));
        assert_eq!(
            cost(rates(2_500_000, 10_000_000), Usage::new(1_000, 100)),
            Some(3_500)
        );
    }

    #[test]
    fn each_part_has_its_rate_and_its_fallback() {
        let usage = Usage::new(1_000, 100)
            .cache_read_input_tokens(600)
            .cache_write_input_tokens(300)
            .reasoning_output_tokens(40);
        let full = Rates {
            input: Some(3_000_000),
            output: Some(15_000_000),
            cache_read: Some(300_000),
            cache_write: Some(3_750_000),
            reasoning: Some(20_000_000),
        };
        // 100 × 3 + 600 × 0.3 + 300 × 3.75 + 60 × 15 + 40 × 20
        assert_eq!(cost(full, usage), Some(300 + 180 + 1_125 + 900 + 800));
        assert_eq!(
            cost(rates(3_000_000, 15_000_000), usage),
            Some(3_000 + 1_500)
        );
        let free_reads = Rates {
            cache_read: Some(0),
            ..rates(3_000_000, 15_000_000)
        };
        assert_eq!(cost(free_reads, usage), Some(1_200 + 1_500));
    }

    #[test]
    fn parts_larger_than_their_total_never_give_a_negative() {
        let usage = Usage::new(10, 10)
            .cache_read_input_tokens(20)
            .cache_write_input_tokens(30)
            .reasoning_output_tokens(40);
        let unit = rates(1_000_000, 1_000_000);
        assert_eq!(cost(unit, usage), Some(20 + 30 + 40));
    }

    #[test]
    fn huge_usage_saturates() {
        let dearest = Rates {
            cache_read: Some(RATE_MAX),
            cache_write: Some(RATE_MAX),
            reasoning: Some(RATE_MAX),
            ..rates(RATE_MAX, RATE_MAX)
        };
        let all = Usage::new(u64::MAX, u64::MAX)
            .cache_read_input_tokens(u64::MAX)
            .cache_write_input_tokens(u64::MAX)
            .reasoning_output_tokens(u64::MAX);
        assert_eq!(cost(dearest, all), Some(u64::MAX));
        assert_eq!(
            cost(rates(1_000_000, 0), Usage::new(u64::MAX, 0)),
            Some(u64::MAX)
        );
        assert_eq!(
            cost(rates(999_999, 0), Usage::new(10_u64.pow(18), 0)),
            Some(999_999 * 10_u64.pow(12))
        );
    }

    #[test]
    fn no_usage_and_no_rate_give_no_cost() {
        let unit = rates(1_000_000, 1_000_000);
        assert_eq!(cost(unit, Usage::default()), None);
        assert_eq!(
            cost(unit, Usage::default().cache_read_input_tokens(5)),
            None
        );
        assert_eq!(cost(unit, Usage::new(0, 0)), Some(0));
        assert_eq!(cost(unit, Usage::default().output_tokens(7)), Some(7));
        let input_only = Rates {
            output: None,
            ..unit
        };
        assert_eq!(cost(input_only, Usage::new(5, 0)), Some(5));
        assert_eq!(cost(input_only, Usage::new(5, 1)), None);
    }

    #[test]
    fn the_highest_tier_below_the_input_holds_for_the_whole_request() {
        let tier = |above_input_tokens, input| Tier {
            above_input_tokens,
            rates: rates(input, 0),
        };
        let price = Price::new(
            rates(1_000_000, 0),
            vec![tier(10, 2_000_000), tier(20, 3_000_000)],
        );
        let cost = |tokens| price.cost_microdollars(&Usage::new(tokens, 0));
        assert_eq!(cost(10), Some(10));
        assert_eq!(cost(11), Some(22));
        assert_eq!(cost(20), Some(40));
        assert_eq!(cost(21), Some(63));
    }
}
