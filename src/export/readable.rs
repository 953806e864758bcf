//! What people and spreadsheets read, beside the numbers that programs take.

use serde_json::Value;

use crate::error::ExportError;
use crate::model::{COST_DOLLARS, OPENED_AT_ISO, RequestRecord};

/// The fields of the JSON contract, and the two that are to be read. `dollars` gives the form of the cost.
pub(super) fn fields(
    record: &RequestRecord,
    dollars: impl FnOnce(u64) -> Value,
) -> Result<Value, ExportError> {
    let mut fields =
        serde_json::to_value(record).map_err(|error| ExportError::Output(error.into()))?;
    if let Value::Object(fields) = &mut fields {
        let opened_at = record.opened_at.to_rfc3339();
        let opened_at = opened_at.map_or(Value::Null, Value::String);
        fields.insert(OPENED_AT_ISO.to_owned(), opened_at);
        let cost = record.cost_microdollars.map_or(Value::Null, dollars);
        fields.insert(COST_DOLLARS.to_owned(), cost);
    }
    Ok(fields)
}

/// Dollars with six decimals, exactly.
pub(super) fn dollars(microdollars: u64) -> String {
    let (whole, rest) = (microdollars / 1_000_000, microdollars % 1_000_000);
    format!("{whole}.{rest:06}")
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
}
