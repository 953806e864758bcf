//! The requests of a batch: a line that fetched the results of one has an answer to each.

use auditlite::{BatchResult, Completion, RequestContext, WireProtocol};

use super::line::{End, Exchange};

/// Attributes of a request whose answer came with a batch.
const BATCH_ID: &str = "batch_id";
const CUSTOM_ID: &str = "batch_custom_id";

/// The requests whose answers this exchange fetched, each an exchange of its own. They have the user and the provider of
/// this one, and the time at which it fetched them. Their ids are made of those of the results, so that each is recorded
/// once, however often it is fetched.
pub(super) fn of(exchange: &Exchange) -> Vec<Exchange> {
    let context = &exchange.context;
    if context.wire_protocol != WireProtocol::Batches {
        return Vec::new();
    }
    let path = context.url_path.as_deref().unwrap_or_default();
    let batch = batch_id(path);
    let results = BatchResult::list(exchange.response_body());
    let of_result = |result: BatchResult<'_>| {
        let wire = WireProtocol::detect_exchange("", b"", result.body);
        let mut own = RequestContext::new(wire).read_body(true);
        own.user_id.clone_from(&context.user_id);
        own.provider_name.clone_from(&context.provider_name);
        own.started_at = context.started_at;
        let custom = result.custom_id.unwrap_or_default();
        let id = [batch, Some(&custom)].into_iter().flatten();
        let id = id.collect::<Vec<&str>>().join("/");
        own.request_id = Some(result.id.unwrap_or(id));
        for (key, value) in [(BATCH_ID, batch.unwrap_or_default()), (CUSTOM_ID, &custom)] {
            if !value.is_empty() {
                own = own.attribute(key, value);
            }
        }
        let mut completion = Completion::new().read_body(true);
        completion.http_status = result.http_status;
        completion.response_body = Some(result.body.to_vec().into());
        Exchange {
            context: own,
            request_body: Vec::new(),
            end: End::Completed(completion),
            arrived_at: None,
            unknown_fields: Vec::new(),
            is_result: true,
        }
    };
    results.into_iter().map(of_result).collect()
}

/// The batch that a path names: what follows `batches`.
fn batch_id(path: &str) -> Option<&str> {
    let path = path.split(['?', '#']).next()?;
    let mut parts = path.split('/').skip_while(|part| *part != "batches");
    parts.nth(1).filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(line: &str) -> Vec<(Option<String>, String, usize)> {
        let exchange = Exchange::parse(line.as_bytes()).unwrap();
        let own = |result: Exchange| {
            let context = result.context;
            let wire = context.wire_protocol.as_str().to_owned();
            (context.request_id, wire, context.attributes.len())
        };
        of(&exchange).into_iter().map(own).collect()
    }

    #[test]
    fn each_result_of_a_batch_is_an_exchange_of_its_own() {
        let anthropic = r#"{"request":{},"path":"/v1/messages/batches/mb1/results","response_body":"{\"custom_id\":\"a\",\"result\":{\"type\":\"succeeded\",\"message\":{\"type\":\"message\",\"role\":\"assistant\"}}}\n{\"custom_id\":\"b\",\"result\":{\"type\":\"expired\"}}\n"}"#;
        let id = |id: &str| Some(id.to_owned());
        assert_eq!(
            results(anthropic),
            [
                (id("mb1/a"), "anthropic.messages".to_owned(), 2),
                (id("mb1/b"), String::new(), 2)
            ]
        );
        let openai = r#"{"request":{},"path":"/v1/files/f1/content","response_body":"{\"id\":\"br1\",\"custom_id\":\"a\",\"response\":{\"status_code\":200,\"body\":{\"object\":\"chat.completion\"}},\"error\":null}"}"#;
        assert_eq!(results(openai), [(id("br1"), "openai.chat".to_owned(), 1)]);
        let gemini = r#"{"request":{},"path":"/v1beta/batches/b1","response":{"name":"batches/b1","done":true,"response":{"inlinedResponses":{"inlinedResponses":[{"response":{"candidates":[]}},{"response":{"candidates":[]},"metadata":{"key":"k"}}]}}}}"#;
        assert_eq!(
            results(gemini),
            [
                (id("b1/1"), "gemini.generate".to_owned(), 2),
                (id("b1/k"), "gemini.generate".to_owned(), 2)
            ]
        );
    }

    #[test]
    fn a_batch_under_way_and_other_exchanges_have_no_results() {
        for line in [
            r#"{"request":{},"path":"/v1/batches/b1","response":{"id":"b1","object":"batch","status":"in_progress"}}"#,
            r#"{"request":{},"path":"/v1/chat/completions","response":{"custom_id":"a","result":{"type":"expired"}}}"#,
            r#"{"request":{},"path":"/v1/messages/batches/mb1/results"}"#,
        ] {
            assert_eq!(results(line), [], "{line}");
        }
    }
}
