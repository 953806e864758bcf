//! Tool calls as servers send them: by id, by name, by number, and in parts of a document.

use super::*;

fn chat_calls(deltas: &[&str]) -> Vec<ToolCall> {
    let mut chunks: Vec<String> = deltas
        .iter()
        .map(|calls| format!(r#"{{"choices":[{{"index":0,"delta":{{"tool_calls":{calls}}}}}]}}"#))
        .collect();
    chunks.push(r#"{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}"#.to_owned());
    let chunks: Vec<&str> = chunks.iter().map(String::as_str).collect();
    parse(WireProtocol::OpenAiChat, &events(&chunks)).tool_calls()
}

#[test]
fn pieces_of_chat_calls_find_their_call() {
    let f = call("a", "f", r#"{"x":1}"#);
    // A new id on every piece, with and without the name again.
    for name in ["", "f"] {
        let more = format!(
            r#"[{{"index":0,"id":"b","function":{{"name":"{name}","arguments":":1}}"}}}}]"#
        );
        let first = r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\""}}]"#;
        assert_eq!(chat_calls(&[first, &more]), std::slice::from_ref(&f));
    }
    // Two calls, both with the number 0.
    let first = r#"[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\":1}"}}]"#;
    let second = r#"[{"index":0,"id":"b","function":{"name":"f","arguments":"{\"x\":2}"}}]"#;
    let g = call("b", "f", r#"{"x":2}"#);
    assert_eq!(chat_calls(&[first, second]), [f.clone(), g.clone()]);
    // The same without any id, or with those that are none.
    for id in ["", "null", "None"] {
        let of = |x: u32| {
            format!(
                r#"[{{"index":0,"id":"{id}","function":{{"name":"f","arguments":"{{\"x\":{x}}}"}}}}]"#
            )
        };
        let expected = [call("", "f", r#"{"x":1}"#), call("", "f", r#"{"x":2}"#)];
        assert_eq!(chat_calls(&[&of(1), &of(2)]), expected);
    }
    // A single call without a list, and one that comes again at another number.
    let bare = r#"{"index":0,"id":"a","function":{"name":"f","arguments":{"x":1}}}"#;
    assert_eq!(chat_calls(&[bare]), std::slice::from_ref(&f));
    let again = first.replace("\"index\":0", "\"index\":1");
    assert_eq!(chat_calls(&[first, &again]), std::slice::from_ref(&f));
    // Interleaved pieces of two calls.
    let begin = r#"[{"index":0,"id":"a","function":{"name":"f"}},{"index":1,"id":"b","function":{"name":"f"}}]"#;
    let pieces = [
        r#"[{"index":1,"function":{"arguments":"{\"x\""}}]"#,
        r#"[{"index":0,"function":{"arguments":"{\"x\":1}"}}]"#,
        r#"[{"index":1,"function":{"arguments":":2}"}}]"#,
    ];
    assert_eq!(
        chat_calls(&[begin, pieces[0], pieces[1], pieces[2]]),
        [f, g]
    );
}

#[test]
fn responses_calls_are_whole_where_only_their_last_event_is() {
    for (kind, field, name, event) in [
        (
            "function_call",
            "arguments",
            "f",
            "response.function_call_arguments.done",
        ),
        (
            "custom_tool_call",
            "input",
            "f",
            "response.custom_tool_call_input.done",
        ),
        (
            "mcp_call",
            "arguments",
            "f",
            "response.mcp_call_arguments.done",
        ),
        (
            "code_interpreter_call",
            "code",
            "code_interpreter",
            "response.code_interpreter_call_code.done",
        ),
    ] {
        let named = if name == "f" { r#","name":"f""# } else { "" };
        let added = format!(
            r#"{{"type":"response.output_item.added","output_index":0,"item":{{"type":"{kind}","id":"i","call_id":"c"{named},"{field}":""}}}}"#
        );
        let delta = format!(
            r#"{{"type":"{}","output_index":0,"delta":"{{\"cut"}}"#,
            event.replace(".done", ".delta")
        );
        let done = format!(r#"{{"type":"{event}","output_index":0,"{field}":"{{\"a\":1}}"}}"#);
        for events_of in [vec![&added, &done], vec![&added, &delta, &done]] {
            let documents: Vec<&str> = events_of.into_iter().map(String::as_str).collect();
            let response = parse(WireProtocol::OpenAiResponses, &events(&documents));
            assert_eq!(
                response.tool_calls(),
                [call("c", name, r#"{"a":1}"#)],
                "{kind}"
            );
        }
    }
}

#[test]
fn commands_of_a_shell_are_joined_and_output_events_wipe_nothing() {
    let documents = [
        r#"{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"Hi"}"#,
        r#"{"type":"response.output_item.added","output_index":1,"item":{"type":"shell_call","id":"s","call_id":"c","action":{"commands":[]}}}"#,
        r#"{"type":"response.shell_call_command.added","output_index":1,"command_index":0,"command":""}"#,
        r#"{"type":"response.shell_call_command.delta","output_index":1,"command_index":0,"delta":"rm -"}"#,
        r#"{"type":"response.shell_call_command.delta","output_index":1,"command_index":1,"delta":"ls"}"#,
        r#"{"type":"response.shell_call_command.delta","output_index":1,"command_index":0,"delta":"rf x"}"#,
        r#"{"type":"response.shell_call_output_content.done","output_index":1,"command_index":0,"output":[{"stdout":"o"}]}"#,
    ];
    let response = parse(WireProtocol::OpenAiResponses, &events(&documents));
    assert_eq!(
        response.tool_calls(),
        [call("c", "shell", r#"{"commands":["rm -rf x","ls"]}"#)]
    );
    assert_eq!(response.assistant_text(), "Hi");
    let done = r#"{"type":"response.output_item.done","output_index":1,"item":{"type":"shell_call","id":"s","call_id":"c","action":{"commands":["whole"]}}}"#;
    let mut documents = documents.to_vec();
    documents.push(done);
    let response = parse(WireProtocol::OpenAiResponses, &events(&documents));
    assert_eq!(
        response.tool_calls(),
        [call("c", "shell", r#"{"commands":["whole"]}"#)]
    );
}

#[test]
fn every_item_that_asks_for_a_tool_is_a_call() {
    let body = r#"{"object":"response","status":"completed","output":[
        {"type":"mcp_approval_request","id":"m","name":"delete","arguments":"{}","server_label":"s"},
        {"type":"program","id":"p","call_id":"cp","code":"run()","fingerprint":"x"},
        {"type":"program_output","id":"po","call_id":"cp","result":"done"},
        {"type":"computer_call","id":"k","call_id":"ck","actions":[{"type":"click"}]},
        {"type":"mcp_call","id":"e","name":"ask","arguments":"{}","output":null,"error":"broke"}]}"#;
    let response = parse(WireProtocol::OpenAiResponses, body);
    let expected = [
        call("m", "delete", "{}"),
        call("cp", "program", "run()"),
        call("ck", "computer", r#"[{"type":"click"}]"#),
        call("e", "ask", "{}"),
    ];
    assert_eq!(response.tool_calls(), expected);
    let results: Vec<_> = response.messages[0]
        .tool_results()
        .map(|result| result.text.as_str())
        .collect();
    assert_eq!(results, ["done", "broke"]);
}

#[test]
fn vertex_arguments_come_by_path() {
    let part = |calls: &str| {
        format!(r#"{{"candidates":[{{"index":0,"content":{{"parts":[{calls}]}}}}]}}"#)
    };
    let pieces = [
        part(r#"{"functionCall":{"name":"f","id":"1","willContinue":true}}"#),
        part(
            r#"{"functionCall":{"partialArgs":[{"jsonPath":"$.city","stringValue":"Bos","willContinue":true}],"willContinue":true}}"#,
        ),
        part(
            r#"{"functionCall":{"partialArgs":[{"jsonPath":"$.city","stringValue":"ton"},{"jsonPath":"$.n[0]","numberValue":1.50}],"willContinue":true}}"#,
        ),
        part(
            r#"{"functionCall":{"partialArgs":[{"jsonPath":"$.ok","boolValue":true},{"jsonPath":"$.no","nullValue":"NULL_VALUE"}],"willContinue":true}}"#,
        ),
        part(
            r#"{"functionCall":{}},{"functionCall":{"name":"g","args":{"y":2}}},{"functionCall":{"name":"g","args":{"y":3}}}"#,
        ),
    ];
    let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
    let response = parse(WireProtocol::GeminiGenerate, &events(&pieces));
    let expected = [
        call(
            "1",
            "f",
            r#"{"city":"Boston","n":[1.50],"ok":true,"no":null}"#,
        ),
        call("g", "g", r#"{"y":2}"#),
        call("g", "g", r#"{"y":3}"#),
    ];
    assert_eq!(response.tool_calls(), expected);
    assert_eq!(response.unparsed, 0);
    let cut = parse(WireProtocol::GeminiGenerate, &events(&pieces[..2]));
    assert_eq!(cut.tool_calls(), [call("1", "f", r#"{"city":"Bos"}"#)]);
}

/// Errors are objects of a kind, a code and a message, which are no text.
#[test]
fn how_a_providers_own_call_failed_is_its_result() {
    let body = r#"{"object":"response","status":"completed","output":[{"type":"mcp_call","id":"m","name":"f","arguments":"{}","error":{"type":"http_error","code":502,"message":"bad"}},{"type":"mcp_list_tools","id":"l","server_label":"s","error":"unreachable"}]}"#;
    let response = parse(WireProtocol::OpenAiResponses, body);
    let results: Vec<&str> = response.messages[0]
        .parts
        .iter()
        .filter_map(|part| match part {
            MessagePart::ToolResult(result) => Some(result.text.as_str()),
            _ => None,
        })
        .collect();
    assert!(results[0].contains("502"), "{results:?}");
    assert_eq!(results[1], "unreachable");
}
