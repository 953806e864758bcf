//! The gateway itself: a request in, the upstream's answer out, the trail in between.

use std::sync::Arc;
use std::time::Instant;

use auditlite::{Failure, Recorder, Rejection, RequestContext, RequestHandle, WireProtocol};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header, request};
use axum::routing::any;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;

use crate::audited_body::{AuditedBody, SILENCE_MAX, chain, note};
use crate::forward::{self, Client, Upstream};

/// Largest request body that is taken in.
pub(crate) const REQUEST_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Tells the client under which id its request was recorded.
const AUDIT_ID: HeaderName = HeaderName::from_static("x-audit-request-id");

/// Where API keys come in: OpenAI and most others, Anthropic, Azure, Google.
const CREDENTIALS: [HeaderName; 4] = [
    header::AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
];

/// What every request needs.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) recorder: Recorder,
    pub(crate) client: Client,
    pub(crate) upstream: Upstream,
}

/// The gateway's routes.
pub(crate) fn router(gateway: Gateway) -> Router {
    Router::new()
        .fallback(any(proxy))
        .with_state(Arc::new(gateway))
}

async fn proxy(State(gateway): State<Arc<Gateway>>, request: Request) -> Response<Body> {
    let arrived = Instant::now();
    let (head, body) = request.into_parts();
    let context = describe(&head).arrived(arrived);

    // Refused before routing: no provider, no model, and nothing read from a stranger.
    if !CREDENTIALS
        .iter()
        .any(|name| head.headers.contains_key(name))
    {
        let refusal = Refusal {
            status: StatusCode::UNAUTHORIZED,
            error_type: "unauthorized",
            message: "send an API key; where the upstream asks for none, any will do".to_owned(),
            cause: None,
        };
        return gateway.reject(context, refusal);
    }
    let body = match read(&head.headers, body).await {
        Ok(body) => body,
        Err(refusal) => return gateway.reject(context, refusal),
    };

    let provider_name = gateway.upstream.provider_name(&context.wire_protocol);
    let context = context.provider_name(provider_name);
    let mut audit = gateway.open(context, body.clone());
    let id = audit_id(&audit);
    audit.upstream_started();
    let response = match gateway.forward(head, body).await {
        Ok(answer) => pass_on(answer, audit),
        Err(refusal) => {
            audit.upstream_ended();
            fail(audit, &refusal)
        }
    };
    with_audit_id(response, id)
}

impl Gateway {
    /// A failure of the store never fails a request.
    fn open(&self, context: RequestContext, body: Bytes) -> RequestHandle {
        self.recorder.open(context, body).unwrap_or_else(|error| {
            tracing::warn!(%error, "a request goes unrecorded");
            RequestHandle::unrecorded()
        })
    }

    fn reject(&self, context: RequestContext, refusal: Refusal) -> Response<Body> {
        let rejection = Rejection::new(refusal.error_type)
            .error_message(refusal.cause.as_ref().unwrap_or(&refusal.message).as_str())
            .http_status(refusal.status.as_u16())
            .response_body(refusal.body());
        let audit = self.open(context, Bytes::new());
        let id = audit_id(&audit);
        note(audit.reject(rejection));
        with_audit_id(refusal.response(), id)
    }

    async fn forward(
        &self,
        head: request::Parts,
        body: Bytes,
    ) -> Result<Response<Incoming>, Refusal> {
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let uri = self.upstream.uri(path).map_err(|error| Refusal {
            status: StatusCode::BAD_REQUEST,
            error_type: "invalid_path",
            message: "the path cannot be passed on".to_owned(),
            cause: Some(chain(&error)),
        })?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = head.method;
        *request.uri_mut() = uri;
        *request.headers_mut() = forward::headers_up(head.headers);
        tokio::time::timeout(SILENCE_MAX, self.client.request(request))
            .await
            .map_err(|_| Refusal {
                status: StatusCode::GATEWAY_TIMEOUT,
                error_type: "timeout",
                message: format!("the upstream did not answer within {SILENCE_MAX:?}"),
                cause: None,
            })?
            .map_err(|error| Refusal {
                status: StatusCode::BAD_GATEWAY,
                error_type: "upstream_unreachable",
                message: "the upstream could not be reached".to_owned(),
                cause: Some(chain(&error)),
            })
    }
}

