//! `record`: lines become requests, once each, and mistakes are reported by file and line.

use crate::support::{SAMPLE, Sandbox, assert_golden};

#[test]
fn bad_lines_are_reported_and_the_rest_goes_on() {
    let sandbox = Sandbox::new();
    let lines = [
        r#"{"request":{"model":"m"},"request_id":"first"}"#,
        "",
        "not JSON",
        "[1,2]",
        r#"{"request":"#,
        r#"{"response":{}}"#,
        r#"{"request":1,"user_id":7}"#,
        r#"{"request":1,"started_at":"tomorrow"}"#,
        r#"{"request":1,"status":70000}"#,
        r#"{"request":1,"response_body":"x","response_body_encoding":"rot13"}"#,
        r#"{"request":1,"usage":[12,3]}"#,
        r#"{"request":1,"request_id":"last"}"#,
    ];
    let long_id = format!("{{\"request\":1,\"user_id\":\"{}\"}}", "x".repeat(300));
    let text = lines.join("\n") + "\n" + &long_id;
    sandbox.write("calls.jsonl", text);
    let runs = [
        sandbox.run(&["record", "calls.jsonl"]),
        sandbox.run(&["list", "--since", "1d"]),
    ];
    assert_eq!(runs[1].text().lines().count(), 5);
    assert_golden("record_bad_lines", &sandbox, &runs[..1]);
}

#[test]
fn what_is_not_read_of_lines_is_told_and_counted() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "calls.jsonl",
        "{\"request\":{},\"response\":{},\"wire\":\"mine\",\"tokens\":7,\"tags\":[]}\n\
         {\"request\":{},\"response\":{},\"url\":\"https://host/v1/messages\",\"tokens\":8}\n\
         {\"request\":{},\"response\":{}}\n{\"request\":{}}\n",
    );
    let run = sandbox.run(&["record", "calls.jsonl", "--json"]);
    let expected = "auditlite: 2 lines are of an unknown wire protocol: usage, model and outcome were not read of the \
        bodies; a field `wire` or `path` says which it is\n\
        auditlite: fields that are not read, and in how many lines: tags (1), tokens (2)\n";
    assert_eq!(run.stderr, expected);
    let summary = &run.json()[0];
    assert_eq!(summary["unknown_protocols"], 2);
    assert_eq!(
        summary["unknown_fields"],
        serde_json::json!({"tags": 1, "tokens": 2})
    );
    assert_eq!(
        sandbox
            .run(&["record", "calls.jsonl", "--again", "--quiet"])
            .stderr,
        ""
    );
}

#[test]
fn several_files_are_recorded_compressed_or_not() {
    let sandbox = Sandbox::new();
    let mut lines = SAMPLE.split_inclusive('\n');
    let first: String = lines.by_ref().take(2).collect();
    let rest: String = lines.collect();
    sandbox.write("first.jsonl", first);
    // The name does not matter: what is compressed is recognised by its content.
    sandbox.write("rest", zstd::encode_all(rest.as_bytes(), 19).unwrap());
    let run = sandbox.run(&["record", "first.jsonl", "rest", "--durability", "buffered"]);
    assert_eq!(run.exit, 0, "{}", run.stderr);
    // What is not read is told before the summary.
    let expected = "auditlite: fields that are not read, and in how many lines: ignored (1)\n\
        auditlite: recorded 6 requests, 0 bad lines, ";
    assert!(run.stderr.starts_with(expected), "{}", run.stderr);
    assert_eq!(sandbox.run(&["list", "--json"]).json().len(), 6);
}

#[test]
fn a_database_grows_over_several_runs() {
    let sandbox = Sandbox::sample();
    let line = br#"{"request_id":"later","request":{}}"#;
    let run = sandbox.run_with(&["record", "--quiet", "-"], line);
    assert_eq!((run.exit, run.stderr.as_str()), (0, ""));
    assert_eq!(sandbox.run(&["list", "--json"]).json().len(), 7);
}

#[test]
fn a_file_that_is_not_there_creates_no_database() {
    let sandbox = Sandbox::new();
    sandbox.write("good.jsonl", SAMPLE);
    let runs = [
        sandbox.run(&["record", "good.jsonl", "missing.jsonl"]),
        sandbox.run(&["record", "."]),
        sandbox.run(&["record", "good.jsonl", "--prices", "missing.toml"]),
    ];
    for run in &runs {
        assert_eq!(run.exit, 2, "{}", run.stderr);
        assert!(
            run.stderr.starts_with("auditlite: error: "),
            "{}",
            run.stderr
        );
    }
    assert!(
        runs[0]
            .stderr
            .contains("\"missing.jsonl\" cannot be read: No such file")
    );
    assert!(!sandbox.path("audit.db").exists());
}

