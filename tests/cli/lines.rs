//! Values in lines of `record` and `import`: no number, length or character makes a line be refused; a value of the
//! wrong type does, and the message names its field.

use std::time::Instant;

use auditlite::{
    Completion, ListOptions, RequestContext, RequestFilter, Store, Timing, WireProtocol,
};
use serde_json::{Value, json};

use crate::support::{SAMPLE, Sandbox};

/// JSON of texts that a field cannot hold, or hardly.
fn odd_texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        String::new(),
        "x".repeat(256),
        "x".repeat(257),
        format!("{}y", "x".repeat(256)),
        "é".repeat(200),
        "\u{1f980}".repeat(20_000),
        "a\0b".to_owned(),
        "\0".to_owned(),
        "\u{1b}[2J\r\n\t".to_owned(),
        "\u{feff}\u{202e}\u{fe0f}".to_owned(),
        "a,b;\"c\"\\".to_owned(),
        "#17".to_owned(),
        "~sha256:".to_owned(),
    ]
    .iter()
    .map(|text| serde_json::to_string(text).unwrap())
    .collect();
    texts.extend([r#""a\ud800""#, r#""\udfffb""#, r#""\ud83e\udd80""#].map(str::to_owned));
    texts
}

/// JSON of numbers, most of which no field can hold.
const ODD_NUMBERS: [&str; 22] = [
    "-1",
    "-0",
    "-0.5",
    "-1e30",
    "0",
    "0.5",
    "1.5",
    "1000.0",
    "2e2",
    "99",
    "1000",
    "65536",
    "4294967296",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "1.8e19",
    "1e30",
    "1e999",
    "-1e999",
];

/// Records or imports these lines twice: all are taken in, and known the second time.
fn taken_in(command: &str, lines: &[String]) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("lines.jsonl", lines.join("\n"));
    for (verb, taken, known) in [("first", lines.len(), 0), ("again", 0, lines.len())] {
        let run = sandbox.run(&[command, "lines.jsonl"]);
        assert_eq!(run.exit, 0, "{command} {verb}: {}", run.stderr);
        let summary = run.stderr.replace(',', "");
        let count = |words: &str| summary.contains(words);
        assert!(count(&format!("ed {taken} requests")), "{verb}: {summary}");
        let is_known = known == 0 || count(&format!(" {known} recorded already"));
        assert!(is_known || count(&format!(" {known} known")), "{summary}");
    }
    assert_eq!(sandbox.run(&["verify"]).exit, 0);
    sandbox
}

/// The requests of a store, oldest first.
fn requests(sandbox: &Sandbox) -> Vec<Value> {
    let mut requests = sandbox.run(&["list", "--json", "-n", "0"]).json();
    requests.reverse();
    requests
}

