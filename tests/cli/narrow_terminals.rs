//! Tables fit the terminal: nothing wraps, the id stays, and what failed says why.

use std::time::Duration;

use auditlite::{
    Completion, Failure, Rejection, RequestContext, Store, Timestamp, ToolCall, Usage,
};

use crate::support::{Sandbox, on_a_terminal};

const WIDTHS: [u16; 6] = [40, 60, 80, 100, 120, 200];
const MODELS: [&str; 4] = [
    "gpt-4o",
    "claude-opus-4-5-20260101-with-a-very-long-name-of-its-own",
    "通义千问-超大规模语言模型-第三代-预览版",
    "🦀🦀🦀-rust-model-🚀🚀🚀🚀🚀🚀🚀🚀🚀",
];
const USERS: [&str; 3] = [
    "u-17",
    "山田太郎さんのとても長い利用者名前",
    "someone.with.a.long.name@department.example.com",
];

/// Requests of all these models and users, of which some failed for reasons that need many words.
fn filled() -> Sandbox {
    let sandbox = Sandbox::new();
    let store = Store::builder(sandbox.path("audit.db")).open().unwrap();
    for number in 0..24 {
        let id = match number % 4 {
            // Ids that differ at their ends only, and ids of wide characters.
            0 => format!("{}{number}", "the-same-long-beginning-".repeat(5)),
            1 => format!("要求-{number}-の識別子は長い"),
            _ => format!("0199f0a2-6c1e-7abc-8000-{number:012}"),
        };
        let context = RequestContext::new("openai.chat")
            .request_id(id)
            .user_id(USERS[number % USERS.len()])
            .provider_name("a-provider-with-a-long-name")
            .request_model(MODELS[number % MODELS.len()])
            .started_at(Timestamp::from_micros(
                1_793_534_400_000_000 + i64::try_from(number).unwrap() * 40_000_000_000,
            ));
        let audit = store
            .recorder()
            .open(context, "question".repeat(number + 1))
            .unwrap();
        match number % 5 {
            0 => {
                let mut failure = Failure::new("rate_limit_exceeded");
                failure.http_status = Some(429);
                failure.error_message = Some("上限に達しました: slow down, ".repeat(20));
                audit.fail(failure).unwrap();
            }
            1 => {
                let mut rejection = Rejection::new("policy");
                rejection.http_status = Some(403);
                audit.reject(rejection).unwrap();
            }
            _ => {
                let mut completion = Completion::new()
                    .usage(Usage::new(9_876_543, 123_456))
                    .response_body("answer")
                    .tool_call(ToolCall::new(
                        "c",
                        "検索-a-tool-with-a-long-name-".repeat(3),
                        "{}",
                    ));
                completion.cost_microdollars = Some(12_345_678);
                audit.complete(completion).unwrap();
            }
        }
    }
    assert!(store.close(Duration::from_secs(60)).is_complete);
    sandbox
}

/// Columns that a text of these tests takes, by its own count.
fn columns(line: &str) -> usize {
    let wide =
        |character: char| matches!(u32::from(character), 0x2E80..=0xFFEF | 0x1F000..=0x1FFFF);
    line.chars()
        .map(|character| if wide(character) { 2 } else { 1 })
        .sum()
}

fn without_colours(text: &str) -> String {
    let mut parts = text.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').unwrap().1)
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    let sandbox = filled();
    for width in WIDTHS {
        for arguments in [
            "list",
            "list --status failed,rejected",
            "list --sort cost",
            "stats",
            "stats --by model",
            "stats --by day,model,user",
            "stats --by hour,provider,model,user",
            "tools",
        ] {
            let settings = format!("PAGER=cat COLUMNS={width}");
            let Some(text) = on_a_terminal(&sandbox, &format!("{arguments} 2>messages"), &settings)
            else {
                return;
            };
            let text = without_colours(&text);
            let lines: Vec<&str> = text.lines().collect();
            assert!(lines.len() > 2, "{arguments}: {text}");
            for line in &lines {
                assert!(
                    columns(line) <= usize::from(width),
                    "{width} {arguments}: {line}"
                );
            }
            let heading = lines[0];
            let is_list = arguments.starts_with("list");
            let always = if is_list { ["id", "status"] } else { ["", ""] };
            for name in always {
                assert!(heading.contains(name), "{width} {arguments}: {heading}");
            }
            if width >= 80 && arguments == "stats --by day,model,user" {
                for name in ["day", "model", "user", "requests", "cost"] {
                    assert!(heading.contains(name), "{width}: {heading}");
                }
            }
            if width >= 80 && is_list {
                assert!(heading.contains("time"), "{heading}");
                let has_model = heading.contains("model");
                assert!(has_model || heading.contains("error"), "{heading}");
            }
            assert_eq!(
                heading.contains("error"),
                arguments.contains("failed"),
                "{width} {arguments}: {heading}"
            );
        }
    }
}

