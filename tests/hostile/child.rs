//! Runs on each file, in a process of its own: reads everything that can be read, or writes as a gateway does. Prints
//! one line for each answer: its name, then the answer.

use std::fmt::Debug;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use auditlite::{
    BundleOptions, Completion, EraseSelector, ExportContent, ExportFormat, ExportOptions,
    ListOptions, PayloadSide, ReadOnlyStore, Reader, RequestContext, RequestFilter, RequestOrder,
    Retention, SearchOptions, StatsFilter, Store,
};
use sha2::{Digest, Sha256};

const PATIENCE: Duration = Duration::from_secs(5);
/// What the process may have taken at its end, in KiB.
const RESIDENT_MAX_KIB: u64 = 512 * 1024;

/// An answer that says itself that it is not all.
pub const NAMED: &str = "named";

pub fn work(what: &str) {
    let path = Path::new("audit.db");
    // Behind what the test harness says.
    println!();
    match what {
        "read" => read(path),
        _ => write(path),
    }
    if let Some(kib) = resident_peak_kib() {
        assert!(kib <= RESIDENT_MAX_KIB, "{kib} KiB of memory");
    }
}

fn say(name: &str, answer: &Result<String, String>) {
    let answer = match answer {
        Ok(text) => hex(text.as_bytes()),
        Err(what) => format!("{NAMED} {}", what.replace('\n', " ")),
    };
    println!("answer {name} {answer}");
}

