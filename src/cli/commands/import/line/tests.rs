use auditlite::RequestRecord;

use super::{FIELDS, Fields, Line};

/// Fields that an import computes itself.
const DERIVED: [&str; 6] = [
    "ended_seq",
    // Its own log's event.
    "price_book_seq",
    "tool_call_count",
    "request_bytes",
    "response_bytes",
    "is_id_shared",
];

#[test]
fn every_field_of_a_request_is_imported_or_derived() {
    for name in RequestRecord::FIELD_NAMES {
        let is_imported = FIELDS.contains(&name);
        assert_eq!(is_imported, !DERIVED.contains(&name), "{name}");
    }
}

/// A line as `auditlite export --content full` writes it, with every field.
const LINE: &str = r#"{"opened_seq":7,"ended_seq":9,"request_id":"a\u0001","status":"failed","opened_at":1764000000000000,"latency_us":5,"upstream_latency_us":null,"time_to_first_chunk_us":3,"user_id":"u\ud83e\udd80","session_id":"s","context_id":null,"conversation_id":"c","trace_id":"t","actor_type":"user","actor_id":"x","operation_name":"chat","url_path":"/v1","provider_name":"p","response_provider_name":"q","client_model":"m","request_model":"n","response_model":"o","wire_protocol":"openai.chat","is_streaming":true,"max_tokens":9,"temperature":0.1,"top_p":1,"attributes":{"k":"v"},"input_tokens":1,"output_tokens":2,"cache_read_input_tokens":3,"cache_write_input_tokens":4,"reasoning_output_tokens":5,"cost_microdollars":6,"finish_reasons":["stop"],"tool_call_count":1,"response_id":"r","http_status":500,"error_type":"e","error_message":"f","request_bytes":2,"response_bytes":1,"adjusted_fields":["user_id"],"body_flags":["response_unparsed"],"is_erased":false,"is_id_shared":false,"tool_calls":[{"tool_call_id":"i","tool_name":"j","input_bytes":2,"input":"{}"}],"request":{"length":2,"sha256":"ab","not_exported":null,"is_unchecked":false,"head":1,"text":"\"{","base64":null},"response":{"length":1,"sha256":null,"not_exported":null,"is_unchecked":false,"head":null,"text":null,"base64":"/w=="}}"#;

fn slowly(line: &[u8]) -> Option<(Line, Vec<&'static str>)> {
    let mut fields = Fields::of_line(line, FIELDS).ok()?;
    let read = Line::read(&mut fields, line).ok()?;
    Some((read, fields.into_adjusted()))
}

#[test]
fn a_line_that_is_read_in_one_pass_says_what_it_says_field_by_field() {
    assert!(Line::as_written(LINE.as_bytes()).is_some());
    // Each value is replaced by each of these, and each byte by a few: what one pass takes, both take alike.
    let values = [
        "null",
        "true",
        "0",
        "-1",
        "-0",
        "1.5",
        "1.0",
        "1e3",
        "1e999",
        "99",
        "1000",
        "18446744073709551616",
        "9007199254740993",
        r#""""#,
        r#""x""#,
        r#""\ud800""#,
        r#""1""#,
        "[]",
        "{}",
        r#"["a"]"#,
        "[1]",
        r#"[2,"ab",null,"t",null]"#,
        r#"{"length":1}"#,
        r#"{"length":null}"#,
        r#"{"k":null}"#,
        r#"{"k":"a","k":"b"}"#,
        r#"[["i","j","{}"]]"#,
        "",
    ];
    let mut taken = 0;
    let mut compare = |line: &[u8]| {
        let Some(quick) = Line::as_written(line) else {
            return;
        };
        let text = String::from_utf8_lossy(line);
        let (slow, adjusted) = slowly(line).unwrap_or_else(|| panic!("only one pass takes {text}"));
        assert!(adjusted.is_empty(), "{adjusted:?} {text}");
        assert_eq!(quick, slow, "{text}");
        taken += 1;
    };
    let members: serde_json::Map<String, serde_json::Value> = serde_json::from_str(LINE).unwrap();
    for name in members.keys() {
        let begin = LINE.find(&format!("\"{name}\":")).unwrap() + name.len() + 3;
        let bytes = LINE.as_bytes();
        let mut deserializer = serde_json::Deserializer::from_slice(&bytes[begin..])
            .into_iter::<serde::de::IgnoredAny>();
        deserializer.next().unwrap().unwrap();
        let end = begin + deserializer.byte_offset();
        for value in values {
            compare(&[&bytes[..begin], value.as_bytes(), &bytes[end..]].concat());
        }
        let again = format!(",\"{name}\":null");
        compare(&[&bytes[..end], again.as_bytes(), &bytes[end..]].concat());
    }
    for at in 0..LINE.len() {
        for byte in *b"\"0{}[],:\\ a\xff" {
            let mut line = LINE.as_bytes().to_vec();
            line[at] = byte;
            compare(&line);
        }
        compare(&[&LINE.as_bytes()[..at], &LINE.as_bytes()[at + 1..]].concat());
    }
    assert!(taken > 1000, "{taken}");
}
