//! The fields of a line of JSON that `record` and `import` read, whatever they contain.
//!
//! A line is refused if it is not JSON, or if a field has the wrong type. The size of a number, the length of a
//! text and its characters are never a reason to refuse: such a value is changed to the nearest one that can be
//! recorded, and its field is noted.

use std::collections::BTreeMap;
use std::fmt;

use auditlite::UsageDetails;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Bytes of a surrogate in JSON behind its backslash: `ud83d`.
const SURROGATE_BYTES: usize = 5;

/// What an HTTP response can have as its status.
pub(crate) const HTTP_STATUSES: std::ops::RangeInclusive<u16> = 100..=999;

/// Limit of the names of unknown fields that are kept of one object, and their length in bytes.
const UNKNOWN_MAX: usize = 16;
const UNKNOWN_BYTES_MAX: usize = 64;

/// The fields of one object.
#[derive(Debug)]
pub(crate) struct Fields<'l> {
    names: &'static [&'static str],
    /// In the order of `names`; `null` means absent.
    values: Vec<Option<&'l RawValue>>,
    /// Names of other fields: the first [`UNKNOWN_MAX`].
    unknown: Vec<String>,
    adjusted_fields: Vec<&'static str>,
}

impl<'l> Fields<'l> {
    /// Reads the fields of these names; of others, only the names.
    ///
    /// # Errors
    ///
    /// Why it is not an object, in words that follow the name of a file and the number of a line.
    pub(crate) fn of_line(line: &'l [u8], names: &'static [&'static str]) -> Result<Self, String> {
        let text = std::str::from_utf8(line.trim_ascii_end())
            .map_err(|error| format!("is not UTF-8 at byte {}", error.valid_up_to() + 1))?;
        Self::of_text(text, names)
    }

    /// As [`of_line`](Self::of_line).
    ///
    /// # Errors
    ///
    /// As [`of_line`](Self::of_line).
    pub(crate) fn of_text(text: &'l str, names: &'static [&'static str]) -> Result<Self, String> {
        if !text.trim_ascii_start().starts_with('{') {
            return Err("is not a JSON object".to_owned());
        }
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let (values, unknown) = deserializer
            .deserialize_map(Object { names })
            .and_then(|read| deserializer.end().map(|()| read))
            .map_err(|error| problem(&error))?;
        Ok(Self {
            names,
            values,
            unknown,
            adjusted_fields: Vec::new(),
        })
    }

    /// Names of fields that are not read, as far as their limit goes.
    pub(crate) fn unknown(&self) -> &[String] {
        &self.unknown
    }

    /// Recorded fields that differ from the line; the request is flagged with them.
    pub(crate) fn into_adjusted(self) -> Vec<&'static str> {
        self.adjusted_fields
    }

    /// Notes that a recorded field differs from the line.
    pub(crate) fn note(&mut self, field: &'static str) {
        if !self.adjusted_fields.contains(&field) {
            self.adjusted_fields.push(field);
        }
    }

    /// The raw JSON value of a field.
    pub(crate) fn raw(&self, name: &'static str) -> Option<&'l RawValue> {
        debug_assert!(self.names.contains(&name), "{name} is not read");
        let place = self.names.iter().position(|known| *known == name)?;
        self.values.get(place).copied().flatten()
    }

    /// A text. Half of a surrogate pair, which no text can hold, is spelled out, and `recorded` noted.
    ///
    /// # Errors
    ///
    /// It is not a text.
    pub(crate) fn text(
        &mut self,
        name: &'static str,
        recorded: &'static str,
    ) -> Result<Option<String>, String> {
        self.of_texts(name, recorded, '"', "a string")
    }

    /// A list of texts, as [`text`](Self::text).
    ///
    /// # Errors
    ///
    /// It is none.
    pub(crate) fn texts(&mut self, name: &'static str) -> Result<Vec<String>, String> {
        let texts = self.of_texts(name, name, '[', "a list of strings")?;
        Ok(texts.unwrap_or_default())
    }

    /// An object of texts, as [`text`](Self::text).
    ///
    /// # Errors
    ///
    /// It is none.
    pub(crate) fn named_texts(
        &mut self,
        name: &'static str,
    ) -> Result<BTreeMap<String, String>, String> {
        let texts = self.of_texts(name, name, '{', "an object of strings")?;
        Ok(texts.unwrap_or_default())
    }

    /// What a response says of its usage beyond the counts.
    pub(crate) fn usage_details(
        &mut self,
        name: &'static str,
    ) -> Result<Option<Box<UsageDetails>>, String> {
        let is_null = self.raw(name).is_none_or(|raw| raw.get() == "null");
        match is_null {
            true => Ok(None),
            false => self.of_texts(name, name, '{', "an object of details of usage"),
        }
    }

    fn of_texts<T: DeserializeOwned>(
        &mut self,
        name: &'static str,
        recorded: &'static str,
        begin: char,
        kind: &str,
    ) -> Result<Option<T>, String> {
        let Some(raw) = self.raw(name).map(RawValue::get) else {
            return Ok(None);
        };
        if !raw.starts_with(begin) {
            return Err(other_kind(name, raw, kind));
        }
        if let Ok(value) = serde_json::from_str(raw) {
            return Ok(Some(value));
        }
        let spelled = spell_out_surrogates(raw);
        let value = serde_json::from_str(&spelled).map_err(|_| format!("{name} is not {kind}"))?;
        self.note(recorded);
        Ok(Some(value))
    }

    /// `true` or `false`.
    ///
    /// # Errors
    ///
    /// It is neither.
    pub(crate) fn truth(&self, name: &'static str) -> Result<Option<bool>, String> {
        self.raw(name)
            .map(|raw| match raw.get() {
                "true" => Ok(true),
                "false" => Ok(false),
                other => Err(other_kind(name, other, "true or false")),
            })
            .transpose()
    }

    /// A count. A negative number is treated as absent, a fraction is cut off; in both cases `recorded` is noted.
    /// A number above 2^64 - 1 becomes that, which is beyond every bound.
    ///
    /// # Errors
    ///
    /// It is not a number.
    pub(crate) fn count(
        &mut self,
        name: &'static str,
        recorded: &'static str,
    ) -> Result<Option<u64>, String> {
        let Some(number) = self.number(name)? else {
            return Ok(None);
        };
        let count = number.count();
        if !number.is_exact() {
            self.note(recorded);
        }
        Ok(count)
    }

    /// Any number; one beyond the range of `f64` is infinite.
    ///
    /// # Errors
    ///
    /// It is no number.
    pub(crate) fn decimal(&self, name: &'static str) -> Result<Option<f64>, String> {
        Ok(self.number(name)?.map(Number::decimal))
    }

    /// A number, not yet converted.
    ///
    /// # Errors
    ///
    /// It is no number.
    pub(crate) fn number(&self, name: &'static str) -> Result<Option<Number>, String> {
        let Some(raw) = self.raw(name).map(RawValue::get) else {
            return Ok(None);
        };
        match Number::parse(raw) {
            Some(number) => Ok(Some(number)),
            None => Err(other_kind(name, raw, "a number")),
        }
    }

    /// A list of raw JSON values.
    ///
    /// # Errors
    ///
    /// It is no list.
    pub(crate) fn list(&self, name: &'static str) -> Result<Vec<&'l RawValue>, String> {
        let Some(raw) = self.raw(name).map(RawValue::get) else {
            return Ok(Vec::new());
        };
        serde_json::from_str(raw).map_err(|_| other_kind(name, raw, "a list"))
    }
}

/// An HTTP status that can be recorded. One that no response can have is treated as absent, and noted.
pub(crate) fn http_status(fields: &mut Fields<'_>, status: Option<u64>) -> Option<u16> {
    let status = status?;
    let http_status = u16::try_from(status).ok();
    let http_status = http_status.filter(|status| HTTP_STATUSES.contains(status));
    if http_status.is_none() {
        fields.note("http_status");
    }
    http_status
}

/// A number of JSON.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Number {
    Whole(u64),
    /// With a fraction, an exponent or a sign, or too large for an integer.
    Decimal(f64),
}

impl Number {
    /// Reads a number of JSON. `None`: the text is not one.
    fn parse(text: &str) -> Option<Self> {
        // Rust would also take `inf` and `nan`.
        let is_number = text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
        match text.parse() {
            Ok(whole) => Some(Self::Whole(whole)),
            Err(_) => text.parse().ok().filter(|_| is_number).map(Self::Decimal),
        }
    }

    /// As an `f64`; infinite beyond its range.
    pub(crate) fn decimal(self) -> f64 {
        match self {
            #[expect(
                clippy::cast_precision_loss,
                reason = "what is larger is out of bounds"
            )]
            Self::Whole(whole) => whole as f64,
            Self::Decimal(decimal) => decimal,
        }
    }

