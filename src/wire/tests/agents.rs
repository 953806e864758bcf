//! Sessions with agents: what their streams and objects say, and what is counted of it.

use super::*;

const IDLE: &str = r#"{"type":"session.status_idle","id":"e9","stop_reason":{"type":"end_turn"},"stop_details":null}"#;

fn anthropic_events() -> Vec<&'static str> {
    vec![
        r#"{"type":"session.status_running","id":"e0"}"#,
        r#"{"type":"span.model_request_start","id":"e1"}"#,
        r#"{"type":"event_start","event":{"type":"agent.message","id":"e2"}}"#,
        r#"{"type":"event_delta","event_id":"e2","delta":{"type":"content_delta","index":0,"content":{"type":"text","text":"Hel"}}}"#,
        r#"{"type":"event_delta","event_id":"e2","delta":{"type":"content_delta","index":0,"content":{"type":"text","text":"lo"}}}"#,
        r#"{"type":"agent.message","id":"e2","content":[{"type":"text","text":"Hello"}]}"#,
        r#"{"type":"agent.tool_use","id":"e3","name":"bash","input":{"command":"ls"}}"#,
        r#"{"type":"agent.mcp_tool_use","id":"e4","name":"find","mcp_server_name":"s","input":{"q":1}}"#,
        r#"{"type":"span.model_request_end","id":"e5","model_request_start_id":"e1","model_usage":{"input_tokens":10,"output_tokens":5,"cache_read_input_tokens":80,"cache_creation_input_tokens":9,"speed":"fast"}}"#,
        r#"{"type":"agent.tool_result","id":"e6","tool_use_id":"e3","content":[{"type":"text","text":"a.txt"}]}"#,
        r#"{"type":"session.thread_status_idle","id":"t1","session_thread_id":"x","agent_name":"a","stop_reason":{"type":"end_turn"}}"#,
        r#"{"type":"session.error","id":"e7","error":{"type":"model_overloaded_error","message":"m","retry_status":{"type":"retrying"}}}"#,
        r#"{"type":"span.outcome_evaluation_end","id":"e8","result":"satisfied","usage":{"input_tokens":1,"output_tokens":2,"cache_read_input_tokens":0,"cache_creation_input_tokens":0}}"#,
        r#"{"type":"session.usage","id":"u1","usage":{"input_tokens":1000,"output_tokens":500,"cache_read_input_tokens":7,"cache_creation":{"ephemeral_5m_input_tokens":3,"ephemeral_1h_input_tokens":4},"list_cost":{"amount":"25","currency":"USD"},"active_seconds":1.5,"server_tool_use":{"web_search_requests":2,"web_fetch_requests":0}}}"#,
        IDLE,
    ]
}

