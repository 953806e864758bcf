//! Content that was made to do harm.

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
    assert_eq!(run.stderr.matches("b.jsonl:").count(), 7, "{}", run.stderr);
    assert!(!run.stderr.contains('\u{1b}'));
    assert!(run.stderr.contains("recorded 1 request, 7 bad lines"));
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
