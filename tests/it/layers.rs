//! The layers: a module uses only modules below its own.

use std::fs;
use std::path::{Path, PathBuf};

/// From the bottom up. A module may use those before it; the parts of a folder may use each other.
const ORDER: &[&str] = &[
    // the seeds of the crate's own tests
    "tests", // 0 words
    "process",
    "redaction",
    "error",
    "config",
    "clock",
    "regular_file",
    "sync",
    "model", // 1 pure
    "payload",
    "wire",
    "log",
    "pricing",
    "merkle", // 2 the database
    "db",     // what both the writer and readers do with it
    "read",   // 3 the writer
    "writer", // 4 operations
    "removal",
    "doctor",
    "verify",
    "bundle",
    "export", // 5 façade
    "rebuild",
    "receipt",
    "handle",
    "recorder",
    "reader",
    "feed",
    "follow",
    "closing",
    "store",
];

/// The Rust files below a folder.
pub(crate) fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
    files
}

fn source_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The sources of the library and the program, without the crate's own tests, which reach everywhere.
fn product_sources() -> Vec<PathBuf> {
    let mut files = sources(&source_folder());
    files.retain(|file| module_of(file) != "tests");
    files
}

/// The top-level module that a file belongs to.
fn module_of(file: &Path) -> String {
    let relative = file.strip_prefix(source_folder()).unwrap();
    let first = relative.components().next().unwrap();
    let name = first.as_os_str().to_string_lossy();
    name.trim_end_matches(".rs").to_owned()
}

/// Lines of code, without comments.
fn code(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap();
    text.lines()
        .map(|line| line.split("//").next().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn modules_use_only_lower_layers() {
    let mut violations = Vec::new();
    for file in product_sources() {
        let module = module_of(&file);
        if matches!(module.as_str(), "lib" | "main" | "cli") {
            continue;
        }
        let own = ORDER
            .iter()
            .position(|name| *name == module)
            .unwrap_or_else(|| panic!("{module} has no place in the layers"));
        for (number, line) in code(&file).iter().enumerate() {
            for used in line.split("crate::").skip(1) {
                // `pub(crate)` is not a path, and `$crate::` of macros is the same crate.
                let name: String = used
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                let place = ORDER.iter().position(|known| *known == name);
                let is_fine = place.is_some_and(|place| place <= own);
                if !is_fine {
                    violations.push(format!("{}:{}: {name}", file.display(), number + 1));
                }
            }
        }
    }
    assert!(
        violations.is_empty(),
        "upward uses:\n{}",
        violations.join("\n")
    );
}

#[test]
fn only_the_database_layer_names_rusqlite_and_r2d2() {
    for file in product_sources() {
        if module_of(&file) == "db" {
            continue;
        }
        for line in code(&file) {
            let names_it = ["rusqlite", "r2d2"].iter().any(|name| line.contains(name));
            assert!(!names_it, "{}: {line}", file.display());
        }
    }
}

/// A connection that is not hardened runs what is planted in the file.
#[test]
fn an_untrusted_file_is_opened_by_hardened_connections_only() {
    for file in product_sources() {
        let lines = code(&file);
        let is_test = |line: &&String| line.contains("#[cfg(test)]");
        let end = lines.iter().position(|line| is_test(&line));
        let lines = lines.get(..end.unwrap_or(lines.len())).unwrap();
        let holds = |text: &str| lines.iter().any(|line| line.contains(text));
        let name = file.file_name().unwrap().to_string_lossy();
        if holds("open_with_flags(") {
            // `export` writes a file that is new.
            assert!(
                name == "database.rs"
                    || holds("harden(&connection)")
                    || holds("set_up_reader(&connection)"),
                "{name}"
            );
            assert!(
                ["open.rs", "pool.rs", "alone.rs", "database.rs"].contains(&&*name),
                "{name}"
            );
        }
        let opens = lines
            .iter()
            .filter(|line| line.contains("Connection::open("));
        for line in opens {
            assert!(
                name == "tests.rs" || line.contains("open(\"\")"),
                "{name}: {line}"
            );
        }
    }
}

#[test]
fn the_command_line_uses_the_public_api_only() {
    for file in product_sources() {
        if !matches!(module_of(&file).as_str(), "main" | "cli") {
            continue;
        }
        for line in code(&file) {
            let names_module = ORDER
                .iter()
                .any(|module| line.contains(&format!("auditlite::{module}::")));
            assert!(!names_module, "{}: {line}", file.display());
        }
    }
}

#[test]
fn no_file_is_longer_than_600_lines() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["src", "tests", "benches", "examples"] {
        for file in sources(&root.join(folder)) {
            let lines = fs::read_to_string(&file).unwrap().lines().count();
            assert!(lines <= 600, "{} has {lines} lines", file.display());
        }
    }
}

/// Words of an English that nobody in the field writes; `docs/glossary.md` has those that are used.
#[test]
fn sources_say_it_in_the_words_of_the_field() {
    let words = ["whoever", "somebody", "anew", "held against"];
    let mut found = Vec::new();
    for file in sources(&source_folder()) {
        for (number, line) in fs::read_to_string(&file).unwrap().lines().enumerate() {
            let line = line.to_lowercase();
            if words.iter().any(|word| line.contains(word)) {
                found.push(format!("{}:{}", file.display(), number + 1));
            }
        }
    }
    assert!(
        found.len() <= 5,
        "write another word:\n{}",
        found.join("\n")
    );
}
