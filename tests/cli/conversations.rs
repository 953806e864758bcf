//! `conversation`, `tools`, and tool calls with their results: an agent that asks for the weather.

use std::time::Duration;

use auditlite::{Completion, RequestContext, Store, Timestamp, ToolCall, Usage};
use serde_json::{Value, json};

use crate::support::{Sandbox, assert_golden, on_a_terminal};

const STARTED_AT: i64 = 1_793_534_400_000_000;

/// Three requests, each with the history of the one before, and one of another user.
pub(crate) fn agent() -> Sandbox {
    let sandbox = Sandbox::new();
    let store = Store::builder(sandbox.path("audit.db")).open().unwrap();
    let recorder = store.recorder();
    let call = json!({"role": "assistant", "content": null, "tool_calls": [{"id": "call-1",
        "type": "function", "function": {"name": "get_weather", "arguments": "{\"city\":\"Lyon\"}"}}]});
    let mut history = vec![
        json!({"role": "system", "content": "You are brief."}),
        json!({"role": "user", "content": "What is the weather in Lyon?\u{1b}[2J"}),
    ];
    let turns = [
        (
            call,
            Some(("call-1", "get_weather", "{\"city\": \"Lyon\"}")),
        ),
        (
            json!({"role": "assistant", "content": "It is 18 degrees."}),
            None,
        ),
        (
            json!({"role": "assistant", "content": "You are welcome."}),
            None,
        ),
    ];
    let said_by_others = [
        json!({"role": "tool", "tool_call_id": "call-1", "content": "18 °C, sunny"}),
        json!({"role": "user", "content": "Thanks!"}),
    ];
    let mut others = said_by_others.into_iter();
    for (turn, (reply, call)) in (0..).zip(turns) {
        let body = json!({"model": "gpt-4o", "messages": history});
        let context = RequestContext::new("openai.chat")
            .request_id(format!("turn-{turn}"))
            .started_at(Timestamp::from_micros(STARTED_AT + turn * 5_000_000))
            .conversation_id("weather")
            .user_id("u-1")
            .request_model("gpt-4o");
        let handle = recorder.open(context, body.to_string()).unwrap();
        let response = json!({"choices": [{"message": reply, "finish_reason": "stop"}]});
        let mut completion = Completion::new()
            .usage(Usage::new(100, 10))
            .response_body(response.to_string());
        if let Some((id, name, input)) = call {
            completion = completion.tool_call(ToolCall::new(id, name, input));
        }
        handle.complete(completion).unwrap();
        history.push(reply);
        history.extend(others.next());
    }
    let context = RequestContext::new("openai.chat")
        .request_id("alone")
        .started_at(Timestamp::from_micros(STARTED_AT + 60_000_000));
    let body = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "Alone"}]});
    let handle = recorder.open(context, body.to_string()).unwrap();
    handle.complete(Completion::new()).unwrap();
    assert!(store.close(Duration::from_secs(60)).is_complete);
    sandbox
}

