//! The form that an event's line must have in a bundle.
//!
//! JSON parsers accept different inputs (NaN, duplicate names, halves of surrogate pairs, numbers of any
//! length). Two parsers that read one line differently could be shown two stories with one proof. So a
//! bundle contains lines of only one form. docs/format.md defines it, and the writer's lines always have
//! it.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// The deepest nesting of objects and arrays. Events have six levels; recursion costs stack.
const DEPTH_MAX: u32 = 64;

/// Whether the line is the event with this seq, in the form that every parser reads alike.
pub(super) fn is_event(line: &[u8], seq: u64) -> bool {
    std::str::from_utf8(line).is_ok_and(|line| begins_as(line, seq) && is_strict_object(line))
}

/// Whether it begins with `seq`, `at` and `event` as the writer writes them.
fn begins_as(line: &str, seq: u64) -> bool {
    let rest = line
        .strip_prefix("{\"seq\":")
        .and_then(|rest| rest.strip_prefix(&seq.to_string()))
        .and_then(|rest| rest.strip_prefix(",\"at\":"));
    let Some((at, rest)) = rest.and_then(|rest| rest.split_once(",\"event\":\"")) else {
        return false;
    };
    let is_canonical = |number: i64| number.to_string() == at;
    let name = rest.split_once('"').map_or("", |(name, _)| name);
    at.parse().is_ok_and(is_canonical)
        && !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// One JSON object, and nothing before or after it.
fn is_strict_object(line: &str) -> bool {
    let mut deserializer = serde_json::Deserializer::from_str(line);
    line.ends_with('}')
        && Strict { depth: 0 }.deserialize(&mut deserializer).is_ok()
        && deserializer.end().is_ok()
}

/// A value in which no object has a name twice, numbers are finite, and not too much lies inside each
/// other. That strings are Unicode and the grammar is RFC 8259's is the parser's to check.
#[derive(Clone, Copy)]
struct Strict {
    /// Objects and arrays around it.
    depth: u32,
}

impl Strict {
    fn inside<E: Error>(self) -> Result<Self, E> {
        if self.depth == DEPTH_MAX {
            return Err(E::custom("too deep"));
        }
        Ok(Self {
            depth: self.depth.saturating_add(1),
        })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let inside = self.inside()?;
        while items.next_element_seed(inside)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let inside = self.inside()?;
        let mut names = HashSet::new();
        while let Some(name) = fields.next_key::<String>()? {
            if !names.insert(name) {
                return Err(A::Error::custom("a name occurs twice"));
            }
            fields.next_value_seed(inside)?;
        }
        Ok(())
    }
}