#[test]
fn any_text_in_any_field_of_a_recorded_line_is_recorded_as_the_library_does() {
    const FIELDS: [(&str, &str); 11] = [
        ("request_id", "request_id"),
        ("user_id", "user_id"),
        ("session_id", "session_id"),
        ("conversation_id", "conversation_id"),
        ("conversation", "conversation_id"),
        ("trace_id", "trace_id"),
        ("provider_name", "provider_name"),
        ("request_model", "request_model"),
        ("model", "request_model"),
        ("wire_protocol", "wire_protocol"),
        ("wire", "wire_protocol"),
    ];
    let mut lines = Vec::new();
    let mut expected = Vec::new();
    let oracle = Sandbox::new();
    let store = Store::builder(oracle.path("audit.db")).open().unwrap();
    for (field, recorded) in FIELDS {
        for (place, text) in odd_texts().into_iter().enumerate() {
            let id = format!("{field}-{place}");
            let own = match field {
                "request_id" => String::new(),
                _ => format!(r#""request_id":"{id}","#),
            };
            let body = r#"{\"n\":1}"#;
            lines.push(format!(
                r#"{{{own}"{field}":{text},"request_body":"{body}","latency_us":{place}}}"#
            ));
            let Ok(text) = serde_json::from_str::<String>(&text) else {
                expected.push((recorded, None));
                continue;
            };
            let wire = if recorded == "wire_protocol" {
                &text
            } else {
                ""
            };
            let mut context = RequestContext::new(WireProtocol::from(wire)).request_id(&id);
            context.read_body = Some(true);
            match recorded {
                "request_id" => context.request_id = Some(text),
                "user_id" => context.user_id = Some(text),
                "session_id" => context.session_id = Some(text),
                "conversation_id" => context.conversation_id = Some(text),
                "trace_id" => context.trace_id = Some(text),
                "provider_name" => context.provider_name = Some(text),
                "request_model" => context.request_model = Some(text),
                _ => {}
            }
            let handle = store.recorder().open(context, r#"{"n":1}"#).unwrap();
            let id = handle.request_id().to_owned();
            let mut completion = Completion::new();
            completion.timing = Some(Timing::default().latency_us(place as u64));
            handle
                .complete(completion)
                .unwrap()
                .wait(std::time::Duration::from_secs(30))
                .unwrap();
            let filter = RequestFilter::new().request_id(id);
            let page = store
                .reader()
                .list(&filter, &ListOptions::new().limit(1))
                .unwrap();
            let request = serde_json::to_value(&page.requests[0]).unwrap();
            let adjusted = request["adjusted_fields"].clone();
            expected.push((recorded, Some((request[recorded].clone(), adjusted))));
        }
    }
    let sandbox = taken_in("record", &lines);
    let found = requests(&sandbox);
    assert_eq!(found.len(), expected.len());
    for ((line, found), (recorded, expected)) in lines.iter().zip(found).zip(expected) {
        let Some((value, adjusted)) = expected else {
            // Half of a surrogate pair: as it is written, and flagged.
            assert!(found[recorded].as_str().unwrap().contains("\\ud"), "{line}");
            assert_eq!(found["adjusted_fields"], json!([recorded]), "{line}");
            continue;
        };
        assert_eq!(found["adjusted_fields"], adjusted, "{line}");
        // An id that is made up is another one each time.
        if line.contains(r#""request_id":"","#) {
            assert_ne!(found["request_id"], "");
        } else {
            assert_eq!(found[recorded], value, "{line}");
        }
    }
}

#[test]
fn a_client_cannot_keep_its_request_out_by_the_model_that_it_names() {
    let lines: Vec<String> = odd_texts()
        .iter()
        .enumerate()
        .map(|(place, model)| {
            let body = format!(r#"{{"model":{model},"n":{place}}}"#);
            let quoted = serde_json::to_string(&body).unwrap();
            match place % 2 {
                0 => format!(r#"{{"request_body":{quoted},"request_id":"r{place}"}}"#),
                _ => format!(r#"{{"request":{body},"request_id":"r{place}"}}"#),
            }
        })
        .collect();
    let sandbox = taken_in("record", &lines);
    for (model, request) in odd_texts().iter().zip(requests(&sandbox)) {
        let model = serde_json::from_str::<String>(model).unwrap_or_default();
        let is_bounded = model.len() > 256 || model.contains('\0');
        let adjusted = request["adjusted_fields"].as_array().unwrap();
        assert_eq!(
            adjusted.contains(&json!("request_model")),
            is_bounded,
            "{request}"
        );
    }
}

#[test]
fn any_number_in_any_field_of_a_recorded_line_is_taken_in_and_flagged() {
    let mut lines = Vec::new();
    for field in ["status", "started_at", "latency_us"] {
        for (place, number) in ODD_NUMBERS.iter().enumerate() {
            lines.push((
                format!(r#"{{"request":1,"request_id":"{field}-{place}","{field}":{number}}}"#),
                if field == "status" {
                    "http_status"
                } else {
                    field
                },
            ));
        }
    }
    for usage in ["prompt_tokens", "completion_tokens"] {
        for (place, number) in ODD_NUMBERS.iter().enumerate() {
            let line = format!(
                r#"{{"request":1,"request_id":"{usage}-{place}","wire":"openai.chat","usage":{{"{usage}":{number}}}}}"#
            );
            lines.push((line, "usage"));
        }
    }
    let texts: Vec<String> = lines.iter().map(|(line, _)| line.clone()).collect();
    let sandbox = taken_in("record", &texts);
    for ((line, field), request) in lines.iter().zip(requests(&sandbox)) {
        let adjusted: Vec<&str> = request["adjusted_fields"]
            .as_array()
            .unwrap()
            .iter()
            .map(|name| name.as_str().unwrap())
            .collect();
        let is_flagged = adjusted.contains(field);
        let has_value = |field: &str| !request[field].is_null();
        match *field {
            // A status that no answer can have is none.
            "http_status" => assert_eq!(is_flagged, !has_value(field), "{line} {request}"),
            "latency_us" => {
                let is_kept = [
                    "-0",
                    "0",
                    "1000.0",
                    "2e2",
                    "99",
                    "1000",
                    "65536",
                    "4294967296",
                ];
                let is_kept = is_kept
                    .iter()
                    .any(|kept| line.ends_with(&format!(":{kept}}}")));
                assert_eq!(is_flagged, !is_kept, "{line} {request}");
                assert_eq!(has_value(field), !line.contains(":-") || is_kept, "{line}");
            }
            "started_at" => assert!(request["opened_at"].as_i64() > Some(100_000_000_000_000)),
            _ => {}
        }
    }
    assert_eq!(sandbox.run(&["stats"]).exit, 0);
}

/// A line of an export with everything in it.
fn exported() -> Value {
    let sandbox = Sandbox::sample();
    let run = sandbox.run(&["export", "--content", "full"]);
    assert_eq!(run.exit, 0, "{}", run.stderr);
    let lines = run.json();
    let mut line = lines.into_iter().next().unwrap();
    line["tool_calls"] = json!([{"tool_call_id": "t", "tool_name": "n", "input": "{}"}]);
    line["attributes"] = json!({"route": "x"});
    line["max_tokens"] = json!(5);
    line
}

#[test]
fn any_number_and_text_in_any_field_of_an_imported_line_is_taken_in() {
    let exported = exported();
    let object = exported.as_object().unwrap();
    let mut lines = Vec::new();
    let mut push = |field: &str, text: String, value: &str| {
        // What is no request's own id here would be the same request each time.
        let id = format!(r#""request_id":"i{}""#, lines.len());
        let line = match field {
            "request_id" => text,
            _ => text.replacen(
                &format!(r#""request_id":{}"#, exported["request_id"]),
                &id,
                1,
            ),
        };
        assert!(line.contains(value), "{field}");
        lines.push(line);
    };
    const NUMBERS: [&str; 13] = [
        "opened_seq",
        "opened_at",
        "latency_us",
        "upstream_latency_us",
        "time_to_first_chunk_us",
        "max_tokens",
        "input_tokens",
        "output_tokens",
        "cache_read_input_tokens",
        "cache_write_input_tokens",
        "reasoning_output_tokens",
        "cost_microdollars",
        "http_status",
    ];
    for field in NUMBERS.into_iter().chain(["temperature", "top_p"]) {
        for number in ODD_NUMBERS {
            let mut line = object.clone();
            assert!(line.contains_key(field), "{field}");
            line.insert(field.to_owned(), json!("@"));
            let line = serde_json::to_string(&line).unwrap();
            push(field, line.replace(r#""@""#, number), number);
        }
    }
    for number in ODD_NUMBERS {
        let mut line = exported.clone();
        line["response"]["length"] = json!("@");
        let line = serde_json::to_string(&line).unwrap();
        push("length", line.replace(r#""@""#, number), number);
    }
    let texts = object.iter().filter(|(field, value)| {
        let is_other = ["status", "wire_protocol"].contains(&field.as_str());
        (value.is_string() || value.is_null() && !NUMBERS.contains(&field.as_str()))
            && !is_other
            && ![
                "ended_seq",
                "temperature",
                "top_p",
                "usage_details",
                "request",
                "response",
            ]
            .contains(&field.as_str())
    });
    for (field, _) in texts {
        for text in odd_texts() {
            let mut line = object.clone();
            line.insert(field.clone(), json!("@"));
            let line = serde_json::to_string(&line).unwrap();
            push(field, line.replace(r#""@""#, &text), &text);
        }
    }
    for text in odd_texts() {
        for nested in [
            json!({"attributes": {"k": "@"}}),
            json!({"attributes": {"@": "v"}}),
            json!({"finish_reasons": ["@"]}),
            json!({"tool_calls": [{"tool_call_id": "@", "tool_name": "@", "input": "@"}]}),
        ] {
            let mut line = object.clone();
            line.extend(nested.as_object().unwrap().clone());
            let line = serde_json::to_string(&line).unwrap();
            push("nested", line.replace(r#""@""#, &text), &text);
        }
    }
    assert!(lines.len() > 500);
    let sandbox = taken_in("import", &lines);
    assert_eq!(requests(&sandbox).len(), lines.len());
    assert_eq!(sandbox.run(&["stats"]).exit, 0);
    assert_eq!(sandbox.run(&["doctor"]).exit, 0);
}

#[test]
fn another_kind_of_value_is_refused_by_the_name_of_its_field() {
    let long = format!("\"{}\"", "x".repeat(10_000));
    let refused = |command: &str, line: String, field: &str| {
        let sandbox = Sandbox::new();
        let run = sandbox.run_with(&[command, "-"], line.as_bytes());
        assert_eq!(run.exit, 1, "{}", run.stderr);
        let first = run.stderr.lines().next().unwrap().to_owned();
        assert!(
            first.starts_with("-:1: ") && first.contains(field),
            "{first}"
        );
        for word in [
            "u64", "u16", "i64", "f64", "expected", "xxxx", "struct", "map",
        ] {
            assert!(!first.contains(word), "{first}");
        }
    };
    for field in ["status", "latency_us", "usage"] {
        for value in [long.as_str(), "true", "[1]"] {
            refused(
                "record",
                format!(r#"{{"request":1,"{field}":{value}}}"#),
                field,
            );
        }
    }
    for field in ["user_id", "model", "request_body", "response_body"] {
        for value in ["7", "true", "{}", "[\"x\"]"] {
            refused(
                "record",
                format!(r#"{{"request":1,"{field}":{value}}}"#),
                field,
            );
        }
    }
    refused(
        "record",
        r#"{"request":1,"stream":"yes"}"#.to_owned(),
        "stream",
    );
    refused(
        "record",
        r#"{"request":1,"started_at":[]}"#.to_owned(),
        "started_at",
    );
    let exported = exported();
    for (field, value) in exported.as_object().unwrap() {
        if [
            "ended_seq",
            "is_id_shared",
            "price_book_seq",
            "request_bytes",
            "response_bytes",
            "tool_call_count",
        ]
        .contains(&field.as_str())
        {
            continue; // not read
        }
        let mut line = exported.clone();
        // A list of lists is no value of any field.
        line[field] = json!([[1]]);
        if field == "tool_calls" && value.is_array() {
            line[field] = json!([{"tool_name": 7}]);
        }
        refused("import", line.to_string(), field);
        line.as_object_mut().unwrap().remove(field);
        if ["opened_seq", "request_id", "status", "opened_at"].contains(&field.as_str()) {
            refused("import", line.to_string(), field);
        }
    }
}

#[test]
fn lines_that_are_known_cost_no_more_than_new_ones() {
    let sandbox = Sandbox::new();
    let lines: String = (0..4000)
        .map(|number| {
            format!(
                r#"{{"request":{{"model":"m","messages":[{{"role":"user","content":"question {number}"}}]}},"response":{{"n":{number}}},"status":200,"request_id":"r{number}","user_id":"u{}"}}"#,
                number % 50
            ) + "\n"
        })
        .collect();
    sandbox.write("lines.jsonl", lines);
    let took = || {
        let begun = Instant::now();
        let run = sandbox.run(&["record", "--json", "lines.jsonl"]);
        assert_eq!(run.exit, 0, "{}", run.stderr);
        (begun.elapsed(), run.json()[0]["already_recorded"].clone())
    };
    let (first, known) = took();
    assert_eq!(known, 0);
    let (again, known) = took();
    assert_eq!(known, 4000);
    // The load of the machine may hit one of them.
    let again = again.min(took().0);
    // Unpacking the log again for each body took ten times as long.
    assert!(again < 4 * first, "{again:?} after {first:?}");
}

#[test]
fn the_sample_is_recorded_without_a_flag() {
    let lines: Vec<String> = SAMPLE.lines().map(str::to_owned).collect();
    for request in requests(&taken_in("record", &lines)) {
        assert_eq!(request["adjusted_fields"], json!([]), "{request}");
        let flags = request["body_flags"].as_array().unwrap();
        let are_unparsed = |flag: &Value| flag.as_str().unwrap().ends_with("_unparsed");
        assert!(flags.iter().all(are_unparsed), "{request}");
    }
}
