//! What people and spreadsheets read, beside the numbers that programs take.

use crate::model::FieldValue;

/// Dollars with six decimals, exactly.
pub(super) fn dollars(microdollars: u64) -> String {
    let (whole, rest) = (microdollars / 1_000_000, microdollars % 1_000_000);
    format!("{whole}.{rest:06}")
}

/// The JSON of a list, or of pairs as an object: by their keys, of which the last value counts.
pub(super) fn json(value: &FieldValue<'_>) -> String {
    let text = match value {
        FieldValue::Pairs(pairs) if !pairs.is_sorted_by(|one, next| one.0 < next.0) => {
            let pairs: std::collections::BTreeMap<_, _> =
                pairs.iter().map(|(key, value)| (key, value)).collect();
            serde_json::to_string(&pairs)
        }
        other => serde_json::to_string(other),
    };
    text.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_exact() {
        assert_eq!(dollars(0), "0.000000");
        assert_eq!(dollars(12_300), "0.012300");
        assert_eq!(dollars(u64::MAX), "18446744073709.551615");
    }

    #[test]
    fn pairs_are_an_object_by_their_keys() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let pairs = [pair("b", "1"), pair("a", "2"), pair("b", "3")];
        assert_eq!(json(&FieldValue::Pairs(&pairs)), r#"{"a":"2","b":"3"}"#);
        assert_eq!(json(&FieldValue::Pairs(&[])), "{}");
        assert_eq!(json(&FieldValue::Texts(&["x".to_owned()])), r#"["x"]"#);
    }
}
