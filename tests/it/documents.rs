//! The documents: short enough to be read, and true about what can be checked.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Most words of the pages that everybody starts with.
const ARCHITECTURE_WORDS_MAX: usize = 2_500;
const README_WORDS_MAX: usize = 1_400;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The pages, by their paths.
fn pages() -> Vec<(String, String)> {
    let mut names: Vec<String> = [
        "ARCHITECTURE",
        "CHANGELOG",
        "CONTRIBUTING",
        "README",
        "SECURITY",
    ]
    .map(|name| format!("{name}.md"))
    .to_vec();
    for entry in fs::read_dir(root().join("docs")).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        if name.ends_with(".md") {
            names.push(format!("docs/{name}"));
        }
    }
    names
        .into_iter()
        .map(|name| (name.clone(), read(&name)))
        .collect()
}

/// What stands between single backticks, outside of blocks of code.
fn code_spans(page: &str) -> Vec<&str> {
    let outside = page.split("\n```").step_by(2);
    outside
        .flat_map(|text| text.split('`').skip(1).step_by(2))
        .filter(|span| !span.contains('\n'))
        .collect()
}

/// All files and folders below a folder, relative to it.
fn tree(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(folder).unwrap().to_string_lossy();
            if path.is_dir() {
                found.insert(format!("{name}/"));
                folders.push(path);
            } else {
                found.insert(name.into_owned());
            }
        }
    }
    found
}

/// A span that names a file of Rust or a folder: `db/rows.rs`, `writer/stages/`.
fn is_path(span: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_/.".contains(c);
    let names_one = span.ends_with(".rs") || span.ends_with('/');
    // The origin of checkpoints begins so.
    let is_origin = span == "auditlite/";
    names_one
        && span.len() > 3
        && !span.starts_with('/')
        && !is_origin
        && span.chars().all(is_plain)
}

/// Pages name files below `src/` with or without it; single names stand for a file that the sentence
/// has placed already.
fn exists(path: &str, sources: &BTreeSet<String>) -> bool {
    let in_sources = path.strip_prefix("src/").unwrap_or(path);
    let below = format!("/{in_sources}");
    root().join(path).exists()
        || sources
            .iter()
            .any(|name| *name == in_sources || name.ends_with(&below))
}

