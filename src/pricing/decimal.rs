//! Rates and factors from decimals, without floats.
//!
//! A rate is in 1e-12 US dollars per token, which is the same number as microdollars per million tokens. It is rounded
//! once, when its decimal is parsed.

use serde_json::Value;

/// The highest rate of a token that is accepted: one dollar.
const RATE_MAX: u64 = PICODOLLARS;
/// One dollar in the unit of rates.
const PICODOLLARS: u64 = 1_000_000_000_000;
/// The highest price of a unit (an image, a page, a second) that is accepted: a thousand dollars.
const UNIT_MAX: u64 = 1_000 * PICODOLLARS;
/// Decimal digits between dollars per token and a rate.
pub(super) const DOLLARS_PER_TOKEN: i64 = 12;
/// Decimal digits between dollars per million tokens and a rate.
pub(super) const DOLLARS_PER_MILLION_TOKENS: i64 = 6;
/// A factor of one.
pub(super) const FACTOR_ONE: u64 = 1_000_000;
/// Decimal digits of a factor.
const FACTOR_DIGITS: i64 = 6;
/// The highest factor that is accepted.
const FACTOR_MAX: u64 = 100 * FACTOR_ONE;

/// The rate that a number, or a decimal in a string, means. `scale` is one of the constants above. An error
/// completes a sentence that begins with the name of the field.
pub(super) fn rate(value: &Value, scale: i64) -> Result<u64, &'static str> {
    let rate = decimal(value, scale)?;
    if rate > RATE_MAX {
        return Err("is more than one dollar per token");
    }
    Ok(rate)
}

/// The price of a unit other than a token, in 1e-12 dollars.
pub(super) fn unit(value: &Value) -> Result<u64, &'static str> {
    let price = decimal(value, DOLLARS_PER_TOKEN)?;
    if price > UNIT_MAX {
        return Err("is more than a thousand dollars");
    }
    Ok(price)
}

/// A factor by which a price is multiplied, in millionths.
pub(super) fn factor(value: &Value) -> Result<u64, &'static str> {
    let factor = decimal(value, FACTOR_DIGITS)?;
    if factor > FACTOR_MAX {
        return Err("is more than a hundred");
    }
    Ok(factor)
}

fn decimal(value: &Value, scale: i64) -> Result<u64, &'static str> {
    match value {
        // The shortest decimal that parses to the same float: the one that was written.
        Value::Number(number) => scaled(&number.to_string(), scale),
        Value::String(text) => scaled(text.trim(), scale),
        _ => Err("is not a number"),
    }
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
}