    /// Whether it is whole and not negative, or so large that a fraction does not matter.
    pub(crate) fn is_exact(self) -> bool {
        match self {
            Self::Whole(_) => true,
            Self::Decimal(decimal) => decimal >= 0.0 && decimal.trunc() == decimal,
        }
    }

    /// Its fraction; 0 if it is infinite.
    pub(crate) fn fraction(self) -> f64 {
        match self {
            Self::Decimal(decimal) if decimal.is_finite() => decimal.fract(),
            _ => 0.0,
        }
    }

    /// Its whole part, at most 2^64 - 1; `None`: it is negative.
    pub(crate) fn count(self) -> Option<u64> {
        match self {
            Self::Whole(whole) => Some(whole),
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "the cast saturates, and below zero there is no count"
            )]
            Self::Decimal(decimal) => (decimal >= 0.0).then_some(decimal as u64),
        }
    }
}

/// Reads the values of an object into their places.
struct Object {
    names: &'static [&'static str],
}

impl<'l> Visitor<'l> for Object {
    type Value = (Vec<Option<&'l RawValue>>, Vec<String>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'l>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut values = vec![None; self.names.len()];
        let mut seen = vec![false; self.names.len()];
        let mut unknown = Vec::new();
        while let Some(key) = map.next_key_seed(Place { names: self.names })? {
            let (place, name) = match key {
                Key::Known(place, name) => (place, name),
                Key::Unknown(name) => {
                    map.next_value::<serde::de::IgnoredAny>()?;
                    if unknown.len() < UNKNOWN_MAX {
                        unknown.push(name);
                    }
                    continue;
                }
            };
            if let (Some(slot), Some(seen)) = (values.get_mut(place), seen.get_mut(place)) {
                if std::mem::replace(seen, true) {
                    return Err(A::Error::custom(format!("has {name} twice")));
                }
                *slot = map.next_value()?;
            }
        }
        Ok((values, unknown))
    }
}