#[test]
fn every_path_in_a_document_exists() {
    let sources = tree(&root().join("src"));
    let mut missing = Vec::new();
    let mut checked = 0;
    for (name, page) in pages() {
        for span in code_spans(&page).into_iter().filter(|span| is_path(span)) {
            checked += 1;
            if !exists(span, &sources) {
                missing.push(format!("{name}: {span}"));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    assert!(checked > 100, "{checked}");
}

#[test]
fn the_code_map_names_every_folder_and_every_file_of_the_write_path() {
    let page = read("ARCHITECTURE.md");
    let (_, map) = page.split_once("\n## Code map").unwrap();
    let map = map.split("\n## ").next().unwrap();
    let spans: BTreeSet<&str> = code_spans(map).into_iter().collect();
    let named = |path: &str| {
        let is_it = |span: &str| span == path || path.ends_with(&format!("/{span}"));
        spans
            .iter()
            .any(|span| is_it(span.trim_start_matches("src/")))
    };
    let mut missing = Vec::new();
    for path in tree(&root().join("src")) {
        let parts: Vec<&str> = path.trim_end_matches('/').split('/').collect();
        let is_writer = parts.first() == Some(&"writer") && parts.len() == 3;
        let is_module = path.ends_with('/') && parts.len() <= 2 && !path.ends_with("tests/");
        let is_top = parts.len() == 1 && path.ends_with(".rs") && path != "lib.rs";
        let is_own = parts.last() == Some(&"mod.rs");
        // Folders of the command line's commands, and those that only hold a file's tests.
        let is_inner = ["cli/", "sync/"]
            .iter()
            .any(|folder| path.starts_with(folder))
            && parts.len() > 2;
        if (is_module || is_top || is_writer) && !is_own && !is_inner && !named(&path) {
            missing.push(path);
        }
    }
    assert!(
        missing.is_empty(),
        "ARCHITECTURE.md lacks:\n{}",
        missing.join("\n")
    );
}

#[test]
fn every_item_of_the_api_in_a_document_exists() {
    let mut sources = String::new();
    for path in tree(&root().join("src")) {
        if path.ends_with(".rs") {
            sources.push_str(&read(&format!("src/{path}")));
        }
    }
    let words: BTreeSet<&str> = sources
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .collect();
    let mut missing = Vec::new();
    let mut checked = 0;
    for (name, page) in pages() {
        for span in code_spans(&page) {
            let Some((owner, rest)) = span.split_once("::") else {
                continue;
            };
            let item: String = rest
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            // What is gone is named by the changelog only.
            let is_gone = name == "CHANGELOG.md" && span == "RemovalError::Dependant";
            let is_type = owner.starts_with(|c: char| c.is_ascii_uppercase())
                && owner.chars().all(|c| c.is_ascii_alphanumeric());
            if !is_type || is_gone {
                continue;
            }
            checked += 1;
            if !words.contains(owner) || !words.contains(item.as_str()) {
                missing.push(format!("{name}: {span}"));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    assert!(checked > 60, "{checked}");
}

/// Names in documents that are not ours, or that are put together.
const FOREIGN_NAMES: &[&str] = &["index_xinfo", "table_xinfo", "imported_response"];

/// Fields, settings and constants: `adjusted_fields`.
fn is_snake_case(span: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    span.contains('_') && !span.starts_with('_') && span.chars().all(is_word)
}

#[test]
fn every_field_and_setting_in_a_document_exists() {
    let mut text = read("schema.sql");
    for folder in ["src", "tests", "benches", "examples"] {
        for path in tree(&root().join(folder)) {
            text.push_str(&format!("\n{path}\n"));
            if path.ends_with(".rs") {
                text.push_str(&read(&format!("{folder}/{path}")));
            }
        }
    }
    let words: BTreeSet<&str> = text
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .collect();
    let mut missing = Vec::new();
    let mut checked = 0;
    for (name, page) in pages() {
        // It also says what things were called before.
        if name == "CHANGELOG.md" {
            continue;
        }
        // A table of other programs' names, which tests/sdks compares with them.
        let page = page.split("<!-- unread: begin -->").next().unwrap_or(&page);
        for span in code_spans(page)
            .into_iter()
            .filter(|span| is_snake_case(span))
        {
            checked += 1;
            if !words.contains(span) && !FOREIGN_NAMES.contains(&span) {
                missing.push(format!("{name}: {span}"));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    assert!(checked > 300, "{checked}");
}

/// Heading to anchor, as GitHub makes them.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let mut broken = Vec::new();
    let mut checked = 0;
    for (name, page) in pages() {
        for link in page.split("](").skip(1) {
            let target = link.split(')').next().unwrap();
            if target.starts_with("http") {
                continue;
            }
            checked += 1;
            let (file, place) = target.split_once('#').unwrap_or((target, ""));
            let path = match file {
                "" => PathBuf::from(&name),
                _ => Path::new(&name).parent().unwrap().join(file),
            };
            let text = match fs::read_to_string(root().join(&path)) {
                Ok(text) => text,
                Err(_) if root().join(&path).is_dir() => String::new(),
                Err(_) => {
                    broken.push(format!("{name}: {target}"));
                    continue;
                }
            };
            let mut headings = text.lines().filter(|line| line.starts_with('#'));
            if !place.is_empty() && !headings.any(|heading| anchor(heading) == place) {
                broken.push(format!("{name}: {target}"));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(checked > 40, "{checked}");
}

#[test]
fn the_pages_that_everybody_starts_with_are_short() {
    for (name, words_max) in [
        ("ARCHITECTURE.md", ARCHITECTURE_WORDS_MAX),
        ("README.md", README_WORDS_MAX),
    ] {
        let words = read(name).split_whitespace().count();
        assert!(words <= words_max, "{name} has {words} words");
    }
}

/// `examples/quickstart.rs` is run as a documentation test of the library (`src/lib.rs`).
#[test]
fn the_readmes_example_is_the_one_that_is_run() {
    let readme = read("README.md");
    let blocks: Vec<&str> = readme.split("\n```rust\n").skip(1).collect();
    assert_eq!(blocks.len(), 1, "one example in Rust");
    let example = blocks[0].split("\n```").next().unwrap();
    assert!(example.contains("fn main()"));
    let quickstart = read("examples/quickstart.rs");
    assert!(
        quickstart.trim_end().ends_with(example.trim_end()),
        "{example}"
    );
    let library = read("src/lib.rs");
    assert!(library.contains("quickstart::run();"));
}

/// What a reader is told to run is what runs before a change lands.
#[test]
fn the_readme_has_the_commands_that_are_run_before_a_change_lands() {
    // Not in the package.
    let Ok(run) = fs::read_to_string(root().join(".ci/run")) else {
        return;
    };
    let run = run.replace("\\\n", "");
    let readme = read("README.md");
    let steps: Vec<&str> = run
        .lines()
        .filter(|line| line.contains("(the README's command)"))
        .collect();
    assert_eq!(steps.len(), 2);
    for step in steps {
        let (_, command) = step.split_once("cargo ").unwrap();
        let command: Vec<&str> = command
            .split_whitespace()
            .take_while(|word| *word != "--")
            .filter(|word| *word != "--quiet")
            .collect();
        let command = format!("cargo {}", command.join(" "));
        assert!(readme.lines().any(|line| line == command), "{command}");
    }
}
