//! The value of one field of a request: what exports write and JSON says.

use serde::ser::{Serialize, Serializer};

use super::{CostSource, Status, Timestamp, UsageDetails, UsageSource};

/// The value of a field, borrowed from its request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum FieldValue<'r> {
    /// Not known.
    Absent,
    Flag(bool),
    Count(u64),
    /// Microseconds since the Unix epoch.
    Time(i64),
    Real(f64),
    Text(&'r str),
    Texts(&'r [String]),
    Pairs(&'r [(String, String)]),
    Details(&'r UsageDetails),
}

/// What a field can hold.
pub(crate) trait Held {
    fn value(&self) -> FieldValue<'_>;
}

macro_rules! held {
    ($($kind:ty: $held:ident => $value:expr;)*) => { $(
        impl Held for $kind {
            fn value(&self) -> FieldValue<'_> {
                let $held = self;
                $value
            }
        }
    )* };
}

held! {
    bool: flag => FieldValue::Flag(*flag);
    u64: count => FieldValue::Count(*count);
    u16: count => FieldValue::Count(u64::from(*count));
    // JSON has no other fractions than finite ones.
    f64: real => if real.is_finite() { FieldValue::Real(*real) } else { FieldValue::Absent };
    Timestamp: at => FieldValue::Time(at.as_micros());
    Status: status => FieldValue::Text(status.as_str());
    UsageSource: source => FieldValue::Text(source.as_str());
    CostSource: source => FieldValue::Text(source.as_str());
    Box<UsageDetails>: details => FieldValue::Details(details);
    String: text => FieldValue::Text(text);
    Vec<String>: texts => FieldValue::Texts(texts);
    Vec<(String, String)>: pairs => FieldValue::Pairs(pairs);
}

impl<T: Held> Held for Option<T> {
    fn value(&self) -> FieldValue<'_> {
        self.as_ref().map_or(FieldValue::Absent, T::value)
    }
}

impl Serialize for FieldValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::Absent => serializer.serialize_none(),
            Self::Flag(flag) => serializer.serialize_bool(flag),
            Self::Count(count) => serializer.serialize_u64(count),
            Self::Time(micros) => serializer.serialize_i64(micros),
            Self::Real(real) => serializer.serialize_f64(real),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Texts(texts) => serializer.collect_seq(texts),
            Self::Details(details) => details.serialize(serializer),
            Self::Pairs(pairs) => {
                serializer.collect_map(pairs.iter().map(|(key, value)| (key, value)))
            }
        }
    }
}