#[test]
fn every_id_on_a_narrow_terminal_can_be_typed_again() {
    let sandbox = filled();
    for width in [40, 60, 120, 200] {
        let settings = format!("NO_COLOR=1 PAGER=cat COLUMNS={width}");
        let Some(text) = on_a_terminal(&sandbox, "list -n 0 2>messages", &settings) else {
            return;
        };
        let lines = text
            .lines()
            .skip(2)
            .filter(|line| !line.starts_with("auditlite: "));
        let ids: Vec<&str> = lines.filter_map(|line| line.split("  ").next()).collect();
        let newest_first = sandbox.run(&["list", "-n", "0", "--json"]).json();
        assert_eq!(ids.len(), newest_first.len(), "{text}");
        for (id, request) in ids.into_iter().zip(newest_first) {
            let shown = sandbox.run(&["show", id, "--json", "--no-body"]).json();
            assert_eq!(
                shown[0]["request_id"], request["request_id"],
                "{width}: {id}"
            );
        }
    }
}

#[test]
fn what_failed_says_why_as_far_as_the_terminal_is_wide() {
    let sandbox = filled();
    let piped = sandbox.run(&["list", "--status", "failed,rejected"]);
    let message = "429 rate_limit_exceeded: 上限に達しました: slow down, ".to_owned();
    assert!(
        piped.text().contains(&(message.clone() + "上限")),
        "{}",
        piped.text()
    );
    assert!(piped.text().contains("403 policy"), "{}", piped.text());
    // All columns are there.
    for name in [
        "provider",
        "tokens in",
        "cost",
        "latency",
        "request",
        "response",
        "user",
        "error",
    ] {
        assert!(
            piped.text().lines().next().unwrap().contains(name),
            "{name}"
        );
    }
    let settings = |width: u16| format!("PAGER=cat COLUMNS={width}");
    let failed = "list --status failed,rejected";
    let Some(wide) = on_a_terminal(&sandbox, failed, &settings(120)) else {
        return;
    };
    let start = message.split(": slow").next().unwrap();
    assert!(wide.contains(start), "{wide}");
    let narrow = on_a_terminal(&sandbox, failed, &settings(80)).unwrap();
    assert!(narrow.contains("429 rate_limit_exceeded"), "{narrow}");
}

#[test]
fn rows_of_what_failed_are_red_on_a_terminal_only() {
    let sandbox = filled();
    assert!(!sandbox.run(&["list"]).text().contains('\u{1b}'));
    let Some(coloured) = on_a_terminal(&sandbox, "list", "PAGER=cat COLUMNS=120") else {
        return;
    };
    let rows = coloured.lines().filter(|line| line.contains("  2026-"));
    for row in rows {
        let is_bad = row.contains("failed") || row.contains("rejected");
        let is_red = row.starts_with("\u{1b}[31m") && row.ends_with("\u{1b}[0m");
        assert_eq!(is_red, is_bad, "{row}");
        assert_eq!(row.contains('\u{1b}'), is_bad, "{row}");
    }
    let plain = on_a_terminal(&sandbox, "list", "NO_COLOR=1 PAGER=cat COLUMNS=120").unwrap();
    assert!(!plain.contains('\u{1b}'), "{plain}");
    assert_eq!(without_colours(&coloured), plain);
}

/// What tokens were used and what they cost stays on 80 columns, with its marks.
#[test]
fn sums_by_model_keep_tokens_and_costs_on_80_columns() {
    let sandbox = filled();
    let settings = "PAGER=cat COLUMNS=80";
    let Some(text) = on_a_terminal(&sandbox, "stats --by model 2>messages", settings) else {
        return;
    };
    let text = without_colours(&text);
    let headings: Vec<&str> = text.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(
        headings,
        [
            "model", "requests", "failed", "tokens", "in", "cached", "out", "cost"
        ]
    );
    let last = text.lines().last().unwrap();
    let total: Vec<&str> = last.split_whitespace().collect();
    assert_eq!(
        total,
        [
            "total",
            "24",
            "5",
            "~138,271,602",
            "~0",
            "~1,728,384",
            "~$172.839492"
        ]
    );
}

#[test]
fn messages_say_what_a_narrow_terminal_leaves_out_and_fit_it_too() {
    let sandbox = filled();
    let narrow = |arguments: &str, columns: u16| {
        // Messages go where the table goes.
        on_a_terminal(
            &sandbox,
            arguments,
            &format!("NO_COLOR=1 PAGER=cat COLUMNS={columns}"),
        )
    };
    let Some(fitting) = narrow("list", 400) else {
        return;
    };
    assert!(!fitting.contains("not shown"), "{fitting}");
    assert!(fitting.contains("response"), "{fitting}");
    for (arguments, left_out) in [
        ("list", "response, request, provider"),
        ("list --status completed", "response, request, provider"),
        ("stats --by day,user", "(bar), completed"),
    ] {
        let text = narrow(arguments, 80).unwrap();
        let unbroken = text.replace('\n', " ");
        assert!(
            unbroken.contains("not shown on a terminal this narrow: "),
            "{text}"
        );
        assert!(unbroken.contains(left_out), "{text}");
        for line in text.lines() {
            assert!(columns(line) <= 80, "{line}");
        }
        let plain: Vec<&str> = arguments.split(' ').collect();
        let plain = sandbox.run(&plain);
        assert!(!plain.stderr.contains("not shown"), "{}", plain.stderr);
    }
}
