//! Folders: a subfolder uses only subfolders below its own, and the files of a folder do not use each other in
//! circles.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// From the bottom up: the subfolders of a folder, and its files that are in none.
const SUBFOLDERS: &[(&str, &[&str])] = &[
    (
        "writer",
        &[
            "disk_space",
            "health",
            "admission",
            "commit",
            "stages",
            "opening",
            "worker",
        ],
    ),
    (
        "db",
        &[
            "error",
            "keyed",
            "media",
            "added_columns",
            "rollups",
            "rows",
            "ended_rows",
            "segments",
            "connection",
            "read",
            "search",
            "remove",
            "write",
            "check",
            "backup",
            "export",
        ],
    ),
];

/// Files whose type has its methods in several files of the folder, which use it in turn; the folder's own
/// documentation shows it.
const HUBS: &[&str] = &["writer::commit::committer", "db::write::append"];

type Module = Vec<String>;

struct Sources {
    /// Each module with its text, without comments, strings and tests.
    modules: BTreeMap<Module, String>,
    /// What a module's file re-exports, by its path there.
    exports: BTreeMap<Module, Module>,
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
    found
}

impl Sources {
    fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut modules = BTreeMap::new();
        for file in files(&root) {
            let relative = file.strip_prefix(&root).unwrap().with_extension("");
            let mut module: Module = relative
                .components()
                .map(|part| part.as_os_str().to_string_lossy().into_owned())
                .collect();
            if module.last().is_some_and(|last| last == "mod") {
                module.pop();
            }
            let is_test = module.iter().any(|part| part == "tests");
            if is_test || module == ["main"] || module == ["lib"] {
                continue;
            }
            modules.insert(module, code(&fs::read_to_string(&file).unwrap()));
        }
        let mut sources = Self {
            modules,
            exports: BTreeMap::new(),
        };
        let mut exports = BTreeMap::new();
        for (module, text) in &sources.modules {
            for (is_exported, path) in sources.paths(module, text) {
                if is_exported && let Some(name) = path.last() {
                    let mut exported = module.clone();
                    exported.push(name.clone());
                    exports.insert(exported, path);
                }
            }
        }
        sources.exports = exports;
        sources
    }

    /// The paths of this crate that a module names, from the crate's root, and whether it re-exports them.
    fn paths(&self, module: &Module, text: &str) -> Vec<(bool, Module)> {
        let mut found = Vec::new();
        let mut from = 0;
        while let Some(place) = text.get(from..).unwrap().find(['c', 's', 'u']) {
            let (before, at) = text.split_at(from + place);
            let is_word = before.ends_with(|c: char| c.is_alphanumeric() || "_:$".contains(c));
            let word = ["use ", "crate::", "super::"]
                .into_iter()
                .find(|word| !is_word && at.starts_with(word));
            from = before.len() + 1;
            if word == Some("use ") {
                let end = at.find(';').unwrap();
                let line = before.rsplit(['\n', ';', '}']).next().unwrap();
                let is_exported = line.trim_start().starts_with("pub");
                let mut leaves = Vec::new();
                expand(at.get(4..end).unwrap(), &[], &mut leaves);
                let paths = leaves
                    .into_iter()
                    .filter_map(|path| self.resolve(module, path));
                found.extend(paths.map(|path| (is_exported, path)));
                from = before.len() + end;
            } else if word.is_some() {
                let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
                let end = at.find(|c| !is_path(c)).unwrap_or(at.len());
                let path = at.get(..end).unwrap().split("::").map(str::to_owned);
                let path = path.filter(|part| !part.is_empty()).collect();
                found.extend(self.resolve(module, path).map(|path| (false, path)));
                from = before.len() + end;
            }
        }
        found
    }

    fn resolve(&self, module: &Module, path: Module) -> Option<Module> {
        let mut from = match path.first()?.as_str() {
            "crate" => return Some(path[1..].to_vec()),
            "self" => return Some([module.clone(), path[1..].to_vec()].concat()),
            "super" => module.clone(),
            first => {
                let child = [module.clone(), vec![first.to_owned()]].concat();
                return self
                    .modules
                    .contains_key(&child)
                    .then(|| [module.clone(), path].concat());
            }
        };
        let ups = path.iter().take_while(|part| *part == "super").count();
        from.truncate(from.len().checked_sub(ups)?);
        Some([from, path[ups..].to_vec()].concat())
    }

    /// The module in which what a path names is written, through re-exports.
    fn target(&self, mut path: Module) -> Option<Module> {
        for _ in 0..4 {
            let exported = (1..=path.len())
                .rev()
                .find_map(|length| Some((length, self.exports.get(&path[..length])?)));
            match exported {
                Some((length, to)) if !self.modules.contains_key(&path[..length]) => {
                    path = [to.clone(), path[length..].to_vec()].concat();
                }
                _ => break,
            }
        }
        (1..=path.len())
            .rev()
            .map(|length| path[..length].to_vec())
            .find(|module| self.modules.contains_key(module))
    }

    /// Which module uses which, without what a folder's own file re-exports.
    fn uses(&self) -> BTreeSet<(Module, Module)> {
        let mut uses = BTreeSet::new();
        for (module, text) in &self.modules {
            for (is_exported, path) in self.paths(module, text) {
                if let Some(target) = self.target(path)
                    && !is_exported
                    && target != *module
                {
                    uses.insert((module.clone(), target));
                }
            }
        }
        uses
    }
}

