//! One style of options: public structs and enums can grow without breaking anyone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::layers::sources;

/// Types that are meant to be complete, and why.
const COMPLETE: &[&str] = &[
    "Digest",      // 32 bytes
    "PayloadSide", // a body is of the request or of the response
];

/// What `src/lib.rs` exports.
fn exported() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs");
    let text = fs::read_to_string(root).unwrap();
    let uses = text
        .split("pub use ")
        .skip(1)
        .map(|part| part.split(';').next());
    uses.flatten()
        .flat_map(|part| part.split(|c: char| !c.is_alphanumeric() && c != '_'))
        .filter(|name| name.starts_with(char::is_uppercase))
        .map(str::to_owned)
        .collect()
}

/// A public type: the lines of attributes above it, its own, and the rest of the file.
struct Type {
    attributes: String,
    is_enum: bool,
    body: String,
    file: String,
}

fn types() -> BTreeMap<String, Type> {
    let exported = exported();
    let mut types = BTreeMap::new();
    for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = fs::read_to_string(&file).unwrap();
        let mut attributes = String::new();
        for (number, line) in text.lines().enumerate() {
            let item = ["pub struct ", "pub enum "]
                .iter()
                .find_map(|item| line.strip_prefix(item));
            let Some(item) = item else {
                match line.is_empty() || line.starts_with('}') {
                    true => attributes.clear(),
                    false => attributes.push_str(line),
                }
                continue;
            };
            let name = item.split(|c: char| !c.is_alphanumeric()).next().unwrap();
            let body = text.lines().skip(number).take_while(|line| *line != "}");
            let body: Vec<&str> = match line.ends_with(';') {
                true => vec![line],
                false => body.collect(),
            };
            if exported.contains(name) {
                let found = Type {
                    attributes: std::mem::take(&mut attributes),
                    is_enum: line.starts_with("pub enum"),
                    body: body.join("\n"),
                    file: text.clone(),
                };
                types.insert(name.to_owned(), found);
            }
        }
    }
    assert!(types.len() > 60, "only {} public types", types.len());
    types
}

/// A number in a public field is not a time: those are `Timestamp`s.
#[test]
fn public_times_are_timestamps() {
    for (name, found) in types() {
        for field in found.body.lines().filter(|line| line.contains("i64")) {
            let field = field.trim().trim_start_matches("pub ");
            let (field, _) = field.split_once(':').unwrap_or((field, ""));
            // A key and a version as they stand in the file.
            let is_no_time = matches!(
                (name.as_str(), field),
                ("UnreadableRequest", "opened_seq") | ("DoctorReport", "file_version")
            );
            assert!(
                is_no_time || !found.body.contains(&format!("pub {field}: ")),
                "{name}::{field} is a bare i64"
            );
        }
    }
}

#[test]
fn public_types_can_grow() {
    for (name, found) in types() {
        // A struct whose fields are all private cannot be built or matched outside.
        let is_open = found.is_enum || found.body.contains("\n    pub ");
        let is_tuple = found.body.contains("(pub ");
        if COMPLETE.contains(&name.as_str()) || !(is_open || is_tuple) {
            continue;
        }
        assert!(
            found.attributes.contains("#[non_exhaustive]"),
            "{name} is not #[non_exhaustive]"
        );
    }
}

/// What a caller builds: by `new` and chained setters, one for each field that `new` does not take.
#[test]
fn options_have_a_setter_for_each_field() {
    let mut checked = 0;
    for (name, found) in types() {
        let is_built = ["Options", "Filter", "Retention", "Completion", "Failure"]
            .iter()
            .any(|end| name.ends_with(end))
            || ["Rejection", "RequestContext", "Timing", "Usage"].contains(&name.as_str());
        if !is_built || found.is_enum {
            continue;
        }
        checked += 1;
        let methods = methods(&name, &found.file);
        let constructor = methods.split("pub fn new(").nth(1).unwrap_or_default();
        let constructor = constructor.split(')').next().unwrap();
        let fields = found
            .body
            .lines()
            .filter_map(|line| line.strip_prefix("    pub "));
        for field in fields {
            let field = field.split(':').next().unwrap();
            // A list may be added to one by one instead.
            let one = field.strip_suffix('s').unwrap_or(field);
            let has = |setter: &str| {
                methods.contains(&format!("pub fn {setter}(mut self"))
                    || in_setters(&methods, setter)
                    || constructor.contains(&format!("{setter}: "))
            };
            assert!(has(field) || has(one), "{name} has no setter for {field}");
        }
    }
    assert!(checked >= 12, "only {checked} types of options");
}

/// What the type's own `impl` has, and the macro for what several ends have in common.
fn methods(name: &str, file: &str) -> String {
    let head = format!("\nimpl {name} {{\n");
    let blocks = file.split(head.as_str()).skip(1);
    let mut methods: String = blocks
        .filter_map(|rest| rest.split("\n}\n").next())
        .collect();
    if methods.contains("response_setters!") {
        let shared = file.split("macro_rules! response_setters").nth(1).unwrap();
        methods.push_str(shared.split("\n}\n").next().unwrap());
    }
    methods
}

/// Whether a `setters!` in these methods names it.
fn in_setters(methods: &str, name: &str) -> bool {
    let blocks = methods.split("setters! {").skip(1);
    let mut blocks = blocks.filter_map(|block| block.split('}').next());
    blocks.any(|block| {
        block
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .any(|word| word == name)
    })
}
