//! Values as exports write them. Everything else is an error here, and the line is then read field by field, which says
//! what is wrong with it or brings it into bounds. So nothing here may take what that reading would take differently.

use std::fmt;
use std::marker::PhantomData;

use auditlite::{Status, Timestamp, ToolCall, UsageDetails};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::cli::support::fields::HTTP_STATUSES;
use crate::cli::support::time;

/// A place in the log, kept as text.
pub(super) fn place<'l, D: Deserializer<'l>>(deserializer: D) -> Result<String, D::Error> {
    u64::deserialize(deserializer).map(|seq| seq.to_string())
}

/// An id that is not empty: an empty one is derived from the line.
pub(super) fn request_id<'l, D: Deserializer<'l>>(deserializer: D) -> Result<String, D::Error> {
    let id = String::deserialize(deserializer)?;
    match id.is_empty() {
        true => Err(D::Error::custom("an empty id")),
        false => Ok(id),
    }
}

pub(super) fn status<'l, D: Deserializer<'l>>(deserializer: D) -> Result<Status, D::Error> {
    let status = String::deserialize(deserializer)?;
    status
        .parse()
        .map_err(|_| D::Error::custom("no status of a request"))
}

/// A time that can be recorded.
pub(super) fn opened_at<'l, D: Deserializer<'l>>(
    deserializer: D,
) -> Result<Option<Timestamp>, D::Error> {
    let at = u64::deserialize(deserializer)?;
    let at = i64::try_from(at).ok();
    match at.filter(|at| time::RECORDABLE.contains(at)) {
        Some(at) => Ok(Some(Timestamp::from_micros(at))),
        None => Err(D::Error::custom("a time that cannot be recorded")),
    }
}

/// A status that a response can have.
pub(super) fn http_status<'l, D: Deserializer<'l>>(
    deserializer: D,
) -> Result<Option<u16>, D::Error> {
    let status = Option::<u16>::deserialize(deserializer)?;
    match status {
        Some(status) if !HTTP_STATUSES.contains(&status) => {
            Err(D::Error::custom("a status that no response has"))
        }
        status => Ok(status),
    }
}

/// An object: serde takes a list for one, too.
pub(super) fn usage_details<'l, D: Deserializer<'l>>(
    deserializer: D,
) -> Result<Option<Box<UsageDetails>>, D::Error> {
    let object = Option::<Map<String, Value>>::deserialize(deserializer)?;
    let details = object.map(|object| serde_json::from_value(Value::Object(object)));
    details.transpose().map_err(D::Error::custom)
}

pub(super) fn length<'l, D: Deserializer<'l>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    u64::deserialize(deserializer).map(Some)
}

/// Whether there is a number, rather than `null`.
pub(super) fn is_number<'l, D: Deserializer<'l>>(deserializer: D) -> Result<bool, D::Error> {
    Option::<u64>::deserialize(deserializer).map(|number| number.is_some())
}

/// An object or `null`, but no list of an object's values, which serde would take too.
pub(super) fn optional_object<'l, D: Deserializer<'l>, T: Deserialize<'l>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let object = Option::<Object<T>>::deserialize(deserializer)?;
    Ok(object.map(|Object(object)| object))
}

/// Tool calls, read one by one without a list of raw values.
pub(super) fn tool_calls<'l, D: Deserializer<'l>>(
    deserializer: D,
) -> Result<Vec<ToolCall>, D::Error> {
    #[derive(serde::Deserialize)]
    struct Call {
        tool_call_id: Option<String>,
        tool_name: Option<String>,
        input: Option<String>,
    }
    struct Calls;
    impl<'l> Visitor<'l> for Calls {
        type Value = Vec<ToolCall>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of tool calls")
        }

        fn visit_seq<A: SeqAccess<'l>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut calls = Vec::new();
            while let Some(Object(call)) = list.next_element::<Object<Call>>()? {
                calls.push(ToolCall::new(
                    call.tool_call_id.unwrap_or_default(),
                    call.tool_name.unwrap_or_default(),
                    call.input.unwrap_or_default(),
                ));
            }
            Ok(calls)
        }
    }
    deserializer.deserialize_seq(Calls)
}

struct Object<T>(T);

impl<'l, T: Deserialize<'l>> Deserialize<'l> for Object<T> {
    fn deserialize<D: Deserializer<'l>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfMap<T>(PhantomData<T>);
        impl<'l, T: Deserialize<'l>> Visitor<'l> for OfMap<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'l>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_map(OfMap(PhantomData)).map(Self)
    }
}