/// A text without comments, literals and its tests at the end.
fn code(text: &str) -> String {
    let lines = text
        .lines()
        .take_while(|line| !(line.starts_with("mod tests {") || line.starts_with("mod tests;")));
    let lines = lines.map(|line| line.split("//").next().unwrap_or_default());
    let mut code = String::new();
    for line in lines {
        let mut is_literal = false;
        for part in line.split('"') {
            code.push_str(if is_literal { " " } else { part });
            is_literal = !is_literal;
        }
        code.push('\n');
    }
    code
}

/// The leaves of a `use` tree.
fn expand(tree: &str, before: &[String], leaves: &mut Vec<Module>) {
    let mut depth = 0_u32;
    let parts = tree.split(|c| {
        depth = match c {
            '{' => depth + 1,
            '}' => depth - 1,
            _ => depth,
        };
        c == ',' && depth == 0
    });
    for part in parts.map(str::trim).filter(|part| !part.is_empty()) {
        let (path, inner) = match part.split_once('{') {
            Some((path, inner)) => (path, inner.trim_end().strip_suffix('}')),
            None => (part, None),
        };
        let path = path.split(" as ").next().unwrap_or_default();
        let steps = path.split("::").map(|step| step.trim().to_owned());
        let steps = steps.filter(|step| !matches!(step.as_str(), "" | "*"));
        let is_first = before.is_empty();
        let steps = steps.filter(|step| is_first || step != "self");
        let whole: Module = before.iter().cloned().chain(steps).collect();
        match inner {
            Some(inner) => expand(inner, &whole, leaves),
            None => leaves.push(whole),
        }
    }
}

#[test]
fn subfolders_use_only_those_below_them() {
    let uses = Sources::read().uses();
    let mut violations = Vec::new();
    for (folder, subfolders) in SUBFOLDERS {
        let place = |module: &Module| {
            let name = module.get(1)?;
            let place = subfolders.iter().position(|subfolder| subfolder == name);
            assert!(place.is_some(), "{folder}::{name} has no place");
            place
        };
        for (user, used) in &uses {
            if user[0] != *folder || used[0] != *folder {
                continue;
            }
            if let (Some(from), Some(to)) = (place(user), place(used))
                && to > from
            {
                violations.push(format!("{} -> {}", user.join("::"), used.join("::")));
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
fn files_of_a_folder_do_not_use_each_other_in_circles() {
    let uses = Sources::read().uses();
    let is_hub = |module: &Module| HUBS.contains(&module.join("::").as_str());
    // What can be reached from a module through files of its folder.
    let next = |module: &Module| -> Vec<Module> {
        let is_beside = |used: &Module| {
            used.len() == module.len() && used[..used.len() - 1] == module[..module.len() - 1]
        };
        let used = uses.iter().filter(|(user, _)| user == module);
        used.map(|(_, used)| used.clone())
            .filter(|used| used.len() > 1 && is_beside(used) && !is_hub(used))
            .collect()
    };
    let mut circles = BTreeSet::new();
    for (start, _) in &uses {
        if is_hub(start) || start.len() < 2 {
            continue;
        }
        let (mut seen, mut waiting) = (BTreeSet::new(), next(start));
        while let Some(module) = waiting.pop() {
            if module == *start {
                circles.insert(start.join("::"));
                break;
            }
            if seen.insert(module.clone()) {
                waiting.extend(next(&module));
            }
        }
    }
    assert!(circles.is_empty(), "files in circles: {circles:#?}");
}

#[test]
fn uses_are_found_through_trees_and_exports() {
    let mut leaves = Vec::new();
    expand("crate::a::{self, b::{C, D as E}, f::*}", &[], &mut leaves);
    let leaves: Vec<String> = leaves.iter().map(|leaf| leaf.join("::")).collect();
    assert_eq!(
        leaves,
        [
            "crate::a",
            "crate::a::b::C",
            "crate::a::b::D",
            "crate::a::f"
        ]
    );
    let names = |path: &str| -> Module { path.split("::").map(str::to_owned).collect() };
    let uses = Sources::read().uses();
    for (user, used) in [
        ("writer::stages::intake", "writer::stages::pack"),
        ("read::content", "db::read::removals"),
        ("writer::opening::interruption", "writer::stages::complete"),
    ] {
        assert!(
            uses.contains(&(names(user), names(used))),
            "{user} -> {used}"
        );
    }
}
