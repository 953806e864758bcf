//! Adjustments of a request: fields that were brought into their bounds, and bodies that were not parsed or kept.

/// The request body could not be parsed in its protocol, or not in full.
pub(crate) const REQUEST_UNPARSED: &str = "request_unparsed";
/// The response body could not be parsed in its protocol, or not in full.
pub(crate) const RESPONSE_UNPARSED: &str = "response_unparsed";
/// The response body was read without its protocol: only what JSON of any protocol has in common.
pub(crate) const RESPONSE_GENERIC: &str = "response_generic";
/// Some of the provider's token counts are invalid (negative, fractional, no numbers) and left out.
pub(crate) const USAGE_UNPARSED: &str = "usage_unparsed";
/// The request body was left out because its redaction failed.
pub(crate) const REQUEST_WITHHELD: &str = "request_withheld";
/// The response body was left out because its redaction failed.
pub(crate) const RESPONSE_WITHHELD: &str = "response_withheld";

/// Names of adjusted fields, and flags of bodies; each name once, in the order in which they were noted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Adjustments {
    /// Fields that were shortened, left out, or replaced by a bound.
    pub(crate) fields: Vec<String>,
    /// Flags of bodies that were not parsed, withheld or left out as a whole.
    pub(crate) body_flags: Vec<String>,
}

impl Adjustments {
    /// Notes the name of a field.
    pub(crate) fn adjust(&mut self, field: &str) {
        push_once(&mut self.fields, field.to_owned());
    }

    /// Notes a flag of a body.
    pub(crate) fn flag(&mut self, flag: &str) {
        push_once(&mut self.body_flags, flag.to_owned());
    }

    /// Adds the adjustments of another step.
    pub(crate) fn add(&mut self, other: Self) {
        add_names(&mut self.fields, other.fields);
        add_names(&mut self.body_flags, other.body_flags);
    }
}

/// Adds names that are not listed yet.
pub(crate) fn add_names(names: &mut Vec<String>, added: impl IntoIterator<Item = String>) {
    for name in added {
        push_once(names, name);
    }
}

fn push_once(names: &mut Vec<String>, name: String) {
    if !names.contains(&name) {
        names.push(name);
    }
}
