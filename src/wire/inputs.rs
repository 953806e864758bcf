//! Inputs of calls that a stream brings as parts of a document, not of its text: commands by their number, and
//! values by their path.

use serde_json::value::RawValue;

/// Limit of the commands of one call, and of the members of one object or list.
const MEMBERS_MAX: usize = 1024;
/// How deeply values may be nested: writing them recurses.
const DEPTH_MAX: usize = 32;

/// The input of one call, as far as it came.
#[derive(Debug)]
pub(super) enum PartedInput {
    /// Commands of a shell.
    Commands(Vec<String>),
    /// A document that paths build (Vertex AI's `partialArgs`).
    Document(Value),
}

impl PartedInput {
    /// The command with this number; `None` beyond the limit.
    pub(super) fn command(&mut self, number: u64) -> Option<&mut String> {
        let Self::Commands(commands) = self else {
            return None;
        };
        let at = usize::try_from(number)
            .ok()
            .filter(|at| *at < MEMBERS_MAX)?;
        if commands.len() <= at {
            commands.resize_with(at.saturating_add(1), String::new);
        }
        commands.get_mut(at)
    }

    /// The value at this path; `None` if it cannot be.
    pub(super) fn value(&mut self, path: &str) -> Option<&mut Value> {
        match self {
            Self::Document(root) => root.at(path),
            Self::Commands(_) => None,
        }
    }

    /// The input as JSON.
    pub(super) fn to_json(&self) -> String {
        let mut json = String::new();
        match self {
            Self::Commands(commands) => {
                json.push_str("{\"commands\":[");
                for (at, command) in commands.iter().enumerate() {
                    separate(&mut json, at);
                    write_text(&mut json, command);
                }
                json.push_str("]}");
            }
            Self::Document(root) => root.write(&mut json),
        }
        json
    }
}

/// A value that is being built.
#[derive(Debug, Default)]
pub(super) enum Value {
    #[default]
    Absent,
    Text(String),
    /// As written.
    Json(String),
    List(Vec<Value>),
    /// In the order in which they came.
    Object(Vec<(String, Value)>),
}

impl Value {
    /// Adds a piece of a text.
    pub(super) fn push_text(&mut self, piece: &str) {
        match self {
            Self::Text(text) => text.push_str(piece),
            other => *other = Self::Text(piece.to_owned()),
        }
    }

    pub(super) fn set(&mut self, json: &RawValue) {
        *self = Self::Json(json.get().to_owned());
    }

    /// The value at a path such as `$.a.b[0]` or `$['a']`, made if it is not there.
    fn at(&mut self, path: &str) -> Option<&mut Self> {
        let mut rest = path.strip_prefix('$')?;
        let mut value = self;
        for _ in 0..DEPTH_MAX {
            if rest.is_empty() {
                return Some(value);
            }
            let (step, after) = step(rest)?;
            rest = after;
            value = match step {
                Step::Name(name) => value.member(name)?,
                Step::Number(number) => value.item(number)?,
            };
        }
        None
    }

    fn member(&mut self, name: &str) -> Option<&mut Self> {
        if matches!(self, Self::Absent) {
            *self = Self::Object(Vec::new());
        }
        let Self::Object(members) = self else {
            return None;
        };
        let at = members.iter().position(|(known, _)| known == name);
        let at = match at {
            Some(at) => at,
            None if members.len() < MEMBERS_MAX => {
                members.push((name.to_owned(), Self::Absent));
                members.len().checked_sub(1)?
            }
            None => return None,
        };
        members.get_mut(at).map(|(_, value)| value)
    }

    fn item(&mut self, number: usize) -> Option<&mut Self> {
        if matches!(self, Self::Absent) {
            *self = Self::List(Vec::new());
        }
        let Self::List(items) = self else { return None };
        if number == items.len() && number < MEMBERS_MAX {
            items.push(Self::Absent);
        }
        items.get_mut(number)
    }

    /// Recurses at most [`DEPTH_MAX`] times, since no path made it deeper.
    fn write(&self, json: &mut String) {
        match self {
            Self::Absent => json.push_str("null"),
            Self::Text(text) => write_text(json, text),
            Self::Json(raw) => json.push_str(raw),
            Self::List(items) => {
                json.push('[');
                for (at, item) in items.iter().enumerate() {
                    separate(json, at);
                    item.write(json);
                }
                json.push(']');
            }
            Self::Object(members) => {
                json.push('{');
                for (at, (name, value)) in members.iter().enumerate() {
                    separate(json, at);
                    write_text(json, name);
                    json.push(':');
                    value.write(json);
                }
                json.push('}');
            }
        }
    }
}

enum Step<'p> {
    Name(&'p str),
    Number(usize),
}

/// The first step of a path, and the rest.
fn step(path: &str) -> Option<(Step<'_>, &str)> {
    if let Some(rest) = path.strip_prefix('.') {
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let (name, rest) = rest.split_at_checked(end)?;
        return Some((Step::Name(name), rest));
    }
    let rest = path.strip_prefix('[')?;
    for quote in ['\'', '"'] {
        if let Some(rest) = rest.strip_prefix(quote) {
            let (name, rest) = rest.split_once(quote)?;
            return Some((Step::Name(name), rest.strip_prefix(']')?));
        }
    }
    let (number, rest) = rest.split_once(']')?;
    Some((Step::Number(number.parse().ok()?), rest))
}

fn separate(json: &mut String, at: usize) {
    if at > 0 {
        json.push(',');
    }
}

fn write_text(json: &mut String, text: &str) {
    // Writing a string to memory does not fail.
    json.push_str(&serde_json::to_string(text).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_build_a_document_in_the_order_of_their_pieces() {
        let mut input = PartedInput::Document(Value::default());
        let raw = |json: &'static str| serde_json::from_str::<&RawValue>(json).unwrap();
        input.value("$.z.city").unwrap().push_text("Bos");
        input.value("$.z.city").unwrap().push_text("ton \"x\"");
        input.value("$['a b'][0]").unwrap().set(raw("50"));
        input.value("$['a b'][1].c").unwrap().set(raw("null"));
        assert_eq!(
            input.to_json(),
            r#"{"z":{"city":"Boston \"x\""},"a b":[50,{"c":null}]}"#
        );
        for path in [
            "",
            "a",
            "$.z.city.more",
            "$['a b'][7]",
            "$[0]",
            "$.a[",
            "$.a[x]",
        ] {
            assert!(input.value(path).is_none(), "{path}");
        }
        let deep = format!("${}", ".a".repeat(DEPTH_MAX + 1));
        assert!(
            PartedInput::Document(Value::default())
                .value(&deep)
                .is_none()
        );
    }

    #[test]
    fn commands_have_numbers_up_to_a_limit() {
        let mut input = PartedInput::Commands(Vec::new());
        input.command(1).unwrap().push_str("ls \"a\"");
        assert_eq!(input.to_json(), r#"{"commands":["","ls \"a\""]}"#);
        assert!(input.command(MEMBERS_MAX as u64).is_none());
        assert!(input.command(u64::MAX).is_none());
    }
}