#[test]
fn a_conversation_shows_each_message_once() {
    let sandbox = agent();
    let runs = [
        sandbox.run(&["conversation", "weather"]),
        sandbox.run(&["conversation", "turn-1"]),
        sandbox.run(&["conversation", "alone"]),
        sandbox.run(&["conversation", "weather", "--json"]),
        sandbox.run(&["conversation", "nobody"]),
        sandbox.run(&["show", "turn-0"]),
        sandbox.run(&["show", "turn-0", "--raw", "--full"]),
    ];
    assert_golden("conversation", &sandbox, &runs);
    let said = sandbox.run(&["conversation", "weather", "--json"]).json();
    let messages = said[0]["messages"].as_array().unwrap();
    let places: Vec<_> = messages
        .iter()
        .map(|message| {
            (
                message["role"].as_str().unwrap(),
                message["first_request_id"].as_str().unwrap(),
                message["requests"].as_u64().unwrap(),
                message["is_reply"].as_bool().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        places,
        [
            ("system", "turn-0", 3, false),
            ("user", "turn-0", 3, false),
            ("assistant", "turn-0", 3, true),
            ("tool", "turn-1", 2, false),
            ("assistant", "turn-1", 2, true),
            ("user", "turn-2", 1, false),
            ("assistant", "turn-2", 1, true),
        ]
    );
}

/// Two users whose clients call every conversation `default`, and requests of nobody.
fn shared() -> Sandbox {
    let sandbox = Sandbox::new();
    let store = Store::builder(sandbox.path("audit.db")).open().unwrap();
    for turn in 0..3 {
        for user in [Some("alice"), Some("bob\u{1b}[2J"), None] {
            let name = user.map_or("nobody", |user| user.split('\u{1b}').next().unwrap());
            let says = format!("{name} says {turn}");
            let body = json!({"messages": [{"role": "user", "content": says}]});
            let mut context = RequestContext::new("openai.chat")
                .request_id(format!("{name}-{turn}"))
                .started_at(Timestamp::from_micros(STARTED_AT + turn * 5_000_000))
                .conversation_id("default");
            context.user_id = user.map(str::to_owned);
            let handle = store.recorder().open(context, body.to_string()).unwrap();
            handle.complete(Completion::new()).unwrap();
        }
    }
    assert!(store.close(Duration::from_secs(60)).is_complete);
    sandbox
}

#[test]
fn a_conversation_of_several_users_is_shown_and_erased_for_one_of_them() {
    let sandbox = shared();
    let erase = [
        "erase",
        "--conversation",
        "default",
        "--reason",
        "asked for",
    ];
    let runs = [
        sandbox.run(&["conversation", "default"]),
        sandbox.run(&["conversation", "default", "--user", "alice"]),
        sandbox.run(&["conversation", "default", "--user", "", "--json"]),
        sandbox.run(&["conversation", "default", "--user", "carol"]),
        sandbox.run(&["conversation", "nobody-1", "-n", "2"]),
        sandbox.run(&[
            "conversation",
            "default",
            "--user",
            "alice",
            "--after",
            "alice-1",
        ]),
        sandbox.run(&[
            "conversation",
            "default",
            "--user",
            "alice",
            "--after",
            "alice-2",
        ]),
        sandbox.run(&[&erase[..], &["--yes"]].concat()),
        sandbox.run(&[&erase[..], &["--dry-run"]].concat()),
        sandbox.run(&[&erase[..], &["--user", "alice", "--dry-run"]].concat()),
        sandbox.run(&[&erase[..], &["--user", "alice", "--yes"]].concat()),
        sandbox.run(&["list", "--user", ""]),
    ];
    let exits: Vec<_> = runs.iter().map(|run| run.exit).collect();
    assert_eq!(exits, [1, 0, 0, 1, 0, 0, 1, 2, 2, 0, 0, 0]);
    assert_golden("conversation_of_users", &sandbox, &runs);
}

#[test]
fn a_long_conversation_is_shown_part_by_part() {
    let sandbox = Sandbox::new();
    let store = Store::builder(sandbox.path("audit.db")).open().unwrap();
    for turn in 0..1_050 {
        let body = json!({"messages": [{"role": "user", "content": format!("turn {turn}")}]});
        let context = RequestContext::new("openai.chat").conversation_id("long");
        let handle = store.recorder().open(context, body.to_string()).unwrap();
        handle.complete(Completion::new()).unwrap();
    }
    assert!(store.close(Duration::from_secs(60)).is_complete);
    let texts = |arguments: &[&str]| {
        let run = sandbox.run(arguments);
        assert_eq!(run.exit, 0);
        let parts = run.json();
        let messages = parts
            .iter()
            .flat_map(|part| part["messages"].as_array().unwrap());
        let texts: Vec<_> = messages
            .map(|said| said["text"].as_str().unwrap().to_owned())
            .collect();
        (parts.len(), texts, parts.last().unwrap()["next"].clone())
    };
    let expected: Vec<_> = (0..1_050).map(|turn| format!("turn {turn}")).collect();
    let conversation = ["conversation", "long", "--json"];
    let (parts, all, next) = texts(&[&conversation[..], &["-n", "0"]].concat());
    assert_eq!((parts, all, next), (2, expected.clone(), Value::Null));
    let (parts, mut first, next) = texts(&conversation);
    assert_eq!((parts, first.len()), (1, 1_000));
    let after = format!("#{next}");
    let (parts, rest, next) = texts(&[&conversation[..], &["--after", &after]].concat());
    assert_eq!((parts, next), (1, Value::Null));
    first.extend(rest);
    assert_eq!(first, expected);
    let said = sandbox.run(&["conversation", "long"]);
    let hint = format!("1,000 requests are shown; continue with --after '{after}'");
    assert!(said.stderr.contains(&hint), "{}", said.stderr);
}

#[test]
fn a_tool_call_is_shown_with_the_result_that_came_later() {
    let sandbox = agent();
    let shown = sandbox.run(&["show", "turn-0", "--json"]).json();
    let call = &shown[0]["tool_calls"][0];
    assert_eq!(
        call["result"],
        json!({"request_id": "turn-1", "reference": "turn-1", "text": "18 °C, sunny"})
    );
    let runs = [
        sandbox.run(&["tools"]),
        sandbox.run(&["tools", "--json", "--user", "u-1"]),
        sandbox.run(&["tools", "--tool", "get_*"]),
        sandbox.run(&["tools", "--user", "nobody"]),
    ];
    assert_golden("tools", &sandbox, &runs);
}

#[test]
fn colours_and_pagers_are_for_terminals_only() {
    let sandbox = agent();
    let plain = sandbox.run(&["show", "turn-0"]);
    assert!(!plain.text().contains('\u{1b}'));
    let Some(coloured) = on_a_terminal(&sandbox, "show turn-0", "PAGER=cat") else {
        return;
    };
    assert!(
        coloured.contains("\u{1b}[32mcompleted\u{1b}[0m"),
        "{coloured}"
    );
    // What the content would do to the terminal is escaped all the same.
    assert!(coloured.contains("\\u{1b}[2J") && !coloured.contains("\u{1b}[2J"));
    let without = on_a_terminal(&sandbox, "show turn-0", "NO_COLOR=1 PAGER=cat").unwrap();
    assert!(!without.contains('\u{1b}'), "{without}");
    assert_eq!(without, plain.text());
    // A pager is asked where the output is longer than the terminal, and not before.
    let pager = "NO_COLOR=1 AUDITLITE_PAGER='sed s/^/paged:/'";
    let paged = on_a_terminal(&sandbox, "show turn-0 --raw --full", pager).unwrap();
    assert!(paged.starts_with("paged:request"), "{paged}");
    assert!(
        paged.lines().all(|line| line.starts_with("paged:")),
        "{paged}"
    );
    let short = on_a_terminal(&sandbox, "tools", pager).unwrap();
    assert!(!short.contains("paged:"), "{short}");
    let bars = on_a_terminal(&sandbox, "stats --by user", pager).unwrap();
    assert!(bars.contains('█'), "{bars}");
}

#[test]
fn json_is_one_object() {
    let said = agent().run(&["conversation", "alone", "--json"]).json();
    assert_eq!(said.len(), 1);
    assert_eq!(said[0]["conversation_id"], Value::Null);
    assert_eq!(said[0]["request_ids"], json!(["alone"]));
}
