//! Recording as a `tower` layer: for gateways that are a stack of services already.
//!
//! `AuditLayer` is what a reader would copy. Below it a service answers in place of an upstream, and
//! `main` sends three requests through both and reads the trail back.
//!
//! `cargo run --example middleware`
#![allow(clippy::print_stdout)] // An example shows what it did.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use auditlite::{Failure, ListOptions, Recorder, RequestContext, RequestHandle, Status, Store};
use axum::body::{Body, HttpBody};
use axum::http::{Request, Response, StatusCode};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::BodyExt;
use hyper::body::Frame;
use tower::{Layer, Service, ServiceExt, service_fn};

type BoxError = Box<dyn Error + Send + Sync>;

/// Longest request body that is taken in.
const REQUEST_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Records what passes through the service that it is put around.
#[derive(Clone)]
struct AuditLayer {
    recorder: Recorder,
}

impl<S> Layer<S> for AuditLayer {
    type Service = Audit<S>;

    fn layer(&self, inner: S) -> Audit<S> {
        let recorder = self.recorder.clone();
        Audit { inner, recorder }
    }
}

#[derive(Clone)]
struct Audit<S> {
    inner: S,
    recorder: Recorder,
}

impl<S> Service<Request<Body>> for Audit<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The one that said it is ready is the one that is called.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let recorder = self.recorder.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = axum::body::to_bytes(body, REQUEST_BYTES_MAX).await?;
            // The path tells the wire protocol; of headers and query nothing is recorded.
            let mut context = RequestContext::default().url_path(head.uri.path());
            let user = head.headers.get("x-user-id");
            context.user_id = user.and_then(|user| Some(user.to_str().ok()?.to_owned()));
            // A failure of the store never fails a request.
            let mut audit = recorder
                .open(context, body.clone())
                .unwrap_or_else(|_| RequestHandle::unrecorded());
            audit.upstream_started();
            match inner.call(Request::from_parts(head, body.into())).await {
                Ok(response) => Ok(response_with(audit, response)),
                Err(error) => {
                    let error = error.into();
                    let failure = Failure::new("upstream").error_message(error.to_string());
                    // What could not be recorded is no reason to hide the error.
                    let _ = audit.fail(failure);
                    Err(error)
                }
            }
        })
    }
}

/// The response, with the handle inside its body: whatever happens to that happens to the trail.
fn response_with(mut audit: RequestHandle, response: Response<Body>) -> Response<Body> {
    let status = response.status();
    audit.set_http_status(status.as_u16());
    response.map(|body| {
        let audit = Some(audit);
        Body::new(AuditedBody {
            body,
            audit,
            status,
        })
    })
}

struct AuditedBody {
    body: Body,
    /// Absent once the request has ended; dropped with the body, it ends as abandoned.
    audit: Option<RequestHandle>,
    status: StatusCode,
}

impl HttpBody for AuditedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                if let (Some(audit), Some(chunk)) = (&mut self.audit, frame.data_ref()) {
                    audit.chunk(chunk.clone()); // a reference, not a copy
                }
            }
            Some(Err(error)) => {
                if let Some(audit) = self.audit.take() {
                    let failure = Failure::new("upstream_broke_off")
                        .error_message(error.to_string())
                        .read_body(true);
                    let _ = audit.fail(failure);
                }
            }
            None => {
                if let Some(mut audit) = self.audit.take() {
                    audit.upstream_ended();
                    let _ = audit.finish(self.status.as_u16());
                }
            }
        }
        Poll::Ready(frame)
    }
}

/// Stands in for the way to an upstream.
async fn upstream(request: Request<Body>) -> Result<Response<Body>, BoxError> {
    let body = request.into_body().collect().await?.to_bytes();
    if !body.starts_with(b"{") {
        return Err("the upstream is not there".into());
    }
    let events = [
        r#"{"id":"c-1","model":"gpt-4o-2024-08-06","choices":[{"index":0,"delta":{"content":"Hel"}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"content":"lo!"},"finish_reason":"stop"}]}"#,
        r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2}}"#,
        "[DONE]",
    ];
    let events = events.map(|event| Ok::<_, BoxError>(format!("data: {event}\n\n")));
    Ok(Response::new(Body::from_stream(stream::iter(events))))
}

fn request(body: &'static str) -> Result<Request<Body>, axum::http::Error> {
    Request::post("/v1/chat/completions?key=never-recorded")
        .header("authorization", "Bearer never-recorded")
        .header("x-user-id", "u-17")
        .body(body.into())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let folder = tempfile::tempdir()?;
    let store = Store::builder(folder.path().join("audit.db")).open()?;
    let layer = AuditLayer {
        recorder: store.recorder(),
    };
    let service = layer.layer(service_fn(upstream));

    let chat = r#"{"model":"gpt-4o","stream":true,"messages":[{"role":"user","content":"Hi"}]}"#;
    let response = service.clone().oneshot(request(chat)?).await?;
    response.into_body().collect().await?;
    // A client that hangs up, and an upstream that is not there.
    drop(service.clone().oneshot(request(chat)?).await?);
    assert!(service.oneshot(request("no JSON")?).await.is_err());

    store.flush(Duration::from_secs(5))?;
    let page = store
        .reader()
        .list(&Default::default(), &ListOptions::new().limit(10))?;
    for request in &page.requests {
        let (status, model, tokens) = (request.status, request.model(), request.output_tokens);
        println!("{status}: {model:?}, {tokens:?} output tokens");
    }
    let statuses: Vec<Status> = page.requests.iter().map(|request| request.status).collect();
    assert_eq!(
        statuses,
        [Status::Failed, Status::Abandoned, Status::Completed]
    );
    let first = page.requests.last().ok_or("nothing was recorded")?;
    assert_eq!(first.output_tokens, Some(2));
    assert_eq!(first.wire_protocol.as_deref(), Some("openai.chat"));
    store.close(Duration::from_secs(5));
    let file = std::fs::read(folder.path().join("audit.db"))?;
    assert!(!String::from_utf8_lossy(&file).contains("never-recorded"));
    Ok(())
}