/// The upstream's answer, with the handle inside the body.
fn pass_on(answer: Response<Incoming>, mut audit: RequestHandle) -> Response<Body> {
    let (head, body) = answer.into_parts();
    // Told at once, so that an abandoned request has it too.
    audit.set_http_status(head.status.as_u16());
    let mut response = Response::new(Body::new(AuditedBody::new(body, audit, head.status)));
    *response.status_mut() = head.status;
    *response.headers_mut() = forward::headers_down(head.headers);
    response
}

fn fail(audit: RequestHandle, refusal: &Refusal) -> Response<Body> {
    let failure = Failure::new(refusal.error_type)
        .error_message(refusal.cause.as_ref().unwrap_or(&refusal.message).as_str())
        .http_status(refusal.status.as_u16())
        .response_body(refusal.body());
    note(audit.fail(failure));
    refusal.response()
}

fn audit_id(audit: &RequestHandle) -> Option<HeaderValue> {
    audit
        .is_recorded()
        .then(|| HeaderValue::from_str(audit.request_id()).ok())
        .flatten()
}

fn with_audit_id(mut response: Response<Body>, id: Option<HeaderValue>) -> Response<Body> {
    if let Some(id) = id {
        response.headers_mut().insert(AUDIT_ID, id);
    }
    response
}

/// What a request's head tells. Of its headers only these are recorded, and no query: both can
/// carry credentials. A gateway with accounts would take the user from the key instead.
fn describe(head: &request::Parts) -> RequestContext {
    let path = head.uri.path();
    let protocol = WireProtocol::detect(path, b"");
    let operation_name = match protocol {
        WireProtocol::Unknown => None,
        WireProtocol::OpenAiEmbeddings => Some("embeddings"),
        _ => Some("chat"),
    };
    let mut context = RequestContext::new(protocol)
        .url_path(path)
        .attribute("http_method", head.method.as_str())
        .attribute("route_match", path);
    context.operation_name = operation_name.map(str::to_owned);
    context.user_id = text(&head.headers, "x-user-id");
    context.conversation_id = text(&head.headers, "x-conversation-id");
    context.trace_id = text(&head.headers, "traceparent").and_then(|parent| trace_id(&parent));
    context
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// The trace of a W3C `traceparent` (<https://www.w3.org/TR/trace-context/#traceparent-header>).
fn trace_id(parent: &str) -> Option<String> {
    let id = parent.split('-').nth(1)?;
    let is_hex = id
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_zero = id.bytes().all(|byte| byte == b'0');
    (id.len() == 32 && is_hex && !is_zero).then(|| id.to_owned())
}

/// The whole body: the trail wants it before the request goes on.
async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Refusal> {
    let too_large = || Refusal {
        status: StatusCode::PAYLOAD_TOO_LARGE,
        error_type: "request_too_large",
        message: format!("a request body may have at most {REQUEST_BYTES_MAX} bytes"),
        cause: None,
    };
    let announced: Option<usize> = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|bytes| bytes > REQUEST_BYTES_MAX) {
        return Err(too_large());
    }
    match Limited::new(body, REQUEST_BYTES_MAX).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(error) => Err(Refusal {
            status: StatusCode::BAD_REQUEST,
            error_type: "incomplete_request",
            message: "the request's body ended early".to_owned(),
            cause: Some(chain(error.as_ref())),
        }),
    }
}

/// An answer of the gateway's own, in the format that clients of the API understand.
struct Refusal {
    status: StatusCode,
    error_type: &'static str,
    message: String,
    /// For the trail only: it can tell more of the inside than a client should see.
    cause: Option<String>,
}

impl Refusal {
    fn body(&self) -> String {
        serde_json::json!({"error": {
            "message": self.message,
            "type": "gateway_error",
            "param": null,
            "code": self.error_type,
        }})
        .to_string()
    }

    fn response(&self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.body()));
        *response.status_mut() = self.status;
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    }
}
