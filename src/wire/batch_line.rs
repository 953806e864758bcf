//! Lines of a batch's results: each holds the answer to one request of the batch, in that request's own protocol.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::ResponseError;
use super::json::lenient::{Count, Label, List, Object, Raw, Text};

/// Limit of the results that are read of one body: OpenAI's and Anthropic's own limits are 50,000 and 100,000 requests.
const RESULTS_MAX: usize = 1 << 20;
/// The tier of batches, by the name that providers have for it.
pub(super) const TIER: &str = "batch";

/// The answer to one request of a batch, as the results hold it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchResult<'a> {
    /// The provider's own id of the answer, where it gives one (OpenAI, Mistral).
    pub id: Option<String>,
    /// The name that the client gave the request.
    pub custom_id: Option<String>,
    /// The HTTP status of the answer, where the result states one.
    pub http_status: Option<u16>,
    /// The result as it came. In this form it can be recorded as the response of a request of its own: what is read of it
    /// is the answer within, and the tier is that of batches.
    pub body: &'a [u8],
}

/// What wraps an answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Line<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    custom_id: Label,
    /// Gemini.
    key: Label,
    /// Bedrock.
    #[serde(rename = "recordId")]
    record_id: Label,
    #[serde(borrow, rename = "modelOutput")]
    model_output: Raw<'a>,
    /// Vertex AI.
    #[serde(borrow)]
    processed_time: Raw<'a>,
    #[serde(borrow)]
    response: Raw<'a>,
    /// Anthropic.
    #[serde(borrow)]
    result: Object<Outcome<'a>>,
    #[serde(borrow)]
    error: Raw<'a>,
}

/// How a request of Anthropic's batches ended.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Outcome<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    message: Raw<'a>,
    #[serde(borrow)]
    error: Raw<'a>,
}

/// OpenAI's and Mistral's answers, within another wrapping.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Response<'a> {
    status_code: Count,
    #[serde(borrow)]
    body: Raw<'a>,
}

/// What one result says.
#[derive(Debug)]
pub(super) enum Answer<'a> {
    /// The answer, a document of the request's protocol.
    Document(&'a RawValue),
    /// There is none: the request failed before the model.
    Failed(ResponseError),
}

impl<'a> Line<'a> {
    /// `None`: the document is no result of a batch.
    fn of(document: &'a [u8]) -> Option<Self> {
        let line = serde_json::from_slice::<Object<Line<'a>>>(document)
            .ok()?
            .0?;
        let is_named = line.custom_id.0.is_some()
            && (line.response.is_some() || line.result.0.is_some() || line.error.is_some());
        let is_geminis = line.key.0.is_some() && (line.response.is_some() || line.error.is_some());
        let is_bedrocks =
            line.record_id.0.is_some() && (line.model_output.is_some() || line.error.is_some());
        let is_vertex_ais = line.processed_time.is_some() && line.response.is_some();
        let is_inlined = line
            .response
            .is_some_and(|raw| raw.get().starts_with('{') && raw.get().contains("\"candidates\""));
        (is_inlined || is_named || is_geminis || is_bedrocks || is_vertex_ais).then_some(line)
    }

    fn response(&self) -> Option<Response<'a>> {
        let response = serde_json::from_str::<Response<'a>>(self.response?.get());
        response.ok().filter(|response| response.body.is_some())
    }

    fn answer(&self) -> Answer<'a> {
        if let Some(outcome) = &self.result.0 {
            return outcome.answer();
        }
        let inner = self.response().and_then(|response| response.body);
        // An empty object stands for no answer.
        let outer = self.response.filter(|raw| raw.get().len() > 2);
        if let Some(document) = inner.or(outer).or(self.model_output) {
            return Answer::Document(document);
        }
        let error = ResponseError::said(self.error);
        Answer::Failed(error.unwrap_or_else(|| ResponseError::new(None, None)))
    }
}

