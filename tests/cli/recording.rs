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
    let expected = "auditlite: 2 lines are of an unknown wire protocol: at most model, usage and error were read of the \
        responses; a field `wire` or `path` says which it is; unknown names: mine (1)\n\
        auditlite: fields that are not read, and in how many lines: tags (1), tokens (2)\n";
    assert_eq!(run.stderr, expected);
    let summary = &run.json()[0];
    assert_eq!(summary["unknown_protocols"], 2);
    assert_eq!(
        summary["unknown_protocol_names"],
        serde_json::json!({"mine": 1})
    );
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
fn results_of_a_batch_are_requests_that_count_once() {
    let sandbox = Sandbox::new();
    let answer = |id: &str, tokens: u64| {
        let body = serde_json::json!({"object": "chat.completion", "model": "m", "choices": [{"message": {"role": "assistant",
            "content": "Hi"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": tokens, "completion_tokens": 1}});
        serde_json::json!({"id": format!("batch_req_{id}"), "custom_id": id, "error": null,
            "response": {"status_code": 200, "body": body}})
    };
    let failed = serde_json::json!({"id": "batch_req_c", "custom_id": "c", "response": null,
        "error": {"code": "batch_expired", "message": "too late"}});
    let file = format!("{}\n{}\n{failed}\n", answer("a", 5), answer("b", 7));
    let fetched = |user: &str, at: u64| {
        serde_json::json!({"request": {}, "path": "/v1/files/f1/content", "user_id": user, "started_at": at,
            "response_body": file})
    };
    let batch = serde_json::json!({"request": {}, "path": "/v1/batches/b1", "response": {"id": "b1", "object": "batch",
        "usage": {"input_tokens": 12, "output_tokens": 2, "total_tokens": 14}}});
    let lines = [
        batch.clone(),
        fetched("u1", 1_800_000_000),
        batch,
        fetched("u2", 1_800_000_009),
    ];
    sandbox.write("calls.jsonl", lines.map(|line| line.to_string()).join("\n"));
    let run = sandbox.run(&["record", "calls.jsonl", "--json", "--quiet"]);
    // Two looks, two fetches, and three requests.
    assert_eq!(run.json()[0]["recorded"], 4 + 3, "{}", run.stderr);
    assert_eq!(run.json()[0]["already_recorded"], 3);
    let counted = sandbox.run(&["list", "--json"]).json();
    let tokens = counted
        .iter()
        .filter_map(|request| request["input_tokens"].as_u64());
    assert_eq!(tokens.sum::<u64>(), 12);
    let found = &sandbox.run(&["show", "=batch_req_b", "--json"]).json()[0];
    assert_eq!(found["usage_details"]["service_tier"], "batch");
    assert_eq!(found["attributes"]["batch_custom_id"], "b");
    assert_eq!(found["user_id"], "u1");
    let expired = &sandbox.run(&["show", "=batch_req_c", "--json"]).json()[0];
    assert_eq!(expired["error_type"], "batch_expired");
    let again = sandbox.run(&["record", "calls.jsonl", "--json", "--quiet"]);
    assert_eq!(again.json()[0]["recorded"], 0);
}

#[test]
fn a_models_tool_call_is_linked_with_the_request_that_executed_it() {
    let sandbox = Sandbox::new();
    let asks = |id: &str, call: &str, session: &str| {
        serde_json::json!({"request_id": id, "session_id": session, "path": "/v1/messages", "request": {"model": "m"},
            "response": {"type": "message", "role": "assistant", "stop_reason": "tool_use", "content": [{"type": "tool_use",
            "id": call, "name": "mcp__files__read", "input": {"path": "a", "lines": 2}}]}})
    };
    let executes = |id: &str, session: &str, meta: serde_json::Value, is_error: bool| {
        serde_json::json!({"request_id": id, "session_id": session, "path": "/mcp", "request": {"jsonrpc": "2.0", "id": 3,
            "method": "tools/call", "params": {"name": "read", "arguments": {"lines": 2, "path": "a"}, "_meta": meta}},
            "response": {"jsonrpc": "2.0", "id": 3, "result": {"content": [{"type": "text", "text": "none"}],
            "isError": is_error}}})
    };
    let named = serde_json::json!({"claudecode/toolUseId": "toolu_1"});
    let lines = [
        asks("asks-named", "toolu_1", "s1"),
        asks("asks-together", "toolu_2", "s2"),
        asks("asks-alone", "toolu_3", "s3"),
        executes("executes-together", "s2", serde_json::json!({}), false),
        executes("executes-named", "elsewhere", named, true),
    ];
    sandbox.write("calls.jsonl", lines.map(|line| line.to_string()).join("\n"));
    let run = sandbox.run(&["record", "calls.jsonl", "--quiet"]);
    assert_eq!((run.exit, run.stderr.as_str()), (0, ""));
    let call = |id: &str| sandbox.run(&["show", id, "--json"]).json()[0]["tool_calls"][0].clone();
    let link = &call("asks-named")["executed_by"];
    assert_eq!(link["request_id"], "executes-named");
    // What a tool says of its failure is never a success.
    assert_eq!(
        (&link["status"], &link["error_type"]),
        (&"failed".into(), &"tool_error".into())
    );
    let link = &call("asks-together")["executed_by"];
    assert_eq!(
        (&link["request_id"], &link["status"]),
        (&"executes-together".into(), &"completed".into())
    );
    assert!(call("asks-alone")["executed_by"].is_null());
    assert_eq!(
        call("executes-named")["asked_in"]["request_id"],
        "asks-named"
    );
    assert_eq!(
        call("executes-together")["asked_in"]["request_id"],
        "asks-together"
    );
    let page = sandbox.run(&["show", "asks-named"]);
    assert!(
        page.text()
            .contains("executed by executes-named: failed, tool_error"),
        "{}",
        page.text()
    );
    let page = sandbox.run(&["show", "executes-named"]);
    assert!(
        page.text().contains("asked for in asks-named"),
        "{}",
        page.text()
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
