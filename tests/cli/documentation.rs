//! Every command and flag of the program is documented in `docs/cli.md`.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::Sandbox;

const DOCUMENTATION: &str = include_str!("../../docs/cli.md");

/// Words of help texts that begin with a dash: `-n`, `--since`.
fn flags(help: &str) -> BTreeSet<String> {
    let is_flag_character =
        |character: char| character.is_ascii_alphanumeric() || matches!(character, '-');
    help.split(|character: char| !is_flag_character(character))
        .filter(|word| {
            let name = word.trim_start_matches('-');
            let dashes = word.len() - name.len();
            dashes == 2 && name.len() > 1 || dashes == 1 && name.len() == 1
        })
        .map(|word| word.trim_end_matches('-').to_owned())
        .collect()
}

/// The commands that the program's help lists.
pub(crate) fn commands(help: &str) -> Vec<String> {
    let list = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    list.take_while(|line| line.starts_with("  "))
        // Lines that go on with a description are indented further.
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

/// The part of the documentation under `## auditlite COMMAND`.
fn section(command: &str) -> &'static str {
    let heading = format!("\n## `auditlite {command}");
    let (_, section) = DOCUMENTATION
        .split_once(&heading)
        .unwrap_or_else(|| panic!("docs/cli.md has no section {heading:?}"));
    section.split("\n## ").next().unwrap()
}

#[test]
fn every_command_and_flag_is_documented() {
    let sandbox = Sandbox::new();
    let top = sandbox.run(&["--help"]);
    let commands = commands(top.text());
    assert!(commands.len() >= 7, "{commands:?}");
    let (_, shared) = DOCUMENTATION.split_once("\n### Which requests").unwrap();
    let shared = flags(shared.split("\n## ").next().unwrap());
    for command in commands.iter().filter(|command| *command != "help") {
        let help = sandbox.run(&[command, "--help"]);
        let text = section(command);
        let mut section = flags(text);
        // The conditions are described once.
        if text.contains("(#which-requests)") {
            section.extend(shared.clone());
        }
        let everywhere = [
            "-h",
            "--help",
            "-V",
            "--version",
            "--db",
            "--log",
            "--local",
        ]
        .map(str::to_owned);
        let missing: Vec<_> = flags(help.text())
            .into_iter()
            .filter(|flag| !section.contains(flag) && !everywhere.contains(flag))
            .collect();
        assert!(
            missing.is_empty(),
            "{command}: docs/cli.md lacks {missing:?}"
        );
        assert!(
            help.text().contains("Examples:"),
            "{command} has no examples"
        );
    }
    for flag in flags(top.text()) {
        assert!(DOCUMENTATION.contains(&flag), "docs/cli.md lacks {flag}");
    }
}

#[test]
fn every_field_of_the_json_contract_is_documented() {
    let sandbox = Sandbox::sample();
    let agent = crate::conversations::agent();
    assert_eq!(sandbox.run(&["bundle", "-o", "a.bundle"]).exit, 0);
    let runs = [
        ("list", sandbox.run(&["list", "--json"])),
        ("show", sandbox.run(&["show", "call-0001", "--json"])),
        ("stats", sandbox.run(&["stats", "--json"])),
        (
            "conversation",
            sandbox.run(&["conversation", "c-42", "--json"]),
        ),
        ("tools", agent.run(&["tools", "--json"])),
        ("search", agent.run(&["search", "lyon", "--json"])),
        (
            "record",
            sandbox.run_with(&["record", "-", "--json"], b"{\"request\":1}"),
        ),
        ("doctor", sandbox.run(&["doctor", "--json"])),
        ("verify", sandbox.run(&["verify", "--json"])),
        (
            "bundle",
            sandbox.run(&["bundle", "--check", "a.bundle", "--json"]),
        ),
    ];
    for (command, run) in runs {
        let object = run.json().into_iter().next().unwrap();
        for field in object.as_object().unwrap().keys() {
            // `show` has the fields of `list`, too.
            let is_documented = [section(command), section("list")]
                .iter()
                .take(if command == "show" { 2 } else { 1 })
                .any(|section| section.contains(&format!("| `{field}` |")));
            assert!(is_documented, "{command}: docs/cli.md lacks `{field}`");
        }
        // tests/exports/run.sh validates more output against the schemas than their names.
        let schema = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("docs/schemas")
            .join(format!("{command}.json"));
        let schema: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&schema).unwrap()).unwrap();
        let described: BTreeSet<_> = schema["properties"].as_object().unwrap().keys().collect();
        let written: BTreeSet<_> = object.as_object().unwrap().keys().collect();
        assert_eq!(described, written, "docs/schemas/{command}.json");
    }
}
