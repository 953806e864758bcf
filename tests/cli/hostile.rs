//! Hostile content: it neither controls the terminal nor breaks a command.

use std::io::Read;

use crate::support::{Sandbox, assert_golden};

#[test]
fn nothing_that_steers_a_terminal_is_printed() {
    let sandbox = Sandbox::sample();
    let runs = [
        sandbox.run(&[
            "list",
            "--since",
            "2026-11-02T08:30:00Z",
            "--until",
            "2026-11-02T09:00:01Z",
        ]),
        sandbox.run(&["show", "call-0005"]),
        sandbox.run(&["show", "call-0005", "--json"]),
        sandbox.run(&[
            "stats",
            "--by",
            "provider,model,user",
            "--since",
            "2026-11-02T09:00:00Z",
        ]),
        sandbox.run(&["show", "\u{1b}[2J\u{202e}"]),
    ];
    for run in &runs {
        let printed = format!("{}{}", run.text(), run.stderr);
        let steers = |character: char| {
            character.is_control() && character != '\n'
                || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        assert!(!printed.contains(steers), "{printed:?}");
    }
    let shown = runs[2].json();
    assert_eq!(shown[0]["provider_name"], "evil\u{1b}[2Jcorp");
    assert_eq!(shown[0]["request_model"], "model\nwith\tbreaks\u{9b}31m");
    assert_eq!(shown[0]["user_id"], "u-\u{202e}71");
    // The last command itself holds what must not be printed.
    assert_golden("hostile", &sandbox, &runs[..4]);
}

#[test]
fn bad_names_and_bytes_in_lines_are_reported_harmlessly() {
    let sandbox = Sandbox::new();
    let mut lines = b"{\"request_body\":\"\xff\xfe\"}\n".to_vec();
    lines.extend_from_slice("{\"request\":1,\"stream\":\"\\u001b[2J\"}\n".as_bytes());
    lines.extend_from_slice(b"{\"request_body\":\"\\ud800\"}\n");
    let long = "x".repeat(1 << 20);
    lines.extend_from_slice(format!("{{\"request\":1,\"stream\":\"{long}\"}}\n").as_bytes());
    lines.extend_from_slice(b"\x00\x1b[2J\n");
    lines.extend_from_slice(b"[".repeat(100_000).as_slice());
    lines.extend_from_slice(b"\n{\"request\":");
    lines.extend_from_slice(b"[".repeat(100_000).as_slice());
    lines.extend_from_slice(b"\n{\"request\":1,\"request_id\":\"good\"}\n");
    sandbox.write("a\u{1b}[2Jb.jsonl", lines);
    let run = sandbox.run(&["record", "a\u{1b}[2Jb.jsonl"]);
    assert_eq!(run.exit, 1);
    assert_eq!(run.stderr.matches("b.jsonl:").count(), 6, "{}", run.stderr);
    assert!(!run.stderr.contains('\u{1b}'));
    assert!(run.stderr.contains("recorded 2 requests, 6 bad lines"));
    assert!(run.stderr.len() < 4096, "{} bytes", run.stderr.len());
}

#[test]
fn a_line_of_ten_megabytes_is_recorded_and_shown_folded() {
    let sandbox = Sandbox::new();
    let body = "é".repeat(5 << 20);
    let line =
        format!("{{\"request_id\":\"big\",\"request\":{{\"model\":\"m\",\"text\":\"{body}\"}}}}\n");
    let run = sandbox.run_with(&["record", "-"], line.as_bytes());
    assert_eq!(run.exit, 0, "{}", run.stderr);
    let payload = sandbox.run(&["payload", "big", "request"]);
    assert_eq!(payload.text().len(), body.len() + 23);
    let shown = sandbox.run(&["show", "big"]);
    assert!(shown.stdout.len() < 4096, "{} bytes", shown.stdout.len());
}

#[test]
fn a_line_above_the_limit_is_skipped() {
    let sandbox = Sandbox::new();
    let mut child = sandbox
        .command(&["record", "-"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut line = std::io::repeat(b'x').take(65 << 20);
    std::io::copy(&mut line, &mut stdin).unwrap();
    std::io::Write::write_all(&mut stdin, b"\n{\"request\":1,\"request_id\":\"after\"}\n").unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let messages = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{messages}");
    assert!(
        messages.contains("-:1: is longer than 67108864 bytes"),
        "{messages}"
    );
    assert!(
        messages.contains("recorded 1 request, 1 bad line,"),
        "{messages}"
    );
}

/// What an export says is no more trusted than what `record` is given.
#[test]
fn hostile_exports_are_imported_harmlessly() {
    let source = Sandbox::new();
    let body = "é\u{1b}[2J".repeat(1 << 20);
    let line = serde_json::json!({"request_id": "big\u{1b}[2J", "user_id": "' OR 1=1; --",
        "request": {"model": "=cmd()", "text": body}});
    let run = source.run_with(&["record", "-"], line.to_string().as_bytes());
    assert_eq!(run.exit, 0, "{}", run.stderr);
    let exported = source.run(&["export", "--content", "full"]).stdout;
    assert!(exported.len() > 10_000_000, "{} bytes", exported.len());
    let good: serde_json::Value = serde_json::from_slice(&exported).unwrap();
    let changed = |field: &str, value: serde_json::Value| {
        let mut line = good.clone();
        line["request_id"] = format!("changed-{field}").into();
        line["request"] = serde_json::Value::Null;
        line[field] = value;
        line.to_string().into_bytes()
    };
    let lies = serde_json::json!({"length": 1, "text": "y",
        "sha256": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"});
    let lines: [Vec<u8>; 9] = [
        changed("request", lies),
        changed(
            "request",
            serde_json::json!({"length": 3, "base64": "\u{1b}[2J!"}),
        ),
        changed("status", "\u{1b}[2Jdone".into()),
        changed("opened_at", u64::MAX.into()),
        changed("tool_calls", serde_json::json!([{"tool_call_id": 1}])),
        changed("attributes", serde_json::json!({"a": {}})),
        b"{\"request_id\":\"\xff\xfe\"}".to_vec(),
        b"[".repeat(1_000_000),
        "x".repeat(10_000_000).into_bytes(),
    ];
    // All but the time, which is brought to one that there is.
    let bad = lines.len() - 1;
    let mut all = lines.join(&b'\n');
    all.push(b'\n');
    all.extend(&exported);
    let target = Sandbox::new();
    target.write("a\u{1b}[2Jb.jsonl", &all);
    let run = target.run(&["import", "a\u{1b}[2Jb.jsonl"]);
    assert_eq!(run.exit, 1, "{}", run.stderr);
    assert_eq!(
        run.stderr.matches("b.jsonl:").count(),
        bad,
        "{}",
        run.stderr
    );
    assert!(!run.stderr.contains('\u{1b}'), "{:?}", run.stderr);
    assert!(run.stderr.len() < 8192, "{} bytes", run.stderr.len());
    let listed = target.run(&["list", "--json"]).json();
    assert_eq!(listed.len(), 2, "{listed:?}");
    let payload = target.run(&["payload", "big", "request"]);
    let text: serde_json::Value = serde_json::from_slice(&payload.stdout).unwrap();
    assert_eq!(text["text"].as_str().unwrap(), body);
    assert_eq!(target.run(&["verify"]).exit, 0);
}

/// A gigabyte in a few kilobytes: what was before it is there, and memory stays bounded.
#[cfg(target_os = "linux")]
#[test]
fn a_compressed_bomb_is_one_line_that_is_too_long() {
    let sandbox = Sandbox::new();
    let mut packer = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    let good = "{\"request\":1,\"request_id\":\"before\"}\n";
    std::io::Write::write_all(&mut packer, good.as_bytes()).unwrap();
    std::io::copy(&mut std::io::repeat(b'[').take(1 << 30), &mut packer).unwrap();
    let mut bomb = packer.finish().unwrap();
    assert!(bomb.len() < 200_000);
    sandbox.write("bomb.zst", &bomb);
    // And one that breaks off.
    bomb.truncate(bomb.len() / 2);
    sandbox.write("half.zst", &bomb);
    for (command, file, exit) in [
        ("record", "bomb.zst", 1),
        ("import", "bomb.zst", 1),
        ("import", "half.zst", 2),
    ] {
        let program = env!("CARGO_BIN_EXE_auditlite");
        // Address space in KiB; a line may have 64 MiB, and a buffer doubles.
        let limited =
            format!("ulimit -v 700000 && exec '{program}' --db '{command}.db' {command} {file}");
        let output = std::process::Command::new("sh")
            .args(["-c", &limited])
            .current_dir(sandbox.folder.path())
            .output()
            .unwrap();
        let messages = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            output.status.code(),
            Some(exit),
            "{command} {file}: {messages}"
        );
        assert!(messages.contains(file), "{messages}");
    }
    let before = sandbox.run(&["--db", "record.db", "show", "before"]);
    assert_eq!(before.exit, 0, "{}", before.stderr);
}

/// What Unicode's own tables call controls, format characters and separators of lines, without the
/// signs that are drawn around numbers; and others that have no width.
fn unseen() -> Vec<char> {
    let script = "import unicodedata\n\
        drawn = [*range(0x600, 0x606), 0x6dd, 0x70f, 0x890, 0x891, 0x8e2, 0x110bd, 0x110cd]\n\
        for code in range(0x110000):\n    \
            if unicodedata.category(chr(code)) in ('Cc', 'Cf', 'Zl', 'Zp') and code not in drawn:\n        \
                print(code)";
    let output = std::process::Command::new("python3")
        .args(["-c", script])
        .output()
        .unwrap();
    let codes = String::from_utf8(output.stdout).unwrap();
    let named = codes.lines().map(|code| code.parse().unwrap());
    let others = [
        0x34f, 0x115f, 0x1160, 0x17b4, 0x180b, 0x2065, 0x2800, 0x3164, 0xfe00, 0xfe01, 0xffa0,
        0xfff0, 0xffff, 0xe000, 0xf8ff, 0xe0000, 0xe0002, 0xe0100, 0xe01ef, 0xe0fff, 0xf0000,
        0x10_ffff,
    ];
    let characters: Vec<char> = named.chain(others).filter_map(char::from_u32).collect();
    assert!(characters.len() > 200, "{codes}");
    characters
}

/// Whichever field they stand in, and whichever command shows it; and the JSON is exact.
#[test]
fn no_character_that_nobody_sees_is_printed() {
    let characters = unseen();
    let sandbox = Sandbox::new();
    let mut lines = String::new();
    // As many as fit an identifier; NUL is replaced in identifiers, and stays in bodies.
    for (number, some) in characters.chunks(40).enumerate() {
        let all: String = some
            .iter()
            .map(|character| format!("x{character}"))
            .collect();
        let name = all.replace('\0', "");
        let tool = serde_json::json!({"id": name, "type": "function",
            "function": {"name": name, "arguments": all}});
        let line = serde_json::json!({
            "request_id": format!("r-{number}-{name}"), "wire": "openai.chat",
            "provider_name": name, "user_id": name, "session_id": name, "trace_id": name,
            "conversation_id": name, "request_model": name, "status": 200,
            "request": {"model": name, "messages": [{"role": name, "content": all},
                {"role": "user", "content": format!("word {all}")}]},
            "response": {"id": name, "model": name, "choices": [{"finish_reason": name,
                "message": {"content": all, "tool_calls": [tool]}}]},
        });
        lines.push_str(&format!("{line}\n"));
        let failed = serde_json::json!({
            "request_id": format!("f-{number}"), "wire": "openai.chat", "status": 500,
            "user_id": name, "request": {"model": "m"},
            "response": {"error": {"type": name, "code": name, "message": all}},
        });
        lines.push_str(&format!("{failed}\n"));
    }
    let run = sandbox.run_with(&["record", "--quiet", "-"], lines.as_bytes());
    assert_eq!(run.exit, 0, "{}", run.stderr);
    let listed = sandbox.run(&["list", "-n", "0", "--json"]);
    let records = listed.json();
    assert_eq!(records.len(), 2 * characters.len().div_ceil(40));
    let user = |record: &serde_json::Value| record["user_id"].as_str().unwrap().to_owned();
    let seen: std::collections::HashSet<char> = records
        .iter()
        .flat_map(|record| user(record).chars().collect::<Vec<_>>())
        .collect();
    let missing = characters
        .iter()
        .filter(|character| !seen.contains(character));
    assert_eq!(missing.collect::<Vec<_>>(), [&'\0'], "JSON is exact");
    let mut runs = vec![
        listed,
        sandbox.run(&["list", "-n", "0"]),
        sandbox.run(&["tools"]),
        sandbox.run(&["tools", "--json"]),
        sandbox.run(&["stats", "--by", "provider,model,user"]),
        sandbox.run(&["search", "word", "-n", "200"]),
        sandbox.run(&["search", "word", "-n", "200", "--json"]),
        sandbox.run(&[
            "erase",
            "--user",
            &user(&records[0]),
            "--dry-run",
            "--reason",
            "x",
        ]),
    ];
    for record in &records {
        let id = record["request_id"].as_str().unwrap();
        runs.push(sandbox.run(&["show", id, "--full"]));
        runs.push(sandbox.run(&["show", id, "--json"]));
        if let Some(conversation) = record["conversation_id"].as_str() {
            runs.push(sandbox.run(&["conversation", conversation, "--full"]));
        }
    }
    runs.push(sandbox.run(&["show", "r-"]));
    for run in &runs {
        assert!(run.exit < 2, "{}", run.stderr);
        let printed = format!("{}{}", run.text(), run.stderr).replace(['\n', '\t'], "");
        let found = printed.chars().find(|found| characters.contains(found));
        assert_eq!(found, None, "{}", run.command.escape_debug());
    }
}