#[test]
fn the_stream_of_a_session_counts_each_request_to_a_model_once() {
    let all = anthropic_events();
    let response = parse(WireProtocol::AnthropicSessions, &events(&all));
    assert_eq!(response.assistant_text(), "Hello");
    let calls = [
        call("e3", "bash", r#"{"command":"ls"}"#),
        call("e4", "find", r#"{"q":1}"#),
    ];
    assert_eq!(response.tool_calls(), calls);
    let usage = response.usage.unwrap();
    assert_eq!(
        (usage.input_tokens, usage.output_tokens),
        (Some(100), Some(7))
    );
    assert_eq!(usage.cache_read_input_tokens, Some(80));
    assert_eq!(response.finish_reasons, ["end_turn"]);
    assert!(response.error.is_none() && !response.is_broken_off && !response.is_usage_partial);
    let details = response.usage_details.unwrap();
    let so_far = details.so_far.unwrap();
    assert_eq!(so_far.usage.input_tokens, Some(1014));
    assert_eq!(so_far.usage.cache_write_input_tokens, Some(7));
    assert_eq!(so_far.cache_write.for_1h_tokens, Some(4));
    assert_eq!(so_far.stated_cost_microdollars, Some(250_000));
    let units: Vec<(&str, u64)> = so_far
        .billed_units
        .iter()
        .map(|billed| (billed.unit.as_str(), billed.count))
        .collect();
    assert_eq!(units, [("web_search_requests", 2), ("active_ms", 1500)]);
    assert_eq!(details.speed.as_deref(), Some("fast"));
    // A stream may begin with what came before.
    let mut again = all.clone();
    again.extend(all);
    let again = parse(WireProtocol::AnthropicSessions, &events(&again));
    assert_eq!(again.usage, response.usage);
    assert_eq!(again.tool_calls().len(), 2);
}

#[test]
fn a_session_that_is_at_work_has_not_ended() {
    let mut cut = anthropic_events();
    cut.truncate(13);
    let response = parse(WireProtocol::AnthropicSessions, &events(&cut));
    assert!(response.is_broken_off && response.is_usage_partial);
    let next_turn = [IDLE, r#"{"type":"session.status_running","id":"n"}"#];
    let response = parse(WireProtocol::AnthropicSessions, &events(&next_turn));
    assert!(response.is_broken_off && response.finish_reasons.is_empty());
    let of_thread = [
        r#"{"type":"session.thread_status_running","id":"a","session_thread_id":"x"}"#,
        r#"{"type":"agent.message","id":"b","content":[{"type":"text","text":"Hi"}]}"#,
        r#"{"type":"session.thread_status_idle","id":"c","stop_reason":{"type":"refusal"},"stop_details":{"type":"refusal","category":"bio","explanation":"no"}}"#,
    ];
    let response = parse(WireProtocol::AnthropicSessions, &events(&of_thread));
    assert!(!response.is_broken_off);
    assert_eq!(response.finish_reasons, ["refusal"]);
    assert_eq!(response.refusal().as_deref(), Some("bio: no"));
}

#[test]
fn a_session_fails_when_it_does_not_try_again() {
    for (status, is_failed) in [("retrying", false), ("exhausted", true), ("terminal", true)] {
        let error = format!(
            r#"{{"type":"session.error","id":"e","error":{{"type":"billing_error","message":"m","retry_status":{{"type":"{status}"}}}}}}"#
        );
        let response = parse(WireProtocol::AnthropicSessions, &events(&[&error, IDLE]));
        let kind = response.error.and_then(|error| error.error_type);
        assert_eq!(
            kind.as_deref() == Some("billing_error"),
            is_failed,
            "{status}"
        );
    }
}

/// Every look at a session, a run or a turn would count the same tokens again.
#[test]
fn what_is_looked_at_counts_once_it_is_over_or_never() {
    let usage = r#""usage":{"input_tokens":10,"output_tokens":5,"cache_read_input_tokens":0}"#;
    let sessions = WireProtocol::AnthropicSessions;
    let agents = WireProtocol::OpenAiAgents;
    let assistants = WireProtocol::OpenAiAssistants;
    for (protocol, document, is_counted) in [
        (&sessions, r#""type":"session","status":"idle""#, false),
        (
            &sessions,
            r#""type":"session_thread","status":"idle""#,
            false,
        ),
        (&sessions, r#""type":"dream","status":"running""#, false),
        (&sessions, r#""type":"dream","status":"canceled""#, false),
        (&sessions, r#""type":"dream","status":"completed""#, true),
        (
            &agents,
            r#""object":"agent.session","status":"idle""#,
            false,
        ),
        (
            &agents,
            r#""object":"agent.session.turn","status":"in_progress""#,
            false,
        ),
        (
            &agents,
            r#""object":"agent.session.turn","status":"completed""#,
            true,
        ),
        (
            &assistants,
            r#""object":"thread.run","status":"in_progress""#,
            false,
        ),
        (
            &assistants,
            r#""object":"thread.run","status":"completed""#,
            true,
        ),
    ] {
        let body = format!(
            r#"{{"id":"i","session_id":"s",{document},"agent":{{"model":{{"id":"m"}}}},"model":{{"id":"m"}},{usage}}}"#
        );
        let body = match protocol == &sessions {
            true => body,
            false => body.replace(r#"{"id":"m"}"#, r#""m""#),
        };
        let response = parse(protocol.clone(), &body);
        assert_eq!(response.usage.is_some(), is_counted, "{body}");
        let so_far = response.usage_details.and_then(|details| details.so_far);
        let is_of_run = document.contains("thread.run");
        assert_eq!(so_far.is_none(), is_counted || is_of_run, "{body}");
        assert_eq!(response.response_id.as_deref(), Some("i"));
        let has_model = response.response_model.as_deref() == Some("m");
        assert_eq!(has_model, !document.contains("turn"), "{body}");
        assert!(response.unparsed == 0 && !response.is_broken_off);
    }
}

#[test]
fn lists_of_what_was_before_count_nothing() {
    let event = anthropic_events()[8];
    for (protocol, body) in [
        (
            WireProtocol::AnthropicSessions,
            format!(r#"{{"data":[{event}],"next_page":null}}"#),
        ),
        (
            WireProtocol::OpenAiAgents,
            r#"{"object":"list","data":[{"object":"agent.session.turn","status":"completed","usage":{"input_tokens":1,"output_tokens":1}}]}"#.to_owned(),
        ),
        (
            WireProtocol::OpenAiAssistants,
            r#"{"object":"list","data":[{"object":"thread.run","status":"completed","usage":{"prompt_tokens":1,"completion_tokens":1}}]}"#.to_owned(),
        ),
    ] {
        let response = parse(protocol, &body);
        assert!(response.usage.is_none() && response.unparsed == 0 && !response.is_generic);
    }
}

#[test]
fn turns_of_an_agent_count_once() {
    let session = |status: &str| {
        format!(
            r#"{{"type":"agent.session.{status}","event_id":"v","session":{{"id":"s","object":"agent.session","status":"{status}","agent":{{"model":"gpt","service_tier":"flex"}},"usage":{{"input_tokens":900,"output_tokens":90}},"required_actions":[{{"type":"function_call","call_id":"c1","name":"f","arguments":{{"a":1}}}}]}}}}"#
        )
    };
    let turn = |status: &str| {
        format!(
            r#"{{"type":"agent.session.turn.{status}","session_id":"s","turn_id":"t","turn":{{"id":"t","object":"agent.session.turn","status":"{status}","usage":{{"input_tokens":9,"input_tokens_details":{{"cached_tokens":4}},"output_tokens":5,"total_tokens":14}}}}}}"#
        )
    };
    let all = [
        &session("in_progress").replace("c1", "c0"),
        &turn("in_progress"),
        r#"{"type":"agent.session.turn.item.added","session_id":"s","item":{"id":"u","type":"message","role":"user","content":[{"type":"input_text","text":"do"}]}}"#,
        r#"{"type":"agent.session.turn.item.added","session_id":"s","output_index":0,"item":{"id":"i1","type":"function_call","call_id":"c1","name":"f","arguments":{"a":1},"status":"completed"}}"#,
        r#"{"type":"agent.session.turn.item.done","session_id":"s","output_index":1,"item":{"id":"i2","type":"command_execution","command":"ls","output":"a.txt","status":"completed"}}"#,
        r#"{"type":"agent.session.turn.reasoning_summary_text.delta","item_id":"i3","output_index":2,"summary_index":0,"delta":"hm"}"#,
        r#"{"type":"agent.session.turn.output_text.delta","item_id":"i4","output_index":3,"content_index":0,"delta":"Hel"}"#,
        r#"{"type":"agent.session.turn.output_text.done","item_id":"i4","output_index":3,"content_index":0,"text":"Hello"}"#,
        &turn("completed"),
        &turn("completed"),
        &session("idle"),
    ];
    let response = parse(WireProtocol::OpenAiAgents, &events(&all));
    assert_eq!(response.response_model.as_deref(), Some("gpt"));
    let usage = response.usage.unwrap();
    assert_eq!(
        (
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_read_input_tokens
        ),
        (Some(9), Some(5), Some(4))
    );
    let calls = [
        call("c0", "f", r#"{"a":1}"#),
        call("c1", "f", r#"{"a":1}"#),
        call("i2", "command_execution", "ls"),
    ];
    assert_eq!(response.tool_calls(), calls);
    assert_eq!(response.assistant_text(), "Hello");
    assert_eq!(response.thinking(), "hm");
    assert_eq!(response.finish_reasons, ["completed"]);
    assert!(!response.is_broken_off && !response.is_usage_partial);
    let details = response.usage_details.unwrap();
    assert_eq!(details.so_far.unwrap().usage.input_tokens, Some(900));
    assert_eq!(details.service_tier.as_deref(), Some("flex"));
    let cut = parse(WireProtocol::OpenAiAgents, &events(&all[..8]));
    assert!(cut.is_broken_off && cut.usage.is_none());
    let failed = turn("failed").replace(
        r#""status":"failed""#,
        r#""status":"failed","error":{"code":"usage_limit_exceeded","message":"m"}"#,
    );
    let failed = parse(WireProtocol::OpenAiAgents, &events(&[&failed]));
    assert_eq!(
        failed.error.unwrap().code.as_deref(),
        Some("usage_limit_exceeded")
    );
}

#[test]
fn runs_of_assistants_are_read_in_pieces_and_whole() {
    let run = |status: &str, more: &str| {
        format!(r#"{{"id":"r","object":"thread.run","model":"gpt","status":"{status}"{more}}}"#)
    };
    let usage = r#","usage":{"prompt_tokens":9,"completion_tokens":5,"total_tokens":14}"#;
    let documents = [
        run("queued", ""),
        r#"{"id":"st","object":"thread.run.step","step_details":{"type":"tool_calls","tool_calls":[]}}"#.to_owned(),
        r#"{"id":"st","object":"thread.run.step.delta","delta":{"step_details":{"type":"tool_calls","tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"f","arguments":""}}]}}}"#.to_owned(),
        r#"{"id":"st","object":"thread.run.step.delta","delta":{"step_details":{"type":"tool_calls","tool_calls":[{"index":0,"type":"function","function":{"arguments":"{\"a\":1}"}}]}}}"#.to_owned(),
        r#"{"id":"st","object":"thread.run.step","step_details":{"type":"tool_calls","tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},"usage":{"prompt_tokens":3,"completion_tokens":2}}"#.to_owned(),
        r#"{"id":"m","object":"thread.message","role":"assistant","content":[]}"#.to_owned(),
        r#"{"id":"m","object":"thread.message.delta","delta":{"content":[{"index":0,"type":"text","text":{"value":"Hel"}}]}}"#.to_owned(),
        r#"{"id":"m","object":"thread.message.delta","delta":{"content":[{"index":0,"type":"text","text":{"value":"lo"}}]}}"#.to_owned(),
        run("completed", usage),
    ];
    let documents: Vec<&str> = documents.iter().map(String::as_str).collect();
    let stream = events(&documents) + "data: [DONE]\n\n";
    let response = parse(WireProtocol::OpenAiAssistants, &stream);
    assert_eq!(response.response_model.as_deref(), Some("gpt"));
    assert_eq!(response.usage, Some(Usage::new(9, 5)));
    assert_eq!(response.tool_calls(), [call("c1", "f", r#"{"a":1}"#)]);
    assert_eq!(response.assistant_text(), "Hello");
    assert_eq!(response.finish_reasons, ["completed"]);
    let waiting = run(
        "requires_action",
        r#","required_action":{"type":"submit_tool_outputs","submit_tool_outputs":{"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{}"}}]}}"#,
    );
    let waiting = parse(WireProtocol::OpenAiAssistants, &waiting);
    assert_eq!(waiting.tool_calls(), [call("c1", "f", "{}")]);
    let failed = run(
        "failed",
        r#","last_error":{"code":"server_error","message":"m"}"#,
    );
    let failed = parse(WireProtocol::OpenAiAssistants, &failed)
        .error
        .unwrap();
    assert_eq!(failed.code.as_deref(), Some("server_error"));
}

#[test]
fn sessions_are_recognised_by_their_paths_and_by_themselves() {
    for (path, protocol) in [
        ("/v1/sessions", WireProtocol::AnthropicSessions),
        (
            "/v1/sessions/s/events/stream",
            WireProtocol::AnthropicSessions,
        ),
        (
            "/v1/sessions/s/threads/t/stream?a=b",
            WireProtocol::AnthropicSessions,
        ),
        ("/v1/dreams/d", WireProtocol::AnthropicSessions),
        ("/v1/agents/sessions", WireProtocol::OpenAiAgents),
        ("/v1/agents/sessions/s/turns/t", WireProtocol::OpenAiAgents),
        ("/v1/threads/runs", WireProtocol::OpenAiAssistants),
        (
            "/v1/threads/t/runs/r/steps/s",
            WireProtocol::OpenAiAssistants,
        ),
        ("/v1/threads/t/messages", WireProtocol::Unknown),
        ("/v1/chatkit/sessions", WireProtocol::Unknown),
        ("/v1/sessionsX", WireProtocol::Unknown),
        ("/v1/agents/completions", WireProtocol::OpenAiChat),
    ] {
        assert_eq!(WireProtocol::detect(path, b"{}"), protocol, "{path}");
    }
    let realtime = r#"{"type":"session.created","session":{"id":"s"}}"#;
    for (body, protocol) in [
        (events(&anthropic_events()), WireProtocol::AnthropicSessions),
        (
            r#"{"type":"session","id":"s","vault_ids":[]}"#.to_owned(),
            WireProtocol::AnthropicSessions,
        ),
        (
            events(&[r#"{"type":"agent.session.turn.created","turn":{}}"#]),
            WireProtocol::OpenAiAgents,
        ),
        (
            r#"{"object":"thread.run","id":"r"}"#.to_owned(),
            WireProtocol::OpenAiAssistants,
        ),
        (realtime.to_owned(), WireProtocol::OpenAiRealtime),
        (
            events(&[r#"{"type":"agent.handoff.started","previous_agent_id":"a"}"#]),
            WireProtocol::Unknown,
        ),
    ] {
        let found = WireProtocol::detect_exchange("", b"{}", body.as_bytes());
        assert_eq!(found, protocol, "{body}");
    }
}

#[test]
fn what_is_sent_to_a_session_is_read() {
    let sent = request(
        WireProtocol::AnthropicSessions,
        r#"{"events":[{"type":"user.message","content":[{"type":"text","text":"do"}]},{"type":"user.custom_tool_result","custom_tool_use_id":"c","content":[{"type":"text","text":"9"}]},{"type":"user.interrupt"}]}"#,
    );
    assert_eq!(flattened(&sent.messages)[0], "user: do");
    assert_eq!(sent.messages.len(), 3);
    let result = MessageToolResult {
        tool_call_id: "c".to_owned(),
        text: "9".to_owned(),
    };
    assert!(sent.messages[1].parts == [MessagePart::ToolResult(result.clone())]);
    let begun = request(
        WireProtocol::OpenAiAgents,
        r#"{"agent":{"model":"gpt"},"environment":{"type":"none"},"input":"do","stream":true}"#,
    );
    assert_eq!(begun.model.as_deref(), Some("gpt"));
    assert!(begun.is_streaming && flattened(&begun.messages) == ["user: do"]);
    let sent = request(
        WireProtocol::OpenAiAgents,
        r#"{"events":[{"type":"agent.session.input.message","input":[{"role":"user","content":[{"type":"input_text","text":"more"}]}]},{"type":"agent.session.input.tool_result","call_id":"c","output":"9"}]}"#,
    );
    assert_eq!(flattened(&sent.messages)[0], "user: more");
    assert!(sent.messages[1].parts == [MessagePart::ToolResult(result)]);
}