fn hex(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn shown<T: Debug, E: Debug>(result: Result<T, E>) -> Result<String, String> {
    result
        .map(|value| format!("{value:?}"))
        .map_err(|error| format!("{error:?}"))
}

fn read(path: &Path) {
    let store = match ReadOnlyStore::open(path) {
        Ok(store) => store,
        Err(error) => return say("open", &Err(format!("{error:?}"))),
    };
    say("open", &Ok(String::new()));
    let reader = store.reader();
    let page = reader.list(&RequestFilter::default(), &ListOptions::new().limit(1000));
    let listed = match &page {
        Ok(page) if page.unreadable.is_empty() => Ok(format!("{:?}", page.requests)),
        Ok(page) => Err(format!("{:?}", page.unreadable)),
        Err(error) => Err(format!("{error:?}")),
    };
    say("list", &listed);
    for request in page.iter().flat_map(|page| &page.requests).take(40) {
        let id = &request.request_id;
        let name = format!("of-{}", hex(id.as_bytes()).get(..8).unwrap_or_default());
        say(&format!("{name}-get"), &shown(reader.get(id)));
        for side in [PayloadSide::Request, PayloadSide::Response] {
            let payload = reader.payload(request, side);
            let payload = payload.map(|payload| (format!("{payload:?}"), hex(&payload.bytes)));
            say(&format!("{name}-{side:?}"), &shown(payload));
            say(
                &format!("{name}-{side:?}-info"),
                &shown(reader.body_info(request, side)),
            );
        }
        say(
            &format!("{name}-prepared"),
            &shown(reader.upstream_body(request)),
        );
        say(&format!("{name}-calls"), &shown(reader.tool_calls(request)));
        say(&format!("{name}-said"), &shown(reader.transcript(request)));
    }
    for id in ["c-0", "c-1"] {
        let mut options = auditlite::ConversationOptions::default();
        options.user_id = Some("u-0".to_owned());
        let conversation = reader.conversation(id, &options);
        let conversation = match conversation {
            Ok(found) if found.damaged > 0 => Err(format!("{} damaged", found.damaged)),
            found => shown(found),
        };
        say(&format!("conversation-{id}"), &conversation);
    }
    let filters = [
        ("user", RequestFilter::new().user_id("u-1")),
        ("tool", RequestFilter::new().tool_name("wea*")),
        (
            "since",
            RequestFilter::new().since(auditlite::Timestamp::from_micros(1_700_000_300_000_000)),
        ),
        (
            "failed",
            RequestFilter::new().statuses([auditlite::Status::Failed]),
        ),
    ];
    for (name, filter) in filters {
        let page = reader.list(&filter, &ListOptions::new().limit(100));
        let ids = page.and_then(|page| match page.unreadable.first() {
            None => Ok(page
                .requests
                .into_iter()
                .map(|request| request.request_id)
                .collect::<Vec<_>>()),
            Some(bad) => Err(auditlite::ReadError::Damaged(bad.what.clone())),
        });
        say(&format!("list-{name}"), &shown(ids));
    }
    let top = reader.list(
        &RequestFilter::default(),
        &ListOptions::new().order(RequestOrder::InputTokens).limit(5),
    );
    let top = match top {
        Ok(page) if !page.unreadable.is_empty() => Err(format!("{:?}", page.unreadable)),
        other => shown(other),
    };
    say("top", &top);
    let found = reader.search("turn", &SearchOptions::default());
    let found = match found {
        Ok(found) if !found.lag.is_none() => Err(format!("{:?}", found.lag)),
        Ok(found) if !found.unreadable.is_empty() => Err(format!("{:?}", found.unreadable)),
        Ok(mut found) => {
            // The same score may come in any order.
            found
                .hits
                .sort_by_key(|hit| (hit.request.opened_seq, hit.is_reply, hit.position));
            Ok(format!("{:?}", found.hits))
        }
        Err(error) => Err(format!("{error:?}")),
    };
    say("search", &found);
    say("stats", &shown(reader.stats(&StatsFilter::default())));
    say(
        "stats_of",
        &shown(reader.stats_of(&RequestFilter::default(), &[])),
    );
    say("tools", &shown(reader.tools(&RequestFilter::default())));
    exports(&reader);
    let mut follower = reader.follow(&RequestFilter::default(), None);
    let polled = follower.poll();
    let unreadable = follower.take_unreadable();
    let polled = match unreadable.is_empty() {
        true => shown(polled),
        false => Err(format!("{unreadable:?}")),
    };
    say("follow", &polled);
    let mut bundle = Vec::new();
    let written = store.write_bundle(&BundleOptions::default(), &mut bundle);
    say("bundle", &shown(written.map(|_| hex(&bundle))));
    let selector = EraseSelector::User("u-1".to_owned());
    let preview = store.preview_erase(&selector);
    say(
        "preview",
        &shown(preview.map(|report| (report.requests, report.payloads))),
    );
}

fn exports(reader: &Reader) {
    for format in ExportFormat::ALL {
        let options = ExportOptions::new()
            .format(format)
            .content(ExportContent::Full);
        let mut out = Vec::new();
        let summary = match format {
            ExportFormat::Sqlite => reader.export_to_file(&options, Path::new("plain.db")),
            _ => reader.export(&options, &mut out),
        };
        let exported = match summary {
            Ok(summary) if summary.damaged > 0 || !summary.unreadable.is_empty() => Err(format!(
                "{} damaged, {:?}",
                summary.damaged, summary.unreadable
            )),
            Ok(summary) => shown(Ok::<_, ()>((hex(&out), summary.requests, summary.bodies))),
            Err(error) => Err(format!("{error:?}")),
        };
        say(&format!("export-{}", format.as_str()), &exported);
    }
}

/// Records, erases, prunes, closes; what was recorded is there afterwards.
fn write(path: &Path) {
    let builder = Store::builder(path).close_timeout(PATIENCE);
    let store = match builder.open() {
        Ok(store) => store,
        Err(error) => return say("open", &Err(format!("{error:?}"))),
    };
    let context = RequestContext::new("")
        .request_id("after")
        .user_id("u-after");
    let audit = store.recorder().open(context, "what was asked").unwrap();
    let completion = Completion::new().response_body("what was answered");
    let receipt = audit.complete(completion).unwrap();
    let is_durable = receipt.wait(PATIENCE).is_ok();
    say(
        "recorded",
        &if is_durable {
            Ok(String::new())
        } else {
            Err(format!("{:?}", store.health()))
        },
    );
    println!("alarms {:?}", store.health().alarms);
    let erased = store.erase(&EraseSelector::User("u-1".to_owned()), "why");
    println!("erased {erased:?}");
    let retention = Retention::new().content_older_than(Duration::from_secs(24 * 60 * 60));
    println!("pruned {:?}", store.prune(&retention));
    println!("problem {:?}", store.health().problem);
    let closed = store.close(PATIENCE);
    say(
        "closed",
        &if closed.is_complete {
            Ok(String::new())
        } else {
            Err(format!("{closed:?}"))
        },
    );
    if is_durable {
        let reader = ReadOnlyStore::open(path).map(|store| store.reader());
        let body = reader
            .map_err(|error| format!("{error:?}"))
            .and_then(|reader| {
                let request = reader.get("after").map_err(|error| format!("{error:?}"))?;
                let payload = reader.payload(&request, PayloadSide::Request);
                payload.map_err(|error| format!("{error:?}"))
            });
        let is_there = body.is_ok_and(|payload| payload.bytes == b"what was asked");
        println!("kept {is_there}");
    }
    let _ = std::io::stdout().flush();
}

fn resident_peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
