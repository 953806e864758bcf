//! Exports: what they read, and what they leave alone.

use auditlite::{
    Completion, ExportContent, ExportFormat, ExportOptions, ExportSummary, Message, ReadOnlyStore,
    Reader, RequestContext, ToolCall,
};

use crate::support::{Folder, PATIENCE, close, sqlite};

const REQUEST: &str = r#"{"model":"m","messages":[{"role":"user","content":"the question"}]}"#;
const RESPONSE: &str = r#"{"choices":[{"message":{"role":"assistant","content":null,"tool_calls":[
    {"id":"1","type":"function","function":{"name":"weather","arguments":"{\"at\":\"home\"}"}}]}}]}"#;

/// Tool calls whose inputs are in the response, and others that the gateway handed over.
fn recorded() -> Folder {
    let folder = Folder::new();
    let store = folder.open();
    for turn in 0..20 {
        let context = RequestContext::new("openai.chat")
            .request_id(format!("r-{turn}"))
            .conversation_id("c");
        let body = REQUEST.replace("the question", &"and again ".repeat(turn + 1));
        let mut audit = store.recorder().open(context, body).unwrap();
        audit.chunk(RESPONSE);
        audit.finish(200).unwrap();
    }
    let context = RequestContext::new("custom")
        .request_id("handed-over")
        .messages(vec![Message::new("user", "the question")]);
    let audit = store.recorder().open(context, "no JSON").unwrap();
    let call = ToolCall::new("2", "calendar", "{\"day\":1}");
    let completion = Completion::new()
        .assistant_text("the answer")
        .response_body("no JSON either")
        .tool_call(call);
    audit.complete(completion).unwrap();
    store.flush(PATIENCE).unwrap();
    close(store);
    folder
}

fn export(
    reader: &Reader,
    format: ExportFormat,
    content: ExportContent,
) -> (Vec<u8>, ExportSummary) {
    let options = ExportOptions::new().format(format).content(content);
    let mut out = Vec::new();
    let summary = reader.export(&options, &mut out).unwrap();
    (out, summary)
}

#[test]
fn an_export_without_content_touches_no_payload() {
    let folder = recorded();
    let reader = ReadOnlyStore::open(folder.path()).unwrap().reader();
    let formats = [
        ExportFormat::JsonLines,
        ExportFormat::Csv,
        ExportFormat::Otlp,
    ];
    let before = formats.map(|format| export(&reader, format, ExportContent::None));
    for (out, summary) in &before {
        let out = String::from_utf8_lossy(out);
        assert_eq!((summary.requests, summary.damaged), (21, 0));
        assert!(
            !out.contains("the question") && !out.contains("home"),
            "{out}"
        );
    }
    let (jsonl, _) = &before[0];
    let jsonl = String::from_utf8_lossy(jsonl);
    assert_eq!(jsonl.matches(r#""tool_name":"weather""#).count(), 20);
    assert_eq!(jsonl.matches(r#""tool_name":"calendar""#).count(), 1);

    // From here on, no payload can be unpacked.
    let changed = sqlite(&folder)
        .execute(
            "UPDATE payloads SET data = zeroblob(length(data)) WHERE data IS NOT NULL",
            [],
        )
        .unwrap();
    assert_eq!(changed, 44);
    for (format, (out, _)) in formats.into_iter().zip(&before) {
        let (after, summary) = export(&reader, format, ExportContent::None);
        assert_eq!(summary.damaged, 0, "{format:?}");
        assert_eq!(&after, out, "{format:?}");
        let (_, full) = export(&reader, format, ExportContent::Full);
        assert!(full.damaged > 0, "{format:?}");
    }
}

#[test]
fn a_digest_leaves_only_with_content_or_where_it_is_asked_for() {
    let folder = recorded();
    let reader = ReadOnlyStore::open(folder.path()).unwrap().reader();
    let request = reader.get("r-3").unwrap();
    let side = auditlite::PayloadSide::Request;
    let info = reader.body_info(&request, side).unwrap().unwrap();
    let digest = info.sha256.unwrap().to_string();
    for format in [
        ExportFormat::JsonLines,
        ExportFormat::Csv,
        ExportFormat::Otlp,
        ExportFormat::Sqlite,
    ] {
        for (content, asked, has_digest) in [
            (ExportContent::None, false, false),
            (ExportContent::None, true, true),
            (ExportContent::Excerpt, false, true),
            (ExportContent::Full, false, true),
        ] {
            let options = ExportOptions::new().format(format).content(content);
            let path = folder.join("export");
            let summary = reader.export_to_file(&options.has_digests(asked), &path);
            assert_eq!(summary.unwrap().has_digests, has_digest);
            let exported = std::fs::read(&path).unwrap();
            let exported = String::from_utf8_lossy(&exported);
            assert_eq!(exported.contains(&digest), has_digest, "{format} {content}");
        }
    }
}