/// The name of a field.
enum Key {
    /// Its position among those that are read.
    Known(usize, &'static str),
    Unknown(String),
}

/// Looks a name up among those that are read.
struct Place {
    names: &'static [&'static str],
}

impl<'l> DeserializeSeed<'l> for Place {
    type Value = Key;

    fn deserialize<D: Deserializer<'l>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        // As bytes, since the name of a field that is ignored may not be valid text.
        deserializer.deserialize_bytes(self)
    }
}

impl Visitor<'_> for Place {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_bytes<E: Error>(self, name: &[u8]) -> Result<Self::Value, E> {
        let mut names = self.names.iter().enumerate();
        let found = names.find(|(_, known)| known.as_bytes() == name);
        Ok(match found {
            Some((place, name)) => Key::Known(place, name),
            None => {
                let name = name.get(..UNKNOWN_BYTES_MAX).unwrap_or(name);
                Key::Unknown(String::from_utf8_lossy(name).into_owned())
            }
        })
    }
}

fn other_kind(name: &str, raw: &str, kind: &str) -> String {
    let found = match raw.as_bytes().first() {
        Some(b'"') => "a string",
        Some(b'{') => "an object",
        Some(b'[') => "a list",
        Some(b't') => "true",
        Some(b'f') => "false",
        _ => "a number",
    };
    format!("{name} is {found}, and must be {kind}")
}

/// Removes the line number that serde_json adds: its text is always one line.
fn problem(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let reason = text.strip_suffix(&place).unwrap_or(&text);
    if error.is_data() {
        reason.to_owned()
    } else {
        format!("is not JSON: {reason} (column {})", error.column())
    }
}

/// The JSON with each half of a surrogate pair replaced by the six characters of its escape.
fn spell_out_surrogates(json: &str) -> String {
    let mut spelled = String::with_capacity(json.len());
    let mut rest = json;
    while let Some((before, after)) = rest.split_once('\\') {
        spelled.push_str(before);
        spelled.push('\\');
        let escape_bytes = match surrogate(after) {
            Some(Half::First) if is_second(after.get(SURROGATE_BYTES..)) => 2 * SURROGATE_BYTES + 1,
            Some(_) => {
                spelled.push('\\');
                SURROGATE_BYTES
            }
            // A backslash escapes one character; after `\u`, four digits follow that need no care.
            None => after.chars().next().map_or(0, char::len_utf8),
        };
        let (escape, tail) = after.split_at_checked(escape_bytes).unwrap_or((after, ""));
        spelled.push_str(escape);
        rest = tail;
    }
    spelled.push_str(rest);
    spelled
}

