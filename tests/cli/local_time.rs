//! `--local`: times in the zone of the machine, with its summer time.

use crate::support::{Run, Sandbox};

/// Clocks go back on 25 October 2026 at 01:00 UTC.
const PARIS: &str = "CET-1CEST,M3.5.0,M10.5.0/3";
const INDIA: &str = "IST-5:30";

/// One request at each of these times, with the time as its id.
const TIMES: [&str; 6] = [
    "2026-10-24T21:30:00Z",
    "2026-10-24T22:30:00Z",
    "2026-10-25T00:30:00Z",
    "2026-10-25T01:30:00Z",
    "2026-10-25T22:30:00Z",
    "2026-10-25T23:30:00Z",
];

fn filled() -> Sandbox {
    let sandbox = Sandbox::new();
    let line = |at: &&str| {
        format!(
            "{{\"request\":1,\"request_id\":\"{at}\",\"model\":\"m\",\"started_at\":\"{at}\",\
             \"response\":{{}},\"usage\":{{\"prompt_tokens\":10,\"completion_tokens\":1}}}}\n"
        )
    };
    let lines: String = TIMES.iter().map(line).collect();
    let run = sandbox.run_with(&["record", "--quiet", "-"], lines.as_bytes());
    assert_eq!(run.exit, 0, "{}", run.stderr);
    sandbox
}

fn run_in(zone: &str, sandbox: &Sandbox, arguments: &[&str]) -> Run {
    let output = sandbox.command(arguments).env("TZ", zone).output().unwrap();
    Run::new(arguments, output)
}

fn ids(run: &Run) -> Vec<String> {
    let id = |line: &serde_json::Value| line["request_id"].as_str().unwrap().to_owned();
    run.json().iter().map(id).collect()
}

#[test]
fn times_are_printed_with_the_offset_of_their_day() {
    let sandbox = filled();
    let list = run_in(PARIS, &sandbox, &["--local", "list"]);
    let text = list.text();
    assert!(text.contains("time (local)"), "{text}");
    for (id, local) in [
        ("2026-10-24T2", "2026-10-24 23:30:00 +02:00"),
        ("2026-10-25T0", "2026-10-25 02:30:00 +02:00"),
        ("2026-10-25T0", "2026-10-25 02:30:00 +01:00"),
        ("2026-10-25T2", "2026-10-26 00:30:00 +01:00"),
    ] {
        let mut lines = text.lines();
        let found = lines.any(|line| line.starts_with(id) && line.contains(local));
        assert!(found, "{id} {local}: {text}");
    }
    let shown = run_in(PARIS, &sandbox, &["show", TIMES[0], "--local"]);
    assert!(
        shown.text().contains("2026-10-24T23:30:00.000000+02:00"),
        "{}",
        shown.text()
    );
    // Without it nothing depends on the zone.
    for arguments in [
        &["list"][..],
        &["show", TIMES[0]],
        &["stats", "--by", "day"],
    ] {
        let there = run_in(INDIA, &sandbox, arguments);
        assert_eq!(there.text(), sandbox.run(arguments).text());
    }
    assert!(sandbox.run(&["list"]).text().contains("time (UTC)"));
    // Numbers for programs are what they are.
    let local = run_in(PARIS, &sandbox, &["list", "--json", "--local"]);
    assert_eq!(local.text(), sandbox.run(&["list", "--json"]).text());
}

#[test]
fn times_that_are_given_are_local_too() {
    let sandbox = filled();
    let between = |since: &str, until: &str| {
        let arguments = [
            "list", "--json", "--local", "--since", since, "--until", until,
        ];
        let mut ids = ids(&run_in(PARIS, &sandbox, &arguments));
        ids.reverse();
        ids
    };
    // The day has 25 hours.
    assert_eq!(between("2026-10-25", "2026-10-26"), TIMES[1..5]);
    assert_eq!(
        between("2026-10-24T23:00:00", "2026-10-25T02:45:00"),
        TIMES[..3]
    );
    assert_eq!(
        between("2026-10-25T00:00:00Z", "2026-10-26T00:00:00Z"),
        TIMES[2..]
    );
    let utc = [
        "list",
        "--json",
        "--since",
        "2026-10-25",
        "--until",
        "2026-10-26",
    ];
    assert_eq!(ids(&run_in(PARIS, &sandbox, &utc)).len(), 4);
    let wrong = [
        "list",
        "--local",
        "--since",
        "2026-10-26",
        "--until",
        "2026-10-25",
    ];
    let wrong = run_in(PARIS, &sandbox, &wrong);
    assert_eq!(wrong.exit, 2);
    assert!(
        wrong.stderr.contains("2026-10-26T00:00:00.000000+01:00"),
        "{}",
        wrong.stderr
    );
}

#[test]
fn days_and_hours_of_statistics_are_local() {
    let sandbox = filled();
    let days = |zone: &str| {
        let run = run_in(
            zone,
            &sandbox,
            &["stats", "--by", "day,model", "--local", "--json"],
        );
        let row = |row: &serde_json::Value| {
            let number = |name: &str| row[name].as_u64().unwrap();
            (
                number("time") / 1_000_000,
                number("requests"),
                number("input_tokens"),
            )
        };
        let rows: Vec<_> = run.json().iter().map(row).collect();
        (rows, run.stderr)
    };
    // Midnights in Paris: 22:00 UTC, and 23:00 once the clocks were put back.
    let (paris, said) = days(PARIS);
    assert_eq!(
        paris,
        [
            (1_792_792_800, 1, 10),
            (1_792_879_200, 4, 40),
            (1_792_969_200, 1, 10)
        ]
    );
    assert_eq!(said, "");
    // In India the hour of 18:00 UTC is half of this day and half of the next.
    let (india, said) = days(INDIA);
    assert_eq!(india, [(1_792_866_600, 4, 40), (1_792_953_000, 2, 20)]);
    assert!(said.contains("do not begin with an hour of UTC"), "{said}");
    let hours = run_in(PARIS, &sandbox, &["stats", "--by", "hour", "--local"]);
    assert!(
        hours.text().contains("2026-10-25 02:00 +02:00"),
        "{}",
        hours.text()
    );
    assert!(
        hours.text().contains("2026-10-25 02:00 +01:00"),
        "{}",
        hours.text()
    );
    assert!(hours.text().contains("hour (local)"), "{}", hours.text());
}

#[test]
fn a_zone_that_is_not_known_is_an_error_and_not_utc() {
    let sandbox = filled();
    let run = run_in("Nowhere/Atlantis", &sandbox, &["list", "--local"]);
    assert_eq!((run.exit, run.text()), (2, ""));
    assert!(run.stderr.contains("set TZ"), "{}", run.stderr);
    assert_eq!(run_in("Nowhere/Atlantis", &sandbox, &["list"]).exit, 0);
}