#[test]
fn damaged_compression_is_an_error_after_what_could_be_read() {
    let sandbox = Sandbox::new();
    let packed = zstd::encode_all(SAMPLE.as_bytes(), 1).unwrap();
    sandbox.write("cut.zst", &packed[..packed.len() - 20]);
    let run = sandbox.run(&["record", "cut.zst"]);
    assert_eq!(run.exit, 2);
    assert!(
        run.stderr.contains("\"cut.zst\" cannot be read: "),
        "{}",
        run.stderr
    );
}

#[cfg(unix)]
#[test]
fn only_the_default_folder_is_created_and_it_is_private() {
    use std::os::unix::fs::PermissionsExt;

    let sandbox = Sandbox::new();
    sandbox.write("calls.jsonl", SAMPLE);
    let run = sandbox.run(&["record", "calls.jsonl", "--db", "missing/audit.db"]);
    assert_eq!(run.exit, 2);
    assert!(!sandbox.path("missing").exists());

    let mut command = sandbox.command(&["record", "calls.jsonl", "--quiet"]);
    let output = command.env_remove("AUDITLITE_DB").output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let folder = sandbox.path(".local/share/auditlite");
    assert!(folder.join("audit.db").is_file());
    let mode = std::fs::metadata(folder).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn what_is_recorded_already_is_passed_over_and_counted() {
    let sandbox = Sandbox::sample();
    let with_id = SAMPLE.lines().next().unwrap();
    let bare = r#"{"request":{"model":"m"},"response":{}}"#;
    let timed = r#"{"request":1,"started_at":"2026-11-01T12:00:00Z"}"#;
    sandbox.write(
        "calls.jsonl",
        [with_id, bare, bare, timed, timed].join("\n"),
    );
    let run = |arguments: &[&str]| {
        let run = sandbox.run(arguments);
        assert_eq!(run.exit, 0, "{}", run.stderr);
        let summary = &run.json()[0];
        (
            summary["recorded"].as_u64().unwrap(),
            summary["already_recorded"].as_u64().unwrap(),
        )
    };
    assert_eq!(run(&["record", "--json", "calls.jsonl"]), (4, 1));
    assert_eq!(run(&["record", "--json", "calls.jsonl"]), (0, 5));
    assert_eq!(run(&["record", "--json", "--again", "calls.jsonl"]), (5, 0));
    // What was erased here does not come back.
    let id = "call-0001-openai-chat";
    let twins = sandbox.run(&["list", "--json", "-n", "0"]).json();
    let twin = twins.iter().find(|twin| twin["request_id"] == id).unwrap();
    let reference = format!("#{}", twin["opened_seq"]);
    let erased = sandbox.run(&[
        "erase",
        "--request",
        &reference,
        "--reason",
        "asked for",
        "--yes",
    ]);
    assert_eq!(erased.exit, 0, "{}", erased.stderr);
    assert_eq!(run(&["record", "--json", "calls.jsonl"]), (0, 5));
    assert_eq!(sandbox.run(&["verify"]).exit, 0);
}

#[test]
fn the_edge_profile_spares_memory() {
    // Longer than two thirds of the profile's capacity, shorter than the usual one.
    let long = "x".repeat(6 * 1024 * 1024);
    let line = format!(r#"{{"request_id":"r","request":{{"text":"{long}"}},"response":{{}}}}"#);
    for (flags, is_kept) in [
        (&[][..], true),
        (&["--edge"][..], false),
        (&["--edge", "--capacity-bytes", "64MiB"][..], true),
    ] {
        let sandbox = Sandbox::new();
        sandbox.write("long.jsonl", line.clone());
        let run = sandbox.run(&[&["--db", "a.db", "record", "long.jsonl"], flags].concat());
        assert_eq!(run.stderr.contains("left out"), !is_kept, "{}", run.stderr);
        for command in [
            &[
                "erase",
                "--request",
                "r",
                "--reason",
                "test",
                "--yes",
                "--edge",
            ][..],
            &["prune", "--content-older-than", "1d", "--yes", "--edge"][..],
            &["verify"][..],
        ] {
            let run = sandbox.run(&[&["--db", "a.db"], command].concat());
            assert_eq!(run.exit, 0, "{command:?}: {}", run.stderr);
        }
    }
}