/// Which half of a surrogate pair.
enum Half {
    First,
    Second,
}

/// The half that is written behind a backslash.
fn surrogate(after: &str) -> Option<Half> {
    let digits = after.strip_prefix('u')?.get(..SURROGATE_BYTES - 1)?;
    match u16::from_str_radix(digits, 16).ok()? {
        0xd800..=0xdbff => Some(Half::First),
        0xdc00..=0xdfff => Some(Half::Second),
        _ => None,
    }
}

fn is_second(after: Option<&str>) -> bool {
    let escape = after.and_then(|after| after.strip_prefix('\\'));
    matches!(escape.and_then(surrogate), Some(Half::Second))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[&str] = &["a", "b"];

    fn fields(text: &str) -> Fields<'_> {
        Fields::of_text(text, NAMES).unwrap()
    }

    #[test]
    fn numbers_of_any_size_are_counts() {
        for (number, count, is_exact) in [
            ("7", Some(7), true),
            ("7.0", Some(7), true),
            ("7e0", Some(7), true),
            ("18446744073709551615", Some(u64::MAX), true),
            ("18446744073709551616", Some(u64::MAX), true),
            ("1e30", Some(u64::MAX), true),
            ("1e999", Some(u64::MAX), true),
            ("1.5", Some(1), false),
            ("-0", Some(0), true),
            ("-1", None, false),
            ("-0.5", None, false),
            ("-1e999", None, false),
        ] {
            let text = format!(r#"{{"a":{number}}}"#);
            let mut fields = fields(&text);
            assert_eq!(fields.count("a", "b"), Ok(count), "{number}");
            let noted: &[&str] = if is_exact { &[] } else { &["b"] };
            assert_eq!(fields.into_adjusted(), noted, "{number}");
        }
    }

    #[test]
    fn half_of_a_pair_is_spelled_out_and_noted() {
        for (json, text) in [
            (r#""a\ud800""#, Some(r"a\ud800")),
            (r#""\udc00\ud83e\udd80""#, Some("\\udc00\u{1f980}")),
            (r#""\ud800\ud83e\udd80\n""#, Some("\\ud800\u{1f980}\n")),
            (r#""\\ud800""#, None),
            (r#""\\\"""#, None),
            (r#""\ud83e\udd80\u00e9""#, None),
        ] {
            let line = format!(r#"{{"a":{json}}}"#);
            let mut fields = fields(&line);
            let found = fields.text("a", "b").unwrap().unwrap();
            match text {
                Some(text) => assert_eq!(found, text),
                None => assert_eq!(found, serde_json::from_str::<String>(json).unwrap()),
            }
            assert_eq!(fields.into_adjusted().len(), usize::from(text.is_some()));
        }
        let mut fields = fields(r#"{"a":["\ud800"],"b":{"\ud800":"\udfff"},"\ud800":1}"#);
        assert_eq!(fields.texts("a").unwrap(), [r"\ud800"]);
        let texts = fields.named_texts("b").unwrap();
        assert_eq!(texts.get(r"\ud800").unwrap(), r"\udfff");
        assert_eq!(fields.into_adjusted(), ["a", "b"]);
    }

    #[test]
    fn another_kind_is_named_with_its_field() {
        let mut all = fields(r#"{"a":"x","b":3}"#);
        assert_eq!(
            all.count("a", "a").unwrap_err(),
            "a is a string, and must be a number"
        );
        assert_eq!(
            all.text("b", "b").unwrap_err(),
            "b is a number, and must be a string"
        );
        assert_eq!(
            all.truth("b").unwrap_err(),
            "b is a number, and must be true or false"
        );
        let problem = |text| Fields::of_text(text, NAMES).unwrap_err();
        assert_eq!(problem(r#"{"a":1,"a":null}"#), "has a twice");
        assert_eq!(problem("[1]"), "is not a JSON object");
        assert!(problem(r#"{"a":1"#).starts_with("is not JSON: EOF"));
        assert!(problem(r#"{"a":1} x"#).starts_with("is not JSON: trailing"));
        assert_eq!(
            fields(r#"{"a":null,"c":[1e999]}"#).count("a", "a"),
            Ok(None)
        );
    }
}