impl<'a> Outcome<'a> {
    /// A result without an answer ended by its kind, such as `expired`.
    fn answer(&self) -> Answer<'a> {
        match self.message.or(self.error) {
            Some(document) => Answer::Document(document),
            None => Answer::Failed(ResponseError::new(self.kind.as_str(), None)),
        }
    }
}

/// What a result of a batch says; `None`: the document is none.
pub(super) fn answer(document: &[u8]) -> Option<Answer<'_>> {
    Line::of(document).map(|line| line.answer())
}

/// Whether a response begins with results of a batch, and, unless one is enough, has more than one line.
pub(super) fn are_in(response: &[u8], is_one_enough: bool) -> bool {
    let response = response.trim_ascii();
    let mut lines = response.split(|byte| *byte == b'\n');
    let is_first = lines.next().is_some_and(|line| Line::of(line).is_some());
    is_first && (is_one_enough || lines.next().is_some())
}

impl<'a> BatchResult<'a> {
    /// The results that a response holds: a line each, or the list within a batch of Gemini that is done. Empty where it
    /// holds none, such as a look at a batch that is under way. The response must be decoded.
    ///
    /// Results are requests of their own: record each with its own [`body`](Self::body) and an id made of
    /// [`id`](Self::id) or the batch and [`custom_id`](Self::custom_id), so that fetching them twice counts them once.
    ///
    /// ```
    /// use auditlite::BatchResult;
    ///
    /// let file = br#"{"custom_id":"a","result":{"type":"expired"}}
    /// {"custom_id":"b","result":{"type":"canceled"}}"#;
    /// let results = BatchResult::list(file);
    /// assert_eq!(results.len(), 2);
    /// assert_eq!(results[1].custom_id.as_deref(), Some("b"));
    /// ```
    pub fn list(response: &'a [u8]) -> Vec<Self> {
        let response = super::decoding::without_mark(response).trim_ascii();
        let inlined = inlined(response);
        if !inlined.is_empty() {
            return inlined;
        }
        let lines = response.split(|byte| *byte == b'\n');
        let results = lines.filter_map(|line| Self::of(line.trim_ascii()));
        results.take(RESULTS_MAX).collect()
    }

    fn of(body: &'a [u8]) -> Option<Self> {
        let line = Line::of(body)?;
        let status = line.response().and_then(|response| response.status_code.0);
        let name = line.custom_id.0.or(line.key.0).or(line.record_id.0);
        Some(Self {
            id: line.id.owned(),
            custom_id: name,
            http_status: status.and_then(|status| u16::try_from(status).ok()),
            body,
        })
    }
}

/// A batch of Gemini that is done.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Operation<'a> {
    #[serde(borrow)]
    response: Object<Done<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Done<'a> {
    #[serde(borrow, rename = "inlinedResponses")]
    responses: Object<Inlined<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Inlined<'a> {
    #[serde(borrow, rename = "inlinedResponses")]
    responses: List<&'a RawValue, RESULTS_MAX>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct InlinedResponse<'a> {
    metadata: Object<Metadata>,
    #[serde(borrow)]
    response: Raw<'a>,
    #[serde(borrow)]
    error: Raw<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    key: Label,
}

/// The answers within a batch of Gemini. Each is recorded as the response itself.
fn inlined(document: &[u8]) -> Vec<BatchResult<'_>> {
    let operation = serde_json::from_slice::<Operation<'_>>(document);
    let done = operation.unwrap_or_default().response.0.unwrap_or_default();
    let responses = done.responses.0.unwrap_or_default().responses.0;
    let results = (1_u64..).zip(responses).filter_map(|(number, raw)| {
        let inlined = serde_json::from_str::<Object<InlinedResponse<'_>>>(raw.get());
        let inlined = inlined.ok()?.0?;
        inlined.response.or(inlined.error)?;
        let key = inlined.metadata.0.unwrap_or_default().key.0;
        Some(BatchResult {
            id: None,
            custom_id: Some(key.unwrap_or_else(|| number.to_string())),
            http_status: None,
            body: raw.get().as_bytes(),
        })
    });
    results.collect()
}
